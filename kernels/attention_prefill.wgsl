// Measures: causal attention of a chunk of new tokens over itself and what came before: the attention of prefill.
// Buffers: q [rows, HEADS, 128] f32; kv, bf16, keys [tokens, KV_HEADS, 128], then values the same way; out as q.
// Numbers: rows; tokens before the first row; words before the values; unused.
// Bytes per launch: 512 KV_HEADS per token seen, q and out. FLOPs per launch: 4 HEADS 128 per pair of a query and a key that it sees.
// SHAPE 0: a work-group of 128 has 16 rows of one head and goes through the keys in tiles of 32, kept in local memory.
// SHAPE 1: an item has one row of one head.
// Honesty: every out is stored; q, keys and values are random.
// Answer: softmax(q K^T / sqrt(128)) V over the tokens 0 ... before + row.

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> kv: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> args: array<vec4<u32>, 4>;

const SHAPE = ${SHAPE}u;
const WG = ${WG}u;
const HEADS = ${HEADS}u;
const KV_HEADS = ${KV_HEADS}u;
const GROUP = HEADS / KV_HEADS;
const NONE = -1e30;
const SCALE = 0.08838834764831845;

var<workgroup> qs: array<f32, 2064>;
var<workgroup> score: array<f32, 528>;
var<workgroup> keys: array<u32, 2080>;
var<workgroup> vals: array<u32, 2048>;

fn low(u: u32) -> f32 { return bitcast<f32>(u << 16u); }
fn high(u: u32) -> f32 { return bitcast<f32>(u & 0xffff0000u); }

fn shared_by_group(lid: u32, first: u32, head: u32) {
    let rows = args[0].x;
    let before = args[0].y;
    let values = args[0].z;
    let r = lid / 8u;
    let part = lid % 8u;
    let row = first + r;
    for (var i = lid; i < 2048u; i += WG) {
        qs[i / 128u * 129u + i % 128u] =
            q[(min(first + i / 128u, rows - 1u) * HEADS + head) * 128u + i % 128u] * SCALE;
    }
    var acc: array<f32, 16>;
    var m = NONE;
    var total = 0.0;
    let seen = before + min(first + 16u, rows);
    for (var tile = 0u; tile < seen; tile += 32u) {
        workgroupBarrier();
        for (var i = lid; i < 2048u; i += WG) {
            let at = (min(tile + i / 64u, seen - 1u) * KV_HEADS + head / GROUP) * 64u + i % 64u;
            keys[i / 64u * 65u + i % 64u] = kv[at];
            vals[i] = kv[values + at];
        }
        workgroupBarrier();
        var s = vec4<f32>();
        for (var i = 0u; i < 64u; i++) {
            let a = qs[r * 129u + 2u * i];
            let b = qs[r * 129u + 2u * i + 1u];
            let u = vec4<u32>(keys[part * 65u + i], keys[(part + 8u) * 65u + i],
                              keys[(part + 16u) * 65u + i], keys[(part + 24u) * 65u + i]);
            s += a * bitcast<vec4<f32>>(u << vec4<u32>(16u)) + b * bitcast<vec4<f32>>(u & vec4<u32>(0xffff0000u));
        }
        for (var j = 0u; j < 4u; j++) {
            let t = part + 8u * j;
            score[r * 33u + t] = select(NONE, s[j], tile + t <= before + row);
        }
        workgroupBarrier();
        var next = m;
        for (var t = 0u; t < 32u; t++) { next = max(next, score[r * 33u + t]); }
        let less = exp(m - next);
        m = next;
        total *= less;
        for (var i = 0u; i < 16u; i++) { acc[i] *= less; }
        workgroupBarrier();
        for (var j = 0u; j < 4u; j++) {
            let at = r * 33u + part + 8u * j;
            score[at] = exp(score[at] - m);
        }
        workgroupBarrier();
        for (var t = 0u; t < 32u; t++) {
            let p = score[r * 33u + t];
            total += p;
            for (var i = 0u; i < 8u; i++) {
                let u = vals[t * 64u + part + 8u * i];
                acc[2u * i] += p * low(u);
                acc[2u * i + 1u] += p * high(u);
            }
        }
    }
    if (row < rows) {
        for (var i = 0u; i < 8u; i++) {
            let o = (row * HEADS + head) * 128u + 2u * (part + 8u * i);
            out[o] = acc[2u * i] / total;
            out[o + 1u] = acc[2u * i + 1u] / total;
        }
    }
}

fn alone(i: u32) {
    let values = args[0].z;
    if (i >= args[0].x * HEADS) { return; }
    let head = i % HEADS;
    var acc: array<f32, 128>;
    var m = NONE;
    var total = 0.0;
    for (var t = 0u; t <= args[0].y + i / HEADS; t++) {
        let at = (t * KV_HEADS + head / GROUP) * 64u;
        var sum = 0.0;
        for (var d = 0u; d < 64u; d++) {
            let u = kv[at + d];
            sum += q[i * 128u + 2u * d] * low(u) + q[i * 128u + 2u * d + 1u] * high(u);
        }
        sum *= SCALE;
        let next = max(m, sum);
        let less = exp(m - next);
        let p = exp(sum - next);
        total = total * less + p;
        m = next;
        for (var d = 0u; d < 64u; d++) {
            let u = kv[values + at + d];
            acc[2u * d] = acc[2u * d] * less + p * low(u);
            acc[2u * d + 1u] = acc[2u * d + 1u] * less + p * high(u);
        }
    }
    for (var d = 0u; d < 128u; d++) { out[i * 128u + d] = acc[d] / total; }
}

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn attention_prefill(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) wg: vec3<u32>) {
    if (SHAPE == 0u) { shared_by_group(local.x, wg.x * 16u, wg.y); } else { alone(wg.x * WG + local.x); }
}

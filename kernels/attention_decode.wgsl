// Measures: one new token per sequence over a paged KV cache: partial results of one part (split) of each context.
// Buffers: q [batch, HEADS, 128] f32; kv, bf16, keys of all blocks [blocks, BLOCK, KV_HEADS, 128], then values the same way;
// table [batch, stride] of block numbers; lens [batch]; partial [batch, HEADS, splits, 130] f32: weighted sums of the values, largest
// score, sum of exponentials. Numbers: batch, splits, stride, words before the values.
// Bytes per launch: 2 KV_HEADS 128 2 per token of context, q, partial. FLOPs per launch: 4 HEADS 128 per token of context.
// SHAPE 0: a work-group of 128 has one split of one KV head and keeps each block of keys in local memory for all its query heads.
// SHAPE 1: an item has one split of one query head.
// Honesty: every partial is stored and enters the answer; blocks are random and in shuffled order, lengths differ.
// Answer: after attention_reduce, softmax(q K^T / sqrt(128)) V over the tokens of each sequence.

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> kv: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read> lens: array<u32>;
@group(0) @binding(4) var<storage, read_write> partial: array<f32>;
@group(0) @binding(5) var<uniform> args: array<vec4<u32>, 4>;

const SHAPE = ${SHAPE}u;
const WG = ${WG}u;
const HEADS = ${HEADS}u;
const KV_HEADS = ${KV_HEADS}u;
const BLOCK = ${BLOCK}u;
const GROUP = HEADS / KV_HEADS;
const NONE = -1e30;
const SCALE = 0.08838834764831845;

var<workgroup> qs: array<f32, GROUP * 128u>;
var<workgroup> score: array<f32, GROUP * BLOCK>;
var<workgroup> largest: array<f32, GROUP>;
var<workgroup> shrink: array<f32, GROUP>;
var<workgroup> total: array<f32, GROUP>;
var<workgroup> keys: array<u32, BLOCK * 65u>;

fn low(u: u32) -> f32 { return bitcast<f32>(u << 16u); }
fn high(u: u32) -> f32 { return bitcast<f32>(u & 0xffff0000u); }

fn shared_by_group(lid: u32, split: u32, head: u32, b: u32) {
    let splits = args[0].y;
    let stride = args[0].z;
    let values = args[0].w;
    var acc: array<f32, GROUP>;
    for (var g = 0u; g < GROUP; g++) {
        qs[g * 128u + lid] = q[(b * HEADS + head * GROUP + g) * 128u + lid] * SCALE;
        acc[g] = 0.0;
    }
    if (lid < GROUP) {
        largest[lid] = NONE;
        total[lid] = 0.0;
    }
    let len = lens[b];
    let blocks = (len + BLOCK - 1u) / BLOCK;
    let share = (blocks + splits - 1u) / splits;
    let end = min(blocks, (split + 1u) * share);
    for (var block = split * share; block < end; block++) {
        let slot = table[b * stride + block] * BLOCK;
        for (var i = lid; i < BLOCK * 64u; i += WG) {
            keys[i / 64u * 65u + i % 64u] = kv[((slot + i / 64u) * KV_HEADS + head) * 64u + i % 64u];
        }
        workgroupBarrier();
        for (var p = lid; p < GROUP * BLOCK; p += WG) {
            let g = p / BLOCK;
            let t = p % BLOCK;
            var sum = 0.0;
            for (var i = 0u; i < 64u; i++) {
                let u = keys[t * 65u + i];
                sum += qs[g * 128u + 2u * i] * low(u) + qs[g * 128u + 2u * i + 1u] * high(u);
            }
            score[p] = select(NONE, sum, block * BLOCK + t < len);
        }
        workgroupBarrier();
        if (lid < GROUP) {
            var m = largest[lid];
            for (var t = 0u; t < BLOCK; t++) { m = max(m, score[lid * BLOCK + t]); }
            shrink[lid] = exp(largest[lid] - m);
            var sum = total[lid] * shrink[lid];
            for (var t = 0u; t < BLOCK; t++) {
                let p = exp(score[lid * BLOCK + t] - m);
                score[lid * BLOCK + t] = p;
                sum += p;
            }
            largest[lid] = m;
            total[lid] = sum;
        }
        workgroupBarrier();
        for (var g = 0u; g < GROUP; g++) { acc[g] *= shrink[g]; }
        for (var t = 0u; t < BLOCK; t++) {
            let u = kv[values + ((slot + t) * KV_HEADS + head) * 64u + lid / 2u];
            let v = select(high(u), low(u), lid % 2u == 0u);
            for (var g = 0u; g < GROUP; g++) { acc[g] = fma(score[g * BLOCK + t], v, acc[g]); }
        }
        workgroupBarrier();
    }
    workgroupBarrier();
    for (var g = 0u; g < GROUP; g++) {
        let out = ((b * HEADS + head * GROUP + g) * splits + split) * 130u;
        partial[out + lid] = acc[g];
        if (lid == 0u) {
            partial[out + 128u] = largest[g];
            partial[out + 129u] = total[g];
        }
    }
}

fn alone(i: u32) {
    let splits = args[0].y;
    let stride = args[0].z;
    let values = args[0].w;
    if (i >= args[0].x * HEADS * splits) { return; }
    let split = i % splits;
    let head = i / splits % HEADS;
    let b = i / splits / HEADS;
    let len = lens[b];
    let share = ((len + BLOCK - 1u) / BLOCK + splits - 1u) / splits * BLOCK;
    let end = min(len, (split + 1u) * share);
    let mine = (b * HEADS + head) * 128u;
    var acc: array<f32, 128>;
    var m = NONE;
    var sums = 0.0;
    for (var t = split * share; t < end; t++) {
        let at = ((table[b * stride + t / BLOCK] * BLOCK + t % BLOCK) * KV_HEADS + head / GROUP) * 64u;
        var sum = 0.0;
        for (var d = 0u; d < 64u; d++) {
            let u = kv[at + d];
            sum += q[mine + 2u * d] * low(u) + q[mine + 2u * d + 1u] * high(u);
        }
        sum *= SCALE;
        let next = max(m, sum);
        let less = exp(m - next);
        let p = exp(sum - next);
        sums = sums * less + p;
        m = next;
        for (var d = 0u; d < 64u; d++) {
            let u = kv[values + at + d];
            acc[2u * d] = acc[2u * d] * less + p * low(u);
            acc[2u * d + 1u] = acc[2u * d + 1u] * less + p * high(u);
        }
    }
    for (var d = 0u; d < 128u; d++) { partial[i * 130u + d] = acc[d]; }
    partial[i * 130u + 128u] = m;
    partial[i * 130u + 129u] = sums;
}

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn attention_decode(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) wg: vec3<u32>) {
    if (SHAPE == 0u) { shared_by_group(local.x, wg.x, wg.y, wg.z); } else { alone(wg.x * WG + local.x); }
}

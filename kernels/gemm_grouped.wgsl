// Measures: y[id] = W[expert] x[id / share] for every id of every tile: the products of a decode step. A dense product has one expert.
// Prices the dense products of decode, lm_head and the experts of a mixture.
// Buffers: w [experts, n, k] in FORMAT (0 f32, 1 f16, 2 bf16, 3 int8, 4 int4, low bits first); s, f16 scales of groups of 128
// (unused otherwise); x [rows, k] f32; tiles, each an expert and TM ids (2^32-1: unused); y [ids, n] f32.
// Numbers: n, k, share. Work-groups: (n / ROWS, tiles).
// Bytes per launch: the weights of the distinct experts once, x and y. FLOPs per launch: 2 n k per id.
// SHAPE 0: WG / ROWS neighbouring items share a row of W and read 16 bytes each in turn. SHAPE 1: an item has a row.
// Honesty: every y is stored; weights, scales and x are random.
// Answer: y[id][j] = sum over t of W[expert][j][t] x[id / share][t], with int8 as q s and int4 as (q - 8) s.

@group(0) @binding(0) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> s: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> tiles: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> args: array<vec4<u32>, 4>;

const FORMAT = ${FORMAT}u;
const SHAPE = ${SHAPE}u;
const TM = ${TM}u;
const ROWS = ${ROWS}u;
const WG = ${WG}u;
const TEAM = WG / ROWS;
const QUADS = select(select(select(8u, 4u, FORMAT == 3u), 2u, FORMAT <= 2u), 1u, FORMAT == 0u);

var<workgroup> sums: array<f32, TM * WG>;

// Quad `q` of the numbers in 16 bytes.
fn quad(v: vec4<u32>, q: u32) -> vec4<f32> {
    if (FORMAT == 0u) { return bitcast<vec4<f32>>(v); }
    if (FORMAT <= 2u) {
        let p = select(v.xy, v.zw, q == 1u);
        if (FORMAT == 1u) { return vec4<f32>(unpack2x16float(p.x), unpack2x16float(p.y)); }
        return bitcast<vec4<f32>>(vec4<u32>(p.x << 16u, p.x & 0xffff0000u, p.y << 16u, p.y & 0xffff0000u));
    }
    if (FORMAT == 3u) {
        let a = v[q];
        return vec4<f32>(vec4<i32>(vec4<u32>(a << 24u, a << 16u, a << 8u, a)) >> vec4<u32>(24u));
    }
    let a = v[q / 2u] >> (16u * (q % 2u));
    return vec4<f32>(vec4<u32>(a, a >> 4u, a >> 8u, a >> 12u) & vec4<u32>(15u)) - 8.0;
}

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn gemm_grouped(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) wg: vec3<u32>) {
    let n = args[0].x;
    let k = args[0].y;
    let share = args[0].z;
    let lid = local.x;
    let tile = wg.y * (TM + 1u);
    var lane = 0u;
    var step = 1u;
    var col = wg.x * WG + lid;
    if (SHAPE == 0u) {
        lane = lid % TEAM;
        step = TEAM;
        col = wg.x * ROWS + lid / TEAM;
    }
    let row = tiles[tile] * n + min(col, n - 1u);
    let chunks = k / (4u * QUADS);
    var base: array<u32, TM>;
    var acc: array<f32, TM>;
    for (var m = 0u; m < TM; m++) {
        let id = tiles[tile + 1u + m];
        base[m] = select(id / share, 0u, id == 0xffffffffu) * (k / 4u);
        acc[m] = 0.0;
    }
    for (var c = lane; c < chunks; c += step) {
        let v = w[row * chunks + c];
        var scale = 1.0;
        if (FORMAT >= 3u) {
            let i = row * (k / 128u) + c * (4u * QUADS) / 128u;
            let pair = unpack2x16float(s[i / 2u]);
            scale = select(pair.x, pair.y, i % 2u == 1u);
        }
        for (var q = 0u; q < QUADS; q++) {
            let a = quad(v, q) * scale;
            for (var m = 0u; m < TM; m++) { acc[m] += dot(a, x[base[m] + c * QUADS + q]); }
        }
    }
    if (SHAPE == 0u) {
        for (var m = 0u; m < TM; m++) { sums[m * WG + lid] = acc[m]; }
        for (var left = TEAM / 2u; left > 0u; left /= 2u) {
            workgroupBarrier();
            if (lane < left) {
                for (var m = 0u; m < TM; m++) { sums[m * WG + lid] += sums[m * WG + lid + left]; }
            }
        }
        for (var m = 0u; m < TM; m++) { acc[m] = sums[m * WG + lid]; }
    }
    if (lane == 0u && col < n) {
        for (var m = 0u; m < TM; m++) {
            let id = tiles[tile + 1u + m];
            if (id != 0xffffffffu) { y[id * n + col] = acc[m]; }
        }
    }
}

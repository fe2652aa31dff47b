// Measures: C = A B^T of 16-bit matrices with sums in f32, without matrix units: the products of prefill where nothing better is reached.
// Buffers: b [n, k], a [m, k] in FORMAT (1 f16, 2 bf16); c [m, n] f32. Numbers: m, n, k.
// m and n are whole tiles of WG EACH rows, k a multiple of 16. Work-groups: (n, m) in tiles.
// Bytes per launch: 2 n k + 2 m k + 4 m n. FLOPs per launch: 2 m n k.
// Honesty: every c is stored; a and b are random.
// Answer: c[i][j] = sum over t of a[i][t] b[j][t].

@group(0) @binding(0) var<storage, read> b: array<u32>;
@group(0) @binding(1) var<storage, read> a: array<u32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<uniform> args: array<vec4<u32>, 4>;

const WG = ${WG}u;
const EACH = ${EACH}u;
const T = WG * EACH;
const BK = 16u;
const STRIDE = T + 1u;

var<workgroup> left: array<f32, BK * STRIDE>;
var<workgroup> right: array<f32, BK * STRIDE>;

fn pair(u: u32) -> vec2<f32> {
    if (${FORMAT}u == 1u) { return unpack2x16float(u); }
    return bitcast<vec2<f32>>(vec2<u32>(u << 16u, u & 0xffff0000u));
}

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn gemm_tiled(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) wg: vec3<u32>) {
    let n = args[0].y;
    let words = args[0].z / 2u;
    let lid = local.y * WG + local.x;
    let row0 = wg.y * T;
    let col0 = wg.x * T;
    var acc: array<f32, EACH * EACH>;
    for (var i = 0u; i < EACH * EACH; i++) { acc[i] = 0.0; }
    for (var at = 0u; at < words; at += BK / 2u) {
        for (var i = lid; i < T * BK / 2u; i += WG * WG) {
            let r = i / (BK / 2u);
            let q = i % (BK / 2u);
            let pa = pair(a[(row0 + r) * words + at + q]);
            let pb = pair(b[(col0 + r) * words + at + q]);
            left[2u * q * STRIDE + r] = pa.x;
            left[(2u * q + 1u) * STRIDE + r] = pa.y;
            right[2u * q * STRIDE + r] = pb.x;
            right[(2u * q + 1u) * STRIDE + r] = pb.y;
        }
        workgroupBarrier();
        for (var t = 0u; t < BK; t++) {
            var x: array<f32, EACH>;
            var y: array<f32, EACH>;
            for (var i = 0u; i < EACH; i++) {
                x[i] = left[t * STRIDE + local.y + WG * i];
                y[i] = right[t * STRIDE + local.x + WG * i];
            }
            for (var i = 0u; i < EACH; i++) {
                for (var j = 0u; j < EACH; j++) { acc[i * EACH + j] = fma(x[i], y[j], acc[i * EACH + j]); }
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < EACH; i++) {
        for (var j = 0u; j < EACH; j++) {
            c[(row0 + local.y + WG * i) * n + col0 + local.x + WG * j] = acc[i * EACH + j];
        }
    }
}

// Measures: C = A B^T of 16-bit matrices with sums in f32 on matrix units through cooperative matrices of 16 x 16 (f16 only): the products of prefill.
// Buffers: b [n, k], a [m, k] in FORMAT (1 f16, 2 bf16); c [m, n] f32. Numbers: m, n, k.
// m and n are whole tiles, k a multiple of 16. Work-groups: (n, m) in tiles.
// Bytes per launch: 2 n k + 2 m k + 4 m n. FLOPs per launch: 2 m n k.
// A work-group is one subgroup and has a tile of 32 x 32. Larger work-groups than a subgroup repeat the same tile.
// Loads ending in T are row-major.
// Honesty: every c is stored; a and b are random.
// Answer: c[i][j] = sum over t of a[i][t] b[j][t].

enable f16;
enable wgpu_cooperative_matrix;

@group(0) @binding(0) var<storage, read> b: array<f16>;
@group(0) @binding(1) var<storage, read> a: array<f16>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<uniform> args: array<vec4<u32>, 4>;

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn gemm_coop(@builtin(workgroup_id) wg: vec3<u32>) {
    let n = args[0].y;
    let k = args[0].z;
    let row0 = wg.y * 32u;
    let col0 = wg.x * 32u;
    var acc00 = coop_mat16x16<f32, C>();
    var acc01 = coop_mat16x16<f32, C>();
    var acc10 = coop_mat16x16<f32, C>();
    var acc11 = coop_mat16x16<f32, C>();
    for (var t = 0u; t < k; t += 16u) {
        let x0 = coopLoadT<coop_mat16x16<f16, A>>(&a[(row0 + 0u) * k + t], k);
        let y0 = coopLoad<coop_mat16x16<f16, B>>(&b[(col0 + 0u) * k + t], k);
        let x1 = coopLoadT<coop_mat16x16<f16, A>>(&a[(row0 + 16u) * k + t], k);
        let y1 = coopLoad<coop_mat16x16<f16, B>>(&b[(col0 + 16u) * k + t], k);
        acc00 = coopMultiplyAdd(x0, y0, acc00);
        acc01 = coopMultiplyAdd(x0, y1, acc01);
        acc10 = coopMultiplyAdd(x1, y0, acc10);
        acc11 = coopMultiplyAdd(x1, y1, acc11);
    }
    // Places of their own: naga 30 loses an index that is computed within a store.
    let c00 = (row0 + 0u) * n + col0 + 0u;
    let c01 = (row0 + 0u) * n + col0 + 16u;
    let c10 = (row0 + 16u) * n + col0 + 0u;
    let c11 = (row0 + 16u) * n + col0 + 16u;
    coopStoreT(acc00, &c[c00], n);
    coopStoreT(acc01, &c[c01], n);
    coopStoreT(acc10, &c[c10], n);
    coopStoreT(acc11, &c[c11], n);
}

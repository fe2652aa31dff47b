// Measures: C = A B^T of 16-bit matrices with sums in f32, without matrix units: the products of prefill where nothing better is reached.
// Buffers: b [n, k], a [m, k] in FORMAT (1 f16, 2 bf16); c [m, n] f32. Numbers: m, n, k.
// m and n are whole tiles of WG EACH rows, k a multiple of 16. Work-groups: (n, m) in tiles.
// Bytes per launch: 2 n k + 2 m k + 4 m n. FLOPs per launch: 2 m n k.
// Honesty: every c is stored; a and b are random.
// Answer: c[i][j] = sum over t of a[i][t] b[j][t].

#define T (WG * EACH)
#define BK 16
#if FORMAT == 1
#define PAIR(u) (vload_half2(0, (const half*)&(u)))
#else
#define PAIR(u) ((float2)(as_float((u) << 16), as_float((u) & 0xffff0000u)))
#endif

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void gemm_tiled(global const uint* restrict b, global const uint* restrict a, global float* restrict c,
                       uint m, uint n, uint k) {
    local float as[BK][T + 1], bs[BK][T + 1];
    uint lx = get_local_id(0), ly = get_local_id(1), lid = ly * WG + lx, words = k / 2;
    uint row0 = get_group_id(1) * T, col0 = get_group_id(0) * T;
    float acc[EACH][EACH];
    for (uint i = 0; i < EACH; i++)
        for (uint j = 0; j < EACH; j++) acc[i][j] = 0;
    for (uint at = 0; at < words; at += BK / 2) {
        for (uint i = lid; i < T * BK / 2; i += WG * WG_Y) {
            uint r = i / (BK / 2), q = i % (BK / 2);
            uint ua = a[(row0 + r) * words + at + q], ub = b[(col0 + r) * words + at + q];
            float2 pa = PAIR(ua), pb = PAIR(ub);
            as[2 * q][r] = pa.x;
            as[2 * q + 1][r] = pa.y;
            bs[2 * q][r] = pb.x;
            bs[2 * q + 1][r] = pb.y;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint t = 0; t < BK; t++) {
            float x[EACH], y[EACH];
#pragma unroll
            for (uint i = 0; i < EACH; i++) {
                x[i] = as[t][ly + WG * i];
                y[i] = bs[t][lx + WG * i];
            }
#pragma unroll
            for (uint i = 0; i < EACH; i++)
#pragma unroll
                for (uint j = 0; j < EACH; j++) acc[i][j] = fma(x[i], y[j], acc[i][j]);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (uint i = 0; i < EACH; i++)
        for (uint j = 0; j < EACH; j++)
            c[(row0 + ly + WG * i) * n + col0 + lx + WG * j] = acc[i][j];
}

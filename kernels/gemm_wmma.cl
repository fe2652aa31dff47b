// Measures: C = A B^T of 16-bit matrices with sums in f32 on AMD's matrix units (RDNA3 and later, waves of 32): the products of prefill.
// Buffers: b [n, k], a [m, k] in FORMAT (1 f16, 2 bf16); c [m, n] f32. Numbers: m, n, k.
// m and n are whole tiles, k a multiple of 16. Work-groups: (n, m) in tiles.
// Bytes per launch: 2 n k + 2 m k + 4 m n. FLOPs per launch: 2 m n k.
// Four waves share a tile of 32 EACH rows and columns; each has a quarter of it, EACH times EACH products of 16 x 16.
// A lane holds one row of A and one of B (lanes 16 to 31 repeat 0 to 15) and every second row of a column of C.
// Honesty: every c is stored; a and b are random.
// Answer: c[i][j] = sum over t of a[i][t] b[j][t].

#if FORMAT == 1
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
typedef half v16 __attribute__((ext_vector_type(16)));
#define WMMA __builtin_amdgcn_wmma_f32_16x16x16_f16_w32
#else
typedef short v16 __attribute__((ext_vector_type(16)));
#define WMMA __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32
#endif

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void gemm_wmma(global const v16* restrict b, global const v16* restrict a, global float* restrict c,
                      uint m, uint n, uint k) {
    uint lid = get_local_id(0), wave = lid / 32, lane = lid % 16, high = lid % 32 / 16, steps = k / 16;
    uint row0 = (get_group_id(1) * 2 + wave / 2) * 16 * EACH, col0 = (get_group_id(0) * 2 + wave % 2) * 16 * EACH;
    float8 acc[EACH][EACH];
#pragma unroll
    for (uint i = 0; i < EACH; i++)
#pragma unroll
        for (uint j = 0; j < EACH; j++) acc[i][j] = 0;
    for (uint t = 0; t < steps; t++) {
        v16 x[EACH], y[EACH];
#pragma unroll
        for (uint i = 0; i < EACH; i++) {
            x[i] = a[(row0 + 16 * i + lane) * steps + t];
            y[i] = b[(col0 + 16 * i + lane) * steps + t];
        }
#pragma unroll
        for (uint i = 0; i < EACH; i++)
#pragma unroll
            for (uint j = 0; j < EACH; j++) acc[i][j] = WMMA(x[i], y[j], acc[i][j]);
    }
#pragma unroll
    for (uint i = 0; i < EACH; i++)
#pragma unroll
        for (uint j = 0; j < EACH; j++)
#pragma unroll
            for (uint e = 0; e < 8; e++)
                c[(row0 + 16 * i + 2 * e + high) * n + col0 + 16 * j + lane] = acc[i][j][e];
}

// Measures: C = A B^T of 16-bit matrices with sums in f32 on NVIDIA's matrix units (mma.sync m16n8k16, compute capability 8.0 and later): the products of prefill.
// Buffers: b [n, k], a [m, k] in FORMAT (1 f16, 2 bf16); c [m, n] f32. Numbers: m, n, k.
// m and n are whole tiles, k a multiple of 16. Work-groups: (n, m) in tiles.
// Bytes per launch: 2 n k + 2 m k + 4 m n. FLOPs per launch: 2 m n k.
// Four warps share a tile of 32 EACH rows and columns; each has a quarter of it, EACH times 2 EACH products of 16 x 8.
// Fragments as the PTX manual lays them out: lane / 4 is the row of A and C and the column of B, lane % 4 the pair.
// Honesty: every c is stored; a and b are random.
// Answer: c[i][j] = sum over t of a[i][t] b[j][t].

#if FORMAT == 1
#define TYPE "f16"
#else
#define TYPE "bf16"
#endif

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void gemm_ptx(global const uint* restrict b, global const uint* restrict a, global float* restrict c,
                     uint m, uint n, uint k) {
    uint lid = get_local_id(0), warp = lid / 32, g = lid % 32 / 4, p = lid % 4, words = k / 2;
    uint row0 = (get_group_id(1) * 2 + warp / 2) * 16 * EACH, col0 = (get_group_id(0) * 2 + warp % 2) * 16 * EACH;
    float4 acc[EACH][2 * EACH];
#pragma unroll
    for (uint i = 0; i < EACH; i++)
#pragma unroll
        for (uint j = 0; j < 2 * EACH; j++) acc[i][j] = 0;
    for (uint t = 0; t < words; t += 8) {
        uint4 x[EACH];
        uint2 y[2 * EACH];
#pragma unroll
        for (uint i = 0; i < EACH; i++) {
            global const uint* from = a + (row0 + 16 * i + g) * words + t + p;
            x[i] = (uint4)(from[0], from[8 * words], from[4], from[8 * words + 4]);
        }
#pragma unroll
        for (uint j = 0; j < 2 * EACH; j++) {
            global const uint* from = b + (col0 + 8 * j + g) * words + t + p;
            y[j] = (uint2)(from[0], from[4]);
        }
#pragma unroll
        for (uint i = 0; i < EACH; i++)
#pragma unroll
            for (uint j = 0; j < 2 * EACH; j++) {
                float d0 = acc[i][j].x, d1 = acc[i][j].y, d2 = acc[i][j].z, d3 = acc[i][j].w;
                asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 "
                             "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                             : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)
                             : "r"(x[i].x), "r"(x[i].y), "r"(x[i].z), "r"(x[i].w), "r"(y[j].x), "r"(y[j].y));
                acc[i][j] = (float4)(d0, d1, d2, d3);
            }
    }
#pragma unroll
    for (uint i = 0; i < EACH; i++)
#pragma unroll
        for (uint j = 0; j < 2 * EACH; j++) {
            global float* to = c + (row0 + 16 * i + g) * n + col0 + 8 * j + 2 * p;
            to[0] = acc[i][j].x;
            to[1] = acc[i][j].y;
            to[8 * n] = acc[i][j].z;
            to[8 * n + 1] = acc[i][j].w;
        }
}

// Measures: y[id] = W[expert] x[id / share] for every id of every tile: the products of a decode step. A dense product has one expert.
// Prices the dense products of decode, lm_head and the experts of a mixture.
// Buffers: w [experts, n, k] in FORMAT (0 f32, 1 f16, 2 bf16, 3 int8, 4 int4, low bits first); s, f16 scales of groups of 128
// (unused otherwise); x [rows, k] f32; tiles, each an expert and TM ids (2^32-1: unused); y [ids, n] f32.
// Numbers: n, k, share. Work-groups: (n / ROWS, tiles).
// Bytes per launch: the weights of the distinct experts once, x and y. FLOPs per launch: 2 n k per id.
// SHAPE 0: WG / ROWS neighbouring items share a row of W and read 16 bytes each in turn. SHAPE 1: an item has a row.
// Honesty: every y is stored; weights, scales and x are random.
// Answer: y[id][j] = sum over t of W[expert][j][t] x[id / share][t], with int8 as q s and int4 as (q - 8) s.

#define TEAM (WG / ROWS)
#if FORMAT == 0
#define QUADS 1
#elif FORMAT <= 2
#define QUADS 2
#elif FORMAT == 3
#define QUADS 4
#else
#define QUADS 8
#endif

// Quad `q` of the numbers in 16 bytes.
static float4 quad(const uint* v, uint q) {
#if FORMAT == 0
    return as_float4((uint4)(v[0], v[1], v[2], v[3]));
#elif FORMAT == 1
    uint2 p = (uint2)(v[2 * q], v[2 * q + 1]);
    return vload_half4(0, (const half*)&p);
#elif FORMAT == 2
    uint a = v[2 * q], b = v[2 * q + 1];
    return as_float4((uint4)(a << 16, a & 0xffff0000u, b << 16, b & 0xffff0000u));
#elif FORMAT == 3
    return convert_float4(as_char4(v[q]));
#else
    uint a = v[q / 2] >> (16 * (q % 2));
    return convert_float4((uint4)(a, a >> 4, a >> 8, a >> 12) & 15u) - 8.0f;
#endif
}

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void gemm_grouped(global const uint4* restrict w, global const half* restrict s,
                         global const float4* restrict x, global const uint* restrict tiles,
                         global float* restrict y, uint n, uint k, uint share) {
    uint lid = get_local_id(0);
    global const uint* tile = tiles + get_group_id(1) * (TM + 1);
#if SHAPE == 0
    uint lane = lid % TEAM, step = TEAM, col = get_group_id(0) * ROWS + lid / TEAM;
#else
    uint lane = 0, step = 1, col = get_global_id(0);
#endif
    uint row = tile[0] * n + min(col, n - 1), chunks = k / (4 * QUADS);
    uint from[TM];
    float acc[TM];
    for (uint m = 0; m < TM; m++) {
        uint id = tile[1 + m];
        from[m] = (id == 0xffffffffu ? 0 : id / share) * (k / 4);
        acc[m] = 0;
    }
    for (uint c = lane; c < chunks; c += step) {
        uint4 word = w[row * chunks + c];
        uint v[4] = {word.x, word.y, word.z, word.w};
#if FORMAT >= 3
        float scale = vload_half(row * (k / 128) + c * (4 * QUADS) / 128, s);
#else
        float scale = 1;
#endif
#pragma unroll
        for (uint q = 0; q < QUADS; q++) {
            float4 a = quad(v, q) * scale;
#pragma unroll
            for (uint m = 0; m < TM; m++) acc[m] += dot(a, x[from[m] + c * QUADS + q]);
        }
    }
#if SHAPE == 0
    local float sums[TM][WG];
    for (uint m = 0; m < TM; m++) sums[m][lid] = acc[m];
    for (uint half_ = TEAM / 2; half_ > 0; half_ /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < half_)
            for (uint m = 0; m < TM; m++) sums[m][lid] += sums[m][lid + half_];
    }
    for (uint m = 0; m < TM; m++) acc[m] = sums[m][lid];
#endif
    if (lane == 0 && col < n)
        for (uint m = 0; m < TM; m++)
            if (tile[1 + m] != 0xffffffffu) y[tile[1 + m] * n + col] = acc[m];
}

// Measures: adds two vectors: residual connections.
// Buffers: a, b, y, f32. Numbers: n, a multiple of 4.
// Bytes per launch: 12 n. FLOPs per launch: n. SHAPE 0: neighbours take neighbours; SHAPE 1: each item has a contiguous share.
// Honesty: every y is stored.
// Answer: y[i] = a[i] + b[i].

// First of `n` things for item `i` of `of`: as even as whole numbers allow, without 64-bit products.
static uint first(uint i, uint of, uint n) { return i * (n / of) + min(i, n % of); }

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void add(global const float4* restrict a, global const float4* restrict b, global float4* restrict y, uint n) {
    uint id = get_global_id(0), total = get_global_size(0);
    n /= 4;
#if SHAPE == 0
    for (uint i = id; i < n; i += total)
#else
    for (uint i = first(id, total, n), end = first(id + 1, total, n); i < end; i++)
#endif
        y[i] = a[i] + b[i];
}

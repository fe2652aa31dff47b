// Measures: copy from one place in device memory to another.
// Buffers: src, dst. Numbers: n, 16-byte vectors in each.
// Bytes per launch: 32 n, read and written. FLOPs per launch: none. SHAPE as in stream_read.
// Honesty: memory is the result.
// Answer: dst equals src.

// First of `n` things for item `i` of `of`: as even as whole numbers allow, without 64-bit products.
static uint first(uint i, uint of, uint n) { return i * (n / of) + min(i, n % of); }

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void stream_copy(global const uint4* restrict src, global uint4* restrict dst, uint n) {
    uint id = get_global_id(0), total = get_global_size(0);
#if SHAPE == 0
    for (uint i = id; i < n; i += total)
#else
    for (uint i = first(id, total, n), end = first(id + 1, total, n); i < end; i++)
#endif
        dst[i] = src[i];
}

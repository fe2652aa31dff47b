// Measures: streaming write.
// Buffers: dst. Numbers: n, 16-byte vectors in dst; a seed.
// Bytes per launch: 16 n. FLOPs per launch: none. SHAPE as in stream_read.
// Honesty: memory is the result; every word differs, so that no compression of constants helps.
// Answer: word i of dst is seed + i, modulo 2^32.

// First of `n` things for item `i` of `of`: as even as whole numbers allow, without 64-bit products.
static uint first(uint i, uint of, uint n) { return i * (n / of) + min(i, n % of); }

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void stream_write(global uint4* restrict dst, uint n, uint seed) {
    uint id = get_global_id(0), total = get_global_size(0);
#if SHAPE == 0
    for (uint i = id; i < n; i += total)
#else
    for (uint i = first(id, total, n), end = first(id + 1, total, n); i < end; i++)
#endif
        dst[i] = (uint4)(0, 1, 2, 3) + (seed + 4 * i);
}

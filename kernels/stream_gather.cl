// Measures: reads whole blocks in shuffled order, as the chosen experts of a mixture are read.
// Buffers: src (blocks one after the other), index (numbers of blocks), out (one word per item).
// Numbers: blocks; 16-byte vectors of a block.
// Bytes per launch: 16 times blocks times vectors. FLOPs per launch: none. SHAPE as in stream_read, within each block.
// Honesty: every item stores the sum of all that it read.
// Answer: where index is a permutation, the words of out sum to those of src, modulo 2^32.

// First of `n` things for item `i` of `of`: as even as whole numbers allow, without 64-bit products.
static uint first(uint i, uint of, uint n) { return i * (n / of) + min(i, n % of); }

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void stream_gather(global const uint4* restrict src, global const uint* restrict index,
                          global uint* restrict out, uint blocks, uint n) {
    uint id = get_global_id(0), total = get_global_size(0);
    uint4 a = 0;
    for (uint b = 0; b < blocks; b++) {
        global const uint4* block = src + index[b] * n;
#if SHAPE == 0
        for (uint i = id; i < n; i += total)
#else
        for (uint i = first(id, total, n), end = first(id + 1, total, n); i < end; i++)
#endif
            a += block[i];
    }
    out[id] = a.x + a.y + a.z + a.w;
}

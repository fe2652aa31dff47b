// Measures: bytes per second of plain reading, from cache or DRAM as the host chooses the size.
// Bytes per launch: 16 x vectors read, 4 per work-item written. FLOPs per launch: none (4 integer additions per 16 bytes).
// Honesty: every word read is added into a sum that is stored, so no load can be dropped; the data is random.
// Answer: the wrapping sum of all of `sums` is the wrapping sum of all words of `source`, exactly, in any order.
// Limits: vectors + 4 x work-items < 2^32.
//
// SHAPE 0, lanes:  neighbouring work-items read neighbouring vectors, all groups sweep the buffer together (GPUs).
// SHAPE 1, items:  each work-item reads a contiguous piece of its own (CPUs, where a work-item is a loop iteration).
// SHAPE 2, groups: each group has a contiguous piece, in which its work-items read neighbouring vectors (DRAM pages).
__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
__kernel void stream_read(__global const uint4 *restrict source, __global uint *restrict sums, uint vectors)
{
    const uint id = (uint)get_global_id(0);
#if SHAPE == 0
    const uint step = (uint)get_global_size(0);
    uint i = id;
    const uint end = vectors;
#elif SHAPE == 1
    const uint step = 1u;
    const uint items = (uint)get_global_size(0);
    const uint piece = vectors / items + (vectors % items != 0u);
    uint i = min(id * piece, vectors);
    const uint end = min(i + piece, vectors);
#else
    const uint step = WG;
    const uint groups = (uint)get_num_groups(0);
    const uint piece = vectors / groups + (vectors % groups != 0u);
    const uint begin = min((uint)get_group_id(0) * piece, vectors);
    uint i = begin + (uint)get_local_id(0);
    const uint end = min(begin + piece, vectors);
#endif
    // Four sums: four loads in flight per work-item.
    uint4 a = (uint4)(0u), b = a, c = a, d = a;
    for (; i + 3u * step < end; i += 4u * step) {
        a += source[i];
        b += source[i + step];
        c += source[i + 2u * step];
        d += source[i + 3u * step];
    }
    for (; i < end; i += step)
        a += source[i];
    a += b + c + d;
    sums[id] = a.x + a.y + a.z + a.w;
}

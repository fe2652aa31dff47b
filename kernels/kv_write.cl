// Measures: keys and values of new tokens, rounded to bf16, go where the slot mapping says.
// Buffers: x [rows, 2, width] f32, key then value; slots [rows]; cache, bf16, keys [slots, width], then values the same way.
// Numbers: rows, width (even), words before the values.
// Bytes per launch: 12 width + 4 per row. FLOPs per launch: none. SHAPE 0: a work-group has a row; SHAPE 1: an item has one.
// Honesty: memory is the result.
// Answer: the cache holds x rounded to the nearest bf16, ties to even.

static uint bf16(float f) {
    uint u = as_uint(f);
    return (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
}

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void kv_write(global const float* restrict x, global const uint* restrict slots, global uint* restrict cache,
                     uint rows, uint width, uint values) {
#if SHAPE == 0
    uint row = get_group_id(0), c0 = get_local_id(0), step = WG;
#else
    uint row = get_global_id(0), c0 = 0, step = 1;
    if (row >= rows) return;
#endif
    for (uint c = c0; c < width; c += step) {
        uint side = c / (width / 2), word = c % (width / 2);
        global const float* from = x + (2 * row + side) * width + 2 * word;
        cache[side * values + slots[row] * (width / 2) + word] = bf16(from[0]) | bf16(from[1]) << 16;
    }
}

// Measures: rotary embedding of queries or keys.
// Buffers: x [rows, heads, D] f32; turns [rows, D] f32, cosines then sines of the row's position; y as x. Numbers: rows, heads.
// Bytes per launch: 8 per element, 4 D per row. FLOPs per launch: 3 per element. SHAPE 0: a work-group has a row; SHAPE 1: an item has one.
// Honesty: every y is stored.
// Answer: with a, b the halves of a head: (a cos - b sin, b cos + a sin).

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void rope(global const float* restrict x, global const float* restrict turns, global float* restrict y,
                 uint rows, uint heads) {
#if SHAPE == 0
    uint row = get_group_id(0), c0 = get_local_id(0), step = WG;
#else
    uint row = get_global_id(0), c0 = 0, step = 1;
    if (row >= rows) return;
#endif
    for (uint c = c0; c < heads * D / 2; c += step) {
        uint p = c % (D / 2), at = row * heads * D + c / (D / 2) * D + p;
        float a = x[at], b = x[at + D / 2], cosine = turns[row * D + p], sine = turns[row * D + D / 2 + p];
        y[at] = a * cosine - b * sine;
        y[at + D / 2] = b * cosine + a * sine;
    }
}

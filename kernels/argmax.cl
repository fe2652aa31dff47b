// Measures: index of the largest logit of each row: greedy sampling.
// Buffers: x [rows, n] f32; out [rows]. Numbers: rows, n.
// Bytes per launch: 4 n per row. FLOPs per launch: n comparisons per row. SHAPE 0: a work-group has a row; SHAPE 1: an item has one.
// Honesty: out is stored and depends on every logit.
// Answer: the index of the largest, the smallest among equals.

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void argmax(global const float* restrict x, global uint* restrict out, uint rows, uint n) {
#if SHAPE == 0
    uint row = get_group_id(0), c0 = get_local_id(0), step = WG;
#else
    uint row = get_global_id(0), c0 = 0, step = 1;
    if (row >= rows) return;
#endif
    float value = -INFINITY;
    uint place = 0xffffffffu;
    for (uint c = c0; c < n; c += step) {
        float v = x[row * n + c];
        if (v > value) {
            value = v;
            place = c;
        }
    }
#if SHAPE == 0
    local float values[WG];
    local uint places[WG];
    values[c0] = value;
    places[c0] = place;
    for (uint left = WG / 2; left > 0; left /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (c0 < left) {
            float v = values[c0 + left];
            if (v > values[c0] || (v == values[c0] && places[c0 + left] < places[c0])) {
                values[c0] = v;
                places[c0] = places[c0 + left];
            }
        }
    }
    if (c0 == 0) out[row] = places[0];
#else
    out[row] = place;
#endif
}

// Measures: siLU of the gate times up: the activation between an expert's two products.
// Buffers: x [rows, 2 width] f32, gate then up; y [rows, width] f32. Numbers: rows, width.
// Bytes per launch: 12 per element of y. FLOPs per launch: about 6 per element. SHAPE 0: a work-group has a row; SHAPE 1: an item has one.
// Honesty: every y is stored.
// Answer: y = g / (1 + e^-g) u.

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void silu_mul(global const float* restrict x, global float* restrict y, uint rows, uint width) {
#if SHAPE == 0
    uint row = get_group_id(0), c0 = get_local_id(0), step = WG;
#else
    uint row = get_global_id(0), c0 = 0, step = 1;
    if (row >= rows) return;
#endif
    for (uint c = c0; c < width; c += step) {
        float g = x[2 * row * width + c], u = x[(2 * row + 1) * width + c];
        y[row * width + c] = g / (1 + exp(-g)) * u;
    }
}

// Measures: weighted sum of the chosen experts' results.
// Buffers: x [rows, TOPK, width] f32; w [rows, TOPK] f32; y [rows, width] f32. Numbers: rows, width.
// Bytes per launch: 4 (TOPK + 1) per element of y, 4 TOPK per row. FLOPs per launch: 2 TOPK per element. SHAPE 0: a work-group has a row; SHAPE 1: an item has one.
// Honesty: every y is stored.
// Answer: y = sum over j of w[j] x[j].

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void combine(global const float* restrict x, global const float* restrict w, global float* restrict y,
                    uint rows, uint width) {
#if SHAPE == 0
    uint row = get_group_id(0), c0 = get_local_id(0), step = WG;
#else
    uint row = get_global_id(0), c0 = 0, step = 1;
    if (row >= rows) return;
#endif
    for (uint c = c0; c < width; c += step) {
        float sum = 0;
        for (uint j = 0; j < TOPK; j++) sum += w[row * TOPK + j] * x[(row * TOPK + j) * width + c];
        y[row * width + c] = sum;
    }
}

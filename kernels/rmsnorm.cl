// Measures: RMSNorm of each row.
// Buffers: x [rows, width], w [width], y [rows, width], f32. Numbers: rows, width.
// Bytes per launch: 8 per element. FLOPs per launch: 4 per element. SHAPE 0: a work-group has a row; SHAPE 1: an item has one.
// Honesty: every y is stored.
// Answer: y = x / sqrt(mean of x^2 + 1e-6) w.

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void rmsnorm(global const float* restrict x, global const float* restrict w, global float* restrict y,
                    uint rows, uint width) {
#if SHAPE == 0
    uint row = get_group_id(0), c0 = get_local_id(0), step = WG;
#else
    uint row = get_global_id(0), c0 = 0, step = 1;
    if (row >= rows) return;
#endif
    float sum = 0;
    for (uint c = c0; c < width; c += step) sum += x[row * width + c] * x[row * width + c];
#if SHAPE == 0
    local float sums[WG];
    sums[c0] = sum;
    for (uint left = WG / 2; left > 0; left /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (c0 < left) sums[c0] += sums[c0 + left];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    sum = sums[0];
#endif
    float scale = 1 / sqrt(sum / width + 1e-6f);
    for (uint c = c0; c < width; c += step) y[row * width + c] = x[row * width + c] * scale * w[c];
}

// Measures: joins the splits of attention_decode.
// Buffers: partial [rows, splits, 130] f32; out [rows, 128] f32. Numbers: rows (sequences times query heads), splits.
// Bytes per launch: 520 rows splits + 512 rows. FLOPs per launch: 2 128 rows splits.
// Honesty: every out is stored.
// Answer: out = sum of the splits' sums times e^(their largest - largest of all), over the sum of their totals times the same.

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void attention_reduce(global const float* restrict partial, global float* restrict out, uint rows, uint splits) {
    uint id = get_global_id(0), row = id / 128, d = id % 128;
    if (row >= rows) return;
    partial += row * splits * 130;
    float m = -1e30f, total = 0, sum = 0;
    for (uint s = 0; s < splits; s++) m = fmax(m, partial[s * 130 + 128]);
    for (uint s = 0; s < splits; s++) {
        float factor = exp(partial[s * 130 + 128] - m);
        total += partial[s * 130 + 129] * factor;
        sum += partial[s * 130 + d] * factor;
    }
    out[id] = sum / total;
}

// Measures: joins the splits of attention_decode.
// Buffers: partial [rows, splits, 130] f32; out [rows, 128] f32. Numbers: rows (sequences times query heads), splits.
// Bytes per launch: 520 rows splits + 512 rows. FLOPs per launch: 2 128 rows splits.
// Honesty: every out is stored.
// Answer: out = sum of the splits' sums times e^(their largest - largest of all), over the sum of their totals times the same.

@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> args: array<vec4<u32>, 4>;

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn attention_reduce(@builtin(global_invocation_id) gid: vec3<u32>) {
    let splits = args[0].y;
    let row = gid.x / 128u;
    if (row >= args[0].x) { return; }
    let base = row * splits * 130u;
    var m = -1e30;
    var total = 0.0;
    var sum = 0.0;
    for (var s = 0u; s < splits; s++) { m = max(m, partial[base + s * 130u + 128u]); }
    for (var s = 0u; s < splits; s++) {
        let factor = exp(partial[base + s * 130u + 128u] - m);
        total += partial[base + s * 130u + 129u] * factor;
        sum += partial[base + s * 130u + gid.x % 128u] * factor;
    }
    out[gid.x] = sum / total;
}

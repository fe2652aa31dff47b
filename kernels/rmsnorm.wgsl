// Measures: RMSNorm of each row.
// Buffers: x [rows, width], w [width], y [rows, width], f32. Numbers: rows, width.
// Bytes per launch: 8 per element. FLOPs per launch: 4 per element. SHAPE 0: a work-group has a row; SHAPE 1: an item has one.
// Honesty: every y is stored.
// Answer: y = x / sqrt(mean of x^2 + 1e-6) w.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> args: array<vec4<u32>, 4>;

var<workgroup> sums: array<f32, ${WG}>;

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn rmsnorm(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) wg: vec3<u32>) {
    let rows = args[0].x;
    let width = args[0].y;
    var row = wg.x;
    var c0 = local.x;
    var step = ${WG}u;
    if (${SHAPE}u == 1u) {
        // No early return before a barrier: surplus items repeat the last row.
        row = min(wg.x * ${WG}u + local.x, rows - 1u);
        c0 = 0u;
        step = 1u;
    }
    var sum = 0.0;
    for (var c = c0; c < width; c += step) { sum += x[row * width + c] * x[row * width + c]; }
    if (${SHAPE}u == 0u) {
        sums[c0] = sum;
        for (var left = ${WG}u / 2u; left > 0u; left /= 2u) {
            workgroupBarrier();
            if (c0 < left) { sums[c0] += sums[c0 + left]; }
        }
        workgroupBarrier();
        sum = sums[0];
    }
    let scale = 1.0 / sqrt(sum / f32(width) + 1e-6);
    for (var c = c0; c < width; c += step) { y[row * width + c] = x[row * width + c] * scale * w[c]; }
}

// Measures: siLU of the gate times up: the activation between an expert's two products.
// Buffers: x [rows, 2 width] f32, gate then up; y [rows, width] f32. Numbers: rows, width.
// Bytes per launch: 12 per element of y. FLOPs per launch: about 6 per element. SHAPE 0: a work-group has a row; SHAPE 1: an item has one.
// Honesty: every y is stored.
// Answer: y = g / (1 + e^-g) u.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> args: array<vec4<u32>, 4>;

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn silu_mul(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) wg: vec3<u32>) {
    let rows = args[0].x;
    let width = args[0].y;
    var row = wg.x;
    var c0 = local.x;
    var step = ${WG}u;
    if (${SHAPE}u == 1u) {
        row = wg.x * ${WG}u + local.x;
        c0 = 0u;
        step = 1u;
        if (row >= rows) { return; }
    }
    for (var c = c0; c < width; c += step) {
        let g = x[2u * row * width + c];
        let u = x[(2u * row + 1u) * width + c];
        y[row * width + c] = g / (1.0 + exp(-g)) * u;
    }
}

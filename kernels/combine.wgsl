// Measures: weighted sum of the chosen experts' results.
// Buffers: x [rows, TOPK, width] f32; w [rows, TOPK] f32; y [rows, width] f32. Numbers: rows, width.
// Bytes per launch: 4 (TOPK + 1) per element of y, 4 TOPK per row. FLOPs per launch: 2 TOPK per element. SHAPE 0: a work-group has a row; SHAPE 1: an item has one.
// Honesty: every y is stored.
// Answer: y = sum over j of w[j] x[j].

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> args: array<vec4<u32>, 4>;

const TOPK = ${TOPK}u;

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn combine(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) wg: vec3<u32>) {
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
        var sum = 0.0;
        for (var j = 0u; j < TOPK; j++) { sum += w[row * TOPK + j] * x[(row * TOPK + j) * width + c]; }
        y[row * width + c] = sum;
    }
}

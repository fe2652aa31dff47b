// Measures: rotary embedding of queries or keys.
// Buffers: x [rows, heads, D] f32; turns [rows, D] f32, cosines then sines of the row's position; y as x. Numbers: rows, heads.
// Bytes per launch: 8 per element, 4 D per row. FLOPs per launch: 3 per element. SHAPE 0: a work-group has a row; SHAPE 1: an item has one.
// Honesty: every y is stored.
// Answer: with a, b the halves of a head: (a cos - b sin, b cos + a sin).

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> turns: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> args: array<vec4<u32>, 4>;

const D = ${D}u;

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn rope(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) wg: vec3<u32>) {
    let rows = args[0].x;
    let heads = args[0].y;
    var row = wg.x;
    var c0 = local.x;
    var step = ${WG}u;
    if (${SHAPE}u == 1u) {
        row = wg.x * ${WG}u + local.x;
        c0 = 0u;
        step = 1u;
        if (row >= rows) { return; }
    }
    for (var c = c0; c < heads * D / 2u; c += step) {
        let p = c % (D / 2u);
        let at = row * heads * D + c / (D / 2u) * D + p;
        let a = x[at];
        let b = x[at + D / 2u];
        let cosine = turns[row * D + p];
        let sine = turns[row * D + D / 2u + p];
        y[at] = a * cosine - b * sine;
        y[at + D / 2u] = b * cosine + a * sine;
    }
}

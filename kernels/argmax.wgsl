// Measures: index of the largest logit of each row: greedy sampling.
// Buffers: x [rows, n] f32; out [rows]. Numbers: rows, n.
// Bytes per launch: 4 n per row. FLOPs per launch: n comparisons per row. SHAPE 0: a work-group has a row; SHAPE 1: an item has one.
// Honesty: out is stored and depends on every logit.
// Answer: the index of the largest, the smallest among equals.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@group(0) @binding(2) var<uniform> args: array<vec4<u32>, 4>;

var<workgroup> values: array<f32, ${WG}>;
var<workgroup> places: array<u32, ${WG}>;

fn scan(row: u32, c0: u32, step: u32) -> u32 {
    let n = args[0].y;
    var place = c0;
    for (var c = c0; c < n; c += step) {
        if (x[row * n + c] > x[row * n + min(place, n - 1u)]) { place = c; }
    }
    return min(place, n - 1u);
}

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn argmax(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) wg: vec3<u32>) {
    let rows = args[0].x;
    let n = args[0].y;
    if (${SHAPE}u == 1u) {
        let row = wg.x * ${WG}u + local.x;
        if (row < rows) { out[row] = scan(row, 0u, 1u); }
    } else {
        let lid = local.x;
        let place = scan(wg.x, lid, ${WG}u);
        values[lid] = x[wg.x * n + place];
        places[lid] = place;
        for (var left = ${WG}u / 2u; left > 0u; left /= 2u) {
            workgroupBarrier();
            if (lid < left) {
                let v = values[lid + left];
                if (v > values[lid] || (v == values[lid] && places[lid + left] < places[lid])) {
                    values[lid] = v;
                    places[lid] = places[lid + left];
                }
            }
        }
        if (lid == 0u) { out[wg.x] = places[0]; }
    }
}

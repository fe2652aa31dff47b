// Measures: keys and values of new tokens, rounded to bf16, go where the slot mapping says.
// Buffers: x [rows, 2, width] f32, key then value; slots [rows]; cache, bf16, keys [slots, width], then values the same way.
// Numbers: rows, width (even), words before the values.
// Bytes per launch: 12 width + 4 per row. FLOPs per launch: none. SHAPE 0: a work-group has a row; SHAPE 1: an item has one.
// Honesty: memory is the result.
// Answer: the cache holds x rounded to the nearest bf16, ties to even.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read_write> cache: array<u32>;
@group(0) @binding(3) var<uniform> args: array<vec4<u32>, 4>;

fn bf16(f: f32) -> u32 {
    let u = bitcast<u32>(f);
    return (u + 0x7fffu + ((u >> 16u) & 1u)) >> 16u;
}

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn kv_write(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) wg: vec3<u32>) {
    let rows = args[0].x;
    let width = args[0].y;
    let values = args[0].z;
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
        let side = c / (width / 2u);
        let word = c % (width / 2u);
        let at = (2u * row + side) * width + 2u * word;
        cache[side * values + slots[row] * (width / 2u) + word] = bf16(x[at]) | (bf16(x[at + 1u]) << 16u);
    }
}

// Measures: adds two vectors: residual connections.
// Buffers: a, b, y, f32. Numbers: n, a multiple of 4.
// Bytes per launch: 12 n. FLOPs per launch: n. SHAPE 0: neighbours take neighbours; SHAPE 1: each item has a contiguous share.
// Honesty: every y is stored.
// Answer: y[i] = a[i] + b[i].

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> args: array<vec4<u32>, 4>;

// First of `n` things for item `i` of `of`: as even as whole numbers allow, without 64-bit products.
fn first(i: u32, of_: u32, n: u32) -> u32 { return i * (n / of_) + min(i, n % of_); }

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn add(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>) {
    let n = args[0].x / 4u;
    let total = nwg.x * ${WG}u;
    let id = gid.x;
    var i = id;
    var end = n;
    var step = total;
    if (${SHAPE}u == 1u) {
        i = first(id, total, n);
        end = first(id + 1u, total, n);
        step = 1u;
    }
    for (; i < end; i += step) { y[i] = a[i] + b[i]; }
}

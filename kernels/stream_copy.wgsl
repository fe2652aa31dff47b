// Measures: copy from one place in device memory to another.
// Buffers: src, dst. Numbers: n, 16-byte vectors in each.
// Bytes per launch: 32 n, read and written. FLOPs per launch: none. SHAPE as in stream_read.
// Honesty: memory is the result.
// Answer: dst equals src.

@group(0) @binding(0) var<storage, read> src: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> dst: array<vec4<u32>>;
@group(0) @binding(2) var<uniform> args: array<vec4<u32>, 4>;

// First of `n` things for item `i` of `of`: as even as whole numbers allow, without 64-bit products.
fn first(i: u32, of_: u32, n: u32) -> u32 { return i * (n / of_) + min(i, n % of_); }

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn stream_copy(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>) {
    let n = args[0].x;
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
    for (; i < end; i += step) { dst[i] = src[i]; }
}

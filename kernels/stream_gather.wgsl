// Measures: reads whole blocks in shuffled order, as the chosen experts of a mixture are read.
// Buffers: src (blocks one after the other), index (numbers of blocks), out (one word per item).
// Numbers: blocks; 16-byte vectors of a block.
// Bytes per launch: 16 times blocks times vectors. FLOPs per launch: none. SHAPE as in stream_read, within each block.
// Honesty: every item stores the sum of all that it read.
// Answer: where index is a permutation, the words of out sum to those of src, modulo 2^32.

@group(0) @binding(0) var<storage, read> src: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
@group(0) @binding(3) var<uniform> args: array<vec4<u32>, 4>;

// First of `n` things for item `i` of `of`: as even as whole numbers allow, without 64-bit products.
fn first(i: u32, of_: u32, n: u32) -> u32 { return i * (n / of_) + min(i, n % of_); }

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn stream_gather(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>) {
    let blocks = args[0].x;
    let n = args[0].y;
    let total = nwg.x * ${WG}u;
    let id = gid.x;
    var a = vec4<u32>();
    for (var b = 0u; b < blocks; b++) {
        let base = index[b] * n;
        var i = id;
        var end = n;
        var step = total;
        if (${SHAPE}u == 1u) {
            i = first(id, total, n);
            end = first(id + 1u, total, n);
            step = 1u;
        }
        for (; i < end; i += step) { a += src[base + i]; }
    }
    out[id] = a.x + a.y + a.z + a.w;
}

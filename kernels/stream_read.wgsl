// Measures: bytes per second of plain reading, from cache or DRAM as the host chooses the size.
// Bytes per launch: 16 x vectors read, 4 per work-item written. FLOPs per launch: none (4 integer additions per 16 bytes).
// Honesty: every word read is added into a sum that is stored, so no load can be dropped; the data is random.
// Answer: the wrapping sum of all of `sums` is the wrapping sum of all words of `source`, exactly, in any order.
// Limits: vectors + 4 x work-items < 2^32.
//
// SHAPE 0, lanes:  neighbouring work-items read neighbouring vectors, all groups sweep the buffer together (GPUs).
// SHAPE 1, items:  each work-item reads a contiguous piece of its own (CPUs, where a work-item is a loop iteration).
// SHAPE 2, groups: each group has a contiguous piece, in which its work-items read neighbouring vectors (DRAM pages).
@group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> sums: array<u32>;
@group(0) @binding(2) var<uniform> numbers: array<vec4<u32>, 4>; // vectors

const SHAPE = ${SHAPE}u;

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn stream_read(
    @builtin(global_invocation_id) global: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let vectors = numbers[0].x;
    let items = groups.x * ${WG}u;
    var i = global.x;
    var end = vectors;
    var step = items;
    if (SHAPE == 1u) {
        step = 1u;
        let piece = vectors / items + u32(vectors % items != 0u);
        i = min(global.x * piece, vectors);
        end = min(i + piece, vectors);
    } else if (SHAPE == 2u) {
        step = ${WG}u;
        let piece = vectors / groups.x + u32(vectors % groups.x != 0u);
        let begin = min(group.x * piece, vectors);
        i = begin + local.x;
        end = min(begin + piece, vectors);
    }
    // Four sums: four loads in flight per work-item.
    var a = vec4<u32>();
    var b = vec4<u32>();
    var c = vec4<u32>();
    var d = vec4<u32>();
    for (; i + 3u * step < end; i += 4u * step) {
        a += source[i];
        b += source[i + step];
        c += source[i + 2u * step];
        d += source[i + 3u * step];
    }
    for (; i < end; i += step) {
        a += source[i];
    }
    a += b + c + d;
    sums[global.x] = a.x + a.y + a.z + a.w;
}

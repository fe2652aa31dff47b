// Measures: what a launch costs when it has nothing to do (submit, dispatch, dependency, synchronisation).
// Bytes per launch: 0. FLOPs per launch: 0.
// Honesty: the store depends on an argument, so the compiler cannot drop the kernel or the buffer; the host passes 0.
// Answer: the buffer is as it was. With trigger = 0x9E3779B9, word i of the launch becomes i + 1.
@group(0) @binding(0) var<storage, read_write> words: array<u32>;
@group(0) @binding(1) var<uniform> numbers: array<vec4<u32>, 4>; // trigger

@compute @workgroup_size(${WG}, ${WG_Y}, 1)
fn empty(@builtin(global_invocation_id) id: vec3<u32>) {
    if (numbers[0].x == 0x9E3779B9u) {
        words[id.x] = id.x + 1u;
    }
}

// Measures: what a launch costs when it has nothing to do (submit, dispatch, dependency, synchronisation).
// Bytes per launch: 0. FLOPs per launch: 0.
// Honesty: the store depends on an argument, so the compiler cannot drop the kernel or the buffer; the host passes 0.
// Answer: the buffer is as it was. With trigger = 0x9E3779B9, word i of the launch becomes i + 1.
__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
__kernel void empty(__global uint *words, uint trigger)
{
    if (trigger == 0x9E3779B9u)
        words[get_global_id(0)] = (uint)get_global_id(0) + 1u;
}

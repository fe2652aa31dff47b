// Measures: softmax over the experts, the TOPK largest, renormalised: which experts a token goes to.
// Buffers: x [rows, EXPERTS] f32; weights [rows, TOPK] f32; ids [rows, TOPK]. Numbers: rows.
// Bytes per launch: 4 EXPERTS + 8 TOPK per row. FLOPs per launch: about EXPERTS (2 + TOPK) per row.
// SHAPE 0: a work-group of EXPERTS items has a row; SHAPE 1: an item has one.
// Honesty: weights and ids are stored.
// Answer: ids by falling x, the smaller id first among equals; weights e^x over the sum of the chosen e^x.

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void router(global const float* restrict x, global float* restrict weights, global uint* restrict ids, uint rows) {
#if SHAPE == 0
    local float value[EXPERTS], best[TOPK];
    local uint place[EXPERTS];
    uint lid = get_local_id(0), row = get_group_id(0);
    float mine = x[row * EXPERTS + lid];
    for (uint j = 0; j < TOPK; j++) {
        value[lid] = mine;
        place[lid] = lid;
        for (uint left = EXPERTS / 2; left > 0; left /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE);
            if (lid < left) {
                float other = value[lid + left];
                if (other > value[lid] || (other == value[lid] && place[lid + left] < place[lid])) {
                    value[lid] = other;
                    place[lid] = place[lid + left];
                }
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        uint winner = place[0];
        if (lid == 0) {
            best[j] = value[0];
            ids[row * TOPK + j] = winner;
        }
        if (lid == winner) mine = -1e30f;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    float sum = 0;
    for (uint j = 0; j < TOPK; j++) sum += exp(best[j] - best[0]);
    if (lid < TOPK) weights[row * TOPK + lid] = exp(best[lid] - best[0]) / sum;
#else
    uint row = get_global_id(0);
    if (row >= rows) return;
    float value[EXPERTS], best[TOPK], sum = 0;
    for (uint e = 0; e < EXPERTS; e++) value[e] = x[row * EXPERTS + e];
    for (uint j = 0; j < TOPK; j++) {
        uint winner = 0;
        for (uint e = 1; e < EXPERTS; e++)
            if (value[e] > value[winner]) winner = e;
        best[j] = value[winner];
        ids[row * TOPK + j] = winner;
        value[winner] = -1e30f;
        sum += exp(best[j] - best[0]);
    }
    for (uint j = 0; j < TOPK; j++) weights[row * TOPK + j] = exp(best[j] - best[0]) / sum;
#endif
}

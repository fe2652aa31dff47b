// Measures: one new token per sequence over a paged KV cache: partial results of one part (split) of each context.
// Buffers: q [batch, HEADS, 128] f32; kv, bf16, keys of all blocks [blocks, BLOCK, KV_HEADS, 128], then values the same way;
// table [batch, stride] of block numbers; lens [batch]; partial [batch, HEADS, splits, 130] f32: weighted sums of the values, largest
// score, sum of exponentials. Numbers: batch, splits, stride, words before the values.
// Bytes per launch: 2 KV_HEADS 128 2 per token of context, q, partial. FLOPs per launch: 4 HEADS 128 per token of context.
// SHAPE 0: a work-group of 128 has one split of one KV head and keeps each block of keys in local memory for all its query heads.
// SHAPE 1: an item has one split of one query head.
// Honesty: every partial is stored and enters the answer; blocks are random and in shuffled order, lengths differ.
// Answer: after attention_reduce, softmax(q K^T / sqrt(128)) V over the tokens of each sequence.

#define GROUP (HEADS / KV_HEADS)
#define NONE -1e30f
#define LOW(u) as_float((u) << 16)
#define HIGH(u) as_float((u) & 0xffff0000u)

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void attention_decode(global const float* restrict q, global const uint* restrict kv,
                             global const uint* restrict table, global const uint* restrict lens,
                             global float* restrict partial, uint batch, uint splits, uint stride, uint values) {
#if SHAPE == 0
    local float qs[GROUP][128], score[GROUP][BLOCK], largest[GROUP], shrink[GROUP], total[GROUP];
    local uint keys[BLOCK][65];
    uint lid = get_local_id(0), split = get_group_id(0), head = get_group_id(1), b = get_group_id(2);
    float acc[GROUP];
    for (uint g = 0; g < GROUP; g++) {
        qs[g][lid] = q[(b * HEADS + head * GROUP + g) * 128 + lid] * 0.08838834764831845f;
        acc[g] = 0;
    }
    if (lid < GROUP) {
        largest[lid] = NONE;
        total[lid] = 0;
    }
    uint len = lens[b], blocks = (len + BLOCK - 1) / BLOCK, share = (blocks + splits - 1) / splits;
    uint end = min(blocks, (split + 1) * share);
    for (uint block = split * share; block < end; block++) {
        uint slot = table[b * stride + block] * BLOCK;
        for (uint i = lid; i < BLOCK * 64; i += WG)
            keys[i / 64][i % 64] = kv[((slot + i / 64) * KV_HEADS + head) * 64 + i % 64];
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint p = lid; p < GROUP * BLOCK; p += WG) {
            uint g = p / BLOCK, t = p % BLOCK;
            float sum = 0;
            for (uint i = 0; i < 64; i++) {
                uint u = keys[t][i];
                sum += qs[g][2 * i] * LOW(u) + qs[g][2 * i + 1] * HIGH(u);
            }
            score[g][t] = block * BLOCK + t < len ? sum : NONE;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lid < GROUP) {
            float m = largest[lid];
            for (uint t = 0; t < BLOCK; t++) m = fmax(m, score[lid][t]);
            shrink[lid] = exp(largest[lid] - m);
            float sum = total[lid] * shrink[lid];
            for (uint t = 0; t < BLOCK; t++) {
                float p = exp(score[lid][t] - m);
                score[lid][t] = p;
                sum += p;
            }
            largest[lid] = m;
            total[lid] = sum;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint g = 0; g < GROUP; g++) acc[g] *= shrink[g];
        for (uint t = 0; t < BLOCK; t++) {
            uint u = kv[values + ((slot + t) * KV_HEADS + head) * 64 + lid / 2];
            float v = lid % 2 == 0 ? LOW(u) : HIGH(u);
            for (uint g = 0; g < GROUP; g++) acc[g] = fma(score[g][t], v, acc[g]);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint g = 0; g < GROUP; g++) {
        global float* out = partial + ((b * HEADS + head * GROUP + g) * splits + split) * 130;
        out[lid] = acc[g];
        if (lid == 0) {
            out[128] = largest[g];
            out[129] = total[g];
        }
    }
#else
    uint i = get_global_id(0);
    if (i >= batch * HEADS * splits) return;
    uint split = i % splits, head = i / splits % HEADS, b = i / splits / HEADS;
    uint len = lens[b], blocks = (len + BLOCK - 1) / BLOCK, share = (blocks + splits - 1) / splits * BLOCK;
    uint end = min(len, (split + 1) * share);
    global const float* mine = q + (b * HEADS + head) * 128;
    float acc[128], m = NONE, total = 0;
    for (uint d = 0; d < 128; d++) acc[d] = 0;
    for (uint t = split * share; t < end; t++) {
        uint at = ((table[b * stride + t / BLOCK] * BLOCK + t % BLOCK) * KV_HEADS + head / GROUP) * 64;
        float sum = 0;
        for (uint d = 0; d < 64; d++) {
            uint u = kv[at + d];
            sum += mine[2 * d] * LOW(u) + mine[2 * d + 1] * HIGH(u);
        }
        sum *= 0.08838834764831845f;
        float next = fmax(m, sum), shrink = exp(m - next), p = exp(sum - next);
        total = total * shrink + p;
        m = next;
        for (uint d = 0; d < 64; d++) {
            uint u = kv[values + at + d];
            acc[2 * d] = acc[2 * d] * shrink + p * LOW(u);
            acc[2 * d + 1] = acc[2 * d + 1] * shrink + p * HIGH(u);
        }
    }
    for (uint d = 0; d < 128; d++) partial[i * 130 + d] = acc[d];
    partial[i * 130 + 128] = m;
    partial[i * 130 + 129] = total;
#endif
}

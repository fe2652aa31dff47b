// Measures: causal attention of a chunk of new tokens over itself and what came before: the attention of prefill.
// Buffers: q [rows, HEADS, 128] f32; kv, bf16, keys [tokens, KV_HEADS, 128], then values the same way; out as q.
// Numbers: rows; tokens before the first row; words before the values; unused.
// Bytes per launch: 512 KV_HEADS per token seen, q and out. FLOPs per launch: 4 HEADS 128 per pair of a query and a key that it sees.
// SHAPE 0: a work-group of 128 has 16 rows of one head and goes through the keys in tiles of 32, kept in local memory.
// SHAPE 1: an item has one row of one head.
// Honesty: every out is stored; q, keys and values are random.
// Answer: softmax(q K^T / sqrt(128)) V over the tokens 0 ... before + row.

#define GROUP (HEADS / KV_HEADS)
#define NONE -1e30f
#define LOW(u) as_float((u) << 16)
#define HIGH(u) as_float((u) & 0xffff0000u)

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void attention_prefill(global const float* restrict q, global const uint* restrict kv,
                              global float* restrict out, uint rows, uint before, uint values, uint unused) {
#if SHAPE == 0
    local float qs[16][129], score[16][33];
    local uint keys[32][65], vals[32][64];
    uint lid = get_local_id(0), first = get_group_id(0) * 16, head = get_group_id(1);
    uint r = lid / 8, part = lid % 8, row = first + r;
    for (uint i = lid; i < 16 * 128; i += WG)
        qs[i / 128][i % 128] =
            q[(min(first + i / 128, rows - 1) * HEADS + head) * 128 + i % 128] * 0.08838834764831845f;
    float acc[16], m = NONE, total = 0;
    for (uint i = 0; i < 16; i++) acc[i] = 0;
    uint seen = before + min(first + 16, rows);
    for (uint tile = 0; tile < seen; tile += 32) {
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint i = lid; i < 32 * 64; i += WG) {
            uint at = (min(tile + i / 64, seen - 1) * KV_HEADS + head / GROUP) * 64 + i % 64;
            keys[i / 64][i % 64] = kv[at];
            vals[i / 64][i % 64] = kv[values + at];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        float s[4] = {0, 0, 0, 0};
        for (uint i = 0; i < 64; i++) {
            float a = qs[r][2 * i], b = qs[r][2 * i + 1];
#pragma unroll
            for (uint j = 0; j < 4; j++) {
                uint u = keys[part + 8 * j][i];
                s[j] += a * LOW(u) + b * HIGH(u);
            }
        }
        for (uint j = 0; j < 4; j++)
            score[r][part + 8 * j] = tile + part + 8 * j <= before + row ? s[j] : NONE;
        barrier(CLK_LOCAL_MEM_FENCE);
        float next = m;
        for (uint t = 0; t < 32; t++) next = fmax(next, score[r][t]);
        float shrink = exp(m - next);
        m = next;
        total *= shrink;
        for (uint i = 0; i < 16; i++) acc[i] *= shrink;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint j = 0; j < 4; j++) score[r][part + 8 * j] = exp(score[r][part + 8 * j] - m);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint t = 0; t < 32; t++) {
            float p = score[r][t];
            total += p;
#pragma unroll
            for (uint i = 0; i < 8; i++) {
                uint u = vals[t][part + 8 * i];
                acc[2 * i] += p * LOW(u);
                acc[2 * i + 1] += p * HIGH(u);
            }
        }
    }
    if (row < rows)
        for (uint i = 0; i < 8; i++) {
            global float* o = out + (row * HEADS + head) * 128 + 2 * (part + 8 * i);
            o[0] = acc[2 * i] / total;
            o[1] = acc[2 * i + 1] / total;
        }
#else
    uint i = get_global_id(0);
    if (i >= rows * HEADS) return;
    uint head = i % HEADS, row = i / HEADS;
    global const float* mine = q + i * 128;
    float acc[128], m = NONE, total = 0;
    for (uint d = 0; d < 128; d++) acc[d] = 0;
    for (uint t = 0; t <= before + row; t++) {
        uint at = (t * KV_HEADS + head / GROUP) * 64;
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
    for (uint d = 0; d < 128; d++) out[i * 128 + d] = acc[d] / total;
#endif
}

// Measures: causal attention of a chunk of new tokens over itself and what came before, on NVIDIA's matrix units (mma.sync, compute capability 8.0 and later): the attention of prefill.
// Buffers and numbers: as attention_prefill.cl. Queries and weights are rounded to bf16, sums are f32.
// Bytes per launch: 512 KV_HEADS per token seen, q and out. FLOPs per launch: 4 HEADS 128 per pair of a query and a key that it sees.
// A work-group of four warps has 64 rows of one head, a warp 16 of them, and goes through the tokens 64 at a time: keys and values
// take turns in three slices of local memory, one used while the next arrives and the one after is asked for. The running maximum
// and sum are FlashAttention's (Dao et al., 2022, arXiv:2205.14135); scores are kept as logarithms to base 2.
// A token's vector is 16 pieces of 16 bytes, in an order that differs from row to row, so that eight rows of one piece lie in
// different banks. Fragments as the PTX manual lays them out.
// Honesty: every out is stored; q, keys and values are random.
// Answer: softmax(q K^T / sqrt(128)) V over the tokens 0 ... before + row.

#define GROUP (HEADS / KV_HEADS)
#define NONE -1e30f
// log2(e) / sqrt(128)
#define SCALE 0.12751743f
#define SLICE (64 * 256)

static uint place(uint row, uint piece) {
    return row * 256 + (piece ^ (row & 7)) * 16;
}

static uint pack(float low, float high) {
    uint u;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(u) : "f"(high), "f"(low));
    return u;
}

static float over(float x, uint mask, bool sum) {
    uint u;
    if (mask == 1)
        asm volatile("shfl.sync.bfly.b32 %0, %1, 1, 31, 0xffffffff;" : "=r"(u) : "r"(as_uint(x)));
    else
        asm volatile("shfl.sync.bfly.b32 %0, %1, 2, 31, 0xffffffff;" : "=r"(u) : "r"(as_uint(x)));
    return sum ? x + as_float(u) : fmax(x, as_float(u));
}

static float4 product(float4 c, uint4 a, uint b0, uint b1) {
    float d0 = c.x, d1 = c.y, d2 = c.z, d3 = c.w;
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
    return (float4)(d0, d1, d2, d3);
}

// Asks for a slice: 64 tokens from `tile`, those past the last one repeating it.
static void fetch(uint to, global const uint* from, uint tile, uint seen, uint lid) {
#pragma unroll
    for (uint i = 0; i < 8; i++) {
        uint at = lid + i * 128, row = at / 16, piece = at % 16;
        global const uint* word = from + (ulong)min(tile + row, seen - 1) * (KV_HEADS * 64) + 4 * piece;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(to + place(row, piece)), "l"((ulong)word) : "memory");
    }
}

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void attention_ptx(global const float* restrict q, global const uint* restrict kv,
                          global float* restrict out, uint rows, uint before, uint values, uint unused) {
    local uint slices[3 * SLICE / 4] __attribute__((aligned(128)));
    uint base = (uint)(ulong)slices;
    uint lid = get_local_id(0), warp = lid / 32, lane = lid % 32, first = get_group_id(0) * 64, head = get_group_id(1);
    uint row = first + warp * 16 + lane / 4, pair = lane % 4 * 2;
    global const uint* mine = kv + head / GROUP * 64;
    uint seen = before + min(first + 64, rows), tiles = (seen + 63) / 64;
    uint4 x[8];
    {
        global const float* high = q + ((ulong)min(row, rows - 1) * HEADS + head) * 128 + pair;
        global const float* low = q + ((ulong)min(row + 8, rows - 1) * HEADS + head) * 128 + pair;
#pragma unroll
        for (uint i = 0; i < 8; i++)
            x[i] = (uint4)(pack(high[16 * i] * SCALE, high[16 * i + 1] * SCALE), pack(low[16 * i] * SCALE, low[16 * i + 1] * SCALE),
                           pack(high[16 * i + 8] * SCALE, high[16 * i + 9] * SCALE), pack(low[16 * i + 8] * SCALE, low[16 * i + 9] * SCALE));
    }
    float4 acc[16];
#pragma unroll
    for (uint i = 0; i < 16; i++) acc[i] = 0;
    float2 most = NONE, total = 0;
    fetch(base, mine, 0, seen, lid);
    asm volatile("cp.async.commit_group;" ::: "memory");
    fetch(base + SLICE, mine + values, 0, seen, lid);
    asm volatile("cp.async.commit_group;" ::: "memory");
    uint use = base, next = base + SLICE, fill = base + 2 * SLICE;
    for (uint t = 0; t < tiles; t++) {
        asm volatile("cp.async.wait_group 1;" ::: "memory");
        // Also says that all have done with the slice that is filled next.
        barrier(CLK_LOCAL_MEM_FENCE);
        if (t + 1 < tiles) fetch(fill, mine, (t + 1) * 64, seen, lid);
        asm volatile("cp.async.commit_group;" ::: "memory");
        float4 s[8];
#pragma unroll
        for (uint j = 0; j < 8; j++) s[j] = 0;
#pragma unroll
        for (uint i = 0; i < 8; i++)
#pragma unroll
            for (uint j = 0; j < 4; j++) {
                uint b0, b1, b2, b3, at = use + place(16 * j + lane % 8 + lane / 16 * 8, 2 * i + lane / 8 % 2);
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                             : "=r"(b0), "=r"(b1), "=r"(b2), "=r"(b3) : "r"(at) : "memory");
                s[2 * j] = product(s[2 * j], x[i], b0, b1);
                s[2 * j + 1] = product(s[2 * j + 1], x[i], b2, b3);
            }
        if (t * 64 + 63 > before + first + warp * 16) {
            uint last = before + row;
#pragma unroll
            for (uint j = 0; j < 8; j++) {
                uint token = t * 64 + 8 * j + pair;
                if (token > last) s[j].x = NONE;
                if (token + 1 > last) s[j].y = NONE;
                if (token > last + 8) s[j].z = NONE;
                if (token + 1 > last + 8) s[j].w = NONE;
            }
        }
        float2 now = most;
#pragma unroll
        for (uint j = 0; j < 8; j++) now = fmax(now, fmax(s[j].xz, s[j].yw));
        now = (float2)(over(over(now.x, 1, false), 2, false), over(over(now.y, 1, false), 2, false));
        float2 shrink = native_exp2(most - now);
        most = now;
        total *= shrink;
#pragma unroll
        for (uint i = 0; i < 16; i++) acc[i] *= shrink.xxyy;
#pragma unroll
        for (uint j = 0; j < 8; j++) {
            s[j] = native_exp2(s[j] - now.xxyy);
            total += s[j].xz + s[j].yw;
        }
        asm volatile("cp.async.wait_group 1;" ::: "memory");
        barrier(CLK_LOCAL_MEM_FENCE);
        if (t + 1 < tiles) fetch(use, mine + values, (t + 1) * 64, seen, lid);
        asm volatile("cp.async.commit_group;" ::: "memory");
#pragma unroll
        for (uint i = 0; i < 4; i++) {
            uint4 p = (uint4)(pack(s[2 * i].x, s[2 * i].y), pack(s[2 * i].z, s[2 * i].w),
                              pack(s[2 * i + 1].x, s[2 * i + 1].y), pack(s[2 * i + 1].z, s[2 * i + 1].w));
#pragma unroll
            for (uint j = 0; j < 8; j++) {
                uint b0, b1, b2, b3, at = next + place(16 * i + lane % 16, 2 * j + lane / 16);
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                             : "=r"(b0), "=r"(b1), "=r"(b2), "=r"(b3) : "r"(at) : "memory");
                acc[2 * j] = product(acc[2 * j], p, b0, b1);
                acc[2 * j + 1] = product(acc[2 * j + 1], p, b2, b3);
            }
        }
        // Keys of the next tile are in `fill`, its values come to where these keys were, and the keys after those to `next`.
        uint was = use;
        use = fill;
        fill = next;
        next = was;
    }
    total = (float2)(over(over(total.x, 1, true), 2, true), over(over(total.y, 1, true), 2, true));
#pragma unroll
    for (uint i = 0; i < 16; i++) {
        if (row < rows) *(global float2*)(out + ((ulong)row * HEADS + head) * 128 + 8 * i + pair) = acc[i].xy / total.x;
        if (row + 8 < rows) *(global float2*)(out + ((ulong)(row + 8) * HEADS + head) * 128 + 8 * i + pair) = acc[i].zw / total.y;
    }
}

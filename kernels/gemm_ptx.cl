// Measures: C = A B^T of 16-bit matrices with sums in f32 on NVIDIA's matrix units (mma.sync m16n8k16, compute capability 8.0 and later): the products of prefill.
// Buffers: b [n, k], a [m, k] in FORMAT (1 f16, 2 bf16); c [m, n] f32. Numbers: m, n, k.
// m is whole tiles of TM, n of TN, k of BK. Work-groups: (n, m) in tiles.
// Bytes per launch: 2 n k + 2 m k + 4 m n. FLOPs per launch: 2 m n k.
// Four warps share a tile of TM rows and TN columns, WARPS_M of them one above the other. Slices of BK along k travel to local
// memory by asynchronous copies, UNDER_WAY of them on their way while one is used and one is filled; ldmatrix hands them to the warps. A row of a slice is BK / 8
// pieces of 16 bytes, kept in an order that differs from row to row, so that eight rows of one piece lie in different banks.
// Fragments as the PTX manual lays them out: lane / 4 is the row of A and C and the column of B, lane % 4 the pair.
// Honesty: every c is stored; a and b are random.
// Answer: c[i][j] = sum over t of a[i][t] b[j][t].

#if FORMAT == 1
#define TYPE "f16"
#else
#define TYPE "bf16"
#endif
#define TEXT(x) #x
#define WORD(x) TEXT(x)
#define STAGES (UNDER_WAY + 2)
#define THREADS 128
#define PIECES (BK / 8)
#define ROW_WORDS (BK / 2)
#define SLICE_A (TM * ROW_WORDS)
#define SLICE_B (TN * ROW_WORDS)
#define SLICE (SLICE_A + SLICE_B)
#define WARPS_N (4 / WARPS_M)
#define ROWS (TM / WARPS_M)
#define COLS (TN / WARPS_N)
#define PRODUCTS_M (ROWS / 16)
#define PRODUCTS_N (COLS / 8)

// Where piece `p` of row `r` lies in a slice, in words.
static uint place(uint r, uint p) {
#if BK == 64
    return r * ROW_WORDS + (p ^ (r & 7)) * 4;
#else
    return r * ROW_WORDS + (p ^ (r >> 1 & 3)) * 4;
#endif
}

// Starts the copy of a slice: `rows` rows of BK numbers, of a matrix whose rows have `words` words.
static void fetch(uint to, global const uint* from, uint rows, uint words, uint lid) {
#pragma unroll
    for (uint i = 0; i < (rows * PIECES + THREADS - 1) / THREADS; i++) {
        uint at = lid + i * THREADS, r = at / PIECES, p = at % PIECES;
        if (rows * PIECES % THREADS == 0 || at < rows * PIECES)
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
                         :: "r"(to + 4 * place(r, p)), "l"((ulong)(from + (ulong)r * words + 4 * p)) : "memory");
    }
}

static uint4 load(uint at) {
    uint x, y, z, w;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(x), "=r"(y), "=r"(z), "=r"(w) : "r"(at) : "memory");
    return (uint4)(x, y, z, w);
}

__attribute__((reqd_work_group_size(WG, WG_Y, 1)))
kernel void gemm_ptx(global const uint* restrict b, global const uint* restrict a, global float* restrict c,
                     uint m, uint n, uint k) {
    local uint slices[STAGES * SLICE] __attribute__((aligned(128)));
    uint base = (uint)(ulong)slices;
    uint lid = get_local_id(0), warp = lid / 32, lane = lid % 32, words = k / 2, steps = k / BK;
    global const uint* from_a = a + (ulong)get_group_id(1) * TM * words;
    global const uint* from_b = b + (ulong)get_group_id(0) * TN * words;
    uint row0 = warp / WARPS_N * ROWS, col0 = warp % WARPS_N * COLS;
    float4 acc[PRODUCTS_M][PRODUCTS_N];
#pragma unroll
    for (uint i = 0; i < PRODUCTS_M; i++)
#pragma unroll
        for (uint j = 0; j < PRODUCTS_N; j++) acc[i][j] = 0;
    for (uint s = 0; s < STAGES - 1; s++) {
        if (s < steps) {
            uint to = base + 4 * s * SLICE;
            fetch(to, from_a + s * ROW_WORDS, TM, words, lid);
            fetch(to + 4 * SLICE_A, from_b + s * ROW_WORDS, TN, words, lid);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    uint use = 0, fill = STAGES - 1;
    for (uint t = 0; t < steps; t++) {
        asm volatile("cp.async.wait_group " WORD(UNDER_WAY) ";" ::: "memory");
        // Also says that all have done with the slice that is filled next.
        barrier(CLK_LOCAL_MEM_FENCE);
        if (t + STAGES - 1 < steps) {
            uint to = base + 4 * fill * SLICE;
            fetch(to, from_a + (t + STAGES - 1) * ROW_WORDS, TM, words, lid);
            fetch(to + 4 * SLICE_A, from_b + (t + STAGES - 1) * ROW_WORDS, TN, words, lid);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
        uint slice = base + 4 * use * SLICE;
#pragma unroll
        for (uint step = 0; step < BK / 16; step++) {
            uint4 x[PRODUCTS_M], y[PRODUCTS_N / 2];
#pragma unroll
            for (uint i = 0; i < PRODUCTS_M; i++)
                x[i] = load(slice + 4 * place(row0 + 16 * i + lane % 16, 2 * step + lane / 16));
#pragma unroll
            for (uint j = 0; j < PRODUCTS_N / 2; j++)
                y[j] = load(slice + 4 * (SLICE_A + place(col0 + 16 * j + lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2)));
#pragma unroll
            for (uint i = 0; i < PRODUCTS_M; i++)
#pragma unroll
                for (uint j = 0; j < PRODUCTS_N; j++) {
                    float d0 = acc[i][j].x, d1 = acc[i][j].y, d2 = acc[i][j].z, d3 = acc[i][j].w;
                    uint y0 = j % 2 ? y[j / 2].z : y[j / 2].x, y1 = j % 2 ? y[j / 2].w : y[j / 2].y;
                    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 "
                                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                                 : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)
                                 : "r"(x[i].x), "r"(x[i].y), "r"(x[i].z), "r"(x[i].w), "r"(y0), "r"(y1));
                    acc[i][j] = (float4)(d0, d1, d2, d3);
                }
        }
        use = use + 1 == STAGES ? 0 : use + 1;
        fill = fill + 1 == STAGES ? 0 : fill + 1;
    }
    uint row = get_group_id(1) * TM + row0 + lane / 4, col = get_group_id(0) * TN + col0 + lane % 4 * 2;
#pragma unroll
    for (uint i = 0; i < PRODUCTS_M; i++)
#pragma unroll
        for (uint j = 0; j < PRODUCTS_N; j++) {
            global float* to = c + (ulong)(row + 16 * i) * n + col + 8 * j;
            *(global float2*)to = acc[i][j].xy;
            *(global float2*)(to + (ulong)8 * n) = acc[i][j].zw;
        }
}

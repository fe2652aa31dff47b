//! Attention over a paged cache (decode) and over contiguous keys (prefill); heads of 128 numbers in bfloat16.
//!
//! The query heads that share a key head go together, and keys come in blocks: scores of a block, softmax over the blocks one by
//! one (Milakov, Gimelshein 2018; Dao 2022), weighted values.
use super::super::call::Call;
use super::numbers::{self, BF16};
use super::tile::{self, LINE, Matrix, QUAD};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Size of a head, and its words.
const D: usize = 128;
const WORDS: usize = D / 2;
/// Keys of a block.
const KEYS: usize = 64;
/// 1/√128
const SCALE: f32 = 0.088_388_35;

/// Place of number `d` of a head in the order in which lines of words are decoded: of 16 words first the low halves.
fn place(d: usize) -> usize {
    d / (2 * LINE) * (2 * LINE) + d % 2 * LINE + d / 2 % LINE
}

/// Softmax over keys that come in blocks, for some rows.
struct Online {
    /// Of each row the largest score and the sum of exponentials.
    state: Vec<(f32, f32)>,
    /// Of each row the weighted values, in the order of [`place`].
    acc: Vec<f32>,
}

impl Online {
    fn new(rows: usize) -> Self {
        Self {
            state: vec![(f32::NEG_INFINITY, 0.0); rows],
            acc: vec![0.0; rows * D],
        }
    }

    /// Turns row `r`'s scores into weights; those from `seen` on are not for it. The row of values so far shrinks.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, simd: S, r: usize, scores: &mut [f32], seen: usize) {
        let (max, sum) = &mut self.state[r];
        let lines = scores.len();
        scores[seen.min(lines)..].fill(f32::NEG_INFINITY);
        let scores: &mut [S::f32s] = bytemuck::cast_slice_mut(scores);
        let mut largest = simd.splat_f32s(*max);
        for s in scores.iter() {
            largest = simd.max_f32s(largest, *s);
        }
        let largest = simd.reduce_max_f32s(largest);
        if largest == f32::NEG_INFINITY {
            scores.fill(simd.splat_f32s(0.0));
            return;
        }
        if largest > *max {
            let shrink = (*max - largest).exp();
            *sum *= shrink;
            let acc: &mut [S::f32s] = bytemuck::cast_slice_mut(&mut self.acc[r * D..][..D]);
            for a in acc {
                *a = simd.mul_f32s(*a, simd.splat_f32s(shrink));
            }
            *max = largest;
        }
        let mut total = simd.splat_f32s(0.0);
        let zero = simd.splat_f32s(largest);
        for s in scores.iter_mut() {
            *s = tile::exp(simd, simd.sub_f32s(*s, zero));
            total = simd.add_f32s(total, *s);
        }
        *sum += simd.reduce_sum_f32s(total);
    }
}

/// The query heads of some neighbouring key heads over some tokens of one sequence's cache. Memory is read in its order: all heads of
/// a few tokens, then the next tokens.
struct Paged<'a, F> {
    /// Rows of queries, one head each.
    queries: &'a [f32],
    /// Query heads of a key head.
    shared: usize,
    keys: &'a [u32],
    values: &'a [u32],
    tokens: Range<usize>,
    /// First word of a token's vectors, those of the first of the key heads.
    at: F,
}

/// Tokens whose values are read together.
const FEW: usize = 16;

impl<F: Fn(usize) -> usize> WithSimd for Paged<'_, F> {
    type Output = Online;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Online {
        let rows = self.queries.len() / D;
        // Query heads of one key head, as many as the registers take: (key head, rows).
        let (most, shared) = (tile::most::<S>(), self.shared);
        let parts = shared.div_ceil(most);
        let groups: Vec<(usize, Range<usize>)> = (0..rows / shared)
            .flat_map(|h| (0..parts).map(move |i| (h, i)))
            .map(|(h, i)| {
                let first = h * shared;
                (
                    h,
                    first + i * shared / parts..first + (i + 1) * shared / parts,
                )
            })
            .collect();
        // Each group's queries by lines, in the order of decoded keys.
        let mut packed = vec![0f32; rows * D];
        for (_, g) in &groups {
            for (r, q) in self.queries[g.start * D..g.end * D]
                .chunks_exact(D)
                .enumerate()
            {
                for (d, q) in q.iter().enumerate() {
                    let p = place(d);
                    packed[g.start * D + (p / LINE * g.len() + r) * LINE + p % LINE] = q * SCALE;
                }
            }
        }
        // Words of all heads of a token.
        let all = rows / shared * WORDS;
        let mut online = Online::new(rows);
        let mut scores = vec![0f32; rows * KEYS];
        for first in self.tokens.clone().step_by(KEYS) {
            let count = KEYS.min(self.tokens.end - first);
            let mut at = [0; KEYS];
            for (i, at) in at.iter_mut().enumerate() {
                *at = (self.at)(first + i.min(count - 1));
            }
            for quad in (0..count).step_by(QUAD) {
                // Ahead: the values of these tokens, and the keys of the next block's.
                for at in &at[quad..quad + QUAD] {
                    numbers::prefetch(&self.values[*at..][..all]);
                }
                for (head, g) in &groups {
                    let key = |i: usize| &self.keys[at[quad + i] + head * WORDS..][..WORDS];
                    tile::dots_of_words::<S, BF16>(
                        simd,
                        [key(0), key(1), key(2), key(3)],
                        |_| [1.0; QUAD],
                        &packed[g.start * D..g.end * D],
                        g.len(),
                        |r, sums| {
                            scores[(g.start + r) * KEYS + quad..][..QUAD].copy_from_slice(&sums);
                        },
                    );
                }
            }
            for (r, scores) in scores.chunks_exact_mut(KEYS).enumerate() {
                online.weigh(simd, r, scores, count);
            }
            for few in (0..count).step_by(FEW) {
                for t in first + KEYS + few..self.tokens.end.min(first + KEYS + few + FEW) {
                    numbers::prefetch(&self.keys[(self.at)(t)..][..all]);
                }
                for (head, g) in &groups {
                    tile::outer_words::<S, BF16>(
                        simd,
                        g.len(),
                        Matrix {
                            at: &scores[g.start * KEYS + few..],
                            width: KEYS,
                        },
                        (&self.values[head * WORDS..], &at[few..count.min(few + FEW)]),
                        &mut online.acc[g.start * D..g.end * D],
                    );
                }
            }
        }
        online
    }
}

/// Partial results of one split of one sequence's context: 128 sums, the largest score, the sum of exponentials.
pub(super) fn decode(mut call: Call) {
    let (q, kv, table, lens) = (call.floats(0), call.reads[1], call.reads[2], call.reads[3]);
    let (heads, kv_heads, block) = (
        call.define("HEADS"),
        call.define("KV_HEADS"),
        call.define("BLOCK"),
    );
    let (batch, splits, stride, values) = (
        call.number(0),
        call.number(1),
        call.number(2),
        call.number(3),
    );
    let (keys, values) = kv.split_at(values);
    let (arch, shared) = (call.arch, heads / kv_heads);
    // All key heads in one task, unless there are too few tasks for the threads.
    let tasks = (2 * rayon::current_num_threads()).div_ceil(batch * splits);
    let together = kv_heads.div_ceil(tasks.min(kv_heads));
    let cuts = kv_heads.div_ceil(together);
    // Sequence, split and key heads of task i.
    let of = |i: usize| {
        let first = i % cuts * together;
        let heads = first..kv_heads.min(first + together);
        (i / cuts / splits, i / cuts % splits, heads)
    };
    let parts: Vec<Online> = (0..batch * splits * cuts)
        .into_par_iter()
        .with_max_len(1)
        .map(|i| {
            let (b, split, kv) = of(i);
            let len = lens[b] as usize;
            let share = len.div_ceil(block).div_ceil(splits) * block;
            let begin = (split * share).min(len);
            arch.dispatch(Paged {
                queries: &q[(b * heads + kv.start * shared) * D..][..kv.len() * shared * D],
                shared,
                keys,
                values,
                tokens: begin..len.min(begin + share),
                at: |t: usize| {
                    let slot = table[b * stride + t / block] as usize * block + t % block;
                    (slot * kv_heads + kv.start) * WORDS
                },
            })
        })
        .collect();
    let out: &mut [f32] = bytemuck::cast_slice_mut(&mut *call.writes[0]);
    for (i, part) in parts.iter().enumerate() {
        let (b, split, kv) = of(i);
        for (r, (max, sum)) in part.state.iter().enumerate() {
            let row = (b * heads + kv.start * shared + r) * splits + split;
            let out = &mut out[row * (D + 2)..][..D + 2];
            let acc = &part.acc[r * D..][..D];
            for (d, out) in out[..D].iter_mut().enumerate() {
                *out = acc[place(d)];
            }
            out[D] = *max;
            out[D + 1] = *sum;
        }
    }
}

/// Joins the splits.
pub(super) fn reduce(mut call: Call) {
    let partial = call.floats(0);
    let (rows, splits) = (call.number(0), call.number(1));
    call.rows(0, rows * D, D, |i, out: &mut [f32]| {
        let parts = &partial[i * splits * (D + 2)..][..splits * (D + 2)];
        let max = parts
            .chunks(D + 2)
            .fold(f32::NEG_INFINITY, |m, p| m.max(p[D]));
        let mut sum = 0.0;
        out.fill(0.0);
        for p in parts.chunks(D + 2) {
            let factor = (p[D] - max).exp();
            sum += p[D + 1] * factor;
            out.iter_mut().zip(p).for_each(|(o, v)| *o += v * factor);
        }
        out.iter_mut().for_each(|o| *o /= sum);
    });
}

/// Neighbouring rows of a chunk, the query heads of one key head, over all keys that they see.
struct Causal<'a> {
    /// Row by row, head by head.
    queries: Vec<f32>,
    /// Heads of a row.
    shared: usize,
    keys: &'a [u32],
    values: &'a [u32],
    /// Tokens before the first row.
    before: usize,
    /// Words between tokens.
    stride: usize,
}

impl WithSimd for Causal<'_> {
    type Output = Online;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Online {
        let rows = self.queries.len() / D;
        let tokens = self.before + rows / self.shared;
        let mut online = Online::new(rows);
        let mut scores = vec![0f32; rows * KEYS];
        let mut words = vec![0u32; WORDS * KEYS];
        // Keys by columns, values by rows.
        let mut keys = vec![0f32; D * KEYS];
        let mut values = vec![0f32; KEYS * D];
        for first in (0..tokens).step_by(KEYS) {
            let count = KEYS.min(tokens - first);
            let cols = count.next_multiple_of(LINE);
            for i in 0..count {
                let at = (first + i) * self.stride;
                for (w, word) in self.keys[at..][..WORDS].iter().enumerate() {
                    words[w * KEYS + i] = *word;
                }
                let lines = self.values[at..][..WORDS].as_chunks::<LINE>().0;
                for (l, line) in lines.iter().enumerate() {
                    let to = &mut values[i * D + l * 2 * LINE..][..2 * LINE];
                    tile::unpack::<S, BF16>(simd, line, to);
                }
            }
            for (words, to) in words
                .chunks_exact(KEYS)
                .zip(keys.chunks_exact_mut(2 * KEYS))
            {
                for (l, line) in words.as_chunks::<LINE>().0.iter().enumerate() {
                    let mut both = [0f32; 2 * LINE];
                    tile::unpack::<S, BF16>(simd, line, &mut both);
                    to[l * LINE..][..LINE].copy_from_slice(&both[..LINE]);
                    to[KEYS + l * LINE..][..LINE].copy_from_slice(&both[LINE..]);
                }
            }
            // Rows that see none of these keys are left out.
            let from = (first.saturating_sub(self.before)) * self.shared;
            scores[from * KEYS..].fill(0.0);
            let queries = Matrix {
                at: &self.queries[from * D..],
                width: D,
            };
            let by_column = Matrix {
                at: &keys,
                width: KEYS,
            };
            tile::outer(
                simd,
                (rows - from, cols, D),
                queries,
                by_column,
                &mut scores[from * KEYS..],
                KEYS,
            );
            for r in from..rows {
                let seen = self.before + r / self.shared + 1 - first;
                let scores = &mut scores[r * KEYS..][..cols];
                online.weigh(simd, r, scores, seen.min(count));
            }
            let weights = Matrix {
                at: &scores[from * KEYS..],
                width: KEYS,
            };
            let by_row = Matrix {
                at: &values,
                width: D,
            };
            tile::outer(
                simd,
                (rows - from, D, count),
                weights,
                by_row,
                &mut online.acc[from * D..],
                D,
            );
        }
        online
    }
}

/// Causal attention of a chunk of queries after a past.
pub(super) fn prefill(mut call: Call) {
    let (q, kv) = (call.floats(0), call.reads[1]);
    let (heads, kv_heads) = (call.define("HEADS"), call.define("KV_HEADS"));
    let (rows, first, values) = (call.number(0), call.number(1), call.number(2));
    let (keys, values) = kv.split_at(values);
    let (arch, shared) = (call.arch, heads / kv_heads);
    // Rows of a task: decoding the keys once pays for about 32 queries.
    let block = 32usize.div_ceil(shared).clamp(4, 32);
    let blocks = rows.div_ceil(block);
    let of = |i: usize| {
        let (kv_head, block_no) = (i % kv_heads, i / kv_heads);
        (kv_head, block_no * block..rows.min((block_no + 1) * block))
    };
    let parts: Vec<Online> = (0..blocks * kv_heads)
        .into_par_iter()
        .with_max_len(1)
        .map(|i| {
            let (kv_head, range) = of(i);
            let queries = range.clone().flat_map(|row| {
                let at = (row * heads + kv_head * shared) * D;
                q[at..at + shared * D].iter().map(|q| q * SCALE)
            });
            arch.dispatch(Causal {
                queries: queries.collect(),
                shared,
                keys: &keys[kv_head * WORDS..],
                values: &values[kv_head * WORDS..],
                before: first + range.start,
                stride: kv_heads * WORDS,
            })
        })
        .collect();
    let out: &mut [f32] = bytemuck::cast_slice_mut(&mut *call.writes[0]);
    for (i, part) in parts.iter().enumerate() {
        let (kv_head, range) = of(i);
        for (r, (_, sum)) in part.state.iter().enumerate() {
            let head = kv_head * shared + r % shared;
            let row = (range.start + r / shared) * heads + head;
            let acc = &part.acc[r * D..][..D];
            for (d, out) in out[row * D..][..D].iter_mut().enumerate() {
                *out = acc[place(d)] / sum;
            }
        }
    }
}

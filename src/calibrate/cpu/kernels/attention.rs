//! Attention over a paged cache (decode) and over contiguous keys (prefill); heads of 128.
use super::super::call::Call;
use super::numbers::{self, BF16, dot};

/// Size of a head.
const D: usize = 128;

/// Softmax over keys that come one by one (Milakov, Gimelshein 2018): largest score, sum of exponentials, weighted values.
struct Online {
    max: f32,
    sum: f32,
    acc: [f32; D],
}

impl Online {
    #[inline(always)]
    fn new() -> Self {
        Self {
            max: f32::NEG_INFINITY,
            sum: 0.0,
            acc: [0.0; D],
        }
    }

    #[inline(always)]
    fn add(&mut self, score: f32, value: &[f32; D]) {
        if score > self.max {
            let shrink = (self.max - score).exp();
            self.sum *= shrink;
            self.acc.iter_mut().for_each(|a| *a *= shrink);
            self.max = score;
        }
        let p = (score - self.max).exp();
        self.sum += p;
        for (a, v) in self.acc.iter_mut().zip(value) {
            // Not fused, as in `numbers::dots`.
            *a += p * *v;
        }
    }
}

/// One query head over the tokens `range`, whose words in the key and value arrays `at` tells.
#[inline(always)]
fn attend(
    q: &[f32],
    (keys, values): (&[u32], &[u32]),
    range: std::ops::Range<usize>,
    at: impl Fn(usize) -> usize,
) -> Online {
    let (mut key, mut value, mut state) = ([0f32; D], [0f32; D], Online::new());
    for t in range {
        let at = at(t);
        numbers::decode(BF16, &keys[at..at + D / 2], &mut key);
        numbers::decode(BF16, &values[at..at + D / 2], &mut value);
        // 1/√128
        state.add(dot(q, &key) * 0.088_388_35, &value);
    }
    state
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
    let halves = kv.split_at(values);
    call.rows(
        0,
        batch * heads * splits * (D + 2),
        D + 2,
        |i, out: &mut [f32]| {
            let (split, head, b) = (i % splits, i / splits % heads, i / splits / heads);
            let blocks = (lens[b] as usize).div_ceil(block);
            let share = blocks.div_ceil(splits) * block;
            let end = (lens[b] as usize).min((split + 1) * share);
            let kv_head = head / (heads / kv_heads);
            let state = attend(
                &q[(b * heads + head) * D..][..D],
                halves,
                split * share..end,
                |t| {
                    let slot = table[b * stride + t / block] as usize * block + t % block;
                    (slot * kv_heads + kv_head) * (D / 2)
                },
            );
            out[..D].copy_from_slice(&state.acc);
            out[D] = state.max;
            out[D + 1] = state.sum;
        },
    );
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

/// Causal attention of a chunk of queries after a past.
pub(super) fn prefill(mut call: Call) {
    let (q, kv) = (call.floats(0), call.reads[1]);
    let (heads, kv_heads) = (call.define("HEADS"), call.define("KV_HEADS"));
    let (rows, first, values) = (call.number(0), call.number(1), call.number(2));
    let halves = kv.split_at(values);
    call.rows(0, rows * heads * D, D, |i, out: &mut [f32]| {
        let (head, row) = (i % heads, i / heads);
        let kv_head = head / (heads / kv_heads);
        let q = &q[i * D..][..D];
        let state = attend(q, halves, 0..first + row + 1, |t| {
            (t * kv_heads + kv_head) * (D / 2)
        });
        for (o, a) in out.iter_mut().zip(&state.acc) {
            *o = a / state.sum;
        }
    });
}

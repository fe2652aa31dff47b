//! Batch composition → step time, with its breakdown.
//!
//! This floor knows nothing of queues: it prices one engine step at a time.
mod breakdown;
mod price;
mod routing;

pub use breakdown::{Breakdown, Part};
pub use price::{CostError, CostOptions, DraftOptions, StepPrice};
pub use routing::Routing;

use crate::units::Span;
use serde::Serialize;

/// What one engine step computes, as the sums that its cost depends on.
///
/// A *decode* is a sequence with exactly one new token in the step whose predecessors are all computed;
/// everything else is a *prefill chunk* (a prompt piece, or a resumed request's recomputation). `q` is
/// the number of new tokens of a sequence, `c` its context length **after** the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepShape {
    /// Sequences that decode (one new token each).
    pub decode_seqs: u32,
    /// Σ c over the decoding sequences: KV tokens that decode attention reads.
    pub decode_context: u64,
    /// Σ min(c, window) over the decoding sequences; equals `decode_context` without a window.
    pub decode_context_windowed: u64,
    /// Sequences with a prefill chunk.
    pub prefill_seqs: u32,
    /// Σ q over the prefill chunks.
    pub prefill_tokens: u32,
    /// Σ c over the prefill chunks: KV tokens that prefill attention reads.
    pub prefill_context: u64,
    /// Σ (query, key) pairs of the causal prefill attention: Σ q·(c − q) + q·(q + 1)/2.
    pub prefill_pairs: u64,
    /// As `prefill_pairs`, with each query seeing at most the window.
    pub prefill_pairs_windowed: u64,
    /// Sequences that sample a token: rows of the lm_head.
    pub sampled: u32,
    /// Distinct (content, position) pairs among all new tokens: what mixture-of-experts routing sees
    /// (docs/methodology.md). At most [`tokens`](Self::tokens). A prompt that quotes an answer which another
    /// request is still generating counts those tokens again.
    pub distinct_tokens: u32,
    /// Images that the vision tower computes in the step.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub images: u32,
    /// Drafts that the step verifies: tokens of decoding sequences beyond the first of each, whose last one `decode_context` counts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub verified: u32,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl StepShape {
    /// All new tokens: rows of the dense matrices.
    pub fn tokens(&self) -> u32 {
        self.decode_seqs + self.verified + self.prefill_tokens
    }
    /// All sequences in the batch.
    pub fn seqs(&self) -> u32 {
        self.decode_seqs + self.prefill_seqs
    }
}

/// The price of engine steps. The engine is generic over it.
pub trait StepCost {
    /// How long the step takes, host and device together, overlap included.
    fn step(&self, shape: &StepShape) -> Span;

    /// How long a step takes in which several engines, each with its own batch, run in lock-step: at least as long as the
    /// slowest of them.
    fn lockstep(&self, shapes: &[StepShape]) -> Span {
        shapes
            .iter()
            .map(|s| self.step(s))
            .max()
            .unwrap_or(Span::ZERO)
    }

    /// How long one stage of a pipeline takes for a step, or, in lock-step, for the steps of several engines; the first one is number 0.
    /// A cost that knows no stages says the same of each.
    fn stage(&self, _stage: usize, shapes: &[StepShape], lockstep: bool) -> Span {
        match shapes {
            [one] if !lockstep => self.step(one),
            all => self.lockstep(all),
        }
    }

    /// How long what was made takes from one stage to the next, number `to`.
    fn hop(&self, _to: usize, _shapes: &[StepShape]) -> Span {
        Span::ZERO
    }

    /// The sliding attention window, in tokens, if some layers have one: the engine then keeps
    /// [`StepShape::decode_context_windowed`].
    fn attention_window(&self) -> Option<u32> {
        None
    }

    /// Whether [`StepShape::distinct_tokens`] matters; the engine may report `tokens()` if not.
    fn wants_distinct_tokens(&self) -> bool {
        false
    }

    /// The images of each prompt, if the load has some: the engine then counts [`StepShape::images`].
    fn images(&self) -> Option<ImagesAtEnd> {
        None
    }
}

/// Images at the end of each prompt, all of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImagesAtEnd {
    /// How many.
    pub count: u32,
    /// Prompt tokens of each.
    pub tokens: u32,
    /// Tokens of each that hold what the tower saw.
    pub embeds: u32,
    /// Most of them that the tower computes in a step.
    pub budget: u32,
}

impl ImagesAtEnd {
    /// Those of a prompt that begin at a position of `from .. to`: their number, and where the first of them begins.
    pub fn beginning(&self, prompt: u32, from: u32, to: u32) -> (u32, u32) {
        let start = prompt.saturating_sub(self.count.saturating_mul(self.tokens));
        let each = self.tokens.max(1);
        // The number of images that begin before a position.
        let before = |at: u32| at.saturating_sub(start).div_ceil(each).min(self.count);
        let (skipped, all) = (before(from), before(to));
        (all - skipped, start + skipped * each)
    }
}

impl<C: StepCost + ?Sized> StepCost for &C {
    fn step(&self, shape: &StepShape) -> Span {
        (**self).step(shape)
    }
    fn lockstep(&self, shapes: &[StepShape]) -> Span {
        (**self).lockstep(shapes)
    }
    fn stage(&self, stage: usize, shapes: &[StepShape], lockstep: bool) -> Span {
        (**self).stage(stage, shapes, lockstep)
    }
    fn hop(&self, to: usize, shapes: &[StepShape]) -> Span {
        (**self).hop(to, shapes)
    }
    fn attention_window(&self) -> Option<u32> {
        (**self).attention_window()
    }
    fn wants_distinct_tokens(&self) -> bool {
        (**self).wants_distinct_tokens()
    }
    fn images(&self) -> Option<ImagesAtEnd> {
        (**self).images()
    }
}

/// `base + per_token · tokens + per_seq · sequences`: the cost of the recorded `clock_*` scenarios, and
/// handy in tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinearCost {
    /// Paid by every step.
    pub base: Span,
    /// Paid for each new token.
    pub per_token: Span,
    /// Paid for each sequence in the batch.
    pub per_seq: Span,
}

impl StepCost for LinearCost {
    fn step(&self, shape: &StepShape) -> Span {
        self.base + self.per_token * shape.tokens().into() + self.per_seq * shape.seqs().into()
    }
}

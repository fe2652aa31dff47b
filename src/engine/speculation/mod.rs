//! Speculative decoding: a cheap drafter guesses several tokens of a sequence, and one step of the model verifies them all. The step
//! yields the drafts up to the first wrong one, and one token more (Y. Leviathan, M. Kalman, Y. Matias, ICML 2023, arXiv:2211.17192).
//!
//! [`Method`] is what drafts, [`Acceptance`] how many drafts turn out right, [`Speculation`] what a scheduler decides by. Names are
//! vLLM's.
mod acceptance;
mod asked;
mod counters;
mod drafting;
mod method;

pub use acceptance::{Acceptance, AcceptanceError};
pub use asked::{Assumed, RECORD, Requested, STATED_SD, requested};
pub use counters::{MOST_POSITIONS, SpeculationCounters};
pub use drafting::{Drafting, SpeculationInputs};
pub use method::Method;

/// What a scheduler knows of speculation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speculation {
    /// What drafts.
    pub method: Method,
    /// Most drafts of a sequence that a step may accept.
    pub tokens: u32,
    /// Drafts of a sequence that a step computes: `tokens`, or more where drafts are a tree.
    pub computed: u32,
    /// KV slots that are kept free behind a step's tokens for the drafter's own.
    pub lookahead: u32,
    /// Whether the last block found in the prefix cache is computed again, for the hidden states that the drafter needs.
    pub drops_last_block: bool,
    /// Tokens of the budget that each request of a step takes for the drafter, beside its own.
    pub draft_slots: u32,
    /// How many drafts are right.
    pub acceptance: Acceptance,
    /// Share of a sequence's steps that have drafts, as [`Acceptance::share`] makes it.
    pub drafted: u64,
    /// Of the stream of chance that decides it.
    pub key: u64,
}

impl Speculation {
    /// Most KV slots beyond a sequence's known tokens that a step may take.
    pub fn most_slots(&self) -> u32 {
        self.computed.saturating_add(self.lookahead)
    }
}

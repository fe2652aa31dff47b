//! What engines count of speculation (vLLM 0.32.0, `v1/spec_decode/metrics.py: SpecDecodingStats`).

/// Positions of a draft that are counted; no engine drafts more at once.
pub const MOST_POSITIONS: usize = 64;

/// Drafts and what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeculationCounters {
    /// Verifications: sequences with drafts in a step.
    pub drafts: u64,
    /// Draft tokens verified.
    pub draft_tokens: u64,
    /// Draft tokens that were right.
    pub accepted_tokens: u64,
    /// The same by position in the draft, the first one first.
    pub accepted_at: [u64; MOST_POSITIONS],
}

impl Default for SpeculationCounters {
    fn default() -> Self {
        Self {
            drafts: 0,
            draft_tokens: 0,
            accepted_tokens: 0,
            accepted_at: [0; MOST_POSITIONS],
        }
    }
}

impl SpeculationCounters {
    /// A sequence's drafts were verified.
    pub fn observe(&mut self, drafts: u32, accepted: u32) {
        self.drafts += 1;
        self.draft_tokens += u64::from(drafts);
        self.accepted_tokens += u64::from(accepted);
        for at in &mut self.accepted_at[..(accepted as usize).min(MOST_POSITIONS)] {
            *at += 1;
        }
    }

    /// Mean tokens of a verification, the one that the model adds included; `None` where nothing was drafted. vLLM's `Mean acceptance
    /// length`.
    pub fn mean_length(&self) -> Option<f64> {
        (self.drafts > 0).then(|| 1.0 + self.accepted_tokens as f64 / self.drafts as f64)
    }

    /// Share of the draft tokens that were right. vLLM's `Avg Draft acceptance rate`.
    pub fn rate(&self) -> Option<f64> {
        (self.draft_tokens > 0).then(|| self.accepted_tokens as f64 / self.draft_tokens as f64)
    }

    /// Share of the verifications that accepted each position, of the first `positions`. vLLM's `Per-position acceptance rate`.
    pub fn per_position(&self, positions: u32) -> Vec<f64> {
        let most = (positions as usize).min(MOST_POSITIONS);
        let all = self.accepted_at[..most].iter();
        all.map(|n| *n as f64 / (self.drafts as f64).max(1.0))
            .collect()
    }
}

impl std::ops::AddAssign for SpeculationCounters {
    fn add_assign(&mut self, other: Self) {
        self.drafts += other.drafts;
        self.draft_tokens += other.draft_tokens;
        self.accepted_tokens += other.accepted_tokens;
        for (a, b) in self.accepted_at.iter_mut().zip(other.accepted_at) {
            *a += b;
        }
    }
}

//! What a batch computes, as the sums that its price depends on.
use super::scheduler::{Batch, Scheduler};
use crate::cost::StepShape;
use crate::engine::content::{Lockstep, common_prefix};

/// Σ over the queries at positions `from .. to` of the keys that each sees: min(position + 1, window).
fn windowed_pairs(from: u64, to: u64, window: u64) -> u64 {
    // Positions below `window` see position + 1 keys.
    let cut = window.clamp(from, to);
    let growing = (cut - from) * (from + cut + 1) / 2;
    growing + (to - cut) * window
}

impl Scheduler {
    /// The sums that a step's cost depends on.
    pub(super) fn shape_of(&mut self, batch: &Batch) -> StepShape {
        let number = batch.number;
        let mut shape = StepShape {
            decode_seqs: batch.lanes,
            decode_context: self.lanes.context(number),
            decode_context_windowed: self.lanes.context_windowed(number),
            sampled: batch.lanes,
            ..StepShape::default()
        };
        let window = self.tracking.window.map_or(u64::MAX / 4, u64::from);
        for m in &batch.members {
            let (q, before) = (u64::from(m.tokens), u64::from(m.computed));
            let c = before + q;
            if m.tokens == m.drafts + 1 {
                shape.decode_seqs += 1;
                shape.verified += m.drafts;
                shape.decode_context += c;
                shape.decode_context_windowed += c.min(window);
            } else {
                shape.prefill_seqs += 1;
                shape.prefill_tokens += m.tokens;
                shape.prefill_context += c;
                shape.prefill_pairs += q * before + q * (q + 1) / 2;
                shape.prefill_pairs_windowed += windowed_pairs(before, c, window);
            }
            shape.sampled += u32::from(m.sampled);
            if let Some(images) = &self.tracking.images {
                let prompt = self.states[m.slot as usize].request.prompt.len();
                shape.images += images
                    .beginning(prompt, m.computed, m.computed + m.tokens)
                    .0;
            }
        }
        shape.distinct_tokens = if self.tracking.distinct_tokens {
            self.lanes.distinct() + self.distinct_in(batch)
        } else {
            shape.tokens()
        };
        shape
    }

    /// New tokens of the batch's members that are not the same computation as one of an earlier member or of a lane.
    fn distinct_in(&self, batch: &Batch) -> u32 {
        let mut distinct = 0;
        for (i, m) in batch.members.iter().enumerate() {
            let s = &self.states[m.slot as usize];
            let (from, to) = (u64::from(m.computed), u64::from(m.computed + m.tokens));
            let mut covered: smallvec::SmallVec<[(u64, u64); 4]> = smallvec::SmallVec::new();
            for other in &batch.members[..i] {
                let o = &self.states[other.slot as usize];
                let low = from.max(other.computed.into());
                let high = to.min((other.computed + other.tokens).into());
                if low >= high {
                    continue;
                }
                let shared = common_prefix(
                    (&s.request.prompt, &s.request.answer),
                    (&o.request.prompt, &o.request.answer),
                );
                if low < high.min(shared) {
                    covered.push((low, high.min(shared)));
                }
            }
            // A resumed request recomputes outputs, which another one in lockstep may just decode.
            for p in from.max(s.request.prompt.len().into())..to {
                let offset = p as i64 + 1 - batch.number as i64;
                if self.lanes.has_key(Lockstep::key(s.content, offset)) {
                    covered.push((p, p + 1));
                }
            }
            covered.sort_unstable();
            let (mut fresh, mut at) = (to - from, from);
            for (low, high) in covered {
                let low = low.max(at);
                if high > low {
                    fresh -= high - low;
                    at = high;
                }
            }
            distinct += fresh as u32;
        }
        distinct
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windowed_pairs_are_what_counting_says() {
        for (from, to, w) in [(0, 10, 4), (3, 9, 4), (5, 9, 4), (0, 3, 8), (4, 5, 4)] {
            let slow: u64 = (from..to).map(|i: u64| (i + 1).min(w)).sum();
            assert_eq!(windowed_pairs(from, to, w), slow, "{from}..{to} {w}");
        }
    }
}

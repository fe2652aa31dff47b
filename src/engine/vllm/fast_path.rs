//! The steps in which every running request gets its tokens: only the requests outside lanes, and the lanes whose block fills
//! up, are touched. How a request gets into a lane, and out of it.
use super::request::{Lane, Slot};
use super::scheduler::{Batch, Member, Scheduler};
use crate::engine::content::Lockstep;

impl Scheduler {
    /// Schedules the running list if every lane gets its token and no request needs to be preempted; else changes
    /// nothing and returns `false`.
    pub(super) fn schedule_fast(
        &mut self,
        number: u64,
        threshold: u32,
        budget: &mut u32,
        batch: &mut Batch,
    ) -> bool {
        let lanes = self.lanes.count();
        self.renew_encoder_budget();
        let mut wanted: smallvec::SmallVec<[u32; 8]> = smallvec::SmallVec::new();
        for i in 0..self.tracked.len() {
            let slot = self.tracked[i].1;
            let n = self.wanted(slot, threshold);
            let computed = self.states[slot as usize].num_computed_tokens;
            wanted.push(self.before_image_too_many(slot, computed, n));
        }
        let total = u64::from(lanes) + wanted.iter().map(|n| u64::from(*n)).sum::<u64>();
        if total > u64::from(*budget) {
            // Only the last of all may be cut: no request behind it loses a token.
            let over = total - u64::from(*budget);
            let last_is_tracked = self.tracked.last() == self.running.last();
            match wanted.last_mut() {
                Some(n) if last_is_tracked && over <= u64::from(*n) => *n -= over as u32,
                _ => return false,
            }
        }
        let phase = self.lanes.phase_at(number);
        let mut need = self.lanes.phase_count(phase);
        for (&(_, slot), &n) in self.tracked.iter().zip(&wanted) {
            if n > 0 {
                need += self.new_blocks(slot, n);
            }
        }
        if need > self.free_blocks() {
            return false;
        }
        *budget -= total.min(u64::from(*budget)) as u32;
        if self.count_only {
            self.free_count -= self.lanes.phase_count(phase);
            for i in 0..wanted.len() {
                let (seq, slot) = self.tracked[i];
                if wanted[i] > 0 {
                    self.take_tokens(seq, slot, wanted[i], batch);
                }
            }
            return true;
        }
        // In order of the running list: lanes that need a block, lanes whose block becomes full, and the requests outside lanes.
        // A synchronous lane's block is full one batch before the next one is needed, an asynchronous one's when
        // the next one is needed, for the last token was not known earlier.
        let phases = self.config.block_size as usize;
        let full = (phase + 1) % phases;
        let registers =
            self.config.enable_prefix_caching && !self.config.async_scheduling && full != phase;
        let needy = self.lanes.take_phase(phase);
        let filled = if registers {
            self.lanes.take_phase(full)
        } else {
            vec![]
        };
        // Three lists in order of admission, merged.
        let seq_of = |list: &[(u64, Slot)], i: usize| list.get(i).map_or(u64::MAX, |(seq, _)| *seq);
        let (mut i, mut j, mut k) = (0, 0, 0);
        loop {
            let seqs = [
                seq_of(&needy, i),
                seq_of(&filled, j),
                seq_of(&self.tracked, k),
            ];
            let next = seqs[0].min(seqs[1]).min(seqs[2]);
            if next == u64::MAX {
                break;
            }
            if next == seqs[2] {
                let (seq, slot) = self.tracked[k];
                if wanted[k] > 0 {
                    self.take_tokens(seq, slot, wanted[k], batch);
                }
                k += 1;
                continue;
            }
            let (slot, new) = if next == seqs[0] {
                i += 1;
                (needy[i - 1].1, 1)
            } else {
                j += 1;
                (filled[j - 1].1, 0)
            };
            let tokens = (self.computed(slot) + 1).min(self.num_tokens(slot));
            self.attach(slot, new, tokens);
        }
        if registers {
            self.lanes.give_phase(full, filled);
        }
        self.lanes.give_phase(phase, needy);
        true
    }

    /// Counts the batch's tokens as computed; requests that sample in it go on in lanes.
    pub(super) fn join_lanes(&mut self, batch: &Batch) {
        let number = batch.number;
        for m in &batch.members {
            let max_model_len = self.config.max_model_len;
            let is_async = self.config.async_scheduling;
            let stages = self.config.pipeline_stages;
            let s = &mut self.states[m.slot as usize];
            s.num_computed_tokens = m.computed + m.tokens;
            if !m.sampled {
                continue;
            }
            let in_flight = s.num_output_placeholders;
            if is_async {
                s.num_output_placeholders += 1;
            }
            if stages > 1 {
                // Not every step has a token for it: it stays outside lanes.
                if is_async {
                    s.next_eligible_step = self.step + u64::from(stages);
                }
                continue;
            }
            let (true_end, _) = s.true_end(max_model_len);
            // Its tokens in flight are those of the batches just before this one.
            let first_out = number - u64::from(in_flight);
            let left = u64::from(true_end - s.num_tokens);
            let offset = i64::from(s.num_computed_tokens) - number as i64;
            let lane = Lane {
                joined: number,
                first_out,
                end: first_out + left - 1,
                foreseen: true_end == s.length_limit(max_model_len),
                offset,
                key: if self.tracking.distinct_tokens {
                    Lockstep::key(s.content, offset)
                } else {
                    0
                },
            };
            s.lane = Some(lane);
            self.lanes.join(m.seq, m.slot, &lane);
            if let Ok(i) = self.tracked.binary_search_by_key(&m.seq, |(q, _)| *q) {
                self.tracked.remove(i);
            }
        }
    }

    /// Takes a request out of its lane: its state is written back, and batches in flight list it by name.
    pub(super) fn leave_lane(&mut self, slot: Slot) -> bool {
        let (scheduled, processed) = (self.scheduled, self.processed);
        let computed = self.computed(slot);
        let num_tokens = self.num_tokens(slot);
        let s = &mut self.states[slot as usize];
        let Some(lane) = s.lane.take() else {
            return false;
        };
        let joined_at = s.num_computed_tokens;
        s.num_computed_tokens = computed;
        s.num_tokens = num_tokens;
        s.num_output_placeholders = if self.config.async_scheduling {
            (scheduled - processed.max(lane.first_out - 1)) as u32
        } else {
            0
        };
        if self.count_only {
            s.num_blocks = self.config.blocks_for(computed);
        }
        if processed > lane.joined {
            s.last_token = self.last_output;
        }
        let (seq, generation) = (s.seq, s.generation);
        self.lanes.leave(seq, slot, &lane);
        for batch in &mut self.in_flight {
            if batch.number > lane.joined {
                batch.lanes -= 1;
                batch.members.push(Member {
                    seq,
                    slot,
                    generation,
                    tokens: 1,
                    drafts: 0,
                    computed: joined_at + (batch.number - 1 - lane.joined) as u32,
                    sampled: true,
                });
            }
        }
        true
    }

    /// Takes a request out of its lane that stays in the running list.
    pub(super) fn leave_fast_path(&mut self, slot: Slot) {
        if self.leave_lane(slot) {
            let seq = self.states[slot as usize].seq;
            let at = self.tracked.partition_point(|(s, _)| *s < seq);
            self.tracked.insert(at, (seq, slot));
        }
    }
}

//! Composing a batch: running requests first, then waiting ones, under one token budget.
use super::content::{Lockstep, common_prefix};
use super::request::{Lane, Slot, Status};
use super::{Batch, Engine, Member};
use crate::cost::StepShape;
use crate::units::SimTime;

/// Σ over the queries at positions `from .. to` of the keys that each sees: min(position + 1, window).
fn windowed_pairs(from: u64, to: u64, window: u64) -> u64 {
    // Positions below `window` see position + 1 keys.
    let cut = window.clamp(from, to);
    let growing = (cut - from) * (from + cut + 1) / 2;
    growing + (to - cut) * window
}

impl Engine {
    /// Composes the next batch at time `now`; `false` if nothing could be scheduled.
    ///
    /// Everything that arrived by then must have been submitted. At most two batches may be in flight.
    pub fn schedule(&mut self, now: SimTime) -> bool {
        let moves = &mut self.moves;
        moves.new.clear();
        moves.resumed.clear();
        moves.preempted.clear();
        moves.blocks.clear();
        let number = self.scheduled + 1;
        if self.processed < self.scheduled {
            // Asynchronous: requests whose last token by a length limit is on its way are not scheduled again.
            let last: Vec<Slot> = self
                .lanes
                .ending(self.scheduled)
                .iter()
                .copied()
                .filter(|s| self.states[*s as usize].lane.is_some_and(|l| l.foreseen))
                .collect();
            for slot in last {
                self.drop_out(slot);
            }
        }
        let lone = self.running.len() + self.waiting.len() == 1;
        let threshold = if lone && self.rules.lone_request_ignores_threshold {
            0
        } else {
            self.config.long_prefill_token_threshold
        };
        let mut batch = self.spare.pop().unwrap_or_default();
        batch.number = number;
        batch.members.clear();
        let mut budget = self.config.max_num_batched_tokens;
        if !self.schedule_lanes(number, threshold, &mut budget, &mut batch) {
            self.schedule_plainly(threshold, &mut budget, &mut batch);
        }
        batch.lanes = self.lanes.count();
        if self.moves.preempted.is_empty() {
            self.admit(now, threshold, &mut budget, &mut batch);
        }
        if batch.lanes == 0 && batch.members.is_empty() {
            self.spare.push(batch);
            return false;
        }
        self.scheduled = number;
        batch.shape = self.shape_of(&batch);
        self.advance(&mut batch);
        self.in_flight.push_back(batch);
        true
    }

    /// Tokens that a running request outside lanes asks for, within all limits but the budget.
    pub(super) fn wanted(&self, slot: Slot, threshold: u32) -> u32 {
        let s = &self.states[slot as usize];
        if s.placeholders > 0
            && s.computed + 2 - s.placeholders
                >= s.request.prompt.len().saturating_add(s.request.max_tokens)
        {
            return 0;
        }
        let mut n = s.num_tokens + s.placeholders - s.computed;
        if threshold > 0 && n > threshold {
            n = threshold;
        }
        n.min((self.config.max_model_len - 1).saturating_sub(s.computed))
    }

    /// Blocks that `n` more tokens of a request need beyond those it holds.
    pub(super) fn new_blocks(&self, slot: Slot, n: u32) -> u32 {
        let s = &self.states[slot as usize];
        self.config
            .blocks_for((s.computed + n).min(self.config.max_model_len))
            .saturating_sub(s.num_blocks)
    }

    /// Gives a running request outside lanes its tokens: blocks attached, full ones registered.
    pub(super) fn take_tokens(&mut self, seq: u64, slot: Slot, n: u32, batch: &mut Batch) {
        let new = self.new_blocks(slot, n);
        let s = &self.states[slot as usize];
        let (computed, full) = (s.computed, (s.computed + n).min(s.num_tokens));
        let generation = s.generation;
        let sampled = s.computed + n == s.num_tokens + s.placeholders;
        self.attach(slot, new, full);
        batch.members.push(Member {
            seq,
            slot,
            generation,
            tokens: n,
            computed,
            sampled,
        });
    }

    /// Schedules the running list if every lane gets its token and nobody needs to be preempted; else changes
    /// nothing and returns `false`.
    fn schedule_lanes(
        &mut self,
        number: u64,
        threshold: u32,
        budget: &mut u32,
        batch: &mut Batch,
    ) -> bool {
        let lanes = self.lanes.count();
        let mut wanted: smallvec::SmallVec<[u32; 8]> = self
            .loose
            .iter()
            .map(|&(_, slot)| self.wanted(slot, threshold))
            .collect();
        let total = u64::from(lanes) + wanted.iter().map(|n| u64::from(*n)).sum::<u64>();
        if total > u64::from(*budget) {
            // Only the last of all may be cut: nobody behind it loses a token.
            let over = total - u64::from(*budget);
            let last_is_loose = self.loose.last() == self.running.last();
            match wanted.last_mut() {
                Some(n) if last_is_loose && over <= u64::from(*n) => *n -= over as u32,
                _ => return false,
            }
        }
        let phase = self.lanes.phase_at(number);
        let mut need = self.lanes.phase_count(phase);
        for (&(_, slot), &n) in self.loose.iter().zip(&wanted) {
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
                let (seq, slot) = self.loose[i];
                if wanted[i] > 0 {
                    self.take_tokens(seq, slot, wanted[i], batch);
                }
            }
            return true;
        }
        // In order of the running list: lanes that need a block, lanes whose block becomes full, and the loose.
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
                seq_of(&self.loose, k),
            ];
            let next = seqs[0].min(seqs[1]).min(seqs[2]);
            if next == u64::MAX {
                break;
            }
            if next == seqs[2] {
                let (seq, slot) = self.loose[k];
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

    /// Admits waiting requests as long as budget, places and blocks last.
    fn admit(&mut self, now: SimTime, threshold: u32, budget: &mut u32, batch: &mut Batch) {
        let bs = self.config.block_size;
        let mut stepped_over: Vec<Slot> = vec![];
        let mut hits: smallvec::SmallVec<[u32; 64]> = smallvec::SmallVec::new();
        while *budget > 0 && self.running.len() < self.config.max_num_seqs as usize {
            let Some(slot) = self.waiting.peek() else {
                break;
            };
            if self.rules.stale_tokens_hold_back && self.states[slot as usize].stale > 0 {
                self.waiting.pop();
                stepped_over.push(slot);
                continue;
            }
            hits.clear();
            let s = &mut self.states[slot as usize];
            let num_tokens = s.num_tokens;
            if self.config.enable_prefix_caching {
                // At least the last token is computed anew.
                let most = (num_tokens - 1) / bs;
                s.hashes
                    .extend(most, bs, &s.request.prompt, &s.request.answer);
                for hash in &s.hashes.list()[..most as usize] {
                    match self.pool.lookup(*hash) {
                        Some(id) => hits.push(id),
                        None => break,
                    }
                }
            }
            let hit_blocks = hits.len() as u32;
            let hit = hit_blocks * bs;
            let preempted = s.status == Status::Preempted;
            if !self.rules.count_lookups_at_admission {
                self.count_lookup(preempted, num_tokens, hit);
            }
            let mut n = num_tokens - hit;
            if threshold > 0 && n > threshold {
                n = threshold;
            }
            if !self.config.enable_chunked_prefill && n > *budget {
                break;
            }
            n = n.min(*budget);
            let hits_in_queue = hits.iter().filter(|id| self.pool.is_free(**id)).count() as u32;
            let blocks = |tokens: u32| {
                self.config
                    .blocks_for(tokens.min(self.config.max_model_len))
            };
            let new = blocks(hit + n) - hit_blocks;
            let free = self.free_blocks();
            if self.rules.reserve_full_prompt
                && blocks(num_tokens) - hit_blocks + hits_in_queue > free
            {
                break;
            }
            if new + hits_in_queue > free {
                break;
            }
            self.waiting.pop();
            if self.rules.count_lookups_at_admission {
                self.count_lookup(preempted, num_tokens, hit);
            }
            for id in &hits {
                self.pool.touch(*id);
            }
            self.admissions += 1;
            let seq = self.admissions;
            let s = &mut self.states[slot as usize];
            s.seq = seq;
            s.status = Status::Running;
            s.computed = hit;
            s.blocks.extend_from_slice(&hits);
            s.num_blocks = hit_blocks;
            s.registered = hit_blocks;
            let id = s.request.id;
            if preempted {
                self.moves.resumed.push(id);
            } else {
                self.moves.new.push(id);
                s.scheduled = Some(now);
                s.cached_tokens = hit;
            }
            if self.record_blocks {
                self.moves.blocks.push((id, hits.to_vec()));
            }
            self.running.push((seq, slot));
            self.loose.push((seq, slot));
            self.take_tokens(seq, slot, n, batch);
            *budget -= n;
        }
        for slot in stepped_over.into_iter().rev() {
            let request = &self.states[slot as usize].request;
            self.waiting.push_front(slot, request);
        }
    }

    fn count_lookup(&mut self, preempted: bool, queries: u32, hits: u32) {
        if !self.config.enable_prefix_caching {
            return;
        }
        let c = &mut self.counters;
        let (requests, q, h) = if preempted {
            (
                &mut c.preempted_requests,
                &mut c.preempted_queries,
                &mut c.preempted_hits,
            )
        } else {
            (&mut c.requests, &mut c.queries, &mut c.hits)
        };
        *requests += 1;
        *q += u64::from(queries);
        *h += u64::from(hits);
    }

    /// The sums that a step's cost depends on.
    fn shape_of(&mut self, batch: &Batch) -> StepShape {
        let number = batch.number;
        let mut shape = StepShape {
            decode_seqs: batch.lanes,
            decode_context: self.lanes.context(number),
            decode_context_windowed: self.lanes.context_windowed(number),
            sampled: batch.lanes,
            ..StepShape::default()
        };
        let window = self.window.map_or(u64::MAX / 4, u64::from);
        for m in &batch.members {
            let (q, before) = (u64::from(m.tokens), u64::from(m.computed));
            let c = before + q;
            if q == 1 {
                shape.decode_seqs += 1;
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
        }
        shape.distinct_tokens = if self.track_distinct {
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

    /// Counts the batch's tokens as computed; requests that sample in it go on in lanes.
    fn advance(&mut self, batch: &mut Batch) {
        let number = batch.number;
        for m in &batch.members {
            let max_model_len = self.config.max_model_len;
            let is_async = self.config.async_scheduling;
            let s = &mut self.states[m.slot as usize];
            s.computed = m.computed + m.tokens;
            if !m.sampled {
                continue;
            }
            let in_flight = s.placeholders;
            if is_async {
                s.placeholders += 1;
            }
            let (true_end, _) = s.true_end(max_model_len);
            // Its tokens in flight are those of the batches just before this one.
            let first_out = number - u64::from(in_flight);
            let left = u64::from(true_end - s.num_tokens);
            let offset = i64::from(s.computed) - number as i64;
            let lane = Lane {
                joined: number,
                first_out,
                end: first_out + left - 1,
                foreseen: true_end == s.length_limit(max_model_len),
                offset,
                key: if self.track_distinct {
                    Lockstep::key(s.content, offset)
                } else {
                    0
                },
            };
            s.lane = Some(lane);
            self.lanes.join(m.seq, m.slot, &lane);
            if let Ok(i) = self.loose.binary_search_by_key(&m.seq, |(q, _)| *q) {
                self.loose.remove(i);
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
        let joined_at = s.computed;
        s.computed = computed;
        s.num_tokens = num_tokens;
        s.placeholders = if self.config.async_scheduling {
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
                    computed: joined_at + (batch.number - 1 - lane.joined) as u32,
                    sampled: true,
                });
            }
        }
        true
    }

    /// Takes a request out of its lane that stays in the running list.
    pub(super) fn drop_out(&mut self, slot: Slot) {
        if self.leave_lane(slot) {
            let seq = self.states[slot as usize].seq;
            let at = self.loose.partition_point(|(s, _)| *s < seq);
            self.loose.insert(at, (seq, slot));
        }
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

//! Admitting waiting requests: prefix cache, blocks, seats, budget.
use super::kv::BlockId;
use super::request::{Slot, Status};
use super::scheduler::{Batch, Scheduler};
use crate::units::SimTime;

/// Blocks found in the prefix cache.
type Hits = smallvec::SmallVec<[BlockId; 64]>;

impl Scheduler {
    /// Admits waiting requests as long as budget, places and blocks last.
    pub(super) fn admit(
        &mut self,
        now: SimTime,
        threshold: u32,
        budget: &mut u32,
        batch: &mut Batch,
    ) {
        let bs = self.config.block_size;
        let mut stepped_over: Vec<Slot> = vec![];
        let mut hits = Hits::new();
        while *budget > 0
            && self.running.len() < self.config.max_num_seqs as usize
            && self.room_for_drafter()
        {
            let Some(slot) = self.waiting.peek() else {
                break;
            };
            if self.rules.stale_tokens_hold_back
                && self.states[slot as usize].num_stale_output_tokens > 0
            {
                self.waiting.pop();
                stepped_over.push(slot);
                continue;
            }
            self.look_up(slot, &mut hits);
            let s = &self.states[slot as usize];
            let num_tokens = s.num_tokens;
            let hit_blocks = hits.len() as u32;
            let hit = hit_blocks * bs;
            let preempted = s.status == Status::Preempted;
            // What came from another engine, where it is more than the cache has.
            let there = hit.max(s.transferred);
            let withheld = s.withheld;
            if !self.rules.count_lookups_at_admission {
                self.count_lookup(preempted, num_tokens, hit);
            }
            let mut n = num_tokens - there;
            if threshold > 0 && n > threshold {
                n = threshold;
            }
            if !self.config.enable_chunked_prefill && n > self.within_input(*budget) {
                break;
            }
            n = self.before_image_too_many(slot, there, self.within_input(n.min(*budget)));
            if n == 0 {
                break;
            }
            let hits_in_queue = hits.iter().filter(|id| self.pool.is_free(**id)).count() as u32;
            let blocks = |tokens: u32| {
                self.config
                    .blocks_for(tokens.min(self.config.max_model_len))
            };
            let new = blocks(there + n + self.lookahead()) - hit_blocks;
            let free = self.free_blocks() + withheld;
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
            s.num_computed_tokens = there;
            (s.transferred, s.withheld) = (0, 0);
            self.withheld -= withheld;
            s.blocks.extend_from_slice(&hits);
            s.num_blocks = hit_blocks;
            s.registered = hit_blocks;
            let id = s.request.id;
            if preempted {
                self.moves.resumed.push(id);
            } else {
                self.moves.admitted.push(id);
                s.scheduled = Some(now);
                s.cached_tokens = hit;
            }
            if self.record_blocks {
                self.moves.blocks.push((id, hits.to_vec()));
            }
            self.running.push((seq, slot));
            self.tracked.push((seq, slot));
            self.take_tokens(seq, slot, n, batch);
            *budget -= n;
            self.take_input(n);
        }
        self.put_back(stepped_over);
    }

    /// Requests that were stepped over wait where they stood.
    fn put_back(&mut self, stepped_over: Vec<Slot>) {
        for slot in stepped_over.into_iter().rev() {
            let request = &self.states[slot as usize].request;
            self.waiting.push_front(slot, request);
        }
    }

    /// The cached blocks that hold the beginning of a request, but for its last token, which is always computed.
    fn look_up(&mut self, slot: Slot, hits: &mut Hits) {
        hits.clear();
        if !self.config.enable_prefix_caching {
            return;
        }
        let bs = self.config.block_size;
        let s = &mut self.states[slot as usize];
        let most = (s.num_tokens - 1) / bs;
        s.hashes
            .extend(most, bs, &s.request.prompt, &s.request.answer);
        for hash in &s.hashes.list()[..most as usize] {
            match self.pool.lookup(*hash) {
                Some(id) => hits.push(id),
                None => break,
            }
        }
        if self
            .config
            .speculation
            .as_ref()
            .is_some_and(|s| s.drops_last_block)
        {
            hits.pop();
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
}

//! Composing a batch: running requests first, then waiting ones, under one token budget.
use super::request::Slot;
use super::scheduler::{Batch, Member, Scheduler};
use crate::units::SimTime;

impl Scheduler {
    /// Composes the next batch at time `now`; `false` if nothing could be scheduled. Without a pipeline at most two batches may be in
    /// flight.
    pub(super) fn compose(&mut self, now: SimTime) -> bool {
        let moves = &mut self.moves;
        moves.admitted.clear();
        moves.resumed.clear();
        moves.preempted.clear();
        moves.blocks.clear();
        self.step += 1;
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
                self.leave_fast_path(slot);
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
        self.input_budget = budget;
        // With speculation requests advance by different numbers of tokens: none is in a lane.
        if self.config.speculation.is_some()
            || !self.schedule_fast(number, threshold, &mut budget, &mut batch)
        {
            self.schedule_slowly(threshold, &mut budget, &mut batch);
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
        self.shape = self.shape_of(&batch);
        if self.config.speculation.is_some() {
            self.await_drafts(&batch);
        } else {
            self.join_lanes(&batch);
        }
        self.in_flight.push_back(batch);
        true
    }

    /// Tokens that a running request outside lanes asks for, within all limits but the budget.
    pub(super) fn wanted(&self, slot: Slot, threshold: u32) -> u32 {
        let s = &self.states[slot as usize];
        if self.step < s.next_eligible_step {
            return 0;
        }
        if s.num_output_placeholders > 0
            && s.num_computed_tokens + 2 - s.num_output_placeholders
                >= s.request.prompt.len().saturating_add(s.request.max_tokens)
        {
            return 0;
        }
        let mut n = s.num_tokens + s.drafts + s.num_output_placeholders - s.num_computed_tokens;
        if threshold > 0 && n > threshold {
            n = threshold;
        }
        n.min((self.config.max_model_len - 1).saturating_sub(s.num_computed_tokens))
    }

    /// The tower's budget of a new step.
    pub(super) fn renew_encoder_budget(&mut self) {
        self.encoder_budget = self.tracking.images.map_or(0, |i| i.budget);
    }

    /// Of `n` tokens those before the first image that the tower has no budget for in this step (`_try_schedule_encoder_inputs`,
    /// vLLM 0.32.0, `v1/core/sched/scheduler.py`). The room that its cache has for results is not simulated: they leave it as soon
    /// as the language model has read them.
    pub(super) fn before_image_too_many(&mut self, slot: Slot, computed: u32, n: u32) -> u32 {
        let Some(images) = self.tracking.images else {
            return n;
        };
        let prompt = self.states[slot as usize].request.prompt.len();
        let (begin, first) = images.beginning(prompt, computed, computed.saturating_add(n));
        let fit = (self.encoder_budget / images.embeds.max(1)).min(begin);
        self.encoder_budget -= fit * images.embeds;
        if fit < begin {
            return (first + fit * images.tokens)
                .saturating_sub(computed)
                .min(n);
        }
        n
    }

    /// Blocks that `n` more tokens of a request need beyond those it holds.
    pub(super) fn new_blocks(&self, slot: Slot, n: u32) -> u32 {
        let s = &self.states[slot as usize];
        self.config
            .blocks_for(
                (s.num_computed_tokens + n + self.lookahead()).min(self.config.max_model_len),
            )
            .saturating_sub(s.num_blocks)
    }

    /// Gives a running request outside lanes its tokens: blocks attached, full ones registered.
    pub(super) fn take_tokens(&mut self, seq: u64, slot: Slot, n: u32, batch: &mut Batch) {
        let new = self.new_blocks(slot, n);
        let s = &self.states[slot as usize];
        let (computed, full) = (
            s.num_computed_tokens,
            (s.num_computed_tokens + n).min(s.num_tokens),
        );
        let generation = s.generation;
        let known = s.num_tokens + s.num_output_placeholders;
        let sampled = s.num_computed_tokens + n >= known;
        let drafts = (s.num_computed_tokens + n).saturating_sub(known);
        self.states[slot as usize].drafts = 0;
        self.attach(slot, new, full);
        batch.members.push(Member {
            seq,
            slot,
            generation,
            tokens: n,
            computed,
            sampled,
            drafts,
        });
    }
}

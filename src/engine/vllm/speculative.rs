//! Speculative decoding (`v1/core/sched/scheduler.py` and `async_scheduler.py`@0.32.0): drafts are scheduled with the token before them;
//! those that turn out wrong are taken back from what counts as computed.
//!
//! A request's drafts come with the output of the step before; under async scheduling the worker has them in time, and the scheduler puts
//! placeholders in their place.
use super::request::{Slot, Status};
use super::scheduler::{Batch, Member, Scheduler};
use crate::engine::speculation::Acceptance;
use crate::units::SimTime;

impl Scheduler {
    /// KV slots that a drafter writes behind the step's tokens (`num_lookahead_tokens`).
    pub(super) fn lookahead(&self) -> u32 {
        self.config.speculation.as_ref().map_or(0, |s| s.lookahead)
    }

    fn draft_slots(&self) -> u32 {
        self.config
            .speculation
            .as_ref()
            .map_or(0, |s| s.draft_slots)
    }

    /// Whether one more request fits beside its drafter's rows (`input_budget`).
    pub(super) fn room_for_drafter(&self) -> bool {
        self.input_budget > self.draft_slots()
    }

    /// Tokens that fit beside the drafter's rows.
    pub(super) fn within_input(&self, n: u32) -> u32 {
        match self.draft_slots() {
            0 => n,
            slots => n.min(self.input_budget - slots),
        }
    }

    pub(super) fn take_input(&mut self, n: u32) {
        self.input_budget = self.input_budget.saturating_sub(n + self.draft_slots());
    }

    pub(super) fn give_input(&mut self, n: u32) {
        self.input_budget += n + self.draft_slots();
    }

    /// Counts a batch's tokens as computed; under async scheduling requests that sample get placeholders for their next drafts.
    pub(super) fn await_drafts(&mut self, batch: &Batch) {
        let next = self.config.speculation.as_ref().map_or(0, |s| s.computed);
        for m in &batch.members {
            let is_async = self.config.async_scheduling;
            let s = &mut self.states[m.slot as usize];
            s.num_computed_tokens = m.computed + m.tokens;
            if m.sampled && is_async {
                s.num_output_placeholders += 1 + m.drafts;
                s.drafts = next;
            }
        }
    }

    /// Delivers the tokens of a batch whose drafts were verified, in batch order.
    pub(super) fn deliver_verified(&mut self, batch: &Batch, now: SimTime) {
        for m in batch.members.iter().filter(|m| m.sampled) {
            if self.generation_matches(m) {
                self.verify(m, now);
            }
        }
    }

    fn verify(&mut self, m: &Member, now: SimTime) {
        let accepted = self.accepted(m);
        let s = &mut self.states[m.slot as usize];
        let stale = s.num_stale_output_tokens > 0;
        if stale {
            // Of before a preemption: its tokens count, its positions do not.
            s.num_stale_output_tokens = s.num_stale_output_tokens.saturating_sub(1 + m.drafts);
        } else {
            s.num_computed_tokens -= m.drafts - accepted;
        }
        // Those behind the end are dropped.
        let (end, _) = s.true_end(self.config.max_model_len);
        let tokens = (1 + accepted).min(end - s.num_tokens);
        if !stale {
            let arrived = m.drafts - accepted + tokens;
            s.num_output_placeholders = s.num_output_placeholders.saturating_sub(arrived);
        }
        s.num_tokens += tokens;
        match s.first_token {
            Some(_) => self.gaps.push((now.since(s.last_token), 1)),
            None => s.first_token = Some(now),
        }
        s.last_token = now;
        let id = s.request.id;
        let ends = s.num_tokens >= end;
        let running = s.status == Status::Running;
        let known = s
            .num_computed_tokens
            .saturating_sub(s.num_output_placeholders);
        if self.tracking.tokens {
            self.tokens.extend((0..tokens).map(|_| id));
        }
        if self.config.async_scheduling && !stale && running {
            self.register_upto(m.slot, known);
        }
        if ends {
            self.finish(m.slot, now);
        } else if !self.config.async_scheduling && running {
            self.draft(m.slot);
        }
    }

    /// How many of a member's drafts are right.
    fn accepted(&mut self, m: &Member) -> u32 {
        let Some(spec) = self.config.speculation.as_ref().filter(|_| m.drafts > 0) else {
            return 0;
        };
        let s = &mut self.states[m.slot as usize];
        let outputs = s.num_tokens - s.request.prompt.len();
        let most = m.drafts.min(spec.tokens);
        let right = &spec.acceptance;
        let accepted = right.accepted(spec.key, s.request.id, outputs, s.verifications, most);
        s.verifications += 1;
        self.speculated.observe(m.drafts, accepted);
        accepted
    }

    /// New drafts for a request whose output is there.
    fn draft(&mut self, slot: Slot) {
        let Some(spec) = &self.config.speculation else {
            return;
        };
        let s = &mut self.states[slot as usize];
        let outputs = s.num_tokens - s.request.prompt.len();
        let some = Acceptance::drafted(spec.key, s.request.id, outputs, spec.drafted);
        s.drafts = if some { spec.computed } else { 0 };
    }
}

//! Delivering a batch's tokens.
use super::request::{Slot, Status};
use super::scheduler::{Batch, Scheduler};
use crate::engine::observe::FinishReason;
use crate::units::SimTime;

impl Scheduler {
    /// Processes the output of the oldest batch in flight, complete at `now`; `false` if there is none.
    ///
    /// Requests receive their tokens in batch order; those that end release their blocks at once.
    pub(super) fn deliver_oldest(&mut self, now: SimTime) -> bool {
        self.finished.clear();
        self.gaps.clear();
        let Some(mut batch) = self.in_flight.pop_front() else {
            return false;
        };
        self.processed = batch.number;
        self.tokens.clear();
        if self.tracking.tokens && self.config.speculation.is_none() {
            self.list_tokens(&batch);
        }
        if batch.lanes > 0 {
            self.gaps.push((now.since(self.last_output), batch.lanes));
        }
        // Requests that end in their lanes, and those to be looked at singly, in batch order.
        let mut events = std::mem::take(&mut self.events);
        for &slot in self.lanes.ending(batch.number) {
            events.push((self.states[slot as usize].seq, slot, true));
        }
        if self.config.speculation.is_some() {
            self.deliver_verified(&batch, now);
        }
        for m in batch.members.iter().filter(|m| m.sampled) {
            if self.generation_matches(m) && self.config.speculation.is_none() {
                events.push((m.seq, m.slot, false));
            }
        }
        // A request that joined its lane and ends with the same batch appears twice: token first, then the end.
        events.sort_unstable_by_key(|&(seq, _, ends)| (seq, ends));
        for (_, slot, ends) in events.drain(..) {
            if ends {
                self.finish(slot, now);
            } else {
                self.deliver(slot, batch.number, now);
            }
        }
        self.events = events;
        self.last_output = now;
        batch.members.clear();
        self.spare.push(batch);
        true
    }

    fn list_tokens(&mut self, batch: &Batch) {
        let mut all: Vec<(u64, Slot)> = batch
            .members
            .iter()
            .filter(|m| m.sampled && self.generation_matches(m))
            .map(|m| (m.seq, m.slot))
            .collect();
        all.extend(self.running.iter().filter(|&&(_, slot)| {
            let lane = self.states[slot as usize].lane;
            lane.is_some_and(|l| l.joined < batch.number)
        }));
        all.sort_unstable();
        let states = &self.states;
        self.tokens.extend(
            all.iter()
                .map(|&(_, slot)| states[slot as usize].request.id),
        );
    }

    /// One token for a request that is listed by name.
    fn deliver(&mut self, slot: Slot, number: u64, now: SimTime) {
        let s = &mut self.states[slot as usize];
        if s.first_token.is_some() {
            let gap = now.since(s.last_token);
            self.gaps.push((gap, 1));
        } else {
            s.first_token = Some(now);
        }
        s.last_token = now;
        if s.lane.is_some_and(|l| l.first_out <= number) {
            // Counted with the lane, which also knows its end.
            return;
        }
        s.num_tokens += 1;
        if s.num_stale_output_tokens > 0 {
            s.num_stale_output_tokens -= 1;
        } else {
            s.num_output_placeholders = s.num_output_placeholders.saturating_sub(1);
            if self.config.async_scheduling && s.status == Status::Running {
                let known = s.num_computed_tokens - s.num_output_placeholders;
                self.register_upto(slot, known);
            }
        }
        let s = &self.states[slot as usize];
        let (end, _) = s.true_end(self.config.max_model_len);
        if s.num_tokens >= end {
            self.finish(slot, now);
        }
    }

    pub(super) fn finish(&mut self, slot: Slot, now: SimTime) {
        self.leave_lane(slot);
        match self.states[slot as usize].status {
            Status::Running => self.remove_running(slot),
            Status::Waiting | Status::Preempted => {
                let request = &self.states[slot as usize].request;
                self.waiting.remove(slot, request);
            }
        }
        let s = &self.states[slot as usize];
        let (_, by_length) = s.true_end(self.config.max_model_len);
        let reason = if by_length {
            FinishReason::Length
        } else {
            FinishReason::Stop
        };
        let record = self.end(slot, reason, now);
        self.finished.push(record);
    }
}

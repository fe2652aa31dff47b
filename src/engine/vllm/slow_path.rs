//! The running list walked request by request, as vLLM walks it: for the steps in which the budget or the KV blocks
//! do not suffice for every request.
use super::request::{Slot, Status};
use super::scheduler::{Batch, Scheduler};
use crate::engine::SchedulingPolicy;

impl Scheduler {
    pub(super) fn schedule_slowly(&mut self, threshold: u32, budget: &mut u32, batch: &mut Batch) {
        for i in 0..self.running.len() {
            let (_, slot) = self.running[i];
            if self.states[slot as usize].lane.is_some() {
                self.leave_lane(slot);
            }
        }
        self.tracked.clone_from(&self.running);
        self.renew_encoder_budget();
        let mut i = 0;
        while i < self.running.len() && *budget > 0 && self.room_for_drafter() {
            let (seq, slot) = self.running[i];
            let n = self.within_input(self.wanted(slot, threshold).min(*budget));
            let computed = self.states[slot as usize].num_computed_tokens;
            let n = self.before_image_too_many(slot, computed, n);
            if n == 0 {
                i += 1;
                continue;
            }
            let mut scheduled = false;
            loop {
                if self.new_blocks(slot, n) <= self.free_blocks() {
                    scheduled = true;
                    break;
                }
                let at = self.victim();
                let (victim_seq, victim) = self.running[at];
                if self.config.policy == SchedulingPolicy::Priority {
                    let in_batch = batch.members.iter().position(|m| m.seq == victim_seq);
                    if let Some(k) = in_batch {
                        *budget += batch.members[k].tokens;
                        self.give_input(batch.members[k].tokens);
                        batch.members.remove(k);
                        let id = self.states[victim as usize].request.id;
                        self.moves.blocks.retain(|(b, _)| *b != id);
                    }
                    let moves = if self.rules.victim_before_moves_index {
                        at < i
                    } else {
                        in_batch.is_some()
                    };
                    if moves {
                        i -= 1;
                    }
                }
                self.preempt(victim);
                if victim == slot {
                    break;
                }
            }
            if scheduled {
                self.take_tokens(seq, slot, n, batch);
                *budget -= n;
                self.take_input(n);
                i += 1;
            } else if !(self.rules.self_preemption_goes_on
                && self.config.policy == SchedulingPolicy::Priority)
            {
                break;
            }
        }
    }

    /// Index in the running list of the request to preempt.
    fn victim(&self) -> usize {
        match self.config.policy {
            SchedulingPolicy::Fcfs => self.running.len() - 1,
            SchedulingPolicy::Priority => {
                let rank = |i: usize| {
                    let r = &self.states[self.running[i].1 as usize].request;
                    (r.priority, r.arrival)
                };
                let mut worst = 0;
                for i in 1..self.running.len() {
                    if rank(i) > rank(worst) {
                        worst = i;
                    }
                }
                worst
            }
        }
    }

    /// Tokens of a running request outside lanes in batches whose output is still to come. In a pipeline that schedules synchronously
    /// nothing stands for them (`num_in_flight_tokens`, vLLM 0.32.0).
    fn tokens_on_the_way(&self, slot: Slot) -> u32 {
        let s = &self.states[slot as usize];
        if self.config.pipeline_stages == 1 {
            return s.num_stale_output_tokens + s.num_output_placeholders;
        }
        let members = self.in_flight.iter().flat_map(|b| &b.members);
        let its = members.filter(|m| m.sampled && m.slot == slot && self.generation_matches(m));
        its.count() as u32
    }

    /// Takes a running request outside lanes off its blocks and back to the front of the queue.
    fn preempt(&mut self, slot: Slot) {
        self.remove_running(slot);
        self.release(slot);
        let on_the_way = self.tokens_on_the_way(slot);
        let s = &mut self.states[slot as usize];
        s.num_computed_tokens = 0;
        s.drafts = 0;
        s.status = Status::Preempted;
        s.preemptions += 1;
        if self.rules.stale_tokens_hold_back || self.config.speculation.is_some() {
            s.num_stale_output_tokens = on_the_way;
            s.num_output_placeholders = 0;
        }
        self.moves.preempted.push(s.request.id);
        let request = &self.states[slot as usize].request;
        self.waiting.push_front(slot, request);
    }
}

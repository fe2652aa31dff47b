//! `llama-server`: a fixed number of slots (llama.cpp `tools/server/server-context.cpp`, `update_slots`, as of b9010).
//!
//! Where it differs from vLLM:
//!
//! - a request gets a free slot or waits; the whole context of a slot is its own, so that no request is ever preempted;
//! - a batch of at most `--batch-size` tokens holds one token of every generating slot first, then prompt pieces *in the
//!   order of the slots*, not of arrival; the cost model splits it into micro-batches;
//! - there is no shared prefix cache: a slot keeps what it last computed, and a request goes to the free slot that shares
//!   the longest beginning with it (at least a tenth of the prompt, `--slot-prompt-similarity`), else to the one
//!   that has been free for longest.
//!
//! Not simulated: context shift, checkpoints of recurrent states, `--kv-unified`.
use crate::engine::accept::SubmitError;
use crate::engine::content::common_prefix;
use crate::engine::observe::RequestRecord;
use crate::engine::sequence::{Sequence, StepState};
use crate::engine::speculation::SpeculationCounters;
use crate::engine::{
    ConfigError, EngineConfig, EngineState, Output, PrefixCounters, Step, Tracking,
};
use crate::units::SimTime;
use crate::workload::{Request, RequestId};
use std::collections::VecDeque;

/// What a free slot still holds.
#[derive(Clone, Debug)]
struct Kept {
    request: Request,
    tokens: u32,
}

#[derive(Clone, Debug, Default)]
struct SlotState {
    busy: Option<Sequence>,
    kept: Option<Kept>,
    /// When it was last used, as a count.
    used: u64,
}

impl SlotState {
    /// A request is through with it, at the `use`-th time that one is.
    fn release(&mut self, r: Sequence, used: u64) {
        self.used = used;
        self.kept = Some(Kept {
            tokens: r.computed,
            request: r.request,
        });
    }
}

/// The slots and the queue before them.
#[derive(Clone, Debug)]
pub struct Scheduler {
    step: StepState,
    slots: Vec<SlotState>,
    waiting: VecDeque<Sequence>,
    uses: u64,
}

/// `--slot-prompt-similarity`: the part of the prompt that must be shared for a slot to be preferred.
const SIMILARITY: f64 = 0.1;

impl Scheduler {
    /// A scheduler with nothing to do: `max_num_seqs` slots of `max_model_len` tokens.
    ///
    /// # Errors
    /// As [`EngineConfig::validate`].
    pub fn new(config: EngineConfig, tracking: Tracking) -> Result<Self, ConfigError> {
        let step = StepState::new(config, tracking)?;
        Ok(Self {
            slots: vec![SlotState::default(); step.config.max_num_seqs as usize],
            step,
            waiting: VecDeque::new(),
            uses: 0,
        })
    }

    fn busy(&self) -> usize {
        self.slots.iter().filter(|s| s.busy.is_some()).count()
    }

    /// Tokens that a slot's content shares with a request; the last prompt token is always computed.
    fn shared(&self, slot: &SlotState, r: &Request) -> u32 {
        let Some(kept) = slot
            .kept
            .as_ref()
            .filter(|_| self.step.config.enable_prefix_caching)
        else {
            return 0;
        };
        let n = common_prefix(
            (&kept.request.prompt, &kept.request.answer),
            (&r.prompt, &r.answer),
        );
        n.min(kept.tokens.into())
            .min(u64::from(r.prompt.len().saturating_sub(1))) as u32
    }

    fn admit(&mut self) {
        while let Some(r) = self.waiting.front() {
            let free = |s: &&(usize, &SlotState)| s.1.busy.is_none();
            let similar = self
                .slots
                .iter()
                .enumerate()
                .filter(|s| free(&s))
                .map(|(i, s)| (self.shared(s, &r.request), i))
                .filter(|(n, _)| f64::from(*n) > SIMILARITY * f64::from(r.request.prompt.len()))
                .max_by_key(|&(n, i)| (n, std::cmp::Reverse(i)));
            let place = similar.or_else(|| {
                self.slots
                    .iter()
                    .enumerate()
                    .filter(|s| free(&s))
                    .min_by_key(|(i, s)| (s.used, *i))
                    .map(|(i, s)| (self.shared(s, &r.request), i))
            });
            let Some((hits, i)) = place else { return };
            let mut r = self.waiting.pop_front().expect("just seen");
            r.computed = hits;
            if self.step.config.enable_prefix_caching {
                self.step.looked_up(&mut r, hits);
            }
            self.step.admitted.push(r.request.id);
            self.slots[i].kept = None;
            self.slots[i].busy = Some(r);
        }
    }
}

impl crate::engine::Scheduler for Scheduler {
    fn config(&self) -> &EngineConfig {
        &self.step.config
    }
    fn submit(&mut self, request: Request) -> Result<(), SubmitError> {
        let request = self.step.accept(request)?;
        self.waiting.push_back(request);
        Ok(())
    }

    /// A cancelled task leaves its slot (`server_slot::release`), which keeps what was computed.
    fn abort(&mut self, id: RequestId) -> Option<RequestRecord> {
        if let Some(i) = self.waiting.iter().position(|r| r.request.id == id) {
            return self.waiting.remove(i).map(|r| r.aborted());
        }
        let (i, r) = self.slots.iter_mut().enumerate().find_map(|(i, slot)| {
            let r = slot.busy.take_if(|r| r.request.id == id)?;
            Some((i, r))
        })?;
        if let Some(parts) = &mut self.step.batch {
            parts.retain(|p| p.at != i);
        }
        let record = r.aborted();
        self.uses += 1;
        self.slots[i].release(r, self.uses);
        Some(record)
    }
    fn reset_prefix_cache(&mut self) -> bool {
        let idle = self.busy() == 0;
        if idle {
            self.slots.iter_mut().for_each(|s| s.kept = None);
        }
        idle
    }
    fn cache_granularity(&self) -> u32 {
        1
    }

    fn schedule(&mut self, now: SimTime) -> Step<'_> {
        self.step.clear_moves();
        self.admit();
        let mut parts = self.step.begin();
        let mut budget = self.step.config.max_num_batched_tokens;
        for decoding in [true, false] {
            for (i, slot) in self.slots.iter_mut().enumerate() {
                let Some(r) = slot.busy.as_mut().filter(|r| r.decodes() == decoding) else {
                    continue;
                };
                let tokens = r.left().min(budget);
                if tokens > 0 {
                    // No more drafts than the answer and the context have room for (`get_n_draft_max`).
                    let room = r.room(self.step.config.max_model_len).saturating_sub(1);
                    let drafts = self.step.drafts(r).min(room).min(budget - tokens);
                    budget -= tokens + drafts;
                    self.step.join_with(&mut parts, i, r, (tokens, drafts), now);
                }
            }
        }
        self.step.batch = (!parts.is_empty()).then_some(parts);
        self.step.step()
    }

    fn complete(&mut self, now: SimTime) -> Option<Output<'_>> {
        for part in self.step.landed()? {
            let slot = &mut self.slots[part.at];
            let r = slot.busy.as_mut().expect("in the batch");
            if self.step.deliver(r, part, now) {
                let r = slot.busy.take().expect("just seen");
                self.uses += 1;
                slot.release(r, self.uses);
            }
        }
        Some(self.step.output())
    }

    fn has_work(&self) -> bool {
        !self.waiting.is_empty() || self.slots.iter().any(|s| s.busy.is_some())
    }
    fn state(&self) -> EngineState {
        let config = &self.step.config;
        let used: u32 = self
            .slots
            .iter()
            .filter_map(|s| s.busy.as_ref())
            .map(|r| r.computed.div_ceil(config.block_size))
            .sum();
        EngineState {
            running: self.busy() as u32,
            waiting: self.waiting.len() as u32,
            free_blocks: (config.num_gpu_blocks - 1).saturating_sub(used),
        }
    }

    fn prefix_counters(&self) -> PrefixCounters {
        self.step.counters
    }

    fn speculation_counters(&self) -> SpeculationCounters {
        self.step.speculated
    }
}

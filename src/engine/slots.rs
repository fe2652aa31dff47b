//! `llama-server`: a fixed number of slots (llama.cpp `tools/server/server-context.cpp`, `update_slots`, as of b9010).
//!
//! Where it differs from vLLM:
//!
//! - a request gets a free slot or waits; the whole context of a slot is its own, so that nobody is ever preempted;
//! - a batch of at most `--batch-size` tokens holds one token of every generating slot first, then prompt pieces *in the
//!   order of the slots*, not of arrival; the cost model splits it into micro-batches;
//! - there is no shared prefix cache: a slot keeps what it last computed, and a request goes to the free slot that shares
//!   the longest beginning with it (at least a tenth of the prompt, `--slot-prompt-similarity`), else to the one
//!   that has been free for longest.
//!
//! Not simulated: context shift, checkpoints of recurrent states, speculative decoding, `--kv-unified`.
use super::batcher::Batcher;
use super::content::common_prefix;
use super::observe::RequestRecord;
use super::walked::{Ledger, Walked, one_in_flight};
use super::{ConfigError, EngineConfig, Moves, PrefixCounters, SubmitError};
use crate::cost::StepShape;
use crate::units::{SimTime, Span};
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
    busy: Option<Walked>,
    kept: Option<Kept>,
    /// When it was last used, as a count.
    used: u64,
}

impl SlotState {
    /// A request is through with it, at the `use`-th time that one is.
    fn release(&mut self, r: Walked, used: u64) {
        self.used = used;
        self.kept = Some(Kept {
            tokens: r.computed,
            request: r.request,
        });
    }
}

/// The engine.
#[derive(Clone, Debug)]
pub struct Slots {
    ledger: Ledger,
    slots: Vec<SlotState>,
    waiting: VecDeque<Walked>,
    uses: u64,
}

/// `--slot-prompt-similarity`: the part of the prompt that must be shared for a slot to be preferred.
const SIMILARITY: f64 = 0.1;

impl Slots {
    /// An engine with nothing to do: `max_num_seqs` slots of `max_model_len` tokens.
    ///
    /// # Errors
    /// As [`EngineConfig::validate`].
    pub fn new(config: EngineConfig) -> Result<Self, ConfigError> {
        let config = one_in_flight(config);
        config.validate()?;
        Ok(Self {
            slots: vec![SlotState::default(); config.max_num_seqs as usize],
            ledger: Ledger::new(config),
            waiting: VecDeque::new(),
            uses: 0,
        })
    }

    /// Tokens that a slot's content shares with a request; the last prompt token is always computed.
    fn shared(&self, slot: &SlotState, r: &Request) -> u32 {
        let Some(kept) = slot
            .kept
            .as_ref()
            .filter(|_| self.ledger.config.enable_prefix_caching)
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
            if self.ledger.config.enable_prefix_caching {
                self.ledger.looked_up(&mut r, hits);
            }
            self.ledger.moves.new.push(r.request.id);
            self.slots[i].kept = None;
            self.slots[i].busy = Some(r);
        }
    }
}

impl Batcher for Slots {
    fn track(&mut self, distinct: bool, window: Option<u32>) {
        self.ledger.distinct = distinct;
        self.ledger.window = window;
    }
    fn config(&self) -> &EngineConfig {
        &self.ledger.config
    }
    fn submit(&mut self, request: Request) -> Result<(), SubmitError> {
        let request = self.ledger.accept(request)?;
        self.waiting.push_back(request);
        Ok(())
    }

    /// A cancelled task leaves its slot (`server_slot::release`), which keeps what was computed.
    fn abort(&mut self, id: RequestId) {
        if let Some(i) = self.waiting.iter().position(|r| r.request.id == id) {
            let r = self.waiting.remove(i).expect("just found");
            self.ledger.aborted(&r);
        }
        for (i, slot) in self.slots.iter_mut().enumerate() {
            if let Some(r) = slot.busy.take_if(|r| r.request.id == id) {
                if let Some(parts) = &mut self.ledger.batch {
                    parts.retain(|p| p.at != i);
                }
                self.ledger.aborted(&r);
                self.uses += 1;
                slot.release(r, self.uses);
            }
        }
    }
    fn reset_prefix_cache(&mut self) -> bool {
        let idle = self.num_running() == 0;
        if idle {
            self.slots.iter_mut().for_each(|s| s.kept = None);
        }
        idle
    }
    fn sharing(&self) -> u32 {
        1
    }

    fn schedule(&mut self, now: SimTime) -> bool {
        self.ledger.moves = Moves::default();
        self.admit();
        let mut parts = self.ledger.begin();
        let mut budget = self.ledger.config.max_num_batched_tokens;
        for decoding in [true, false] {
            for (i, slot) in self.slots.iter_mut().enumerate() {
                let Some(r) = slot.busy.as_mut().filter(|r| r.decodes() == decoding) else {
                    continue;
                };
                let tokens = r.left().min(budget);
                if tokens > 0 {
                    budget -= tokens;
                    self.ledger.join(&mut parts, i, r, tokens, now);
                }
            }
        }
        let formed = !parts.is_empty();
        self.ledger.batch = formed.then_some(parts);
        formed
    }

    fn process_output(&mut self, now: SimTime) -> bool {
        let Some(parts) = self.ledger.landed() else {
            return false;
        };
        for part in parts {
            let slot = &mut self.slots[part.at];
            let r = slot.busy.as_mut().expect("in the batch");
            if self.ledger.deliver(r, part, now) {
                let r = slot.busy.take().expect("just seen");
                self.uses += 1;
                slot.release(r, self.uses);
            }
        }
        true
    }

    fn has_work(&self) -> bool {
        !self.waiting.is_empty() || self.num_running() > 0
    }
    fn num_running(&self) -> usize {
        self.slots.iter().filter(|s| s.busy.is_some()).count()
    }
    fn num_waiting(&self) -> usize {
        self.waiting.len()
    }
    fn free_blocks(&self) -> u32 {
        let config = &self.ledger.config;
        let used: u32 = self
            .slots
            .iter()
            .filter_map(|s| s.busy.as_ref())
            .map(|r| r.computed.div_ceil(config.block_size))
            .sum();
        (config.num_gpu_blocks - 1).saturating_sub(used)
    }
    fn prefix_counters(&self) -> PrefixCounters {
        self.ledger.counters
    }
    fn moves(&self) -> &Moves {
        &self.ledger.moves
    }
    fn shape(&self) -> StepShape {
        self.ledger.shape
    }
    fn receivers(&self) -> Vec<RequestId> {
        self.ledger.receivers.clone()
    }
    fn record_tokens(&mut self) {}
    fn tokens(&self) -> &[RequestId] {
        &self.ledger.tokens
    }
    fn gaps(&self) -> &[(Span, u32)] {
        &self.ledger.gaps
    }
    fn records(&self) -> &[RequestRecord] {
        &self.ledger.records
    }
    fn clear_records(&mut self) {
        self.ledger.records.clear()
    }
}

//! vLLM's scheduler as a value: its state, and what can be asked of it. `schedule.rs` composes batches, `output.rs` delivers
//! their tokens.
use super::kv::{BlockId, BlockPool};
use super::lanes::Lanes;
use super::releases::Rules;
use super::request::{Slot, State, Status};
use super::waiting::Waiting;
use crate::cost::StepShape;
use crate::engine::accept::{SubmitError, servable};
use crate::engine::content::{self, KeyMap};
use crate::engine::observe::{FinishReason, RequestRecord};
use crate::engine::speculation::SpeculationCounters;
use crate::engine::{
    ConfigError, EngineConfig, EngineState, Handover, Output, PrefixCounters, Step, Tracking,
};
use crate::units::{SimTime, Span};
use crate::workload::{Request, RequestId};
use std::collections::VecDeque;

/// One request's share of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// The request.
    pub id: RequestId,
    /// New tokens.
    pub tokens: u32,
    /// Tokens computed before.
    pub computed: u32,
}

/// A member of a batch that is not in a lane, or no longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) seq: u64,
    pub(super) slot: Slot,
    pub(super) generation: u32,
    pub(super) tokens: u32,
    /// Computed tokens before the batch.
    pub(super) computed: u32,
    /// Whether the batch's output holds a token for it.
    pub(super) sampled: bool,
    /// How many of its tokens are drafts.
    pub(super) drafts: u32,
}

/// A batch between its scheduling and the processing of its output.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub(super) number: u64,
    /// Lane requests that are in it.
    pub(super) lanes: u32,
    /// The others, in order of the batch.
    pub(super) members: Vec<Member>,
}

/// Requests that the last call of `schedule` moved.
#[derive(Clone, Debug, Default)]
pub(super) struct Moves {
    pub(super) admitted: Vec<RequestId>,
    pub(super) resumed: Vec<RequestId>,
    pub(super) preempted: Vec<RequestId>,
    /// Blocks attached to requests, if they are recorded.
    pub(super) blocks: Vec<(RequestId, Vec<BlockId>)>,
}

/// vLLM's V1 scheduler.
#[derive(Clone, Debug)]
pub struct Scheduler {
    pub(super) config: EngineConfig,
    pub(super) rules: Rules,
    pub(super) states: Vec<State>,
    unused: Vec<Slot>,
    by_id: KeyMap<Slot>,
    /// (admission number, slot), in order of admission.
    pub(super) running: Vec<(u64, Slot)>,
    /// Members of `running` outside lanes, in the same order.
    pub(super) tracked: Vec<(u64, Slot)>,
    pub(super) waiting: Waiting,
    pub(super) lanes: Lanes,
    pub(super) admissions: u64,
    generations: u32,
    /// Calls of `schedule`, whether a batch came of them or not: `current_step` of vLLM.
    pub(super) step: u64,
    /// Number of the last batch scheduled, and of the last one whose output was processed.
    pub(super) scheduled: u64,
    pub(super) processed: u64,
    pub(super) in_flight: VecDeque<Batch>,
    /// Batches to be used again, for their memory.
    pub(super) spare: Vec<Batch>,
    pub(super) pool: BlockPool,
    /// Only the number of free blocks is kept: their identities matter neither to the prefix cache nor to a recorder.
    pub(super) count_only: bool,
    pub(super) free_count: u32,
    /// Blocks withheld from requests (`handover.rs`).
    pub(super) withheld: u32,
    pub(super) counters: PrefixCounters,
    pub(super) speculated: SpeculationCounters,
    pub(super) moves: Moves,
    pub(super) record_blocks: bool,
    pub(super) tracking: Tracking,
    /// Tokens of images that the tower may still compute in the step being composed.
    pub(super) encoder_budget: u32,
    /// Rows that the drafter may still take in the step being composed.
    pub(super) input_budget: u32,
    pub(super) last_output: SimTime,
    /// Used again for its memory: the events of an output, (admission number, slot, whether its lane ends).
    pub(super) events: Vec<(u64, Slot, bool)>,
    // Lent by `schedule` and `complete`.
    pub(super) shape: StepShape,
    pub(super) tokens: Vec<RequestId>,
    pub(super) gaps: Vec<(Span, u32)>,
    pub(super) finished: Vec<RequestRecord>,
}

impl Scheduler {
    /// A scheduler with nothing to do.
    ///
    /// # Errors
    /// As [`EngineConfig::validate`].
    pub fn new(config: EngineConfig, tracking: Tracking) -> Result<Self, ConfigError> {
        config.validate()?;
        let mut rules = Rules::of(config.version);
        if let Some(given) = config.scheduler_reserve_full_isl {
            rules.reserve_full_prompt = given;
        }
        let count_only = !config.enable_prefix_caching;
        // Without identities a pool of one block (the null block) stands in.
        let blocks = if count_only { 1 } else { config.num_gpu_blocks };
        Ok(Self {
            pool: BlockPool::new(
                blocks,
                rules.unregistered_first(config.enable_prefix_caching),
            ),
            free_count: config.num_gpu_blocks - 1,
            withheld: 0,
            count_only,
            lanes: Lanes::new(config.block_size, count_only, tracking),
            waiting: Waiting::new(config.policy),
            rules,
            config,
            states: vec![],
            unused: vec![],
            by_id: KeyMap::default(),
            running: vec![],
            tracked: vec![],
            admissions: 0,
            generations: 0,
            step: 0,
            scheduled: 0,
            processed: 0,
            in_flight: VecDeque::new(),
            spare: vec![],
            counters: PrefixCounters::default(),
            speculated: SpeculationCounters::default(),
            moves: Moves::default(),
            record_blocks: false,
            tracking,
            encoder_budget: 0,
            input_budget: 0,
            last_output: SimTime::ZERO,
            events: vec![],
            shape: StepShape::default(),
            tokens: vec![],
            gaps: vec![],
            finished: vec![],
        })
    }

    /// Keeps block identities even where they decide nothing, and lists the blocks of each step in
    /// [`attached_blocks`](Self::attached_blocks).
    ///
    /// # Panics
    /// If requests were submitted already.
    pub fn record_blocks(&mut self) {
        assert!(
            self.by_id.is_empty() && self.admissions == 0,
            "only at the start"
        );
        self.record_blocks = true;
        if self.count_only {
            self.count_only = false;
            self.lanes = Lanes::new(self.config.block_size, false, self.tracking);
            self.pool = BlockPool::new(
                self.config.num_gpu_blocks,
                self.rules
                    .unregistered_first(self.config.enable_prefix_caching),
            );
        }
    }

    /// KV blocks in the free queue, reusable cached ones included, but for those that are withheld.
    pub(super) fn free_blocks(&self) -> u32 {
        let free = if self.count_only {
            self.free_count
        } else {
            self.pool.free()
        };
        free.saturating_sub(self.withheld)
    }
    /// Distinct block contents registered for prefix caching.
    pub fn distinct_cached_blocks(&self) -> usize {
        self.pool.distinct_cached()
    }
    /// The free queue, next victim first; empty where identities are not tracked.
    pub fn free_queue(&self) -> Vec<BlockId> {
        self.pool.free_queue()
    }
    /// Batches whose output is still to be processed.
    pub fn batches_in_flight(&self) -> usize {
        self.in_flight.len()
    }
    /// Blocks that the last call of `schedule` attached: at an admission the whole table of the request, else only the added
    /// ones. Empty unless [`record_blocks`](Self::record_blocks) was called.
    pub fn attached_blocks(&self) -> &[(RequestId, Vec<BlockId>)] {
        &self.moves.blocks
    }
    /// Blocks of a request that is in the engine.
    pub fn block_table(&self, id: RequestId) -> Option<&[BlockId]> {
        let slot = *self.by_id.get(&content::mix(id.0))?;
        Some(&self.states[slot as usize].blocks)
    }

    /// The batch scheduled last, in scheduling order. Costs a walk over the running list; only valid until its
    /// output is processed.
    pub fn batch(&self) -> Vec<Scheduled> {
        let Some(batch) = self.in_flight.back() else {
            return vec![];
        };
        let mut all: Vec<(u64, Scheduled)> = batch
            .members
            .iter()
            .map(|m| {
                (
                    m.seq,
                    Scheduled {
                        id: self.states[m.slot as usize].request.id,
                        tokens: m.tokens,
                        computed: m.computed,
                    },
                )
            })
            .collect();
        for &(seq, slot) in &self.running {
            let s = &self.states[slot as usize];
            if s.lane.is_some_and(|l| l.joined < batch.number) {
                all.push((
                    seq,
                    Scheduled {
                        id: s.request.id,
                        tokens: 1,
                        computed: self.computed(slot) - 1,
                    },
                ));
            }
        }
        all.sort_by_key(|(seq, _)| *seq);
        all.into_iter().map(|(_, s)| s).collect()
    }

    pub(super) fn generation_matches(&self, m: &Member) -> bool {
        self.states[m.slot as usize].generation == m.generation
    }

    /// Tokens computed or scheduled, now.
    pub(super) fn computed(&self, slot: Slot) -> u32 {
        let s = &self.states[slot as usize];
        match s.lane {
            Some(l) => s.num_computed_tokens + (self.scheduled - l.joined) as u32,
            None => s.num_computed_tokens,
        }
    }

    /// Prompt and outputs received, now.
    pub(super) fn num_tokens(&self, slot: Slot) -> u32 {
        let s = &self.states[slot as usize];
        match s.lane {
            Some(l) => s.num_tokens + (self.processed + 1).saturating_sub(l.first_out) as u32,
            None => s.num_tokens,
        }
    }

    pub(super) fn remove_running(&mut self, slot: Slot) {
        let seq = self.states[slot as usize].seq;
        for list in [&mut self.running, &mut self.tracked] {
            if let Ok(i) = list.binary_search_by_key(&seq, |(s, _)| *s) {
                list.remove(i);
            }
        }
    }

    /// Gives back a request's blocks.
    pub(super) fn release(&mut self, slot: Slot) {
        let s = &mut self.states[slot as usize];
        if self.count_only {
            self.free_count += s.num_blocks;
        } else {
            self.pool.release(&s.blocks);
            s.blocks.clear();
        }
        s.num_blocks = 0;
        s.registered = 0;
    }

    /// Ends a request that is in no list any more: its blocks and its slot are free again.
    pub(super) fn end(&mut self, slot: Slot, reason: FinishReason, now: SimTime) -> RequestRecord {
        self.release(slot);
        let s = &mut self.states[slot as usize];
        self.withheld -= std::mem::take(&mut s.withheld);
        let record = RequestRecord {
            id: s.request.id,
            arrival: s.request.arrival,
            received: s.request.arrival,
            scheduled: s.scheduled.unwrap_or(now),
            first_made: s.first_token.unwrap_or(now),
            first_token: s.first_token.unwrap_or(now),
            finish: now,
            prompt_tokens: s.request.prompt.len(),
            output_tokens: s.num_tokens - s.request.prompt.len(),
            cached_tokens: s.cached_tokens,
            preemptions: s.preemptions,
            reason,
        };
        // Members of batches in flight recognise by this that the request is gone.
        s.generation = 0;
        self.by_id.remove(&content::mix(record.id.0));
        self.unused.push(slot);
        record
    }

    /// The state of a new request, in no list yet.
    pub(super) fn state_of(&mut self, request: Request) -> Slot {
        let id = request.id;
        self.generations += 1;
        let content = if self.tracking.distinct_tokens {
            content::request_hash(&request.prompt, &request.answer)
        } else {
            0
        };
        let mut state = State::new(request, self.generations, content);
        let slot = match self.unused.pop() {
            Some(slot) => {
                let old = &mut self.states[slot as usize];
                state.blocks = std::mem::take(&mut old.blocks);
                state.hashes = std::mem::take(&mut old.hashes);
                state.blocks.clear();
                state.hashes.clear();
                *old = state;
                slot
            }
            None => {
                self.states.push(state);
                self.states.len() as Slot - 1
            }
        };
        let previous = self.by_id.insert(content::mix(id.0), slot);
        assert!(previous.is_none(), "request {} is there already", id.0);
        slot
    }

    /// Attaches `new` blocks to a request and registers what is full up to `full_tokens` tokens.
    pub(super) fn attach(&mut self, slot: Slot, new: u32, full_tokens: u32) {
        let s = &mut self.states[slot as usize];
        s.num_blocks += new;
        if self.count_only {
            self.free_count -= new;
            return;
        }
        let from = s.blocks.len();
        for _ in 0..new {
            let id = self.pool.pop();
            s.blocks.push(id);
        }
        if self.record_blocks && new > 0 {
            let added = s.blocks[from..].to_vec();
            let id = s.request.id;
            match self.moves.blocks.iter_mut().find(|(i, _)| *i == id) {
                Some((_, list)) => list.extend(added),
                None => self.moves.blocks.push((id, added)),
            }
        }
        self.register_upto(slot, full_tokens);
    }

    /// Registers a request's blocks that are full with its first `tokens` tokens.
    pub(super) fn register_upto(&mut self, slot: Slot, tokens: u32) {
        if !self.config.enable_prefix_caching {
            return;
        }
        let full = tokens / self.config.block_size;
        let s = &mut self.states[slot as usize];
        if full <= s.registered {
            return;
        }
        s.hashes.extend(
            full,
            self.config.block_size,
            &s.request.prompt,
            &s.request.answer,
        );
        for k in s.registered..full {
            self.pool
                .register(s.blocks[k as usize], s.hashes.list()[k as usize]);
        }
        s.registered = full;
    }
}

impl crate::engine::Scheduler for Scheduler {
    fn config(&self) -> &EngineConfig {
        &self.config
    }

    fn cache_granularity(&self) -> u32 {
        self.config.block_size
    }

    /// # Panics
    /// If a request of that id is in the engine already.
    fn submit(&mut self, request: Request) -> Result<(), SubmitError> {
        servable(&self.config, &request)?;
        let slot = self.state_of(request);
        let request = &self.states[slot as usize].request;
        self.waiting.push(slot, request);
        Ok(())
    }

    fn abort(&mut self, id: RequestId) -> Option<RequestRecord> {
        let &slot = self.by_id.get(&content::mix(id.0))?;
        match self.states[slot as usize].status {
            Status::Running => {
                self.leave_lane(slot);
                self.remove_running(slot);
            }
            Status::Waiting | Status::Preempted => {
                let request = &self.states[slot as usize].request;
                self.waiting.remove(slot, request);
            }
        }
        Some(self.end(slot, FinishReason::Abort, self.last_output))
    }

    fn reset_prefix_cache(&mut self) -> bool {
        if self.withheld > 0 {
            false
        } else if self.count_only {
            self.free_count == self.config.num_gpu_blocks - 1
        } else {
            self.pool.forget()
        }
    }

    fn schedule(&mut self, now: SimTime) -> Step<'_> {
        let formed = self.compose(now);
        Step {
            shape: formed.then_some(&self.shape),
            admitted: &self.moves.admitted,
            resumed: &self.moves.resumed,
            preempted: &self.moves.preempted,
        }
    }

    fn complete(&mut self, now: SimTime) -> Option<Output<'_>> {
        self.deliver_oldest(now).then_some(Output {
            tokens: &self.tokens,
            inter_token_gaps: &self.gaps,
            finished: &self.finished,
        })
    }

    fn has_work(&self) -> bool {
        !self.running.is_empty() || !self.waiting.is_empty() || !self.in_flight.is_empty()
    }

    fn state(&self) -> EngineState {
        EngineState {
            running: self.running.len() as u32,
            waiting: self.waiting.len() as u32,
            free_blocks: self.free_blocks(),
        }
    }

    fn prefix_counters(&self) -> PrefixCounters {
        self.counters
    }

    fn speculation_counters(&self) -> SpeculationCounters {
        self.speculated
    }

    fn handover(&mut self) -> Option<&mut dyn Handover> {
        Some(self)
    }
}

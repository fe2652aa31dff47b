//! The engine simulator: vLLM's V1 scheduler, KV blocks, prefix cache and event loop.
//!
//! [`Engine`] is a value: nothing happens in it except in answer to a call, and it never asks the time. One call of
//! [`Engine::schedule`] composes a batch, one of [`Engine::process_output`] delivers its tokens; [`simulate`] drives
//! both against a cost model and a source of requests. The rules are those of vLLM 0.12 to 0.33
//! (`v1/core/sched/scheduler.py` and its neighbours), selected by [`EngineVersion`]; `tests/vllm_parity.rs` holds them
//! against recorded decisions of the real scheduler, step by step.
//!
//! # Speed
//!
//! A decoding request gets exactly one token in every step until it ends, so nothing about it needs to be touched
//! in between but its KV blocks when one fills up. Such requests run in *lanes* (`lanes.rs`): their state is that of
//! the moment they joined plus the number of steps since. A step then costs what its events cost (arrivals, finishes,
//! block boundaries), not what its batch counts. Steps in which that is not so (the token budget or the
//! KV blocks do not suffice) take the plain path (`plain.rs`), which walks the running list as vLLM does.
mod batcher;
mod cached;
mod config;
mod content;
mod free_queue;
mod group;
mod kv;
mod lanes;
mod output;
mod plain;
mod radix;
mod request;
mod schedule;
mod sim;
mod slots;
mod waiting;
mod walked;
pub mod observe;
pub mod settings;

pub use batcher::{Batcher, start};
pub use config::{ConfigError, EngineConfig, EngineVersion, Rules, SchedulingPolicy, VersionError};
pub use group::{Group, Router, simulate_group};
pub use kv::BlockId;
pub use radix::Radix;
pub use sim::{SimError, SimSummary, simulate, simulate_radix, simulate_slots};
pub use slots::Slots;

use crate::cost::StepShape;
use crate::units::SimTime;
use crate::workload::{Request, RequestId};
use content::BlockHashes;
use kv::{BlockPool, KeyMap};
use lanes::Lanes;
use observe::FinishReason;
use request::{Slot, State, Status};
use std::collections::VecDeque;
use waiting::Waiting;

/// Counters of prefix-cache look-ups, as vLLM reports them: all in tokens but `requests`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixCounters {
    /// Look-ups of requests that were never preempted.
    pub requests: u64,
    /// Their tokens.
    pub queries: u64,
    /// Their tokens found.
    pub hits: u64,
    /// Look-ups of requests preempted before.
    pub preempted_requests: u64,
    /// Their tokens.
    pub preempted_queries: u64,
    /// Their tokens found.
    pub preempted_hits: u64,
}

/// One request's share of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// Who.
    pub id: RequestId,
    /// New tokens.
    pub tokens: u32,
    /// Tokens computed before.
    pub computed: u32,
}

/// A request that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Who.
    pub id: RequestId,
    /// Why.
    pub reason: FinishReason,
}

/// A member of a batch that is not in a lane, or no longer.
#[derive(Clone, Copy, Debug)]
struct Member {
    seq: u64,
    slot: Slot,
    generation: u32,
    tokens: u32,
    /// Computed tokens before the batch.
    computed: u32,
    /// Whether the batch's output holds a token for it.
    sampled: bool,
}

/// A batch between its scheduling and the processing of its output.
#[derive(Clone, Debug, Default)]
struct Batch {
    number: u64,
    /// Lane requests that are in it.
    lanes: u32,
    /// The others, in order of the batch.
    members: Vec<Member>,
    shape: StepShape,
}

/// Requests that a call of [`Engine::schedule`] moved.
#[derive(Clone, Debug, Default)]
pub struct Moves {
    /// Admitted for the first time.
    pub new: Vec<RequestId>,
    /// Admitted again after a preemption.
    pub resumed: Vec<RequestId>,
    /// Preempted, in order.
    pub preempted: Vec<RequestId>,
    /// Blocks attached in this step: the whole table at admission, else only those added. Kept only if
    /// [`Engine::record_blocks`] was called.
    pub blocks: Vec<(RequestId, Vec<BlockId>)>,
}

/// The engine.
#[derive(Clone, Debug)]
pub struct Engine {
    config: EngineConfig,
    rules: Rules,
    states: Vec<State>,
    unused: Vec<Slot>,
    by_id: KeyMap<Slot>,
    /// (admission number, slot), in order of admission.
    running: Vec<(u64, Slot)>,
    /// Members of `running` outside lanes, in the same order.
    loose: Vec<(u64, Slot)>,
    waiting: Waiting,
    lanes: Lanes,
    admissions: u64,
    generations: u32,
    /// Number of the last batch scheduled, and of the last one whose output was processed.
    scheduled: u64,
    processed: u64,
    in_flight: VecDeque<Batch>,
    /// Batches to be used again, for their memory.
    spare: Vec<Batch>,
    pool: BlockPool,
    /// Without prefix cache and without an observer of block ids only their number matters.
    count_only: bool,
    free_count: u32,
    counters: PrefixCounters,
    moves: Moves,
    record_blocks: bool,
    record_tokens: bool,
    tokens: Vec<RequestId>,
    track_distinct: bool,
    window: Option<u32>,
    last_output: SimTime,
    finished: Vec<Finished>,
    records: Vec<observe::RequestRecord>,
    gaps: Vec<(crate::units::Span, u32)>,
}

/// A request that the engine refuses, as vLLM's front end does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// `max_model_len` leaves no room for a single output token.
    #[error("prompt of {prompt} tokens does not fit max_model_len {max_model_len}")]
    PromptTooLong {
        /// Prompt tokens.
        prompt: u32,
        /// Setting.
        max_model_len: u32,
    },
    /// An empty prompt or no output asked for.
    #[error("a request needs at least one prompt token and one output token")]
    Empty,
}

impl Engine {
    /// An engine with nothing to do.
    ///
    /// # Errors
    /// As [`EngineConfig::validate`].
    pub fn new(config: EngineConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let rules = Rules::of(config.version);
        let count_only = !config.enable_prefix_caching;
        // Without identities a pool of one block (the null block) stands in.
        let blocks = if count_only { 1 } else { config.num_gpu_blocks };
        Ok(Self {
            pool: BlockPool::new(
                blocks,
                rules.unregistered_first(config.enable_prefix_caching),
            ),
            free_count: config.num_gpu_blocks - 1,
            count_only,
            lanes: Lanes::new(config.block_size, count_only),
            waiting: Waiting::new(config.policy),
            rules,
            config,
            states: vec![],
            unused: vec![],
            by_id: KeyMap::default(),
            running: vec![],
            loose: vec![],
            admissions: 0,
            generations: 0,
            scheduled: 0,
            processed: 0,
            in_flight: VecDeque::new(),
            spare: vec![],
            counters: PrefixCounters::default(),
            moves: Moves::default(),
            record_blocks: false,
            record_tokens: false,
            tokens: vec![],
            track_distinct: false,
            window: None,
            last_output: SimTime::ZERO,
            finished: vec![],
            records: vec![],
            gaps: vec![],
        })
    }

    /// Keeps block identities even where they decide nothing, and lists them in [`Moves::blocks`].
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
            self.lanes = Lanes::new(self.config.block_size, false);
            self.pool = BlockPool::new(
                self.config.num_gpu_blocks,
                self.rules
                    .unregistered_first(self.config.enable_prefix_caching),
            );
        }
    }

    /// Lists who gets a token in [`tokens`](Self::tokens). Costs a walk over the running list per step.
    pub fn record_tokens(&mut self) {
        self.record_tokens = true;
    }

    /// Forgets all content kept for prefix caching, if no request holds a block; whether that was so.
    pub fn reset_prefix_cache(&mut self) -> bool {
        if self.count_only {
            self.free_count == self.config.num_gpu_blocks - 1
        } else {
            self.pool.forget()
        }
    }

    /// Fills in [`StepShape::distinct_tokens`] and the windowed sums of step shapes.
    ///
    /// # Panics
    /// If requests were submitted already.
    pub fn track(&mut self, distinct: bool, window: Option<u32>) {
        assert!(
            self.by_id.is_empty() && self.admissions == 0,
            "only at the start"
        );
        self.track_distinct = distinct;
        self.window = window;
        self.lanes.track(distinct, window);
    }

    /// The settings.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// A new request for the waiting queue.
    ///
    /// # Errors
    /// A prompt that leaves no room for an answer, or an empty request.
    ///
    /// # Panics
    /// If a request of that id is in the engine already.
    pub fn submit(&mut self, request: Request) -> Result<(), SubmitError> {
        if request.prompt.len() == 0 || request.max_tokens == 0 {
            return Err(SubmitError::Empty);
        }
        if request.prompt.len() >= self.config.max_model_len {
            return Err(SubmitError::PromptTooLong {
                prompt: request.prompt.len(),
                max_model_len: self.config.max_model_len,
            });
        }
        let id = request.id;
        self.generations += 1;
        let content = if self.track_distinct {
            content::request_hash(&request.prompt, &request.answer)
        } else {
            0
        };
        let num_tokens = request.prompt.len();
        let mut state = State {
            request,
            generation: self.generations,
            status: Status::Waiting,
            seq: 0,
            computed: 0,
            num_tokens,
            placeholders: 0,
            stale: 0,
            lane: None,
            blocks: vec![],
            num_blocks: 0,
            registered: 0,
            hashes: BlockHashes::default(),
            content,
            scheduled: None,
            first_token: None,
            last_token: SimTime::ZERO,
            cached_tokens: 0,
            preemptions: 0,
        };
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
        let s = &self.states[slot as usize].request;
        self.waiting.push(slot, s);
        Ok(())
    }

    /// The client gives up. Nothing happens if the request ended before.
    pub fn abort(&mut self, id: RequestId) {
        let Some(&slot) = self.by_id.get(&content::mix(id.0)) else {
            return;
        };
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
        self.end(slot, FinishReason::Abort, self.last_output);
    }

    /// Whether any request is waiting, running or in flight.
    pub fn has_work(&self) -> bool {
        !self.running.is_empty() || !self.waiting.is_empty() || !self.in_flight.is_empty()
    }

    /// Requests in the running list.
    pub fn num_running(&self) -> usize {
        self.running.len()
    }
    /// Requests in the waiting queue.
    pub fn num_waiting(&self) -> usize {
        self.waiting.len()
    }
    /// KV blocks in the free queue, reusable cached ones included.
    pub fn free_blocks(&self) -> u32 {
        if self.count_only {
            self.free_count
        } else {
            self.pool.free()
        }
    }
    /// Distinct block contents registered for prefix caching.
    pub fn distinct_cached_blocks(&self) -> usize {
        self.pool.distinct_cached()
    }
    /// The free queue, next victim first; empty where identities are not tracked.
    pub fn free_queue(&self) -> Vec<BlockId> {
        self.pool.free_queue()
    }
    /// Prefix-cache counters so far.
    pub fn prefix_counters(&self) -> PrefixCounters {
        self.counters
    }
    /// Batches whose output is still to be processed.
    pub fn batches_in_flight(&self) -> usize {
        self.in_flight.len()
    }
    /// Admissions, resumptions, preemptions and blocks of the last call of [`schedule`](Self::schedule).
    pub fn moves(&self) -> &Moves {
        &self.moves
    }
    /// What ended in the last call of [`process_output`](Self::process_output), in order.
    pub fn finished(&self) -> &[Finished] {
        &self.finished
    }
    /// Who got a token in the last call of [`process_output`](Self::process_output), in batch order; empty unless
    /// [`record_tokens`](Self::record_tokens) was called.
    pub fn tokens(&self) -> &[RequestId] {
        &self.tokens
    }
    /// Records of the requests that ended since the last [`clear_records`](Self::clear_records).
    pub fn records(&self) -> &[observe::RequestRecord] {
        &self.records
    }
    /// Forgets them.
    pub fn clear_records(&mut self) {
        self.records.clear()
    }
    /// Gaps between consecutive tokens of a request in the last call of
    /// [`process_output`](Self::process_output), with the number of requests that share each.
    pub fn gaps(&self) -> &[(crate::units::Span, u32)] {
        &self.gaps
    }
    /// Shape of the batch scheduled last.
    pub fn shape(&self) -> StepShape {
        self.in_flight.back().map(|b| b.shape).unwrap_or_default()
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

    /// Who gets a token with the output of the batch scheduled last, in no particular order. Costs a walk over the running
    /// list; only valid until its output is processed.
    pub fn receivers(&self) -> Vec<RequestId> {
        let Some(batch) = self.in_flight.back() else {
            return vec![];
        };
        let named = batch.members.iter().filter(|m| m.sampled).map(|m| m.slot);
        let lanes = self.running.iter().map(|&(_, slot)| slot).filter(|&slot| {
            let lane = self.states[slot as usize].lane;
            lane.is_some_and(|l| l.joined < batch.number)
        });
        named
            .chain(lanes)
            .map(|slot| self.states[slot as usize].request.id)
            .collect()
    }

    fn generation_matches(&self, m: &Member) -> bool {
        self.states[m.slot as usize].generation == m.generation
    }

    /// Tokens computed or scheduled, now.
    fn computed(&self, slot: Slot) -> u32 {
        let s = &self.states[slot as usize];
        match s.lane {
            Some(l) => s.computed + (self.scheduled - l.joined) as u32,
            None => s.computed,
        }
    }

    /// Prompt and outputs received, now.
    fn num_tokens(&self, slot: Slot) -> u32 {
        let s = &self.states[slot as usize];
        match s.lane {
            Some(l) => s.num_tokens + (self.processed + 1).saturating_sub(l.first_out) as u32,
            None => s.num_tokens,
        }
    }

    fn remove_running(&mut self, slot: Slot) {
        let seq = self.states[slot as usize].seq;
        for list in [&mut self.running, &mut self.loose] {
            if let Ok(i) = list.binary_search_by_key(&seq, |(s, _)| *s) {
                list.remove(i);
            }
        }
    }

    /// Gives back a request's blocks.
    fn release(&mut self, slot: Slot) {
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

    /// Ends a request that is in no list any more: blocks back, record kept, slot free.
    fn end(&mut self, slot: Slot, reason: FinishReason, now: SimTime) {
        self.release(slot);
        let s = &mut self.states[slot as usize];
        let record = observe::RequestRecord {
            id: s.request.id,
            arrival: s.request.arrival,
            scheduled: s.scheduled.unwrap_or(now),
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
        self.records.push(record);
    }

    /// Attaches `new` blocks to a request and registers what is full up to `full_tokens` tokens.
    fn attach(&mut self, slot: Slot, new: u32, full_tokens: u32) {
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
    fn register_upto(&mut self, slot: Slot, tokens: u32) {
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

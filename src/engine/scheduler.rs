//! What the scheduler of every engine does: it queues requests, composes batches and delivers their tokens.
use super::accept::SubmitError;
use super::config::EngineConfig;
use super::content::BlockHashes;
use super::observe::RequestRecord;
use super::speculation::SpeculationCounters;
use crate::cost::{ImagesAtEnd, StepShape};
use crate::units::{SimTime, Span};
use crate::workload::{Request, RequestId};

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

impl std::ops::AddAssign for PrefixCounters {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.queries += other.queries;
        self.hits += other.hits;
        self.preempted_requests += other.preempted_requests;
        self.preempted_queries += other.preempted_queries;
        self.preempted_hits += other.preempted_hits;
    }
}

/// What a scheduler keeps account of beside its decisions. Each costs time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracking {
    /// Fill in [`StepShape::distinct_tokens`]; otherwise it is the number of tokens.
    pub distinct_tokens: bool,
    /// Window of the sliding attention layers, in tokens: fill in the windowed sums of step shapes.
    pub window: Option<u32>,
    /// List [`Output::tokens`]: a walk over the running list in every step.
    pub tokens: bool,
    /// Images of each prompt: fill in [`StepShape::images`].
    pub images: Option<ImagesAtEnd>,
}

/// What one call of [`Scheduler::schedule`] decided. Everything is lent until the next call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step<'a> {
    /// The batch that was formed; `None` if nothing could be scheduled.
    pub shape: Option<&'a StepShape>,
    /// Requests admitted for the first time.
    pub admitted: &'a [RequestId],
    /// Requests admitted again after a preemption.
    pub resumed: &'a [RequestId],
    /// Requests preempted, in order.
    pub preempted: &'a [RequestId],
}

/// What one call of [`Scheduler::complete`] delivered. The lists are lent until the next call.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    /// Requests that got a token, in batch order, once for each of its tokens; empty unless [`Tracking::tokens`] is set.
    pub tokens: &'a [RequestId],
    /// Gaps between consecutive outputs of a request, each with the number of requests that share it. Tokens that a request gets at once
    /// are one output: a client sees one message.
    pub inter_token_gaps: &'a [(Span, u32)],
    /// Requests that ended, in order.
    pub finished: &'a [RequestRecord],
}

/// Queues and memory of a scheduler at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineState {
    /// Requests in the running list.
    pub running: u32,
    /// Requests in the waiting queue.
    pub waiting: u32,
    /// KV blocks not in use, reusable cached ones included.
    pub free_blocks: u32,
}

/// The scheduler of one engine: a value. Nothing happens in it except in answer to a call, and it never asks the time.
pub trait Scheduler: std::fmt::Debug + Send {
    /// The settings.
    fn config(&self) -> &EngineConfig;

    /// Tokens at a time in which prompts share what is computed: a block, or one.
    fn cache_granularity(&self) -> u32;

    /// Queues a request.
    ///
    /// # Errors
    /// A request that [`servable`](super::accept::servable) refuses.
    fn submit(&mut self, request: Request) -> Result<(), SubmitError>;

    /// Ends a request early and frees its memory. A batch in flight still runs; its output for this request is dropped.
    /// The record of the request; `None` if it is not in the engine.
    fn abort(&mut self, id: RequestId) -> Option<RequestRecord>;

    /// Forgets everything kept for later prompts, if no request holds memory; whether that was so.
    fn reset_prefix_cache(&mut self) -> bool;

    /// Composes the next batch at `now`. Every request that arrived by then must have been submitted.
    fn schedule(&mut self, now: SimTime) -> Step<'_>;

    /// Delivers the tokens of the oldest batch in flight, complete at `now`; `None` if none is in flight.
    fn complete(&mut self, now: SimTime) -> Option<Output<'_>>;

    /// Whether any request is waiting, running or in flight.
    fn has_work(&self) -> bool;

    /// Queues and memory now.
    fn state(&self) -> EngineState;

    /// Prefix-cache counters so far.
    fn prefix_counters(&self) -> PrefixCounters;

    /// Drafts so far, and what became of them.
    fn speculation_counters(&self) -> SpeculationCounters;

    /// What lets KV go from this engine to another and come from there; `None`: the engine cannot.
    fn handover(&mut self) -> Option<&mut dyn Handover> {
        None
    }
}

/// The leading tokens of a request whose KV another engine computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Computed {
    /// Prompt tokens whose KV comes with the request.
    pub tokens: u32,
    /// Whether the first output token comes with it, too.
    pub first: bool,
    /// Blocks that were [withheld](Handover::withhold) for it, which it takes over at its admission.
    pub blocks: u32,
}

/// Hashes of a prompt's blocks, so that several engines need not compute them anew. Of one request.
#[derive(Clone, Debug, Default)]
pub struct PromptHashes {
    block_size: u32,
    hashes: BlockHashes,
}

impl PromptHashes {
    /// The hashes of blocks of this size, as far as they were computed.
    pub(super) fn of(&mut self, block_size: u32) -> &mut BlockHashes {
        if self.block_size != block_size {
            self.block_size = block_size;
            self.hashes.clear();
        }
        &mut self.hashes
    }
}

/// A scheduler whose KV can go to another engine, or come from one.
pub trait Handover {
    /// Takes so many blocks out of what may be given to requests: KV that waits for its way to another engine, or is on its way here.
    fn withhold(&mut self, blocks: u32);

    /// Gives withheld blocks back.
    fn restore(&mut self, blocks: u32);

    /// Queues a request at `now` whose leading tokens are there. It keeps its withheld blocks until it is admitted; preempted, it
    /// computes its tokens itself.
    ///
    /// # Errors
    /// As [`Scheduler::submit`].
    fn submit_computed(
        &mut self,
        request: Request,
        computed: Computed,
        now: SimTime,
    ) -> Result<(), SubmitError>;

    /// Whether requests wait whose KV is not there: preempted ones go before what is still expected.
    fn others_wait(&self) -> bool;

    /// Leading tokens of a request that the prefix cache holds now. Looking changes nothing.
    /// `hashes`: of this request, kept from one engine to the next.
    fn cached(&mut self, request: &Request, hashes: &mut PromptHashes) -> u32;
}

//! What the event loop needs of an engine, and a server: vLLM's and the others.
use super::observe::RequestRecord;
use super::radix::Radix;
use super::slots::Slots;
use super::{ConfigError, Engine, EngineConfig, Moves, PrefixCounters, SubmitError};
use crate::cost::StepShape;
use crate::device::Scheduler;
use crate::units::{SimTime, Span};
use crate::workload::{Request, RequestId};

/// An engine: a value that queues requests, composes batches and delivers their tokens.
pub trait Batcher: std::fmt::Debug {
    /// Whether distinct tokens are to be counted, and the window of sliding layers.
    fn track(&mut self, distinct: bool, window: Option<u32>);
    /// Settings.
    fn config(&self) -> &EngineConfig;
    /// Queues a request.
    ///
    /// # Errors
    /// If the engine refuses it.
    fn submit(&mut self, request: Request) -> Result<(), SubmitError>;
    /// The client gave up: the request leaves, and its memory with it. Whoever is in flight is still computed, for nobody.
    fn abort(&mut self, id: RequestId);
    /// Forgets what is kept for prompts to come, if no request runs; whether that was so.
    fn reset_prefix_cache(&mut self) -> bool;
    /// Tokens at a time in which prompts share what is computed: a block, or one.
    fn sharing(&self) -> u32;
    /// Composes the next batch; `false` if there is none.
    fn schedule(&mut self, now: SimTime) -> bool;
    /// Delivers the oldest batch's tokens; `false` if none is in flight.
    fn process_output(&mut self, now: SimTime) -> bool;
    /// Whether any request is waiting, running or in flight.
    fn has_work(&self) -> bool;
    /// Requests that run.
    fn num_running(&self) -> usize;
    /// Requests that wait.
    fn num_waiting(&self) -> usize;
    /// KV blocks not in use.
    fn free_blocks(&self) -> u32;
    /// Prefix-cache counters so far.
    fn prefix_counters(&self) -> PrefixCounters;
    /// Whom the last call of `schedule` moved.
    fn moves(&self) -> &Moves;
    /// Shape of the batch scheduled last.
    fn shape(&self) -> StepShape;
    /// Who gets a token with it.
    fn receivers(&self) -> Vec<RequestId>;
    /// Lists who got a token in [`tokens`](Self::tokens); to be called before the first request.
    fn record_tokens(&mut self);
    /// Who got a token with the last output.
    fn tokens(&self) -> &[RequestId];
    /// Gaps between tokens of the last output.
    fn gaps(&self) -> &[(Span, u32)];
    /// Requests that ended since the last `clear_records`.
    fn records(&self) -> &[RequestRecord];
    /// Forgets them.
    fn clear_records(&mut self);
}

/// An engine with nothing to do that composes batches by these rules.
///
/// # Errors
/// As [`EngineConfig::validate`].
pub fn start(
    scheduler: Scheduler,
    config: EngineConfig,
) -> Result<Box<dyn Batcher + Send>, ConfigError> {
    Ok(match scheduler {
        Scheduler::Vllm => Box::new(Engine::new(config)?),
        Scheduler::LlamaServer => Box::new(Slots::new(config)?),
        Scheduler::Sglang => Box::new(Radix::new(config)?),
    })
}

/// vLLM's engine, as it is.
impl Batcher for Engine {
    fn track(&mut self, distinct: bool, window: Option<u32>) {
        self.track(distinct, window)
    }
    fn config(&self) -> &EngineConfig {
        self.config()
    }
    fn submit(&mut self, request: Request) -> Result<(), SubmitError> {
        self.submit(request)
    }
    fn abort(&mut self, id: RequestId) {
        self.abort(id)
    }
    fn reset_prefix_cache(&mut self) -> bool {
        self.reset_prefix_cache()
    }
    fn sharing(&self) -> u32 {
        self.config().block_size
    }
    fn schedule(&mut self, now: SimTime) -> bool {
        self.schedule(now)
    }
    fn process_output(&mut self, now: SimTime) -> bool {
        self.process_output(now)
    }
    fn has_work(&self) -> bool {
        self.has_work()
    }
    fn num_running(&self) -> usize {
        self.num_running()
    }
    fn num_waiting(&self) -> usize {
        self.num_waiting()
    }
    fn free_blocks(&self) -> u32 {
        self.free_blocks()
    }
    fn prefix_counters(&self) -> PrefixCounters {
        self.prefix_counters()
    }
    fn moves(&self) -> &Moves {
        self.moves()
    }
    fn shape(&self) -> StepShape {
        self.shape()
    }
    fn receivers(&self) -> Vec<RequestId> {
        self.receivers()
    }
    fn record_tokens(&mut self) {
        self.record_tokens()
    }
    fn tokens(&self) -> &[RequestId] {
        self.tokens()
    }
    fn gaps(&self) -> &[(Span, u32)] {
        self.gaps()
    }
    fn records(&self) -> &[RequestRecord] {
        self.records()
    }
    fn clear_records(&mut self) {
        self.clear_records()
    }
}

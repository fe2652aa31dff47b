//! The event loop: an engine, a price for its steps, and somebody who asks.
//!
//! # Order of events
//!
//! At equal times: outputs are processed first (requests end, their blocks are free, the source is told, in batch
//! order), then arrivals up to and including that time enter the waiting queue in the source's order, then the next
//! step is scheduled. A request that arrives while a step runs waits for its end.
//!
//! Synchronous: a step that begins at `now` lasts `cost.step(shape)`. Asynchronous: iteration i schedules batch i,
//! then waits for batch i − 1; the device runs batches back to back, so that batch i ends at
//! max(end of batch i − 1, time of its scheduling) + cost.
use super::batcher::Batcher;
use super::observe::{Observer, StepRecord};
use super::radix::Radix;
use super::slots::Slots;
use super::{ConfigError, Engine, EngineConfig, PrefixCounters};
use crate::cost::{StepCost, StepShape};
use crate::units::SimTime;
use crate::workload::{Request, RequestId, Source};
use std::collections::VecDeque;

/// Totals of a simulation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimSummary {
    /// When the last answer was complete.
    pub end: SimTime,
    /// Engine steps.
    pub steps: u64,
    /// Requests answered.
    pub completed: u64,
    /// Requests refused: prompt and output longer than `max_model_len`, or than the whole KV cache.
    pub rejected: u64,
    /// Preemptions.
    pub preemptions: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Tokens computed in all steps: prompts less what the prefix cache had, outputs, and recomputation.
    pub computed_tokens: u64,
    /// Prefix-cache counters.
    pub prefix: PrefixCounters,
    /// Most requests in the running list.
    pub running_max: u32,
}

/// Why a simulation could not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Requests are there, but none gets any further, for ever.
    #[error(
        "the engine is stuck after {at} s with {running} running and {waiting} waiting requests: the KV cache of {blocks} \
         blocks is too small for them"
    )]
    Stuck {
        /// When, in seconds.
        at: u64,
        /// Running.
        running: usize,
        /// Waiting.
        waiting: usize,
        /// KV blocks.
        blocks: u32,
    },
    /// Whoever watched wanted no more ([`Observer::stop`]).
    #[error("stopped before the end")]
    Stopped,
}

/// A batch on the device.
struct Flight {
    start: SimTime,
    end: SimTime,
    shape: StepShape,
    running: u32,
    waiting: u32,
    preempted: u32,
    free_blocks: u64,
}

/// Steps without a single output token after which the engine is taken to go round in circles: requests that preempt each
/// other before any completes its prefill. A prompt of full length in chunks of one token takes `max_model_len`.
pub(super) fn patience(config: &EngineConfig) -> u64 {
    1_000 + 8 * u64::from(config.max_model_len)
}

struct Loop<'a, B, S, O> {
    engine: B,
    source: &'a mut S,
    observer: &'a mut O,
    summary: SimSummary,
}

/// Simulates vLLM until the source has nothing more and everything is answered.
///
/// # Errors
/// Settings that no engine starts with, or an engine that can never go on.
pub fn simulate<C: StepCost, S: Source, O: Observer>(
    config: &EngineConfig,
    cost: &C,
    source: &mut S,
    observer: &mut O,
) -> Result<SimSummary, SimError> {
    drive(Engine::new(config.clone())?, cost, source, observer)
}

/// As [`simulate`], of `llama-server` with `max_num_seqs` slots.
///
/// # Errors
/// As [`simulate`].
pub fn simulate_slots<C: StepCost, S: Source, O: Observer>(
    config: &EngineConfig,
    cost: &C,
    source: &mut S,
    observer: &mut O,
) -> Result<SimSummary, SimError> {
    drive(Slots::new(config.clone())?, cost, source, observer)
}

/// As [`simulate`], of SGLang. Its overlap of host and device is the price's business: one batch is in flight at a time.
///
/// # Errors
/// As [`simulate`].
pub fn simulate_radix<C: StepCost, S: Source, O: Observer>(
    config: &EngineConfig,
    cost: &C,
    source: &mut S,
    observer: &mut O,
) -> Result<SimSummary, SimError> {
    drive(Radix::new(config.clone())?, cost, source, observer)
}

/// Simulates any engine.
fn drive<B: Batcher, C: StepCost, S: Source, O: Observer>(
    mut engine: B,
    cost: &C,
    source: &mut S,
    observer: &mut O,
) -> Result<SimSummary, SimError> {
    engine.track(cost.wants_distinct_tokens(), cost.attention_window());
    let asynchronous = engine.config().async_scheduling;
    let patience = patience(engine.config());
    let mut l = Loop {
        engine,
        source,
        observer,
        summary: SimSummary::default(),
    };
    let mut now = SimTime::ZERO;
    let mut device_free = SimTime::ZERO;
    let mut flights: VecDeque<Flight> = VecDeque::new();
    let mut fruitless = 0;
    loop {
        if l.observer.stop() {
            return Err(SimError::Stopped);
        }
        l.arrivals(now);
        if !l.engine.has_work() {
            match l.source.peek() {
                Some(next) => {
                    now = now.max(next);
                    continue;
                }
                None => break,
            }
        }
        let before = flights.len();
        let formed = l.engine.schedule(now);
        l.summary.preemptions += l.engine.moves().preempted.len() as u64;
        l.observer.on_schedule(now, l.engine.moves());
        if formed {
            if l.observer.wants_batches() {
                l.observer.on_batch(&l.engine.receivers());
            }
            let shape = l.engine.shape();
            let start = now.max(device_free);
            let end = start + cost.step(&shape);
            device_free = end;
            let running = l.engine.num_running() as u32;
            l.summary.running_max = l.summary.running_max.max(running);
            flights.push_back(Flight {
                start,
                end,
                shape,
                running,
                waiting: l.engine.num_waiting() as u32,
                preempted: l.engine.moves().preempted.len() as u32,
                free_blocks: l.engine.free_blocks().into(),
            });
        }
        // Asynchronously, the first batch after a pause is followed by another before its output is waited for.
        if asynchronous && formed && before == 0 {
            continue;
        }
        match flights.pop_front() {
            Some(flight) => {
                now = flight.end;
                l.output(&flight);
                fruitless = if flight.shape.sampled > 0 {
                    0
                } else {
                    fruitless + 1
                };
                if fruitless > patience {
                    return Err(l.stuck(now));
                }
            }
            None if !l.engine.moves().preempted.is_empty() => {}
            None => match l.source.peek() {
                // Stuck for now: perhaps a later arrival is aborted or served first.
                Some(next) if next > now => now = next,
                _ => return Err(l.stuck(now)),
            },
        }
    }
    l.summary.end = now;
    l.summary.prefix = l.engine.prefix_counters();
    Ok(l.summary)
}

/// Whether the server takes the request: vLLM's OpenAI front end refuses prompt + max_tokens beyond
/// `max_model_len`; and a request that the whole KV cache cannot hold would preempt itself for ever.
pub(super) fn acceptable(config: &EngineConfig, r: &Request) -> bool {
    let asked = u64::from(r.prompt.len()) + u64::from(r.max_tokens);
    let outputs = match r.answer.stop_at {
        Some(k) => u64::from(k).saturating_add(1).min(r.max_tokens.into()),
        None => r.max_tokens.into(),
    };
    // The last output token's KV is never computed.
    let held = u64::from(r.prompt.len()) + outputs - 1;
    asked <= config.max_model_len.into()
        && held.div_ceil(config.block_size.into()) + u64::from(config.state_blocks)
            <= u64::from(config.num_gpu_blocks - 1)
}

impl<B: Batcher, S: Source, O: Observer> Loop<'_, B, S, O> {
    fn stuck(&self, at: SimTime) -> SimError {
        SimError::Stuck {
            at: at.secs() as u64,
            running: self.engine.num_running(),
            waiting: self.engine.num_waiting(),
            blocks: self.engine.config().num_gpu_blocks,
        }
    }

    fn acceptable(&self, r: &Request) -> bool {
        acceptable(self.engine.config(), r)
    }

    fn arrivals(&mut self, now: SimTime) {
        while self.source.peek().is_some_and(|t| t <= now) {
            let Some(request) = self.source.pop() else {
                break;
            };
            let (id, at) = (request.id, request.arrival);
            let refused = request.prompt.len() == 0
                || request.max_tokens == 0
                || !self.acceptable(&request)
                || self.engine.submit(request).is_err();
            if refused {
                self.summary.rejected += 1;
                self.observer.on_refused(id, at);
                self.source.finished(id, now);
            } else {
                self.observer.on_arrival(id, at);
            }
        }
    }

    fn output(&mut self, flight: &Flight) {
        self.engine.process_output(flight.end);
        self.summary.steps += 1;
        self.summary.computed_tokens += u64::from(flight.shape.tokens());
        self.observer.on_step(&StepRecord {
            start: flight.start,
            duration: flight.end.since(flight.start),
            shape: flight.shape,
            running: flight.running,
            waiting: flight.waiting,
            preempted: flight.preempted,
            free_blocks: flight.free_blocks,
        });
        for &(gap, count) in self.engine.gaps() {
            self.observer.on_tokens(gap, count);
        }
        for i in 0..self.engine.records().len() {
            let record = self.engine.records()[i];
            self.summary.completed += 1;
            self.summary.output_tokens += u64::from(record.output_tokens);
            self.observer.on_request(&record);
            self.source.finished(RequestId(record.id.0), flight.end);
        }
        self.engine.clear_records();
    }
}

//! The engine between two instants: [`simulate`](crate::engine::simulate)'s order of events, cut where it waits.
//!
//! No clock here. Whoever drives it says what time it is: the wall clock in `pace.rs`, a list of arrivals in tests,
//! which hold it against the simulator batch by batch.
use crate::cost::{StepCost, StepShape};
use crate::device::Scheduler;
use crate::engine::{Batcher, ConfigError, EngineConfig, start};
use crate::units::{SimTime, Span};
use crate::workload::{Request, RequestId};
use std::collections::VecDeque;

/// A batch on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// When it began.
    pub start: SimTime,
    /// When its output is there.
    pub end: SimTime,
    /// What it computes.
    pub shape: StepShape,
}

/// A request that the engine can never serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the KV cache of {have} blocks cannot hold a request that needs {need}")]
pub struct Refused {
    /// Blocks it would hold.
    pub need: u64,
    /// Blocks there are.
    pub have: u64,
}

/// An engine and the price of its steps.
#[derive(Debug)]
pub struct Core<C> {
    engine: Box<dyn Batcher + Send>,
    cost: C,
    speedup: f64,
    flights: VecDeque<Flight>,
    device_free: SimTime,
    preemptions: u64,
}

impl<C: StepCost> Core<C> {
    /// An engine with nothing to do that composes batches by the rules of `scheduler`, and whose steps take `1 / speedup` of
    /// what they cost.
    ///
    /// # Errors
    /// As [`EngineConfig::validate`].
    pub fn new(
        scheduler: Scheduler,
        config: EngineConfig,
        cost: C,
        speedup: f64,
    ) -> Result<Self, ConfigError> {
        let mut engine = start(scheduler, config)?;
        engine.track(cost.wants_distinct_tokens(), cost.attention_window());
        engine.record_tokens();
        Ok(Self {
            engine,
            cost,
            speedup,
            flights: VecDeque::new(),
            device_free: SimTime::ZERO,
            preemptions: 0,
        })
    }

    /// The engine.
    pub fn engine(&self) -> &dyn Batcher {
        &*self.engine
    }

    /// Preemptions so far.
    pub fn preemptions(&self) -> u64 {
        self.preemptions
    }

    /// A new request for the waiting queue. Its lengths were checked against `max_model_len` by the front end.
    ///
    /// # Errors
    /// A request that the whole KV cache cannot hold: it would preempt itself for ever.
    pub fn submit(&mut self, request: Request) -> Result<(), Refused> {
        let config = self.engine.config();
        let outputs = match request.answer.stop_at {
            Some(k) => k.saturating_add(1).min(request.max_tokens),
            None => request.max_tokens,
        };
        // The last output token's KV is never computed.
        let held = u64::from(request.prompt.len()) + u64::from(outputs) - 1;
        let need = held.div_ceil(config.block_size.into()) + u64::from(config.state_blocks);
        let have = u64::from(config.num_gpu_blocks - 1);
        if need > have || self.engine.submit(request).is_err() {
            return Err(Refused { need, have });
        }
        Ok(())
    }

    /// The client gave up.
    pub fn abort(&mut self, id: RequestId) {
        self.engine.abort(id);
    }

    /// Forgets the prefix cache, if nobody holds a block.
    pub fn reset_prefix_cache(&mut self) -> bool {
        self.engine.reset_prefix_cache()
    }

    /// All that arrived up to `now` was submitted: forms the batches that begin now. Returns when the next
    /// output is due; `None` if the device has nothing to do.
    pub fn advance(&mut self, now: SimTime) -> Option<SimTime> {
        // A request that finds no room may be preempted and tried again; then only an output helps.
        for _ in 0..4 {
            if !self.engine.has_work() {
                break;
            }
            let before = self.flights.len();
            let formed = self.engine.schedule(now);
            let preempted = self.engine.moves().preempted.len();
            self.preemptions += preempted as u64;
            if formed {
                let shape = self.engine.shape();
                let start = now.max(self.device_free);
                let end = start + self.faster(self.cost.step(&shape));
                self.device_free = end;
                self.flights.push_back(Flight { start, end, shape });
            }
            // Asynchronously, the first batch after a pause is followed by another before its output is waited for.
            let again = if formed {
                before == 0 && self.engine.config().async_scheduling
            } else {
                self.flights.is_empty() && preempted > 0
            };
            if !again {
                break;
            }
        }
        self.flights.front().map(|f| f.end)
    }

    /// The oldest batch is done, at the time that [`advance`](Self::advance) said: its tokens are in
    /// [`Batcher::tokens`], its ends in [`Batcher::records`] (until [`clear`](Self::clear)).
    pub fn complete(&mut self) -> Option<Flight> {
        let flight = self.flights.pop_front()?;
        self.engine.process_output(flight.end);
        Some(flight)
    }

    /// The device stands still for a while: whatever is under way ends that much later.
    pub fn delay(&mut self, by: Span) {
        for f in &mut self.flights {
            f.end += by;
        }
        self.device_free += by;
    }

    /// Forgets records.
    pub fn clear(&mut self) {
        self.engine.clear_records();
    }

    fn faster(&self, step: Span) -> Span {
        if self.speedup == 1.0 {
            step
        } else {
            Span::from_secs(step.secs() / self.speedup)
        }
    }
}

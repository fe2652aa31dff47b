//! A simulation: the runtime moved from event to event, against a source of requests.
use super::front_end::{AtTheClients, FrontEnd, FrontEndCost};
use super::group::Group;
use super::observe::Observer;
use super::runtime::Runtime;
use super::speculation::SpeculationCounters;
use super::{ConfigError, EngineConfig, PrefixCounters};
use crate::cost::StepCost;
use crate::device::EngineId;
use crate::units::SimTime;
use crate::workload::Source;

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
    /// Drafts, and what became of them.
    pub speculation: SpeculationCounters,
    /// Most requests in the running list.
    pub running_max: u32,
}

/// Why a simulation could not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Requests are there, but none gets any further.
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
    /// The observer wanted no more ([`Observer::stop`]).
    #[error("stopped before the end")]
    Stopped,
}

/// Simulates vLLM on one device until the source has nothing more and everything is answered. Other engines and several of them:
/// [`Runtime::run`].
///
/// # Errors
/// Settings that no engine starts with, or an engine that can never go on.
pub fn simulate<C: StepCost, S: Source, O: Observer>(
    config: &EngineConfig,
    cost: &C,
    source: &mut S,
    observer: &mut O,
) -> Result<SimSummary, SimError> {
    let tokens = observer.wants_output();
    Runtime::new(EngineId::Vllm, config, Group::ONE, cost, tokens)?.run(source, observer)
}

impl<C: StepCost> Runtime<C> {
    /// Goes from event to event until the source has nothing more and everything is answered.
    ///
    /// # Errors
    /// Engines that can never go on, or an observer that wants no more.
    pub fn run<S: Source, O: Observer>(
        self,
        source: &mut S,
        observer: &mut O,
    ) -> Result<SimSummary, SimError> {
        self.run_behind(FrontEndCost::default(), source, observer)
    }

    /// As [`run`](Self::run), behind a front end: what observers hear of requests and tokens is as the clients see it, of steps as the
    /// engine does.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_behind<S: Source, O: Observer>(
        self,
        cost: FrontEndCost,
        source: &mut S,
        observer: &mut O,
    ) -> Result<SimSummary, SimError> {
        match FrontEnd::new(cost) {
            None => self.run_alone(source, observer),
            Some(front) => self.run_queued(front, source, observer),
        }
    }

    fn run_queued<S: Source, O: Observer>(
        mut self,
        mut front: FrontEnd,
        source: &mut S,
        observer: &mut O,
    ) -> Result<SimSummary, SimError> {
        let mut now = SimTime::ZERO;
        let mut due = None;
        let mut ended = vec![];
        loop {
            if observer.stop() {
                return Err(SimError::Stopped);
            }
            now = match due {
                Some(end) if self.num_ranks() == 1 => end,
                due => match (due, front.peek(source, due)) {
                    (None, None) => break,
                    (Some(end), Some(there)) => now.max(there.min(end)),
                    (Some(end), None) => end,
                    (None, Some(there)) => now.max(there),
                },
            };
            front.take_in(source, now);
            while let Some((end, tokens)) = self.ending(now) {
                front.hand_out(end, tokens);
                let mut clients = AtTheClients {
                    front: &mut front,
                    observer,
                    now: end,
                    ended: &mut ended,
                };
                let in_circles = self
                    .complete(now, &mut clients)
                    .is_some_and(|flight| flight.in_circles);
                for (id, at) in ended.drain(..) {
                    source.finished(id, at);
                }
                if in_circles {
                    return Err(self.stuck(now));
                }
            }
            while let Some(request) = front.pop(now) {
                let (id, at) = (request.id, request.arrival);
                if self.submit(request).is_ok() {
                    observer.on_arrival(id, at);
                } else {
                    self.reject();
                    observer.on_refused(id, front.refuse(id).unwrap_or(at));
                    source.finished(id, now);
                }
            }
            due = self.advance(now, observer);
        }
        if self.has_work() {
            return Err(self.stuck(now));
        }
        Ok(self.summary())
    }

    fn run_alone<S: Source, O: Observer>(
        mut self,
        source: &mut S,
        observer: &mut O,
    ) -> Result<SimSummary, SimError> {
        let mut now = SimTime::ZERO;
        let mut due = None;
        loop {
            if observer.stop() {
                return Err(SimError::Stopped);
            }
            now = match (due, source.peek()) {
                (None, None) => break,
                // A router looks at the queues when a request arrives. An engine alone looks at its own when a step ends.
                (Some(end), Some(arrival)) if self.num_ranks() > 1 => now.max(arrival.min(end)),
                (Some(end), _) => end,
                (None, Some(arrival)) => now.max(arrival),
            };
            while let Some(flight) = self.complete(now, observer) {
                for r in flight.finished {
                    source.finished(r.id, flight.end);
                }
                if flight.in_circles {
                    return Err(self.stuck(now));
                }
            }
            self.arrivals(now, source, observer);
            due = self.advance(now, observer);
        }
        if self.has_work() {
            return Err(self.stuck(now));
        }
        Ok(self.summary())
    }

    /// Takes or refuses everything that arrived by `now`.
    fn arrivals(&mut self, now: SimTime, source: &mut impl Source, observer: &mut impl Observer) {
        while source.peek().is_some_and(|t| t <= now) {
            let Some(request) = source.pop() else {
                break;
            };
            let (id, at) = (request.id, request.arrival);
            if self.submit(request).is_ok() {
                observer.on_arrival(id, at);
            } else {
                self.reject();
                observer.on_refused(id, at);
                source.finished(id, now);
            }
        }
    }

    fn stuck(&self, at: SimTime) -> SimError {
        let (running, waiting) = self.states().fold((0, 0), |(r, w), s| {
            (r + s.running as usize, w + s.waiting as usize)
        });
        SimError::Stuck {
            at: at.secs() as u64,
            running,
            waiting,
            blocks: self.config().num_gpu_blocks,
        }
    }
}

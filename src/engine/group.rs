//! Several engines behind one router: data parallelism.
//!
//! Each engine has requests, KV blocks and a schedule of its own. Those that share the experts of a mixture run in *lock-step*:
//! every step begins and ends for all of them at once, and an engine without work takes part with an empty batch (vLLM: dummy
//! batches, `v1/engine/core.py: DPEngineCoreProc`). Others are replicas that run on clocks of their own.
//!
//! Order of events: at equal times outputs first (in order of engines), then arrivals, then the next steps.
use super::observe::{Observer, StepRecord};
use super::sim::{SimError, SimSummary, acceptable, patience, simulate};
use super::{Engine, EngineConfig};
use crate::cost::{StepCost, StepShape};
use crate::units::SimTime;
use crate::workload::{RequestId, Source};
use std::collections::VecDeque;

/// Who gets the next request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Router {
    /// The engine with the least of 4 · waiting + running requests, the first of equals: vLLM's own balancer
    /// (`v1/engine/core_client.py: DPLBAsyncMPClient.get_core_engine_for_request`). Counts are taken as current; vLLM's
    /// may be a tenth of a second old.
    #[default]
    LeastLoaded,
    /// One after the other.
    RoundRobin,
}

/// Several engines of equal settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub engines: u32,
    /// Whether every step is one of all of them.
    pub lockstep: bool,
    /// Who gets the next request.
    pub router: Router,
}

impl Group {
    /// One engine alone.
    pub const ONE: Self = Self {
        engines: 1,
        lockstep: false,
        router: Router::LeastLoaded,
    };
}

/// One engine's batch on the device.
struct Flight {
    /// Which engines formed a batch, with its shape, in their order.
    of: Vec<(usize, StepShape)>,
    start: SimTime,
    end: SimTime,
    record: StepRecord,
}

/// Engines that share a clock.
struct Clock {
    members: Vec<usize>,
    device_free: SimTime,
    flights: VecDeque<Flight>,
    fruitless: u64,
}

struct State<'a, S, O> {
    engines: Vec<Engine>,
    config: &'a EngineConfig,
    source: &'a mut S,
    observer: &'a mut O,
    summary: SimSummary,
    next: usize,
    router: Router,
}

/// As [`simulate`], of several engines.
///
/// # Errors
/// As [`simulate`].
pub fn simulate_group<C: StepCost, S: Source, O: Observer>(
    config: &EngineConfig,
    group: Group,
    cost: &C,
    source: &mut S,
    observer: &mut O,
) -> Result<SimSummary, SimError> {
    if group.engines <= 1 {
        return simulate(config, cost, source, observer);
    }
    let n = group.engines as usize;
    let mut engines = vec![];
    for _ in 0..n {
        let mut engine = Engine::new(config.clone())?;
        engine.track(cost.wants_distinct_tokens(), cost.attention_window());
        engines.push(engine);
    }
    let clock = |members: Vec<usize>| Clock {
        members,
        device_free: SimTime::ZERO,
        flights: VecDeque::new(),
        fruitless: 0,
    };
    let mut clocks: Vec<Clock> = if group.lockstep {
        vec![clock((0..n).collect())]
    } else {
        (0..n).map(|i| clock(vec![i])).collect()
    };
    let mut s = State {
        engines,
        config,
        source,
        observer,
        summary: SimSummary::default(),
        next: 0,
        router: group.router,
    };
    loop {
        if s.observer.stop() {
            return Err(SimError::Stopped);
        }
        let output = clocks
            .iter()
            .filter_map(|c| c.flights.front().map(|f| f.end))
            .min();
        let arrival = s.source.peek();
        let now = match (output, arrival) {
            (None, None) => break,
            (Some(o), None) => o,
            (None, Some(a)) => a,
            (Some(o), Some(a)) => o.min(a),
        };
        let mut due = vec![false; clocks.len()];
        for (c, due) in clocks.iter_mut().zip(&mut due) {
            if c.flights.front().is_some_and(|f| f.end <= now) {
                let flight = c.flights.pop_front().expect("just seen");
                let sampled = s.output(&flight);
                c.fruitless = if sampled { 0 } else { c.fruitless + 1 };
                if c.fruitless > patience(config) {
                    return Err(s.stuck(now));
                }
                *due = true;
            }
        }
        s.arrivals(now);
        for (c, due) in clocks.iter_mut().zip(due) {
            // A step begins when one ended, or when there was none.
            if due || c.flights.is_empty() {
                s.schedule(c, now, cost)?;
            }
        }
    }
    if s.engines.iter().any(Engine::has_work) {
        let end = s.summary.end;
        return Err(s.stuck(end));
    }
    for e in &s.engines {
        let p = e.prefix_counters();
        let sum = &mut s.summary.prefix;
        sum.requests += p.requests;
        sum.queries += p.queries;
        sum.hits += p.hits;
        sum.preempted_requests += p.preempted_requests;
        sum.preempted_queries += p.preempted_queries;
        sum.preempted_hits += p.preempted_hits;
    }
    Ok(s.summary)
}

impl<S: Source, O: Observer> State<'_, S, O> {
    fn stuck(&self, at: SimTime) -> SimError {
        SimError::Stuck {
            at: at.secs() as u64,
            running: self.engines.iter().map(Engine::num_running).sum(),
            waiting: self.engines.iter().map(Engine::num_waiting).sum(),
            blocks: self.config.num_gpu_blocks,
        }
    }

    fn route(&mut self) -> usize {
        match self.router {
            Router::RoundRobin => {
                let i = self.next;
                self.next = (i + 1) % self.engines.len();
                i
            }
            Router::LeastLoaded => {
                let score = |e: &Engine| 4 * e.num_waiting() + e.num_running();
                (0..self.engines.len())
                    .min_by_key(|&i| score(&self.engines[i]))
                    .expect("there are engines")
            }
        }
    }

    fn arrivals(&mut self, now: SimTime) {
        while self.source.peek().is_some_and(|t| t <= now) {
            let Some(request) = self.source.pop() else {
                break;
            };
            let (id, at) = (request.id, request.arrival);
            let fits = request.prompt.len() > 0
                && request.max_tokens > 0
                && acceptable(self.config, &request);
            let taken = fits && {
                let i = self.route();
                self.engines[i].submit(request).is_ok()
            };
            if taken {
                self.observer.on_arrival(id, at);
            } else {
                self.summary.rejected += 1;
                self.observer.on_refused(id, at);
                self.source.finished(id, now);
            }
        }
    }

    /// Forms batches at `now`: one, or, asynchronously after a pause, two.
    fn schedule<C: StepCost>(
        &mut self,
        c: &mut Clock,
        now: SimTime,
        cost: &C,
    ) -> Result<(), SimError> {
        let most = if self.config.async_scheduling { 2 } else { 1 };
        let mut idle = 0;
        while c.flights.len() < most {
            let mut of = vec![];
            let mut preempted = 0;
            for &i in &c.members {
                let e = &mut self.engines[i];
                if !e.has_work() {
                    continue;
                }
                let formed = e.schedule(now);
                preempted += e.moves().preempted.len();
                self.observer.on_schedule(now, e.moves());
                if formed {
                    of.push((i, e.shape()));
                    if self.observer.wants_batches() {
                        self.observer.on_batch(&e.receivers());
                    }
                }
            }
            self.summary.preemptions += preempted as u64;
            if of.is_empty() {
                // Requests that were preempted just now may come back at once; others wait for an output or an arrival.
                idle += 1;
                if preempted == 0 || idle > 1_000 {
                    break;
                }
                continue;
            }
            let shapes: Vec<StepShape> = of.iter().map(|(_, s)| *s).collect();
            let start = now.max(c.device_free);
            let end = start + cost.lockstep(&shapes);
            c.device_free = end;
            let running: usize = c
                .members
                .iter()
                .map(|&i| self.engines[i].num_running())
                .sum();
            self.summary.running_max = self.summary.running_max.max(running as u32);
            let heaviest = shapes.iter().max_by_key(|s| s.tokens()).expect("not empty");
            let record = StepRecord {
                start,
                duration: end.since(start),
                shape: *heaviest,
                running: running as u32,
                waiting: c
                    .members
                    .iter()
                    .map(|&i| self.engines[i].num_waiting() as u32)
                    .sum(),
                preempted: preempted as u32,
                free_blocks: c
                    .members
                    .iter()
                    .map(|&i| u64::from(self.engines[i].free_blocks()))
                    .min()
                    .unwrap_or(0),
            };
            c.flights.push_back(Flight {
                of,
                start,
                end,
                record,
            });
        }
        let stalled = c.flights.is_empty()
            && self.source.peek().is_none()
            && c.members.iter().any(|&i| self.engines[i].has_work());
        if stalled {
            return Err(self.stuck(now));
        }
        Ok(())
    }

    /// Delivers a step's tokens; whether there were any.
    fn output(&mut self, flight: &Flight) -> bool {
        debug_assert!(flight.start <= flight.end);
        self.summary.steps += 1;
        self.summary.end = flight.end;
        self.observer.on_step(&flight.record);
        let mut sampled = false;
        for &(i, shape) in &flight.of {
            sampled |= shape.sampled > 0;
            self.summary.computed_tokens += u64::from(shape.tokens());
            let e = &mut self.engines[i];
            e.process_output(flight.end);
            for &(gap, count) in e.gaps() {
                self.observer.on_tokens(gap, count);
            }
            for k in 0..e.records().len() {
                let record = e.records()[k];
                self.summary.completed += 1;
                self.summary.output_tokens += u64::from(record.output_tokens);
                self.observer.on_request(&record);
                self.source.finished(RequestId(record.id.0), flight.end);
            }
            e.clear_records();
        }
        sampled
    }
}

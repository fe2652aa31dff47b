//! One replica: a runtime, its front end, and what waits for room in it.
use super::router::Signal;
use super::{At, Plan, Pool};
use crate::cost::StepCost;
use crate::engine::front_end::{AtTheClients, FrontEnd};
use crate::engine::observe::{Observer, RequestRecord, StepRecord};
use crate::engine::{ConfigError, EngineState, Runtime, SimSummary, Step};
use crate::units::{SimTime, Span};
use crate::workload::{Request, RequestId};
use std::collections::VecDeque;

/// One replica.
#[derive(Debug)]
pub(super) struct Replica<C> {
    pub at: At,
    pub runtime: Runtime<C>,
    pub front: Option<FrontEnd>,
    /// When the next step ends.
    pub due: Option<SimTime>,
    /// The event that the loop waits for.
    pub wake: Option<SimTime>,
    /// Requests whose KV waits for room here, the oldest first.
    pub expected: VecDeque<u64>,
    /// Requests whose blocks are withheld here or whose KV is on its way here.
    pub on_the_way: u32,
    /// Requests that it was given and has not ended.
    pub open: u32,
    /// Requests that it was given.
    pub routed: u64,
    /// Whether it may get requests.
    pub serves: bool,
    /// What the router last saw.
    pub seen: Signal,
    /// Totals of its runtimes that failed.
    pub before: SimSummary,
}

impl<C: StepCost + Clone> Replica<C> {
    pub fn new(pool: &Pool<C>, at: At, tokens: bool) -> Result<Self, ConfigError> {
        Ok(Self {
            at,
            runtime: runtime(pool, tokens)?,
            front: FrontEnd::new(pool.front),
            due: None,
            wake: None,
            expected: VecDeque::new(),
            on_the_way: 0,
            open: 0,
            routed: 0,
            serves: true,
            seen: Signal::default(),
            before: SimSummary::default(),
        })
    }

    /// Everything in it is lost.
    pub fn fail(&mut self, pool: &Pool<C>, tokens: bool) -> Result<(), ConfigError> {
        let lost = std::mem::replace(&mut self.runtime, runtime(pool, tokens)?);
        add(&mut self.before, &lost.summary());
        self.front = FrontEnd::new(pool.front);
        (self.due, self.open, self.on_the_way) = (None, 0, 0);
        self.expected.clear();
        Ok(())
    }

    /// What a router sees of it now.
    pub fn signal(&self) -> Signal {
        let mut state = EngineState::default();
        for s in self.runtime.states() {
            state.running += s.running;
            state.waiting += s.waiting;
            state.free_blocks += s.free_blocks;
        }
        let c = self.runtime.config();
        Signal {
            state,
            usable: (c.num_gpu_blocks - 1) * self.runtime.num_ranks() as u32,
            block_size: c.block_size,
        }
    }

    /// When something next happens in it.
    pub fn next(&self) -> Option<SimTime> {
        let front = self.front.as_ref().and_then(FrontEnd::next);
        [self.due, front].into_iter().flatten().min()
    }

    /// Delivers the steps that ended by `now`. What ended goes to `ended`; whether requests only preempt each other.
    pub fn deliver<O: Observer>(
        &mut self,
        now: SimTime,
        observer: &mut Inside<'_, O>,
        ended: &mut Vec<RequestRecord>,
    ) -> bool {
        if let Some(front) = &mut self.front {
            front.hand_over_until(now);
        }
        let mut in_circles = false;
        let mut out = vec![];
        while let Some((end, tokens)) = self.runtime.ending(now) {
            let flight = match &mut self.front {
                None => self.runtime.complete(now, observer),
                Some(front) => {
                    front.hand_out(end, tokens);
                    let mut clients = AtTheClients {
                        front,
                        observer,
                        now: end,
                        ended: &mut out,
                    };
                    self.runtime.complete(now, &mut clients)
                }
            };
            in_circles |= flight.is_some_and(|f| f.in_circles);
        }
        ended.append(&mut observer.ended);
        in_circles
    }

    /// The next request that its front end has ready by `now`.
    pub fn pop(&mut self, now: SimTime) -> Option<Request> {
        let front = self.front.as_mut()?;
        front.hand_over_until(now);
        front.pop(now)
    }

    pub fn totals(&self) -> SimSummary {
        let mut all = self.before;
        add(&mut all, &self.runtime.summary());
        all
    }
}

fn runtime<C: StepCost + Clone>(pool: &Pool<C>, tokens: bool) -> Result<Runtime<C>, ConfigError> {
    let cost = pool.cost.clone();
    Runtime::new(pool.engine, &pool.config, pool.group, cost, tokens)
}

/// Adds up what several engines counted.
pub(super) fn add(all: &mut SimSummary, one: &SimSummary) {
    all.end = all.end.max(one.end);
    all.steps += one.steps;
    all.completed += one.completed;
    all.rejected += one.rejected;
    all.preemptions += one.preemptions;
    all.output_tokens += one.output_tokens;
    all.computed_tokens += one.computed_tokens;
    all.prefix += one.prefix;
    all.speculation += one.speculation;
    all.running_max = all.running_max.max(one.running_max);
}

/// Rates and places of all replicas of a plan, in order.
pub(super) fn places<C>(plan: &Plan<C>) -> Vec<At> {
    let of =
        |(pool, p): (usize, &Pool<C>)| (0..p.replicas).map(move |replica| At { pool, replica });
    plan.pools.iter().enumerate().flat_map(of).collect()
}

/// An observer inside a replica: it keeps what ends there for the fleet, and passes on what is to be seen of steps and tokens.
pub(super) struct Inside<'a, O> {
    pub observer: &'a mut O,
    /// Whether clients see its tokens.
    pub seen: bool,
    pub ended: Vec<RequestRecord>,
    /// Requests that were scheduled for the first time, if they are wanted.
    pub admitted: Option<Vec<RequestId>>,
}

impl<O: Observer> Observer for Inside<'_, O> {
    fn stop(&self) -> bool {
        self.observer.stop()
    }
    fn on_schedule(&mut self, at: SimTime, step: &Step<'_>) {
        if let Some(admitted) = &mut self.admitted {
            admitted.extend_from_slice(step.admitted);
        }
        self.observer.on_schedule(at, step);
    }
    fn on_step(&mut self, step: &StepRecord) {
        self.observer.on_step(step);
    }
    fn wants_output(&self) -> bool {
        self.observer.wants_output()
    }
    fn on_output(&mut self, at: SimTime, tokens: &[RequestId]) {
        if self.seen {
            self.observer.on_output(at, tokens);
        }
    }
    fn on_tokens(&mut self, gap: Span, count: u32) {
        if self.seen {
            self.observer.on_tokens(gap, count);
        }
    }
    fn on_request(&mut self, request: &RequestRecord) {
        self.ended.push(*request);
    }
}

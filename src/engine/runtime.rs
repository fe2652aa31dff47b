//! The runtime: one or several schedulers (ranks), a device for each, and the price of their steps.
//!
//! It does no input or output and has no clock. A driver says what time it is: [`Runtime::run`] moves it from event to event,
//! `capsim serve` by the wall clock.
//!
//! # Order of events
//!
//! At equal times: outputs are processed first (in order of ranks; requests end, their blocks are free), then arrivals up
//! to and including that time enter the waiting queues, then the next steps are scheduled. A request that arrives while a step of
//! its rank runs waits for its end.
//!
//! A pipeline has a device, or several that share layers, for each stage. A batch goes through all stages, each of which works on one batch
//! at a time, in their order; as many are in flight as [`EngineConfig::batches_in_flight`] says. What a stage sends waits at the next one
//! without holding up the sender.
//!
//! Synchronous: a step that begins at `now` lasts `cost.step(shape)`. Asynchronous: iteration i schedules batch i,
//! then waits for batch i − 1; the device runs batches back to back, so that batch i ends at
//! max(end of batch i − 1, time of its scheduling) + cost.
use super::accept::{SubmitError, acceptable};
use super::group::{Group, Router};
use super::observe::{Observer, RequestRecord, StepRecord};
use super::simulate::SimSummary;
use super::{
    ConfigError, EngineConfig, EngineState, Handover, PromptHashes, Scheduler, Tracking, kind,
};
use crate::cost::{StepCost, StepShape};
use crate::device::EngineId;
use crate::units::{SimTime, Span};
use crate::workload::{Request, RequestId};
use std::collections::VecDeque;

/// A step that ended.
#[derive(Clone, Copy, Debug)]
pub struct Flight<'a> {
    /// When it ended.
    pub end: SimTime,
    /// Requests that ended with it, in order; lent until the next call.
    pub finished: &'a [RequestRecord],
    /// Whether the ranks of the step have gone on for so long without a single token that they are taken to go round in circles:
    /// requests that preempt each other before any completes its prefill.
    pub in_circles: bool,
}

/// A step on the device.
#[derive(Debug)]
struct InFlight {
    /// The ranks of the clock that formed a batch; empty: its only one.
    members: Vec<usize>,
    end: SimTime,
    /// Places behind it in the queue of batches that schedules without a batch took, until it ends ([`Clock::occupied`]).
    empty_behind: usize,
    /// Tokens of all batches.
    tokens: u32,
    /// Requests that get a token, in all batches.
    sampled: u32,
    step: StepRecord,
}

/// Ranks whose steps begin and end together.
#[derive(Debug, Default)]
struct Clock {
    ranks: std::ops::Range<usize>,
    /// When each stage has done what it has.
    free: Vec<SimTime>,
    flights: VecDeque<InFlight>,
    /// Calls of `schedule` so far, and by their numbers the ends of the last batches: what a pipeline that schedules asynchronously waits for.
    schedules: u64,
    ends: VecDeque<(u64, SimTime)>,
    /// Whether a step ended since the last call of `advance`: then the next one begins.
    due: bool,
    /// Steps in a row without a token.
    fruitless: u64,
}

impl Clock {
    /// Places of the queue of batches that are taken. A pipeline also queues what it schedules without a batch; that ends with the batch
    /// before it (vLLM 0.32.0, `EngineCore.step_with_batch_queue`).
    fn occupied(&self) -> usize {
        let empty: usize = self.flights.iter().map(|f| f.empty_behind).sum();
        self.flights.len() + empty
    }

    /// When the batch of the schedule number `schedules` can begin at the first stage: with its tokens, which a batch made that was scheduled
    /// as many schedules before as there are stages (`v1/worker/gpu/pp_utils.py: PPHandler`@0.32.0).
    fn ready(&mut self, now: SimTime) -> SimTime {
        let made = self.schedules.saturating_sub(self.free.len() as u64);
        while self.ends.get(1).is_some_and(|(n, _)| *n <= made) {
            self.ends.pop_front();
        }
        match self.ends.front() {
            Some((n, end)) if *n <= made => now.max(*end),
            _ => now,
        }
    }

    /// Whether its oldest step has ended, and its output is not yet delivered.
    fn ended(&self, now: SimTime) -> bool {
        !self.due && self.flights.front().is_some_and(|f| f.end <= now)
    }
}

/// Schedulers, their devices and the price of their steps.
#[derive(Debug)]
pub struct Runtime<C> {
    ranks: Vec<Box<dyn Scheduler>>,
    clocks: Vec<Clock>,
    engine: EngineId,
    config: EngineConfig,
    cost: C,
    router: Router,
    /// The rank that is next in turn.
    turn: usize,
    patience: u64,
    finished: Vec<RequestRecord>,
    totals: SimSummary,
}

impl<C: StepCost> Runtime<C> {
    /// Engines with nothing to do, each with these settings. `tokens`: whether observers are told who got a token in each step.
    ///
    /// # Errors
    /// As [`EngineConfig::validate`].
    pub fn new(
        engine: EngineId,
        config: &EngineConfig,
        group: Group,
        cost: C,
        tokens: bool,
    ) -> Result<Self, ConfigError> {
        let tracking = Tracking {
            distinct_tokens: cost.wants_distinct_tokens(),
            window: cost.attention_window(),
            tokens,
            images: cost.images(),
        };
        let n = group.engines.max(1) as usize;
        let ranks = (0..n)
            .map(|_| kind(engine).scheduler(config.clone(), tracking))
            .collect::<Result<Vec<_>, _>>()?;
        // As the engine has them: some decide a setting themselves.
        let config = ranks[0].config().clone();
        let clock = |ranks| Clock {
            ranks,
            free: vec![SimTime::ZERO; config.pipeline_stages as usize],
            ..Clock::default()
        };
        Ok(Self {
            clocks: if group.lockstep {
                vec![clock(0..n)]
            } else {
                (0..n).map(|i| clock(i..i + 1)).collect()
            },
            ranks,
            engine,
            cost,
            router: group.router,
            turn: 0,
            // A prompt of full length in chunks of one token takes `max_model_len` steps.
            patience: 1_000 + 8 * u64::from(config.max_model_len),
            config,
            finished: vec![],
            totals: SimSummary::default(),
        })
    }

    /// Whose rules compose batches.
    pub fn engine(&self) -> EngineId {
        self.engine
    }

    /// The settings of each engine.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Tokens at a time in which prompts share what is computed: a block, or one.
    pub fn cache_granularity(&self) -> u32 {
        self.ranks[0].cache_granularity()
    }

    /// Number of engines.
    pub fn num_ranks(&self) -> usize {
        self.ranks.len()
    }

    /// Queues and memory of every engine.
    pub fn states(&self) -> impl Iterator<Item = EngineState> {
        self.ranks.iter().map(|r| r.state())
    }

    /// Whether any request is waiting, running or in flight.
    pub fn has_work(&self) -> bool {
        self.ranks.iter().any(|r| r.has_work())
    }

    /// A new request for the waiting queue of the rank that the router chooses.
    ///
    /// # Errors
    /// A request that [`acceptable`] refuses.
    pub fn submit(&mut self, request: Request) -> Result<(), SubmitError> {
        acceptable(&self.config, &request)?;
        let rank = self.route();
        self.ranks[rank].submit(request)
    }

    /// As [`submit`](Self::submit); the rank that got it.
    pub(super) fn submit_routed(&mut self, request: Request) -> Result<usize, SubmitError> {
        acceptable(&self.config, &request)?;
        let rank = self.route();
        self.ranks[rank].submit(request)?;
        Ok(rank)
    }

    /// The rank that the router chooses for KV that comes from another engine.
    pub(super) fn choose(&mut self) -> usize {
        self.route()
    }

    /// Queues and memory of a rank.
    pub(super) fn state(&self, rank: usize) -> EngineState {
        self.ranks[rank].state()
    }

    /// What lets a rank's KV go and come.
    pub(super) fn handover(&mut self, rank: usize) -> Option<&mut dyn Handover> {
        self.ranks[rank].handover()
    }

    /// Leading tokens of a request that the prefix cache of some rank holds.
    pub(super) fn cached(&mut self, request: &Request, hashes: &mut PromptHashes) -> u32 {
        let mut most = 0;
        for h in self.ranks.iter_mut().filter_map(|r| r.handover()) {
            most = most.max(h.cached(request, hashes));
        }
        most
    }

    /// Whether some rank schedules now: its step ended, or it has none.
    pub(super) fn schedules(&self) -> bool {
        self.clocks.iter().any(|c| c.due || c.flights.is_empty())
    }

    /// Ends a request early. Its record; `None` if it is not here.
    pub fn abort(&mut self, id: RequestId) -> Option<RequestRecord> {
        self.ranks.iter_mut().find_map(|r| r.abort(id))
    }

    /// Forgets the prefix caches of all engines that hold no request; whether all were forgotten.
    pub fn reset_prefix_cache(&mut self) -> bool {
        let mut all = true;
        for r in &mut self.ranks {
            all &= r.reset_prefix_cache();
        }
        all
    }

    /// Begins the steps that begin at `now`: every request that arrived by then was submitted, every step that ended by then
    /// [completed](Self::complete). When the next step ends; `None` if no device has anything to do.
    pub fn advance(&mut self, now: SimTime, observer: &mut impl Observer) -> Option<SimTime> {
        for i in 0..self.clocks.len() {
            let clock = &mut self.clocks[i];
            if std::mem::take(&mut clock.due) || clock.flights.is_empty() {
                self.fill(i, now, observer);
            }
        }
        self.next_end()
    }

    /// When the next step ends.
    pub fn next_end(&self) -> Option<SimTime> {
        let ends = self.clocks.iter().filter_map(|c| c.flights.front());
        ends.map(|f| f.end).min()
    }

    /// The step that [`complete`](Self::complete) would deliver: when it ended, and how many requests get a token.
    pub(super) fn ending(&self, now: SimTime) -> Option<(SimTime, u32)> {
        let clock = self.clocks.iter().find(|c| c.ended(now))?;
        clock.flights.front().map(|f| (f.end, f.sampled))
    }

    /// Delivers the tokens of one step that ended by `now`; `None` when there is no other. Afterwards the rank's next step has to
    /// [begin](Self::advance).
    pub fn complete(&mut self, now: SimTime, observer: &mut impl Observer) -> Option<Flight<'_>> {
        let clock = self.clocks.iter_mut().find(|c| c.ended(now))?;
        let flight = clock.flights.pop_front()?;
        let only = clock.ranks.start;
        clock.due = true;
        clock.fruitless = if flight.sampled > 0 {
            0
        } else {
            clock.fruitless + 1
        };
        let in_circles = clock.fruitless > self.patience;
        let end = flight.end;
        self.totals.steps += 1;
        self.totals.end = end;
        self.totals.computed_tokens += u64::from(flight.tokens);
        observer.on_step(&flight.step);
        self.finished.clear();
        if flight.members.is_empty() {
            self.deliver(only, end, observer);
        }
        for rank in flight.members {
            self.deliver(rank, end, observer);
        }
        Some(Flight {
            end,
            finished: &self.finished,
            in_circles,
        })
    }

    fn deliver(&mut self, rank: usize, end: SimTime, observer: &mut impl Observer) {
        let Some(output) = self.ranks[rank].complete(end) else {
            return;
        };
        if observer.wants_output() {
            observer.on_output(end, output.tokens);
        }
        for &(gap, count) in output.inter_token_gaps {
            observer.on_tokens(gap, count);
        }
        for record in output.finished {
            self.totals.completed += 1;
            self.totals.output_tokens += u64::from(record.output_tokens);
            observer.on_request(record);
        }
        self.finished.extend_from_slice(output.finished);
    }

    /// All devices stand still for a while: the steps under way end that much later.
    pub fn delay(&mut self, by: Span) {
        for clock in &mut self.clocks {
            for f in &mut clock.flights {
                f.end += by;
                f.step.duration = f.end.since(f.step.start);
            }
            clock.free.iter_mut().for_each(|t| *t += by);
            clock.ends.iter_mut().for_each(|(_, t)| *t += by);
        }
    }

    /// Totals so far.
    pub fn summary(&self) -> SimSummary {
        let mut totals = self.totals;
        for r in &self.ranks {
            totals.prefix += r.prefix_counters();
            totals.speculation += r.speculation_counters();
        }
        totals
    }

    pub(super) fn reject(&mut self) {
        self.totals.rejected += 1;
    }

    fn route(&mut self) -> usize {
        if self.ranks.len() == 1 {
            return 0;
        }
        match self.router {
            Router::RoundRobin => {
                let rank = self.turn;
                self.turn = (rank + 1) % self.ranks.len();
                rank
            }
            Router::LeastLoaded => {
                let load = |s: EngineState| 4 * s.waiting + s.running;
                let loads = self.states().map(load).enumerate();
                loads.min_by_key(|&(_, load)| load).map_or(0, |(i, _)| i)
            }
            Router::Emptiest => {
                let usable = f64::from(self.config.num_gpu_blocks - 1).max(1.0);
                let score = |s: &EngineState| {
                    let used = 1.0 - f64::from(s.free_blocks) / usable;
                    let waiting = f64::from(s.waiting);
                    waiting + f64::from(s.running) + waiting * 6.0 * (used - 0.5).max(0.0)
                };
                let scores: Vec<f64> = self.states().map(|s| score(&s)).collect();
                let n = scores.len();
                let from = self.turn;
                self.turn = (from + 1) % n;
                let in_turn = (0..n).map(|i| (from + i) % n);
                in_turn
                    .min_by(|a, b| scores[*a].total_cmp(&scores[*b]))
                    .unwrap_or(0)
            }
        }
    }

    /// Puts batches on a clock's devices: one, or, asynchronously after a pause, two; in a pipeline one for each stage, or one more.
    fn fill(&mut self, clock: usize, now: SimTime, observer: &mut impl Observer) {
        let most = self.config.batches_in_flight();
        let queues_empty = self.config.pipeline_stages > 1;
        let mut idle = 0;
        while self.clocks[clock].occupied() < most {
            self.clocks[clock].schedules += 1;
            let (formed, preempted) = self.form(clock, now, observer);
            if formed {
                continue;
            }
            if queues_empty && let Some(last) = self.clocks[clock].flights.back_mut() {
                last.empty_behind += 1;
                continue;
            }
            // With a batch in flight only its output helps. Without one, a request that was preempted just now may come
            // back at once.
            idle += 1;
            if preempted == 0 || !self.clocks[clock].flights.is_empty() || idle > 1_000 {
                break;
            }
        }
    }

    /// Schedules the ranks of a clock once. Whether a step began, and how many requests were preempted.
    fn form(&mut self, clock: usize, now: SimTime, observer: &mut impl Observer) -> (bool, u32) {
        let (mut shapes, mut members, mut preempted) = (vec![], vec![], 0);
        let ranks = self.clocks[clock].ranks.clone();
        let alone = ranks.len() == 1;
        for rank in ranks {
            let scheduler = &mut self.ranks[rank];
            if !scheduler.has_work() {
                continue;
            }
            let step = scheduler.schedule(now);
            observer.on_schedule(now, &step);
            preempted += step.preempted.len() as u32;
            self.totals.preemptions += step.preempted.len() as u64;
            let Some(shape) = step.shape else {
                continue;
            };
            if alone {
                let shape = *shape;
                self.launch(clock, now, &[shape], shape, preempted);
                return (true, preempted);
            }
            members.push(rank);
            shapes.push(*shape);
        }
        let Some(&heaviest) = shapes.iter().max_by_key(|s| s.tokens()) else {
            return (false, preempted);
        };
        let flight = self.launch(clock, now, &shapes, heaviest, preempted);
        flight.members = members;
        flight.tokens = shapes.iter().map(StepShape::tokens).sum();
        flight.sampled = shapes.iter().map(|s| s.sampled).sum();
        (true, preempted)
    }

    /// Puts a step on a clock's devices. When it begins on the last stage, and when it ends there.
    fn pass(&mut self, clock: usize, now: SimTime, shapes: &[StepShape]) -> (SimTime, SimTime) {
        let lockstep = self.clocks[clock].ranks.len() > 1;
        let clock = &mut self.clocks[clock];
        let mut at = match self.config.async_scheduling && clock.free.len() > 1 {
            true => clock.ready(now),
            false => now,
        };
        let mut start = at;
        for stage in 0..clock.free.len() {
            let price = match (stage, clock.free.len(), lockstep) {
                (_, 1, false) => self.cost.step(&shapes[0]),
                (_, 1, true) => self.cost.lockstep(shapes),
                _ => self.cost.stage(stage, shapes, lockstep),
            };
            if stage > 0 {
                at += self.cost.hop(stage, shapes);
            }
            start = at.max(clock.free[stage]);
            at = start + price;
            clock.free[stage] = at;
        }
        if self.config.async_scheduling && clock.free.len() > 1 {
            clock.ends.push_back((clock.schedules, at));
        }
        (start, at)
    }

    /// As [`pass`](Self::pass), with its record.
    fn launch(
        &mut self,
        clock: usize,
        now: SimTime,
        shapes: &[StepShape],
        shape: StepShape,
        preempted: u32,
    ) -> &mut InFlight {
        let (start, end) = self.pass(clock, now, shapes);
        let clock = &mut self.clocks[clock];
        let mut all = self.ranks[clock.ranks.start].state();
        for scheduler in &self.ranks[clock.ranks.start + 1..clock.ranks.end] {
            let state = scheduler.state();
            all.running += state.running;
            all.waiting += state.waiting;
            all.free_blocks = all.free_blocks.min(state.free_blocks);
        }
        self.totals.running_max = self.totals.running_max.max(all.running);
        clock.flights.push_back(InFlight {
            members: vec![],
            end,
            empty_behind: 0,
            tokens: shape.tokens(),
            sampled: shape.sampled,
            step: StepRecord {
                start,
                duration: end.since(start),
                shape,
                running: all.running,
                waiting: all.waiting,
                preempted,
                free_blocks: all.free_blocks.into(),
            },
        });
        clock.flights.back_mut().expect("just put there")
    }
}

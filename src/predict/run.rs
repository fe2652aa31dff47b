//! One simulation of a scenario.
use super::Settings;
use super::beyond::unpriced;
use super::fleet_run::{FleetRun, PoolWatch, ReadyPool, front_end};
use super::prediction::{PredictError, Scenario};
use crate::cost::{
    Breakdown, CostError, CostOptions, DraftOptions, StepCost, StepPrice, StepShape,
};
use crate::engine::fleet::{At, Fleet, FleetSummary};
use crate::engine::observe::{Observer, RequestRecord, StepRecord};
use crate::engine::speculation::{Drafting, Method};
use crate::engine::{Runtime, SimError, SimSummary, Step};
use crate::metrics::{Collector, Occupancy, Summary};
use crate::rng::Seed;
use crate::units::{SimTime, Span};
use crate::workload::{Replay, RequestId, Source};
use rand::Rng as _;
use std::cell::RefCell;

/// The result of one simulation, without interval.
#[derive(Clone, Debug)]
pub struct Run {
    /// Settings in force.
    pub settings: Settings,
    /// Figures.
    pub summary: Summary,
    /// State of the engine over time.
    pub occupancy: Occupancy,
    /// Seconds per part over all measured steps.
    pub breakdown: Breakdown,
    /// Mean distinct experts per layer and decode step; `None` for a dense model.
    pub distinct_experts: Option<f64>,
    /// The engine's own account.
    pub engine: SimSummary,
    /// Largest number of tokens in a step.
    pub widest_step: u32,
    /// Seconds of steps whose price rests on kernel times outside the measured range.
    pub outside: f64,
    /// Operators priced by kernel times of their own, and by curves.
    pub covered: (Vec<&'static str>, Vec<&'static str>),
    /// The pools of a deployment. `settings` and `occupancy` are then of the pool that decodes, or serves first.
    pub fleet: Option<FleetRun>,
}

impl Run {
    /// Devices of all engines.
    pub fn devices(&self) -> u32 {
        match &self.fleet {
            Some(f) => f.devices(),
            None => self.settings.devices(),
        }
    }
}

/// Adds the breakdown of every step to a collector, and lets another one watch.
struct Watch<'a, O> {
    other: &'a mut O,
    collector: Collector,
    /// Prices of each pool; of the only engine without a deployment.
    costs: Vec<&'a StepPrice>,
    /// What each pool of a deployment does; none without one.
    pools: Vec<PoolWatch>,
    /// The pool that is watched.
    pool: usize,
    warm_left: u64,
    warmup: u64,
    breakdown: Breakdown,
    experts: f64,
    decode_steps: u64,
    widest: u32,
    outside: f64,
}

impl<O: Observer> Observer for Watch<'_, O> {
    fn stop(&self) -> bool {
        self.other.stop()
    }
    fn on_arrival(&mut self, id: RequestId, at: SimTime) {
        self.other.on_arrival(id, at)
    }
    fn on_refused(&mut self, id: RequestId, at: SimTime) {
        self.other.on_refused(id, at);
        self.collector.on_refused(id, at);
        if id.0 < self.warmup {
            self.warm_left = self.warm_left.saturating_sub(1);
        }
    }
    fn on_schedule(&mut self, at: SimTime, step: &Step<'_>) {
        self.other.on_schedule(at, step)
    }
    fn wants_output(&self) -> bool {
        self.other.wants_output()
    }
    fn on_output(&mut self, at: SimTime, tokens: &[RequestId]) {
        self.other.on_output(at, tokens)
    }
    fn on_replica(&mut self, at: At) {
        self.other.on_replica(at);
        self.pool = at.pool;
    }
    fn on_step(&mut self, step: &StepRecord) {
        self.other.on_step(step);
        self.collector.on_step(step);
        let cost = self.costs[self.pool];
        self.widest = self.widest.max(step.shape.tokens());
        if self.warm_left > 0 {
            return;
        }
        let breakdown = cost.breakdown(&step.shape);
        self.breakdown.merge(&breakdown);
        if let Some(pool) = self.pools.get_mut(self.pool) {
            pool.breakdown.merge(&breakdown);
            pool.collector.on_step(step);
        }
        if cost.outside(&step.shape) {
            self.outside += step.duration.secs();
        }
        if step.shape.prefill_seqs == 0
            && let Some(d) = cost.distinct_experts(step.shape.distinct_tokens)
        {
            self.experts += d;
            self.decode_steps += 1;
        }
    }
    fn on_tokens(&mut self, gap: Span, count: u32) {
        self.other.on_tokens(gap, count);
        self.collector.on_tokens(gap, count)
    }
    fn on_request(&mut self, request: &RequestRecord) {
        self.other.on_request(request);
        self.collector.on_request(request);
        if request.id.0 < self.warmup {
            self.warm_left = self.warm_left.saturating_sub(1);
        }
    }
}

/// Collects the figures until the observer wants no more.
struct Figures<'a, O> {
    collector: Collector,
    until: &'a O,
}

impl<O: Observer> Observer for Figures<'_, O> {
    fn stop(&self) -> bool {
        self.until.stop()
    }
    fn on_step(&mut self, step: &StepRecord) {
        self.collector.on_step(step);
    }
    fn on_refused(&mut self, id: RequestId, at: SimTime) {
        self.collector.on_refused(id, at);
    }
    fn on_tokens(&mut self, gap: Span, count: u32) {
        self.collector.on_tokens(gap, count);
    }
    fn on_request(&mut self, request: &RequestRecord) {
        self.collector.on_request(request);
    }
}

/// Whose requests are served.
#[derive(Clone, Copy)]
pub(super) enum Load<'a> {
    /// The scenario's own load.
    Own,
    /// Recorded ones.
    Recorded(&'a Replay),
}

/// Simulates a scenario once, without an interval.
///
/// # Errors
/// Settings that contradict each other, a load that makes no sense, or nothing served at all.
pub fn simulate_once(scenario: &Scenario) -> Result<Run, PredictError> {
    simulate_observed(scenario, &mut ())
}

/// As [`simulate_once`], while `other` watches everything, warm-up included.
///
/// # Errors
/// As [`simulate_once`].
pub fn simulate_observed(
    scenario: &Scenario,
    other: &mut impl Observer,
) -> Result<Run, PredictError> {
    Ready::new(scenario, Load::Own)?
        .run(&[], other)
        .map(|r| r.0)
}

/// As [`simulate_observed`], of recorded requests instead of the scenario's load.
///
/// # Errors
/// As [`simulate_once`].
pub fn simulate_replay(
    scenario: &Scenario,
    replay: &Replay,
    other: &mut impl Observer,
) -> Result<Run, PredictError> {
    let ready = Ready::new(scenario, Load::Recorded(replay))?;
    ready.run(&[], other).map(|r| r.0)
}

impl Scenario {
    /// Whether the engine profile has prices for the expert path and the weight format.
    pub(crate) fn is_priced(&self) -> bool {
        let path = self.moe_path.as_ref().unwrap_or(&self.engine.moe_default);
        self.engine.moe_paths.contains_key(path) && unpriced(self).is_none()
    }

    /// Prices of steps under settings that were resolved from this scenario.
    ///
    /// # Errors
    /// An unknown MoE path, a popularity that does not fit the model, or a weight format that nothing is known about.
    pub fn cost(&self, settings: &Settings) -> Result<StepPrice, CostError> {
        if let Some(d) = &self.deployment {
            return d.pools[d.main()].scenario(self).cost(settings);
        }
        if let Some(why) = unpriced(self) {
            return Err(why);
        }
        let model = self
            .model
            .shared(settings.parallel)
            .expect("the settings were made from it");
        let layers: Vec<u32> = settings.stages.iter().map(|s| s.layers).collect();
        StepPrice::in_stages(
            &model,
            &layers,
            &self.device,
            &self.engine,
            CostOptions {
                enforce_eager: settings.enforce_eager,
                async_scheduling: settings.config.async_scheduling,
                max_num_seqs: settings.config.max_num_seqs,
                max_num_batched_tokens: settings.config.max_num_batched_tokens,
                micro_batch: settings.micro_batch,
                placement: settings.placement.clone(),
                op_offload: settings.op_offload,
                moe_path: self.moe_path.clone(),
                routing: self.routing.clone(),
                images: self.workload.images,
                draft: settings.drafting.as_ref().map(draft_options),
            },
        )
    }
}

fn draft_options(d: &Drafting) -> DraftOptions {
    DraftOptions {
        model: d.drafter.as_ref().map(|d| d.model.clone()),
        passes: d.passes(),
        computed: d.requested.computed,
        branches: d.requested.branches,
        block: d.requested.method == Method::Dflash,
    }
}

/// A scenario with its settings resolved and its steps priced.
pub(super) struct Ready<'a> {
    scenario: &'a Scenario,
    load: Load<'a>,
    settings: Settings,
    cost: StepPrice,
    /// The pools of a deployment.
    pools: Vec<ReadyPool>,
}

impl<'a> Ready<'a> {
    pub fn new(scenario: &'a Scenario, load: Load<'a>) -> Result<Self, PredictError> {
        let pools = ReadyPool::all(scenario)?;
        let settings = scenario.settings()?;
        let cost = scenario.cost(&settings)?;
        Ok(Self {
            scenario,
            load,
            settings,
            cost,
            pools,
        })
    }

    fn warmup(&self) -> u64 {
        u64::from(match self.load {
            Load::Own => self.scenario.workload.warmup,
            Load::Recorded(replay) => replay.warmup(),
        })
    }

    fn collector(&self) -> Collector {
        let usable = u64::from(self.settings.config.num_gpu_blocks - 1);
        Collector::new(self.warmup(), usable)
    }

    fn drive(
        &self,
        costs: &[Probe<'_>],
        observer: &mut impl Observer,
    ) -> Result<(SimSummary, Option<FleetSummary>), PredictError> {
        let host = &self.scenario.engine.host;
        let usual = match &host.front_end {
            Some(_) => Span::ZERO,
            None => Span::from_secs(host.turnaround.value),
        };
        let mut workload = self.scenario.workload.clone();
        let turnaround = *workload.turnaround.get_or_insert(usual);
        let seeded = |settings: &Settings| {
            let mut config = settings.config.clone();
            if let Some(s) = &mut config.speculation {
                s.key = Seed(self.scenario.workload.seed)
                    .stream("speculative acceptance")
                    .next_u64();
            }
            config
        };
        let config = &seeded(&self.settings);
        if let Some(users) = &mut workload.users {
            users.max_context.get_or_insert(config.max_model_len);
        }
        let mut source: Box<dyn Source> = match self.load {
            Load::Own => Box::new(workload.source()?),
            Load::Recorded(replay) => replay.source(turnaround),
        };
        let tokens = observer.wants_output();
        if let Some(deployment) = &self.scenario.deployment {
            let mut plan = deployment.plan(self.scenario, &self.pools, costs);
            for (pool, ready) in plan.pools.iter_mut().zip(&self.pools) {
                pool.config = seeded(&ready.settings);
            }
            let fleet = Fleet::new(plan, tokens).map_err(SimError::from)?;
            let summary = fleet.run(&mut source, observer)?;
            return Ok((summary.total, Some(summary)));
        }
        let (engine, group) = (self.settings.engine, self.settings.group);
        let front = front_end(self.scenario, &self.settings);
        let runtime =
            Runtime::new(engine, config, group, &costs[0], tokens).map_err(SimError::from)?;
        Ok((runtime.run_behind(front, &mut source, observer)?, None))
    }

    /// Prices of each pool, or of the only engine.
    fn costs(&self) -> Vec<&StepPrice> {
        match &self.pools[..] {
            [] => vec![&self.cost],
            pools => pools.iter().map(|p| &p.cost).collect(),
        }
    }

    /// The same with what of them is compared with those of `others`.
    fn probes<'b>(&'b self, others: &'b [Ready<'_>]) -> Vec<Probe<'b>> {
        let theirs: Vec<Vec<&StepPrice>> = others.iter().map(|o| o.costs()).collect();
        let costs = self.costs().into_iter().enumerate();
        costs
            .map(|(at, cost)| Probe::new(cost, theirs.iter().map(|o| o[at]).collect()))
            .collect()
    }

    fn served(&self, summary: Summary) -> Result<Summary, PredictError> {
        if summary.completed > 0 {
            return Ok(summary);
        }
        Err(PredictError::NothingServed {
            input: self.scenario.workload.longest_input(),
            output: self.scenario.workload.longest_output(),
            max_model_len: self.settings.config.max_model_len,
        })
    }

    /// Simulates, and says of each of `others` how much dearer the steps would have been there.
    pub fn run(
        &self,
        others: &[Ready<'_>],
        observer: &mut impl Observer,
    ) -> Result<(Run, Vec<Dearer>), PredictError> {
        let mut watch = Watch {
            other: observer,
            collector: self.collector(),
            costs: self.costs(),
            pools: self.pools.iter().map(PoolWatch::new).collect(),
            pool: 0,
            warm_left: self.warmup(),
            warmup: self.warmup(),
            breakdown: Breakdown::default(),
            experts: 0.0,
            decode_steps: 0,
            widest: 0,
            outside: 0.0,
        };
        let probes = self.probes(others);
        let (engine, fleet) = self.drive(&probes, &mut watch)?;
        let fleet = fleet.map(|f| FleetRun::new(self.scenario, &self.pools, &watch.pools, f));
        let run = Run {
            settings: self.settings.clone(),
            occupancy: match &fleet {
                Some(f) => f.pools[f.main].occupancy,
                None => watch.collector.occupancy(),
            },
            fleet,
            breakdown: watch.breakdown,
            distinct_experts: (watch.decode_steps > 0)
                .then(|| watch.experts / watch.decode_steps as f64),
            engine,
            widest_step: watch.widest,
            outside: watch.outside,
            covered: {
                let (tables, curves) = self.cost.covered();
                (tables.to_vec(), curves.to_vec())
            },
            summary: self.served(watch.collector.summary())?,
        };
        Ok((run, dearer(probes)))
    }

    /// As [`run`](Self::run), of the figures alone, until `until` wants no more.
    pub fn summary(
        &self,
        others: &[Ready<'_>],
        until: &impl Observer,
    ) -> Result<(Summary, Vec<Dearer>), PredictError> {
        let mut figures = Figures {
            collector: self.collector(),
            until,
        };
        let probes = self.probes(others);
        self.drive(&probes, &mut figures)?;
        let summary = self.served(figures.collector.summary())?;
        Ok((summary, dearer(probes)))
    }
}

/// How much dearer steps are elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dearer {
    /// Whether any step looked at has another price.
    pub moved: bool,
    /// Seconds more, of the steps looked at that compute prompts, relative to their time.
    pub prefill: f64,
    /// The same of all others.
    pub decode: f64,
}

/// Of steps that only decode one in so many is looked at: their prices hardly differ from one to the next.
const DECODE_STEPS: u64 = 16;

/// Of steps that compute prompts all are looked at up to so many, then one in [`DECODE_STEPS`].
const PREFILL_STEPS: u64 = 4096;

/// Prices of a scenario, and how those of others compare.
struct Probe<'a> {
    cost: &'a StepPrice,
    others: Vec<&'a StepPrice>,
    seen: RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    steps: [u64; 2],
    /// Seconds of the steps looked at: those that compute prompts, others.
    seconds: [f64; 2],
    /// And how many more elsewhere.
    more: Vec<(bool, [f64; 2])>,
}

impl<'a> Probe<'a> {
    fn new(cost: &'a StepPrice, others: Vec<&'a StepPrice>) -> Self {
        Self {
            cost,
            seen: RefCell::new(Seen {
                more: vec![(false, [0.0; 2]); others.len()],
                ..Seen::default()
            }),
            others,
        }
    }

    fn look(&self, prefill: bool, price: Span, of: impl Fn(&StepPrice) -> Span) -> Span {
        if self.others.is_empty() {
            return price;
        }
        let mut seen = self.seen.borrow_mut();
        let class = usize::from(!prefill);
        let n = seen.steps[class];
        seen.steps[class] += 1;
        if n.is_multiple_of(DECODE_STEPS) || (prefill && n < PREFILL_STEPS) {
            seen.seconds[class] += price.secs();
            for (other, more) in self.others.iter().zip(&mut seen.more) {
                let theirs = of(other);
                more.0 |= theirs != price;
                more.1[class] += theirs.secs() - price.secs();
            }
        }
        price
    }
}

/// How much dearer the steps of all pools together are elsewhere.
fn dearer(probes: Vec<Probe<'_>>) -> Vec<Dearer> {
    let mut all = Seen::default();
    for probe in probes {
        let seen = probe.seen.into_inner();
        all.more.resize(seen.more.len(), (false, [0.0; 2]));
        for (sum, more) in all.more.iter_mut().zip(&seen.more) {
            sum.0 |= more.0;
            sum.1[0] += more.1[0];
            sum.1[1] += more.1[1];
        }
        all.seconds[0] += seen.seconds[0];
        all.seconds[1] += seen.seconds[1];
    }
    let share = |more: f64, of: f64| if of > 0.0 { more / of } else { 0.0 };
    all.more
        .iter()
        .map(|(moved, more)| Dearer {
            moved: *moved,
            prefill: share(more[0], all.seconds[0]),
            decode: share(more[1], all.seconds[1]),
        })
        .collect()
}

impl StepCost for Probe<'_> {
    fn step(&self, shape: &StepShape) -> Span {
        let prefill = shape.prefill_seqs > 0;
        self.look(prefill, self.cost.step(shape), |c| c.step(shape))
    }
    fn lockstep(&self, shapes: &[StepShape]) -> Span {
        let prefill = shapes.iter().any(|s| s.prefill_seqs > 0);
        self.look(prefill, self.cost.lockstep(shapes), |c| c.lockstep(shapes))
    }
    fn stage(&self, stage: usize, shapes: &[StepShape], lockstep: bool) -> Span {
        let prefill = shapes.iter().any(|s| s.prefill_seqs > 0);
        let price = self.cost.stage(stage, shapes, lockstep);
        self.look(prefill, price, |c| c.stage(stage, shapes, lockstep))
    }
    fn hop(&self, to: usize, shapes: &[StepShape]) -> Span {
        let prefill = shapes.iter().any(|s| s.prefill_seqs > 0);
        self.look(prefill, self.cost.hop(to, shapes), |c| c.hop(to, shapes))
    }
    fn attention_window(&self) -> Option<u32> {
        self.cost.attention_window()
    }
    fn wants_distinct_tokens(&self) -> bool {
        self.cost.wants_distinct_tokens()
    }
    fn images(&self) -> Option<crate::cost::ImagesAtEnd> {
        self.cost.images()
    }
}

//! One scenario, one simulation, one answer.
use super::interval::{Interval, Propagation, Sensitivity, propagate};
use super::{Caveat, ServeArgs, Settings, SettingsError};
use crate::cost::{Breakdown, CalibratedCost, CostError, CostOptions, Part, Routing};
use crate::device::{DeviceProfile, EngineProfile, Origin, Scheduler};
use crate::engine::observe::{Observer, RequestRecord, StepRecord};
use crate::engine::{Moves, SimError, SimSummary, simulate_group, simulate_radix, simulate_slots};
use crate::metrics::{Collector, Occupancy, Summary};
use crate::model::Model;
use crate::units::{Blocks, SimTime, Span};
use crate::workload::{PromptKind, Replay, RequestId, Source, WorkloadError, WorkloadSpec};

/// What to serve, on what, how, and under which load.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The model's name, for people.
    pub model_name: String,
    /// The model, its weight format included.
    pub model: Model,
    /// The device.
    pub device: DeviceProfile,
    /// What the engine achieves of it.
    pub engine: EngineProfile,
    /// Engine settings under vLLM's names.
    pub serve: ServeArgs,
    /// Which mixture-of-experts path the engine takes; `None`: the profile's default.
    pub moe_path: Option<String>,
    /// Expert popularity.
    pub routing: Routing,
    /// The load.
    pub workload: WorkloadSpec,
}

impl Scenario {
    /// The settings as the engine resolves them.
    ///
    /// # Errors
    /// Settings that contradict each other, or do not fit the device.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        Settings::resolve(&self.serve, &self.model, &self.device, &self.engine)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// Settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Prices.
    #[error(transparent)]
    Cost(#[from] CostError),
    /// Load.
    #[error("workload: {0}")]
    Workload(#[from] WorkloadError),
    /// The simulation could not go on.
    #[error("simulation: {0}")]
    Simulation(#[from] SimError),
    /// Nothing was served.
    #[error(
        "no request was served: input_len {input} and output_len {output} do not fit max_model_len {max_model_len}; \
         raise --max-model-len or shorten the requests"
    )]
    NothingServed {
        /// Prompt tokens of the longest request.
        input: u32,
        /// Output tokens.
        output: u32,
        /// Setting.
        max_model_len: u32,
    },
}

/// What limits a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Requests queue because no more sequences may run.
    MaxNumSeqs,
    /// Requests queue or are preempted because the KV cache is full.
    KvCache,
    /// The load: the device idles.
    Load,
    /// A part of the step time.
    Step(Part),
}

impl std::fmt::Display for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Binding::MaxNumSeqs => f.write_str("max-num-seqs (requests queue)"),
            Binding::KvCache => f.write_str("KV cache"),
            Binding::Load => f.write_str("load (device idles)"),
            Binding::Step(part) => f.write_str(part.words()),
        }
    }
}

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
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The simulation.
    pub run: Run,
    /// 90 % intervals by metric name.
    pub intervals: std::collections::BTreeMap<&'static str, Interval>,
    /// Coefficients by how much they matter, most first.
    pub sensitivities: Vec<Sensitivity>,
    /// What limits it.
    pub binding: Binding,
    /// What a reader must know.
    pub caveats: Vec<Caveat>,
}

/// Adds the breakdown of every step to a collector, and lets another one watch.
struct Watch<'a, O> {
    other: &'a mut O,
    collector: Collector,
    cost: &'a CalibratedCost,
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
    fn on_schedule(&mut self, at: SimTime, moves: &Moves) {
        self.other.on_schedule(at, moves)
    }
    fn wants_batches(&self) -> bool {
        self.other.wants_batches()
    }
    fn on_batch(&mut self, receivers: &[RequestId]) {
        self.other.on_batch(receivers)
    }
    fn on_step(&mut self, step: &StepRecord) {
        self.other.on_step(step);
        self.collector.on_step(step);
        self.widest = self.widest.max(step.shape.tokens());
        if self.warm_left > 0 {
            return;
        }
        self.breakdown.merge(&self.cost.breakdown(&step.shape));
        if self.cost.outside(&step.shape) {
            self.outside += step.duration.secs();
        }
        if step.shape.prefill_seqs == 0
            && let Some(d) = self.cost.distinct_experts(step.shape.distinct_tokens)
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
    let settings = scenario.settings()?;
    let mut workload = scenario.workload.clone();
    if workload.turnaround.is_none() {
        workload.turnaround = Some(Span::from_secs(scenario.engine.host.turnaround.value));
    }
    if let Some(users) = &mut workload.users {
        users
            .max_context
            .get_or_insert(settings.config.max_model_len);
    }
    let mut source = workload.source()?;
    run(scenario, settings, workload.warmup, &mut source, other)
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
    let settings = scenario.settings()?;
    let turnaround = scenario
        .workload
        .turnaround
        .unwrap_or_else(|| Span::from_secs(scenario.engine.host.turnaround.value));
    let mut source = replay.source(turnaround);
    run(scenario, settings, replay.warmup(), &mut source, other)
}

fn run(
    scenario: &Scenario,
    settings: Settings,
    warmup: u32,
    source: &mut impl Source,
    other: &mut impl Observer,
) -> Result<Run, PredictError> {
    let warmup = u64::from(warmup);
    let model = scenario
        .model
        .shared(settings.parallel)
        .expect("the settings were made from it");
    let cost = CalibratedCost::new(
        &model,
        &scenario.device,
        &scenario.engine,
        CostOptions {
            enforce_eager: settings.enforce_eager,
            async_scheduling: settings.config.async_scheduling,
            max_num_seqs: settings.config.max_num_seqs,
            max_num_batched_tokens: settings.config.max_num_batched_tokens,
            micro_batch: settings.micro_batch,
            moe_path: scenario.moe_path.clone(),
            routing: scenario.routing.clone(),
        },
    )?;
    let usable = u64::from(settings.config.num_gpu_blocks - 1);
    let mut watch = Watch {
        other,
        collector: Collector::new(warmup, usable),
        cost: &cost,
        warm_left: warmup,
        warmup,
        breakdown: Breakdown::default(),
        experts: 0.0,
        decode_steps: 0,
        widest: 0,
        outside: 0.0,
    };
    let engine = match settings.scheduler {
        Scheduler::Vllm => {
            simulate_group(&settings.config, settings.group, &cost, source, &mut watch)?
        }
        Scheduler::LlamaServer => simulate_slots(&settings.config, &cost, source, &mut watch)?,
        Scheduler::Sglang => simulate_radix(&settings.config, &cost, source, &mut watch)?,
    };
    let summary = watch.collector.summary();
    if summary.completed == 0 {
        return Err(PredictError::NothingServed {
            input: scenario.workload.longest_input(),
            output: scenario.workload.longest_output(),
            max_model_len: settings.config.max_model_len,
        });
    }
    Ok(Run {
        settings,
        occupancy: watch.collector.occupancy(),
        breakdown: watch.breakdown,
        distinct_experts: (watch.decode_steps > 0)
            .then(|| watch.experts / watch.decode_steps as f64),
        engine,
        widest_step: watch.widest,
        outside: watch.outside,
        covered: {
            let (tables, curves) = cost.covered();
            (tables.to_vec(), curves.to_vec())
        },
        summary,
    })
}

/// Predicts a scenario: simulation, interval, what binds, caveats.
///
/// # Errors
/// As [`simulate_once`].
pub fn predict(scenario: &Scenario) -> Result<Prediction, PredictError> {
    predict_observed(scenario, &mut ())
}

/// As [`predict`], while `other` watches the simulation (not those that only serve the intervals).
///
/// # Errors
/// As [`predict`].
pub fn predict_observed(
    scenario: &Scenario,
    other: &mut impl Observer,
) -> Result<Prediction, PredictError> {
    let run = simulate_observed(scenario, other)?;
    predict_after(scenario, run, &simulate_once)
}

/// The prediction whose simulation is already there. `simulate` does the others that the intervals need, and is
/// [`simulate_once`] unless somebody wants to be able to stop them.
///
/// # Errors
/// As [`simulate_once`].
pub fn predict_after(
    scenario: &Scenario,
    run: Run,
    simulate: &dyn Fn(&Scenario) -> Result<Run, PredictError>,
) -> Result<Prediction, PredictError> {
    let propagation = propagate(scenario, &run.summary, simulate, true)?;
    Ok(concluded(scenario, run, propagation))
}

/// The prediction without intervals, which cost ten and more further simulations: what does not depend on them, at once.
pub fn estimate(scenario: &Scenario, run: Run) -> Prediction {
    concluded(scenario, run, Propagation::default())
}

/// As [`predict_observed`], of recorded requests instead of the scenario's load.
///
/// # Errors
/// As [`simulate_once`].
pub fn predict_replay(
    scenario: &Scenario,
    replay: &Replay,
    other: &mut impl Observer,
) -> Result<Prediction, PredictError> {
    let run = simulate_replay(scenario, replay, other)?;
    let again = |s: &Scenario| simulate_replay(s, replay, &mut ());
    let propagation = propagate(scenario, &run.summary, &again, false)?;
    Ok(concluded(scenario, run, propagation))
}

fn concluded(scenario: &Scenario, run: Run, propagation: Propagation) -> Prediction {
    let binding = binding(&run);
    let mut caveats = caveats(scenario, &run, &propagation.sensitivities);
    if let Some(prompts) = propagation.shortened_to {
        caveats.push(Caveat::ShortGradients {
            prompts,
            of: scenario.workload.num_prompts,
        });
    }
    Prediction {
        intervals: propagation.intervals,
        sensitivities: propagation.sensitivities,
        binding,
        caveats,
        run,
    }
}

fn binding(run: &Run) -> Binding {
    let s = &run.summary;
    let seqs = f64::from(run.settings.config.max_num_seqs);
    let queued = s.queue.mean() / s.e2el.mean().max(1e-12);
    if s.preemptions > 0 || (queued > 0.1 && run.occupancy.kv_max > 0.95) {
        Binding::KvCache
    } else if queued > 0.1 && run.occupancy.batch > 0.8 * seqs {
        Binding::MaxNumSeqs
    } else if run.occupancy.busy < 0.7 * s.duration {
        Binding::Load
    } else {
        Binding::Step(run.breakdown.largest())
    }
}

fn caveats(scenario: &Scenario, run: &Run, sensitivities: &[Sensitivity]) -> Vec<Caveat> {
    let mut all = vec![];
    if !scenario.engine.devices.is_empty() && !scenario.engine.devices.contains(&scenario.device.id)
    {
        all.push(Caveat::ForeignDevice {
            engine: scenario.engine.id.clone(),
            device: scenario.device.id.clone(),
        });
    }
    let assumed: Vec<String> = sensitivities
        .iter()
        .filter(|s| s.origin == Origin::Assumed && (s.slope * s.rel_sd).abs() > 0.01)
        .map(|s| s.name.clone())
        .collect();
    if !assumed.is_empty() {
        all.push(Caveat::Assumed(assumed));
    }
    let points = &scenario.device.gemm_f16.points;
    let measured = points[points.len() - 1].x;
    let tables = !run.covered.0.is_empty();
    let total = run.breakdown.total();
    if tables && run.outside > 0.001 * total {
        all.push(Caveat::OutsideKernels(run.outside / total.max(1e-12)));
    }
    // `0.19` of `0.19.0`: patch releases run the same kernels.
    let release = scenario.engine.version.split('.').take(2);
    let release = release.collect::<Vec<_>>().join(".");
    if let Some(k) = scenario.device.kernels.first()
        && tables
        && !k.engine.contains(&format!(" {release}."))
    {
        all.push(Caveat::OtherRelease {
            measured: k.engine.clone(),
            simulated: scenario.engine.version.clone(),
        });
    }
    if tables && !run.covered.1.is_empty() {
        all.push(Caveat::WithoutKernels(
            run.covered.1.iter().map(|s| s.to_string()).collect(),
        ));
    }
    if !tables && f64::from(run.widest_step) > measured {
        all.push(Caveat::Extrapolated {
            what: "matrix rows",
            used: f64::from(run.widest_step),
            measured,
        });
    }
    if run.occupancy.kv_max > 0.9 {
        all.push(Caveat::KvNearlyFull(run.occupancy.kv_max));
    }
    let w = &scenario.workload;
    if run.distinct_experts.is_some()
        && w.prompts == PromptKind::Identical
        && w.greedy
        && run.occupancy.batch > 1.2
    {
        all.push(Caveat::Lockstep {
            together: w.send_skew == Span::ZERO,
        });
    }
    if run.engine.rejected > 0 {
        all.push(Caveat::Rejected(run.engine.rejected));
    }
    all
}

impl Prediction {
    /// KV blocks that the engine can give out.
    pub fn usable_blocks(&self) -> Blocks {
        Blocks(u64::from(self.run.settings.config.num_gpu_blocks - 1))
    }
}

impl Prediction {
    /// The 90 % interval of a metric, by any of its names.
    pub fn interval_of(&self, metric: &str) -> Option<Interval> {
        let name = match metric {
            "output_token_throughput" => "output_throughput".to_string(),
            "duration" => "duration_s".into(),
            m => m.replacen("p50_", "median_", 1),
        };
        self.intervals.get(name.as_str()).copied()
    }
}

//! One scenario, one simulation, one answer.
use super::interval::{Interval, Propagation, Sensitivity, propagate};
use super::run::{Load, Run};
use super::{Caveat, Coefficient, Deployment, Engines, Refused, Settings, SettingsError};
use crate::cost::{CostError, Part, Routing};
use crate::device::{DeviceProfile, EngineId, EngineProfile, KernelTimes, Origin};
use crate::engine::observe::Observer;
use crate::engine::settings::SettingValues;
use crate::engine::speculation::SpeculationInputs;
use crate::engine::{Asked, EngineVersion, SimError, kind};
use crate::fields::Value;
use crate::metrics::Metric;
use crate::model::Model;
use crate::units::{Blocks, Span};
use crate::workload::{PromptKind, Replay, WorkloadError, WorkloadSpec};
use std::sync::Arc;

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
    /// The engine profiles among which `engine` was chosen, and is chosen anew where a plan changes the device or the weight
    /// format; `None`: it was named, and stays.
    pub engines: Option<Arc<Engines>>,
    /// Release of vLLM whose rules, defaults and memory terms apply; `None`: the engine profile's own. Prices stay the profile's.
    pub release: Option<EngineVersion>,
    /// Engine settings under vLLM's names.
    pub serve: SettingValues,
    /// Which mixture-of-experts path the engine takes; `None`: the profile's default.
    pub moe_path: Option<String>,
    /// Expert popularity.
    pub routing: Routing,
    /// What speculative decoding needs beside settings: the draft model, a record of accepted drafts.
    pub speculation: SpeculationInputs,
    /// The load.
    pub workload: WorkloadSpec,
    /// What was not said, and what was said in vain.
    pub notes: Notes,
    /// Several engines that serve together; `None`: one.
    pub deployment: Option<Box<Deployment>>,
}

/// What an answer has to say of its question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notes {
    /// What was assumed where nothing was said: the load, a shorter context.
    pub assumed: Vec<String>,
    /// Flags that may change memory or speed and are not simulated.
    pub not_simulated: Vec<String>,
    /// Flags that change neither.
    pub harmless: Vec<String>,
    /// How a pasted line was read.
    pub line: Vec<String>,
    /// No device was named.
    pub device_assumed: bool,
    /// Fields that were said, with their values; `None`: a part is inline and has no name.
    pub said: Option<Vec<(&'static str, Value)>>,
}

impl Notes {
    /// The flags that are not simulated, where there are some.
    pub fn left_out(&self) -> Option<Caveat> {
        let some = !self.not_simulated.is_empty();
        some.then(|| Caveat::Unmodelled(self.not_simulated.clone()))
    }
}

impl Scenario {
    /// The settings as the engine resolves them.
    ///
    /// # Errors
    /// Settings that contradict each other, or do not fit the device.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        if let Some(d) = &self.deployment {
            // Those of the pool that decodes, or serves first.
            return d.pools[d.main()].scenario(self).settings();
        }
        Settings::resolve(&Asked {
            given: &self.serve,
            model: &self.model,
            device: &self.device,
            profile: &self.engine,
            release: self.release,
            speculation: &self.speculation,
        })
    }

    /// The engine's release: the one that was named, else the engine profile's.
    pub fn version(&self) -> String {
        match self.release {
            Some(named) if kind(self.engine.scheduler).has_releases() => named.full(),
            _ => self.engine.version.clone(),
        }
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
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The simulation could not go on.
    #[error(transparent)]
    Simulation(#[from] SimError),
    /// Nothing was served.
    #[error(
        "no request was served: random_input_len {input} and random_output_len {output} do not fit max_model_len {max_model_len}; \
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
    /// Stages of a pipeline idle, as too few batches are in flight.
    Bubbles,
}

impl std::fmt::Display for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Binding::MaxNumSeqs => f.write_str("max-num-seqs (requests queue)"),
            Binding::KvCache => f.write_str("KV cache"),
            Binding::Load => f.write_str("load (device idles)"),
            Binding::Step(part) => f.write_str(part.words()),
            Binding::Bubbles => {
                f.write_str("pipeline bubbles (too few batches in flight to keep all stages busy)")
            }
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The simulation.
    pub run: Run,
    /// 90 % intervals by metric.
    pub intervals: std::collections::BTreeMap<Metric, Interval>,
    /// Coefficients by how much they matter, most first.
    pub sensitivities: Vec<Sensitivity>,
    /// What limits it.
    pub binding: Binding,
    /// What a reader must know.
    pub caveats: Vec<Caveat>,
}

/// Predicts a scenario: simulation, interval, what binds, caveats.
///
/// # Errors
/// As [`simulate_once`](super::simulate_once).
pub fn predict(scenario: &Scenario) -> Result<Prediction, PredictError> {
    predict_observed(scenario, &mut ())
}

/// As [`predict`], while `other` watches the simulation. It does not see those that only serve the intervals, but is asked
/// there, too, whether anybody still wants them ([`Observer::stop`]).
///
/// # Errors
/// As [`predict`].
pub fn predict_observed(
    scenario: &Scenario,
    other: &mut impl Observer,
) -> Result<Prediction, PredictError> {
    predicted(scenario, Load::Own, other)
}

/// The prediction without intervals, which cost ten and more further simulations: what does not depend on them, at once.
pub fn estimate(scenario: &Scenario, run: Run) -> Prediction {
    concluded(scenario, run, Propagation::default())
}

/// As [`predict_observed`], of recorded requests instead of the scenario's load.
///
/// # Errors
/// As [`simulate_once`](super::simulate_once).
pub fn predict_replay(
    scenario: &Scenario,
    replay: &Replay,
    other: &mut impl Observer,
) -> Result<Prediction, PredictError> {
    predicted(scenario, Load::Recorded(replay), other)
}

fn predicted(
    scenario: &Scenario,
    load: Load<'_>,
    other: &mut impl Observer,
) -> Result<Prediction, PredictError> {
    let (run, propagation) = propagate(scenario, load, other)?;
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
    // Steps are counted on one stage of a pipeline, which shares the sequences with the others.
    let stages = run.settings.stages.len().max(1) as f64;
    let least_busy = 0.7 * s.duration;
    if let Some(f) = &run.fleet {
        return f.binding(s.duration);
    }
    if s.preemptions > 0 || (queued > 0.1 && run.occupancy.kv_max > 0.95) {
        Binding::KvCache
    } else if queued > 0.1 && run.occupancy.batch * stages > 0.8 * seqs {
        Binding::MaxNumSeqs
    } else if run.occupancy.busy * stages < least_busy {
        Binding::Load
    } else if run.occupancy.busy < least_busy {
        Binding::Bubbles
    } else {
        Binding::Step(run.breakdown.largest())
    }
}

fn caveats(scenario: &Scenario, run: &Run, sensitivities: &[Sensitivity]) -> Vec<Caveat> {
    let mut all: Vec<Caveat> = Refused::by(run).map(Caveat::Refused).into_iter().collect();
    all.extend(scenario.beyond_profile());
    let mut served = vec![(&scenario.engine, &scenario.device)];
    if let Some(d) = &scenario.deployment {
        let own = d.pools.iter().filter_map(|p| p.own.as_deref());
        served.extend(own.map(|s| (&s.engine, &s.device)));
    }
    for (engine, device) in served {
        let caveat = Caveat::ForeignDevice {
            engine: engine.id.clone(),
            device: device.id.clone(),
        };
        let foreign = !engine.devices.is_empty() && !engine.devices.contains(&device.id);
        if foreign && !all.contains(&caveat) {
            all.push(caveat);
        }
    }
    let assumed: Vec<String> = sensitivities
        .iter()
        // What drafts are taken to be worth stands in the first lines, with what says otherwise.
        .filter(|s| s.name != Coefficient::Acceptance.to_string())
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
    let version = scenario.version();
    let release = version.split('.').take(2).collect::<Vec<_>>().join(".");
    let formats = scenario.model.weight_formats();
    let ours = |k: &&KernelTimes| k.format.parse().is_ok_and(|f| formats.contains(&f));
    let kernels = &scenario.device.kernels;
    if let Some(k) = kernels.iter().find(ours).or(kernels.first())
        && scenario.engine.prices_of.is_none()
        && tables
        && !k.engine.contains(&format!(" {release}."))
    {
        all.push(Caveat::OtherRelease {
            measured: k.engine.clone(),
            simulated: scenario.version(),
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
        if scenario.engine.scheduler == EngineId::Vllm && scenario.model.window().is_some() {
            all.push(Caveat::WindowsKept);
        }
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
    all
}

impl Prediction {
    /// KV blocks that the engine can give out.
    pub fn usable_blocks(&self) -> Blocks {
        Blocks(u64::from(self.run.settings.config.num_gpu_blocks - 1))
    }
}

impl Prediction {
    /// The 90 % interval of a metric.
    pub fn interval_of(&self, metric: Metric) -> Option<Interval> {
        self.intervals.get(&metric).copied()
    }
}

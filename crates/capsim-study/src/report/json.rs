//! What the commands answer machines with: one type per answer, from which its JSON Schema follows (`capsim schema`).
pub mod calibration;
pub mod deployment;
pub mod listing;
pub mod log;
pub mod paired;
pub mod schemas;
pub mod validation;
#[cfg(feature = "live")]
pub mod verified;

use capsim::cost::Part;
use capsim::device::{Origin, Provenance};
use capsim::engine::settings::SettingValues;
use capsim::fields;
use capsim::metrics::{Metric, Percentiles};
use capsim::predict::{METRICS, Prediction, Records, Scenario, nearest};
use capsim::workload::WorkloadSpec;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// JSON knows no NaN and no infinity.
fn finite(v: f64) -> Option<f64> {
    v.is_finite().then_some(v)
}

/// An answer as JSON, keys in alphabetical order.
pub fn value<T: Serialize>(answer: &T) -> Value {
    serde_json::to_value(answer).expect("answers have text keys and nothing that can fail")
}

/// An answer as it is printed.
pub fn text<T: Serialize>(answer: &T) -> String {
    serde_json::to_string_pretty(&value(answer)).expect("as above")
}

/// Why a document is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ReadError {
    /// Path of the field that is missing or wrong; `.`: the document itself.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.field.as_str() {
            "." => f.write_str(&self.problem),
            field => write!(f, "field `{field}`: {}", self.problem),
        }
    }
}

/// Reads an answer into its type.
///
/// # Errors
/// Names the field that is missing or of the wrong type.
pub fn read<T: DeserializeOwned>(document: Value) -> Result<T, ReadError> {
    serde_path_to_error::deserialize(document).map_err(|e| ReadError {
        field: e.path().to_string(),
        problem: e.inner().to_string(),
    })
}

/// A metric with its 90 % interval.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// As simulated; null where the load has no such metric (TPOT of one-token answers).
    pub value: Option<f64>,
    /// Lower end of the 90 % interval, where one is computed.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// The engine's settings after its own rules.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Release of the engine whose rules apply.
    pub version: String,
    /// KV blocks.
    pub num_gpu_blocks: u32,
    /// The settings in force, under vLLM's names.
    #[serde(flatten)]
    pub in_force: SettingValues,
}

/// What the engine was busy with, averaged over its steps.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Occupancy {
    /// Steps.
    pub steps: u64,
    /// Seconds in which a step ran.
    pub busy_s: Option<f64>,
    /// Sequences in a batch.
    pub batch: Option<f64>,
    /// Requests that wait.
    pub waiting: Option<f64>,
    /// Share of the KV blocks in use, mean over time.
    pub kv_usage_mean: Option<f64>,
    /// The same, at most.
    pub kv_usage_max: Option<f64>,
    /// Share of prompt tokens that were cached.
    pub prefix_hit_rate: Option<f64>,
    /// Preemptions.
    pub preemptions: u64,
    /// Distinct experts per layer and step; null for dense models.
    pub distinct_experts: Option<f64>,
}

/// The mean time to first token, divided, in milliseconds. `scheduling_wait_ms` and `prefill_ms` are the engine's own.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TtftParts {
    /// From the client's send to the engine's queue: HTTP, tokenisation, and what waits before.
    pub front_end_ms: Option<f64>,
    /// In the engine's queue.
    pub scheduling_wait_ms: Option<f64>,
    /// From being scheduled to the first token.
    pub prefill_ms: Option<f64>,
    /// From the engine to the client.
    pub way_back_ms: Option<f64>,
}

/// A coefficient that the prediction rests on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RestsOn {
    /// Its name in the profile.
    pub coefficient: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Its relative standard deviation.
    pub rel_sd: Option<f64>,
    /// d ln(output throughput) / d ln(coefficient).
    pub slope_of_output_throughput: Option<f64>,
}

/// A recorded run, and how far off its prediction was.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NearestRun {
    /// In what it differs from what was asked: `device`, `engine`, `weights`, `experts`, `model size`, `batch`.
    pub differs_in: Vec<String>,
    /// Device profile.
    pub device: String,
    /// Engine profile.
    pub engine: String,
    /// Model.
    pub model: String,
    /// Kind of weight format.
    pub weights: String,
    /// Mean sequences in a batch.
    pub batch: f64,
    /// Mean prompt tokens.
    pub prompt: f64,
    /// Predicted / measured − 1 of the decode rate.
    pub decode_error: Option<f64>,
    /// Predicted / measured − 1 of the mean time to first token.
    pub ttft_error: Option<f64>,
    /// Who published it.
    pub source: String,
    /// Whether something about the model was chosen with this run known.
    pub seen: bool,
}

impl From<capsim::predict::Nearest<'_>> for NearestRun {
    fn from(n: capsim::predict::Nearest<'_>) -> Self {
        let r = n.record.clone();
        Self {
            differs_in: n.differs.iter().map(ToString::to_string).collect(),
            device: r.device,
            engine: r.profile,
            model: r.model,
            weights: r.weights,
            batch: r.batch,
            prompt: r.prompt,
            decode_error: r.decode,
            ttft_error: r.ttft,
            source: r.source,
            seen: r.seen,
        }
    }
}

/// One prediction.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// Fields that differ between the points of a table, with this point's values.
    pub varied: BTreeMap<String, Value>,
    /// What was assumed where nothing was said.
    #[serde(default)]
    #[schemars(!default)]
    pub assumed: Vec<String>,
    /// Flags of a pasted line that may change memory or speed and are not simulated; the intervals are wider for them.
    #[serde(default)]
    #[schemars(!default)]
    pub not_simulated: Vec<String>,
    /// Flags of a pasted line that change neither memory nor speed.
    #[serde(default)]
    #[schemars(!default)]
    pub harmless: Vec<String>,
    /// Model.
    pub model: String,
    /// Device profile.
    pub device: String,
    /// Engine profile.
    pub engine: String,
    /// Way the engine runs its expert kernels.
    pub moe_tiles: String,
    /// Settings.
    pub settings: Settings,
    /// Load.
    pub workload: WorkloadSpec,
    /// Requests asked for: answered or refused.
    #[serde(default)]
    #[schemars(!default)]
    pub num_requests: u64,
    /// Requests refused, because prompt and output exceed max_model_len or the KV cache; no metric contains them.
    #[serde(default)]
    #[schemars(!default)]
    pub refused: u64,
    /// Requests answered.
    pub completed: u64,
    /// Prompt tokens of all requests.
    pub total_input_tokens: u64,
    /// Tokens of all answers.
    pub total_output_tokens: u64,
    /// Every metric by name; names end in their unit, throughputs are per second.
    pub metrics: BTreeMap<Metric, Figure>,
    /// What the mean time to first token is made of.
    #[serde(default)]
    #[schemars(!default)]
    pub ttft_parts: Option<TtftParts>,
    /// Drafts and what became of them; absent without speculative decoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speculation: Option<Speculation>,
    /// The pools of a deployment, of which `settings` and `occupancy` describe the one that decodes or serves first; absent for one engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<deployment::Deployed>,
    /// Occupancy.
    pub occupancy: Occupancy,
    /// Seconds of all steps, by part.
    pub breakdown_s: BTreeMap<String, Option<f64>>,
    /// What requests wait for and what steps spend time on.
    pub binds: String,
    /// Power and energy of all devices; null where nothing is known of the device's power.
    #[serde(default)]
    #[schemars(!default)]
    pub energy: Option<EnergyFigures>,
    /// What a reader must know.
    pub caveats: Vec<String>,
    /// Coefficients, the most important first.
    pub rests_on: Vec<RestsOn>,
    /// The recorded run nearest to this one.
    #[serde(default)]
    #[schemars(!default)]
    pub nearest: Option<NearestRun>,
}

/// Drafts and what became of them, as vLLM counts it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Speculation {
    /// What drafts.
    pub method: String,
    /// Drafts of a sequence and step.
    pub num_draft_tokens: u32,
    /// Verifications: sequences with drafts in a step.
    pub drafts: u64,
    /// Draft tokens verified.
    pub draft_tokens: u64,
    /// Draft tokens accepted.
    pub accepted_tokens: u64,
    /// Mean tokens of a verification, the one that the model adds included; null where nothing was drafted.
    pub mean_acceptance_length: Option<f64>,
    /// Share of the draft tokens that was accepted; null where nothing was drafted.
    pub acceptance_rate: Option<f64>,
    /// Share of the verifications that accepted each position.
    pub acceptance_by_position: Vec<f64>,
    /// Where the acceptance was taken from that was not said; null where it was said.
    pub assumed: Option<String>,
}

fn speculation(p: &Prediction) -> Option<Speculation> {
    let drafting = p.run.settings.drafting.as_ref()?;
    let (r, c) = (&drafting.requested, &p.run.engine.speculation);
    Some(Speculation {
        method: r.method.name().into(),
        num_draft_tokens: r.computed,
        drafts: c.drafts,
        draft_tokens: c.draft_tokens,
        accepted_tokens: c.accepted_tokens,
        mean_acceptance_length: c.mean_length(),
        acceptance_rate: c.rate(),
        acceptance_by_position: c.per_position(r.tokens),
        assumed: r.assumed.map(|a| a.source.into()),
    })
}

/// What all devices of a prediction draw; host processors are not in it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EnergyFigures {
    /// Devices.
    pub devices: u32,
    /// Share of the time in which steps run.
    pub busy: Option<f64>,
    /// Mean power. The value is null where only a limit is known, which is then the upper end.
    pub watts: Figure,
    /// Energy per output token.
    pub joules_per_output_token: Figure,
    /// What the figures rest on.
    pub provenance: Vec<Provenance>,
}

fn energy(e: &capsim::predict::Energy) -> EnergyFigures {
    let figure = |w: &capsim::device::Watts| Figure {
        value: w.value.and_then(finite),
        low: finite(w.low),
        high: finite(w.high),
    };
    EnergyFigures {
        devices: e.devices,
        busy: finite(e.busy),
        watts: figure(&e.watts),
        joules_per_output_token: figure(&e.joules_per_token),
        provenance: e.sources.clone(),
    }
}

/// `capsim predict --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Predictions {
    /// Format.
    #[schemars(extend("const" = "capsim.prediction/1"))]
    pub schema: String,
    /// The answer in words, as the command prints it first.
    #[serde(default)]
    #[schemars(!default)]
    pub answer: String,
    /// The command that asks the same.
    #[serde(default)]
    #[schemars(!default)]
    pub command: String,
    /// One point per row of the table.
    pub points: Vec<Point>,
}

impl Point {
    /// The value of a metric, in its unit.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        self.metrics.get(&metric)?.value
    }

    /// The 90 % interval of a metric.
    pub fn range(&self, metric: Metric) -> Option<(f64, f64)> {
        let figure = self.metrics.get(&metric)?;
        figure.low.zip(figure.high)
    }
}

/// One prediction: settings, load, metrics with intervals, occupancy, breakdown, caveats, provenance.
pub fn prediction(
    varied: &[(&'static str, fields::Value)],
    scenario: &Scenario,
    p: &Prediction,
) -> Point {
    let s = &p.run.summary;
    let c = &p.run.settings.config;
    let metric = |m: &Metric| {
        let i = p.interval_of(*m);
        let figure = Figure {
            value: finite(s.metric(*m, Percentiles::Linear)),
            low: i.and_then(|i| finite(i.low)),
            high: i.and_then(|i| finite(i.high)),
        };
        (*m, figure)
    };
    let part = |q: &Part| {
        let name = serde_json::to_value(q).expect("a name");
        (
            name.as_str().expect("a string").to_string(),
            finite(p.run.breakdown.of(*q)),
        )
    };
    let occ = &p.run.occupancy;
    // Without a drafter there is no such part.
    let drafted = |q: &&Part| **q != Part::Draft || p.run.settings.drafting.is_some();
    Point {
        varied: varied
            .iter()
            .map(|(k, v)| (k.to_string(), value(v)))
            .collect(),
        assumed: scenario.notes.assumed.clone(),
        not_simulated: scenario.notes.not_simulated.clone(),
        harmless: scenario.notes.harmless.clone(),
        model: scenario.model_name.clone(),
        device: scenario.device.id.clone(),
        engine: scenario.engine.id.clone(),
        moe_tiles: scenario
            .moe_path
            .clone()
            .unwrap_or_else(|| scenario.engine.moe_default.clone()),
        settings: Settings {
            version: c.version.to_string(),
            num_gpu_blocks: c.num_gpu_blocks,
            in_force: p.run.settings.in_force.clone(),
        },
        workload: scenario.workload.clone(),
        num_requests: s.asked(),
        refused: s.refused,
        completed: s.completed,
        total_input_tokens: s.input_tokens,
        total_output_tokens: s.output_tokens,
        metrics: METRICS.iter().map(metric).collect(),
        ttft_parts: Some(TtftParts {
            front_end_ms: finite(1e3 * s.ttft_parts.front_end),
            scheduling_wait_ms: finite(1e3 * s.ttft_parts.waiting),
            prefill_ms: finite(1e3 * s.ttft_parts.prefill),
            way_back_ms: finite(1e3 * s.ttft_parts.way_back),
        }),
        speculation: speculation(p),
        deployment: deployment::deployed(&p.run),
        occupancy: Occupancy {
            steps: occ.steps,
            busy_s: finite(occ.busy),
            batch: finite(occ.batch),
            waiting: finite(occ.waiting),
            kv_usage_mean: finite(occ.kv_mean),
            kv_usage_max: finite(occ.kv_max),
            prefix_hit_rate: finite(s.prefix_hit_rate()),
            preemptions: s.preemptions,
            distinct_experts: p.run.distinct_experts.and_then(finite),
        },
        breakdown_s: Part::ALL.iter().filter(drafted).map(part).collect(),
        binds: p.binding.to_string(),
        energy: p.energy(scenario).as_ref().map(energy),
        caveats: p.caveats.iter().map(ToString::to_string).collect(),
        rests_on: p
            .sensitivities
            .iter()
            .map(|s| RestsOn {
                coefficient: s.name.clone(),
                origin: s.origin,
                rel_sd: finite(s.rel_sd),
                slope_of_output_throughput: finite(s.slope),
            })
            .collect(),
        nearest: nearest(&Records::builtin(), scenario, p).map(NearestRun::from),
    }
}

/// A whole table.
pub fn predictions(answer: String, command: String, points: Vec<Point>) -> Predictions {
    Predictions {
        schema: "capsim.prediction/1".into(),
        answer,
        command,
        points,
    }
}

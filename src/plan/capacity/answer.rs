//! What is answered.
use crate::plan::{Axis, Elasticities, Limit, number};
use crate::predict::About;
use serde::{Deserialize, Serialize};

/// Figures at one load, means over its runs. Latencies in seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Point {
    /// The load, in units of the axis.
    pub load: f64,
    /// Requests measured per run.
    pub num_prompts: u32,
    /// Of those of the first run, requests refused, because prompt and output exceed max_model_len or the KV cache: each misses the
    /// SLO. No figure but those in `values` contains them.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub refused: u64,
    /// Runs.
    pub runs: u32,
    /// Runs that met the SLO.
    pub runs_met: u32,
    /// Whether enough did.
    pub met: bool,
    /// Value of each condition, in the order of the SLO; null: infinite, because it falls among refused requests.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<Option<f64>>"))]
    #[serde(deserialize_with = "number::all_or_infinite")]
    pub values: Vec<f64>,
    /// Mean time to first token.
    #[serde(deserialize_with = "number::or_none")]
    pub ttft: f64,
    /// Mean time per output token.
    #[serde(deserialize_with = "number::or_none")]
    pub tpot: f64,
    /// Mean end-to-end latency.
    #[serde(deserialize_with = "number::or_none")]
    pub e2el: f64,
    /// Requests per second.
    #[serde(deserialize_with = "number::or_none")]
    pub request_throughput: f64,
    /// Output tokens per second.
    #[serde(deserialize_with = "number::or_none")]
    pub output_throughput: f64,
    /// Mean sequences in a step.
    #[serde(deserialize_with = "number::or_none")]
    pub batch: f64,
    /// Mean requests waiting.
    #[serde(deserialize_with = "number::or_none")]
    pub waiting: f64,
    /// Highest KV usage, 0 to 1.
    #[serde(deserialize_with = "number::or_none")]
    pub kv_max: f64,
    /// Preemptions per request.
    #[serde(deserialize_with = "number::or_none")]
    pub preemptions: f64,
    /// What requests wait for.
    pub waits_for: Limit,
    /// Largest part of the step time.
    pub step_part: String,
    /// Requests come faster than they are served.
    pub overloaded: bool,
}

/// One condition of the SLO, and the least that is possible.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FloorTerm {
    /// `ttft.p95`.
    pub name: String,
    /// The limit, in seconds, as a share or per second.
    pub limit: f64,
    /// At the lowest load; a condition on throughput: at the highest load that meets the rest, or that comes nearest.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(deserialize_with = "number::or_infinite")]
    pub alone: f64,
    /// At the same load, if the engine wasted nothing of the device ([`ideal`](crate::plan::ideal)).
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(deserialize_with = "number::or_infinite")]
    pub ideal: f64,
}

/// A setting that was changed, and what the capacity would be then.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Outlook {
    /// The change.
    pub what: String,
    /// Whether answers stay the same.
    pub same_answers: bool,
    /// The highest load then; 0 if none meets the SLO, absent if the SLO does not limit it.
    pub load: Option<f64>,
}

/// The answer to an SLO that more load can only help, because all its conditions are on throughput.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rising {
    /// The lowest load that meets it; absent: none does.
    pub least: Option<f64>,
    /// The same under the luckiest of twenty cost models (95 %); absent: none does.
    pub lucky: Option<f64>,
    /// The same under the unluckiest.
    pub unlucky: Option<f64>,
    /// If no load meets it: what comes nearest.
    pub nearest: Option<Nearest>,
}

/// The load at which an SLO on throughput is met most nearly.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Nearest {
    /// Figures at it.
    pub point: Point,
    /// Value of each condition there under the unluckiest cost model of twenty (95 %).
    #[cfg_attr(feature = "schema", schemars(with = "Vec<Option<f64>>"))]
    #[serde(deserialize_with = "number::all_or_infinite")]
    pub unlucky: Vec<f64>,
    /// See `unlucky`: the luckiest.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<Option<f64>>"))]
    #[serde(deserialize_with = "number::all_or_infinite")]
    pub lucky: Vec<f64>,
}

impl Capacity {
    /// The load that is the answer: the highest that meets the SLO, the least from which on it holds, or, where none does, the one that comes
    /// nearest or breaks it.
    pub fn decisive_load(&self) -> Option<f64> {
        let rising = self.rising.as_ref();
        let least = rising.and_then(|r| r.least.or(r.nearest.as_ref().map(|n| n.point.load)));
        let highest = self.highest.as_ref().or(self.broken.as_ref());
        least.or(highest.map(|p| p.load))
    }

    /// Three loads that show on a server whether the answer holds: below it, it, and past it, in increasing order without repetition.
    pub fn loads_around(&self) -> Vec<f64> {
        let Some(at) = self.decisive_load() else {
            return vec![];
        };
        let past = self.broken.as_ref().map_or(0.0, |p| p.load);
        let (below, above) = (at * BELOW, past.max(at * ABOVE));
        let round = |v: f64| match self.axis.counts() {
            true => libm::ceil(v).max(1.0),
            false => self.axis.value(self.axis.step(v)),
        };
        let mut all = vec![round(below), at, round(above)];
        all.dedup();
        all
    }
}

/// Where the loads beside the answer lie, as parts of it: far enough that the SLO holds below and breaks past it although the answer is
/// uncertain. Chosen, not measured.
const BELOW: f64 = 0.5;
const ABOVE: f64 = 1.25;

/// The answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Capacity {
    /// `capsim.capacity/1`.
    pub schema: String,
    /// The answer in words, as the command prints it first; empty where no command was asked.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub answer: String,
    /// What was asked; absent where no command was.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub about: Option<About>,
    /// What was raised.
    pub axis: Axis,
    /// The SLO as it was understood.
    pub slo: String,
    /// The highest load that meets it; absent: none does.
    pub highest: Option<Point>,
    /// The lowest load found that does not; absent: the SLO does not limit the load.
    pub broken: Option<Point>,
    /// The same under the unluckiest of twenty cost models (95 %), and under the luckiest; 0: none meets the SLO.
    pub low: f64,
    /// See `low`; absent: the SLO does not limit the load.
    pub high: Option<f64>,
    /// Coefficients behind that interval: name and part of the variance, largest first.
    pub rests_on: Vec<(String, f64)>,
    /// At least this share of such runs meets the SLO at the highest load, with the confidence asked for.
    pub runs_share: f64,
    /// The confidence.
    pub confidence: f64,
    /// Runs per load, and how many must meet the SLO.
    pub seeds: u32,
    /// See `seeds`.
    pub needed: u32,
    /// Whether the load holds no chance, so that all runs would be the same.
    pub deterministic: bool,
    /// Latency against load, in increasing order.
    pub curve: Vec<Point>,
    /// The load of the curve with the largest ratio of throughput to latency.
    pub knee: Option<f64>,
    /// A lower load failed, or a higher one met the SLO.
    pub not_monotone: bool,
    /// The condition that breaks first, and by how many per cent it shrinks if a resource becomes one per cent faster.
    pub decisive: String,
    /// See `decisive`.
    pub elasticities: Option<Elasticities>,
    /// The least that is possible.
    pub floor: Vec<FloorTerm>,
    /// Conditions that only throughput can meet, and that the highest load does not.
    pub short_of: Vec<String>,
    /// Where every condition is one that more load helps, on a load of users or requests at once: from which load on. Then
    /// `highest` is the highest load tried that meets it, and nothing bounds the load.
    pub rising: Option<Rising>,
    /// The load there is.
    pub present: Option<Point>,
    /// The load to be served, and the number of replicas for it: by the best estimate, and by the unlucky one.
    pub wanted: Option<f64>,
    /// See `wanted`; absent: impossible.
    pub replicas: Option<u32>,
    /// See `wanted`.
    pub replicas_unlucky: Option<u32>,
    /// Other settings, best first.
    pub outlooks: Vec<Outlook>,
    /// What a reader must know of what the engine profile was not made from.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub notes: Vec<String>,
}

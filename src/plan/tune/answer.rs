//! What is answered.
use super::Objective;
use crate::plan::{Limit, number};
use crate::predict::About;
use serde::{Deserialize, Serialize};

/// A setting at a load: means over its runs. Latencies in seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Outcome {
    /// Knobs that differ from today's, with their values.
    pub changes: Vec<(String, String)>,
    /// The line that starts such a server; behind ` # ` the checkpoint that it needs.
    pub serve: String,
    /// Requests open at once, where that was varied.
    pub concurrency: Option<u32>,
    /// Whether every run met the SLO.
    pub met: bool,
    /// Requests of the first run.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub requests: u64,
    /// Requests of it that were refused, because prompt and output exceed max_model_len or the KV cache: each misses the SLO, and no
    /// mean contains them.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub refused: u64,
    /// How much of the tightest limit is used up; absent without an SLO.
    pub margin: Option<f64>,
    /// Devices that it takes.
    pub devices: u32,
    /// Output tokens per second, of all devices together.
    #[serde(deserialize_with = "number::or_none")]
    pub output_throughput: f64,
    /// Output tokens per second that one user sees: 1 / mean TPOT.
    #[serde(deserialize_with = "number::or_none")]
    pub interactivity: f64,
    /// Mean time to first token.
    #[serde(deserialize_with = "number::or_none")]
    pub ttft: f64,
    /// Mean time per output token.
    #[serde(deserialize_with = "number::or_none")]
    pub tpot: f64,
    /// Mean end-to-end latency.
    #[serde(deserialize_with = "number::or_none")]
    pub e2el: f64,
    /// Preemptions per request.
    #[serde(deserialize_with = "number::or_none")]
    pub preemptions: f64,
    /// Highest KV usage, 0 to 1.
    #[serde(deserialize_with = "number::or_none")]
    pub kv_max: f64,
    /// What requests wait for.
    pub waits_for: Limit,
    /// What is compared: larger is better.
    #[serde(deserialize_with = "number::or_none")]
    pub score: f64,
}

/// What one knob does to the best setting.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Effect {
    /// The knob.
    pub knob: String,
    /// Its value in the best setting.
    pub chosen: String,
    /// Every other value: score relative to the best's, and whether the SLO is met; absent: the engine does not start, or takes more devices
    /// than there are.
    pub others: Vec<(String, Option<f64>, bool)>,
}

/// The answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tuned {
    /// `capsim.tune/1`.
    pub schema: String,
    /// The answer in words, as the command prints it first; empty where no command was asked.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub answer: String,
    /// What was asked; absent where no command was.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub about: Option<About>,
    /// The SLO as it was understood.
    pub slo: Option<String>,
    /// What was better.
    pub objective: Objective,
    /// Combinations that there are.
    pub combinations: f64,
    /// Settings tried.
    pub tried: usize,
    /// Of these, engines that would not start.
    pub refused: usize,
    /// Of the rest, different engines: some combinations come to the same.
    pub distinct: usize,
    /// Simulations run.
    pub simulations: usize,
    /// Settings alive at each rung, and requests per run there.
    pub rungs: Vec<(usize, u32)>,
    /// Today's setting; absent: it does not start.
    pub present: Option<Outcome>,
    /// The best that meets the SLO.
    pub best: Option<Outcome>,
    /// If none meets it: the one that misses it least.
    pub nearest: Option<Outcome>,
    /// Best score over today's, and the smallest and largest under unlucky and lucky cost models.
    #[serde(deserialize_with = "number::three_or_none")]
    pub gain: Option<[f64; 3]>,
    /// Settings none of which is beaten in both throughput and tokens per second per user, among those that meet the SLO.
    pub front: Vec<Outcome>,
    /// What each knob does to the best setting, most first.
    pub effects: Vec<Effect>,
    /// What a reader must know of knobs that were turned.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(!default))]
    pub notes: Vec<String>,
}

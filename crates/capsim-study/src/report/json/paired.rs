//! Answers about benchmarks of real servers: `capsim bench`, `capsim validate --url` and `--bench`.
use super::validation::Metric;
#[cfg(feature = "live")]
use super::{finite, validation::fitted_on};
#[cfg(feature = "live")]
use crate::validate::{fit::Fit, paired::Paired};
use capsim::workload::WorkloadSpec;
#[cfg(feature = "live")]
use capsim_live::bench::scrape::Sample;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A part of the time.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Component {
    /// What.
    pub name: String,
    /// In which unit.
    pub unit: String,
    /// As measured.
    pub measured: Option<f64>,
    /// As simulated.
    pub predicted: Option<f64>,
}

/// One request; seconds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// Measured TTFT; null for an answer that was not streamed.
    pub ttft: Option<f64>,
    /// Simulated TTFT.
    pub ttft_predicted: f64,
    /// Measured E2EL.
    pub e2el: f64,
    /// Simulated E2EL.
    pub e2el_predicted: f64,
}

/// The engine at a moment.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct State {
    /// Seconds since the first request.
    pub t: f64,
    /// Requests in the batch.
    pub running: f64,
    /// Requests that wait.
    pub waiting: f64,
    /// Share of KV blocks in use.
    pub kv: Option<f64>,
}

/// A recording against its simulation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Recording {
    /// Its name.
    pub name: String,
    /// Whether the engine profile was fitted to it.
    pub fitted: bool,
    /// Metrics that both have.
    pub metrics: Vec<Metric>,
    /// Where the time goes.
    pub components: Vec<Component>,
    /// What differs most, in words.
    pub largest_difference: String,
    /// Requests, where they were recorded.
    pub requests: Vec<Request>,
    /// The engine over time, measured; empty where the server had no metrics.
    pub series: Vec<State>,
    /// The engine over time, simulated; the same clock.
    pub predicted_series: Vec<State>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// `capsim validate --url … --json` and `capsim validate --bench … --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PairedAnswer {
    /// Format.
    #[schemars(extend("const" = "capsim.paired/1"))]
    pub schema: String,
    /// Recordings that the engine profile was fitted to.
    pub fitted_on: Option<Vec<String>>,
    /// Flags of the server's line that change neither memory nor speed.
    #[serde(default)]
    #[schemars(!default)]
    pub harmless: Vec<String>,
    /// Results of the files that could not be simulated, and why.
    #[serde(default)]
    #[schemars(!default)]
    pub left_out: Vec<String>,
    /// Recordings.
    pub recordings: Vec<Recording>,
}

#[cfg(feature = "live")]
fn states(all: &[Sample]) -> Vec<State> {
    all.iter()
        .map(|s| State {
            t: s.t,
            running: s.running,
            waiting: s.waiting,
            kv: finite(s.kv),
        })
        .collect()
}

#[cfg(feature = "live")]
impl Recording {
    /// Of a compared recording.
    pub fn new(p: &Paired) -> Self {
        Self {
            name: p.name.clone(),
            fitted: p.fitted,
            metrics: p.metrics.iter().map(Metric::from).collect(),
            components: p
                .components
                .iter()
                .map(|c| Component {
                    name: c.name.into(),
                    unit: c.unit.into(),
                    measured: finite(c.measured),
                    predicted: finite(c.predicted),
                })
                .collect(),
            largest_difference: p.blame.clone(),
            requests: p
                .pairs
                .iter()
                .map(|q| Request {
                    ttft: q.ttft,
                    ttft_predicted: q.ttft_predicted,
                    e2el: q.e2el,
                    e2el_predicted: q.e2el_predicted,
                })
                .collect(),
            series: states(&p.series),
            predicted_series: states(&p.predicted_series),
            notes: p.notes.clone(),
        }
    }
}

#[cfg(feature = "live")]
impl PairedAnswer {
    /// Of compared recordings.
    pub fn new(fit: Option<&Fit>, all: &[Paired]) -> Self {
        Self {
            schema: "capsim.paired/1".into(),
            fitted_on: fitted_on(fit),
            harmless: vec![],
            left_out: vec![],
            recordings: all.iter().map(Recording::new).collect(),
        }
    }
}

/// The `capsim` object of a result: what `vllm bench serve` does not write.
///
/// `bench::result` writes it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BenchExtra {
    /// Format.
    #[schemars(extend("const" = "capsim.bench/1"))]
    pub schema: String,
    /// Version of capsim.
    pub version: String,
    /// Whether the run was interrupted.
    pub partial: bool,
    /// Requests planned.
    pub planned: u64,
    /// Requests that were never sent.
    pub never_sent: u64,
    /// The load.
    pub workload: WorkloadSpec,
    /// Base URL of the server.
    pub url: String,
    /// Whether answers were streamed.
    pub stream: bool,
    /// Sampling temperature; null: the server's default.
    pub temperature: Option<f64>,
    /// Whether answers went on beyond the end-of-sequence token.
    pub ignore_eos: bool,
    /// Seconds after which a request is given up.
    pub request_timeout_s: f64,
    /// Times that a failed request is sent again.
    pub retries: u32,
    /// How prompts were made.
    pub prompts: String,
    /// Whose definitions of the metrics.
    pub metrics_as: String,
    /// The definitions in words.
    pub definitions: Value,
    /// What a reader must know.
    pub remarks: Vec<String>,
    /// Failures by kind.
    pub failures: BTreeMap<String, u64>,
    /// The client's own delays: waiting for a free slot, and late sends; milliseconds.
    pub client: BTreeMap<String, Option<f64>>,
    /// What the server told of itself.
    pub server: BTreeMap<String, Value>,
    /// Differences of the server's counters, or null.
    pub metrics_delta: Value,
    /// The server's gauges over time.
    pub series: Value,
    /// Requests, warm-up included; times in seconds since the start.
    pub requests: Vec<BTreeMap<String, Value>>,
}

/// `capsim bench … --json` and its result file: `vllm bench serve`'s keys with a `capsim` object. Latencies have a key for each
/// statistic: `mean_ttft_ms`, `median_…`, `std_…`, `p99_…` in milliseconds; `--metadata` adds keys.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BenchResult {
    /// `YYYYMMDD-HHMMSS`, UTC.
    pub date: String,
    /// `openai` (completions) or `openai-chat`.
    pub endpoint_type: String,
    /// The same, under its other name.
    pub backend: String,
    /// `--label`.
    pub label: Option<String>,
    /// Model as the server calls it.
    pub model_id: String,
    /// Tokenizer file, else the model.
    pub tokenizer_id: String,
    /// Requests planned.
    pub num_prompts: u32,
    /// Requests per second, or `inf`.
    pub request_rate: Value,
    /// Shape of the gaps between sends; 1: Poisson.
    pub burstiness: Option<f64>,
    /// Most requests that were open at a time; null: no limit.
    pub max_concurrency: Option<u32>,
    /// Seconds.
    pub duration: Option<f64>,
    /// Requests answered.
    pub completed: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Prompt tokens of the requests answered.
    pub total_input_tokens: u64,
    /// Output tokens of the requests answered.
    pub total_output_tokens: u64,
    /// Per second.
    pub request_throughput: Option<f64>,
    /// Requests per second that meet `--goodput`.
    pub request_goodput: Option<f64>,
    /// Output tokens per second.
    pub output_throughput: Option<f64>,
    /// Prompt and output tokens per second.
    pub total_token_throughput: Option<f64>,
    /// Output tokens in the second with most.
    pub max_output_tokens_per_s: Option<f64>,
    /// Most requests open in one second.
    pub max_concurrent_requests: u64,
    /// What `vllm bench serve` does not write.
    pub capsim: BenchExtra,
    /// Statistics of latencies, metadata, and the lists of `--save-detailed`.
    #[serde(flatten)]
    #[schemars(skip)]
    pub more: Map<String, Value>,
}

/// `capsim bench sweep --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BenchSweep {
    /// Format.
    #[schemars(extend("const" = "capsim.bench-sweep/1"))]
    pub schema: String,
    /// One result per point.
    pub points: Vec<BenchResult>,
}

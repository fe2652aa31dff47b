//! Answers about benchmarks of real servers: `capsim bench`, `capsim validate --url` and `--bench`.
use super::finite;
use super::validation::{Metric, fitted_on};
use crate::validate::fit::Fit;
use crate::validate::paired::Paired;
use capsim::workload::WorkloadSpec;
use capsim_live::bench::scrape::Sample;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A part of the time.
#[derive(Clone, Debug, Serialize, JsonSchema)]
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
#[derive(Clone, Debug, Serialize, JsonSchema)]
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
#[derive(Clone, Debug, Serialize, JsonSchema)]
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
#[derive(Clone, Debug, Serialize, JsonSchema)]
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
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PairedAnswer {
    /// Format.
    #[schemars(extend("const" = "capsim.paired/1"))]
    pub schema: String,
    /// Recordings that the engine profile was fitted to.
    pub fitted_on: Option<Vec<String>>,
    /// Flags of the server's line that change neither memory nor speed.
    pub harmless: Vec<String>,
    /// Recordings.
    pub recordings: Vec<Recording>,
}

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

impl PairedAnswer {
    /// Of compared recordings.
    pub fn new(fit: Option<&Fit>, all: &[Paired]) -> Self {
        let recording = |p: &Paired| Recording {
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
        };
        Self {
            schema: "capsim.paired/1".into(),
            fitted_on: fitted_on(fit),
            harmless: vec![],
            recordings: all.iter().map(recording).collect(),
        }
    }
}

/// The `capsim` object of a result: what `vllm bench serve` does not write.
///
/// Only the schema: `bench::result` writes it.
#[derive(JsonSchema)]
#[allow(
    dead_code,
    missing_docs,
    reason = "describes what bench::result writes"
)]
struct BenchExtra {
    #[schemars(extend("const" = "capsim.bench/1"))]
    schema: String,
    /// Version of capsim.
    version: String,
    /// Whether the run was interrupted.
    partial: bool,
    /// Requests planned.
    planned: u64,
    /// Requests that were never sent.
    never_sent: u64,
    /// The load.
    workload: WorkloadSpec,
    url: String,
    stream: bool,
    temperature: Option<f64>,
    ignore_eos: bool,
    request_timeout_s: f64,
    retries: u32,
    /// How prompts were made.
    prompts: String,
    /// Whose definitions of the metrics.
    metrics_as: String,
    /// The definitions in words.
    definitions: Value,
    /// What a reader must know.
    remarks: Vec<String>,
    /// Failures by kind.
    failures: BTreeMap<String, u64>,
    /// The client's own delays: waiting for a free slot, and late sends; milliseconds.
    client: BTreeMap<String, Option<f64>>,
    /// What the server told of itself.
    server: BTreeMap<String, Value>,
    /// Differences of the server's counters, or null.
    metrics_delta: Value,
    /// The server's gauges over time.
    series: Value,
    /// Requests, warm-up included; times in seconds since the start.
    requests: Vec<BTreeMap<String, Value>>,
}

/// `capsim bench … --json` and its result file: `vllm bench serve`'s keys with a `capsim` object. Latencies have a key for each
/// statistic: `mean_ttft_ms`, `median_…`, `std_…`, `p99_…` in milliseconds; `--metadata` adds keys.
#[derive(JsonSchema)]
#[allow(
    dead_code,
    missing_docs,
    reason = "describes what bench::result writes"
)]
pub struct BenchResult {
    /// `YYYYMMDD-HHMMSS`, UTC.
    date: String,
    endpoint_type: String,
    backend: String,
    label: Option<String>,
    model_id: String,
    tokenizer_id: String,
    num_prompts: u32,
    /// Requests per second, or `inf`.
    request_rate: Value,
    burstiness: Option<f64>,
    max_concurrency: Option<u32>,
    /// Seconds.
    duration: Option<f64>,
    completed: u64,
    failed: u64,
    total_input_tokens: u64,
    total_output_tokens: u64,
    /// Per second.
    request_throughput: Option<f64>,
    /// Requests per second that meet `--goodput`.
    request_goodput: Option<f64>,
    output_throughput: Option<f64>,
    total_token_throughput: Option<f64>,
    max_output_tokens_per_s: Option<f64>,
    max_concurrent_requests: u64,
    capsim: BenchExtra,
}

/// `capsim bench sweep --json`.
#[derive(JsonSchema)]
#[allow(dead_code, missing_docs, reason = "describes what cli::bench writes")]
pub struct BenchSweep {
    #[schemars(extend("const" = "capsim.bench-sweep/1"))]
    schema: String,
    /// One result per point.
    points: Vec<BenchResult>,
}

//! What the server tells of itself: `/v1/models`, `/version`, and `/metrics` before, during and after a run.
use super::client::{Client, stopped};
use super::clock::Clock;
use crate::openai::{metrics, prometheus::Scrape};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Time between two looks at `/metrics` during a run.
pub const PERIOD: Duration = Duration::from_millis(500);

/// Limit on one look.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server's own account of its settings. Absent: it does not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerInfo {
    /// Model names that it answers to.
    pub models: Vec<String>,
    /// Where the first one's weights come from.
    pub root: Option<String>,
    /// Longest sequence.
    pub max_model_len: Option<u32>,
    /// Release.
    pub version: Option<String>,
    /// Tokens per KV block.
    pub block_size: Option<u32>,
    /// KV blocks.
    pub num_gpu_blocks: Option<u32>,
    /// Prefix cache.
    pub enable_prefix_caching: Option<bool>,
    /// Data type of the KV cache.
    pub cache_dtype: Option<String>,
    /// `--gpu-memory-utilization`.
    pub gpu_memory_utilization: Option<f64>,
    /// When its process started, in seconds since 1970.
    #[serde(skip)]
    pub started: Option<f64>,
    /// Whether `/metrics` answered.
    pub metrics: bool,
}

/// The engine at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// Seconds since the start of the run.
    pub t: f64,
    /// Requests running.
    pub running: f64,
    /// Requests waiting.
    pub waiting: f64,
    /// Part of the KV blocks in use, 0 to 1.
    pub kv: f64,
    /// Preemptions since the start of the run.
    pub preemptions: f64,
    /// Prefix-cache hits in tokens since the start of the run.
    pub hits: f64,
    /// Prefix-cache lookups in tokens since the start of the run.
    pub queries: f64,
    /// Tokens generated since the start of the run.
    pub generated: f64,
}

/// Counters, by full name with the labels that tell them apart; the growth over a run.
pub type Deltas = BTreeMap<String, f64>;

/// Everything that was scraped around a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watched {
    /// Growth of every counter and histogram.
    pub deltas: Deltas,
    /// The engine over time.
    pub series: Vec<Sample>,
}

fn sum(scrape: &Scrape, name: &str) -> f64 {
    scrape.named(name).map(|s| s.value).sum()
}

fn counter(scrape: &Scrape, name: &str) -> f64 {
    sum(scrape, &format!("{name}_total"))
}

/// Sums over engines and models, keyed by name and the labels that remain.
fn counters(scrape: &Scrape) -> Deltas {
    let mut all = Deltas::new();
    for s in &scrape.samples {
        let counts = ["_total", "_sum", "_count", "_bucket"]
            .iter()
            .any(|end| s.name.ends_with(end));
        if !counts || !s.name.starts_with("vllm:") {
            continue;
        }
        let labels: Vec<String> = s
            .labels
            .iter()
            .filter(|(k, _)| !matches!(k.as_str(), "engine" | "model_name"))
            .map(|(k, v)| format!("{k}=\"{v}\""))
            .collect();
        let key = if labels.is_empty() {
            s.name.clone()
        } else {
            format!("{}{{{}}}", s.name, labels.join(","))
        };
        *all.entry(key).or_default() += s.value;
    }
    all
}

/// What grew between two looks.
pub fn deltas(before: &Scrape, after: &Scrape) -> Deltas {
    let before = counters(before);
    counters(after)
        .into_iter()
        .map(|(k, v)| {
            let grown = v - before.get(&k).copied().unwrap_or(0.0);
            (k, grown)
        })
        .filter(|(_, v)| *v != 0.0)
        .collect()
}

fn sample(t: f64, now: &Scrape, start: &Scrape) -> Sample {
    let grown = |name| counter(now, name) - counter(start, name);
    Sample {
        t,
        running: sum(now, metrics::RUNNING),
        waiting: sum(now, metrics::WAITING),
        kv: sum(now, metrics::KV_USAGE),
        preemptions: grown(metrics::PREEMPTIONS),
        hits: grown(metrics::PREFIX_HITS),
        queries: grown(metrics::PREFIX_QUERIES),
        generated: grown(metrics::GENERATION_TOKENS),
    }
}

/// One look at `/metrics`; `None` if there is nothing to see.
pub async fn look(client: &Client) -> Option<Scrape> {
    let text = client.get("/metrics", PATIENCE).await.ok()?;
    let scrape = Scrape::parse(&text);
    (!scrape.samples.is_empty()).then_some(scrape)
}

/// Looks until `stop` turns true; a look that fails is left out.
pub async fn watch(
    client: Arc<Client>,
    start: Scrape,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) -> Vec<Sample> {
    let mut series = vec![];
    let mut every = tokio::time::interval(PERIOD);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = stopped(&mut stop) => return series,
        }
        tokio::select! {
            found = look(&client) => {
                if let Some(now) = found {
                    series.push(sample(clock.now().secs(), &now, &start));
                }
            }
            () = stopped(&mut stop) => return series,
        }
    }
}

/// Asks the server for everything it tells.
pub async fn server_info(client: &Client) -> ServerInfo {
    let mut info = ServerInfo::default();
    if let Ok(text) = client.get("/v1/models", PATIENCE).await
        && let Ok(list) = serde_json::from_str::<serde_json::Value>(&text)
        && let Some(models) = list["data"].as_array()
    {
        info.models = models
            .iter()
            .filter_map(|m| m["id"].as_str().map(Into::into))
            .collect();
        if let Some(first) = models.first() {
            info.root = first["root"].as_str().map(Into::into);
            info.max_model_len = first["max_model_len"]
                .as_u64()
                .and_then(|n| u32::try_from(n).ok());
        }
    }
    if let Ok(text) = client.get("/version", PATIENCE).await
        && let Ok(v) = serde_json::from_str::<serde_json::Value>(&text)
    {
        info.version = v["version"].as_str().map(Into::into);
    }
    if let Some(scrape) = look(client).await {
        info.metrics = true;
        info.started = scrape.named(metrics::PROCESS_START).next().map(|s| s.value);
        if let Some(s) = scrape.named(metrics::CACHE_CONFIG).next() {
            let text = |k: &str| {
                s.labels
                    .get(k)
                    .map(String::as_str)
                    .filter(|v| !v.is_empty() && *v != "None")
            };
            info.block_size = text("block_size").and_then(|v| v.parse().ok());
            info.num_gpu_blocks = text("num_gpu_blocks").and_then(|v| v.parse().ok());
            info.enable_prefix_caching =
                text("enable_prefix_caching").map(|v| v.eq_ignore_ascii_case("true"));
            info.cache_dtype = text("cache_dtype").map(Into::into);
            info.gpu_memory_utilization =
                text("gpu_memory_utilization").and_then(|v| v.parse().ok());
        }
    }
    info
}

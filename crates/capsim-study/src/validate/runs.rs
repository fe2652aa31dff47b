//! Recorded runs: the file format that `capsim validate` and `capsim explain` read (docs/formats.md).
use super::unknown::Unknown;
use capsim::engine::settings::SettingValues;
use capsim::metrics::{Metric, MetricName, Percentiles};
use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// A file of recorded runs of one model on one device and engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunsFile {
    /// `"capsim.runs/1"`.
    pub schema: String,
    /// Title.
    pub name: String,
    /// When the runs were made, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Who measured, where it was published.
    pub source: String,
    /// Model: Hugging Face id or short name.
    pub model: String,
    /// Weight format (`bf16`, `awq`, …); absent: the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Type of the KV cache's elements (`fp8`, `q8_0`, …); absent: the activations'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_cache: Option<String>,
    /// Device profile id.
    pub device: String,
    /// Engine profile id.
    pub engine: String,
    /// Release of vLLM that ran (`0.20.2`), where it is not the engine profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// Mixture-of-experts path of the engine profile, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moe_tiles: Option<String>,
    /// How the client measured.
    #[serde(default)]
    pub client: ClientInfo,
    /// Largest relative error that counts as agreement.
    #[serde(default)]
    pub tolerance: Tolerance,
    /// The runs.
    pub runs: Vec<RecordedRun>,
}

/// How the client measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientInfo {
    /// `linear` (NumPy, vLLM) or `lower-index` (hand-written scripts).
    pub percentiles: PercentileRule,
    /// Whether answers were streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streaming: Option<bool>,
}

/// See [`Percentiles`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum PercentileRule {
    /// Linear interpolation.
    #[default]
    Linear,
    /// Order statistics.
    LowerIndex,
}

impl From<PercentileRule> for Percentiles {
    fn from(rule: PercentileRule) -> Self {
        match rule {
            PercentileRule::Linear => Percentiles::Linear,
            PercentileRule::LowerIndex => Percentiles::LowerIndex,
        }
    }
}

/// Largest relative error that counts as agreement, per kind of metric; absent: reported, not judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tolerance {
    /// Means of latencies, and durations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Rates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<f64>,
    /// Percentiles, minima and maxima.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentile: Option<f64>,
}

impl Tolerance {
    /// The one that applies to a metric.
    pub fn of(&self, metric: Metric) -> Option<f64> {
        if metric.is_throughput() {
            self.throughput
        } else if metric.is_mean() || metric == Metric::Duration {
            self.mean
        } else {
            self.percentile
        }
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordedRun {
    /// Its name, unique in the file.
    pub id: String,
    /// The published experiment that it is a part of, where one command or table gave several runs; absent: its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// Who measured it, where that differs from the file's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Why the prediction may be off, in words for reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<String>,
    /// What about the model or its priors was chosen with this run known: its prediction is not strictly blind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    /// What else happened on the server during the run, as noted when it was recorded (kernels compiled, another program ran):
    /// the run is shown and counts nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbed: Option<String>,
    /// `throughput`, `latency`, or another word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Settings under vLLM's names; `null` for one: the engine's default, as far as known; `null` for all:
    /// unknown.
    pub engine_args: Option<SettingValues>,
    /// What was asked.
    pub workload: RecordedWorkload,
    /// What was measured, by metric name (`mean_e2el_ms`, `output_token_throughput`, …).
    #[serde(deserialize_with = "measured")]
    pub measured: BTreeMap<MetricName, f64>,
    /// Counters of the server, which involve no time and have to be met exactly: see [`COUNTERS`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
    /// Settings that the source does not state, with what they may have been instead of what is supposed above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<Unknown>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Counters that a simulation reproduces, and vLLM's metric of each: engine steps with work
/// (`iteration_tokens_total_count`), prompt tokens computed and output tokens yielded in them (`_sum`), prompt tokens looked up in and found in the prefix cache
/// (`prefix_cache_queries_total`, `prefix_cache_hits_total`), `num_preemptions_total`.
pub const COUNTERS: &[&str] = &[
    "steps",
    "iteration_tokens",
    "prefix_queries",
    "prefix_hits",
    "preemptions",
];

/// The load of a recorded run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordedWorkload {
    /// Requests measured.
    pub num_prompts: u32,
    /// Clients that wait for their answer before asking again; or, with a rate, most requests that are open at a time. Absent: no
    /// limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// Requests per second that arrive whatever the server does (Poisson); absent: closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_rate: Option<f64>,
    /// Seed of `vllm bench serve`, if it sent the requests: arrivals and lengths are then its very own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// Prompt tokens per request.
    pub input_len: u32,
    /// Output tokens per request.
    pub output_len: u32,
    /// Standard deviation of the natural logarithm of both lengths, whose means the two figures then are: log-normal, from 4 tokens to
    /// 1024 as `vllm bench serve` keeps of ShareGPT (`is_valid_sequence`). Absent: all lengths are equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_sigma: Option<f64>,
    /// Both lengths are uniform in the figures given · (1 ± this), as of `vllm bench serve --random-range-ratio`. Absent: all are equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_ratio: Option<f64>,
    /// `identical`, `distinct` or `shared-prefix`; absent: unknown, taken as distinct.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<capsim::workload::PromptKind>,
    /// Tokens that all prompts begin with, for `shared-prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_prefix_len: Option<u32>,
    /// Time between the first sends of two clients that start together, in milliseconds; absent: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_skew_ms: Option<f64>,
    /// Sampling temperature; 0 is greedy; absent: unknown, taken as greedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The very requests, recorded in a file: their arrivals and lengths count instead of the figures above, which then
    /// describe them. A file name that begins with `shared:` is looked for under the folder that `CAPSIM_SHARED` names
    /// (default `../shared`): data that may not be copied here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<capsim::workload::trace::TraceSpec>,
    /// A fixed set of prompts that is sent in turn, again and again, at even gaps of 1 / `request_rate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle: Option<super::cycle::PromptCycle>,
    /// Requests sent before, not measured; absent: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<u32>,
}

/// Reads measured values, so that an error names the metric.
fn measured<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<MetricName, f64>, D::Error> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = BTreeMap<MetricName, f64>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a map")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = BTreeMap::new();
            while let Some(key) = map.next_key::<String>()? {
                let (name, value) = map.next_value_seed(Entry(&key))?;
                all.insert(name, value);
            }
            Ok(all)
        }
    }
    struct Entry<'a>(&'a str);
    impl<'de> DeserializeSeed<'de> for Entry<'_> {
        type Value = (MetricName, f64);
        fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
            let unknown = "is no metric that capsim knows; see docs/formats.md for the names";
            let name = self.0.parse().map_err(|_| D::Error::custom(unknown))?;
            Ok((name, f64::deserialize(d)?))
        }
    }
    d.deserialize_map(Entries)
}

impl RecordedRun {
    /// What was measured of a metric, under the name that recorded runs have, in its unit.
    pub fn measured_of(&self, metric: Metric) -> Option<f64> {
        self.measured.get(&MetricName::recorded(metric)).copied()
    }

    /// The experiment that it is a part of.
    pub fn experiment(&self) -> &str {
        self.experiment.as_deref().unwrap_or(&self.id)
    }
}

impl RecordedWorkload {
    /// Most requests that can be open at a time.
    pub fn clients(&self) -> u32 {
        self.max_concurrency
            .unwrap_or(self.num_prompts)
            .min(self.num_prompts)
    }
}

/// What is wrong with a file of runs.
#[derive(Debug, thiserror::Error)]
#[error("{name}: field `{field}`: {problem}")]
pub struct RunsError {
    /// The file.
    pub name: String,
    /// Path of the field.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl RunsFile {
    /// The schema tag that this version reads and writes.
    pub const SCHEMA: &'static str = "capsim.runs/1";

    /// Reads a file of runs from JSON text; `name` appears in errors.
    ///
    /// # Errors
    /// Names the field that is missing, unknown, of the wrong type or out of range.
    pub fn parse(text: &str, name: &str) -> Result<Self, RunsError> {
        let bad = |field: String, problem: String| RunsError {
            name: name.into(),
            field,
            problem,
        };
        let value: serde_json::Value = serde_json::from_str(text)
            .map_err(|e| bad("(the whole file)".into(), format!("is no JSON: {e}")))?;
        match value.get("schema").and_then(|s| s.as_str()) {
            Some(Self::SCHEMA) => {}
            Some(other) => {
                return Err(bad(
                    "schema".into(),
                    format!("expected \"{}\", found \"{other}\"", Self::SCHEMA),
                ));
            }
            None => {
                return Err(bad(
                    "schema".into(),
                    format!(
                        "missing; a file of runs begins with \"schema\": \"{}\"",
                        Self::SCHEMA
                    ),
                ));
            }
        }
        let file: Self = serde_path_to_error::deserialize(value)
            .map_err(|e| bad(e.path().to_string(), e.inner().to_string()))?;
        file.check()
            .map_err(|(field, problem)| bad(field, problem))?;
        Ok(file)
    }

    fn check(&self) -> Result<(), (String, String)> {
        if self.runs.is_empty() {
            return Err(("runs".into(), "there is none".into()));
        }
        let mut seen = std::collections::BTreeSet::new();
        for (i, run) in self.runs.iter().enumerate() {
            let at = |f: &str| format!("runs[{i}].{f}");
            if !seen.insert(&run.id) {
                return Err((at("id"), format!("`{}` appears twice", run.id)));
            }
            let w = &run.workload;
            for (name, v, max) in [
                ("num_prompts", w.num_prompts, 10_000_000),
                ("max_concurrency", w.max_concurrency.unwrap_or(1), 1_000_000),
                ("input_len", w.input_len, 16_000_000),
                ("output_len", w.output_len, 16_000_000),
            ] {
                if v == 0 || v > max {
                    return Err((
                        at(&format!("workload.{name}")),
                        format!("must lie between 1 and {max}, not {v}"),
                    ));
                }
            }
            if w.max_concurrency.is_none() && w.request_rate.is_none() && w.trace.is_none() {
                return Err((
                    at("workload.max_concurrency"),
                    "is needed where no request_rate is given".into(),
                ));
            }
            if let Some((field, problem)) = w.cycle.and_then(|c| c.problem(w)) {
                return Err((at(&format!("workload.{field}")), problem));
            }
            let range = |name: &str, v: Option<f64>, low: f64, high: f64| match v {
                Some(v) if !(low..=high).contains(&v) => Err((
                    at(&format!("workload.{name}")),
                    format!("must lie between {low} and {high}, not {v}"),
                )),
                _ => Ok(()),
            };
            range("request_rate", w.request_rate, 1e-6, 1e6)?;
            range("length_sigma", w.length_sigma, 1e-3, 3.0)?;
            range("range_ratio", w.range_ratio, 1e-3, 1.0)?;
            range("send_skew_ms", w.send_skew_ms, 0.0, 3.6e6)?;
            for (j, u) in run.unknown.iter().enumerate() {
                let lengths = u.input_len.iter().chain(&u.output_len);
                if u.alternatives() == 0 || lengths.clone().any(|n| !(1..=16_000_000).contains(n)) {
                    return Err((
                        at(&format!("unknown[{j}]")),
                        "needs another value that the setting may have had; lengths lie between 1 and 16000000".into(),
                    ));
                }
            }
            if run.measured.is_empty() {
                return Err((at("measured"), "there is no metric".into()));
            }
            if let Some(name) = run
                .counters
                .keys()
                .find(|k| !COUNTERS.contains(&k.as_str()))
            {
                return Err((
                    at(&format!("counters.{name}")),
                    format!("is no counter; there are: {}", COUNTERS.join(", ")),
                ));
            }
            for (metric, v) in &run.measured {
                if !(v.is_finite() && *v > 0.0) {
                    return Err((
                        at(&format!("measured.{metric}")),
                        format!("must be a positive number, not {v}"),
                    ));
                }
            }
        }
        for (name, t) in [
            ("mean", self.tolerance.mean),
            ("throughput", self.tolerance.throughput),
            ("percentile", self.tolerance.percentile),
        ] {
            if t.is_some_and(|t| !(t.is_finite() && t > 0.0 && t < 10.0)) {
                return Err((
                    format!("tolerance.{name}"),
                    "must be a relative error above 0 and below 10".into(),
                ));
            }
        }
        Ok(())
    }
}

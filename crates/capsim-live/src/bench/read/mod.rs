//! Stored results of many tools → [`Recording`]s: what was asked, when, and how long it took.
//!
//! [`capsim::text`] finds the values in a text (JSON, JSON Lines, JSON after a program's chatter, tables), `forms` says whose they are, and
//! one reader per form reads them. A file may hold several results; each is a recording of its own.
mod aiperf;
mod console;
mod forms;
mod guidellm;
mod guidellm_csv;
mod inference_perf;
mod inferencex;
mod llama_benchy;
mod llmd;
mod llmperf;
mod offline;
mod ollama;
mod sglang;
mod table;
mod totals;
mod vllm;

use super::scrape::{Deltas, Sample, ServerInfo};
use capsim::device::EngineId;
use capsim::engine::settings::SettingValues;
use capsim::metrics::{Dist, MetricName, Percentiles, Summary, Timing};
use capsim::units::{SimTime, Span};
use capsim::workload::{Prompt, StreamId, WorkloadSpec};
use serde_json::Value;
use std::collections::BTreeMap;

/// Who wrote a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `capsim bench`.
    Capsim,
    /// `vllm bench serve`.
    Vllm,
    /// `vllm bench throughput`.
    VllmThroughput,
    /// `vllm bench latency`.
    VllmLatency,
    /// SGLang's `bench_serving`.
    Sglang,
    /// GuideLLM.
    Guidellm,
    /// AIPerf or GenAI-Perf.
    Aiperf,
    /// inference-perf.
    InferencePerf,
    /// llm-d's benchmark report.
    Llmd,
    /// LLMPerf.
    Llmperf,
    /// InferenceX (InferenceMAX).
    InferenceX,
    /// llama-benchy.
    LlamaBenchy,
    /// llama.cpp's `llama-bench`.
    LlamaBench,
    /// Durations of Ollama's API.
    Ollama,
}

impl Tool {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Tool::Capsim => "capsim bench",
            Tool::Vllm => "vllm bench serve",
            Tool::VllmThroughput => "vllm bench throughput",
            Tool::VllmLatency => "vllm bench latency",
            Tool::Sglang => "SGLang's bench_serving",
            Tool::Guidellm => "GuideLLM",
            Tool::Aiperf => "AIPerf",
            Tool::InferencePerf => "inference-perf",
            Tool::Llmd => "llm-d's benchmark report",
            Tool::Llmperf => "LLMPerf",
            Tool::InferenceX => "InferenceX",
            Tool::LlamaBenchy => "llama-benchy",
            Tool::LlamaBench => "llama-bench",
            Tool::Ollama => "Ollama",
        }
    }
}

/// One request of a recording; times in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// Whether it counts (warm-up requests do not).
    pub measured: bool,
    /// Whether it was answered whole.
    pub ok: bool,
    /// When it was sent, on the recording's clock.
    pub sent: Option<f64>,
    /// Prompt tokens.
    pub input: u32,
    /// Output tokens; for a failure what was asked for, where known.
    pub output: u32,
    /// Time to first token.
    pub ttft: Option<f64>,
    /// End-to-end latency.
    pub latency: Option<f64>,
    /// Gaps between chunks.
    pub itls: Vec<f64>,
    /// Wait at the client.
    pub held: f64,
    /// What the prompt shares with others, where known.
    pub prompt: Option<Prompt>,
    /// Stream of the answer, where known.
    pub answer: Option<StreamId>,
}

impl Recorded {
    /// The instants, relative to `begin`.
    pub fn timing(&self, begin: f64) -> Option<Timing> {
        let latency = self.latency.filter(|_| self.ok)?;
        let at = |secs: f64| SimTime::ZERO + Span::from_secs(secs.max(0.0));
        let start = self.sent.unwrap_or(begin) - begin;
        Some(Timing {
            start: at(start),
            first_token: at(start + self.ttft.unwrap_or(latency).min(latency)),
            end: at(start + latency),
            input_tokens: self.input,
            output_tokens: self.output,
        })
    }
}

/// A benchmark that was run somewhere, some time.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Who wrote it.
    pub tool: Tool,
    /// What to call it.
    pub name: String,
    /// `YYYYMMDD-…`, as written.
    pub date: Option<String>,
    /// Model name in requests.
    pub model: Option<String>,
    /// The server's account of itself, where recorded.
    pub server: ServerInfo,
    /// The engine that served, where the file tells.
    pub engine: Option<EngineId>,
    /// Settings of the server that the file tells.
    pub served: SettingValues,
    /// Most open requests; `None`: no limit.
    pub max_concurrency: Option<u32>,
    /// Requests per second, where they arrived by themselves.
    pub request_rate: Option<f64>,
    /// Shape of the gaps.
    pub burstiness: f64,
    /// Sampling temperature, where recorded.
    pub temperature: Option<f64>,
    /// Whether there are first tokens to be seen.
    pub streamed: bool,
    /// The load that was sent, where recorded.
    pub spec: Option<WorkloadSpec>,
    /// The requests, in order of creation. Empty: only totals were stored.
    pub requests: Vec<Recorded>,
    /// Metrics as the tool states them, in capsim's units and under vLLM's definitions: the measurement, where there is one.
    pub reported: BTreeMap<MetricName, f64>,
    /// What the tool states and no simulation keeps.
    pub left_out: Vec<String>,
    /// Whether only the sum of prompt and output tokens is known, and was divided in half.
    pub unsplit: bool,
    /// Duration that the tool states.
    pub duration: Option<f64>,
    /// Growth of the server's counters, where recorded.
    pub deltas: Deltas,
    /// The engine over time, where recorded.
    pub series: Vec<Sample>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// What is wrong with a stored result.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: field `{field}`: {problem}")]
pub struct ReadError {
    /// The file.
    pub file: String,
    /// Path of the field.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// Most requests of a recording.
const MOST: usize = 5_000_000;

/// Longest request, in tokens, and longest time, in seconds, that are believed.
const LONGEST: f64 = (1 << 24) as f64;
const YEAR: f64 = 366.0 * 86_400.0;

/// Reads the results that a text holds, in its order; `file` appears in errors and in names: `run` for `run.json`, `run#2` for the second
/// of several.
///
/// # Errors
/// Names the field that is missing, of the wrong type or out of range, and the result that it belongs to.
pub fn parse(text: &str, file: &str) -> Result<Vec<Recording>, ReadError> {
    let fail = |(field, problem): Bad| ReadError {
        file: file.into(),
        field,
        problem,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut all = forms::read(text).map_err(fail)?;
    let several = all.len() > 1;
    name_each(&mut all, file);
    for (i, r) in all.iter_mut().enumerate() {
        r.close();
        check(r).map_err(|(field, problem)| match several {
            true => fail((format!("result {}: {field}", i + 1), problem)),
            false => fail((field, problem)),
        })?;
    }
    Ok(all)
}

/// Names the recordings of a file: `run` for `run.json`, `run#2` for the second of several.
pub fn name_each(all: &mut [Recording], file: &str) {
    let several = all.len() > 1;
    for (i, r) in all.iter_mut().enumerate() {
        r.name = match several {
            true => format!("{}#{}", stem(file), i + 1),
            false => stem(file).into(),
        };
    }
}

/// A file's name without its folder and endings.
fn stem(file: &str) -> &str {
    let mut name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    for end in [".gz", ".zst", ".jsonl", ".json"] {
        name = name
            .strip_suffix(end)
            .filter(|n| !n.is_empty())
            .unwrap_or(name);
    }
    name
}

type Bad = (String, String);

fn check(r: &Recording) -> Result<(), Bad> {
    if r.requests.len() > MOST {
        return Err(("requests".into(), format!("more than {MOST}")));
    }
    for (i, q) in r.requests.iter().enumerate() {
        let times = [q.sent, q.ttft, q.latency, Some(q.held)];
        let sane = times.into_iter().flatten().chain(q.itls.iter().copied());
        for t in sane {
            if !(t.is_finite() && (0.0..=YEAR).contains(&t)) {
                return Err((
                    format!("requests[{i}]"),
                    format!("{t} s is no time between 0 and a year"),
                ));
            }
        }
        if f64::from(q.input) > LONGEST || f64::from(q.output) > LONGEST {
            return Err((format!("requests[{i}]"), "more than 2^24 tokens".into()));
        }
    }
    if r.max_concurrency == Some(0) {
        return Err(("max_concurrency".into(), "must be at least 1".into()));
    }
    if let Some(rate) = r.request_rate
        && !(rate.is_finite() && (1e-6..=1e6).contains(&rate))
    {
        return Err((
            "request_rate".into(),
            format!("must lie between 1e-6 and 1e6 per second, not {rate}"),
        ));
    }
    if !(0.01..=1e4).contains(&r.burstiness) {
        return Err((
            "burstiness".into(),
            format!("must lie between 0.01 and 10000, not {}", r.burstiness),
        ));
    }
    if let Some(rate) = r.request_rate
        && r.requests.len() as f64 / rate > YEAR
    {
        return Err((
            "request_rate".into(),
            "the run would last over a year".into(),
        ));
    }
    if !r.requests.is_empty() && !r.requests.iter().any(|q| q.measured && q.ok) {
        return Err((
            "requests".into(),
            "none was answered: there is nothing to compare".into(),
        ));
    }
    Ok(())
}

fn number(v: &Value, field: &str) -> Result<f64, Bad> {
    v.as_f64()
        .filter(|n| n.is_finite())
        .ok_or_else(|| (field.into(), format!("must be a number, not {}", brief(v))))
}

fn tokens(v: &Value, field: &str) -> Result<u32, Bad> {
    // Some tools write counts as floats.
    let n = number(v, field)?;
    if (0.0..=LONGEST).contains(&n) {
        Ok(n as u32)
    } else {
        Err((field.into(), format!("{n} is no number of tokens")))
    }
}

fn brief(v: &Value) -> String {
    let text = v.to_string();
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

impl Recording {
    /// Nothing yet, by this tool.
    pub fn of_tool(tool: Tool) -> Self {
        Self::empty(tool)
    }

    fn empty(tool: Tool) -> Self {
        Self {
            tool,
            name: String::new(),
            date: None,
            model: None,
            server: ServerInfo::default(),
            engine: None,
            served: SettingValues::default(),
            max_concurrency: None,
            request_rate: None,
            burstiness: 1.0,
            temperature: None,
            streamed: true,
            spec: None,
            requests: vec![],
            reported: BTreeMap::new(),
            left_out: vec![],
            unsplit: false,
            duration: None,
            deltas: Deltas::new(),
            series: vec![],
            notes: vec![],
        }
    }

    /// The measured requests that were answered.
    pub fn answered(&self) -> impl Iterator<Item = &Recorded> {
        self.requests.iter().filter(|r| r.measured && r.ok)
    }

    /// Measured requests that failed.
    pub fn failed(&self) -> usize {
        self.requests.iter().filter(|r| r.measured && !r.ok).count()
    }

    /// Requests sent before the measured ones.
    pub fn warmup(&self) -> u32 {
        self.requests.iter().filter(|r| !r.measured).count() as u32
    }

    /// Whether every measured request's send time is known.
    pub fn has_arrivals(&self) -> bool {
        !self.requests.is_empty() && self.requests.iter().all(|r| r.sent.is_some())
    }

    /// The figures under vLLM's definitions, computed from the requests; `None` if only totals were stored.
    pub fn summary(&self) -> Option<Summary> {
        let begin = self
            .answered()
            .filter_map(|r| r.sent)
            .fold(f64::INFINITY, f64::min);
        let begin = if begin.is_finite() { begin } else { 0.0 };
        let timings: Vec<Timing> = self.answered().filter_map(|r| r.timing(begin)).collect();
        if timings.is_empty() {
            return None;
        }
        let mut s = Summary::of(&timings);
        // Send times that are not known make no duration; and the tool's own one contains failures.
        if let Some(d) = self.duration {
            s.duration = d;
        }
        if !self.streamed {
            s.ttft = Dist::default();
            s.tpot = Dist::default();
        }
        let gaps = Dist::new(self.answered().flat_map(|r| r.itls.clone()).collect());
        let p = |p| gaps.percentile(p, Percentiles::Linear);
        s.itl_mean = gaps.mean();
        s.itl_percentiles = capsim::metrics::PERCENTILES.map(p);
        Some(s)
    }
}

//! Recorded scenarios: the file format of `tests/data/vllm-scheduler-*/README.md`.
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
pub struct Scenario {
    pub format: u32,
    pub name: String,
    pub vllm_version: String,
    pub engine: EngineArgs,
    pub requests: Vec<RequestLine>,
    pub steps: Vec<StepLine>,
    pub result: ResultLine,
}

#[derive(Debug, Deserialize)]
pub struct EngineArgs {
    pub block_size: u32,
    pub num_gpu_blocks: u32,
    pub max_num_seqs: u32,
    pub max_num_batched_tokens: u32,
    pub max_model_len: u32,
    pub enable_chunked_prefill: bool,
    pub enable_prefix_caching: bool,
    #[serde(default)]
    pub long_prefill_token_threshold: u32,
    pub policy: String,
    #[serde(default)]
    pub async_scheduling: bool,
    #[serde(default)]
    pub clock: Option<Clock>,
    #[serde(default)]
    pub speculation: Option<Drafts>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Drafts {
    pub tokens: u32,
    pub lookahead: u32,
    pub hidden_states: bool,
    pub draft_model: bool,
    pub draft_slots: u32,
    pub accepted: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Clock {
    pub base_us: u64,
    pub per_token_us: u64,
    pub per_seq_us: u64,
}

#[derive(Debug, Deserialize)]
pub struct RequestLine {
    pub id: u64,
    pub arrival_step: Option<u64>,
    pub arrival_us: Option<u64>,
    pub arrival_time: f64,
    pub prompt: Vec<SegmentLine>,
    pub max_tokens: u32,
    pub stop_at: Option<u32>,
    #[serde(default)]
    pub priority: i32,
    pub abort_step: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub struct SegmentLine {
    pub stream: String,
    pub start: u32,
    pub len: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct StepLine {
    pub t: u64,
    #[serde(default)]
    pub s: Vec<(u64, u32, u32)>,
    #[serde(default)]
    pub new: Vec<u64>,
    #[serde(default)]
    pub res: Vec<u64>,
    #[serde(default)]
    pub pre: Vec<u64>,
    #[serde(default)]
    pub blocks: BTreeMap<u64, Vec<u32>>,
    #[serde(default)]
    pub a: Option<(u64, u64, u64, u64)>,
    #[serde(default)]
    pub fin: Vec<(u64, String)>,
    #[serde(default)]
    pub b: Option<(u64, u64, u64)>,
    /// Absent, `null` or a number.
    #[serde(default, deserialize_with = "present")]
    pub upd: Option<Option<u64>>,
    #[serde(default)]
    pub ts: Option<u64>,
    #[serde(default)]
    pub te: Option<u64>,
}

fn present<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Option<u64>>, D::Error> {
    Ok(Some(Option::<u64>::deserialize(d)?))
}

#[derive(Debug, Deserialize)]
pub struct ResultLine {
    pub last_step: Option<u64>,
    pub requests: Vec<OutcomeLine>,
    pub prefix_cache: Option<PrefixLine>,
    pub free_queue_sha256: Option<String>,
    pub free_queue: Option<Vec<u32>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct OutcomeLine {
    pub first_sched: Option<u64>,
    pub first_token: Option<u64>,
    pub finish: Option<u64>,
    pub reason: Option<String>,
    pub cached: Option<u32>,
    pub preemptions: Option<u32>,
    pub outputs: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PrefixLine {
    pub requests: u64,
    pub queries: u64,
    pub hits: u64,
    pub preempted_requests: u64,
    pub preempted_queries: u64,
    pub preempted_hits: u64,
}

/// Reads a scenario; the error names file and field.
pub fn read(path: &std::path::Path) -> Result<Scenario, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let de = &mut serde_json::Deserializer::from_str(&text);
    let s: Scenario = serde_path_to_error::deserialize(de)
        .map_err(|e| format!("{}: field `{}`: {}", path.display(), e.path(), e.inner()))?;
    if s.format != 1 {
        return Err(format!(
            "{}: field `format`: {} is not 1",
            path.display(),
            s.format
        ));
    }
    Ok(s)
}

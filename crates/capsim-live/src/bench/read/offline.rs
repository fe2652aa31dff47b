//! `vllm bench throughput --output-json` and `vllm bench latency --output-json` (vllm 0.6.3 to 0.33: vllm/benchmarks/throughput.py and
//! latency.py): an engine without a server. Neither file holds the lengths; latency's holds no batch size either.
use super::totals::statistic;
use super::{Bad, Recording, Tool, number};
use capsim::device::EngineId;
use capsim::metrics::{Latency, Metric, Statistic};
use serde_json::Value;

pub(super) fn is_throughput(v: &Value) -> bool {
    v.get("elapsed_time").is_some() && v.get("total_num_tokens").is_some()
}

pub(super) fn is_latency(v: &Value) -> bool {
    v.get("avg_latency").is_some()
}

pub(super) fn throughput(v: &Value) -> Result<Recording, Bad> {
    let mut r = Recording::empty(Tool::VllmThroughput);
    r.engine = Some(EngineId::Vllm);
    r.streamed = false;
    let (seconds, count) = (
        number(&v["elapsed_time"], "elapsed_time")?,
        number(&v["num_requests"], "num_requests")?,
    );
    let tokens = number(&v["total_num_tokens"], "total_num_tokens")?;
    r.duration = Some(seconds);
    r.state(Metric::Duration, Some(seconds));
    r.throughputs(
        v["requests_per_second"].as_f64(),
        None,
        v["tokens_per_second"].as_f64(),
    );
    let mean = tokens / count;
    r.of_means(count, mean / 2.0, mean / 2.0)?;
    r.unsplit = true;
    Ok(r)
}

/// Lengths and batch of `vllm bench latency` unless it is told otherwise: vllm 0.33.0, vllm/benchmarks/latency.py.
const LATENCY_DEFAULTS: (u32, u32, u32) = (32, 128, 8);

pub(super) fn latency(v: &Value) -> Result<Recording, Bad> {
    let mut r = Recording::empty(Tool::VllmLatency);
    r.engine = Some(EngineId::Vllm);
    r.streamed = false;
    let mean = number(&v["avg_latency"], "avg_latency")?;
    r.state(Metric::mean(Latency::E2el), Some(1e3 * mean));
    for (key, value) in v["percentiles"].as_object().into_iter().flatten() {
        if let Some(p @ Statistic::Percentile(_)) = statistic(&format!("p{key}")) {
            r.state(
                Metric::Latency(Latency::E2el, p),
                value.as_f64().map(|s| 1e3 * s),
            );
        }
    }
    let (input, output, batch) = LATENCY_DEFAULTS;
    let rounds = v["latencies"].as_array().map_or(1, Vec::len).max(1);
    r.of_means(
        f64::from(batch) * rounds as f64,
        input.into(),
        output.into(),
    )?;
    r.max_concurrency = Some(batch);
    r.notes.push(format!(
        "the file does not say its lengths or its batch: {input} prompt tokens, {output} output tokens and {batch} sequences, the tool's \
         defaults, are assumed; --recorded-input-len, --recorded-output-len and --clients say others"
    ));
    Ok(r)
}

//! inference-perf's `stage_N_lifecycle_metrics.json` and `summary_lifecycle_metrics.json` (kubernetes-sigs/inference-perf 0.2:
//! inference_perf/reportgen): times in seconds.
use super::totals::MEAN_LENGTHS;
use super::{Bad, Recording, Tool, number};
use capsim::metrics::{Latency, Metric};
use serde_json::Value;

pub(super) fn is(v: &Value) -> bool {
    v.get("load_summary").is_some() && v.get("successes").is_some()
}

/// Latencies by their names there; `time_per_output_token` is vLLM's TPOT.
pub(super) const LATENCIES: [(&str, Latency); 4] = [
    ("request_latency", Latency::E2el),
    ("time_to_first_token", Latency::Ttft),
    ("time_per_output_token", Latency::Tpot),
    ("inter_token_latency", Latency::Itl),
];

pub(super) fn read(v: &Value) -> Result<Recording, Bad> {
    let mut r = Recording::empty(Tool::InferencePerf);
    let (load, good) = (&v["load_summary"], &v["successes"]);
    for (name, latency) in LATENCIES {
        r.statistics(latency, &good["latency"][name], 1e3);
    }
    let throughput = &good["throughput"];
    let rate = throughput["requests_per_sec"].as_f64();
    r.throughputs(
        rate,
        throughput["output_tokens_per_sec"].as_f64(),
        throughput["total_tokens_per_sec"].as_f64(),
    );
    let count = number(&good["count"], "successes.count")?;
    let mean = |key: &str| number(&good[key]["mean"], &format!("successes.{key}.mean"));
    r.of_means(count, mean("prompt_len")?, mean("output_len")?)?;
    r.duration = rate.filter(|r| *r > 0.0).map(|r| count / r);
    r.state(Metric::Duration, r.duration);
    r.max_concurrency = load["concurrency"]
        .as_u64()
        .and_then(|c| u32::try_from(c).ok())
        .filter(|c| *c > 0);
    if r.max_concurrency.is_none() {
        r.request_rate = ["requested_rate", "achieved_rate"]
            .iter()
            .find_map(|k| load[*k].as_f64())
            .filter(|r| *r > 0.0);
        if r.request_rate.is_some() {
            r.notes.push("the file does not say how arrivals were drawn: they are a Poisson process of its rate".into());
        }
    }
    let failed = v["failures"]["count"].as_f64().unwrap_or(0.0);
    if failed > 0.0 {
        r.notes
            .push(format!("{failed} requests failed; they are in no figure"));
    }
    r.streamed = good["latency"]["time_to_first_token"].is_object();
    r.notes.push(MEAN_LENGTHS.into());
    r.clients_by_littles_law();
    Ok(r)
}

//! LLMPerf's `*_summary.json` (ray-project/llmperf: token_benchmark_ray.py, flattened): times in seconds. Its inter-token latency is a
//! request's mean, the first token's included, so that it is no latency of vLLM's.
use super::totals::{MEAN_LENGTHS, statistic};
use super::{Bad, Recording, Tool, number};
use capsim::metrics::{Latency, Metric};
use serde_json::Value;

pub(super) fn is(v: &Value) -> bool {
    v.get("results_ttft_s_mean").is_some() || v.pointer("/results/ttft_s").is_some()
}

/// A figure of the flat or the nested form: `results_ttft_s_mean`, or `results.ttft_s.mean`.
fn get<'a>(v: &'a Value, name: &str) -> &'a Value {
    match v.get(format!("results_{name}")) {
        Some(flat) => flat,
        None => &v["results"][name],
    }
}

pub(super) fn read(v: &Value) -> Result<Recording, Bad> {
    let mut r = Recording::empty(Tool::Llmperf);
    r.model = v["model"].as_str().map(Into::into);
    for (name, latency) in [
        ("ttft_s", Latency::Ttft),
        ("end_to_end_latency_s", Latency::E2el),
    ] {
        r.statistics(latency, &v["results"][name], 1e3);
        let prefix = format!("results_{name}_");
        for (key, value) in v.as_object().into_iter().flatten() {
            if let Some(s) = key.strip_prefix(&prefix).and_then(statistic) {
                r.state(Metric::Latency(latency, s), value.as_f64().map(|x| 1e3 * x));
            }
        }
    }
    r.left_out
        .push("LLMPerf's inter-token latency (the time to the first token is in it)".into());
    let count = number(
        get(v, "num_completed_requests"),
        "results_num_completed_requests",
    )?;
    let mean = |name: &str| -> Result<f64, Bad> {
        let nested = v.pointer(&format!("/results/{name}/mean"));
        number(
            nested.unwrap_or_else(|| get(v, &format!("{name}_mean"))),
            &format!("results_{name}_mean"),
        )
    };
    r.of_means(
        count,
        mean("number_input_tokens")?,
        mean("number_output_tokens")?,
    )?;
    let per_minute = get(v, "num_completed_requests_per_min").as_f64();
    r.throughputs(
        per_minute.map(|n| n / 60.0),
        get(v, "mean_output_throughput_token_per_s").as_f64(),
        None,
    );
    r.duration = per_minute.filter(|n| *n > 0.0).map(|n| 60.0 * count / n);
    r.max_concurrency = v["num_concurrent_requests"]
        .as_u64()
        .and_then(|c| u32::try_from(c).ok())
        .filter(|c| *c > 0);
    let failed = get(v, "number_errors").as_f64().unwrap_or(0.0);
    if failed > 0.0 {
        r.notes
            .push(format!("{failed} requests failed; they are in no figure"));
    }
    r.notes
        .push("LLMPerf counts tokens with its own tokenizer".into());
    r.notes.push(MEAN_LENGTHS.into());
    r.clients_by_littles_law();
    Ok(r)
}

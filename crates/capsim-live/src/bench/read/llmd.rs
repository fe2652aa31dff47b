//! llm-d's benchmark report 0.1 and 0.2 (llm-d/llm-d-benchmark: workload/report/README.md, docs of its benchmark_report), JSON or YAML:
//! every latency names its unit.
use super::inference_perf::LATENCIES;
use super::totals::{MEAN_LENGTHS, milliseconds};
use super::{Bad, Recording, Tool, number};
use capsim::device::EngineId;
use capsim::engine::settings::{DATA_PARALLEL_SIZE, TENSOR_PARALLEL_SIZE};
use capsim::metrics::Metric;
use serde_json::Value;

/// Where the figures stand: 0.1, and 0.2.
const FIGURES: [&str; 2] = ["/metrics", "/results/request_performance/aggregate"];

fn figures(v: &Value) -> Option<&Value> {
    let found = FIGURES.iter().find_map(|p| v.pointer(p));
    found.filter(|f| f["latency"].is_object() && f["requests"].is_object())
}

pub(super) fn is(v: &Value) -> bool {
    v.get("version").is_some() && v.get("scenario").is_some() && figures(v).is_some()
}

pub(super) fn read(v: &Value) -> Result<Recording, Bad> {
    let mut r = Recording::empty(Tool::Llmd);
    let f = figures(v).unwrap_or(&Value::Null);
    for (name, latency) in LATENCIES {
        let of = &f["latency"][name];
        if !of.is_object() {
            continue;
        }
        let unit = of["units"].as_str();
        let Some(scale) = milliseconds(unit.unwrap_or("s")) else {
            return Err((
                format!("latency.{name}.units"),
                format!("unit `{}` is none that is known", unit.unwrap_or_default()),
            ));
        };
        r.statistics(latency, of, scale);
    }
    let per_second = |names: [&str; 2]| {
        let t = &f["throughput"];
        names
            .iter()
            .find_map(|n| t[*n].as_f64().or_else(|| t[*n]["mean"].as_f64()))
    };
    let rate = per_second(["requests_per_sec", "request_rate"]);
    r.throughputs(
        rate,
        per_second(["output_tokens_per_sec", "output_token_rate"]),
        per_second(["total_tokens_per_sec", "total_token_rate"]),
    );
    let requests = &f["requests"];
    let failed = requests["failures"].as_f64().unwrap_or(0.0);
    let count = number(&requests["total"], "requests.total")? - failed;
    let mean = |key: &str| number(&requests[key]["mean"], &format!("requests.{key}.mean"));
    r.of_means(count, mean("input_length")?, mean("output_length")?)?;
    r.duration = f
        .pointer("/time/duration")
        .and_then(Value::as_f64)
        .filter(|d| *d > 0.0)
        .or_else(|| Some(count / rate?));
    r.state(Metric::Duration, r.duration);
    if failed > 0.0 {
        r.notes
            .push(format!("{failed} requests failed; they are in no figure"));
    }
    scenario(&v["scenario"], &mut r);
    r.notes.push(MEAN_LENGTHS.into());
    r.clients_by_littles_law();
    Ok(r)
}

/// Model, engine, parallelism and load.
fn scenario(s: &Value, r: &mut Recording) {
    let first = |paths: &[&str]| {
        paths
            .iter()
            .find_map(|p| s.pointer(p))
            .cloned()
            .unwrap_or(Value::Null)
    };
    r.model = first(&["/model/name", "/stack/0/standardized/model/name"])
        .as_str()
        .map(Into::into);
    let engine = first(&["/platform/engine/0/name", "/stack/0/standardized/tool"]);
    r.engine = match engine.as_str() {
        Some(name) if name.starts_with("vllm") => Some(EngineId::Vllm),
        Some(name) if name.starts_with("sglang") => Some(EngineId::Sglang),
        _ => None,
    };
    r.server.version = first(&[
        "/platform/engine/0/version",
        "/stack/0/standardized/tool_version",
    ])
    .as_str()
    .map(Into::into);
    let whole = |v: &Value| {
        v.as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n > 0)
    };
    let parallel = first(&[
        "/host/accelerator/0/parallelism",
        "/stack/0/standardized/accelerator/parallelism",
        "/stack/0/standardized/parallelism",
    ]);
    r.served.set(TENSOR_PARALLEL_SIZE, whole(&parallel["tp"]));
    r.served.set(
        DATA_PARALLEL_SIZE,
        whole(&parallel["dp"]).filter(|dp| *dp > 1),
    );
    let several = s
        .pointer("/host/accelerator")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    if several > 1 {
        r.notes.push(format!(
            "{several} servers answered together; one is predicted: compare with care"
        ));
    }
    let rate = first(&["/load/standardized/rate_qps", "/load/args/qps_values"]);
    r.request_rate = rate.as_f64().filter(|r| *r > 0.0);
    r.max_concurrency = whole(&first(&["/load/standardized/concurrency"]));
}

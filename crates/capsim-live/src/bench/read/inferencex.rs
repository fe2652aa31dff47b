//! Results of InferenceX, once InferenceMAX (SemiAnalysisAI/InferenceX: utils/process_result.py, `agg_*.json`, and the rows of its
//! dashboard): times in seconds without a unit in their names, throughputs per GPU.
//!
//! The load is that of its benchmarks (benchmarks/single_node: random-range-ratio 0.8, num-prompts 10 × concurrency, request-rate inf): lengths
//! uniform in 0.8 to 1 of the nominal ones, ten requests per client, no rate.
use super::totals::statistic;
use super::{Bad, Recording, Tool, number};
use capsim::device::EngineId;
use capsim::engine::settings::{ENABLE_EXPERT_PARALLEL, TENSOR_PARALLEL_SIZE};
use capsim::metrics::{Latency, Metric};
use serde_json::Value;

/// Requests per client, and mean length over the nominal one.
const REQUESTS_PER_CLIENT: f64 = 10.0;
const MEAN_OF_NOMINAL: f64 = 0.9;

pub(super) fn is(v: &Value) -> bool {
    v.get("conc").is_some()
        && (v.get("tput_per_gpu").is_some() || v.pointer("/metrics/tput_per_gpu").is_some())
}

pub(super) fn read(v: &Value) -> Result<Recording, Bad> {
    let mut r = Recording::empty(Tool::InferenceX);
    let figures = v.get("metrics").filter(|m| m.is_object()).unwrap_or(v);
    for (key, value) in figures.as_object().into_iter().flatten() {
        let Some((s, name)) = key.split_once('_') else {
            continue;
        };
        if let (Some(s), Ok(latency)) = (statistic(s), name.parse::<Latency>()) {
            r.state(Metric::Latency(latency, s), value.as_f64().map(|x| 1e3 * x));
        }
    }
    let whole = |names: &[&str]| {
        names
            .iter()
            .find_map(|k| v[*k].as_u64())
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n > 0)
    };
    let tp = whole(&["tp", "decode_tp"]).unwrap_or(1);
    let apart = v["disagg"] == true;
    let gpus = match apart {
        true => whole(&["num_prefill_gpu"]).unwrap_or(0) + whole(&["num_decode_gpu"]).unwrap_or(tp),
        false => tp,
    };
    let of_all = |key: &str| figures[key].as_f64().map(|t| t * f64::from(gpus));
    r.throughputs(None, of_all("output_tput_per_gpu"), of_all("tput_per_gpu"));
    let conc = number(&v["conc"], "conc")?;
    let (input, output) = (number(&v["isl"], "isl")?, number(&v["osl"], "osl")?);
    r.of_means(
        REQUESTS_PER_CLIENT * conc,
        MEAN_OF_NOMINAL * input,
        MEAN_OF_NOMINAL * output,
    )?;
    r.max_concurrency = Some(conc as u32);
    r.date = v["date"].as_str().map(Into::into);
    r.model = v["model"].as_str().map(Into::into);
    let framework = v["framework"].as_str().unwrap_or_default();
    r.engine = match framework {
        f if f.contains("sglang") => Some(EngineId::Sglang),
        f if f.contains("trt") => Some(EngineId::Trtllm),
        f if f.contains("vllm") => Some(EngineId::Vllm),
        _ => None,
    };
    if r.engine.is_none() {
        r.notes.push(format!(
            "`{framework}` served, which capsim does not simulate: vLLM's rules are used"
        ));
    }
    r.served.set(TENSOR_PARALLEL_SIZE, (tp > 1).then_some(tp));
    r.served.set(
        ENABLE_EXPERT_PARALLEL,
        whole(&["ep", "decode_ep"])
            .filter(|ep| *ep > 1)
            .map(|_| true),
    );
    if apart {
        r.notes.push("prefill and decode ran on devices of their own, which is not simulated: one server is predicted".into());
    }
    let speculation = ["spec_decoding", "spec_method"]
        .iter()
        .find_map(|k| v[*k].as_str());
    if let Some(s) = speculation.filter(|s| !matches!(*s, "none" | "false" | "")) {
        r.notes.push(format!(
            "speculative decoding was on ({s}): the prediction is without it"
        ));
    }
    if let Some(p) = v["precision"].as_str() {
        r.notes
            .push(format!("the weights were in {p}: --weights must say so"));
    }
    r.notes.push(format!(
        "the file holds no lengths but the nominal ones: {REQUESTS_PER_CLIENT} requests per client with {MEAN_OF_NOMINAL} of them on average, \
         as its benchmarks draw them"
    ));
    Ok(r)
}

//! Predictions and validations for machines.
use crate::cost::Part;
use crate::metrics::Percentiles;
use crate::predict::{METRICS, Prediction, Scenario};
use serde_json::{Value, json};

fn number(v: f64) -> Value {
    serde_json::Number::from_f64(v).map_or(Value::Null, Value::Number)
}

/// One prediction: settings, load, metrics with intervals, occupancy, breakdown, caveats, provenance.
pub fn prediction(varied: &[(&'static str, String)], scenario: &Scenario, p: &Prediction) -> Value {
    let s = &p.run.summary;
    let c = &p.run.settings.config;
    let metrics: serde_json::Map<String, Value> = METRICS
        .iter()
        .map(|m| {
            let v = s.metric(m, Percentiles::Linear).unwrap_or(f64::NAN);
            let i = p.interval_of(m);
            (
                m.to_string(),
                json!({
                    "value": number(v),
                    "low": i.map(|i| number(i.low)),
                    "high": i.map(|i| number(i.high)),
                }),
            )
        })
        .collect();
    let breakdown: serde_json::Map<String, Value> = Part::ALL
        .iter()
        .map(|q| {
            let name = serde_json::to_value(q).expect("a name");
            (
                name.as_str().expect("a string").into(),
                number(p.run.breakdown.of(*q)),
            )
        })
        .collect();
    let occ = &p.run.occupancy;
    json!({
        "varied": varied.iter().map(|(k, v)| (k.to_string(), json!(v))).collect::<serde_json::Map<_, _>>(),
        "model": scenario.model_name,
        "device": scenario.device.id,
        "engine": scenario.engine.id,
        "moe_tiles": scenario.moe_path.as_deref().unwrap_or(&scenario.engine.moe_default),
        "settings": {
            "version": c.version.to_string(),
            "max_num_seqs": c.max_num_seqs,
            "max_num_batched_tokens": c.max_num_batched_tokens,
            "max_model_len": c.max_model_len,
            "block_size": c.block_size,
            "num_gpu_blocks": c.num_gpu_blocks,
            "enable_prefix_caching": c.enable_prefix_caching,
            "enable_chunked_prefill": c.enable_chunked_prefill,
            "async_scheduling": c.async_scheduling,
            "enforce_eager": p.run.settings.enforce_eager,
            "gpu_memory_utilization": number(p.run.settings.gpu_memory_utilization),
        },
        "workload": scenario.workload,
        "completed": s.completed,
        "total_input_tokens": s.input_tokens,
        "total_output_tokens": s.output_tokens,
        "metrics": metrics,
        "occupancy": {
            "steps": occ.steps,
            "busy_s": number(occ.busy),
            "batch": number(occ.batch),
            "waiting": number(occ.waiting),
            "kv_usage_mean": number(occ.kv_mean),
            "kv_usage_max": number(occ.kv_max),
            "prefix_hit_rate": number(s.prefix_hit_rate()),
            "preemptions": s.preemptions,
            "distinct_experts": p.run.distinct_experts.map(number),
        },
        "breakdown_s": breakdown,
        "binds": p.binding.to_string(),
        "caveats": p.caveats.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "rests_on": p.sensitivities.iter().map(|s| json!({
            "coefficient": s.name,
            "origin": s.origin,
            "rel_sd": number(s.rel_sd),
            "slope_of_output_throughput": number(s.slope),
        })).collect::<Vec<_>>(),
    })
}

/// A whole table.
pub fn predictions(points: Vec<Value>) -> Value {
    json!({ "schema": "capsim.prediction/1", "points": points })
}

//! SGLang's `bench_serving --output-file` (sgl-project/sglang: python/sglang/bench_serving.py): a line per run with the keys of
//! `vllm bench serve`, from which it descends, but for `e2e_latency` in place of `e2el`; `server_info` is what the server says of itself.
use super::{Bad, Recording, Tool, vllm};
use capsim::device::EngineId;
use capsim::line::{self, Source};
use serde_json::Value;

pub(super) fn is(v: &Value) -> bool {
    let has = |k: &str| v.get(k).is_some();
    vllm::is(v)
        && (has("total_output_tokens_retokenized")
            || has("mean_e2e_latency_ms")
            || has("sharegpt_output_len"))
}

pub(super) fn read(v: &Value) -> Result<Recording, Bad> {
    let mut r = vllm::read(v)?;
    r.tool = Tool::Sglang;
    match v["backend"].as_str() {
        Some("vllm" | "vllm-chat") => r.engine = Some(EngineId::Vllm),
        None => r.engine = Some(EngineId::Sglang),
        Some(name) if name.starts_with("sglang") => r.engine = Some(EngineId::Sglang),
        Some(other) => r.notes.push(format!(
            "the server was of the kind `{other}`, which capsim does not simulate: vLLM's rules are used"
        )),
    }
    if let Some(accepted) = v["accept_length"].as_f64().filter(|a| *a > 1.0) {
        r.notes.push(format!(
            "speculative decoding was on ({accepted:.2} tokens accepted per step): the prediction is without it"
        ));
    }
    server(&v["server_info"], &mut r);
    Ok(r)
}

/// Arguments of the server that a prediction depends on, as keys of `server_info` and as flags.
const ARGUMENTS: &[(&str, &str)] = &[
    ("tp_size", "--tp-size"),
    ("dp_size", "--dp-size"),
    ("context_length", "--context-length"),
    ("max_running_requests", "--max-running-requests"),
    ("max_total_num_tokens", "--max-total-tokens"),
    ("max_total_tokens", "--max-total-tokens"),
    ("chunked_prefill_size", "--chunked-prefill-size"),
    ("max_prefill_tokens", "--max-prefill-tokens"),
    ("mem_fraction_static", "--mem-fraction-static"),
    ("kv_cache_dtype", "--kv-cache-dtype"),
    ("schedule_policy", "--schedule-policy"),
    ("disable_radix_cache", "--disable-radix-cache"),
    ("disable_cuda_graph", "--disable-cuda-graph"),
];

/// The server's arguments, as if they had been typed.
fn server(info: &Value, r: &mut Recording) {
    if !info.is_object() {
        return;
    }
    let text = |key: &str| info[key].as_str().map(str::to_string);
    r.server.root = text("model_path");
    r.model = r
        .model
        .take()
        .or_else(|| text("served_model_name"))
        .or_else(|| text("model_path"));
    let mut words = vec!["python", "-m", "sglang.launch_server"]
        .into_iter()
        .map(String::from)
        .collect::<Vec<_>>();
    let mut given: Vec<&str> = vec![];
    for (key, flag) in ARGUMENTS {
        let value = match &info[*key] {
            Value::Bool(true) => None,
            Value::Number(n) => Some(n.to_string()),
            Value::String(s) if s != "auto" => Some(s.clone()),
            _ => continue,
        };
        if given.contains(flag) {
            continue;
        }
        given.push(flag);
        words.push((*flag).into());
        words.extend(value);
    }
    match line::read(Source::Words(&words), &|_| Err("no files here".into())) {
        Ok(line) => {
            r.served = line.settings;
            let unknown = line
                .changes
                .iter()
                .map(|c| format!("the server ran with {c}, which is not simulated"));
            r.notes.extend(unknown);
        }
        Err(e) => r.notes.push(format!(
            "the server's settings in `server_info` were left out: {e}"
        )),
    }
}

//! Durations that Ollama's API states with every answer (ollama/ollama: docs/api.md), as JSON Lines or a table: `prompt_eval_count`,
//! `prompt_eval_duration`, `eval_count`, `eval_duration` in nanoseconds; some recorders add `_ns` to the names.
use super::{Bad, Recorded, Recording, Tool, number, tokens};
use capsim::device::EngineId;
use capsim::text::Item;
use serde_json::Value;

/// A key with or without its unit.
fn get<'a>(v: &'a Value, key: &str) -> &'a Value {
    v.get(key)
        .or_else(|| v.get(format!("{key}_ns")))
        .unwrap_or(&Value::Null)
}

pub(super) fn is(v: &Value) -> bool {
    !get(v, "eval_duration").is_null() && v.get("eval_count").is_some()
}

pub(super) fn read(rows: &[Item]) -> Result<Recording, Bad> {
    let mut r = Recording::empty(Tool::Ollama);
    // Ollama runs models in llama.cpp's server.
    r.engine = Some(EngineId::LlamaServer);
    r.max_concurrency = Some(1);
    let mut loads = 0.0;
    for row in rows {
        let v = &row.value;
        let seconds = |key: &str| number(get(v, key), &row.at(key)).map(|ns| ns / 1e9);
        let (prompt, answer) = (seconds("prompt_eval_duration")?, seconds("eval_duration")?);
        loads += get(v, "load_duration").as_f64().unwrap_or(0.0) / 1e9;
        let name = v["model"].as_str().map(String::from);
        if let (Some(a), Some(b)) = (&r.model, &name)
            && a != b
        {
            return Err((
                row.at("model"),
                format!("is {b}, the first row's {a}: one model at a time can be compared"),
            ));
        }
        r.model = r.model.take().or(name);
        r.requests.push(Recorded {
            measured: !matches!(v["phase"].as_str(), Some("cold" | "warmup")),
            ok: true,
            input: tokens(&v["prompt_eval_count"], &row.at("prompt_eval_count"))?,
            output: tokens(&v["eval_count"], &row.at("eval_count"))?,
            ttft: Some(prompt),
            latency: Some(prompt + answer),
            ..Recorded::default()
        });
    }
    if !r.requests.iter().any(|q| q.measured) {
        r.requests.iter_mut().for_each(|q| q.measured = true);
    }
    let busy: f64 = r.answered().filter_map(|q| q.latency).sum();
    r.duration = (busy > 0.0).then_some(busy);
    r.notes.push(format!(
        "the engine's own times of the prompt and of the answer, one request after another; {loads:.1} s of loading and the way to the \
         client are not in them"
    ));
    if r.warmup() > 0 {
        r.notes.push(format!(
            "{} rows are marked as cold and are not measured",
            r.warmup()
        ));
    }
    Ok(r)
}

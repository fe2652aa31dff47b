//! A scenario's engine settings as the line that starts such a server.
use crate::device::Scheduler;
use crate::engine::settings::{Means, Setting, TABLE};
use crate::fields::Value;
use crate::predict::Scenario;

/// The words of the line; a flag and its value are one word.
pub fn words(s: &Scenario) -> Vec<String> {
    let engine = s.engine.scheduler;
    let mut line = match engine {
        Scheduler::Vllm => vec!["vllm serve".to_string(), s.model_name.clone()],
        Scheduler::Sglang => vec![
            "python -m sglang.launch_server".to_string(),
            format!("--model-path {}", s.model_name),
        ],
        Scheduler::LlamaServer => vec![
            "llama-server".to_string(),
            format!("-m {}.gguf", s.model_name),
        ],
    };
    for (at, row) in TABLE.iter().enumerate() {
        line.extend(s.serve.at(at).and_then(|v| flag(row, engine, v)));
    }
    line
}

/// A setting as a flag of an engine; `None` where the engine has none for this value.
pub(super) fn flag(row: &Setting, engine: Scheduler, value: &Value) -> Option<String> {
    if engine == Scheduler::Vllm {
        let name = row.field.flag();
        return match value {
            _ if !row.vllm => None,
            Value::Switch(true) => Some(format!("--{name}")),
            Value::Switch(false) => Some(format!("--no-{name}")),
            value => Some(format!("--{name} {value}")),
        };
    }
    let spelled = row.spelled.iter().find(|s| s.engine == engine)?;
    let name = spelled.flags[0];
    match (spelled.means, value) {
        (Means::Value, value) => Some(format!("{name} {value}")),
        (Means::On, Value::Switch(true)) | (Means::Off, Value::Switch(false)) => Some(name.into()),
        _ => None,
    }
}

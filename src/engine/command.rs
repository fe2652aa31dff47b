//! Engine settings as the line that starts such a server.
use super::kind;
use super::settings::{Means, Setting, SettingValues, TABLE};
use crate::device::EngineId;
use crate::fields::Value;

/// The words of the line; a flag and its value are one word.
pub fn command(engine: EngineId, model: &str, settings: &SettingValues) -> Vec<String> {
    let mut line = kind(engine).command(model);
    for (at, row) in TABLE.iter().enumerate() {
        line.extend(settings.at(at).and_then(|v| flag(row, engine, v)));
    }
    line
}

/// A setting as a flag of an engine; `None` where the engine has none for this value.
pub fn flag(row: &Setting, engine: EngineId, value: &Value) -> Option<String> {
    if engine == EngineId::Vllm {
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

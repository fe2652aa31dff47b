//! Engine settings as the line that starts such a server.
use super::kind;
use super::settings::{Means, Setting, SettingValues, TABLE};
use crate::device::EngineId;
use crate::fields::Value;

/// The words of the line; a flag and its value are one word.
pub fn command(engine: EngineId, model: &str, settings: &SettingValues) -> Vec<String> {
    let mut line = kind(engine).command(model);
    let settings = kind(engine).as_flags(settings.clone());
    for (at, row) in TABLE.iter().enumerate() {
        // A variable stands before the program.
        if row.variable_of(engine).is_none() {
            line.extend(settings.at(at).and_then(|v| flag(row, engine, v)));
        }
    }
    let set = |(at, row): (usize, &Setting)| {
        let name = row.variable_of(engine)?;
        Some(format!("{name}={}", settings.at(at)?))
    };
    let mut all: Vec<String> = TABLE.iter().enumerate().filter_map(set).collect();
    all.extend(kind(engine).typed(line));
    all
}

/// A setting as a flag of an engine; `None` where the engine has none for this value.
pub fn flag(row: &Setting, engine: EngineId, value: &Value) -> Option<String> {
    if engine == EngineId::Vllm && row.vllm {
        let name = row.field.flag();
        return match value {
            Value::Switch(true) => Some(format!("--{name}")),
            Value::Switch(false) => Some(format!("--no-{name}")),
            value => Some(format!("--{name} {value}")),
        };
    }
    let spelled = row.spelled.iter().find(|s| s.engine == engine)?;
    let name = spelled.flags[0];
    match (spelled.means, value) {
        // A key of a file of options, which says on or off.
        (Means::On, Value::Switch(on)) if name.contains('.') => Some(format!("{name} {on}")),
        (Means::Value, value) => Some(format!("{name} {value}")),
        (Means::On, Value::Switch(true)) | (Means::Off, Value::Switch(false)) => Some(name.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::settings::*;

    #[test]
    fn a_line_says_what_the_engine_counts() {
        // llama-server's context is that of all slots together.
        let s = SettingValues::default()
            .with(MAX_NUM_SEQS, 4)
            .with(MAX_MODEL_LEN, 2048);
        let line = command(EngineId::LlamaServer, "m", &s).join(" ");
        assert!(line.contains("-c 8192") && line.contains("-np 4"), "{line}");
        // One token of SGLang's pool stands for the block that is never handed out.
        let s = SettingValues::default().with(NUM_GPU_BLOCKS_OVERRIDE, 1001);
        let line = command(EngineId::Sglang, "m", &s).join(" ");
        assert!(line.contains("--max-total-tokens 1000"), "{line}");
        // A variable stands before the program.
        let s = SettingValues::default()
            .with(PIPELINE_PARALLEL_SIZE, 2)
            .with(PP_LAYER_PARTITION, "20,16".to_string());
        let line = command(EngineId::Vllm, "m", &s).join(" ");
        assert_eq!(
            line,
            "VLLM_PP_LAYER_PARTITION=20,16 vllm serve m --pipeline-parallel-size 2"
        );
        assert!(!command(EngineId::Sglang, "m", &s).join(" ").contains("20"));
    }
}

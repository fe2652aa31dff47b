//! Environment files.
use super::flags::FlagList;
use super::launch::{Launch, Reader};
use super::{LineError, config, devices};
use crate::device::Scheduler;

/// The lines of an environment file: `NAME=value`, quotes around the value taken off.
pub(super) fn variables(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let line = line.trim();
        let (name, value) = line
            .strip_prefix("export ")
            .unwrap_or(line)
            .split_once('=')?;
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|q| {
            value
                .strip_prefix(*q)?
                .split_once(*q)
                .map(|(inside, _)| inside)
        });
        let value =
            quoted.unwrap_or_else(|| value.split_once(" #").map_or(value, |(v, _)| v.trim_end()));
        (!line.starts_with('#')).then(|| (name.trim().to_string(), value.to_string()))
    };
    text.lines().filter_map(line).collect()
}

/// A `.env` file by itself: a variable that holds a server's line or flags, llama-server's own variables, or variables that are named
/// like vLLM's flags (`MAX_MODEL_LEN`).
pub(super) fn settings(reader: &mut Reader, text: &str) -> Result<Launch, LineError> {
    let env = variables(text);
    let outer = std::mem::replace(&mut reader.environment, env.clone());
    for (_, value) in env.iter().filter(|(_, v)| v.contains(char::is_whitespace)) {
        if let Some(launch) = reader.inner(value)? {
            return Ok(launch);
        }
    }
    reader.environment = outer;
    let set = |name: &str| env.iter().any(|(n, _)| n == name);
    let mut launch = Launch {
        devices: devices::visible(&env),
        ..Launch::default()
    };
    if set("LLAMA_ARG_MODEL") || set("LLAMA_ARG_HF_REPO") {
        launch.engine = Some(Scheduler::LlamaServer);
        launch.env = env;
        return Ok(launch);
    }
    let list = FlagList::of(Scheduler::Vllm);
    for (name, value) in &env {
        let flag = name.to_ascii_lowercase().replace('_', "-");
        let flag = flag.strip_prefix("vllm-").unwrap_or(&flag);
        if matches!(flag, "model-name" | "model-id" | "model" | "hf-model") {
            launch.args.push(format!("--model={value}"));
        } else if value.trim_start().starts_with("--") {
            launch
                .args
                .extend(value.split_whitespace().map(String::from));
        } else if let Some(known) = list.named(&format!("--{flag}")) {
            launch.args.extend(config::flag_of(known, value));
        } else {
            launch.env.push((name.clone(), value.clone()));
        }
    }
    if launch.args.is_empty() {
        return Err(LineError::NothingIn { kind: ".env file" });
    }
    Ok(launch)
}

//! `--config FILE.yaml` of vLLM, SGLang and TensorRT-LLM: a file of flags.
use super::LineError;
use super::flags::{Flag, Values};
use super::launch::{Launch, ReadFile};
use super::trtllm;
use super::yaml::{self, Node};
use crate::device::Scheduler;

/// A launch with the flags of its configuration file in front of its own, which win, or, of TensorRT-LLM, behind them.
pub(super) fn inserted(mut launch: Launch, files: ReadFile) -> Result<Launch, LineError> {
    if launch.engine == Some(Scheduler::LlamaServer) {
        return Ok(launch);
    }
    let trtllm = launch.engine == Some(Scheduler::Trtllm);
    let names = match trtllm {
        true => &trtllm::FILE[..],
        false => &["--config"],
    };
    let is = |word: &String| names.contains(&word.split('=').next().unwrap_or(word));
    let Some(at) = launch.args.iter().position(is) else {
        return Ok(launch);
    };
    let (path, end) = match launch.args[at].split_once('=') {
        Some((_, path)) => (path.to_string(), at + 1),
        None => match launch.args.get(at + 1) {
            Some(path) => (path.clone(), at + 2),
            None => {
                return Err(LineError::MissingValue {
                    flag: "--config".into(),
                });
            }
        },
    };
    let text = files(&path).map_err(|reason| LineError::File {
        flag: "--config".into(),
        path: path.clone(),
        reason,
    })?;
    let document = yaml::documents(&text)?.into_iter().next();
    launch.args.splice(at..end, []);
    if trtllm {
        let from_file = document.map_or(vec![], |d| trtllm::flags(&d));
        launch.args.extend(from_file);
        return Ok(launch);
    }
    let from_file = document.map_or(vec![], |d| flags(&d));
    // vLLM's model stands first and stays there.
    let model = launch.args.first().is_some_and(|w| !w.starts_with('-'));
    launch
        .args
        .splice(usize::from(model)..usize::from(model), from_file);
    Ok(launch)
}

/// The flags that a mapping means: `key: true` a switch, `key: false` its negation, a list its values, a mapping JSON.
pub(super) fn flags(document: &Node) -> Vec<String> {
    let mut words = vec![];
    for (key, value) in document.entries() {
        let key = key.replace('_', "-");
        let flag = format!("--{key}");
        match (value, value.boolean()) {
            (_, Some(true)) => words.push(flag),
            (_, Some(false)) => words.push(format!("--no-{key}")),
            (Node::List(items), _) if !items.is_empty() => {
                words.push(flag);
                words.extend(
                    items
                        .iter()
                        .map(|i| i.text().map_or_else(|| i.json(), String::from)),
                );
            }
            (Node::Map(_), _) => words.extend([flag, value.json()]),
            _ => {
                if let Some(text) = value.text() {
                    // With an equals sign, so that a value with a dash in front is a value.
                    words.push(format!("{flag}={text}"));
                }
            }
        }
    }
    words
}

/// The words that give a flag a value from a variable: a switch is on for `1`, `true`, `yes`, `on`.
pub(super) fn flag_of(flag: &Flag, value: &str) -> Vec<String> {
    let name = flag.names[0];
    if !matches!(flag.values, Values::Switch | Values::Exactly(0)) {
        return vec![format!("{name}={value}")];
    }
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" | "enabled" => vec![name.into()],
        _ if flag.values == Values::Switch => vec![name.replacen("--", "--no-", 1)],
        _ => vec![],
    }
}

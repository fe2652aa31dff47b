//! Flags of `vllm serve`.
use super::LineError;
use super::arguments::Given;
use super::flags::FlagList;
use super::read::{self, Line};
use super::speculative;
use crate::device::Scheduler;
use crate::engine::settings::{DATA_PARALLEL_SIZE, NNODES, QUANTIZATION};
use crate::model::checkpoint;
use crate::model::gguf_name as gguf;
use crate::model::overrides::SEPARATOR;
use serde_json::Value;

/// Values that are the engine's defaults, or what is simulated.
const DEFAULTS: &[(&str, &[&str])] = &[
    ("--prefill-context-parallel-size", &["1"]),
    ("--node-rank", &["0"]),
    ("--api-server-count", &["1"]),
    ("--num-scheduler-steps", &["1"]),
    ("--stream-interval", &["1"]),
    ("--distributed-executor-backend", &["mp", "uni"]),
    ("--attention-backend", &["auto"]),
    ("--model-impl", &["auto", "vllm"]),
    ("--runner", &["auto", "generate"]),
    ("--task", &["auto", "generate"]),
    ("--convert", &["auto", "none"]),
    ("--performance-mode", &["balanced"]),
    // Compilation with piecewise graphs: the level that the V1 engine starts with, under its old and its new name.
    ("--optimization-level", &["2", "3"]),
];

/// Reads the words after `vllm serve`.
pub(super) fn read(line: &mut Line, args: &[String]) -> Result<(), LineError> {
    let list = FlagList::of(Scheduler::Vllm);
    let arguments = read::given(args, &list, Scheduler::Vllm)?;
    let mut model = arguments.loose.first().cloned();
    for given in &arguments.given {
        match given.name() {
            // The flag wins: people give a folder first and the name that it stands for here.
            "--model" => model = Some(given.value()?.into()),
            // What it says of nodes is read below.
            "--config" | "--data-parallel-size-local" => {}
            "--max-model-len"
                if matches!(given.value()?.to_ascii_lowercase().as_str(), "auto" | "-1") =>
            {
                line.note(format!(
                    "`{}`: vLLM takes the longest sequence that the memory holds; here it is the model's own",
                    given.words()
                ));
            }
            "--hf-overrides" => match keys(given.value()?) {
                Some(keys) => line.keys.extend(keys),
                None => line.other(given, DEFAULTS)?,
            },
            "--speculative-config" => speculative::config(line, given)?,
            "--speculative-model" => speculative::drafter(line, given.value()?),
            "--language-model-only" => line.keys.push(NO_TOWER.into()),
            "--limit-mm-per-prompt" if sees_nothing(given.value()?) => {
                line.keys.push(NO_TOWER.into());
            }
            _ if line.set(Scheduler::Vllm, given)? => {}
            _ => line.other(given, DEFAULTS)?,
        }
    }
    local(line, &arguments.given)?;
    for word in arguments.loose.iter().skip(1) {
        line.stray(word);
    }
    if let Some(model) = model.or_else(|| swallowed(&arguments.given)) {
        name(line, &model);
    }
    Ok(())
}

/// Nodes by the number of data-parallel engines on each (`--data-parallel-size-local`).
fn local(line: &mut Line, given: &[Given]) -> Result<(), LineError> {
    let Some(given) = given
        .iter()
        .rfind(|g| g.name() == "--data-parallel-size-local")
    else {
        return Ok(());
    };
    let engines = line.settings.get(DATA_PARALLEL_SIZE).unwrap_or(1);
    match given.value()?.parse::<u32>() {
        // All here, or none: a node that only takes in requests.
        Ok(here) if here == engines || here == 0 => {}
        Ok(here) if engines.is_multiple_of(here) => {
            if line.settings.get(NNODES).is_none() {
                line.settings.set(NNODES, engines / here);
            }
        }
        _ => {
            return Err(given.bad(format!(
                "a number of engines that divides the {engines} of --data-parallel-size"
            )));
        }
    }
    Ok(())
}

/// Without a vision tower, which vLLM does not load where no images and no videos are let in (vLLM 0.32.0, `config/multimodal.py`).
const NO_TOWER: &str = "vision_config=null";

/// Whether limits per prompt let in neither images nor videos.
fn sees_nothing(limits: &str) -> bool {
    let read: Option<Value> = serde_json::from_str(limits).ok();
    let none = |kind: &str| read.as_ref().is_some_and(|v| v[kind] == 0);
    none("image") && none("video")
}

/// The keys of a JSON object, those of objects inside it by their paths; `None`: it is none, or a value cannot stand in a list.
fn keys(text: &str) -> Option<Vec<String>> {
    fn walk(prefix: &str, value: &Value, all: &mut Vec<String>) {
        match value {
            Value::Object(o) if !o.is_empty() => {
                for (key, inner) in o {
                    let path = match prefix.is_empty() {
                        true => key.clone(),
                        false => format!("{prefix}.{key}"),
                    };
                    walk(&path, inner, all);
                }
            }
            other => all.push(format!("{prefix}={other}")),
        }
    }
    let value: Value = serde_json::from_str(text).ok()?;
    let mut all = vec![];
    walk("", value.is_object().then_some(&value)?, &mut all);
    let plain = |k: &String| !k.contains(SEPARATOR) && !k.starts_with('=');
    all.iter().all(plain).then_some(all)
}

/// A model among the values of a flag that takes several now and took one before (`--api-key KEY MODEL`), or of an unknown flag.
fn swallowed(given: &[Given]) -> Option<String> {
    let last = given
        .iter()
        .rev()
        .take(64)
        .filter_map(|g| match (g.flag, g.values.as_slice()) {
            (Some(_), [_, .., last]) => Some(last),
            (None, [only]) => Some(only),
            _ => None,
        });
    let mut models = last.filter(|v| checkpoint::find(v).is_ok());
    models.next().cloned()
}

/// The model; of a GGUF file or repository also the format.
fn name(line: &mut Line, model: &str) {
    let is_repo = model.to_ascii_lowercase().contains("gguf:");
    let (name, format) = if model.ends_with(".gguf") {
        gguf::of_file(model)
    } else if is_repo {
        let (name, format) = gguf::of_repo(model);
        (name, Some(format))
    } else {
        (model.to_string(), None)
    };
    if let Some(format) = format {
        line.settings.set(QUANTIZATION, format);
    }
    line.model = Some(name).filter(|n| !n.is_empty());
}

//! Flags of `vllm serve`.
use super::LineError;
use super::arguments::Given;
use super::flags::FlagList;
use super::read::{self, Line};
use crate::device::Scheduler;
use crate::engine::settings::QUANTIZATION;
use crate::model::checkpoint;
use crate::model::gguf_name as gguf;

/// Values that are the engine's defaults, or what is simulated.
const DEFAULTS: &[(&str, &[&str])] = &[
    ("--pipeline-parallel-size", &["1"]),
    ("--decode-context-parallel-size", &["1"]),
    ("--prefill-context-parallel-size", &["1"]),
    ("--data-parallel-size-local", &["1"]),
    ("--nnodes", &["1"]),
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
            "--config" => {}
            "--max-model-len"
                if matches!(given.value()?.to_ascii_lowercase().as_str(), "auto" | "-1") =>
            {
                line.change(format!(
                    "{}: vLLM takes the longest sequence that the memory holds; here it is the model's own",
                    given.words()
                ));
            }
            _ if line.set(Scheduler::Vllm, given)? => {}
            _ => line.other(given, DEFAULTS),
        }
    }
    for word in arguments.loose.iter().skip(1) {
        line.change(format!("{word} (a word that belongs to no flag)"));
    }
    if let Some(model) = model.or_else(|| swallowed(&arguments.given)) {
        name(line, &model);
    }
    Ok(())
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

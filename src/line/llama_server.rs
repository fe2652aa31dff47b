//! Flags of `llama-server` (llama.cpp `tools/server/README.md`, the list of its flags), and the variables that set them.
//!
//! Without `-np` it takes four slots that share one context (`tools/server/server.cpp`: "n_parallel is set to auto"); here every
//! slot has a context of its own, which is said. With `-np N` each has `-c` / N (unless `--kv-unified`).
use super::LineError;
use super::arguments::Given;
use super::config::flag_of as words_of;
use super::flags::FlagList;
use super::read::{self, Line};
use super::speculative;
use crate::device::Scheduler;
use crate::engine::settings::*;
use crate::fields::human_int;
use crate::model::gguf_name as gguf;

/// Slots unless `-np` says otherwise.
const AUTO_SLOTS: u32 = 4;

/// Values that are the engine's defaults, or what is simulated.
const DEFAULTS: &[(&str, &[&str])] = &[
    ("--flash-attn", &["", "on", "auto", "1", "true"]),
    ("--split-mode", &["none"]),
    ("--main-gpu", &["0"]),
    ("--gpu-layers", &["all", "auto", "-1", "-2"]),
    ("--spec-draft-ngl", &["all", "auto", "99", "999"]),
    ("--kv-offload", &[""]),
    ("--fit", &["", "on"]),
    ("--repack", &[""]),
];

/// Models that a flag alone stands for.
const PRESETS: &[(&str, &str)] = &[
    ("--gpt-oss-20b-default", "gpt-oss-20b"),
    ("--gpt-oss-120b-default", "gpt-oss-120b"),
];

/// What decides a slot's context.
#[derive(Default)]
struct Slots {
    context: u32,
    slots: Option<u32>,
    unified: Option<bool>,
    /// The values' format of the cache, where one is given.
    values: Option<String>,
}

/// Reads the words after `llama-server`. Variables hold where no flag says otherwise.
pub(super) fn read(
    line: &mut Line,
    args: &[String],
    env: &[(String, String)],
) -> Result<(), LineError> {
    let list = FlagList::of(Scheduler::LlamaServer);
    let set = env
        .iter()
        .filter_map(|(name, value)| Some(words_of(list.set_by(name)?, value)));
    let mut words: Vec<String> = set.flatten().collect();
    words.extend(args.iter().cloned());
    let arguments = read::given(&words, &list, Scheduler::LlamaServer)?;
    let mut slots = Slots::default();
    for given in &arguments.given {
        flag(line, &mut slots, given)?;
    }
    for word in &arguments.loose {
        line.stray(word);
    }
    slots.settle(line);
    Ok(())
}

fn flag(line: &mut Line, slots: &mut Slots, given: &Given) -> Result<(), LineError> {
    match given.name() {
        "--model" | "--model-url" => {
            let (model, weights) = gguf::of_file(given.value()?);
            line.model = Some(model);
            line.settings.set(QUANTIZATION, weights);
        }
        "--hf-repo" => {
            let (model, weights) = gguf::of_repo(given.value()?);
            line.model = Some(model);
            line.settings.set(QUANTIZATION, weights);
        }
        "--hf-file" => {
            if let (_, Some(weights)) = gguf::of_file(given.value()?) {
                line.settings.set(QUANTIZATION, weights);
            }
        }
        "--ctx-size" => slots.context = count(given, "tokens")?,
        "--parallel" => slots.slots = parallel(given)?,
        "--cache-type-k" => line
            .settings
            .set(KV_CACHE_DTYPE, cache_type(given.value()?)),
        "--cache-type-v" => slots.values = Some(cache_type(given.value()?)),
        "--kv-unified" => slots.unified = Some(true),
        "--no-kv-unified" => slots.unified = Some(false),
        // −1 is `auto`, −2 `all`: what fits, which here is everything or an error.
        "--gpu-layers" if given.value()?.parse::<u32>().is_err() => line.other(given, DEFAULTS)?,
        "--spec-type" => {
            let method = speculative::llama_type(given.value()?);
            line.settings.set(SPECULATIVE_METHOD, method);
        }
        "--spec-draft-model" => {
            let (model, weights) = gguf::of_file(given.value()?);
            line.settings.set(SPECULATIVE_MODEL, model);
            line.settings.set(SPECULATIVE_QUANTIZATION, weights);
        }
        "--spec-draft-hf" => {
            let (model, weights) = gguf::of_repo(given.value()?);
            line.settings.set(SPECULATIVE_MODEL, model);
            line.settings.set(SPECULATIVE_QUANTIZATION, weights);
        }
        // Several stand in one list.
        "--override-tensor" => {
            let before = line.settings.get(OVERRIDE_TENSOR);
            let all = before.into_iter().chain([given.value()?.to_string()]);
            let all: Vec<String> = all.collect();
            line.settings.set(OVERRIDE_TENSOR, all.join(","));
        }
        name => {
            if let Some((_, model)) = PRESETS.iter().find(|(flag, _)| *flag == name) {
                line.model = Some(model.to_string());
                line.settings.set(QUANTIZATION, "gguf-mxfp4".to_string());
            } else if !line.set(Scheduler::LlamaServer, given)? {
                line.other(given, DEFAULTS)?;
            }
        }
    }
    Ok(())
}

impl Slots {
    /// Slots and the context of each.
    fn settle(self, line: &mut Line) {
        // One format for keys and values is what is simulated: the keys'.
        let keys = line
            .settings
            .get(KV_CACHE_DTYPE)
            .unwrap_or_else(|| "fp16".into());
        if let Some(values) = self.values.filter(|v| *v != keys) {
            line.note(format!(
                "`-ctv {values}` beside keys in {keys}: values are counted as the keys are"
            ));
        }
        let n = self.slots.unwrap_or(AUTO_SLOTS);
        line.settings.set(MAX_NUM_SEQS, n);
        let unified = self.unified.unwrap_or(self.slots.is_none());
        if self.context > 0 {
            let each = if unified {
                self.context
            } else {
                (self.context / n).max(1)
            };
            line.settings.set(MAX_MODEL_LEN, each);
        }
        if unified && n > 1 {
            let default = match self.slots {
                None => ", llama-server's default without -np",
                Some(_) => " (--kv-unified)",
            };
            line.note(format!(
                "one context for all {n} slots{default}; here each has its own"
            ));
        }
    }
}

fn count(given: &Given, what: &str) -> Result<u32, LineError> {
    let n = human_int(given.value()?).and_then(|n| u32::try_from(n).ok());
    n.ok_or_else(|| given.bad(format!("a number of {what}")))
}

/// −1: as if it were not there.
fn parallel(given: &Given) -> Result<Option<u32>, LineError> {
    match given.value()?.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(n @ 1..=1_048_576) => Ok(Some(n as u32)),
        _ => Err(given.bad("a number of slots, or -1")),
    }
}

/// llama.cpp's names where they differ from the others'.
fn cache_type(name: &str) -> String {
    match name {
        "f16" => "fp16".into(),
        other => other.into(),
    }
}

//! A launch → settings, a model, a load, and lists of what is not simulated.
use super::arguments::{self, Given, Parser};
use super::flags::FlagList;
use super::launch::{Launch, ReadFile, Source, unwrap};
use super::{LineError, bench, llama_server, refused, sglang, trtllm, variables, vllm};
use crate::device::Scheduler;
use crate::engine::settings::{
    DATA_PARALLEL_SIZE, EngineSection, GPU_MEMORY_UTILIZATION, Means, NNODES,
    PIPELINE_PARALLEL_SIZE, Setting, SettingValues, TABLE, TENSOR_PARALLEL_SIZE,
};
use crate::fields::{Kind, Section, Value, human_int};
use crate::workload::load::LoadValues;
use std::collections::BTreeSet;

/// What follows the words of a flag that no list holds.
const UNKNOWN: &str = " (no flag that capsim knows)";

/// A line, understood as far as possible.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// Whose server it starts; `None`: it does not say (flags alone are read as vLLM's).
    pub engine: Option<Scheduler>,
    /// The model that it names, as it is written there; of a GGUF file the name without the format.
    pub model: Option<String>,
    /// Keys of the model's config with other values, `KEY=VALUE` each.
    pub keys: Vec<String>,
    /// The settings that are simulated.
    pub settings: SettingValues,
    /// The load, where the line starts `vllm bench serve`.
    pub load: LoadValues,
    /// The engine's release, as an image's tag or a pinned requirement names it: `0.10.2`, `b4719`.
    pub release: Option<String>,
    /// The container image.
    pub image: Option<String>,
    /// Devices that the server may use, where the line says how many.
    pub devices: Option<u32>,
    /// Flags and variables that may change memory or speed and are not simulated, with their values.
    pub changes: Vec<String>,
    /// Flags and variables that change neither, without their values (some are keys).
    pub harmless: Vec<String>,
    /// What else the user should know of how the line was read.
    pub notes: Vec<String>,
    /// Harmless flags with their first values.
    served: Vec<(String, String)>,
}

/// Reads a line. `files` reads what it names: `--config FILE`, `--env-file FILE`.
///
/// # Errors
/// Words that start no server, a flag without its value or with one that it cannot have, the beginning of several flags, a file that
/// cannot be read. A line without a model is none; see [`Line::no_model`].
///
/// ```
/// use capsim::line::{self, Source};
/// let text = "VLLM_USE_V1=1 vllm serve Qwen/Qwen3-32B-AWQ -tp 4 --max-model-len 32k --port 80";
/// let line = line::read(Source::Text(text), &|_| Err("no files here".into()))?;
/// assert_eq!(line.model.as_deref(), Some("Qwen/Qwen3-32B-AWQ"));
/// assert_eq!(line.harmless, ["VLLM_USE_V1", "--port"]);
/// # Ok::<(), line::LineError>(())
/// ```
pub fn read(source: Source, files: ReadFile) -> Result<Line, LineError> {
    of_launch(unwrap(source, files)?)
}

fn of_launch(launch: Launch) -> Result<Line, LineError> {
    let mut line = Line {
        engine: launch.engine,
        release: launch.release,
        image: launch.image,
        devices: launch.devices,
        notes: launch.notes,
        ..Line::default()
    };
    let llama = (launch.engine == Some(Scheduler::LlamaServer))
        .then(|| FlagList::of(Scheduler::LlamaServer));
    let mut seen = BTreeSet::new();
    for (name, value) in &launch.env {
        let is_flag = llama
            .as_ref()
            .is_some_and(|list| list.set_by(name).is_some());
        if line.set_by_variable(name, value) {
            continue;
        }
        if variables::changes(name, value) && !is_flag {
            line.changes.push(format!("{name}={value}"));
        } else if seen.insert(name) {
            line.harmless.push(name.clone());
        }
    }
    if let Some(words) = &launch.bench {
        bench::read(&mut line, words)?;
    }
    match launch.engine {
        None if launch.args.is_empty() => {}
        None | Some(Scheduler::Vllm) => vllm::read(&mut line, &launch.args)?,
        Some(Scheduler::Sglang) => sglang::read(&mut line, &launch.args)?,
        Some(Scheduler::Trtllm) => trtllm::read(&mut line, &launch.args)?,
        Some(Scheduler::LlamaServer) => llama_server::read(&mut line, &launch.args, &launch.env)?,
    }
    if let Some(model) = line.model.as_deref().filter(|m| m.contains('$')) {
        return Err(LineError::BadValue {
            flag: "model".into(),
            value: model.into(),
            expected: "a model's name: the text does not set this variable".into(),
        });
    }
    line.compare_devices();
    Ok(line)
}

impl Line {
    /// The error for a line without a model, where the caller has none from elsewhere: it is never the default model.
    pub fn no_model(&self) -> LineError {
        let hint = match self.engine {
            None => "put it in front of the flags, or give --model",
            Some(Scheduler::Vllm) => "it follows `vllm serve`, or --model",
            Some(Scheduler::Sglang) => "it follows --model-path",
            Some(Scheduler::Trtllm) => "it follows `trtllm-serve`",
            Some(Scheduler::LlamaServer) => "give -m FILE.gguf or -hf OWNER/NAME",
        };
        LineError::NoModel { hint: hint.into() }
    }

    /// The value of a harmless flag (`--port`), of the first of these names that is there.
    pub fn value(&self, flags: &[&str]) -> Option<&str> {
        flags.iter().find_map(|f| {
            self.served
                .iter()
                .find(|(name, _)| name == f)
                .map(|(_, v)| v.as_str())
        })
    }

    /// What the user should know of how the line was read, where it is no flag's own words.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// A word that belongs to no flag.
    pub(super) fn stray(&mut self, word: &str) {
        self.note(format!("`{word}` belongs to no flag and is left out"));
    }

    /// Words of a flag that is read and not simulated.
    pub(super) fn change(&mut self, words: impl Into<String>) {
        self.changes.push(words.into());
    }

    /// A flag that is not simulated, by what the lists say of it; `defaults` are values that change nothing.
    ///
    /// # Errors
    /// A flag without which the answer would be that of another server.
    pub(super) fn other(
        &mut self,
        given: &Given,
        defaults: &[(&str, &[&str])],
    ) -> Result<(), LineError> {
        let name = given.name();
        let value = given.values.join(" ");
        let is_default = defaults
            .iter()
            .any(|(flag, values)| *flag == name && values.contains(&value.as_str()));
        match given.flag {
            // An optional feature that is turned off is the default.
            Some(flag) if flag.harmless || is_default || given.off => {
                self.harmless.push(given.typed.clone());
                if let Some(value) = given.values.first() {
                    self.served.push((name.into(), value.clone()));
                }
            }
            Some(_) => match refused::reason(name, &value) {
                Some(reason) => {
                    return Err(LineError::NotSimulated {
                        words: given.words(),
                        reason,
                    });
                }
                None => self.change(given.words()),
            },
            None => self.change(format!("{}{UNKNOWN}", given.words())),
        }
        Ok(())
    }

    /// Sets the setting that a flag stands for, by the table's spellings; false: it stands for none.
    pub(super) fn set(&mut self, engine: Scheduler, given: &Given) -> Result<bool, LineError> {
        let Some((place, means)) = given.flag.and_then(|f| setting(engine, &f.names)) else {
            return Ok(false);
        };
        let value = match means {
            Means::On => Value::Switch(!given.off),
            Means::Off => Value::Switch(given.off),
            Means::Value => parsed(EngineSection::field(place).kind, given)?,
        };
        if place == GPU_MEMORY_UTILIZATION.place()
            && !matches!(value, Value::Number(f) if f > 0.0 && f <= 1.0)
        {
            return Err(given.bad("a fraction above 0 and at most 1"));
        }
        self.settings.put(place, value);
        Ok(true)
    }

    /// Sets the setting that a variable of vLLM stands for; false: it stands for none.
    fn set_by_variable(&mut self, name: &str, value: &str) -> bool {
        let vllm = matches!(self.engine, None | Some(Scheduler::Vllm));
        let named = |row: &Setting| row.variable_of(Scheduler::Vllm) == Some(name);
        let place = TABLE.iter().position(named).filter(|_| vllm);
        let parsed = place.and_then(|p| EngineSection::field(p).parse(value).ok());
        if let (Some(place), Some(value)) = (place, parsed) {
            self.settings.put(place, value);
            return true;
        }
        false
    }

    /// Says where fewer devices are visible than the settings ask for.
    fn compare_devices(&mut self) {
        let size = |key| self.settings.get(key).unwrap_or(1u32);
        let wanted = size(TENSOR_PARALLEL_SIZE)
            .saturating_mul(size(PIPELINE_PARALLEL_SIZE))
            .saturating_mul(size(DATA_PARALLEL_SIZE));
        // Of one node.
        let wanted = wanted / size(NNODES).max(1);
        if let Some(seen) = self.devices.filter(|seen| *seen < wanted) {
            self.notes.push(format!(
                "the line lets the server see {seen} devices of a node and asks for {wanted} there; the engine would not start (--nnodes says \
                 how many nodes there are)"
            ));
        }
    }
}

/// The setting that an engine's flag stands for.
fn setting(engine: Scheduler, names: &[&str]) -> Option<(usize, Means)> {
    TABLE.iter().enumerate().find_map(|(place, row)| {
        if engine == Scheduler::Vllm
            && row.vllm
            && names
                .iter()
                .any(|n| n.strip_prefix("--").is_some_and(|n| row.field.is(n)))
        {
            let switch = row.field.kind == Kind::Switch;
            return Some((place, if switch { Means::On } else { Means::Value }));
        }
        let spelled = row
            .spelled
            .iter()
            .find(|s| s.engine == engine && s.flags.iter().any(|f| names.contains(f)))?;
        Some((place, spelled.means))
    })
}

/// A flag's value, as vLLM's parser takes it.
pub(super) fn parsed(kind: Kind, given: &Given) -> Result<Value, LineError> {
    let text = given.value()?;
    match kind {
        Kind::Count(most) => match human_int(text).filter(|n| *n <= most) {
            Some(n) => Ok(Value::Count(n)),
            None => Err(given.bad(format!("a whole number from 0 to {most}"))),
        },
        Kind::Number => match text.parse::<f64>() {
            Ok(f) if f.is_finite() && f >= 0.0 => Ok(Value::Number(f)),
            _ => Err(given.bad("a number")),
        },
        Kind::Switch => Ok(Value::Switch(!given.off)),
        Kind::Choice(_) | Kind::Text if text.is_empty() => Err(given.bad("a value")),
        Kind::Choice(_) | Kind::Text => Ok(Value::Text(text.into())),
    }
}

/// The flags that words give to an engine's server.
pub(super) fn given<'a>(
    args: &[String],
    list: &'a FlagList,
    engine: Scheduler,
) -> Result<arguments::Arguments<'a>, LineError> {
    let parser = match engine {
        Scheduler::LlamaServer => Parser::Llama,
        Scheduler::Vllm | Scheduler::Sglang => Parser::Argparse,
        Scheduler::Trtllm => Parser::Click,
    };
    arguments::read(args, list, parser)
}

#[cfg(test)]
mod tests;

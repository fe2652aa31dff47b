//! The commands as functions, for bindings to other languages: flags in, answers out. Nothing is printed, and no file written but a
//! sweep's. Flags have the command line's names, and errors its words.
pub use super::files::{Files, Texts};
pub use super::predict::{rows, to_json};
pub use super::sweep::Elsewhere;
pub use super::sweep::job::{Job, evaluate, understand};
pub use super::sweep::plan::{Plan, parse as plan_of_toml, parse_json as plan_of_json};
pub use super::sweep::shard;
pub use super::sweep::store::Merged;
pub use super::sweep_args::Grid;
pub use super::words::{Flags, Word};

use super::capacity::CapacityArgs;
use super::memory::MemoryArgs;
use super::sweep_args::SweepArgs;
use super::tune::TuneArgs;
use super::validate::ValidateArgs;
use super::words::Known;
use super::{capacity as capacity_, load, memory as memory_, tune as tune_, validate as validate_};
use crate::device::{DeviceProfile, EngineProfile};
use crate::model::Model;
use crate::plan::Pool;
use crate::plan::capacity::Capacity;
use crate::plan::memory::Memory;
use crate::plan::tune::Tuned;
use crate::report::json::validation::Validation;

/// Flags of a command, without dashes in front, and the words of a `vllm serve` line whose settings hold where no flag says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The flags.
    pub flags: Flags,
    /// The line; empty: none.
    pub line: Vec<String>,
    /// Where files that are named are read.
    pub files: Files,
}

impl Said {
    fn args<T: clap::Args>(&self, command: &'static str) -> anyhow::Result<T> {
        let known = Known::new(command);
        known.parse(&known.words(&self.flags, &self.line)?)
    }
}

/// Names of all flags that describe a scenario, without dashes in front, in alphabetical order.
pub fn scenario_flags() -> Vec<String> {
    let known = Known::<SweepArgs>::new("predict");
    known.names().map(String::from).collect()
}

/// The points that flags of `capsim predict` describe: several values for a flag make one each.
///
/// # Errors
/// As the command says them.
pub fn grid(said: &Said) -> anyhow::Result<Grid> {
    let mut args: SweepArgs = said.args("predict")?;
    args.files = said.files.clone();
    args.grid()
}

/// `capsim capacity`.
///
/// # Errors
/// As the command says them.
pub fn capacity(said: &Said, pool: &impl Pool) -> anyhow::Result<Capacity> {
    let mut args: CapacityArgs = said.args("capacity")?;
    args.sweep.files = said.files.clone();
    Ok(capacity_::answer(&args, pool)?.2)
}

/// `capsim tune`.
///
/// # Errors
/// As the command says them.
pub fn tune(said: &Said, pool: &impl Pool) -> anyhow::Result<Tuned> {
    let mut args: TuneArgs = said.args("tune")?;
    args.sweep.files = said.files.clone();
    Ok(tune_::answer(&args, pool)?.1)
}

/// `capsim memory`.
///
/// # Errors
/// As the command says them.
pub fn memory(said: &Said) -> anyhow::Result<Memory> {
    let mut args: MemoryArgs = said.args("memory")?;
    args.sweep.files = said.files.clone();
    Ok(memory_::answer(&args)?.1)
}

/// `capsim validate RUNS` of recorded runs: the answer of `--json`, and the fitted engine profile where runs were named by `fit`.
///
/// # Errors
/// As the command says them.
pub fn validate(
    runs: &str,
    flags: &Flags,
) -> anyhow::Result<(serde_json::Value, Option<EngineProfile>)> {
    let known = Known::<ValidateArgs>::new("validate");
    let mut words = known.words(flags, &[])?;
    // What follows `--` is a `vllm serve` line there, so that a name must not look like a flag.
    let dash = if runs.starts_with('-') { "./" } else { "" };
    words.insert(0, format!("{dash}{runs}"));
    let c = validate_::compared(&known.parse(&words)?)?;
    let answer = serde_json::to_value(Validation::new(&c.file, c.fit.as_ref(), &c.runs))?;
    Ok((answer, c.fit.map(|f| f.profile)))
}

/// A device profile by the name or path that `--device` takes.
///
/// # Errors
/// There is none, or it is not valid.
pub fn device(name: &str, files: &Files) -> anyhow::Result<DeviceProfile> {
    files.device(name)
}

/// An engine profile by the name or path that `--engine` takes.
///
/// # Errors
/// There is none, or it is not valid.
pub fn engine(name: &str, files: &Files) -> anyhow::Result<EngineProfile> {
    files.engine(name)
}

/// A model by the name or path that `--model` takes, in the formats that `--weights` and `--kv-cache-dtype` take.
///
/// # Errors
/// There is none, or it is not valid.
pub fn model(
    name: &str,
    weights: Option<&str>,
    kv_cache_dtype: Option<&str>,
    files: &Files,
) -> anyhow::Result<Model> {
    load::model(&files.config(name)?, weights, None, None, kv_cache_dtype)
}

//! What to do about an error, where another command knows.
use super::memory::MemoryArgs;
use super::sweep_args::{DEFAULT_MODEL_LEN, ENGINE, SERVED, SweepArgs};
use super::words::{self, Flags, Known, Word, quoted};
use crate::predict::memory::MemoryError;
use crate::predict::{PredictError, SettingsError};
use clap::ArgMatches;

/// Whether it is the device's memory that does not suffice.
fn lacks_memory(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<MemoryError>()
            || matches!(
                cause.downcast_ref::<SettingsError>(),
                Some(SettingsError::Memory(_))
            )
            || matches!(
                cause.downcast_ref::<PredictError>(),
                Some(PredictError::Settings(SettingsError::Memory(_)))
            )
    })
}

/// For a scenario that the memory does not hold: the command that tells the smallest change with which it does.
pub fn of(error: &anyhow::Error, matches: &ArgMatches) -> Option<String> {
    let (command, matches) = matches.subcommand()?;
    if !lacks_memory(error) || !["predict", "capacity", "tune", "serve"].contains(&command) {
        return None;
    }
    let (said, line) = words::said::<SweepArgs>(matches);
    let mut flags: Flags = vec![];
    for flag in said {
        // The load does not matter to the memory; of several settings, the first.
        if ![SERVED, ENGINE]
            .map(Some)
            .contains(&flag.heading.as_deref())
        {
            continue;
        }
        let word = match flag.values.first() {
            Some(value) if !flag.switch => Word::Text(value.clone()),
            _ => Word::Switch(true),
        };
        flags.push((flag.long().into(), word));
    }
    let known = Known::<MemoryArgs>::new("memory");
    let parsed = known.parse(&known.words(&flags, &line).ok()?).ok()?;
    if !parsed.sweep.says_model_len().ok()? {
        // Else `memory` asks for the model's longest.
        let len = Word::Text(DEFAULT_MODEL_LEN.to_string());
        flags.push(("max-model-len".into(), len));
    }
    let all = known.typed(&flags, &line).ok()?;
    Some(format!(
        "The smallest changes with which it fits:\n  capsim memory {}",
        quoted(&all)
    ))
}

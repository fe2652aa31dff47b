//! What to do about an error, where another command knows.
use super::scenario_args::{Described, ScenarioArgs, command};
use capsim::predict::memory::MemoryError;
use capsim::predict::{PredictError, SettingsError};
use capsim::workload::load::LoadValues;
use clap::{ArgMatches, FromArgMatches};

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
    let (verb, matches) = matches.subcommand()?;
    if !lacks_memory(error) || !["predict", "capacity", "tune", "serve"].contains(&verb) {
        return None;
    }
    let args = ScenarioArgs::from_arg_matches(matches).ok()?;
    let Described { mut spec, several } = args.described().ok()?;
    for (field, values) in several {
        // Of several settings, the first.
        spec.set(field, values[0].clone()).ok()?;
    }
    // The load does not matter to the memory.
    spec.load = LoadValues::default();
    Some(format!(
        "The smallest changes with which it fits:\n  {}",
        command("memory", &spec)
    ))
}

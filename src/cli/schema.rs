//! `capsim schema`.
use crate::calibrate::samples::SamplesFile;
use crate::device::{DeviceProfile, EngineProfile};
use crate::validate::manifest::Manifest;
use crate::validate::runs::RunsFile;
use clap::{Args, ValueEnum};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct SchemaArgs {
    /// Which format
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Device profile (capsim.device/1)
    Device,
    /// Engine profile (capsim.engine/1)
    Engine,
    /// Recorded runs (capsim.runs/1)
    Runs,
    /// Index of run sets (capsim.index/1)
    Index,
    /// Microbenchmark samples (capsim.samples/1)
    Samples,
    /// Output of `capsim capacity --json` (capsim.capacity/1)
    Capacity,
    /// Output of `capsim memory --json` (capsim.memory/1)
    Memory,
    /// Output of `capsim tune --json` (capsim.tune/1)
    Tune,
}

pub fn run(args: &SchemaArgs) -> anyhow::Result<ExitCode> {
    let schema = match args.format {
        Format::Device => schemars::schema_for!(DeviceProfile),
        Format::Engine => schemars::schema_for!(EngineProfile),
        Format::Samples => schemars::schema_for!(SamplesFile),
        Format::Index => schemars::schema_for!(Manifest),
        Format::Capacity => schemars::schema_for!(crate::plan::capacity::Capacity),
        Format::Memory => schemars::schema_for!(crate::plan::memory::Memory),
        Format::Tune => schemars::schema_for!(crate::plan::tune::Tuned),
        Format::Runs => schemars::schema_for!(RunsFile),
    };
    println!("{}", serde_json::to_string_pretty(&schema)?);
    Ok(ExitCode::SUCCESS)
}

//! The command tree: flags → library calls → files. The only place that prints.
mod calibrate;
mod devices;
mod explain;
mod exports;
mod files;
mod load;
mod load_args;
mod measure_device;
mod models;
mod predict;
mod schema;
mod sweep_args;
mod trace;
mod validate;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Predict how fast a language model will serve on your device, and hold the prediction against reality.
#[derive(Parser, Debug)]
#[command(version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// What this device can do, from microbenchmarks: a device profile
    Calibrate(Box<calibrate::CalibrateArgs>),
    /// Throughput and latency for settings you have not tried
    Predict(Box<predict::PredictArgs>),
    /// Predictions held against recorded runs
    Validate(validate::ValidateArgs),
    /// What recorded runs reveal of settings that were not written down
    Explain(explain::ExplainArgs),
    /// Models, devices and engines that ship with capsim
    Models,
    /// Recorded request traces: figures, conversion
    Trace(Box<trace::TraceArgs>),
    /// Devices of this machine that can be calibrated, and why others cannot
    Devices(devices::DevicesArgs),
    /// Opens one device in this process and tells about it (used by `devices` and `calibrate`)
    #[command(hide = true)]
    ProbeDevice(devices::ProbeArgs),
    /// Measures a device in this process (used by `calibrate`)
    #[command(hide = true)]
    MeasureDevice,
    /// JSON Schema of a file format
    Schema(schema::SchemaArgs),
}

/// Runs a parsed command line.
///
/// # Errors
/// Input that cannot be used; the message says which and what to do.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Models => models::run(),
        Command::Trace(args) => trace::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::ProbeDevice(args) => devices::probe(&args),
        Command::MeasureDevice => measure_device::run(),
        Command::Schema(args) => schema::run(&args),
    }
}

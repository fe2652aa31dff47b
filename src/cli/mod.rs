//! The command tree: flags → library calls → files. The only place that prints.
#[cfg(feature = "http")]
mod bench;
mod explain;
mod files;
mod load;
mod models;
#[cfg(feature = "http")]
mod paired;
mod predict;
mod schema;
#[cfg(feature = "http")]
mod serve;
mod sweep_args;
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
    /// Throughput and latency for settings you have not tried
    Predict(Box<predict::PredictArgs>),
    /// Measure a running OpenAI-compatible server
    #[cfg(feature = "http")]
    Bench(Box<bench::BenchArgs>),
    /// Predictions held against recorded runs, stored benchmarks or a running server
    Validate(Box<validate::ValidateArgs>),
    /// What recorded runs reveal of settings that were not written down
    Explain(explain::ExplainArgs),
    /// Stand in for a server: the simulated engine behind an OpenAI API, in real time
    #[cfg(feature = "http")]
    Serve(Box<serve::ServeCommand>),
    /// Models, devices and engines that ship with capsim
    Models,
    /// JSON Schema of a file format
    Schema(schema::SchemaArgs),
}

/// Runs a parsed command line.
///
/// # Errors
/// Input that cannot be used; the message says which and what to do.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Predict(args) => predict::run(&args),
        #[cfg(feature = "http")]
        Command::Bench(args) => bench::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Explain(args) => explain::run(&args),
        #[cfg(feature = "http")]
        Command::Serve(args) => serve::run(*args),
        Command::Models => models::run(),
        Command::Schema(args) => schema::run(&args),
    }
}

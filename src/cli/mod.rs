//! The command tree: flags → library calls → files. The only place that prints.
pub mod api;
mod calibrate;
mod capacity;
mod devices;
#[cfg(feature = "http")]
mod bench;
mod explain;
mod exports;
mod files;
mod import;
mod load;
mod load_args;
mod measure_device;
mod memory;
mod models;
#[cfg(feature = "http")]
mod paired;
mod pool;
mod predict;
mod report;
mod schema;
#[cfg(feature = "http")]
mod serve;
mod sweep;
mod sweep_args;
mod trace;
mod tune;
mod validate;
mod validate_all;
mod words;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
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
    /// How many users or requests per second meet an SLO, what binds, and what would help
    Capacity(Box<capacity::CapacityArgs>),
    /// Whether it fits: weights, KV blocks, context × concurrency, and the smallest change that makes it fit
    Memory(Box<memory::MemoryArgs>),
    /// Which settings: many tried, the best as a `vllm serve` line, with its gain and what each knob does
    Tune(Box<tune::TuneArgs>),
    /// Measure a running OpenAI-compatible server
    #[cfg(feature = "http")]
    Bench(Box<bench::BenchArgs>),
    /// Predictions held against recorded runs, stored benchmarks or a running server
    Validate(Box<validate::ValidateArgs>),
    /// Device profiles from other people's measurements
    Import(import::ImportArgs),
    /// What recorded runs reveal of settings that were not written down
    Explain(explain::ExplainArgs),
    /// Stand in for a server: the simulated engine behind an OpenAI API, in real time
    #[cfg(feature = "http")]
    Serve(Box<serve::ServeCommand>),
    /// Models, devices and engines that ship with capsim
    Models,
    /// Many predictions from a plan, on all cores or many machines
    Sweep(Box<sweep::SweepCommand>),
    /// One HTML page from any results
    Report(report::ReportArgs),
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
    run_with(cli, None)
}

/// [`run`], with something that simulates the points of `capsim sweep --engine ray`.
///
/// # Errors
/// As [`run`].
pub fn run_with(cli: Cli, ray: Option<&dyn api::Elsewhere>) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Capacity(args) => capacity::run(&args),
        Command::Memory(args) => memory::run(&args),
        Command::Tune(args) => tune::run(&args),
        #[cfg(feature = "http")]
        Command::Bench(args) => bench::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Explain(args) => explain::run(&args),
        #[cfg(feature = "http")]
        Command::Serve(args) => serve::run(*args),
        Command::Models => models::run(),
        Command::Sweep(args) => sweep::run(&args, ray),
        Command::Report(args) => report::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::ProbeDevice(args) => devices::probe(&args),
        Command::MeasureDevice => measure_device::run(),
        Command::Schema(args) => schema::run(&args),
    }
}

/// The whole program for these arguments, its own name first: parse, dispatch, one error print.
pub fn main(
    args: impl IntoIterator<Item = OsString>,
    ray: Option<&dyn api::Elsewhere>,
) -> ExitCode {
    leave_quietly_when_nobody_reads();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and the version are no errors, and go to the standard output.
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    match run_with(cli, ray) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::from(2)
        }
    }
}

/// `capsim … | head` closes our output early, which is its good right. `print!` panics then, and only then with these words. The
/// signal SIGPIPE stays ignored, as Rust has it: a worker or a client that hangs up must not kill us.
fn leave_quietly_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let words = panic.payload_as_str().unwrap_or_default();
        // EPIPE; on Windows ERROR_BROKEN_PIPE and ERROR_NO_DATA.
        let closed = ["os error 32)", "os error 109)", "os error 232)"];
        if words.starts_with("failed printing to std") && closed.iter().any(|c| words.ends_with(c))
        {
            std::process::exit(0);
        }
        usual(panic);
    }));
}

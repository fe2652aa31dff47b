//! The command tree: flags → library calls → files. The only place that prints.
mod advice;
pub mod api;
mod calibrate;
mod capacity;
mod compare;
mod complete;
mod device;
mod devices;
#[cfg(feature = "live")]
mod bench;
mod explain;
mod explain_log;
#[cfg(feature = "live")]
mod explore;
mod exports;
mod files;
#[cfg(feature = "live")]
mod from_metrics;
mod hub;
mod flags;
mod import;
#[cfg(not(feature = "live"))]
mod left_out;
mod load;
mod measure_device;
mod meant;
mod memory;
mod models;
mod progress;
#[cfg(feature = "live")]
mod paired;
#[cfg(feature = "live")]
mod recordings;
mod pool;
mod predict;
mod report;
mod scenario_args;
mod schema;
#[cfg(feature = "live")]
mod serve;
#[cfg(feature = "live")]
mod stop;
mod sweep;
mod trace;
mod tune;
mod typed;
mod validate;
mod validate_all;
mod version;
mod validate_recorded;
mod verify;
mod words;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// What the shell gets to see; docs/cli.md says it at length.
const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a verdict failed: a run outside its tolerance, a request that failed, an
       SLO that nothing meets, settings that do not fit the memory
  2    input that cannot be used; the error names the field and what to do
  130  interrupted; what was measured until then is reported

More: docs/cli.md, and capsim man for man pages.";

/// Predict how fast a language model will serve on your device, and hold the prediction against reality.
#[derive(Parser, Debug)]
#[command(
    name = "capsim",
    version = version::SHORT,
    long_version = version::LONG.as_str(),
    about = "Predict how fast a language model will serve on your device: calibrate, model, simulate, predict, validate",
    propagate_version = true,
    max_term_width = 80,
    after_help = EXIT_CODES,
    after_long_help = EXIT_CODES
)]
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
    /// Which machine: over devices, weights and tensor-parallel sizes, how many serve N users under an SLO, and what they cost
    Compare(Box<compare::CompareArgs>),
    /// Whether it fits: weights, KV blocks, context × concurrency, and the smallest change that makes it fit
    Memory(Box<memory::MemoryArgs>),
    /// Which settings: many tried, the best as a `vllm serve` line, with its gain and what each knob does
    Tune(Box<tune::TuneArgs>),
    /// Measure a running OpenAI-compatible server
    #[cfg(feature = "live")]
    Bench(Box<bench::BenchArgs>),
    /// (left out of this build: feature live)
    #[cfg(not(feature = "live"))]
    Bench(left_out::LeftOut),
    /// Predictions held against recorded runs, stored benchmarks or a running server
    Validate(Box<validate::ValidateArgs>),
    /// Device profiles from other people's measurements
    Import(import::ImportArgs),
    /// What a server's log tells: what was started, where the memory went, what binds; or what recorded runs reveal of their settings
    Explain(explain::ExplainArgs),
    /// Stand in for a server: the simulated engine behind an OpenAI API, in real time
    #[cfg(feature = "live")]
    Serve(Box<serve::ServeCommand>),
    /// (left out of this build: feature live)
    #[cfg(not(feature = "live"))]
    Serve(left_out::LeftOut),
    /// Models, devices and engines that ship with capsim
    Models(models::ModelsArgs),
    /// Many predictions from a plan, on all cores or many machines
    Sweep(Box<sweep::SweepCommand>),
    /// A page on this machine with the scenario's knobs as sliders; each change runs the simulator
    #[cfg(feature = "live")]
    Explore(Box<explore::ExploreArgs>),
    /// (left out of this build: feature live)
    #[cfg(not(feature = "live"))]
    Explore(left_out::LeftOut),
    /// One HTML page from any results
    Report(report::ReportArgs),
    /// Recorded request traces: figures, conversion
    Trace(Box<trace::TraceArgs>),
    /// Devices of this machine that can be calibrated, and why others cannot
    Devices(devices::DevicesArgs),
    /// A device profile without the device: from its data sheet
    Device(device::DeviceArgs),
    /// Opens one device in this process and tells about it (used by `devices` and `calibrate`)
    #[command(hide = true)]
    ProbeDevice(devices::ProbeArgs),
    /// Measures a device in this process (used by `calibrate`)
    #[command(hide = true)]
    MeasureDevice,
    /// JSON Schema of a file format
    Schema(schema::SchemaArgs),
    /// Completions for a shell, to be sourced or saved where it looks for them
    Completions(complete::CompletionsArgs),
    /// Man pages, one per command
    Man(complete::ManArgs),
}

/// The command tree. Every value may begin with a minus, so that a negative one is refused by the name of its flag, and
/// not taken for a flag itself.
fn command() -> clap::Command {
    fn negative(command: clap::Command) -> clap::Command {
        let arg = |a: clap::Arg| {
            let value = a.get_action().takes_values() && !a.is_positional();
            if value {
                a.allow_negative_numbers(true)
            } else {
                a
            }
        };
        command.mut_args(arg).mut_subcommands(negative)
    }
    negative(Cli::command())
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
        Command::Compare(args) => compare::run(&args),
        Command::Memory(args) => memory::run(&args),
        Command::Tune(args) => tune::run(&args),
        #[cfg(feature = "live")]
        Command::Bench(args) => bench::run(&args),
        #[cfg(not(feature = "live"))]
        Command::Bench(args) => args.run("bench"),
        Command::Validate(args) => validate::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Explain(args) => explain::run(&args),
        #[cfg(feature = "live")]
        Command::Serve(args) => serve::run(*args),
        #[cfg(not(feature = "live"))]
        Command::Serve(args) => args.run("serve"),
        Command::Models(args) => models::run(&args),
        Command::Sweep(args) => sweep::run(&args, ray),
        #[cfg(feature = "live")]
        Command::Explore(args) => explore::run(&args),
        #[cfg(not(feature = "live"))]
        Command::Explore(args) => args.run("explore"),
        Command::Report(args) => report::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Device(args) => device::run(&args),
        Command::ProbeDevice(args) => devices::probe(&args),
        Command::MeasureDevice => measure_device::run(),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => complete::completions(&args),
        Command::Man(args) => complete::man(&args),
    }
}

/// The whole program for these arguments, its own name first: parse, dispatch, one error print.
pub fn main(
    args: impl IntoIterator<Item = OsString>,
    ray: Option<&dyn api::Elsewhere>,
) -> ExitCode {
    leave_quietly_when_nobody_reads();
    let command = command();
    let args = typed::understood(args, &command);
    let parsed = command
        .clone()
        .try_get_matches_from(args.clone())
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(e) => {
            // Help and the version are no errors, and go to the standard output.
            let code = ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
            if let Some(words) = meant::words(&e, &command, &args) {
                eprint!("{words}");
                return code;
            }
            return match e.print() {
                Err(e) if !closed(&e.to_string()) => ExitCode::from(cannot_write(e) as u8),
                _ => flushed(code),
            };
        }
    };
    match run_with(cli, ray) {
        Ok(code) => flushed(code),
        Err(e) => {
            eprintln!("error: {e:#}");
            if let Some(advice) = advice::of(&e, &matches) {
                // Apart from the error, as its usage is: the same error from Python has neither.
                eprintln!("\n{advice}");
            }
            ExitCode::from(2)
        }
    }
}

/// `capsim … | head` closes our output early, which is its good right; a full disk is an error like any other. `print!` panics then, and
/// only then with these words. The signal SIGPIPE stays ignored, as Rust has it: a worker or a client that hangs up must not kill us.
fn leave_quietly_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let words = panic.payload_as_str().unwrap_or_default();
        if let Some(error) = words.strip_prefix("failed printing to stdout: ") {
            std::process::exit(match closed(error) {
                true => 0,
                false => cannot_write(error),
            });
        }
        if words.starts_with("failed printing to stderr") {
            std::process::exit(2);
        }
        usual(panic);
    }));
}

/// EPIPE; on Windows ERROR_BROKEN_PIPE and ERROR_NO_DATA.
fn closed(error: &str) -> bool {
    let codes = ["os error 32)", "os error 109)", "os error 232)"];
    codes.iter().any(|c| error.ends_with(c))
}

/// Says that the output is lost; the exit code.
fn cannot_write(error: impl std::fmt::Display) -> i32 {
    // Standard error may be full too.
    let _ = writeln!(std::io::stderr(), "error: standard output: {error}");
    2
}

/// What is left of the output goes out; if it cannot, that is an error, whatever the command said.
fn flushed(code: ExitCode) -> ExitCode {
    match std::io::stdout().flush() {
        Err(e) if !closed(&e.to_string()) => ExitCode::from(cannot_write(e) as u8),
        _ => code,
    }
}

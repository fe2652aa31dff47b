//! `capsim trace`: recorded traces, looked at and translated.
use super::files;
use super::flags::{Flagged, Given};
use capsim::fields::{Field, Section};
use capsim::workload::Trace;
use capsim::workload::load::{LoadSection, LoadValues, SEED, TRACE_FILE, trace};
use capsim_study::report::json::{self, listing};
use capsim_study::report::table::with_header;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct TraceArgs {
    #[command(subcommand)]
    command: TraceCommand,
}

#[derive(Subcommand, Debug)]
enum TraceCommand {
    /// Requests, rate, burstiness, lengths and ideal prefix-cache hits of a trace
    Stats(StatsArgs),
    /// Write a trace as Mooncake JSONL, which vLLM (timed_trace), GuideLLM and AIPerf replay
    Convert(ConvertArgs),
}

#[derive(Args, Debug)]
struct Input {
    /// The trace: a file, or a folder of ServeGen clients
    file: PathBuf,
    #[command(flatten)]
    read: Given<Reading>,
    /// Most requests taken
    #[arg(long)]
    num_prompts: Option<usize>,
    /// Seed of what is drawn (ServeGen)
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Args, Debug)]
struct StatsArgs {
    #[command(flatten)]
    input: Input,
    /// Machine-readable output (capsim schema trace)
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ConvertArgs {
    #[command(flatten)]
    input: Input,
    /// File to write
    #[arg(short, long)]
    output: PathBuf,
    /// Machine-readable output (capsim schema converted-trace)
    #[arg(long)]
    json: bool,
}

/// The load's fields that say how a trace is read.
#[derive(Clone, Copy, Debug)]
struct Reading;

impl Section for Reading {
    const WHAT: &'static str = LoadSection::WHAT;
    const LEN: usize = LoadSection::LEN;
    fn field(at: usize) -> &'static Field {
        LoadSection::field(at)
    }
}

impl Flagged for Reading {
    const HEADING: &'static str = "How the trace is read";
    fn has(field: &Field) -> bool {
        let other = ["trace_file", "trace_speedup"];
        field.name.starts_with("trace_") && !other.contains(&field.name)
    }
}

impl Input {
    /// The part of the trace that was asked for.
    fn load(&self) -> anyhow::Result<Trace> {
        let mut load = LoadValues::default()
            .with(TRACE_FILE, self.file.display().to_string())
            .with(SEED, self.seed);
        for (field, value) in self.read.alone()?.iter() {
            load.put(LoadSection::place(field.name)?, value.clone());
        }
        let spec = trace(&load, &files::Files::default())?.expect("a file is named");
        spec.check()?;
        let data = spec.data.clone().expect("just read");
        let (from, to) = spec.rows(&data);
        drop(spec);
        let most = self.num_prompts.unwrap_or(usize::MAX);
        anyhow::ensure!(most > 0, "--num-prompts 0: must be at least 1");
        let to = to.min(from.saturating_add(most));
        // The whole is not copied.
        match std::sync::Arc::try_unwrap(data) {
            Ok(whole) if (from, to) == (0, whole.rows().len()) => Ok(whole),
            Ok(data) => Ok(data.part(from, to)),
            Err(data) => Ok(data.part(from, to)),
        }
    }
}

pub fn run(args: &TraceArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        TraceCommand::Stats(a) => stats(a)?,
        TraceCommand::Convert(a) => {
            let trace = a.input.load()?;
            files::write(&a.output, &trace.mooncake()?)?;
            let answer = listing::Converted {
                schema: "capsim.converted-trace/1".into(),
                output: a.output.display().to_string(),
                requests: trace.rows().len(),
                duration_s: trace.duration().secs(),
            };
            if a.json {
                println!("{}", json::text(&answer));
            } else {
                println!(
                    "{}: {} requests over {:.3} s",
                    answer.output, answer.requests, answer.duration_s
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn stats(args: &StatsArgs) -> anyhow::Result<()> {
    let s = args.input.load()?.stats();
    if args.json {
        let answer = listing::Trace {
            schema: "capsim.trace/1".into(),
            stats: s,
        };
        println!("{}", json::text(&answer));
        return Ok(());
    }
    println!("{:<28}{}", "Requests", s.requests);
    println!("{:<28}{:.3}", "Duration (s)", s.duration_s);
    let or_none = |v: Option<f64>, scale: f64, digits: usize, unit: &str| match v {
        Some(v) => format!("{:.digits$}{unit}", v * scale),
        None => "–".into(),
    };
    for (label, value) in [
        ("Request rate (1/s)", or_none(s.request_rate, 1.0, 4, "")),
        ("CV of the gaps", or_none(s.gap_cv, 1.0, 3, "")),
        ("Different arrival times", s.distinct_times.to_string()),
        (
            "Tokens per hash id",
            s.block_size.map_or("–".into(), |b| b.to_string()),
        ),
        (
            "Ideal hits, hash ids",
            or_none(s.ideal_block_hit_rate, 100.0, 2, " %"),
        ),
        (
            "Ideal hits, 16-token blocks",
            or_none(s.ideal_token_hit_rate, 100.0, 2, " % of prompt tokens"),
        ),
    ] {
        println!("{label:<28}{value}");
    }
    let mut t = with_header(&["tokens", "mean", "p50", "p90", "p99", "max"]);
    for (name, five) in [("input", s.input), ("output", s.output)] {
        let mut row = vec![name.to_string()];
        row.extend(five.iter().map(|v| format!("{v:.1}")));
        t.add_row(row);
    }
    println!("\n{t}");
    Ok(())
}

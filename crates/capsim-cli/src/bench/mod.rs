//! `capsim bench`: measure a running server.
pub mod client_args;
pub mod load;
mod output;
pub mod session;

use capsim_live::bench::{drive::conversations, result};
use capsim_study::report::bench::{self as report, Point};
use clap::{Args, Subcommand};
use client_args::ClientArgs;
use load::{LatencyLoad, ServeLoad, SweepLoad, ThroughputLoad};
use output::OutputArgs;
use session::Session;
use std::io::Write as _;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand, Debug)]
enum Mode {
    /// A number of requests, some at a time (default: 16 of 256 + 256 tokens, all at once)
    Throughput(Box<Run<ThroughputLoad>>),
    /// Requests one after another (default: 10 of 128 + 128 tokens)
    Latency(Box<Run<LatencyLoad>>),
    /// Any load, under the flags of `vllm bench serve`
    Serve(Box<Run<ServeLoad>>),
    /// Input lengths × output lengths × concurrencies
    Sweep(Box<Run<SweepLoad>>),
}

#[derive(Args, Debug)]
struct Run<L: Args> {
    /// Model name in requests, unless --served-model-name (default: the server's first)
    #[arg(long, help_heading = "Server")]
    model: Option<String>,
    #[command(flatten)]
    load: L,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    match &args.mode {
        Mode::Throughput(r) => {
            let spec = r.load.spec(r.client.greedy())?;
            measure("throughput", r, &[spec])
        }
        Mode::Latency(r) => {
            let spec = r.load.spec(r.client.greedy())?;
            measure("latency", r, &[spec])
        }
        Mode::Serve(r) => {
            let spec = r.load.spec(r.client.greedy())?;
            measure("serve", r, &[spec])
        }
        Mode::Sweep(r) => {
            let specs = r.load.specs(r.client.greedy())?;
            measure("throughput", r, &specs)
        }
    }
}

/// Exit code of an interrupted run: 128 + SIGINT, as a shell says it.
pub const INTERRUPTED: u8 = 130;

fn measure(
    mode: &'static str,
    run: &Run<impl Args>,
    specs: &[capsim::workload::WorkloadSpec],
) -> anyhow::Result<ExitCode> {
    let output = &run.output;
    let wanted = output.wanted()?;
    let talks = specs.iter().any(conversations);
    let session = Session::open(
        &run.client,
        run.model.as_deref(),
        output.save_detailed,
        talks,
    )?;
    let (mut all, mut broken) = (vec![], None);
    for spec in specs {
        let m = match session.run(spec, wanted.rule, wanted.goodput) {
            Ok(m) => m,
            // What was measured before is not lost.
            Err(e) => {
                broken = Some(e);
                break;
            }
        };
        let stop = m.interrupted;
        all.push((spec, m));
        if stop {
            break;
        }
    }
    let date = result::stamp(capsim_live::bench::clock::unix_seconds());
    let results: Vec<serde_json::Value> = all
        .iter()
        .map(|(spec, m)| {
            result::json(
                m,
                &session.context(spec, &wanted, &date),
                output.save_detailed,
            )
        })
        .collect();
    // First of all on the standard output: a disk may be full.
    if output.json && !results.is_empty() {
        let value = match &results[..] {
            [one] => one.clone(),
            _ => serde_json::json!({"schema": "capsim.bench-sweep/1", "points": results}),
        };
        println!("{}", serde_json::to_string_pretty(&value)?);
    } else {
        for (spec, m) in &all {
            if specs.len() == 1 {
                print!("{}", report::head(mode, m));
            }
            print!(
                "{}",
                report::block(m, spec, &wanted.metrics, &wanted.percentiles)
            );
        }
    }
    std::io::stdout().flush()?;
    for (i, ((spec, m), value)) in all.iter().zip(&results).enumerate() {
        output.save(value, m, spec, &date, (specs.len() > 1).then_some(i))?;
    }
    if let Some(path) = &output.markdown {
        let points: Vec<Point<'_>> = all
            .iter()
            .map(|(spec, measured)| Point {
                mode,
                spec,
                measured,
            })
            .collect();
        let title = format!("capsim Benchmark Report - {}", session.model());
        let text = report::markdown(&title, &session.facts(&date), &points);
        super::files::write(path, &text)?;
    }
    if let Some(e) = broken {
        return Err(e);
    }
    Ok(if all.iter().any(|(_, m)| m.interrupted) {
        ExitCode::from(INTERRUPTED)
    } else if all.iter().any(|(_, m)| m.failed() > 0) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

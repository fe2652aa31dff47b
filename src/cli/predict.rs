//! `capsim predict`.
use super::files;
use super::sweep_args::SweepArgs;
use crate::predict::{Caveat, predict};
use crate::report::{Row, json, markdown, prediction, trace};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct PredictArgs {
    #[command(flatten)]
    sweep: SweepArgs,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
    /// Also write a Markdown report
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Also write comma-separated values
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Also write every request of the simulation, one JSON object per line (a single prediction only)
    #[arg(long, value_name = "FILE")]
    save_requests: Option<PathBuf>,
    /// Also write steps, requests and counters as a Chrome trace, for ui.perfetto.dev (a single prediction only)
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

pub fn run(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    let grid = args.sweep.grid()?;
    let progress = bar(grid.points.len());
    let mut done = vec![];
    for point in grid.points {
        let mut p = predict(&point.scenario).map_err(|e| {
            let what: Vec<String> = point
                .varied
                .iter()
                .map(|(k, v)| format!("{k} {v}"))
                .collect();
            let e = anyhow::Error::from(e);
            if what.is_empty() {
                e
            } else {
                e.context(what.join(", "))
            }
        })?;
        for flag in &grid.unmodelled {
            p.caveats.push(Caveat::Unmodelled(flag.clone()));
        }
        progress.inc(1);
        done.push(Row {
            varied: point.varied,
            scenario: point.scenario,
            prediction: p,
        });
    }
    progress.finish_and_clear();
    if let Some(path) = &args.markdown {
        files::write(path, &markdown::predictions(&done))?;
    }
    if let Some(path) = &args.csv {
        files::write(path, &markdown::csv(&done))?;
    }
    if args.save_requests.is_some() || args.trace.is_some() {
        let [row] = &done[..] else {
            anyhow::bail!(
                "--save-requests and --trace describe one prediction: give one value per flag"
            );
        };
        let run = &row.prediction.run;
        if let Some(path) = &args.save_requests {
            files::write(path, &trace::requests_jsonl(&run.records))?;
        }
        if let Some(path) = &args.trace {
            let usable = row.prediction.usable_blocks().0;
            files::write(path, &trace::chrome(&run.records, &run.steps, usable))?;
        }
    }
    if args.json {
        let points = done
            .iter()
            .map(|r| json::prediction(&r.varied, &r.scenario, &r.prediction))
            .collect();
        println!(
            "{}",
            serde_json::to_string_pretty(&json::predictions(points))?
        );
    } else if let [row] = &done[..] {
        print!("{}", prediction::block(&row.scenario, &row.prediction));
    } else {
        let scenario = &done[0].scenario;
        let w = &scenario.workload;
        println!(
            "{}\non {}\n{} requests of {}, {}\n",
            scenario.model_name,
            scenario.device.name,
            w.num_prompts,
            w.sizes(),
            w.pace()
        );
        print!("{}", prediction::rows(&done));
        print!(
            "{}",
            prediction::footer(scenario, done.iter().map(|r| &r.prediction))
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// A progress bar that is there only on a terminal, and only when it takes long enough to be seen.
pub fn bar(points: usize) -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new(points as u64);
    bar.set_draw_target(indicatif::ProgressDrawTarget::stderr_with_hz(4));
    bar
}

//! `capsim predict`.
use super::exports::{ExportArgs, Exports};
use super::files;
use super::sweep_args::{Grid, SweepArgs};
use crate::engine::observe::Observer;
use crate::predict::{Caveat, predict_observed};
use crate::report::{Row, json, markdown, prediction};
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
    #[command(flatten)]
    exports: ExportArgs,
}

/// The predictions of a grid's points, in order; `tick` is called after each.
pub fn rows(
    grid: Grid,
    observer: &mut impl Observer,
    mut tick: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Row>> {
    let mut done = vec![];
    for point in grid.points {
        let mut p = predict_observed(&point.scenario, observer).map_err(|e| {
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
        tick()?;
        done.push(Row {
            varied: point.varied,
            scenario: point.scenario,
            prediction: p,
        });
    }
    Ok(done)
}

/// What `--json` prints.
pub fn to_json(rows: &[Row]) -> anyhow::Result<String> {
    let points = rows
        .iter()
        .map(|r| json::prediction(&r.varied, &r.scenario, &r.prediction))
        .collect();
    Ok(serde_json::to_string_pretty(&json::predictions(points))?)
}

pub fn run(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    let grid = args.sweep.grid()?;
    let mut exports = match &grid.points[..] {
        [point] => Some(Exports::new(&args.exports, &point.scenario)?),
        _ => {
            args.exports.only_for_one()?;
            None
        }
    };
    let progress = bar(grid.points.len());
    let done = rows(grid, &mut exports, || {
        progress.inc(1);
        Ok(())
    })?;
    progress.finish_and_clear();
    if let Some(path) = &args.markdown {
        files::write(path, &markdown::predictions(&done))?;
    }
    if let Some(path) = &args.csv {
        files::write(path, &markdown::csv(&done))?;
    }
    if let (Some(exports), [row]) = (exports, &done[..]) {
        exports.keep(row)?;
    }
    if args.json {
        println!("{}", to_json(&done)?);
    } else if let [row] = &done[..] {
        print!("{}", prediction::block(&row.scenario, &row.prediction));
    } else {
        let all: Vec<_> = done.iter().map(|r| (&r.scenario, &r.prediction)).collect();
        print!("{}", prediction::refused(all.iter().map(|(_, p)| *p)));
        println!("{}", prediction::heading(&done));
        print!("{}{}", prediction::rows(&done), prediction::footer(&all));
    }
    Ok(ExitCode::SUCCESS)
}

/// A progress bar that is there only on a terminal, and only when it takes long enough to be seen.
pub fn bar(points: usize) -> indicatif::ProgressBar {
    super::progress::late(indicatif::ProgressBar::new(points as u64))
}

//! `capsim predict`.
use super::exports::{ExportArgs, Exports};
use super::files;
use super::files::Files;
use super::report::plots;
use super::scenario_args::{ScenarioArgs, flag, flag_words, quoted};
use capsim::engine::observe::Observer;
use capsim::fields::Value;
use capsim::predict::spec::Point;
use capsim::predict::{Scenario, predict_observed};
use capsim_study::report::json::Predictions;
use capsim_study::report::{Row, answer, json, markdown, prediction};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct PredictArgs {
    #[command(flatten)]
    pub scenario: ScenarioArgs,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
    /// Also draw the answer's curves here, 80 columns wide
    #[arg(long, conflicts_with = "json")]
    plot: bool,
    /// Also show what each figure rests on: sources of the profiles, coefficients, the nearest recorded runs
    #[arg(long)]
    details: bool,
    /// Also write a Markdown report
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Also write comma-separated values
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    #[command(flatten)]
    exports: ExportArgs,
}

/// A point of a table, ready to be simulated.
pub struct Asked {
    /// Fields that differ between points, with this point's values.
    pub varied: Vec<(&'static str, Value)>,
    /// The scenario.
    pub scenario: Scenario,
}

/// A point's name in errors: what it varies.
pub fn named(varied: &[(&'static str, Value)]) -> String {
    let all: Vec<String> = varied
        .iter()
        .map(|(k, v)| format!("{} {v}", flag(k)))
        .collect();
    all.join(", ")
}

/// The scenarios of documents.
///
/// # Errors
/// The first that cannot be resolved, by what it varies.
pub fn asked(points: Vec<Point>, files: &Files) -> anyhow::Result<Vec<Asked>> {
    let one = |p: Point| {
        let scenario = p.spec.resolve(files).map_err(|e| {
            let e = anyhow::Error::from(e);
            if p.varied.is_empty() {
                e
            } else {
                e.context(named(&p.varied))
            }
        })?;
        Ok(Asked {
            varied: p.varied,
            scenario,
        })
    };
    points.into_iter().map(one).collect()
}

/// Their predictions, in order; `tick` is called after each.
pub fn rows(
    points: Vec<Asked>,
    observer: &mut impl Observer,
    mut tick: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Row>> {
    let mut done = vec![];
    for point in points {
        let prediction = predict_observed(&point.scenario, observer).map_err(|e| {
            let e = anyhow::Error::from(e);
            if point.varied.is_empty() {
                e
            } else {
                e.context(named(&point.varied))
            }
        })?;
        tick()?;
        done.push(Row {
            varied: point.varied,
            scenario: point.scenario,
            prediction,
        });
    }
    Ok(done)
}

/// What `--json` prints.
pub fn to_json(rows: &[Row]) -> anyhow::Result<String> {
    Ok(json::text(&answered(rows)))
}

/// All rows with the answer in words and the command.
fn answered(rows: &[Row]) -> Predictions {
    let points = rows
        .iter()
        .map(|r| json::prediction(&r.varied, &r.scenario, &r.prediction))
        .collect();
    let answer = answer::predicted(rows);
    let command = command(rows);
    json::predictions(answer, command, points)
}

/// The command that predicts all rows: what varies stands in one flag with several values.
fn command(rows: &[Row]) -> String {
    let start = ["capsim".to_string(), "predict".into()];
    let said = |row: &Row| row.scenario.notes.said.clone();
    let Some(mut said) = rows.first().and_then(said) else {
        return quoted(&[&start[..], &["SCENARIO.json".into()]].concat());
    };
    let mut varied: Vec<(&str, Vec<String>)> = vec![];
    for (name, value) in rows.iter().flat_map(|r| &r.varied) {
        let value = value.to_string();
        match varied.iter_mut().find(|(n, _)| n == name) {
            Some((_, all)) if all.contains(&value) => {}
            Some((_, all)) => all.push(value),
            None => varied.push((name, vec![value])),
        }
    }
    said.retain(|(name, _)| !varied.iter().any(|(n, _)| n == name));
    let same = said
        .iter()
        .flat_map(|(name, value)| flag_words(name, value));
    let several = varied.iter().flat_map(|(n, v)| [flag(n), v.join(",")]);
    quoted(
        &start
            .into_iter()
            .chain(same)
            .chain(several)
            .collect::<Vec<_>>(),
    )
}

pub fn run(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    let points = asked(args.scenario.points()?, &args.scenario.files)?;
    let mut exports = match &points[..] {
        [point] => Some(Exports::new(&args.exports, &point.scenario)?),
        _ => {
            args.exports.only_for_one()?;
            None
        }
    };
    let progress = bar(points.len());
    let done = rows(points, &mut exports, || {
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
    } else {
        print(&done, args.details);
    }
    if args.plot {
        print!("{}", plots(&answered(&done))?);
    }
    Ok(ExitCode::SUCCESS)
}

/// What is not simulated, the answer in words, the figures, what a reader must know and, where it is asked for, what the figures rest on.
fn print(rows: &[Row], details: bool) {
    let all: Vec<_> = rows.iter().map(|r| (&r.scenario, &r.prediction)).collect();
    print!("{}", prediction::left_out(all.iter().map(|(s, _)| *s)));
    print!("{}", prediction::refused(all.iter().map(|(_, p)| *p)));
    print!("{}", answer::lines(&answer::predicted(rows)));
    if let [row] = rows {
        print!("{}", prediction::block(&row.scenario, &row.prediction));
    } else {
        println!("{}", prediction::heading(rows));
        print!("{}", prediction::rows(rows));
    }
    print!("{}", prediction::footer(&all, details));
}

/// A progress bar that is there only on a terminal, and only when it takes long enough to be seen.
pub fn bar(points: usize) -> indicatif::ProgressBar {
    super::progress::late(indicatif::ProgressBar::new(points as u64))
}

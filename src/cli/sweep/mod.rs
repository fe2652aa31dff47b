//! `capsim sweep`: many predictions, on all cores or many machines, the same bytes whatever does the work.
mod plan;
mod point;
mod store;
mod summary;

use super::files;
use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use plan::Plan;
pub(super) use plan::{Flags, Word};
pub(super) use point::Known;
use point::Point;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use store::{Listing, Store};

/// Schema of a point's file.
const POINT: &str = "capsim.sweep-point/1";

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SweepCommand {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    sweep: RunArgs,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Tables of all points from the folders of shards
    Merge(MergeArgs),
}

#[derive(Args, Debug)]
struct MergeArgs {
    /// Folders that `capsim sweep` wrote, all of one plan
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Folder for results.jsonl, results.csv and results.parquet (default: the first folder)
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Write the tables although points are missing
    #[arg(long)]
    partial: bool,
    /// Machine-readable output (capsim schema sweep-summary)
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct RunArgs {
    /// What to sweep, in TOML: [base], [grid], [[together]], [[points]] of flags of `capsim predict`
    plan: Option<PathBuf>,
    /// Parameter file of `vllm bench sweep`: server settings
    #[arg(long, value_name = "FILE", conflicts_with = "plan")]
    serve_params: Option<PathBuf>,
    /// Parameter file of `vllm bench sweep`: loads
    #[arg(long, value_name = "FILE", conflicts_with = "plan")]
    bench_params: Option<PathBuf>,
    /// Only combinations in which these agree: serve_key=bench_key
    #[arg(
        long,
        value_name = "A=B",
        value_delimiter = ',',
        conflicts_with = "plan"
    )]
    link_vars: Vec<String>,
    /// Sets a flag of every point, whatever the plan says
    #[arg(long = "set", value_name = "FLAG=VALUE")]
    assignments: Vec<String>,
    /// Folder for the results; what is there already is not simulated again
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Only every N-th point, beginning with the I-th: I/N, 1/N to N/N
    #[arg(long, value_name = "I/N")]
    shard: Option<String>,
    /// Threads (default: all cores)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Machine-readable output (capsim schema sweep-summary)
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
    /// A `vllm serve …` line whose settings hold for every point that does not say otherwise
    #[arg(last = true, value_name = "vllm serve …")]
    line: Vec<String>,
}

pub fn run(command: &SweepCommand) -> anyhow::Result<ExitCode> {
    match &command.action {
        Some(Action::Merge(args)) => merge(args),
        None => sweep(&command.sweep),
    }
}

/// Every N-th from the I-th.
fn shard(text: &str) -> anyhow::Result<(usize, usize)> {
    let wrong = || format!("--shard `{text}`: must be I/N with 1 ≤ I ≤ N, as 1/4");
    let (i, n) = text.split_once('/').with_context(wrong)?;
    let (i, n): (usize, usize) = (
        i.trim().parse().with_context(wrong)?,
        n.trim().parse().with_context(wrong)?,
    );
    ensure!((1..=n).contains(&i), wrong());
    Ok((i - 1, n))
}

fn read(args: &RunArgs, known: &Known) -> anyhow::Result<Plan> {
    let mut plan = match &args.plan {
        Some(path) => plan::parse(&files::read(path)?, &path.display().to_string())?,
        None => {
            ensure!(
                args.serve_params.is_some() || args.bench_params.is_some(),
                "give a plan (TOML), or --serve-params and --bench-params as `vllm bench sweep` takes them"
            );
            plan::vllm(
                args.serve_params.as_deref(),
                args.bench_params.as_deref(),
                &args.link_vars,
                &|f| known.has(f),
            )?
        }
    };
    if !args.line.is_empty() {
        ensure!(
            plan.line.is_empty(),
            "the plan has a `serve` line and one follows `--`: give one of them"
        );
        plan.line = args.line.clone();
    }
    for a in &args.assignments {
        plan.set(a)?;
    }
    Ok(plan)
}

fn sweep(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let known = Known::new();
    let plan = read(args, &known)?;
    let (first, step) = args.shard.as_deref().map_or(Ok((0, 1)), shard)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads.unwrap_or(0))
        .build()
        .context("--threads")?;
    // Every point is understood before any is simulated: a mistake in the last one costs nothing.
    let points: Vec<Point> = pool.install(|| {
        plan.points
            .par_iter()
            .enumerate()
            .map(|(i, flags)| {
                let mut line = plan.line.clone();
                line.extend(plan.serve.get(i).into_iter().flatten().cloned());
                Point::new(&known, flags, &line).with_context(|| {
                    let what: Vec<String> = flags
                        .iter()
                        .filter(|(f, _)| plan.dimensions.contains(f))
                        .map(|(f, w)| format!("{f} {}", w.text()))
                        .collect();
                    match what.is_empty() {
                        true => format!("point {}", i + 1),
                        false => format!("point {} ({})", i + 1, what.join(", ")),
                    }
                })
            })
            .collect::<anyhow::Result<_>>()
    })?;
    let hashes: Vec<String> = points.iter().map(|p| p.hash.clone()).collect();
    let dir = match (&args.output, &args.plan) {
        (Some(dir), _) => dir.clone(),
        (None, Some(plan)) => plan.with_extension("results"),
        (None, None) => bail!("-o: say where the results go"),
    };
    let mine: Vec<&Point> = points.iter().skip(first).step_by(step).collect();
    if args.dry_run {
        println!(
            "{} points, {} in this shard, of: {}",
            points.len(),
            mine.len(),
            plan.dimensions.join(", ")
        );
        return Ok(ExitCode::SUCCESS);
    }
    let listing = Listing::new(&plan, &hashes);
    let store = Store::open(&dir, &listing)?;
    let mut seen = BTreeSet::new();
    let todo: Vec<&Point> = mine
        .iter()
        .copied()
        .filter(|p| seen.insert(&p.hash) && store.get(&p.hash).is_none())
        .collect();
    let bar = super::predict::bar(todo.len());
    pool.install(|| {
        todo.par_iter().try_for_each(|p| {
            store.put(&p.hash, &p.evaluate())?;
            bar.inc(1);
            anyhow::Ok(())
        })
    })?;
    bar.finish_and_clear();
    eprintln!(
        "{} points in this run, {} simulated, {} were there",
        mine.len(),
        todo.len(),
        mine.len() - todo.len()
    );
    let merged = store::collect(std::slice::from_ref(&dir))?;
    if merged.missing.is_empty() {
        store::tables(&dir, &merged)?;
    }
    summary::show(&dir, &merged, merged.missing.is_empty(), args.json);
    Ok(ExitCode::SUCCESS)
}

fn merge(args: &MergeArgs) -> anyhow::Result<ExitCode> {
    let merged = store::collect(&args.folders)?;
    if let [first, ..] = &merged.missing[..] {
        let text = format!(
            "{} of {} points are missing, the first is point {}",
            merged.missing.len(),
            merged.listing.points.len(),
            first + 1
        );
        ensure!(
            args.partial,
            "{text}; run their shard again, or give --partial"
        );
        eprintln!("{text}");
    }
    let dir = args.output.as_ref().unwrap_or(&args.folders[0]);
    store::tables(dir, &merged)?;
    summary::show(dir, &merged, true, args.json);
    Ok(ExitCode::SUCCESS)
}

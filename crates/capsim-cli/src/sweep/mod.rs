//! `capsim sweep`: many predictions, on all cores or many machines, the same bytes whatever does the work.
pub mod job;
pub mod plan;
mod point;
pub mod store;
mod summary;

use super::files::{self, Files};
use anyhow::{Context, bail, ensure};
use capsim::predict::spec::ScenarioSpec;
use clap::{Args, Subcommand, ValueEnum};
use job::Job;
use plan::Plan;
use rayon::prelude::*;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

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
    /// What simulates: the threads of this machine, or a Ray cluster (the program of the Python package: pip install 'capsim[ray]')
    #[arg(long, value_name = "WHERE", default_value = "local")]
    engine: Engine,
    /// Ray cluster: auto, HOST:PORT or ray://HOST:PORT (default: RAY_ADDRESS, else one on this machine alone)
    #[arg(long)]
    address: Option<String>,
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

/// What simulates the points of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// Threads of this machine.
    Local,
    /// Workers of a Ray cluster.
    Ray,
}

/// Something that simulates points in other processes.
pub trait Elsewhere {
    /// Sees to it that every point of [`Job::todo`] is [kept](Job::keep), or fails. `address` says where, in its own words.
    ///
    /// # Errors
    /// Points are left over.
    fn simulate(&self, job: Arc<Job>, address: Option<&str>) -> anyhow::Result<()>;
}

pub fn run(command: &SweepCommand, ray: Option<&dyn Elsewhere>) -> anyhow::Result<ExitCode> {
    match &command.action {
        Some(Action::Merge(args)) => merge(args),
        None => sweep(&command.sweep, ray),
    }
}

/// Every N-th from the I-th.
pub fn shard(text: &str) -> anyhow::Result<(usize, usize)> {
    let wrong = || format!("--shard `{text}`: must be I/N with 1 ≤ I ≤ N, as 1/4");
    let (i, n) = text.split_once('/').with_context(wrong)?;
    let (i, n): (usize, usize) = (
        i.trim().parse().with_context(wrong)?,
        n.trim().parse().with_context(wrong)?,
    );
    ensure!((1..=n).contains(&i), wrong());
    Ok((i - 1, n))
}

fn read(args: &RunArgs) -> anyhow::Result<Plan> {
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
                &|f| ScenarioSpec::field(f).is_ok(),
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

fn sweep(args: &RunArgs, ray: Option<&dyn Elsewhere>) -> anyhow::Result<ExitCode> {
    let elsewhere = match args.engine {
        Engine::Local => {
            ensure!(
                args.address.is_none(),
                "--address is where Ray is: give --engine ray"
            );
            None
        }
        Engine::Ray => Some(ray.context(
            "--engine ray: this program has no Ray; pip install 'capsim[ray]' brings one that has",
        )?),
    };
    let plan = read(args)?;
    ensure!(
        !plan.line.is_empty() || plan.points.iter().any(|p| !p.is_empty()),
        "the plan is empty: write flags of `capsim predict` below [base], and lists of their values below [grid] \
         (docs/guide/sweep.md)"
    );
    ensure!(args.threads != Some(0), "--threads 0: must be at least 1");
    let part = args.shard.as_deref().map_or(Ok((0, 1)), shard)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads.unwrap_or(0))
        .build()
        .context("--threads")?;
    let files = Files::default();
    let points = pool.install(|| job::understand(&plan, &files))?;
    let dir = match (&args.output, &args.plan) {
        (Some(dir), _) => dir.clone(),
        (None, Some(plan)) => plan.with_extension("results"),
        (None, None) => bail!("-o: say where the results go"),
    };
    if args.dry_run {
        println!(
            "{} points, {} in this shard, of: {}",
            points.len(),
            (part.0..points.len()).step_by(part.1).len(),
            plan.dimensions.join(", ")
        );
        return Ok(ExitCode::SUCCESS);
    }
    let job = Arc::new(Job::open(&plan, points, files, &dir, part)?);
    match elsewhere {
        Some(ray) => ray.simulate(Arc::clone(&job), args.address.as_deref())?,
        None => {
            let bar = super::predict::bar(job.todo().len());
            pool.install(|| {
                job.todo().par_iter().try_for_each(|&p| {
                    job.run(p)?;
                    bar.inc(1);
                    anyhow::Ok(())
                })
            })?;
            bar.finish_and_clear();
        }
    }
    eprintln!(
        "{} points in this run, {} simulated, {} were there",
        job.mine(),
        job.todo().len(),
        job.mine() - job.todo().len()
    );
    let merged = job.finish()?;
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

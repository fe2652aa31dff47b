//! `capsim explain`.
use super::files;
use super::progress::Busy;
use super::validate::{fitted, open};
use anyhow::{Context, ensure};
use capsim::engine::EngineVersion;
use capsim_study::log::ServerLog;
use capsim_study::report::json::{self, validation::Explanation};
use capsim_study::report::table::wrap;
use capsim_study::report::validation;
use capsim_study::validate::compare::compare;
use capsim_study::validate::explain::{attribute, explain};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// Recorded runs (docs/formats.md), or the log of a vLLM, SGLang or llama-server; - is standard input
    #[arg(value_name = "RUNS or LOG")]
    runs: PathBuf,
    /// Runs that calibrate the engine profile first
    #[arg(long, value_delimiter = ',', value_name = "RUN_ID")]
    fit: Vec<String>,
    /// Model of a log that does not name it, or names none that is known: a built-in name or a config.json
    #[arg(long)]
    pub model: Option<String>,
    /// Weight format of a log's model
    #[arg(long)]
    pub weights: Option<String>,
    /// Write what a log's server was started with, as a scenario
    #[arg(long, value_name = "FILE")]
    pub save_scenario: Option<PathBuf>,
    /// Engine profile instead of the one that the file names
    #[arg(long)]
    pub engine: Option<String>,
    /// Release of vLLM that ran, instead of the one that the file names, such as 0.24
    #[arg(long, value_name = "RELEASE")]
    engine_version: Option<EngineVersion>,
    /// Device profile instead of the one that the file names; its own engine profile goes with it
    #[arg(long)]
    pub device: Option<String>,
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
}

/// Whether a text is a file of recorded runs, whatever is wrong with it.
fn is_runs(text: &str) -> bool {
    text.trim_start().starts_with('{') && text.contains("\"capsim.runs/")
}

/// The log that a command names; `None`: a file of runs.
fn log(args: &ExplainArgs) -> anyhow::Result<Option<ServerLog>> {
    let text = files::read(&args.runs)?;
    if is_runs(&text) {
        let flags = [
            ("--model", args.model.is_some()),
            ("--weights", args.weights.is_some()),
            ("--save-scenario", args.save_scenario.is_some()),
        ];
        for (flag, given) in flags {
            ensure!(
                !given,
                "{flag}: a file of recorded runs says it itself; the flag is for logs"
            );
        }
        return Ok(None);
    }
    let flags = [
        ("--fit", !args.fit.is_empty()),
        ("--engine-version", args.engine_version.is_some()),
    ];
    for (flag, given) in flags {
        ensure!(!given, "{flag}: is for recorded runs, not for logs");
    }
    let log = ServerLog::read(&text).with_context(|| {
        format!(
            "{}: is neither a file of recorded runs (capsim.runs/1) nor a log with a line of vLLM, SGLang or llama-server that is known",
            args.runs.display()
        )
    })?;
    Ok(Some(log))
}

pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    if let Some(log) = log(args)? {
        return super::explain_log::run(args, &log);
    }
    let (file, mut basis, mut not_predicted) = open(
        &args.runs,
        args.device.as_deref(),
        args.engine.as_deref(),
        args.engine_version,
    )?;
    let busy = Busy::new("predicting the runs", 0);
    if let Some(f) = fitted(&args.runs, &file, &basis, &args.fit)? {
        basis.engine = f.profile;
    }
    let (comparisons, refused) = compare(&file, &basis, &args.fit);
    not_predicted.extend(refused);
    // What is not in the answer is said beside it.
    eprint!("{}", validation::not_predicted(&not_predicted));
    let runs = explain(&file, &basis, &comparisons);
    let pairs = attribute(&file, &comparisons);
    drop(busy);
    if args.json {
        println!("{}", json::text(&Explanation::new(&runs, &pairs)));
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}\n", file.name);
    for r in &runs {
        println!("{}", r.id);
        if r.findings.is_empty() {
            println!("  nothing beyond what was recorded");
        }
        for f in &r.findings {
            println!("  - {}", wrap(&f.claim, 74, "    "));
            println!(
                "    {}",
                wrap(&format!("because {}", f.evidence), 74, "    ")
            );
        }
        println!();
    }
    if !pairs.is_empty() {
        println!("Differences between runs of the same load");
        for (_, _, f) in &pairs {
            println!("  - {}", wrap(&f.claim, 74, "    "));
            println!("    {}", wrap(&f.evidence, 74, "    "));
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! `capsim explain`.
use super::progress::Busy;
use super::validate::{fitted, open};
use capsim::engine::EngineVersion;
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
    /// Recorded runs (docs/formats.md)
    runs: PathBuf,
    /// Runs that calibrate the engine profile first
    #[arg(long, value_delimiter = ',', value_name = "RUN_ID")]
    fit: Vec<String>,
    /// Engine profile instead of the one that the file names
    #[arg(long)]
    engine: Option<String>,
    /// Release of vLLM that ran, instead of the one that the file names, such as 0.24
    #[arg(long, value_name = "RELEASE")]
    engine_version: Option<EngineVersion>,
    /// Device profile instead of the one that the file names; its own engine profile goes with it
    #[arg(long)]
    device: Option<String>,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
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

//! `capsim validate`.
use super::progress::Busy;
use super::{files, load};
use anyhow::{Context, bail};
use capsim::engine::EngineVersion;
use capsim::predict::{EngineWanted, Engines};
use capsim::workload::trace::Trace;
use capsim_study::report::json::{self, validation::Validation};
use capsim_study::report::{svg, validation};
use capsim_study::validate::compare::{NotPredicted, RunComparison, candidates, compare};
use capsim_study::validate::fit::{Fit, FitRun, fit};
use capsim_study::validate::hypothesis::Basis;
use capsim_study::validate::runs::RunsFile;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct ValidateArgs {
    /// Recorded runs (docs/formats.md)
    #[cfg_attr(feature = "live", arg(required_unless_present_any = ["base_url", "bench", "all"], conflicts_with_all = ["base_url", "bench", "all"]))]
    #[cfg_attr(
        not(feature = "live"),
        arg(required_unless_present_any = ["base_url", "bench", "all"], conflicts_with = "all")
    )]
    runs: Option<PathBuf>,
    /// Every run set of an index: fit what it says, predict the rest, and write docs/accuracy.md and docs/accuracy.svg
    #[arg(long, value_name = "INDEX", num_args = 0..=1, default_missing_value = "validation/index.json",
          conflicts_with_all = ["fit", "write_profile", "engine", "engine_version", "device", "tolerance", "summary"])]
    all: Option<PathBuf>,
    /// With --all: only choose structures and fits anew for every source left out, and write the page of it (minutes)
    #[arg(long, requires = "all", conflicts_with_all = ["write_profiles", "json"])]
    reselect: bool,
    /// With --all: also write the fitted engine profiles where the index says
    #[arg(long, requires = "all")]
    write_profiles: bool,
    /// Runs that calibrate the engine profile; they are shown apart and never counted as predictions
    #[arg(long, value_delimiter = ',', value_name = "RUN_ID")]
    pub(super) fit: Vec<String>,
    /// Write the fitted engine profile there
    #[arg(long, value_name = "FILE")]
    pub(super) write_profile: Option<PathBuf>,
    /// Engine profile instead of the one that the file names
    #[arg(long)]
    pub(super) engine: Option<String>,
    /// Release of vLLM that ran, instead of the one that the file or the server names, such as 0.24
    #[arg(long, value_name = "RELEASE")]
    pub(super) engine_version: Option<EngineVersion>,
    /// Device profile instead of the one that the file names; its own engine profile goes with it
    #[arg(long)]
    pub(super) device: Option<String>,
    /// Largest relative error of means and throughputs that counts as agreement, instead of the file's
    #[arg(long)]
    pub(super) tolerance: Option<f64>,
    /// One line per run instead of a table per run
    #[arg(long)]
    summary: bool,
    /// Machine-readable output
    #[arg(long)]
    pub(super) json: bool,
    /// Also write a Markdown report
    #[arg(long, value_name = "FILE")]
    pub(super) markdown: Option<PathBuf>,
    /// Also draw predicted over measured (with --url or --bench: a file for each picture, FILE-NAME-PICTURE.svg)
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
    #[cfg(feature = "live")]
    #[command(flatten)]
    paired: super::paired::PairedArgs,
    #[cfg(not(feature = "live"))]
    #[command(flatten)]
    paired: super::left_out::PairedArgs,
}

impl ValidateArgs {
    fn check(&self) -> anyhow::Result<()> {
        if let Some(t) = self.tolerance
            && !(t.is_finite() && t > 0.0 && t < 10.0)
        {
            bail!("--tolerance {t}: must be a relative error above 0 and below 10");
        }
        Ok(())
    }
}

/// A file of runs with what it is predicted with, and the runs in it whose requests are not here.
pub fn open(
    path: &Path,
    device: Option<&str>,
    engine: Option<&str>,
    release: Option<EngineVersion>,
) -> anyhow::Result<(RunsFile, Basis, Vec<NotPredicted>)> {
    let name = path.display().to_string();
    let mut file = RunsFile::parse(&files::read(path)?, &name)?;
    let absent = requests(path, &mut file);
    let field = |f: &str| format!("{name}: field `{f}`");
    // Names of files are taken from the folder of the file of runs.
    let near = |given: &str| -> String {
        let beside = path.parent().map(|p| p.join(given)).filter(|p| p.exists());
        beside.map_or(given.to_string(), |p| p.display().to_string())
    };
    let config = load::config(&near(&file.model)).with_context(|| field("model"))?;
    let model = load::model(&config, file.weights.as_deref(), file.kv_cache.as_deref())
        .with_context(|| field("weights"))?;
    let other = device.is_some() && engine.is_none();
    let device = load::device(&device.map_or_else(|| near(&file.device), String::from))
        .with_context(|| field("device"))?;
    let mut engine = load::engine(&engine.map_or_else(|| near(&file.engine), String::from))
        .with_context(|| field("engine"))?;
    let release = match (release, &file.engine_version) {
        (None, Some(text)) => Some(text.parse().with_context(|| field("engine_version"))?),
        (named, _) => named,
    };
    if other && !engine.devices.contains(&device.id) {
        let own = Engines::builtin().choose(&EngineWanted {
            model: &model,
            device: &device,
            engine: Some(engine.scheduler),
            release,
        });
        // A device that no profile was made for keeps what the file says of its like.
        if own.devices.contains(&device.id) {
            engine = own;
        }
    }
    if let Some(path) = &file.moe_tiles
        && !engine.moe_paths.contains_key(path)
    {
        bail!(
            "{}: the engine profile has no path `{path}`",
            field("moe_tiles")
        );
    }
    let basis = Basis {
        model_name: file.model.clone(),
        model,
        device,
        engine,
        release,
        moe_path: file.moe_tiles.clone(),
    };
    Ok((file, basis, absent))
}

/// Reads the recorded requests of runs that name a file of them; runs whose file cannot be read leave, and are named.
pub fn requests(path: &Path, file: &mut RunsFile) -> Vec<NotPredicted> {
    let mut absent = vec![];
    for run in &mut file.runs {
        let Some(trace) = &mut run.workload.trace else {
            continue;
        };
        let at = match trace.file.strip_prefix("shared:") {
            Some(rest) => files::shared(rest),
            None => path
                .parent()
                .map_or_else(|| PathBuf::from(&trace.file), |p| p.join(&trace.file)),
        };
        let read = files::read(&at)
            .context("its requests are not in this repository; CAPSIM_SHARED names the folder that holds them")
            .and_then(|text| Ok(Trace::parse(&text, &at.display().to_string(), &trace.options)?));
        match read {
            Ok(data) => trace.data = Some(std::sync::Arc::new(data)),
            Err(e) => absent.push(NotPredicted {
                id: run.id.clone(),
                problem: format!("{e:#}"),
            }),
        }
    }
    file.runs
        .retain(|r| !absent.iter().any(|a: &NotPredicted| a.id == r.id));
    absent
}

/// Fits the engine profile to the named runs, each under the hypothesis that suits it best beforehand.
pub fn fitted(
    path: &Path,
    file: &RunsFile,
    basis: &Basis,
    ids: &[String],
) -> anyhow::Result<Option<Fit>> {
    if ids.is_empty() {
        return Ok(None);
    }
    let stem = path
        .parent()
        .and_then(|p| p.file_name())
        .map_or_else(|| "runs".to_string(), |n| n.to_string_lossy().into_owned());
    let mut runs = vec![];
    for id in ids {
        let run = file.runs.iter().find(|r| r.id == *id).with_context(|| {
            let known: Vec<&str> = file.runs.iter().map(|r| r.id.as_str()).collect();
            format!("--fit `{id}`: no such run; there are: {}", known.join(", "))
        })?;
        let best = candidates(file, basis, run).with_context(|| format!("run `{id}`"))?;
        runs.push(FitRun {
            name: format!("{stem}#{id}"),
            run,
            basis: None,
            hypothesis: best[0].hypothesis.clone(),
            replay: None,
        });
    }
    Ok(Some(fit(basis, &runs, file.client.percentiles.into())?))
}

/// Recorded runs beside their predictions.
pub struct Compared {
    /// What was recorded.
    pub file: RunsFile,
    /// What it was predicted with.
    pub basis: Basis,
    /// The fit to the runs that were named for it.
    pub fit: Option<Fit>,
    /// The comparison, run by run.
    pub runs: Vec<RunComparison>,
    /// Runs that could not be predicted.
    pub not_predicted: Vec<NotPredicted>,
}

/// Fits to the runs named by `--fit`, predicts the others, compares.
///
/// # Errors
/// A file that cannot be used, or no run of which can be predicted.
pub fn compared(args: &ValidateArgs) -> anyhow::Result<Compared> {
    args.check()?;
    let path = args.runs.as_deref().context("which runs?")?;
    let (mut file, mut basis, mut not_predicted) = open(
        path,
        args.device.as_deref(),
        args.engine.as_deref(),
        args.engine_version,
    )?;
    if let Some(t) = args.tolerance {
        file.tolerance.mean = Some(t);
        file.tolerance.throughput = Some(t);
    }
    let fit = fitted(path, &file, &basis, &args.fit)?;
    if let Some(f) = &fit {
        basis.engine = f.profile.clone();
    }
    let (runs, refused) = compare(&file, &basis, &args.fit);
    not_predicted.extend(refused);
    if let ([], Some(first)) = (&runs[..], not_predicted.first()) {
        bail!("run `{}`: {}", first.id, first.problem);
    }
    Ok(Compared {
        file,
        basis,
        fit,
        runs,
        not_predicted,
    })
}

pub fn run(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    args.check()?;
    if let Some(index) = args.all.as_ref().filter(|_| args.reselect) {
        return super::validate_all::reselect(index, args.markdown.as_deref());
    }
    if let Some(index) = &args.all {
        return super::validate_all::run(
            index,
            args.markdown.as_deref(),
            args.svg.as_deref(),
            args.write_profiles,
            args.json,
        );
    }
    if args.write_profile.is_some() && args.fit.is_empty() {
        bail!("--write-profile: nothing was fitted; name a run with --fit");
    }
    #[cfg(not(feature = "live"))]
    args.paired.check()?;
    #[cfg(feature = "live")]
    if args.paired.wanted() {
        return super::paired::run(args, &args.paired);
    }
    let busy = Busy::new("predicting the runs", 0);
    let Compared {
        file,
        basis,
        fit,
        runs,
        not_predicted,
    } = compared(args)?;
    drop(busy);
    if let (Some(path), Some(f)) = (&args.write_profile, &fit) {
        files::write(path, &(serde_json::to_string_pretty(&f.profile)? + "\n"))?;
    }
    let text = validation::text(&file, &basis, fit.as_ref(), &runs);
    if let Some(path) = &args.markdown {
        files::write(
            path,
            &validation::markdown(&file, &basis, fit.as_ref(), &runs),
        )?;
    }
    if let Some(path) = &args.svg {
        files::write(path, &svg::accuracy(&file.name, &runs))?;
    }
    if args.json {
        println!(
            "{}",
            json::text(&Validation::new(&file, fit.as_ref(), &runs, &not_predicted))
        );
    } else if args.summary {
        print!("{}", validation::summary(&runs));
    } else {
        print!("{text}");
    }
    if !args.json {
        print!("{}", validation::not_predicted(&not_predicted));
    }
    let ok = runs.iter().filter(|r| !r.fitted).all(|r| r.agrees());
    Ok(if !not_predicted.is_empty() {
        ExitCode::from(2)
    } else if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

//! `capsim import`: profiles from other people's measurements.
use super::{files, load};
use crate::device::KernelTimes;
use crate::import::{self, Source, gpus, llmservingsim};
use crate::model::Parallel;
use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct ImportArgs {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand, Debug)]
enum Kind {
    /// Kernel tables of LLMServingSim's profiler: a folder `profiler/perf/<GPU>`
    Llmservingsim(LlmservingsimArgs),
}

#[derive(Args, Debug)]
struct LlmservingsimArgs {
    /// The folder of one GPU, with <model>/<variant>/tp<N> beneath
    dir: PathBuf,
    /// Device profile to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Where the tables come from, with the version
    #[arg(long, default_value = "casys-kaist/LLMServingSim")]
    source: String,
    /// Their licence
    #[arg(long, default_value = "MIT")]
    licence: String,
    /// GPU, if the folder's name does not say
    #[arg(long)]
    gpu: Option<String>,
}

pub fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    match &args.kind {
        Kind::Llmservingsim(a) => llmservingsim_bundle(a),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// Folders beneath `dir` that hold a `dense.csv`, in order of their paths.
fn bundles(dir: &Path, depth: u32, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if dir.join("dense.csv").is_file() {
        found.push(dir.to_path_buf());
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir)
        .with_context(|| format!("{}", dir.display()))?
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    entries.sort();
    for e in entries.iter().filter(|e| e.is_dir()) {
        bundles(e, depth - 1, found)?;
    }
    Ok(())
}

/// What `meta.yaml` says under a key of its first level.
fn meta(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|l| {
        let v = l.strip_prefix(key)?.strip_prefix(':')?;
        Some(v.trim().trim_matches('\'').trim_matches('"').to_string())
    })
}

fn llmservingsim_bundle(args: &LlmservingsimArgs) -> anyhow::Result<()> {
    let mut folders = vec![];
    bundles(&args.dir, 5, &mut folders)?;
    ensure!(
        !folders.is_empty(),
        "{}: no folder beneath it holds a dense.csv; give profiler/perf/<GPU>",
        args.dir.display()
    );
    let source = Source {
        name: args.source.clone(),
        licence: args.licence.clone(),
    };
    let mut kernels: Vec<KernelTimes> = vec![];
    let mut gpu_name = args.gpu.clone();
    for folder in &folders {
        let name = folder.display().to_string();
        let tp: u32 = folder
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_prefix("tp"))
            .and_then(|n| n.parse().ok())
            .with_context(|| format!("{name}: the folder's name must be tp<N>"))?;
        let yaml = folder.parent().map(|p| p.join("meta.yaml"));
        let yaml = match &yaml {
            Some(p) if p.is_file() => files::read(p)?,
            _ => bail!("{name}: there is no meta.yaml beside it, which says what was measured"),
        };
        let value = |key: &str| {
            meta(&yaml, key).with_context(|| format!("{name}/../meta.yaml: there is no `{key}`"))
        };
        let (model_name, variant) = (value("model")?, value("variant")?);
        ensure!(
            variant == "bf16",
            "{name}: variant `{variant}`: only bf16 tables are read so far"
        );
        if gpu_name.is_none() {
            gpu_name = Some(value("hardware")?);
        }
        let config = load::config(&model_name)?;
        let model = load::model(&config, Some("bf16"), None, None, None)?
            .shared(Parallel::tensor(tp))
            .map_err(|e| anyhow::anyhow!("{name}: tensor parallelism of {tp}: {e}"))?;
        let read = |file: &str| files::read(&folder.join(file));
        let moe = folder.join("moe.csv");
        let moe = if moe.is_file() {
            Some(files::read(&moe)?)
        } else {
            None
        };
        let tables = llmservingsim::Tables::parse(
            &name,
            &read("dense.csv")?,
            &read("per_sequence.csv")?,
            &read("attention.csv")?,
            moe.as_deref(),
        )?;
        let engine = format!("vLLM {}", value("vllm_version")?);
        let from = format!("{}, tables of {model_name} tp{tp}", source.words());
        let (times, unknown) = llmservingsim::kernel_times(&tables, &model, &engine, &from);
        report(&model_name, tp, &times);
        for layer in unknown {
            eprintln!("note: {name}: `{layer}` answers to no operator of {model_name}; left out");
        }
        import::add_kernels(&mut kernels, times);
    }
    for k in &mut kernels {
        k.provenance.source = source.words();
    }
    let gpu_name = gpu_name.expect("set with the first folder");
    let Some(gpu) = gpus::find(&gpu_name) else {
        let known: Vec<&str> = gpus::ALL.iter().map(|g| g.id).collect();
        bail!(
            "no memory size and link are known of `{gpu_name}`; --gpu takes: {}",
            known.join(", ")
        );
    };
    let profile = import::device_of(gpu, kernels, &source)
        .context("the tables hold no matrix product that curves could be read off")?;
    let mut text = serde_json::to_string_pretty(&profile)?;
    text.push('\n');
    crate::device::DeviceProfile::parse(&text, "the profile just made")?;
    files::write(&args.output, &text)?;
    println!("{}", args.output.display());
    Ok(())
}

/// How near the fits are.
fn report(model: &str, tp: u32, k: &KernelTimes) {
    println!("{model} tp{tp}: |error| median, 90 %, bias");
    let show = |name: &str, r: &crate::device::Residual| {
        println!(
            "  {name:<22} {:>6.2} % {:>6.2} % {:>+6.2} %  of {} points",
            r.median * 100.0,
            r.p90 * 100.0,
            r.bias * 100.0,
            r.points
        );
    };
    for r in &k.rows {
        if let Some(res) = &r.residual {
            show(&format!("{} ({} pieces)", r.covers[0], r.pieces.len()), res);
        }
    }
    for a in &k.attention {
        for (name, r) in ["decode attention", "prefill attention", "mixed attention"]
            .iter()
            .zip(&a.residual)
        {
            show(name, r);
        }
    }
    for e in &k.experts {
        if let Some(r) = &e.residual {
            show("experts", r);
        }
    }
}

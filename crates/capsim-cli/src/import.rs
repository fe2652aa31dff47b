//! `capsim import`: profiles from other people's measurements.
mod rates;

use super::{files, load};
use anyhow::{Context, bail, ensure};
use capsim::device::DeviceProfile;
use capsim::device::KernelTimes;
use capsim::model::{Model, Parallel};
use capsim_calibrate::bundle::Bundle;
use capsim_calibrate::fit;
use capsim_study::import::{
    self, Source, aiconfigurator, compact, gpus, llama_bench, llamacpp, llmservingsim, vidur,
};
use capsim_study::report::json::{self, listing::Imported};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct ImportArgs {
    #[command(subcommand)]
    kind: Kind,
    /// Machine-readable output (capsim schema import)
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum Kind {
    /// Kernel tables of LLMServingSim's profiler: a folder `profiler/perf/<GPU>`
    Llmservingsim(LlmservingsimArgs),
    /// Operator databases of AIConfigurator: the folder of the unpacked package `aiconfigurator-core`
    Aiconfigurator(AiconfiguratorArgs),
    /// Profiles of Vidur: mlp.csv and attention.csv of one model
    Vidur(VidurArgs),
    /// Output of llama-bench or llama-batched-bench (Markdown, CSV, JSON, JSON lines or SQL)
    LlamaBench(LlamaBenchArgs),
    /// Output of llama.cpp's `test-backend-ops perf`
    TestBackendOps(BackendOpsArgs),
    /// Memory, matrix, bus and link rates that clpeak, vkpeak, memtest_vulkan, mixbench, nvbandwidth, rocm_bandwidth_test or nccl-tests measured
    Rates(rates::RatesArgs),
    /// A calibration that was sent: what `capsim calibrate --bundle` writes
    Calibration(CalibrationArgs),
}

#[derive(Args, Debug)]
struct CalibrationArgs {
    /// The bundle
    file: PathBuf,
    /// Folder for device.json, samples.json and bench.json (default: calibration/DEVICE/DATE)
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// The device that was measured.
#[derive(Args, Debug)]
struct DeviceArgs {
    /// A GPU that capsim knows memory and link of, or any name if --memory-gib says how much there is
    #[arg(long)]
    gpu: String,
    /// Its memory in GiB
    #[arg(long)]
    memory_gib: Option<f64>,
    /// Where the measurements come from, with the version
    #[arg(long)]
    source: String,
    /// Their licence
    #[arg(long, default_value = "not stated")]
    licence: String,
    /// Device profile to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Args, Debug)]
struct VidurArgs {
    /// `mlp.csv`
    #[arg(long)]
    mlp: PathBuf,
    /// `attention.csv`
    #[arg(long)]
    attention: Option<PathBuf>,
    /// The model that was profiled: a built-in name or a config.json
    #[arg(long)]
    model: String,
    /// Numbers of tensor-parallel workers to read
    #[arg(long, value_delimiter = ',', default_value = "1")]
    tensor_parallel_size: Vec<u32>,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Args, Debug)]
struct LlamaBenchArgs {
    /// The output, saved
    file: PathBuf,
    /// The model that was measured: a built-in name or a config.json
    #[arg(long)]
    model: String,
    /// Its weight format: q4_k_m, q8_0, bf16, …
    #[arg(long)]
    weights: String,
    /// Also write the engine profile that goes with it: no efficiencies and no host time on top of the measured rates
    #[arg(long, value_name = "FILE")]
    engine_output: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Args, Debug)]
struct BackendOpsArgs {
    /// The output, saved
    file: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
}

impl DeviceArgs {
    fn source(&self) -> Source {
        Source {
            name: self.source.clone(),
            licence: self.licence.clone(),
        }
    }

    /// What is known of the device, or was said or printed of its memory.
    fn gpu(&self, printed: Option<f64>) -> anyhow::Result<gpus::Gpu> {
        let said = match self.memory_gib {
            Some(g) => {
                ensure!(
                    (0.1..=1e5).contains(&g),
                    "--memory-gib {g}: must lie between 0.1 and 100000"
                );
                Some(g * 1_073_741_824.0)
            }
            None => printed,
        };
        if let Some(known) = gpus::find(&self.gpu) {
            let mut gpu = *known;
            if self.memory_gib.is_some() {
                gpu.memory = said.unwrap_or(gpu.memory);
            }
            return Ok(gpu);
        }
        let Some(memory) = said else {
            return Err(known(&self.gpu).expect_err("not found above"))
                .context("--memory-gib says it of any other");
        };
        let id: String = self
            .gpu
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        // Lives as long as the process, which ends with this command.
        Ok(gpus::Gpu {
            id: id.leak(),
            name: self.gpu.clone().leak(),
            aliases: &[],
            memory,
            memory_source: "given with the measurements",
            latency: 20e-6,
            rate: 20e9,
            link_source: "not known: PCIe 4.0 x16 taken",
            link_sd: 0.5,
            bandwidth: 1e14,
            attention_backend: "flash-attn-2",
        })
    }
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

#[derive(Args, Debug)]
struct AiconfiguratorArgs {
    /// A folder that holds `systems/data/<system>`
    dir: PathBuf,
    /// Device profile to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// System, a folder's name: h100_sxm, h200_sxm, a100_sxm, l40s, …
    #[arg(long)]
    system: String,
    /// Engine whose kernels were measured: vllm, sglang or trtllm
    #[arg(long, default_value = "vllm")]
    backend: String,
    /// Its release (default: the newest in the database)
    #[arg(long)]
    release: Option<String>,
    /// Models at whose shapes kernels are priced (built-in names or config.json files), each divided among 1, 2, 4 and 8
    /// devices (default: llama-3.1-8b, llama-2-7b, qwen3-8b, qwen3-14b, qwen3-32b, qwen3-30b-a3b-instruct-2507, mixtral-8x7b)
    #[arg(
        long,
        value_delimiter = ',',
        hide_default_value = true,
        default_value = "llama-3.1-8b,llama-2-7b,qwen3-8b,qwen3-14b,qwen3-32b,qwen3-30b-a3b-instruct-2507,mixtral-8x7b"
    )]
    models: Vec<String>,
    /// Where the database comes from, with the version
    #[arg(long, default_value = "aiconfigurator-core")]
    source: String,
    /// Its licence
    #[arg(long, default_value = "Apache-2.0")]
    licence: String,
}

pub fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let mut told = Imported::new();
    match &args.kind {
        Kind::Llmservingsim(a) => llmservingsim_bundle(a, &mut told),
        Kind::Aiconfigurator(a) => aiconfigurator_database(a, &mut told),
        Kind::Vidur(a) => vidur_profile(a, &mut told),
        Kind::LlamaBench(a) => llama_bench(a, &mut told),
        Kind::TestBackendOps(a) => backend_ops(a, &mut told),
        Kind::Rates(a) => rates::import(a, &mut told),
        Kind::Calibration(a) => calibration(a, &mut told),
    }?;
    if args.json {
        println!("{}", json::text(&told));
    } else {
        show(&told);
    }
    Ok(ExitCode::SUCCESS)
}

/// A bundle into a folder as `capsim calibrate` leaves it. The profile is made of the samples anew: they are what was measured.
fn calibration(args: &CalibrationArgs, told: &mut Imported) -> anyhow::Result<()> {
    let name = args.file.display().to_string();
    let bundle = Bundle::parse(&files::read(&args.file)?, &name)?;
    let (fit, same) = bundle.refit(&name)?;
    if !same {
        told.notes.push(format!(
            "the bundle's profile is not what this capsim ({}) makes of its samples (measured with {}); the profile written is made of \
             the samples",
            env!("CARGO_PKG_VERSION"),
            bundle.samples.capsim
        ));
    }
    let dir = match &args.output {
        Some(dir) => dir.clone(),
        None => {
            // A sent file names no folder of its own choice.
            let day = fit::slug(bundle.samples.started.get(..10).unwrap_or("undated"));
            let dir = Path::new("calibration").join(&fit.profile.id).join(day);
            ensure!(
                !dir.join("samples.json").exists(),
                "{}: there is a calibration of that day already; use -o for another folder",
                dir.display()
            );
            dir
        }
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
    let mut wrote = |file: &str, what: &str, text: String| {
        let path = dir.join(file);
        told.wrote(what, &path);
        files::write(&path, &text)
    };
    wrote("samples.json", "samples", bundle.samples.to_text())?;
    let profile = serde_json::to_string_pretty(&fit.profile)? + "\n";
    wrote("device.json", "device profile", profile)?;
    if let Some(bench) = &bundle.bench {
        let text = serde_json::to_string_pretty(bench)? + "\n";
        wrote("bench.json", "benchmark", text)?;
    }
    Ok(())
}

/// What was read, how well it was fitted, and where it is now.
fn show(told: &Imported) {
    for note in &told.notes {
        eprintln!("note: {note}");
    }
    for (what, release) in &told.tables {
        println!("{what}: {release}");
    }
    if let Some(n) = told.measurements {
        println!("{n} measurements");
    }
    let mut of = None;
    for f in &told.fits {
        let this = Some((&f.what, f.tensor_parallel_size));
        if of != this {
            println!(
                "{} tp{}: |error| median, 90 %, bias",
                f.what, f.tensor_parallel_size
            );
            of = this;
        }
        println!(
            "  {:<26} {:>6.2} % {:>6.2} % {:>+6.2} %  of {} points",
            f.kernel,
            f.residual.median * 100.0,
            f.residual.p90 * 100.0,
            f.residual.bias * 100.0,
            f.residual.points
        );
    }
    for path in told.files.values() {
        println!("{path}");
    }
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

fn llmservingsim_bundle(args: &LlmservingsimArgs, told: &mut Imported) -> anyhow::Result<()> {
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
        let model = load::model(&config, Some("bf16"), None)?
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
        told.fitted(&model_name, tp, &times);
        for layer in unknown {
            told.notes.push(format!(
                "{name}: `{layer}` answers to no operator of {model_name}; left out"
            ));
        }
        import::add_kernels(&mut kernels, times);
    }
    for k in &mut kernels {
        k.provenance.source = source.words();
    }
    let gpu_name = gpu_name.expect("set with the first folder");
    let gpu = known(&gpu_name)?;
    let profile = import::device_of(gpu, kernels, &source)
        .context("the tables hold no matrix product that curves could be read off")?;
    save(&profile, &args.output, told)
}

/// Writes a profile that reads back.
fn save(profile: &DeviceProfile, output: &Path, told: &mut Imported) -> anyhow::Result<()> {
    let text = compact::text(&serde_json::to_value(profile)?);
    DeviceProfile::parse(&text, "the profile just made")?;
    files::write(output, &text)?;
    told.wrote("device profile", output);
    Ok(())
}

fn known(name: &str) -> anyhow::Result<&'static gpus::Gpu> {
    gpus::find(name).with_context(|| {
        let known: Vec<&str> = gpus::ALL.iter().map(|g| g.id).collect();
        format!(
            "no memory size and link are known of `{name}`; those of these are: {}",
            known.join(", ")
        )
    })
}

/// The newest release beneath `family` that holds `file`, or the one asked for.
fn release(family: &Path, wanted: Option<&str>, file: &str) -> Option<(String, PathBuf)> {
    let mut all: Vec<(Vec<u64>, String, PathBuf)> = std::fs::read_dir(family)
        .ok()?
        .filter_map(|e| {
            let path = e.ok()?.path().join(file);
            let name = path.parent()?.file_name()?.to_str()?.to_string();
            let key = name.split('.').map(|p| p.parse().unwrap_or(0)).collect();
            path.is_file().then_some((key, name, path))
        })
        .filter(|(_, name, _)| wanted.is_none_or(|w| w == name))
        .collect();
    all.sort();
    all.pop().map(|(_, name, path)| (name, path))
}

/// Adds a table's bytes to a database; the name is for messages.
type Add<'a> =
    dyn FnMut(&mut aiconfigurator::Database, &[u8], &str) -> Result<(), import::ImportError> + 'a;

/// The folder of a system's tables, beneath the folder that was named.
fn aiconfigurator_root(args: &AiconfiguratorArgs) -> anyhow::Result<PathBuf> {
    let beneath = |d: &Path| d.join("data").join(&args.system);
    [
        beneath(&args.dir),
        beneath(&args.dir.join("systems")),
        beneath(&args.dir.join("aiconfigurator_core/systems")),
    ]
    .into_iter()
    .find(|p| p.is_dir())
    .with_context(|| {
        format!(
            "{}: there is no systems/data/{} in it; unpack the wheel of aiconfigurator-core and name its folder",
            args.dir.display(),
            args.system
        )
    })
}

/// What is known of the system's GPU: capsim's own figures, else those of the package's own description beside its tables.
fn aiconfigurator_gpu(args: &AiconfiguratorArgs, root: &Path) -> anyhow::Result<gpus::Gpu> {
    if let Some(gpu) = gpus::find(&args.system) {
        return Ok(*gpu);
    }
    let systems = root.parent().and_then(Path::parent).unwrap_or(root);
    let file = systems.join(format!("{}.yaml", args.system));
    if !file.is_file() {
        return Err(known(&args.system).expect_err("not found above"))
            .with_context(|| format!("there is no {} either", file.display()));
    }
    let text = files::read(&file)?;
    Ok(import::system::gpu(
        &args.system,
        &text,
        &file.display().to_string(),
    )?)
}

/// The models, in bf16, whole and shared by up to eight devices.
fn bf16_models(names: &[String]) -> anyhow::Result<Vec<Model>> {
    let mut models: Vec<Model> = vec![];
    for name in names {
        let whole = load::model(&load::config(name)?, Some("bf16"), None)?;
        models.extend(
            [1, 2, 4, 8]
                .iter()
                .filter_map(|&t| whole.shared(Parallel::tensor(t)).ok()),
        );
    }
    Ok(models)
}

fn aiconfigurator_database(args: &AiconfiguratorArgs, told: &mut Imported) -> anyhow::Result<()> {
    let root = aiconfigurator_root(args)?;
    let gpu = aiconfigurator_gpu(args, &root)?;
    let mut db = aiconfigurator::Database::default();
    let mut newest = String::new();
    let mut load_table = |family: &str,
                          backend: &str,
                          wanted: Option<&str>,
                          file: &str,
                          add: &mut Add<'_>|
     -> anyhow::Result<()> {
        let folder = root.join(family).join(backend);
        let Some((version, path)) = release(&folder, wanted, file) else {
            told.notes.push(format!("{}: no {file}", folder.display()));
            return Ok(());
        };
        let bytes = std::fs::read(&path).with_context(|| format!("{}", path.display()))?;
        add(&mut db, &bytes, &path.display().to_string())?;
        told.tables
            .insert(family.into(), format!("{backend} {version}"));
        if family == "gemm" {
            newest = version;
        }
        Ok(())
    };
    let (backend, wanted) = (args.backend.as_str(), args.release.as_deref());
    let tables: [(&str, &str, &mut Add<'_>); 4] = [
        ("gemm", "gemm_perf.parquet", &mut |d, b, n| d.add_gemm(b, n)),
        (
            "attention",
            "generation_attention_perf.parquet",
            &mut |d, b, n| d.add_attention(b, n, true),
        ),
        (
            "attention",
            "context_attention_perf.parquet",
            &mut |d, b, n| d.add_attention(b, n, false),
        ),
        ("moe", "moe_perf.parquet", &mut |d, b, n| d.add_moe(b, n)),
    ];
    for (family, file, add) in tables {
        load_table(family, backend, wanted, file, add)?;
    }
    let own = root.join("comm").join(backend);
    if release(&own, None, "custom_allreduce_perf.parquet").is_some() {
        load_table(
            "comm",
            backend,
            None,
            "custom_allreduce_perf.parquet",
            &mut |d, b, n| d.add_all_reduce(b, n, false),
        )?;
    } else {
        load_table("comm", "nccl", None, "nccl_perf.parquet", &mut |d, b, n| {
            d.add_all_reduce(b, n, true)
        })?;
    }
    let models = bf16_models(&args.models)?;
    let source = Source {
        name: format!("{}, {}/{} {newest}", args.source, args.system, args.backend),
        licence: args.licence.clone(),
    };
    let engine = format!("{} {newest}", args.backend);
    let profile = db
        .device(&gpu, &models, &engine, &source)
        .with_context(|| {
            format!(
                "{}: no bf16 matrix products that curves could be read off",
                root.display()
            )
        })?;
    for k in &profile.kernels {
        told.fitted(&args.system, 1, k);
    }
    save(&profile, &args.output, told)
}

fn vidur_profile(args: &VidurArgs, told: &mut Imported) -> anyhow::Result<()> {
    let source = args.device.source();
    let gpu = args.device.gpu(None)?;
    let whole = load::model(&load::config(&args.model)?, Some("bf16"), None)?;
    let name = |p: &Path| p.display().to_string();
    let mlp = files::read(&args.mlp)?;
    let attention = match &args.attention {
        Some(p) => Some((files::read(p)?, name(p))),
        None => None,
    };
    let mut kernels = vec![];
    for &tp in &args.tensor_parallel_size {
        let model = whole
            .shared(Parallel::tensor(tp))
            .map_err(|e| anyhow::anyhow!("--tensor-parallel-size {tp}: {e}"))?;
        let tables = vidur::tables(
            (&mlp, &name(&args.mlp)),
            attention.as_ref().map(|(t, n)| (t.as_str(), n.as_str())),
            tp,
        )?;
        let (times, _) =
            llmservingsim::kernel_times(&tables, &model, "Vidur's profiler", &source.words());
        told.fitted(&args.model, tp, &times);
        import::add_kernels(&mut kernels, times);
    }
    let profile = import::device_of(&gpu, kernels, &source)
        .context("there are no matrix products that curves could be read off")?;
    save(&profile, &args.device.output, told)
}

fn llama_bench(args: &LlamaBenchArgs, told: &mut Imported) -> anyhow::Result<()> {
    let gpu = args.device.gpu(None)?;
    let name = args.file.display().to_string();
    let config = load::config(&args.model)?;
    let model = load::model(&config, Some(&args.weights), None)?;
    let (all, notes) = llama_bench::read(&files::read(&args.file)?, &name)?.of(&model, &name)?;
    told.notes.extend(notes);
    told.measurements = Some(all.len());
    let source = args.device.source();
    let mut profile = llamacpp::device(&gpu, &model, &all, &source, &name)?;
    // Gaps between kernels are in the measured times.
    profile.launch.value = 1e-12;
    if let Some(path) = &args.engine_output {
        let like = capsim::device::builtin::engine("vllm-0.19-cuda")?;
        let mut engine = llamacpp::engine(&like, &profile, &source);
        engine.weights = model
            .weight_formats()
            .into_iter()
            .map(|f| f.kind())
            .collect();
        engine.other_weights = vec![];
        let text = compact::text(&serde_json::to_value(&engine)?);
        capsim::device::EngineProfile::parse(&text, "the profile just made")?;
        files::write(path, &text)?;
        told.wrote("engine profile", path);
    }
    save(&profile, &args.device.output, told)
}

fn backend_ops(args: &BackendOpsArgs, told: &mut Imported) -> anyhow::Result<()> {
    let name = args.file.display().to_string();
    let found = llamacpp::operators(&files::read(&args.file)?, &name)?;
    let gpu = args.device.gpu(found.memory)?;
    let kernels = found.kernel_times("llama.cpp", &args.device.source());
    for k in &kernels {
        told.fitted(&k.format, 1, k);
    }
    for (op, n) in &found.left_out {
        told.notes.push(format!(
            "{n} lines of {op} are left out: shapes or formats that no profile holds yet"
        ));
    }
    let profile = import::device_of(&gpu, kernels, &args.device.source())
        .context("there are no matrix products that curves could be read off")?;
    save(&profile, &args.device.output, told)
}

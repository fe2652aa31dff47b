//! `capsim calibrate`.
use super::files;
use anyhow::{Context, anyhow, bail, ensure};
use capsim_calibrate::backend::{Api, Backend, DeviceInfo};
use capsim_calibrate::bundle::Bundle;
use capsim_calibrate::clock::{SimulatedClock, now_utc};
use capsim_calibrate::compare::compare;
use capsim_calibrate::cpu::Cpu;
use capsim_calibrate::discover::{self, Found, Selector};
use capsim_calibrate::environment::Environment;
use capsim_calibrate::family::{Effort, Family};
use capsim_calibrate::fit::{self, Fit};
use capsim_calibrate::protocol;
use capsim_calibrate::samples::{Limits, SamplesFile};
use capsim_calibrate::supervise::{self, News};
use capsim_calibrate::synthetic::{self, Synthetic, Truth};
use capsim_calibrate::torch::{self, Torch};
use capsim_calibrate::worker::{Job, Message};
use capsim_calibrate::{datasheet, families, meaning, sources};
use capsim_study::report::json::{self, calibration::Comparison};
use capsim_study::report::{self, calibration, roofline};
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Choice {
    /// OpenCL: the first choice for GPUs
    Opencl,
    /// Vulkan, Metal or DX12
    Wgpu,
    /// This machine's processor
    Cpu,
    /// Your own PyTorch, with vLLM's kernels where it is installed: what an engine runs
    Torch,
    /// All of them are looked for, and the best is taken: PyTorch on a GPU, then OpenCL and wgpu, then the processor
    Auto,
    /// A made-up device with known truth, for tests
    Synthetic,
}

#[derive(Args, Debug)]
pub struct CalibrateArgs {
    /// How to reach the device (default: the best GPU, by OpenCL, else by wgpu, else the processor)
    #[arg(long, value_enum)]
    backend: Option<Choice>,
    /// The Python of `--backend torch`, or its virtual environment (default: the active environment's, else `python3`)
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Which device: `opencl:0` as `capsim devices` lists it, or a part of its name
    #[arg(long)]
    pub(super) device: Option<String>,
    /// At most 20 seconds: what a profile cannot do without
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// As long as it takes, instead of at most two minutes
    #[arg(long)]
    full: bool,
    /// Folder for samples.json, device.json, roofline.svg and README.md (default: calibration/DEVICE/DATE)
    #[arg(short, long, value_name = "DIR")]
    pub(super) output: Option<PathBuf>,
    /// Go on with an interrupted calibration in the folder
    #[arg(long)]
    resume: bool,
    /// Make the profile again from stored samples, measuring nothing
    #[arg(long, value_name = "SAMPLES", conflicts_with_all = ["backend", "device", "quick", "full", "resume", "family", "compare"])]
    refit: Option<PathBuf>,
    /// Also write profile, samples and environment as one file, to be read through and sent; with --refit of a calibration that exists
    #[arg(long, value_name = "FILE", conflicts_with = "compare")]
    bundle: Option<PathBuf>,
    /// A result of `capsim bench serve --save-result` against a server on this device, for the bundle
    #[arg(long, value_name = "FILE", requires = "bundle")]
    bench: Option<PathBuf>,
    /// Two calibrations (folders or samples files): what is faster or slower in the second
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["backend", "device", "quick", "full", "resume", "family"])]
    compare: Option<Vec<PathBuf>>,
    /// Only these families of microbenchmarks
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    family: Vec<String>,
    /// Memory bandwidth of the device in GB/s, if you know it: rates above it are rejected
    #[arg(long, value_name = "GB/S")]
    peak_bandwidth: Option<f64>,
    /// 16-bit matrix rate of the device in TFLOP/s, if you know it: rates above it are rejected
    #[arg(long, value_name = "TFLOP/S")]
    peak_tflops: Option<f64>,
    /// Seed of all random contents
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Measure a busy device too
    #[arg(long)]
    force: bool,
    /// Last-level cache of the device in MiB, where its driver does not tell: rings are four times as large
    #[arg(long, value_name = "MIB")]
    cache: Option<u64>,
    /// Threads of `--backend cpu` and of PyTorch on a processor (default: one per logical core); 1 describes a single core
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Seconds without a sign of life after which the driver counts as hung; its point is recorded and the next one goes on
    #[arg(long, default_value_t = supervise::SILENCE.as_secs_f64(), value_name = "SECONDS")]
    timeout: f64,
    /// Afterwards keep the device busy for so many seconds: how its rates fall from the first seconds to what it can sustain
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=7200), conflicts_with_all = ["refit", "compare"])]
    soak: Option<u32>,
    /// Fit an engine profile to what a running vLLM server counts in its /metrics, under whatever traffic it has; capsim sends none. Its
    /// device by --device, its settings by the pasted line; written to -o FILE (default: engine-from-metrics.json)
    #[arg(long, value_name = "URL", requires = "device", conflicts_with_all = ["backend", "python", "quick", "full", "resume", "refit", "compare", "family", "bundle", "soak", "threads"])]
    from_metrics: Option<String>,
    /// Minutes to watch the server for
    #[arg(long, default_value_t = 10.0, requires = "from_metrics")]
    pub(super) minutes: f64,
    /// Model of the server: a built-in name, or the path of a config.json (default: what the server names)
    #[arg(long, requires = "from_metrics")]
    pub(super) model: Option<String>,
    /// Engine profile to begin with (default: the one for the server's release on the device)
    #[arg(long, requires = "from_metrics")]
    pub(super) engine: Option<String>,
    /// The server's `vllm serve …` line, for --from-metrics
    #[arg(last = true, value_name = "vllm serve …", requires = "from_metrics")]
    pub(super) line: Vec<String>,
    /// Machine-readable output
    #[arg(long)]
    pub(super) json: bool,
}

/// The device that is to be measured, and what is known before it is.
struct Target {
    api: Api,
    index: usize,
    info: DeviceInfo,
    families: Vec<Box<dyn Family>>,
    environment: BTreeMap<String, String>,
    free_memory: Option<u64>,
    /// Why measuring now would mislead.
    busy: Option<String>,
}

/// What the backends that were asked for find.
fn candidates(args: &CalibrateArgs) -> anyhow::Result<Vec<Found>> {
    let apis = match args.backend {
        Some(Choice::Opencl) => vec![Api::Opencl],
        Some(Choice::Wgpu) => vec![Api::Wgpu],
        Some(Choice::Cpu) => vec![Api::Cpu],
        Some(Choice::Torch | Choice::Synthetic) => vec![],
        Some(Choice::Auto) | None => discover::APIS.to_vec(),
    };
    let program = discover::this_program().context("the path of this program")?;
    let mut all = match args.backend {
        Some(Choice::Torch | Choice::Auto) => {
            discover::torch(args.python.as_deref(), torch::DEADLINE)
        }
        _ => vec![],
    };
    all.extend(discover::discover(&program, &apis, discover::DEADLINE));
    Ok(all)
}

/// The device to measure, by `--device` or the best.
fn choose<'a>(args: &CalibrateArgs, all: &'a [Found]) -> anyhow::Result<&'a Found> {
    let selector: Option<Selector> = args
        .device
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|e| anyhow!("--device: {e}"))?;
    let auto = matches!(args.backend, Some(Choice::Auto));
    if auto {
        eprint!("{}", report::devices::backends(all));
    }
    let found = match (auto, &selector) {
        (true, None) => discover::select_auto(all),
        (_, selector) => discover::select(all, selector.as_ref()),
    };
    let found = found.map_err(|e| match (args.backend, &args.device) {
        (Some(choice), None) => {
            let name = choice.to_possible_value();
            let name = name.as_ref().map_or("", |v| v.get_name());
            anyhow!("--backend {name}: {e}")
        }
        _ => anyhow!("--device: {e}"),
    })?;
    if auto {
        eprintln!("taking {}", found.id());
    }
    Ok(found)
}

/// The device that was asked for, or the best there is. It is opened in child processes only: a driver that crashes or hangs costs
/// one line here, and one point later.
fn target(args: &CalibrateArgs) -> anyhow::Result<Target> {
    ensure!(
        args.python.is_none() || matches!(args.backend, Some(Choice::Torch | Choice::Auto)),
        "--python is for --backend torch and --backend auto"
    );
    if matches!(args.backend, Some(Choice::Synthetic)) {
        return Ok(synthetic(args));
    }
    let all = candidates(args)?;
    let found = choose(args, &all)?;
    let on_processor = found.info.as_ref().is_some_and(|i| i.software);
    ensure!(
        args.threads.is_none()
            || found.api == Api::Cpu
            || (found.api == Api::Torch && on_processor),
        "--threads is for processors (--backend cpu and torch); {} decides for itself",
        found.id()
    );
    if args.backend.is_none() && args.device.is_none() && found.api == Api::Cpu {
        eprintln!(
            "no GPU can be used here (`capsim devices` says why); measuring the processor, which says nothing about a GPU"
        );
    }
    let mut facts = BTreeMap::new();
    let info = match (found.api, &found.info) {
        (Api::Cpu, _) => Cpu::with_threads(args.threads)?.info().clone(),
        (Api::Torch, _) => {
            let python = args.python.as_deref();
            let session = Torch::open(python, found.index.unwrap_or(0), args.threads)?;
            facts.extend(session.facts().clone());
            session.info().clone()
        }
        (_, Some(info)) => info.clone(),
        (_, None) => bail!("{}: the driver tells nothing about it", found.id()),
    };
    let machine = Environment::read();
    let mut environment = BTreeMap::new();
    flatten("", &serde_json::to_value(&machine)?, &mut environment);
    environment.extend(facts);
    if let Some(n) = args.threads {
        environment.insert("threads".into(), n.to_string());
    }
    // A discrete GPU's free memory is its total; where host and device share it, what the host has free counts.
    let shared = info.unified_memory || info.software;
    let available = machine.host.memory_available.value().copied();
    let disturbances = machine.disturbances();
    Ok(Target {
        api: found.api,
        index: found.index.unwrap_or(0),
        free_memory: available.filter(|_| shared),
        families: match found.api {
            Api::Torch => families::torch(),
            _ => families::all(),
        },
        busy: (!disturbances.is_empty()).then(|| disturbances.join("; ")),
        environment,
        info,
    })
}

fn synthetic(args: &CalibrateArgs) -> Target {
    let device = Synthetic::new(Truth::default(), args.seed, SimulatedClock::default(), None);
    Target {
        api: Api::Synthetic,
        index: 0,
        info: device.info().clone(),
        families: synthetic::families(),
        environment: BTreeMap::new(),
        free_memory: None,
        busy: None,
    }
}

/// A tree of readings as lines: `host.load: 0.3`; what is missing says why.
fn flatten(path: &str, value: &serde_json::Value, out: &mut BTreeMap<String, String>) {
    let under = |key: &str| match (path, key) {
        ("", key) => key.to_string(),
        (path, "value") => path.to_string(),
        (path, "missing") => path.to_string(),
        (path, key) => format!("{path}.{key}"),
    };
    match value {
        serde_json::Value::Object(o) => {
            for (k, v) in o {
                match v.as_str() {
                    Some(why) if k == "missing" => {
                        out.insert(path.to_string(), format!("unknown: {why}"));
                    }
                    _ => flatten(&under(k), v, out),
                }
            }
        }
        serde_json::Value::Array(a) => {
            for (i, v) in a.iter().enumerate() {
                flatten(&under(&i.to_string()), v, out);
            }
        }
        serde_json::Value::String(s) => {
            out.insert(path.to_string(), s.clone());
        }
        other => {
            out.insert(path.to_string(), other.to_string());
        }
    }
}

/// A calibration's samples: the file, or the folder that holds it.
fn load(path: &Path) -> anyhow::Result<SamplesFile> {
    let path = if path.is_dir() {
        path.join("samples.json")
    } else {
        path.to_path_buf()
    };
    Ok(SamplesFile::parse(
        &files::read(&path)?,
        &path.display().to_string(),
    )?)
}

fn limits(args: &CalibrateArgs, device: &str) -> anyhow::Result<Limits> {
    let mut limits = datasheet::limits(device);
    for (flag, value, scale) in [
        ("--peak-bandwidth", args.peak_bandwidth, 1e9),
        ("--peak-tflops", args.peak_tflops, 1e12),
    ] {
        let Some(v) = value else { continue };
        ensure!(
            v.is_finite() && v > 0.0 && v < 1e7,
            "{flag} {v}: must be a positive number"
        );
        let to = if scale == 1e9 {
            &mut limits.bandwidth
        } else {
            &mut limits.flops
        };
        *to = Some(v * scale);
        limits.source = if limits.source.is_empty() {
            "given on the command line".into()
        } else {
            format!("{}; {flag} given on the command line", limits.source)
        };
    }
    Ok(limits)
}

/// What is written besides the samples.
fn outputs(dir: &Path, file: &SamplesFile) -> anyhow::Result<(Fit, Option<meaning::Meaning>)> {
    let fit = fit::fit(file, "samples.json")?;
    let meaning = meaning::of(&fit.profile).ok();
    files::write(
        &dir.join("device.json"),
        &(serde_json::to_string_pretty(&fit.profile)? + "\n"),
    )?;
    if let Some(svg) = roofline::svg(file, &fit) {
        files::write(&dir.join("roofline.svg"), &svg)?;
    }
    files::write(
        &dir.join("README.md"),
        &calibration::readme(file, &fit, meaning.as_ref()),
    )?;
    Ok((fit, meaning))
}

fn show(
    args: &CalibrateArgs,
    dir: &Path,
    file: &SamplesFile,
    fit: &Fit,
    meaning: Option<&meaning::Meaning>,
) -> anyhow::Result<ExitCode> {
    let bundle = args.bundle.as_deref();
    if let Some(path) = bundle {
        write_bundle(args, path, file, fit)?;
    }
    if args.json {
        println!("{}", json::text(&calibration::json(file, fit, meaning)));
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}", calibration::text(file, fit, meaning));
    println!(
        "\nWritten to {0}\nNext: capsim predict --device {0}",
        dir.display()
    );
    if let Some(path) = bundle {
        println!(
            "To send: {} (read it through; `capsim import calibration` takes it)",
            path.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn write_bundle(
    args: &CalibrateArgs,
    path: &Path,
    file: &SamplesFile,
    fit: &Fit,
) -> anyhow::Result<()> {
    let bench = match &args.bench {
        Some(path) => {
            let text = files::read(path).context("--bench")?;
            let name = format!("--bench {}", path.display());
            let value = serde_json::from_str(&text).with_context(|| format!("{name}: no JSON"))?;
            Some((name, value))
        }
        None => None,
    };
    let bench = bench
        .as_ref()
        .map(|(n, v): &(String, serde_json::Value)| (n.as_str(), v.clone()));
    let bundle = Bundle::new(fit.profile.clone(), file.clone(), bench)?;
    files::write(path, &bundle.to_text())
}

pub fn run(args: &CalibrateArgs) -> anyhow::Result<ExitCode> {
    if let Some(url) = &args.from_metrics {
        #[cfg(feature = "live")]
        return super::from_metrics::run(args, url);
        #[cfg(not(feature = "live"))]
        return super::left_out::refuse(&format!("calibrate --from-metrics {url}"));
    }
    if let Some(pair) = &args.compare {
        let (a, b) = (load(&pair[0])?, load(&pair[1])?);
        let all = compare(&a, &b);
        let name = |p: &PathBuf, f: &SamplesFile| {
            format!("{} ({}, {})", p.display(), f.device.name, f.started)
        };
        let (a, b) = (name(&pair[0], &a), name(&pair[1], &b));
        if args.json {
            println!("{}", json::text(&Comparison::new(&a, &b, &all)));
        } else {
            print!("{}", calibration::comparison(&a, &b, &all));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = &args.refit {
        let file = load(path)?;
        let folder = if path.is_dir() {
            path.clone()
        } else {
            path.parent().map(Path::to_path_buf).unwrap_or_default()
        };
        let dir = args.output.clone().unwrap_or(folder);
        std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
        let (fit, meaning) = outputs(&dir, &file)?;
        return show(args, &dir, &file, &fit, meaning.as_ref());
    }
    measure(args)
}

/// Whether what was asked for can be measured now.
fn check(args: &CalibrateArgs, target: &Target) -> anyhow::Result<()> {
    let known: Vec<&str> = target.families.iter().map(|f| f.name()).collect();
    for name in &args.family {
        ensure!(
            known.contains(&name.as_str()),
            "--family `{name}`: there is no such family; there are: {}",
            known.join(", ")
        );
    }
    if let Some(why) = &target.busy {
        // A software device's speed is never used as a GPU's: a warning is enough there.
        ensure!(
            args.force || target.info.software,
            "the device is busy: {why}. Another program's load would be measured as slowness; stop it, or use --force"
        );
        eprintln!("warning: the device is busy: {why}");
    }
    Ok(())
}

/// A file that asks for measurements and has none yet.
fn fresh(args: &CalibrateArgs, target: Target, effort: Effort) -> anyhow::Result<SamplesFile> {
    let (mut info, api) = (target.info, target.api);
    if let Some(mib) = args.cache {
        ensure!((1..=4096).contains(&mib), "--cache: from 1 to 4096 MiB");
        info.cache_bytes = mib << 20;
    }
    let started = now_utc();
    let ring_bytes = protocol::ring_bytes(&info, effort);
    Ok(SamplesFile {
        schema: SamplesFile::SCHEMA.into(),
        capsim: env!("CARGO_PKG_VERSION").into(),
        command: command_line(),
        complete: false,
        api,
        environment: target.environment,
        effort,
        seed: args.seed,
        only: args.family.clone(),
        ring_bytes,
        budget_bytes: protocol::memory_budget(&info, target.free_memory),
        timer_tick_s: 0.0,
        submit_s: 0.0,
        limits: limits(args, &info.name)?,
        kernels: match api {
            Api::Torch => BTreeMap::from([("torch".to_string(), torch::python::hash())]),
            _ => sources::names()
                .filter_map(|n| Some((n.to_string(), sources::kernel_hash(n, &[], api)?)))
                .collect(),
        },
        sentinel: vec![],
        soak_s: args.soak.unwrap_or(0) as f64,
        soak: vec![],
        power: None,
        points: vec![],
        started,
        device: info,
    })
}

pub(super) fn bar() -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new(1);
    bar.set_draw_target(indicatif::ProgressDrawTarget::stderr_with_hz(4));
    bar.set_style(
        indicatif::ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}")
            .expect("a valid template"),
    );
    bar
}

/// Progress on standard error.
fn show_news(bar: &indicatif::ProgressBar, news: News) {
    match news {
        News::Heard(Message::Begin {
            record,
            done,
            total,
            left_s,
        }) => {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(match left_s {
                Some(l) => format!("{}, at most {l:.0} s left", record.key()),
                None => record.key(),
            });
        }
        News::Heard(Message::Pause) => {
            bar.set_message("the device slowed down; letting it rest");
        }
        News::Heard(_) => {}
        News::Crash(words) => bar.suspend(|| eprintln!("the driver failed: {words}")),
    }
}

/// Keeps what was measured before the session broke off; the error says what can be done with it.
fn ended_early(
    dir: &Path,
    samples: &Path,
    file: &SamplesFile,
    why: &str,
) -> anyhow::Result<ExitCode> {
    let name = &file.device.name;
    ensure!(
        file.points.iter().any(|p| p.seconds().is_some()),
        "{name} could not be measured: {why}"
    );
    files::write(samples, &file.to_text())?;
    // What there is may be enough for a profile.
    let profile = match outputs(dir, file) {
        Ok(_) => "and a profile made from it beside it".to_string(),
        Err(e) => format!("which is not enough for a profile ({e:#})"),
    };
    bail!(
        "measuring {name} ended early: {why}. What was measured is in {}, {profile}; go on with --resume",
        samples.display()
    );
}

fn measure(args: &CalibrateArgs) -> anyhow::Result<ExitCode> {
    let effort = match (args.quick, args.full) {
        (true, _) => Effort::Quick,
        (_, true) => Effort::Full,
        _ => Effort::Standard,
    };
    ensure!(
        args.threads.is_none_or(|n| (1..=4096).contains(&n)),
        "--threads: from 1 to 4096"
    );
    let silence = Duration::try_from_secs_f64(args.timeout)
        .ok()
        .filter(|t| !t.is_zero())
        .with_context(|| format!("--timeout {}: a number of seconds above 0", args.timeout))?;
    let target = target(args)?;
    check(args, &target)?;
    let index = target.index;
    let fresh = fresh(args, target, effort)?;
    let dir = match &args.output {
        Some(dir) => dir.clone(),
        None => Path::new("calibration")
            .join(fit::slug(&fresh.device.name))
            .join(&fresh.started[..10]),
    };
    let samples = dir.join("samples.json");
    let file = if args.resume {
        resumed(load(&dir).context("--resume")?, &fresh)?
    } else {
        ensure!(
            args.output.is_some() || !samples.exists(),
            "{}: there is a calibration of today already; use --resume to go on with it, or -o for another folder",
            samples.display()
        );
        fresh
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
    if !args.json {
        eprintln!("measuring {}", file.device.name);
    }
    let bar = bar();
    let program = discover::this_program().context("the path of this program")?;
    let job = Job {
        index,
        threads: args.threads,
        python: args.python.clone(),
        left_s: protocol::time_budget(effort).map(|b| b.as_secs_f64()),
        samples: std::path::absolute(&samples).context("the path of the samples")?,
        file,
    };
    let ended = supervise::run(
        &mut || {
            let mut worker = Command::new(&program);
            worker.arg("measure-device");
            worker
        },
        job,
        silence,
        &|| match samples.exists() {
            true => load(&samples).map(Some).map_err(|e| format!("{e:#}")),
            false => Ok(None),
        },
        &|file| files::write(&samples, &file.to_text()).map_err(|e| format!("{e:#}")),
        &mut |news| show_news(&bar, news),
    );
    bar.finish_and_clear();
    let (file, stopped) = match ended {
        Ok(file) => (file, None),
        Err((file, why)) => (*file, Some(why)),
    };
    if let Some(why) = stopped {
        return ended_early(&dir, &samples, &file, &why);
    }
    let (fit, meaning) = outputs(&dir, &file)
        .with_context(|| format!("the samples are in {}", samples.display()))?;
    show(args, &dir, &file, &fit, meaning.as_ref())
}

/// An interrupted calibration, if it is one of this device under these conditions.
fn resumed(mut old: SamplesFile, new: &SamplesFile) -> anyhow::Result<SamplesFile> {
    for (what, was, is) in [
        ("device", old.device.name.clone(), new.device.name.clone()),
        (
            "driver",
            old.device.driver.clone(),
            new.device.driver.clone(),
        ),
        ("release of capsim", old.capsim.clone(), new.capsim.clone()),
        (
            "backend",
            format!("{:?}", old.api),
            format!("{:?}", new.api),
        ),
        (
            "effort",
            format!("{:?}", old.effort),
            format!("{:?}", new.effort),
        ),
        ("seed", old.seed.to_string(), new.seed.to_string()),
    ] {
        ensure!(
            was == is,
            "--resume: the {what} was {was} and is now {is}; samples of both do not belong together. Measure into another folder"
        );
    }
    for (name, hash) in &new.kernels {
        ensure!(
            old.kernels.get(name).is_none_or(|h| h == hash),
            "--resume: kernel `{name}` has changed since; measure into another folder"
        );
    }
    if old.soak_s != new.soak_s || !old.complete {
        // Half a soak says nothing.
        old.soak.clear();
    }
    old.soak_s = new.soak_s;
    old.complete = false;
    old.only = new.only.clone();
    old.limits = new.limits.clone();
    old.budget_bytes = new.budget_bytes;
    Ok(old)
}

/// Flags whose value says where something lies on this machine.
const PATHS: [&str; 5] = ["-o", "--output", "--python", "--bundle", "--bench"];

/// The command as typed, without what only says where things lie on this machine.
fn command_line() -> String {
    let mut words = vec!["capsim".to_string()];
    let mut skip = false;
    for word in std::env::args().skip(1) {
        let flag = word.split('=').next().unwrap_or("");
        let path = PATHS.contains(&flag);
        if !std::mem::take(&mut skip) && !path {
            words.push(word);
            continue;
        }
        // The value is a word of its own, unless it stands behind `=`.
        skip = path && !word.contains('=');
    }
    words.join(" ")
}

//! `capsim calibrate --from-metrics`: an engine profile from what a running server counts, without a request of capsim's own.
use super::bench::client_args::key_from_environment;
use super::scenario_args::read_line;
use super::{calibrate::CalibrateArgs, files, load};
use anyhow::{Context, ensure};
use capsim::engine::settings::*;
use capsim::line::Line;
use capsim::predict::spec::weighted;
use capsim::predict::{EngineWanted, Engines};
use capsim_calibrate::clock::now_utc;
use capsim_live::bench::client::{Client, ClientOptions};
use capsim_live::bench::counted;
use capsim_live::bench::scrape::{self, ServerInfo};
use capsim_live::openai::metrics;
use capsim_live::openai::prometheus::Scrape;
use capsim_study::report::json;
use capsim_study::validate::from_metrics::{self, FromMetrics, Window};
use capsim_study::validate::hypothesis::Basis;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Time between two looks: batches hardly change in it, and a loaded server makes many steps.
const PERIOD: Duration = Duration::from_secs(1);

/// Looks at the server until the time is over or the user interrupts.
async fn watch(client: &Client, minutes: f64, bar: &indicatif::ProgressBar) -> Vec<Scrape> {
    let mut every = tokio::time::interval(PERIOD);
    let looks = (minutes * 60.0 / PERIOD.as_secs_f64()).ceil() as u64 + 1;
    bar.set_length(looks);
    let mut all = vec![];
    for _ in 0..looks {
        tokio::select! {
            _ = every.tick() => {}
            _ = tokio::signal::ctrl_c() => break,
        }
        // A look that fails is left out: the next one counts from the last that did not.
        all.extend(scrape::look(client).await);
        bar.inc(1);
    }
    all
}

/// A server that was reached, and what it says of itself.
struct Server {
    client: Client,
    runtime: tokio::runtime::Runtime,
    info: ServerInfo,
}

fn server(url: &str) -> anyhow::Result<Server> {
    let client = Client::new(ClientOptions {
        base_url: url.into(),
        api_key: key_from_environment(),
        ..ClientOptions::default()
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the client")?;
    let info = runtime.block_on(scrape::server_info(&client));
    ensure!(
        info.metrics,
        "--from-metrics {url}: /metrics gives nothing: is a vLLM server there, and may it be read? (the address without a path)"
    );
    Ok(Server {
        client,
        runtime,
        info,
    })
}

/// What the server counts from now on.
fn observe(url: &str, args: &CalibrateArgs, server: &Server) -> anyhow::Result<Vec<Window>> {
    let blocks = server.info.num_gpu_blocks.with_context(|| {
        format!("{url}: /metrics does not tell the number of KV blocks (vllm:cache_config_info)")
    })?;
    let block = server.info.block_size.with_context(|| {
        format!("{url}: /metrics does not tell the size of a KV block (vllm:cache_config_info)")
    })?;
    if !args.json {
        eprintln!(
            "watching {url} for {} minutes; nothing is sent to it but looks at /metrics",
            args.minutes
        );
    }
    let bar = super::calibrate::bar();
    let looks = watch(&server.client, args.minutes, &bar);
    let looks = server.runtime.block_on(looks);
    bar.finish_and_clear();
    let engines = |s: &Scrape| s.named(metrics::RUNNING).count();
    ensure!(
        looks.iter().all(|s| engines(s) <= 1),
        "{url}: several engines count together there (data parallel); one engine's steps cannot be told from their sums"
    );
    let capacity = f64::from(block) * f64::from(blocks);
    let window = |c: counted::Counted| Window {
        steps: c.steps,
        tokens: c.tokens,
        token_seconds: c.token_seconds,
        first_tokens: c.first_tokens,
        prompt_tokens: c.prompt_tokens,
        cached_tokens: c.cached_tokens,
        kv_tokens: c.kv_usage * capacity,
        running: c.running,
    };
    Ok(counted::windows(&looks).into_iter().map(window).collect())
}

/// What the server runs, by the command and by its own words.
fn basis(args: &CalibrateArgs, line: &Line, info: &ServerInfo) -> anyhow::Result<Basis> {
    let named = args.model.clone().or(line.model.clone());
    let own = || {
        let names = info.root.iter().chain(&info.models);
        names.into_iter().find(|n| load::config(n).is_ok()).cloned()
    };
    let model_name = named.or_else(own).with_context(|| {
        format!(
            "the server calls its model {}, which is no built-in name: give --model with the path of its config.json",
            info.models.first().map_or("nothing", String::as_str)
        )
    })?;
    let config = load::config(&model_name)?;
    let model = weighted(&config, None, &line.settings)?;
    let device = args
        .device
        .as_deref()
        .context("--from-metrics: say which device profile the server's device has: --device NAME or a folder of calibrate")?;
    let device = load::device(device)?;
    let told = info.version.as_deref().and_then(|v| v.parse().ok());
    let release = told.or_else(|| line.release.as_ref().and_then(|r| r.parse().ok()));
    let engines = Engines::builtin();
    let engine = match &args.engine {
        Some(name) => load::engine(name)?,
        None => engines.choose(&EngineWanted {
            model: &model,
            device: &device,
            engine: line.engine,
            release,
        }),
    };
    ensure!(
        engine.scheduler.is_vllm(),
        "--from-metrics reads vLLM's counters; `{}` is a profile of another engine",
        engine.id
    );
    Ok(Basis {
        model_name,
        model,
        device,
        engine,
        release,
        moe_path: None,
    })
}

fn text(found: &FromMetrics, path: &Path) -> String {
    let mut o = format!(
        "{:.0} tokens in {} groups of alike steps, batches of {:.1} to {:.1}\n\
         mean time between tokens: median error {:.1} % before, {:.1} % after\n\n",
        found.tokens,
        found.groups,
        found.batches.0,
        found.batches.1,
        100.0 * found.errors.0,
        100.0 * found.errors.1
    );
    let said = |c: &&capsim_study::validate::fit::Change| {
        (c.after / c.before - 1.0).abs() > 0.005 || c.rel_sd_after < 0.95 * c.rel_sd_before
    };
    for c in found.fit.changes.iter().filter(said) {
        o.push_str(&format!(
            "  {:<32} {:>10.4} ± {:>3.0} %  →  {:>10.4} ± {:>3.0} %\n",
            c.name,
            c.before,
            100.0 * c.rel_sd_before,
            c.after,
            100.0 * c.rel_sd_after
        ));
    }
    o.push_str(&format!(
        "\nAll others keep their prior: the counters say nothing of them.\nWritten to {0}\nNext: capsim predict --engine {0}\n",
        path.display()
    ));
    o
}

pub fn run(args: &CalibrateArgs, url: &str) -> anyhow::Result<ExitCode> {
    ensure!(
        args.minutes.is_finite() && args.minutes > 0.0 && args.minutes <= 1440.0,
        "--minutes {}: a number above 0, at most 1440",
        args.minutes
    );
    let line = match args.line.is_empty() {
        true => Line::default(),
        false => read_line(&args.line, &Default::default())?,
    };
    let path = args
        .output
        .clone()
        .unwrap_or_else(|| "engine-from-metrics.json".into());
    let started = now_utc();
    // What is wrong with the command is said before minutes are spent.
    let server = server(url)?;
    let basis = basis(args, &line, &server.info)?;
    let windows = observe(url, args, &server)?;
    let info = &server.info;
    let mut settings = line.settings.clone();
    let told = info.max_model_len;
    settings.set(MAX_MODEL_LEN, settings.get(MAX_MODEL_LEN).or(told));
    let version = info.version.as_deref().unwrap_or("of unknown release");
    let source = format!("counters of a server {version}, {started}");
    let found = from_metrics::fit(&basis, &settings, &windows, &source)?;
    let profile = serde_json::to_string_pretty(&found.fit.profile)? + "\n";
    files::write(&path, &profile)?;
    if args.json {
        println!("{}", json::text(&found.fit.profile));
    } else {
        print!("{}", text(&found, &path));
    }
    Ok(ExitCode::SUCCESS)
}

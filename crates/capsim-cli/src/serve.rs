//! `capsim serve`.
use super::files;
use super::scenario_args::{ScenarioArgs, one_engine};
use super::stop::{self, Stop};
use anyhow::{Context, bail};
use capsim::engine::settings::*;
use capsim::predict::{Scenario, Settings};
use capsim_live::serve::text::Tokenizer;
use capsim_live::serve::{Fault, Options, Server, canned};
use clap::Args;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Args, Debug)]
pub struct ServeCommand {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Address to listen at [default: 127.0.0.1]
    #[arg(long, help_heading = "Server")]
    host: Option<String>,
    /// Port; 0 takes any free one [default: 8000]
    #[arg(long, help_heading = "Server")]
    port: Option<u16>,
    /// Name of the model in requests [default: the model's]
    #[arg(long, help_heading = "Server")]
    served_model_name: Option<String>,
    /// Hugging Face tokenizer.json, or its folder (default: one word is one token)
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    tokenizer: Option<PathBuf>,
    /// Key that /v1 asks for
    #[arg(long, help_heading = "Server")]
    api_key: Vec<String>,
    /// Let answers call tools that need not be called; as vLLM it needs --tool-call-parser
    #[arg(long, requires = "tool_call_parser", help_heading = "Server")]
    enable_auto_tool_choice: bool,
    /// Format of calls in the model's own text; any is accepted, since answers are written here
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    tool_call_parser: Option<String>,
    /// Pages that may ask, as a JSON list of origins (default: [\"*\"], all of them)
    #[arg(long, value_name = "JSON", help_heading = "Server")]
    allowed_origins: Option<String>,
    /// Time runs that many times as fast
    #[arg(long, default_value_t = 1.0, help_heading = "Server")]
    speedup: f64,
    /// Tokens of an answer whose client does not set ignore_eos: N, or LOW-HIGH (default: only max_tokens ends it)
    #[arg(long, value_name = "TOKENS", help_heading = "Server")]
    answer_len: Option<String>,
    /// Tell in the usage how many prompt tokens were cached
    #[arg(long, help_heading = "Server")]
    enable_prompt_tokens_details: bool,
    /// Answers to give out: a JSON text a line, or {"contains": "in the prompt", "answer": "text"}; others are taken in turn
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    answers: Option<PathBuf>,
    /// Also answer /v1/embeddings, with vectors of so many numbers, and /v1/rerank and /v1/score
    #[arg(long, value_name = "N", help_heading = "Server")]
    embedding_size: Option<u32>,
    /// Only ask the server at this address whether it is healthy: exit code 0 or 1, for a container's health check
    #[arg(long, value_name = "HOST:PORT", help_heading = "Server")]
    probe: Option<String>,
    /// Largest request body, in MiB
    #[arg(long, default_value_t = 64, help_heading = "Server")]
    max_body_mib: usize,
    /// Seconds that open answers get to end at shutdown
    #[arg(long, default_value_t = 5.0, help_heading = "Server")]
    shutdown_timeout: f64,
    /// A fault on demand: stall:AT,FOR  error-rate:P  slow-start:SECONDS  kill-after:SECONDS  status:CODE  stream:HOW; the last two
    /// for all requests, or ,rate:P  ,queue:N  ,header:NAME=VALUE (docs/serve.md)
    #[arg(long, value_name = "FAULT", help_heading = "Server")]
    fault: Vec<Fault>,
}

fn answer_len(text: &str) -> anyhow::Result<(u32, u32)> {
    let parse = |s: &str| s.trim().parse::<u32>().ok().filter(|n| *n > 0);
    let range = match text.split_once('-') {
        Some((low, high)) => parse(low).zip(parse(high)),
        None => parse(text).map(|n| (n, n)),
    };
    match range {
        Some((low, high)) if low <= high => Ok((low, high)),
        _ => bail!("--answer-len `{text}`: must be N or LOW-HIGH, at least 1"),
    }
}

fn tokenizer(path: Option<&Path>) -> anyhow::Result<Tokenizer> {
    let Some(path) = path else {
        return Ok(Tokenizer::words());
    };
    let file = if path.is_dir() {
        path.join("tokenizer.json")
    } else {
        path.to_path_buf()
    };
    Tokenizer::from_json(&files::read(&file)?).with_context(|| format!("{}", file.display()))
}

/// Numbers that no server can run with.
fn check(args: &ServeCommand) -> anyhow::Result<()> {
    if !(args.speedup.is_finite() && (1e-3..=1e6).contains(&args.speedup)) {
        bail!(
            "--speedup {}: must lie between 0.001 and 1000000",
            args.speedup
        );
    }
    if !(0.0..=86_400.0).contains(&args.shutdown_timeout) {
        bail!(
            "--shutdown-timeout {}: must lie between 0 and 86400 seconds",
            args.shutdown_timeout
        );
    }
    if let Some(n) = args.embedding_size
        && !(1..=65_536).contains(&n)
    {
        bail!("--embedding-size {n}: must lie between 1 and 65536");
    }
    if !(1..=1024).contains(&args.max_body_mib) {
        bail!(
            "--max-body-mib {}: must lie between 1 and 1024",
            args.max_body_mib
        );
    }
    Ok(())
}

/// The key that vLLM takes from its environment (vllm 0.33.0, envs.py: VLLM_API_KEY).
#[allow(
    clippy::disallowed_methods,
    reason = "the usual place of the key, so that it need not stand on the command line"
)]
fn key_of_environment() -> Option<String> {
    std::env::var("VLLM_API_KEY").ok().filter(|k| !k.is_empty())
}

/// Whether the model has towers for images or sounds, of which only the text part is simulated.
fn takes_more_than_text(scenario: &Scenario) -> bool {
    let caveats = &scenario.model.config().caveats;
    caveats.iter().any(|c| c.contains("vision or audio towers"))
}

/// Whether an address is every interface's.
fn open_to_all(host: &str) -> bool {
    matches!(host, "0.0.0.0" | "::" | "[::]" | "*")
}

/// What the server tells of itself.
fn description(scenario: &Scenario, settings: &Settings, speedup: f64, text: &Tokenizer) -> Value {
    let config = &settings.config;
    json!({
        "vllm_config": format!("{config:?}"),
        "capsim": {
            "simulated": true,
            "model": scenario.model_name,
            "device": scenario.device.name,
            "engine": scenario.engine.id,
            "engine_version": scenario.version(),
            "rules": settings.rules(),
            "data_parallel_size": settings.group.engines,
            "num_gpu_blocks": config.num_gpu_blocks,
            "block_size": config.block_size,
            "max_num_seqs": config.max_num_seqs,
            "max_num_batched_tokens": config.max_num_batched_tokens,
            "max_model_len": config.max_model_len,
            "enable_prefix_caching": config.enable_prefix_caching,
            "async_scheduling": config.async_scheduling,
            "speedup": speedup,
            "tokenizer": text.describe(),
        },
    })
}

/// The same in words, for the terminal.
fn about(scenario: &Scenario, settings: &Settings, speedup: f64, text: &Tokenizer) -> String {
    let config = &settings.config;
    format!(
        "capsim serve: a simulation, no model runs here\n  model      {}\n  device     {}\n  engine     {}, {} \
         (max-num-seqs {}, max-num-batched-tokens {}, max-model-len {})\n  KV cache   {} blocks of {} tokens, prefix \
         caching {}\n  tokenizer  {}\n  speed      {}x real time",
        scenario.model_name,
        scenario.device.name,
        settings.rules(),
        scenario.engine.id,
        config.max_num_seqs,
        config.max_num_batched_tokens,
        config.max_model_len,
        config.num_gpu_blocks,
        config.block_size,
        if config.enable_prefix_caching {
            "on"
        } else {
            "off"
        },
        text.describe(),
        speedup,
    )
}

/// Serves until a fault or a request to stop ends it; open answers then get so long to end.
async fn until_stopped(
    server: Server,
    stop: &mut Stop,
    grace: Duration,
) -> anyhow::Result<ExitCode> {
    tokio::select! {
        () = server.killed() => {
            eprintln!("capsim serve: gone (--fault kill-after)");
            drop(server);
            return Ok(ExitCode::from(1));
        }
        () = stop.asked() => {}
    }
    eprintln!("capsim serve: shutting down");
    let orderly = tokio::select! {
        orderly = server.shutdown(grace) => orderly,
        // A second request to stop is obeyed at once.
        () = stop.asked() => false,
    };
    if !orderly {
        eprintln!("capsim serve: open answers were cut off");
    }
    Ok(ExitCode::SUCCESS)
}

/// How long a probe waits for a connection, and for each part of an answer.
const PROBE: Duration = Duration::from_secs(2);

/// Asks a server for its health.
fn healthy(address: &str) -> anyhow::Result<bool> {
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let at = address
        .to_socket_addrs()
        .with_context(|| format!("--probe `{address}`: must be HOST:PORT"))?;
    let answers = |at: SocketAddr| -> std::io::Result<bool> {
        let mut socket = TcpStream::connect_timeout(&at, PROBE)?;
        socket.set_read_timeout(Some(PROBE))?;
        socket.write_all(
            format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )?;
        let mut head = [0; 12];
        socket.read_exact(&mut head)?;
        Ok(head.starts_with(b"HTTP/1.1 2"))
    };
    Ok(at.into_iter().any(|at| answers(at).unwrap_or(false)))
}

pub fn run(args: ServeCommand) -> anyhow::Result<ExitCode> {
    if let Some(address) = &args.probe {
        let healthy = healthy(address)?;
        println!("{}", if healthy { "healthy" } else { "not healthy" });
        return Ok(ExitCode::from(u8::from(!healthy)));
    }
    check(&args)?;
    let line = args.scenario.line()?;
    let pasted = |flags: &[&str]| line.value(flags).map(String::from);
    let host = args
        .host
        .or_else(|| pasted(&["--host"]))
        .unwrap_or_else(|| "127.0.0.1".into());
    let port = match (args.port, pasted(&["--port"])) {
        (Some(p), _) => p,
        (None, Some(p)) => p
            .parse()
            .with_context(|| format!("--port `{p}` in the pasted line"))?,
        (None, None) => 8000,
    };
    let mut api_keys = args.api_key;
    if api_keys.is_empty() {
        api_keys.extend(pasted(&["--api-key"]));
    }
    if api_keys.is_empty() {
        api_keys.extend(key_of_environment());
    }
    let auto_tools = args.enable_auto_tool_choice || pasted(&["--tool-call-parser"]).is_some();
    let origins = args
        .allowed_origins
        .or_else(|| pasted(&["--allowed-origins"]));
    let origins = match origins {
        None => vec!["*".into()],
        Some(text) => serde_json::from_str(&text)
            .with_context(|| format!("--allowed-origins `{text}`: must be a JSON list of origins, such as [\"http://localhost:3000\"]"))?,
    };
    if api_keys.is_empty() && open_to_all(&host) {
        eprintln!(
            "capsim serve: {host} can be reached from other machines, and no key is asked for (--api-key, VLLM_API_KEY)"
        );
    }
    one_engine(&args.scenario.described()?.spec, "serve")?;
    let scenario = args.scenario.scenario()?;
    let model_name = args
        .served_model_name
        .or_else(|| pasted(&["--served-model-name", "--alias"]))
        .unwrap_or_else(|| scenario.model_name.clone());
    let settings = scenario.settings()?;
    let cost = scenario.cost(&settings)?;
    let text = tokenizer(args.tokenizer.as_deref())?;
    let config = settings.config.clone();
    let description = description(&scenario, &settings, args.speedup, &text);
    let about = about(&scenario, &settings, args.speedup, &text);
    let canned = match &args.answers {
        None => vec![],
        Some(path) => canned::parse(&files::read(path)?)
            .with_context(|| format!("--answers {}", path.display()))?,
    };
    let options = Options {
        host,
        port,
        model_name,
        root: scenario.model_name.clone(),
        version: scenario.version(),
        description,
        cache_dtype: scenario
            .serve
            .get(KV_CACHE_DTYPE)
            .unwrap_or_else(|| "auto".into()),
        gpu_memory_utilization: settings.gpu_memory_utilization,
        api_keys,
        speedup: args.speedup,
        faults: args.fault.clone(),
        max_body: args.max_body_mib << 20,
        answer_length: args.answer_len.as_deref().map(answer_len).transpose()?,
        prompt_details: args.enable_prompt_tokens_details,
        canned,
        embedding_size: args.embedding_size,
        auto_tools,
        multimodal: takes_more_than_text(&scenario),
        origins,
        text,
    };
    stop::serve(async |mut stop| {
        let server = Server::start(options, settings.engine, config, settings.group, cost).await?;
        println!("{about}\n  address    http://{}", server.address());
        for fault in &args.fault {
            println!("  fault      {fault}");
        }
        for flag in &scenario.notes.not_simulated {
            println!("  not modelled: {flag}");
        }
        until_stopped(
            server,
            &mut stop,
            Duration::from_secs_f64(args.shutdown_timeout),
        )
        .await
    })
}

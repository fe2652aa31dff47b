//! Flags that say which server is measured and what every request says.
use anyhow::{Context, bail, ensure};
use capsim_live::bench::client::{Api, Client, ClientOptions};
use capsim_live::bench::prompt::{PromptMaker, TOKEN_IDS, tokenizer};
use capsim_live::bench::scrape::{self, ServerInfo};
use capsim_live::bench::{Failure, FailureKind};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Server")]
pub struct ClientArgs {
    /// Address of the server, http:// or https://
    #[arg(long, visible_alias = "url", conflicts_with_all = ["host", "port"])]
    base_url: Option<String>,
    /// Host, if no --base-url
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port, if no --base-url
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// /v1/completions or /v1/chat/completions, or another path that speaks like one of them
    #[arg(long, default_value = "/v1/completions")]
    endpoint: String,
    /// openai, vllm (completions) or openai-chat (default: by the endpoint)
    #[arg(long, visible_alias = "endpoint-type")]
    backend: Option<String>,
    /// Model name in requests (default: the server's first)
    #[arg(long)]
    served_model_name: Option<String>,
    /// Bearer token (default: the environment variable OPENAI_API_KEY)
    #[arg(long)]
    api_key: Option<String>,
    /// A header for every request, NAME=VALUE; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    header: Vec<String>,
    /// Accept any TLS certificate
    #[arg(long)]
    insecure: bool,
    /// Trust this certificate authority (PEM) besides the system's
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// Seconds to wait for the server to answer; no request is sent for it, so that no cache is warmed
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    ready_check_timeout_sec: u64,
    /// Limit on one request, first byte to last
    #[arg(long, default_value_t = 3600.0, value_name = "SECONDS")]
    request_timeout: f64,
    /// Tries after a failed connection or status 429, 500, 502, 503, 504; latencies count from the first
    #[arg(long, default_value_t = 0)]
    retries: u32,
    /// Leave /metrics alone
    #[arg(long)]
    pub no_metrics: bool,

    /// Ask for whole answers: there is no TTFT, TPOT or ITL then
    #[arg(long, help_heading = "Requests")]
    no_stream: bool,
    /// Sampling temperature; at 0 equal prompts get equal answers. `default`: the server's
    #[arg(long, default_value = "0", help_heading = "Requests")]
    temperature: String,
    /// Let answers end early, at the model's end-of-sequence token
    #[arg(long, help_heading = "Requests")]
    no_ignore_eos: bool,
    /// Answers have their full length (the default, as vllm bench serve has it for random prompts)
    #[arg(long, conflicts_with = "no_ignore_eos", help_heading = "Requests")]
    ignore_eos: bool,
    /// JSON object whose fields are added to every request
    #[arg(long, value_name = "JSON", help_heading = "Requests")]
    extra_body: Option<String>,
    /// tokenizer.json (or its folder): prompts are text whose tokens are counted. Default: token ids, exact lengths
    #[arg(long, value_name = "FILE", help_heading = "Requests")]
    pub tokenizer: Option<PathBuf>,
    /// Range LOW:HIGH that token ids are drawn from
    #[arg(
        long,
        value_name = "LOW:HIGH",
        conflicts_with = "tokenizer",
        help_heading = "Requests"
    )]
    token_ids: Option<String>,
    /// Prompts as text of common words instead of token ids; lengths are nominal
    #[arg(long, conflicts_with_all = ["tokenizer", "token_ids"], help_heading = "Requests")]
    text_prompts: bool,
    /// Sent as x-request-id, followed by a number
    #[arg(long, default_value = "capsim-", help_heading = "Requests")]
    request_id_prefix: String,
}

/// What is wrong for good, and what to do; `None`: it may pass, or does no harm.
fn permanent(f: &Failure) -> Option<String> {
    let remedy = match f.kind {
        FailureKind::Status(s @ (300..=399 | 401 | 403)) => {
            format!("status {s}: {}", f.kind.remedy()?)
        }
        FailureKind::Connect | FailureKind::BrokenStream => {
            let detail = f.detail.to_ascii_lowercase();
            let has = |words: &[&str]| words.iter().any(|w| detail.contains(w));
            if has(&["certificate", "unknownissuer", "invalidcertificate"]) {
                format!(
                    "{}; --ca-cert FILE trusts its authority, --insecure trusts anyone",
                    f.detail
                )
            } else if has(&[
                "invalidcontenttype",
                "corrupt message",
                "received corrupt",
                "tls handshake",
            ]) {
                format!("{}; does it speak http:// and not https://?", f.detail)
            } else if has(&[
                "dns error",
                "failed to lookup address",
                "name or service not known",
            ]) {
                format!("{}; is the host's name right?", f.detail)
            } else {
                return None;
            }
        }
        _ => return None,
    };
    Some(remedy)
}

/// The key where tools of OpenAI's look for it.
#[allow(
    clippy::disallowed_methods,
    reason = "the usual place of the key, so that it need not stand on the command line"
)]
pub fn key_from_environment() -> Option<String> {
    std::env::var("OPENAI_API_KEY")
        .ok()
        .filter(|k| !k.is_empty())
}

impl ClientArgs {
    /// Whether a server was named.
    pub fn named(&self) -> bool {
        self.base_url.is_some()
    }

    /// A check of everything that needs no server.
    pub fn options(&self, model: Option<&str>, keep_text: bool) -> anyhow::Result<ClientOptions> {
        let api = match self.backend.as_deref() {
            Some("openai" | "vllm" | "openai-completions") => Api::Completions,
            Some("openai-chat") => Api::Chat,
            Some(other) => bail!("--backend `{other}`: must be openai, vllm or openai-chat"),
            None if self.endpoint.contains("chat") => Api::Chat,
            None => Api::Completions,
        };
        // vLLM's way: the backend alone chooses the endpoint.
        let endpoint = match (api, self.endpoint.as_str()) {
            (Api::Chat, "/v1/completions") => "/v1/chat/completions".to_string(),
            (_, e) => e.into(),
        };
        ensure!(
            (0.001..=604_800.0).contains(&self.request_timeout),
            "--request-timeout {}: must lie between 0.001 and 604800 seconds",
            self.request_timeout
        );
        ensure!(
            self.retries <= 100,
            "--retries {}: at most 100",
            self.retries
        );
        let temperature = match self.temperature.as_str() {
            "default" => None,
            text => Some(
                text.parse::<f64>()
                    .ok()
                    .filter(|t| (0.0..=100.0).contains(t))
                    .with_context(|| {
                        format!("--temperature `{text}`: must be a number from 0 on, or `default`")
                    })?,
            ),
        };
        let headers = self
            .header
            .iter()
            .map(|h| {
                let (k, v) = h
                    .split_once('=')
                    .or_else(|| h.split_once(':'))
                    .with_context(|| format!("--header `{h}`: must be NAME=VALUE"))?;
                Ok((k.trim().to_string(), v.trim().to_string()))
            })
            .collect::<anyhow::Result<_>>()?;
        let extra_body = match &self.extra_body {
            None => serde_json::Map::new(),
            Some(text) => {
                serde_json::from_str(text).context("--extra-body: must be a JSON object")?
            }
        };
        let ca_pem = self
            .ca_cert
            .as_ref()
            .map(|p| super::super::files::read(p).map(String::into_bytes))
            .transpose()?;
        Ok(ClientOptions {
            base_url: self
                .base_url
                .clone()
                .unwrap_or_else(|| format!("http://{}:{}", self.host, self.port)),
            api,
            endpoint: Some(endpoint),
            model: self
                .served_model_name
                .as_deref()
                .or(model)
                .unwrap_or_default()
                .into(),
            stream: !self.no_stream,
            temperature,
            ignore_eos: !self.no_ignore_eos,
            extra_body,
            headers,
            api_key: self.api_key.clone().or_else(key_from_environment),
            insecure: self.insecure,
            ca_pem,
            timeout: Duration::from_secs_f64(self.request_timeout),
            retries: self.retries,
            request_id_prefix: self.request_id_prefix.clone(),
            keep_text,
            keep_tokens: false,
        })
    }

    /// Whether equal prompts get equal answers.
    pub fn greedy(&self) -> bool {
        self.temperature.parse() == Ok(0.0)
    }

    /// The prompt maker. Chat takes text only.
    pub fn prompts(&self, api: Api, seed: u64) -> anyhow::Result<PromptMaker> {
        if let Some(path) = &self.tokenizer {
            return Ok(PromptMaker::text(tokenizer(path)?, seed));
        }
        if self.text_prompts || (api == Api::Chat && self.token_ids.is_none()) {
            return Ok(PromptMaker::words(seed));
        }
        ensure!(
            api == Api::Completions,
            "--token-ids: /v1/chat/completions takes text; give --tokenizer FILE for exact lengths"
        );
        let ids = match &self.token_ids {
            None => TOKEN_IDS,
            Some(text) => text
                .split_once(':')
                .and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?))
                .filter(|r: &std::ops::Range<u32>| r.start < r.end)
                .with_context(|| {
                    format!("--token-ids `{text}`: must be LOW:HIGH, LOW below HIGH")
                })?,
        };
        Ok(PromptMaker::ids(ids, seed))
    }

    /// Waits until the server answers, and asks it what it serves.
    pub async fn connect(&self, options: ClientOptions) -> anyhow::Result<(Client, ServerInfo)> {
        let client = Client::new(options)?;
        let patience = Duration::from_secs(self.ready_check_timeout_sec);
        let wait = async {
            loop {
                match client.get("/v1/models", Duration::from_secs(5)).await {
                    Ok(_) => return Ok((None, None)),
                    Err(f) if permanent(&f).is_some() => return Ok((permanent(&f), None)),
                    // It is there, whatever it says.
                    Err(f) if matches!(f.kind, FailureKind::Status(s) if s < 500) => {
                        return Ok::<_, String>((None, Some(f)));
                    }
                    Err(f) if patience.is_zero() => return Err(f.detail),
                    Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
                }
            }
        };
        let reached = if patience.is_zero() {
            wait.await
        } else {
            match tokio::time::timeout(patience, wait).await {
                Ok(r) => r,
                Err(_) => Err(
                    match client.get("/v1/models", Duration::from_secs(5)).await {
                        Err(f) => f.detail,
                        Ok(_) => "too late".into(),
                    },
                ),
            }
        };
        if let Ok((Some(remedy), _)) = &reached {
            bail!("{}/v1/models: {remedy}", client.options().base_url);
        }
        let asked = match reached {
            Ok((_, asked)) => asked,
            Err(why) => bail!(
                "{}: no server answered within {} s ({why}); start it, or give --base-url and --ready-check-timeout-sec",
                client.options().base_url,
                self.ready_check_timeout_sec
            ),
        };
        let info = scrape::server_info(&client).await;
        let model = match &client.options().model {
            m if !m.is_empty() => m.clone(),
            _ => info.models.first().cloned().with_context(|| {
                format!(
                    "{}: /v1/models {}; give --served-model-name, or check --base-url (without /v1)",
                    client.options().base_url,
                    match &asked {
                        Some(f) => format!("answers with {}", f.kind.words()),
                        None => "names no model".into(),
                    }
                )
            })?,
        };
        Ok((client.with_model(model), info))
    }
}

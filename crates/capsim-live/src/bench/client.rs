//! One HTTP client, one server: requests sent, answers timed.
use super::clock::Clock;
use super::outcome::{Counted, Failure, FailureKind, Outcome};
use super::prompt::Body;
use crate::openai::sse::SseParser;
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::time::Duration;
use tokenizers::Tokenizer;
use tokio::sync::watch;

/// Which endpoint answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Api {
    /// `/v1/completions`.
    #[default]
    Completions,
    /// `/v1/chat/completions`.
    Chat,
}

/// How to reach a server and what every request says.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `http://host:port`, without a path; a trailing `/v1` is understood.
    pub base_url: String,
    /// Which API the endpoint speaks.
    pub api: Api,
    /// Path, if it is not the API's usual one.
    pub endpoint: Option<String>,
    /// Model name in requests.
    pub model: String,
    /// Streaming.
    pub stream: bool,
    /// Sampling temperature; absent: the server's default.
    pub temperature: Option<f64>,
    /// Go on after an end-of-sequence token.
    pub ignore_eos: bool,
    /// More fields of the body.
    pub extra_body: serde_json::Map<String, Value>,
    /// More headers.
    pub headers: Vec<(String, String)>,
    /// Sent as a bearer token.
    pub api_key: Option<String>,
    /// Whether invalid certificates are accepted.
    pub insecure: bool,
    /// A certificate authority in PEM that is trusted besides the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Limit on one try, first byte to last.
    pub timeout: Duration,
    /// Further tries after a failed connection or status 429, 500, 502, 503, 504, before the first byte of an answer.
    pub retries: u32,
    /// Prefix of `x-request-id`.
    pub request_id_prefix: String,
    /// Whether generated texts are kept; they are most of a long run's memory.
    pub keep_text: bool,
    /// Whether generated tokens are wanted, for prompts that quote them (`return_token_ids`, vLLM from 0.10.2 on; else the
    /// tokenizer's reading of the text).
    pub keep_tokens: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            base_url: "http://127.0.0.1:8000".into(),
            api: Api::Completions,
            endpoint: None,
            model: String::new(),
            stream: true,
            temperature: Some(0.0),
            ignore_eos: true,
            extra_body: serde_json::Map::new(),
            headers: vec![],
            api_key: None,
            insecure: false,
            ca_pem: None,
            timeout: Duration::from_secs(3600),
            retries: 0,
            request_id_prefix: "capsim-".into(),
            keep_text: true,
            keep_tokens: false,
        }
    }
}

/// Options that make no client.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {problem}")]
pub struct SetupError {
    /// Which option.
    pub what: String,
    /// What is wrong.
    pub problem: String,
}

/// A client of one server.
pub struct Client {
    http: reqwest::Client,
    base: String,
    url: String,
    options: ClientOptions,
}

/// Longest error text that is kept.
const DETAIL: usize = 300;

/// Longest wait that a server's `Retry-After` brings about.
const MOST_PATIENCE: Duration = Duration::from_secs(60);

/// Limit on opening a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Largest body that is not a stream, and largest error body.
const MAX_BODY: usize = 64 << 20;

fn short(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(DETAIL) {
        Some((at, _)) => format!("{}…", &flat[..at]),
        None => flat,
    }
}

/// What is read of a chunk or of a whole answer; every server has its own further fields.
#[derive(Debug, Default, Deserialize)]
struct Chunk {
    #[serde(default, deserialize_with = "list")]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
struct Choice {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    message: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    token_ids: Option<Vec<u32>>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    reasoning: Option<String>,
    #[serde(default)]
    tool_calls: Option<Value>,
}

impl Delta {
    fn said(&self) -> String {
        let parts = [&self.reasoning_content, &self.reasoning, &self.content];
        parts.into_iter().flatten().map(String::as_str).collect()
    }
}

#[derive(Debug, Default, Deserialize)]
struct Usage {
    #[serde(default, deserialize_with = "count")]
    prompt_tokens: Option<u32>,
    #[serde(default, deserialize_with = "count")]
    completion_tokens: Option<u32>,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
struct Details {
    #[serde(default, deserialize_with = "count")]
    cached_tokens: Option<u32>,
}

/// A list, for which some servers write `null`.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// A number of tokens, for which some servers write `12.0`, `"12"` or `-1`; what is none is taken for missing.
fn count<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u32>, D::Error> {
    let value = Value::deserialize(d)?;
    let number = value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok());
    let whole = number.filter(|n| (0.0..=f64::from(u32::MAX)).contains(n) && n.fract() == 0.0);
    Ok(whole.map(|n| n as u32))
}

impl Usage {
    fn counted(self) -> Option<Counted> {
        // A running count with every chunk (`continuous_usage_stats`) is overwritten by the last.
        Some(Counted {
            prompt: self.prompt_tokens.unwrap_or(0),
            completion: self.completion_tokens?,
            cached: self.prompt_tokens_details.and_then(|d| d.cached_tokens),
        })
    }
}

/// An answer on its way in.
struct Answer {
    finished: bool,
    done: bool,
    /// The last chunk had a finish reason and no text: some servers close that way, others put their last token there.
    closing_empty: bool,
}

impl Client {
    /// A client with these options.
    ///
    /// # Errors
    /// An address, header or certificate that makes no sense.
    pub fn new(mut options: ClientOptions) -> Result<Self, SetupError> {
        let bad = |what: &str, problem: String| SetupError {
            what: what.into(),
            problem,
        };
        // The first thread installs it; all would install the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        if let Some(key) = &options.api_key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .map_err(|_| bad("--api-key", "holds characters that no header can".into()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        for (name, value) in &options.headers {
            let key = HeaderName::from_bytes(name.as_bytes())
                .map_err(|e| bad("--header", format!("`{name}`: {e}")))?;
            let value = HeaderValue::from_str(value)
                .map_err(|e| bad("--header", format!("`{name}`: {e}")))?;
            headers.insert(key, value);
        }
        let base = options.base_url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base).to_string();
        let parsed = reqwest::Url::parse(&base)
            .map_err(|e| bad("--base-url", format!("`{base}` is no address: {e}")))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
            return Err(bad(
                "--base-url",
                format!("`{base}` must begin with http:// or https:// and name a host"),
            ));
        }
        let path = options.endpoint.clone().unwrap_or_else(|| {
            match options.api {
                Api::Completions => "/v1/completions",
                Api::Chat => "/v1/chat/completions",
            }
            .into()
        });
        if !path.starts_with('/') {
            return Err(bad("--endpoint", format!("`{path}` must begin with /")));
        }
        options.base_url = base.clone();
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            // A proxy that silently stands between would be measured too.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(4096)
            .user_agent(concat!("capsim/", env!("CARGO_PKG_VERSION")))
            .tls_danger_accept_invalid_certs(options.insecure);
        if let Some(pem) = &options.ca_pem {
            let all = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|e| bad("--ca-cert", format!("is no PEM certificate: {e}")))?;
            if all.is_empty() {
                return Err(bad("--ca-cert", "holds no PEM certificate".into()));
            }
            for cert in all {
                builder = builder.add_root_certificate(cert);
            }
        }
        let http = builder
            .build()
            .map_err(|e| bad("HTTP client", explain(&e)))?;
        Ok(Self {
            http,
            url: format!("{base}{path}"),
            base,
            options,
        })
    }

    /// The options in force.
    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// With another model name.
    pub fn with_model(mut self, model: String) -> Self {
        self.options.model = model;
        self
    }

    /// Where requests go.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `GET path`, whole, within `timeout`.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub async fn get(&self, path: &str, timeout: Duration) -> Result<String, Failure> {
        let response = self
            .http
            .get(format!("{}{path}", self.base))
            .timeout(timeout)
            .send()
            .await
            .map_err(|e| failure(&e))?;
        let status = response.status();
        let text = body(response).await?;
        if !status.is_success() {
            return Err(Failure {
                kind: FailureKind::Status(status.as_u16()),
                detail: short(&text),
            });
        }
        Ok(text)
    }

    fn body_of(&self, prompt: Body, max_tokens: u32) -> Value {
        let o = &self.options;
        let mut body = json!({"model": o.model, "stream": o.stream});
        match o.api {
            Api::Completions => {
                body["prompt"] = match prompt {
                    Body::Ids(ids) => json!(ids),
                    Body::Text(text, _) => json!(text),
                };
                body["max_tokens"] = json!(max_tokens);
            }
            Api::Chat => {
                let text = match prompt {
                    Body::Text(text, _) => text,
                    Body::Ids(_) => unreachable!("checked when the options were read"),
                };
                body["messages"] = json!([{"role": "user", "content": text}]);
                body["max_completion_tokens"] = json!(max_tokens);
            }
        }
        if let Some(t) = o.temperature {
            body["temperature"] = json!(t);
        }
        if o.stream {
            body["stream_options"] = json!({"include_usage": true});
        }
        if o.ignore_eos {
            body["ignore_eos"] = json!(true);
        }
        if o.keep_tokens {
            body["return_token_ids"] = json!(true);
        }
        for (k, v) in &o.extra_body {
            body[k] = v.clone();
        }
        body
    }

    /// Sends one request and fills in what became of it. Ends within the time limit times the tries, or when `stop` turns
    /// true.
    pub async fn ask(
        &self,
        prompt: Body,
        out: &mut Outcome,
        clock: Clock,
        mut stop: watch::Receiver<bool>,
        tokenizer: Option<&Tokenizer>,
    ) {
        out.sent_input = match &prompt {
            Body::Ids(ids) => Some(ids.len() as u32),
            Body::Text(_, n) => *n,
        };
        out.streamed = self.options.stream;
        let bytes = bytes::Bytes::from(self.body_of(prompt, out.max_tokens).to_string());
        out.sent = clock.now();
        let mut wished = None;
        loop {
            let tried = tokio::select! {
                r = tokio::time::timeout(self.options.timeout, self.once(bytes.clone(), out, clock, &mut wished)) => {
                    r.unwrap_or_else(|_| Err(Failure {
                        kind: FailureKind::Timeout,
                        detail: format!("no whole answer within {} s", self.options.timeout.as_secs_f64()),
                    }))
                }
                () = stopped(&mut stop) => Err(Failure {
                    kind: FailureKind::Interrupted,
                    detail: "in flight when the run was interrupted".into(),
                }),
            };
            out.end = clock.now();
            let Err(failure) = tried else {
                out.failure = None;
                break;
            };
            let again = out.chunks.is_empty()
                && out.retries < self.options.retries
                && matches!(
                    failure.kind,
                    FailureKind::Connect | FailureKind::Status(429 | 500 | 502 | 503 | 504)
                );
            out.failure = Some(failure);
            if !again {
                break;
            }
            out.retries += 1;
            let pause = Duration::from_millis(100 << out.retries.min(6));
            let pause = pause.max(wished.take().unwrap_or_default().min(MOST_PATIENCE));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stopped(&mut stop) => {}
            }
        }
        // Text came, and the server counted no token of it: its count is none.
        if out.ok() && !out.text.is_empty() && out.usage.is_some_and(|u| u.completion == 0) {
            out.uncounted = true;
            out.sent_input = out
                .usage
                .map(|u| u.prompt)
                .filter(|p| *p > 0)
                .or(out.sent_input);
            out.usage = None;
        }
        if out.ok() && out.usage.is_none() {
            out.recounted = tokenizer.and_then(|t| {
                t.encode_fast(out.text.as_str(), false)
                    .ok()
                    .map(|e| e.len() as u32)
            });
        }
        match (self.options.keep_tokens && out.ok(), tokenizer) {
            // Text was sent: its own reading of the answer is what the next prompt is made from.
            (true, Some(t)) => {
                if let Ok(e) = t.encode_fast(out.text.as_str(), false) {
                    out.said = e.get_ids().to_vec();
                }
            }
            (true, None) => {}
            (false, _) => out.said = vec![],
        }
        if !self.options.keep_text {
            out.text = String::new();
        }
    }

    /// One try; `wished`: how long the server asks to be left alone.
    async fn once(
        &self,
        bytes: bytes::Bytes,
        out: &mut Outcome,
        clock: Clock,
        wished: &mut Option<Duration>,
    ) -> Result<(), Failure> {
        let response = self
            .http
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(
                "x-request-id",
                format!("{}{}", self.options.request_id_prefix, out.id),
            )
            .body(bytes)
            .send()
            .await
            .map_err(|e| failure(&e))?;
        out.first_byte = Some(clock.now());
        let status = response.status();
        if !status.is_success() {
            // RFC 9110, 10.2.3; a date is rare and left alone.
            let header = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|v| v.to_str().ok());
            *wished = header
                .and_then(|v| v.trim().parse().ok())
                .map(Duration::from_secs);
            let detail = body(response).await.unwrap_or_default();
            return Err(Failure {
                kind: FailureKind::Status(status.as_u16()),
                detail: short(&detail),
            });
        }
        let is_stream = response
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|t| t.as_bytes().starts_with(b"text/event-stream"));
        if self.options.stream && is_stream {
            self.stream(response, out, clock).await
        } else {
            // A server that does not stream although it was asked to still answered.
            out.streamed = false;
            let text = body(response).await?;
            whole(&text, out, clock)
        }
    }

    async fn stream(
        &self,
        mut response: reqwest::Response,
        out: &mut Outcome,
        clock: Clock,
    ) -> Result<(), Failure> {
        let mut parser = SseParser::new();
        let mut answer = Answer {
            finished: false,
            done: false,
            closing_empty: false,
        };
        loop {
            let piece = match response.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                // What was said after the last token (usage, [DONE]) may be missing, the answer is whole.
                Err(_) if answer.done => break,
                Err(e) => {
                    return Err(Failure {
                        kind: FailureKind::BrokenStream,
                        detail: format!(
                            "after {} chunks: {}",
                            out.chunks.len(),
                            short(&explain(&e))
                        ),
                    });
                }
            };
            let now = clock.now();
            parser.push(&piece);
            while let Some(event) = parser.next_event() {
                let event = event.map_err(|e| Failure {
                    kind: FailureKind::Garbage,
                    detail: short(&e.to_string()),
                })?;
                if event.is_done() {
                    answer.done = true;
                } else {
                    take(&event.data, out, &mut answer, now)?;
                }
            }
        }
        out.unknown_field = parser.unknown_field().map(String::from);
        if !answer.done && !answer.finished {
            return Err(Failure {
                kind: FailureKind::BrokenStream,
                detail: format!(
                    "the stream ended after {} chunks, without a finish reason and without [DONE]",
                    out.chunks.len()
                ),
            });
        }
        // An empty closing chunk carried a token only if the server counted one for it.
        if answer.closing_empty
            && out
                .usage
                .is_none_or(|u| (u.completion as usize) < out.chunks.len())
        {
            out.chunks.pop();
        }
        if out.chunks.is_empty() {
            return Err(Failure {
                kind: FailureKind::Empty,
                detail: "no chunk held a token".into(),
            });
        }
        Ok(())
    }
}

/// Until `stop` turns true; forever, if its sender is gone.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|s| *s).await.is_err() {
        std::future::pending().await
    }
}

/// Takes one chunk of a stream.
fn take(
    data: &str,
    out: &mut Outcome,
    answer: &mut Answer,
    now: capsim::units::SimTime,
) -> Result<(), Failure> {
    let chunk: Chunk = serde_json::from_str(data).map_err(|e| Failure {
        kind: FailureKind::Garbage,
        detail: short(&format!("{e}: {data}")),
    })?;
    if let Some(error) = chunk.error {
        return Err(Failure {
            kind: FailureKind::ServerError,
            detail: short(&error.to_string()),
        });
    }
    if let Some(counted) = chunk.usage.and_then(Usage::counted) {
        out.usage = Some(counted);
        out.usage_at = Some(now);
    }
    let Some(choice) = chunk.choices.into_iter().next() else {
        return Ok(());
    };
    out.first_chunk.get_or_insert(now);
    let (said, role_only) = match (&choice.text, &choice.delta) {
        (Some(text), _) => (text.clone(), false),
        (None, Some(delta)) => {
            let said = delta.said();
            let role_only = delta.role.is_some()
                && said.is_empty()
                && delta.tool_calls.is_none()
                && choice.finish_reason.is_none();
            (said, role_only)
        }
        (None, None) => (String::new(), false),
    };
    let ends = choice.finish_reason.is_some();
    if role_only {
        return Ok(());
    }
    answer.closing_empty = ends && said.is_empty();
    answer.finished |= ends;
    out.chunks.push(now);
    out.text.push_str(&said);
    out.said.extend(choice.token_ids.into_iter().flatten());
    if ends {
        out.finish_reason = choice.finish_reason;
    }
    Ok(())
}

/// Takes an answer that came in one piece.
fn whole(text: &str, out: &mut Outcome, clock: Clock) -> Result<(), Failure> {
    let now = clock.now();
    let chunk: Chunk = serde_json::from_str(text).map_err(|e| Failure {
        kind: FailureKind::Garbage,
        detail: short(&format!("{e}: {text}")),
    })?;
    if let Some(error) = chunk.error {
        return Err(Failure {
            kind: FailureKind::ServerError,
            detail: short(&error.to_string()),
        });
    }
    out.usage = chunk.usage.and_then(Usage::counted);
    let Some(choice) = chunk.choices.into_iter().next() else {
        return Err(Failure {
            kind: FailureKind::Garbage,
            detail: "the answer has no choices".into(),
        });
    };
    out.said = choice.token_ids.unwrap_or_default();
    out.text = choice
        .text
        .or_else(|| choice.message.map(|m| m.said()))
        .unwrap_or_default();
    out.finish_reason = choice.finish_reason;
    if out.text.is_empty() && out.usage.is_none_or(|u| u.completion == 0) {
        return Err(Failure {
            kind: FailureKind::Empty,
            detail: "the answer holds no text and no token".into(),
        });
    }
    out.chunks = vec![now];
    Ok(())
}

/// A body of bounded size as text.
async fn body(mut response: reqwest::Response) -> Result<String, Failure> {
    let mut all = vec![];
    while let Some(piece) = response.chunk().await.map_err(|e| Failure {
        kind: FailureKind::BrokenStream,
        detail: short(&explain(&e)),
    })? {
        if all.len() + piece.len() > MAX_BODY {
            return Err(Failure {
                kind: FailureKind::Garbage,
                detail: "an answer longer than 64 MiB".into(),
            });
        }
        all.extend_from_slice(&piece);
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// An error with its causes.
fn explain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(c) = cause {
        text = format!("{text}: {c}");
        cause = c.source();
    }
    text
}

fn failure(e: &reqwest::Error) -> Failure {
    let kind = if e.is_connect() {
        FailureKind::Connect
    } else if e.is_timeout() {
        FailureKind::Timeout
    } else {
        FailureKind::BrokenStream
    };
    Failure {
        kind,
        detail: short(&explain(e)),
    }
}

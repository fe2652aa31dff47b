//! The endpoints.
use super::answer::{Active, Choice, Guard};
use super::canned::Shelf;
use super::death::{Dying, Switch};
use super::fault::{Death, Fault, Refusal, When};
use super::http_counts::{Begun, HttpCounts};
use super::identity::{Follower, Identified, Identities, mix};
use super::lock;
use super::metrics::{Constants, Delay, Metrics};
use super::pace::{Clock, Command, Job};
use super::prompt::{self, AnswerLength, Bad, Form, Tokens};
use super::stream::{Frame, Sse};
use super::structured::Wanted;
use super::text::Tokenizer;
use super::{chat, completions, cors, messages, native, pooling, responses};
use crate::openai::{self as wire, ErrorBody, Sampling, StreamOptions};
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::BytesMut;
use capsim::device::EngineId;
use capsim::engine::acceptable;
use capsim::workload::{Prompt, Request as EngineRequest, RequestId};
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc::Sender};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};

/// How long a client may take to send its body.
const BODY: Duration = Duration::from_secs(60);
/// How much of a refused body is read and thrown away before the refusal, in multiples of the limit. A client that is
/// still sending when its connection closes sees a broken pipe instead of the answer; one that never ends is cut off.
const DISCARD: u64 = 8;
/// How long that may take.
const DISCARD_TIME: Duration = Duration::from_secs(5);
/// Tokens that wait for a reader before it is taken to be stuck and its request is aborted, per choice.
const BEHIND: usize = 1024;
/// Most choices of one request.
const MAX_CHOICES: usize = 2048;

/// Everything that the endpoints share.
pub struct App {
    pub engine: EngineId,
    pub clock: Clock,
    pub commands: Sender<Command>,
    pub text: Arc<Tokenizer>,
    pub identities: Arc<Mutex<Identities>>,
    pub metrics: Arc<Mutex<Metrics>>,
    pub delay: Arc<Delay>,
    pub http: Arc<Mutex<HttpCounts>>,
    /// Tokens at a time in which prompts share what is computed.
    pub sharing: u32,
    pub constants: Constants,
    pub root: String,
    pub version: String,
    pub description: serde_json::Value,
    pub api_keys: Vec<String>,
    pub faults: Vec<Fault>,
    pub max_body: usize,
    pub answer_length: Option<AnswerLength>,
    pub prompt_details: bool,
    /// Answers from a file.
    pub canned: Shelf,
    /// Numbers of a vector, where embeddings and scores are answered.
    pub embedding_size: Option<u32>,
    /// Whether tools are called that need not be.
    pub auto_tools: bool,
    /// Whether images and sounds may be in a prompt.
    pub multimodal: bool,
    /// Pages that may ask: `*`, or their origins.
    pub origins: Vec<String>,
    pub next_id: AtomicU64,
    /// Draws of faults so far.
    pub drawn: AtomicU64,
    pub load: Arc<AtomicU64>,
    pub created: u64,
}

pub(super) type Shared = State<Arc<App>>;

/// An answer that is an error.
pub(super) struct Fail(StatusCode, ErrorBody);

impl Fail {
    fn new(status: StatusCode, kind: &str, message: impl Into<String>) -> Self {
        Self(status, ErrorBody::new(status.as_u16(), kind, message))
    }
    /// Of the request's form: FastAPI's validation in vLLM.
    pub(super) fn form(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Bad Request", message)
    }
    /// As `/v1/messages` says it.
    pub(super) fn in_anthropics_form(self) -> Response {
        let Self(status, body) = self;
        let error = messages::error(&body.error.kind, &body.error.message);
        (status, Json(error)).into_response()
    }
}

impl From<Bad> for Fail {
    fn from(bad: Bad) -> Self {
        let Self(status, body) = Self::new(StatusCode::BAD_REQUEST, "BadRequestError", bad.message);
        Self(status, body.of(bad.param.map(String::from)))
    }
}

impl IntoResponse for Fail {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/completions", post(completions::answer))
        .route("/v1/chat/completions", post(chat::answer))
        .route("/v1/responses", post(responses::answer))
        .route("/v1/messages", post(messages::answer))
        .route("/v1/messages/count_tokens", post(messages::count_tokens))
        .route("/v1/embeddings", post(pooling::embeddings))
        .route("/rerank", post(pooling::rerank))
        .route("/v1/rerank", post(pooling::rerank))
        .route("/v2/rerank", post(pooling::rerank))
        .route("/score", post(pooling::score))
        .route("/v1/score", post(pooling::score))
        .route("/v1/models", get(models))
        .route("/health", get(native::health))
        .route(
            "/ping",
            get(|| async { StatusCode::OK }).post(|| async { StatusCode::OK }),
        )
        .route("/version", get(version))
        .route("/load", get(load))
        .route("/metrics", get(metrics))
        .route("/metrics/", get(metrics))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .route("/reset_prefix_cache", post(reset_prefix_cache))
        .route("/start_profile", post(|| async { StatusCode::OK }))
        .route("/stop_profile", post(|| async { StatusCode::OK }))
        .route("/server_info", get(server_info))
        .merge(native::routes(app.engine))
        .fallback(|| async { detail(StatusCode::NOT_FOUND, "Not Found") })
        .method_not_allowed_fallback(|| async {
            detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&app), gate))
        .with_state(app)
}

/// Starlette's own errors.
pub(super) fn detail(status: StatusCode, words: &str) -> Response {
    (status, Json(serde_json::json!({ "detail": words }))).into_response()
}

/// Before any endpoint: who may ask, and faults. After it: who answers.
async fn gate(State(app): Shared, request: Request, next: Next) -> Response {
    let origin = cors::allowed(&app.origins, request.headers());
    if let Some(origin) = &origin
        && let Some(answer) = cors::preflight(&request, origin)
    {
        return answer;
    }
    let template = request.extensions().get::<MatchedPath>();
    // As FastAPI's instrumentator: what matches no route is counted together.
    let begun = Begun::of(template.map_or("none", MatchedPath::as_str), &request);
    let death = dies(&app, &request);
    let mut response = match refuse(&app, &request) {
        Some(response) => {
            discard(request.into_body(), app.max_body as u64).await;
            response
        }
        None => next.run(request).await,
    };
    if let Some((death, switch)) = death
        && streams(&response)
    {
        response = response.map(|body| Dying::body(body, death, switch));
    }
    if let Some(origin) = origin {
        response
            .headers_mut()
            .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response.headers_mut().insert(
        header::SERVER,
        header::HeaderValue::from_static(concat!(
            "capsim/",
            env!("CARGO_PKG_VERSION"),
            " (simulation)"
        )),
    );
    match begun {
        Some(begun) => begun.answered(response, &app.http),
        None => response,
    }
}

fn refuse(app: &App, request: &Request) -> Option<Response> {
    let now = Duration::from_nanos(app.clock.now().0);
    let starting = app
        .faults
        .iter()
        .any(|f| matches!(f, Fault::SlowStart(until) if now < *until));
    if starting {
        return Some(
            Fail::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "Service Unavailable",
                "still starting (--fault slow-start)",
            )
            .into_response(),
        );
    }
    if request.uri().path().starts_with("/v1") && !allowed(&app.api_keys, request.headers()) {
        return Some(
            (
                StatusCode::UNAUTHORIZED,
                Json(serde_json::json!({"error": "Unauthorized"})),
            )
                .into_response(),
        );
    }
    refuse_on_purpose(app, request)
}

/// Refuses what a fault refuses.
fn refuse_on_purpose(app: &App, request: &Request) -> Option<Response> {
    let how = app.struck(request, |f| match f {
        Fault::Status(how, when) => Some((*how, when)),
        _ => None,
    })?;
    let (status, kind, message) = how.answer(app.constants.config.max_model_len);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        lock(&app.metrics).rejected += 1;
    }
    let anthropic = request.uri().path().starts_with("/v1/messages");
    let mut response = match how {
        Refusal::Unauthorized if !anthropic => {
            (status, Json(serde_json::json!({"error": "Unauthorized"}))).into_response()
        }
        Refusal::Overloaded => (status, Json(messages::error(kind, &message))).into_response(),
        _ if anthropic => (status, Json(messages::error(kind, &message))).into_response(),
        _ => Fail::new(status, kind, message).into_response(),
    };
    if how.passes() {
        let wait = header::HeaderValue::from_static("1");
        response.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    Some(response)
}

/// How the answer to a request dies, if a fault says so.
fn dies(app: &App, request: &Request) -> Option<(Death, Arc<Switch>)> {
    let how = app.struck(request, |f| match f {
        Fault::Stream(how, when) => Some((*how, when)),
        _ => None,
    })?;
    Some((how, Arc::clone(request.extensions().get()?)))
}

/// Whether an answer is a stream of events.
fn streams(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|k| k.as_bytes().starts_with(b"text/event-stream"))
}

fn allowed(keys: &[String], headers: &HeaderMap) -> bool {
    if keys.is_empty() {
        return true;
    }
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.as_bytes());
    let Some(given) = given else {
        return false;
    };
    // Every byte of every key is looked at, so that the time taken tells nothing.
    keys.iter().fold(false, |any, key| {
        let key = key.as_bytes();
        let differ = key
            .iter()
            .zip(given)
            .fold(key.len() ^ given.len(), |d, (a, b)| d | usize::from(a ^ b));
        any | (differ == 0)
    })
}

/// Reads a JSON body.
pub(super) async fn body<T: DeserializeOwned>(app: &App, request: Request) -> Result<T, Fail> {
    let limit = app.max_body as u64;
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        discard(request.into_body(), limit).await;
        return Err(Fail::form(
            "Unsupported Media Type: Only 'application/json' is allowed",
        ));
    }
    let too_large = || {
        Fail::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Request Entity Too Large",
            format!("the body is larger than {} bytes", app.max_body),
        )
    };
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse::<u64>().ok());
    let bytes = if announced.is_some_and(|n| n > limit) {
        discard(request.into_body(), limit).await;
        return Err(too_large());
    } else {
        let mut stream = request.into_body().into_data_stream();
        let mut bytes = BytesMut::new();
        let read = async {
            while let Some(part) = stream.next().await {
                let part = part.map_err(|_| Fail::form("the body ended early"))?;
                if bytes.len() as u64 + part.len() as u64 > limit {
                    return Err(too_large());
                }
                bytes.extend_from_slice(&part);
            }
            Ok(())
        };
        let Ok(outcome) = tokio::time::timeout(BODY, read).await else {
            return Err(Fail::new(
                StatusCode::REQUEST_TIMEOUT,
                "Request Timeout",
                "the body did not arrive in time",
            ));
        };
        if let Err(e) = outcome {
            discard(Body::from_stream(stream), limit).await;
            return Err(e);
        }
        bytes.freeze()
    };
    let parsed = off_worker(bytes.len() > LARGE, || wire::parse(&bytes));
    parsed.map_err(|e| {
        let Fail(status, body) = Fail::form(e.to_string());
        Fail(status, body.of(e.field))
    })
}

/// Body from which on its work is kept off the threads that serve others.
pub(super) const LARGE: usize = 256 << 10;

/// Runs long work off the async workers.
pub(super) fn off_worker<T>(long: bool, work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match long && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        true => tokio::task::block_in_place(work),
        false => work(),
    }
}

/// Reads what is left of a refused body, within bounds, so that its sender gets to read the refusal.
async fn discard(body: Body, limit: u64) {
    let mut stream = body.into_data_stream();
    let mut seen = 0;
    let read = async {
        while let Some(Ok(part)) = stream.next().await {
            seen += part.len() as u64;
            if seen > DISCARD * limit {
                break;
            }
        }
    };
    // A client that sends for longer is cut off.
    let _ = tokio::time::timeout(DISCARD_TIME, read).await;
}

pub(super) fn check_model(app: &App, model: Option<&str>) -> Result<(), Fail> {
    match model {
        None => Ok(()),
        Some(m) if m.is_empty() || m == app.constants.model_name => Ok(()),
        Some(m) => Err(Fail::new(
            StatusCode::NOT_FOUND,
            "NotFoundError",
            format!("The model `{m}` does not exist."),
        )),
    }
}

pub(super) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Time of start, for `created` fields.
pub fn created() -> u64 {
    unix_now()
}

/// What both generating endpoints ask of the engine.
pub(super) struct Ask<'a> {
    pub prompts: Vec<Tokens>,
    pub sampling: Sampling<'a>,
    pub max_tokens: Option<i64>,
    pub echo: bool,
    pub token_ids: bool,
    /// What the answer must be.
    pub wanted: Wanted,
    /// How many candidates' log-probabilities are told.
    pub candidates: Option<u32>,
    /// Whether nothing but the prompt is given out.
    pub mute: bool,
}

impl App {
    /// Requests that wait for the engine.
    fn waiting(&self) -> u64 {
        let running = lock(&self.metrics).running;
        self.load.load(Ordering::Relaxed).saturating_sub(running)
    }

    /// The first fault of a kind that strikes a request.
    fn struck<T: Copy>(
        &self,
        request: &Request,
        of: impl Fn(&Fault) -> Option<(T, &When)>,
    ) -> Option<T> {
        let generates =
            request.method() == axum::http::Method::POST && request.uri().path().starts_with("/v1");
        let mut all = self.faults.iter().filter_map(of).peekable();
        if !generates || all.peek().is_none() {
            return None;
        }
        let chance = self.drawn.fetch_add(1, Ordering::Relaxed);
        all.enumerate().find_map(|(i, (how, when))| {
            let own = mix(chance) ^ i as u64;
            when.strikes(request.headers(), own, || self.waiting())
                .then_some(how)
        })
    }

    fn fails_on_purpose(&self, id: u64) -> bool {
        self.faults.iter().any(|f| match f {
            Fault::ErrorRate(p) => (mix(id ^ 0x0066_6175_6c74) as f64) < p * (u64::MAX as f64),
            _ => false,
        })
    }

    /// What the answer to a prompt must be: what the request demands, else one from the file of answers.
    fn said(&self, ask: &Ask, tokens: &Tokens) -> Result<Wanted, Bad> {
        if ask.wanted != Wanted::Text || ask.mute || self.canned.is_empty() {
            return Ok(ask.wanted.clone());
        }
        let picked = self.canned.pick(&self.prompt_text(tokens)?);
        Ok(picked.map_or(Wanted::Text, Wanted::Said))
    }

    /// A prompt as text.
    pub(super) fn prompt_text(&self, tokens: &Tokens) -> Result<String, Bad> {
        match &tokens.text {
            Some(text) => Ok(text.clone()),
            None => self
                .text
                .decode(&tokens.ids)
                .map_err(|e| Bad::from(e.to_string())),
        }
    }

    /// Puts a request into the engine's queue.
    pub(super) fn start(&self, mut ask: Ask) -> Result<Active, Fail> {
        let config = &self.constants.config;
        let n = ask.sampling.n;
        let count = ask.prompts.len().saturating_mul(n as usize);
        if count > MAX_CHOICES {
            return Err(Bad::of(
                "n",
                format!("{count} answers in one request; at most {MAX_CHOICES} are simulated"),
            )
            .into());
        }
        let first = self.next_id.fetch_add(count as u64, Ordering::Relaxed);
        if self.fails_on_purpose(first) {
            return Err(Fail::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal Server Error",
                "failed on purpose (--fault error-rate)",
            ));
        }
        let (sink, events) = mpsc::channel(BEHIND * count);
        let mut choices = vec![];
        let mut jobs = vec![];
        let mut prompt_tokens = 0u32;
        let arrival = self.clock.now();
        for tokens in std::mem::take(&mut ask.prompts) {
            let len = tokens.ids.len() as u32;
            let max_tokens =
                prompt::output_limit(tokens.ids.len(), ask.max_tokens, config.max_model_len)?;
            let identified: Identified = lock(&self.identities).identify(&tokens.ids);
            prompt_tokens = prompt_tokens.saturating_add(len);
            let group = (n, first + choices.len() as u64);
            let wanted = self.said(&ask, &tokens)?;
            for c in 0..n {
                let choice = choices.len() as u32;
                let id = first + u64::from(choice);
                let plan = prompt::plan(
                    &identified,
                    &ask.sampling,
                    c,
                    max_tokens,
                    id,
                    Form {
                        length: self.answer_length,
                        wanted: &wanted,
                    },
                    &self.text,
                );
                let request = EngineRequest {
                    id: RequestId(id),
                    arrival,
                    prompt: Prompt::new(identified.segments.iter().copied()),
                    max_tokens,
                    answer: plan.answer,
                    priority: ask.sampling.priority,
                };
                acceptable(config, &request).map_err(|e| Bad::from(e.to_string()))?;
                let follower = config
                    .enable_prefix_caching
                    .then(|| Follower::new(&identified, len, self.sharing, plan.answer.stream));
                jobs.push(Job {
                    request,
                    choice,
                    group,
                    follower,
                    sink: sink.clone(),
                });
                choices.push(Choice {
                    plan,
                    prompt: len,
                    echo: ask.echo.then(|| self.prompt_text(&tokens)).transpose()?,
                    prompt_ids: ask.token_ids.then(|| tokens.ids.clone()),
                    tokens: 0,
                    bytes: 0,
                    end: None,
                    candidates: ask.candidates,
                    mute: ask.mute,
                });
            }
        }
        let guard = self.submit(jobs)?;
        Ok(Active {
            events,
            guard,
            open: choices.len(),
            choices,
            prompt_tokens,
            cached: None,
            details: self.prompt_details,
        })
    }

    /// Hands jobs to the engine; the guard takes back what is not done when it is dropped.
    fn submit(&self, jobs: Vec<Job>) -> Result<Guard, Fail> {
        self.load.fetch_add(1, Ordering::Relaxed);
        let guard = Guard {
            ids: jobs.iter().map(|j| j.request.id).collect(),
            commands: self.commands.clone(),
            load: Arc::clone(&self.load),
            done: false,
        };
        for job in jobs {
            if self.commands.send(Command::Submit(Box::new(job))).is_err() {
                return Err(Fail::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Service Unavailable",
                    "the server is shutting down",
                ));
            }
        }
        Ok(guard)
    }

    pub(super) fn stream(&self, active: Active, frame: Frame) -> Response {
        let sse = Sse {
            active,
            frame,
            text: Arc::clone(&self.text),
            clock: self.clock,
            delay: Arc::clone(&self.delay),
            started: false,
            finished: false,
            buffer: vec![],
        };
        (
            [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")],
            Body::from_stream(sse),
        )
            .into_response()
    }
}

/// `cmpl-` and the client's own id of the request, or one of ours.
pub(super) fn request_id(app: &App, prefix: &str, headers: &HeaderMap) -> String {
    let own = headers
        .get("x-request-id")
        .and_then(|v| v.to_str().ok())
        .filter(|v| !v.is_empty() && v.len() <= 256);
    match own {
        Some(id) => format!("{prefix}-{id}"),
        None => {
            let a = mix(app.created ^ app.next_id.load(Ordering::Relaxed));
            let b = mix(a ^ app.clock.now().0);
            format!("{prefix}-{a:016x}{b:016x}")
        }
    }
}

pub(super) fn check_stream(
    stream: Option<bool>,
    options: Option<StreamOptions>,
) -> Result<bool, Fail> {
    let stream = stream == Some(true);
    if options.is_some() && !stream {
        let Fail(status, body) =
            Fail::form("Stream options can only be defined when `stream=True`.");
        return Err(Fail(status, body.of(Some("stream_options".into()))));
    }
    Ok(stream)
}

fn json(value: impl Serialize) -> Response {
    Json(value).into_response()
}

async fn models(State(app): Shared) -> Response {
    json(wire::ModelList {
        object: "list".into(),
        data: vec![wire::ModelCard {
            id: app.constants.model_name.clone(),
            object: "model".into(),
            created: unix_now(),
            owned_by: "capsim".into(),
            root: Some(app.root.clone()),
            parent: None,
            max_model_len: Some(app.constants.config.max_model_len),
            permission: vec![],
        }],
    })
}

async fn version(State(app): Shared) -> Response {
    json(wire::Version {
        version: app.version.clone(),
    })
}

async fn load(State(app): Shared) -> Response {
    json(wire::Load {
        server_load: app.load.load(Ordering::Relaxed),
    })
}

async fn metrics(State(app): Shared) -> Response {
    // Text is made of a copy: the engine does not wait for it.
    let snapshot = lock(&app.metrics).clone();
    let http = lock(&app.http).clone();
    let own = native::metrics(&app, &snapshot);
    (
        [(header::CONTENT_TYPE, wire::prometheus::CONTENT_TYPE)],
        own + &snapshot.render(&app.constants, &app.delay, &http),
    )
        .into_response()
}

async fn tokenize(State(app): Shared, request: Request) -> Result<Response, Fail> {
    if app.engine == EngineId::LlamaServer {
        return native::tokenize(app, request).await;
    }
    let r: wire::TokenizeRequest = body(&app, request).await?;
    check_model(&app, r.model.as_deref())?;
    let (text, special) = match (r.prompt, r.messages) {
        (Some(prompt), _) => (prompt, r.add_special_tokens != Some(false)),
        (None, Some(messages)) => (
            app.text
                .chat(&messages, r.add_generation_prompt != Some(false)),
            r.add_special_tokens == Some(true),
        ),
        (None, None) => return Err(Fail::form("body: needs `prompt` or `messages`")),
    };
    let tokens = app
        .text
        .encode(&text, special)
        .map_err(|e| Bad::from(e.to_string()))?;
    Ok(json(wire::TokenizeResponse {
        count: tokens.len() as u32,
        max_model_len: app.constants.config.max_model_len,
        token_strs: (r.return_token_strs == Some(true))
            .then(|| tokens.iter().map(|&t| app.text.token(t)).collect()),
        tokens,
    }))
}

async fn detokenize(State(app): Shared, request: Request) -> Result<Response, Fail> {
    if app.engine == EngineId::LlamaServer {
        return native::detokenize(app, request).await;
    }
    let r: wire::DetokenizeRequest = body(&app, request).await?;
    check_model(&app, r.model.as_deref())?;
    let prompt = app
        .text
        .decode(&r.tokens)
        .map_err(|e| Bad::from(e.to_string()))?;
    Ok(json(wire::DetokenizeResponse { prompt }))
}

/// Empties the prefix cache; `false`: the engine is gone. As vLLM: it is not told whether blocks were in use, in which case nothing
/// happens.
pub(super) async fn reset(app: &App) -> bool {
    let (answer, done) = oneshot::channel();
    let sent = app.commands.send(Command::ResetPrefixCache(answer));
    sent.is_ok() && done.await.is_ok()
}

async fn reset_prefix_cache(State(app): Shared) -> StatusCode {
    match reset(&app).await {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn server_info(State(app): Shared) -> Response {
    if app.engine == EngineId::Sglang {
        return native::sglang_info(State(app)).await;
    }
    json(&app.description)
}

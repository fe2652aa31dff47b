//! What llama-server and SGLang answer beside OpenAI's API, where the simulated engine is theirs (llama.cpp: `tools/server/README.md` as
//! llama-cpp-sys-2 0.1.161 ships it; SGLang 0.5.10: `bench_serving.py`, which asks for it, and docs.sglang.io's native API and production
//! metrics). Their metrics stand beside vLLM's.
use super::answer::{Active, Choice};
use super::http::{App, Ask, Fail, Shared, body, check_model, off_worker, request_id};
use super::metrics::Metrics;
use super::prompt::{self, Bad, Tokens};
use super::structured::Wanted;
use super::text::Tokenizer;
use super::{lock, pace::Clock};
use crate::openai::prometheus::{Labels, Writer};
use crate::openai::{ChatMessage, OneOrMany, PromptInput, Sampling, Unsimulated, lax};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use capsim::device::EngineId;
use capsim::engine::observe::FinishReason;
use capsim::units::SimTime;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;

/// The routes of an engine.
pub(super) fn routes(engine: EngineId) -> Router<Arc<App>> {
    let r = Router::new();
    match engine {
        EngineId::LlamaServer => r
            .route("/props", get(props))
            .route("/slots", get(slots))
            .route("/completion", post(completion))
            .route("/completions", post(completion))
            .route("/apply-template", post(apply_template)),
        EngineId::Sglang => r
            .route("/generate", post(generate))
            .route("/get_model_info", get(model_info))
            .route("/model_info", get(model_info))
            .route("/get_server_info", get(sglang_info))
            .route("/health_generate", get(|| async { StatusCode::OK }))
            .route("/flush_cache", get(flush).post(flush)),
        EngineId::Vllm | EngineId::Trtllm => r,
    }
}

/// `/health`: llama-server says a word.
pub(super) async fn health(State(app): Shared) -> Response {
    match app.engine {
        EngineId::LlamaServer => Json(json!({"status": "ok"})).into_response(),
        _ => StatusCode::OK.into_response(),
    }
}

async fn flush(State(app): Shared) -> Response {
    match super::http::reset(&app).await {
        true => "Cache flushed.\n".into_response(),
        false => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn model_info(State(app): Shared) -> Response {
    Json(json!({
        "model_path": app.root, "tokenizer_path": app.root, "is_generation": true, "served_model_name": app.constants.model_name,
    }))
    .into_response()
}

/// What SGLang's load client writes into its result; capsim's reader takes the settings from there.
pub(super) async fn sglang_info(State(app): Shared) -> Response {
    let c = &app.constants.config;
    let mut v = json!({
        "model_path": app.root, "served_model_name": app.constants.model_name, "version": app.version,
        "max_running_requests": c.max_num_seqs, "context_length": c.max_model_len, "chunked_prefill_size": c.max_num_batched_tokens,
        "max_total_num_tokens": u64::from(c.num_gpu_blocks) * u64::from(c.block_size), "page_size": c.block_size,
        "disable_radix_cache": !c.enable_prefix_caching, "internal_states": [{}],
    });
    v["capsim"] = app.description["capsim"].clone();
    Json(v).into_response()
}

async fn props(State(app): Shared) -> Response {
    let c = &app.constants.config;
    Json(json!({
        "default_generation_settings": {"n_ctx": c.max_model_len, "params": {}},
        "total_slots": c.max_num_seqs, "model_alias": app.constants.model_name, "model_path": app.root, "modalities": {"vision": false, "audio": false},
        "chat_template": "", "build_info": app.version, "is_sleeping": false,
    }))
    .into_response()
}

/// Which slots are taken, not by whom: the simulated engine's requests have no slots that are told.
async fn slots(State(app): Shared, request: Request) -> Response {
    let c = &app.constants.config;
    let running = lock(&app.metrics).running;
    let full = running >= u64::from(c.max_num_seqs);
    let wants_one = request
        .uri()
        .query()
        .is_some_and(|q| q.split('&').any(|p| p == "fail_on_no_slot=1"));
    if full && wants_one {
        let error = json!({"error": {"code": 503, "message": "no slot available", "type": "unavailable_error"}});
        return (StatusCode::SERVICE_UNAVAILABLE, Json(error)).into_response();
    }
    let all: Vec<Value> = (0..c.max_num_seqs)
        .map(|i| json!({"id": i, "n_ctx": c.max_model_len, "speculative": false, "is_processing": u64::from(i) < running}))
        .collect();
    Json(all).into_response()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateRequest {
    messages: Vec<ChatMessage>,
}

async fn apply_template(State(app): Shared, request: Request) -> Result<Response, Fail> {
    let r: TemplateRequest = body(&app, request).await?;
    Ok(Json(json!({"prompt": app.text.chat(&r.messages, true)})).into_response())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContentRequest {
    content: String,
    #[serde(deserialize_with = "lax::option")]
    add_special: Option<bool>,
    #[serde(deserialize_with = "lax::option")]
    with_pieces: Option<bool>,
    tokens: Vec<u32>,
}

/// `/tokenize` of llama-server.
pub(super) async fn tokenize(app: Arc<App>, request: Request) -> Result<Response, Fail> {
    let r: ContentRequest = body(&app, request).await?;
    let ids = app
        .text
        .encode(&r.content, r.add_special == Some(true))
        .map_err(|e| Bad::from(e.to_string()))?;
    let tokens: Vec<Value> = ids
        .iter()
        .map(|id| match r.with_pieces {
            Some(true) => json!({"id": id, "piece": app.text.token(*id)}),
            _ => json!(id),
        })
        .collect();
    Ok(Json(json!({ "tokens": tokens })).into_response())
}

/// `/detokenize` of llama-server.
pub(super) async fn detokenize(app: Arc<App>, request: Request) -> Result<Response, Fail> {
    let r: ContentRequest = body(&app, request).await?;
    let content = app
        .text
        .decode(&r.tokens)
        .map_err(|e| Bad::from(e.to_string()))?;
    Ok(Json(json!({ "content": content })).into_response())
}

/// `/completion` of llama-server. A negative `n_predict` is no limit.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CompletionRequest {
    prompt: Option<PromptInput>,
    #[serde(deserialize_with = "lax::option")]
    n_predict: Option<i64>,
    #[serde(deserialize_with = "lax::option")]
    temperature: Option<f64>,
    #[serde(deserialize_with = "lax::option")]
    seed: Option<i64>,
    #[serde(deserialize_with = "lax::option")]
    stream: Option<bool>,
    #[serde(deserialize_with = "lax::option")]
    ignore_eos: Option<bool>,
    stop: Vec<String>,
}

/// `/generate` of SGLang.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GenerateRequest {
    text: Option<OneOrMany>,
    input_ids: Option<PromptInput>,
    sampling_params: SamplingParams,
    #[serde(deserialize_with = "lax::option")]
    stream: Option<bool>,
    model: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SamplingParams {
    #[serde(deserialize_with = "lax::option")]
    max_new_tokens: Option<i64>,
    #[serde(deserialize_with = "lax::option")]
    temperature: Option<f64>,
    #[serde(deserialize_with = "lax::option")]
    ignore_eos: Option<bool>,
    stop: Option<OneOrMany>,
}

/// SGLang's default (docs.sglang.io, sampling parameters: `max_new_tokens`).
const NEW_TOKENS: i64 = 128;

fn ask(
    app: &App,
    input: Option<PromptInput>,
    max_tokens: Option<i64>,
    sampling: Sampling<'_>,
) -> Result<Active, Fail> {
    prompt::check_sampling(&sampling, &Unsimulated::default(), max_tokens)?;
    off_worker(true, || {
        let prompts: Vec<Tokens> = prompt::prompts(input, &app.text)?;
        app.start(Ask {
            prompts,
            sampling,
            max_tokens,
            echo: false,
            token_ids: false,
            wanted: Wanted::Text,
            candidates: None,
            mute: false,
        })
    })
}

/// How an engine frames its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Llama,
    Sglang,
}

/// An answer under way.
struct Native {
    form: Form,
    id: String,
    active: Active,
    text: Arc<Tokenizer>,
    clock: Clock,
    began: SimTime,
    first: Option<SimTime>,
    said: Vec<String>,
    ready: VecDeque<Bytes>,
    over: bool,
}

impl Native {
    fn new(app: &App, form: Form, id: String, active: Active) -> Self {
        let now = app.clock.now();
        Self {
            form,
            id,
            said: vec![String::new(); active.choices.len()],
            active,
            text: Arc::clone(&app.text),
            clock: app.clock,
            began: now,
            first: None,
            ready: VecDeque::new(),
            over: false,
        }
    }

    /// What a choice says of itself; `piece`: what is new, `None`: everything.
    fn object(&self, i: usize, piece: Option<&str>) -> Value {
        let c = &self.active.choices[i];
        match self.form {
            Form::Llama => self.llama(i, c, piece),
            Form::Sglang => {
                let reason = match (c.end, &c.plan.stop_reason) {
                    (Some(FinishReason::Length), _) => {
                        json!({"type": "length", "length": c.tokens})
                    }
                    (Some(_), Some(matched)) => json!({"type": "stop", "matched": matched}),
                    (Some(_), None) => json!({"type": "stop"}),
                    (None, _) => Value::Null,
                };
                let seconds = self.clock.now().since(self.began).secs();
                json!({
                    "text": self.said[i],
                    "meta_info": {
                        "id": self.id, "finish_reason": reason, "prompt_tokens": c.prompt, "completion_tokens": c.tokens,
                        "cached_tokens": self.active.cached.unwrap_or(0), "e2e_latency": seconds,
                    },
                    "index": i,
                })
            }
        }
    }

    fn llama(&self, i: usize, c: &Choice, piece: Option<&str>) -> Value {
        let over = c.end.is_some();
        let mut v = json!({
            "index": i, "content": piece.unwrap_or(&self.said[i]), "tokens": [], "id_slot": -1, "stop": over,
            "tokens_predicted": c.tokens, "tokens_evaluated": c.prompt,
        });
        if over {
            let (kind, word) = match (c.end, &c.plan.stop_reason) {
                (Some(FinishReason::Length), _) => ("limit", ""),
                (_, Some(Value::String(word))) => ("word", word.as_str()),
                _ => ("eos", ""),
            };
            v["stop_type"] = kind.into();
            v["stopping_word"] = word.into();
            v["truncated"] = false.into();
            let cached = self.active.cached.unwrap_or(0).min(c.prompt);
            v["tokens_cached"] = (c.prompt + c.tokens).into();
            let first = self.first.unwrap_or(self.began);
            let (read, said) = (
                1e3 * first.since(self.began).secs(),
                1e3 * self.clock.now().since(first).secs(),
            );
            let computed = c.prompt - cached;
            let rate = |n: u32, ms: f64| {
                if ms > 0.0 {
                    1e3 * f64::from(n) / ms
                } else {
                    0.0
                }
            };
            let each = |n: u32, ms: f64| if n > 0 { ms / f64::from(n) } else { 0.0 };
            v["timings"] = json!({
                "cache_n": cached, "prompt_n": computed, "prompt_ms": read, "prompt_per_token_ms": each(computed, read),
                "prompt_per_second": rate(computed, read), "predicted_n": c.tokens, "predicted_ms": said,
                "predicted_per_token_ms": each(c.tokens, said), "predicted_per_second": rate(c.tokens, said),
            });
        }
        v
    }

    /// Takes one token. `false`: the engine was stopped.
    async fn token(&mut self) -> bool {
        let Some(token) = self.active.events.recv().await else {
            return false;
        };
        self.first.get_or_insert(token.due);
        let i = token.choice as usize;
        let piece = self.active.choices[i].next(&self.text).piece.into_owned();
        self.said[i].push_str(&piece);
        self.active.end(i, token.end);
        let value = self.object(i, Some(&piece));
        self.ready.push_back(format!("data: {value}\n\n").into());
        true
    }

    async fn next(mut self) -> Option<(std::io::Result<Bytes>, Self)> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some((Ok(bytes), self));
            }
            if self.over {
                return None;
            }
            if self.active.open == 0 {
                self.over = true;
                if self.form == Form::Sglang {
                    self.ready.push_back("data: [DONE]\n\n".into());
                }
                continue;
            }
            if !self.token().await {
                self.over = true;
                return Some((Err(std::io::ErrorKind::ConnectionAborted.into()), self));
            }
        }
    }

    async fn answer(mut self, stream: bool) -> Result<Response, Fail> {
        if stream {
            let stream = futures_util::stream::unfold(self, Native::next);
            return Ok((
                [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")],
                Body::from_stream(stream),
            )
                .into_response());
        }
        while self.active.open > 0 {
            if !self.token().await {
                return Err(Bad::from("the engine was stopped").into());
            }
            self.ready.clear();
        }
        let mut all: Vec<Value> = (0..self.said.len()).map(|i| self.object(i, None)).collect();
        Ok(match all.len() {
            1 => Json(all.remove(0)).into_response(),
            _ => Json(all).into_response(),
        })
    }
}

async fn completion(State(app): Shared, request: Request) -> Result<Response, Fail> {
    let id = request_id(&app, "cmpl", request.headers());
    let r: CompletionRequest = body(&app, request).await?;
    let sampling = Sampling {
        n: 1,
        temperature: r.temperature,
        seed: r.seed,
        stop: &r.stop,
        ignore_eos: r.ignore_eos == Some(true),
        ..Sampling::default()
    };
    let most = r.n_predict.filter(|n| *n >= 0);
    let active = ask(&app, r.prompt, most, sampling)?;
    let native = Native::new(&app, Form::Llama, id, active);
    native.answer(r.stream == Some(true)).await
}

async fn generate(State(app): Shared, request: Request) -> Result<Response, Fail> {
    let id = request_id(&app, "sgl", request.headers());
    let r: GenerateRequest = body(&app, request).await?;
    check_model(&app, r.model.as_deref())?;
    let p = &r.sampling_params;
    let stops = p.stop.as_ref().map_or(&[][..], OneOrMany::as_slice);
    let sampling = Sampling {
        n: 1,
        temperature: p.temperature,
        stop: stops,
        ignore_eos: p.ignore_eos == Some(true),
        ..Sampling::default()
    };
    let input = match r.text {
        Some(OneOrMany::One(text)) => Some(PromptInput::Text(text)),
        Some(OneOrMany::Many(all)) => Some(PromptInput::Texts(all)),
        None => r.input_ids,
    };
    let most = p.max_new_tokens.unwrap_or(NEW_TOKENS);
    let active = ask(&app, input, Some(most), sampling)?;
    let native = Native::new(&app, Form::Sglang, id, active);
    native.answer(r.stream == Some(true)).await
}

/// The engine's own families; nothing for vLLM, whose are written anyway, nor for TensorRT-LLM, whose `/metrics` are a list of JSON
/// objects (`serve/openai_server.py`), which is not written.
pub(super) fn metrics(app: &App, m: &Metrics) -> String {
    let mut w = Writer::new();
    match app.engine {
        EngineId::LlamaServer => llama_metrics(&mut w, m),
        EngineId::Sglang => sglang_metrics(&mut w, m, app),
        EngineId::Vllm | EngineId::Trtllm => {}
    }
    w.finish()
}

fn llama_metrics(w: &mut Writer, m: &Metrics) {
    let t = m.totals();
    let rate = |n: u64, s: f64| if s > 0.0 { n as f64 / s } else { 0.0 };
    for (name, help, v) in [
        (
            "llamacpp:prompt_tokens",
            "Number of prompt tokens processed.",
            m.prompt_tokens as f64,
        ),
        (
            "llamacpp:prompt_seconds",
            "Prompt process time",
            t.prefill_seconds,
        ),
        (
            "llamacpp:tokens_predicted",
            "Number of generation tokens processed.",
            m.generation_tokens as f64,
        ),
        (
            "llamacpp:tokens_predicted_seconds",
            "Predict process time",
            t.decode_seconds,
        ),
        (
            "llamacpp:n_decode",
            "Total number of llama_decode() calls",
            t.steps as f64,
        ),
    ] {
        w.counter_of_seconds(name, help, v);
    }
    for (name, help, v) in [
        (
            "llamacpp:prompt_tokens_seconds",
            "Average prompt throughput in tokens/s.",
            rate(m.prompt_tokens, t.prefill_seconds),
        ),
        (
            "llamacpp:predicted_tokens_seconds",
            "Average generation throughput in tokens/s.",
            rate(m.generation_tokens, t.decode_seconds),
        ),
        (
            "llamacpp:requests_processing",
            "Number of requests processing.",
            m.running as f64,
        ),
        (
            "llamacpp:requests_deferred",
            "Number of requests deferred.",
            m.waiting as f64,
        ),
        (
            "llamacpp:n_busy_slots_per_decode",
            "Average number of busy slots per llama_decode() call",
            m.generation_tokens as f64 / t.steps.max(1) as f64,
        ),
    ] {
        w.gauge(name, help, &[(&[], v)]);
    }
}

fn sglang_metrics(w: &mut Writer, m: &Metrics, app: &App) {
    let l: &Labels = &[("model_name", &app.constants.model_name)];
    let c = &app.constants.config;
    let tokens = f64::from(c.num_gpu_blocks) * f64::from(c.block_size);
    for (name, help, v) in [
        (
            "sglang:num_running_reqs",
            "The number of running requests",
            m.running as f64,
        ),
        (
            "sglang:num_queue_reqs",
            "The number of requests in the waiting queue",
            m.waiting as f64,
        ),
        ("sglang:token_usage", "The token usage", m.kv_usage),
        (
            "sglang:num_used_tokens",
            "The number of used tokens",
            libm::round(m.kv_usage * tokens),
        ),
        (
            "sglang:cache_hit_rate",
            "The cache hit rate",
            m.prefix.hits as f64 / m.prefix.queries.max(1) as f64,
        ),
    ] {
        w.gauge(name, help, &[(l, v)]);
    }
    for (name, help, v) in [
        (
            "sglang:prompt_tokens",
            "Number of prefill tokens processed.",
            m.prompt_tokens,
        ),
        (
            "sglang:generation_tokens",
            "Number of generation tokens processed.",
            m.generation_tokens,
        ),
    ] {
        w.counter(name, help, &[(l, v)]);
    }
    let [ttft, itl, e2el] = m.latencies();
    for (name, help, h) in [
        (
            "sglang:time_to_first_token_seconds",
            "Histogram of time to first token in seconds.",
            ttft,
        ),
        (
            "sglang:inter_token_latency_seconds",
            "Histogram of inter-token latency in seconds.",
            itl,
        ),
        (
            "sglang:e2e_request_latency_seconds",
            "Histogram of End-to-end request latency in seconds",
            e2el,
        ),
    ] {
        w.histogram(name, help, l, h);
    }
}

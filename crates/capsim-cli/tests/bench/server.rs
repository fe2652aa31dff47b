//! The scripted server, and what drives a load against it.
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use capsim::workload::WorkloadSpec;
use capsim_live::bench::clock::Clock;
use capsim_live::bench::drive::Driven;
use capsim_live::bench::prompt::{PromptMaker, TOKEN_IDS};
use capsim_live::bench::scrape::ServerInfo;
use capsim_live::bench::{Api, Client, ClientOptions, Drive, Measured, MetricsAs};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// What the server does with one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    /// TTFT and ITL in milliseconds.
    Stream(u64, u64),
    /// As `Stream`, `n` tokens per chunk.
    Chunks(u64, u64, u32),
    /// As `Stream`, without the usage chunk.
    NoUsage(u64, u64),
    /// As `Stream`, with an empty closing chunk for the finish reason.
    Closing(u64, u64),
    /// One token fewer than asked for.
    Short,
    Status(u16),
    /// Two tokens, then the connection breaks.
    Reset,
    /// Two tokens, then an orderly end without finish reason.
    Cut,
    /// Two tokens, then something that is no JSON.
    Garbage,
    /// No event stream at all, under its content type.
    Html,
    /// Two tokens, then an error object.
    ErrorInside,
    /// Head, then nothing for ever.
    Stall,
    /// A whole answer although a stream was asked for.
    Whole,
    /// Status 503 for the first tries, then a stream.
    Later(u32),
}

pub struct Stub {
    acts: Vec<Act>,
    chat: bool,
    tries: Mutex<Vec<u32>>,
    pub seen: Mutex<Vec<serde_json::Value>>,
    pub tokens: AtomicU64,
}

pub fn event(v: serde_json::Value) -> Bytes {
    Bytes::from(format!("data: {v}\n\n"))
}

impl Stub {
    fn chunk(&self, text: &str, finish: Option<&str>) -> Bytes {
        event(if self.chat {
            serde_json::json!({"id": "x", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})
        } else {
            serde_json::json!({"id": "x", "choices": [{"index": 0, "text": text, "finish_reason": finish}]})
        })
    }

    /// The events of an answer, each with the pause before it.
    fn script(&self, act: Act, prompt: u32, n: u32) -> Vec<(u64, Result<Bytes, std::io::Error>)> {
        let (ttft, itl, per) = match act {
            Act::Stream(a, b) | Act::NoUsage(a, b) | Act::Closing(a, b) => (a, b, 1),
            Act::Chunks(a, b, per) => (a, b, per),
            _ => (1, 1, 1),
        };
        let n = if act == Act::Short { n - 1 } else { n };
        let mut all = vec![];
        if self.chat {
            let role = serde_json::json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}]});
            all.push((ttft / 2, Ok(event(role))));
        }
        let first = if self.chat { ttft - ttft / 2 } else { ttft };
        for (i, at) in (0..n).step_by(per as usize).enumerate() {
            let last = at + per >= n && !matches!(act, Act::Closing(..));
            let text = " w".repeat(per.min(n - at) as usize);
            let pause = if i == 0 { first } else { itl };
            all.push((pause, Ok(self.chunk(&text, last.then_some("length")))));
        }
        let broken = |all: &mut Vec<_>| all.truncate(if self.chat { 3 } else { 2 });
        match act {
            Act::Reset => {
                broken(&mut all);
                all.push((5, Err(std::io::Error::other("reset"))));
                return all;
            }
            Act::Cut => {
                broken(&mut all);
                return all;
            }
            Act::Garbage => {
                broken(&mut all);
                all.push((1, Ok(Bytes::from_static(b"data: {\"choices\": [oops\n\n"))));
                return all;
            }
            Act::ErrorInside => {
                broken(&mut all);
                let error =
                    serde_json::json!({"error": {"message": "EngineCore died", "code": 500}});
                all.push((1, Ok(event(error))));
                return all;
            }
            Act::Html => {
                return vec![(0, Ok(Bytes::from_static(b"<html>\n<b>bad gateway</b>\n\n")))];
            }
            Act::Stall => return vec![(3_600_000, Ok(Bytes::new()))],
            Act::Closing(..) => all.push((0, Ok(self.chunk("", Some("length"))))),
            _ => {}
        }
        if !matches!(act, Act::NoUsage(..)) {
            let usage = serde_json::json!({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": n,
                "total_tokens": prompt + n}});
            all.push((0, Ok(event(usage))));
        }
        all.push((0, Ok(Bytes::from_static(b"data: [DONE]\n\n"))));
        all
    }
}

pub async fn answer(State(stub): State<Arc<Stub>>, headers: HeaderMap, body: Bytes) -> Response {
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let id: usize = headers["x-request-id"]
        .to_str()
        .unwrap()
        .strip_prefix("capsim-")
        .unwrap()
        .parse()
        .unwrap();
    stub.seen.lock().unwrap().push(body.clone());
    let act = stub.acts[id % stub.acts.len()];
    let limit = if stub.chat {
        "max_completion_tokens"
    } else {
        "max_tokens"
    };
    let n = body[limit].as_u64().unwrap() as u32;
    let prompt = body["prompt"].as_array().map_or(7, |p| p.len() as u32);
    match act {
        Act::Status(code) => {
            return (
                StatusCode::from_u16(code).unwrap(),
                r#"{"error": {"message": "as scripted"}}"#,
            )
                .into_response();
        }
        Act::Later(times) => {
            let mut tries = stub.tries.lock().unwrap();
            let n = tries.len().max(id + 1);
            tries.resize(n, 0);
            tries[id] += 1;
            if tries[id] <= times {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
        }
        _ => {}
    }
    stub.tokens.fetch_add(u64::from(n), Ordering::Relaxed);
    if act == Act::Whole || body["stream"] == false {
        return axum::http::Response::builder()
            .header("content-type", "application/json")
            .body(Body::from(
                serde_json::json!({
                    "choices": [{"index": 0, "text": " w".repeat(n as usize), "finish_reason": "length"}],
                    "usage": {"prompt_tokens": prompt, "completion_tokens": n},
                })
                .to_string(),
            ))
            .unwrap();
    }
    let events = stub.script(act, prompt, n).into_iter();
    let stream = futures_util::stream::unfold(events, |mut events| async {
        let (pause, event) = events.next()?;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        Some((event, events))
    });
    axum::http::Response::builder()
        .header("content-type", "text/event-stream; charset=utf-8")
        .body(Body::from_stream(stream))
        .unwrap()
}

pub async fn metrics(State(stub): State<Arc<Stub>>) -> String {
    let n = stub.tokens.load(Ordering::Relaxed);
    let l = "engine=\"0\",model_name=\"stub\"";
    format!(
        "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{{l}}} 3.0\nvllm:num_requests_waiting{{{l}}} 1.0\n\
         vllm:kv_cache_usage_perc{{{l}}} 0.25\nvllm:generation_tokens_total{{{l}}} {n}.0\nvllm:generation_tokens_created{{{l}}} 9e9\n\
         vllm:cache_config_info{{block_size=\"128\",num_gpu_blocks=\"2048\",enable_prefix_caching=\"True\",cache_dtype=\"auto\",\
         engine=\"0\"}} 1.0\n"
    )
}

/// Serves `acts`, one per request id, on a thread and runtime of its own; stops when dropped.
pub struct Server {
    pub url: String,
    pub stub: Arc<Stub>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Server {
    pub fn start(acts: &[Act], chat: bool) -> Self {
        let stub = Arc::new(Stub {
            acts: acts.to_vec(),
            chat,
            tries: Mutex::default(),
            seen: Mutex::default(),
            tokens: AtomicU64::new(0),
        });
        let app = Router::new()
            .route("/v1/completions", post(answer))
            .route("/v1/chat/completions", post(answer))
            .route("/metrics", get(metrics))
            .route(
                "/version",
                get(|| async { r#"{"version": "0.12.0+stub"}"# }),
            )
            .route(
                "/v1/models",
                get(|| async {
                    r#"{"data": [{"id": "stub", "root": "stub", "max_model_len": 2048}]}"#
                }),
            )
            .with_state(stub.clone());
        let (tell, told) = tokio::sync::oneshot::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    r = axum::serve(listener, app) => r.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        let address = told.blocking_recv().unwrap();
        Self {
            url: format!("http://{address}"),
            stub,
            stop: Some(stop),
        }
    }

    pub fn kill(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    pub fn options(&self) -> ClientOptions {
        ClientOptions {
            base_url: self.url.clone(),
            model: "stub".into(),
            timeout: Duration::from_secs(60),
            ..ClientOptions::default()
        }
    }

    pub fn drive(&self, options: ClientOptions, spec: &WorkloadSpec) -> Driven {
        let (_keep, stop) = watch::channel(false);
        drive(options, spec, stop)
    }

    pub fn measure(&self, options: ClientOptions, spec: &WorkloadSpec) -> Measured {
        let ignore_eos = options.ignore_eos;
        let driven = self.drive(options, spec);
        Measured::new(
            driven,
            MetricsAs::Vllm,
            None,
            ignore_eos,
            ServerInfo::default(),
        )
    }
}

pub fn drive(options: ClientOptions, spec: &WorkloadSpec, stop: watch::Receiver<bool>) -> Driven {
    let prompts = match options.api {
        Api::Chat => PromptMaker::words(spec.seed),
        Api::Completions => PromptMaker::ids(TOKEN_IDS, spec.seed),
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        Drive {
            spec,
            client: Arc::new(Client::new(options).unwrap()),
            prompts: Arc::new(prompts),
            clock: Clock::start(),
            scrape: true,
        }
        .run(stop, |_| {})
        .await
        .unwrap()
    })
}

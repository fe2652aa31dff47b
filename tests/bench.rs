//! The load client against a server whose behaviour is scripted request by request.
#![cfg(all(feature = "http", feature = "cli"))]
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use capsim::bench::clock::Clock;
use capsim::bench::drive::Driven;
use capsim::bench::prompt::{PromptMaker, TOKEN_IDS};
use capsim::bench::scrape::ServerInfo;
use capsim::bench::{
    Api, Client, ClientOptions, Drive, FailureKind, Latencies, Measured, MetricsAs, Outcome,
};
use capsim::workload::{PromptKind, WorkloadSpec};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// What the server does with one request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
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

struct Stub {
    acts: Vec<Act>,
    chat: bool,
    tries: Mutex<Vec<u32>>,
    seen: Mutex<Vec<serde_json::Value>>,
    tokens: AtomicU64,
}

fn event(v: serde_json::Value) -> Bytes {
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

async fn answer(State(stub): State<Arc<Stub>>, headers: HeaderMap, body: Bytes) -> Response {
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

async fn metrics(State(stub): State<Arc<Stub>>) -> String {
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
struct Server {
    url: String,
    stub: Arc<Stub>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Server {
    fn start(acts: &[Act], chat: bool) -> Self {
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

    fn kill(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    fn options(&self) -> ClientOptions {
        ClientOptions {
            base_url: self.url.clone(),
            model: "stub".into(),
            timeout: Duration::from_secs(60),
            ..ClientOptions::default()
        }
    }

    fn drive(&self, options: ClientOptions, spec: &WorkloadSpec) -> Driven {
        let (_keep, stop) = watch::channel(false);
        drive(options, spec, stop)
    }

    fn measure(&self, options: ClientOptions, spec: &WorkloadSpec) -> Measured {
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

fn drive(options: ClientOptions, spec: &WorkloadSpec, stop: watch::Receiver<bool>) -> Driven {
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

fn kind(o: &Outcome) -> Option<FailureKind> {
    o.failure.as_ref().map(|f| f.kind)
}

#[test]
fn a_known_schedule_is_measured_as_it_is() {
    let server = Server::start(&[Act::Stream(120, 20)], false);
    let spec = WorkloadSpec {
        warmup: 1,
        ..WorkloadSpec::closed_loop(4, 2, 16, 10)
    };
    let m = server.measure(server.options(), &spec);
    assert_eq!((m.completed(), m.failed(), m.outcomes.len()), (4, 0, 5));
    assert_eq!((m.summary.input_tokens, m.summary.output_tokens), (64, 40));
    assert_eq!(m.remarks(), Vec::<String>::new());
    // A sleep never ends early; on a busy machine it ends late.
    let l = &m.latencies;
    assert!(l.ttft.min() >= 0.118, "{}", l.ttft.min());
    assert!(l.e2el.min() >= 0.118 + 9.0 * 0.018, "{}", l.e2el.min());
    assert_eq!((l.ttft.count(), l.itl.count(), l.tpot.count()), (4, 36, 4));
    for o in m.measured() {
        let t = o.timing().unwrap();
        let gaps: u64 = o.gaps().map(|g| g.0).sum();
        assert_eq!(
            t.ttft().0 + gaps,
            t.e2el().0,
            "nothing is lost between the instants"
        );
        assert!(o.intended <= o.released && o.released <= o.sent && o.sent < t.first_token);
    }
    // Two rounds of two clients: nobody asks anew before the answer is there.
    assert!(m.summary.duration >= 2.0 * (0.118 + 9.0 * 0.018));
    // Only the measured part counts.
    assert_eq!(m.watched.deltas["vllm:generation_tokens_total"], 40.0);
    assert!(!m.watched.deltas.keys().any(|k| k.contains("created")));
    assert!(
        m.watched
            .series
            .iter()
            .all(|s| s.running == 3.0 && s.kv == 0.25)
    );
    assert!(!m.watched.series.is_empty());
}

#[test]
fn every_way_to_fail_is_told_apart_and_every_request_accounted_for() {
    let acts = [
        Act::Stream(2, 1),
        Act::Status(429),
        Act::Status(500),
        Act::Reset,
        Act::Cut,
        Act::Garbage,
        Act::Html,
        Act::ErrorInside,
        Act::NoUsage(2, 1),
        Act::Short,
        Act::Whole,
        Act::Closing(2, 1),
    ];
    for chat in [false, true] {
        let server = Server::start(&acts, chat);
        let spec = WorkloadSpec::closed_loop(acts.len() as u32, 3, 8, 5);
        let options = ClientOptions {
            api: if chat { Api::Chat } else { Api::Completions },
            ..server.options()
        };
        let m = server.measure(options, &spec);
        let kinds: Vec<_> = m.outcomes.iter().map(kind).collect();
        use FailureKind::*;
        assert_eq!(
            kinds[..8],
            [
                None,
                Some(Status(429)),
                Some(Status(500)),
                Some(BrokenStream),
                Some(BrokenStream),
                Some(Garbage),
                Some(Garbage),
                Some(ServerError)
            ],
            "chat: {chat}"
        );
        assert!(kinds[8..].iter().all(Option::is_none), "{kinds:?}");
        assert_eq!(m.completed() + m.failed(), acts.len() as u64);
        let tokens: Vec<u32> = m.outcomes.iter().map(Outcome::output_tokens).collect();
        assert_eq!(
            tokens[8..],
            [5, 4, 5, 5],
            "counted by chunks, short, whole, closed apart"
        );
        assert!(m.outcomes[9].wrong_count(true));
        assert!(!m.outcomes[10].streamed);
        assert_eq!(
            m.outcomes[11].chunks.len(),
            5,
            "the closing chunk is no token"
        );
        let remarks = m.remarks().join("\n");
        for words in [
            "status 429: ",
            "as scripted",
            "broken stream",
            "EngineCore died",
            "another number of tokens",
            "without usage",
            "not streamed",
        ] {
            assert!(remarks.contains(words), "`{words}` is not in {remarks}");
        }
    }
}

#[test]
fn a_dead_and_a_silent_server_are_no_reason_to_hang() {
    let mut server = Server::start(&[Act::Stall], false);
    let options = ClientOptions {
        timeout: Duration::from_millis(300),
        ..server.options()
    };
    let spec = WorkloadSpec::closed_loop(2, 2, 4, 4);
    let m = server.measure(options.clone(), &spec);
    assert!(
        m.outcomes
            .iter()
            .all(|o| kind(o) == Some(FailureKind::Timeout))
    );
    server.kill();
    std::thread::sleep(Duration::from_millis(100));
    let m = server.measure(options, &spec);
    assert!(
        m.outcomes
            .iter()
            .all(|o| kind(o) == Some(FailureKind::Connect)),
        "{:?}",
        m.remarks()
    );
}

#[test]
fn a_server_killed_in_the_middle_leaves_every_request_accounted_for() {
    let mut server = Server::start(&[Act::Stream(30, 30)], false);
    let spec = WorkloadSpec::closed_loop(40, 4, 4, 10);
    let url = server.options();
    let runner = std::thread::spawn(move || {
        let (_keep, stop) = watch::channel(false);
        drive(url, &spec, stop)
    });
    std::thread::sleep(Duration::from_millis(900));
    server.kill();
    let driven = runner.join().unwrap();
    assert_eq!(driven.outcomes.len(), 40);
    let ids: Vec<u64> = driven.outcomes.iter().map(|o| o.id).collect();
    assert_eq!(ids, (0..40).collect::<Vec<_>>());
    let failed = driven.outcomes.iter().filter(|o| !o.ok()).count();
    assert!(failed > 0, "killed before the end");
    assert!(driven.outcomes.iter().all(|o| matches!(
        kind(o),
        None | Some(FailureKind::BrokenStream | FailureKind::Connect)
    )));
}

#[test]
fn retries_count_from_the_first_try() {
    let server = Server::start(&[Act::Later(2)], false);
    let spec = WorkloadSpec::closed_loop(2, 1, 4, 4);
    let m = server.measure(server.options(), &spec);
    assert_eq!(m.failed(), 2, "no retries unless asked for");
    let server = Server::start(&[Act::Later(2)], false);
    let options = ClientOptions {
        retries: 2,
        ..server.options()
    };
    let m = server.measure(options, &spec);
    assert_eq!(m.completed(), 2, "{:?}", m.remarks());
    assert!(m.outcomes.iter().all(|o| o.retries == 2));
    assert!(
        m.latencies.ttft.min() >= 0.6,
        "the pauses of 200 and 400 ms count"
    );
}

#[test]
fn chunks_of_several_tokens_are_noticed() {
    let server = Server::start(&[Act::Chunks(5, 5, 4)], false);
    let m = server.measure(server.options(), &WorkloadSpec::closed_loop(2, 1, 4, 16));
    assert_eq!(m.summary.output_tokens, 32);
    assert!(
        m.outcomes
            .iter()
            .all(|o| o.chunks.len() == 4 && o.multi_token_chunks())
    );
    assert!(
        m.remarks()[0].contains("4.00 per chunk"),
        "{:?}",
        m.remarks()
    );
}

#[test]
fn the_role_chunk_is_a_token_only_for_vllm_0_12() {
    let server = Server::start(&[Act::Stream(80, 2)], true);
    let options = ClientOptions {
        api: Api::Chat,
        ..server.options()
    };
    let driven = server.drive(options, &WorkloadSpec::closed_loop(2, 1, 6, 8));
    let of = |rule| Latencies::of(&driven.outcomes, rule);
    let (new, old) = (of(MetricsAs::Vllm), of(MetricsAs::Vllm012));
    assert_eq!((new.itl.count(), old.itl.count()), (14, 16));
    assert!(new.ttft.min() >= 0.078);
    assert!(old.ttft.mean() < new.ttft.mean() - 0.03);
    let seen = server.stub.seen.lock().unwrap();
    let content = seen[0]["messages"][0]["content"].as_str().unwrap();
    assert_eq!(content.split(' ').count(), 6);
    assert!(seen[0].get("max_tokens").is_none());
}

#[test]
fn a_limit_on_concurrency_is_seen_as_a_wait_at_the_client_and_hides_nothing() {
    // Ten requests all but at once, one at a time: the k-th waits k answers long, and its own latency does not grow.
    let server = Server::start(&[Act::Stream(40, 1)], false);
    let spec = WorkloadSpec {
        max_concurrency: Some(1),
        ..WorkloadSpec::open_loop(10, 1000.0, 4, 2)
    };
    let m = server.measure(server.options(), &spec);
    assert_eq!(m.completed(), 10);
    let held: Vec<f64> = m.outcomes.iter().map(|o| o.held().secs()).collect();
    assert!(held[9] > 9.0 * 0.038, "{held:?}");
    assert!(held.windows(2).all(|w| w[0] < w[1]), "{held:?}");
    assert!(m.outcomes.windows(2).all(|w| w[0].chunks[1] <= w[1].sent));
}

#[test]
fn open_loop_arrivals_do_not_wait_for_a_slow_server() {
    let server = Server::start(&[Act::Stream(400, 1)], false);
    let spec = WorkloadSpec {
        vllm_bench: true,
        ..WorkloadSpec::open_loop(20, 100.0, 4, 2)
    };
    let m = server.measure(server.options(), &spec);
    let wanted = capsim::workload::vllm_bench::arrivals(20, Some(100.0), 1.0, 0);
    for (o, at) in m.outcomes.iter().zip(wanted) {
        assert!((o.intended.secs() - at).abs() < 1e-6);
        assert!(o.sent >= o.intended);
        assert_eq!(o.held().0 / 1_000_000_000, 0);
    }
    let last_sent = m.outcomes.iter().map(|o| o.sent).max();
    let first_answer = m.outcomes.iter().map(|o| o.chunks[0]).min();
    assert!(
        last_sent < first_answer,
        "all were sent before any was answered"
    );
}

#[test]
fn an_interrupted_run_keeps_what_it_has() {
    let server = Server::start(&[Act::Stream(10, 10)], false);
    let spec = WorkloadSpec::closed_loop(1000, 2, 4, 10);
    let (tell, stop) = watch::channel(false);
    let options = server.options();
    let runner = std::thread::spawn(move || drive(options, &spec, stop));
    std::thread::sleep(Duration::from_millis(700));
    tell.send(true).unwrap();
    let driven = runner.join().unwrap();
    let m = Measured::new(driven, MetricsAs::Vllm, None, true, ServerInfo::default());
    assert!(m.interrupted);
    assert!(m.completed() > 0);
    assert_eq!(m.completed() + m.failed() + m.never_sent(), 1000);
    assert!(m.failures().keys().all(|k| *k == FailureKind::Interrupted));
    assert!(m.remarks()[0].starts_with("PARTIAL"), "{:?}", m.remarks());
}

#[test]
fn what_is_sent_is_what_the_workload_says() {
    let server = Server::start(&[Act::Stream(1, 1)], false);
    let spec = WorkloadSpec {
        prompts: PromptKind::SharedPrefix,
        shared_prefix_len: 12,
        ..WorkloadSpec::closed_loop(3, 1, 20, 3)
    };
    let options = ClientOptions {
        extra_body: serde_json::from_str(r#"{"top_p": 0.5}"#).unwrap(),
        ..server.options()
    };
    server.drive(options, &spec);
    let seen = server.stub.seen.lock().unwrap();
    let ids = |i: usize| seen[i]["prompt"].as_array().unwrap().clone();
    assert_eq!(ids(0).len(), 20);
    assert_eq!(ids(0)[..12], ids(2)[..12]);
    assert_ne!(ids(0)[12..], ids(2)[12..]);
    let b = &seen[0];
    assert_eq!(
        [
            &b["model"],
            &b["max_tokens"],
            &b["temperature"],
            &b["ignore_eos"],
            &b["stream"],
            &b["top_p"]
        ],
        [
            &serde_json::json!("stub"),
            &serde_json::json!(3),
            &serde_json::json!(0.0),
            &serde_json::json!(true),
            &serde_json::json!(true),
            &serde_json::json!(0.5)
        ]
    );
    assert_eq!(b["stream_options"]["include_usage"], true);
}

fn capsim(args: &[&str]) -> std::process::Output {
    assert_cmd::Command::cargo_bin("capsim")
        .unwrap()
        .args(args)
        .timeout(Duration::from_secs(120))
        .output()
        .unwrap()
}

#[test]
fn the_command_writes_vllms_keys_and_a_report() {
    let server = Server::start(
        &[Act::Stream(4, 2), Act::Stream(4, 2), Act::Status(500)],
        false,
    );
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (result, lines, report) = (at("r.json"), at("r.jsonl"), at("r.md"));
    let out = capsim(&[
        "bench",
        "throughput",
        "--base-url",
        &server.url,
        "--num-prompts",
        "6",
        "--max-concurrency",
        "2",
        "--input-len",
        "16",
        "--output-len",
        "8",
        "--num-warmups",
        "0",
        "--save-detailed",
        "--result-filename",
        &result,
        "--save-requests",
        &lines,
        "--markdown",
        &report,
        "--goodput",
        "ttft:60000",
        "--metadata",
        "box=mine",
    ]);
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(
        out.status.code(),
        Some(1),
        "two failed: {text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    for words in [
        "============ Serving Benchmark Result ============",
        "Failed requests:                         2",
        "---------------Time to First Token----------------",
        "P99 TTFT (ms):",
        "Request goodput (req/s):",
        "version 0.12.0+stub, model stub, max-model-len 2048, 2048 KV blocks of 128 tokens, prefix caching on",
        "2 failed: HTTP status 500",
    ] {
        let flat = |t: &str| t.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            flat(&text).contains(&flat(words)),
            "`{words}` is not in\n{text}"
        );
    }
    let v: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&result).unwrap()).unwrap();
    for key in [
        "date",
        "endpoint_type",
        "backend",
        "label",
        "model_id",
        "tokenizer_id",
        "num_prompts",
        "request_rate",
        "burstiness",
        "max_concurrency",
        "duration",
        "completed",
        "failed",
        "total_input_tokens",
        "total_output_tokens",
        "request_throughput",
        "request_goodput",
        "output_throughput",
        "total_token_throughput",
        "max_output_tokens_per_s",
        "max_concurrent_requests",
        "mean_ttft_ms",
        "median_tpot_ms",
        "std_itl_ms",
        "p99_e2el_ms",
        "input_lens",
        "output_lens",
        "ttfts",
        "itls",
        "generated_texts",
        "errors",
        "start_times",
        "latencies",
        "queue_times",
        "box",
    ] {
        assert!(v.get(key).is_some(), "{key}");
    }
    assert_eq!(
        (&v["completed"], &v["failed"], &v["request_rate"]),
        (&4.into(), &2.into(), &"inf".into())
    );
    assert_eq!(v["itls"][0].as_array().unwrap().len(), 7);
    assert_eq!(v["capsim"]["server"]["num_gpu_blocks"], 2048);
    let rows: Vec<serde_json::Value> = std::fs::read_to_string(&lines)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(rows.len(), 6);
    assert_eq!(rows[2]["failure"]["kind"]["status"], 500);
    let report = std::fs::read_to_string(&report).unwrap();
    assert!(
        report.contains("| Successful requests | 4 (67%) |"),
        "{report}"
    );
}

#[test]
fn bad_flags_and_no_server_exit_2_with_a_reason() {
    for (args, says) in [
        (
            vec!["bench", "latency", "--base-url", "nonsense"],
            "--base-url",
        ),
        (vec!["bench", "latency", "--base-url", "ftp://x"], "http://"),
        (
            vec!["bench", "serve", "--request-rate", "-1"],
            "request_rate",
        ),
        (vec!["bench", "serve", "--goodput", "ttft=3"], "--goodput"),
        (vec!["bench", "serve", "--token-ids", "9:3"], "--token-ids"),
        (vec!["bench", "serve", "--header", "x"], "--header"),
        (
            vec!["bench", "serve", "--tokenizer", "/nowhere"],
            "/nowhere",
        ),
        (vec!["bench", "serve", "--metrics-as", "mine"], "mine"),
        (
            vec!["bench", "serve", "--result-dir", "/nowhere"],
            "--result-dir",
        ),
        (
            vec![
                "bench",
                "latency",
                "--port",
                "9",
                "--ready-check-timeout-sec",
                "0",
            ],
            "no server answered",
        ),
    ] {
        let out = capsim(&args);
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {err}");
        assert!(err.contains(says), "{args:?}: {err}");
        assert!(out.stdout.is_empty() && !err.contains("panicked"));
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_writes_what_was_measured_and_exits_130() {
    let server = Server::start(&[Act::Stream(5, 5)], false);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.json");
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_capsim"))
        .args([
            "bench",
            "serve",
            "--num-prompts",
            "100000",
            "--max-concurrency",
            "2",
            "--input-len",
            "4",
            "--output-len",
            "4",
        ])
        .args([
            "--base-url",
            &server.url,
            "--result-filename",
            path.to_str().unwrap(),
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Until it is certainly under way.
    while server.stub.tokens.load(Ordering::Relaxed) < 40 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&out.stdout).contains("PARTIAL"));
    let v: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(v["capsim"]["partial"], true);
    let count = |p: &str| v.pointer(p).unwrap().as_u64().unwrap();
    assert!(count("/completed") >= 5);
    assert_eq!(
        count("/completed") + count("/failed") + count("/capsim/never_sent"),
        100_000
    );
}

//! The stand-in server over real sockets: what clients rely on. Counts and order are asserted, not tight times.
#![cfg(feature = "http")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a server lives in real time"
)]
use capsim::cost::{LinearCost, StepCost};
use capsim::device::Scheduler;
use capsim::engine::EngineConfig;
use capsim::openai::prometheus::Scrape;
use capsim::openai::sse::{Event, SseParser};
use capsim::openai::{ChatChunk, CompletionChunk, CompletionResponse, Usage};
use capsim::serve::{Options, Server};
use capsim::units::Span;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than anything takes here, on any machine: only a hang gets there.
const PATIENCE: Duration = Duration::from_secs(60);

fn config() -> EngineConfig {
    EngineConfig {
        num_gpu_blocks: 4001,
        max_num_seqs: 256,
        max_num_batched_tokens: 4096,
        max_model_len: 2048,
        ..EngineConfig::default()
    }
}

fn quick() -> LinearCost {
    LinearCost {
        base: Span::from_millis(2),
        per_token: Span::from_micros(1),
        per_seq: Span::ZERO,
    }
}

struct Client {
    server: Server,
    http: reqwest::Client,
}

impl Client {
    async fn with(options: Options, config: EngineConfig, cost: LinearCost) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            server: Server::start(options, Scheduler::Vllm, config, cost)
                .await
                .unwrap(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }
    async fn new() -> Self {
        Self::with(Options::default(), config(), quick()).await
    }
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }
    async fn get(&self, path: &str) -> (u16, String) {
        let r = self.http.get(self.url(path)).send().await.unwrap();
        (r.status().as_u16(), r.text().await.unwrap())
    }
    async fn post_raw(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
        let r = self
            .http
            .post(self.url(path))
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap();
        (r.status().as_u16(), r.text().await.unwrap())
    }
    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let (status, text) = self.post_raw(path, body.to_string()).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
    async fn stream(&self, path: &str, body: Value) -> Vec<(Instant, Event)> {
        let mut r = self
            .http
            .post(self.url(path))
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(r.status(), 200);
        assert_eq!(
            r.headers()["content-type"],
            "text/event-stream; charset=utf-8"
        );
        let mut parser = SseParser::new();
        let mut out = vec![];
        while let Some(bytes) = r.chunk().await.unwrap() {
            parser.push(&bytes);
            while let Some(e) = parser.next_event() {
                out.push((Instant::now(), e.unwrap()));
            }
        }
        parser.finish().unwrap();
        out
    }
    async fn scrape(&self) -> Scrape {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200);
        let s = Scrape::parse(&text);
        assert_eq!(s.errors, []);
        s
    }
    async fn metric(&self, name: &str) -> f64 {
        self.scrape()
            .await
            .total(name)
            .unwrap_or_else(|| panic!("no {name}"))
    }
    /// Until a metric has a value; a hang otherwise.
    async fn until(&self, name: &str, want: f64) {
        let start = Instant::now();
        loop {
            let v = self.metric(name).await;
            if v == want {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{name} stays {v}, not {want}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn words(n: usize, from: usize) -> String {
    (from..from + n)
        .map(|i| format!("w{i}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn chunks(events: &[(Instant, Event)]) -> Vec<CompletionChunk> {
    let (last, rest) = events.split_last().unwrap();
    assert!(last.1.is_done());
    rest.iter()
        .map(|(_, e)| serde_json::from_str(&e.data).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_completion_has_a_chunk_per_token_a_reason_a_usage_and_an_end() {
    let c = Client::new().await;
    let events = c
        .stream(
            "/v1/completions",
            json!({"model": "model", "prompt": words(20, 0), "max_tokens": 12, "temperature": 0.0, "stream": true,
                   "stream_options": {"include_usage": true}, "ignore_eos": true, "logprobs": null,
                   "repetition_penalty": 1.0}),
        )
        .await;
    let all = chunks(&events);
    assert_eq!(all.len(), 13);
    for (i, chunk) in all[..12].iter().enumerate() {
        let [choice] = &chunk.choices[..] else {
            panic!("one choice")
        };
        assert_eq!(choice.text.split_whitespace().count(), 1);
        let last = i == 11;
        assert_eq!(choice.finish_reason.as_deref(), last.then_some("length"));
        assert_eq!(chunk.usage, None);
        assert_eq!(chunk.object, "text_completion");
        assert!(chunk.id.starts_with("cmpl-"));
    }
    assert!(all[12].choices.is_empty());
    assert_eq!(all[12].usage, Some(Usage::new(20, 12)));
    // The text comes back as the same number of tokens.
    let text: String = all
        .iter()
        .flat_map(|c| &c.choices)
        .map(|c| c.text.as_str())
        .collect();
    let (_, t) = c.post("/tokenize", json!({"prompt": text})).await;
    assert_eq!(t["count"], 12);
    let (_, d) = c.post("/detokenize", json!({"tokens": t["tokens"]})).await;
    assert_eq!(d["prompt"].as_str().unwrap(), text.trim());
    // 12 steps of 2 ms at least lie between sending and the end, 11 between first and last token.
    assert!(events[11].0.duration_since(events[0].0) >= Duration::from_millis(10));
    // Not streamed, greedy: the same answer.
    let (status, whole) = c
        .post(
            "/v1/completions",
            json!({"prompt": words(20, 0), "max_tokens": 12, "temperature": 0.0}),
        )
        .await;
    assert_eq!(status, 200);
    let whole: CompletionResponse = serde_json::from_value(whole).unwrap();
    assert_eq!(whole.choices[0].text, text);
    assert_eq!(whole.usage, Some(Usage::new(20, 12)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_chat_begins_with_the_role() {
    let c = Client::new().await;
    let events = c
        .stream(
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "hello there"}]}],
                   "max_completion_tokens": 5, "stream": true, "ignore_eos": true,
                   "stream_options": {"include_usage": true, "continuous_usage_stats": true}}),
        )
        .await;
    let (end, rest) = events.split_last().unwrap();
    assert!(end.1.is_done());
    let all: Vec<ChatChunk> = rest
        .iter()
        .map(|(_, e)| serde_json::from_str(&e.data).unwrap())
        .collect();
    assert_eq!(all.len(), 7);
    assert_eq!(all[0].choices[0].delta.role.as_deref(), Some("assistant"));
    assert_eq!(all[0].choices[0].delta.content.as_deref(), Some(""));
    for (i, chunk) in all[..6].iter().enumerate() {
        let u = chunk.usage.unwrap();
        assert_eq!(u.completion_tokens, Some(i as u32));
        assert!(i == 0 || chunk.choices[0].delta.role.is_none());
    }
    assert_eq!(all[5].choices[0].finish_reason.as_deref(), Some("length"));
    assert!(all[6].choices.is_empty());
    // Without streaming, two choices.
    let (status, r) = c
        .post(
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "n": 2}),
        )
        .await;
    assert_eq!(status, 200);
    assert_eq!(r["choices"].as_array().unwrap().len(), 2);
    assert_eq!(r["usage"]["completion_tokens"], 8);
    assert_ne!(
        r["choices"][0]["message"]["content"],
        r["choices"][1]["message"]["content"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_prompts_and_token_ids_are_answered_choice_by_choice() {
    let c = Client::new().await;
    let (_, r) = c
        .post(
            "/v1/completions",
            json!({"prompt": [[1, 2, 3], [4, 5, 6]], "max_tokens": 3, "n": 2, "return_token_ids": true}),
        )
        .await;
    let choices = r["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 4);
    for (i, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], i);
        assert_eq!(choice["token_ids"].as_array().unwrap().len(), 3);
    }
    assert_eq!(choices[3]["prompt_token_ids"], json!([4, 5, 6]));
    assert_eq!(r["usage"]["prompt_tokens"], 6);
    assert_eq!(r["usage"]["completion_tokens"], 12);
    let (_, r) = c
        .post(
            "/v1/completions",
            json!({"prompt": ["a b", "c"], "max_tokens": 1, "echo": true}),
        )
        .await;
    assert!(
        r["choices"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with("a b w")
    );
    // Text and its ids are the same prompt.
    let ids: Vec<u32> = (0..30).collect();
    let ask = |p: Value| json!({"prompt": p, "max_tokens": 4, "temperature": 0});
    let (_, a) = c.post("/v1/completions", ask(json!(words(30, 0)))).await;
    let (_, b) = c.post("/v1/completions", ask(json!(ids))).await;
    assert_eq!(a["choices"][0]["text"], b["choices"][0]["text"]);
    // A stop string ends the answer before itself.
    let text = a["choices"][0]["text"].as_str().unwrap();
    let third = text.split_whitespace().nth(2).unwrap();
    let (_, s) = c
        .post(
            "/v1/completions",
            json!({"prompt": ids, "max_tokens": 4, "temperature": 0, "stop": [third]}),
        )
        .await;
    assert_eq!(s["choices"][0]["finish_reason"], "stop");
    assert_eq!(s["choices"][0]["stop_reason"], third);
    assert_eq!(s["usage"]["completion_tokens"], 3);
    assert!(text.starts_with(s["choices"][0]["text"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_served_is_refused_as_vllm_refuses_it() {
    let c = Client::with(
        Options {
            max_body: 1 << 20,
            ..Options::default()
        },
        config(),
        quick(),
    )
    .await;
    let long = words(2048, 0);
    for (path, body, status, kind) in [
        ("/v1/completions", "{".to_string(), 400, "Bad Request"),
        ("/v1/completions", "[]".into(), 400, "Bad Request"),
        (
            "/v1/completions",
            json!({"prompt": 7}).to_string(),
            400,
            "Bad Request",
        ),
        (
            "/v1/completions",
            json!({"prompt": "a", "max_tokens": "many"}).to_string(),
            400,
            "Bad Request",
        ),
        ("/v1/completions", "{}".into(), 400, "BadRequestError"),
        (
            "/v1/completions",
            json!({"prompt": ""}).to_string(),
            400,
            "BadRequestError",
        ),
        (
            "/v1/completions",
            json!({"prompt": "  "}).to_string(),
            400,
            "BadRequestError",
        ),
        (
            "/v1/completions",
            json!({"prompt": "a", "max_tokens": 0}).to_string(),
            400,
            "BadRequestError",
        ),
        (
            "/v1/completions",
            json!({"prompt": "a", "max_tokens": 2048}).to_string(),
            400,
            "BadRequestError",
        ),
        (
            "/v1/completions",
            json!({"prompt": long, "max_tokens": 1}).to_string(),
            400,
            "BadRequestError",
        ),
        (
            "/v1/completions",
            json!({"prompt": "a", "temperature": -1}).to_string(),
            400,
            "BadRequestError",
        ),
        (
            "/v1/completions",
            json!({"prompt": "a", "n": 2, "temperature": 0}).to_string(),
            400,
            "BadRequestError",
        ),
        (
            "/v1/completions",
            json!({"prompt": "a", "stream_options": {"include_usage": true}}).to_string(),
            400,
            "Bad Request",
        ),
        (
            "/v1/completions",
            json!({"model": "other", "prompt": "a"}).to_string(),
            404,
            "NotFoundError",
        ),
        (
            "/v1/chat/completions",
            json!({"messages": "hi"}).to_string(),
            400,
            "Bad Request",
        ),
        (
            "/v1/chat/completions",
            json!({}).to_string(),
            400,
            "Bad Request",
        ),
        (
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": long}]}).to_string(),
            400,
            "BadRequestError",
        ),
        ("/tokenize", "{}".into(), 400, "Bad Request"),
        (
            "/detokenize",
            json!({"tokens": [-1]}).to_string(),
            400,
            "Bad Request",
        ),
        (
            "/v1/completions",
            json!({"prompt": "x".repeat(2 << 20)}).to_string(),
            413,
            "Request Entity Too Large",
        ),
    ] {
        let shown: String = body.chars().take(90).collect();
        let (got, text) = c.post_raw(path, body).await;
        assert_eq!(got, status, "{path} {shown}: {text}");
        let e: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(e["error"]["type"], kind, "{path} {shown}: {text}");
        assert_eq!(e["error"]["code"], status);
        assert!(!e["error"]["message"].as_str().unwrap().is_empty());
        assert!(e["error"]["param"].is_null());
    }
    let (_, text) = c
        .post_raw(
            "/v1/completions",
            json!({"prompt": "a b", "max_tokens": 2047}).to_string(),
        )
        .await;
    assert!(
        text.contains(
            "'max_tokens' or 'max_completion_tokens' is too large: 2047. This model's maximum context length is 2048 \
             tokens and your request has 2 input tokens (2047 > 2048 - 2)."
        ),
        "{text}"
    );
    assert_eq!(c.get("/nowhere").await.0, 404);
    assert_eq!(c.get("/v1/completions").await.0, 405);
    let no_type = c
        .http
        .post(c.url("/v1/completions"))
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(no_type.status(), 400);
    // Nothing of all this reached the engine.
    assert_eq!(c.metric("vllm:prompt_tokens_total").await, 0.0);
    assert_eq!(c.get("/load").await.1, r#"{"server_load":0}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_is_refused_however_it_is_sent() {
    let c = Client::with(
        Options {
            max_body: 1 << 20,
            ..Options::default()
        },
        config(),
        quick(),
    )
    .await;
    // The sender is still writing when the server knows enough: it must get the answer, never a broken pipe.
    for size in [(1 << 20) + 1, 2 << 20, 7 << 20] {
        for _ in 0..4 {
            let (status, text) = c.post_raw("/v1/completions", vec![b' '; size]).await;
            assert_eq!(status, 413, "{size} bytes, announced: {text}");
            let parts = futures_util::stream::iter(
                (0..size.div_ceil(1 << 16)).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 16])),
            );
            let (status, text) = c
                .post_raw("/v1/completions", reqwest::Body::wrap_stream(parts))
                .await;
            assert_eq!(status, 413, "{size} bytes, in chunks: {text}");
        }
    }
    // One that never ends is cut off.
    let forever =
        futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 16]));
    let sent = c
        .http
        .post(c.url("/v1/completions"))
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(forever))
        .send();
    let ended = tokio::time::timeout(Duration::from_secs(120), sent).await;
    assert!(ended.is_ok(), "an endless body is still being read");
    assert_eq!(c.get("/health").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_small_endpoints_answer() {
    let c = Client::with(
        Options {
            model_name: "served".into(),
            root: "Org/Model".into(),
            api_keys: vec!["secret".into(), "other".into()],
            ..Options::default()
        },
        config(),
        quick(),
    )
    .await;
    assert_eq!(c.get("/v1/models").await.0, 401);
    for (key, status) in [
        ("Bearer wrong", 401),
        ("secret", 401),
        ("bearer other", 200),
    ] {
        let r = c
            .http
            .get(c.url("/v1/models"))
            .header("authorization", key)
            .send()
            .await
            .unwrap();
        assert_eq!(r.status(), status, "{key}");
    }
    let models: Value = serde_json::from_str(
        &c.http
            .get(c.url("/v1/models"))
            .bearer_auth("secret")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
    )
    .unwrap();
    assert_eq!(models["data"][0]["id"], "served");
    assert_eq!(models["data"][0]["root"], "Org/Model");
    assert_eq!(models["data"][0]["max_model_len"], 2048);
    for path in [
        "/health",
        "/ping",
        "/version",
        "/load",
        "/metrics",
        "/server_info",
    ] {
        assert_eq!(c.get(path).await.0, 200, "{path}");
    }
    for path in [
        "/reset_prefix_cache",
        "/start_profile",
        "/stop_profile",
        "/ping",
    ] {
        assert_eq!(c.post_raw(path, "").await.0, 200, "{path}");
    }
    assert_eq!(c.get("/version").await.1, r#"{"version":"0.12.0"}"#);
    // HEAD: the same headers, no body at all (raw, so that no client library hides one).
    let mut s = TcpStream::connect(c.server.address()).await.unwrap();
    s.write_all(b"HEAD /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    s.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"));
    assert!(text.ends_with("\r\n\r\n"), "a body after HEAD: {text}");
    let info = c.scrape().await;
    let cache = info.named("vllm:cache_config_info").next().unwrap();
    assert_eq!(cache.labels["num_gpu_blocks"], "4001");
    assert_eq!(cache.labels["block_size"], "16");
    assert_eq!(cache.labels["enable_prefix_caching"], "True");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_prompts_and_quoted_answers_hit_the_prefix_cache() {
    let c = Client::with(
        Options {
            prompt_details: true,
            ..Options::default()
        },
        config(),
        quick(),
    )
    .await;
    let ask = |p: &str, n: u32| json!({"prompt": p, "max_tokens": n, "temperature": 0});
    let prompt = words(100, 0);
    let (_, first) = c.post("/v1/completions", ask(&prompt, 60)).await;
    assert_eq!(c.metric("vllm:prefix_cache_queries_total").await, 100.0);
    assert_eq!(c.metric("vllm:prefix_cache_hits_total").await, 0.0);
    assert!(first["usage"]["prompt_tokens_details"].is_null());
    let (_, again) = c.post("/v1/completions", ask(&prompt, 60)).await;
    assert_eq!(again["choices"][0]["text"], first["choices"][0]["text"]);
    // 6 full blocks of 16.
    assert_eq!(c.metric("vllm:prefix_cache_hits_total").await, 96.0);
    assert_eq!(again["usage"]["prompt_tokens_details"]["cached_tokens"], 96);
    // Prompt and answer are 160 tokens; the KV of the last one was never computed, so 9 full blocks are there.
    let quote = format!(
        "{prompt}{} what then",
        first["choices"][0]["text"].as_str().unwrap()
    );
    let (_, third) = c.post("/v1/completions", ask(&quote, 1)).await;
    assert_eq!(third["usage"]["prompt_tokens"], 162);
    assert_eq!(
        third["usage"]["prompt_tokens_details"]["cached_tokens"],
        144
    );
    // One other word in the first block, and nothing is found.
    let other = quote.replacen("w3 ", "x ", 1);
    let (_, fourth) = c.post("/v1/completions", ask(&other, 1)).await;
    assert!(fourth["usage"]["prompt_tokens_details"].is_null());
    // After a reset neither.
    c.post_raw("/reset_prefix_cache", "").await;
    let (_, fifth) = c.post("/v1/completions", ask(&prompt, 1)).await;
    assert!(fifth["usage"]["prompt_tokens_details"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_gives_its_blocks_back() {
    let slow = LinearCost {
        base: Span::from_millis(20),
        ..quick()
    };
    let c = Client::with(Options::default(), config(), slow).await;
    for stream in [true, false] {
        let body =
            json!({"prompt": words(500, 0), "max_tokens": 1500, "stream": stream}).to_string();
        let mut s = TcpStream::connect(c.server.address()).await.unwrap();
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        s.write_all((head + &body).as_bytes()).await.unwrap();
        c.until("vllm:num_requests_running", 1.0).await;
        assert!(c.metric("vllm:kv_cache_usage_perc").await > 0.0);
        drop(s);
        c.until("vllm:num_requests_running", 0.0).await;
        c.until("vllm:kv_cache_usage_perc", 0.0).await;
        assert_eq!(c.get("/load").await.1, r#"{"server_load":0}"#);
    }
    assert_eq!(c.metric("vllm:request_success_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_are_all_accounted_for() {
    let c = std::sync::Arc::new(Client::new().await);
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..200usize {
        let c = std::sync::Arc::clone(&c);
        tasks.spawn(async move {
            let out = 20 + i % 7;
            let events = c
                .stream(
                    "/v1/completions",
                    json!({"prompt": words(30 + i % 5, 1000 * i), "max_tokens": out, "stream": true,
                           "stream_options": {"include_usage": true}}),
                )
                .await;
            let all = chunks(&events);
            assert_eq!(all.len(), out + 1);
            assert_eq!(
                all[out].usage,
                Some(Usage::new(30 + (i % 5) as u32, out as u32))
            );
            (30 + i % 5, out)
        });
    }
    let (mut prompts, mut outputs) = (0, 0);
    while let Some(done) = tasks.join_next().await {
        let (p, o) = done.unwrap();
        prompts += p;
        outputs += o;
    }
    let s = c.scrape().await;
    let total = |n: &str| s.total(n).unwrap();
    assert_eq!(total("vllm:request_success_total"), 200.0);
    assert_eq!(
        s.total_with("vllm:request_success_total", "finished_reason", "length"),
        Some(200.0)
    );
    assert_eq!(total("vllm:prompt_tokens_total"), prompts as f64);
    assert_eq!(total("vllm:generation_tokens_total"), outputs as f64);
    assert_eq!(
        total("vllm:iteration_tokens_total_sum"),
        (prompts + outputs) as f64
    );
    assert_eq!(total("vllm:time_to_first_token_seconds_count"), 200.0);
    assert_eq!(
        total("vllm:inter_token_latency_seconds_count"),
        (outputs - 200) as f64
    );
    assert_eq!(total("vllm:request_params_n_count"), 200.0);
    assert_eq!(total("vllm:kv_cache_usage_perc"), 0.0);
    assert_eq!(
        total("vllm:num_requests_running") + total("vllm:num_requests_waiting"),
        0.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_read_is_cut_off_and_delays_nobody() {
    // So fast that a reader who stands still falls behind by more than all buffers hold.
    let cost = LinearCost {
        base: Span::from_micros(20),
        ..LinearCost::default()
    };
    let long = EngineConfig {
        max_model_len: 1 << 20,
        num_gpu_blocks: 1 << 17,
        ..config()
    };
    let c = Client::with(Options::default(), long, cost).await;
    let body = json!({"prompt": "a", "max_tokens": 1_000_000, "stream": true}).to_string();
    let mut s = TcpStream::connect(c.server.address()).await.unwrap();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    s.write_all((head + &body).as_bytes()).await.unwrap();
    c.until("vllm:num_requests_running", 1.0).await;
    // Others are answered meanwhile.
    for i in 0..5 {
        let (status, r) = c
            .post(
                "/v1/completions",
                json!({"prompt": words(20, 100 * i), "max_tokens": 20}),
            )
            .await;
        assert_eq!(status, 200);
        assert_eq!(r["usage"]["completion_tokens"], 20);
    }
    c.until("vllm:num_requests_running", 0.0).await;
    assert_eq!(c.metric("vllm:request_success_total").await, 5.0);
    // What arrives in the end is no whole answer.
    let mut rest = vec![];
    let _ = tokio::time::timeout(PATIENCE, s.read_to_end(&mut rest))
        .await
        .expect("closed by the server");
    assert!(!String::from_utf8_lossy(&rest).contains("[DONE]"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_half_open_connections_hurt_nobody() {
    let c = Client::new().await;
    let mut open = vec![];
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\nzz\r\n",
        b"GET /health HTTP/1.1\r\nhost: x\r\nx: ",
        b"",
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"pro",
    ] {
        let mut s = TcpStream::connect(c.server.address()).await.unwrap();
        s.write_all(bytes).await.unwrap();
        open.push(s);
    }
    // Headers without end.
    let mut s = TcpStream::connect(c.server.address()).await.unwrap();
    let _ = s.write_all(b"GET /health HTTP/1.1\r\n").await;
    for _ in 0..2000 {
        if s.write_all(format!("x: {}\r\n", "y".repeat(1000)).as_bytes())
            .await
            .is_err()
        {
            break;
        }
    }
    let mut answer = vec![];
    let _ = tokio::time::timeout(PATIENCE, s.read_to_end(&mut answer))
        .await
        .expect("refused, not awaited");
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(c.get("/health").await.0, 200);
    let (status, _) = c
        .post("/v1/completions", json!({"prompt": "a", "max_tokens": 2}))
        .await;
    assert_eq!(status, 200);
    assert_eq!(c.metric("vllm:request_success_total").await, 1.0);
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_come_on_demand() {
    let c = Client::with(
        Options {
            faults: vec![
                "error-rate:0.5".parse().unwrap(),
                "stall:0,0.3".parse().unwrap(),
            ],
            ..Options::default()
        },
        config(),
        quick(),
    )
    .await;
    let start = Instant::now();
    let (mut good, mut failed) = (0, 0);
    for i in 0..40 {
        let (status, r) = c
            .post(
                "/v1/completions",
                json!({"prompt": words(2, i), "max_tokens": 1}),
            )
            .await;
        match status {
            200 => good += 1,
            500 => {
                failed += 1;
                assert!(r["error"]["message"].as_str().unwrap().contains("--fault"));
            }
            other => panic!("{other}"),
        }
    }
    assert!(good > 5 && failed > 5, "{good} {failed}");
    assert!(start.elapsed() >= Duration::from_millis(300));
    let c = Client::with(
        Options {
            faults: vec![
                "slow-start:0.4".parse().unwrap(),
                "kill-after:1".parse().unwrap(),
            ],
            ..Options::default()
        },
        config(),
        quick(),
    )
    .await;
    assert_eq!(c.get("/health").await.0, 503);
    tokio::time::timeout(PATIENCE, c.server.killed())
        .await
        .expect("killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_lets_answers_end_or_cuts_them_off() {
    // Ends within the grace.
    let c = Client::new().await;
    let (http, url) = (c.http.clone(), c.url("/v1/completions"));
    let body = json!({"prompt": "a", "max_tokens": 50}).to_string();
    let answer = tokio::spawn(async move {
        http.post(url)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    });
    c.until("vllm:num_requests_running", 1.0).await;
    let address = c.server.address();
    assert!(c.server.shutdown(PATIENCE).await);
    let r: CompletionResponse = serde_json::from_str(&answer.await.unwrap()).unwrap();
    assert_eq!(r.usage.unwrap().completion_tokens, Some(50));
    assert!(TcpStream::connect(address).await.is_err());
    // Does not.
    let slow = LinearCost {
        base: Span::from_millis(50),
        ..quick()
    };
    let c = Client::with(Options::default(), config(), slow).await;
    let (http, url) = (c.http.clone(), c.url("/v1/completions"));
    let answer = tokio::spawn(async move {
        let r = http
            .post(url)
            .header("content-type", "application/json")
            .body(json!({"prompt": "a", "max_tokens": 2000, "stream": true}).to_string())
            .send()
            .await?;
        r.text().await
    });
    c.until("vllm:num_requests_running", 1.0).await;
    assert!(!c.server.shutdown(Duration::from_millis(100)).await);
    assert!(answer.await.unwrap().is_err(), "cut off, and seen to be");
}

/// The price model matters to none of this; here that it is asked with the engine's own batches.
#[test]
fn a_linear_cost_is_what_these_tests_take_it_for() {
    let shape = capsim::cost::StepShape {
        decode_seqs: 3,
        ..Default::default()
    };
    assert_eq!(quick().step(&shape), Span(2_003_000));
}

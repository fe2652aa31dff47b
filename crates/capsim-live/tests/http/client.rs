//! The server under test, and a client for it.
use capsim::cost::{LinearCost, StepCost};
use capsim::device::EngineId;
use capsim::engine::{EngineConfig, Group};
use capsim::units::Span;
use capsim_live::openai::CompletionChunk;
use capsim_live::openai::prometheus::Scrape;
use capsim_live::openai::sse::{Event, SseParser};
use capsim_live::serve::{Options, Server};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Longer than anything takes here, on any machine: only a hang gets there.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn config() -> EngineConfig {
    EngineConfig {
        num_gpu_blocks: 4001,
        max_num_seqs: 256,
        max_num_batched_tokens: 4096,
        max_model_len: 2048,
        ..EngineConfig::default()
    }
}

pub fn quick() -> LinearCost {
    LinearCost {
        base: Span::from_millis(2),
        per_token: Span::from_micros(1),
        per_seq: Span::ZERO,
    }
}

pub struct Client {
    pub server: Server,
    pub http: reqwest::Client,
}

impl Client {
    pub async fn with(options: Options, config: EngineConfig, cost: LinearCost) -> Self {
        Self::of(EngineId::Vllm, options, config, cost).await
    }
    pub async fn of(
        engine: EngineId,
        options: Options,
        config: EngineConfig,
        cost: LinearCost,
    ) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            server: Server::start(options, engine, config, Group::ONE, cost)
                .await
                .unwrap(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }
    pub async fn new() -> Self {
        Self::with(Options::default(), config(), quick()).await
    }
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }
    pub async fn get(&self, path: &str) -> (u16, String) {
        let r = self.http.get(self.url(path)).send().await.unwrap();
        (r.status().as_u16(), r.text().await.unwrap())
    }
    pub async fn post_raw(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
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
    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let (status, text) = self.post_raw(path, body.to_string()).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
    pub async fn stream(&self, path: &str, body: Value) -> Vec<(Instant, Event)> {
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
    pub async fn scrape(&self) -> Scrape {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200);
        let s = Scrape::parse(&text);
        assert_eq!(s.errors, []);
        s
    }
    pub async fn metric(&self, name: &str) -> f64 {
        self.scrape()
            .await
            .total(name)
            .unwrap_or_else(|| panic!("no {name}"))
    }
    /// Until a metric has a value; a hang otherwise.
    pub async fn until(&self, name: &str, want: f64) {
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

pub fn words(n: usize, from: usize) -> String {
    (from..from + n)
        .map(|i| format!("w{i}"))
        .collect::<Vec<_>>()
        .join(" ")
}

pub fn chunks(events: &[(Instant, Event)]) -> Vec<CompletionChunk> {
    let (last, rest) = events.split_last().unwrap();
    assert!(last.1.is_done());
    rest.iter()
        .map(|(_, e)| serde_json::from_str(&e.data).unwrap())
        .collect()
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

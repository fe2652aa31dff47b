//! Under abuse the server goes on answering others.
use super::client::{Client, config, quick, words};
use capsim::cost::LinearCost;
use capsim::units::Span;
use capsim_live::serve::Options;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn opened(c: &Client, body: &str) -> TcpStream {
    let mut s = TcpStream::connect(c.server.address()).await.unwrap();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    s.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses early may close before all of it is taken.
    let _ = s.write_all(body.as_bytes()).await;
    s
}

/// How long `/health` takes, 40 times one after another: median and longest.
async fn health(c: &Client) -> (Duration, Duration) {
    let mut all = vec![];
    for _ in 0..40 {
        let start = Instant::now();
        assert_eq!(c.get("/health").await.0, 200);
        all.push(start.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    all.sort();
    (all[20], all[39])
}

/// Medians, so that a machine with other work does not decide; a server whose workers are taken has neither.
fn fast(what: &str, (median, longest): (Duration, Duration)) {
    assert!(
        median < Duration::from_millis(100),
        "{what}: median {median:?}"
    );
    assert!(
        longest < Duration::from_secs(10),
        "{what}: longest {longest:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn health_answers_while_others_abuse_the_server() {
    let slow = LinearCost {
        base: Span::from_millis(5),
        ..quick()
    };
    let c = Client::with(Options::default(), config(), slow).await;
    // Ten thousand stop strings, of which vLLM takes four.
    let stops: Vec<String> = (0..10_000).map(|i| format!("zq{i}")).collect();
    let body =
        json!({"prompt": "a", "max_tokens": 2000, "ignore_eos": true, "stop": stops}).to_string();
    let mut held = vec![];
    for _ in 0..4 {
        held.push(opened(&c, &body).await);
    }
    fast("stop strings", health(&c).await);
    // Long texts with four stop strings that never come.
    let body =
        json!({"prompt": words(1000, 0), "max_tokens": 1000, "stop": ["zq1", "zq2", "zq3", "zq4"]})
            .to_string();
    for _ in 0..16 {
        held.push(opened(&c, &body).await);
    }
    fast("stops that never come", health(&c).await);
    // Bodies of 64 MiB: one that is read and refused, one that is sent in drops.
    let big = format!("{{\"prompt\": \"{}\"}}", "a".repeat((64 << 20) - 32));
    let sending = async {
        let mut s = opened(&c, &big).await;
        let mut answer = vec![0; 64];
        let n = s.read(&mut answer).await.unwrap_or(0);
        String::from_utf8_lossy(&answer[..n]).into_owned()
    };
    let (answer, times) = tokio::join!(sending, health(&c));
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 200"),
        "{answer}"
    );
    fast("a body of 64 MiB", times);
    // Four hundred streams of which half are not read.
    let body =
        json!({"prompt": "a", "max_tokens": 2000, "ignore_eos": true, "stream": true}).to_string();
    let mut read = vec![];
    for i in 0..400 {
        let mut s = opened(&c, &body).await;
        if i % 2 == 0 {
            held.push(s);
        } else {
            read.push(tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while s.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
            }));
        }
    }
    fast("400 streams", health(&c).await);
    // Clients that leave give everything back.
    drop(held);
    for task in read {
        task.abort();
    }
    c.until("vllm:num_requests_running", 0.0).await;
    c.until("vllm:num_requests_waiting", 0.0).await;
    assert_eq!(c.get("/load").await.1, r#"{"server_load":0}"#);
}

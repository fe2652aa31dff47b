//! Clients that leave, stand still or send garbage, and a server that ends.
use super::client::{Client, PATIENCE, config, quick, words};
use capsim::cost::LinearCost;
use capsim::engine::EngineConfig;
use capsim::units::Span;
use capsim_live::openai::CompletionResponse;
use capsim_live::serve::Options;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_stops_whatever_its_engine_is_about_to_do() {
    // The word to stop meets the engine's thread at its beginning, between two steps, or asleep.
    for i in 0..200 {
        let c = Client::new().await;
        if i % 2 == 1 {
            let body = json!({"prompt": "a", "max_tokens": 1});
            assert_eq!(c.post("/v1/completions", body).await.0, 200);
        }
        tokio::time::timeout(PATIENCE, c.server.shutdown(Duration::ZERO))
            .await
            .unwrap_or_else(|_| panic!("server {i} never stops"));
    }
}

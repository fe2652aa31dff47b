//! Faults on demand: who is refused and how, and streams that die in every way that real ones do.
use super::client::{Client, PATIENCE, config, quick, words};
use capsim::cost::LinearCost;
use capsim::units::Span;
use capsim_live::serve::{Fault, Options};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn with(faults: &[&str]) -> Client {
    let options = Options {
        faults: faults.iter().map(|f| f.parse::<Fault>().unwrap()).collect(),
        ..Options::default()
    };
    Client::with(options, config(), quick()).await
}

fn ask(stream: bool) -> Value {
    json!({"prompt": words(20, 0), "max_tokens": 6, "ignore_eos": true, "stream": stream, "stream_options": if stream { json!({"include_usage": true}) } else { Value::Null }})
}

fn posting(c: &Client, path: &str, body: &Value) -> reqwest::RequestBuilder {
    c.http
        .post(c.url(path))
        .header("content-type", "application/json")
        .body(body.to_string())
}

/// Sends a streamed request over a socket of its own.
async fn sent(c: &Client) -> TcpStream {
    let body = ask(true).to_string();
    let mut s = TcpStream::connect(c.server.address()).await.unwrap();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    s.write_all((head + &body).as_bytes()).await.unwrap();
    s
}

/// What is read until the end, and how it ends: `None`: nothing more comes, although the connection stays.
async fn read(s: &mut TcpStream, patience: Duration) -> (String, Option<Result<(), ErrorKind>>) {
    let mut all = vec![];
    let mut buffer = [0; 4096];
    loop {
        match tokio::time::timeout(patience, s.read(&mut buffer)).await {
            Err(_) => return (String::from_utf8_lossy(&all).into(), None),
            Ok(Ok(0)) => return (String::from_utf8_lossy(&all).into(), Some(Ok(()))),
            Ok(Ok(n)) => all.extend_from_slice(&buffer[..n]),
            Ok(Err(e)) => return (String::from_utf8_lossy(&all).into(), Some(Err(e.kind()))),
        }
    }
}

fn events(text: &str) -> usize {
    text.matches("data: {").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_refused_with_their_status_and_words() {
    for (fault, status, says, again) in [
        ("status:401", 401, "Unauthorized", false),
        ("status:429", 429, "Rate limit", true),
        ("status:500", 500, "on purpose", false),
        ("status:503", 503, "currently busy", true),
        ("status:529", 529, "overloaded_error", true),
        (
            "status:context-length",
            400,
            "maximum context length is 2048 tokens",
            false,
        ),
    ] {
        let c = with(&[fault]).await;
        let r = posting(&c, "/v1/completions", &ask(false))
            .send()
            .await
            .unwrap();
        assert_eq!(r.status().as_u16(), status, "{fault}");
        assert_eq!(r.headers().contains_key("retry-after"), again, "{fault}");
        let text = r.text().await.unwrap();
        assert!(text.contains(says), "{fault}: {text}");
        // Only what generates is struck.
        assert_eq!(c.get("/health").await.0, 200);
        assert_eq!(c.get("/v1/models").await.0, 200);
        let (_, e) = c.post("/v1/messages", json!({"max_tokens": 1})).await;
        assert_eq!(e["type"], "error", "{fault}: {e}");
        assert!(e["error"]["message"].is_string(), "{fault}: {e}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_strike_by_rate_by_header_and_by_queue() {
    let c = with(&["status:429,rate:0.5"]).await;
    let mut struck = 0;
    for _ in 0..64 {
        struck += u32::from(c.post("/v1/completions", ask(false)).await.0 == 429);
    }
    assert!((16..=48).contains(&struck), "{struck}");

    let c = with(&["status:529,header:x-fault=yes"]).await;
    for (value, status) in [("no", 200), ("yes", 529)] {
        let request = posting(&c, "/v1/completions", &ask(false));
        let r = request.header("X-Fault", value).send().await.unwrap();
        assert_eq!(r.status().as_u16(), status);
    }

    let slow = LinearCost {
        base: Span::from_millis(50),
        ..quick()
    };
    let options = Options {
        faults: vec!["status:503,queue:2".parse().unwrap()],
        ..Options::default()
    };
    let one_seat = capsim::engine::EngineConfig {
        max_num_seqs: 1,
        ..config()
    };
    let c = Client::with(options, one_seat, slow).await;
    let mut open = vec![sent(&c).await];
    c.until("vllm:num_requests_running", 1.0).await;
    open.push(sent(&c).await);
    open.push(sent(&c).await);
    c.until("vllm:num_requests_waiting", 2.0).await;
    assert_eq!(c.post("/v1/completions", ask(false)).await.0, 503);
    let text = c.get("/metrics").await.1;
    assert!(
        text.contains("vllm:admission_rejections_total{model_name=\"model\",reason=\"max_num_queued_reqs\"} 1.0"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_die_where_and_how_they_are_told() {
    let whole = Duration::from_secs(20);
    for (fault, tokens, last) in [
        ("before-first", 0, ""),
        ("mid-token", 3, ""),
        ("after-usage", 7, "\n\n"),
    ] {
        let c = with(&[&format!("stream:{fault}")]).await;
        let (text, end) = read(&mut sent(&c).await, whole).await;
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{fault}: {text}");
        assert!(!text.contains("[DONE]"), "{fault}: {text}");
        // Neither the end of the stream nor that of its encoding.
        assert!(!text.ends_with("0\r\n\r\n"), "{fault}: {text}");
        assert_eq!(end, Some(Ok(())), "{fault}");
        let beginnings = text.matches("data: {").count();
        assert!(
            beginnings <= tokens && beginnings + 1 >= tokens,
            "{fault}: {text}"
        );
        assert_eq!(
            text.contains("\"usage\":{"),
            fault == "after-usage",
            "{text}"
        );
        assert!(
            text.trim_end_matches("\r\n").ends_with(last),
            "{fault}: {text}"
        );
        // The engine works for it no longer.
        c.until("vllm:num_requests_running", 0.0).await;
    }
    let c = with(&["stream:reset"]).await;
    let (text, end) = read(&mut sent(&c).await, whole).await;
    assert_eq!(end, Some(Err(ErrorKind::ConnectionReset)), "{text}");

    let c = with(&["stream:half-closed"]).await;
    let mut s = sent(&c).await;
    let (text, end) = read(&mut s, whole).await;
    assert_eq!((events(&text), end), (2, Some(Ok(()))));
    // The server's other half still takes what is sent.
    for _ in 0..3 {
        s.write_all(b"x").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let c = with(&["stream:stalled"]).await;
    let mut s = sent(&c).await;
    let (text, end) = read(&mut s, Duration::from_millis(400)).await;
    assert_eq!((events(&text), end), (2, None));
    assert_eq!(c.get("/health").await.0, 200);
    drop(s);
    c.until("vllm:num_requests_running", 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_streams_die_and_only_those_that_are_struck() {
    let c = with(&["stream:reset,header:x-die"]).await;
    assert_eq!(c.post("/v1/completions", ask(false)).await.0, 200);
    let events = c.stream("/v1/completions", ask(true)).await;
    assert!(events.last().unwrap().1.is_done());
    // Not a stream: its answer lives.
    let request = posting(&c, "/v1/completions", &ask(false));
    let r = request.header("x-die", "1").send().await.unwrap();
    assert_eq!(r.status().as_u16(), 200);
    // A stream of responses dies as well.
    let body = json!({"input": "a b", "max_output_tokens": 5, "stream": true});
    let request = posting(&c, "/v1/responses", &body);
    let r = request.header("x-die", "1").send().await.unwrap();
    let read = tokio::time::timeout(PATIENCE, r.text()).await.unwrap();
    assert!(read.is_err(), "{read:?}");
}

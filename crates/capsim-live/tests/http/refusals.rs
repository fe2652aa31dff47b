//! What is refused, and faults that were asked for.
use super::client::{Client, PATIENCE, config, quick, words};
use capsim_live::serve::Options;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

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
        let param = &e["error"]["param"];
        assert!(
            param.is_null() || param.is_string(),
            "{path} {shown}: {text}"
        );
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

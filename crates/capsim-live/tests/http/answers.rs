//! What is answered: texts, streams, choices, counters.
use super::client::{Client, chunks, config, quick, words};
use capsim_live::openai::{ChatChunk, CompletionResponse, Usage};
use capsim_live::serve::Options;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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

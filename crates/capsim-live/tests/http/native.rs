//! The endpoints of llama-server and SGLang, where the stand-in is one of them.
use super::client::{Client, config, quick, words};
use capsim::device::EngineId;
use capsim::engine::EngineConfig;
use capsim_live::openai::prometheus::Scrape;
use capsim_live::serve::Options;
use serde_json::{Value, json};

async fn standing_in(engine: EngineId) -> Client {
    let config = EngineConfig {
        max_num_seqs: 4,
        ..config()
    };
    Client::of(engine, Options::default(), config, quick()).await
}

fn values(events: &[(std::time::Instant, capsim_live::openai::sse::Event)]) -> Vec<Value> {
    events
        .iter()
        .filter(|(_, e)| !e.is_done())
        .map(|(_, e)| serde_json::from_str(&e.data).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn llama_servers_own_endpoints_answer() {
    let c = standing_in(EngineId::LlamaServer).await;
    assert_eq!(c.get("/health").await, (200, r#"{"status":"ok"}"#.into()));
    let props: Value = serde_json::from_str(&c.get("/props").await.1).unwrap();
    assert_eq!(props["total_slots"], 4);
    assert_eq!(props["default_generation_settings"]["n_ctx"], 2048);
    let slots: Value = serde_json::from_str(&c.get("/slots").await.1).unwrap();
    assert_eq!(slots.as_array().unwrap().len(), 4);
    assert_eq!(slots[0]["is_processing"], false);
    assert_eq!(c.get("/slots?fail_on_no_slot=1").await.0, 200);

    let ask = json!({"prompt": words(20, 0), "n_predict": 6, "ignore_eos": true, "temperature": 0});
    let (status, v) = c.post("/completion", ask.clone()).await;
    assert_eq!(status, 200, "{v}");
    assert_eq!(
        (&v["stop"], &v["stop_type"]),
        (&json!(true), &json!("limit"))
    );
    assert_eq!(
        (&v["tokens_evaluated"], &v["tokens_predicted"]),
        (&json!(20), &json!(6))
    );
    let text = v["content"].as_str().unwrap();
    assert_eq!(text.split_whitespace().count(), 6);
    let t = &v["timings"];
    assert!(
        t["predicted_ms"].as_f64().unwrap() > 0.0 && t["prompt_ms"].as_f64().unwrap() > 0.0,
        "{t}"
    );
    let mut streamed = ask;
    streamed["stream"] = true.into();
    let events = c.stream("/completion", streamed).await;
    let all = values(&events);
    assert_eq!(all.len(), events.len(), "there is no [DONE] here");
    let said: String = all.iter().map(|v| v["content"].as_str().unwrap()).collect();
    assert_eq!(said, text);
    let stops: Vec<bool> = all.iter().map(|v| v["stop"].as_bool().unwrap()).collect();
    assert_eq!(stops, [false, false, false, false, false, true]);

    let (_, v) = c.post("/tokenize", json!({"content": "a b c"})).await;
    let tokens = v["tokens"].clone();
    assert_eq!(tokens.as_array().unwrap().len(), 3);
    let (_, v) = c.post("/detokenize", json!({ "tokens": tokens })).await;
    assert_eq!(v["content"], "a b c");
    let (_, v) = c
        .post("/tokenize", json!({"content": "a b", "with_pieces": true}))
        .await;
    assert_eq!(v["tokens"][1]["piece"], "b");
    let (_, v) = c
        .post(
            "/apply-template",
            json!({"messages": [{"role": "user", "content": "hi"}]}),
        )
        .await;
    assert!(v["prompt"].as_str().unwrap().contains("hi"));
    // Its refusals: nothing to complete, more than a slot holds.
    assert_eq!(c.post("/completion", json!({})).await.0, 400);
    assert_eq!(
        c.post("/completion", json!({"prompt": words(3000, 0)}))
            .await
            .0,
        400
    );

    let m = Scrape::parse(&c.get("/metrics").await.1);
    for (name, value) in [
        ("llamacpp:prompt_tokens_total", 40.0),
        ("llamacpp:tokens_predicted_total", 12.0),
        ("llamacpp:requests_processing", 0.0),
        ("llamacpp:requests_deferred", 0.0),
        ("llamacpp:n_busy_slots_per_decode", 1.0),
    ] {
        assert_eq!(m.total(name), Some(value), "{name}");
    }
    // None of SGLang's.
    assert_eq!(c.post("/generate", json!({"text": "a"})).await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sglangs_own_endpoints_answer() {
    let c = standing_in(EngineId::Sglang).await;
    for path in ["/health", "/health_generate"] {
        assert_eq!(c.get(path).await.0, 200);
    }
    assert_eq!(c.post("/flush_cache", json!({})).await.0, 200);
    let info: Value = serde_json::from_str(&c.get("/get_model_info").await.1).unwrap();
    assert_eq!(info["model_path"], "model");
    for path in ["/get_server_info", "/server_info"] {
        let v: Value = serde_json::from_str(&c.get(path).await.1).unwrap();
        assert_eq!(v["max_running_requests"], 4, "{path}");
        assert!(v["internal_states"].is_array());
    }
    let ask = json!({"text": words(20, 0), "sampling_params": {"max_new_tokens": 6, "temperature": 0.0, "ignore_eos": true}});
    let (status, v) = c.post("/generate", ask.clone()).await;
    assert_eq!(status, 200, "{v}");
    assert_eq!(
        v["meta_info"]["finish_reason"],
        json!({"type": "length", "length": 6})
    );
    assert_eq!(
        (
            &v["meta_info"]["prompt_tokens"],
            &v["meta_info"]["completion_tokens"]
        ),
        (&json!(20), &json!(6))
    );
    let text = v["text"].as_str().unwrap();
    let mut streamed = ask;
    streamed["stream"] = true.into();
    let events = c.stream("/generate", streamed).await;
    assert!(events.last().unwrap().1.is_done());
    let all = values(&events);
    // Each event has the whole text so far, and the number of its tokens.
    for (i, v) in all.iter().enumerate() {
        assert_eq!(v["meta_info"]["completion_tokens"], i + 1);
        assert!(text.starts_with(v["text"].as_str().unwrap()));
    }
    assert_eq!(all.last().unwrap()["text"], text);
    let (_, several) = c
        .post(
            "/generate",
            json!({"text": ["a b", "c"], "sampling_params": {"max_new_tokens": 2}}),
        )
        .await;
    assert_eq!(several.as_array().unwrap().len(), 2);
    let (_, ids) = c
        .post(
            "/generate",
            json!({"input_ids": [1, 2, 3], "sampling_params": {"max_new_tokens": 2}}),
        )
        .await;
    assert_eq!(ids["meta_info"]["prompt_tokens"], 3);

    let m = Scrape::parse(&c.get("/metrics").await.1);
    assert_eq!(m.errors, []);
    for name in [
        "sglang:num_running_reqs",
        "sglang:num_queue_reqs",
        "sglang:token_usage",
        "sglang:cache_hit_rate",
    ] {
        assert!(m.total(name).is_some(), "{name}");
    }
    assert_eq!(m.total("sglang:prompt_tokens_total"), Some(46.0));
    assert_eq!(m.total("sglang:generation_tokens_total"), Some(18.0));
    assert_eq!(c.get("/props").await.0, 404);
}

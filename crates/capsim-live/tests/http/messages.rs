//! Anthropic's form, embeddings, scores, and answers from a file.
use super::client::{Client, config, quick, words};
use capsim_live::serve::{Options, canned};
use serde_json::{Value, json};

fn ask(more: Value) -> Value {
    let mut v = json!({"model": "model", "max_tokens": 8, "temperature": 0.0,
        "system": [{"type": "text", "text": "be brief"}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello there"}]}]});
    for (k, x) in more.as_object().unwrap() {
        v[k] = x.clone();
    }
    v
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_answered_whole_and_as_the_same_events() {
    let c = Client::new().await;
    let (status, m) = c.post("/v1/messages", ask(json!({}))).await;
    assert_eq!(status, 200, "{m}");
    assert_eq!(
        (&m["type"], &m["role"]),
        (&json!("message"), &json!("assistant"))
    );
    assert_eq!(m["stop_reason"], "max_tokens");
    assert_eq!(m["usage"]["output_tokens"], 8);
    let counted = c.post("/v1/messages/count_tokens", ask(json!({}))).await.1;
    assert_eq!(m["usage"]["input_tokens"], counted["input_tokens"]);
    let text = m["content"][0]["text"].as_str().unwrap();
    assert_eq!(text.split_whitespace().count(), 8);

    let events = c.stream("/v1/messages", ask(json!({"stream": true}))).await;
    let all: Vec<Value> = events
        .iter()
        .map(|(_, e)| serde_json::from_str(&e.data).unwrap())
        .collect();
    let kinds: Vec<&str> = all.iter().map(|v| v["type"].as_str().unwrap()).collect();
    let mut expected = vec!["message_start", "content_block_start"];
    expected.extend(["content_block_delta"; 8]);
    expected.extend(["content_block_stop", "message_delta", "message_stop"]);
    assert_eq!(kinds, expected);
    let said: String = all
        .iter()
        .filter_map(|v| v["delta"]["text"].as_str())
        .collect();
    assert_eq!(said, text);
    assert_eq!(
        all[0]["message"]["usage"]["input_tokens"],
        counted["input_tokens"]
    );
    assert_eq!(all[11]["delta"]["stop_reason"], "max_tokens");
    assert_eq!(all[11]["usage"]["output_tokens"], 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_stop_sequences_and_refusals_are_anthropics() {
    let options = Options {
        auto_tools: true,
        ..Options::default()
    };
    let c = Client::with(options, config(), quick()).await;
    let schema =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let tools = json!([{"name": "weather", "input_schema": schema}]);
    let more = json!({"max_tokens": 200, "tools": tools, "tool_choice": {"type": "tool", "name": "weather"}});
    let (status, m) = c.post("/v1/messages", ask(more.clone())).await;
    assert_eq!(status, 200, "{m}");
    assert_eq!(m["stop_reason"], "tool_use");
    let block = &m["content"][0];
    assert_eq!(
        (&block["type"], &block["name"]),
        (&json!("tool_use"), &json!("weather"))
    );
    assert!(block["input"]["city"].is_string(), "{m}");
    let mut streamed = more.clone();
    streamed["stream"] = true.into();
    let events = c.stream("/v1/messages", ask(streamed)).await;
    let json_text: String = events
        .iter()
        .filter_map(|(_, e)| {
            let v: Value = serde_json::from_str(&e.data).unwrap();
            v["delta"]["partial_json"].as_str().map(String::from)
        })
        .collect();
    assert_eq!(
        serde_json::from_str::<Value>(&json_text).unwrap(),
        block["input"]
    );

    let (_, m) = c.post("/v1/messages", ask(json!({}))).await;
    let text = m["content"][0]["text"].as_str().unwrap();
    let stop = text.split_whitespace().nth(3).unwrap();
    let (_, m) = c
        .post("/v1/messages", ask(json!({"stop_sequences": [stop]})))
        .await;
    assert_eq!(
        (&m["stop_reason"], &m["stop_sequence"]),
        (&json!("stop_sequence"), &json!(stop))
    );

    for (more, status, says) in [
        (json!({"max_tokens": null}), 400, "max_tokens"),
        (json!({"max_tokens": 0}), 400, "positive"),
        (json!({"messages": []}), 400, "at least one message"),
        (json!({"model": "other"}), 404, "does not exist"),
        (
            json!({"messages": [{"role": "tool", "content": "x"}]}),
            400,
            "role",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image"}]}]}),
            400,
            "multimodal",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "video"}]}]}),
            400,
            "video",
        ),
        (json!({"temperature": 3}), 400, "temperature"),
        (json!({"max_tokens": 5000}), 400, "maximum context length"),
    ] {
        let (got, e) = c.post("/v1/messages", ask(more.clone())).await;
        assert_eq!((got, &e["type"]), (status, &json!("error")), "{more}: {e}");
        let message = e["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{more}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embeddings_and_scores_are_answered_where_the_server_is_told_to() {
    let c = Client::new().await;
    assert_eq!(c.post("/v1/embeddings", json!({"input": "a"})).await.0, 404);
    assert_eq!(c.post("/rerank", json!({})).await.0, 404);
    let options = Options {
        embedding_size: Some(16),
        ..Options::default()
    };
    let c = Client::with(options, config(), quick()).await;
    let (status, v) = c
        .post("/v1/embeddings", json!({"input": ["a b c", "d", "a b c"]}))
        .await;
    assert_eq!(status, 200, "{v}");
    let data = v["data"].as_array().unwrap();
    assert_eq!(data.len(), 3);
    assert_eq!(data[0]["embedding"].as_array().unwrap().len(), 16);
    assert_eq!(data[0]["embedding"], data[2]["embedding"]);
    assert_ne!(data[0]["embedding"], data[1]["embedding"]);
    assert_eq!(v["usage"]["prompt_tokens"], 7);
    let packed = json!({"input": [[1, 2, 3]], "encoding_format": "base64", "dimensions": 3});
    let (_, v) = c.post("/v1/embeddings", packed).await;
    assert_eq!(v["data"][0]["embedding"].as_str().unwrap().len(), 16);
    for (bad, param) in [
        (json!({"input": "a", "dimensions": 17}), "dimensions"),
        (
            json!({"input": "a", "encoding_format": "hex"}),
            "encoding_format",
        ),
    ] {
        let (status, e) = c.post("/v1/embeddings", bad).await;
        assert_eq!((status, &e["error"]["param"]), (400, &json!(param)));
    }
    assert_eq!(
        c.post("/v1/embeddings", json!({"input": words(3000, 0)}))
            .await
            .0,
        400
    );

    let ask = json!({"query": "q", "documents": ["a", "b", "c d"], "top_n": 2});
    let (_, v) = c.post("/v1/rerank", ask).await;
    let results = v["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    let score = |i: usize| results[i]["relevance_score"].as_f64().unwrap();
    assert!(score(0) >= score(1) && score(0) <= 1.0 && score(1) >= 0.0);
    assert_eq!(v["usage"]["total_tokens"], 7);
    let (_, v) = c
        .post("/score", json!({"text_1": "q", "text_2": ["a", "b"]}))
        .await;
    assert_eq!(v["data"].as_array().unwrap().len(), 2);
    let (status, _) = c
        .post(
            "/score",
            json!({"text_1": ["q", "r"], "text_2": ["a", "b", "c"]}),
        )
        .await;
    assert_eq!(status, 400);
    // They are the engine's work: a prompt each.
    assert!(c.metric("vllm:request_success_total").await >= 9.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_from_a_file_are_given_out_token_by_token() {
    let file = "{\"contains\": \"weather\", \"answer\": \"It rains in Wales. Bring a coat.\"}\n\"Yes indeed.\"\n";
    let options = Options {
        canned: canned::parse(file).unwrap(),
        ..Options::default()
    };
    let c = Client::with(options, config(), quick()).await;
    let chat = |text: &str, more: Value| {
        let mut v = json!({"messages": [{"role": "user", "content": text}]});
        for (k, x) in more.as_object().unwrap() {
            v[k] = x.clone();
        }
        v
    };
    let (_, v) = c
        .post("/v1/chat/completions", chat("the weather ?", json!({})))
        .await;
    assert_eq!(
        v["choices"][0]["message"]["content"],
        "It rains in Wales. Bring a coat."
    );
    assert_eq!(v["choices"][0]["finish_reason"], "stop");
    assert_eq!(v["usage"]["completion_tokens"], 7);
    let (_, v) = c
        .post("/v1/chat/completions", chat("hello", json!({})))
        .await;
    assert_eq!(v["choices"][0]["message"]["content"], "Yes indeed.");
    // Its limits hold: fewer tokens, a stop string.
    let (_, v) = c
        .post(
            "/v1/chat/completions",
            chat("the weather ?", json!({"max_tokens": 3})),
        )
        .await;
    assert_eq!(v["choices"][0]["message"]["content"], "It rains in");
    assert_eq!(v["choices"][0]["finish_reason"], "length");
    let (_, v) = c
        .post(
            "/v1/chat/completions",
            chat("the weather ?", json!({"stop": [" Bring"]})),
        )
        .await;
    assert_eq!(v["choices"][0]["message"]["content"], "It rains in Wales.");
    assert_eq!(v["choices"][0]["stop_reason"], " Bring");
    // A form that is demanded comes first.
    let form = json!({"response_format": {"type": "json_object"}, "max_tokens": 50});
    let (_, v) = c
        .post("/v1/chat/completions", chat("the weather ?", form))
        .await;
    let text = v["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}");
}

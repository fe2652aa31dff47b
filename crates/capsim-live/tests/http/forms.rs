//! What clients ask of the form of an answer, and bodies as vLLM takes them: JSON of a schema, tools, log-probabilities, echo,
//! `/v1/responses`, pages of other origins.
use super::client::{Client, config, quick, words};
use capsim_live::serve::{Options, schema};
use proptest::prelude::*;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

fn user(content: Value) -> Value {
    json!([{"role": "user", "content": content}])
}

fn weather() -> Value {
    json!([{"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_taken_as_vllm_takes_them() {
    let c = Client::new().await;
    for body in [
        r#"{"prompt":"a","max_tokens":4.0}"#,
        r#"{"prompt":"a","max_tokens":"4","temperature":"0.5"}"#,
        r#"{"prompt":"b","prompt":"a","max_tokens":9,"max_tokens":4}"#,
        "\u{feff}{\"prompt\":\"a\",\"max_tokens\":4}",
    ] {
        let (status, text) = c.post_raw(TEXT, body).await;
        let v: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (status, &v["usage"]["completion_tokens"]),
            (200, &json!(4)),
            "{body}: {text}"
        );
    }
    let five = words(5, 0).split(' ').map(String::from).collect::<Vec<_>>();
    let many: Vec<String> = (0..10_000).map(|i| format!("zq{i}")).collect();
    for (path, body, param) in [
        (TEXT, json!({"prompt": "a", "stop": five}), "stop"),
        (
            TEXT,
            json!({"prompt": "a", "stop": many, "max_tokens": 2000}),
            "stop",
        ),
        (TEXT, json!({"prompt": "a", "stop": ""}), "stop"),
        (
            TEXT,
            json!({"prompt": "a", "temperature": 3}),
            "temperature",
        ),
        (
            TEXT,
            json!({"prompt": "a", "presence_penalty": 3}),
            "presence_penalty",
        ),
        (
            TEXT,
            json!({"prompt": "a", "repetition_penalty": 0}),
            "repetition_penalty",
        ),
        (TEXT, json!({"prompt": "a", "suffix": "z"}), "suffix"),
        (TEXT, json!({"prompt": "a", "logprobs": 21}), "logprobs"),
        (
            TEXT,
            json!({"prompt": "a", "max_tokens": 4.5}),
            "max_tokens",
        ),
        (
            TEXT,
            json!({"prompt": "a", "stream_options": {"include_usage": true}}),
            "stream_options",
        ),
        (CHAT, json!({"messages": []}), "messages"),
        (
            CHAT,
            json!({"messages": user(json!([{"type": "image_url", "image_url": {"url": "data:x"}}]))}),
            "messages",
        ),
        (
            CHAT,
            json!({"messages": user(json!("x")), "top_logprobs": 2}),
            "top_logprobs",
        ),
        (
            CHAT,
            json!({"messages": user(json!("x")), "tools": weather()}),
            "tool_choice",
        ),
        (
            CHAT,
            json!({"messages": user(json!("x")), "tools": []}),
            "tools",
        ),
        (
            CHAT,
            json!({"messages": user(json!("x")), "response_format": {"type": "json_schema"}}),
            "response_format",
        ),
        (
            CHAT,
            json!({"messages": user(json!("x")), "guided_json": {"type": "frog"}}),
            "response_format",
        ),
    ] {
        let (status, v) = c.post(path, body.clone()).await;
        assert_eq!(
            (status, v["error"]["param"].as_str()),
            (400, Some(param)),
            "{body}: {v}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_probabilities_and_echo_have_vllms_form() {
    let c = Client::new().await;
    let (_, v) = c.post(CHAT, json!({"messages": user(json!("x")), "max_tokens": 4, "logprobs": true, "top_logprobs": 2})).await;
    let all = v["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(all.len(), 4);
    let text: String = all.iter().map(|t| t["token"].as_str().unwrap()).collect();
    assert_eq!(
        text,
        v["choices"][0]["message"]["content"].as_str().unwrap()
    );
    assert!(all.iter().all(|t| t["logprob"].as_f64().unwrap() < 0.0
        && t["top_logprobs"].as_array().unwrap().len() == 2));
    let (_, v) = c
        .post(
            TEXT,
            json!({"prompt": "a b", "max_tokens": 3, "logprobs": 1}),
        )
        .await;
    let l = &v["choices"][0]["logprobs"];
    assert_eq!(
        (
            l["tokens"].as_array().unwrap().len(),
            l["text_offset"][0].as_u64()
        ),
        (3, Some(0))
    );
    let (_, v) = c
        .post(
            TEXT,
            json!({"prompt": "a b", "max_tokens": 0, "echo": true}),
        )
        .await;
    assert_eq!(v["choices"][0]["text"], "a b", "{v}");
    let events = c.stream(CHAT, json!({"messages": user(json!("x")), "max_tokens": 3, "logprobs": true, "stream": true})).await;
    let told = events
        .iter()
        .filter(|(_, e)| e.data.contains("\"logprob\":"))
        .count();
    assert_eq!(told, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_fit_what_is_demanded_of_them() {
    let c = Client::with(
        Options {
            auto_tools: true,
            ..Options::default()
        },
        config(),
        quick(),
    )
    .await;
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}, "required": ["a", "b"]});
    for max_tokens in [2, 30, 500] {
        for demand in [
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}),
            json!({"guided_json": schema}),
            json!({"structured_outputs": {"json": schema}}),
        ] {
            let mut body =
                json!({"messages": user(json!("x")), "max_tokens": max_tokens, "temperature": 0});
            body.as_object_mut()
                .unwrap()
                .extend(demand.as_object().unwrap().clone());
            let (status, v) = c.post(CHAT, body).await;
            let content = v["choices"][0]["message"]["content"]
                .as_str()
                .unwrap_or_default();
            let told: Value =
                serde_json::from_str(content).unwrap_or_else(|e| panic!("{e}: {status} {v}"));
            assert!(
                told["a"].is_i64() && ["x", "y"].contains(&told["b"].as_str().unwrap()),
                "{told}"
            );
            assert_eq!(v["choices"][0]["finish_reason"], "stop");
        }
    }
    let (_, v) = c
        .post(
            TEXT,
            json!({"prompt": "a", "max_tokens": 50, "guided_choice": ["red", "green"]}),
        )
        .await;
    assert!(
        ["red", "green"].contains(&v["choices"][0]["text"].as_str().unwrap()),
        "{v}"
    );
    let (_, v) = c.post(TEXT, json!({"prompt": "a", "max_tokens": 50, "structured_outputs": {"regex": "[0-9]{3}-[a-z]"}})).await;
    let text = v["choices"][0]["text"].as_str().unwrap();
    assert!(text.len() == 5 && text.as_bytes()[3] == b'-', "{v}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_are_called_whole_and_in_pieces() {
    let c = Client::with(
        Options {
            auto_tools: true,
            ..Options::default()
        },
        config(),
        quick(),
    )
    .await;
    let body = json!({"messages": user(json!("x")), "max_tokens": 60, "tools": weather(), "tool_choice": "required", "temperature": 0});
    let (_, v) = c.post(CHAT, body.clone()).await;
    let choice = &v["choices"][0];
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(
        (
            &choice["finish_reason"],
            &call["type"],
            &call["function"]["name"]
        ),
        (&json!("tool_calls"), &json!("function"), &json!("weather"))
    );
    let arguments: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["city"].is_string());
    let mut streamed = body;
    streamed["stream"] = true.into();
    let events = c.stream(CHAT, streamed).await;
    let chunks: Vec<Value> = events
        .iter()
        .filter(|(_, e)| !e.is_done())
        .map(|(_, e)| serde_json::from_str(&e.data).unwrap())
        .collect();
    let parts: String = chunks
        .iter()
        .filter_map(|c| c["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str())
        .collect();
    assert_eq!(parts, call["function"]["arguments"].as_str().unwrap());
    let names = chunks
        .iter()
        .filter(|c| c["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "weather")
        .count();
    assert_eq!(
        (
            names,
            &chunks.last().unwrap()["choices"][0]["finish_reason"]
        ),
        (1, &json!("tool_calls"))
    );
    // After a tool's answer comes a text.
    let after = json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": null}, {"role": "tool", "content": "sunny"}]);
    let (_, v) = c
        .post(
            CHAT,
            json!({"messages": after, "max_tokens": 5, "tools": weather()}),
        )
        .await;
    assert!(
        v["choices"][0]["message"]["content"]
            .as_str()
            .is_some_and(|t| !t.is_empty()),
        "{v}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_come_whole_and_as_events() {
    let c = Client::new().await;
    let (status, v) = c
        .post(
            "/v1/responses",
            json!({"input": "hello there", "max_output_tokens": 6}),
        )
        .await;
    assert_eq!(
        (status, &v["object"], &v["status"]),
        (200, &json!("response"), &json!("incomplete")),
        "{v}"
    );
    assert_eq!(v["usage"]["output_tokens"], 6);
    let text = v["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(!text.is_empty());
    let items =
        json!([{"role": "user", "content": [{"type": "input_text", "text": "hello there"}]}]);
    let events = c
        .stream(
            "/v1/responses",
            json!({"input": items, "max_output_tokens": 6, "stream": true, "temperature": 0}),
        )
        .await;
    let all: Vec<Value> = events
        .iter()
        .map(|(_, e)| serde_json::from_str(&e.data).unwrap())
        .collect();
    let kinds: Vec<&str> = all.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(
        (kinds[0], kinds.last()),
        ("response.created", Some(&"response.incomplete"))
    );
    assert!(
        all.iter()
            .enumerate()
            .all(|(i, e)| e["sequence_number"] == i)
    );
    let said: String = all
        .iter()
        .filter(|e| e["type"] == "response.output_text.delta")
        .map(|e| e["delta"].as_str().unwrap())
        .collect();
    assert_eq!(
        said,
        all.last().unwrap()["response"]["output"][0]["content"][0]["text"]
            .as_str()
            .unwrap()
    );
    let (status, v) = c
        .post(
            "/v1/responses",
            json!({"input": "x", "previous_response_id": "r"}),
        )
        .await;
    assert_eq!(
        (status, v["error"]["param"].as_str()),
        (400, Some("previous_response_id"))
    );
    let format = json!({"format": {"type": "json_schema", "name": "n", "schema": {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]}}});
    let (_, v) = c
        .post(
            "/v1/responses",
            json!({"input": "x", "max_output_tokens": 40, "text": format}),
        )
        .await;
    let told: Value =
        serde_json::from_str(v["output"][0]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(
        (told["a"].is_null(), &v["status"]),
        (true, &json!("completed"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_may_ask_as_the_flag_says() {
    for (origins, theirs, answer) in [
        (vec!["*"], "http://a.example", Some("*")),
        (
            vec!["http://a.example"],
            "http://a.example",
            Some("http://a.example"),
        ),
        (vec![], "http://a.example", None),
    ] {
        let origins = origins.into_iter().map(String::from).collect();
        let c = Client::with(
            Options {
                origins,
                ..Options::default()
            },
            config(),
            quick(),
        )
        .await;
        let r = c
            .http
            .get(c.url("/health"))
            .header("origin", theirs)
            .send()
            .await
            .unwrap();
        assert_eq!(
            r.headers()
                .get("access-control-allow-origin")
                .map(|v| v.to_str().unwrap()),
            answer
        );
        let ask = c
            .http
            .request(reqwest::Method::OPTIONS, c.url(CHAT))
            .header("origin", theirs);
        let r = ask
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "x-a")
            .send()
            .await
            .unwrap();
        assert_eq!(
            (
                r.status().as_u16(),
                r.headers().get("access-control-allow-headers").is_some()
            ),
            (if answer.is_some() { 200 } else { 405 }, answer.is_some())
        );
    }
}

/// Schemas of what clients write: objects, lists, alternatives, limits, references.
fn schemas() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string"})),
        (0u64..9, 0u64..9)
            .prop_map(|(a, b)| json!({"type": "string", "minLength": a, "maxLength": a + b})),
        Just(json!({"type": "string", "format": "date-time"})),
        Just(json!({"type": "string", "pattern": "^[a-f0-9]{4}(-x)?$"})),
        (-50i64..50, 0i64..50)
            .prop_map(|(a, b)| json!({"type": "integer", "minimum": a, "maximum": a + b})),
        (1u64..9).prop_map(|m| json!({"type": "integer", "multipleOf": m})),
        (-5.0f64..5.0)
            .prop_map(|a| json!({"type": "number", "exclusiveMinimum": a, "maximum": a + 1.0})),
        Just(json!({"type": "boolean"})),
        Just(json!({"type": ["null", "integer"]})),
        Just(json!({"enum": ["a", 1, null]})),
        Just(json!({"const": {"k": [1]}})),
        Just(json!({"$ref": "#/$defs/d"})),
        Just(json!({})),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (prop::collection::btree_map("[a-d]", inner.clone(), 0..4), any::<bool>()).prop_map(|(p, open)| {
                let required: Vec<String> = p.keys().take(2).cloned().collect();
                json!({"type": "object", "properties": p, "required": required, "additionalProperties": open})
            }),
            (inner.clone(), 0u64..3, 0u64..3).prop_map(|(i, a, b)| json!({"type": "array", "items": i, "minItems": a, "maxItems": a + b})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({"anyOf": all})),
            prop::collection::vec(inner, 1..3).prop_map(|all| json!({"type": "array", "prefixItems": all, "items": false})),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_value_fits_its_schema(mut schema in schemas(), seed in any::<u64>(), least in any::<bool>()) {
        schema["$defs"] = json!({"d": {"type": "array", "items": {"type": "string", "maxLength": 3}, "uniqueItems": true}});
        let value = schema::value(&schema, seed, least).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        prop_assert!(validator.is_valid(&value), "{value} for {schema}: {:?}", validator.iter_errors(&value).map(|e| e.to_string()).collect::<Vec<_>>());
        prop_assert_eq!(schema::value(&schema, seed, least).unwrap(), value);
    }
}

#[test]
fn schemas_without_a_value_are_refused_with_a_reason() {
    for (schema, says) in [
        (json!({"type": "frog"}), "frog"),
        (json!(false), "no schema"),
        (json!({"$ref": "#"}), "small enough"),
        (json!({"$ref": "#/nowhere"}), "leads nowhere"),
        (
            json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}),
            "small enough",
        ),
        (
            json!({"type": "integer", "minimum": 5, "maximum": 4}),
            "no number",
        ),
        (json!({"type": "string", "pattern": "(?=a)"}), "pattern"),
        (
            json!({"type": "array", "items": {"const": 1}, "uniqueItems": true, "minItems": 3}),
            "uniqueItems",
        ),
        (
            json!({"type": "array", "items": {}, "minItems": 1e9}),
            "minItems",
        ),
        (
            json!({"type": "array", "items": {}, "minItems": 1_000_000_000u64}),
            "minItems",
        ),
    ] {
        match schema::value(&schema, 1, false) {
            Err(e) => assert!(e.contains(says), "{schema}: {e}"),
            Ok(v) => assert!(schema["minItems"].is_f64(), "{schema}: {v}"),
        }
    }
}

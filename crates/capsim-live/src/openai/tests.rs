use super::*;

#[test]
fn prompts_of_all_four_kinds_are_read() {
    let prompt = |p: &str| {
        parse::<CompletionRequest>(format!(r#"{{"model":"m","prompt":{p}}}"#).as_bytes())
            .map(|r| r.prompt.unwrap())
    };
    assert_eq!(prompt(r#""a b""#), Ok(PromptInput::Text("a b".into())));
    assert_eq!(prompt("[1,2]"), Ok(PromptInput::Tokens(vec![1, 2])));
    assert_eq!(
        prompt(r#"["a","b"]"#),
        Ok(PromptInput::Texts(vec!["a".into(), "b".into()]))
    );
    assert_eq!(
        prompt("[[1],[2,3]]"),
        Ok(PromptInput::TokenLists(vec![vec![1], vec![2, 3]]))
    );
    assert_eq!(prompt("[]").unwrap().count(), 0);
    for bad in ["7", "[-1]", r#"[1,"a"]"#, "{}", "true"] {
        let e = prompt(bad).unwrap_err();
        assert_eq!(e.field.as_deref(), Some("prompt"), "{bad}");
    }
}

#[test]
fn what_the_real_clients_send_is_read() {
    // `vllm bench serve` 0.12, GuideLLM 0.8, AIPerf 0.13.
    let r: CompletionRequest = parse(
        br#"{"model":"m","prompt":"a","temperature":0.0,"repetition_penalty":1.0,"max_tokens":128,"logprobs":null,
            "stream":true,"stream_options":{"include_usage":true},"ignore_eos":true,"unheard_of":[1]}"#,
    )
    .unwrap();
    assert_eq!(r.max_tokens, Some(128));
    assert_eq!(StreamOptions::usage(r.stream_options), (true, false));
    assert!(r.sampling().ignore_eos);
    let r: ChatRequest = parse(
        br#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a b"}]}],"max_completion_tokens":32,
            "max_tokens":32,"stop":null,"ignore_eos":true,"stream":true,
            "stream_options":{"include_usage":true,"continuous_usage_stats":true}}"#,
    )
    .unwrap();
    assert_eq!(r.messages[0].content.as_ref().unwrap().text(), "a b");
    assert_eq!(StreamOptions::usage(r.stream_options), (true, true));
    let r: CompletionRequest = parse(br#"{"prompt":"a"}"#).unwrap();
    assert_eq!(r.max_tokens, Some(16));
    let r: CompletionRequest = parse(br#"{"prompt":"a","max_tokens":null}"#).unwrap();
    assert_eq!(r.max_tokens, None);
}

#[test]
fn errors_name_the_field() {
    for (body, field) in [
        (r#"{"prompt":"a","max_tokens":"many"}"#, Some("max_tokens")),
        (r#"{"prompt":"a","temperature":"hot"}"#, Some("temperature")),
        (r#"{"prompt":"a","n":-1}"#, Some("n")),
        (r#"{"prompt":"a","stop":[1]}"#, Some("stop")),
        (
            r#"{"prompt":"a","stream_options":{"include_usage":3}}"#,
            Some("stream_options.include_usage"),
        ),
        (r#"{"prompt":"a""#, None),
        (r#"{"prompt":"a"} x"#, None),
        (r#"[]"#, None),
    ] {
        let e = parse::<CompletionRequest>(body.as_bytes()).unwrap_err();
        if field.is_some() {
            assert_eq!(e.field.as_deref(), field, "{body}");
        }
    }
}

/// Byte for byte as vLLM 0.12 frames them (`model_dump_json`, with and without `exclude_unset`).
#[test]
fn chunks_are_written_as_vllm_writes_them() {
    let chunk = CompletionChunk {
        id: "cmpl-1".into(),
        object: "text_completion".into(),
        created: 7,
        model: "m".into(),
        choices: vec![CompletionDelta {
            text: " a".into(),
            ..Default::default()
        }],
        usage: None,
    };
    assert_eq!(
        serde_json::to_string(&chunk).unwrap(),
        r#"{"id":"cmpl-1","object":"text_completion","created":7,"model":"m","choices":[{"index":0,"text":" a","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}],"usage":null}"#
    );
    let mut chunk = ChatChunk {
        id: "chatcmpl-1".into(),
        object: "chat.completion.chunk".into(),
        created: 7,
        model: "m".into(),
        choices: vec![ChatDelta {
            delta: Delta {
                role: Some("assistant".into()),
                content: Some(String::new()),
                ..Default::default()
            },
            ..Default::default()
        }],
        usage: None,
        prompt_token_ids: Some(None),
    };
    let text = serde_json::to_string(&chunk).unwrap();
    assert_eq!(
        text,
        r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":null},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null}"#
    );
    assert_eq!(parse::<ChatChunk>(text.as_bytes()).unwrap(), chunk);
    chunk.choices.clear();
    chunk.prompt_token_ids = None;
    chunk.usage = Some(Usage::new(3, 4));
    let text = serde_json::to_string(&chunk).unwrap();
    assert!(text.contains(
        r#""choices":[],"usage":{"prompt_tokens":3,"total_tokens":7,"completion_tokens":4"#
    ));
}

/// Mutations of good input are read or refused, never a panic.
#[test]
fn mutated_input_never_panics() {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let seeds: [&[u8]; 4] = [
        br#"{"model":"m","prompt":[[1,2],[3]],"max_tokens":128,"n":2,"stop":["a"],"stream_options":{"include_usage":true}}"#,
        br#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a b"}]}],"max_completion_tokens":32}"#,
        b"event: x\r\ndata: {\"id\":1}\n\n: c\ndata: [DONE]\n\n",
        b"# HELP a b\na{le=\"+Inf\",x=\"\\\"\"} 1e5 17\nb_total 3\n",
    ];
    for round in 0..20_000 {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..4) {
                0 => bytes[at] = rng.random(),
                1 => {
                    bytes.remove(at);
                }
                2 => bytes.insert(at, b"{}[]\",:\\\n\r0-e"[rng.random_range(0..13)]),
                _ => {
                    let to = rng.random_range(at..bytes.len());
                    bytes.truncate(to.max(1));
                }
            }
            if bytes.is_empty() {
                bytes.push(b'x');
            }
        }
        let _ = parse::<CompletionRequest>(&bytes);
        let _ = parse::<ChatRequest>(&bytes);
        let _ = parse::<CompletionChunk>(&bytes);
        let _ = parse::<ChatChunk>(&bytes);
        let _ = prometheus::Scrape::parse(&String::from_utf8_lossy(&bytes));
        let mut whole = sse::SseParser::new();
        whole.push(&bytes);
        let mut pieces = sse::SseParser::new();
        for b in &bytes {
            pieces.push(std::slice::from_ref(b));
        }
        loop {
            let (a, b) = (whole.next_event(), pieces.next_event());
            assert_eq!(a, b);
            if a.is_none() {
                break;
            }
        }
        assert_eq!(whole.finish(), pieces.finish());
    }
}

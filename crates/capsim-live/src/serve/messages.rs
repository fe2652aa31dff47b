//! `/v1/messages` and `/v1/messages/count_tokens`, Anthropic's form (vLLM 0.32.0: `entrypoints/anthropic/protocol.py`, `serving.py`): a
//! conversation in, one text or one call out, whole or as events.
use super::answer::{Active, Choice};
use super::chat::check_messages;
use super::http::{App, Ask, Fail, Shared, body, check_model, off_worker, request_id};
use super::prompt::{self, Bad, Tokens};
use super::stream::call_id;
use super::structured::Demands;
use super::text::Tokenizer;
use crate::openai::{ChatMessage, Content, Sampling, Unsimulated, lax};
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use capsim::engine::observe::FinishReason;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;

/// What a request says; other fields are ignored, as vLLM ignores them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MessagesRequest {
    model: Option<String>,
    messages: Vec<Value>,
    system: Value,
    #[serde(deserialize_with = "lax::option")]
    max_tokens: Option<i64>,
    stop_sequences: Vec<String>,
    #[serde(deserialize_with = "lax::option")]
    temperature: Option<f64>,
    #[serde(deserialize_with = "lax::option")]
    top_p: Option<f64>,
    #[serde(deserialize_with = "lax::option")]
    top_k: Option<i64>,
    #[serde(deserialize_with = "lax::option")]
    stream: Option<bool>,
    output_config: Value,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
}

/// An error in Anthropic's form.
pub(super) fn error(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

/// One block of a message's content as one or no message of a chat.
fn block(role: &str, b: &Value, at: &str) -> Result<Option<ChatMessage>, Bad> {
    let said = |role: &str, text: String| {
        Some(ChatMessage {
            role: role.into(),
            content: Some(Content::Text(text)),
        })
    };
    let text = |v: &Value| match v {
        Value::String(s) => s.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|p| p["text"].as_str())
            .collect::<Vec<_>>()
            .join("\n"),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    Ok(match b["type"].as_str().unwrap_or("text") {
        "text" => said(role, text(&b["text"])),
        "tool_use" => said("assistant", b["input"].to_string()),
        "tool_result" => said("tool", text(&b["content"])),
        "thinking" | "redacted_thinking" | "tool_reference" => None,
        // A part of that kind, which only a model with a tower takes.
        "image" => Some(ChatMessage {
            role: role.into(),
            content: serde_json::from_value(json!([{"type": "image_url"}])).ok(),
        }),
        other => {
            return Err(Bad::of(
                "messages",
                format!("{at}: a block of type `{other}` is not simulated"),
            ));
        }
    })
}

/// The conversation as a chat.
fn chat(r: &MessagesRequest) -> Result<Vec<ChatMessage>, Bad> {
    let mut all = vec![];
    let mut push = |role: &str, content: &Value, at: &str| -> Result<(), Bad> {
        match content {
            Value::String(_) => all.extend(block(role, &json!({"text": content}), at)?),
            Value::Array(blocks) => {
                for b in blocks {
                    all.extend(block(role, b, at)?);
                }
            }
            _ => {
                return Err(Bad::of(
                    "messages",
                    format!("{at}: must be a text or a list of blocks"),
                ));
            }
        }
        Ok(())
    };
    if !r.system.is_null() {
        push("system", &r.system, "system")?;
    }
    for (i, m) in r.messages.iter().enumerate() {
        let at = format!("messages[{i}].content");
        match m["role"].as_str() {
            Some(role @ ("user" | "assistant" | "system")) => push(role, &m["content"], &at)?,
            _ => {
                return Err(Bad::of(
                    "messages",
                    format!("messages[{i}].role: must be `user`, `assistant` or `system`"),
                ));
            }
        }
    }
    Ok(all)
}

fn ask(app: &App, r: &MessagesRequest) -> Result<Active, Fail> {
    if r.messages.is_empty() {
        return Err(Bad::of("messages", "messages must hold at least one message").into());
    }
    let messages = chat(r)?;
    check_messages(app, &messages)?;
    let Some(max_tokens) = r.max_tokens else {
        return Err(Bad::of("max_tokens", "max_tokens: Field required").into());
    };
    if max_tokens < 1 {
        return Err(Bad::of("max_tokens", "max_tokens must be positive").into());
    }
    let sampling = Sampling {
        n: 1,
        temperature: r.temperature,
        stop: &r.stop_sequences,
        ..Sampling::default()
    };
    let other = Unsimulated {
        top_p: r.top_p,
        top_k: r.top_k,
        ..Unsimulated::default()
    };
    prompt::check_sampling(&sampling, &other, Some(max_tokens))?;
    let format = &r.output_config["format"];
    let format = format
        .is_object()
        .then(|| json!({"type": "json_schema", "json_schema": {"schema": format["schema"]}}));
    let tools = r.tools.as_deref().unwrap_or(&[]);
    let choice = r.tool_choice.as_ref().map(|c| match c["type"].as_str() {
        Some("any") => json!("required"),
        Some("tool") => json!({"type": "function", "function": {"name": c["name"]}}),
        Some(kind) => json!(kind),
        None => Value::Null,
    });
    let demands = Demands {
        response_format: format.as_ref(),
        structured: vec![],
        tools,
        tool_choice: choice.as_ref().filter(|_| !tools.is_empty()),
        parser: app.auto_tools,
        answered: messages.last().is_some_and(|m| m.role == "tool"),
        chance: messages.len() as u64,
    };
    let wanted = demands.wanted()?;
    off_worker(true, || {
        let ids = encoded(app, &messages)?;
        app.start(Ask {
            prompts: vec![Tokens { ids, text: None }],
            sampling,
            max_tokens: Some(max_tokens),
            echo: false,
            token_ids: false,
            wanted,
            candidates: None,
            mute: false,
        })
    })
}

fn encoded(app: &App, messages: &[ChatMessage]) -> Result<Vec<u32>, Bad> {
    let text = app.text.chat(messages, true);
    app.text
        .encode(&text, false)
        .map_err(|e| Bad::from(e.to_string()))
}

/// Why it stopped, and at which sequence.
fn stopped(c: &Choice) -> (Value, Value) {
    match (c.end, c.tool(), &c.plan.stop_reason) {
        (Some(FinishReason::Length), ..) => (json!("max_tokens"), Value::Null),
        (Some(FinishReason::Stop), Some(_), _) => (json!("tool_use"), Value::Null),
        (Some(FinishReason::Stop), None, Some(s @ Value::String(_))) => {
            (json!("stop_sequence"), s.clone())
        }
        (Some(FinishReason::Stop), None, _) => (json!("end_turn"), Value::Null),
        _ => (Value::Null, Value::Null),
    }
}

/// Tokens: what was read from the cache is not among the input's.
fn usage(active: &Active) -> Value {
    let u = active.usage();
    let output = u.completion_tokens.unwrap_or(0);
    match u.prompt_tokens_details.and_then(|d| d.cached_tokens) {
        Some(cached) => json!({
            "input_tokens": u.prompt_tokens.saturating_sub(cached), "output_tokens": output,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": cached,
        }),
        None => json!({"input_tokens": u.prompt_tokens, "output_tokens": output}),
    }
}

/// A message that is being streamed.
struct Events {
    active: Active,
    id: String,
    model: String,
    text: Arc<Tokenizer>,
    begun: bool,
    ready: VecDeque<Bytes>,
    over: bool,
}

impl Events {
    fn push(&mut self, kind: &str, mut value: Value) {
        value["type"] = kind.into();
        self.ready
            .push_back(format!("event: {kind}\ndata: {value}\n\n").into());
    }

    fn begin(&mut self) {
        let message = json!({
            "id": self.id, "type": "message", "role": "assistant", "content": [], "model": self.model, "stop_reason": null,
            "stop_sequence": null, "usage": {"input_tokens": self.active.prompt_tokens, "output_tokens": 0},
        });
        self.push("message_start", json!({ "message": message }));
        let block = match self.active.choices[0].tool() {
            Some(name) => {
                json!({"type": "tool_use", "id": call_id(&self.id, 0), "name": name, "input": {}})
            }
            None => json!({"type": "text", "text": ""}),
        };
        self.push(
            "content_block_start",
            json!({"index": 0, "content_block": block}),
        );
    }

    fn delta(&mut self, piece: &str) {
        let delta = match self.active.choices[0].tool() {
            Some(_) => json!({"type": "input_json_delta", "partial_json": piece}),
            None => json!({"type": "text_delta", "text": piece}),
        };
        self.push("content_block_delta", json!({"index": 0, "delta": delta}));
    }

    fn end(&mut self) {
        self.push("content_block_stop", json!({"index": 0}));
        let (reason, sequence) = stopped(&self.active.choices[0]);
        let used = usage(&self.active);
        let delta = json!({"stop_reason": reason, "stop_sequence": sequence});
        self.push("message_delta", json!({"delta": delta, "usage": used}));
        self.push("message_stop", json!({}));
        self.over = true;
    }

    async fn next(mut self) -> Option<(std::io::Result<Bytes>, Self)> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some((Ok(bytes), self));
            }
            if self.over {
                return None;
            }
            let Some(token) = self.active.events.recv().await else {
                self.over = true;
                return Some((Err(std::io::ErrorKind::ConnectionAborted.into()), self));
            };
            if !std::mem::replace(&mut self.begun, true) {
                self.begin();
            }
            let piece = self.active.choices[0].next(&self.text).piece.into_owned();
            if !piece.is_empty() {
                self.delta(&piece);
            }
            self.active.end(0, token.end);
            if self.active.open == 0 {
                self.end();
            }
        }
    }
}

async fn answered(app: Arc<App>, request: Request) -> Result<Response, Fail> {
    let id = request_id(&app, "chatcmpl", request.headers());
    let r: MessagesRequest = body(&app, request).await?;
    check_model(&app, r.model.as_deref())?;
    let mut active = ask(&app, &r)?;
    let model = app.constants.model_name.clone();
    if r.stream == Some(true) {
        let events = Events {
            active,
            id,
            model,
            text: Arc::clone(&app.text),
            begun: false,
            ready: VecDeque::new(),
            over: false,
        };
        let stream = futures_util::stream::unfold(events, Events::next);
        return Ok((
            [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")],
            Body::from_stream(stream),
        )
            .into_response());
    }
    let said = active.collect(&app.text).await.map_err(Bad::from)?;
    let text = said.first().map_or("", |s| s.text.as_str());
    let c = &active.choices[0];
    let content = match c.tool() {
        Some(name) => json!([{
            "type": "tool_use", "id": call_id(&id, 0), "name": name,
            // A call that was cut short is no JSON.
            "input": serde_json::from_str::<Value>(text).unwrap_or_else(|_| json!({})),
        }]),
        None => json!([{"type": "text", "text": text}]),
    };
    let (reason, sequence) = stopped(c);
    let mut v = json!({
        "id": id, "type": "message", "role": "assistant", "content": content, "model": model, "stop_reason": reason, "usage": usage(&active),
    });
    if !sequence.is_null() {
        v["stop_sequence"] = sequence;
    }
    Ok(Json(v).into_response())
}

pub(super) async fn answer(State(app): Shared, request: Request) -> Response {
    answered(app, request)
        .await
        .unwrap_or_else(|e| e.in_anthropics_form())
}

/// How many tokens a conversation has.
pub(super) async fn count_tokens(State(app): Shared, request: Request) -> Response {
    let counted = async {
        let r: MessagesRequest = body(&app, request).await?;
        check_model(&app, r.model.as_deref())?;
        let messages = chat(&r)?;
        check_messages(&app, &messages)?;
        let n = off_worker(true, || encoded(&app, &messages))?.len();
        Ok::<_, Fail>(Json(json!({ "input_tokens": n })).into_response())
    };
    counted.await.unwrap_or_else(|e| e.in_anthropics_form())
}

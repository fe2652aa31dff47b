//! `/v1/responses` (platform.openai.com/docs/api-reference/responses; vllm 0.33.0: entrypoints/openai/responses): a text or a list of
//! messages in, one message or one call out, whole or as events. Nothing is stored: `previous_response_id` is refused.
use super::answer::{Active, Choice};
use super::chat::check_messages;
use super::http::{App, Ask, Fail, Shared, body, check_model, off_worker, request_id, unix_now};
use super::prompt::{self, Bad, Tokens};
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
pub(super) struct ResponsesRequest {
    model: Option<String>,
    input: Value,
    instructions: Option<String>,
    previous_response_id: Option<String>,
    #[serde(deserialize_with = "lax::option")]
    max_output_tokens: Option<i64>,
    #[serde(deserialize_with = "lax::option")]
    temperature: Option<f64>,
    #[serde(deserialize_with = "lax::option")]
    top_p: Option<f64>,
    #[serde(deserialize_with = "lax::option")]
    stream: Option<bool>,
    text: Option<Value>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
}

/// The messages of an `input`, after the instructions.
fn messages(r: &ResponsesRequest) -> Result<Vec<ChatMessage>, Bad> {
    let said = |role: &str, text: &str| ChatMessage {
        role: role.into(),
        content: Some(Content::Text(text.into())),
    };
    let mut all: Vec<ChatMessage> = r.instructions.iter().map(|t| said("system", t)).collect();
    match &r.input {
        Value::String(text) => all.push(said("user", text)),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let kind = item["type"].as_str().unwrap_or("message");
                let text = |key: &str| item[key].as_str().unwrap_or_default().to_string();
                all.push(match kind {
                    "message" => serde_json::from_value(item.clone())
                        .map_err(|e| Bad::of("input", format!("input[{i}]: {e}")))?,
                    "function_call" => said("assistant", &text("arguments")),
                    "function_call_output" => said("tool", &text("output")),
                    "reasoning" => continue,
                    other => {
                        return Err(Bad::of(
                            "input",
                            format!("input[{i}]: an item of type `{other}` is not simulated"),
                        ));
                    }
                });
            }
        }
        _ => return Err(Bad::of("input", "input must be a text or a list of items")),
    }
    Ok(all)
}

fn ask(app: &App, r: &ResponsesRequest) -> Result<Active, Fail> {
    if r.previous_response_id.is_some() {
        return Err(Bad::of(
            "previous_response_id",
            "responses are not stored here: send the whole conversation as `input`",
        )
        .into());
    }
    let messages = messages(r)?;
    check_messages(app, &messages)?;
    let sampling = Sampling {
        n: 1,
        temperature: r.temperature,
        ..Sampling::default()
    };
    let other = Unsimulated {
        top_p: r.top_p,
        ..Unsimulated::default()
    };
    prompt::check_sampling(&sampling, &other, r.max_output_tokens)?;
    // The schema stands beside the type here.
    let format = r
        .text
        .as_ref()
        .map(|t| &t["format"])
        .filter(|f| !f.is_null())
        .map(|f| match f["type"] == "json_schema" {
            true => json!({"type": "json_schema", "json_schema": {"schema": f["schema"]}}),
            false => f.clone(),
        });
    let tools: Vec<Value> = r
        .tools
        .iter()
        .flatten()
        .filter(|t| t["type"] == "function")
        .cloned()
        .collect();
    let demands = Demands {
        response_format: format.as_ref(),
        structured: vec![],
        tools: &tools,
        tool_choice: r.tool_choice.as_ref().filter(|_| !tools.is_empty()),
        parser: app.auto_tools,
        answered: messages.last().is_some_and(|m| m.role == "tool"),
        chance: messages.len() as u64,
    };
    let wanted = demands.wanted()?;
    off_worker(true, || {
        let text = app.text.chat(&messages, true);
        let ids = app
            .text
            .encode(&text, false)
            .map_err(|e| Bad::from(e.to_string()))?;
        app.start(Ask {
            prompts: vec![Tokens { ids, text: None }],
            sampling,
            max_tokens: r.max_output_tokens,
            echo: false,
            token_ids: false,
            wanted,
            candidates: None,
            mute: false,
        })
    })
}

/// What is the same in every object of a response.
struct Head {
    id: String,
    created: u64,
    model: String,
    echoed: Value,
}

impl Head {
    /// The one item of the output: a message, or a call.
    fn item(&self, tool: Option<&str>, text: &str, status: &str) -> Value {
        let hash = &self.id["resp_".len().min(self.id.len())..];
        match tool {
            Some(name) => json!({
                "type": "function_call", "id": format!("fc_{hash}"), "call_id": format!("call_{hash}"), "name": name, "arguments": text,
                "status": status,
            }),
            None => json!({
                "type": "message", "id": format!("msg_{hash}"), "role": "assistant", "status": status,
                "content": if status == "in_progress" { json!([]) } else { json!([part(text)]) },
            }),
        }
    }

    /// The whole object; `end`: how the answer ended, with its item and its tokens.
    fn response(&self, end: Option<(Value, &Active)>) -> Value {
        let mut v = json!({
            "id": self.id, "object": "response", "created_at": self.created, "model": self.model, "status": "in_progress",
            "output": [], "error": null, "incomplete_details": null, "instructions": self.echoed["instructions"], "metadata": {},
            "parallel_tool_calls": true, "temperature": self.echoed["temperature"], "top_p": self.echoed["top_p"],
            "tools": self.echoed["tools"], "tool_choice": self.echoed["tool_choice"], "max_output_tokens": self.echoed["max_output_tokens"],
            "usage": null,
        });
        if let Some((item, active)) = end {
            let usage = active.usage();
            let cut = active
                .choices
                .iter()
                .any(|c| c.end == Some(FinishReason::Length));
            v["status"] = if cut { "incomplete" } else { "completed" }.into();
            if cut {
                v["incomplete_details"] = json!({"reason": "max_output_tokens"});
            }
            v["output"] = json!([item]);
            let output = usage.completion_tokens.unwrap_or(0);
            v["usage"] = json!({
                "input_tokens": usage.prompt_tokens, "output_tokens": output, "total_tokens": usage.prompt_tokens + output,
                "input_tokens_details": {"cached_tokens": active.cached.unwrap_or(0)}, "output_tokens_details": {"reasoning_tokens": 0},
            });
        }
        v
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

/// A response that is being streamed.
struct Events {
    active: Active,
    head: Head,
    text: Arc<Tokenizer>,
    tool: Option<String>,
    said: String,
    sequence: u64,
    ready: VecDeque<Bytes>,
    over: bool,
}

impl Events {
    fn push(&mut self, kind: &str, mut value: Value) {
        value["type"] = kind.into();
        value["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        self.ready
            .push_back(format!("event: {kind}\ndata: {value}\n\n").into());
    }

    fn begin(&mut self) {
        for kind in ["response.created", "response.in_progress"] {
            let response = self.head.response(None);
            self.push(kind, json!({ "response": response }));
        }
        let item = self.head.item(self.tool.as_deref(), "", "in_progress");
        self.push(
            "response.output_item.added",
            json!({"output_index": 0, "item": item}),
        );
        if self.tool.is_none() {
            self.push(
                "response.content_part.added",
                self.place(json!({"part": part("")})),
            );
        }
    }

    /// With where in the output a part stands.
    fn place(&self, mut value: Value) -> Value {
        value["item_id"] = self.head.item(self.tool.as_deref(), "", "in_progress")["id"].clone();
        value["output_index"] = 0.into();
        if self.tool.is_none() {
            value["content_index"] = 0.into();
        }
        value
    }

    fn delta(&mut self, piece: &str) {
        self.said.push_str(piece);
        match self.tool {
            Some(_) => self.push(
                "response.function_call_arguments.delta",
                self.place(json!({ "delta": piece })),
            ),
            None => self.push(
                "response.output_text.delta",
                self.place(json!({"delta": piece, "logprobs": []})),
            ),
        }
    }

    fn end(&mut self) {
        let said = self.said.clone();
        let item = self.head.item(self.tool.as_deref(), &said, "completed");
        if self.tool.is_some() {
            self.push(
                "response.function_call_arguments.done",
                self.place(json!({ "arguments": said })),
            );
        } else {
            self.push(
                "response.output_text.done",
                self.place(json!({"text": said, "logprobs": []})),
            );
            self.push(
                "response.content_part.done",
                self.place(json!({"part": part(&said)})),
            );
        }
        self.push(
            "response.output_item.done",
            json!({"output_index": 0, "item": item}),
        );
        let response = self.head.response(Some((item, &self.active)));
        let kind = match response["status"] == "incomplete" {
            true => "response.incomplete",
            false => "response.completed",
        };
        self.push(kind, json!({ "response": response }));
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
            if self.sequence == 0 {
                self.begin();
            }
            let piece = self.active.choices[0].next_of(&self.text, token.count).text;
            self.delta(&piece);
            self.active.end(0, token.end);
            if self.active.open == 0 {
                self.end();
            }
        }
    }
}

pub(super) async fn answer(State(app): Shared, request: Request) -> Result<Response, Fail> {
    let id = request_id(&app, "resp", request.headers()).replacen("resp-", "resp_", 1);
    let r: ResponsesRequest = body(&app, request).await?;
    check_model(&app, r.model.as_deref())?;
    let mut active = ask(&app, &r)?;
    let head = Head {
        id,
        created: unix_now(),
        model: app.constants.model_name.clone(),
        echoed: json!({
            "instructions": r.instructions, "temperature": r.temperature.unwrap_or(1.0), "top_p": r.top_p.unwrap_or(1.0),
            "tools": r.tools.as_deref().unwrap_or(&[]), "tool_choice": r.tool_choice.clone().unwrap_or(json!("auto")),
            "max_output_tokens": r.max_output_tokens,
        }),
    };
    let tool = active
        .choices
        .first()
        .and_then(Choice::tool)
        .map(String::from);
    if r.stream == Some(true) {
        let events = Events {
            active,
            head,
            text: Arc::clone(&app.text),
            tool,
            said: String::new(),
            sequence: 0,
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
    let item = head.item(tool.as_deref(), text, "completed");
    Ok(Json(head.response(Some((item, &active)))).into_response())
}

//! `/v1/chat/completions`.
use super::answer::{Active, word};
use super::http::{
    App, Ask, Fail, LARGE, Shared, body, check_model, check_stream, off_worker, request_id,
    unix_now,
};
use super::identity::mix;
use super::logprobs;
use super::prompt::{self, Bad, Tokens};
use super::stream::{Frame, call_id};
use super::structured::Demands;
use crate::openai::{self as wire, ChatMessage, Content, StreamOptions};
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Refuses a chat that says nothing, or shows a text model something.
pub(super) fn check_messages(app: &App, messages: &[ChatMessage]) -> Result<(), Bad> {
    if messages.is_empty() {
        return Err(Bad::of(
            "messages",
            "messages must hold at least one message",
        ));
    }
    let parts = messages.iter().filter_map(|m| match &m.content {
        Some(Content::Parts(parts)) => Some(parts),
        _ => None,
    });
    let other = parts.flatten().find(|p| {
        !matches!(
            p.kind.as_str(),
            "" | "text" | "input_text" | "output_text" | "refusal" | "thinking"
        )
    });
    match other.filter(|_| !app.multimodal) {
        Some(part) => Err(Bad::of(
            "messages",
            format!(
                "{} is not a multimodal model: it takes no content part of type `{}`",
                app.constants.model_name, part.kind
            ),
        )),
        None => Ok(()),
    }
}

/// A number that a chat alone decides.
fn chance(messages: &[ChatMessage]) -> u64 {
    let text = messages
        .last()
        .and_then(|m| m.content.as_ref())
        .map(Content::text)
        .unwrap_or_default();
    text.bytes()
        .take(4096)
        .fold(messages.len() as u64, |h, b| mix(h ^ u64::from(b)))
}

fn ask(app: &App, r: &wire::ChatRequest) -> Result<Active, Fail> {
    check_messages(app, &r.messages)?;
    if r.prompt_logprobs.is_some() {
        return Err(Bad::of("prompt_logprobs", "prompt_logprobs are not simulated").into());
    }
    // As vLLM: the new name first, and 0 counts as not given.
    let max_tokens = r.max_completion_tokens.filter(|m| *m != 0).or(r.max_tokens);
    let sampling = r.sampling();
    prompt::check_sampling(&sampling, &r.unsimulated(), max_tokens)?;
    let told = r.logprobs == Some(true);
    if r.top_logprobs.is_some_and(|n| n > 0) && !told {
        return Err(Bad::of(
            "top_logprobs",
            "when using `top_logprobs`, `logprobs` must be set to true.",
        )
        .into());
    }
    let candidates = prompt::candidates(told.then(|| r.top_logprobs.unwrap_or(0)), "top_logprobs")?;
    let demands = Demands {
        response_format: r.response_format.as_ref(),
        structured: r.structured(),
        tools: r.tools.as_deref().unwrap_or(&[]),
        tool_choice: r.tool_choice.as_ref(),
        parser: app.auto_tools,
        answered: r.messages.last().is_some_and(|m| m.role == "tool"),
        chance: chance(&r.messages),
    };
    if r.tools.as_ref().is_some_and(Vec::is_empty) {
        let empty = "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely.";
        return Err(Bad::of("tools", empty).into());
    }
    let wanted = demands.wanted()?;
    let size: usize = r
        .messages
        .iter()
        .filter_map(|m| m.content.as_ref())
        .map(|c| c.text().len())
        .sum();
    off_worker(size > LARGE || !sampling.stop.is_empty(), || {
        let text = app
            .text
            .chat(&r.messages, r.add_generation_prompt != Some(false));
        let ids = app
            .text
            .encode(&text, false)
            .map_err(|e| Bad::from(e.to_string()))?;
        app.start(Ask {
            prompts: vec![Tokens { ids, text: None }],
            sampling,
            max_tokens,
            echo: false,
            token_ids: r.return_token_ids == Some(true),
            wanted,
            candidates,
            mute: false,
        })
    })
}

pub(super) async fn answer(State(app): Shared, request: Request) -> Result<Response, Fail> {
    let id = request_id(&app, "chatcmpl", request.headers());
    let r: wire::ChatRequest = body(&app, request).await?;
    let stream = check_stream(r.stream, r.stream_options)?;
    check_model(&app, r.model.as_deref())?;
    let mut active = ask(&app, &r)?;
    let token_ids = r.return_token_ids == Some(true);
    let frame = Frame {
        id,
        created: unix_now(),
        model: app.constants.model_name.clone(),
        chat: true,
        usage: StreamOptions::usage(r.stream_options),
        token_ids,
        named_tool: r
            .tool_choice
            .as_ref()
            .is_some_and(serde_json::Value::is_object),
    };
    if stream {
        return Ok(app.stream(active, frame));
    }
    let answers = active.collect(&app.text).await.map_err(Bad::from)?;
    let usage = active.usage();
    let mut prompt_token_ids = None;
    let choices = answers
        .into_iter()
        .zip(active.choices)
        .enumerate()
        .map(|(i, (said, c))| {
            let tool = c.tool().map(String::from);
            let finish = c.end.map(word);
            let called = tool.is_some() && !frame.named_tool && finish == Some("stop");
            prompt_token_ids = c.prompt_ids;
            wire::ChatChoice {
                index: i as u32,
                logprobs: c.candidates.map(|_| logprobs::chat(&said.told)),
                message: match tool {
                    None => wire::ChatAnswer {
                        role: "assistant".into(),
                        content: Some(said.text),
                        ..Default::default()
                    },
                    Some(name) => wire::ChatAnswer {
                        role: "assistant".into(),
                        tool_calls: vec![json!({
                            "id": call_id(&frame.id, i),
                            "type": "function",
                            "function": {"name": name, "arguments": said.text},
                        })],
                        ..Default::default()
                    },
                },
                finish_reason: if called {
                    Some("tool_calls".into())
                } else {
                    finish.map(String::from)
                },
                stop_reason: c.plan.stop_reason,
                token_ids: token_ids.then_some(said.ids),
            }
        })
        .collect();
    Ok(Json(wire::ChatResponse {
        id: frame.id,
        object: "chat.completion".into(),
        created: frame.created,
        model: frame.model,
        choices,
        usage: Some(usage),
        prompt_token_ids,
        ..Default::default()
    })
    .into_response())
}

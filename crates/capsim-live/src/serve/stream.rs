//! Answers token by token, framed as vLLM frames them.
use super::answer::Active;
use super::identity::mix;
use super::logprobs;
use super::metrics::Delay;
use super::pace::{Clock, Token};
use super::text::Tokenizer;
use crate::openai::{ChatChunk, ChatDelta, CompletionChunk, CompletionDelta, Delta, Usage};
use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde_json::{Value, json};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Most tokens that go out in one piece, to a client that lagged behind.
const AT_ONCE: usize = 256;

/// What is the same in all chunks.
pub struct Frame {
    pub id: String,
    pub created: u64,
    pub model: String,
    pub chat: bool,
    /// Usage at the end, usage in every chunk.
    pub usage: (bool, bool),
    pub token_ids: bool,
    /// Whether a call ends in `stop`, as that of a tool that was named does.
    pub named_tool: bool,
}

/// The body of a streamed answer.
pub struct Sse {
    pub active: Active,
    pub frame: Frame,
    pub text: Arc<Tokenizer>,
    pub clock: Clock,
    pub delay: Arc<Delay>,
    pub started: bool,
    pub finished: bool,
    pub buffer: Vec<Token>,
}

/// The id of a choice's call, in vLLM's form.
pub fn call_id(request: &str, choice: usize) -> String {
    let hash = request
        .bytes()
        .fold(choice as u64, |h, b| mix(h ^ u64::from(b)));
    format!("chatcmpl-tool-{hash:016x}{:016x}", mix(hash))
}

pub(super) fn event(out: &mut BytesMut, value: &impl Serialize) {
    out.put_slice(b"data: ");
    // Writing plain structs to memory cannot fail.
    let _ = serde_json::to_writer(out.writer(), value);
    out.put_slice(b"\n\n");
}

/// What follows differs between the endpoints only in names.
impl Sse {
    fn completion(&self, choices: Vec<CompletionDelta>, usage: Option<Usage>) -> CompletionChunk {
        CompletionChunk {
            id: self.frame.id.clone(),
            object: "text_completion".into(),
            created: self.frame.created,
            model: self.frame.model.clone(),
            choices,
            usage,
        }
    }

    fn chat(&self, choices: Vec<ChatDelta>, usage: Option<Usage>) -> ChatChunk {
        ChatChunk {
            id: self.frame.id.clone(),
            object: "chat.completion.chunk".into(),
            created: self.frame.created,
            model: self.frame.model.clone(),
            choices,
            usage,
            prompt_token_ids: None,
        }
    }

    /// The role, as soon as the engine says anything.
    fn roles(&mut self, out: &mut BytesMut) {
        for i in 0..self.active.choices.len() {
            let usage = self
                .frame
                .usage
                .1
                .then(|| Usage::new(self.active.choices[i].prompt, 0));
            let mut chunk = self.chat(
                vec![ChatDelta {
                    index: i as u32,
                    delta: Delta {
                        role: Some("assistant".into()),
                        content: Some(String::new()),
                        ..Default::default()
                    },
                    ..Default::default()
                }],
                usage,
            );
            let ids = self.active.choices[i].prompt_ids.take();
            chunk.prompt_token_ids = Some(ids);
            event(out, &chunk);
        }
    }

    fn token(
        &mut self,
        out: &mut BytesMut,
        i: usize,
        count: u32,
        end: Option<(capsim::engine::observe::FinishReason, u32)>,
    ) {
        let text = Arc::clone(&self.text);
        let choice = &mut self.active.choices[i];
        let first = choice.tokens == 0;
        let before = choice.bytes;
        let given = choice.next_of(&text, count);
        let usage = self
            .frame
            .usage
            .1
            .then(|| Usage::new(choice.prompt, choice.tokens));
        let token_ids = self.frame.token_ids.then(|| given.ids.clone());
        let echo = choice.echo.take();
        let prompt_token_ids = choice.prompt_ids.take();
        let tool = choice.tool().map(String::from);
        let mut finish_reason = self.active.end(i, end).map(str::to_string);
        if tool.is_some() && !self.frame.named_tool && finish_reason.as_deref() == Some("stop") {
            finish_reason = Some("tool_calls".into());
        }
        let stop_reason = finish_reason
            .as_ref()
            .and(self.active.choices[i].plan.stop_reason.clone());
        let index = i as u32;
        let told = (!given.told.is_empty()).then_some(given.told.as_slice());
        if self.frame.chat {
            let delta = match tool {
                Some(name) => Delta {
                    tool_calls: Some(vec![self.call(
                        i,
                        first.then_some(name.as_str()),
                        &given.text,
                    )]),
                    ..Default::default()
                },
                None => Delta {
                    content: Some(given.text),
                    ..Default::default()
                },
            };
            let delta = ChatDelta {
                index,
                delta,
                logprobs: told.map(logprobs::chat),
                stop_reason: finish_reason.is_some().then_some(stop_reason),
                finish_reason,
                token_ids: Some(token_ids),
            };
            event(out, &self.chat(vec![delta], usage));
        } else {
            let delta = CompletionDelta {
                index,
                logprobs: told.map(|t| logprobs::completion(t, before)),
                text: match echo {
                    Some(prompt) => prompt + &given.text,
                    None => given.text,
                },
                finish_reason,
                stop_reason,
                prompt_token_ids,
                token_ids,
            };
            event(out, &self.completion(vec![delta], usage));
        }
    }

    /// A part of a call; the first one has the function's name.
    fn call(&self, choice: usize, name: Option<&str>, arguments: &str) -> Value {
        match name {
            Some(name) => json!({
                "index": 0,
                "id": call_id(&self.frame.id, choice),
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }),
            None => json!({"index": 0, "function": {"arguments": arguments}}),
        }
    }

    /// vLLM leaves nulls out of this one chunk.
    fn last(&self, out: &mut BytesMut) {
        if self.frame.usage.0 {
            let usage = self.active.usage();
            let mut value = if self.frame.chat {
                serde_json::to_value(self.chat(vec![], Some(usage)))
            } else {
                serde_json::to_value(self.completion(vec![], Some(usage)))
            }
            .unwrap_or_default();
            if let Some(usage) = value.get_mut("usage").and_then(|u| u.as_object_mut()) {
                usage.retain(|_, v| !v.is_null());
            }
            event(out, &value);
        }
        out.put_slice(b"data: [DONE]\n\n");
    }
}

impl futures_util::Stream for Sse {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.finished {
            return Poll::Ready(None);
        }
        this.buffer.clear();
        let polled = this
            .active
            .events
            .poll_recv_many(cx, &mut this.buffer, AT_ONCE);
        let count = ready!(polled);
        if count == 0 {
            // The engine gave up on this client, or was stopped: cut off, so that it is not taken for a whole answer.
            this.finished = true;
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        let mut out = BytesMut::with_capacity(256 * count + 64);
        let now = this.clock.now();
        let mut buffer = std::mem::take(&mut this.buffer);
        for e in buffer.drain(..) {
            this.delay.observe(now.0.saturating_sub(e.due.0));
            if !std::mem::replace(&mut this.started, true) && this.frame.chat {
                this.roles(&mut out);
            }
            this.token(&mut out, e.choice as usize, e.count, e.end);
        }
        this.buffer = buffer;
        if this.active.open == 0 {
            this.last(&mut out);
            this.finished = true;
        }
        Poll::Ready(Some(Ok(out.freeze())))
    }
}

//! A request under way: its choices, what the engine said so far, and its end if the client leaves.
use super::logprobs::{self, Told};
use super::pace::{Command, Token};
use super::prompt::Plan;
use super::text::Tokenizer;
use crate::openai::{PromptTokensDetails, Usage};
use capsim::engine::observe::FinishReason;
use capsim::workload::RequestId;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use tokio::sync::mpsc;

/// Tells the engine if the answer is dropped before its end.
pub struct Guard {
    pub ids: Vec<RequestId>,
    pub commands: Sender<Command>,
    pub load: Arc<AtomicU64>,
    pub done: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
        if !self.done {
            let _ = self
                .commands
                .send(Command::Abort(std::mem::take(&mut self.ids)));
        }
    }
}

/// One of the answers to a request.
pub struct Choice {
    pub plan: Plan,
    /// Tokens of its prompt.
    pub prompt: u32,
    /// The prompt's text for `echo`, its tokens for `return_token_ids`, until they were sent.
    pub echo: Option<String>,
    pub prompt_ids: Option<Vec<u32>>,
    /// Tokens so far.
    pub tokens: u32,
    /// Bytes of text before clipping.
    pub bytes: usize,
    pub end: Option<FinishReason>,
    /// How many candidates' log-probabilities are told, if any are.
    pub candidates: Option<u32>,
    /// Whether the answer is the prompt alone, although a token is generated: `echo` with `max_tokens` 0.
    pub mute: bool,
}

/// A token as it is given out.
pub struct Given<'t> {
    /// Its text, without what belongs to a stop string.
    pub piece: Cow<'t, str>,
    /// Its id.
    pub id: u32,
    /// Its log-probability, if that is wanted.
    pub told: Option<Told>,
}

impl Choice {
    /// The next token.
    pub fn next<'t>(&mut self, text: &'t Tokenizer) -> Given<'t> {
        let (stream, k) = (self.plan.answer.stream.0, self.tokens);
        let mut piece = match &self.plan.script {
            Some(script) => script
                .pieces
                .get(k as usize)
                .cloned()
                .unwrap_or_default()
                .into(),
            None => text.answer_text(stream, k),
        };
        let told = self
            .candidates
            .map(|n| logprobs::told(text, stream, k, &piece, n));
        let left = self.plan.clip.saturating_sub(self.bytes);
        self.bytes += piece.len();
        self.tokens += 1;
        if left < piece.len() {
            piece = piece[..left].to_string().into();
        }
        if self.mute {
            piece = "".into();
        }
        Given {
            piece,
            id: text.answer_id(stream, k),
            told: told.filter(|_| !self.mute),
        }
    }

    /// The next tokens together, as one message has them.
    pub fn next_of(&mut self, text: &Tokenizer, count: u32) -> Said {
        let mut said = Said::default();
        for _ in 0..count {
            let given = self.next(text);
            said.text.push_str(&given.piece);
            said.ids.push(given.id);
            said.told.extend(given.told);
        }
        said
    }

    /// The tool that the answer calls.
    pub fn tool(&self) -> Option<&str> {
        self.plan.script.as_ref()?.tool.as_deref()
    }
}

/// vLLM's word for the end.
pub fn word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Abort => "abort",
    }
}

/// A request under way.
pub struct Active {
    pub events: mpsc::Receiver<Token>,
    pub guard: Guard,
    pub choices: Vec<Choice>,
    /// Of all prompts.
    pub prompt_tokens: u32,
    /// Of the prompt whose answer ended first; only if details are wanted.
    pub cached: Option<u32>,
    pub details: bool,
    pub open: usize,
}

impl Active {
    /// Takes note of an end. Returns its word.
    pub fn end(&mut self, choice: usize, end: Option<(FinishReason, u32)>) -> Option<&'static str> {
        let (reason, cached) = end?;
        self.choices[choice].end = Some(reason);
        self.cached.get_or_insert(cached);
        self.open -= 1;
        if self.open == 0 {
            self.guard.done = true;
        }
        Some(word(reason))
    }

    /// Tokens of all.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::new(
            self.prompt_tokens,
            self.choices.iter().map(|c| c.tokens).sum(),
        );
        if self.details
            && let Some(cached) = self.cached.filter(|c| *c > 0)
        {
            usage.prompt_tokens_details = Some(PromptTokensDetails {
                cached_tokens: Some(cached),
            });
        }
        usage
    }

    /// Waits for all of it. `Err`: the engine was stopped.
    pub async fn collect(&mut self, text: &Tokenizer) -> Result<Vec<Said>, String> {
        let mut out: Vec<Said> = self.choices.iter().map(|_| Said::default()).collect();
        while self.open > 0 {
            match self.events.recv().await {
                Some(token) => {
                    let i = token.choice as usize;
                    let said = self.choices[i].next_of(text, token.count);
                    out[i].text.push_str(&said.text);
                    out[i].ids.extend(said.ids);
                    out[i].told.extend(said.told);
                    self.end(i, token.end);
                }
                None => return Err("the engine was stopped".into()),
            }
        }
        Ok(out)
    }
}

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Its text.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Their log-probabilities, if they are wanted.
    pub told: Vec<Told>,
}

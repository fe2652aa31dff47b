//! `/v1/chat/completions`.
use super::completion::request;
use super::{StreamOptions, Usage};
use serde::{Deserialize, Serialize};

/// A piece of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentPart {
    /// `text`; others carry no text.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be a string or a list of content parts")]
pub enum Content {
    /// Text.
    Text(String),
    /// Pieces of text.
    Parts(Vec<ContentPart>),
}

impl Content {
    /// All its text; vLLM joins pieces with line breaks.
    pub fn text(&self) -> String {
        match self {
            Content::Text(t) => t.clone(),
            Content::Parts(parts) => parts
                .iter()
                .filter_map(|p| p.text.as_deref())
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, `tool`.
    pub role: String,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

request! {
    /// Request.
    ChatRequest {
        /// Model name; absent: the server's own.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub model: Option<String>,
        /// The chat so far.
        pub messages: Vec<ChatMessage>,
        /// Limit on output tokens, deprecated name.
        #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
        pub max_tokens: Option<i64>,
        /// Limit on output tokens.
        #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
        pub max_completion_tokens: Option<i64>,
        /// Token by token.
        #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
        pub stream: Option<bool>,
        /// How.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stream_options: Option<StreamOptions>,
        /// Log-probabilities.
        #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
        pub logprobs: Option<bool>,
        /// Whether the turn of the assistant is opened; default yes.
        #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
        pub add_generation_prompt: Option<bool>,
        /// Candidates whose log-probabilities are told.
        #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
        pub top_logprobs: Option<i64>,
        /// Log-probabilities of the prompt.
        #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
        pub prompt_logprobs: Option<i64>,
        /// Functions that the answer may call.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tools: Option<Vec<serde_json::Value>>,
        /// `none`, `auto`, `required`, or the name of one.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tool_choice: Option<serde_json::Value>,
    }
}

/// The message of a whole answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatAnswer {
    /// `assistant`.
    #[serde(default)]
    pub role: String,
    /// Text.
    #[serde(default)]
    pub content: Option<String>,
    /// Unused.
    #[serde(default)]
    pub refusal: Option<String>,
    /// Unused.
    #[serde(default)]
    pub annotations: Option<serde_json::Value>,
    /// Unused.
    #[serde(default)]
    pub audio: Option<serde_json::Value>,
    /// Unused.
    #[serde(default)]
    pub function_call: Option<serde_json::Value>,
    /// Calls of functions.
    #[serde(default)]
    pub tool_calls: Vec<serde_json::Value>,
    /// Text of models that think first.
    #[serde(default)]
    pub reasoning: Option<String>,
    /// Its old name.
    #[serde(default)]
    pub reasoning_content: Option<String>,
}

/// A choice of a whole answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatChoice {
    /// Its number.
    #[serde(default)]
    pub index: u32,
    /// The message.
    pub message: ChatAnswer,
    /// Unused.
    #[serde(default)]
    pub logprobs: Option<serde_json::Value>,
    /// `stop`, `length`, `abort`.
    #[serde(default)]
    pub finish_reason: Option<String>,
    /// The stop string or token.
    #[serde(default)]
    pub stop_reason: Option<serde_json::Value>,
    /// If asked for.
    #[serde(default)]
    pub token_ids: Option<Vec<u32>>,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatResponse {
    /// `chatcmpl-…`.
    #[serde(default)]
    pub id: String,
    /// `chat.completion`.
    #[serde(default)]
    pub object: String,
    /// Unix seconds.
    #[serde(default)]
    pub created: u64,
    /// Model name.
    #[serde(default)]
    pub model: String,
    /// Answers.
    pub choices: Vec<ChatChoice>,
    /// Unused.
    #[serde(default)]
    pub service_tier: Option<String>,
    /// Unused.
    #[serde(default)]
    pub system_fingerprint: Option<String>,
    /// Tokens.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// Unused.
    #[serde(default)]
    pub prompt_logprobs: Option<serde_json::Value>,
    /// If asked for.
    #[serde(default)]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// Unused.
    #[serde(default)]
    pub kv_transfer_params: Option<serde_json::Value>,
}

/// A field that may be absent, `null`, or there: `None` is not written at all, `Some(None)` is written as `null`.
pub type Sometimes<T> = Option<Option<T>>;

fn sometimes<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<Sometimes<T>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}

/// What is new in a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// `assistant`, in the first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// New text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// New text of models that think first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Its old name; vLLM 0.12 always writes it.
    #[serde(default)]
    pub reasoning_content: Option<String>,
    /// New parts of calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<serde_json::Value>>,
}

/// A choice of a chunk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatDelta {
    /// Its number.
    #[serde(default)]
    pub index: u32,
    /// What is new.
    #[serde(default)]
    pub delta: Delta,
    /// Unused.
    #[serde(default)]
    pub logprobs: Option<serde_json::Value>,
    /// In the last one.
    #[serde(default)]
    pub finish_reason: Option<String>,
    /// The stop string or token; written with `finish_reason` only.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "sometimes"
    )]
    pub stop_reason: Sometimes<serde_json::Value>,
    /// If asked for; not written in the first chunk.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "sometimes"
    )]
    pub token_ids: Sometimes<Vec<u32>>,
}

/// A chunk of a streamed answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatChunk {
    /// `chatcmpl-…`.
    #[serde(default)]
    pub id: String,
    /// `chat.completion.chunk`.
    #[serde(default)]
    pub object: String,
    /// Unix seconds.
    #[serde(default)]
    pub created: u64,
    /// Model name.
    #[serde(default)]
    pub model: String,
    /// One choice; none in the chunk with the usage.
    #[serde(default)]
    pub choices: Vec<ChatDelta>,
    /// In the last one, or in all if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Written in the first chunk only.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "sometimes"
    )]
    pub prompt_token_ids: Sometimes<Vec<u32>>,
}

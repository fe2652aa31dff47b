//! Bodies that several endpoints share.
use serde::{Deserialize, Serialize};

/// One of something or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be a string or a list of strings")]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them.
    pub fn as_slice(&self) -> &[String] {
        match self {
            OneOrMany::One(s) => std::slice::from_ref(s),
            OneOrMany::Many(all) => all,
        }
    }
}

/// `stream_options` of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOptions {
    /// Whether a last chunk without choices carries the usage. Absent in a given object: yes, as in vLLM.
    pub include_usage: Option<bool>,
    /// Whether every chunk carries the usage so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continuous_usage_stats: Option<bool>,
}

impl StreamOptions {
    /// (usage at the end, usage in every chunk).
    pub fn usage(options: Option<Self>) -> (bool, bool) {
        match options {
            None => (false, false),
            Some(o) => {
                let last = o.include_usage.unwrap_or(true);
                (last, last && o.continuous_usage_stats == Some(true))
            }
        }
    }
}

/// Where prompt tokens came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptTokensDetails {
    /// Found in the prefix cache.
    pub cached_tokens: Option<u32>,
}

/// Tokens counted by the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens, of all prompts.
    #[serde(default)]
    pub prompt_tokens: u32,
    /// Both.
    #[serde(default)]
    pub total_tokens: u32,
    /// Output tokens, of all choices.
    #[serde(default)]
    pub completion_tokens: Option<u32>,
    /// Of the prompt tokens, where the server tells.
    #[serde(default)]
    pub prompt_tokens_details: Option<PromptTokensDetails>,
}

impl Usage {
    /// So many prompt and output tokens.
    pub fn new(prompt: u32, completion: u32) -> Self {
        Self {
            prompt_tokens: prompt,
            total_tokens: prompt.saturating_add(completion),
            completion_tokens: Some(completion),
            prompt_tokens_details: None,
        }
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// For people.
    pub message: String,
    /// `BadRequestError`, `NotFoundError`, …
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The parameter at fault.
    #[serde(default)]
    pub param: Option<String>,
    /// HTTP status; other servers send words.
    #[serde(default)]
    pub code: serde_json::Value,
}

/// An error body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Details.
    pub error: ErrorInfo,
}

impl ErrorBody {
    /// vLLM's form.
    pub fn new(status: u16, kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            error: ErrorInfo {
                message: message.into(),
                kind: kind.into(),
                param: None,
                code: status.into(),
            },
        }
    }

    /// With the parameter at fault.
    pub fn of(mut self, param: Option<String>) -> Self {
        self.error.param = param;
        self
    }
}

/// A model in the list of models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The name that requests use.
    pub id: String,
    /// `model`.
    #[serde(default)]
    pub object: String,
    /// Unix seconds.
    #[serde(default)]
    pub created: u64,
    /// `vllm` for a real one.
    #[serde(default)]
    pub owned_by: String,
    /// Where the weights came from.
    #[serde(default)]
    pub root: Option<String>,
    /// Base model of an adapter.
    #[serde(default)]
    pub parent: Option<String>,
    /// Longest sequence, prompt and output together.
    #[serde(default)]
    pub max_model_len: Option<u32>,
    /// vLLM's constant list of permissions.
    #[serde(default)]
    pub permission: Vec<serde_json::Value>,
}

/// `GET /v1/models`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelList {
    /// `list`.
    #[serde(default)]
    pub object: String,
    /// The models.
    pub data: Vec<ModelCard>,
}

/// `GET /version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Of the server.
    pub version: String,
}

/// `GET /load`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Requests being answered.
    pub server_load: u64,
}

/// `POST /tokenize`: a prompt, or chat messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenizeRequest {
    /// Model name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Or a chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<super::ChatMessage>>,
    /// Whether begin-of-sequence tokens are added; vLLM's default is yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_special_tokens: Option<bool>,
    /// Whether the turn of the assistant is opened; vLLM's default is yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_generation_prompt: Option<bool>,
    /// Whether the tokens' texts are wanted too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_token_strs: Option<bool>,
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizeResponse {
    /// How many.
    pub count: u32,
    /// Longest sequence.
    #[serde(default)]
    pub max_model_len: u32,
    /// Which.
    pub tokens: Vec<u32>,
    /// Their texts, if asked for.
    #[serde(default)]
    pub token_strs: Option<Vec<String>>,
}

/// `POST /detokenize`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetokenizeRequest {
    /// Model name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Token ids.
    pub tokens: Vec<u32>,
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetokenizeResponse {
    /// The text.
    pub prompt: String,
}

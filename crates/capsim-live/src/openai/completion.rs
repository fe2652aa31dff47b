//! `/v1/completions`.
use super::{StreamOptions, Usage};
use serde::{Deserialize, Serialize};

/// One prompt or several, as text or token ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "must be a string, a list of strings, a list of token ids or a list of lists of token ids"
)]
pub enum PromptInput {
    /// One text.
    Text(String),
    /// One list of token ids.
    Tokens(Vec<u32>),
    /// Several texts.
    Texts(Vec<String>),
    /// Several lists of token ids.
    TokenLists(Vec<Vec<u32>>),
}

impl PromptInput {
    /// How many prompts.
    pub fn count(&self) -> usize {
        match self {
            PromptInput::Text(_) => 1,
            PromptInput::Tokens(t) => usize::from(!t.is_empty()),
            PromptInput::Texts(t) => t.len(),
            PromptInput::TokenLists(t) => t.len(),
        }
    }
}

/// Defines a request: its own fields and those that both generating endpoints take. (Not `serde(flatten)`: errors would
/// no longer name the field.) Fields not listed are ignored, as vLLM does.
macro_rules! request {
    ($(#[$doc:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $($own)*
            /// Choices per prompt.
            #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
            pub n: Option<u32>,
            /// 0 is greedy; absent is 1.
            #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
            pub temperature: Option<f64>,
            /// Nucleus.
            #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
            pub top_p: Option<f64>,
            /// Makes sampling repeatable.
            #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
            pub seed: Option<i64>,
            /// Texts that end the answer.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub stop: Option<$crate::openai::OneOrMany>,
            /// Tokens that end the answer.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub stop_token_ids: Option<Vec<u32>>,
            /// Whether the answer goes on after an end-of-sequence token.
            #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
            pub ignore_eos: Option<bool>,
            /// Output tokens before which nothing ends the answer.
            #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
            pub min_tokens: Option<u32>,
            /// Discourages repetition.
            #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
            pub repetition_penalty: Option<f64>,
            /// Discourages what was said.
            #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
            pub presence_penalty: Option<f64>,
            /// Discourages what was said often.
            #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
            pub frequency_penalty: Option<f64>,
            /// Candidates per token.
            #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
            pub top_k: Option<i64>,
            /// Least probability of a candidate, relative to the best.
            #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
            pub min_p: Option<f64>,
            /// The form of the answer.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub response_format: Option<serde_json::Value>,
            /// The same, as vLLM has it since 0.12: `json`, `regex`, `choice`, …
            #[serde(skip_serializing_if = "Option::is_none")]
            pub structured_outputs: Option<serde_json::Map<String, serde_json::Value>>,
            /// The same before 0.12.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub guided_json: Option<serde_json::Value>,
            /// Likewise.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub guided_regex: Option<serde_json::Value>,
            /// Likewise.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub guided_choice: Option<serde_json::Value>,
            /// Likewise; not simulated.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub guided_grammar: Option<serde_json::Value>,
            /// For `--scheduling-policy priority`.
            #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
            pub priority: Option<i32>,
            /// Whether chunks carry token ids.
            #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
            pub return_token_ids: Option<bool>,
        }

        impl $name {
            /// The fields that both endpoints have, without the rest.
            pub fn sampling(&self) -> $crate::openai::Sampling<'_> {
                $crate::openai::Sampling {
                    n: self.n.unwrap_or(1),
                    temperature: self.temperature,
                    seed: self.seed,
                    stop: self.stop.as_ref().map_or(&[], |s| s.as_slice()),
                    stop_token_ids: self.stop_token_ids.as_deref().unwrap_or(&[]),
                    ignore_eos: self.ignore_eos == Some(true),
                    min_tokens: self.min_tokens.unwrap_or(0),
                    priority: self.priority.unwrap_or(0),
                }
            }

            /// Numbers that are only checked.
            pub fn unsimulated(&self) -> $crate::openai::Unsimulated {
                $crate::openai::Unsimulated {
                    top_p: self.top_p,
                    top_k: self.top_k,
                    min_p: self.min_p,
                    repetition_penalty: self.repetition_penalty,
                    presence_penalty: self.presence_penalty,
                    frequency_penalty: self.frequency_penalty,
                }
            }

            /// The form of the answer, as vLLM's own fields demand it.
            pub fn structured(&self) -> Vec<(&str, &serde_json::Value)> {
                let now = self.structured_outputs.iter().flatten();
                let now = now.filter(|(k, v)| !v.is_null() && !k.starts_with("disable_") && !k.starts_with('_'));
                let before = [
                    ("json", &self.guided_json),
                    ("regex", &self.guided_regex),
                    ("choice", &self.guided_choice),
                    ("grammar", &self.guided_grammar),
                ];
                let before = before.into_iter().filter_map(|(k, v)| Some((k, v.as_ref()?)));
                now.map(|(k, v)| (k.as_str(), v)).chain(before).collect()
            }
        }
    };
}
pub(super) use request;

/// Numbers of a request that are checked as vLLM checks them and change nothing here.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Unsimulated {
    /// Nucleus.
    pub top_p: Option<f64>,
    /// Candidates per token.
    pub top_k: Option<i64>,
    /// Least probability of a candidate.
    pub min_p: Option<f64>,
    /// Discourages repetition.
    pub repetition_penalty: Option<f64>,
    /// Discourages what was said.
    pub presence_penalty: Option<f64>,
    /// Discourages what was said often.
    pub frequency_penalty: Option<f64>,
}

/// What both endpoints take, with the defaults filled in.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sampling<'a> {
    /// Choices per prompt.
    pub n: u32,
    /// 0 is greedy; absent is 1.
    pub temperature: Option<f64>,
    /// Makes sampling repeatable.
    pub seed: Option<i64>,
    /// Texts that end the answer.
    pub stop: &'a [String],
    /// Tokens that end the answer.
    pub stop_token_ids: &'a [u32],
    /// Whether the answer goes on after an end-of-sequence token.
    pub ignore_eos: bool,
    /// Output tokens before which nothing ends the answer.
    pub min_tokens: u32,
    /// Smaller is more urgent.
    pub priority: i32,
}

request! {
    /// Request.
    CompletionRequest {
        /// Model name; absent: the server's own.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub model: Option<String>,
        /// What to go on from.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub prompt: Option<PromptInput>,
        /// Limit on output tokens; absent: 16, `null`: as many as fit.
        #[serde(
            default = "sixteen",
            skip_serializing_if = "Option::is_none",
            deserialize_with = "crate::openai::lax::option"
        )]
        pub max_tokens: Option<i64>,
        /// Token by token.
        #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
        pub stream: Option<bool>,
        /// How.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stream_options: Option<StreamOptions>,
        /// Whether the answer begins with the prompt.
        #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
        pub echo: Option<bool>,
        /// Log-probabilities of so many candidates.
        #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
        pub logprobs: Option<i64>,
        /// Text after the answer; refused, as most models refuse it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub suffix: Option<String>,
        /// Log-probabilities of the prompt.
        #[serde(default, deserialize_with = "crate::openai::lax::option", skip_serializing_if = "Option::is_none")]
        pub prompt_logprobs: Option<i64>,
    }
}

/// OpenAI's and vLLM's default.
fn sixteen() -> Option<i64> {
    Some(16)
}

/// A choice of a whole answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionChoice {
    /// Its number: prompt number times `n` and so on.
    #[serde(default)]
    pub index: u32,
    /// Text.
    #[serde(default)]
    pub text: String,
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
    /// Unused.
    #[serde(default)]
    pub prompt_logprobs: Option<serde_json::Value>,
    /// If asked for.
    #[serde(default)]
    pub prompt_token_ids: Option<Vec<u32>>,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionResponse {
    /// `cmpl-…`.
    #[serde(default)]
    pub id: String,
    /// `text_completion`.
    #[serde(default)]
    pub object: String,
    /// Unix seconds.
    #[serde(default)]
    pub created: u64,
    /// Model name.
    #[serde(default)]
    pub model: String,
    /// Answers.
    pub choices: Vec<CompletionChoice>,
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
    pub kv_transfer_params: Option<serde_json::Value>,
}

/// A choice of a chunk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionDelta {
    /// Its number.
    #[serde(default)]
    pub index: u32,
    /// New text.
    #[serde(default)]
    pub text: String,
    /// Unused.
    #[serde(default)]
    pub logprobs: Option<serde_json::Value>,
    /// In the last one.
    #[serde(default)]
    pub finish_reason: Option<String>,
    /// The stop string or token.
    #[serde(default)]
    pub stop_reason: Option<serde_json::Value>,
    /// If asked for, in the first one.
    #[serde(default)]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// If asked for.
    #[serde(default)]
    pub token_ids: Option<Vec<u32>>,
}

/// A chunk of a streamed answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionChunk {
    /// `cmpl-…`.
    #[serde(default)]
    pub id: String,
    /// `text_completion`.
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
    pub choices: Vec<CompletionDelta>,
    /// In the last one, or in all if asked for.
    #[serde(default)]
    pub usage: Option<Usage>,
}

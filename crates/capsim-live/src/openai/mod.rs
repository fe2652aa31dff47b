//! What an OpenAI-compatible server and its clients say to each other, as vLLM 0.12 says it: JSON bodies, server-sent
//! events, and the text of `/metrics`. Used by both ends; reads and writes bytes, opens no socket.
//!
//! Source of names, order and nulls: vLLM 0.12.0, `entrypoints/openai/protocol.py`, `serving_completion.py`,
//! `serving_chat.py`, `v1/metrics/loggers.py`.
mod chat;
mod common;
mod completion;
pub mod metrics;
pub mod prometheus;
pub mod sse;

pub use chat::*;
pub use common::*;
pub use completion::*;

/// Reads a request body; an error names the field.
///
/// # Errors
/// Not JSON, or a field of the wrong type.
pub fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    let mut de = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut de).map_err(|e| {
        let path = e.path().to_string();
        let problem = e.inner().to_string();
        BodyError {
            field: (path != "." && !path.is_empty()).then_some(path),
            problem,
        }
    })?;
    de.end().map_err(|e| BodyError {
        field: None,
        problem: e.to_string(),
    })?;
    Ok(value)
}

/// A body that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyError {
    /// The field, unless it is the whole.
    pub field: Option<String>,
    /// What is wrong.
    pub problem: String,
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.field {
            Some(field) => write!(f, "body.{field}: {}", self.problem),
            None => write!(f, "body: {}", self.problem),
        }
    }
}

impl std::error::Error for BodyError {}

#[cfg(test)]
mod tests;

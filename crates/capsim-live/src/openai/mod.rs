//! What an OpenAI-compatible server and its clients say to each other, as vLLM 0.12 says it: JSON bodies, server-sent
//! events, and the text of `/metrics`. Used by both ends; reads and writes bytes, opens no socket.
//!
//! Source of names, order and nulls: vLLM 0.12.0, `entrypoints/openai/protocol.py`, `serving_completion.py`,
//! `serving_chat.py`, `v1/metrics/loggers.py`.
mod chat;
mod common;
mod completion;
pub mod lax;
pub mod metrics;
pub mod prometheus;
pub mod sse;

pub use chat::*;
pub use common::*;
pub use completion::*;

/// Largest body in which a key may stand twice: it is read in a way that takes many times its bytes.
const MOST_WITH_DUPLICATES: usize = 4 << 20;

/// Reads a request body; an error names the field. As in vLLM a byte order mark is skipped, and of a key that stands twice the last one
/// counts.
///
/// # Errors
/// Not JSON, or a field of the wrong type.
pub fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut de = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize(&mut de) {
        Ok(value) => {
            de.end().map_err(|e| BodyError {
                field: None,
                problem: e.to_string(),
            })?;
            Ok(value)
        }
        Err(e)
            if e.inner().to_string().starts_with("duplicate field")
                && body.len() <= MOST_WITH_DUPLICATES =>
        {
            let value: serde_json::Value = serde_json::from_slice(body).map_err(|e| BodyError {
                field: None,
                problem: e.to_string(),
            })?;
            serde_path_to_error::deserialize(value).map_err(|e| named(&e))
        }
        Err(e) => Err(named(&e)),
    }
}

fn named(e: &serde_path_to_error::Error<serde_json::Error>) -> BodyError {
    let path = e.path().to_string();
    BodyError {
        field: (path != "." && !path.is_empty()).then_some(path),
        problem: e.inner().to_string(),
    }
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

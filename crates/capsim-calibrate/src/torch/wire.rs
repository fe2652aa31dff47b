//! Frames between capsim and the worker: one line of JSON, and after it as many bytes as it says.
use crate::backend::BackendError;
use serde::Deserialize;
use std::io::{BufRead, Write};

/// What the worker says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reply {
    pub error: Option<String>,
    pub kind: Option<String>,
    pub host: f64,
    pub device: Option<f64>,
    bytes: usize,
    #[serde(skip)]
    pub payload: Vec<u8>,
}

/// Sends a request.
pub(super) fn send(
    pipe: &mut dyn Write,
    mut request: serde_json::Value,
    payload: &[u8],
) -> std::io::Result<()> {
    request["bytes"] = payload.len().into();
    pipe.write_all(format!("{request}\n").as_bytes())?;
    pipe.write_all(payload)?;
    pipe.flush()
}

/// The next frame's line; `None` where the worker has ended.
pub(super) fn line(pipe: &mut dyn BufRead) -> std::io::Result<Option<String>> {
    let mut text = String::new();
    Ok((pipe.read_line(&mut text)? > 0).then_some(text))
}

/// The next frame.
pub(super) fn receive(pipe: &mut dyn BufRead) -> std::io::Result<Option<Reply>> {
    let Some(text) = line(pipe)? else {
        return Ok(None);
    };
    let mut reply: Reply = serde_json::from_str(&text)?;
    reply.payload = vec![0; reply.bytes];
    pipe.read_exact(&mut reply.payload)?;
    Ok(Some(reply))
}

impl Reply {
    /// An error in the words of [`BackendError`], about a kernel or a number of bytes.
    pub fn checked(self, kernel: &'static str, bytes: u64) -> Result<Self, BackendError> {
        let Some(error) = self.error else {
            return Ok(self);
        };
        Err(match self.kind.as_deref() {
            Some("unsupported") => BackendError::Unsupported {
                kernel,
                feature: error,
            },
            Some("memory") => BackendError::Memory {
                bytes,
                reason: error,
            },
            Some("unavailable") => BackendError::Unavailable(error),
            _ => BackendError::Device(error),
        })
    }
}

//! A server's line as people type it, in a shell, a container, a file: what it starts and with which settings.
//!
//! [`read`] gives the settings. [`unwrap`] is its first half: it takes away what stands around the server's own flags: environment variables, `sudo`, `docker run`, `bash -c`, compose and
//! Kubernetes files, systemd units. Nothing here opens a file: what a line names (`--config`, `--env-file`) is read by a function that the
//! caller passes in.
mod arguments;
mod bench;
mod config;
mod devices;
mod docker;
mod document;
mod dotenv;
mod error;
mod expand;
pub mod flags;
mod image;
mod launch;
mod llama_server;
mod paste;
mod program;
mod read;
mod refused;
mod sglang;
mod shell;
mod speculative;
mod trtllm;
mod unit;
mod variables;
mod vllm;
mod yaml;

pub use error::LineError;
pub use launch::{Launch, ReadFile, Source, unwrap};
pub use read::{Line, read};
pub use yaml::value as yaml_value;

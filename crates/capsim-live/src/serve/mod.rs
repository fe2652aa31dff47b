//! `capsim serve`: the simulator's engine, driven by the wall clock, behind the API that vLLM serves.
//!
//! `pace.rs` moves the engine's runtime by the wall clock, in a thread of its own; `http.rs` and its neighbours
//! speak OpenAI; `identity.rs` and `text.rs` turn texts into the simulator's prompts and its answers into text.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a server lives in real time"
)]
mod answer;
pub mod canned;
mod chat;
mod completions;
pub mod connection;
mod cors;
mod death;
mod fault;
mod http;
mod http_counts;
pub mod identity;
mod logprobs;
mod messages;
mod metrics;
mod native;
mod pace;
mod pooling;
mod process;
mod prompt;
mod regex;
mod responses;
pub mod schema;
mod server;
mod stops;
mod stream;
mod structured;
pub mod text;

pub use fault::{Death, Fault, FaultError, Refusal, When};
pub use server::{Options, Server, StartError};

/// Locks; a poisoned lock means that a thread panicked while it held it, and its data are still whole between calls.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

//! A load client for OpenAI-compatible servers: the very requests that `predict` simulates, sent in real time.
//!
//! One [`workload::Source`](capsim::workload::Source) drives both, so that a measurement and a prediction are of the same load. Every
//! instant is kept (intended, released, sent, first byte, each chunk), so that a wait at the client never hides a
//! slow server (no coordinated omission), and every request is accounted for.
pub mod client;
pub mod clock;
pub mod counted;
pub mod definition;
pub mod drive;
pub mod measured;
pub mod outcome;
pub mod prompt;
pub mod read;
pub mod result;
pub mod scrape;

pub use client::{Api, Client, ClientOptions, SetupError};
pub use definition::{Latencies, MetricsAs};
pub use drive::{Drive, Progress};
pub use measured::Measured;
pub use outcome::{Counted, Failure, FailureKind, Outcome};

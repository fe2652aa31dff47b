//! The instants of one answered request, simulated or measured: every latency is derived from these, in one place.
use crate::units::{SimTime, Span};

/// When a request was sent and answered. Source of the definitions: vllm 0.12.0, `vllm/benchmarks/serve.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// When latencies begin: the send, or the arrival at the engine.
    pub start: SimTime,
    /// First token.
    pub first_token: SimTime,
    /// Last token.
    pub end: SimTime,
    /// Prompt tokens.
    pub input_tokens: u32,
    /// Output tokens.
    pub output_tokens: u32,
}

impl Timing {
    /// Time to first token.
    pub fn ttft(&self) -> Span {
        self.first_token.since(self.start)
    }
    /// End-to-end latency.
    pub fn e2el(&self) -> Span {
        self.end.since(self.start)
    }
    /// From the first to the last token, and how many tokens came after the first; `None` where there is only one.
    pub fn decode(&self) -> Option<(Span, u32)> {
        (self.output_tokens > 1).then(|| (self.end.since(self.first_token), self.output_tokens - 1))
    }
    /// Time per output token after the first, in seconds; `None` where there is only one.
    pub fn tpot(&self) -> Option<f64> {
        self.decode()
            .map(|(time, tokens)| time.secs() / f64::from(tokens))
    }
}

//! Requests that an engine refuses, as an answer says it.
use super::Run;

/// Requests of the measured part that were refused: the engine never starts on them, and no latency contains them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Requests refused.
    pub requests: u64,
    /// Requests asked for.
    pub of: u64,
    /// `max_model_len`, which the prompt and the output of a request may not exceed together.
    pub max_model_len: u32,
    /// Tokens that the whole KV cache holds, which they may not exceed either.
    pub kv_tokens: u64,
}

impl Refused {
    /// What a run refused; `None` if it refused nothing.
    pub fn by(run: &Run) -> Option<Self> {
        let (s, c) = (&run.summary, &run.settings.config);
        let blocks = u64::from(c.num_gpu_blocks.saturating_sub(1 + c.state_blocks));
        (s.refused > 0).then(|| Self {
            requests: s.refused,
            of: s.asked(),
            max_model_len: c.max_model_len,
            kv_tokens: blocks * u64::from(c.block_size),
        })
    }

    /// Their share of all requests, 0 to 1.
    pub fn share(&self) -> f64 {
        self.requests as f64 / (self.of as f64).max(1.0)
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} requests refused ({:.1} %): prompt and output together exceed max-model-len {}",
            self.requests,
            self.of,
            100.0 * self.share(),
            self.max_model_len
        )?;
        if self.kv_tokens < self.max_model_len.into() {
            write!(f, " or the {} tokens of the KV cache", self.kv_tokens)?;
        }
        f.write_str("; the figures are of the others")
    }
}

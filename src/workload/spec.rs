//! A load in a few numbers, under `vllm bench serve`'s names.
use super::{Answer, Generator, Prompt, Segment, StreamId};
use crate::units::Span;
use serde::{Deserialize, Serialize};

/// What the prompts have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PromptKind {
    /// Nothing.
    #[default]
    Distinct,
    /// Everything: one text for all requests, a shorter prompt being the beginning of a longer one.
    Identical,
    /// Their first `shared_prefix_len` tokens.
    SharedPrefix,
}

/// A load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpec {
    /// Requests measured (`--num-prompts`).
    pub num_prompts: u32,
    /// Requests per second (`--request-rate`); absent: all at once, held back only by `max_concurrency`.
    pub request_rate: Option<f64>,
    /// Shape of the gamma-distributed gaps (`--burstiness`): 1 is Poisson, below is burstier.
    pub burstiness: f64,
    /// Most requests that the client has open (`--max-concurrency`); absent: no limit.
    pub max_concurrency: Option<u32>,
    /// Prompt tokens (`--random-input-len`).
    pub input_len: u32,
    /// Output tokens (`--random-output-len`).
    pub output_len: u32,
    /// Lengths are uniform in len · (1 ± this) (`--random-range-ratio`).
    pub range_ratio: f64,
    /// What prompts have in common.
    pub prompts: PromptKind,
    /// Shared tokens for [`PromptKind::SharedPrefix`].
    pub shared_prefix_len: u32,
    /// Whether equal prompts get equal answers (`--temperature 0`).
    pub greedy: bool,
    /// Requests sent one by one before the measured ones.
    pub warmup: u32,
    /// From an answer's last token to the same client's next request in the engine's queue; absent: the engine
    /// profile's.
    pub turnaround: Option<Span>,
    /// Between the first requests of successive clients: at 0 all arrive in one instant and are admitted in one
    /// step.
    pub send_skew: Span,
    /// Draw the very arrivals and lengths of `vllm bench serve --dataset-name random` for this seed, instead of our own.
    pub vllm_bench: bool,
    /// Seed of all chance.
    pub seed: u64,
}

/// A load that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct WorkloadError {
    /// Name of the field.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl WorkloadSpec {
    /// `max_concurrency` clients, each asking anew when it got its answer, `num_prompts` times in all; fixed lengths,
    /// distinct prompts, greedy.
    pub fn closed_loop(
        num_prompts: u32,
        max_concurrency: u32,
        input_len: u32,
        output_len: u32,
    ) -> Self {
        Self {
            num_prompts,
            request_rate: None,
            burstiness: 1.0,
            max_concurrency: Some(max_concurrency),
            input_len,
            output_len,
            range_ratio: 0.0,
            prompts: PromptKind::Distinct,
            shared_prefix_len: 0,
            greedy: true,
            warmup: 0,
            turnaround: None,
            send_skew: Span::ZERO,
            vllm_bench: false,
            seed: 0,
        }
    }

    /// Requests that arrive at `request_rate` per second whatever the server does; Poisson, fixed lengths, distinct
    /// prompts, greedy.
    pub fn open_loop(num_prompts: u32, request_rate: f64, input_len: u32, output_len: u32) -> Self {
        Self {
            request_rate: Some(request_rate),
            max_concurrency: None,
            ..Self::closed_loop(num_prompts, 1, input_len, output_len)
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<(), WorkloadError> {
        let bad = |field, problem: String| Err(WorkloadError { field, problem });
        if self.num_prompts == 0 {
            return bad("num_prompts", "must be at least 1".into());
        }
        if let Some(r) = self.request_rate
            && !(r.is_finite() && (1e-6..=1e6).contains(&r))
        {
            return bad(
                "request_rate",
                format!(
                    "must lie between 1e-6 and 1e6 per second, not {r}; leave it out for all at once"
                ),
            );
        }
        if !(self.burstiness.is_finite() && (0.01..=1e4).contains(&self.burstiness)) {
            return bad(
                "burstiness",
                format!("must lie between 0.01 and 10000, not {}", self.burstiness),
            );
        }
        if self.max_concurrency == Some(0) {
            return bad("max_concurrency", "must be at least 1".into());
        }
        for (field, len) in [
            ("input_len", self.input_len),
            ("output_len", self.output_len),
        ] {
            if !(1..=1 << 24).contains(&len) {
                return bad(field, format!("must lie between 1 and 16777216, not {len}"));
            }
        }
        if !(0.0..1.0).contains(&self.range_ratio) {
            return bad(
                "range_ratio",
                format!(
                    "must lie between 0 and 1 (exclusive), not {}",
                    self.range_ratio
                ),
            );
        }
        if self.prompts == PromptKind::SharedPrefix && self.shared_prefix_len == 0 {
            return bad(
                "shared_prefix_len",
                "must be at least 1 for prompts that share a prefix".into(),
            );
        }
        if self.vllm_bench && u32::try_from(self.seed).is_err() {
            return bad(
                "seed",
                "must be below 4294967296 for vllm_bench, as NumPy asks".into(),
            );
        }
        if self.send_skew > Span::from_millis(3_600_000) {
            return bad("send_skew", "must be at most an hour".into());
        }
        Ok(())
    }

    /// The requests.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn source(&self) -> Result<Generator, WorkloadError> {
        self.check()?;
        Ok(Generator::new(self.clone()))
    }

    fn upper(&self, len: u32) -> u32 {
        libm::ceil(f64::from(len) * (1.0 + self.range_ratio)) as u32
    }
    /// Prompt tokens of the longest possible request.
    pub fn longest_input(&self) -> u32 {
        self.upper(self.input_len)
    }
    /// Output tokens of the longest possible request.
    pub fn longest_output(&self) -> u32 {
        self.upper(self.output_len)
    }

    /// Prompt and answer of request number `id`.
    pub(super) fn content(&self, id: u64, input: u32) -> (Prompt, Answer) {
        // Streams 0 and 1 are common; every request has two of its own.
        let (own, own_answer) = (StreamId(16 + 2 * id), StreamId(17 + 2 * id));
        let common = StreamId(0);
        let prompt = match self.prompts {
            PromptKind::Distinct => Prompt::of_stream(own, input),
            PromptKind::Identical => Prompt::of_stream(common, input),
            PromptKind::SharedPrefix => {
                let shared = self.shared_prefix_len.min(input);
                Prompt::new([
                    Segment {
                        stream: common,
                        start: 0,
                        len: shared,
                    },
                    Segment {
                        stream: own,
                        start: 0,
                        len: input - shared,
                    },
                ])
            }
        };
        let same = self.greedy && self.prompts == PromptKind::Identical;
        let answer = Answer {
            // Equal prompts of equal length are one prompt and, greedily, get one answer.
            stream: if same {
                StreamId(u64::MAX - u64::from(input))
            } else {
                own_answer
            },
            stop_at: None,
        };
        (prompt, answer)
    }
}

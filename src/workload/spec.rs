//! A load in a few numbers, under `vllm bench serve`'s names.
use super::{
    Answer, Arrival, Generator, Images, Length, Prompt, Segment, StreamId, TraceSpec, Users,
};
use crate::units::Span;
use serde::{Deserialize, Serialize};

/// Most requests that are open at once.
const MOST_CLIENTS: u32 = 10_000_000;

/// Most requests of a run: a million takes seconds (docs/benchmarks.md), so that these are minutes.
const MOST_PROMPTS: u32 = 100_000_000;

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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Law of the send times; absent: gamma-distributed gaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival: Option<Arrival>,
    /// Users who think between answer and next request, instead of a rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Users>,
    /// Law of the prompt lengths, instead of `input_len` and `range_ratio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_dist: Option<Length>,
    /// Law of the output lengths, instead of `output_len` and `range_ratio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_dist: Option<Length>,
    /// Images of each request, behind its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,
    /// A recorded trace, which sets times and lengths; `num_prompts` then is the most that are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceSpec>,
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
            arrival: None,
            users: None,
            input_dist: None,
            output_dist: None,
            images: None,
            trace: None,
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
        for (field, value, most) in [
            ("max_concurrency", self.max_concurrency, MOST_CLIENTS),
            // Of a trace, it is no more than there are.
            match self.trace {
                Some(_) => ("num_prompts", Some(self.num_prompts), u32::MAX),
                None => ("num_prompts", Some(self.num_prompts), MOST_PROMPTS),
            },
        ] {
            if let Some(v) = value
                && !(1..=most).contains(&v)
            {
                return bad(field, format!("must lie between 1 and {most}, not {v}"));
            }
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
        self.check_shape()
    }

    /// Checks what the parts of a load say together.
    fn check_shape(&self) -> Result<(), WorkloadError> {
        let bad = |field, problem: String| Err(WorkloadError { field, problem });
        for (field, law) in [
            ("input_dist", &self.input_dist),
            ("output_dist", &self.output_dist),
        ] {
            if let Some(law) = law {
                law.check(field)?;
                if self.range_ratio != 0.0 {
                    return bad(
                        field,
                        "contradicts range_ratio: a law of lengths has its own spread".into(),
                    );
                }
            }
        }
        let Some(arrival) = &self.arrival else {
            return self.check_closed();
        };
        arrival.check()?;
        if self.users.is_some() {
            return bad(
                "users",
                format!(
                    "contradict arrival {}: users send when they have their answer",
                    arrival.name()
                ),
            );
        }
        match (arrival.needs_rate(), self.request_rate) {
            (true, None) => {
                return bad(
                    "request_rate",
                    format!("arrival {} needs one", arrival.name()),
                );
            }
            (false, Some(_)) => {
                return bad(
                    "request_rate",
                    format!("contradicts arrival {}, which has its own", arrival.name()),
                );
            }
            _ => {}
        }
        if matches!(
            arrival,
            Arrival::Constant | Arrival::Weibull { .. } | Arrival::Mmpp { .. }
        ) && self.burstiness != 1.0
        {
            return bad(
                "burstiness",
                format!("means nothing for arrival {}", arrival.name()),
            );
        }
        if self.vllm_bench
            && !matches!(
                arrival,
                Arrival::Gamma | Arrival::Constant | Arrival::RampUp { .. }
            )
        {
            return bad(
                "vllm_bench",
                format!("vllm bench serve has no arrival {}", arrival.name()),
            );
        }
        self.check_closed()
    }

    fn check_closed(&self) -> Result<(), WorkloadError> {
        let bad = |field, problem: String| Err(WorkloadError { field, problem });
        if self.images.is_some() {
            for (other, there) in [
                ("vllm_bench, whose random prompts are text", self.vllm_bench),
                (
                    "a trace, whose prompts are as recorded",
                    self.trace.is_some(),
                ),
                (
                    "conversations of several turns",
                    self.users.as_ref().is_some_and(|u| u.turns > 1),
                ),
            ] {
                if there {
                    return bad("images", format!("contradict {other}"));
                }
            }
        }
        if self.vllm_bench && (self.input_dist.is_some() || self.output_dist.is_some()) {
            return bad(
                "vllm_bench",
                "contradicts input_dist and output_dist: the random dataset has range_ratio".into(),
            );
        }
        if let Some(users) = &self.users {
            users.check()?;
            let turns = f64::from(self.num_prompts) / f64::from(users.count);
            if turns * users.think.mean() > 1e9 {
                return bad(
                    "think",
                    "so many requests with so much thought take more than thirty years".into(),
                );
            }
            for (other, there) in [
                ("request_rate", self.request_rate.is_some()),
                ("max_concurrency", self.max_concurrency.is_some()),
                ("vllm_bench", self.vllm_bench),
                (
                    "trace: recorded lengths are those of single requests, and these users talk in turns",
                    self.trace.is_some() && users.turns > 1,
                ),
            ] {
                if there {
                    return bad(
                        "users",
                        format!("contradict {other}: they send when they have their answer"),
                    );
                }
            }
            if users.turns > 1 && self.prompts == PromptKind::Identical {
                return bad(
                    "prompts",
                    "identical prompts contradict conversations of several turns".into(),
                );
            }
        }
        if let Some(trace) = &self.trace {
            trace.check()?;
            for (other, there) in [
                ("request_rate", self.request_rate.is_some()),
                ("arrival", self.arrival.is_some()),
                ("vllm_bench", self.vllm_bench),
                ("input_dist", self.input_dist.is_some()),
                ("output_dist", self.output_dist.is_some()),
            ] {
                if there {
                    return bad(
                        "trace",
                        format!("contradicts {other}: a trace has its own times and lengths"),
                    );
                }
            }
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

    /// Time from the first planned send of the measured requests to the last, where a clock plans them (a rate, a law of
    /// arrivals, a trace); `None` where a send follows an answer. A client with `max_concurrency` may take longer.
    pub fn planned_span(&self) -> Option<Span> {
        self.source().ok()?.planned_span()
    }

    fn longest(&self, len: u32, law: &Option<Length>, row: fn(&super::trace::Row) -> u32) -> u32 {
        if let Some(data) = self.trace.as_ref().and_then(|t| t.data.as_ref()) {
            return data.rows().iter().map(row).max().unwrap_or(0);
        }
        match law {
            Some(law) => law.longest(),
            None => libm::ceil(f64::from(len) * (1.0 + self.range_ratio)) as u32,
        }
    }
    /// Prompt tokens of the longest possible request (of a conversation's first).
    pub fn longest_input(&self) -> u32 {
        let text = self.longest(self.input_len, &self.input_dist, |r| r.input);
        text.saturating_add(self.images.map_or(0, |i| i.tokens()))
    }
    /// Output tokens of the longest possible request.
    pub fn longest_output(&self) -> u32 {
        self.longest(self.output_len, &self.output_dist, |r| r.output)
    }

    /// How requests come, in a few words.
    pub fn pace(&self) -> String {
        if let (Some(t), Some(u)) = (&self.trace, &self.users) {
            let think = u.think.mean();
            return format!(
                "{} users, {think} s of thought, lengths as in {}",
                u.count, t.file
            );
        }
        if let Some(t) = &self.trace {
            return match t.speedup {
                1.0 => format!("as recorded in {}", t.file),
                s => format!("as recorded in {}, {s} times faster", t.file),
            };
        }
        if let Some(u) = &self.users {
            return format!("{} users, {} s of thought", u.count, u.think.mean());
        }
        let law = match &self.arrival {
            None | Some(Arrival::Gamma) => String::new(),
            Some(a) => format!(", arrival {}", a.name()),
        };
        let rate = self
            .request_rate
            .or_else(|| self.arrival.as_ref().and_then(Arrival::mean_rate));
        match (rate, self.max_concurrency) {
            (Some(r), Some(c)) => format!("{r} per second{law}, at most {c} at a time"),
            (Some(r), None) => format!("{r} per second{law}"),
            (None, Some(c)) => format!("{c} at a time"),
            (None, None) => "all at once".into(),
        }
    }

    /// How long requests are, in a few words.
    pub fn sizes(&self) -> String {
        if self.trace.is_some() {
            return "recorded lengths".into();
        }
        let of = |len: u32, law: &Option<Length>| match law {
            None => len.to_string(),
            Some(l) => format!("{}–{}", l.shortest(), l.longest()),
        };
        let images = match &self.images {
            None => String::new(),
            Some(i) => format!(
                " (and {} × {} for {} × {} pixels)",
                i.count, i.each.tokens, i.width, i.height
            ),
        };
        format!(
            "{}{images} + {} tokens",
            of(self.input_len, &self.input_dist),
            of(self.output_len, &self.output_dist)
        )
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

//! Clients that send a fixed set of prompts in turn, again and again: inference-perf's `shared_prefix` data, of which a server
//! computes little more than the first round.
use super::runs::RecordedWorkload;
use capsim::units::{SimTime, Span};
use capsim::workload::{Answer, Pace, Prompt, Replay, Request, RequestId, Segment, StreamId};
use serde::{Deserialize, Serialize};

/// A fixed set of prompts, in groups that begin alike, sent at even gaps of 1 / `request_rate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptCycle {
    /// How many prompts there are.
    pub prompts: u32,
    /// Groups of them; successive prompts belong to one group.
    pub groups: u32,
    /// Tokens that the prompts of a group begin with.
    pub shared_prefix_len: u32,
    /// Prompts have `input_len` tokens, this many more or less, evenly spread.
    pub range: u32,
}

impl PromptCycle {
    /// What is wrong with it: the field and what would be right.
    pub fn problem(&self, w: &RecordedWorkload) -> Option<(&'static str, String)> {
        if self.prompts == 0 || self.prompts > 1_000_000 {
            return Some(("cycle.prompts", "must lie between 1 and 1000000".into()));
        }
        if self.groups == 0 || self.groups > self.prompts {
            return Some((
                "cycle.groups",
                format!("must lie between 1 and {}, the prompts", self.prompts),
            ));
        }
        if self.range >= w.input_len {
            return Some((
                "cycle.range",
                format!("must be below input_len, {}", w.input_len),
            ));
        }
        if w.request_rate.is_none() || w.trace.is_some() || w.max_concurrency.is_some() {
            return Some((
                "cycle",
                "needs a request_rate, and neither a trace nor max_concurrency".into(),
            ));
        }
        None
    }

    /// Tokens of prompt `k`: evenly over the range, neighbours far apart.
    fn len(&self, k: u32, mean: u32) -> u32 {
        let values = u64::from(2 * self.range + 1);
        // A stride without a common divisor visits every value once.
        let step = (values / 2) | 1;
        let at = u64::from(k) * step % values;
        mean - self.range + at as u32
    }

    /// The requests of a run, all by the clock; the first `warmup` of them are not measured.
    ///
    /// Panics without a `request_rate`, which [`PromptCycle::problem`] finds.
    pub fn replay(&self, w: &RecordedWorkload) -> Replay {
        let rate = w.request_rate.expect("checked when the file was read");
        let warmup = w.warmup.unwrap_or(0);
        let in_group = self.prompts.div_ceil(self.groups);
        let requests = (0..warmup + w.num_prompts)
            .map(|i| {
                let k = i % self.prompts;
                let len = self.len(k, w.input_len);
                let shared = self.shared_prefix_len.min(len);
                let common = Segment {
                    stream: StreamId(u64::from(k / in_group)),
                    start: 0,
                    len: shared,
                };
                let own = Segment {
                    stream: StreamId(u64::from(self.groups + k)),
                    start: 0,
                    len: len - shared,
                };
                let sent = f64::from(i) / rate;
                Request {
                    id: RequestId(0),
                    arrival: SimTime::ZERO + Span::from_secs(sent),
                    prompt: Prompt::new([common, own]),
                    max_tokens: w.output_len,
                    answer: Answer {
                        stream: StreamId(u64::from(self.groups + self.prompts + i)),
                        stop_at: None,
                    },
                    priority: 0,
                }
            })
            .collect();
        Replay::new(requests, warmup, Pace::Recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_come_again_and_groups_begin_alike() {
        let text = r#"{"num_prompts": 7, "request_rate": 2.0, "input_len": 50, "output_len": 3, "warmup": 1,
            "cycle": {"prompts": 4, "groups": 2, "shared_prefix_len": 20, "range": 5}}"#;
        let w: RecordedWorkload = serde_json::from_str(text).unwrap();
        let cycle = w.cycle.unwrap();
        assert_eq!(cycle.problem(&w), None);
        let replay = cycle.replay(&w);
        let r = replay.requests();
        assert_eq!((r.len(), replay.warmup()), (8, 1));
        // Gaps of half a second.
        assert_eq!(r[0].arrival, SimTime::ZERO);
        assert_eq!(r[7].arrival, SimTime::ZERO + Span::from_secs(3.5));
        assert_eq!(r[0].prompt.segments(), r[4].prompt.segments());
        let begins = |i: usize| r[i].prompt.segments()[0];
        assert_eq!(begins(0), begins(1));
        assert_ne!(begins(1).stream, begins(2).stream);
        assert_ne!(r[0].answer.stream, r[4].answer.stream);
        for q in r {
            assert!((45..=55).contains(&q.prompt.len()));
        }
        let longer = RecordedWorkload {
            max_concurrency: Some(3),
            ..w.clone()
        };
        assert_eq!(cycle.problem(&longer).unwrap().0, "cycle");
    }

    #[test]
    fn lengths_are_even_over_the_range() {
        let cycle = PromptCycle {
            prompts: 21,
            groups: 1,
            shared_prefix_len: 0,
            range: 10,
        };
        let mut all: Vec<u32> = (0..21).map(|k| cycle.len(k, 100)).collect();
        all.sort_unstable();
        assert_eq!(all, (90..=110).collect::<Vec<_>>());
    }
}

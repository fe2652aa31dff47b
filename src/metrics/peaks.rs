//! The busiest seconds of a run, as `vllm bench serve` counts them.
use crate::engine::Step;
use crate::engine::observe::{Observer, RequestRecord, StepRecord};
use crate::units::{SimTime, Span};
use crate::workload::RequestId;
use std::collections::BTreeMap;

/// Most output tokens in one second, and most requests open during one second, the seconds being counted from the first
/// measured request's arrival. A request counts in every second that it touches, so that the second figure may
/// exceed the number ever open at once (vllm 0.12.0, `vllm/benchmarks/serve.py`, `calculate_metrics`).
///
/// Keeps only seconds that may still change.
#[derive(Clone, Debug, Default)]
pub struct Peaks {
    warmup: u64,
    begin: Option<SimTime>,
    second: u64,
    tokens: u64,
    tokens_max: u64,
    /// Changes of the number of open requests, by second.
    changes: BTreeMap<u64, i64>,
    open: i64,
    open_max: i64,
}

impl Peaks {
    /// For a run whose first `warmup` requests (by id) do not count.
    pub fn new(warmup: u64) -> Self {
        Self {
            warmup,
            ..Self::default()
        }
    }

    fn second(&self, at: SimTime) -> Option<u64> {
        let begin = self.begin?;
        (at >= begin).then(|| at.since(begin).0 / Span::from_millis(1000).0)
    }

    /// Settles all seconds before `until`.
    fn settle(&mut self, until: u64) {
        while let Some(e) = self.changes.first_entry()
            && *e.key() < until
        {
            self.open += e.remove();
            self.open_max = self.open_max.max(self.open);
        }
    }

    /// Most output tokens in one second.
    pub fn tokens_per_second(&self) -> u64 {
        self.tokens_max.max(self.tokens)
    }

    /// Most requests that touched one second.
    pub fn concurrent_requests(&self) -> u64 {
        let mut last = self.clone();
        last.settle(u64::MAX);
        last.open_max.max(0) as u64
    }
}

impl Observer for Peaks {
    fn on_arrival(&mut self, id: RequestId, at: SimTime) {
        if id.0 < self.warmup {
            return;
        }
        self.begin.get_or_insert(at);
        if let Some(s) = self.second(at) {
            *self.changes.entry(s).or_default() += 1;
        }
    }

    fn on_schedule(&mut self, at: SimTime, _: &Step<'_>) {
        // Later arrivals and ends fall into this second or a later one.
        if let Some(s) = self.second(at) {
            self.settle(s);
        }
    }

    fn on_step(&mut self, step: &StepRecord) {
        let Some(s) = self.second(step.start + step.duration) else {
            return;
        };
        if s > self.second {
            self.tokens_max = self.tokens_max.max(self.tokens);
            (self.second, self.tokens) = (s, 0);
        }
        self.tokens += u64::from(step.shape.sampled);
    }

    fn on_request(&mut self, request: &RequestRecord) {
        if request.id.0 >= self.warmup
            && let Some(s) = self.second(request.finish)
        {
            *self.changes.entry(s + 1).or_default() -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::StepShape;
    use crate::engine::observe::FinishReason;

    #[test]
    fn a_request_counts_in_every_second_that_it_touches() {
        // One at a time, 0.6 s each: three touch the second from 1 to 2 (0.6–1.2, 1.2–1.8, 1.8–2.4).
        let mut peaks = Peaks::new(1);
        let ms = |t| SimTime::ZERO + Span::from_millis(t);
        for k in 0..5u64 {
            // Arrivals are heard of late, after the end before.
            let (from, to) = (ms(10_000 + 600 * k), ms(10_600 + 600 * k));
            peaks.on_arrival(RequestId(k + 1), from);
            peaks.on_schedule(from, &Step::default());
            peaks.on_step(&StepRecord {
                start: from,
                duration: to.since(from),
                shape: StepShape {
                    sampled: 7,
                    ..StepShape::default()
                },
                running: 1,
                waiting: 0,
                preempted: 0,
                free_blocks: 0,
            });
            peaks.on_request(&RequestRecord {
                id: RequestId(k + 1),
                arrival: from,
                received: from,
                scheduled: from,
                first_made: to,
                first_token: to,
                finish: to,
                prompt_tokens: 1,
                output_tokens: 1,
                cached_tokens: 0,
                preemptions: 0,
                reason: FinishReason::Length,
            });
        }
        assert_eq!(peaks.concurrent_requests(), 3);
        // Ends at 0.6, 1.2, 1.8, 2.4, 3.0 s: two in the second second.
        assert_eq!(peaks.tokens_per_second(), 14);
    }
}

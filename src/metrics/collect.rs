//! Watches a simulation and keeps what a summary needs.
use super::summary::among_answered;
use super::{Sample, Summary, Timing, TtftParts};
use crate::engine::observe::{FinishReason, Observer, RequestRecord, StepRecord};
use crate::stats::Histogram;
use crate::units::{SimTime, Span};
use crate::workload::RequestId;

/// Time-weighted state of the engine over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Occupancy {
    /// Engine steps.
    pub steps: u64,
    /// Time spent in steps, in seconds.
    pub busy: f64,
    /// Mean sequences per step, weighted by time.
    pub batch: f64,
    /// Mean new tokens per step, weighted by steps.
    pub tokens_per_step: f64,
    /// Mean number of waiting requests, weighted by time.
    pub waiting: f64,
    /// Most requests waiting in any step.
    pub waiting_max: u32,
    /// Mean KV usage, 0 to 1, weighted by time.
    pub kv_mean: f64,
    /// Highest KV usage in any step, 0 to 1.
    pub kv_max: f64,
}

/// Collects latencies and pooled gaps, in bounded memory. The first `warmup` requests are left out of everything.
pub struct Collector {
    warmup: u64,
    usable_blocks: u64,
    warm_left: u64,
    completed: u64,
    refused: u64,
    input_tokens: u64,
    output_tokens: u64,
    cached_tokens: u64,
    preemptions: u64,
    begin: Option<SimTime>,
    end: Option<SimTime>,
    ttft: Sample,
    tpot: Sample,
    e2el: Sample,
    queue: Sample,
    parts: [Span; 4],
    gaps: Histogram,
    busy: Span,
    steps: u64,
    tokens: u64,
    seq_time: f64,
    wait_time: f64,
    waiting_max: u32,
    kv_time: f64,
    kv_max: f64,
}

impl Collector {
    /// For a run whose first `warmup` requests (by id) do not count, on an engine with `usable_blocks` KV
    /// blocks to give out.
    pub fn new(warmup: u64, usable_blocks: u64) -> Self {
        Self {
            warmup,
            usable_blocks: usable_blocks.max(1),
            warm_left: warmup,
            completed: 0,
            refused: 0,
            input_tokens: 0,
            output_tokens: 0,
            cached_tokens: 0,
            preemptions: 0,
            begin: None,
            end: None,
            ttft: Sample::default(),
            tpot: Sample::default(),
            e2el: Sample::default(),
            queue: Sample::default(),
            parts: [Span::ZERO; 4],
            gaps: Histogram::new(),
            busy: Span::ZERO,
            steps: 0,
            tokens: 0,
            seq_time: 0.0,
            wait_time: 0.0,
            waiting_max: 0,
            kv_time: 0.0,
            kv_max: 0.0,
        }
    }

    /// State of the engine during the measured part.
    pub fn occupancy(&self) -> Occupancy {
        let busy = self.busy.secs().max(1e-12);
        Occupancy {
            steps: self.steps,
            busy: self.busy.secs(),
            batch: self.seq_time / busy,
            tokens_per_step: self.tokens as f64 / (self.steps as f64).max(1.0),
            waiting: self.wait_time / busy,
            waiting_max: self.waiting_max,
            kv_mean: self.kv_time / busy,
            kv_max: self.kv_max,
        }
    }

    /// Figures of the measured part; latencies counted from arrival at the engine.
    pub fn summary(&self) -> Summary {
        let duration = match (self.begin, self.end) {
            (Some(b), Some(e)) => e.since(b).secs(),
            _ => 0.0,
        };
        let quantile = |q: f64| self.gaps.quantile(q) / 1e9;
        let asked = |p: f64| match among_answered(p, self.completed, self.refused) {
            Some(p) => quantile(p / 100.0),
            None => f64::INFINITY,
        };
        Summary {
            duration,
            completed: self.completed,
            refused: self.refused,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            ttft: self.ttft.dist(),
            tpot: self.tpot.dist(),
            e2el: self.e2el.dist(),
            queue: self.queue.dist(),
            ttft_parts: {
                let mean = |at: usize| self.parts[at].secs() / (self.completed as f64).max(1.0);
                TtftParts {
                    front_end: mean(0),
                    waiting: mean(1),
                    prefill: mean(2),
                    way_back: mean(3),
                }
            },
            itl_mean: self.gaps.mean() / 1e9,
            itl_std: self.gaps.std_dev() / 1e9,
            itl_percentiles: super::PERCENTILES.map(|p| quantile(p / 100.0)),
            itl_percentiles_of_asked: super::PERCENTILES.map(asked),
            cached_tokens: self.cached_tokens,
            preemptions: self.preemptions,
        }
    }

    /// When the measured part ended.
    pub fn end(&self) -> Option<SimTime> {
        self.end
    }

    fn measure(&mut self, r: &RequestRecord) {
        self.completed += 1;
        self.input_tokens += u64::from(r.prompt_tokens);
        self.output_tokens += u64::from(r.output_tokens);
        self.cached_tokens += u64::from(r.cached_tokens);
        self.preemptions += u64::from(r.preemptions);
        self.begin = Some(self.begin.map_or(r.arrival, |b| b.min(r.arrival)));
        self.end = Some(self.end.map_or(r.finish, |e| e.max(r.finish)));
        let t = Timing {
            start: r.arrival,
            first_token: r.first_token,
            end: r.finish,
            input_tokens: r.prompt_tokens,
            output_tokens: r.output_tokens,
        };
        for (sum, part) in self.parts.iter_mut().zip([
            r.received.since(r.arrival),
            r.scheduled.since(r.received),
            r.first_made.since(r.scheduled),
            r.first_token.since(r.first_made),
        ]) {
            *sum += part;
        }
        self.ttft.record(t.ttft(), 1);
        self.e2el.record(t.e2el(), 1);
        self.queue.record(r.scheduled.since(r.arrival), 1);
        if let Some((time, tokens)) = t.decode() {
            self.tpot.record(time, tokens);
        }
    }
}

impl Observer for Collector {
    fn on_step(&mut self, step: &StepRecord) {
        if self.warm_left > 0 {
            return;
        }
        let secs = step.duration.secs();
        self.steps += 1;
        self.busy += step.duration;
        self.tokens += u64::from(step.shape.tokens());
        self.seq_time += secs * f64::from(step.shape.seqs());
        self.wait_time += secs * f64::from(step.waiting);
        self.waiting_max = self.waiting_max.max(step.waiting);
        let used = 1.0 - step.free_blocks as f64 / self.usable_blocks as f64;
        self.kv_time += secs * used;
        self.kv_max = self.kv_max.max(used);
    }

    fn on_tokens(&mut self, gap: Span, count: u32) {
        if self.warm_left > 0 {
            return;
        }
        self.gaps.record_n(gap.0, count.into());
    }

    fn on_refused(&mut self, id: RequestId, _: SimTime) {
        if id.0 < self.warmup {
            self.warm_left = self.warm_left.saturating_sub(1);
        } else {
            self.refused += 1;
        }
    }

    fn on_request(&mut self, request: &RequestRecord) {
        if request.id.0 < self.warmup {
            self.warm_left = self.warm_left.saturating_sub(1);
        } else if request.reason != FinishReason::Abort {
            self.measure(request);
        }
    }
}

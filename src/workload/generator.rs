//! Requests made as they are needed: a million of them take no more memory than those that are open.
use super::{Request, RequestId, Source, WorkloadSpec, vllm_bench};
use crate::rng::{Rng, Seed};
use crate::units::{SimTime, Span};
use rand::RngExt as _;
use rand_distr::{Distribution, Gamma};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Send times in seconds, and (input, output) tokens, of the measured requests.
type Exact = (Vec<f64>, Vec<(u32, u32)>);

/// The source that a [`WorkloadSpec`] describes.
///
/// First the warm-up requests, one by one; then either closed-loop clients, or arrivals at a rate, which the client
/// holds back while `max_concurrency` requests are open (the wait is the client's: latencies count from
/// the arrival at the engine, as `vllm bench serve` counts them).
#[derive(Clone, Debug)]
pub struct Generator {
    spec: WorkloadSpec,
    turnaround: Span,
    inputs: Rng,
    outputs: Rng,
    gaps: Rng,
    gap: Option<Gamma<f64>>,
    /// Send times and lengths of the measured requests, where they are those of `vllm bench serve`.
    exact: Option<Exact>,
    /// Arrivals that are decided, earliest first.
    pending: BinaryHeap<Reverse<SimTime>>,
    /// Sends that wait for a place at the client (rate and concurrency both given).
    held: VecDeque<SimTime>,
    /// Time of the last send drawn, in seconds since `begin`.
    clock: f64,
    begin: SimTime,
    /// Requests handed out, and measured requests whose arrival was decided or that are held.
    handed: u64,
    planned: u64,
    open: u64,
}

impl Generator {
    pub(super) fn new(spec: WorkloadSpec) -> Self {
        let seed = Seed(spec.seed);
        let mut g = Self {
            turnaround: spec.turnaround.unwrap_or(Span::ZERO),
            inputs: seed.stream("input lengths"),
            outputs: seed.stream("output lengths"),
            gaps: seed.stream("arrivals"),
            gap: spec.request_rate.map(|rate| {
                Gamma::new(spec.burstiness, 1.0 / (rate * spec.burstiness))
                    .expect("both are positive: checked before")
            }),
            exact: spec.vllm_bench.then(|| {
                let n = spec.num_prompts;
                (
                    vllm_bench::arrivals(n, spec.request_rate, spec.burstiness, spec.seed as u32),
                    vllm_bench::lengths(
                        n,
                        spec.input_len,
                        spec.output_len,
                        spec.range_ratio,
                        spec.seed,
                    ),
                )
            }),
            pending: BinaryHeap::new(),
            held: VecDeque::new(),
            clock: 0.0,
            begin: SimTime::ZERO,
            handed: 0,
            planned: 0,
            open: 0,
            spec,
        };
        if g.spec.warmup > 0 {
            g.pending.push(Reverse(SimTime::ZERO));
        } else {
            g.start(SimTime::ZERO);
        }
        g
    }

    /// The measured part begins.
    fn start(&mut self, now: SimTime) {
        self.begin = now;
        if self.gap.is_some() {
            self.draw_arrival();
        } else {
            let total = u64::from(self.spec.num_prompts);
            let clients = self
                .spec
                .max_concurrency
                .map_or(total, u64::from)
                .min(total);
            for i in 0..clients {
                self.pending.push(Reverse(now + self.spec.send_skew * i));
            }
            self.planned = clients;
        }
    }

    fn draw_arrival(&mut self) {
        let Some(gap) = self.gap else { return };
        if self.planned < u64::from(self.spec.num_prompts) {
            self.clock = match &self.exact {
                Some((times, _)) => times[self.planned as usize],
                None => self.clock + gap.sample(&mut self.gaps),
            };
            let at = self.begin + Span::from_secs(self.clock);
            self.planned += 1;
            self.held.push_back(at);
            self.let_through(SimTime::ZERO);
        }
    }

    /// Sends what is held, as far as the concurrency limit allows, not before `now`.
    fn let_through(&mut self, now: SimTime) {
        let limit = self.spec.max_concurrency.map_or(u64::MAX, u64::from);
        while self.open + (self.pending.len() as u64) < limit {
            let Some(at) = self.held.pop_front() else {
                break;
            };
            self.pending.push(Reverse(at.max(now)));
        }
    }

    fn length(range_ratio: f64, len: u32, rng: &mut Rng) -> u32 {
        if range_ratio == 0.0 {
            return len;
        }
        let low = ((f64::from(len) * (1.0 - range_ratio)) as u32).max(1);
        let high = (f64::from(len) * (1.0 + range_ratio)) as u32;
        rng.random_range(low..=high.max(low))
    }
}

impl Source for Generator {
    fn peek(&mut self) -> Option<SimTime> {
        self.pending.peek().map(|Reverse(t)| *t)
    }

    fn pop(&mut self) -> Option<Request> {
        let Reverse(arrival) = self.pending.pop()?;
        let id = self.handed;
        self.handed += 1;
        self.open += 1;
        let ratio = self.spec.range_ratio;
        let measured = id.checked_sub(self.spec.warmup.into());
        let (input, output) = match (&self.exact, measured) {
            (Some((_, lengths)), Some(k)) => {
                let (i, o) = lengths[k as usize];
                (i.max(1), o)
            }
            _ => (
                Self::length(ratio, self.spec.input_len, &mut self.inputs),
                Self::length(ratio, self.spec.output_len, &mut self.outputs),
            ),
        };
        let (prompt, answer) = self.spec.content(id, input);
        if id >= u64::from(self.spec.warmup) && self.held.is_empty() {
            self.draw_arrival();
        }
        Some(Request {
            id: RequestId(id),
            arrival,
            prompt,
            max_tokens: output,
            answer,
            priority: 0,
        })
    }

    fn finished(&mut self, id: RequestId, now: SimTime) {
        self.open -= 1;
        let next = now + self.turnaround;
        let warmup = u64::from(self.spec.warmup);
        if id.0 + 1 < warmup {
            self.pending.push(Reverse(next));
        } else if id.0 + 1 == warmup {
            self.start(next);
        } else if self.gap.is_some() {
            self.let_through(next);
            if self.held.is_empty() && self.pending.is_empty() {
                self.draw_arrival();
            }
        } else if self.planned < u64::from(self.spec.num_prompts) {
            self.planned += 1;
            self.pending.push(Reverse(next));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(spec: &WorkloadSpec, service: Span) -> Vec<(Request, SimTime)> {
        // One request at a time, each served for `service`.
        let mut s = spec.source().unwrap();
        let (mut all, mut free) = (vec![], SimTime::ZERO);
        while let Some(r) = s.pop() {
            let done = free.max(r.arrival) + service;
            free = done;
            s.finished(r.id, done);
            all.push((r, done));
        }
        all
    }

    #[test]
    fn every_request_is_sent_once_and_ids_count_up() {
        for spec in [
            WorkloadSpec::closed_loop(50, 4, 10, 10),
            WorkloadSpec::open_loop(50, 3.0, 10, 10),
            WorkloadSpec {
                max_concurrency: Some(2),
                warmup: 3,
                ..WorkloadSpec::open_loop(50, 3.0, 10, 10)
            },
        ] {
            let all = drain(&spec, Span::from_millis(100));
            assert_eq!(all.len() as u32, 50 + spec.warmup);
            assert!(all.iter().enumerate().all(|(i, (r, _))| r.id.0 == i as u64));
        }
    }

    #[test]
    fn the_concurrency_limit_holds() {
        let spec = WorkloadSpec {
            max_concurrency: Some(1),
            ..WorkloadSpec::open_loop(200, 100.0, 10, 10)
        };
        let all = drain(&spec, Span::from_millis(50));
        for w in all.windows(2) {
            assert!(w[1].0.arrival >= w[0].1, "sent while another was open");
        }
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_variance_of_their_law() {
        let n = 20_000;
        let mut s = WorkloadSpec::open_loop(n, 4.0, 10, 10).source().unwrap();
        let mut times = vec![];
        while let Some(r) = s.pop() {
            times.push(r.arrival.secs());
        }
        let gaps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
        let mean = crate::stats::mean(&gaps);
        let cv = crate::stats::std_dev(&gaps) / mean;
        // Standard errors are 0.7 % for both; five of them.
        assert!((mean * 4.0 - 1.0).abs() < 0.035, "mean gap {mean}");
        assert!((cv - 1.0).abs() < 0.035, "cv {cv}");
    }

    #[test]
    fn the_twin_of_vllm_bench_ends_at_n_over_rate() {
        let spec = WorkloadSpec {
            vllm_bench: true,
            range_ratio: 0.5,
            warmup: 1,
            ..WorkloadSpec::open_loop(40, 4.0, 100, 50)
        };
        let all = drain(&spec, Span::from_millis(1));
        let begin = all[0].1;
        assert_eq!(
            all.last().unwrap().0.arrival,
            begin + Span::from_millis(10_000)
        );
        let lengths = vllm_bench::lengths(40, 100, 50, 0.5, 0);
        for (r, (input, output)) in all[1..].iter().map(|(r, _)| r).zip(lengths) {
            assert_eq!((r.prompt.len(), r.max_tokens), (input, output));
        }
    }

    #[test]
    fn greedy_identical_prompts_share_their_answer_and_others_do_not() {
        let mut spec = WorkloadSpec::closed_loop(3, 3, 10, 10);
        spec.prompts = super::super::PromptKind::Identical;
        let a = drain(&spec, Span(1));
        assert_eq!(a[0].0.answer.stream, a[2].0.answer.stream);
        spec.greedy = false;
        let b = drain(&spec, Span(1));
        assert_ne!(b[0].0.answer.stream, b[2].0.answer.stream);
        assert_eq!(b[0].0.prompt, b[2].0.prompt);
    }
}

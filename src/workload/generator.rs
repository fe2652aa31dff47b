//! Requests made as they are needed: a million of them take no more memory than those that are open.
use super::arrival::Clock;
use super::length::Sampler;
use super::{
    Answer, Prompt, PromptKind, Request, RequestId, Segment, Source, StreamId, Trace, Users,
    WorkloadSpec, vllm_bench,
};
use crate::rng::{Rng, Seed};
use crate::units::{SimTime, Span};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

/// The source that a [`WorkloadSpec`] describes.
///
/// First the warm-up requests, one by one; then one of three: closed-loop clients; users who think; or sends at planned
/// times, which the client holds back while `max_concurrency` requests are open. A held request is sent when its place
/// becomes free, and its latencies count from then: `vllm bench serve` starts a request's clock behind its semaphore
/// (`limited_request_func`, vllm 0.12.0, vllm/benchmarks/serve.py).
#[derive(Clone, Debug)]
pub struct Generator {
    spec: WorkloadSpec,
    turnaround: Span,
    inputs: Rng,
    outputs: Rng,
    gaps: Rng,
    clock: Option<Clock>,
    input: Sampler,
    output: Sampler,
    /// Lengths of the measured requests, where they are those of `vllm bench serve`.
    exact: Option<Vec<(u32, u32)>>,
    /// Where they are recorded: the trace, the first row replayed, and how many.
    trace: Option<(Arc<Trace>, usize, u64)>,
    users: Option<Box<People>>,
    /// Arrivals that are decided, earliest first, with the user's number (0 without users).
    pending: BinaryHeap<Reverse<(SimTime, u32)>>,
    /// Planned time of the next send, while it waits for a place at the client. No send beyond it is planned yet.
    held: Option<SimTime>,
    places: Places,
    begin: SimTime,
    /// Requests handed out, and measured requests whose arrival was decided or that are held.
    handed: u64,
    planned: u64,
    /// Measured requests in all.
    total: u64,
}

/// The first stream of images: beyond those of all texts.
const IMAGES: u64 = 1 << 61;

/// The places that `max_concurrency` gives a client which sends at planned times.
#[derive(Clone, Debug)]
struct Places {
    /// Places free now; `None` without a limit.
    free: Option<u64>,
    /// When each other unused place becomes free, earliest first.
    freed: VecDeque<SimTime>,
}

impl Places {
    fn new(limit: Option<u32>) -> Self {
        Self {
            free: limit.map(u64::from),
            freed: VecDeque::new(),
        }
    }

    /// Takes the place that is free first and returns the time at which a send planned at `planned` begins: not before
    /// that place is free. Planned times never decrease. `None` while every place is taken.
    fn take(&mut self, planned: SimTime) -> Option<SimTime> {
        let Some(free) = &mut self.free else {
            return Some(planned);
        };
        while self.freed.front().is_some_and(|t| *t <= planned) {
            self.freed.pop_front();
            *free += 1;
        }
        if *free > 0 {
            *free -= 1;
            return Some(planned);
        }
        self.freed.pop_front()
    }

    /// A place becomes free at `at`; these times never decrease.
    fn give_back(&mut self, at: SimTime) {
        if self.free.is_some() {
            self.freed.push_back(at);
        }
    }
}

/// Users and what each has said so far.
#[derive(Clone, Debug)]
struct People {
    law: Users,
    thoughts: Rng,
    /// Per user; empty if conversations have one turn, so that nothing has to be kept.
    talks: Vec<Talk>,
    /// Whose a request is, while it is open.
    asked: BTreeMap<u64, u32>,
}

/// A conversation.
#[derive(Clone, Debug, Default)]
struct Talk {
    said: Vec<Segment>,
    turn: u32,
}

impl Generator {
    pub(super) fn new(spec: WorkloadSpec) -> Self {
        let seed = Seed(spec.seed);
        let sampler = |law: &Option<super::Length>, len| match law {
            Some(law) => Sampler::new(law),
            None => Sampler::around(len, spec.range_ratio),
        };
        let trace = spec.trace.as_ref().and_then(|t| {
            let data = t.data.as_ref()?;
            let (from, to) = t.rows(data);
            Some((Arc::clone(data), from, (to - from) as u64))
        });
        let total = u64::from(spec.num_prompts);
        let mut g = Self {
            turnaround: spec.turnaround.unwrap_or(Span::ZERO),
            inputs: seed.stream("input lengths"),
            outputs: seed.stream("output lengths"),
            gaps: seed.stream("arrivals"),
            clock: Clock::new(&spec),
            input: sampler(&spec.input_dist, spec.input_len),
            output: sampler(&spec.output_dist, spec.output_len),
            exact: spec.vllm_bench.then(|| {
                vllm_bench::lengths(
                    spec.num_prompts,
                    spec.input_len,
                    spec.output_len,
                    spec.range_ratio,
                    spec.seed,
                )
            }),
            // Users begin a trace's lengths anew when all were asked.
            total: match (&trace, &spec.users) {
                (Some(t), None) => t.2.min(total),
                _ => total,
            },
            trace,
            users: spec.users.clone().map(|law| {
                let talkers = if law.turns > 1 { law.count } else { 0 };
                Box::new(People {
                    thoughts: seed.stream("think times"),
                    talks: vec![Talk::default(); talkers as usize],
                    asked: BTreeMap::new(),
                    law,
                })
            }),
            pending: BinaryHeap::new(),
            held: None,
            places: Places::new(spec.max_concurrency),
            begin: SimTime::ZERO,
            handed: 0,
            planned: 0,
            spec,
        };
        if g.spec.warmup > 0 {
            g.pending.push(Reverse((SimTime::ZERO, 0)));
        } else {
            g.start(SimTime::ZERO);
        }
        g
    }

    /// Time from the first planned send of the measured requests to the last; `None` where a send follows an answer and
    /// none is planned.
    pub(super) fn planned_span(&self) -> Option<Span> {
        // Its own may have begun.
        let mut clock = Clock::new(&self.spec)?;
        let mut gaps = Seed(self.spec.seed).stream("arrivals");
        let first = clock.next(&mut gaps)?;
        let mut last = first;
        for _ in 1..self.total {
            match clock.next(&mut gaps) {
                Some(since) => last = since,
                None => break,
            }
        }
        Some(Span(last.0.saturating_sub(first.0)))
    }

    /// The measured part begins.
    fn start(&mut self, now: SimTime) {
        self.begin = now;
        if self.clock.is_some() {
            self.draw_arrival();
            return;
        }
        let clients = match (&self.users, self.spec.max_concurrency) {
            (Some(people), _) => people.law.count.into(),
            (None, Some(n)) => n.into(),
            (None, None) => self.total,
        };
        let clients = clients.min(self.total);
        for i in 0..clients {
            let mut at = now + self.spec.send_skew * i;
            if let Some(people) = &mut self.users {
                at += people.law.think.residual(&mut people.thoughts);
            }
            self.pending.push(Reverse((at, i as u32)));
        }
        self.planned = clients;
    }

    /// Plans the next send, if none waits.
    fn draw_arrival(&mut self) {
        let Some(clock) = &mut self.clock else { return };
        if self.held.is_none()
            && self.planned < self.total
            && let Some(since) = clock.next(&mut self.gaps)
        {
            self.planned += 1;
            self.held = Some(self.begin + since);
        }
        self.let_through();
    }

    /// Sends what is held, if there is a place for it.
    fn let_through(&mut self) {
        if let Some(at) = self.held.and_then(|planned| self.places.take(planned)) {
            self.held = None;
            self.pending.push(Reverse((at, 0)));
        }
    }

    /// What request `id` says, and how long its answer may get. `measured`: its number without warm-up.
    fn compose(&mut self, id: u64, measured: Option<u64>, user: u32) -> (Prompt, Answer, u32) {
        if let (Some((trace, from, rows)), Some(k)) = (&self.trace, measured) {
            let k = from + (k % (*rows).max(1)) as usize;
            let row = trace.rows()[k];
            let (own, answer) = self.spec.content(id, row.input);
            if trace.hash_ids(k).is_empty() {
                return (own, answer, row.output);
            }
            let prompt = trace.prompt(k, StreamId(16 + 2 * id));
            return (prompt, answer, row.output);
        }
        let (input, output) = match (&self.exact, measured) {
            (Some(lengths), Some(k)) => {
                let (i, o) = lengths[k as usize];
                (i.max(1), o)
            }
            _ => (
                self.input.draw(&mut self.inputs),
                self.output.draw(&mut self.outputs),
            ),
        };
        let (prompt, answer) = self.spec.content(id, input);
        match (&mut self.users, measured) {
            (Some(people), Some(_)) if !people.talks.is_empty() => {
                let prompt = people.continue_talk(id, user, prompt, answer.stream, output);
                (prompt, answer, output)
            }
            _ => (prompt, answer, output),
        }
    }
}

impl Generator {
    /// The prompt with the request's images behind its text; no two requests have the same ones, unless all prompts are identical.
    fn with_images(&self, id: u64, prompt: Prompt) -> Prompt {
        let Some(images) = &self.spec.images else {
            return prompt;
        };
        let id = match self.spec.prompts {
            PromptKind::Identical => 0,
            _ => id,
        };
        let seen = Segment {
            stream: StreamId(IMAGES + id),
            start: 0,
            len: images.tokens(),
        };
        Prompt::new(prompt.segments().iter().copied().chain([seen]))
    }
}

impl People {
    /// The prompt of a user's next turn: all that was said, and what is `new`.
    fn continue_talk(
        &mut self,
        id: u64,
        user: u32,
        new: Prompt,
        answer: StreamId,
        output: u32,
    ) -> Prompt {
        self.asked.insert(id, user);
        let talk = &mut self.talks[user as usize];
        let said: u64 = talk.said.iter().map(|s| u64::from(s.len)).sum();
        let longest = self.law.max_context.map_or(u64::from(u32::MAX), u64::from);
        if talk.turn >= self.law.turns || said + u64::from(new.len()) + u64::from(output) > longest
        {
            *talk = Talk::default();
        }
        let prompt = if talk.turn == 0 {
            new
        } else {
            // Later turns are the user's own words, even where conversations begin alike.
            let own = Segment {
                stream: StreamId(16 + 2 * id),
                start: 0,
                len: new.len(),
            };
            Prompt::new(talk.said.iter().copied().chain([own]))
        };
        talk.turn += 1;
        talk.said.clear();
        talk.said.extend_from_slice(prompt.segments());
        talk.said.push(Segment {
            stream: answer,
            start: 0,
            len: output,
        });
        prompt
    }
}

impl Source for Generator {
    fn peek(&mut self) -> Option<SimTime> {
        self.pending.peek().map(|Reverse((t, _))| *t)
    }

    fn pop(&mut self) -> Option<Request> {
        let Reverse((arrival, user)) = self.pending.pop()?;
        let id = self.handed;
        self.handed += 1;
        let measured = id.checked_sub(self.spec.warmup.into());
        let (prompt, answer, max_tokens) = self.compose(id, measured, user);
        let prompt = self.with_images(id, prompt);
        if measured.is_some() {
            self.draw_arrival();
        }
        Some(Request {
            id: RequestId(id),
            arrival,
            prompt,
            max_tokens,
            answer,
            priority: 0,
        })
    }

    fn finished(&mut self, id: RequestId, now: SimTime) {
        let next = now + self.turnaround;
        let warmup = u64::from(self.spec.warmup);
        if id.0 + 1 < warmup {
            self.pending.push(Reverse((next, 0)));
        } else if id.0 + 1 == warmup {
            self.start(next);
        } else if self.clock.is_some() {
            self.places.give_back(next);
            self.let_through();
        } else {
            let (mut at, mut user) = (next, 0);
            if let Some(people) = &mut self.users {
                user = people.asked.remove(&id.0).unwrap_or(0);
                if self.planned < self.total {
                    at += people.law.think.draw(&mut people.thoughts);
                }
            }
            if self.planned < self.total {
                self.planned += 1;
                self.pending.push(Reverse((at, user)));
            }
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

    /// Times at which the sends of a load begin, when every answer takes `service` on a server without a queue and
    /// answers are looked at every `step`; and how many requests are open at most.
    fn on_a_free_server(spec: &WorkloadSpec, service: Span, step: Span) -> (Vec<SimTime>, usize) {
        let mut source = spec.source().unwrap();
        let mut open: BinaryHeap<Reverse<(SimTime, u64)>> = BinaryHeap::new();
        let (mut starts, mut most) = (vec![], 0);
        let mut now = SimTime::ZERO;
        while source.peek().is_some() || !open.is_empty() {
            while let Some(Reverse((end, id))) = open.peek().copied()
                && end <= now
            {
                open.pop();
                source.finished(RequestId(id), now);
            }
            while source.peek().is_some_and(|t| t <= now) {
                let r = source.pop().unwrap();
                open.push(Reverse((r.arrival + service, r.id.0)));
                most = most.max(open.len());
                starts.push(r.arrival);
            }
            now += step;
        }
        (starts, most)
    }

    #[test]
    fn a_held_request_is_sent_when_its_place_becomes_free() {
        // Sends planned at 10, 20, … ms; two places; answers after 95 ms are seen at 110 ms and 120 ms, then both at 210.
        let spec = WorkloadSpec {
            max_concurrency: Some(2),
            arrival: Some(super::super::Arrival::Constant),
            ..WorkloadSpec::open_loop(7, 100.0, 10, 10)
        };
        let ms = Span::from_millis;
        let (starts, most) = on_a_free_server(&spec, ms(95), ms(10));
        let at: Vec<u64> = starts.iter().map(|t| t.0 / 1_000_000).collect();
        assert_eq!(at, [10, 20, 110, 120, 210, 220, 310]);
        assert_eq!(most, 2);
        // Two places free in one look: both requests behind them begin then, not at their planned times.
        let (starts, most) = on_a_free_server(&spec, ms(95), ms(150));
        let at: Vec<u64> = starts.iter().map(|t| t.0 / 1_000_000).collect();
        assert_eq!(at, [10, 20, 300, 300, 450, 450, 600]);
        assert_eq!(most, 2);
    }

    #[test]
    fn a_place_that_waits_for_a_request_delays_no_send() {
        let ms = Span::from_millis;
        let planned = WorkloadSpec {
            turnaround: Some(ms(40)),
            ..WorkloadSpec::open_loop(300, 20.0, 10, 10)
        };
        let limited = WorkloadSpec {
            max_concurrency: Some(300),
            ..planned.clone()
        };
        let (free, most) = on_a_free_server(&planned, ms(200), ms(1));
        assert_eq!(on_a_free_server(&limited, ms(200), ms(1)).0, free);
        let tight = WorkloadSpec {
            max_concurrency: Some(most as u32 / 2),
            ..planned.clone()
        };
        let (held, open) = on_a_free_server(&tight, ms(200), ms(1));
        assert_eq!(open, most / 2);
        assert!(held.windows(2).all(|w| w[0] <= w[1]));
        assert!(held.iter().zip(&free).all(|(h, f)| h >= f));
        assert_ne!(held, free);
        let span = free.last().unwrap().since(free[0]);
        assert_eq!(planned.planned_span(), Some(span));
        assert_eq!(tight.planned_span(), Some(span));
        assert_eq!(WorkloadSpec::closed_loop(9, 3, 1, 1).planned_span(), None);
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

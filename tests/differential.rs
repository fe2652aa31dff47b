//! The engine against its slow, obvious twin: bit for bit, in every step, on random loads and on the recorded ones.
//!
//! `CAPSIM_CASES=10000 cargo test --release --test differential` runs more cases than the default.
#[path = "common/naive.rs"]
mod naive;
#[path = "common/queue.rs"]
mod queue;
#[allow(dead_code)]
#[path = "common/replay.rs"]
mod replay;
#[allow(dead_code)]
#[path = "common/scenario.rs"]
mod scenario;

use capsim::cost::{LinearCost, StepCost, StepShape};
use capsim::engine::observe::{FinishReason, Observer, RequestRecord, StepRecord};
use capsim::engine::speculation::{Acceptance, Method, Speculation};
use capsim::engine::{
    EngineConfig, PrefixCounters, Scheduler as _, SchedulingPolicy, SimError, Tracking, simulate,
    vllm,
};
use capsim::rng::{Rng, Seed};
use capsim::units::{SimTime, Span};
use capsim::workload::{Answer, ListSource, Prompt, Request, RequestId, Segment, StreamId};
use naive::Naive;
use rand::RngExt as _;
use replay::Scheduler;
use std::collections::{BTreeMap, VecDeque};

/// A price that tells shapes apart: every field counts.
#[derive(Clone)]
struct Odd(LinearCost, Option<u32>);

impl StepCost for Odd {
    fn step(&self, s: &StepShape) -> Span {
        self.0.step(s)
            + Span(s.decode_context * 7 + s.decode_context_windowed * 3 + s.prefill_pairs)
            + Span(s.prefill_pairs_windowed * 2 + s.prefill_context + u64::from(s.sampled) * 1001)
            + Span(u64::from(s.distinct_tokens) * 5003)
    }
    fn attention_window(&self) -> Option<u32> {
        self.1
    }
    fn wants_distinct_tokens(&self) -> bool {
        true
    }
}

struct Case {
    config: EngineConfig,
    requests: Vec<Request>,
    /// (iteration, id)
    aborts: Vec<(u64, u64)>,
    window: Option<u32>,
}

fn one_of<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())]
}

fn random_case(seed: u64) -> Case {
    let rng = &mut Seed(seed).stream("differential");
    let block_size = one_of(rng, &[1, 2, 3, 4, 8, 16, 32]);
    let max_model_len: u32 = rng.random_range(20..160);
    let max_num_seqs = rng.random_range(1..14);
    let chunked = rng.random_bool(0.8);
    let low = if chunked {
        max_num_seqs
    } else {
        max_model_len.max(max_num_seqs)
    };
    // At least one request of full length fits, so that all end.
    let enable_prefix_caching = rng.random_bool(0.7);
    // States of recurrent layers.
    let state_blocks = if rng.random_bool(0.6) {
        0
    } else {
        rng.random_range(1..5)
    };
    let least = max_model_len.div_ceil(block_size) + state_blocks + 2;
    let config = EngineConfig {
        // The first release with each set of rules.
        version: one_of(
            rng,
            &[
                "0.12.0", "0.19.0", "0.24.0", "0.27.0", "0.28.0", "0.31.0", "0.33.0",
            ],
        )
        .parse()
        .unwrap(),
        block_size,
        num_gpu_blocks: least + one_of(rng, &[0, 1, 3, 10, 40, 400]),
        max_num_seqs,
        max_num_batched_tokens: low + rng.random_range(0..200),
        max_model_len,
        enable_chunked_prefill: chunked,
        enable_prefix_caching,
        state_blocks,
        long_prefill_token_threshold: if rng.random_bool(0.3) {
            rng.random_range(1..40)
        } else {
            0
        },
        policy: if rng.random_bool(0.3) {
            SchedulingPolicy::Priority
        } else {
            SchedulingPolicy::Fcfs
        },
        async_scheduling: rng.random_bool(0.4),
        pipeline_stages: 1,
        speculation: None,
        scheduler_reserve_full_isl: one_of(rng, &[None, None, Some(false), Some(true)]),
        ..EngineConfig::default()
    };
    let n = rng.random_range(1..40u64);
    let identical = rng.random_bool(0.3);
    let mut at = 0u64;
    let requests: Vec<Request> = (0..n)
        .map(|id| {
            // Bursts, and pauses long enough to empty the engine.
            at += one_of(rng, &[0, 0, 0, 1, 30_000, 200_000, 3_000_000]);
            let len = rng.random_range(1..max_model_len.min(100));
            let shared = rng.random_range(0..=len);
            let common = StreamId(rng.random_range(0..3));
            let (prompt, stream) = if identical {
                let len = 1 + (max_model_len.min(60) - 2) * rng.random_range(1..=2) / 2;
                (
                    Prompt::of_stream(StreamId(0), len),
                    1_000_000 + u64::from(len),
                )
            } else {
                let own = Segment {
                    stream: StreamId(100 + id),
                    start: 0,
                    len: len - shared,
                };
                let same = Segment {
                    stream: common,
                    start: 0,
                    len: shared,
                };
                (Prompt::new([same, own]), 2_000_000 + id)
            };
            let max_tokens = rng.random_range(1..80);
            Request {
                id: RequestId(id),
                arrival: SimTime(at),
                prompt,
                max_tokens,
                // Equal prompts with equal answers must end alike to stay one computation.
                answer: Answer {
                    stream: StreamId(stream),
                    stop_at: (!identical && rng.random_bool(0.4))
                        .then(|| rng.random_range(0..max_tokens)),
                },
                priority: rng.random_range(0..3),
            }
        })
        .collect();
    let mut aborts = vec![];
    if rng.random_bool(0.3) {
        for id in 0..n {
            if rng.random_bool(0.2) {
                aborts.push((rng.random_range(0..120), id));
            }
        }
    }
    let window = rng.random_bool(0.4).then(|| rng.random_range(1..60));
    Case {
        config,
        requests,
        aborts,
        window,
    }
}

/// Steps both engines through the case and compares everything that can be seen.
///
/// The recorded loads quote answers of requests that are still running, which no client can do: such a token counts as
/// computed twice in the engine's shape, and `distinct` is then left out.
fn lockstep(case: &Case, what: &str, distinct: bool) {
    let c = &case.config;
    let tracking = Tracking {
        distinct_tokens: true,
        window: case.window,
        tokens: false,
        images: None,
    };
    let mut fast = vllm::Scheduler::new(c.clone(), tracking).unwrap();
    fast.record_blocks();
    let mut slow = Naive::new(c.clone());
    slow.window = case.window.map_or(u64::MAX, u64::from);
    let mut arrivals: VecDeque<Request> = case.requests.clone().into();
    let mut aborts = case.aborts.clone();
    aborts.sort_unstable();
    let mut aborts: VecDeque<_> = aborts.into();
    let (mut t, mut idle, mut fruitless) = (0u64, 0, 0);
    while !arrivals.is_empty() || slow.has_work() {
        let at = format!("{what}, iteration {t}");
        let now = SimTime(t * 1000);
        while arrivals.front().is_some_and(|r| r.arrival.0 / 10_000 <= t) {
            let r = arrivals.pop_front().unwrap();
            slow.submit(r.clone());
            fast.submit(r).unwrap();
        }
        while aborts.front().is_some_and(|(i, _)| *i <= t) {
            let (_, id) = aborts.pop_front().unwrap();
            slow.abort(id);
            let gone = fast.abort(RequestId(id));
            assert_eq!(Vec::from_iter(gone), slow.ended, "{at}: aborted");
            slow.ended.clear();
        }
        t += 1;
        let before = slow.in_flight.len();
        let only = |s: StepShape| StepShape {
            distinct_tokens: if distinct { s.distinct_tokens } else { 0 },
            ..s
        };
        let want = slow.schedule(now).then(|| only(slow.shape()));
        fruitless = match want {
            Some(s) if s.sampled == 0 => fruitless + 1,
            Some(_) => 0,
            None => fruitless,
        };
        if fruitless > patience(c) {
            return;
        }
        let step = fast.schedule(now);
        assert_eq!(step.shape.copied().map(only), want, "{at}: shape");
        let ids = |v: &[RequestId]| v.iter().map(|r| r.0).collect::<Vec<_>>();
        assert_eq!(ids(step.admitted), slow.new, "{at}: new");
        assert_eq!(ids(step.resumed), slow.resumed, "{at}: resumed");
        assert_eq!(ids(step.preempted), slow.preempted, "{at}: preempted");
        if want.is_some() {
            let batch: Vec<_> = fast
                .batch()
                .iter()
                .map(|s| (s.id.0, s.tokens, s.computed))
                .collect();
            let twin: Vec<_> = slow
                .in_flight
                .back()
                .unwrap()
                .iter()
                .map(|e| (e.id, e.tokens, e.computed))
                .collect();
            assert_eq!(batch, twin, "{at}: batch");
        }
        let attached: BTreeMap<u64, Vec<u32>> = replay::attached(&fast);
        assert_eq!(attached, slow.attached, "{at}: blocks attached");
        compare(&fast, &slow, &at);
        if !(c.async_scheduling && want.is_some() && before == 0) {
            let done = slow.process_output(SimTime(t * 1000));
            let output = fast.complete(SimTime(t * 1000));
            assert_eq!(output.is_some(), done, "{at}: output");
            let ended = output.map_or(vec![], |o| o.finished.to_vec());
            assert_eq!(ended, slow.ended, "{at}: ended");
            slow.ended.clear();
            let mut gaps: Vec<Span> = output.map_or(vec![], |o| expand(o.inter_token_gaps));
            let mut twin = slow.gaps.clone();
            gaps.sort();
            twin.sort();
            assert_eq!(gaps, twin, "{at}: gaps");
            compare(&fast, &slow, &at);
            idle = if done || !slow.preempted.is_empty() {
                0
            } else {
                idle + 1
            };
        }
        assert!(idle < 100_000, "{at}: nothing goes on");
    }
    assert_eq!(fast.prefix_counters(), slow.counters, "{what}: counters");
    let drafts = fast.speculation_counters();
    assert_eq!(
        (drafts.drafts, drafts.draft_tokens, drafts.accepted_tokens),
        slow.verified,
        "{what}: drafts"
    );
    assert_eq!(
        fast.free_queue(),
        Vec::from(slow.free.clone()),
        "{what}: free queue"
    );
    // Conservation: all blocks are back.
    assert_eq!(
        slow.free.len() as u32,
        c.num_gpu_blocks - 1,
        "{what}: blocks"
    );
}

fn expand(gaps: &[(Span, u32)]) -> Vec<Span> {
    gaps.iter()
        .flat_map(|&(g, n)| std::iter::repeat_n(g, n as usize))
        .collect()
}

fn compare(fast: &vllm::Scheduler, slow: &Naive, at: &str) {
    let state = fast.state();
    assert_eq!(state.running as usize, slow.running.len(), "{at}: running");
    assert_eq!(state.waiting as usize, slow.num_waiting(), "{at}: waiting");
    assert_eq!(
        fast.distinct_cached_blocks(),
        slow.distinct_cached(),
        "{at}: cached"
    );
    assert_eq!(
        fast.free_queue(),
        Vec::from(slow.free.clone()),
        "{at}: free queue"
    );
    for id in &slow.running {
        assert_eq!(
            fast.block_table(RequestId(*id)).unwrap(),
            slow.reqs[id].blocks,
            "{at}: blocks of {id}"
        );
    }
}

impl Scheduler for Naive {
    fn submit(&mut self, request: Request) -> Result<(), String> {
        Naive::submit(self, request);
        Ok(())
    }
    fn abort(&mut self, id: RequestId) {
        Naive::abort(self, id.0)
    }
    fn has_work(&self) -> bool {
        Naive::has_work(self)
    }
    fn num_running(&self) -> u64 {
        self.running.len() as u64
    }
    fn num_waiting(&self) -> u64 {
        Naive::num_waiting(self) as u64
    }
    fn batches_in_flight(&self) -> usize {
        self.in_flight.len()
    }
    fn free_queue(&self) -> Vec<u32> {
        self.free.clone().into()
    }
    fn distinct_cached(&self) -> u64 {
        Naive::distinct_cached(self) as u64
    }
    fn counters(&self) -> PrefixCounters {
        self.counters
    }
    fn schedule(&mut self, now: SimTime) -> bool {
        Naive::schedule(self, now)
    }
    fn batch(&self) -> Vec<(u64, u32, u32)> {
        let all = self.in_flight.back().unwrap();
        all.iter().map(|e| (e.id, e.tokens, e.computed)).collect()
    }
    fn moved(&self) -> [Vec<u64>; 3] {
        [&self.new, &self.resumed, &self.preempted].map(Clone::clone)
    }
    fn attached(&self) -> BTreeMap<u64, Vec<u32>> {
        self.attached.clone()
    }
    fn process_output(&mut self, now: SimTime) -> bool {
        Naive::process_output(self, now)
    }
    fn take_records(&mut self) -> Vec<RequestRecord> {
        std::mem::take(&mut self.ended)
    }
}

#[derive(Default, Debug, PartialEq)]
struct Log {
    steps: Vec<(SimTime, Span, StepShape, u32)>,
    gaps: Vec<Span>,
    ended: Vec<RequestRecord>,
}

impl Observer for Log {
    fn on_step(&mut self, s: &StepRecord) {
        self.steps.push((s.start, s.duration, s.shape, s.preempted));
    }
    fn on_tokens(&mut self, gap: Span, count: u32) {
        self.gaps.extend(std::iter::repeat_n(gap, count as usize));
    }
    fn on_request(&mut self, r: &RequestRecord) {
        self.ended.push(*r);
    }
}

/// The event loop written out over the twin.
/// `None` if the rules themselves lead round in circles: two requests of equal priority and arrival may preempt each other
/// for ever, in vLLM as here.
fn naive_loop(case: &Case, cost: &Odd) -> Option<Log> {
    let c = &case.config;
    let mut log = Log::default();
    let mut slow = Naive::new(c.clone());
    slow.window = case.window.map_or(u64::MAX, u64::from);
    let mut arrivals: VecDeque<Request> = case.requests.clone().into();
    arrivals.make_contiguous().sort_by_key(|r| r.arrival);
    let (mut now, mut device) = (SimTime::ZERO, SimTime::ZERO);
    let mut fruitless = 0;
    let mut flights: VecDeque<(SimTime, SimTime, StepShape, u32)> = VecDeque::new();
    loop {
        while arrivals.front().is_some_and(|r| r.arrival <= now) {
            let r = arrivals.pop_front().unwrap();
            if r.prompt.len() + r.max_tokens <= c.max_model_len {
                slow.submit(r);
            }
        }
        if !slow.has_work() {
            match arrivals.front() {
                None => return Some(log),
                Some(r) => now = r.arrival,
            }
            continue;
        }
        let first = flights.is_empty();
        let shape = slow.schedule(now).then(|| slow.shape());
        if let Some(shape) = shape {
            let start = now.max(device);
            device = start + cost.step(&shape);
            flights.push_back((start, device, shape, slow.preempted.len() as u32));
        }
        if c.async_scheduling && shape.is_some() && first {
            continue;
        }
        match flights.pop_front() {
            Some((start, end, shape, preempted)) => {
                now = end;
                slow.process_output(now);
                log.steps.push((start, end.since(start), shape, preempted));
                log.gaps.extend(&slow.gaps);
                log.ended.append(&mut slow.ended);
                fruitless = if shape.sampled > 0 { 0 } else { fruitless + 1 };
                if fruitless > patience(c) {
                    return None;
                }
            }
            None => assert!(!slow.preempted.is_empty(), "the twin is stuck"),
        }
    }
}

/// As the event loop's: steps without an output token after which nothing will come any more.
fn patience(c: &EngineConfig) -> u64 {
    1_000 + 8 * u64::from(c.max_model_len)
}

fn in_time(case: &Case, what: &str) {
    let cost = Odd(
        LinearCost {
            base: Span(40_000),
            per_token: Span(900),
            per_seq: Span(2_000),
        },
        case.window,
    );
    let slow = naive_loop(case, &cost);
    let mut fast = Log::default();
    let mut source = ListSource::new(case.requests.clone());
    let result = simulate(&case.config, &cost, &mut source, &mut fast);
    let Some(mut slow) = slow else {
        assert!(
            matches!(result, Err(SimError::Stuck { .. })),
            "{what}: {result:?}"
        );
        return;
    };
    result.unwrap();
    fast.gaps.sort();
    slow.gaps.sort();
    assert_eq!(fast, slow, "{what}: event loop");
}

/// Stages that differ, and a way between them.
struct Staged(Odd);

impl StepCost for Staged {
    fn step(&self, s: &StepShape) -> Span {
        self.0.step(s)
    }
    fn stage(&self, stage: usize, shapes: &[StepShape], _: bool) -> Span {
        let one = self.0.step(&shapes[0]);
        Span(one.0 * [3, 2, 5, 1][stage % 4] / 3) + Span(stage as u64 * 1_000)
    }
    fn hop(&self, to: usize, shapes: &[StepShape]) -> Span {
        Span(7_000 * to as u64 + 13 * u64::from(shapes[0].tokens()))
    }
    fn attention_window(&self) -> Option<u32> {
        self.0.attention_window()
    }
    fn wants_distinct_tokens(&self) -> bool {
        true
    }
}

/// Pipelines of two to four stages, synchronous or not, against the queue of batches written out. How many steps began while another batch
/// was in flight, and how many requests were preempted.
fn through_stages(seed: u64) -> (usize, u64) {
    let mut case = random_case(seed);
    case.config.pipeline_stages = 2 + (seed % 3) as u32;
    let cost = Staged(Odd(
        LinearCost {
            base: Span(40_000),
            per_token: Span(900),
            per_seq: Span(2_000),
        },
        case.window,
    ));
    let slow = queue::run(&case, &cost);
    let mut fast = Log::default();
    let mut source = ListSource::new(case.requests.clone());
    let result = simulate(&case.config, &cost, &mut source, &mut fast);
    let Some(mut slow) = slow else {
        assert!(matches!(result, Err(SimError::Stuck { .. })), "seed {seed}");
        return (0, 0);
    };
    let preemptions = result.unwrap().preemptions;
    fast.gaps.sort();
    slow.gaps.sort();
    assert_eq!(fast, slow, "seed {seed}, {:?}", case.config);
    let together = |w: &[(SimTime, Span, StepShape, u32)]| {
        let work = cost.step(&w[1].2);
        w[1].0.since(SimTime::ZERO) < w[0].0.since(SimTime::ZERO) + w[0].1 + work
    };
    let overlapped = fast.steps.windows(2).filter(|w| together(w)).count();
    (overlapped, preemptions)
}

#[test]
fn pipelines_give_the_same_times_as_the_queue_written_out() {
    let (mut overlapped, mut preemptions) = (0, 0);
    for seed in first()..first() + cases() {
        let (o, p) = through_stages(seed);
        overlapped += o;
        preemptions += p;
    }
    assert!(
        overlapped > 100 && preemptions > 20,
        "{overlapped} {preemptions}"
    );
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test may be told to start elsewhere"
)]
fn first() -> u64 {
    std::env::var("CAPSIM_FIRST_CASE")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test may be told to run longer"
)]
fn cases() -> u64 {
    std::env::var("CAPSIM_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(300)
}

/// A random case with drafts of a random method.
fn drafted_case(seed: u64) -> Case {
    let mut case = random_case(seed);
    let rng = &mut Seed(seed).stream("drafts");
    let tokens = rng.random_range(1..6);
    let computed = tokens + one_of(rng, &[0, 0, 0, 2]);
    let shares: Vec<f64> = (0..3).map(|i| 0.9 - 0.25 * f64::from(i)).collect();
    let c = &mut case.config;
    // N-gram drafts need the output first.
    let ngram = rng.random_bool(0.3);
    c.async_scheduling &= !ngram;
    let draft_slots = if ngram {
        0
    } else {
        one_of(rng, &[0, 0, 1, tokens])
    };
    c.max_num_batched_tokens += draft_slots * c.max_num_seqs + draft_slots + computed;
    c.speculation = Some(Speculation {
        method: if ngram { Method::Ngram } else { Method::Eagle3 },
        tokens,
        computed,
        lookahead: if ngram {
            0
        } else {
            one_of(rng, &[0, tokens, tokens + 1])
        },
        drops_last_block: !ngram && rng.random_bool(0.5),
        draft_slots,
        acceptance: match rng.random_range(0..5) {
            0 => Acceptance::constant(0.0),
            1 => Acceptance::constant(1.0),
            2 => Acceptance::recorded("0 3 1 2 2 0 1").unwrap(),
            _ => Acceptance::per_position(&shares),
        },
        drafted: Acceptance::share(if ngram { 0.6 } else { 1.0 }),
        key: seed,
    });
    case
}

#[test]
fn drafts_are_scheduled_and_verified_as_the_slow_twin_does() {
    for seed in 0..cases() {
        lockstep(&drafted_case(seed), &format!("drafted case {seed}"), true);
    }
}

#[test]
fn random_loads_give_the_same_decisions_as_the_twin() {
    for seed in first()..first() + cases() {
        lockstep(&random_case(seed), &format!("seed {seed}"), true);
    }
}

#[test]
fn random_loads_give_the_same_times_as_the_twin() {
    for seed in first()..first() + cases() {
        in_time(&random_case(seed), &format!("seed {seed}"));
    }
}

#[test]
fn the_random_cases_reach_what_they_are_meant_to_reach() {
    // A differential test that never preempts, hits or lets requests coincide would prove little.
    let (mut preempted, mut hits, mut lockstep, mut stops) = (0, 0, 0, 0);
    for seed in 0..200 {
        let case = random_case(seed);
        let mut log = Log::default();
        let mut source = ListSource::new(case.requests.clone());
        let cost = Odd(
            LinearCost {
                base: Span(40_000),
                ..LinearCost::default()
            },
            None,
        );
        let s = simulate(&case.config, &cost, &mut source, &mut log).unwrap();
        preempted += u64::from(s.preemptions > 0);
        hits += u64::from(s.prefix.hits > 0);
        lockstep += u64::from(log.steps.iter().any(|s| s.2.distinct_tokens < s.2.tokens()));
        stops += log
            .ended
            .iter()
            .filter(|e| e.reason == FinishReason::Stop)
            .count() as u64;
    }
    assert!(
        preempted > 20 && hits > 20 && lockstep > 10 && stops > 100,
        "{preempted} {hits} {lockstep} {stops}"
    );
}

#[test]
fn the_twin_agrees_on_the_recorded_loads() {
    for folder in ["vllm-scheduler-0.12.0", "vllm-scheduler-0.33.0"] {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data")
            .join(folder);
        let mut seen = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let s = scenario::read(&path).unwrap();
            // The largest scenarios are too slow for token-by-token histories.
            if s.requests.len() > 80 || s.steps.len() > 1500 {
                continue;
            }
            let mut streams = replay::Streams::default();
            let requests = s
                .requests
                .iter()
                .map(|r| Request {
                    arrival: SimTime(r.arrival_step.unwrap_or(0) * 10_000),
                    ..replay::request(r, &mut streams)
                })
                .collect();
            let aborts = s
                .requests
                .iter()
                .filter_map(|r| Some((r.abort_step?, r.id)))
                .collect();
            let case = Case {
                config: replay::config(&s).unwrap(),
                requests,
                aborts,
                window: None,
            };
            lockstep(&case, &s.name, false);
            seen += 1;
        }
        assert!(seen > 30, "{seen} of {folder}");
    }
}

/// Every recorded scenario below a folder of tests/data.
fn recorded(folder: &str) -> Vec<std::path::PathBuf> {
    fn walk(dir: &std::path::Path, all: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, all);
            } else if path.extension().is_some_and(|e| e == "json") {
                all.push(path);
            }
        }
    }
    let mut all = vec![];
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    walk(&data.join(folder), &mut all);
    all
}

#[test]
fn the_twin_itself_makes_every_recorded_decision() {
    // Without this the engine and its twin could agree on the same mistake.
    for (folder, least) in [
        ("vllm-scheduler-0.12.0", 58),
        ("vllm-scheduler-0.33.0", 58),
        ("vllm-scheduler-between", 90),
    ] {
        let all = recorded(folder);
        assert!(all.len() >= least, "{} scenarios in {folder}", all.len());
        for path in all {
            let s = scenario::read(&path).unwrap();
            if let Err(d) = replay::replay_with(&s, |config| Ok(Naive::new(config))) {
                panic!("{}: {d}", path.display());
            }
        }
    }
}

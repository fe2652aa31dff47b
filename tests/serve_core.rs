//! The served engine under a clock of our own is the simulator, batch by batch.
#![cfg(feature = "http")]
use capsim::cost::{LinearCost, StepShape};
use capsim::device::Scheduler;
use capsim::engine::observe::{FinishReason, Observer, RequestRecord, StepRecord};
use capsim::engine::{
    Batcher, EngineConfig, SimError, SimSummary, simulate, simulate_radix, simulate_slots, start,
};
use capsim::serve::core::Core;
use capsim::units::{SimTime, Span};
use capsim::workload::{ListSource, Request, RequestId, Source, WorkloadSpec};
use std::collections::BTreeMap;

#[derive(Default)]
struct Log {
    steps: Vec<(SimTime, SimTime, StepShape)>,
    records: Vec<RequestRecord>,
}

impl Observer for Log {
    fn on_step(&mut self, s: &StepRecord) {
        self.steps.push((s.start, s.start + s.duration, s.shape));
    }
    fn on_request(&mut self, r: &RequestRecord) {
        self.records.push(*r);
    }
}

/// As the engine's thread, but time passes at once.
fn serve(
    scheduler: Scheduler,
    config: &EngineConfig,
    cost: LinearCost,
    requests: &[Request],
) -> (Log, BTreeMap<u64, u32>) {
    let mut core = Core::new(scheduler, config.clone(), cost, 1.0).unwrap();
    let mut waiting = requests.iter().cloned().peekable();
    let mut log = Log::default();
    let mut tokens = BTreeMap::new();
    let mut now = SimTime::ZERO;
    loop {
        while let Some(r) = waiting.next_if(|r| r.arrival <= now) {
            core.submit(r).unwrap();
        }
        match core.advance(now) {
            Some(due) => {
                let flight = core.complete().unwrap();
                assert_eq!(flight.end, due);
                now = due;
                log.steps.push((flight.start, flight.end, flight.shape));
                for id in core.engine().tokens() {
                    *tokens.entry(id.0).or_insert(0) += 1;
                }
                log.records.extend_from_slice(core.engine().records());
                core.clear();
            }
            None => match waiting.peek() {
                Some(r) => now = now.max(r.arrival),
                None => break,
            },
        }
    }
    (log, tokens)
}

const COST: LinearCost = LinearCost {
    base: Span::from_millis(3),
    per_token: Span::from_micros(20),
    per_seq: Span::from_micros(100),
};

/// Poisson arrivals of requests that share the beginning of their prompts.
fn load(seed: u64) -> Vec<Request> {
    let mut spec = WorkloadSpec::open_loop(150, 25.0, 60, 50);
    spec.range_ratio = 0.8;
    spec.seed = seed;
    spec.prompts = capsim::workload::PromptKind::SharedPrefix;
    spec.shared_prefix_len = 32;
    let mut source = spec.source().unwrap();
    let mut requests = vec![];
    while let Some(r) = source.pop() {
        requests.push(r);
    }
    requests.sort_by_key(|r| r.arrival);
    assert_eq!(requests.len(), 150);
    requests
}

/// The simulator of the same rules.
fn simulated(
    scheduler: Scheduler,
    config: &EngineConfig,
    requests: &[Request],
) -> Result<(SimSummary, Log), SimError> {
    let mut log = Log::default();
    let mut source = ListSource::new(requests.to_vec());
    let summary = match scheduler {
        Scheduler::Vllm => simulate(config, &COST, &mut source, &mut log),
        Scheduler::LlamaServer => simulate_slots(config, &COST, &mut source, &mut log),
        Scheduler::Sglang => simulate_radix(config, &COST, &mut source, &mut log),
    }?;
    Ok((summary, log))
}

#[test]
fn the_same_open_loop_gives_the_same_batches() {
    use Scheduler::{LlamaServer, Sglang, Vllm};
    let mut preempted = [0, 0];
    let mut hits = [0, 0, 0];
    for (round, (scheduler, block_size, blocks, version, async_scheduling, caching)) in [
        (Vllm, 16, 4000, "0.12.0", false, true),
        (Vllm, 16, 40, "0.12.0", false, true),
        (Vllm, 16, 40, "0.12.0", false, false),
        (Vllm, 16, 4000, "0.19.0", true, true),
        (Vllm, 16, 45, "0.33.0", true, true),
        (Vllm, 16, 45, "0.12.0", true, false),
        (LlamaServer, 16, 12 * 32 + 1, "0.12.0", false, true),
        (LlamaServer, 16, 12 * 32 + 1, "0.12.0", false, false),
        (Sglang, 1, 60_000, "0.12.0", true, true),
        (Sglang, 1, 600, "0.12.0", true, true),
        (Sglang, 1, 600, "0.12.0", true, false),
    ]
    .into_iter()
    .enumerate()
    {
        let config = EngineConfig {
            version: version.parse().unwrap(),
            block_size,
            num_gpu_blocks: blocks,
            max_num_seqs: 12,
            max_num_batched_tokens: 96,
            max_model_len: 512,
            async_scheduling,
            enable_prefix_caching: caching,
            ..EngineConfig::default()
        };
        let mut requests = load(round as u64);
        if scheduler == Sglang {
            // Long answers are promised by a part only, so that the cache overflows.
            requests.iter_mut().for_each(|r| r.max_tokens *= 4);
        }
        let (summary, want) = simulated(scheduler, &config, &requests).unwrap();
        preempted[usize::from(scheduler == Sglang)] += summary.preemptions;
        hits[scheduler as usize] += summary.prefix.hits;
        let (got, tokens) = serve(scheduler, &config, COST, &requests);
        assert_eq!(got.steps, want.steps, "round {round}");
        assert_eq!(got.records, want.records, "round {round}");
        // Every token was announced once, to whom it belongs.
        for r in &got.records {
            assert_eq!(tokens[&r.id.0], r.output_tokens, "round {round}");
        }
        assert_eq!(tokens.len(), 150);
    }
    assert!(preempted[0] > 10, "the tight rounds preempt");
    assert!(preempted[1] > 0, "and retract");
    assert!(hits.iter().all(|h| *h > 1000), "prompts share: {hits:?}");
}

/// The three engines decide differently: that each is held against its own simulator says something.
#[test]
fn a_profile_of_another_engine_is_not_served_by_vllms_rules() {
    let config = EngineConfig {
        num_gpu_blocks: 12 * 32 + 1,
        max_num_seqs: 12,
        max_num_batched_tokens: 96,
        max_model_len: 512,
        ..EngineConfig::default()
    };
    let requests = load(3);
    let logs = [Scheduler::Vllm, Scheduler::LlamaServer, Scheduler::Sglang]
        .map(|s| serve(s, &config, COST, &requests).0.steps);
    assert_ne!(logs[0], logs[1]);
    assert_ne!(logs[0], logs[2]);
    assert_ne!(logs[1], logs[2]);
}

/// Clients leave at any time, also while their batch is computed: they get nothing more, everybody else gets all, and nothing
/// stays behind.
#[test]
fn those_who_leave_are_gone_and_nobody_else_notices() {
    for scheduler in [Scheduler::Vllm, Scheduler::LlamaServer, Scheduler::Sglang] {
        for seed in 0..20u64 {
            let config = EngineConfig {
                block_size: if scheduler == Scheduler::Sglang {
                    1
                } else {
                    16
                },
                num_gpu_blocks: if scheduler == Scheduler::Sglang {
                    600
                } else {
                    65
                },
                max_num_seqs: 6,
                max_num_batched_tokens: 40,
                max_model_len: 256,
                ..EngineConfig::default()
            };
            let mut engine: Box<dyn Batcher + Send> = start(scheduler, config).unwrap();
            engine.track(true, Some(64));
            engine.record_tokens();
            let free = engine.free_blocks();
            let mut rest: Vec<Request> = load(seed).into_iter().take(40).rev().collect();
            let asked: BTreeMap<u64, u32> = rest.iter().map(|r| (r.id.0, r.max_tokens)).collect();
            let mut tokens: BTreeMap<u64, u32> = BTreeMap::new();
            let mut left: Vec<u64> = vec![];
            let mut ended: BTreeMap<u64, FinishReason> = BTreeMap::new();
            let mut chance = seed;
            let mut now = SimTime::ZERO;
            let mut steps = 0;
            let mut leave = |engine: &mut Box<dyn Batcher + Send>,
                             ended: &BTreeMap<u64, FinishReason>,
                             left: &mut Vec<u64>| {
                chance = chance
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                if (chance >> 33).is_multiple_of(5) {
                    let open: Vec<u64> = asked
                        .keys()
                        .filter(|id| !ended.contains_key(id))
                        .copied()
                        .collect();
                    if let Some(id) = open.get((chance >> 40) as usize % open.len().max(1)) {
                        // Those not there yet are nobody to it.
                        engine.abort(RequestId(*id));
                        left.push(*id);
                    }
                }
            };
            loop {
                if let Some(r) = rest.pop() {
                    engine.submit(r).unwrap();
                } else if !engine.has_work() {
                    break;
                }
                leave(&mut engine, &ended, &mut left);
                let formed = engine.schedule(now);
                now += Span::from_millis(1);
                leave(&mut engine, &ended, &mut left);
                if formed {
                    engine.process_output(now);
                    for id in engine.tokens() {
                        *tokens.entry(id.0).or_insert(0) += 1;
                        assert!(!ended.contains_key(&id.0), "{scheduler:?} {seed}: {id:?}");
                    }
                }
                for r in engine.records() {
                    let twice = ended.insert(r.id.0, r.reason);
                    assert_eq!(twice, None, "{scheduler:?} {seed}");
                    let got = tokens.get(&r.id.0).copied().unwrap_or(0);
                    assert_eq!(got, r.output_tokens, "{scheduler:?} {seed}");
                    if r.reason == FinishReason::Abort {
                        assert!(left.contains(&r.id.0));
                    } else {
                        assert_eq!(r.output_tokens, asked[&r.id.0], "{scheduler:?} {seed}");
                    }
                }
                engine.clear_records();
                steps += 1;
                assert!(steps < 100_000, "{scheduler:?} {seed}: no end");
            }
            assert_eq!(ended.len(), 40, "{scheduler:?} {seed}");
            assert!(ended.values().any(|r| *r == FinishReason::Abort));
            assert!(ended.values().any(|r| *r == FinishReason::Length));
            assert_eq!(engine.free_blocks(), free, "{scheduler:?} {seed}");
            assert_eq!((engine.num_running(), engine.num_waiting()), (0, 0));
            assert!(engine.reset_prefix_cache(), "{scheduler:?} {seed}");
        }
    }
}

#[test]
fn a_speedup_shortens_every_step() {
    let config = EngineConfig::default();
    let cost = LinearCost {
        base: Span::from_millis(10),
        ..LinearCost::default()
    };
    let mut core = Core::new(Scheduler::Vllm, config, cost, 4.0).unwrap();
    let request = WorkloadSpec::closed_loop(1, 1, 10, 2)
        .source()
        .unwrap()
        .pop()
        .unwrap();
    core.submit(request).unwrap();
    assert_eq!(core.advance(SimTime(5)), Some(SimTime(2_500_005)));
    core.complete();
    assert_eq!(core.advance(SimTime(2_500_005)), Some(SimTime(5_000_005)));
    core.complete();
    assert_eq!(core.advance(SimTime(5_000_005)), None);
}

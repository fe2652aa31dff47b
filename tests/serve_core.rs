//! The runtime moved as the server moves it, under a clock of the test's own, is the simulation, batch by batch.
use capsim::cost::{LinearCost, StepShape};
use capsim::device::EngineId;
use capsim::engine::observe::{FinishReason, Observer, RequestRecord, StepRecord};
use capsim::engine::{EngineConfig, Group, Router, Runtime, Scheduler, SimSummary, Tracking, kind};
use capsim::units::{SimTime, Span};
use capsim::workload::{ListSource, Request, RequestId, Source, WorkloadSpec};
use std::collections::BTreeMap;

#[derive(Default)]
struct Log {
    steps: Vec<(SimTime, SimTime, StepShape)>,
    records: Vec<RequestRecord>,
    tokens: BTreeMap<u64, u32>,
}

impl Observer for Log {
    fn wants_output(&self) -> bool {
        true
    }
    fn on_output(&mut self, _: SimTime, tokens: &[RequestId]) {
        for id in tokens {
            *self.tokens.entry(id.0).or_insert(0) += 1;
        }
    }
    fn on_step(&mut self, s: &StepRecord) {
        self.steps.push((s.start, s.start + s.duration, s.shape));
    }
    fn on_request(&mut self, r: &RequestRecord) {
        self.records.push(*r);
    }
}

/// As the engine's thread, but time passes at once.
fn serve(engine: EngineId, config: &EngineConfig, group: Group, requests: &[Request]) -> Log {
    let mut runtime = Runtime::new(engine, config, group, COST, true).unwrap();
    let mut waiting = requests.iter().cloned().peekable();
    let mut log = Log::default();
    let mut now = SimTime::ZERO;
    loop {
        while let Some(r) = waiting.next_if(|r| r.arrival <= now) {
            runtime.submit(r).unwrap();
        }
        let due = runtime.advance(now, &mut log);
        let arrival = waiting.peek().map(|r| r.arrival);
        match (due, arrival) {
            (Some(due), Some(at)) if at < due && group.engines > 1 => now = at,
            (Some(due), _) => {
                now = due;
                assert!(runtime.complete(now, &mut log).is_some());
                while runtime.complete(now, &mut log).is_some() {}
            }
            (None, Some(at)) => now = now.max(at),
            (None, None) => break,
        }
    }
    assert!(!runtime.has_work());
    log
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

fn simulated(
    engine: EngineId,
    config: &EngineConfig,
    group: Group,
    requests: &[Request],
) -> (SimSummary, Log) {
    let mut log = Log::default();
    let mut source = ListSource::new(requests.to_vec());
    let runtime = Runtime::new(engine, config, group, COST, true).unwrap();
    let summary = runtime.run(&mut source, &mut log).unwrap();
    (summary, log)
}

#[test]
fn the_same_open_loop_gives_the_same_batches() {
    use EngineId::{LlamaServer, Sglang, Vllm};
    let mut preempted = [0, 0];
    let mut hits = [0, 0, 0];
    for (round, (engine, block_size, blocks, version, async_scheduling, caching)) in [
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
        if engine == Sglang {
            // Long answers are promised by a part only, so that the cache overflows.
            requests.iter_mut().for_each(|r| r.max_tokens *= 4);
        }
        for (engines, lockstep) in [(1, false), (3, false), (3, true)] {
            let what = format!("round {round}, {engines} engines, lock-step {lockstep}");
            let group = Group {
                engines,
                lockstep,
                router: Router::LeastLoaded,
            };
            let (summary, want) = simulated(engine, &config, group, &requests);
            preempted[usize::from(engine == Sglang)] += summary.preemptions;
            hits[engine as usize] += summary.prefix.hits;
            let got = serve(engine, &config, group, &requests);
            assert_eq!(got.steps, want.steps, "{what}");
            assert_eq!(got.records, want.records, "{what}");
            // Every token was announced once, for the request that got it.
            for r in &got.records {
                assert_eq!(got.tokens[&r.id.0], r.output_tokens, "{what}");
            }
            assert_eq!(got.tokens.len(), 150);
        }
    }
    assert!(preempted[0] > 10, "the tight rounds preempt");
    assert!(preempted[1] > 0, "and retract");
    assert!(hits.iter().all(|h| *h > 1000), "prompts share: {hits:?}");
}

/// The three engines decide differently: that each is held against its own simulation says something.
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
    let logs = [EngineId::Vllm, EngineId::LlamaServer, EngineId::Sglang]
        .map(|e| serve(e, &config, Group::ONE, &requests).steps);
    assert_ne!(logs[0], logs[1]);
    assert_ne!(logs[0], logs[2]);
    assert_ne!(logs[1], logs[2]);
}

/// Data parallelism of every engine: four answer a burst faster than one, and lock-step is never faster than replicas.
#[test]
fn every_engine_runs_in_parallel() {
    for engine in [EngineId::Vllm, EngineId::LlamaServer, EngineId::Sglang] {
        let config = EngineConfig {
            num_gpu_blocks: 8 * 512 + 1,
            max_num_seqs: 8,
            max_num_batched_tokens: 96,
            max_model_len: 512,
            ..EngineConfig::default()
        };
        let mut requests = load(11);
        requests.iter_mut().for_each(|r| r.arrival = SimTime::ZERO);
        let total = |engines, lockstep| {
            let group = Group {
                engines,
                lockstep,
                router: Router::RoundRobin,
            };
            let (summary, log) = simulated(engine, &config, group, &requests);
            assert_eq!(summary.completed, 150);
            log.records
                .iter()
                .map(|r| r.finish.since(r.arrival).secs())
                .sum::<f64>()
        };
        let (one, replicas, together) = (total(1, false), total(4, false), total(4, true));
        assert!(replicas < 0.5 * one, "{engine:?}: {replicas} {one}");
        assert!(together >= replicas, "{engine:?}: {together} {replicas}");
    }
}

/// Clients leave at any time, also while their batch is computed: they get nothing more, all others get everything, and nothing
/// stays behind.
#[test]
fn clients_that_leave_are_gone_and_no_other_is_disturbed() {
    for scheduler in [EngineId::Vllm, EngineId::LlamaServer, EngineId::Sglang] {
        for seed in 0..20u64 {
            let config = EngineConfig {
                block_size: if scheduler == EngineId::Sglang { 1 } else { 16 },
                num_gpu_blocks: if scheduler == EngineId::Sglang {
                    600
                } else {
                    65
                },
                max_num_seqs: 6,
                max_num_batched_tokens: 40,
                max_model_len: 256,
                ..EngineConfig::default()
            };
            let tracking = Tracking {
                distinct_tokens: true,
                window: Some(64),
                tokens: true,
                images: None,
            };
            let mut engine = kind(scheduler).scheduler(config, tracking).unwrap();
            let free = engine.state().free_blocks;
            let mut rest: Vec<Request> = load(seed).into_iter().take(40).rev().collect();
            let asked: BTreeMap<u64, u32> = rest.iter().map(|r| (r.id.0, r.max_tokens)).collect();
            let mut tokens: BTreeMap<u64, u32> = BTreeMap::new();
            let mut ended: BTreeMap<u64, FinishReason> = BTreeMap::new();
            let mut chance = seed;
            let mut now = SimTime::ZERO;
            let mut steps = 0;
            let mut leave = |engine: &mut dyn Scheduler,
                             ended: &BTreeMap<u64, FinishReason>,
                             records: &mut Vec<RequestRecord>| {
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
                        // One that is not there yet is unknown to it.
                        if let Some(r) = engine.abort(RequestId(*id)) {
                            assert_eq!((r.id.0, r.reason), (*id, FinishReason::Abort));
                            records.push(r);
                        }
                    }
                }
            };
            loop {
                if let Some(r) = rest.pop() {
                    engine.submit(r).unwrap();
                } else if !engine.has_work() {
                    break;
                }
                let mut records = vec![];
                leave(&mut *engine, &ended, &mut records);
                // One that just left is known to have ended only with the records below.
                let formed = engine.schedule(now).shape.is_some();
                now += Span::from_millis(1);
                leave(&mut *engine, &ended, &mut records);
                if formed {
                    let output = engine.complete(now).unwrap();
                    records.extend_from_slice(output.finished);
                    for id in output.tokens {
                        *tokens.entry(id.0).or_insert(0) += 1;
                        assert!(!ended.contains_key(&id.0), "{scheduler:?} {seed}: {id:?}");
                    }
                }
                for r in &records {
                    let twice = ended.insert(r.id.0, r.reason);
                    assert_eq!(twice, None, "{scheduler:?} {seed}");
                    let got = tokens.get(&r.id.0).copied().unwrap_or(0);
                    assert_eq!(got, r.output_tokens, "{scheduler:?} {seed}");
                    if r.reason != FinishReason::Abort {
                        assert_eq!(r.output_tokens, asked[&r.id.0], "{scheduler:?} {seed}");
                    }
                }
                steps += 1;
                assert!(steps < 100_000, "{scheduler:?} {seed}: no end");
            }
            assert_eq!(ended.len(), 40, "{scheduler:?} {seed}");
            assert!(ended.values().any(|r| *r == FinishReason::Abort));
            assert!(ended.values().any(|r| *r == FinishReason::Length));
            let state = engine.state();
            assert_eq!(state.free_blocks, free, "{scheduler:?} {seed}");
            assert_eq!((state.running, state.waiting), (0, 0));
            assert!(engine.reset_prefix_cache(), "{scheduler:?} {seed}");
        }
    }
}

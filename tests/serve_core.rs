//! The served engine under a clock of our own is the simulator, batch by batch.
#![cfg(feature = "http")]
use capsim::cost::{LinearCost, StepShape};
use capsim::engine::observe::{Observer, RequestRecord, StepRecord};
use capsim::engine::{EngineConfig, simulate};
use capsim::serve::core::Core;
use capsim::units::{SimTime, Span};
use capsim::workload::{ListSource, Request, Source, WorkloadSpec};
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
    config: &EngineConfig,
    cost: LinearCost,
    requests: &[Request],
) -> (Log, BTreeMap<u64, u32>) {
    let mut core = Core::new(config.clone(), cost, 1.0).unwrap();
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

#[test]
fn the_same_open_loop_gives_the_same_batches() {
    let cost = LinearCost {
        base: Span::from_millis(3),
        per_token: Span::from_micros(20),
        per_seq: Span::from_micros(100),
    };
    let mut preempted = 0;
    for (round, (blocks, version, async_scheduling, caching)) in [
        (4000, "0.12.0", false, true),
        (40, "0.12.0", false, true),
        (40, "0.12.0", false, false),
        (4000, "0.19.0", true, true),
        (45, "0.33.0", true, true),
        (45, "0.12.0", true, false),
    ]
    .into_iter()
    .enumerate()
    {
        let config = EngineConfig {
            version: version.parse().unwrap(),
            num_gpu_blocks: blocks,
            max_num_seqs: 12,
            max_num_batched_tokens: 96,
            max_model_len: 512,
            async_scheduling,
            enable_prefix_caching: caching,
            ..EngineConfig::default()
        };
        let mut spec = WorkloadSpec::open_loop(150, 25.0, 60, 50);
        spec.range_ratio = 0.8;
        spec.seed = round as u64;
        spec.prompts = capsim::workload::PromptKind::SharedPrefix;
        spec.shared_prefix_len = 32;
        let mut source = spec.source().unwrap();
        let mut requests = vec![];
        while let Some(r) = source.pop() {
            requests.push(r);
        }
        requests.sort_by_key(|r| r.arrival);
        assert_eq!(requests.len(), 150);
        let mut want = Log::default();
        let summary = simulate(
            &config,
            &cost,
            &mut ListSource::new(requests.clone()),
            &mut want,
        )
        .unwrap();
        preempted += summary.preemptions;
        let (got, tokens) = serve(&config, cost, &requests);
        assert_eq!(got.steps, want.steps, "round {round}");
        assert_eq!(got.records, want.records, "round {round}");
        // Every token was announced once, to whom it belongs.
        for r in &got.records {
            assert_eq!(tokens[&r.id.0], r.output_tokens, "round {round}");
        }
        assert_eq!(tokens.len(), 150);
    }
    assert!(preempted > 10, "the tight rounds preempt");
}

#[test]
fn a_speedup_shortens_every_step() {
    let config = EngineConfig::default();
    let cost = LinearCost {
        base: Span::from_millis(10),
        ..LinearCost::default()
    };
    let mut core = Core::new(config, cost, 4.0).unwrap();
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

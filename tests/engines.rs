//! Engines besides vLLM: llama-server's slots and SGLang's prefill-first batches.
use capsim::cost::Routing;
use capsim::cost::{LinearCost, StepShape};
use capsim::device::{EngineId, builtin};
use capsim::engine::observe::{Observer, RequestRecord, StepRecord};
use capsim::engine::settings::*;
use capsim::engine::{EngineConfig, Group, Runtime, SimSummary};
use capsim::model::{Model, Precision, builtin as models};
use capsim::predict::{Scenario, simulate_once};
use capsim::units::{SimTime, Span};
use capsim::workload::{
    Answer, ListSource, Prompt, Request, RequestId, Segment, StreamId, WorkloadSpec,
};
use proptest::prelude::*;

#[derive(Default)]
struct Log {
    steps: Vec<StepShape>,
    running: Vec<u32>,
    records: Vec<RequestRecord>,
    preempted: u32,
}

impl Observer for Log {
    fn on_step(&mut self, step: &StepRecord) {
        self.steps.push(step.shape);
        self.running.push(step.running);
        self.preempted += step.preempted;
    }
    fn on_request(&mut self, request: &RequestRecord) {
        self.records.push(*request);
    }
}

const COST: LinearCost = LinearCost {
    base: Span::from_millis(5),
    per_token: Span::from_millis(1),
    per_seq: Span::from_millis(2),
};

/// A request with a prompt of `shared` common tokens and `own` ones.
fn request(id: u64, at_ms: u64, shared: u32, own: u32, output: u32) -> Request {
    let mut parts = vec![];
    if shared > 0 {
        parts.push(Segment {
            stream: StreamId(1),
            start: 0,
            len: shared,
        });
    }
    if own > 0 {
        parts.push(Segment {
            stream: StreamId(100 + 2 * id),
            start: 0,
            len: own,
        });
    }
    Request {
        id: RequestId(id),
        arrival: SimTime::ZERO + Span::from_millis(at_ms),
        prompt: Prompt::new(parts),
        max_tokens: output,
        answer: Answer {
            stream: StreamId(101 + 2 * id),
            stop_at: None,
        },
        priority: 0,
    }
}

fn config(seqs: u32, batch: u32, tokens: u32, caching: bool) -> EngineConfig {
    EngineConfig {
        block_size: 1,
        num_gpu_blocks: tokens + 1,
        max_num_seqs: seqs,
        max_num_batched_tokens: batch,
        max_model_len: 4096,
        enable_prefix_caching: caching,
        ..EngineConfig::default()
    }
}

fn run(
    engine: fn(&EngineConfig, &LinearCost, &mut ListSource, &mut Log) -> SimSummary,
    config: &EngineConfig,
    requests: &[Request],
) -> (SimSummary, Log) {
    let mut log = Log::default();
    let mut source = ListSource::new(requests.iter().cloned());
    let summary = engine(config, &COST, &mut source, &mut log);
    log.records.sort_by_key(|r| r.id.0);
    (summary, log)
}

fn one(
    engine: EngineId,
    c: &EngineConfig,
    p: &LinearCost,
    s: &mut ListSource,
    o: &mut Log,
) -> SimSummary {
    let runtime = Runtime::new(engine, c, Group::ONE, p, false).unwrap();
    runtime.run(s, o).unwrap()
}
fn vllm(c: &EngineConfig, p: &LinearCost, s: &mut ListSource, o: &mut Log) -> SimSummary {
    one(EngineId::Vllm, c, p, s, o)
}
fn slots(c: &EngineConfig, p: &LinearCost, s: &mut ListSource, o: &mut Log) -> SimSummary {
    one(EngineId::LlamaServer, c, p, s, o)
}
fn radix(c: &EngineConfig, p: &LinearCost, s: &mut ListSource, o: &mut Log) -> SimSummary {
    one(EngineId::Sglang, c, p, s, o)
}

/// A burst that fits the slots is what vLLM makes of it, for pieces of prompts go in the same order.
#[test]
fn a_burst_into_free_slots_is_served_as_by_vllm() {
    let burst: Vec<Request> = (0..6)
        .map(|i| request(i, 0, 0, 30 + 50 * i as u32, 5 + 3 * i as u32))
        .collect();
    let c = config(6, 64, 10_000, false);
    let (_, a) = run(vllm, &c, &burst);
    let (_, b) = run(slots, &c, &burst);
    assert_eq!(a.records, b.records);
    assert_eq!(a.steps, b.steps);
}

/// By hand: slot 0 ends first and takes the fourth request; its prompt then comes *before* the third request's remaining
/// pieces, for slots are filled in their own order. vLLM would go on with the third first.
#[test]
fn prompt_pieces_go_in_the_order_of_slots() {
    let c = config(3, 8, 10_000, false);
    let requests = [
        request(0, 0, 0, 2, 2),
        request(1, 0, 0, 2, 100),
        request(2, 0, 0, 59, 2),
        request(3, 1, 0, 5, 2),
    ];
    let (_, s) = run(slots, &c, &requests);
    let (_, v) = run(vllm, &c, &requests);
    assert!(s.records[3].first_token < s.records[2].first_token);
    assert!(v.records[3].first_token > v.records[2].first_token);
}

/// A slot remembers what it computed, to the token, and no other slot does.
#[test]
fn a_slot_keeps_its_own_prompt() {
    let c = config(2, 64, 10_000, true);
    // The second request comes while the first runs: another slot, nothing shared. The third finds slot 0 with 37 tokens.
    let requests = [
        request(0, 0, 37, 3, 4),
        request(1, 1, 37, 3, 400),
        request(2, 2_000, 37, 9, 4),
    ];
    let (_, s) = run(slots, &c, &requests);
    let cached: Vec<u32> = s.records.iter().map(|r| r.cached_tokens).collect();
    assert_eq!(cached, [0, 0, 37]);
    // The tree of SGLang holds a prompt only once it is done, too, but every request may use it.
    let (_, r) = run(radix, &c, &requests);
    let cached: Vec<u32> = r.records.iter().map(|r| r.cached_tokens).collect();
    assert_eq!(cached[0], 0);
    assert_eq!(cached[2], 37);
}

#[test]
fn sglang_prefills_before_it_decodes_and_goes_on_with_the_request_it_cut() {
    let c = config(8, 16, 10_000, false);
    let requests = [
        request(0, 0, 0, 4, 50),
        request(1, 20, 0, 40, 3),
        request(2, 21, 0, 4, 3),
    ];
    let (_, log) = run(radix, &c, &requests);
    assert!(
        log.steps
            .iter()
            .all(|s| s.decode_seqs == 0 || s.prefill_seqs == 0)
    );
    // 40 tokens in pieces of 16, 16 and 8; the third request's 4 share the last batch. No decode in between.
    let at = log
        .steps
        .iter()
        .position(|s| s.prefill_tokens == 16)
        .unwrap();
    let pieces: Vec<(u32, u32)> = log.steps[at..at + 3]
        .iter()
        .map(|s| (s.prefill_seqs, s.prefill_tokens))
        .collect();
    assert_eq!(pieces, [(1, 16), (1, 16), (2, 12)]);
}

/// Ten requests that promise more than they use: admitted by the falling ratio, retracted when the cache is full.
#[test]
fn sglang_retracts_when_the_cache_is_full_and_everybody_is_answered() {
    let c = config(16, 256, 330, true);
    let requests: Vec<Request> = (0..10).map(|i| request(i, i, 0, 20, 60)).collect();
    let (summary, log) = run(radix, &c, &requests);
    assert_eq!(summary.completed, 10);
    assert!(log.preempted > 0);
    assert!(log.records.iter().all(|r| r.output_tokens == 60));
}

/// `--dp-size`: engines with a whole model each, of a mixture too. Four serve 64 users as one serves 16.
#[test]
fn sglang_runs_data_parallel() {
    let config = models::find("qwen3-30b-a3b").unwrap().config();
    let run = |engines: u32, users: u32| {
        let scenario = Scenario {
            speculation: Default::default(),
            deployment: None,
            model_name: "m".into(),
            model: Model::new(&config, Precision::of(&config)),
            engine: builtin::engine("sglang-rocm").unwrap(),
            device: builtin::device("gfx1151").unwrap(),
            release: None,
            serve: SettingValues::default()
                .with(MAX_MODEL_LEN, 4096)
                .with(DATA_PARALLEL_SIZE, engines),
            moe_path: None,
            routing: Routing::Uniform,
            workload: WorkloadSpec::closed_loop(8 * users, users, 128, 32),
            engines: None,
            notes: Default::default(),
        };
        let run = simulate_once(&scenario).unwrap();
        assert_eq!(run.settings.devices(), engines);
        run.summary.output_throughput()
    };
    let (one, four) = (run(1, 16), run(4, 64));
    assert!((four / one / 4.0 - 1.0).abs() < 0.05, "{one} {four}");
}

/// Under SGLang as under vLLM: a size of 1 is none, ranks in lock-step with equal loads go as fast as each alone does on what it shares, and
/// what does not divide is refused.
#[test]
fn sglang_divides_a_model_among_devices() {
    let config = models::find("qwen3-30b-a3b").unwrap().config();
    let scenario = |serve: SettingValues, users: u32| Scenario {
        speculation: Default::default(),
        deployment: None,
        model_name: "m".into(),
        model: Model::new(&config, Precision::of(&config)),
        engine: builtin::engine("sglang-h200").unwrap(),
        device: builtin::device("h200-sxm").unwrap(),
        release: None,
        serve: serve.with(MAX_MODEL_LEN, 4096).with(MAX_NUM_SEQS, 64),
        moe_path: None,
        routing: Routing::Uniform,
        workload: WorkloadSpec::closed_loop(4 * users, users, 128, 32),
        engines: None,
        notes: Default::default(),
    };
    let run = |serve, users| simulate_once(&scenario(serve, users)).unwrap();
    let none = SettingValues::default;
    let plain = run(none(), 8);
    let ones = none()
        .with(TENSOR_PARALLEL_SIZE, 1)
        .with(ENABLE_EXPERT_PARALLEL, true)
        .with(ENABLE_DP_ATTENTION, true);
    assert_eq!(run(ones, 8).summary, plain.summary);
    let four = run(none().with(TENSOR_PARALLEL_SIZE, 4), 8);
    assert_eq!(four.settings.devices(), 4);
    assert!(four.summary.output_throughput() > plain.summary.output_throughput());
    assert!(four.settings.memory.weights.as_f64() < 0.3 * plain.settings.memory.weights.as_f64());
    // Attention of each rank on one device, experts on all four.
    let attention = none()
        .with(TENSOR_PARALLEL_SIZE, 4)
        .with(DATA_PARALLEL_SIZE, 4)
        .with(ENABLE_DP_ATTENTION, true);
    let ranks = run(attention.clone(), 8);
    assert_eq!(ranks.settings.devices(), 4);
    let kv = |r: &capsim::predict::Run| {
        r.settings.memory.kv_cache.as_f64() / r.settings.config.num_gpu_blocks as f64
    };
    assert!(
        kv(&ranks) > 3.9 * kv(&four),
        "each keeps all heads of its own requests"
    );
    assert_eq!(ranks.settings.config.max_num_seqs, 16);
    for (serve, field) in [
        (
            attention.with(TENSOR_PARALLEL_SIZE, 6),
            "data_parallel_size",
        ),
        (none().with(TENSOR_PARALLEL_SIZE, 5), "tensor_parallel_size"),
    ] {
        let e = simulate_once(&scenario(serve, 8)).unwrap_err();
        assert!(e.to_string().starts_with(field), "{e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::WithSource("proptest-regressions"))), ..ProptestConfig::default() })]

    #[test]
    fn everybody_is_answered_once_in_full_within_the_limits(
        seqs in 1u32..6,
        batch in 6u32..40,
        caching: bool,
        load in prop::collection::vec((0u64..300, 0u32..30, 1u32..60, 1u32..40), 1..20),
    ) {
        let requests: Vec<Request> = load
            .iter()
            .enumerate()
            .map(|(i, &(at, shared, own, out))| request(i as u64, at, shared, own, out))
            .collect();
        for (engine, tokens, is_radix) in [
            (slots as fn(&_, &_, &mut _, &mut _) -> _, 4096 * seqs, false),
            (radix, 400, true),
        ] {
            let c = config(seqs, batch, tokens, caching);
            let (summary, log) = run(engine, &c, &requests);
            prop_assert_eq!(summary.completed as usize, requests.len());
            for (r, asked) in log.records.iter().zip(&requests) {
                prop_assert_eq!(r.output_tokens, asked.max_tokens);
                prop_assert!(r.cached_tokens < asked.prompt.len());
                prop_assert!(r.arrival <= r.scheduled && r.scheduled < r.first_token && r.first_token <= r.finish);
                prop_assert!(caching || r.cached_tokens == 0);
            }
            for (s, running) in log.steps.iter().zip(&log.running) {
                prop_assert!(*running <= seqs);
                prop_assert!(s.prefill_tokens <= batch);
                prop_assert!(is_radix || s.tokens() <= batch);
                // The last single token of a retracted request's recomputation counts as a decode, which it is.
                let apart = s.decode_seqs == 0 || s.prefill_seqs == 0;
                prop_assert!(!is_radix || apart || log.preempted > 0);
                prop_assert!(s.distinct_tokens <= s.tokens());
            }
            if !is_radix {
                prop_assert_eq!(summary.preemptions, 0);
            }
            // The same again gives the same bytes.
            let (again, _) = run(engine, &c, &requests);
            prop_assert_eq!(summary, again);
        }
    }
}

//! Laws that need no recorded data: conservation, causality, queueing theory, proportionality, monotonicity.
use capsim::cost::{CostOptions, LinearCost, Routing, StepCost, StepPrice, StepShape};
use capsim::device::builtin;
use capsim::engine::observe::{Observer, RequestRecord, StepRecord};
use capsim::engine::{EngineConfig, Scheduler, SimSummary, Tracking, simulate, vllm};
use capsim::model::{self, Model, Precision};
use capsim::units::{SimTime, Span};
use capsim::workload::{ListSource, PromptKind, Request, RequestId, Source, WorkloadSpec};
use proptest::prelude::*;

#[derive(Default)]
struct Log {
    requests: Vec<RequestRecord>,
    steps: Vec<StepRecord>,
}

impl Observer for Log {
    fn on_step(&mut self, s: &StepRecord) {
        self.steps.push(*s);
    }
    fn on_request(&mut self, r: &RequestRecord) {
        self.requests.push(*r);
    }
}

fn requests(spec: &WorkloadSpec) -> Vec<Request> {
    let mut source = spec.source().unwrap();
    std::iter::from_fn(|| source.pop()).collect()
}

fn run(config: &EngineConfig, cost: &impl StepCost, list: Vec<Request>) -> (SimSummary, Log) {
    let mut log = Log::default();
    let s = simulate(config, cost, &mut ListSource::new(list), &mut log).unwrap();
    (s, log)
}

const COST: LinearCost = LinearCost {
    base: Span::from_millis(5),
    per_token: Span::from_micros(40),
    per_seq: Span::from_micros(100),
};

fn any_load() -> impl Strategy<Value = (EngineConfig, WorkloadSpec)> {
    (
        1u32..40,
        prop_oneof![Just(40u32), Just(80), Just(2000)],
        prop_oneof![Just(1u32), Just(16)],
        any::<bool>(),
        any::<bool>(),
        1u32..60,
        0.5f64..50.0,
        0u64..1000,
        prop_oneof![
            Just(PromptKind::Distinct),
            Just(PromptKind::Identical),
            Just(PromptKind::SharedPrefix)
        ],
    )
        .prop_map(
            |(seqs, blocks, block_size, caching, async_scheduling, n, rate, seed, prompts)| {
                let config = EngineConfig {
                    max_num_seqs: seqs,
                    block_size,
                    num_gpu_blocks: if block_size == 1 { blocks * 16 } else { blocks },
                    enable_prefix_caching: caching,
                    async_scheduling,
                    max_num_batched_tokens: 256,
                    max_model_len: 600,
                    ..EngineConfig::default()
                };
                let load = WorkloadSpec {
                    range_ratio: 0.6,
                    seed,
                    prompts,
                    shared_prefix_len: 50,
                    ..WorkloadSpec::open_loop(n, rate, 150, 60)
                };
                (config, load)
            },
        )
}

/// No request is lost or doubled; the free queue and the block tables together hold every block but the null block, the
/// queue none that is held. Only full blocks with an equal beginning may be held twice.
fn conserved(
    engine: &vllm::Scheduler,
    config: &EngineConfig,
    sent: &[Request],
    ended: usize,
) -> Result<(), TestCaseError> {
    let state = engine.state();
    prop_assert_eq!((state.running + state.waiting) as usize + ended, sent.len());
    // Per block: 0 nowhere, 1 in the queue, otherwise one more than the number of tables that hold it.
    let mut place = vec![0u32; config.num_gpu_blocks as usize];
    let queue = engine.free_queue();
    prop_assert_eq!(state.free_blocks as usize, queue.len());
    for id in &queue {
        prop_assert_eq!(place[*id as usize], 0, "block {} twice in the queue", id);
        place[*id as usize] = 1;
    }
    for table in sent.iter().filter_map(|r| engine.block_table(r.id)) {
        for (i, id) in table.iter().enumerate() {
            prop_assert!(!table[..i].contains(id), "block {id} twice in one table");
            prop_assert!(place[*id as usize] != 1, "block {id} is free and held");
            let first = place[*id as usize] == 0;
            prop_assert!(first || config.enable_prefix_caching, "block {id} shared");
            place[*id as usize] += if first { 2 } else { 1 };
        }
    }
    prop_assert_eq!(place[0], 0, "the null block is handed out");
    let lost = place[1..].iter().position(|p| *p == 0);
    prop_assert_eq!(lost, None, "lost");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::WithSource("proptest-regressions"))), ..ProptestConfig::default() })]

    #[test]
    fn requests_are_conserved_and_causes_precede_effects((config, load) in any_load()) {
        let list = requests(&load);
        let (s, log) = run(&config, &COST, list.clone());
        prop_assert_eq!(s.completed + s.rejected, list.len() as u64);
        prop_assert_eq!(s.rejected, 0);
        let mut ids: Vec<u64> = log.requests.iter().map(|r| r.id.0).collect();
        ids.sort_unstable();
        prop_assert!(ids.iter().enumerate().all(|(i, id)| *id == i as u64), "each once");
        for r in &log.requests {
            let asked = &list[r.id.0 as usize];
            prop_assert_eq!(r.output_tokens, asked.max_tokens);
            prop_assert!(r.arrival <= r.scheduled && r.scheduled < r.first_token && r.first_token <= r.finish);
            prop_assert!(r.cached_tokens < r.prompt_tokens);
        }
        // Time goes forward and steps do not overlap. The engine pauses only while no request is there, and then until the
        // next arrival; asynchronously a batch may wait for the one before it, but never overlaps it.
        for w in log.steps.windows(2) {
            let end = w[0].start + w[0].duration;
            prop_assert!(w[1].start >= end);
            let open = log.requests.iter().any(|r| r.arrival <= end && r.finish > end);
            if open && !config.async_scheduling {
                prop_assert_eq!(w[1].start, end, "work conservation");
            } else if !open {
                let next = log.requests.iter().map(|r| r.arrival).filter(|a| *a > end).min();
                prop_assert_eq!(Some(w[1].start), next, "begins with the next arrival");
            }
        }
        for step in &log.steps {
            prop_assert!(step.shape.tokens() <= config.max_num_batched_tokens);
            prop_assert!(step.running <= config.max_num_seqs);
            prop_assert!(step.free_blocks < u64::from(config.num_gpu_blocks));
            prop_assert!(step.shape.distinct_tokens <= step.shape.tokens());
        }
    }

    #[test]
    fn every_block_is_either_free_or_held_and_every_request_somewhere((config, load) in any_load()) {
        let list = requests(&load);
        let mut engine = vllm::Scheduler::new(config.clone(), Tracking::default()).unwrap();
        engine.record_blocks();
        let (mut sent, mut ended, mut now) = (0, 0, 0);
        // One request more every third step.
        while ended < list.len() {
            if now % 3 == 0 && sent < list.len() {
                engine.submit(list[sent].clone()).unwrap();
                sent += 1;
            }
            now += 1;
            prop_assert!(now < 1_000_000, "never ends");
            let before = engine.batches_in_flight();
            let formed = engine.schedule(SimTime(now)).shape.is_some();
            conserved(&engine, &config, &list[..sent], ended)?;
            if !(config.async_scheduling && formed && before == 0) {
                ended += engine.complete(SimTime(now)).map_or(0, |o| o.finished.len());
                conserved(&engine, &config, &list[..sent], ended)?;
            }
        }
        prop_assert_eq!(engine.state().free_blocks, config.num_gpu_blocks - 1, "all blocks are back");
    }

    #[test]
    fn every_computed_token_is_either_new_or_recomputed((config, load) in any_load()) {
        let (s, log) = run(&config, &COST, requests(&load));
        let computed: u64 = log.steps.iter().map(|s| u64::from(s.shape.tokens())).sum();
        let needed: u64 = log
            .requests
            .iter()
            .map(|r| u64::from(r.prompt_tokens - r.cached_tokens + r.output_tokens - 1))
            .sum();
        if s.preemptions == 0 {
            prop_assert_eq!(computed, needed);
        } else {
            prop_assert!(computed >= needed);
        }
    }

    #[test]
    fn doubling_all_times_doubles_all_times((config, load) in any_load()) {
        let list = requests(&load);
        let twice = LinearCost { base: COST.base * 2, per_token: COST.per_token * 2, per_seq: COST.per_seq * 2 };
        let late: Vec<Request> = list
            .iter()
            .cloned()
            .map(|r| Request { arrival: SimTime(r.arrival.0 * 2), ..r })
            .collect();
        let (_, a) = run(&config, &COST, list);
        let (_, b) = run(&config, &twice, late);
        prop_assert_eq!(a.requests.len(), b.requests.len());
        for (x, y) in a.requests.iter().zip(&b.requests) {
            prop_assert_eq!(x.id, y.id);
            prop_assert_eq!(SimTime(x.first_token.0 * 2), y.first_token);
            prop_assert_eq!(SimTime(x.finish.0 * 2), y.finish);
        }
    }

    #[test]
    fn other_names_for_requests_change_nothing((config, load) in any_load()) {
        let list = requests(&load);
        let renamed: Vec<Request> = list
            .iter()
            .cloned()
            .map(|r| Request { id: RequestId(10_000 - 7 * r.id.0), ..r })
            .collect();
        let (_, a) = run(&config, &COST, list);
        let (_, b) = run(&config, &COST, renamed);
        for (x, y) in a.requests.iter().zip(&b.requests) {
            prop_assert_eq!(10_000 - 7 * x.id.0, y.id.0);
            prop_assert_eq!((x.first_token, x.finish), (y.first_token, y.finish));
        }
    }

    #[test]
    fn the_scheduler_does_not_foresee_a_stop((config, load) in any_load(), k in 0u32..50) {
        let mut list = requests(&load);
        let (_, without) = run(&config, &COST, list.clone());
        let victim = list.len() / 2;
        if k >= list[victim].max_tokens {
            return Ok(());
        }
        list[victim].answer.stop_at = Some(k);
        let id = list[victim].id;
        let (_, with) = run(&config, &COST, list);
        let stop = with.requests.iter().find(|r| r.id == id).unwrap().finish;
        // Until the stop token arrived, nothing may differ.
        let before = |log: &Log| {
            log.steps
                .iter()
                .take_while(|s| s.start + s.duration < stop)
                .map(|s| (s.start, s.duration, s.shape))
                .collect::<Vec<_>>()
        };
        prop_assert_eq!(before(&without), before(&with));
    }

    #[test]
    fn littles_law_holds_exactly((config, load) in any_load()) {
        // L = λ W (J. D. C. Little, 1961), as areas: the time integral of the number in the system is the sum of the
        // times that each spent there.
        let (_, log) = run(&config, &COST, requests(&load));
        let spent: u128 = log.requests.iter().map(|r| u128::from(r.finish.since(r.arrival).0)).sum();
        let mut events: Vec<(SimTime, i64)> = log
            .requests
            .iter()
            .flat_map(|r| [(r.arrival, 1), (r.finish, -1)])
            .collect();
        events.sort_unstable();
        let (mut area, mut inside, mut last) = (0u128, 0i64, SimTime::ZERO);
        for (t, d) in events {
            area += u128::from(t.since(last).0) * inside as u128;
            inside += d;
            last = t;
        }
        prop_assert_eq!(area, spent);
    }
}

/// Mean waiting time of a single server by the Pollaczek–Khinchine formula (L. Kleinrock, Queueing Systems I, 1975,
/// §5.6): W = λ E[S²] / (2 (1 − ρ)).
fn pollaczek_khinchine(rate: f64, mean: f64, second_moment: f64) -> f64 {
    rate * second_moment / (2.0 * (1.0 - rate * mean))
}

/// Waiting times of an engine with one place, a pure function of the output length: 1 ms per step.
fn mean_wait(outputs: impl Fn(u64, &mut Request), rate: f64, n: u32, seed: u64) -> f64 {
    let config = EngineConfig {
        max_num_seqs: 1,
        enable_prefix_caching: false,
        max_model_len: 100_000,
        max_num_batched_tokens: 100_000,
        num_gpu_blocks: 100_000,
        ..EngineConfig::default()
    };
    let cost = LinearCost {
        base: Span::from_millis(1),
        ..LinearCost::default()
    };
    let mut list = requests(&WorkloadSpec {
        seed,
        ..WorkloadSpec::open_loop(n, rate, 10, 100)
    });
    for (i, r) in list.iter_mut().enumerate() {
        outputs(i as u64, r);
    }
    let (_, log) = run(&config, &cost, list);
    let waits: Vec<f64> = log
        .requests
        .iter()
        .map(|r| r.scheduled.since(r.arrival).secs())
        .collect();
    capsim::stats::mean(&waits)
}

#[test]
fn a_single_place_with_equal_requests_is_an_m_d_1_queue() {
    // 100 steps of 1 ms, 7 requests per second: utilisation 0.7. Waiting times are correlated over many requests;
    // over seeds the mean of 40 000 varies by about 1.5 %, of which four are allowed.
    let got = mean_wait(|_, _| {}, 7.0, 40_000, 1);
    let want = pollaczek_khinchine(7.0, 0.1, 0.01);
    assert!((got / want - 1.0).abs() < 0.06, "{got} s against {want} s");
}

#[test]
fn a_single_place_with_exponential_requests_is_an_m_m_1_queue() {
    use rand::RngExt as _;
    let outputs = |i: u64, r: &mut Request| {
        let u: f64 = capsim::rng::Seed(i).stream("service").random();
        r.max_tokens = (1.0 - 100.0 * libm::log(1.0 - u)) as u32;
    };
    // A geometric length of mean about 100: second moment from the same law, rounding included, within 1 %.
    let (mean, second) = (0.1005, 2.0 * 0.1 * 0.1 + 0.0001);
    let got = mean_wait(outputs, 6.0, 60_000, 2);
    let want = pollaczek_khinchine(6.0, mean, second);
    // Over seeds the mean of 60 000 varies by about 2.5 %.
    assert!((got / want - 1.0).abs() < 0.1, "{got} s against {want} s");
}

fn priced(
    change: impl Fn(&mut capsim::device::DeviceProfile, &mut capsim::device::EngineProfile),
) -> StepPrice {
    let config = model::builtin::find("qwen3-30b-a3b-instruct-2507")
        .unwrap()
        .config();
    let model = Model::new(&config, Precision::of(&config));
    let mut device = builtin::device("gfx1151").unwrap();
    let mut engine = builtin::engine("vllm-0.12-rocm").unwrap();
    change(&mut device, &mut engine);
    StepPrice::new(
        &model,
        &device,
        &engine,
        CostOptions {
            draft: None,
            enforce_eager: true,
            async_scheduling: false,
            max_num_seqs: 256,
            max_num_batched_tokens: 2048,
            micro_batch: None,
            images: None,
            placement: Default::default(),
            op_offload: true,
            moe_path: None,
            routing: Routing::Uniform,
        },
    )
    .unwrap()
}

fn any_shape() -> impl Strategy<Value = StepShape> {
    (0u32..256, 1u64..8000, 0u32..3, 2u32..400, 1u32..=100).prop_map(
        |(decode, ctx, chunks, q, pct)| {
            let decode = if chunks == 0 { decode.max(1) } else { decode };
            let tokens = decode + chunks * q;
            let pairs = u64::from(chunks) * u64::from(q) * u64::from(q + 1) / 2;
            StepShape {
                decode_seqs: decode,
                decode_context: u64::from(decode) * ctx,
                decode_context_windowed: u64::from(decode) * ctx,
                prefill_seqs: chunks,
                prefill_tokens: chunks * q,
                prefill_context: u64::from(chunks * q),
                prefill_pairs: pairs,
                prefill_pairs_windowed: pairs,
                sampled: decode + chunks,
                distinct_tokens: (tokens * pct / 100).max(1),
                images: 0,
                verified: 0,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::WithSource("proptest-regressions"))), ..ProptestConfig::default() })]

    #[test]
    fn more_bandwidth_or_more_arithmetic_never_makes_a_step_slower(shapes in prop::collection::vec(any_shape(), 40)) {
        let base = priced(|_, _| {});
        let faster = [
            priced(|d, _| d.stream_read.points.iter_mut().for_each(|p| p.y *= 1.3)),
            priced(|d, _| d.gemm_f16.points.iter_mut().for_each(|p| p.y *= 1.3)),
            priced(|d, _| d.attention_prefill.points.iter_mut().for_each(|p| p.y *= 1.3)),
            priced(|d, _| d.launch.value /= 2.0),
            priced(|_, e| e.host.step.value /= 2.0),
        ];
        for s in &shapes {
            for f in &faster {
                prop_assert!(f.step(s) <= base.step(s), "{s:?}");
            }
        }
    }

    #[test]
    fn more_work_never_takes_less_time_within_a_kernel_regime(s in any_shape()) {
        let cost = priced(|_, _| {});
        let t = cost.step(&s);
        let longer = StepShape { decode_context: s.decode_context + 4096, ..s };
        prop_assert!(cost.step(&longer) >= t, "context");
        if s.distinct_tokens < s.tokens() {
            let spread = StepShape { distinct_tokens: s.distinct_tokens + 1, ..s };
            prop_assert!(cost.step(&spread) >= t, "distinct tokens");
        }
        // Kernels switch at 64 tokens, where a step may become faster: that is a measured cliff, kept.
        let more = StepShape { decode_seqs: s.decode_seqs + 1, distinct_tokens: s.distinct_tokens, ..s };
        if (s.tokens() <= 64) == (more.tokens() <= 64) {
            prop_assert!(cost.step(&more) >= t, "one more sequence");
        }
    }

    #[test]
    fn the_breakdown_sums_to_the_step(s in any_shape()) {
        let cost = priced(|_, _| {});
        let b = cost.breakdown(&s);
        prop_assert!((b.total() - cost.step(&s).secs()).abs() < 2e-9);
        prop_assert!(capsim::cost::Part::ALL.iter().all(|p| b.of(*p) >= 0.0));
    }
}

/// A step without graphs waits for the host to launch each layer's experts; in graphs that costs nothing.
#[test]
fn experts_launched_without_graphs_cost_their_time_once_per_layer() {
    let step = |launch: f64, eager: bool| {
        let mut engine = builtin::engine("vllm-0.12-rocm").unwrap();
        let mut q = engine.host.launch_eager.clone();
        q.value = launch;
        engine.host.launch_experts = Some(q);
        let config = model::builtin::find("qwen3-30b-a3b-instruct-2507")
            .unwrap()
            .config();
        let options = CostOptions {
            draft: None,
            enforce_eager: eager,
            async_scheduling: false,
            max_num_seqs: 256,
            max_num_batched_tokens: 2048,
            micro_batch: None,
            images: None,
            placement: Default::default(),
            op_offload: true,
            moe_path: None,
            routing: Routing::Uniform,
        };
        let model = Model::new(&config, Precision::of(&config));
        let device = builtin::device("gfx1151").unwrap();
        let cost = StepPrice::new(&model, &device, &engine, options).unwrap();
        let one = StepShape {
            decode_seqs: 1,
            decode_context: 100,
            decode_context_windowed: 100,
            sampled: 1,
            distinct_tokens: 1,
            ..StepShape::default()
        };
        cost.step(&one).secs()
    };
    // Long enough that launching, not the device, is what a step waits for: 48 layers, 10 ms more each.
    let more = step(0.02, true) - step(0.01, true);
    assert!((more - 48.0 * 0.01).abs() < 1e-6, "{more}");
    assert_eq!(step(0.02, false), step(0.0, false));
}

#[test]
fn the_same_bytes_come_out_on_any_number_of_threads() {
    fn work(seed: u64) -> String {
        let config = EngineConfig {
            num_gpu_blocks: 400,
            ..EngineConfig::default()
        };
        let load = WorkloadSpec {
            seed,
            range_ratio: 0.5,
            ..WorkloadSpec::open_loop(300, 20.0, 200, 80)
        };
        let (s, log) = run(&config, &COST, requests(&load));
        format!("{s:?}{:?}", log.requests)
    }
    let on = |threads: u64| -> Vec<String> {
        let mut all = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|t| {
                    let share = (0..8).filter(move |seed| seed % threads == t);
                    scope.spawn(move || share.map(|s| (s, work(s))).collect::<Vec<_>>())
                })
                .collect();
            workers
                .into_iter()
                .flat_map(|w| w.join().unwrap())
                .collect::<Vec<_>>()
        });
        all.sort();
        all.into_iter().map(|(_, text)| text).collect()
    };
    let one = on(1);
    assert_ne!(one[0], one[1], "the seeds do something");
    assert_eq!(one, on(4));
    assert_eq!(one, on(8));
}

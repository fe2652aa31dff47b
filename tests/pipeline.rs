//! Laws of pipelines: one stage is none, a request alone goes through all stages one after the other, and enough batches keep all busy.
use capsim::cost::{LinearCost, StepCost, StepShape};
use capsim::device::builtin;
use capsim::engine::observe::{Observer, RequestRecord};
use capsim::engine::settings::*;
use capsim::engine::{EngineConfig, simulate};
use capsim::model::{Model, Precision, builtin as models};
use capsim::predict::{Binding, Scenario, predict, simulate_once};
use capsim::units::{SimTime, Span};
use capsim::workload::{Answer, ListSource, Prompt, Request, RequestId, StreamId, WorkloadSpec};

#[derive(Default)]
struct Ended(Vec<RequestRecord>);

impl Observer for Ended {
    fn on_request(&mut self, r: &RequestRecord) {
        self.0.push(*r);
    }
}

fn requests(n: u64, prompt: u32, answer: u32) -> Vec<Request> {
    (0..n)
        .map(|id| Request {
            id: RequestId(id),
            arrival: SimTime::ZERO,
            prompt: Prompt::of_stream(StreamId(id), prompt),
            max_tokens: answer,
            answer: Answer {
                stream: StreamId(1_000_000 + id),
                stop_at: None,
            },
            priority: 0,
        })
        .collect()
}

fn config(stages: u32, is_async: bool) -> EngineConfig {
    EngineConfig {
        pipeline_stages: stages,
        async_scheduling: is_async,
        max_num_batched_tokens: 64,
        max_num_seqs: 64,
        enable_prefix_caching: false,
        ..EngineConfig::default()
    }
}

/// Every stage takes as long, and a way between two some more.
struct Equal {
    stage: Span,
    hop: Span,
}

impl StepCost for Equal {
    fn step(&self, _: &StepShape) -> Span {
        self.stage
    }
    fn hop(&self, _: usize, _: &[StepShape]) -> Span {
        self.hop
    }
}

fn end(config: &EngineConfig, cost: &impl StepCost, requests: Vec<Request>) -> u64 {
    let mut ended = Ended::default();
    simulate(config, cost, &mut ListSource::new(requests), &mut ended).unwrap();
    ended
        .0
        .iter()
        .map(|r| r.finish.since(SimTime::ZERO).0)
        .max()
        .unwrap()
}

#[test]
fn a_request_alone_goes_through_all_stages_one_after_the_other() {
    let cost = Equal {
        stage: Span(1_000),
        hop: Span(30),
    };
    for stages in [1, 2, 3, 8] {
        for is_async in [false, true] {
            let end = end(&config(stages, is_async), &cost, requests(1, 64, 20));
            let step = u64::from(stages) * 1_000 + u64::from(stages - 1) * 30;
            assert_eq!(end, 20 * step, "{stages} stages, async {is_async}");
        }
    }
}

/// Prompts that each fill a step and answers of one token: every prompt is a batch of its own, and n of them take n − 1 + stages stage
/// times, against n · stages on one device that has all layers.
#[test]
fn batches_that_need_nothing_of_each_other_keep_all_stages_busy() {
    let cost = Equal {
        stage: Span(1_000),
        hop: Span::ZERO,
    };
    for stages in [2, 4] {
        for is_async in [false, true] {
            let all = requests(100, 64, 1);
            let end = end(&config(stages, is_async), &cost, all);
            assert_eq!(end, (99 + u64::from(stages)) * 1_000);
        }
    }
}

/// Many requests that decode for long, whose prompts filled batches of their own: nearly as many times the throughput as there are stages.
#[test]
fn a_full_pipeline_nears_as_many_times_the_throughput_as_it_has_stages() {
    let whole = |stages: u64| LinearCost {
        base: Span(4_000_000 / stages),
        ..LinearCost::default()
    };
    let tokens = |stages: u32, is_async| {
        let mut c = config(stages, is_async);
        // As many places as batches: each has its own requests.
        c.max_num_batched_tokens = 64 * 8;
        let n = 8 * u64::from(stages);
        let end = end(&c, &whole(stages.into()), requests(n, 64, 400));
        (n * 400) as f64 / end as f64
    };
    let one = tokens(1, false);
    for stages in [2, 4] {
        for is_async in [false, true] {
            let gain = tokens(stages, is_async) / one;
            let most = f64::from(stages);
            assert!(
                gain > 0.95 * most && gain <= most,
                "{stages} stages, async {is_async}: {gain}"
            );
        }
    }
}

fn scenario(model: &str, serve: SettingValues) -> Scenario {
    let config = models::find(model).unwrap().config();
    Scenario {
        model_name: model.into(),
        model: Model::new(&config, Precision::of(&config)),
        engine: builtin::engine("vllm-0.20-cuda").unwrap(),
        device: builtin::device("h200-sxm").unwrap(),
        release: None,
        serve: serve.with(MAX_MODEL_LEN, 4096),
        moe_path: None,
        routing: capsim::cost::Routing::Uniform,
        workload: WorkloadSpec::closed_loop(64, 16, 256, 32),
        engines: None,
        speculation: Default::default(),
        deployment: None,
        notes: Default::default(),
    }
}

fn none() -> SettingValues {
    SettingValues::default()
}

#[test]
fn one_stage_is_none_bit_for_bit() {
    for model in ["qwen3-8b", "qwen3-30b-a3b"] {
        let plain = predict(&scenario(model, none())).unwrap();
        let one = predict(&scenario(model, none().with(PIPELINE_PARALLEL_SIZE, 1))).unwrap();
        assert_eq!(plain.run.summary, one.run.summary);
        assert_eq!(
            format!("{:?}", plain.intervals),
            format!("{:?}", one.intervals)
        );
        assert_eq!(plain.run.settings.memory, one.run.settings.memory);
        assert_eq!(plain.caveats, one.caveats);
    }
}

#[test]
fn stages_share_weights_and_cache_and_the_fullest_decides() {
    let plain = simulate_once(&scenario("qwen3-8b", none())).unwrap();
    let serve = none().with(PIPELINE_PARALLEL_SIZE, 4);
    let run = simulate_once(&scenario("qwen3-8b", serve.clone())).unwrap();
    let s = &run.settings;
    assert_eq!(s.devices(), 4);
    assert_eq!(s.pipeline(), "4 pipeline stages of 9 + 9 + 9 + 9 layers");
    let weights = |i: usize| s.stages[i].memory.weights.as_f64();
    // 151936 × 4096 × 2 bytes: the table and the head, each on its end.
    let table = 151_936.0 * 4096.0 * 2.0;
    assert!((weights(0) - weights(1) - table).abs() < 1e6);
    assert!((weights(3) - weights(2) - table).abs() < 1e6);
    let fewest = s
        .stages
        .iter()
        .map(|p| p.memory.num_gpu_blocks)
        .min()
        .unwrap();
    assert_eq!(s.config.num_gpu_blocks, fewest);
    assert!(fewest > 3 * plain.settings.config.num_gpu_blocks);
    // Devices of both kinds multiply.
    let both = serve.with(TENSOR_PARALLEL_SIZE, 2);
    let both = simulate_once(&scenario("qwen3-8b", both)).unwrap();
    assert_eq!(both.settings.devices(), 8);
    let of = |r: &capsim::predict::Run| r.settings.stages[1].memory.weights.as_f64();
    assert!((of(&both) / of(&run) - 0.5).abs() < 0.02);
}

/// The time of a step is that of all stages and the ways between them: a pipeline is no faster for a request alone, and hardly slower.
#[test]
fn a_pipeline_is_no_faster_for_a_user_alone() {
    let alone = |stages: u32, release: Option<&str>| {
        // Before 0.32 a pipeline is synchronous whatever the default.
        let serve = none()
            .with(PIPELINE_PARALLEL_SIZE, stages)
            .with(ASYNC_SCHEDULING, release.is_some());
        let mut s = scenario("qwen3-8b", serve);
        s.release = release.map(|r| r.parse().unwrap());
        s.workload = WorkloadSpec::closed_loop(4, 1, 256, 64);
        simulate_once(&s).unwrap()
    };
    for release in [None, Some("0.32.0")] {
        let (one, two) = (alone(1, release), alone(2, release));
        assert_eq!(
            two.settings.config.async_scheduling,
            release.is_some(),
            "asynchronous from 0.32 on"
        );
        let tpot = |r: &capsim::predict::Run| r.summary.tpot.mean();
        let ratio = tpot(&two) / tpot(&one);
        assert!((0.98..1.3).contains(&ratio), "{release:?}: {ratio}");
        // Each stage idles while the other works.
        let busy = two.occupancy.busy / two.summary.duration;
        assert!((0.3..0.6).contains(&busy), "{busy}");
    }
    let mut s = scenario("qwen3-8b", none().with(PIPELINE_PARALLEL_SIZE, 2));
    s.workload = WorkloadSpec::closed_loop(4, 1, 256, 64);
    assert_eq!(predict(&s).unwrap().binding, Binding::Bubbles);
}

#[test]
fn the_parts_of_a_step_sum_to_it_through_all_stages() {
    for (model, tensor) in [("qwen3-8b", 1), ("qwen3-30b-a3b", 2)] {
        let s = scenario(
            model,
            none()
                .with(PIPELINE_PARALLEL_SIZE, 3)
                .with(TENSOR_PARALLEL_SIZE, tensor),
        );
        let cost = s.cost(&s.settings().unwrap()).unwrap();
        let shape = StepShape {
            decode_seqs: 12,
            decode_context: 12_000,
            decode_context_windowed: 12_000,
            sampled: 12,
            distinct_tokens: 12,
            ..StepShape::default()
        };
        let step = cost.step(&shape).secs();
        let parts = cost.breakdown(&shape).total();
        assert!((step - parts).abs() < 1e-8, "{step} {parts}");
        let stages: Span = (0..3).map(|i| cost.stage(i, &[shape], false)).sum();
        let hop = cost.hop(1, &[shape]);
        assert_eq!(cost.step(&shape), stages + hop + hop);
        assert!(hop > Span::ZERO);
    }
}

#[test]
fn what_no_pipeline_can_be_is_refused_by_its_name() {
    let two = || none().with(PIPELINE_PARALLEL_SIZE, 2);
    for (model, serve, says) in [
        (
            "qwen3-8b",
            none().with(PIPELINE_PARALLEL_SIZE, 37),
            "pipeline_parallel_size: 37",
        ),
        (
            "qwen3-8b",
            none().with(PIPELINE_PARALLEL_SIZE, 0),
            "pipeline_parallel_size: must lie between 1 and 1024",
        ),
        (
            "qwen3-8b",
            two().with(PP_LAYER_PARTITION, "20,20".to_string()),
            "pp_layer_partition: `20,20` is 40 layers",
        ),
        (
            "qwen3-8b",
            none().with(PP_LAYER_PARTITION, "20,16".to_string()),
            "pp_layer_partition: `20,16` has 2 parts for 1 stages",
        ),
        (
            "qwen3-8b",
            two().with(ASYNC_SCHEDULING, true),
            "async_scheduling",
        ),
        ("qwen3-next-80b-a3b-instruct", two(), "recurrent"),
    ] {
        let e = scenario(model, serve).settings().unwrap_err().to_string();
        assert!(e.contains(says), "{e}");
    }
    let given = two().with(PP_LAYER_PARTITION, "20,16".to_string());
    let s = scenario("qwen3-8b", given).settings().unwrap();
    assert_eq!(s.pipeline(), "2 pipeline stages of 20 + 16 layers");
}

/// Sizes of 1 are none, and whole experts on one device are all of them.
#[test]
fn sizes_of_one_are_none_under_vllm() {
    let ones = none()
        .with(TENSOR_PARALLEL_SIZE, 1)
        .with(DATA_PARALLEL_SIZE, 1)
        .with(PIPELINE_PARALLEL_SIZE, 1)
        .with(NNODES, 1)
        .with(DECODE_CONTEXT_PARALLEL_SIZE, 1)
        .with(ENABLE_EXPERT_PARALLEL, true);
    let plain = simulate_once(&scenario("qwen3-30b-a3b", none())).unwrap();
    let with = simulate_once(&scenario("qwen3-30b-a3b", ones)).unwrap();
    assert_eq!(plain.summary, with.summary);
    assert_eq!(plain.settings.memory, with.settings.memory);
}

/// Replicas of a dense model that each serve as many users as one alone serve as many times the tokens, by either balancer.
#[test]
fn engines_with_equal_loads_serve_as_one_does() {
    let run = |model, engines: u32, users: u32, release: &str| {
        let mut s = scenario(model, none().with(DATA_PARALLEL_SIZE, engines));
        s.release = Some(release.parse().unwrap());
        // Long answers: what happens between two requests of a user hardly counts.
        s.workload = WorkloadSpec::closed_loop(4 * users, users, 64, 1024);
        simulate_once(&s).unwrap()
    };
    for release in ["0.20.2", "0.32.0"] {
        let of = |r: &capsim::predict::Run| r.summary.output_throughput();
        let one = of(&run("qwen3-8b", 1, 8, release));
        let four = of(&run("qwen3-8b", 4, 32, release));
        assert!(
            (four / one / 4.0 - 1.0).abs() < 0.05,
            "{release}: {one} {four}"
        );
    }
}

/// What crosses the network takes longer, what stays within a node does not, and a slower network makes it worse.
#[test]
fn only_what_crosses_the_network_takes_longer() {
    let tpot = |serve: SettingValues, gbs: f64| {
        let mut s = scenario("qwen3-30b-a3b", serve);
        s.device = s.device.with_network(Some(gbs)).unwrap();
        simulate_once(&s).unwrap().summary.tpot.mean()
    };
    let tensor = none().with(TENSOR_PARALLEL_SIZE, 4);
    let (one, far) = (
        tpot(tensor.clone(), 40.0),
        tpot(tensor.clone().with(NNODES, 2), 40.0),
    );
    assert!(far > 1.05 * one, "{one} {far}");
    assert!(tpot(tensor.with(NNODES, 2), 0.1) > 1.05 * far);
    // Two stages on a node each: only the way between them is longer.
    let stages = none()
        .with(TENSOR_PARALLEL_SIZE, 2)
        .with(PIPELINE_PARALLEL_SIZE, 2);
    let (near, apart) = (
        tpot(stages.clone(), 40.0),
        tpot(stages.with(NNODES, 2), 40.0),
    );
    assert!(apart > near && apart < 1.05 * near, "{near} {apart}");
    // Replicas of a dense model exchange nothing.
    let dense = |nodes: u32| {
        let serve = none().with(DATA_PARALLEL_SIZE, 4).with(NNODES, nodes);
        simulate_once(&scenario("qwen3-8b", serve)).unwrap().summary
    };
    assert_eq!(dense(1), dense(2));
    let e = scenario("qwen3-8b", none().with(NNODES, 2))
        .settings()
        .unwrap_err();
    assert!(e.to_string().starts_with("nnodes: 2"), "{e}");
}

/// A cache that one device holds is not divided, and lines say by how many it is.
#[test]
fn a_cache_divided_by_one_is_not_divided() {
    let of = |serve: SettingValues| {
        let serve = serve.with(TENSOR_PARALLEL_SIZE, 8);
        let mut s = scenario("deepseek-v3", serve);
        s.serve.set(MAX_MODEL_LEN, 65_536);
        s.workload = WorkloadSpec::closed_loop(16, 8, 2000, 16);
        simulate_once(&s).unwrap()
    };
    let (none, one) = (of(none()), of(none().with(DECODE_CONTEXT_PARALLEL_SIZE, 1)));
    assert_eq!(none.summary, one.summary);
    assert_eq!(none.settings.memory, one.settings.memory);
    for flag in [
        "-dcp 8",
        "--decode-context-parallel-size=8",
        "--decode_context_parallel_size 8",
    ] {
        let text = format!("vllm serve deepseek-ai/DeepSeek-V3 -tp 8 {flag}");
        let line = capsim::line::read(capsim::line::Source::Text(&text), &|_| Err("".into()));
        let line = line.unwrap();
        assert_eq!(
            line.settings.get(DECODE_CONTEXT_PARALLEL_SIZE),
            Some(8),
            "{flag}"
        );
        assert!(line.changes.is_empty(), "{:?}", line.changes);
    }
}

/// Devices that divide a sequence's cache hold as many times the tokens, read less of a long context, and exchange for every token.
#[test]
fn a_divided_cache_holds_more_and_costs_exchanges() {
    let of = |context: u32, prompt: u32| {
        let serve = none()
            .with(TENSOR_PARALLEL_SIZE, 8)
            .with(DECODE_CONTEXT_PARALLEL_SIZE, context);
        let mut s = scenario("deepseek-v3", serve);
        s.serve.set(MAX_MODEL_LEN, 65_536);
        s.workload = WorkloadSpec::closed_loop(32, 32, prompt, 16);
        simulate_once(&s).unwrap()
    };
    let (one, eight) = (of(1, 128), of(8, 128));
    let tokens = |r: &capsim::predict::Run| {
        let c = &r.settings.config;
        f64::from(c.num_gpu_blocks) * f64::from(c.block_size)
    };
    assert!((tokens(&eight) / tokens(&one) / 8.0 - 1.0).abs() < 0.01);
    assert_eq!(
        eight.settings.config.block_size,
        8 * one.settings.config.block_size
    );
    assert_eq!(eight.settings.in_force.get(BLOCK_SIZE), Some(16));
    assert_eq!(eight.settings.devices(), 8);
    let tpot = |r: &capsim::predict::Run| r.summary.tpot.mean();
    assert!(
        tpot(&eight) > tpot(&one),
        "short contexts pay for the exchanges"
    );
    let (one, eight) = (of(1, 60_000), of(8, 60_000));
    let kv = |r: &capsim::predict::Run| r.breakdown.of(capsim::cost::Part::AttentionDecode);
    assert!(kv(&eight) < 0.7 * kv(&one), "{} {}", kv(&eight), kv(&one));
    for (model, tensor, context, says) in [
        ("deepseek-v3", 8, 3, "must divide the 8 devices"),
        ("qwen3-8b", 8, 2, "with 8 key/value heads on 8 devices"),
        ("qwen3-8b", 16, 4, "at most 2"),
        ("gpt-oss-20b", 16, 2, "attends to the whole context"),
        ("deepseek-v3.2", 8, 8, "attends to the whole context"),
    ] {
        let serve = none()
            .with(TENSOR_PARALLEL_SIZE, tensor)
            .with(DECODE_CONTEXT_PARALLEL_SIZE, context);
        let e = scenario(model, serve).settings().unwrap_err().to_string();
        let named = e.starts_with("decode_context_parallel_size: ");
        assert!(named && e.contains(says), "{model}: {e}");
    }
    let serve = none()
        .with(TENSOR_PARALLEL_SIZE, 16)
        .with(DECODE_CONTEXT_PARALLEL_SIZE, 2);
    assert!(scenario("qwen3-8b", serve).settings().is_ok());
}

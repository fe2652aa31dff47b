//! Laws of speculative decoding, for every engine.
use capsim::cost::{
    CostOptions, DraftOptions, LinearCost, Part, Routing, StepCost, StepPrice, StepShape,
};
use capsim::device::{EngineId, builtin};
use capsim::engine::observe::{Observer, RequestRecord, StepRecord};
use capsim::engine::settings::*;
use capsim::engine::speculation::{Acceptance, Method, Speculation};
use capsim::engine::{EngineConfig, Group, Runtime, SimSummary};
use capsim::model::{self, Drafter, Head, Model, Placement, Precision};
use capsim::predict::{EngineWanted, Engines, Scenario, simulate_once};
use capsim::units::{SimTime, Span};
use capsim::workload::{ListSource, Request, RequestId, Source, WorkloadSpec};

#[derive(Default)]
struct Log {
    requests: Vec<RequestRecord>,
    steps: Vec<StepRecord>,
    tokens: Vec<RequestId>,
    messages: u64,
}

impl Observer for Log {
    fn on_step(&mut self, s: &StepRecord) {
        self.steps.push(*s);
    }
    fn on_request(&mut self, r: &RequestRecord) {
        self.requests.push(*r);
    }
    fn wants_output(&self) -> bool {
        true
    }
    fn on_output(&mut self, _: SimTime, tokens: &[RequestId]) {
        self.tokens.extend_from_slice(tokens);
    }
    fn on_tokens(&mut self, _: Span, count: u32) {
        self.messages += u64::from(count);
    }
}

const COST: LinearCost = LinearCost {
    base: Span::from_millis(5),
    per_token: Span::from_micros(40),
    per_seq: Span::from_micros(100),
};

const ENGINES: [EngineId; 3] = [EngineId::Vllm, EngineId::Sglang, EngineId::LlamaServer];

fn drafts(tokens: u32, acceptance: Acceptance) -> Speculation {
    Speculation {
        method: Method::Eagle3,
        tokens,
        computed: tokens,
        lookahead: tokens,
        drops_last_block: true,
        draft_slots: 0,
        acceptance,
        drafted: Acceptance::share(1.0),
        key: 11,
    }
}

fn config(speculation: Option<Speculation>) -> EngineConfig {
    EngineConfig {
        max_num_seqs: 8,
        block_size: 1,
        num_gpu_blocks: 40_000,
        max_num_batched_tokens: 512,
        max_model_len: 2000,
        speculation,
        ..EngineConfig::default()
    }
}

fn run(engine: EngineId, config: &EngineConfig, list: Vec<Request>) -> (SimSummary, Log) {
    let mut log = Log::default();
    let runtime = Runtime::new(engine, config, Group::ONE, COST, true).unwrap();
    let summary = runtime.run(&mut ListSource::new(list), &mut log).unwrap();
    (summary, log)
}

fn requests(spec: &WorkloadSpec) -> Vec<Request> {
    let mut source = spec.source().unwrap();
    std::iter::from_fn(|| source.pop()).collect()
}

fn one(output: u32) -> Vec<Request> {
    requests(&WorkloadSpec::closed_loop(1, 1, 100, output))
}

#[test]
fn drafts_that_are_all_right_make_one_token_more_than_drafts_in_every_step() {
    for engine in ENGINES {
        for k in 1..6 {
            let c = config(Some(drafts(k, Acceptance::constant(1.0))));
            // The first token is the prompt's.
            let (s, log) = run(engine, &c, one(1 + 7 * (k + 1)));
            assert_eq!(s.steps, 1 + 7, "{engine:?}, {k}");
            assert_eq!(s.speculation.mean_length(), Some(f64::from(k + 1)));
            assert_eq!((s.speculation.drafts, s.speculation.rate()), (7, Some(1.0)));
            // A message of several tokens for each step but the first.
            assert_eq!(log.messages, 7, "{engine:?}");
            assert_eq!(log.tokens.len() as u32, 1 + 7 * (k + 1), "{engine:?}");
        }
    }
}

#[test]
fn drafts_that_are_never_right_cost_their_verification_and_nothing_else() {
    for engine in ENGINES {
        let load = WorkloadSpec {
            range_ratio: 0.5,
            ..WorkloadSpec::closed_loop(30, 1, 100, 40)
        };
        let (plain, before) = run(engine, &config(None), requests(&load));
        for k in [1, 3] {
            let c = config(Some(drafts(k, Acceptance::constant(0.0))));
            let (s, log) = run(engine, &c, requests(&load));
            assert_eq!(
                (s.output_tokens, s.steps),
                (plain.output_tokens, plain.steps)
            );
            assert_eq!(s.speculation.accepted_tokens, 0);
            assert_eq!(s.speculation.mean_length(), Some(1.0));
            let busy = |l: &Log| l.steps.iter().map(|s| s.duration.0).sum::<u64>();
            let verified: u64 = log.steps.iter().map(|s| u64::from(s.shape.verified)).sum();
            let each = COST.per_token.0;
            assert_eq!(
                busy(&log),
                busy(&before) + verified * each,
                "{engine:?}, {k}"
            );
            assert_eq!(verified, s.speculation.draft_tokens);
            // llama-server drafts no more than an answer has room for.
            let all = u64::from(k) * s.speculation.drafts;
            assert!(
                verified == all || engine == EngineId::LlamaServer,
                "{engine:?}"
            );
        }
    }
}

#[test]
fn every_answer_has_its_tokens_whatever_is_accepted() {
    for engine in ENGINES {
        for (i, text) in ["0.3", "0.8", "0.9,0.5,0.1", "1"].iter().enumerate() {
            let k = 1 + i as u32;
            let load = WorkloadSpec {
                range_ratio: 0.8,
                ..WorkloadSpec::open_loop(60, 20.0, 150, 60)
            };
            let list = requests(&load);
            let c = config(Some(drafts(k, Acceptance::parse(text, k).unwrap())));
            let (s, log) = run(engine, &c, list.clone());
            for r in &log.requests {
                let asked = list.iter().find(|q| q.id == r.id).unwrap();
                assert_eq!(r.output_tokens, asked.max_tokens, "{engine:?} {text}");
            }
            assert_eq!(log.requests.len(), list.len());
            assert_eq!(log.tokens.len() as u64, s.output_tokens);
            // Each verification adds a token to those that it accepts; what lies behind an end is dropped.
            let v = &s.speculation;
            let made = list.len() as u64 + v.drafts + v.accepted_tokens;
            let dropped = made + log.messages - (s.output_tokens + v.drafts);
            assert!(
                s.output_tokens <= made + log.messages - v.drafts,
                "{engine:?} {text}"
            );
            assert!(
                dropped <= u64::from(k) * list.len() as u64,
                "{engine:?} {text}"
            );
        }
    }
}

#[test]
fn more_accepted_drafts_never_make_more_steps() {
    for engine in ENGINES {
        let steps = |p: f64| {
            let c = config(Some(drafts(3, Acceptance::constant(p))));
            run(engine, &c, one(400)).0.steps
        };
        let all: Vec<u64> = [0.0, 0.2, 0.5, 0.8, 0.95, 1.0].map(steps).into();
        assert!(all.windows(2).all(|w| w[1] < w[0]), "{engine:?}: {all:?}");
    }
}

fn qwen() -> Model {
    let config = model::builtin::find("qwen3-8b").unwrap().config();
    Model::new(&config, Precision::of(&config))
}

fn price(draft: Option<DraftOptions>) -> StepPrice {
    let device = builtin::device("gfx1151").unwrap();
    let engine = builtin::engine("vllm-0.19-rocm").unwrap();
    let options = CostOptions {
        enforce_eager: false,
        async_scheduling: true,
        max_num_seqs: 64,
        max_num_batched_tokens: 2048,
        moe_path: None,
        routing: Routing::Uniform,
        micro_batch: None,
        images: None,
        placement: Placement::Device,
        op_offload: false,
        draft,
    };
    StepPrice::new(&qwen(), &device, &engine, options).unwrap()
}

fn eagle(passes: u32) -> DraftOptions {
    DraftOptions {
        model: Some(Drafter::head(Head::Eagle3, &qwen()).model),
        passes,
        computed: 3,
        branches: 1,
        block: false,
    }
}

fn decode(n: u32, drafts: u32) -> StepShape {
    StepShape {
        decode_seqs: n,
        decode_context: u64::from(n) * 1000,
        decode_context_windowed: u64::from(n) * 1000,
        sampled: n,
        verified: n * drafts,
        distinct_tokens: n * (1 + drafts),
        ..StepShape::default()
    }
}

#[test]
fn a_step_costs_its_own_rows_and_its_drafters_passes() {
    // Room for as many rows of the output head, and no pass.
    let plain = price(Some(eagle(0)));
    let three = price(Some(eagle(3)));
    let one = price(Some(eagle(1)));
    for n in [1, 8, 40] {
        let shape = decode(n, 3);
        let (b, without) = (three.breakdown(&shape), plain.breakdown(&shape));
        assert!(b.of(Part::Draft) > 0.0 && without.of(Part::Draft) == 0.0);
        // Everything but drafts is as it is without a drafter.
        for part in Part::ALL {
            if ![Part::Draft, Part::Host].contains(&part) {
                assert_eq!(b.of(part), without.of(part), "{part:?}");
            }
        }
        assert!((b.total() - three.step(&shape).secs()).abs() < 2e-9);
        // More rows and more passes take longer.
        assert!(plain.step(&decode(n, 3)) > plain.step(&decode(n, 0)));
        assert!(three.step(&shape) > one.step(&shape));
        // A drafter that does nothing is none.
        assert_eq!(plain.step(&decode(n, 0)), price(None).step(&decode(n, 0)));
    }
    // The host looks through contexts for n-grams.
    let ngram = DraftOptions {
        model: None,
        ..eagle(0)
    };
    assert!(price(Some(ngram)).breakdown(&decode(8, 3)).of(Part::Draft) == 0.0);
}

fn scenario(settings: &[(&str, &str)]) -> Scenario {
    let device = builtin::device("gfx1151").unwrap();
    let model = qwen();
    let mut serve = SettingValues::default()
        .with(MAX_NUM_SEQS, 8)
        .with(MAX_MODEL_LEN, 4096);
    for (name, value) in settings {
        let at = <EngineSection as capsim::fields::Section>::place(name).unwrap();
        serve.put(at, TABLE[at].field.parse(value).unwrap());
    }
    Scenario {
        model_name: "qwen3-8b".into(),
        engine: Engines::builtin().choose(&EngineWanted::vllm(&model, &device)),
        engines: None,
        model,
        device,
        release: None,
        notes: Default::default(),
        speculation: Default::default(),
        deployment: None,
        serve,
        moe_path: None,
        routing: Routing::Uniform,
        workload: WorkloadSpec::closed_loop(16, 4, 128, 64),
    }
}

#[test]
fn no_drafts_are_no_speculation_bit_for_bit() {
    let none = simulate_once(&scenario(&[])).unwrap();
    let zero = [
        ("speculative_method", "eagle3"),
        ("num_speculative_tokens", "0"),
    ];
    let off = [("speculative_method", "none")];
    for settings in [&zero[..], &off[..]] {
        let run = simulate_once(&scenario(settings)).unwrap();
        assert_eq!(run.settings.config, none.settings.config);
        assert_eq!(run.settings.memory, none.settings.memory);
        assert_eq!(run.summary, none.summary);
        assert_eq!(run.breakdown, none.breakdown);
        assert_eq!(run.engine, none.engine);
    }
}

#[test]
fn a_drafter_takes_its_memory_and_n_grams_take_none() {
    let blocks = |method: &str| {
        let words = [
            ("speculative_method", method),
            ("num_speculative_tokens", "3"),
        ];
        let mut s = scenario(&words);
        s.release = Some("0.20.2".parse().unwrap());
        s.settings().unwrap().memory
    };
    let none = blocks("none");
    assert_eq!(blocks("ngram").num_gpu_blocks, none.num_gpu_blocks);
    let eagle = blocks("eagle3");
    assert_eq!(eagle.weights, none.weights + eagle.drafter);
    // A layer more in every block, and its weights.
    let per_block = 37.0 / 36.0;
    let left = (none.kv_cache - eagle.drafter).as_f64() / none.kv_cache.as_f64();
    let wanted = f64::from(none.num_gpu_blocks) * left / per_block;
    assert!((f64::from(eagle.num_gpu_blocks) / wanted - 1.0).abs() < 1e-3);
    assert!(blocks("dflash").num_gpu_blocks < eagle.num_gpu_blocks);
}

#[test]
fn a_scenario_accepts_what_it_is_told_and_its_seed_draws_it() {
    let with = |seed: u64, text: &str| {
        let mut s = scenario(&[
            ("speculative_method", "eagle3"),
            ("num_speculative_tokens", "3"),
            ("speculative_acceptance", text),
        ]);
        s.workload = WorkloadSpec {
            seed,
            ..WorkloadSpec::closed_loop(60, 4, 128, 200)
        };
        simulate_once(&s).unwrap()
    };
    let run = with(1, "0.73,0.52,0.35");
    let length = run.engine.speculation.mean_length().unwrap();
    assert!((length - 2.6).abs() < 0.05, "{length}");
    assert_eq!(run.engine, with(1, "0.73,0.52,0.35").engine);
    assert_ne!(
        run.engine.speculation,
        with(2, "0.73,0.52,0.35").engine.speculation
    );
}

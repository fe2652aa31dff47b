//! Weights in the host's memory: laws of the price, and of what lies where.
use capsim::cost::{CostOptions, Part, Routing, StepCost, StepPrice, StepShape};
use capsim::device::{DeviceProfile, builtin as devices};
use capsim::model::{Model, Override, Placement, Precision, Split, builtin};
use capsim::units::Bytes;

fn model(name: &str, format: &str) -> Model {
    let config = builtin::find(name).unwrap().config();
    Model::new(&config, Precision::by_name(format, &config).unwrap())
}

fn device() -> DeviceProfile {
    devices::device("rtx-4090").unwrap()
}

/// Under llama.cpp's prices, in micro-batches of 512.
fn llama(m: &Model, device: &DeviceProfile, placement: Placement, op_offload: bool) -> StepPrice {
    let engine = devices::engine("llamacpp-hip").unwrap();
    let options = CostOptions {
        draft: None,
        enforce_eager: false,
        async_scheduling: false,
        max_num_seqs: 64,
        max_num_batched_tokens: 2048,
        moe_path: None,
        routing: Routing::Uniform,
        images: None,
        micro_batch: Some(512),
        placement,
        op_offload,
    };
    StepPrice::new(m, device, &engine, options).unwrap()
}

fn vllm(m: &Model, device: &DeviceProfile, gib: f64) -> StepPrice {
    let engine = devices::engine("vllm-0.19-cuda").unwrap();
    let options = CostOptions {
        draft: None,
        enforce_eager: false,
        async_scheduling: true,
        max_num_seqs: 64,
        max_num_batched_tokens: 2048,
        moe_path: None,
        routing: Routing::Uniform,
        images: None,
        micro_batch: None,
        placement: match gib {
            0.0 => Placement::Device,
            gib => Placement::Streamed(Bytes((gib * 1_073_741_824.0) as u64)),
        },
        op_offload: false,
    };
    StepPrice::new(m, device, &engine, options).unwrap()
}

fn layers(host_layers: u32) -> Placement {
    Placement::Layers(Split {
        host_layers,
        ..Split::default()
    })
}

fn experts(host_experts: u32) -> Placement {
    Placement::Layers(Split {
        host_experts,
        ..Split::default()
    })
}

fn decode(n: u32, context: u64) -> StepShape {
    StepShape {
        decode_seqs: n,
        decode_context: u64::from(n) * context,
        decode_context_windowed: u64::from(n) * context,
        sampled: n,
        distinct_tokens: n,
        ..StepShape::default()
    }
}

fn prompt(tokens: u32) -> StepShape {
    let pairs = u64::from(tokens) * u64::from(tokens + 1) / 2;
    StepShape {
        prefill_seqs: 1,
        prefill_tokens: tokens,
        prefill_context: tokens.into(),
        prefill_pairs: pairs,
        prefill_pairs_windowed: pairs,
        sampled: 1,
        distinct_tokens: tokens,
        ..StepShape::default()
    }
}

fn shapes() -> Vec<StepShape> {
    let mut all: Vec<StepShape> = [1, 2, 4, 8, 16, 31, 32, 64]
        .map(|n| decode(n, 1000))
        .to_vec();
    all.extend([5, 31, 32, 100, 512, 520, 2048].map(prompt));
    all
}

#[test]
fn nothing_in_the_hosts_memory_costs_nothing() {
    for name in ["qwen3-8b", "qwen3-30b-a3b"] {
        let (m, d) = (model(name, "q4_k_m"), device());
        let plain = llama(&m, &d, Placement::Device, true);
        let none = llama(&m, &d, layers(0), true);
        for s in shapes() {
            // The embedding's rows are all that the host has.
            let more = none.step(&s).secs() - plain.step(&s).secs();
            assert!(
                more.abs() < 1e-4 + 0.01 * plain.step(&s).secs(),
                "{s:?} {more}"
            );
        }
        let (zero, some) = (vllm(&m, &d, 0.0), vllm(&m, &d, 1.0));
        assert!(some.step(&decode(1, 100)) > zero.step(&decode(1, 100)));
    }
}

#[test]
fn more_layers_on_a_device_that_is_faster_are_never_slower() {
    for name in ["qwen3-8b", "qwen3-30b-a3b"] {
        let (m, d) = (model(name, "q4_k_m"), device());
        let n = m.num_layers();
        for op_offload in [true, false] {
            let prices: Vec<StepPrice> = (0..=n + 1)
                .step_by(7)
                .map(|host| llama(&m, &d, layers(host), op_offload))
                .collect();
            for s in shapes() {
                for pair in prices.windows(2) {
                    assert!(pair[0].step(&s) <= pair[1].step(&s), "{name} {s:?}");
                }
            }
        }
    }
    let m = model("qwen3-30b-a3b", "q4_k_m");
    let of = |k| llama(&m, &device(), experts(k), true);
    let prices: Vec<StepPrice> = [0, 5, 20, 48].map(of).to_vec();
    for s in shapes() {
        for pair in prices.windows(2) {
            assert!(pair[0].step(&s) <= pair[1].step(&s), "{s:?}");
        }
    }
}

/// What the processor reads per token is at least the bytes over its memory's rate; a faster host is never slower, and one with endless
/// rates costs no more than the way there and back.
#[test]
fn a_decode_waits_for_the_hosts_memory_and_a_faster_host_is_never_slower() {
    let m = model("qwen3-8b", "q4_k_m");
    let with = |gbs: f64, tflops: f64, bus: f64| {
        let d = device()
            .with_host(Some(gbs), Some(tflops), Some(bus))
            .unwrap();
        llama(&m, &d, layers(20), true)
    };
    let slow = with(50.0, 1.0, 20.0);
    let host = m.placed(&layers(20)).host.unwrap();
    let bytes = host.weight_bytes_per_token().as_f64();
    let s = decode(1, 500);
    let processor = slow.breakdown(&s).of(Part::Processor);
    assert!(
        processor >= bytes / 50e9 && processor < 1.1 * bytes / 50e9,
        "{processor}"
    );
    for faster in [
        with(100.0, 1.0, 20.0),
        with(50.0, 2.0, 20.0),
        with(50.0, 1.0, 40.0),
    ] {
        for s in shapes() {
            assert!(faster.step(&s) <= slow.step(&s), "{s:?}");
        }
    }
    let endless = with(1e6, 1e6, 1e6).breakdown(&s);
    assert!(endless.of(Part::Processor) + endless.of(Part::Bus) < 2e-4);
}

/// From 32 rows on weights are copied: the bus has them once for each micro-batch, and the processor does nothing.
#[test]
fn large_batches_take_the_weights_over_the_bus() {
    let (m, d) = (model("qwen3-8b", "q4_k_m"), device());
    let d = d.with_host(None, None, Some(20.0)).unwrap();
    let price = llama(&m, &d, layers(36), true);
    let host = m.placed(&layers(36)).host.unwrap();
    let bytes = host.weight_bytes_per_token().as_f64();
    for (tokens, passes) in [(100, 1.0), (512, 1.0), (1024, 2.0), (2048, 4.0)] {
        let b = price.breakdown(&prompt(tokens));
        assert_eq!(b.of(Part::Processor), 0.0, "{tokens}");
        let least = passes * bytes / 20e9;
        assert!((least..1.25 * least).contains(&b.of(Part::Bus)), "{tokens}");
    }
    // The eight tokens of a last pass are the processor's.
    let last = price.breakdown(&prompt(520));
    assert!(last.of(Part::Processor) > 0.0);
    let here = price.breakdown(&prompt(31));
    assert!(here.of(Part::Processor) > 0.0 && here.of(Part::Bus) < 1e-3);
    let never = llama(&m, &d, layers(36), false).breakdown(&prompt(512));
    assert!(never.of(Part::Processor) > 0.0);
    // Of experts only those that are used: one prompt of 32 tokens does not use all 128.
    let moe = model("qwen3-30b-a3b", "q4_k_m");
    let price = llama(&moe, &d, experts(48), true);
    let all = moe.placed(&experts(48)).host.unwrap().total_weight_bytes();
    let bus = price.breakdown(&prompt(32)).of(Part::Bus);
    assert!(bus < 0.95 * all.as_f64() / 20e9 + 0.01, "{bus}");
}

/// vLLM's kernels read over the bus: a step takes no less than the bytes over its rate, and no more than both one after the other.
#[test]
fn streamed_weights_bound_a_step_from_below_and_above() {
    let m = model("qwen3-8b", "bf16");
    let d = device().with_host(None, None, Some(25.0)).unwrap();
    let plain = vllm(&m, &d, 0.0);
    let mut last = None;
    for gib in [1.0, 4.0, 8.0, 12.0] {
        let price = vllm(&m, &d, gib);
        let placed = m.placed(&Placement::Streamed(Bytes((gib * 1_073_741_824.0) as u64)));
        let bus = placed.host.unwrap().total_weight_bytes().as_f64() / 25e9;
        for s in shapes() {
            let (with, without) = (price.step(&s).secs(), plain.step(&s).secs());
            assert!(with >= bus.max(without) * 0.999, "{gib} {s:?}");
            assert!(with <= bus + without * 1.01, "{gib} {s:?}");
        }
        let one = price.step(&decode(1, 100));
        assert!(last.is_none_or(|l| l < one));
        last = Some(one);
    }
}

#[test]
fn a_pattern_is_what_the_flag_for_it_is() {
    let (m, d) = (model("qwen3-30b-a3b", "q4_k_m"), device());
    let overrides = Override::list(r"\.ffn_(up|down|gate)_exps\.=CPU").unwrap();
    let pattern = Placement::Layers(Split {
        overrides,
        ..Split::default()
    });
    let (a, b) = (
        llama(&m, &d, pattern, true),
        llama(&m, &d, experts(48), true),
    );
    for s in shapes() {
        assert_eq!(a.step(&s), b.step(&s));
    }
}

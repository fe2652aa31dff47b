//! What each kind of layer keeps, reads and costs, held against what its paper or engine says.
use capsim::cost::{CostOptions, Routing, StepCost, StepPrice, StepShape};
use capsim::device::builtin as devices;
use capsim::model::{Model, OpKind, Parallel, Precision, builtin};
use capsim::units::Bytes;

fn model(name: &str) -> Model {
    let config = builtin::find(name).unwrap().config();
    Model::new(&config, Precision::plain(config.dtype))
}

fn price(m: &Model) -> StepPrice {
    let device = devices::device("h200-sxm").unwrap();
    let engine = devices::engine("vllm-0.20-cuda").unwrap();
    let options = CostOptions {
        draft: None,
        enforce_eager: false,
        async_scheduling: true,
        max_num_seqs: 256,
        max_num_batched_tokens: 8192,
        moe_path: None,
        routing: Routing::Uniform,
        micro_batch: None,
        images: None,
        placement: Default::default(),
        op_offload: true,
    };
    StepPrice::new(m, &device, &engine, options).unwrap()
}

/// Seconds of a step in which `n` sequences of `context` tokens decode.
fn decode(price: &StepPrice, n: u32, context: u64) -> f64 {
    let window = price.attention_window().map_or(u64::MAX, u64::from);
    price
        .step(&StepShape {
            decode_seqs: n,
            decode_context: u64::from(n) * context,
            decode_context_windowed: u64::from(n) * context.min(window),
            sampled: n,
            distinct_tokens: n,
            ..StepShape::default()
        })
        .secs()
}

/// (kv_lora_rank + qk_rope_head_dim) elements once per layer and token: DeepSeek-V2 (arXiv:2405.04434) table 1, "≈ 4.5 d_h l" beside
/// "2 n_h d_h l" of multi-head attention.
#[test]
fn latent_attention_keeps_one_vector_that_devices_do_not_share() {
    let m = model("glm-4.7-flash");
    assert_eq!(m.kv_bytes_per_token(), Bytes((512 + 64) * 2 * 47));
    for tensor in [2, 4] {
        let part = m.shared(Parallel::tensor(tensor)).unwrap();
        assert_eq!(part.kv_bytes_per_token(), m.kv_bytes_per_token());
        assert!(part.total_weight_bytes() < m.total_weight_bytes());
    }
    assert!(m.shared(Parallel::tensor(3)).is_err(), "20 heads");
}

/// A token of context costs no less than reading its latent once, and no less than the products of all heads with it.
#[test]
fn decoding_a_latent_reads_it_once_for_all_heads() {
    let m = model("deepseek-v2-lite");
    let p = price(&m);
    let per_token = (decode(&p, 64, 60_000) - decode(&p, 64, 20_000)) / (64.0 * 40_000.0);
    let device = devices::device("h200-sxm").unwrap();
    let read = m.kv_bytes_per_token().as_f64() / device.dram_read();
    // 16 heads: few enough that reading takes longer.
    assert!(per_token >= read, "{per_token} {read}");
    assert!(per_token < 4.0 * read, "{per_token} {read}");
    // With 128 heads on as much latent, arithmetic does.
    let op = |m: &Model| {
        let latent = m
            .ops()
            .iter()
            .find(|o| o.name == "attention_latent")
            .unwrap();
        match latent.kind {
            OpKind::Attention(a) => (a.cache.decode_ops, a.cache.read),
            _ => unreachable!(),
        }
    };
    assert_eq!(op(&m), (2 * 16 * (576 + 512), 1152));
    assert_eq!(op(&model("deepseek-v3")), (2 * 128 * (576 + 512), 1152));
}

/// DeepSeek-V3.2: beyond index_topk tokens only the index still reads all of the context, 132 bytes of a token instead of 1152.
#[test]
fn beyond_the_chosen_tokens_only_the_index_grows() {
    let m = model("deepseek-v3.2").shared(Parallel::tensor(8)).unwrap();
    assert_eq!(m.window(), Some(2048));
    // All of it is kept, however little is read.
    assert!(m.attention_layers().iter().all(|l| l.window.is_none()));
    assert_eq!(m.kv_bytes_per_token(), Bytes(61 * (1152 + 132)));
    let p = price(&m);
    let slope =
        |from: u64, to: u64| (decode(&p, 64, to) - decode(&p, 64, from)) / (to - from) as f64;
    let (short, long) = (slope(512, 2048), slope(20_000, 100_000));
    assert!(long > 0.0 && long < 0.7 * short, "{short} {long}");
}

/// States are of the same size after any number of tokens: only the six attention layers' cache grows.
#[test]
fn a_state_space_layer_costs_as_much_after_any_context() {
    let m = model("nvidia-nemotron-3-nano-30b-a3b-bf16");
    assert_eq!(m.state_bytes_per_sequence(), Bytes(49_082_368));
    assert_eq!(m.kv_bytes_per_token(), Bytes(6 * 2 * 2 * 128 * 2));
    let (layers, _) = m.recurrent().unwrap();
    assert_eq!(layers, 23);
    let p = price(&m);
    let device = devices::device("h200-sxm").unwrap();
    let grows = (decode(&p, 64, 60_000) - decode(&p, 64, 20_000)) / (64.0 * 40_000.0);
    let read = m.kv_bytes_per_token().as_f64() / device.dram_read();
    assert!(grows < 5.0 * read, "{grows} {read}");
    // Each sequence's states are read and written.
    let each = (decode(&p, 129, 64) - decode(&p, 65, 64)) / 64.0;
    let states = 2.0 * m.state_bytes_per_sequence().as_f64() / device.dram_read();
    assert!(each > states, "{each} {states}");
}

/// Two matrices instead of three, at the width that the stream is projected to.
#[test]
fn experts_without_a_gate_have_two_matrices() {
    let nano = model("nvidia-nemotron-3-nano-30b-a3b-bf16");
    let e = nano.experts().unwrap();
    assert_eq!(e.bytes_per_layer_and_expert, f64::from(2 * 2688 * 1856 * 2));
    let ultra = model("nvidia-nemotron-3-ultra-550b-a55b-bf16");
    let latent = ultra.config().moe().unwrap().latent;
    assert!(latent > 0 && latent < ultra.hidden_size());
    let experts = ultra.ops().iter().find(|o| o.name == "experts").unwrap();
    let OpKind::Experts(e) = experts.kind else {
        unreachable!()
    };
    assert_eq!(e.hidden, u64::from(latent));
}

/// Llama 4: chunks of 8192 in three of four layers; MiMo-V2: keys wider than values, other heads where a window slides.
#[test]
fn windows_and_chunks_stand_where_the_config_says() {
    let kinds = |name: &str| -> Vec<(Option<u32>, u32)> {
        let layers = model(name).attention_layers();
        layers.iter().map(|l| (l.window, l.layers)).collect()
    };
    assert_eq!(
        kinds("llama-4-scout-17b-16e-instruct"),
        [(Some(8192), 36), (None, 12)]
    );
    let mimo = model("mimo-v2-flash");
    let layers = mimo.attention_layers();
    let bytes = |window: Option<u32>, heads: u64, n: u64| {
        let of = layers.iter().find(|l| l.window == window).unwrap();
        assert_eq!(of.kv_bytes_per_token, Bytes(n * heads * (192 + 128) * 2));
    };
    bytes(None, 4, 9);
    bytes(Some(128), 8, 39);
    // 15 of Gemma 3n's 35 layers keep nothing of their own.
    let kept: u32 = model("gemma-3n-e4b-it")
        .attention_layers()
        .iter()
        .map(|l| l.layers)
        .sum();
    assert_eq!(kept, 20);
}

//! The shipped models against hand counts and published figures, and the config parser against bad input.
use capsim::model::{KvDtype, Model, ModelError, OpKind, Precision, builtin, config};
use capsim::units::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};

fn shipped(name: &str) -> Model {
    let config = builtin::find(name).unwrap().config();
    Model::new(&config, Precision::of(&config))
}

fn stored_as(name: &str, format: &str) -> Model {
    let config = builtin::find(name).unwrap().config();
    Model::new(&config, Precision::by_name(format, &config).unwrap())
}

/// By hand, from the config: per layer
///   qkv   (32 + 2·4)·128 × 2048 = 10 485 760
///   o     2048 × 32·128         =  8 388 608
///   router 128 × 2048           =    262 144
///   norms 2·2048 + 2·128        =      4 352    together 19 140 864; 48 layers 918 761 472
///   head  151 936 × 2048        = 311 164 928, final norm 2048
///   dense part in bf16: 2 · 1 229 928 448 = 2 459 856 896 bytes.
/// One expert 3 · 768 · 2048 = 4 718 592; 8 of them in 48 layers in bf16: 3 623 878 656 bytes;
/// all 128: 57 982 058 496. KV: 48 layers · 2 · 4 · 128 · 2 bytes = 98 304.
#[test]
fn qwen3_30b_a3b_has_the_bytes_counted_by_hand() {
    let m = shipped("Qwen/Qwen3-30B-A3B-Instruct-2507");
    assert_eq!(
        m.weight_bytes_per_token(),
        Bytes(3_623_878_656 + 2_459_856_896)
    );
    let experts = m
        .ops()
        .iter()
        .find(|o| matches!(o.kind, OpKind::Experts(_)))
        .unwrap();
    assert_eq!(experts.weight_bytes() * 48, Bytes(57_982_058_496));
    assert_eq!(experts.weight_bytes_touched(8) * 48, Bytes(3_623_878_656));
    assert_eq!(
        experts.weight_bytes_touched(1000),
        experts.weight_bytes(),
        "there are only 128"
    );
    assert_eq!(
        m.experts().unwrap().bytes_per_layer_and_expert,
        2.0 * 4_718_592.0
    );
    assert_eq!(m.kv_bytes_per_token(), Bytes(96 * 1024));
    assert_eq!(m.kv_bytes_per_block(16), Bytes(16 * 96 * 1024));
    assert_eq!(m.total_weight_bytes(), Bytes(2 * 30_532_122_624));
    let e = m.experts().unwrap();
    assert_eq!((e.num, e.top_k, e.layers), (128, 8, 48));
    assert_eq!((m.window(), m.max_position_embeddings()), (None, 262_144));
    // 2 operations for each weight a token passes: the dense part without the norms, and 8 experts.
    let flops: u64 = m
        .ops()
        .iter()
        .map(|o| o.flops_per_row().0 * u64::from(o.layers))
        .sum();
    let norms = 48 * 4_352 + 2_048;
    assert_eq!(flops, 2 * (1_229_928_448 - norms + 3_623_878_656 / 2));
    // Attention: 4 · 32 heads · 128 per (query, key) pair and layer.
    let op = m
        .ops()
        .iter()
        .find(|o| matches!(o.kind, OpKind::Attention(_)))
        .unwrap();
    let OpKind::Attention(attention) = op.kind else {
        panic!("{op:?}")
    };
    assert_eq!((attention.ops_per_pair(), op.layers), (16_384.0, 48));
}

/// By hand: per layer qkv (64 + 16)·128 × 5120 = 52 428 800, o 5120 × 8192 = 41 943 040,
/// gate+up 2·25 600 × 5120 = 262 144 000, down 131 072 000, norms 2·5120 + 256 = 10 496: 487 598 336.
/// 64 layers: 31 206 293 504; head 777 912 320; final norm 5 120. All in bf16: ·2.
/// The embedding, another 777 912 320, is loaded but not read. KV: 64 · 2 · 8 · 128 · 2 = 262 144.
#[test]
fn qwen3_32b_has_the_bytes_counted_by_hand() {
    let m = shipped("qwen3-32b");
    let read = 31_206_293_504 + 777_912_320 + 5_120;
    assert_eq!(m.weight_bytes_per_token(), Bytes(2 * read));
    assert_eq!(m.total_weight_bytes(), Bytes(2 * (read + 777_912_320)));
    assert_eq!(m.kv_bytes_per_token(), Bytes(256 * 1024));
    assert_eq!(m.experts(), None);
    let named: Vec<_> = m
        .ops()
        .iter()
        .map(|o| (o.name, o.layers, o.kernels))
        .collect();
    assert_eq!(
        named,
        [
            ("embed", 1, 1),
            ("norm", 129, 1),
            ("qkv_proj", 64, 1),
            ("qk_norm", 64, 2),
            ("rotary", 64, 1),
            ("kv_write", 64, 1),
            ("attention", 64, 2),
            ("o_proj", 64, 1),
            ("gate_up_proj", 64, 1),
            ("act_and_mul", 64, 1),
            ("down_proj", 64, 1),
            ("gather_sampled", 1, 1),
            ("lm_head", 1, 1),
            ("sampling", 1, 3),
        ]
    );
    assert_eq!(m.kernels_per_step(), 1 + 129 + 64 * 11 + 1 + 1 + 3);
}

#[test]
fn every_shipped_model_has_its_published_number_of_parameters() {
    for b in builtin::ALL {
        let total = b.config().parameters().total() as f64;
        let published = b.published_parameters as f64;
        assert!(
            (total / published - 1.0).abs() < 0.005,
            "{}: {total} against {published}",
            b.id
        );
    }
}

#[test]
fn the_table_of_models_says_what_the_program_counts() {
    let table = include_str!("../models/README.md");
    for b in builtin::ALL {
        let row = table
            .lines()
            .find(|l| l.starts_with(&format!("| {} |", b.id)));
        let cells: Vec<_> = row
            .unwrap_or_else(|| panic!("no row for {}", b.id))
            .split(" | ")
            .collect();
        let counted: u64 = cells[3].replace(' ', "").parse().unwrap();
        assert_eq!(counted, b.config().parameters().total(), "{}", b.id);
        assert_eq!(cells[2], b.licence, "{}", b.id);
    }
}

/// Operators and parameter counts are two derivations of the same shapes.
#[test]
fn unquantised_bytes_are_parameters_times_their_width() {
    for b in builtin::ALL {
        for (format, width) in [("bf16", 2), ("fp32", 4)] {
            let m = stored_as(b.id, format);
            let p = m.parameters();
            // Correction biases of routers are fp32 in any case.
            let layers = b.config().layers;
            let corrections = layers.iter().filter_map(|l| l.moe());
            let wider: u64 = corrections
                .filter(|moe| moe.router_correction_bias)
                .map(|moe| u64::from(moe.num_experts) * (4 - width))
                .sum();
            let total = p.total() * width + wider;
            assert_eq!(m.total_weight_bytes(), Bytes(total), "{}", b.id);
            assert_eq!(
                m.weight_bytes_per_token(),
                Bytes(p.multiplied() * width + wider),
                "{}",
                b.id
            );
        }
    }
}

#[test]
fn active_parameters_are_those_of_the_papers() {
    // gpt-oss, arXiv:2508.10925 table 1; Mixtral, arXiv:2401.04088 (12.9 B, with the embedding's 0.13 B).
    for (name, published) in [
        ("gpt-oss-20b", 3.61e9),
        ("gpt-oss-120b", 5.13e9),
        ("mixtral-8x7b", 12.9e9),
    ] {
        let active = shipped(name).parameters().multiplied() as f64;
        assert!((active / published - 1.0).abs() < 0.012, "{name}: {active}");
    }
}

/// Sums of tensor bytes that llama.cpp reports (`model_size` of llama-bench) for Q4_K_M files of these models,
/// found in public benchmark logs; see models/README.md.
#[test]
fn q4_k_m_has_the_bytes_that_llama_cpp_reports() {
    for (name, bytes) in [
        ("qwen3-30b-a3b-instruct-2507", 18_550_716_416),
        ("qwen3-32b", 19_756_174_336),
        ("qwen3-4b", 2_491_323_904),
    ] {
        assert_eq!(
            stored_as(name, "q4_k_m").total_weight_bytes(),
            Bytes(bytes),
            "{name}"
        );
    }
    // The expert tensors alone of the first.
    let m = stored_as("qwen3-30b-a3b-instruct-2507", "q4_k_m");
    let experts = m
        .ops()
        .iter()
        .filter(|o| matches!(o.kind, OpKind::Experts(_)));
    let bytes: Bytes = experts.map(|o| o.weight_bytes() * o.layers.into()).sum();
    assert_eq!(bytes, Bytes(17_553_162_240));
}

#[test]
fn gpt_oss_alternates_windows_and_stores_only_experts_in_mxfp4() {
    let m = shipped("gpt-oss-20b");
    let kinds: Vec<_> = m
        .attention_layers()
        .iter()
        .map(|a| (a.window, a.layers))
        .collect();
    assert_eq!(kinds, [(Some(128), 12), (None, 12)]);
    assert_eq!(m.window(), Some(128));
    // One expert by hand: (2·2880 + 2880)·2880 weights in blocks of 32 → 17 bytes, biases (5760 + 2880)·2.
    let one = 3 * 2880 * 2880 / 32 * 17 + (5760 + 2880) * 2;
    assert_eq!(
        m.experts().unwrap().bytes_per_layer_and_expert,
        f64::from(one)
    );
    // The published checkpoints take 12.8 and 60.8 GiB (arXiv:2508.10925 table 1).
    for (name, gib) in [("gpt-oss-20b", 12.8), ("gpt-oss-120b", 60.8)] {
        let ours = shipped(name).total_weight_bytes().as_f64() / f64::from(1 << 30);
        assert!((ours / gib - 1.0).abs() < 0.01, "{name}: {ours}");
    }
}

#[test]
fn gemma_2_slides_in_every_other_layer_and_norms_four_times() {
    let m = shipped("gemma-2-9b");
    let kinds: Vec<_> = m
        .attention_layers()
        .iter()
        .map(|a| (a.window, a.layers))
        .collect();
    assert_eq!(kinds, [(Some(4096), 21), (None, 21)]);
    let count = |name| m.ops().iter().find(|o| o.name == name).map(|o| o.layers);
    assert_eq!(
        (count("norm"), count("post_norm"), count("embed_scale")),
        (Some(85), Some(84), Some(1))
    );
}

#[test]
fn a_narrower_kv_cache_changes_nothing_but_the_cache() {
    let config = builtin::find("qwen3-8b").unwrap().config();
    let auto = Model::new(&config, Precision::of(&config));
    let fp8 = Model::new(&config, Precision::of(&config).with_kv(KvDtype::Fp8));
    assert_eq!(fp8.kv_bytes_per_token() * 2, auto.kv_bytes_per_token());
    assert_eq!(fp8.total_weight_bytes(), auto.total_weight_bytes());
}

#[test]
fn fewer_bits_never_weigh_more() {
    for b in builtin::ALL {
        let bytes = |f| stored_as(b.id, f).total_weight_bytes();
        let order = [
            "fp32",
            "bf16",
            "int8-g128",
            "int8",
            "int4-g32",
            "awq",
            "int4-g128-sym",
        ];
        for pair in order.windows(2) {
            assert!(bytes(pair[0]) > bytes(pair[1]), "{}: {pair:?}", b.id);
        }
    }
}

// ── configs that are not shipped ────────────────────────────────────────────────────────────────────

fn base() -> Value {
    json!({
        "architectures": ["Qwen3ForCausalLM"], "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "vocab_size": 1000, "max_position_embeddings": 2048
    })
}

fn with(mut config: Value, changes: Value) -> Value {
    let target = config.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        target.insert(key.clone(), value.clone());
    }
    config
}

fn parsed(config: &Value) -> Result<capsim::model::ModelConfig, ModelError> {
    config::parse(&config.to_string(), "config.json")
}

#[test]
fn glm_4_5_air_has_dense_layers_first_and_shared_experts() {
    let c = parsed(&json!({
        "architectures": ["Glm4MoeForCausalLM"], "attention_bias": true, "first_k_dense_replace": 1,
        "head_dim": 128, "hidden_size": 4096, "intermediate_size": 10944,
        "max_position_embeddings": 131072, "moe_intermediate_size": 1408, "n_routed_experts": 128,
        "n_shared_experts": 1, "num_attention_heads": 96, "num_experts_per_tok": 8,
        "num_hidden_layers": 46, "num_key_value_heads": 8, "tie_word_embeddings": false,
        "use_qk_norm": false, "vocab_size": 151552, "torch_dtype": "bfloat16"
    }))
    .unwrap();
    // "106B total, 12B active" (GLM-4.5, arXiv:2508.06471).
    let p = c.parameters();
    assert!(
        (p.total() as f64 / 106e9 - 1.0).abs() < 0.015,
        "{}",
        p.total()
    );
    let m = Model::new(&c, Precision::of(&c));
    assert_eq!(
        m.total_weight_bytes().0,
        2 * p.total() + 2 * 45 * 128,
        "the correction bias is fp32"
    );
    assert_eq!(m.experts().unwrap().layers, 45);
}

#[test]
fn qwen_1_5_moe_has_a_gated_shared_expert() {
    let c = parsed(&json!({
        "architectures": ["Qwen2MoeForCausalLM"], "decoder_sparse_step": 1, "hidden_size": 2048,
        "intermediate_size": 5632, "max_position_embeddings": 8192, "moe_intermediate_size": 1408,
        "num_attention_heads": 16, "num_experts": 60, "num_experts_per_tok": 4,
        "num_hidden_layers": 24, "num_key_value_heads": 16, "shared_expert_intermediate_size": 5632,
        "sliding_window": 32768, "use_sliding_window": false, "max_window_layers": 21,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16", "vocab_size": 151936
    }))
    .unwrap();
    // Qwen1.5-MoE-A2.7B: 14.3 B in total (its model card).
    let total = c.parameters().total();
    assert!((total as f64 / 14.3e9 - 1.0).abs() < 0.005, "{total}");
    assert_eq!(
        Model::new(&c, Precision::of(&c)).total_weight_bytes().0,
        2 * total
    );
}

#[test]
fn a_multimodal_wrapper_is_unwrapped_with_the_library_defaults() {
    // The whole text part of google/gemma-3-4b-it's config.json.
    let c = parsed(&json!({
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
        "torch_dtype": "bfloat16",
        "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
            "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024
        },
        "vision_config": {"hidden_size": 1152}
    }))
    .unwrap();
    assert_eq!(c.architecture, "Gemma3ForCausalLM");
    // 3.88 B without the vision tower (Gemma 3 report, arXiv:2503.19786 table 1: 3 209 M + 675 M).
    let total = c.parameters().total() as f64;
    assert!((total / 3.884e9 - 1.0).abs() < 0.005, "{total}");
    assert_eq!(
        c.windows().iter().filter(|w| w.is_none()).count(),
        5,
        "layers 5, 11, 17, 23, 29"
    );
    assert_eq!(c.windows()[5], None);
    // Its tower is counted apart.
    assert!(
        c.encoder.is_some() && c.caveats.is_empty(),
        "{:?}",
        c.caveats
    );
}

#[test]
fn windows_follow_layer_types_and_the_older_switches() {
    let windows = |changes| parsed(&with(base(), changes)).unwrap().windows();
    assert_eq!(
        windows(json!({"sliding_window": 512})),
        [None; 4],
        "use_sliding_window is off"
    );
    assert_eq!(
        windows(json!({"sliding_window": 512, "use_sliding_window": true, "max_window_layers": 3})),
        [None, None, None, Some(512)]
    );
    let types = [
        "full_attention",
        "sliding_attention",
        "sliding_attention",
        "full_attention",
    ];
    assert_eq!(
        windows(json!({"sliding_window": 512, "layer_types": types})),
        [None, Some(512), Some(512), None]
    );
    assert_eq!(
        windows(json!({"architectures": ["MistralForCausalLM"], "sliding_window": 512})),
        [Some(512); 4]
    );
}

#[test]
fn experts_skip_the_layers_that_the_config_says() {
    let c = parsed(&with(
        base(),
        json!({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 8, "num_experts_per_tok": 2,
               "moe_intermediate_size": 32, "decoder_sparse_step": 2, "mlp_only_layers": [3]}),
    ))
    .unwrap();
    assert_eq!(c.moe_layers(), [false, true, false, false]);
    let m = Model::new(&c, Precision::of(&c));
    let layers = |name| m.ops().iter().find(|o| o.name == name).unwrap().layers;
    assert_eq!((layers("experts"), layers("down_proj")), (1, 3));
    assert!(matches!(
        m.ops().iter().find(|o| o.name == "experts").unwrap().kind,
        OpKind::Experts(e) if (e.num_experts, e.top_k, e.intermediate, e.hidden) == (8, 2, 32, 64)
    ));
}

#[test]
fn quantisation_is_read_from_the_checkpoint() {
    let format = |q: Value| {
        let c = parsed(&with(base(), json!({"quantization_config": q})))?;
        Ok::<_, ModelError>(Precision::of_checkpoint(&c)?.mlp.to_string())
    };
    let int4 = json!({"group_0": {"weights": {"num_bits": 4, "type": "int", "strategy": "group",
        "group_size": 64, "symmetric": true}, "targets": ["Linear"]}});
    for (q, expected) in [
        (
            json!({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": true}),
            "int4-g128",
        ),
        (
            json!({"quant_method": "gptq", "bits": 8, "group_size": 32}),
            "int8-g32",
        ),
        (
            json!({"quant_method": "fp8", "activation_scheme": "dynamic"}),
            "fp8",
        ),
        (
            json!({"quant_method": "fp8", "weight_block_size": [128, 128]}),
            "fp8-block",
        ),
        (
            json!({"quant_method": "compressed-tensors", "config_groups": int4}),
            "int4-g64-sym",
        ),
        (json!({"quant_method": "mxfp4"}), "bf16"),
    ] {
        assert_eq!(format(q.clone()).unwrap(), expected, "{q}");
    }
    for (q, word) in [
        (json!({"quant_method": "bitsandbytes"}), "quant_method"),
        (
            json!({"quant_method": "gptq", "bits": 3, "group_size": 128}),
            "quantization_config.bits",
        ),
        (
            json!({"quant_method": "fp8", "weight_block_size": [64, 64]}),
            "weight_block_size",
        ),
        (json!({"bits": 4}), "quant_method"),
    ] {
        let text = format(q).unwrap_err().to_string();
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn errors_name_the_file_the_field_and_the_way_out() {
    for (changes, expected) in [
        (
            json!({"hidden_size": 0}),
            "config.json: field `hidden_size`: is 0; it must be at least 1",
        ),
        (
            json!({"hidden_size": -1}),
            "config.json: field `hidden_size`: invalid value: integer `-1`",
        ),
        (
            json!({"hidden_size": "64"}),
            "config.json: field `hidden_size`: invalid type: string",
        ),
        (
            json!({"hidden_size": 4_000_000_000u32}),
            "`hidden_size`: is 4000000000; capsim takes at most",
        ),
        (
            json!({"vocab_size": null}),
            "config.json: field `vocab_size` is missing; Qwen3ForCausalLM needs it",
        ),
        (
            json!({"num_key_value_heads": 3}),
            "`num_key_value_heads`: 3 does not divide num_attention_heads = 4",
        ),
        (
            json!({"architectures": ["LlamaForCausalLM"], "head_dim": null, "hidden_size": 63}),
            "`num_attention_heads`: 4 does not divide hidden_size = 63",
        ),
        (
            json!({"architectures": ["DeepseekV3ForCausalLM"]}),
            "`qk_rope_head_dim` is missing; DeepseekV3ForCausalLM needs it",
        ),
        (
            json!({"architectures": ["Qwen4ForMaskedLM"]}),
            "unknown architecture \"Qwen4ForMaskedLM\"; its config has other layers than any class that is known, or is none of a model \
             that writes text; --assume-architecture NAME counts its layers as those of another class; known:",
        ),
        (
            json!({"architectures": [3]}),
            "field `architectures[0]`: invalid type: integer `3`",
        ),
        (
            json!({"layer_types": ["full_attention"]}),
            "`layer_types`: has 1 entries for 4 layers",
        ),
        (
            json!({"layer_types": ["full_attention", "linear_attention", "x", "y"]}),
            "`layer_types[1]`: layers of type \"linear_attention\"",
        ),
        (
            json!({"hidden_size": 16_777_216, "intermediate_size": 16_777_216}),
            "capsim takes up to 1000000000000000",
        ),
        (
            json!({"torch_dtype": "int3"}),
            "`torch_dtype`: \"int3\" is none of",
        ),
        (
            json!({"architectures": ["MixtralForCausalLM"], "num_local_experts": 2, "num_experts_per_tok": 3}),
            "`num_experts_per_tok`: is 3, but there are only num_local_experts = 2",
        ),
        (
            json!({"text_config": {"hidden_size": "x"}}),
            "field `text_config.hidden_size`: invalid type",
        ),
    ] {
        let text = parsed(&with(base(), changes)).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}\n  lacks {expected}");
    }
    let text = config::parse("{\"hidden_size\": 64", "a/config.json")
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("a/config.json") && text.contains("line 1 column 18"),
        "{text}"
    );
}

/// All layers recurrent: there is no KV cache to simulate (an input that fuzzing found).
#[test]
fn a_model_without_any_attention_is_refused_by_the_field_that_says_so() {
    let next = builtin::find("qwen3-next-80b-a3b-instruct").unwrap();
    for (field, value) in [
        ("full_attention_interval", json!(49)),
        ("layer_types", json!(vec!["linear_attention"; 48])),
    ] {
        let mut config: Value = serde_json::from_str(next.json).unwrap();
        config.as_object_mut().unwrap().remove("layer_types");
        config[field] = value;
        let text = config::parse(&config.to_string(), "next")
            .unwrap_err()
            .to_string();
        assert!(
            text.contains(&format!("`{field}`: leaves none of the 48 layers")),
            "{text}"
        );
    }
}

// ── any input at all ────────────────────────────────────────────────────────────────────────────────

/// Whatever parses must also expand, in every precision, without overflow.
pub fn accept(text: &str) {
    let Ok(c) = config::parse(text, "fuzz") else {
        return;
    };
    for format in ["auto", "fp32", "awq", "q4_k_m", "mxfp4", "fp8-block"] {
        let precision = match Precision::by_name(format, &c) {
            Ok(p) => p,
            // Only what the checkpoint says of itself may not be understood.
            Err(_) if format == "auto" => continue,
            Err(e) => panic!("{e}"),
        };
        let m = Model::new(&c, precision);
        assert!(m.weight_bytes_per_token() <= m.total_weight_bytes());
        assert!(m.kv_bytes_per_block(4096) > Bytes::ZERO);
        assert!(m.kernels_per_step() > 0);
        let _ = m.ops().iter().map(|o| o.flops_per_row().0).sum::<u64>();
    }
}

#[test]
fn the_fuzzed_configs_are_not_all_refused() {
    // The properties below would hold trivially if every mutated config were an error.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let accepted = (0..300)
        .filter(|i| {
            let value = any_value().new_tree(&mut runner).unwrap().current();
            let keys = [
                "hidden_size",
                "vocab_size",
                "num_hidden_layers",
                "intermediate_size",
            ];
            parsed(&with(base(), json!({keys[i % 4]: value}))).is_ok()
        })
        .count();
    assert!((75..225).contains(&accepted), "{accepted} of 300 accepted");
}

pub fn any_value() -> impl Strategy<Value = Value> {
    let odd = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![Just(0i64), Just(1), Just(-1), 0..300i64, any::<i64>()].prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        (0..33u32).prop_map(|n| Value::from(1u64 << n)),
        any::<f64>().prop_map(Value::from),
        "[a-zA-Z0-9_]{0,20}".prop_map(Value::from),
        prop::collection::vec(any::<u32>(), 0..5).prop_map(Value::from),
        prop::sample::select(vec![
            "LlamaForCausalLM",
            "Gemma2ForCausalLM",
            "GptOssForCausalLM",
            "bfloat16"
        ])
        .prop_map(|s| json!([s])),
        Just(base()),
        Just(json!({"quant_method": "awq", "bits": 4, "group_size": 7})),
    ];
    prop_oneof![2 => odd, 1 => (1..5000u32).prop_map(Value::from)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::WithSource("proptest-regressions"))), ..ProptestConfig::default() })]

    #[test]
    fn a_config_with_any_fields_replaced_gives_a_model_or_an_error(
        which in 0..builtin::ALL.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_value()), 1..4),
    ) {
        let mut config: Value = serde_json::from_str(builtin::ALL[which].json).unwrap();
        let mut keys: Vec<String> = config.as_object().unwrap().keys().cloned().collect();
        keys.extend(
            ["text_config", "layer_types", "quantization_config", "moe_intermediate_size", "sliding_window",
             "use_sliding_window", "shared_expert_intermediate_size", "decoder_sparse_step", "head_dim"]
                .map(String::from),
        );
        for (index, value) in changes {
            config[index.get(&keys).as_str()] = value;
        }
        accept(&config.to_string());
    }

    #[test]
    fn broken_bytes_give_a_model_or_an_error(
        which in 0..builtin::ALL.len(),
        cut in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = builtin::ALL[which].json.as_bytes().to_vec();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1).max(bytes.len() / 2));
        accept(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_text_gives_an_error_not_a_panic(text in "\\PC*") {
        accept(&text);
    }
}

/// Bytes of weights as the checkpoints have them, to 1 %: what is left out of the quantisation counts in floats.
#[test]
fn what_a_checkpoint_leaves_in_floats_is_counted_in_floats() {
    let attention = json!({"quant_method": "compressed-tensors", "format": "pack-quantized",
        "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": true}}},
        "ignore": ["lm_head", "re:.*self_attn.*", "re:.*mlp.gate$"]});
    let gptq = json!({"bits": 4, "group_size": 128, "sym": true, "quant_method": "gptq",
        "dynamic": {"lm_head": {}, "-:.*attn.*": {}, "-:.*shared_expert.*": {}, "-:.*mtp.*": {}, "-:.*visual.*": {}}});
    let nf4 = json!({"quant_method": "bitsandbytes", "load_in_4bit": true});
    let round = json!({"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": true});
    for (name, quantization, bytes) in [
        ("qwen3-30b-a3b", attention, 19.39e9),
        ("qwen3.5-35b-a3b", gptq.clone(), 21.63e9),
        ("qwen3.5-122b-a10b", gptq, 72.54e9),
        ("llama-3.1-70b-instruct", nf4, 39.52e9),
        ("llama-3.1-70b-instruct", round, 39.77e9),
    ] {
        let mut raw: Value = serde_json::from_str(builtin::find(name).unwrap().json).unwrap();
        raw["quantization_config"] = quantization;
        let config = config::parse(&raw.to_string(), name).unwrap();
        let weights = Model::new(&config, Precision::of(&config)).total_weight_bytes();
        let off = weights.as_f64() / bytes - 1.0;
        assert!(off.abs() < 0.01, "{name}: {weights} for {bytes}");
    }
    let mut gemma: Value =
        serde_json::from_str(builtin::find("gemma-2-9b-it").unwrap().json).unwrap();
    gemma["torch_dtype"] = json!("float32");
    let config = config::parse(&gemma.to_string(), "gemma").unwrap();
    let model = Model::new(&config, Precision::of(&config));
    assert!((model.total_weight_bytes().as_f64() / 18.48e9 - 1.0).abs() < 0.01);
    assert!(config.caveats.iter().any(|c| c.contains("--dtype float32")));
}

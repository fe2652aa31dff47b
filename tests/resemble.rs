//! What is not known, and what a user says over a config: a class, its keys, a format of weights.
use capsim::model::{Precision, builtin, config};
use serde_json::json;

/// A config of a class that is not known, with the sizes of another.
fn unknown(class: &str, more: serde_json::Value) -> serde_json::Value {
    let mut config = json!({
        "architectures": [class], "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 128, "intermediate_size": 12288, "vocab_size": 151936, "max_position_embeddings": 40960,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    });
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

#[test]
fn an_unknown_class_is_counted_as_the_one_that_its_keys_resemble() {
    for (class, more, taken) in [
        ("SolarProForCausalLM", json!({}), "LlamaForCausalLM"),
        ("Qwen7ForCausalLM", json!({}), "Qwen3ForCausalLM"),
        (
            "AfmoeForCausalLM",
            json!({"num_experts": 64, "num_experts_per_tok": 8, "moe_intermediate_size": 768}),
            "Qwen3MoeForCausalLM",
        ),
        (
            "LongcatForCausalLM",
            json!({"kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
                   "n_routed_experts": 64, "num_experts_per_tok": 8, "moe_intermediate_size": 768}),
            "DeepseekV3ForCausalLM",
        ),
    ] {
        let c = config::parse(&unknown(class, more).to_string(), "c.json").unwrap();
        assert_eq!(c.architecture, taken, "{class}");
        assert!(
            c.resembles && c.assumed[0].contains(class),
            "{:?}",
            c.assumed
        );
    }
    // The sizes are those of Qwen3-8B but for the norms of q and k.
    let c = config::parse(
        &unknown("SolarProForCausalLM", json!({})).to_string(),
        "c.json",
    )
    .unwrap();
    let known = builtin::find("qwen3-8b")
        .unwrap()
        .config()
        .parameters()
        .total();
    assert!(known - c.parameters().total() < 20_000);
    // What is no text model, or lacks its sizes, is refused.
    for (class, more) in [
        ("BertForMaskedLM", json!({})),
        (
            "T9ForConditionalGeneration",
            json!({"is_encoder_decoder": true}),
        ),
        ("RwkvForCausalLM", json!({"attention_hidden_size": 4096})),
        ("SolarProForCausalLM", json!({"num_attention_heads": null})),
    ] {
        let e = config::parse(&unknown(class, more).to_string(), "c.json").unwrap_err();
        let e = e.to_string();
        assert!(
            e.contains("unknown architecture") && e.contains("--assume-architecture"),
            "{e}"
        );
    }
}

#[test]
fn a_class_and_keys_may_be_said_over_a_config() {
    use capsim::model::Overrides;
    let over = |class: Option<&str>, keys: &str| Overrides {
        architecture: class.map(String::from),
        keys: Overrides::keys(keys).unwrap(),
    };
    let text = unknown("SolarProForCausalLM", json!({})).to_string();
    let read = |o: &Overrides| config::parse_with(&text, "c.json", o);
    let c = read(&over(Some("Qwen3ForCausalLM"), "")).unwrap();
    assert_eq!(c.architecture, "Qwen3ForCausalLM");
    assert!(
        c.resembles && c.assumed[0].contains("--assume-architecture"),
        "{:?}",
        c.assumed
    );
    let c = read(&over(
        None,
        "num_hidden_layers=2;tie_word_embeddings=true;num_hiden_layers=3",
    ))
    .unwrap();
    assert_eq!((c.num_hidden_layers, c.tie_word_embeddings), (2, true));
    assert!(c.assumed[3].contains("changes nothing"), "{:?}", c.assumed);
    assert!(
        !c.assumed[1].contains("nothing") && !c.assumed[2].contains("nothing"),
        "{:?}",
        c.assumed
    );
    let e = read(&over(Some("Qwen3MoeForCausalML"), ""))
        .unwrap_err()
        .to_string();
    assert!(e.contains("did you mean \"Qwen3MoeForCausalLM\""), "{e}");
    // A key of a wrapper's text part is set there, with and without its path.
    let wrapped = json!({"architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl",
                         "text_config": unknown("Qwen3ForCausalLM", json!({}))});
    for key in ["num_hidden_layers=4", "text_config.num_hidden_layers=4"] {
        let c = config::parse_with(&wrapped.to_string(), "c.json", &over(None, key)).unwrap();
        assert_eq!(c.num_hidden_layers, 4, "{key}");
    }
}

#[test]
fn an_unknown_format_with_known_bits_is_counted_as_the_nearest() {
    let with = |q: serde_json::Value| {
        let text = unknown("Qwen3ForCausalLM", json!({"quantization_config": q})).to_string();
        config::parse(&text, "c.json").unwrap()
    };
    let c = with(json!({"quant_method": "hqq_plus", "bits": 4, "group_size": 64}));
    assert_eq!(
        Precision::of_checkpoint(&c).unwrap().mlp.to_string(),
        "int4-g64"
    );
    assert!(
        c.resembles && c.assumed[0].contains("hqq_plus"),
        "{:?}",
        c.assumed
    );
    let c = with(json!({"quant_method": "vendor_fp8_v2"}));
    assert_eq!(Precision::of_checkpoint(&c).unwrap().mlp.to_string(), "fp8");
    let c = with(json!({"quant_method": "vq", "bits": 2}));
    assert!(Precision::of_checkpoint(&c).is_err());
}

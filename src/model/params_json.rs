//! `params.json`, Mistral's own form of a config, as the `config.json` of the same model (vLLM 0.32.0,
//! `transformers_utils/configs/mistral.py: adapt_config_dict`).
use serde_json::{Map, Value, json};

/// Names of sizes there, and here.
const NAMES: &[(&str, &str)] = &[
    ("dim", "hidden_size"),
    ("n_layers", "num_hidden_layers"),
    ("n_heads", "num_attention_heads"),
    ("n_kv_heads", "num_key_value_heads"),
    ("hidden_dim", "intermediate_size"),
    ("tied_embeddings", "tie_word_embeddings"),
];

/// Names of what an object `moe` says, and here.
const EXPERTS: &[(&str, &str)] = &[
    ("num_experts", "n_routed_experts"),
    ("num_experts_per_tok", "num_experts_per_tok"),
    ("expert_hidden_dim", "moe_intermediate_size"),
    ("num_shared_experts", "n_shared_experts"),
    ("first_k_dense_replace", "first_k_dense_replace"),
    ("route_every_n", "moe_layer_freq"),
];

/// The longest context where the file does not say.
const LONGEST: u32 = 128_000;

/// The config that such a file says; `None`: it is a `config.json`.
pub(super) fn adapted(map: &Map<String, Value>) -> Option<Map<String, Value>> {
    let has = |name: &str| map.contains_key(name);
    if !has("dim") || !has("n_layers") || has("hidden_size") || has("architectures") {
        return None;
    }
    let mut text = map.clone();
    for (theirs, ours) in NAMES {
        if let Some(v) = text.remove(*theirs) {
            text.insert((*ours).into(), v);
        }
    }
    let longest = ["max_position_embeddings", "max_seq_len"];
    let longest = longest
        .into_iter()
        .find_map(|n| map.get(n).filter(|v| !v.is_null()));
    let longest = longest.cloned().unwrap_or_else(|| LONGEST.into());
    text.insert("max_position_embeddings".into(), longest);
    windows(&mut text);
    experts(&mut text);
    if let Some(q) = text.remove("quantization").filter(|q| !q.is_null()) {
        let fp8 = q.get("qformat_weight").and_then(Value::as_str) == Some("fp8_e4m3");
        let q = match fp8 {
            true => json!({"quant_method": "fp8", "activation_scheme": "static"}),
            false => q,
        };
        text.insert("quantization_config".into(), q);
    }
    let inside = map
        .get("multimodal")
        .and_then(|m| m.get("vision_encoder_args"));
    match map
        .get("vision_encoder")
        .or(inside)
        .and_then(Value::as_object)
    {
        Some(vision) => Some(wrapped(text, vision)),
        None => Some(text),
    }
}

/// A list of windows, repeated over the layers, becomes each layer's kind.
fn windows(text: &mut Map<String, Value>) {
    let layers = text.get("num_hidden_layers").and_then(Value::as_u64);
    let (Some(Value::Array(list)), Some(layers)) = (text.get("sliding_window"), layers) else {
        return;
    };
    let (list, layers) = (list.clone(), layers.min(1 << 13) as usize);
    let kinds: Vec<&str> = list
        .iter()
        .cycle()
        .take(if list.is_empty() { 0 } else { layers })
        .map(|w| match w.is_null() {
            true => "full_attention",
            false => "sliding_attention",
        })
        .collect();
    text.insert("layer_types".into(), json!(kinds));
    let window = list.iter().find(|w| !w.is_null()).cloned();
    text.insert("sliding_window".into(), window.unwrap_or(Value::Null));
}

/// The class: with latent attention DeepSeek's without a correction bias, with experts alone Mixtral's.
fn experts(text: &mut Map<String, Value>) {
    let latent = text.get("qk_nope_head_dim").is_some_and(|v| !v.is_null());
    let moe = text.remove("moe").and_then(|m| match m {
        Value::Object(m) => Some(m),
        _ => None,
    });
    let shared = |m: &Map<String, Value>| {
        m.get("num_shared_experts")
            .and_then(Value::as_u64)
            .unwrap_or(0)
            > 0
    };
    let class = match &moe {
        _ if latent => "DeepseekV2ForCausalLM",
        Some(m) if shared(m) => "DeepseekV2ForCausalLM",
        Some(_) => "MixtralForCausalLM",
        None => "MistralForCausalLM",
    };
    text.insert("architectures".into(), json!([class]));
    let moe = match (moe, latent) {
        (Some(moe), _) => moe,
        // Dense layers alone.
        (None, true) => Map::from_iter([
            ("num_experts".to_owned(), json!(1)),
            ("num_experts_per_tok".to_owned(), json!(1)),
            (
                "first_k_dense_replace".to_owned(),
                text.get("num_hidden_layers")
                    .cloned()
                    .unwrap_or(Value::Null),
            ),
        ]),
        (None, false) => return,
    };
    for (theirs, ours) in EXPERTS {
        if let Some(v) = moe.get(*theirs) {
            text.insert((*ours).into(), v.clone());
        }
    }
}

/// A text part with its tower: with `mm_projector_id` patches are merged before they are projected.
fn wrapped(text: Map<String, Value>, vision: &Map<String, Value>) -> Map<String, Value> {
    let merged = vision.get("mm_projector_id").is_some_and(|v| !v.is_null());
    let mut tower = vision.clone();
    tower.insert("model_type".into(), "pixtral".into());
    let of = |name: &str| vision.get(name).cloned().unwrap_or(Value::Null);
    let mut outer = Map::new();
    let kind = if merged { "mistral3" } else { "llava" };
    outer.insert("model_type".into(), kind.into());
    outer.insert("spatial_merge_size".into(), of("spatial_merge_size"));
    outer.insert("multimodal_projector_bias".into(), of("adapter_bias"));
    if let Some(q) = text.get("quantization_config") {
        outer.insert("quantization_config".into(), q.clone());
    }
    outer.insert("vision_config".into(), Value::Object(tower));
    outer.insert("text_config".into(), Value::Object(text));
    outer
}

#[cfg(test)]
mod tests {
    use crate::model::{Precision, builtin, config};
    use serde_json::json;

    /// The keys that vLLM 0.32.0 reads, with the sizes of models that ship as `config.json`.
    #[test]
    fn mistrals_own_form_says_the_same_model() {
        let nemo = json!({"dim": 5120, "n_layers": 40, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32, "n_kv_heads": 8,
                          "norm_eps": 1e-5, "vocab_size": 131072, "rope_theta": 1e6, "max_seq_len": 131072});
        let c = config::parse(&nemo.to_string(), "params.json").unwrap();
        let own = builtin::find("mistral-nemo-instruct-2407")
            .unwrap()
            .config();
        assert_eq!(c.parameters(), own.parameters());
        assert_eq!(c.max_position_embeddings, 131_072);
        let mut mixtral = json!({"dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32, "n_kv_heads": 8,
                                 "norm_eps": 1e-5, "vocab_size": 32000, "moe": {"num_experts_per_tok": 2, "num_experts": 8}});
        let c = config::parse(&mixtral.to_string(), "params.json").unwrap();
        let own = builtin::find("mixtral-8x7b-instruct-v0.1")
            .unwrap()
            .config();
        assert_eq!(c.parameters(), own.parameters());
        mixtral["quantization"] = json!({"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"});
        let c = config::parse(&mixtral.to_string(), "params.json").unwrap();
        assert_eq!(
            Precision::of_checkpoint(&c).unwrap().experts.to_string(),
            "fp8"
        );
        // Windows of three layers, the fourth sees everything.
        let mut windows = nemo;
        windows["sliding_window"] = json!([4096, 4096, 4096, null]);
        windows["vision_encoder"] = json!({"hidden_size": 1024, "num_channels": 3, "image_size": 1540, "patch_size": 14,
            "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "mm_projector_id": "patch_merge",
            "spatial_merge_size": 2, "adapter_bias": false});
        let c = config::parse(&windows.to_string(), "params.json").unwrap();
        assert_eq!(c.windows()[2..5], [Some(4096), None, Some(4096)]);
        assert_eq!(c.encoder.unwrap().parameters, 403_305_472 + 35_652_608);
    }
}

//! The architectures that have operators, and the defaults that their configs may leave out.
use super::error::closest;
use serde::{Deserialize, Serialize};

/// A decoder-only architecture. Names are those of `architectures` in Hugging Face `config.json` files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Architecture {
    /// LlamaForCausalLM.
    Llama,
    /// MistralForCausalLM.
    Mistral,
    /// MixtralForCausalLM.
    Mixtral,
    /// Phi3ForCausalLM.
    Phi3,
    /// Qwen2ForCausalLM (Qwen2, Qwen2.5, QwQ).
    Qwen2,
    /// Qwen3ForCausalLM.
    Qwen3,
    /// Qwen2MoeForCausalLM.
    Qwen2Moe,
    /// Qwen3MoeForCausalLM.
    Qwen3Moe,
    /// GemmaForCausalLM.
    Gemma,
    /// Gemma2ForCausalLM.
    Gemma2,
    /// Gemma3ForCausalLM, and the text part of Gemma3ForConditionalGeneration.
    Gemma3,
    /// GptOssForCausalLM.
    GptOss,
    /// Glm4MoeForCausalLM (GLM-4.5, GLM-4.6).
    Glm4Moe,
    /// Qwen3NextForCausalLM (Qwen3-Next, Qwen3-Coder-Next): gated DeltaNet in three of four layers.
    Qwen3Next,
    /// Text part of Qwen3_5ForConditionalGeneration (Qwen3.5 and 3.6, dense): the same hybrid.
    Qwen35,
    /// Text part of Qwen3_5MoeForConditionalGeneration (Qwen3.5 and 3.6 with experts).
    Qwen35Moe,
    /// Text part of Gemma4ForConditionalGeneration: wider heads in full layers, experts beside a dense MLP.
    Gemma4,
    /// Text part of Mistral3ForConditionalGeneration with `ministral3` inside (Ministral 3).
    Ministral3,
}

/// What a config may leave out, and what always holds, after `configuration_*.py` and `modeling_*.py`
/// of transformers 4.57 (directory `src/transformers/models/`).
pub(crate) struct Rules {
    pub arch: Architecture,
    /// `architectures[0]` and `model_type`.
    pub names: &'static [&'static str],
    /// `head_dim` when absent; None derives hidden_size / num_attention_heads.
    pub head_dim: Option<u32>,
    /// `num_key_value_heads` when absent: None means as many as query heads are *not* assumed.
    pub kv_heads_default_to_q: bool,
    pub tied: bool,
    /// Which projections carry a bias when `attention_bias` is (true, false or absent).
    pub bias: AttentionBias,
    pub qk_norm: QkNorm,
    /// RMSNorms of hidden size per layer: 4 where the outputs of attention and MLP are normed too.
    pub norms_per_layer: u32,
    pub window: WindowRule,
    pub moe: MoeRule,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum AttentionBias {
    /// `attention_bias` switches q, k, v and o together.
    AllByFlag,
    /// `attention_bias` switches q, k, v; o has none.
    QkvByFlag,
    /// q, k, v always.
    QkvAlways,
    Never,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum QkNorm {
    Never,
    Always,
    /// `use_qk_norm`.
    ByFlag,
}

/// Which layers slide where the config has no `layer_types`.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum WindowRule {
    Never,
    /// Every layer, if `sliding_window` is set.
    AllIfSet,
    /// With `use_sliding_window`, layers from `max_window_layers` on.
    FromMaxWindowLayers,
    /// Every `n`-th layer is full (`sliding_window_pattern` overrides n).
    EveryNthFull(u32),
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum MoeRule {
    Dense,
    /// All layers; an expert has `intermediate_size`.
    All,
    /// As `All`, with biases in router and experts.
    AllBiased,
    /// `mlp_only_layers`, `decoder_sparse_step`, `moe_intermediate_size`.
    Sparse,
    /// `first_k_dense_replace`, `n_shared_experts`.
    AfterFirstDense,
    /// `enable_moe_block`: experts of `moe_intermediate_size` beside a dense MLP of `intermediate_size` in every layer.
    BesideDense,
}

use Architecture::*;
const BASE: Rules = Rules {
    arch: Llama,
    names: &["LlamaForCausalLM", "llama"],
    head_dim: None,
    kv_heads_default_to_q: false,
    tied: false,
    bias: AttentionBias::Never,
    qk_norm: QkNorm::Never,
    norms_per_layer: 2,
    window: WindowRule::Never,
    moe: MoeRule::Dense,
};

const RULES: [Rules; 22] = [
    // Granite scales embedding, residuals and logits by constants: no size depends on them.
    Rules {
        names: &["LlamaForCausalLM", "llama", "GraniteForCausalLM", "granite"],
        kv_heads_default_to_q: true,
        bias: AttentionBias::AllByFlag,
        ..BASE
    },
    // `modeling_seed_oss.py`: the output projection has a bias only with `attention_out_bias`, which no published config sets.
    Rules {
        names: &["SeedOssForCausalLM", "seed_oss"],
        bias: AttentionBias::QkvByFlag,
        ..BASE
    },
    Rules {
        names: &["InternLM3ForCausalLM", "internlm3"],
        ..BASE
    },
    Rules {
        names: &["HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense"],
        kv_heads_default_to_q: true,
        bias: AttentionBias::AllByFlag,
        qk_norm: QkNorm::ByFlag,
        ..BASE
    },
    // GLM-4-0414: a norm behind attention and MLP, too.
    Rules {
        names: &["Glm4ForCausalLM", "glm4"],
        head_dim: Some(128),
        bias: AttentionBias::QkvByFlag,
        norms_per_layer: 4,
        ..BASE
    },
    Rules {
        arch: Mistral,
        names: &["MistralForCausalLM", "mistral"],
        window: WindowRule::AllIfSet,
        ..BASE
    },
    Rules {
        arch: Mixtral,
        names: &["MixtralForCausalLM", "mixtral"],
        window: WindowRule::AllIfSet,
        moe: MoeRule::All,
        ..BASE
    },
    Rules {
        arch: Phi3,
        names: &["Phi3ForCausalLM", "phi3"],
        kv_heads_default_to_q: true,
        window: WindowRule::AllIfSet,
        ..BASE
    },
    Rules {
        arch: Qwen2,
        names: &[
            "Qwen2ForCausalLM",
            "qwen2",
            "Qwen2_5_VLForConditionalGeneration",
            "qwen2_5_vl",
            "qwen2_5_vl_text",
            "Qwen2VLForConditionalGeneration",
            "qwen2_vl",
            "qwen2_vl_text",
        ],
        bias: AttentionBias::QkvAlways,
        window: WindowRule::FromMaxWindowLayers,
        ..BASE
    },
    Rules {
        arch: Qwen3,
        names: &[
            "Qwen3ForCausalLM",
            "qwen3",
            "Qwen3VLForConditionalGeneration",
            "qwen3_vl",
            "qwen3_vl_text",
        ],
        head_dim: Some(128),
        bias: AttentionBias::AllByFlag,
        qk_norm: QkNorm::Always,
        window: WindowRule::FromMaxWindowLayers,
        ..BASE
    },
    Rules {
        arch: Qwen2Moe,
        names: &["Qwen2MoeForCausalLM", "qwen2_moe"],
        bias: AttentionBias::QkvAlways,
        window: WindowRule::FromMaxWindowLayers,
        moe: MoeRule::Sparse,
        ..BASE
    },
    Rules {
        arch: Qwen3Moe,
        names: &[
            "Qwen3MoeForCausalLM",
            "qwen3_moe",
            "Qwen3VLMoeForConditionalGeneration",
            "qwen3_vl_moe",
            "qwen3_vl_moe_text",
        ],
        bias: AttentionBias::AllByFlag,
        qk_norm: QkNorm::Always,
        window: WindowRule::FromMaxWindowLayers,
        moe: MoeRule::Sparse,
        ..BASE
    },
    Rules {
        arch: Gemma,
        names: &["GemmaForCausalLM", "gemma"],
        head_dim: Some(256),
        tied: true,
        bias: AttentionBias::AllByFlag,
        ..BASE
    },
    Rules {
        arch: Gemma2,
        names: &["Gemma2ForCausalLM", "gemma2"],
        head_dim: Some(256),
        tied: true,
        bias: AttentionBias::AllByFlag,
        norms_per_layer: 4,
        window: WindowRule::EveryNthFull(2),
        ..BASE
    },
    Rules {
        arch: Gemma3,
        names: &[
            "Gemma3ForCausalLM",
            "gemma3_text",
            "Gemma3ForConditionalGeneration",
            "gemma3",
        ],
        head_dim: Some(256),
        tied: true,
        bias: AttentionBias::AllByFlag,
        qk_norm: QkNorm::Always,
        norms_per_layer: 4,
        window: WindowRule::EveryNthFull(6),
        ..BASE
    },
    Rules {
        arch: GptOss,
        names: &["GptOssForCausalLM", "gpt_oss"],
        head_dim: Some(64),
        bias: AttentionBias::AllByFlag,
        window: WindowRule::EveryNthFull(2),
        moe: MoeRule::AllBiased,
        ..BASE
    },
    Rules {
        arch: Glm4Moe,
        names: &["Glm4MoeForCausalLM", "glm4_moe"],
        head_dim: Some(128),
        bias: AttentionBias::QkvByFlag,
        qk_norm: QkNorm::ByFlag,
        moe: MoeRule::AfterFirstDense,
        ..BASE
    },
    Rules {
        arch: Qwen3Next,
        names: &["Qwen3NextForCausalLM", "qwen3_next"],
        head_dim: Some(256),
        bias: AttentionBias::AllByFlag,
        qk_norm: QkNorm::Always,
        moe: MoeRule::Sparse,
        ..BASE
    },
    Rules {
        arch: Qwen35,
        names: &[
            "Qwen3_5ForCausalLM",
            "qwen3_5_text",
            "Qwen3_5ForConditionalGeneration",
            "qwen3_5",
        ],
        head_dim: Some(256),
        bias: AttentionBias::AllByFlag,
        qk_norm: QkNorm::Always,
        ..BASE
    },
    Rules {
        arch: Qwen35Moe,
        names: &[
            "Qwen3_5MoeForCausalLM",
            "qwen3_5_moe_text",
            "Qwen3_5MoeForConditionalGeneration",
            "qwen3_5_moe",
        ],
        head_dim: Some(256),
        bias: AttentionBias::AllByFlag,
        qk_norm: QkNorm::Always,
        moe: MoeRule::Sparse,
        ..BASE
    },
    Rules {
        arch: Gemma4,
        names: &[
            "Gemma4ForCausalLM",
            "gemma4_text",
            "Gemma4ForConditionalGeneration",
            "gemma4",
        ],
        head_dim: Some(256),
        tied: true,
        bias: AttentionBias::AllByFlag,
        qk_norm: QkNorm::Always,
        norms_per_layer: 4,
        window: WindowRule::EveryNthFull(6),
        moe: MoeRule::BesideDense,
        ..BASE
    },
    Rules {
        arch: Ministral3,
        names: &["Ministral3ForCausalLM", "ministral3"],
        head_dim: Some(128),
        ..BASE
    },
];

/// The rules of the architecture that `name` means (`architectures[0]` or `model_type`).
pub(crate) fn rules(name: &str) -> Option<&'static Rules> {
    RULES.iter().find(|r| r.names.contains(&name))
}

/// All names, for error texts.
pub(crate) fn known() -> String {
    let firsts: Vec<_> = RULES.iter().map(|r| r.names[0]).collect();
    firsts.join(", ")
}

/// The known name closest to `name`.
pub(crate) fn suggest(name: &str) -> Option<String> {
    closest(name, RULES.iter().flat_map(|r| r.names.iter().copied()))
}

//! The fields of a `config.json` that decide sizes, as they stand there.
use serde::Deserialize;
use std::collections::BTreeMap;

/// Everything optional: which fields are needed depends on the architecture.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawConfig {
    pub architectures: Option<Vec<String>>,
    pub model_type: Option<String>,
    /// InternVL calls it `llm_config`.
    #[serde(alias = "llm_config")]
    pub text_config: Option<Box<RawConfig>>,
    /// Beside the text part, or beside the fields of the text itself (Qwen2.5-VL).
    pub vision_config: Option<serde::de::IgnoredAny>,
    pub torch_dtype: Option<String>,
    pub dtype: Option<String>,
    pub hidden_size: Option<u32>,
    pub intermediate_size: Option<u32>,
    pub num_hidden_layers: Option<u32>,
    pub num_attention_heads: Option<u32>,
    pub num_key_value_heads: Option<u32>,
    pub head_dim: Option<u32>,
    pub vocab_size: Option<u32>,
    pub max_position_embeddings: Option<u32>,
    pub tie_word_embeddings: Option<bool>,
    pub attention_bias: Option<bool>,
    pub mlp_bias: Option<bool>,
    pub use_qk_norm: Option<bool>,
    pub sliding_window: Option<u32>,
    pub use_sliding_window: Option<bool>,
    pub max_window_layers: Option<u32>,
    pub sliding_window_pattern: Option<u32>,
    pub layer_types: Option<Vec<String>>,
    pub num_experts: Option<u32>,
    pub num_local_experts: Option<u32>,
    pub n_routed_experts: Option<u32>,
    pub num_experts_per_tok: Option<u32>,
    pub experts_per_token: Option<u32>,
    pub moe_intermediate_size: Option<u32>,
    pub shared_expert_intermediate_size: Option<u32>,
    pub n_shared_experts: Option<u32>,
    pub mlp_only_layers: Option<Vec<u32>>,
    pub decoder_sparse_step: Option<u32>,
    pub first_k_dense_replace: Option<u32>,
    pub quantization_config: Option<RawQuantization>,
    pub full_attention_interval: Option<u32>,
    pub linear_num_key_heads: Option<u32>,
    pub linear_num_value_heads: Option<u32>,
    pub linear_key_head_dim: Option<u32>,
    pub linear_value_head_dim: Option<u32>,
    pub linear_conv_kernel_dim: Option<u32>,
    pub mamba_ssm_dtype: Option<String>,
    pub attn_output_gate: Option<bool>,
    pub global_head_dim: Option<u32>,
    pub num_global_key_value_heads: Option<u32>,
    pub attention_k_eq_v: Option<bool>,
    pub enable_moe_block: Option<bool>,
    pub top_k_experts: Option<u32>,
    pub hidden_size_per_layer_input: Option<u32>,
    pub num_kv_shared_layers: Option<u32>,
}

/// `quantization_config`, the fields of all methods side by side.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawQuantization {
    pub quant_method: Option<String>,
    pub bits: Option<u32>,
    pub group_size: Option<i64>,
    pub q_group_size: Option<i64>,
    pub weight_block_size: Option<Vec<u32>>,
    pub modules_to_not_convert: Option<Vec<String>>,
    pub ignored_layers: Option<Vec<String>>,
    pub ignore: Option<Vec<String>>,
    /// GPTQModel: patterns, a minus in front of those that are left out.
    pub dynamic: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    /// bitsandbytes.
    pub load_in_4bit: Option<bool>,
    pub load_in_8bit: Option<bool>,
    pub llm_int8_skip_modules: Option<Vec<String>>,
    pub config_groups: Option<BTreeMap<String, RawGroup>>,
}

/// One entry of compressed-tensors' `config_groups`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawGroup {
    pub weights: Option<RawGroupWeights>,
}

/// How that group's weights are stored.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawGroupWeights {
    pub num_bits: Option<u32>,
    pub r#type: Option<String>,
    pub strategy: Option<String>,
    pub group_size: Option<i64>,
    pub symmetric: Option<bool>,
}

//! The engine's own settings under vLLM's names: a struct, a JSON object.
use serde::{Deserialize, Serialize};

/// Settings as `vllm serve` takes them. `None` means: the engine's default applies.
///
/// Names and meanings are those of vLLM 0.12.0 (`engine/arg_utils.py`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ServeArgs {
    /// Model: a Hugging Face id, a short name, or the path of a `config.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `auto`, `float16`/`half`, `bfloat16`, `float32`/`float`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// Weight quantisation: `fp8`, `awq`, `gptq`, `mxfp4`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// `auto`, `fp8`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache_dtype: Option<String>,
    /// Longest sequence, prompt and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<u32>,
    /// Most sequences in a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_num_seqs: Option<u32>,
    /// Most new tokens in a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_num_batched_tokens: Option<u32>,
    /// Part of the device memory that the engine may use, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_utilization: Option<f64>,
    /// Tokens per KV block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u32>,
    /// Prefix cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_prefix_caching: Option<bool>,
    /// Chunked prefill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_chunked_prefill: Option<bool>,
    /// No graphs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforce_eager: Option<bool>,
    /// Schedule a step before the previous one's output is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub async_scheduling: Option<bool>,
    /// `fcfs` or `priority`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_policy: Option<String>,
    /// Cap on one request's chunk in a step; 0: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long_prefill_token_threshold: Option<u32>,
    /// KV blocks, whatever the memory says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_gpu_blocks_override: Option<u32>,
    /// Bytes for the KV cache, whatever the utilisation says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache_memory_bytes: Option<u64>,
    /// Tokens computed at a time (llama.cpp's `--ubatch-size`); of engines that split a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<u32>,
    /// Devices that share every layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor_parallel_size: Option<u32>,
    /// Engines with requests of their own that share the experts of a mixture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_parallel_size: Option<u32>,
    /// A router of one's own in front of the engines (taken to go round in turn) instead of vLLM's balancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_parallel_external_lb: Option<bool>,
    /// Whole experts per device instead of slices of all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_expert_parallel: Option<bool>,
}

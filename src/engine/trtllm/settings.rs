//! Settings of TensorRT-LLM (`tensorrt_llm/llmapi/llm_args.py`, `commands/serve.py`@00209af; defaults as in the reference of 1.4.0rc4,
//! nvidia.github.io/TensorRT-LLM/1.4.0rc4/llm-api/reference) in terms of the same engine configuration.
//!
//! | `trtllm-serve` | here | default |
//! | --- | --- | --- |
//! | `--max_batch_size` | `max_num_seqs` | 2048 |
//! | `--max_num_tokens` | `max_num_batched_tokens` | 8192 |
//! | `--max_seq_len` | `max_model_len` | the model's longest, or what the KV cache holds |
//! | `--free_gpu_memory_fraction` | `gpu_memory_utilization`: the share of what weights and activations leave | 0.9 |
//! | `--enable_chunked_prefill` | `enable_chunked_prefill` | off |
//! | `--tp_size` | `tensor_parallel_size` | 1 |
//! | `--ep_size`, the same as `--tp_size` | `enable_expert_parallel` | 1: slices of all experts |
//! | `enable_attention_dp` | `enable_dp_attention`: every device of `--tp_size` a rank | off |
//! | `kv_cache_config.tokens_per_block` | `block_size` | 32 |
//! | `kv_cache_config.max_tokens` | `num_gpu_blocks_override` | what the memory gives |
//! | `kv_cache_config.enable_block_reuse` | `enable_prefix_caching` | on |
//! | `scheduler_config.capacity_scheduler_policy` | `capacity_scheduler_policy` | `GUARANTEED_NO_EVICT` |
//! | `disable_overlap_scheduler` | `async_scheduling` off | on |
//! | `cuda_graph_config: null` | `enforce_eager` | graphs |
//! | `stream_interval` | `stream_interval` | 1 |
use crate::device::EngineId;
use crate::engine::config::CapacityPolicy;
use crate::engine::memory::{self, MemoryInputs, MemoryPlan};
use crate::engine::resolved::{Asked, Settings, SettingsError, at_least_one, bad, only_one};
use crate::engine::settings::*;
use crate::engine::speculation::{Drafting, Speculation};
use crate::engine::{EngineConfig, EngineVersion, Group, Router};
use crate::model::{Model, Parallel, Placement};
use crate::units::Bytes;

/// `KvCacheConfig.tokens_per_block`.
pub(crate) const TOKENS_PER_BLOCK: u32 = 32;
/// `max_batch_size` and `max_num_tokens` (`llmapi/llm_args.py`, 1.0 on).
const MAX_BATCH_SIZE: u32 = 2048;
const MAX_NUM_TOKENS: u32 = 8192;
/// `KvCacheConfig.free_gpu_memory_fraction`.
const FREE_FRACTION: f64 = 0.9;

/// How the devices are divided. With attention in data parallel every device is a rank, and all share the experts in lock-step
/// (`enable_attention_dp`: `mapping.dp_size` is `tp_size`).
fn division(asked: &Asked<'_>) -> Result<(Parallel, Group), SettingsError> {
    let given = asked.given;
    for (field, size) in [
        ("pipeline_parallel_size", given.get(PIPELINE_PARALLEL_SIZE)),
        (
            "decode_context_parallel_size",
            given.get(DECODE_CONTEXT_PARALLEL_SIZE),
        ),
        ("data_parallel_size", given.get(DATA_PARALLEL_SIZE)),
        ("nnodes", given.get(NNODES)),
    ] {
        only_one(size, field, EngineId::Trtllm)?;
    }
    let devices = given.get(TENSOR_PARALLEL_SIZE).unwrap_or(1);
    at_least_one("tensor_parallel_size", devices, 1024)?;
    let experts = asked.model.experts().is_some();
    let attention = given.get(ENABLE_DP_ATTENTION) == Some(true) && devices > 1;
    if attention && !experts {
        return Err(bad(
            "enable_dp_attention",
            "is simulated for models with experts only; leave it out".into(),
        ));
    }
    let (tensor, data) = match attention {
        true => (1, devices),
        false => (devices, 1),
    };
    let parallel = Parallel {
        tensor,
        data,
        expert: given.get(ENABLE_EXPERT_PARALLEL) == Some(true) && experts,
        pipeline: 1,
        context: 1,
        nodes: 1,
    };
    let group = Group {
        engines: data,
        lockstep: attention,
        // Requests are spread so that every rank has as many (`scheduler/adp_router.py`@62b8daa).
        router: Router::Emptiest,
    };
    Ok((parallel, group))
}

fn policy(given: &SettingValues) -> Result<CapacityPolicy, SettingsError> {
    let Some(name) = given.get(CAPACITY_SCHEDULER_POLICY) else {
        return Ok(CapacityPolicy::default());
    };
    match name.to_ascii_lowercase().as_str() {
        "guaranteed_no_evict" => Ok(CapacityPolicy::GuaranteedNoEvict),
        "max_utilization" => Ok(CapacityPolicy::MaxUtilization),
        other => Err(bad(
            "capacity_scheduler_policy",
            format!("`{other}` is not simulated; guaranteed_no_evict and max_utilization are"),
        )),
    }
}

/// Where the memory goes: the KV cache gets its fraction of what a first run of `max_num_tokens` tokens leaves free
/// (`_util.py: _cal_max_memory`@0004396), or `max_tokens`, if that is less.
fn sized(
    asked: &Asked<'_>,
    model: &Model,
    inputs: &MemoryInputs,
    fraction: f64,
) -> Result<MemoryPlan, SettingsError> {
    let plan = |inputs: &MemoryInputs| memory::plan(model, asked.device, asked.profile, inputs);
    let whole = plan(inputs)?;
    let used = whole.weights + whole.activations + whole.non_torch;
    let free = whole.total.as_f64() - used.as_f64();
    let kv = asked.given.get(KV_CACHE_MEMORY_BYTES);
    let sized = plan(&MemoryInputs {
        kv_cache_memory_bytes: Some(kv.unwrap_or((free * fraction).max(0.0) as u64)),
        ..*inputs
    })?;
    let sized = match asked.given.get(NUM_GPU_BLOCKS_OVERRIDE) {
        Some(fewer) if fewer < sized.num_gpu_blocks => plan(&MemoryInputs {
            num_gpu_blocks_override: Some(fewer),
            ..*inputs
        })?,
        _ => sized,
    };
    // What is left of the memory stays free.
    Ok(MemoryPlan {
        requested: used + sized.kv_cache,
        ..sized
    })
}

/// Fills in defaults and sizes the KV cache.
pub(super) fn resolve(asked: &Asked<'_>) -> Result<Settings, SettingsError> {
    let given = asked.given;
    let (parallel, group) = division(asked)?;
    let part = asked
        .model
        .shared(parallel)
        .map_err(|problem| bad("tensor_parallel_size", problem))?;
    let model = &part;
    let tokens = given.get(MAX_NUM_BATCHED_TOKENS).unwrap_or(MAX_NUM_TOKENS);
    let seqs = given
        .get(MAX_NUM_SEQS)
        .unwrap_or(MAX_BATCH_SIZE)
        .min(tokens);
    let block_size = given.get(BLOCK_SIZE).unwrap_or(TOKENS_PER_BLOCK);
    let interval = given.get(STREAM_INTERVAL).unwrap_or(1);
    at_least_one("max_num_seqs", seqs, 1 << 24)?;
    at_least_one("max_num_batched_tokens", tokens, 1 << 24)?;
    at_least_one("stream_interval", interval, 1 << 20)?;
    if !(2..=4096).contains(&block_size) || !block_size.is_power_of_two() {
        return Err(bad(
            "block_size",
            format!("{block_size} must be a power of two from 2 to 4096"),
        ));
    }
    let fraction = asked.utilization(FREE_FRACTION)?;
    let enforce_eager = given.get(ENFORCE_EAGER).unwrap_or(false);
    let drafting = asked.drafting(model)?;
    let inputs = MemoryInputs {
        utilization: 1.0,
        block_size,
        max_num_batched_tokens: tokens,
        max_num_seqs: seqs.min(256),
        max_model_len: 1,
        kv_cache_memory_bytes: None,
        num_gpu_blocks_override: None,
        version: EngineVersion::V0_12,
        enforce_eager,
        // A pool of their own, which is not sized here.
        states_in_blocks: false,
        prefix_caching: false,
        host_weights: Bytes::ZERO,
        activations_within: true,
        drafter: drafting.as_ref().map(Drafting::memory).unwrap_or_default(),
    };
    let memory = sized(asked, model, &inputs, fraction)?;
    // A sequence is never longer than the cache (`resource_manager.py: KVCacheManager`).
    let held = (memory.num_gpu_blocks - 1).saturating_mul(block_size);
    let longest = model.max_position_embeddings();
    let max_model_len = given
        .get(MAX_MODEL_LEN)
        .unwrap_or(longest)
        .min(longest)
        .min(held);
    at_least_one("max_model_len", max_model_len, 1 << 24)?;
    let chunked = given.get(ENABLE_CHUNKED_PREFILL).unwrap_or(false);
    let config = EngineConfig {
        version: EngineVersion::V0_12,
        block_size,
        num_gpu_blocks: memory.num_gpu_blocks,
        max_num_seqs: seqs,
        max_num_batched_tokens: tokens,
        max_model_len,
        enable_prefix_caching: given.get(ENABLE_PREFIX_CACHING).unwrap_or(true),
        async_scheduling: given.get(ASYNC_SCHEDULING).unwrap_or(true),
        speculation: drafting
            .as_ref()
            .map(|d| Speculation::of(d, EngineId::Trtllm)),
        capacity_policy: policy(given)?,
        whole_prompts: !chunked,
        stream_interval: interval,
        stream_by_step: true,
        ..EngineConfig::default()
    };
    Ok(Settings {
        in_force: asked
            .in_force(&config)?
            .with(GPU_MEMORY_UTILIZATION, fraction)
            .with(ENFORCE_EAGER, enforce_eager)
            .with(ENABLE_CHUNKED_PREFILL, chunked)
            .with(TENSOR_PARALLEL_SIZE, parallel.tensor * parallel.data),
        config,
        parallel,
        group,
        memory,
        enforce_eager,
        gpu_memory_utilization: fraction,
        micro_batch: None,
        engine: EngineId::Trtllm,
        api_servers: 1,
        placement: Placement::Device,
        stages: vec![],
        op_offload: false,
        drafting,
    })
}

/// The key of an MTP layer's drafts (`MTPDecodingConfig`).
const MTP_DRAFTS: &str = "num_nextn_predict_layers";

/// Words like `--kv_cache_config.tokens_per_block 64` as one JSON object, which is YAML.
pub(super) fn options(words: &[String]) -> String {
    let mut root = serde_json::Map::new();
    for word in words {
        let (name, value) = word.split_once(' ').unwrap_or((word, "true"));
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        let name = name.trim_start_matches("--");
        let (flag, value) = match (name, value) {
            ("cuda_graph_config", _) => (name, serde_json::Value::Null),
            (name, value) => (name, value),
        };
        match flag.split_once('.') {
            Some((section, key)) => {
                let inner = root
                    .entry(section)
                    .or_insert_with(|| serde_json::Map::new().into());
                if let Some(inner) = inner.as_object_mut() {
                    inner.insert(key.into(), value);
                }
            }
            None => {
                root.insert(flag.into(), value);
            }
        }
    }
    if let Some(spec) = root
        .get_mut("speculative_config")
        .and_then(|s| s.as_object_mut())
        && spec.get("decoding_type").is_some_and(|t| t == "MTP")
        && let Some(drafts) = spec.remove("max_draft_len")
    {
        spec.insert(MTP_DRAFTS.into(), drafts);
    }
    serde_json::Value::from(root).to_string()
}

//! Settings of SGLang (`python/sglang/srt/server_args.py`, v0.5) in terms of the same engine configuration.
//!
//! | SGLang | here | default |
//! | --- | --- | --- |
//! | `--max-running-requests` | `max_num_seqs` | as the KV cache allows, at most 4096 |
//! | `--chunked-prefill-size` | `max_num_batched_tokens` | 8192 (2048 below 35 GB) |
//! | `--context-length` | `max_model_len` | the model's longest |
//! | `--mem-fraction-static` | `gpu_memory_utilization` | 0.9 |
//! | `--max-total-tokens` | `num_gpu_blocks_override` | what the memory gives |
//! | `--disable-radix-cache` | `enable_prefix_caching` off | on |
//! | `--disable-overlap-schedule` | `async_scheduling` off | on |
//! | `--disable-cuda-graph` | `enforce_eager` | graphs |
//! | `--dp-size` | `data_parallel_size`: engines with a whole model each, requests in turn | 1 |
use crate::device::EngineId;
use crate::engine::memory::{self, MemoryInputs};
use crate::engine::resolved::{Asked, Settings, SettingsError, at_least_one, only_one};
use crate::engine::settings::*;
use crate::engine::{EngineConfig, EngineVersion, Group, Router};
use crate::model::{Parallel, Placement};
use crate::units::Bytes;

/// Fills in defaults and sizes the KV cache.
pub(super) fn resolve(asked: &Asked<'_>) -> Result<Settings, SettingsError> {
    let (given, model) = (asked.given, asked.model);
    let tensor = given.get(TENSOR_PARALLEL_SIZE);
    only_one(tensor, "tensor_parallel_size", EngineId::Sglang)?;
    let engines = given.get(DATA_PARALLEL_SIZE).unwrap_or(1);
    at_least_one("data_parallel_size", engines, 1024)?;
    let total = Bytes(asked.device.memory.total_bytes.value as u64);
    let max_model_len = given
        .get(MAX_MODEL_LEN)
        .unwrap_or_else(|| model.max_position_embeddings())
        .min(model.max_position_embeddings());
    let chunk = given
        .get(MAX_NUM_BATCHED_TOKENS)
        .unwrap_or(if total < Bytes(35_000_000_000) {
            2048
        } else {
            8192
        });
    let seqs = given.get(MAX_NUM_SEQS).unwrap_or(4096).min(chunk);
    at_least_one("max_num_seqs", seqs, 1 << 24)?;
    at_least_one("max_num_batched_tokens", chunk, 1 << 24)?;
    at_least_one("max_model_len", max_model_len, 1 << 24)?;
    let utilization = asked.utilization(0.9)?;
    let enforce_eager = given.get(ENFORCE_EAGER).unwrap_or(false);
    let plan = |num_gpu_blocks_override| {
        let inputs = MemoryInputs {
            utilization,
            // The radix cache works on tokens.
            block_size: 1,
            max_num_batched_tokens: chunk,
            max_num_seqs: seqs.min(256),
            max_model_len: 1,
            kv_cache_memory_bytes: given.get(KV_CACHE_MEMORY_BYTES),
            num_gpu_blocks_override,
            version: EngineVersion::V0_12,
            enforce_eager,
            // A pool of their own, which is not sized here.
            states_in_blocks: false,
            prefix_caching: false,
            host_weights: Bytes::ZERO,
        };
        memory::plan(model, asked.device, asked.profile, &inputs)
    };
    // A number beyond what the memory holds is lowered to that (`model_runner.py: init_memory_pool`, v0.5).
    let mut memory = plan(None)?;
    if let Some(fewer) = given
        .get(NUM_GPU_BLOCKS_OVERRIDE)
        .filter(|n| *n < memory.num_gpu_blocks)
    {
        memory = plan(Some(fewer))?;
    }
    let config = EngineConfig {
        version: EngineVersion::V0_12,
        block_size: 1,
        num_gpu_blocks: memory.num_gpu_blocks,
        max_num_seqs: seqs,
        max_num_batched_tokens: chunk,
        max_model_len,
        enable_prefix_caching: given.get(ENABLE_PREFIX_CACHING).unwrap_or(true),
        async_scheduling: given.get(ASYNC_SCHEDULING).unwrap_or(true),
        ..EngineConfig::default()
    };
    Ok(Settings {
        in_force: asked
            .in_force(&config)?
            .with(GPU_MEMORY_UTILIZATION, utilization)
            .with(ENFORCE_EAGER, enforce_eager)
            .with(DATA_PARALLEL_SIZE, engines),
        config,
        parallel: Parallel::default(),
        // Each has a whole model of its own, a mixture too: `--enable-dp-attention`, which divides the experts, is not simulated.
        group: Group {
            engines,
            lockstep: false,
            router: Router::RoundRobin,
        },
        memory,
        enforce_eager,
        gpu_memory_utilization: utilization,
        micro_batch: None,
        engine: EngineId::Sglang,
        api_servers: 1,
        placement: Placement::Device,
        op_offload: false,
    })
}

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
use super::memory::{self, MemoryInputs};
use super::{Settings, SettingsError};
use crate::device::{DeviceProfile, EngineProfile, Scheduler};
use crate::engine::settings::*;
use crate::engine::{EngineConfig, EngineVersion, Group, Router};
use crate::model::{Model, Parallel};
use crate::units::Bytes;

pub(super) fn resolve(
    args: &SettingValues,
    model: &Model,
    device: &DeviceProfile,
    engine: &EngineProfile,
) -> Result<Settings, SettingsError> {
    let bad = |field: &'static str, problem: String| SettingsError::Value { field, problem };
    let tensor = args.get(TENSOR_PARALLEL_SIZE);
    super::settings::only_one(tensor, "tensor_parallel_size", Scheduler::Sglang)?;
    let engines = args.get(DATA_PARALLEL_SIZE).unwrap_or(1);
    if !(1..=1024).contains(&engines) {
        return Err(bad(
            "data_parallel_size",
            format!("must lie between 1 and 1024, not {engines}"),
        ));
    }
    let total = Bytes(device.memory.total_bytes.value as u64);
    let max_model_len = args
        .get(MAX_MODEL_LEN)
        .unwrap_or_else(|| model.max_position_embeddings())
        .min(model.max_position_embeddings());
    let chunk = args
        .get(MAX_NUM_BATCHED_TOKENS)
        .unwrap_or(if total < Bytes(35_000_000_000) {
            2048
        } else {
            8192
        });
    let seqs = args.get(MAX_NUM_SEQS).unwrap_or(4096).min(chunk);
    let utilization = args.get(GPU_MEMORY_UTILIZATION).unwrap_or(0.9);
    for (field, value) in [
        ("max_num_seqs", seqs),
        ("max_num_batched_tokens", chunk),
        ("max_model_len", max_model_len),
    ] {
        if !(1..=1 << 24).contains(&value) {
            return Err(bad(
                field,
                format!("must lie between 1 and 16777216, not {value}"),
            ));
        }
    }
    if !(utilization > 0.0 && utilization <= 1.0) {
        return Err(bad(
            "gpu_memory_utilization",
            format!("{utilization} must lie above 0 and at most 1"),
        ));
    }
    let inputs = MemoryInputs {
        utilization,
        // The radix cache works on tokens.
        block_size: 1,
        max_num_batched_tokens: chunk,
        max_num_seqs: seqs.min(256),
        max_model_len: 1,
        kv_cache_memory_bytes: args.get(KV_CACHE_MEMORY_BYTES),
        num_gpu_blocks_override: None,
        version: EngineVersion::V0_12,
        enforce_eager: args.get(ENFORCE_EAGER).unwrap_or(false),
        // A pool of their own, which is not sized here.
        states_in_blocks: false,
    };
    let mut memory = memory::plan(model, device, engine, &inputs)?;
    // More tokens than the memory gives are not had: SGLang warns and takes what it found (v0.5, `model_runner.py`).
    if let Some(n) = args.get(NUM_GPU_BLOCKS_OVERRIDE)
        && n < memory.num_gpu_blocks
    {
        let inputs = MemoryInputs {
            num_gpu_blocks_override: Some(n),
            ..inputs
        };
        memory = memory::plan(model, device, engine, &inputs)?;
    }
    let config = EngineConfig {
        version: EngineVersion::V0_12,
        block_size: 1,
        num_gpu_blocks: memory.num_gpu_blocks,
        max_num_seqs: seqs,
        max_num_batched_tokens: chunk,
        max_model_len,
        enable_prefix_caching: args.get(ENABLE_PREFIX_CACHING).unwrap_or(true),
        async_scheduling: args.get(ASYNC_SCHEDULING).unwrap_or(true),
        ..EngineConfig::default()
    };
    config
        .validate()
        .map_err(|e| bad("engine settings", e.to_string()))?;
    let in_force = super::settings::in_force(args, &config)
        .with(GPU_MEMORY_UTILIZATION, utilization)
        .with(ENFORCE_EAGER, args.get(ENFORCE_EAGER).unwrap_or(false))
        .with(DATA_PARALLEL_SIZE, engines);
    Ok(Settings {
        in_force,
        config,
        parallel: Parallel::default(),
        // Each has a whole model of its own, a mixture too: `--enable-dp-attention`, which divides the experts, is not simulated.
        group: Group {
            engines,
            lockstep: false,
            router: Router::RoundRobin,
        },
        memory,
        enforce_eager: args.get(ENFORCE_EAGER).unwrap_or(false),
        gpu_memory_utilization: utilization,
        micro_batch: None,
        scheduler: Scheduler::Sglang,
    })
}

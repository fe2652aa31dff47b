//! Settings of `llama-server` (llama.cpp `tools/server`, as of b9010) in terms of the same engine configuration.
//!
//! | llama-server | here | default |
//! | --- | --- | --- |
//! | `--parallel`, `-np` | `max_num_seqs` | 1 |
//! | `--ctx-size`, `-c`, divided by the slots | `max_model_len` | the model's longest |
//! | `--batch-size`, `-b` | `max_num_batched_tokens` | 2048 |
//! | `--ubatch-size`, `-ub` | `micro_batch` | 512 |
//! | `--cont-batching` | always on, as by default | |
//!
//! The context of every slot is allocated at start-up, so that nothing is ever preempted.
use super::memory::{KvTooLarge, MemoryError, MemoryPlan};
use super::{Settings, SettingsError};
use crate::device::{DeviceProfile, EngineProfile, Scheduler};
use crate::engine::settings::*;
use crate::engine::{EngineConfig, EngineVersion, Group};
use crate::model::{Model, Parallel};
use crate::units::Bytes;

/// `n_batch` and `n_ubatch` of llama.cpp (`common/common.h`).
const BATCH: u32 = 2048;
const DEFAULT_MICRO_BATCH: u32 = 512;

pub(super) fn resolve(
    args: &SettingValues,
    model: &Model,
    device: &DeviceProfile,
    engine: &EngineProfile,
) -> Result<Settings, SettingsError> {
    let bad = |field: &'static str, problem: String| SettingsError::Value { field, problem };
    for (field, given) in [
        ("tensor_parallel_size", args.get(TENSOR_PARALLEL_SIZE)),
        ("data_parallel_size", args.get(DATA_PARALLEL_SIZE)),
    ] {
        super::settings::only_one(given, field, Scheduler::LlamaServer)?;
    }
    let slots = args.get(MAX_NUM_SEQS).unwrap_or(1);
    let batch = args.get(MAX_NUM_BATCHED_TOKENS).unwrap_or(BATCH);
    // A longer context than the model was trained with gets a warning only (`n_ctx_per_seq > n_ctx_train`, llama-context.cpp).
    let per_slot = args
        .get(MAX_MODEL_LEN)
        .unwrap_or_else(|| model.max_position_embeddings());
    let micro_batch = args
        .get(MICRO_BATCH)
        .unwrap_or(DEFAULT_MICRO_BATCH)
        .min(batch);
    for (field, value) in [
        ("max_num_seqs", slots),
        ("max_num_batched_tokens", batch),
        ("max_model_len", per_slot),
        ("micro_batch", micro_batch),
    ] {
        if !(1..=1 << 20).contains(&value) {
            return Err(bad(
                field,
                format!("must lie between 1 and 1048576, not {value}"),
            ));
        }
    }
    if batch < slots {
        return Err(bad(
            "max_num_batched_tokens",
            format!("{batch} (--batch-size) is less than the {slots} slots"),
        ));
    }
    let block_size = args.get(BLOCK_SIZE).unwrap_or(16);
    if !(1..=4096).contains(&block_size) {
        return Err(bad(
            "block_size",
            format!("{block_size} must lie between 1 and 4096"),
        ));
    }
    let total = device.memory.total_bytes.value;
    let weights = model.total_weight_bytes().as_f64();
    let context = u64::from(slots) * u64::from(per_slot);
    // States of recurrent layers are kept in fp32, one per slot (`llama_memory_recurrent`).
    let states = model
        .recurrent()
        .map_or(0.0, |(layers, r)| f64::from(layers) * r.state.as_f64());
    let kv = model.kv_bytes_per_token().as_f64() * context as f64 + f64::from(slots) * states;
    let non_torch = engine.memory.non_torch_bytes.value;
    let bytes = |v: f64| Bytes(v.max(0.0) as u64);
    if weights + non_torch > total {
        return Err(MemoryError::NoRoom {
            weights: bytes(weights),
            activations: Bytes(0),
            non_torch: bytes(non_torch),
            requested: bytes(total),
            utilization: 1.0,
            total: bytes(total),
            hint: "quantised weights or a device with more memory would be needed".into(),
        }
        .into());
    }
    // Only what certainly fails is refused: layers that slide keep their window and a micro-batch (`llama_kv_cache_iswa`).
    let least: f64 = model
        .attention_layers()
        .iter()
        .map(|a| {
            let kept = a.window.map_or(per_slot, |w| w.saturating_add(micro_batch));
            a.kv_bytes_per_token.as_f64() * f64::from(kept.min(per_slot))
        })
        .sum();
    let least = f64::from(slots) * (least + states);
    let room = total - weights - non_torch;
    if least > room {
        return Err(MemoryError::KvTooLarge(Box::new(KvTooLarge {
            setting: "max_model_len",
            asked: per_slot.into(),
            largest: libm::floor(f64::from(per_slot) * room / least) as u64,
            kv_cache: bytes(least),
            weights: bytes(weights),
            activations: Bytes(0),
            non_torch: bytes(non_torch),
            requested: bytes(total),
            total: bytes(total),
        }))
        .into());
    }
    let blocks = u64::from(slots) * u64::from(per_slot.div_ceil(block_size)) + 1;
    let num_gpu_blocks = u32::try_from(blocks)
        .ok()
        .filter(|b| *b <= 1 << 31)
        .ok_or_else(|| {
            bad(
                "max_model_len",
                format!("{slots} slots of {per_slot} tokens are too many"),
            )
        })?;
    let config = EngineConfig {
        version: EngineVersion::V0_12,
        block_size,
        num_gpu_blocks: num_gpu_blocks.max(2),
        max_num_seqs: slots,
        max_num_batched_tokens: batch,
        max_model_len: per_slot,
        enable_prefix_caching: args.get(ENABLE_PREFIX_CACHING).unwrap_or(true),
        ..EngineConfig::default()
    };
    config
        .validate()
        .map_err(|e| bad("engine settings", e.to_string()))?;
    let in_force = super::settings::in_force(args, &config).with(MICRO_BATCH, micro_batch);
    Ok(Settings {
        in_force,
        config,
        parallel: Parallel::default(),
        group: Group::ONE,
        memory: MemoryPlan {
            total: bytes(total),
            requested: bytes(total),
            weights: bytes(weights),
            activations: Bytes(0),
            non_torch: bytes(non_torch),
            kv_cache: bytes(kv),
            num_gpu_blocks: num_gpu_blocks.max(2),
            block_size,
            state_blocks: 0,
            groups: 1,
        },
        enforce_eager: false,
        gpu_memory_utilization: 1.0,
        micro_batch: Some(micro_batch),
        scheduler: Scheduler::LlamaServer,
    })
}

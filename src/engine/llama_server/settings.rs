//! Settings of `llama-server` (llama.cpp `tools/server`, as of b9010) in terms of the same engine configuration.
//!
//! | llama-server | here | default |
//! | --- | --- | --- |
//! | `--parallel`, `-np` | `max_num_seqs` | 1 |
//! | `--ctx-size`, `-c`, divided by the slots | `max_model_len` | the model's longest |
//! | `--batch-size`, `-b` | `max_num_batched_tokens` | 2048 |
//! | `--ubatch-size`, `-ub` | `micro_batch` | 512 |
//! | `--cont-batching` | always on, as by default | |
//! | `--gpu-layers`, `-ngl` | `n_gpu_layers` | all |
//! | `--n-cpu-moe`, `--cpu-moe`, `-ot` | `n_cpu_moe`, `cpu_moe`, `override_tensor` | none |
//!
//! The context of every slot is allocated at start-up, so that nothing is ever preempted.
use crate::device::EngineId;
use crate::engine::memory::{KvTooLarge, MemoryError, MemoryPlan};
use crate::engine::resolved::{Asked, Settings, SettingsError, at_least_one, bad, only_one};
use crate::engine::settings::*;
use crate::engine::speculation::{Drafting, Speculation};
use crate::engine::{EngineConfig, EngineVersion, Group};
use crate::model::{Model, Override, Parallel, Placed, Placement, Split};
use crate::units::Bytes;

/// `n_batch` and `n_ubatch` of llama.cpp (`common/common.h`).
const BATCH: u32 = 2048;
const DEFAULT_MICRO_BATCH: u32 = 512;

/// Fills in defaults and sizes the KV cache.
pub(super) fn resolve(asked: &Asked<'_>) -> Result<Settings, SettingsError> {
    let given = asked.given;
    for (field, size) in [
        ("tensor_parallel_size", given.get(TENSOR_PARALLEL_SIZE)),
        ("data_parallel_size", given.get(DATA_PARALLEL_SIZE)),
        ("pipeline_parallel_size", given.get(PIPELINE_PARALLEL_SIZE)),
        (
            "decode_context_parallel_size",
            given.get(DECODE_CONTEXT_PARALLEL_SIZE),
        ),
        ("nnodes", given.get(NNODES)),
    ] {
        only_one(size, field, EngineId::LlamaServer)?;
    }
    let slots = given.get(MAX_NUM_SEQS).unwrap_or(1);
    let batch = given.get(MAX_NUM_BATCHED_TOKENS).unwrap_or(BATCH);
    // A longer context than the model was trained with gets a warning only (`n_ctx_per_seq > n_ctx_train`, llama-context.cpp).
    let per_slot = given
        .get(MAX_MODEL_LEN)
        .unwrap_or_else(|| asked.model.max_position_embeddings());
    let micro_batch = given
        .get(MICRO_BATCH)
        .unwrap_or(DEFAULT_MICRO_BATCH)
        .min(batch);
    at_least_one("max_num_seqs", slots, 1 << 20)?;
    at_least_one("max_num_batched_tokens", batch, 1 << 20)?;
    at_least_one("max_model_len", per_slot, 1 << 20)?;
    at_least_one("micro_batch", micro_batch, 1 << 20)?;
    if batch < slots {
        return Err(bad(
            "max_num_batched_tokens",
            format!("{batch} (--batch-size) is less than the {slots} slots"),
        ));
    }
    let block_size = asked.block_size()?;
    let placement = placement(asked)?;
    let placed = asked.model.placed(&placement);
    let context = Context {
        slots,
        per_slot,
        micro_batch,
        block_size,
    };
    let drafting = asked.drafting(&placed.device)?;
    let memory = memory(asked, &placed, &context, drafting.as_ref())?;
    let config = EngineConfig {
        version: EngineVersion::V0_12,
        block_size,
        num_gpu_blocks: memory.num_gpu_blocks,
        max_num_seqs: slots,
        max_num_batched_tokens: batch,
        max_model_len: per_slot,
        enable_prefix_caching: given.get(ENABLE_PREFIX_CACHING).unwrap_or(true),
        speculation: drafting
            .as_ref()
            .map(|d| Speculation::of(d, EngineId::LlamaServer)),
        ..EngineConfig::default()
    };
    Ok(Settings {
        in_force: asked.in_force(&config)?.with(MICRO_BATCH, micro_batch),
        config,
        parallel: Parallel::default(),
        group: Group::ONE,
        memory,
        enforce_eager: false,
        gpu_memory_utilization: 1.0,
        micro_batch: Some(micro_batch),
        engine: EngineId::LlamaServer,
        api_servers: 1,
        placement,
        stages: vec![],
        op_offload: given.get(OP_OFFLOAD).unwrap_or(true),
        drafting,
    })
}

/// Where weights lie. Without one of these settings all are on the device.
fn placement(asked: &Asked<'_>) -> Result<Placement, SettingsError> {
    let (given, layers) = (asked.given, asked.model.num_layers());
    let host_layers = match given.get(N_GPU_LAYERS) {
        Some(n) => (layers + 1).saturating_sub(n),
        None => 0,
    };
    let host_experts = match given.get(CPU_MOE) {
        // A pattern that is found in no tensor's name moves none.
        _ if asked.model.experts().is_none() => 0,
        Some(true) => layers,
        _ => given.get(N_CPU_MOE).unwrap_or(0).min(layers),
    };
    let overrides = match given.get(OVERRIDE_TENSOR) {
        Some(text) => Override::list(&text).map_err(|e| bad("override_tensor", e))?,
        None => vec![],
    };
    if host_layers == 0 && host_experts == 0 && overrides.is_empty() {
        return Ok(Placement::Device);
    }
    Ok(Placement::Layers(Split {
        host_layers,
        host_experts,
        overrides,
    }))
}

/// What is allocated for requests.
struct Context {
    slots: u32,
    per_slot: u32,
    micro_batch: u32,
    block_size: u32,
}

/// Where the memory goes, with the whole context of every slot.
fn memory(
    asked: &Asked<'_>,
    placed: &Placed,
    context: &Context,
    drafting: Option<&Drafting>,
) -> Result<MemoryPlan, SettingsError> {
    let &Context {
        slots,
        per_slot,
        micro_batch,
        block_size,
    } = context;
    let model = &placed.device;
    let total = asked.device.memory.total_bytes.value;
    // A drafter has a context of its own, as long as the model's (`n_ctx` of `params.speculative`, tools/server).
    let drafter = drafting.map(Drafting::memory).unwrap_or_default();
    let weights = model.total_weight_bytes().as_f64() + drafter.weights.as_f64();
    // States of recurrent layers are kept in fp32, one per slot (`llama_memory_recurrent`).
    let states = |model: &Model| {
        let recurrent = model.recurrent();
        recurrent.map_or(0.0, |(layers, r)| f64::from(layers) * r.state.as_f64())
    };
    let tokens = f64::from(slots) * f64::from(per_slot);
    let kv_of = |model: &Model| {
        model.kv_bytes_per_token().as_f64() * tokens + f64::from(slots) * states(model)
    };
    let drafted = drafter.kv_per_token * tokens;
    let (kv, states) = (kv_of(model) + drafted, states(model));
    let non_torch = asked.profile.memory.non_torch_bytes.value;
    let bytes = |v: f64| Bytes(v.max(0.0) as u64);
    if weights + non_torch > total {
        return Err(MemoryError::NoRoom {
            weights: bytes(weights),
            activations: Bytes(0),
            non_torch: bytes(non_torch),
            requested: bytes(total),
            utilization: 1.0,
            total: bytes(total),
            hint: fewer_layers(asked, placed, total - non_torch),
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
    let least = f64::from(slots) * (least + states) + drafted;
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
    Ok(MemoryPlan {
        total: bytes(total),
        requested: bytes(total),
        weights: bytes(weights),
        host_weights: placed
            .host
            .as_ref()
            .map_or(Bytes::ZERO, Model::total_weight_bytes),
        host_kv: bytes(placed.host.as_ref().map_or(0.0, kv_of)),
        rotary: Bytes::ZERO,
        // Its file (--mmproj) is one of its own.
        encoder: Bytes::ZERO,
        drafter: drafter.weights,
        activations: Bytes(0),
        non_torch: bytes(non_torch),
        kv_cache: bytes(kv),
        num_gpu_blocks: num_gpu_blocks.max(2),
        block_size,
        state_blocks: 0,
        groups: 1,
        request_blocks: f64::from(per_slot.div_ceil(block_size)),
    })
}

/// What would leave room: as many layers as the device holds the weights of, beside a tenth of the memory for the rest.
fn fewer_layers(asked: &Asked<'_>, placed: &Placed, room: f64) -> String {
    let model = asked.model;
    let layers = model.num_layers();
    let experts = placed.device.experts().map_or(0.0, |e| {
        e.bytes_per_layer_and_expert * f64::from(e.num) * f64::from(e.layers)
    });
    let weights = placed.device.total_weight_bytes().as_f64();
    let spare = 0.9 * room;
    if experts > 0.0 && weights - experts < spare {
        let each = experts / f64::from(layers.max(1));
        let n = libm::ceil((weights - spare) / each).max(1.0);
        return format!("--n-cpu-moe {n} would leave room");
    }
    let each = weights / f64::from(layers.max(1) + 1);
    match libm::floor(spare / each) {
        n if n >= 1.0 => format!("-ngl {n} would leave room"),
        _ => "quantised weights or a device with more memory would be needed".into(),
    }
}

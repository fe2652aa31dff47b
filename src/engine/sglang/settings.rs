//! Settings of SGLang (`python/sglang/srt/server_args.py`, 0.5.9) in terms of the same engine configuration.
//!
//! | SGLang | here | default |
//! | --- | --- | --- |
//! | `--max-running-requests` | `max_num_seqs` | as the KV cache allows, at most 4096 |
//! | `--chunked-prefill-size` | `max_num_batched_tokens` | by the device's memory: 2048 below 35 GiB, 4096 below 60, 8192 below 160, else 16384 |
//! | `--context-length` | `max_model_len` | the model's longest |
//! | `--mem-fraction-static` | `gpu_memory_utilization` | what a reserve for activations and graphs leaves |
//! | `--max-total-tokens` | `num_gpu_blocks_override` | what the memory gives |
//! | `--disable-radix-cache` | `enable_prefix_caching` off | on |
//! | `--disable-overlap-schedule` | `async_scheduling` off | on |
//! | `--stream-interval` | `stream_interval` | 1 |
//! | `--disable-cuda-graph` | `enforce_eager` | graphs |
//! | `--tp-size` | `tensor_parallel_size` | 1 |
//! | `--ep-size`, the same as `--tp-size` | `enable_expert_parallel` | 1: slices of all experts |
//! | `--dp-size` | `data_parallel_size`: engines with a whole model each, requests in turn | 1 |
//! | `--enable-dp-attention` | `enable_dp_attention`: `--dp-size` ranks in lock-step share the experts and divide the `--tp-size` devices | off |
use crate::device::EngineId;
use crate::engine::memory::{self, MemoryInputs};
use crate::engine::resolved::{Asked, Settings, SettingsError, at_least_one, bad, only_one};
use crate::engine::settings::*;
use crate::engine::speculation::{Drafting, Method, Speculation};
use crate::engine::{EngineConfig, EngineVersion, Group, Router};
use crate::model::{Parallel, Placement};
use crate::units::Bytes;

const GIB: f64 = 1_073_741_824.0;

/// How the devices are divided, and the engines behind one router.
///
/// With attention in data parallel each of `--dp-size` ranks has `--tp-size` / `--dp-size` devices for attention, and all devices share the
/// experts, so that the ranks run in lock-step (`layers/dp_attention.py`, 0.5.9).
fn division(asked: &Asked<'_>) -> Result<(Parallel, Group), SettingsError> {
    let given = asked.given;
    let tensor = given.get(TENSOR_PARALLEL_SIZE).unwrap_or(1);
    let engines = given.get(DATA_PARALLEL_SIZE).unwrap_or(1);
    for (field, size) in [
        ("pipeline_parallel_size", given.get(PIPELINE_PARALLEL_SIZE)),
        (
            "decode_context_parallel_size",
            given.get(DECODE_CONTEXT_PARALLEL_SIZE),
        ),
    ] {
        only_one(size, field, EngineId::Sglang)?;
    }
    at_least_one("tensor_parallel_size", tensor, 1024)?;
    at_least_one("data_parallel_size", engines, 1024)?;
    let experts = asked.model.experts().is_some();
    let attention = given.get(ENABLE_DP_ATTENTION) == Some(true) && engines > 1;
    if attention && !tensor.is_multiple_of(engines) {
        return Err(bad(
            "data_parallel_size",
            format!(
                "{engines} does not divide the {tensor} devices of --tp-size, among which --enable-dp-attention divides them"
            ),
        ));
    }
    if attention && !experts {
        return Err(bad(
            "enable_dp_attention",
            "is simulated for models with experts only; leave it out".into(),
        ));
    }
    let (tensor, data) = match attention {
        true => (tensor / engines, engines),
        false => (tensor, 1),
    };
    let parallel = Parallel {
        tensor,
        data,
        expert: given.get(ENABLE_EXPERT_PARALLEL) == Some(true) && experts,
        pipeline: 1,
        context: 1,
        nodes: given.get(NNODES).unwrap_or(1),
    };
    if parallel.nodes > 1 && engines > parallel.data {
        return Err(bad(
            "nnodes",
            "several nodes are simulated without --dp-size or with --enable-dp-attention beside it"
                .into(),
        ));
    }
    if let Some(problem) = parallel.problem_of_nodes() {
        return Err(bad("nnodes", problem));
    }
    let group = Group {
        engines,
        lockstep: attention,
        router: Router::RoundRobin,
    };
    Ok((parallel, group))
}

/// Tokens of a prefill batch by the device's memory (`_handle_gpu_memory_settings`, 0.5.9).
fn chunk(total: Bytes) -> u32 {
    match total.as_f64() / GIB {
        g if g < 35.0 => 2048,
        g if g < 60.0 => 4096,
        g if g < 160.0 => 8192,
        _ => 16_384,
    }
}

/// Largest batch with a graph (the same function).
fn largest_graph(total: Bytes, devices: u32) -> u32 {
    let few = devices < 4;
    match total.as_f64() / GIB {
        g if g < 20.0 => 8,
        g if g < 35.0 => [80, 24][usize::from(few)],
        g if g < 60.0 => [160, 32][usize::from(few)],
        g if g < 160.0 => [512, 256][usize::from(few)],
        _ => 512,
    }
}

/// The share of the memory for weights and KV cache (the same function): MiB are set aside for constants, activations, graphs, and a
/// large number of devices.
fn static_share(total: Bytes, chunk: u32, devices: u32, data: u32) -> f64 {
    let mib = total.as_f64() / GIB * 1024.0;
    let graphs = f64::from(largest_graph(total, devices));
    let mut reserved =
        512.0 + 1.5 * f64::from(chunk.max(2048)) + 2.0 * graphs + f64::from(devices) / 8.0 * 1024.0;
    if data > 1 {
        let each = if graphs > 300.0 { 4.5 } else { 3.0 };
        reserved += graphs * f64::from(data) * each;
    }
    if mib > 60.0 * 1024.0 {
        reserved = reserved.max(10.0 * 1024.0);
    }
    libm::round((mib - reserved) / mib * 1000.0) / 1000.0
}

/// Fills in defaults and sizes the KV cache.
pub(super) fn resolve(asked: &Asked<'_>) -> Result<Settings, SettingsError> {
    let given = asked.given;
    let (parallel, group) = division(asked)?;
    let devices = parallel.devices();
    let part = asked
        .model
        .shared(parallel)
        .map_err(|problem| bad("tensor_parallel_size", problem))?;
    let model = &part;
    let total = Bytes(asked.device.memory.total_bytes.value as u64);
    let max_model_len = given
        .get(MAX_MODEL_LEN)
        .unwrap_or_else(|| model.max_position_embeddings())
        .min(model.max_position_embeddings());
    // Both are of all ranks that share experts together (`_handle_data_parallelism`, `model_runner.py`).
    let each = parallel.data.max(1);
    let whole = given
        .get(MAX_NUM_BATCHED_TOKENS)
        .unwrap_or_else(|| chunk(total));
    let chunk = whole / each;
    let seqs = given
        .get(MAX_NUM_SEQS)
        .map_or(4096, |n| n / each)
        .min(chunk);
    at_least_one("max_num_seqs", seqs, 1 << 24)?;
    at_least_one("max_num_batched_tokens", chunk, 1 << 24)?;
    at_least_one("max_model_len", max_model_len, 1 << 24)?;
    let interval = given.get(STREAM_INTERVAL).unwrap_or(1);
    at_least_one("stream_interval", interval, 1 << 20)?;
    let utilization = asked.utilization(static_share(total, chunk, devices, parallel.data))?;
    let enforce_eager = given.get(ENFORCE_EAGER).unwrap_or(false);
    let drafting = asked.drafting(model)?;
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
            // Activations and graphs have the rest of the memory (`profile_max_num_token`, 0.5.9).
            activations_within: false,
            drafter: drafting.as_ref().map(Drafting::memory).unwrap_or_default(),
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
        async_scheduling: overlap(asked, drafting.as_ref()),
        speculation: drafting
            .as_ref()
            .map(|d| Speculation::of(d, EngineId::Sglang)),
        stream_interval: interval,
        ..EngineConfig::default()
    };
    Ok(Settings {
        in_force: asked
            .in_force(&config)?
            .with(GPU_MEMORY_UTILIZATION, utilization)
            .with(ENFORCE_EAGER, enforce_eager)
            .with(TENSOR_PARALLEL_SIZE, parallel.tensor * parallel.data)
            .with(DATA_PARALLEL_SIZE, group.engines),
        config,
        parallel,
        group,
        memory,
        enforce_eager,
        gpu_memory_utilization: utilization,
        micro_batch: None,
        engine: EngineId::Sglang,
        api_servers: 1,
        placement: Placement::Device,
        stages: vec![],
        op_offload: false,
        drafting,
    })
}

/// Whether host and device overlap: by default, but for n-gram drafts and trees of drafts, which the older workers make
/// (`docs/advanced_features/speculative_decoding.md`@067ad4d: the overlap scheduler takes one branch only).
fn overlap(asked: &Asked<'_>, drafting: Option<&Drafting>) -> bool {
    let alone =
        drafting.is_some_and(|d| d.requested.method == Method::Ngram || d.requested.branches > 1);
    asked.given.get(ASYNC_SCHEDULING).unwrap_or(true) && !alone
}

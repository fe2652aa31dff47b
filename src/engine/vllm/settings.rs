//! Settings of vLLM: what was not given gets the engine's default (`engine/arg_utils.py: get_batch_defaults`).
use super::{EngineVersion, Release, pipeline};
use crate::device::EngineId;
use crate::engine::memory::{self, MemoryInputs};
use crate::engine::resolved::{Asked, Settings, SettingsError, at_least_one, bad};
use crate::engine::settings::*;
use crate::engine::speculation::{Drafting, Method, Speculation};
use crate::engine::{EngineConfig, Group, Router, SchedulingPolicy};
use crate::model::{Model, Parallel, Placement};
use crate::units::Bytes;

/// Fills in defaults and sizes the KV cache.
pub(super) fn resolve(asked: &Asked<'_>) -> Result<Settings, SettingsError> {
    let given = asked.given;
    let version = version(asked)?;
    let release = Release::of(version);
    let max_model_len = max_model_len(asked)?;
    let chunked = given.get(ENABLE_CHUNKED_PREFILL).unwrap_or(true);
    let (tokens, seqs) = batch(asked, &release, max_model_len, chunked)?;
    let utilization = asked.utilization(release.gpu_memory_utilization)?;
    let (parallel, model) = divided(asked)?;
    // A block holds so many tokens on each of the devices that divide a sequence's cache (0.32.0,
    // `v1/core/kv_cache_utils.py: resolve_dcp_kv_block_size`).
    let block_size = asked.block_size()? * parallel.context;
    // Models with recurrent layers: off unless asked for (`ModelConfig.is_prefix_caching_supported`).
    let caching = given
        .get(ENABLE_PREFIX_CACHING)
        .unwrap_or_else(|| model.recurrent().is_none());
    let enforce_eager = given.get(ENFORCE_EAGER).unwrap_or(false);
    let drafting = drafting(asked, &model, version)?;
    if drafting.is_some() && parallel.pipeline > 1 {
        return Err(bad(
            "speculative_method",
            "speculative decoding in a pipeline is not simulated: leave one of the two out".into(),
        ));
    }
    let placement = placement(given)?;
    let plan = |model: &Model| {
        let inputs = MemoryInputs {
            utilization,
            block_size,
            max_num_batched_tokens: tokens,
            max_num_seqs: seqs,
            max_model_len,
            kv_cache_memory_bytes: given.get(KV_CACHE_MEMORY_BYTES),
            num_gpu_blocks_override: given.get(NUM_GPU_BLOCKS_OVERRIDE),
            version,
            enforce_eager,
            states_in_blocks: true,
            prefix_caching: caching,
            host_weights: model
                .placed(&placement)
                .host
                .map_or(Bytes::ZERO, |h| h.total_weight_bytes()),
            activations_within: true,
            drafter: drafting.as_ref().map(Drafting::memory).unwrap_or_default(),
        };
        memory::plan(model, asked.device, asked.profile, &inputs)
    };
    let stages = pipeline::plans(given, parallel, &model, plan)?;
    let memory = match pipeline::fullest(&stages) {
        Some(fullest) => fullest,
        None => plan(&model)?,
    };
    let config = EngineConfig {
        version,
        block_size: memory.block_size,
        num_gpu_blocks: memory.num_gpu_blocks,
        max_num_seqs: seqs,
        max_num_batched_tokens: tokens,
        max_model_len,
        enable_chunked_prefill: chunked,
        enable_prefix_caching: caching,
        state_blocks: memory.state_blocks,
        long_prefill_token_threshold: given.get(LONG_PREFILL_TOKEN_THRESHOLD).unwrap_or(0),
        scheduler_reserve_full_isl: reserve_full_isl(asked, &release)?,
        policy: policy(given)?,
        async_scheduling: async_scheduling(asked, parallel, &release, drafting.as_ref())?,
        pipeline_stages: parallel.pipeline,
        speculation: drafting
            .as_ref()
            .map(|d| Speculation::of(d, EngineId::Vllm)),
        ..EngineConfig::default()
    };
    Ok(Settings {
        in_force: asked
            .in_force(&config)?
            .with(GPU_MEMORY_UTILIZATION, utilization)
            .with(ENFORCE_EAGER, enforce_eager)
            .with(ENABLE_CHUNKED_PREFILL, chunked)
            .with(BLOCK_SIZE, config.block_size / parallel.context)
            .with(TENSOR_PARALLEL_SIZE, parallel.tensor)
            .with(DATA_PARALLEL_SIZE, parallel.data),
        config,
        memory,
        stages,
        enforce_eager,
        parallel,
        group: group(given, parallel, &release, &model),
        gpu_memory_utilization: utilization,
        micro_batch: given.get(MICRO_BATCH),
        engine: EngineId::Vllm,
        api_servers: api_servers(given, parallel)?,
        placement,
        op_offload: false,
        drafting,
    })
}

/// The release that was named, else the profile's.
fn version(asked: &Asked<'_>) -> Result<EngineVersion, SettingsError> {
    match asked.release {
        Some(named) => Ok(named),
        None => asked
            .profile
            .version
            .parse()
            .map_err(|e| bad("engine version", format!("{e}"))),
    }
}

/// The ranks of data parallelism, and who gets a request.
fn group(given: &SettingValues, parallel: Parallel, release: &Release, model: &Model) -> Group {
    Group {
        engines: parallel.data,
        lockstep: model.experts().is_some(),
        router: match given.get(DATA_PARALLEL_EXTERNAL_LB) {
            Some(true) => Router::RoundRobin,
            _ if release.balances_by_cache => Router::Emptiest,
            _ => Router::LeastLoaded,
        },
    }
}

/// What drafts, where the release has it.
fn drafting(
    asked: &Asked<'_>,
    part: &Model,
    version: EngineVersion,
) -> Result<Option<Drafting>, SettingsError> {
    let drafting = asked.drafting(part)?;
    let method = drafting.as_ref().map(|d| d.requested.method);
    // 0.14.1 raises an error for draft models, 0.17.1 has them; 0.20.2 is the first looked at with DFlash (`config/speculative.py`).
    let (name, since) = match method {
        Some(Method::DraftModel) => ("0.15", EngineVersion::V0_15),
        Some(Method::Dflash) => ("0.20", EngineVersion::V0_20),
        _ => return Ok(drafting),
    };
    if version >= since {
        return Ok(drafting);
    }
    let method = method.map_or("", Method::name);
    Err(bad(
        "speculative_method",
        format!(
            "{method} came to vLLM with {name} at the earliest, and {version} is asked for: name a later release with --engine-version"
        ),
    ))
}

/// Whether the next step is scheduled before the output of this one: not with n-gram drafts, which the host makes from the output
/// (`VllmConfig.__post_init__`, 0.32.0).
fn async_scheduling(
    asked: &Asked<'_>,
    parallel: Parallel,
    release: &Release,
    drafting: Option<&Drafting>,
) -> Result<bool, SettingsError> {
    let usual = pipeline::async_scheduling(asked.given, parallel, release)?;
    let by_host = drafting.is_some_and(|d| d.requested.method == Method::Ngram);
    if by_host && asked.given.get(ASYNC_SCHEDULING) == Some(true) {
        return Err(bad(
            "async_scheduling",
            "n-gram drafts need the output of the step before; leave it out, or draft with eagle3, mtp or draft_model".into(),
        ));
    }
    Ok(usual && !by_host)
}

/// `cpu_offload_gb` of each device's part of the weights lie in the host's memory (`config/offload.py`@0.32.0: GiB).
fn placement(given: &SettingValues) -> Result<Placement, SettingsError> {
    match given.get(CPU_OFFLOAD_GB).unwrap_or(0.0) {
        0.0 => Ok(Placement::Device),
        gib if gib > 0.0 && gib <= 65_536.0 => {
            Ok(Placement::Streamed(Bytes((gib * 1_073_741_824.0) as u64)))
        }
        gib => Err(bad(
            "cpu_offload_gb",
            format!("{gib} must lie between 0 and 65536 GiB"),
        )),
    }
}

fn policy(given: &SettingValues) -> Result<SchedulingPolicy, SettingsError> {
    match given.get(SCHEDULING_POLICY).as_deref() {
        None | Some("fcfs") => Ok(SchedulingPolicy::Fcfs),
        Some("priority") => Ok(SchedulingPolicy::Priority),
        Some(other) => Err(bad(
            "scheduling_policy",
            format!("`{other}` is neither fcfs nor priority"),
        )),
    }
}

/// `cli/serve.py`@0.12.0: one per data-parallel engine unless the flag says otherwise.
fn api_servers(given: &SettingValues, parallel: Parallel) -> Result<u32, SettingsError> {
    match given.get(API_SERVER_COUNT).unwrap_or(parallel.data) {
        n @ 1..=1024 => Ok(n),
        n => Err(bad(
            "api_server_count",
            format!("must lie between 1 and 1024, not {n}"),
        )),
    }
}

fn max_model_len(asked: &Asked<'_>) -> Result<u32, SettingsError> {
    let longest = asked.model.max_position_embeddings();
    let len = asked.given.get(MAX_MODEL_LEN).unwrap_or(longest);
    if len == 0 {
        return Err(bad("max_model_len", "must be at least 1".into()));
    }
    if len > longest {
        return Err(bad(
            "max_model_len",
            format!("{len} exceeds the model's max_position_embeddings {longest}"),
        ));
    }
    Ok(len)
}

/// What was given for `scheduler_reserve_full_isl`, which every release has whose rule it is by default.
fn reserve_full_isl(asked: &Asked<'_>, release: &Release) -> Result<Option<bool>, SettingsError> {
    match asked.given.get(SCHEDULER_RESERVE_FULL_ISL) {
        Some(_) if !release.rules.reserve_full_prompt => Err(bad(
            "scheduler_reserve_full_isl",
            "vLLM has it from 0.19 on; leave it out, or name such a release with --engine-version"
                .into(),
        )),
        given => Ok(given),
    }
}

/// Most tokens and most sequences of a batch.
fn batch(
    asked: &Asked<'_>,
    release: &Release,
    max_model_len: u32,
    chunked: bool,
) -> Result<(u32, u32), SettingsError> {
    let given = asked.given;
    let total = Bytes(asked.device.memory.total_bytes.value as u64);
    let (default_tokens, default_seqs) = release.batch_defaults(total, &asked.device.name);
    let seqs_or_default = given.get(MAX_NUM_SEQS).unwrap_or(default_seqs);
    let tokens = given.get(MAX_NUM_BATCHED_TOKENS).unwrap_or_else(|| {
        let t = if chunked {
            default_tokens
        } else {
            default_tokens.max(max_model_len)
        };
        t.min(seqs_or_default.saturating_mul(max_model_len)).max(1)
    });
    let seqs = given
        .get(MAX_NUM_SEQS)
        .unwrap_or_else(|| default_seqs.min(tokens));
    if seqs == 0 {
        return Err(bad("max_num_seqs", "must be at least 1".into()));
    }
    let problem = if tokens < seqs {
        format!("{tokens} is less than max_num_seqs {seqs}; raise it or lower max_num_seqs")
    } else if !chunked && tokens < max_model_len {
        format!(
            "{tokens} is less than max_model_len {max_model_len} without chunked prefill; raise it, or enable \
             chunked prefill"
        )
    } else if tokens > 1 << 20 {
        format!("{tokens} is beyond anything an engine runs; at most 1048576")
    } else {
        return Ok((tokens, seqs));
    };
    Err(bad("max_num_batched_tokens", problem))
}

/// How the model is divided among devices, and the part of one of them.
fn divided(asked: &Asked<'_>) -> Result<(Parallel, Model), SettingsError> {
    let (given, model) = (asked.given, asked.model);
    let parallel = Parallel {
        tensor: given.get(TENSOR_PARALLEL_SIZE).unwrap_or(1),
        data: given.get(DATA_PARALLEL_SIZE).unwrap_or(1),
        expert: given.get(ENABLE_EXPERT_PARALLEL).unwrap_or(false) && model.experts().is_some(),
        pipeline: given.get(PIPELINE_PARALLEL_SIZE).unwrap_or(1),
        context: given.get(DECODE_CONTEXT_PARALLEL_SIZE).unwrap_or(1),
        nodes: given.get(NNODES).unwrap_or(1),
    };
    at_least_one("pipeline_parallel_size", parallel.pipeline, 1024)?;
    if let Some(problem) = parallel.problem_of_nodes() {
        return Err(bad("nnodes", problem));
    }
    let field = if parallel.tensor == 1 && parallel.data > 1 {
        "data_parallel_size"
    } else {
        "tensor_parallel_size"
    };
    let part = model
        .shared(parallel)
        .map_err(|problem| bad(field, problem))?;
    match parallel.problem_of_context(model.config()) {
        Some(problem) => Err(bad("decode_context_parallel_size", problem)),
        None => Ok((parallel, part)),
    }
}

//! Settings that were not given get the engine's defaults (vLLM: `engine/arg_utils.py: get_batch_defaults`).
use super::memory::{self, MemoryError, MemoryInputs, MemoryPlan};
use super::{llama_server, sglang};
use crate::device::{DeviceProfile, EngineProfile, Scheduler};
use crate::engine::settings::*;
use crate::engine::vllm::Release;
use crate::engine::{EngineConfig, EngineVersion, Group, Router, SchedulingPolicy};
use crate::model::{Model, Parallel};
use crate::units::Bytes;

/// An engine ready to start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The scheduler's configuration.
    pub config: EngineConfig,
    /// The values in force of the settings that the engine has, defaults included.
    pub in_force: SettingValues,
    /// Where the memory goes.
    pub memory: MemoryPlan,
    /// No graphs.
    pub enforce_eager: bool,
    /// Devices that serve together.
    pub parallel: Parallel,
    /// Engines behind one router.
    pub group: Group,
    /// `--gpu-memory-utilization`.
    pub gpu_memory_utilization: f64,
    /// Tokens computed at a time, where a step is split (llama.cpp's `--ubatch-size`).
    pub micro_batch: Option<u32>,
    /// Whose rules compose batches.
    pub scheduler: Scheduler,
}

/// Settings that contradict each other or the device.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// A value out of range or against another one.
    #[error("{field}: {problem}")]
    Value {
        /// vLLM's name of it.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// The values in force that every engine has: what was given, and what the configuration made of the rest.
pub(super) fn in_force(args: &SettingValues, config: &EngineConfig) -> SettingValues {
    args.clone()
        .with(MAX_NUM_SEQS, config.max_num_seqs)
        .with(MAX_NUM_BATCHED_TOKENS, config.max_num_batched_tokens)
        .with(MAX_MODEL_LEN, config.max_model_len)
        .with(BLOCK_SIZE, config.block_size)
        .with(ENABLE_PREFIX_CACHING, config.enable_prefix_caching)
        .with(ASYNC_SCHEDULING, config.async_scheduling)
}

/// Refuses a size other than 1 that an engine is not simulated with.
pub(super) fn only_one(
    given: Option<u32>,
    field: &'static str,
    rules: Scheduler,
) -> Result<(), SettingsError> {
    match given {
        None | Some(1) => Ok(()),
        Some(n) => Err(SettingsError::Value {
            field,
            problem: format!("{n}: {} is simulated with 1 only", rules.words()),
        }),
    }
}

impl Settings {
    /// Devices of all engines.
    pub fn devices(&self) -> u32 {
        self.parallel.tensor * self.group.engines
    }

    /// Whose rules compose batches, in words.
    pub fn rules(&self) -> String {
        match self.scheduler {
            Scheduler::Vllm => format!("vLLM {} rules", self.config.version),
            Scheduler::LlamaServer => format!(
                "llama-server's slots, micro-batch {}",
                self.micro_batch.unwrap_or(0)
            ),
            Scheduler::Sglang => "SGLang's rules".into(),
        }
    }

    /// Fills in defaults and sizes the KV cache. `release` is vLLM's release, where it is not the engine profile's own.
    ///
    /// # Errors
    /// Names the setting that contradicts another or does not fit.
    pub fn resolve(
        args: &SettingValues,
        model: &Model,
        device: &DeviceProfile,
        engine: &EngineProfile,
        release: Option<EngineVersion>,
    ) -> Result<Self, SettingsError> {
        let bad = |field: &'static str, problem: String| SettingsError::Value { field, problem };
        match engine.scheduler {
            Scheduler::Vllm => {}
            Scheduler::LlamaServer => return llama_server::resolve(args, model, device, engine),
            Scheduler::Sglang => return sglang::resolve(args, model, device, engine),
        }
        let version: EngineVersion = match release {
            Some(named) => named,
            None => engine
                .version
                .parse()
                .map_err(|e| bad("engine version", format!("{e}")))?,
        };
        let release = Release::of(version);
        let total = Bytes(device.memory.total_bytes.value as u64);
        let max_model_len = args
            .get(MAX_MODEL_LEN)
            .unwrap_or_else(|| model.max_position_embeddings());
        if max_model_len == 0 {
            return Err(bad("max_model_len", "must be at least 1".into()));
        }
        if max_model_len > model.max_position_embeddings() {
            return Err(bad(
                "max_model_len",
                format!(
                    "{max_model_len} exceeds the model's max_position_embeddings {}",
                    model.max_position_embeddings()
                ),
            ));
        }
        let chunked = args.get(ENABLE_CHUNKED_PREFILL).unwrap_or(true);
        let (default_tokens, default_seqs) = release.batch_defaults(total, &device.name);
        let seqs_or_default = args.get(MAX_NUM_SEQS).unwrap_or(default_seqs);
        let tokens = args.get(MAX_NUM_BATCHED_TOKENS).unwrap_or_else(|| {
            let t = if chunked {
                default_tokens
            } else {
                default_tokens.max(max_model_len)
            };
            t.min(seqs_or_default.saturating_mul(max_model_len)).max(1)
        });
        let seqs = args
            .get(MAX_NUM_SEQS)
            .unwrap_or_else(|| default_seqs.min(tokens));
        if seqs == 0 {
            return Err(bad("max_num_seqs", "must be at least 1".into()));
        }
        if tokens < seqs {
            return Err(bad(
                "max_num_batched_tokens",
                format!(
                    "{tokens} is less than max_num_seqs {seqs}; raise it or lower max_num_seqs"
                ),
            ));
        }
        if !chunked && tokens < max_model_len {
            return Err(bad(
                "max_num_batched_tokens",
                format!(
                    "{tokens} is less than max_model_len {max_model_len} without chunked prefill; raise it, or enable \
                     chunked prefill"
                ),
            ));
        }
        if tokens > 1 << 20 {
            return Err(bad(
                "max_num_batched_tokens",
                format!("{tokens} is beyond anything an engine runs; at most 1048576"),
            ));
        }
        let block_size = args.get(BLOCK_SIZE).unwrap_or(16);
        if !(1..=4096).contains(&block_size) {
            return Err(bad(
                "block_size",
                format!("{block_size} must lie between 1 and 4096"),
            ));
        }
        let utilization = args
            .get(GPU_MEMORY_UTILIZATION)
            .unwrap_or(release.gpu_memory_utilization);
        if !(utilization > 0.0 && utilization <= 1.0) {
            return Err(bad(
                "gpu_memory_utilization",
                format!("{utilization} must lie above 0 and at most 1"),
            ));
        }
        let parallel = Parallel {
            tensor: args.get(TENSOR_PARALLEL_SIZE).unwrap_or(1),
            data: args.get(DATA_PARALLEL_SIZE).unwrap_or(1),
            expert: args.get(ENABLE_EXPERT_PARALLEL).unwrap_or(false) && model.experts().is_some(),
        };
        let model = &model.shared(parallel).map_err(|problem| {
            let field = if parallel.tensor == 1 && parallel.data > 1 {
                "data_parallel_size"
            } else {
                "tensor_parallel_size"
            };
            bad(field, problem)
        })?;
        let policy = match args.get(SCHEDULING_POLICY).as_deref() {
            None | Some("fcfs") => SchedulingPolicy::Fcfs,
            Some("priority") => SchedulingPolicy::Priority,
            Some(other) => {
                return Err(bad(
                    "scheduling_policy",
                    format!("`{other}` is neither fcfs nor priority"),
                ));
            }
        };
        // Models with recurrent layers: off unless asked for (`ModelConfig.is_prefix_caching_supported`).
        let caching = args
            .get(ENABLE_PREFIX_CACHING)
            .unwrap_or_else(|| model.recurrent().is_none());
        let memory = memory::plan(
            model,
            device,
            engine,
            &MemoryInputs {
                utilization,
                block_size,
                max_num_batched_tokens: tokens,
                max_num_seqs: seqs,
                max_model_len,
                kv_cache_memory_bytes: args.get(KV_CACHE_MEMORY_BYTES),
                num_gpu_blocks_override: args.get(NUM_GPU_BLOCKS_OVERRIDE),
                version,
                enforce_eager: args.get(ENFORCE_EAGER).unwrap_or(false),
                states_in_blocks: !caching,
            },
        )?;
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
            long_prefill_token_threshold: args.get(LONG_PREFILL_TOKEN_THRESHOLD).unwrap_or(0),
            policy,
            async_scheduling: args
                .get(ASYNC_SCHEDULING)
                .unwrap_or(release.async_scheduling),
        };
        config
            .validate()
            .map_err(|e| bad("engine settings", e.to_string()))?;
        let in_force = in_force(args, &config)
            .with(GPU_MEMORY_UTILIZATION, utilization)
            .with(ENFORCE_EAGER, args.get(ENFORCE_EAGER).unwrap_or(false))
            .with(ENABLE_CHUNKED_PREFILL, chunked)
            .with(TENSOR_PARALLEL_SIZE, parallel.tensor)
            .with(DATA_PARALLEL_SIZE, parallel.data);
        Ok(Self {
            config,
            in_force,
            memory,
            enforce_eager: args.get(ENFORCE_EAGER).unwrap_or(false),
            parallel,
            group: Group {
                engines: parallel.data,
                lockstep: model.experts().is_some(),
                router: if args.get(DATA_PARALLEL_EXTERNAL_LB) == Some(true) {
                    Router::RoundRobin
                } else {
                    Router::LeastLoaded
                },
            },
            gpu_memory_utilization: utilization,
            micro_batch: args.get(MICRO_BATCH),
            scheduler: Scheduler::Vllm,
        })
    }
}

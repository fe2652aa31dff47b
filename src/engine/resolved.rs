//! Settings resolved: what an engine starts with.
use super::memory::{MemoryError, MemoryPlan};
use super::settings::*;
use super::speculation::{Drafting, SpeculationInputs};
use super::{EngineConfig, EngineVersion, Group, kind};
use crate::device::{DeviceProfile, EngineId, EngineProfile};
use crate::model::{Model, Parallel, Placement};

/// An engine ready to start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The scheduler's configuration.
    pub config: EngineConfig,
    /// The values in force of the settings that the engine has, defaults included.
    pub in_force: SettingValues,
    /// Where the memory goes; of a pipeline that of the stage which holds the fewest blocks.
    pub memory: MemoryPlan,
    /// The stages of a pipeline; none without one.
    pub stages: Vec<StagePlan>,
    /// No graphs.
    pub enforce_eager: bool,
    /// Devices that serve one engine together.
    pub parallel: Parallel,
    /// Engines behind one router.
    pub group: Group,
    /// `--gpu-memory-utilization`.
    pub gpu_memory_utilization: f64,
    /// Tokens computed at a time, where a step is split (llama.cpp's `--ubatch-size`).
    pub micro_batch: Option<u32>,
    /// The engine whose rules compose batches.
    pub engine: EngineId,
    /// Processes of the front end.
    pub api_servers: u32,
    /// Where weights lie.
    pub placement: Placement,
    /// Whether large batches take weights from the host's memory to the device.
    pub op_offload: bool,
    /// What drafts.
    pub drafting: Option<Drafting>,
}

/// A stage of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StagePlan {
    /// Its layers.
    pub layers: u32,
    /// Where the memory of each of its devices goes.
    pub memory: MemoryPlan,
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

/// What settings are resolved from.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The values that were given.
    pub given: &'a SettingValues,
    /// The whole model.
    pub model: &'a Model,
    /// One device.
    pub device: &'a DeviceProfile,
    /// The engine profile.
    pub profile: &'a EngineProfile,
    /// vLLM's release, where it is not the engine profile's own.
    pub release: Option<EngineVersion>,
    /// What speculation needs beside settings.
    pub speculation: &'a SpeculationInputs,
}

impl Settings {
    /// Fills in defaults and sizes the KV cache as the profile's engine does.
    ///
    /// # Errors
    /// Names the setting that contradicts another or does not fit.
    pub fn resolve(asked: &Asked<'_>) -> Result<Self, SettingsError> {
        kind(asked.profile.scheduler).settings(asked)
    }

    /// Devices of all engines.
    pub fn devices(&self) -> u32 {
        self.parallel.tensor * self.parallel.pipeline * self.group.engines
    }

    /// The stages of the pipeline, in words; empty without one.
    pub fn pipeline(&self) -> String {
        let layers: Vec<String> = self.stages.iter().map(|s| s.layers.to_string()).collect();
        match layers.len() {
            0 => String::new(),
            n => format!("{n} pipeline stages of {} layers", layers.join(" + ")),
        }
    }

    /// The rules that compose batches, in words.
    pub fn rules(&self) -> String {
        kind(self.engine).rules(self)
    }
}

pub(super) fn bad(field: &'static str, problem: String) -> SettingsError {
    SettingsError::Value { field, problem }
}

/// Refuses a value outside 1 to `most`.
pub(super) fn at_least_one(
    field: &'static str,
    value: u32,
    most: u32,
) -> Result<(), SettingsError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(bad(
        field,
        format!("must lie between 1 and {most}, not {value}"),
    ))
}

/// Refuses a size other than 1 that an engine is not simulated with.
pub(super) fn only_one(
    given: Option<u32>,
    field: &'static str,
    engine: EngineId,
) -> Result<(), SettingsError> {
    match given {
        None | Some(1) => Ok(()),
        Some(n) => Err(bad(
            field,
            format!("{n}: {} is simulated with 1 only", kind(engine).name()),
        )),
    }
}

impl Asked<'_> {
    pub(super) fn block_size(&self) -> Result<u32, SettingsError> {
        let block_size = self.given.get(BLOCK_SIZE).unwrap_or(16);
        if (1..=4096).contains(&block_size) {
            return Ok(block_size);
        }
        Err(bad(
            "block_size",
            format!("{block_size} must lie between 1 and 4096"),
        ))
    }

    pub(super) fn utilization(&self, default: f64) -> Result<f64, SettingsError> {
        let utilization = self.given.get(GPU_MEMORY_UTILIZATION).unwrap_or(default);
        if utilization > 0.0 && utilization <= 1.0 {
            return Ok(utilization);
        }
        Err(bad(
            "gpu_memory_utilization",
            format!("{utilization} must lie above 0 and at most 1"),
        ))
    }

    /// A configuration that the scheduler takes, and the values in force that every engine has: what was given, and what the
    /// configuration made of the rest.
    pub(super) fn in_force(&self, config: &EngineConfig) -> Result<SettingValues, SettingsError> {
        config
            .validate()
            .map_err(|e| bad("engine settings", e.to_string()))?;
        let mut given = self.given.clone();
        if let Some(s) = &config.speculation {
            given.set(NUM_SPECULATIVE_TOKENS, s.tokens);
        }
        Ok(given
            .with(MAX_NUM_SEQS, config.max_num_seqs)
            .with(MAX_NUM_BATCHED_TOKENS, config.max_num_batched_tokens)
            .with(MAX_MODEL_LEN, config.max_model_len)
            .with(BLOCK_SIZE, config.block_size)
            .with(ENABLE_PREFIX_CACHING, config.enable_prefix_caching)
            .with(ASYNC_SCHEDULING, config.async_scheduling))
    }
}

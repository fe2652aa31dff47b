//! TensorRT-LLM, its PyTorch backend.
mod batch;
mod capacity;
mod request;
mod scheduler;
mod settings;

pub use scheduler::Scheduler;
pub(crate) use settings::TOKENS_PER_BLOCK;

use super::config::CapacityPolicy;
use super::resolved::{Asked, Settings, SettingsError};
use super::{ConfigError, EngineConfig, EngineKind, Tracking};
use crate::device::EngineId;
use crate::engine::settings::{
    CAPACITY_SCHEDULER_POLICY, NUM_GPU_BLOCKS_OVERRIDE, SPECULATIVE_METHOD, SettingValues,
};
use crate::engine::speculation::Method;

/// TensorRT-LLM.
pub struct Trtllm;

/// What `trtllm-serve` has flags for; everything else stands in the file of its `--config` (`commands/serve.py`@00209af).
const FLAGS: [&str; 7] = [
    "--max_batch_size",
    "--max_num_tokens",
    "--max_seq_len",
    "--tp_size",
    "--ep_size",
    "--free_gpu_memory_fraction",
    "--enable_chunked_prefill",
];

impl EngineKind for Trtllm {
    fn id(&self) -> EngineId {
        EngineId::Trtllm
    }
    fn key(&self) -> &'static str {
        "trtllm"
    }
    fn name(&self) -> &'static str {
        "TensorRT-LLM"
    }
    fn has_tensor_parallelism(&self) -> bool {
        true
    }
    fn settings(&self, asked: &Asked<'_>) -> Result<Settings, SettingsError> {
        settings::resolve(asked)
    }
    fn rules(&self, settings: &Settings) -> String {
        match settings.config.capacity_policy {
            CapacityPolicy::GuaranteedNoEvict => "TensorRT-LLM's rules".into(),
            CapacityPolicy::MaxUtilization => {
                "TensorRT-LLM's rules with maximum utilisation".into()
            }
        }
    }
    fn scheduler(
        &self,
        config: EngineConfig,
        tracking: Tracking,
    ) -> Result<Box<dyn super::Scheduler>, ConfigError> {
        Ok(Box::new(Scheduler::new(config, tracking)?))
    }
    fn port(&self) -> u16 {
        8000
    }
    fn command(&self, model: &str) -> Vec<String> {
        vec!["trtllm-serve".into(), model.into()]
    }

    /// `kv_cache_config.max_tokens` counts tokens, without the block that is never handed out; policies and drafters have names of
    /// TensorRT-LLM's own.
    fn as_flags(&self, settings: SettingValues) -> SettingValues {
        let method = settings.get(SPECULATIVE_METHOD);
        let method = method.map(|m| match Method::of_name(&m) {
            Ok(method) => method.flag(EngineId::Trtllm).to_string(),
            Err(_) => m,
        });
        let policy = settings.get(CAPACITY_SCHEDULER_POLICY);
        let block = settings.get(crate::engine::settings::BLOCK_SIZE);
        let blocks = settings.get(NUM_GPU_BLOCKS_OVERRIDE);
        let tokens = blocks.map(|n| {
            n.saturating_sub(1)
                .saturating_mul(block.unwrap_or(settings::TOKENS_PER_BLOCK))
        });
        settings
            .with(SPECULATIVE_METHOD, method)
            .with(NUM_GPU_BLOCKS_OVERRIDE, tokens)
            .with(
                CAPACITY_SCHEDULER_POLICY,
                policy.map(|p| p.to_ascii_uppercase()),
            )
    }

    /// What has no flag goes into the file that `--config` names, written here as a shell's `<(echo …)`.
    fn typed(&self, line: Vec<String>) -> Vec<String> {
        let is_flag = |word: &String| {
            let name = word.split(' ').next().unwrap_or(word);
            !name.starts_with("--") || FLAGS.contains(&name)
        };
        // Whole experts are given to all devices.
        let devices = line.iter().find_map(|w| w.strip_prefix("--tp_size "));
        let experts = format!("--ep_size {}", devices.unwrap_or("1"));
        let line = line.into_iter().map(|w| match w.as_str() {
            "--ep_size" => experts.clone(),
            _ => w,
        });
        let line: Vec<String> = line.collect();
        let (mut words, options): (Vec<String>, Vec<String>) = line.into_iter().partition(is_flag);
        if !options.is_empty() {
            words.push(format!(
                "--config <(echo '{}')",
                settings::options(&options)
            ));
        }
        words
    }
}

//! SGLang.
mod scheduler;
mod settings;

pub use scheduler::Scheduler;

use super::resolved::{Asked, Settings, SettingsError};
use super::{ConfigError, EngineConfig, EngineKind, Tracking};
use crate::device::EngineId;
use crate::engine::settings::{NUM_GPU_BLOCKS_OVERRIDE, SPECULATIVE_METHOD, SettingValues};
use crate::engine::speculation::Method;

/// SGLang.
pub struct Sglang;

impl EngineKind for Sglang {
    fn id(&self) -> EngineId {
        EngineId::Sglang
    }
    fn key(&self) -> &'static str {
        "sglang"
    }
    fn name(&self) -> &'static str {
        "SGLang"
    }
    fn has_tensor_parallelism(&self) -> bool {
        true
    }
    fn hands_over(&self) -> bool {
        true
    }
    /// `--num-reserved-decode-tokens` (`disaggregation/decode.py: DecodePreallocQueue`, v0.5).
    fn reserved_decode_tokens(&self) -> u32 {
        512
    }
    fn half(&self, role: &str) -> String {
        format!("--disaggregation-mode {role}")
    }
    fn settings(&self, asked: &Asked<'_>) -> Result<Settings, SettingsError> {
        settings::resolve(asked)
    }
    fn rules(&self, _: &Settings) -> String {
        "SGLang's rules".into()
    }
    fn scheduler(
        &self,
        config: EngineConfig,
        tracking: Tracking,
    ) -> Result<Box<dyn super::Scheduler>, ConfigError> {
        Ok(Box::new(Scheduler::new(config, tracking)?))
    }
    fn port(&self) -> u16 {
        30_000
    }
    fn command(&self, model: &str) -> Vec<String> {
        vec![
            "python -m sglang.launch_server".into(),
            format!("--model-path {model}"),
        ]
    }

    /// `--max-total-tokens` does not count the block that is never handed out; drafters have names of SGLang's own.
    fn as_flags(&self, settings: SettingValues) -> SettingValues {
        let tokens = settings
            .get(NUM_GPU_BLOCKS_OVERRIDE)
            .map(|n| n.saturating_sub(1));
        let method = settings.get(SPECULATIVE_METHOD);
        let method = method.map(|m| match Method::of_name(&m) {
            Ok(method) => method.flag(EngineId::Sglang).to_string(),
            Err(_) => m,
        });
        settings
            .with(NUM_GPU_BLOCKS_OVERRIDE, tokens)
            .with(SPECULATIVE_METHOD, method)
    }
}

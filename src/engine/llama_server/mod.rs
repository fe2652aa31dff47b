//! llama.cpp's `llama-server`.
mod scheduler;
mod settings;

pub use scheduler::Scheduler;

use super::resolved::{Asked, Settings, SettingsError};
use super::{ConfigError, EngineConfig, EngineKind, Tracking};
use crate::device::EngineId;
use crate::engine::settings::{MAX_MODEL_LEN, MAX_NUM_SEQS, SettingValues};

/// `llama-server`, and what is built on the same batches.
pub struct LlamaServer;

impl EngineKind for LlamaServer {
    fn id(&self) -> EngineId {
        EngineId::LlamaServer
    }
    fn key(&self) -> &'static str {
        "llama-server"
    }
    fn name(&self) -> &'static str {
        "llama-server"
    }
    fn name_in(&self, profile: &str) -> &'static str {
        if profile.starts_with("ollama") {
            "Ollama"
        } else {
            "llama.cpp"
        }
    }
    fn settings(&self, asked: &Asked<'_>) -> Result<Settings, SettingsError> {
        settings::resolve(asked)
    }
    fn rules(&self, settings: &Settings) -> String {
        format!(
            "llama-server's slots, micro-batch {}",
            settings.micro_batch.unwrap_or(0)
        )
    }
    fn scheduler(
        &self,
        config: EngineConfig,
        tracking: Tracking,
    ) -> Result<Box<dyn super::Scheduler>, ConfigError> {
        Ok(Box::new(Scheduler::new(config, tracking)?))
    }
    fn port(&self) -> u16 {
        8080
    }
    fn command(&self, model: &str) -> Vec<String> {
        vec!["llama-server".into(), format!("-m {model}.gguf")]
    }

    /// `-c` is the context of all slots together.
    fn as_flags(&self, settings: SettingValues) -> SettingValues {
        let slots = settings.get(MAX_NUM_SEQS).unwrap_or(1);
        let whole = settings.get(MAX_MODEL_LEN).map(|n| n.saturating_mul(slots));
        settings.with(MAX_MODEL_LEN, whole)
    }
}

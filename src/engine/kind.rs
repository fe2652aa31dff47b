//! The registry of engines: what is particular to each, behind one trait.
use super::resolved::{Asked, Settings, SettingsError};
use super::{ConfigError, EngineConfig, Scheduler, Tracking};
use crate::device::EngineId;
use crate::engine::settings::SettingValues;

/// A serving engine. To add one: a folder with this trait's implementor, a line in [`ENGINES`], an engine profile, a test.
pub trait EngineKind: Sync {
    /// Its identity in profiles and scenarios.
    fn id(&self) -> EngineId;

    /// The identity as it is written: `vllm`.
    fn key(&self) -> &'static str;

    /// Its name for people.
    fn name(&self) -> &'static str;

    /// Its name for people where an engine profile of this id stands for another program with the same scheduler.
    fn name_in(&self, _profile: &str) -> &'static str {
        self.name()
    }

    /// Whether its rules depend on a release that a scenario may name.
    fn has_releases(&self) -> bool {
        false
    }

    /// Whether a layer may be divided among devices.
    fn has_tensor_parallelism(&self) -> bool {
        false
    }

    /// Whether its KV can go to another server and come from there ([`Handover`](super::Handover)).
    fn hands_over(&self) -> bool {
        false
    }

    /// Tokens that a decoder keeps free for each request that it decodes, before it takes KV of another one.
    fn reserved_decode_tokens(&self) -> u32 {
        0
    }

    /// The flag that makes a server one half of a separate prefill and decode, as its line has it; empty: it needs none.
    fn half(&self, _role: &str) -> String {
        String::new()
    }

    /// Fills in defaults and sizes the KV cache.
    ///
    /// # Errors
    /// Names the setting that contradicts another or does not fit.
    fn settings(&self, asked: &Asked<'_>) -> Result<Settings, SettingsError>;

    /// The rules that compose batches, in words.
    fn rules(&self, settings: &Settings) -> String;

    /// A scheduler with nothing to do.
    ///
    /// # Errors
    /// As [`EngineConfig::validate`].
    fn scheduler(
        &self,
        config: EngineConfig,
        tracking: Tracking,
    ) -> Result<Box<dyn Scheduler>, ConfigError>;

    /// The beginning of the line that starts a server of this model; the settings follow as flags.
    fn command(&self, model: &str) -> Vec<String>;

    /// The port that it listens on unless told otherwise.
    fn port(&self) -> u16;

    /// A line whose words are settings as [`as_flags`](Self::as_flags) names them, as people type it.
    fn typed(&self, line: Vec<String>) -> Vec<String> {
        line
    }

    /// Settings as the engine's own flags count them.
    fn as_flags(&self, settings: SettingValues) -> SettingValues {
        settings
    }
}

/// Every engine that is simulated.
pub static ENGINES: &[&dyn EngineKind] = &[
    &super::vllm::Vllm,
    &super::sglang::Sglang,
    &super::trtllm::Trtllm,
    &super::llama_server::LlamaServer,
];

/// The engine of an identity.
pub fn kind(id: EngineId) -> &'static dyn EngineKind {
    let found = ENGINES.iter().find(|e| e.id() == id);
    *found.expect("a test finds every engine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_identity_has_one_engine_and_is_written_as_in_profiles() {
        for id in [
            EngineId::Vllm,
            EngineId::Sglang,
            EngineId::Trtllm,
            EngineId::LlamaServer,
        ] {
            // A new identity has to be added above.
            match id {
                EngineId::Vllm | EngineId::Sglang | EngineId::Trtllm | EngineId::LlamaServer => {}
            }
            assert_eq!(ENGINES.iter().filter(|e| e.id() == id).count(), 1);
            assert_eq!(serde_json::to_value(id).unwrap(), kind(id).key());
        }
        assert_eq!(ENGINES.len(), 4);
    }
}

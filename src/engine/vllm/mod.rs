//! vLLM's V1 scheduler, rule for rule (`v1/core/sched/scheduler.py` and its neighbours), of the releases 0.12 to 0.33.
//!
//! `tests/vllm_parity.rs` holds it against recorded decisions of the real scheduler, step by step.
//!
//! # Speed
//!
//! A decoding request gets exactly one token in every step until it ends, so nothing about it needs to be touched
//! in between but its KV blocks when one fills up. Such requests run in *lanes* (`lanes.rs`): their state is that of
//! the moment they joined plus the number of steps since. A step then costs what its events cost (arrivals, finishes,
//! block boundaries), not what its batch counts. Steps in which that is not so (the token budget or the
//! KV blocks do not suffice) take the slow path (`slow_path.rs`), which walks the running list as vLLM does.
mod admission;
mod fast_path;
mod handover;
pub(super) mod kv;
mod lanes;
mod output;
mod pipeline;
pub mod releases;
mod request;
mod schedule;
mod scheduler;
mod settings;
mod shape;
mod slow_path;
mod speculative;
mod waiting;

pub use kv::BlockId;
pub use releases::{EngineVersion, Release, Rules, VersionError};
pub use scheduler::{Scheduled, Scheduler};

use super::resolved::{Asked, Settings, SettingsError};
use super::{ConfigError, EngineConfig, EngineKind, Tracking};
use crate::device::EngineId;

/// vLLM.
pub struct Vllm;

impl EngineKind for Vllm {
    fn id(&self) -> EngineId {
        EngineId::Vllm
    }
    fn key(&self) -> &'static str {
        "vllm"
    }
    fn name(&self) -> &'static str {
        "vLLM"
    }
    fn has_releases(&self) -> bool {
        true
    }
    fn has_tensor_parallelism(&self) -> bool {
        true
    }
    fn hands_over(&self) -> bool {
        true
    }
    /// Each server may be asked for either half: the proxy says which (vLLM 0.12, `NixlConnector`).
    fn half(&self, _role: &str) -> String {
        r#"--kv-transfer-config '{"kv_connector":"NixlConnector","kv_role":"kv_both"}'"#.into()
    }
    fn settings(&self, asked: &Asked<'_>) -> Result<Settings, SettingsError> {
        settings::resolve(asked)
    }
    fn rules(&self, settings: &Settings) -> String {
        format!("vLLM {} rules", settings.config.version)
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
        vec!["vllm serve".into(), model.into()]
    }
}

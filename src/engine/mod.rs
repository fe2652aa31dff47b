//! The engine simulator: schedulers of serving engines, and the runtime that drives them.
//!
//! A [`Scheduler`] is a value: nothing happens in it except in answer to a call, and it never asks the time. One call of
//! [`Scheduler::schedule`] composes a batch, one of [`Scheduler::complete`] delivers its tokens. There is a folder for each
//! engine: [`vllm`], [`sglang`], [`trtllm`], [`llama_server`]; [`ENGINES`] lists them.
//!
//! The [`Runtime`] drives one or several of them (data parallelism) against a cost model. It does no input or output and has no clock:
//! [`Runtime::run`] moves it by event time, `capsim serve` by the wall clock.
mod accept;
mod command;
mod config;
mod content;
pub mod fleet;
mod front_end;
mod group;
mod kind;
pub mod llama_server;
pub mod memory;
pub mod observe;
mod resolved;
mod runtime;
mod scheduler;
mod sequence;
pub mod settings;
pub mod sglang;
mod simulate;
pub mod speculation;
pub mod trtllm;
pub mod vllm;

pub use accept::{SubmitError, acceptable, servable};
pub use command::{command, flag};
pub use config::{CapacityPolicy, ConfigError, EngineConfig, SchedulingPolicy};
pub use front_end::FrontEndCost;
pub use group::{Group, Router};
pub use kind::{ENGINES, EngineKind, kind};
pub use resolved::{Asked, Settings, SettingsError, StagePlan};
pub use runtime::{Flight, Runtime};
pub use scheduler::{
    Computed, EngineState, Handover, Output, PrefixCounters, PromptHashes, Scheduler, Step,
    Tracking,
};
pub use simulate::{SimError, SimSummary, simulate};
pub use vllm::{EngineVersion, VersionError};

//! capsim predicts how fast a language model will serve on a device, under a load, with given settings.
//!
//! The modules stand in the order of the story: measure → model → simulate → predict → validate.
//! Each uses only those above it in this list (see `docs/architecture.md`).
pub mod units;
pub mod rng;
pub mod stats;
pub mod model;
pub mod device;
pub mod workload;
pub mod cost;
pub mod engine;
pub mod metrics;
pub mod predict;
pub mod plan;
#[cfg(feature = "http")]
pub mod openai;
#[cfg(feature = "calibrate")]
pub mod calibrate;
#[cfg(feature = "http")]
pub mod bench;
#[cfg(feature = "import")]
pub mod import;
#[cfg(feature = "http")]
pub mod serve;
#[cfg(feature = "validate")]
pub mod validate;
#[cfg(feature = "cli")]
pub mod report;
#[cfg(all(feature = "cli", feature = "http"))]
pub mod explore;
#[cfg(feature = "cli")]
pub mod cli;

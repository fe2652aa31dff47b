//! From a scenario to an answer: settings resolved as vLLM resolves them, one simulation, and an interval.
//!
//! A [`Scenario`] says what to serve, on what, how, and under which load. [`predict`] turns it into a
//! [`Prediction`]; nothing here reads a file, a clock or a global, and the same scenario gives the same
//! bytes.
mod about;
mod beyond;
mod bounds;
mod caveat;
pub mod deployment;
mod energy;
mod engine_choice;
mod fleet_run;
mod interval;
mod nearest;
mod prediction;
mod refused;
mod run;
mod server_line;
pub mod spec;
mod uncertain;
pub mod unmodelled;

pub use crate::engine::{Settings, SettingsError, memory};
pub use about::About;
pub(crate) use beyond::variance as beyond_profile;
pub use caveat::Caveat;
pub use deployment::Deployment;
pub use energy::Energy;
pub use engine_choice::{EngineWanted, Engines, unknown_kind};
pub use fleet_run::{FleetRun, PoolRun};
pub use interval::{Interval, METRICS, Sensitivity};
pub use nearest::{Nearest, Record, Records, nearest};
pub use prediction::{
    Binding, Notes, PredictError, Prediction, Scenario, estimate, predict, predict_observed,
    predict_replay,
};
pub use refused::Refused;
pub use run::{Run, simulate_observed, simulate_once, simulate_replay};
pub use server_line::{ServerLine, public_name};
pub(crate) use uncertain::Z95;
pub use uncertain::{Coefficient, Uncertain, covariance, uncertain};

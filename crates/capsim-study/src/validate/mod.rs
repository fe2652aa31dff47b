//! Measured against predicted, and why they differ.
//!
//! Runs used for fitting are never reported as predicted: [`compare`](compare::compare) takes the two sets apart.
pub mod accuracy;
pub mod compare;
pub mod cycle;
pub mod explain;
pub mod fit;
pub mod from_metrics;
pub mod hypothesis;
pub mod left_out;
pub mod manifest;
pub mod nearby;
pub mod nnls;
#[cfg(feature = "live")]
pub mod paired;
pub mod recorded;
#[cfg(feature = "live")]
pub mod recordings;
pub mod reselect;
pub mod runs;
pub mod spread;
pub mod unknown;
#[cfg(feature = "live")]
pub mod verified;

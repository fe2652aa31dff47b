//! Tables for people, JSON and CSV for machines, Markdown for both.
pub mod accuracy;
pub mod answer;
pub mod bars;
pub mod accuracy_recorded;
pub mod calibration;
pub mod chart;
pub mod capacity;
pub mod compare;
pub mod deploy;
pub mod devices;
pub mod escape;
mod fleet;
#[cfg(feature = "live")]
pub mod bench;
pub mod flat;
mod frame;
pub mod json;
pub mod markdown;
pub mod memory;
#[cfg(feature = "live")]
pub mod paired;
pub mod page;
pub mod prediction;
pub mod requests;
pub mod stream;
pub mod roofline;
pub mod svg;
pub mod table;
pub mod terminal;
pub mod timeline;
pub mod trace;
pub mod tune;
pub mod validation;
#[cfg(feature = "live")]
pub mod verified;
pub mod vllm_result;

use capsim::predict::{Prediction, Scenario};

/// One row of a what-if table.
pub struct Row {
    /// Fields that differ between rows, with this row's values.
    pub varied: Vec<(&'static str, capsim::fields::Value)>,
    /// What was asked.
    pub scenario: Scenario,
    /// What was answered.
    pub prediction: Prediction,
}

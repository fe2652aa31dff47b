//! `capacity --verify` and `tune --verify` for machines.
use super::finite;
use super::paired::Recording;
use crate::validate::verified::Verified;
use capsim::plan::{capacity::Capacity, tune::Tuned};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A condition of the SLO on both sides; latencies in seconds, goodput as a share, throughput per second.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// The condition as it was understood.
    pub term: String,
    /// Measured; null: the run has none, or a failed request makes it infinite.
    pub measured: Option<f64>,
    /// Simulated; null likewise.
    pub predicted: Option<f64>,
    /// 90 % interval of the prediction.
    pub low: Option<f64>,
    /// See `low`.
    pub high: Option<f64>,
}

/// A measured run beside its prediction.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VerifiedRun {
    /// The load, or the setting.
    pub what: String,
    /// Requests measured.
    pub num_prompts: u32,
    /// Of these, requests that failed.
    pub failed: u64,
    /// Conditions of the SLO.
    pub slo: Vec<Condition>,
    /// Whether the server met the SLO.
    pub met: bool,
    /// Whether the simulation did.
    pub predicted_met: bool,
    /// All figures.
    pub recording: Recording,
}

/// `capsim capacity --verify URL --json`, `capsim tune --verify URL --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// Format.
    #[schemars(extend("const" = "capsim.verification/1"))]
    pub schema: String,
    /// The server.
    pub url: String,
    /// Whether prediction and measurement say the same of the SLO in every run.
    pub agrees: bool,
    /// Whether the measurement was interrupted, so that runs are missing.
    pub interrupted: bool,
    /// The runs.
    pub runs: Vec<VerifiedRun>,
    /// The answer that was verified, if it is of `capacity`.
    pub capacity: Option<Capacity>,
    /// The answer that was verified, if it is of `tune`.
    pub tune: Option<Tuned>,
}

impl From<&Verified> for VerifiedRun {
    fn from(v: &Verified) -> Self {
        let condition = |t: &crate::validate::verified::TermPair| Condition {
            term: t.term.to_string(),
            measured: finite(t.measured),
            predicted: finite(t.predicted),
            low: t.interval.and_then(|i| finite(i.low)),
            high: t.interval.and_then(|i| finite(i.high)),
        };
        Self {
            what: v.what.clone(),
            num_prompts: v.num_prompts,
            failed: v.failed,
            slo: v.terms.iter().map(condition).collect(),
            met: v.met,
            predicted_met: v.predicted_met,
            recording: Recording::new(&v.paired),
        }
    }
}

impl Verification {
    /// Of these runs.
    pub fn new(url: &str, runs: &[Verified], interrupted: bool) -> Self {
        Self {
            schema: "capsim.verification/1".into(),
            url: url.into(),
            agrees: runs.iter().all(Verified::agrees),
            interrupted,
            runs: runs.iter().map(VerifiedRun::from).collect(),
            capacity: None,
            tune: None,
        }
    }
}

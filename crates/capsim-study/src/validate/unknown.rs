//! What a record leaves open must show in the interval.
//!
//! Two ways, both about the logarithm of a metric:
//!
//! - A run may list settings that its source does not state ([`Unknown`]), each with what it may have been besides what the run
//!   says. Every alternative is simulated; with value and alternatives equally likely, the variance is the mean square of what they
//!   would change. The run's own figures play no part.
//! - Where the run's figures choose among hypotheses ([`super::hypothesis`]), a hypothesis that they do not rule out keeps its
//!   likelihood as weight: exp(−n·(misfit² − best²) / 2s²) of n figures, s being `DOUBT`.
use super::compare::Candidate;
use super::hypothesis::{Basis, Hypothesis};
use super::runs::RecordedRun;
use capsim::engine::settings::SettingValues;
use capsim::metrics::{Metric, Percentiles, Summary};
use capsim::predict::{PredictError, simulate_once};
use serde::{Deserialize, Serialize};

/// By how much the model itself may be off when hypotheses are weighed: the deviation that all published runs of this device ask
/// for in decoding (docs/accuracy.md, 20 %).
const DOUBT: f64 = 0.2;

/// A setting that the source of a run does not state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unknown {
    /// Which, in words.
    pub setting: String,
    /// Engine settings that may have held instead: only those that differ from the run's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engine_args: Vec<SettingValues>,
    /// Other possible numbers of prompt tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_len: Vec<u32>,
    /// Other possible numbers of output tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output_len: Vec<u32>,
    /// Other possible mixture-of-experts paths of the engine profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moe_tiles: Vec<String>,
}

impl Unknown {
    /// How many other values there are.
    pub fn alternatives(&self) -> usize {
        self.engine_args.len() + self.input_len.len() + self.output_len.len() + self.moe_tiles.len()
    }
}

/// `base` with what `other` sets.
fn overlaid(base: &SettingValues, other: &SettingValues) -> SettingValues {
    let mut sum = base.clone();
    sum.overlay(other);
    sum
}

/// Everything that `unknown` may have been instead: what the run is simulated with.
fn alternatives(
    basis: &Basis,
    run: &RecordedRun,
    chosen: &Hypothesis,
    unknown: &Unknown,
) -> Vec<(Basis, RecordedRun, Hypothesis)> {
    let mut all = vec![];
    for args in &unknown.engine_args {
        let mut h = chosen.clone();
        h.serve = overlaid(&h.serve, args);
        all.push((basis.clone(), run.clone(), h));
    }
    for &n in &unknown.input_len {
        let mut r = run.clone();
        r.workload.input_len = n;
        all.push((basis.clone(), r, chosen.clone()));
    }
    for &n in &unknown.output_len {
        let mut r = run.clone();
        r.workload.output_len = n;
        all.push((basis.clone(), r, chosen.clone()));
    }
    for tiles in &unknown.moe_tiles {
        let mut b = basis.clone();
        b.moe_path = Some(tiles.clone());
        all.push((b, run.clone(), chosen.clone()));
    }
    all
}

/// Variance of ln metric that the settings a record does not state leave, for each of `metrics`.
///
/// # Errors
/// If an alternative cannot be simulated: it was none, then.
pub fn variance(
    basis: &Basis,
    run: &RecordedRun,
    chosen: &Candidate,
    metrics: &[Metric],
    rule: Percentiles,
) -> Result<Vec<f64>, PredictError> {
    let base = &chosen.prediction.run.summary;
    let mut sums = vec![0.0; metrics.len()];
    for unknown in &run.unknown {
        let values = 1 + unknown.alternatives();
        for (b, r, h) in alternatives(basis, run, &chosen.hypothesis, unknown) {
            let other = simulate_once(&b.scenario(&r, &h))?.summary;
            for (sum, d) in sums.iter_mut().zip(shifts(base, &other, metrics, rule)) {
                *sum += d * d / values as f64;
            }
        }
    }
    Ok(sums)
}

/// The same that hypotheses leave which the run's figures do not rule out; `all[0]` is the one they prefer.
pub fn doubt(all: &[Candidate], metrics: &[Metric], rule: Percentiles) -> Vec<f64> {
    let best = &all[0];
    let figures = metrics.len() as f64;
    let mut sums = vec![0.0; metrics.len()];
    let mut weights = 1.0;
    for other in &all[1..] {
        let worse = other.misfit * other.misfit - best.misfit * best.misfit;
        let weight = libm::exp(-figures * worse / (2.0 * DOUBT * DOUBT));
        weights += weight;
        let summary = &other.prediction.run.summary;
        let base = &best.prediction.run.summary;
        for (sum, d) in sums.iter_mut().zip(shifts(base, summary, metrics, rule)) {
            *sum += weight * d * d;
        }
    }
    sums.iter().map(|s| s / weights).collect()
}

/// ln(other / base) of each metric; zero where one is missing.
fn shifts(base: &Summary, other: &Summary, metrics: &[Metric], rule: Percentiles) -> Vec<f64> {
    metrics
        .iter()
        .map(|m| match (base.metric(*m, rule), other.metric(*m, rule)) {
            (a, b) if a > 0.0 && b > 0.0 => libm::log(b / a),
            _ => 0.0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use capsim::engine::settings::{ENFORCE_EAGER, MAX_NUM_SEQS, MICRO_BATCH};

    #[test]
    fn an_alternative_changes_what_it_names_and_nothing_else() {
        let base = SettingValues::default()
            .with(MAX_NUM_SEQS, 4)
            .with(ENFORCE_EAGER, false);
        let other = SettingValues::default()
            .with(MICRO_BATCH, 2048)
            .with(ENFORCE_EAGER, true);
        let sum = overlaid(&base, &other);
        assert_eq!(sum.get(MAX_NUM_SEQS), Some(4));
        assert_eq!(sum.get(MICRO_BATCH), Some(2048));
        assert_eq!(sum.get(ENFORCE_EAGER), Some(true));
        assert_eq!(overlaid(&base, &SettingValues::default()), base);
    }
}

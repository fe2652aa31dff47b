//! The slowest and the fastest that the cost model's own uncertainty allows for.
//!
//! First-order reliability (A. M. Hasofer and N. C. Lind, J. Eng. Mech. Div. 100, 1974): among all values of the
//! coefficients that lie 1.645 standard deviations from their best estimates, those that harm a figure most are, to first order,
//! at 1.645 · C g / √(gᵀ C g) in logarithms, g being the figure's gradient and C the coefficients' covariance. Where the
//! figure crosses a limit there, its 95 % quantile crosses it.
use super::pool::Pool;
use super::slo::{Slo, Term};
use super::trial::trial;
use crate::device::{BatchClass, Phase};
use crate::predict::{
    Coefficient, PredictError, Scenario, Uncertain, Z95, beyond_profile, covariance, uncertain,
};

/// A scenario under unlucky and lucky coefficients.
#[derive(Clone, Debug)]
pub struct Extremes {
    /// Worse than nineteen of twenty.
    pub slow: Scenario,
    /// Better than nineteen of twenty.
    pub fast: Scenario,
    /// Coefficients by their part of the variance, largest first.
    pub shares: Vec<(String, f64)>,
}

/// The coefficients of the prediction's own interval, and what the model does not resolve: how runs differ, all times
/// together.
fn all(scenario: &Scenario) -> Vec<Uncertain> {
    let repeat = &scenario.engine.repeat_rel_sd;
    // A box at its limit holds many sequences.
    let experts = scenario.model.experts().is_some();
    let model = scenario
        .engine
        .model_sd(Phase::Decode, false, BatchClass::Many, experts);
    let mut all = uncertain(scenario);
    all.push(Uncertain {
        coefficient: Coefficient::Everything,
        rel_sd: libm::sqrt(repeat.value * repeat.value + model * model + beyond_profile(scenario)),
        origin: scenario.engine.model_rel_sd.provenance.origin,
    });
    all
}

/// How far a coefficient is moved for its slope, in logarithms: as far as it is uncertain, so that the chance in a run weighs
/// little against it, but not beyond where a straight line is one.
fn stride(sd: f64) -> f64 {
    sd.clamp(0.03, 0.3)
}

/// Finds the coefficients that harm, and that help, a condition most. `scenarios` are one load under several seeds; each is
/// simulated once as it is and once per coefficient, and the slopes are means over the seeds. The results are the first
/// of them with other coefficients.
///
/// # Errors
/// As [`trial`].
pub fn extremes(
    scenarios: &[Scenario],
    slo: &Slo,
    term: &Term,
    pool: &impl Pool,
) -> Result<Extremes, PredictError> {
    let scenario = &scenarios[0];
    let all = all(scenario);
    let mut jobs: Vec<Scenario> = scenarios.to_vec();
    for u in &all {
        for base in scenarios {
            let mut s = base.clone();
            u.coefficient.scale(&mut s, libm::exp(stride(u.rel_sd)));
            jobs.push(s);
        }
    }
    let logs = pool
        .map(&jobs, |s| trial(s, slo))
        .into_iter()
        .map(|t| Ok(libm::log(term.margin(&t?).clamp(1e-12, 1e12))))
        .collect::<Result<Vec<f64>, PredictError>>()?;
    let (base, varied) = logs.split_at(scenarios.len());
    let g: Vec<f64> = varied
        .chunks(scenarios.len())
        .zip(&all)
        .map(|(with, u)| {
            let rise: f64 = with.iter().zip(base).map(|(w, b)| w - b).sum();
            rise / base.len() as f64 / stride(u.rel_sd)
        })
        .collect();
    let cov = covariance(scenario, &all);
    let cg: Vec<f64> = cov
        .iter()
        .map(|row| row.iter().zip(&g).map(|(c, g)| c * g).sum())
        .collect();
    let variance: f64 = cg.iter().zip(&g).map(|(a, b)| a * b).sum();
    let (mut slow, mut fast) = (scenario.clone(), scenario.clone());
    let mut shares = vec![];
    if variance > 0.0 {
        for (u, (c, g)) in all.iter().zip(cg.iter().zip(&g)) {
            let shift = Z95 * c / libm::sqrt(variance);
            u.coefficient.scale(&mut slow, libm::exp(shift));
            u.coefficient.scale(&mut fast, libm::exp(-shift));
            shares.push((u.coefficient.to_string(), c * g / variance));
        }
    }
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(Extremes { slow, fast, shares })
}

//! Fitting an engine profile to as little as one run.
//!
//! Unknowns are factors θ on the time of each kernel class and host term (an efficiency is divided by its
//! factor, a host time multiplied), one per coefficient of the profile, none per run. With y the measured and
//! f(θ) the simulated means, the fit minimises
//!
//! Σ ((y − f(θ)) / (s·y))² + Σ ((θ_j − 1) / σ_j)²  subject to θ ≥ θ_min,
//!
//! θ_min being where a coefficient would leave what is possible, s the run-to-run spread and σ_j the spread of the
//! profile's value (shrinkage to the prior where the data say nothing). f is nearly linear in θ, so that a few Gauss-Newton
//! rounds of non-negative least squares suffice.
//! The inverse of the normal matrix is the covariance that predictions carry on.
pub(super) mod problem;

use super::hypothesis::{Basis, Hypothesis};
use super::runs::RecordedRun;
use capsim::device::{EngineProfile, FitRecord, Origin, Provenance};
use capsim::metrics::{Latency, Metric, Percentiles};
use capsim::model::OpKind;
use capsim::predict::PredictError;
use capsim::workload::Replay;
use nalgebra::DVector;
pub use problem::tells;
use problem::{Problem, Solution};

/// A run to be fitted, with what is supposed about it.
pub struct FitRun<'a> {
    /// `file#run`, for the record.
    pub name: String,
    /// The run.
    pub run: &'a RecordedRun,
    /// What it was measured with, where that is not the basis of the fit; its engine profile is not looked at.
    pub basis: Option<&'a Basis>,
    /// Its settings.
    pub hypothesis: Hypothesis,
    /// Its very requests, where they are known.
    pub replay: Option<&'a Replay>,
}

/// One coefficient before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Dotted name.
    pub name: String,
    /// Value before.
    pub before: f64,
    /// Value after.
    pub after: f64,
    /// Relative standard deviation before.
    pub rel_sd_before: f64,
    /// Relative standard deviation after.
    pub rel_sd_after: f64,
}

/// What a fit gave.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The fitted profile.
    pub profile: EngineProfile,
    /// What changed, largest change first.
    pub changes: Vec<Change>,
    /// Largest remaining relative error on a fitted metric.
    pub worst_residual: f64,
}

/// Why a fit is impossible.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// A run cannot be simulated.
    #[error("run `{run}`: {error}")]
    Predict {
        /// Which one.
        run: String,
        /// Why.
        error: PredictError,
    },
    /// A run has nothing to fit to.
    #[error("run `{run}` has no latency and no output throughput to fit to")]
    NothingToFit {
        /// Which one.
        run: String,
    },
}

/// Metrics worth fitting to: means. Percentiles of a few requests are mostly chance.
const FITTED: &[Metric] = &[
    Metric::mean(Latency::Ttft),
    Metric::mean(Latency::Tpot),
    Metric::mean(Latency::E2el),
];

/// What is used where no mean latency was recorded, the first that was.
const FALLBACK: &[Metric] = &[Metric::OutputThroughput, Metric::median(Latency::Itl)];

/// Where neither was: medians, which of the many requests of a published load are hardly chance.
const MEDIANS: &[Metric] = &[Metric::median(Latency::Ttft), Metric::median(Latency::Tpot)];

/// Most Gauss-Newton rounds; where f is smooth three or four do.
const ROUNDS: usize = 12;

/// Whether more of it takes longer: host times, and work-groups needed to fill the device; efficiencies are the others.
fn is_cost(name: &str) -> bool {
    name.starts_with("host.") || name.ends_with(".fill")
}

/// The largest that an efficiency can be. Weights are not read faster than the device was measured to read a buffer of the size of all
/// of them: what is above 1 there is what a cache answers. Reads that were not measured on the device may themselves be too slow; there,
/// and of all other efficiencies, a profile may say anything up to [`EngineProfile::MOST_EFFICIENT`].
fn most(basis: &Basis, name: &str) -> f64 {
    let experts = name.starts_with("moe_paths.");
    let measured = basis.device.stream_read.provenance.origin == Origin::Measured;
    if !measured || !(name == "dense_stream" || (experts && name.ends_with(".stream"))) {
        return EngineProfile::MOST_EFFICIENT;
    }
    let bytes: f64 = basis
        .model
        .ops()
        .iter()
        .map(|op| {
            let each = match &op.kind {
                OpKind::Experts(e) if experts => e.bytes_per_expert() * f64::from(e.num_experts),
                OpKind::Gemm(g) | OpKind::Router(g) if !experts => g.weight_bytes(),
                _ => 0.0,
            };
            f64::from(op.layers) * each
        })
        .sum();
    let device = &basis.device;
    let read = device.stream_read.at(bytes.max(1.0)).y;
    (read / device.dram_read()).clamp(1.0, EngineProfile::MOST_EFFICIENT)
}

/// Smallest factor θ of a coefficient of that value: no host time is nothing at all, no efficiency beyond [`most`].
fn least(basis: &Basis, name: &str, value: f64) -> f64 {
    if is_cost(name) {
        1e-3
    } else {
        (value / most(basis, name)).min(1.0)
    }
}

fn apply(base: &EngineProfile, names: &[String], theta: &DVector<f64>) -> EngineProfile {
    let mut profile = base.clone();
    for (name, factor) in names.iter().zip(theta.iter()) {
        let q = profile
            .coefficient_mut(name)
            .expect("listed by the profile");
        q.value = if is_cost(name) {
            q.value * factor
        } else {
            q.value / factor
        };
    }
    profile
}

/// Adds what the fitted runs had to what the profile was made from: their weight formats, and the release that they name alike.
fn made_from(profile: &mut EngineProfile, basis: &Basis, runs: &[FitRun<'_>]) {
    let bases = || runs.iter().map(|r| r.basis.unwrap_or(basis));
    for format in bases().flat_map(|b| b.model.weight_formats()) {
        if !profile.knows(&format.kind()) {
            profile.weights.push(format.kind());
        }
    }
    let release = bases().next().and_then(|b| b.release);
    if let Some(r) = release.filter(|r| bases().all(|b| b.release == Some(*r))) {
        profile.version = r.full();
    }
}

/// Largest standard deviation of a coefficient's logarithm: a factor of 140 to either side at 90 %. One that the fit moved nearly to
/// nothing is as sure as ever in seconds, and unsure beyond measure in logarithms.
const WIDEST: f64 = 3.0;

/// Fits the engine profile of `basis` to `runs`.
///
/// # Errors
/// If a run cannot be simulated or has no metric to fit to.
pub fn fit(basis: &Basis, runs: &[FitRun<'_>], rule: Percentiles) -> Result<Fit, FitError> {
    let problem = Problem::of_runs(basis, runs, rule)?;
    let solution = problem.solve()?;
    let names = runs.iter().map(|r| r.name.clone()).collect();
    let mut fit = conclude(basis, &problem, &solution, names);
    made_from(&mut fit.profile, basis, runs);
    Ok(fit)
}

/// The profile with the factors found; `sources` name what they were found from.
pub(super) fn conclude(
    basis: &Basis,
    problem: &Problem<'_>,
    solution: &Solution,
    sources: Vec<String>,
) -> Fit {
    let (names, theta) = (&problem.names, &solution.theta);
    let covariance = solution.covariance();
    // From factors to logarithms of coefficients; an efficiency goes with −ln θ.
    let sign = |j: usize| if is_cost(&names[j]) { 1.0 } else { -1.0 };
    let plain = |i: usize, j: usize| sign(i) * sign(j) * covariance[(i, j)] / (theta[i] * theta[j]);
    let narrowed = |i: usize| (WIDEST / libm::sqrt(plain(i, i)).max(WIDEST)).min(1.0);
    let log_cov = |i: usize, j: usize| plain(i, j) * narrowed(i) * narrowed(j);

    let mut profile = apply(&basis.engine, names, theta);
    let source = sources.join(", ");
    let mut changes: Vec<Change> = names
        .iter()
        .enumerate()
        .map(|(j, name)| {
            let sd = libm::sqrt(log_cov(j, j).max(0.0));
            change(&basis.engine, &mut profile, name, sd, &source)
        })
        .collect();
    changes.sort_by(|a, b| {
        let size = |c: &Change| (c.after / c.before - 1.0).abs();
        size(b)
            .total_cmp(&size(a))
            .then_with(|| a.name.cmp(&b.name))
    });
    profile.id = format!("{}-fitted", basis.engine.id);
    profile.name = format!("{}, fitted to {}", basis.engine.name, source);
    profile.provenance = Provenance {
        origin: Origin::Fitted,
        source,
        note: format!("prior: engine profile `{}`", basis.engine.id),
    };
    let n = names.len();
    profile.fit = Some(FitRecord {
        runs: sources,
        coefficients: names.clone(),
        covariance: (0..n)
            .map(|i| (0..n).map(|j| log_cov(i, j)).collect())
            .collect(),
    });
    Fit {
        profile,
        changes,
        worst_residual: problem.worst_residual(solution),
    }
}

/// Notes in a fitted profile how sure a coefficient is now, and that it comes from the runs, if they moved it; the change.
fn change(
    base: &EngineProfile,
    profile: &mut EngineProfile,
    name: &str,
    sd: f64,
    runs: &str,
) -> Change {
    let before = base
        .coefficients()
        .into_iter()
        .find(|(k, _)| k == name)
        .map(|(_, q)| q.clone())
        .expect("listed by the profile");
    let q = profile
        .coefficient_mut(name)
        .expect("listed by the profile");
    q.rel_sd = sd.min(WIDEST);
    // What the data did not move keeps its origin: the fit knows nothing of it.
    if sd < 0.95 * before.rel_sd || (q.value / before.value - 1.0).abs() > 0.005 {
        q.provenance = Provenance {
            origin: Origin::Fitted,
            source: runs.into(),
            note: format!(
                "prior {:.4} ± {:.0} % ({}: {})",
                before.value,
                100.0 * before.rel_sd,
                before.provenance.origin.word(),
                before.provenance.source
            ),
        };
    }
    Change {
        name: name.into(),
        before: before.value,
        after: q.value,
        rel_sd_before: before.rel_sd,
        rel_sd_after: sd,
    }
}

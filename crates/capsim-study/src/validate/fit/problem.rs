//! The least squares of a fit: what is observed, what the simulator says, and the factors at which they are nearest.
use super::{FALLBACK, FITTED, FitError, FitRun, MEDIANS, ROUNDS, apply, least};
use crate::validate::hypothesis::Basis;
use crate::validate::nnls;
use crate::validate::runs::RecordedRun;
use capsim::device::EngineProfile;
use capsim::metrics::{Metric, Percentiles, Summary};
use capsim::predict::{simulate_once, simulate_replay};
use nalgebra::{DMatrix, DVector};

/// How far a factor is moved for its slope.
const BUMP: f64 = 0.02;

/// What an engine profile says to each observation.
type Simulate<'a> = Box<dyn Fn(&EngineProfile) -> Result<Vec<f64>, FitError> + 'a>;

/// Unknown factors and what is known about them.
pub(in crate::validate) struct Problem<'a> {
    basis: &'a Basis,
    /// The coefficients whose factors are sought.
    pub names: Vec<String>,
    /// Relative standard deviation of each in the profile.
    prior_sd: Vec<f64>,
    /// Smallest factor of each.
    lowest: DVector<f64>,
    /// What was measured.
    observed: Vec<f64>,
    simulate: Simulate<'a>,
    /// Relative noise of what is observed.
    noise: f64,
}

/// The factors found.
pub(in crate::validate) struct Solution {
    pub theta: DVector<f64>,
    /// What is simulated with them, in the order of the observations.
    pub simulated: Vec<f64>,
    /// Slopes of the last round: of each observation, then of each prior, along each factor.
    slopes: DMatrix<f64>,
}

/// One value that was measured in a run.
struct Observed {
    run: usize,
    metric: Metric,
    value: f64,
}

/// Each run simulated with an engine profile.
fn summaries(
    basis: &Basis,
    runs: &[FitRun<'_>],
    engine: &EngineProfile,
) -> Result<Vec<Summary>, FitError> {
    let each = |r: &FitRun<'_>| {
        let varied = Basis {
            engine: engine.clone(),
            ..r.basis.unwrap_or(basis).clone()
        };
        let scenario = varied.scenario(r.run, &r.hypothesis);
        match r.replay {
            Some(replay) => simulate_replay(&scenario, replay, &mut ()),
            None => simulate_once(&scenario),
        }
        .map(|run| run.summary)
        .map_err(|error| FitError::Predict {
            run: r.name.clone(),
            error,
        })
    };
    runs.iter().map(each).collect()
}

impl<'a> Problem<'a> {
    /// To the metrics of runs.
    pub fn of_runs(
        basis: &'a Basis,
        runs: &'a [FitRun<'a>],
        rule: Percentiles,
    ) -> Result<Self, FitError> {
        let observed = observed(runs)?;
        let values = observed.iter().map(|o| o.value).collect();
        let bases: Vec<&Basis> = runs.iter().map(|r| r.basis.unwrap_or(basis)).collect();
        let simulate = move |engine: &EngineProfile| {
            let per_run = summaries(basis, runs, engine)?;
            let of = |o: &Observed| per_run[o.run].metric(o.metric, rule);
            Ok(observed.iter().map(of).collect())
        };
        Ok(Self::new(basis, &bases, values, Box::new(simulate)))
    }

    /// To these values, of engines that run as `bases` say.
    pub fn new(
        basis: &'a Basis,
        bases: &[&Basis],
        observed: Vec<f64>,
        simulate: Simulate<'a>,
    ) -> Self {
        let names = unknowns(basis, bases);
        let coefficients = basis.engine.coefficients();
        let sought = || coefficients.iter().filter(|(n, _)| names.contains(n));
        Self {
            prior_sd: sought().map(|(_, q)| q.rel_sd).collect(),
            lowest: DVector::from_iterator(
                names.len(),
                sought().map(|(k, q)| least(basis, k, q.value)),
            ),
            observed,
            simulate,
            noise: basis.engine.repeat_rel_sd.value.max(1e-3),
            names,
            basis,
        }
    }

    /// What the simulator says to each observation.
    fn simulate(&self, theta: &DVector<f64>) -> Result<Vec<f64>, FitError> {
        (self.simulate)(&apply(&self.basis.engine, &self.names, theta))
    }

    /// What is minimised.
    fn objective(&self, theta: &DVector<f64>, f: &[f64]) -> f64 {
        let data = self.observed.iter().zip(f).map(|(o, f)| {
            let r = (o - f) / (self.noise * o);
            r * r
        });
        let prior = (0..self.names.len()).map(|j| {
            let r = (theta[j] - 1.0) / self.prior_sd[j];
            r * r
        });
        data.chain(prior).sum()
    }

    /// The linear problem around θ, where `f` is simulated: slopes, and the right side.
    fn linear(
        &self,
        theta: &DVector<f64>,
        f: &[f64],
    ) -> Result<(DMatrix<f64>, DVector<f64>), FitError> {
        let (n, data) = (self.names.len(), self.observed.len());
        let mut a = DMatrix::zeros(data + n, n);
        let mut b = DVector::zeros(data + n);
        let scale = |k: usize| self.noise * self.observed[k];
        for j in 0..n {
            let mut bumped = theta.clone();
            bumped[j] += BUMP;
            let g = self.simulate(&bumped)?;
            for k in 0..data {
                a[(k, j)] = (g[k] - f[k]) / BUMP / scale(k);
            }
            a[(data + j, j)] = 1.0 / self.prior_sd[j];
            b[data + j] = 1.0 / self.prior_sd[j];
        }
        for k in 0..data {
            let linear: f64 = (0..n).map(|j| a[(k, j)] * theta[j]).sum();
            b[k] = (self.observed[k] - f[k]) / scale(k) + linear;
        }
        Ok((a, b))
    }

    /// Gauss-Newton rounds from θ = 1 until nothing is gained.
    pub fn solve(&self) -> Result<Solution, FitError> {
        self.solve_from(DVector::from_element(self.names.len(), 1.0))
    }

    /// The better of the solutions from θ = 1 and from a coefficient at this value: where host and device overlap, the shorter of both has no slope.
    pub fn solve_also_from(&self, name: &str, value: f64) -> Result<Solution, FitError> {
        let first = self.solve()?;
        let place = self.names.iter().position(|n| n == name);
        let known = self.basis.engine.coefficients();
        let known = known.iter().find(|(n, _)| n == name).map(|(_, q)| q.value);
        let (Some(j), Some(known)) = (place, known.filter(|v| *v > 0.0)) else {
            return Ok(first);
        };
        let mut start = DVector::from_element(self.names.len(), 1.0);
        start[j] = (value / known).max(self.lowest[j]);
        let other = self.solve_from(start)?;
        let worth = |s: &Solution| self.objective(&s.theta, &s.simulated);
        Ok(if worth(&other) < worth(&first) {
            other
        } else {
            first
        })
    }

    fn solve_from(&self, mut theta: DVector<f64>) -> Result<Solution, FitError> {
        let mut slopes = DMatrix::zeros(0, 0);
        let mut f = self.simulate(&theta)?;
        let mut best = self.objective(&theta, &f);
        for _ in 0..ROUNDS {
            let (a, b) = self.linear(&theta, &f)?;
            // θ = lowest + x with x ≥ 0.
            let target = &self.lowest + nnls::solve(&a, &(&b - &a * &self.lowest));
            slopes = a;
            // Where another term begins to bind, f bends: half the step, until it is one downhill.
            let mut step = 1.0;
            let before = best;
            while step > 0.05 {
                let tried = &theta + (&target - &theta) * step;
                let g = self.simulate(&tried)?;
                let o = self.objective(&tried, &g);
                if o < best {
                    (theta, f, best) = (tried, g, o);
                    break;
                }
                step *= 0.5;
            }
            if before - best <= 1e-9 * before {
                break;
            }
        }
        Ok(Solution {
            theta,
            simulated: f,
            slopes,
        })
    }

    /// Largest remaining relative error of an observation.
    pub fn worst_residual(&self, solution: &Solution) -> f64 {
        self.observed
            .iter()
            .zip(&solution.simulated)
            .map(|(o, f)| (f / o - 1.0).abs())
            .fold(0.0, f64::max)
    }
}

impl Solution {
    /// Covariance of the factors.
    pub fn covariance(&self) -> DMatrix<f64> {
        let normal = self.slopes.transpose() * &self.slopes;
        normal
            .try_inverse()
            .expect("the prior makes the normal matrix positive definite")
    }
}

/// The coefficients that are unsure, of the experts' paths only of those that some run takes.
fn unknowns(basis: &Basis, bases: &[&Basis]) -> Vec<String> {
    let paths: Vec<String> = bases
        .iter()
        .filter(|b| b.model.experts().is_some())
        .map(|b| {
            let path = b.moe_path.as_ref().unwrap_or(&basis.engine.moe_default);
            format!("moe_paths.{path}.")
        })
        .collect();
    basis
        .engine
        .coefficients()
        .into_iter()
        .filter(|(n, q)| {
            q.rel_sd > 0.0
                && (!n.starts_with("moe_paths.") || paths.iter().any(|p| n.starts_with(p)))
        })
        .map(|(n, _)| n)
        .collect()
}

/// What the runs have of the metrics worth fitting to.
/// Whether a run has a figure that can be fitted to.
pub fn tells(run: &RecordedRun) -> bool {
    let mut all = FITTED.iter().chain(FALLBACK).chain(MEDIANS);
    all.any(|m| run.measured_of(*m).is_some())
}

fn observed(runs: &[FitRun<'_>]) -> Result<Vec<Observed>, FitError> {
    let mut all = vec![];
    for (run, r) in runs.iter().enumerate() {
        let of = |metric: Metric| {
            let value = r.run.measured_of(metric)?;
            Some(Observed { run, metric, value })
        };
        let before = all.len();
        all.extend(FITTED.iter().filter_map(|m| of(*m)));
        if all.len() == before {
            all.extend(FALLBACK.iter().find_map(|m| of(*m)));
        }
        if all.len() == before {
            all.extend(MEDIANS.iter().filter_map(|m| of(*m)));
        }
        if all.len() == before {
            return Err(FitError::NothingToFit {
                run: r.name.clone(),
            });
        }
    }
    Ok(all)
}

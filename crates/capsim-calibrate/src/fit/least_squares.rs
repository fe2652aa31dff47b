//! Nonlinear least squares: Levenberg-Marquardt with a numerical Jacobian. Small problems, parameters as logarithms.
use nalgebra::{DMatrix, DVector};

/// A minimum.
#[derive(Clone, Debug)]
pub struct Solution {
    /// The parameters.
    pub at: Vec<f64>,
    /// Their standard deviations, from the curvature and the residuals' own spread (at least what the weights promise).
    pub sd: Vec<f64>,
}

const STEP: f64 = 1e-5;

/// Minimises Σ r². `None` if there are fewer residuals than parameters or nothing finite is found.
pub fn minimise(residuals: &dyn Fn(&[f64]) -> Vec<f64>, start: &[f64]) -> Option<Solution> {
    let n = start.len();
    let mut at = start.to_vec();
    let mut r = DVector::from_vec(residuals(&at));
    if r.len() < n || !r.iter().all(|v| v.is_finite()) {
        return None;
    }
    let jacobian = |at: &[f64], m: usize| {
        let mut j = DMatrix::zeros(m, n);
        for p in 0..n {
            let (mut up, mut down) = (at.to_vec(), at.to_vec());
            up[p] += STEP;
            down[p] -= STEP;
            let (u, d) = (residuals(&up), residuals(&down));
            for i in 0..m {
                j[(i, p)] = (u[i] - d[i]) / (2.0 * STEP);
            }
        }
        j
    };
    let mut damping = 1e-2;
    for _ in 0..200 {
        let j = jacobian(&at, r.len());
        let (g, h) = (j.transpose() * &r, j.transpose() * &j);
        let mut better = false;
        for _ in 0..12 {
            let mut a = h.clone();
            for p in 0..n {
                a[(p, p)] += damping * (h[(p, p)] + 1e-9);
            }
            let Some(step) = a.cholesky().map(|c| c.solve(&g)) else {
                damping *= 10.0;
                continue;
            };
            // No step by more than a factor e: the models are steep.
            let next: Vec<f64> = (0..n).map(|p| at[p] - step[p].clamp(-1.0, 1.0)).collect();
            let new = DVector::from_vec(residuals(&next));
            if new.iter().all(|v| v.is_finite()) && new.norm_squared() < r.norm_squared() {
                let gain = r.norm_squared() - new.norm_squared();
                better = gain > 1e-12 * r.norm_squared();
                at = next;
                r = new;
                damping = (damping / 5.0).max(1e-12);
                break;
            }
            damping *= 5.0;
        }
        if !better {
            break;
        }
    }
    let j = jacobian(&at, r.len());
    let h = j.transpose() * &j;
    let freedom = (r.len() - n).max(1) as f64;
    let scale = (r.norm_squared() / freedom).max(1.0);
    let sd = match h.try_inverse() {
        Some(c) => (0..n)
            .map(|p| libm::sqrt((c[(p, p)] * scale).max(0.0)))
            .collect(),
        // A parameter that nothing depends on is not known at all.
        None => vec![3.0; n],
    };
    Some(Solution { at, sd })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exponential_is_found_with_its_spread() {
        let data: Vec<(f64, f64)> = (0..20)
            .map(|i| {
                let x = f64::from(i) / 4.0;
                let wiggle = if i % 2 == 0 { 1.01 } else { 1.0 / 1.01 };
                (x, 3.0 * libm::exp(-0.7 * x) * wiggle)
            })
            .collect();
        let s = minimise(
            &|p| {
                data.iter()
                    .map(|(x, y)| (libm::log(*y) - (p[0] - libm::exp(p[1]) * x)) / 0.01)
                    .collect()
            },
            &[0.0, 0.0],
        )
        .unwrap();
        assert!((libm::exp(s.at[0]) - 3.0).abs() < 0.03);
        assert!((libm::exp(s.at[1]) - 0.7).abs() < 0.01);
        assert!(s.sd[0] > 0.001 && s.sd[0] < 0.01, "{:?}", s.sd);
    }
}

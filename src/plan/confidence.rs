//! What k successes out of n runs say about the next run.

/// P(X ≥ k) for X binomial with n trials of probability p.
fn tail(k: u32, n: u32, p: f64) -> f64 {
    // n is a number of seeds: the plain sum of n + 1 terms is exact enough and needs no special functions.
    let mut term = libm::pow(1.0 - p, f64::from(n));
    if term == 0.0 {
        return 1.0; // p = 1
    }
    let mut below = 0.0;
    for i in 0..k {
        below += term;
        term *= f64::from(n - i) / f64::from(i + 1) * p / (1.0 - p);
    }
    (1.0 - below).max(0.0)
}

/// The share of runs that succeed at least, with the given confidence, after k of n did: the lower Clopper–Pearson bound
/// (C. J. Clopper and E. S. Pearson, Biometrika 26, 1934), to 1e-9. 0 if none did.
///
/// # Panics
/// If k exceeds n, or n is 0.
pub fn at_least(k: u32, n: u32, confidence: f64) -> f64 {
    assert!(n > 0 && k <= n, "{k} of {n}");
    if k == 0 {
        return 0.0;
    }
    // The p at which k or more successes are just as unlikely as one minus the confidence.
    let (mut low, mut high) = (0.0, 1.0);
    while high - low > 1e-9 {
        let middle = 0.5 * (low + high);
        if tail(k, n, middle) < 1.0 - confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_that_of_clopper_and_pearson() {
        // All of n: the root of p^n = 1 − confidence.
        for n in [1, 5, 22] {
            let p = at_least(n, n, 0.9);
            assert!((libm::pow(p, f64::from(n)) - 0.1).abs() < 1e-7, "{n}: {p}");
        }
        // scipy.stats.beta.ppf(0.1, 8, 3) = 0.5504 (8 of 10) and beta.ppf(0.05, 3, 8) = 0.0873 (3 of 10).
        assert!((at_least(8, 10, 0.9) - 0.5504).abs() < 1e-4);
        assert!((at_least(3, 10, 0.95) - 0.0873).abs() < 1e-4);
        assert_eq!(at_least(0, 5, 0.9), 0.0);
    }
}

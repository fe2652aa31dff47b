//! Quantiles and spreads, each with its definition stated.

/// The `p`-th percentile (0 ≤ p ≤ 100) of `sorted`, interpolating linearly between order statistics:
/// NumPy's default (`numpy.percentile`), which `vllm bench serve` uses. NaN if `sorted` is empty.
pub fn percentile(sorted: &[f64], p: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    let at = p / 100.0 * (sorted.len() - 1) as f64;
    let low = libm::floor(at) as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

/// The percentile as the nearest order statistic at or below: `sorted[⌊p/100 · n⌋]`, capped at the last.
/// Many hand-written benchmark scripts use it. NaN if `sorted` is empty.
pub fn percentile_lower_index(sorted: &[f64], p: f64) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        n => sorted[((p / 100.0 * n as f64) as usize).min(n - 1)],
    }
}

/// Arithmetic mean; NaN if empty.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Population standard deviation (divisor n, as `numpy.std`); NaN if empty.
pub fn std_dev(values: &[f64]) -> f64 {
    let m = mean(values);
    libm::sqrt(values.iter().map(|v| (v - m) * (v - m)).sum::<f64>() / values.len() as f64)
}

/// Median absolute deviation from the median (unscaled); NaN if empty.
pub fn mad(values: &[f64]) -> f64 {
    let mut v = values.to_vec();
    v.sort_by(f64::total_cmp);
    let m = percentile(&v, 50.0);
    v.iter_mut().for_each(|x| *x = (*x - m).abs());
    v.sort_by(f64::total_cmp);
    percentile(&v, 50.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_numpys() {
        let v = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(percentile(&v, 50.0), 3.0);
        assert_eq!(percentile(&v, 90.0), 4.0 + 4.0 * (2.7 - 2.0));
        assert_eq!(percentile(&v, 100.0), 8.0);
        assert!(percentile(&[], 50.0).is_nan());
        assert_eq!(percentile_lower_index(&v, 50.0), 4.0);
    }

    #[test]
    fn spreads() {
        assert_eq!(mean(&[1.0, 3.0]), 2.0);
        assert_eq!(std_dev(&[1.0, 3.0]), 1.0);
        assert_eq!(mad(&[1.0, 2.0, 9.0]), 1.0);
    }
}

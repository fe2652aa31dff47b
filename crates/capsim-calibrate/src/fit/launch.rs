//! Launch cost: the slope of a chain's time over its length.
use super::super::samples::PointRecord;
use super::least_squares::minimise;

/// Seconds that a dependent launch adds, and its relative standard deviation.
pub fn slope(chain: &[&PointRecord]) -> Option<(f64, f64)> {
    let data: Vec<(f64, f64, f64)> = chain
        .iter()
        .filter_map(|p| {
            let s = p.stats?;
            Some((p.axis("launches")?, s.median, s.rel_error().max(2e-3)))
        })
        .collect();
    let longest = data.iter().copied().max_by(|a, b| a.0.total_cmp(&b.0))?;
    let lengths: std::collections::BTreeSet<u64> = data.iter().map(|d| d.0 as u64).collect();
    if lengths.len() < 3 {
        // Two unknowns from one or two lengths: the longest chain's mean, with the fixed part as its uncertainty.
        let rel_sd = libm::hypot((1.0 / longest.0).max(0.02), longest.2);
        return Some((longest.1 / longest.0, rel_sd.min(1.0)));
    }
    let start = [
        libm::log(longest.1 / longest.0),
        libm::log(longest.1 / longest.0),
    ];
    let s = minimise(
        &|p| {
            data.iter()
                .map(|(n, t, e)| {
                    (libm::log(*t) - libm::log(libm::exp(p[1]) + n * libm::exp(p[0]))) / e
                })
                .collect()
        },
        &start,
    )?;
    Some((libm::exp(s.at[0]), s.sd[0].clamp(1e-3, 1.0)))
}

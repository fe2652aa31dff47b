//! Streaming reads: a cache plateau, a memory plateau and the knee between them.
//!
//! B(S) = B_dram + (B_cache − B_dram) / (1 + (S/C)ⁿ), fitted to ln time. The curve in the profile keeps the measured points; the
//! parameters are for people, for the size of the ring and for leave-one-out errors.
use super::Sample;
use super::least_squares::{Solution, minimise};

/// The parameters: bytes per second, bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plateaus {
    /// From the last-level cache, with relative standard deviation.
    pub cache: (f64, f64),
    /// From memory.
    pub dram: (f64, f64),
    /// The knee.
    pub knee: (f64, f64),
}

fn rate(p: &[f64], size: f64) -> f64 {
    let (cache, dram, knee, n) = (
        libm::exp(p[0]),
        libm::exp(p[1]),
        libm::exp(p[2]),
        libm::exp(p[3]),
    );
    dram + (cache - dram) / (1.0 + libm::pow(size / knee, n))
}

fn solve(points: &[Sample]) -> Option<Solution> {
    let (first, last) = (points.first()?, points.last()?);
    let top = points.iter().map(Sample::rate).fold(0.0, f64::max);
    // Several starts: the knee is where the rate has fallen half-way, or anywhere between.
    let half = libm::sqrt(top * last.rate());
    let fallen = points
        .iter()
        .rposition(|p| p.rate() >= half)
        .map_or(first.x, |i| points[i].x);
    [fallen, libm::sqrt(first.x * last.x)]
        .into_iter()
        .filter_map(|knee| {
            let start = [
                libm::log(top),
                libm::log(last.rate()),
                libm::log(knee),
                libm::log(4.0),
            ];
            let residuals = |p: &[f64]| -> Vec<f64> {
                points
                    .iter()
                    .map(|s| (libm::log(s.rate()) - libm::log(rate(p, s.x))) / s.weight())
                    // Weak priors keep the exponent and a knee that is not there within reason.
                    .chain([(p[3] - libm::log(4.0)) / 1.0])
                    .collect()
            };
            let s = minimise(&residuals, &start)?;
            let cost: f64 = residuals(&s.at).iter().map(|r| r * r).sum();
            Some((cost, s))
        })
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, s)| s)
}

/// Fits the plateaus; `None` with fewer than six points, or without a knee among them.
pub fn plateaus(points: &[Sample]) -> Option<Plateaus> {
    if points.len() < 6 {
        return None;
    }
    let s = solve(points)?;
    let get = |i: usize| (libm::exp(s.at[i]), s.sd[i].min(3.0));
    let found = Plateaus {
        cache: get(0),
        dram: get(1),
        knee: get(2),
    };
    (found.cache.0 > 1.1 * found.dram.0 && found.knee.0 < points[points.len() - 1].x)
        .then_some(found)
}

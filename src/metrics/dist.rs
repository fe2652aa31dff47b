//! A sample of one latency: every value while there are few, a histogram when there are many.
use crate::stats::{self, Histogram};
use crate::units::Span;

/// How percentiles are read off a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Percentiles {
    /// Linear interpolation, as NumPy and `vllm bench serve` do.
    #[default]
    Linear,
    /// The median proper for p = 50, else the order statistic number ⌊p/100 · n⌋ (the last one at most), as
    /// hand-written scripts do (`statistics.median(x)`, `sorted(x)[int(0.99 * len(x))]`).
    LowerIndex,
}

/// Most values that a sample keeps singly. Beyond it they are counted in a [`Histogram`] of nanoseconds, so that memory stays
/// bounded: percentiles are then known to a relative error of 0.1 %; mean, standard deviation, smallest and
/// largest value stay exact (to the nanosecond that each value is rounded to).
pub const EXACT_VALUES: usize = 65_536;

/// A sample being gathered.
#[derive(Clone, Debug)]
pub enum Sample {
    /// (time, divisor) of every value.
    Few(Vec<(Span, u32)>),
    /// Counts of values in nanoseconds.
    Many(Histogram),
}

impl Default for Sample {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

fn nanos((time, divisor): (Span, u32)) -> u64 {
    let d = u128::from(divisor);
    // No larger than `time`, which fits.
    ((u128::from(time.0) + d / 2) / d) as u64
}

impl Sample {
    /// Adds `time / divisor`; a divisor of 0 counts as 1.
    pub fn record(&mut self, time: Span, divisor: u32) {
        let value = (time, divisor.max(1));
        match self {
            Self::Few(values) if values.len() < EXACT_VALUES => values.push(value),
            Self::Few(values) => {
                let mut counts = Histogram::new();
                for v in values.drain(..).chain([value]) {
                    counts.record_n(nanos(v), 1);
                }
                *self = Self::Many(counts);
            }
            Self::Many(counts) => counts.record_n(nanos(value), 1),
        }
    }

    /// What was gathered.
    pub fn dist(&self) -> Dist {
        match self {
            Self::Few(values) => Dist::new(
                values
                    .iter()
                    .map(|&(time, divisor)| time.secs() / f64::from(divisor))
                    .collect(),
            ),
            Self::Many(counts) => Dist(Kept::Many(counts.clone())),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Kept {
    /// Sorted, in seconds.
    Few(Vec<f64>),
    /// In nanoseconds.
    Many(Histogram),
}

/// A sample of one metric; in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Dist(Kept);

impl Default for Dist {
    fn default() -> Self {
        Self(Kept::Few(Vec::new()))
    }
}

impl Dist {
    /// Takes any sample, in seconds, and keeps all of it.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(Kept::Few(values))
    }
    /// Whether every value was kept; if not, percentiles have a relative error of up to 0.1 %.
    pub fn is_exact(&self) -> bool {
        matches!(self.0, Kept::Few(_))
    }
    /// Number of values.
    pub fn count(&self) -> usize {
        match &self.0 {
            Kept::Few(sorted) => sorted.len(),
            Kept::Many(counts) => counts.len() as usize,
        }
    }
    /// Arithmetic mean; NaN if empty.
    pub fn mean(&self) -> f64 {
        match &self.0 {
            Kept::Few(sorted) => stats::mean(sorted),
            Kept::Many(counts) => counts.mean() / 1e9,
        }
    }
    /// Population standard deviation; NaN if empty.
    pub fn std(&self) -> f64 {
        match &self.0 {
            Kept::Few(sorted) => stats::std_dev(sorted),
            Kept::Many(counts) => counts.std_dev() / 1e9,
        }
    }
    /// The `p`-th percentile; NaN if empty.
    pub fn percentile(&self, p: f64, how: Percentiles) -> f64 {
        match (&self.0, how) {
            (Kept::Few(sorted), Percentiles::LowerIndex) if p != 50.0 => {
                stats::percentile_lower_index(sorted, p)
            }
            (Kept::Few(sorted), _) => stats::percentile(sorted, p),
            (Kept::Many(counts), how) => {
                // The same two definitions, on order statistics that are known to 0.05 %, and the ends exactly.
                let last = counts.len() - 1;
                let at = |rank: u64| match rank.min(last) {
                    0 => counts.min(),
                    r if r == last => counts.max(),
                    r => counts.order_statistic(r).clamp(counts.min(), counts.max()),
                };
                if how == Percentiles::LowerIndex && p != 50.0 {
                    return at((p / 100.0 * counts.len() as f64) as u64) / 1e9;
                }
                let position = p / 100.0 * last as f64;
                let low = libm::floor(position);
                let (a, b) = (at(low as u64), at(low as u64 + 1));
                (a + (b - a) * (position - low)) / 1e9
            }
        }
    }
    /// Smallest value; NaN if empty.
    pub fn min(&self) -> f64 {
        match &self.0 {
            Kept::Few(sorted) => sorted.first().copied().unwrap_or(f64::NAN),
            Kept::Many(counts) => counts.min() / 1e9,
        }
    }
    /// Largest value; NaN if empty.
    pub fn max(&self) -> f64 {
        match &self.0 {
            Kept::Few(sorted) => sorted.last().copied().unwrap_or(f64::NAN),
            Kept::Many(counts) => counts.max() / 1e9,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;

    /// Latencies over eight decades, in sevenths.
    fn values(n: usize) -> Vec<(Span, u32)> {
        let mut rng = crate::rng::Seed(7).stream("latencies");
        (0..n)
            .map(|_| {
                let octave: u32 = rng.random_range(12..40);
                let ns: u64 = rng.random_range(0..1 << octave);
                (Span(4096 + ns), 7)
            })
            .collect()
    }

    #[test]
    fn beyond_the_limit_figures_stay_within_a_thousandth_of_brute_force() {
        for n in [EXACT_VALUES, EXACT_VALUES + 1, 3 * EXACT_VALUES] {
            let values = values(n);
            let mut sample = Sample::default();
            values.iter().for_each(|&(t, d)| sample.record(t, d));
            let dist = sample.dist();
            assert_eq!(dist.is_exact(), n == EXACT_VALUES);
            assert_eq!(dist.count(), n);
            let exact = Dist::new(
                values
                    .iter()
                    .map(|(t, d)| t.secs() / f64::from(*d))
                    .collect(),
            );
            let near = |a: f64, b: f64, tolerance: f64, what: &str| {
                assert!((a / b - 1.0).abs() <= tolerance, "{n} {what}: {a} {b}");
            };
            // Rounding to nanoseconds: at most 0.5 of 585.
            near(dist.min(), exact.min(), 1e-3, "min");
            near(dist.max(), exact.max(), 1e-9, "max");
            near(dist.mean(), exact.mean(), 1e-9, "mean");
            near(dist.std(), exact.std(), 1e-9, "std");
            for how in [Percentiles::Linear, Percentiles::LowerIndex] {
                for p in [0.0, 0.1, 1.0, 10.0, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0] {
                    let (a, b) = (dist.percentile(p, how), exact.percentile(p, how));
                    near(a, b, 1e-3, &format!("p{p} {how:?}"));
                }
            }
        }
    }

    #[test]
    fn a_folded_sample_does_not_depend_on_the_order() {
        let mut values = values(EXACT_VALUES + 1000);
        let gather = |values: &[(Span, u32)]| {
            let mut sample = Sample::default();
            values.iter().for_each(|&(t, d)| sample.record(t, d));
            sample.dist()
        };
        let one = gather(&values);
        values.reverse();
        assert_eq!(one, gather(&values));
    }
}

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

/// Counts of integers in logarithmic bins of linear sub-bins: every value is known to a relative error of at most 2⁻¹¹
/// (0.05 %), the mean, the spread and the extremes exactly. Our own, because the usual crate switches the whole dependency graph to the
/// platform's mathematics, and the simulator must not depend on that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    len: u64,
    sum: u128,
    /// Σ value², modulo 2¹²⁸.
    squares: u128,
    min: u64,
    max: u64,
}

/// Bits of a value that its bin keeps besides the leading one.
const SUB_BITS: u32 = 10;

impl Histogram {
    /// Nothing counted.
    pub fn new() -> Self {
        Self::default()
    }

    fn bin(value: u64) -> usize {
        let octave = (64 - value.leading_zeros()).saturating_sub(SUB_BITS + 1);
        ((u64::from(octave) << SUB_BITS) + (value >> octave)) as usize
    }

    /// The middle of a bin.
    fn value(bin: usize) -> f64 {
        let bin = bin as u64;
        let octave = (bin >> SUB_BITS).saturating_sub(1);
        let low = (bin - (octave << SUB_BITS)) << octave;
        low as f64 + ((1u64 << octave) - 1) as f64 / 2.0
    }

    /// Counts `value`, `count` times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        let bin = Self::bin(value);
        if bin >= self.counts.len() {
            self.counts.resize(bin + 1, 0);
        }
        if count > 0 {
            self.min = if self.len == 0 {
                value
            } else {
                self.min.min(value)
            };
            self.max = self.max.max(value);
        }
        self.counts[bin] += count;
        self.len += count;
        let sum = u128::from(value) * u128::from(count);
        self.sum += sum;
        self.squares = self
            .squares
            .wrapping_add(sum.wrapping_mul(u128::from(value)));
    }

    /// How many values were counted.
    pub fn len(&self) -> u64 {
        self.len
    }
    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The exact mean; NaN if empty.
    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.len as f64
    }
    /// The exact population standard deviation, whatever the order of counting; NaN if empty. Values may differ by up to
    /// 2⁶⁴ / √count.
    pub fn std_dev(&self) -> f64 {
        if self.len == 0 {
            return f64::NAN;
        }
        // With Σx = n·m + r: Σ(x − m)² = Σx² − m·(Σx + r), which is small enough even where Σx² is not (all modulo 2¹²⁸).
        let n = u128::from(self.len);
        let (m, r) = (self.sum / n, self.sum % n);
        let about_m = self
            .squares
            .wrapping_sub(m.wrapping_mul(self.sum.wrapping_add(r)));
        let shift = r as f64 / n as f64;
        libm::sqrt((about_m as f64 / n as f64 - shift * shift).max(0.0))
    }
    /// The smallest value counted; NaN if empty.
    pub fn min(&self) -> f64 {
        if self.len == 0 {
            f64::NAN
        } else {
            self.min as f64
        }
    }
    /// The largest value counted; NaN if empty.
    pub fn max(&self) -> f64 {
        if self.len == 0 {
            f64::NAN
        } else {
            self.max as f64
        }
    }

    /// The smallest value that at least the part `q` (0 to 1) of all values does not exceed; NaN if empty.
    pub fn quantile(&self, q: f64) -> f64 {
        self.order_statistic(libm::ceil(q * self.len as f64).max(1.0) as u64 - 1)
    }

    /// The value with number `rank` (from 0) in sorted order; NaN if there is none.
    pub fn order_statistic(&self, rank: u64) -> f64 {
        let mut seen = 0;
        for (bin, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen > rank {
                return Self::value(bin);
            }
        }
        f64::NAN
    }

    /// Adds all that another one counted.
    pub fn merge(&mut self, other: &Histogram) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (a, b) in self.counts.iter_mut().zip(&other.counts) {
            *a += b;
        }
        if other.len > 0 {
            self.min = if self.len == 0 {
                other.min
            } else {
                self.min.min(other.min)
            };
            self.max = self.max.max(other.max);
        }
        self.len += other.len;
        self.sum += other.sum;
        self.squares = self.squares.wrapping_add(other.squares);
    }
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

    #[test]
    fn a_histogram_knows_every_value_to_the_promised_error() {
        let mut z = 1u64;
        let mut values: Vec<u64> = (0..5000)
            .map(|i| {
                z = z
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                z >> (i % 60)
            })
            .collect();
        let (mut h, mut other) = (Histogram::new(), Histogram::new());
        for (i, v) in values.iter().enumerate() {
            [&mut h, &mut other][i % 2].record_n(*v, 1);
        }
        h.merge(&other);
        values.sort_unstable();
        assert_eq!(h.len(), 5000);
        let sum: u128 = values.iter().map(|v| u128::from(*v)).sum();
        assert_eq!(h.mean(), sum as f64 / 5000.0);
        assert_eq!(h.min(), values[0] as f64);
        assert_eq!(h.max(), values[4999] as f64);
        for q in [0.0, 0.01, 0.5, 0.9, 0.99, 1.0] {
            let exact = values[((q * 5000.0) as usize).clamp(1, 5000) - 1] as f64;
            assert!(
                (h.quantile(q) - exact).abs() <= exact / 2048.0,
                "{q}: {exact}"
            );
        }
    }

    #[test]
    fn the_spread_of_a_histogram_is_exact_where_floats_would_cancel() {
        // A year in nanoseconds, plus or minus 3.
        let year = 31_557_600_000_000_000;
        let mut h = Histogram::new();
        h.record_n(year + 3, 500_000);
        h.record_n(year - 3, 500_000);
        assert_eq!(h.std_dev(), 3.0);
        h.record_n(year + 1_000, 1);
        let (n, d) = (1_000_001.0, 1_000.0);
        let expected = libm::sqrt((9.0 * 1e6 + d * d) / n - (d / n) * (d / n));
        assert!((h.std_dev() / expected - 1.0).abs() < 1e-12);
        assert!(Histogram::new().std_dev().is_nan());
    }
}

//! How long prompts and answers are, in tokens.
use super::spec::WorkloadError;
use crate::rng::Rng;
use rand::RngExt as _;
use rand_distr::{Distribution, LogNormal, Normal, Pareto};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest prompt or answer that is accepted, in tokens.
pub const LONGEST: u32 = 1 << 24;

/// Law of a length. Continuous laws are truncated to min − ½ … max + ½ (by rejection, so that the shape within is kept)
/// and rounded to the nearest whole number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "dist", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Length {
    /// Always this many.
    Fixed {
        /// Tokens.
        len: u32,
    },
    /// Uniform on min ..= max.
    Uniform {
        /// Least.
        min: u32,
        /// Most.
        max: u32,
    },
    /// Normal, truncated.
    Normal {
        /// Mean before truncation.
        mean: f64,
        /// Standard deviation before truncation.
        sd: f64,
        /// Least.
        min: u32,
        /// Most.
        max: u32,
    },
    /// Log-normal, truncated: ln(length) is normal around ln(median) with standard deviation sigma.
    Lognormal {
        /// Median before truncation.
        median: f64,
        /// Standard deviation of the natural logarithm.
        sigma: f64,
        /// Least.
        min: u32,
        /// Most.
        max: u32,
    },
    /// A log-normal body and a Pareto tail, truncated: with probability `tail` Pareto (density ∝ x^(−alpha−1) from
    /// `scale` on), else log-normal. The shape of input lengths in production (ServeGen, arXiv 2505.09999, §4.2).
    ParetoLognormal {
        /// Weight of the Pareto part.
        tail: f64,
        /// Exponent of the Pareto part.
        alpha: f64,
        /// Where the Pareto part begins.
        scale: f64,
        /// Median of the log-normal part.
        median: f64,
        /// Standard deviation of its natural logarithm.
        sigma: f64,
        /// Least.
        min: u32,
        /// Most.
        max: u32,
    },
    /// A histogram.
    Empirical {
        /// Lengths, increasing.
        lengths: Vec<u32>,
        /// How often each occurs, in any unit.
        weights: Vec<f64>,
    },
}

/// Probability that a standard normal variable is below `z`.
fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

fn lognormal_mass(median: f64, sigma: f64, low: f64, high: f64) -> f64 {
    let z = |x: f64| libm::log(x / median) / sigma;
    normal_cdf(z(high)) - normal_cdf(z(low))
}

fn pareto_mass(alpha: f64, scale: f64, low: f64, high: f64) -> f64 {
    let above = |x: f64| {
        if x <= scale {
            1.0
        } else {
            libm::pow(scale / x, alpha)
        }
    };
    above(low) - above(high)
}

impl Length {
    /// Checks the numbers of the law of `field`.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self, field: &'static str) -> Result<(), WorkloadError> {
        let bad = |problem: String| Err(WorkloadError { field, problem });
        let within = |what: &str, v: f64, low: f64, high: f64| {
            if (low..=high).contains(&v) {
                Ok(())
            } else {
                Err(WorkloadError {
                    field,
                    problem: format!("{what} must lie between {low} and {high}, not {v}"),
                })
            }
        };
        let (min, max) = (self.shortest(), self.longest());
        if min < 1 || max > LONGEST || min > max {
            return bad(format!(
                "lengths must lie between 1 and {LONGEST} with min ≤ max, not {min} … {max}"
            ));
        }
        let most = f64::from(LONGEST);
        match self {
            Length::Fixed { .. } | Length::Uniform { .. } => return Ok(()),
            Length::Normal { mean, sd, .. } => {
                within("mean", *mean, -most, most)?;
                within("sd", *sd, 1e-3, most)?;
            }
            Length::Lognormal { median, sigma, .. } => {
                within("median", *median, 1.0, most)?;
                within("sigma", *sigma, 1e-3, 10.0)?;
            }
            Length::ParetoLognormal {
                tail,
                alpha,
                scale,
                median,
                sigma,
                ..
            } => {
                within("tail", *tail, 0.0, 1.0)?;
                within("alpha", *alpha, 0.05, 100.0)?;
                within("scale", *scale, 1.0, most)?;
                within("median", *median, 1.0, most)?;
                within("sigma", *sigma, 1e-3, 10.0)?;
            }
            Length::Empirical { lengths, weights } => {
                if lengths.is_empty() || lengths.len() != weights.len() {
                    return bad(format!(
                        "a histogram needs as many weights as lengths, not {} and {}",
                        weights.len(),
                        lengths.len()
                    ));
                }
                if lengths.windows(2).any(|w| w[0] >= w[1]) {
                    return bad("lengths of a histogram must increase".into());
                }
                for w in weights {
                    within("a weight", *w, 0.0, 1e15)?;
                }
                if weights.iter().sum::<f64>() <= 0.0 {
                    return bad("one weight must be above 0".into());
                }
                return Ok(());
            }
        }
        // Rejection has to end: a law that hardly ever falls between its bounds is a mistake anyway.
        let mass = self.mass();
        if mass.is_nan() || mass < 0.01 {
            return bad(format!(
                "only {:.2e} of the law lies between {min} and {max} tokens: at least 0.01 must",
                mass.max(0.0)
            ));
        }
        Ok(())
    }

    /// Part of a continuous law that lies between its bounds.
    fn mass(&self) -> f64 {
        let (low, high) = self.bounds();
        match *self {
            Length::Normal { mean, sd, .. } => {
                normal_cdf((high - mean) / sd) - normal_cdf((low - mean) / sd)
            }
            Length::Lognormal { median, sigma, .. } => lognormal_mass(median, sigma, low, high),
            Length::ParetoLognormal {
                tail,
                alpha,
                scale,
                median,
                sigma,
                ..
            } => {
                tail * pareto_mass(alpha, scale, low, high)
                    + (1.0 - tail) * lognormal_mass(median, sigma, low, high)
            }
            _ => 1.0,
        }
    }

    /// P(length ≤ k), for tests and reports.
    pub fn cdf(&self, k: u32) -> f64 {
        let (low, high) = self.bounds();
        let upto = (f64::from(k) + 0.5).clamp(low, high);
        match self {
            Length::Fixed { len } => f64::from(u8::from(k >= *len)),
            Length::Uniform { min, max } => {
                if k < *min {
                    0.0
                } else {
                    f64::from(k.min(*max) - min + 1) / f64::from(max - min + 1)
                }
            }
            Length::Normal { mean, sd, .. } => {
                (normal_cdf((upto - mean) / sd) - normal_cdf((low - mean) / sd)) / self.mass()
            }
            Length::Lognormal { median, sigma, .. } => {
                lognormal_mass(*median, *sigma, low, upto) / self.mass()
            }
            Length::ParetoLognormal {
                tail,
                alpha,
                scale,
                median,
                sigma,
                ..
            } => {
                (tail * pareto_mass(*alpha, *scale, low, upto)
                    + (1.0 - tail) * lognormal_mass(*median, *sigma, low, upto))
                    / self.mass()
            }
            Length::Empirical { lengths, weights } => {
                let n = lengths.partition_point(|l| *l <= k);
                weights[..n].iter().sum::<f64>() / weights.iter().sum::<f64>()
            }
        }
    }

    fn bounds(&self) -> (f64, f64) {
        (
            f64::from(self.shortest()) - 0.5,
            f64::from(self.longest()) + 0.5,
        )
    }

    /// Least possible length.
    pub fn shortest(&self) -> u32 {
        match self {
            Length::Fixed { len } => *len,
            Length::Uniform { min, .. }
            | Length::Normal { min, .. }
            | Length::Lognormal { min, .. }
            | Length::ParetoLognormal { min, .. } => *min,
            Length::Empirical { lengths, .. } => lengths.first().copied().unwrap_or(0),
        }
    }

    /// Largest possible length.
    pub fn longest(&self) -> u32 {
        match self {
            Length::Fixed { len } => *len,
            Length::Uniform { max, .. }
            | Length::Normal { max, .. }
            | Length::Lognormal { max, .. }
            | Length::ParetoLognormal { max, .. } => *max,
            Length::Empirical { lengths, .. } => lengths.last().copied().unwrap_or(0),
        }
    }

    /// A histogram from text: one length per line, or `length,count`; empty lines and lines that begin with # are skipped.
    ///
    /// # Errors
    /// Line number and what is wrong with it.
    pub fn parse_histogram(text: &str) -> Result<Self, String> {
        let mut bins: BTreeMap<u32, f64> = BTreeMap::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (len, count) = match line.split_once(',') {
                Some((l, c)) => (l.trim(), c.trim()),
                None => (line, "1"),
            };
            let n = i + 1;
            let len: u32 = len
                .parse()
                .ok()
                .filter(|l| (1..=LONGEST).contains(l))
                .ok_or_else(|| {
                    format!("line {n}: `{len}` is not a length between 1 and {LONGEST}")
                })?;
            let count: f64 = count
                .parse()
                .ok()
                .filter(|c| (0.0..=1e12).contains(c))
                .ok_or_else(|| format!("line {n}: `{count}` is not a count (0 … 1e12)"))?;
            *bins.entry(len).or_insert(0.0) += count;
        }
        if bins.values().all(|c| *c == 0.0) {
            return Err("holds no length: expected one per line, or length,count".into());
        }
        let (lengths, weights) = bins.into_iter().unzip();
        Ok(Length::Empirical { lengths, weights })
    }
}

/// Draws lengths.
#[derive(Clone, Debug)]
pub(super) enum Sampler {
    Fixed(u32),
    Uniform(u32, u32),
    Normal(Normal<f64>, f64, f64),
    Lognormal(LogNormal<f64>, f64, f64),
    /// Weight of the tail, tail, body; bounds.
    Mixture(Box<(f64, Pareto<f64>, LogNormal<f64>)>, f64, f64),
    /// Lengths and cumulative weights.
    Empirical(Vec<u32>, Vec<f64>),
}

impl Sampler {
    /// vLLM's `--random-range-ratio` around `len`, without a draw where nothing varies.
    pub fn around(len: u32, range_ratio: f64) -> Self {
        if range_ratio == 0.0 {
            return Sampler::Fixed(len);
        }
        let low = ((f64::from(len) * (1.0 - range_ratio)) as u32).max(1);
        let high = (f64::from(len) * (1.0 + range_ratio)) as u32;
        Sampler::Uniform(low, high.max(low))
    }

    /// For a law that was checked.
    pub fn new(law: &Length) -> Self {
        let lognormal = |median: f64, sigma: f64| {
            LogNormal::new(libm::log(median), sigma).expect("checked before")
        };
        let (low, high) = law.bounds();
        match law {
            Length::Fixed { len } => Sampler::Fixed(*len),
            Length::Uniform { min, max } => Sampler::Uniform(*min, *max),
            Length::Normal { mean, sd, .. } => {
                Sampler::Normal(Normal::new(*mean, *sd).expect("checked before"), low, high)
            }
            Length::Lognormal { median, sigma, .. } => {
                Sampler::Lognormal(lognormal(*median, *sigma), low, high)
            }
            Length::ParetoLognormal {
                tail,
                alpha,
                scale,
                median,
                sigma,
                ..
            } => Sampler::Mixture(
                Box::new((
                    *tail,
                    Pareto::new(*scale, *alpha).expect("checked before"),
                    lognormal(*median, *sigma),
                )),
                low,
                high,
            ),
            Length::Empirical { lengths, weights } => {
                let mut sum = 0.0;
                let cumulative = weights
                    .iter()
                    .map(|w| {
                        sum += w;
                        sum
                    })
                    .collect();
                Sampler::Empirical(lengths.clone(), cumulative)
            }
        }
    }

    /// The next length.
    #[inline]
    pub fn draw(&self, rng: &mut Rng) -> u32 {
        match self {
            Sampler::Fixed(len) => *len,
            Sampler::Uniform(low, high) => rng.random_range(*low..=*high),
            Sampler::Normal(law, low, high) => within(*low, *high, || law.sample(rng)),
            Sampler::Lognormal(law, low, high) => within(*low, *high, || law.sample(rng)),
            Sampler::Mixture(m, low, high) => {
                let (tail, pareto, body) = &**m;
                within(*low, *high, || {
                    if rng.random::<f64>() < *tail {
                        pareto.sample(rng)
                    } else {
                        body.sample(rng)
                    }
                })
            }
            Sampler::Empirical(lengths, cumulative) => {
                let total = cumulative[cumulative.len() - 1];
                let u = rng.random::<f64>() * total;
                let i = cumulative.partition_point(|c| *c <= u);
                lengths[i.min(lengths.len() - 1)]
            }
        }
    }
}

/// The first draw that lies between the bounds, rounded.
fn within(low: f64, high: f64, mut draw: impl FnMut() -> f64) -> u32 {
    loop {
        let x = draw();
        if low <= x && x < high {
            return libm::round(x) as u32;
        }
    }
}

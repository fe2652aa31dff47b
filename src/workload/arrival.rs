//! When requests are sent, whatever the server does (open loop).
//!
//! Renewal processes (constant, gamma, Weibull gaps), a Markov-modulated Poisson process, a rate that changes
//! piecewise linearly, and vLLM's ramp-up. Where the rate varies, arrivals follow from the exact inverse of the
//! integrated rate Λ(t) = ∫ λ: with unit-mean gaps E₁, E₂, … the k-th arrival is Λ⁻¹(E₁ + … + E_k)
//! (E. Çinlar, Introduction to Stochastic Processes, 1975, ch. 4.7); for exponential E this is the Poisson process of rate λ(t).
use super::spec::{WorkloadError, WorkloadSpec};
use super::trace::Trace;
use super::vllm_bench;
use crate::rng::Rng;
use crate::units::Span;
use rand::RngExt as _;
use rand_distr::{Distribution, Exp1, Gamma, Weibull};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Law of the send times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "process", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Arrival {
    /// Gamma-distributed gaps of shape `burstiness` and mean 1 / `request_rate`, as `vllm bench serve` sends; a shape of 1 is
    /// a Poisson process. The coefficient of variation of the gaps is 1 / √burstiness.
    #[default]
    Gamma,
    /// Equal gaps of 1 / `request_rate`.
    Constant,
    /// Weibull-distributed gaps of mean 1 / `request_rate`; the shape k below 1 is burstier than Poisson.
    Weibull {
        /// Shape k.
        shape: f64,
    },
    /// Markov-modulated Poisson process of two states, each left after an exponential time; it begins in equilibrium.
    Mmpp {
        /// Requests per second in each state.
        rates: [f64; 2],
        /// Mean time in each state, seconds.
        sojourns: [f64; 2],
    },
    /// A rate that runs linearly from point to point and stays at the last, or begins anew. Gaps in the time that Λ measures
    /// are gamma-distributed with shape `burstiness`: 1 is the inhomogeneous Poisson process.
    RateSeries {
        /// (seconds, requests per second), times from 0 upwards.
        points: Vec<(f64, f64)>,
        /// Whether the series begins anew after its last point (a day).
        #[serde(default)]
        repeat: bool,
    },
    /// `vllm bench serve --ramp-up-strategy`: request i of n has a gamma gap at the rate of its own place i / (n − 1).
    RampUp {
        /// How the rate grows.
        strategy: RampUp,
        /// Rate of the first request (`--ramp-up-start-rps`).
        start_rps: f64,
        /// Rate of the last request (`--ramp-up-end-rps`).
        end_rps: f64,
    },
}

/// How a ramp-up goes from its first rate to its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RampUp {
    /// By equal differences.
    Linear,
    /// By equal ratios.
    Exponential,
}

impl RampUp {
    /// Rate of request `index` of `total`: vLLM 0.12.0 `vllm/benchmarks/serve.py: _get_current_request_rate`.
    pub fn rate(self, start: f64, end: f64, index: u32, total: u32) -> f64 {
        let progress = f64::from(index) / f64::from(total.saturating_sub(1).max(1));
        match self {
            RampUp::Linear => start + (end - start) * progress,
            RampUp::Exponential => start * libm::pow(end / start, progress),
        }
    }
}

/// Rates that are accepted, per second.
const RATES: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

/// Longest simulated time: arrivals beyond it are never sent. 126 years, within what nanoseconds in 64 bits hold.
const END: f64 = 4e9;

/// Coefficient of variation of a Weibull variable of shape `k`: √(Γ(1 + 2/k) / Γ(1 + 1/k)² − 1).
pub fn weibull_cv(k: f64) -> f64 {
    let ratio = libm::exp(libm::lgamma(1.0 + 2.0 / k) - 2.0 * libm::lgamma(1.0 + 1.0 / k));
    libm::sqrt((ratio - 1.0).max(0.0))
}

/// Shape of the Weibull law with coefficient of variation `cv`, which falls as the shape grows.
pub fn weibull_shape(cv: f64) -> f64 {
    let (mut low, mut high) = (0.05, 200.0);
    for _ in 0..200 {
        let mid = libm::sqrt(low * high);
        if weibull_cv(mid) > cv {
            low = mid
        } else {
            high = mid
        }
    }
    libm::sqrt(low * high)
}

/// ∫ rate over a series of points, once through.
pub fn integral(points: &[(f64, f64)]) -> f64 {
    points
        .windows(2)
        .map(|w| 0.5 * (w[0].1 + w[1].1) * (w[1].0 - w[0].0))
        .sum()
}

fn bad<T>(problem: String) -> Result<T, WorkloadError> {
    Err(WorkloadError {
        field: "arrival",
        problem,
    })
}

fn check_rate(what: &str, rate: f64, zero: bool) -> Result<(), WorkloadError> {
    if RATES.contains(&rate) || (zero && rate == 0.0) {
        return Ok(());
    }
    bad(format!(
        "{what} must lie between 1e-6 and 1e6 per second{}, not {rate}",
        if zero { ", or be 0" } else { "" }
    ))
}

impl Arrival {
    /// Whether `request_rate` sets its speed; the others carry their own rates.
    pub fn needs_rate(&self) -> bool {
        matches!(
            self,
            Arrival::Gamma | Arrival::Constant | Arrival::Weibull { .. }
        )
    }

    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Arrival::Gamma => "gamma",
            Arrival::Constant => "constant",
            Arrival::Weibull { .. } => "weibull",
            Arrival::Mmpp { .. } => "mmpp",
            Arrival::RateSeries { .. } => "rate-series",
            Arrival::RampUp { .. } => "ramp-up",
        }
    }

    /// Requests per second in the long run, or over the series or ramp; `None` where `request_rate` says it.
    pub fn mean_rate(&self) -> Option<f64> {
        match self {
            Arrival::Gamma | Arrival::Constant | Arrival::Weibull { .. } => None,
            Arrival::Mmpp { rates, sojourns } => Some(
                (rates[0] * sojourns[0] + rates[1] * sojourns[1]) / (sojourns[0] + sojourns[1]),
            ),
            Arrival::RateSeries { points, .. } => {
                let (first, last) = (points.first()?, points.last()?);
                Some(if points.len() > 1 {
                    integral(points) / (last.0 - first.0)
                } else {
                    last.1
                })
            }
            Arrival::RampUp {
                start_rps, end_rps, ..
            } => Some(0.5 * (start_rps + end_rps)),
        }
    }

    /// Checks its own numbers.
    ///
    /// # Errors
    /// Says which.
    pub fn check(&self) -> Result<(), WorkloadError> {
        match self {
            Arrival::Gamma | Arrival::Constant => Ok(()),
            Arrival::Weibull { shape } => {
                if (0.1..=100.0).contains(shape) {
                    Ok(())
                } else {
                    bad(format!(
                        "the Weibull shape must lie between 0.1 and 100, not {shape}"
                    ))
                }
            }
            Arrival::Mmpp { rates, sojourns } => {
                for r in rates {
                    check_rate("an MMPP rate", *r, true)?;
                }
                if rates[0] + rates[1] == 0.0 {
                    return bad("one MMPP rate must be above 0".into());
                }
                match sojourns.iter().find(|s| !(1e-3..=1e7).contains(*s)) {
                    Some(s) => bad(format!(
                        "an MMPP mean sojourn time must lie between 0.001 and 1e7 seconds, not {s}"
                    )),
                    None => Ok(()),
                }
            }
            Arrival::RateSeries { points, repeat } => {
                let Some(first) = points.first() else {
                    return bad("a rate series needs at least one time:rate point".into());
                };
                if first.0 != 0.0 {
                    return bad(format!(
                        "the rate series must begin at time 0, not {}",
                        first.0
                    ));
                }
                for (t, r) in points {
                    check_rate(&format!("the rate at {t} s"), *r, true)?;
                    if !(0.0..=1e8).contains(t) {
                        return bad(format!(
                            "times of a rate series must lie between 0 and 1e8 s, not {t}"
                        ));
                    }
                }
                if let Some(w) = points.windows(2).find(|w| w[1].0 <= w[0].0) {
                    return bad(format!(
                        "times of a rate series must increase: {} s follows {} s",
                        w[1].0, w[0].0
                    ));
                }
                if *repeat && points.len() < 2 {
                    return bad("a rate series that repeats needs at least two points".into());
                }
                if points.iter().all(|p| p.1 == 0.0) {
                    return bad("the rate series is 0 throughout".into());
                }
                Ok(())
            }
            Arrival::RampUp {
                start_rps, end_rps, ..
            } => {
                check_rate("ramp_up_start_rps", *start_rps, false)?;
                check_rate("ramp_up_end_rps", *end_rps, false)
            }
        }
    }
}

/// Send times, one after another.
#[derive(Clone, Debug)]
pub(super) enum Clock {
    /// Gaps of a gamma law.
    Gamma(f64, Gamma<f64>),
    /// The k-th is at k × this.
    Constant(u64, f64),
    /// Gaps of a Weibull law.
    Weibull(f64, Weibull<f64>),
    /// Now, state, time left in it, rates, sojourns.
    Mmpp(Box<Mmpp>),
    /// Piecewise-linear rate.
    Series(Box<Series>),
    /// Next index; a gamma law of unit mean.
    Ramp(Box<Ramp>),
    /// A list in seconds: the twin of `vllm bench serve`.
    List(usize, Vec<f64>),
    /// A recorded trace: next row, first row's time, how many times faster.
    Trace(usize, Arc<Trace>, Span, f64),
}

#[derive(Clone, Debug)]
pub(super) struct Mmpp {
    at: f64,
    state: Option<usize>,
    left: f64,
    rates: [f64; 2],
    sojourns: [f64; 2],
}

#[derive(Clone, Debug)]
pub(super) struct Series {
    inverse: Inverse,
    gap: Gamma<f64>,
}

#[derive(Clone, Debug)]
pub(super) struct Ramp {
    at: f64,
    index: u32,
    total: u32,
    strategy: RampUp,
    start: f64,
    end: f64,
    gap: Gamma<f64>,
}

/// Λ⁻¹ of a piecewise-linear rate, walked forwards.
#[derive(Clone, Debug)]
pub struct Inverse {
    points: Vec<(f64, f64)>,
    repeat: bool,
    /// Point at or before now, time since it, and when the current pass through the series began.
    segment: usize,
    within: f64,
    pass: f64,
}

impl Inverse {
    /// At time 0. `points` as [`Arrival::check`] accepts them.
    pub fn new(points: Vec<(f64, f64)>, repeat: bool) -> Self {
        Self {
            points,
            repeat,
            segment: 0,
            within: 0.0,
            pass: 0.0,
        }
    }

    /// Advances until Λ has grown by `by`; the time reached, or `None` if it never does.
    pub fn advance(&mut self, mut by: f64) -> Option<f64> {
        loop {
            let (t0, r0) = self.points[self.segment];
            let Some(&(t1, r1)) = self.points.get(self.segment + 1) else {
                if self.repeat {
                    self.pass += t0;
                    (self.segment, self.within) = (0, 0.0);
                    if self.pass > END {
                        return None;
                    }
                    continue;
                }
                if r0 == 0.0 {
                    return None;
                }
                self.within += by / r0;
                return Some(self.pass + t0 + self.within);
            };
            let slope = (r1 - r0) / (t1 - t0);
            let rate = (r0 + slope * self.within).max(0.0);
            let rest = (t1 - t0) - self.within;
            let mass = 0.5 * (rate + r1) * rest;
            if by < mass {
                // rate x + slope/2 x² = by, in the form that does not cancel.
                let root = libm::sqrt((rate * rate + 2.0 * slope * by).max(0.0));
                self.within += (2.0 * by / (rate + root)).min(rest);
                return Some(self.pass + t0 + self.within);
            }
            by -= mass;
            self.segment += 1;
            self.within = 0.0;
        }
    }
}

impl Clock {
    /// The send times that `spec`, which was checked, asks for; `None` for closed loops.
    pub fn new(spec: &WorkloadSpec) -> Option<Self> {
        if let (Some(t), None) = (&spec.trace, &spec.users) {
            let data = Arc::clone(t.data.as_ref()?);
            let (from, _) = t.rows(&data);
            let zero = data.rows().get(from).map_or(Span::ZERO, |r| r.at);
            return Some(Clock::Trace(from, data, zero, t.speedup));
        }
        let arrival = spec.arrival.clone().unwrap_or_default();
        if arrival.needs_rate() && spec.request_rate.is_none() {
            return None;
        }
        let (n, shape) = (spec.num_prompts, spec.burstiness);
        let rate = spec.request_rate.unwrap_or(1.0);
        let gamma =
            |mean: f64| Gamma::new(shape, mean / shape).expect("both are positive: checked before");
        if spec.vllm_bench {
            let seed = spec.seed as u32;
            let shape = if arrival == Arrival::Constant {
                f64::INFINITY
            } else {
                shape
            };
            let times = match arrival {
                Arrival::RampUp {
                    strategy,
                    start_rps,
                    end_rps,
                } => vllm_bench::ramp_up(n, strategy, start_rps, end_rps, shape, seed),
                _ => vllm_bench::arrivals(n, spec.request_rate, shape, seed),
            };
            return Some(Clock::List(0, times));
        }
        Some(match arrival {
            Arrival::Gamma => Clock::Gamma(
                0.0,
                Gamma::new(shape, 1.0 / (rate * shape)).expect("both are positive: checked before"),
            ),
            Arrival::Constant => Clock::Constant(0, 1.0 / rate),
            Arrival::Weibull { shape } => {
                let scale = 1.0 / (rate * libm::tgamma(1.0 + 1.0 / shape));
                Clock::Weibull(
                    0.0,
                    Weibull::new(scale, shape).expect("both are positive: checked before"),
                )
            }
            Arrival::Mmpp { rates, sojourns } => Clock::Mmpp(Box::new(Mmpp {
                at: 0.0,
                state: None,
                left: 0.0,
                rates,
                sojourns,
            })),
            Arrival::RateSeries { points, repeat } => Clock::Series(Box::new(Series {
                inverse: Inverse::new(points, repeat),
                gap: gamma(1.0),
            })),
            Arrival::RampUp {
                strategy,
                start_rps,
                end_rps,
            } => Clock::Ramp(Box::new(Ramp {
                at: 0.0,
                index: 0,
                total: n,
                strategy,
                start: start_rps,
                end: end_rps,
                gap: gamma(1.0),
            })),
        })
    }

    /// The next send time since the start, `None` if there is no more.
    #[inline]
    pub fn next(&mut self, rng: &mut Rng) -> Option<Span> {
        let at = match self {
            Clock::Gamma(at, gap) => {
                *at += gap.sample(rng);
                *at
            }
            Clock::Constant(k, gap) => {
                *k += 1;
                *k as f64 * *gap
            }
            Clock::Weibull(at, gap) => {
                *at += gap.sample(rng);
                *at
            }
            Clock::Mmpp(m) => m.next(rng),
            Clock::Series(s) => {
                let gap = s.gap.sample(rng);
                s.inverse.advance(gap)?
            }
            Clock::Ramp(r) => r.next(rng)?,
            Clock::List(k, times) => {
                *k += 1;
                *times.get(*k - 1)?
            }
            Clock::Trace(k, trace, zero, speedup) => {
                let row = trace.rows().get(*k)?;
                *k += 1;
                let since = row.at - *zero;
                return Some(if *speedup == 1.0 {
                    since
                } else {
                    Span::from_secs(since.secs() / *speedup)
                });
            }
        };
        (at < END).then(|| Span::from_secs(at))
    }
}

impl Mmpp {
    fn next(&mut self, rng: &mut Rng) -> f64 {
        let mut state = *self.state.get_or_insert_with(|| {
            // Equilibrium: in proportion to the mean sojourn times; what is left of an exponential one is exponential.
            let first = self.sojourns[0] / (self.sojourns[0] + self.sojourns[1]);
            let s = usize::from(rng.random::<f64>() >= first);
            let unit: f64 = Exp1.sample(rng);
            self.left = unit * self.sojourns[s];
            s
        });
        let mut due: f64 = Exp1.sample(rng);
        while due > self.rates[state] * self.left && self.at < END {
            due -= self.rates[state] * self.left;
            self.at += self.left;
            state = 1 - state;
            let unit: f64 = Exp1.sample(rng);
            self.left = unit * self.sojourns[state];
        }
        self.state = Some(state);
        if self.rates[state] > 0.0 {
            let wait = due / self.rates[state];
            self.left -= wait;
            self.at += wait;
        }
        self.at
    }
}

impl Ramp {
    fn next(&mut self, rng: &mut Rng) -> Option<f64> {
        if self.index >= self.total {
            return None;
        }
        let rate = self
            .strategy
            .rate(self.start, self.end, self.index, self.total);
        self.index += 1;
        self.at += self.gap.sample(rng) / rate;
        Some(self.at)
    }
}

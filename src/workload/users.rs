//! People in front of the model: they read an answer, think, and ask again.
use super::spec::WorkloadError;
use crate::rng::Rng;
use crate::units::Span;
use rand::RngExt as _;
use rand_distr::{Distribution, Exp1, LogNormal};
use serde::{Deserialize, Serialize};

/// A closed loop of users (`--users`): each has one request open at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// How many.
    pub count: u32,
    /// From the end of an answer to the same user's next request.
    pub think: Think,
    /// Requests per conversation. From the second on the prompt is all that was said, and new tokens of the input length.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub turns: u32,
    /// Longest conversation in tokens, the answer to come included: beyond it a new one begins. Absent: `max_model_len`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_context: Option<u32>,
}

fn one() -> u32 {
    1
}
fn is_one(n: &u32) -> bool {
    *n == 1
}

/// Law of the think time, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "dist", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Think {
    /// Always this long.
    Fixed {
        /// Seconds.
        secs: f64,
    },
    /// Exponential.
    Exponential {
        /// Mean in seconds.
        mean: f64,
    },
    /// Log-normal.
    Lognormal {
        /// Mean in seconds.
        mean: f64,
        /// Standard deviation over mean.
        cv: f64,
    },
}

impl Think {
    /// Mean in seconds.
    pub fn mean(self) -> f64 {
        match self {
            Think::Fixed { secs } => secs,
            Think::Exponential { mean } | Think::Lognormal { mean, .. } => mean,
        }
    }

    /// (μ, σ) of the logarithm.
    fn log_moments(mean: f64, cv: f64) -> (f64, f64) {
        let variance = libm::log1p(cv * cv);
        (libm::log(mean) - 0.5 * variance, libm::sqrt(variance))
    }

    /// A think time.
    pub(super) fn draw(self, rng: &mut Rng) -> Span {
        Span::from_secs(match self {
            Think::Fixed { secs } => secs,
            Think::Exponential { mean } => {
                let unit: f64 = Exp1.sample(rng);
                mean * unit
            }
            Think::Lognormal { mean, cv } => {
                let (mu, sigma) = Self::log_moments(mean, cv);
                LogNormal::new(mu, sigma)
                    .expect("checked before")
                    .sample(rng)
                    .min(LONGEST)
            }
        })
    }

    /// What is left of a think time at a random moment in it: uniform on the length-biased law (D. R. Cox, Renewal
    /// Theory, 1962, ch. 5). Users who begin like this are spread as they are after a long time without load.
    pub(super) fn residual(self, rng: &mut Rng) -> Span {
        Span::from_secs(match self {
            Think::Fixed { secs } => secs * rng.random::<f64>(),
            Think::Exponential { mean } => {
                let unit: f64 = Exp1.sample(rng);
                mean * unit
            }
            Think::Lognormal { mean, cv } => {
                let (mu, sigma) = Self::log_moments(mean, cv);
                let biased: f64 = LogNormal::new(mu + sigma * sigma, sigma)
                    .expect("checked before")
                    .sample(rng);
                (rng.random::<f64>() * biased).min(LONGEST)
            }
        })
    }
}

/// Longest single think time, seconds: a year.
const LONGEST: f64 = 3.2e7;

impl Users {
    /// Checks every number.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<(), WorkloadError> {
        let bad = |field, problem: String| Err(WorkloadError { field, problem });
        if !(1..=10_000_000).contains(&self.count) {
            return bad(
                "users",
                format!("must lie between 1 and 10000000, not {}", self.count),
            );
        }
        if self.turns == 0 || self.turns > 10_000 {
            return bad(
                "turns",
                format!("must lie between 1 and 10000, not {}", self.turns),
            );
        }
        let (least, mean) = match self.think {
            Think::Fixed { secs } => (0.0, secs),
            Think::Exponential { mean } | Think::Lognormal { mean, .. } => (1e-6, mean),
        };
        if !(least..=1e6).contains(&mean) {
            return bad(
                "think",
                format!("a think time must lie between {least} and 1e6 seconds, not {mean}"),
            );
        }
        if let Think::Lognormal { cv, .. } = self.think
            && !(1e-3..=20.0).contains(&cv)
        {
            return bad(
                "think",
                format!("cv must lie between 0.001 and 20, not {cv}"),
            );
        }
        Ok(())
    }
}

//! What "more load" means.
use crate::predict::Scenario;
use serde::{Deserialize, Serialize};

/// The quantity that is raised until the SLO breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// People who read an answer, think, and ask again.
    Users,
    /// Requests per second, whatever the server does.
    Rate,
    /// Requests open at once (`--max-concurrency`): users who ask again the moment they have their answer.
    Concurrency,
    /// How many times faster than recorded a trace is replayed.
    Speedup,
}

/// Steps of a doubling of rate or speed: 1.1 % each.
const PER_OCTAVE: i64 = 64;

impl Axis {
    /// Whether steps count things; if not, they are a fine geometric grid.
    pub fn counts(self) -> bool {
        matches!(self, Axis::Users | Axis::Concurrency)
    }

    /// Lowest and highest step.
    pub fn range(self) -> std::ops::RangeInclusive<i64> {
        if self.counts() {
            1..=1 << 17
        } else {
            // 0.00024 to 65 536.
            -12 * PER_OCTAVE..=16 * PER_OCTAVE
        }
    }

    /// The first stride of a galloping search; `None`: the step itself.
    pub fn stride(self) -> Option<i64> {
        (!self.counts()).then_some(PER_OCTAVE / 4)
    }

    /// The load of a step: itself, or a rate of three digits.
    pub fn value(self, step: i64) -> f64 {
        if self.counts() {
            return step as f64;
        }
        let exact = libm::exp2(step as f64 / PER_OCTAVE as f64);
        three_digits(exact)
    }

    /// The step nearest to a load.
    pub fn step(self, value: f64) -> i64 {
        let step = if self.counts() {
            libm::round(value) as i64
        } else {
            libm::round(libm::log2(value.max(1e-9)) * PER_OCTAVE as f64) as i64
        };
        step.clamp(*self.range().start(), *self.range().end())
    }

    /// How far apart neighbours may stay: one, or 1 % of many.
    pub fn resolution(self, step: i64) -> i64 {
        if self.counts() { step / 100 } else { 1 }
    }

    /// Puts a load into a scenario.
    pub fn apply(self, scenario: &mut Scenario, load: f64) {
        let w = &mut scenario.workload;
        match self {
            Axis::Users => {
                if let Some(u) = &mut w.users {
                    u.count = load as u32;
                }
            }
            Axis::Rate => w.request_rate = Some(load),
            Axis::Concurrency => w.max_concurrency = Some(load as u32),
            Axis::Speedup => {
                if let Some(t) = &mut w.trace {
                    t.speedup = load;
                }
            }
        }
    }

    /// Requests that make a run long enough: twenty beyond the percentile asked for, and, where all users may begin at
    /// once, enough for each that the beginning is a small part.
    pub fn prompts(self, load: f64, percentile: f64, turns: u32) -> u32 {
        let beyond = libm::ceil(20.0 / (1.0 - percentile / 100.0).max(0.001));
        let each = if self.counts() {
            load * 12.0_f64.max(2.0 * f64::from(turns))
        } else {
            0.0
        };
        beyond.max(each).clamp(64.0, 1e7) as u32
    }

    /// The load's field that it turns.
    pub fn flag(self) -> &'static str {
        match self {
            Axis::Users => "users",
            Axis::Rate => "request_rate",
            Axis::Concurrency => "max_concurrency",
            Axis::Speedup => "trace_speedup",
        }
    }

    /// Name of one unit, or many.
    pub fn unit(self) -> &'static str {
        match self {
            Axis::Users => "users",
            Axis::Rate => "requests/s",
            Axis::Concurrency => "requests at once",
            Axis::Speedup => "times as fast as recorded",
        }
    }
}

fn three_digits(v: f64) -> f64 {
    let exponent = libm::floor(libm::log10(v)) as i32 - 2;
    // Powers of ten up to 10^22 are exact, so that 3.14 is 314 / 100 and not 314 · 0.01.
    let power = libm::pow(10.0, f64::from(exponent.abs()));
    if exponent < 0 {
        libm::round(v * power) / power
    } else {
        libm::round(v / power) * power
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_round_and_increase() {
        for axis in [Axis::Rate, Axis::Users] {
            let (mut last, range) = (0.0, axis.range());
            for step in *range.start()..=(*range.end()).min(4000) {
                let v = axis.value(step);
                assert!(v > last, "{step}: {v} after {last}");
                assert_eq!(axis.step(v), step);
                last = v;
            }
        }
        assert_eq!(Axis::Rate.value(0), 1.0);
        assert_eq!(format!("{}", Axis::Rate.value(-70)), "0.469");
    }

    #[test]
    fn runs_are_long_enough_for_the_tail_and_for_everybody() {
        assert_eq!(Axis::Rate.prompts(1.0, 95.0, 1), 400);
        assert_eq!(Axis::Rate.prompts(1.0, 99.0, 1), 2000);
        assert_eq!(Axis::Users.prompts(100.0, 95.0, 1), 1200);
        assert_eq!(Axis::Users.prompts(100.0, 95.0, 10), 2000);
    }
}

//! A measured time as a function of size: for kernels that take a while however little they have to do.
use super::{ProfileError, Provenance};
use serde::{Deserialize, Serialize};

/// One measured time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TimePoint {
    /// Size, as the curve's field says.
    pub x: f64,
    /// Seconds at that size.
    pub seconds: f64,
    /// One standard deviation of `seconds`, relative.
    #[serde(default)]
    pub rel_sd: f64,
}

/// Seconds over size, which never fall. Points in order of increasing `x`.
///
/// Straight between points. Below the first point the time is the first one's: a kernel that waits for memory and for other
/// work-groups takes as long for less.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// The points, at least one.
    pub points: Vec<TimePoint>,
    /// Where the points come from.
    pub provenance: Provenance,
}

impl Times {
    /// Seconds at size `x`; beyond the last point each unit of size takes `beyond` more.
    pub fn at(&self, x: f64, beyond: f64) -> f64 {
        let p = &self.points;
        let (first, last) = (p[0], p[p.len() - 1]);
        if x <= first.x {
            return first.seconds;
        }
        if x >= last.x {
            return last.seconds + (x - last.x) * beyond;
        }
        let i = p.partition_point(|p| p.x <= x);
        let (a, b) = (p[i - 1], p[i]);
        a.seconds + (b.seconds - a.seconds) * (x - a.x) / (b.x - a.x)
    }

    /// Seconds of the smallest size.
    pub fn least(&self) -> f64 {
        self.points[0].seconds
    }

    /// Seconds per unit of size that the last point takes: what it takes beyond it where nothing better is known.
    pub fn tail(&self) -> f64 {
        let last = self.points[self.points.len() - 1];
        last.seconds / last.x
    }

    pub(super) fn check(&self, field: &str) -> Result<(), ProfileError> {
        let bad = |i: usize, problem: &str| ProfileError::Value {
            field: format!("{field}.points[{i}]"),
            problem: problem.into(),
        };
        if self.points.is_empty() {
            return Err(bad(0, "there must be at least one point"));
        }
        for (i, p) in self.points.iter().enumerate() {
            let size = p.x.is_finite() && p.x > 0.0 && p.x < 1e24;
            let time = p.seconds.is_finite() && p.seconds > 0.0 && p.seconds < 1e3;
            if !size || !time {
                return Err(bad(
                    i,
                    "x must be positive and below 1e24, seconds positive and below 1000",
                ));
            }
            if !(0.0..=3.0).contains(&p.rel_sd) {
                return Err(bad(i, "rel_sd must lie between 0 and 3"));
            }
            if i > 0 && (self.points[i - 1].x >= p.x || self.points[i - 1].seconds > p.seconds) {
                return Err(bad(
                    i,
                    "x must increase from point to point, and seconds must not fall",
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Origin;

    fn times(points: &[(f64, f64)]) -> Times {
        Times {
            points: points
                .iter()
                .map(|&(x, seconds)| TimePoint {
                    x,
                    seconds,
                    rel_sd: 0.0,
                })
                .collect(),
            provenance: Provenance {
                origin: Origin::Assumed,
                source: "test".into(),
                note: String::new(),
            },
        }
    }

    #[test]
    fn a_time_never_falls_and_goes_on_as_it_is_told() {
        let t = times(&[(10.0, 2.0), (20.0, 2.0), (40.0, 6.0)]);
        assert_eq!((t.at(1.0, 1.0), t.at(10.0, 1.0)), (2.0, 2.0));
        assert_eq!(t.at(30.0, 1.0), 4.0);
        assert_eq!(t.at(41.0, 0.5), 6.5);
        let mut last = 0.0;
        for x in 1..100 {
            let now = t.at(f64::from(x), t.tail());
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn times_that_fall_are_refused() {
        assert!(times(&[(1.0, 2.0), (2.0, 1.0)]).check("t").is_err());
        assert!(times(&[(2.0, 1.0), (1.0, 2.0)]).check("t").is_err());
        assert!(times(&[]).check("t").is_err());
        assert!(times(&[(1.0, 2.0), (2.0, 2.0)]).check("t").is_ok());
    }
}

//! A measured rate as a function of size: breakpoints kept, nothing smoothed through.
use super::{ProfileError, Provenance};
use serde::{Deserialize, Serialize};

/// One measured point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Size: bytes, rows or tokens, as the curve's field says.
    pub x: f64,
    /// Rate at that size, per second.
    pub y: f64,
    /// One standard deviation of `y`, relative.
    #[serde(default)]
    pub rel_sd: f64,
}

/// A rate over size, with its provenance. Points in order of increasing `x`.
///
/// Between points the rate is interpolated linearly in log x and log y (a power law between neighbours,
/// which keeps plateaus flat and slopes straight); beyond the ends it is held constant and the value says
/// that it was extrapolated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// The points, at least one.
    pub points: Vec<Point>,
    /// Where the points come from.
    pub provenance: Provenance,
}

/// A value read off a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The rate.
    pub y: f64,
    /// Whether `x` lay outside the measured range.
    pub extrapolated: bool,
}

impl Curve {
    /// The rate at size `x` > 0.
    pub fn at(&self, x: f64) -> Reading {
        let p = &self.points;
        let (first, last) = (p[0], p[p.len() - 1]);
        if x <= first.x || x >= last.x {
            let y = if x <= first.x { first.y } else { last.y };
            return Reading {
                y,
                extrapolated: x < first.x || x > last.x,
            };
        }
        let i = p.partition_point(|p| p.x <= x);
        let (a, b) = (p[i - 1], p[i]);
        let t = libm::log(x / a.x) / libm::log(b.x / a.x);
        Reading {
            y: a.y * libm::pow(b.y / a.y, t),
            extrapolated: false,
        }
    }

    /// The largest rate anywhere on the curve.
    pub fn peak(&self) -> f64 {
        self.points.iter().map(|p| p.y).fold(0.0, f64::max)
    }

    /// The relative standard deviation of the points, pooled (root mean square).
    pub fn rel_sd(&self) -> f64 {
        let sum: f64 = self.points.iter().map(|p| p.rel_sd * p.rel_sd).sum();
        libm::sqrt(sum / self.points.len() as f64)
    }

    pub(super) fn check(&self, field: &str) -> Result<(), ProfileError> {
        let bad = |i: usize, problem: String| ProfileError::Value {
            field: format!("{field}.points[{i}]"),
            problem,
        };
        if self.points.is_empty() {
            return Err(ProfileError::Value {
                field: format!("{field}.points"),
                problem: "needs at least one point".into(),
            });
        }
        for (i, p) in self.points.iter().enumerate() {
            let ok = |v: f64| v.is_finite() && v > 0.0 && v < 1e24;
            if !ok(p.x) || !ok(p.y) {
                return Err(bad(i, "x and y must be positive numbers below 1e24".into()));
            }
            if !(0.0..=3.0).contains(&p.rel_sd) {
                return Err(bad(i, "rel_sd must lie between 0 and 3".into()));
            }
            if i > 0 && self.points[i - 1].x >= p.x {
                return Err(bad(i, "x must increase from point to point".into()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Origin;

    fn curve(points: &[(f64, f64)]) -> Curve {
        Curve {
            points: points
                .iter()
                .map(|&(x, y)| Point { x, y, rel_sd: 0.0 })
                .collect(),
            provenance: Provenance {
                origin: Origin::Assumed,
                source: "test".into(),
                note: String::new(),
            },
        }
    }

    #[test]
    fn a_reading_lies_between_its_neighbours_and_says_when_it_was_extrapolated() {
        let c = curve(&[(1.0, 10.0), (4.0, 40.0), (5.0, 20.0)]);
        assert!((c.at(2.0).y - 20.0).abs() < 1e-9);
        assert_eq!(c.at(4.0).y, 40.0);
        assert!(c.at(4.5).y < 40.0 && c.at(4.5).y > 20.0);
        assert!(c.at(0.5).extrapolated && c.at(6.0).extrapolated);
        assert!(!c.at(1.0).extrapolated && !c.at(5.0).extrapolated);
        assert_eq!(c.peak(), 40.0);
    }

    #[test]
    fn points_out_of_order_are_refused() {
        assert!(curve(&[(2.0, 1.0), (1.0, 1.0)]).check("c").is_err());
        assert!(curve(&[]).check("c").is_err());
        assert!(curve(&[(1.0, f64::NAN)]).check("c").is_err());
    }
}

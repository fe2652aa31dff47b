//! What a device draws, and what a run draws of it.
use super::{DeviceProfile, ProfileError, Quantity, sheet};
use serde::{Deserialize, Serialize};

/// Power of one device, in watts. What is not known is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// With nothing to do, its context open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_w: Option<Quantity>,
    /// While it streams memory, as decode steps do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streaming_w: Option<Quantity>,
    /// While it multiplies many rows, as prefill steps do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplying_w: Option<Quantity>,
    /// The limit that its data sheet states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_w: Option<Quantity>,
}

/// Mean watts of a run: bounds, and a value where it was measured what the device draws.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watts {
    /// Best guess; `None`: only a limit is known.
    pub value: Option<f64>,
    /// At least; 0 where nothing but a limit is known.
    pub low: f64,
    /// At most.
    pub high: f64,
}

/// Two-sided 90 % of the normal distribution, as for all intervals.
const Z: f64 = 1.644_853_626_951_472_7;

impl Power {
    /// Mean watts of a device that is busy for this share of the time. It draws what it draws idle, and while it is busy something between
    /// streaming and multiplying: their mean, either of them within the bounds. Where one of these was not measured the other stands for
    /// it; where neither was, the data sheet's limit is a bound and there is no value.
    pub fn watts(&self, busy: f64) -> Option<Watts> {
        let busy = busy.clamp(0.0, 1.0);
        let cap = self.limit_w.as_ref().map_or(f64::INFINITY, |q| q.value);
        let measured = [&self.streaming_w, &self.multiplying_w];
        let known: Vec<&Quantity> = measured.into_iter().flatten().collect();
        if known.is_empty() {
            return self.limit_w.as_ref().map(|q| Watts {
                value: None,
                low: 0.0,
                high: q.value,
            });
        }
        let spread = |q: &Quantity, sign: f64| q.value * (1.0 + sign * Z * q.rel_sd).max(0.0);
        let least = |sign: f64| {
            known
                .iter()
                .map(|q| spread(q, sign))
                .fold(f64::INFINITY, f64::min)
        };
        let most = |sign: f64| known.iter().map(|q| spread(q, sign)).fold(0.0, f64::max);
        let active = known.iter().map(|q| q.value).sum::<f64>() / known.len() as f64;
        let idle =
            |sign: f64, otherwise: f64| self.idle_w.as_ref().map_or(otherwise, |q| spread(q, sign));
        // Without a measurement idle power lies between nothing and that under load.
        let at = |idle: f64, active: f64| (idle + busy * (active - idle)).min(cap);
        let (low, high) = (least(-1.0), most(1.0));
        Some(Watts {
            value: Some(at(idle(0.0, active / 2.0), active)),
            low: at(idle(-1.0, 0.0).min(low), low),
            high: at(idle(1.0, high).min(high), high),
        })
    }

    /// The quantities that count for [`Power::watts`].
    pub fn sources(&self) -> impl Iterator<Item = &Quantity> {
        let measured = self.streaming_w.is_some() || self.multiplying_w.is_some();
        let limit = self.limit_w.as_ref().filter(|_| !measured);
        let others = [&self.idle_w, &self.streaming_w, &self.multiplying_w];
        others
            .into_iter()
            .flatten()
            .filter(move |_| measured)
            .chain(limit)
    }

    /// With the limit of the data sheet of that id, where the profile states none.
    pub fn of(profile: &DeviceProfile) -> Self {
        let mut power = profile.power.clone().unwrap_or_default();
        if power.limit_w.is_none() {
            power.limit_w = sheet::power_limit(&profile.id);
        }
        power
    }

    pub(super) fn check(&self) -> Result<(), ProfileError> {
        for (name, q) in [
            ("power.idle_w", &self.idle_w),
            ("power.streaming_w", &self.streaming_w),
            ("power.multiplying_w", &self.multiplying_w),
            ("power.limit_w", &self.limit_w),
        ] {
            if let Some(q) = q {
                q.check(name, 1e5)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Origin, Provenance};

    fn watts(value: f64, rel_sd: f64) -> Option<Quantity> {
        Some(Quantity {
            value,
            rel_sd,
            provenance: Provenance {
                origin: Origin::Measured,
                source: "test".into(),
                note: String::new(),
            },
        })
    }

    #[test]
    fn a_limit_alone_is_a_bound_and_nothing_is_nothing() {
        assert_eq!(Power::default().watts(1.0), None);
        let sheet = Power {
            limit_w: watts(450.0, 0.0),
            ..Power::default()
        };
        let w = sheet.watts(0.3).unwrap();
        assert_eq!((w.value, w.low, w.high), (None, 0.0, 450.0));
    }

    #[test]
    fn measured_power_runs_from_idle_to_active_with_the_busy_share() {
        let p = Power {
            idle_w: watts(50.0, 0.02),
            streaming_w: watts(200.0, 0.02),
            multiplying_w: watts(300.0, 0.02),
            limit_w: watts(320.0, 0.0),
        };
        let at = |busy| p.watts(busy).unwrap();
        assert!((at(0.0).value.unwrap() - 50.0).abs() < 1e-9);
        assert!((at(1.0).value.unwrap() - 250.0).abs() < 1e-9);
        let mut last = 0.0;
        for i in 0..=10 {
            let w = at(f64::from(i) / 10.0);
            let v = w.value.unwrap();
            assert!(w.low <= v && v <= w.high && w.high <= 320.0 && v >= last);
            last = v;
        }
    }

    #[test]
    fn unknown_idle_power_widens_the_bounds_instead_of_being_nothing() {
        let p = Power {
            streaming_w: watts(200.0, 0.0),
            ..Power::default()
        };
        let w = p.watts(0.0).unwrap();
        assert_eq!((w.low, w.high), (0.0, 200.0));
    }
}

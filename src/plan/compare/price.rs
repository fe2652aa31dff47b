//! What a device costs, as the user says it: capsim knows no prices.
use super::Range;
use serde::{Deserialize, Serialize};

/// Hours of a month: 365.25 days of 24 hours over 12.
const HOURS_PER_MONTH: f64 = 730.5;

/// The price of one device, in the user's currency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Price {
    /// Rented, per hour, power included.
    PerHour(f64),
    /// Bought, and written off in equal parts over so many months. Power comes on top.
    Bought {
        /// Paid once.
        paid: f64,
        /// Months.
        months: f64,
    },
}

impl Price {
    /// Reads `2.10/h` or `2400,36mo`.
    ///
    /// # Errors
    /// In words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = |t: &str, what: &str| match t.trim().parse::<f64>() {
            Ok(v) if v.is_finite() && (1e-9..=1e12).contains(&v) => Ok(v),
            _ => Err(format!("`{t}` is no {what} above 0")),
        };
        if let Some(rate) = text.strip_suffix("/h") {
            return Ok(Self::PerHour(number(rate, "price per hour")?));
        }
        match text.split_once(',') {
            Some((paid, months)) if months.ends_with("mo") => Ok(Self::Bought {
                paid: number(paid, "price")?,
                months: number(months.trim_end_matches("mo"), "number of months")?,
            }),
            _ => Err(format!(
                "`{text}`: write 2.10/h for a rented device, or 2400,36mo for one that is bought and used for 36 months"
            )),
        }
    }

    /// Per hour of one device that draws so many watts, at a price per kWh.
    pub fn per_hour(self, watts: Option<f64>, electricity: Option<f64>) -> f64 {
        match self {
            Self::PerHour(rate) => rate,
            Self::Bought { paid, months } => {
                let power = watts.zip(electricity).map_or(0.0, |(w, e)| w / 1e3 * e);
                paid / (months * HOURS_PER_MONTH) + power
            }
        }
    }

    /// Per hour of several devices that draw so many watts together. The power of devices of which only a limit is known lies between
    /// nothing and that; the value counts the limit.
    pub fn cost(self, devices: f64, watts: Option<Range>, electricity: Option<f64>) -> Range {
        let per = |w: Option<f64>| devices * self.per_hour(w.map(|w| w / devices), electricity);
        let of = |f: fn(Range) -> Option<f64>| watts.and_then(f);
        Range {
            value: Some(per(of(|w| w.value.or(w.high)))),
            low: Some(per(of(|w| w.low))),
            high: Some(per(of(|w| w.high))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_and_written_off() {
        assert_eq!(Price::parse("2.10/h"), Ok(Price::PerHour(2.1)));
        let bought = Price::parse("7305,10mo").unwrap();
        assert_eq!(bought.per_hour(None, Some(0.3)), 1.0);
        // 500 W at 0.30 per kWh.
        assert!((bought.per_hour(Some(500.0), Some(0.3)) - 1.15).abs() < 1e-12);
        assert_eq!(Price::PerHour(2.0).per_hour(Some(500.0), Some(0.3)), 2.0);
        for wrong in [
            "2.10", "-1/h", "x/h", "2400,36", "0,36mo", "inf/h", "2400,0mo", "",
        ] {
            assert!(Price::parse(wrong).is_err(), "{wrong}");
        }
    }
}

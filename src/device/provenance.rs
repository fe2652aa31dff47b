//! Where a number comes from, and how well it is known.
use serde::{Deserialize, Serialize};

/// How a number came to be, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Measured on this very device by capsim.
    Measured,
    /// Fitted to recorded runs that are named in the source.
    Fitted,
    /// Measured and published by others.
    Published,
    /// The maker's data sheet.
    Datasheet,
    /// An informed guess; the note says why.
    Assumed,
}

impl Origin {
    /// As a word for tables.
    pub fn word(self) -> &'static str {
        match self {
            Origin::Measured => "measured",
            Origin::Fitted => "fitted",
            Origin::Published => "published",
            Origin::Datasheet => "datasheet",
            Origin::Assumed => "assumed",
        }
    }
}

/// The origin of a number, with its source in words that lead there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// How it came to be.
    pub origin: Origin,
    /// Who measured or published it where: a repository and path, a run's id, a document.
    pub source: String,
    /// Conditions, reasoning, caveats.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// A number with its spread and provenance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Quantity {
    /// The value, in the unit that the field's documentation states.
    pub value: f64,
    /// One standard deviation, relative to the value: how far the truth may be.
    pub rel_sd: f64,
    /// Where it comes from.
    pub provenance: Provenance,
}

impl Quantity {
    /// Positive, finite, and with a spread that means something.
    pub(super) fn check(&self, field: &str, max: f64) -> Result<(), super::ProfileError> {
        let bad = |field: String, problem: String| super::ProfileError::Value { field, problem };
        if !(self.value.is_finite() && self.value > 0.0 && self.value <= max) {
            return Err(bad(
                format!("{field}.value"),
                format!("must lie above 0 and at most {max:e}, not {}", self.value),
            ));
        }
        if !(0.0..=3.0).contains(&self.rel_sd) {
            return Err(bad(
                format!("{field}.rel_sd"),
                format!("must lie between 0 and 3, not {}", self.rel_sd),
            ));
        }
        Ok(())
    }
}

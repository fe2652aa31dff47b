//! Numbers of answers as they are read from JSON, which has null for what is not finite.
use serde::{Deserialize, Deserializer};

/// A figure; null: there is none (NaN).
pub(super) fn or_none<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or(f64::NAN))
}

/// Three of them, where they are there.
pub(super) fn three_or_none<'de, D: Deserializer<'de>>(d: D) -> Result<Option<[f64; 3]>, D::Error> {
    let three: Option<[Option<f64>; 3]> = Option::deserialize(d)?;
    Ok(three.map(|all| all.map(|v| v.unwrap_or(f64::NAN))))
}

/// A value of a condition; null: it is infinite.
pub(super) fn or_infinite<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or(f64::INFINITY))
}

/// Values of all conditions.
pub(super) fn all_or_infinite<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<f64>, D::Error> {
    let all: Vec<Option<f64>> = Vec::deserialize(d)?;
    Ok(all
        .into_iter()
        .map(|v| v.unwrap_or(f64::INFINITY))
        .collect())
}

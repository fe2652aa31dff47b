//! Several values for a field: every combination is a point of a table.
use super::{ScenarioSpec, SpecError};
use crate::fields::Value;

/// Most points of one table: beyond it a sweep is the right tool.
const MAX_POINTS: usize = 4096;

/// A field with the values that it takes, one after another.
pub type Variation = (&'static str, Vec<Value>);

/// One point of a table.
#[derive(Clone, Debug)]
pub struct Point {
    /// Fields that differ between points, with this point's values.
    pub varied: Vec<(&'static str, Value)>,
    /// The scenario's document.
    pub spec: ScenarioSpec,
}

/// Every combination of the values given, the last field varying fastest.
///
/// # Errors
/// Too many combinations.
pub fn expand(base: &ScenarioSpec, varied: &[Variation]) -> Result<Vec<Point>, SpecError> {
    let mut all = vec![Point {
        varied: vec![],
        spec: base.clone(),
    }];
    for (field, values) in varied {
        if all.len().saturating_mul(values.len()) > MAX_POINTS {
            return Err(SpecError::field(
                field,
                format!("makes more than {MAX_POINTS} combinations: give fewer values"),
            ));
        }
        let mut next = Vec::with_capacity(all.len() * values.len());
        for point in &all {
            for value in values {
                let mut p = point.clone();
                p.spec.set(field, value.clone())?;
                if values.len() > 1 {
                    p.varied.push((field, value.clone()));
                }
                next.push(p);
            }
        }
        all = next;
    }
    Ok(all)
}

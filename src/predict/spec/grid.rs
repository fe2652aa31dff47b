//! Several values for a field: every combination is a point of a table.
use super::{Catalog, ScenarioSpec, SpecError};
use crate::fields::Value;
use crate::workload::load::{PROMPTS, TRACE_FILE, TURNS, USERS};

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

/// What a table of a mixture of experts varies besides, unless it is said: kinds of prompts and kernels of the experts, which
/// matter more than the settings in it.
///
/// # Errors
/// The scenario cannot be resolved.
pub fn of_mixture(
    base: &ScenarioSpec,
    catalog: &dyn Catalog,
    both_prompts: bool,
) -> Result<Vec<Variation>, SpecError> {
    let (_, config) = base.config(catalog)?;
    let mut more = vec![];
    if config.moe().is_none() {
        return Ok(more);
    }
    let load = &base.load;
    // Recorded prompts and conversations are what they are.
    let told = load.get(TRACE_FILE).is_some()
        || (load.get(USERS).is_some() && load.get(TURNS).is_some_and(|n| n > 1));
    if both_prompts && load.get(PROMPTS).is_none() && !told {
        let kinds = ["distinct", "identical"].map(|k| Value::Text(k.into()));
        more.push(("prompts", kinds.to_vec()));
    }
    if base.moe_tiles.is_none() {
        let kernels = base.resolve(catalog)?.engine.moe_paths;
        let names: Vec<Value> = kernels.into_keys().map(Value::Text).collect();
        more.push(("moe_tiles", names));
    }
    Ok(more)
}

//! What a server's line says of a scenario.
use super::ScenarioSpec;
use crate::engine::{EngineVersion, kind};
use crate::fields::{FieldError, Value};
use crate::line::Line;
use crate::model::overrides::SEPARATOR;

impl ScenarioSpec {
    /// What a line says of a scenario.
    ///
    /// # Errors
    /// None that a line can cause.
    pub fn of_line(line: &Line) -> Result<Self, FieldError> {
        let mut spec = Self {
            settings: line.settings.clone(),
            load: line.load.clone(),
            not_simulated: line.changes.clone(),
            line_notes: line.notes.clone(),
            harmless: line.harmless.clone(),
            ..Self::default()
        };
        if let Some(model) = &line.model {
            spec.set("model", Value::Text(model.clone()))?;
        }
        if !line.keys.is_empty() {
            spec.set = Some(line.keys.join(&SEPARATOR.to_string()));
        }
        if let Some(engine) = line.engine {
            spec.server = Some(kind(engine).key().into());
        }
        if let Some(release) = &line.release {
            let vllm = line.engine.is_none_or(|e| kind(e).has_releases());
            if vllm && release.parse::<EngineVersion>().is_ok() {
                spec.engine_version = Some(release.clone());
            } else {
                let engine = kind(line.engine.unwrap_or_default()).name();
                spec.line_notes.push(format!(
                    "the line names {engine} {release}; the rules are those of the engine profile"
                ));
            }
        }
        Ok(spec)
    }
}

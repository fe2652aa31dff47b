//! One point: a scenario's document → its prediction, under a name made of all that it depends on.
use super::super::files::Files;
use super::store::Kept;
use capsim::predict::spec::ScenarioSpec;
use capsim::predict::{Scenario, predict};
use capsim_study::report::json;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// One point, ready to be simulated.
pub struct Point {
    /// Names its result: 96 bits of SHA-256 over the version of capsim and the whole scenario, profiles included.
    pub hash: String,
    /// The document that describes it.
    pub spec: ScenarioSpec,
    scenario: Scenario,
}

impl Point {
    /// Resolves a document.
    ///
    /// # Errors
    /// It cannot be resolved.
    pub fn new(spec: ScenarioSpec, files: &Files) -> anyhow::Result<Self> {
        let scenario = spec.resolve(files)?;
        let mut hasher = Sha256::new();
        hasher.update(env!("CARGO_PKG_VERSION"));
        // The debug form holds every field of every part: two scenarios that differ anywhere have different names.
        hasher.update(format!("{scenario:?}"));
        let mut hash = String::new();
        for byte in &hasher.finalize()[..12] {
            let _ = write!(hash, "{byte:02x}");
        }
        Ok(Self {
            hash,
            spec,
            scenario,
        })
    }

    /// Simulates it. A scenario that cannot be served is an answer, too.
    pub fn evaluate(&self) -> Kept {
        let answer = predict(&self.scenario).map_err(anyhow::Error::from);
        Kept {
            schema: super::POINT.into(),
            hash: self.hash.clone(),
            refused: answer.as_ref().err().map(|e| format!("{e:#}")),
            prediction: answer
                .ok()
                .map(|p| json::prediction(&[], &self.scenario, &p)),
        }
    }
}

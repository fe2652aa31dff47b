//! One point: flags → scenario → prediction, under a name made of all that it depends on.
use super::super::files::Files;
use super::super::sweep_args::SweepArgs;
use super::super::words::Known;
use crate::predict::{Caveat, Scenario, predict};
use crate::report::json;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// What words of `capsim predict` describe, and flags that are not modelled.
pub fn scenario(
    known: &Known<SweepArgs>,
    words: &[String],
    files: &Files,
) -> anyhow::Result<(Scenario, Vec<String>)> {
    let mut args = known.parse(words)?;
    args.files = files.clone();
    args.single()
}

/// One point, ready to be simulated.
pub struct Point {
    /// Names its result: 96 bits of SHA-256 over the version of capsim and the whole scenario, profiles included.
    pub hash: String,
    /// The words of `capsim predict` that describe it.
    pub words: Vec<String>,
    scenario: Scenario,
    unmodelled: Vec<String>,
}

impl Point {
    /// Understands words as `capsim predict` would.
    pub fn new(
        known: &Known<SweepArgs>,
        words: Vec<String>,
        files: &Files,
    ) -> anyhow::Result<Self> {
        let (scenario, unmodelled) = scenario(known, &words, files)?;
        let mut hasher = Sha256::new();
        hasher.update(env!("CARGO_PKG_VERSION"));
        // The debug form holds every field of every part: two scenarios that differ anywhere have different names.
        hasher.update(format!("{scenario:?}{unmodelled:?}"));
        let mut hash = String::new();
        for byte in &hasher.finalize()[..12] {
            let _ = write!(hash, "{byte:02x}");
        }
        Ok(Self {
            hash,
            words,
            scenario,
            unmodelled,
        })
    }

    /// Simulates it. A scenario that cannot be served is an answer, too.
    pub fn evaluate(&self) -> Value {
        let mut answer = json!({ "schema": super::POINT, "hash": self.hash });
        match predict(&self.scenario) {
            Ok(mut p) => {
                p.caveats
                    .extend(self.unmodelled.iter().cloned().map(Caveat::Unmodelled));
                answer["prediction"] = json::prediction(&[], &self.scenario, &p);
            }
            Err(e) => answer["refused"] = format!("{:#}", anyhow::Error::from(e)).into(),
        }
        answer
    }
}

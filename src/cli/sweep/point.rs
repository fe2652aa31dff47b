//! One point: flags → scenario → prediction, under a name made of all that it depends on.
use super::super::sweep_args::SweepArgs;
use super::plan::{Flags, Word};
use crate::predict::{Caveat, Scenario, predict};
use crate::report::json;
use anyhow::{Context, bail};
use clap::{CommandFactory, Parser};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write;

#[derive(Parser, Debug)]
#[command(no_binary_name = true, name = "point")]
struct Words {
    #[command(flatten)]
    sweep: SweepArgs,
}

/// The flags of `capsim predict` that describe a scenario.
pub struct Known(BTreeSet<String>);

impl Known {
    /// All of them.
    pub fn new() -> Self {
        let command = Words::command();
        Self(
            command
                .get_arguments()
                .flat_map(|a| {
                    let mut names = a.get_long_and_visible_aliases().unwrap_or_default();
                    names.extend(a.get_long());
                    names
                })
                .map(String::from)
                .collect(),
        )
    }

    /// Whether there is such a flag.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// An error that names the flag and the nearest one.
    pub fn check(&self, name: &str) -> anyhow::Result<()> {
        if self.has(name) {
            return Ok(());
        }
        let near = self
            .0
            .iter()
            .map(|k| (strsim::jaro_winkler(k, name), k))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(s, _)| *s > 0.8);
        match near {
            Some((_, k)) => bail!("`{name}` is no flag of `capsim predict`; did you mean `{k}`?"),
            None => bail!("`{name}` is no flag of `capsim predict` (see `capsim predict --help`)"),
        }
    }

    /// Understands flags as `capsim predict` would: the scenario, and flags that are not modelled.
    pub fn scenario(
        &self,
        flags: &Flags,
        line: &[String],
    ) -> anyhow::Result<(Scenario, Vec<String>)> {
        let mut words = vec![];
        for (name, word) in flags {
            self.check(name)?;
            match word {
                Word::Text(text) => words.push(format!("--{name}={text}")),
                Word::Switch(true) => words.push(format!("--{name}")),
                Word::Switch(false) if self.has(&format!("no-{name}")) => {
                    words.push(format!("--no-{name}"));
                }
                Word::Switch(false) => {}
            }
        }
        words.push("--".into());
        words.extend(line.iter().cloned());
        let parsed = Words::try_parse_from(&words).map_err(|e| {
            let text = e.to_string();
            let first = text
                .lines()
                .next()
                .unwrap_or("")
                .trim_start_matches("error: ");
            anyhow::anyhow!("{first}")
        })?;
        parsed
            .sweep
            .single()
            .context("a list belongs in [grid] or [[together]]")
    }
}

/// One point, ready to be simulated.
pub struct Point {
    /// Names its result: 96 bits of SHA-256 over the version of capsim and the whole scenario, profiles included.
    pub hash: String,
    scenario: Scenario,
    unmodelled: Vec<String>,
}

impl Point {
    /// Understands flags as `capsim predict` would.
    pub fn new(known: &Known, flags: &Flags, line: &[String]) -> anyhow::Result<Self> {
        let (scenario, unmodelled) = known.scenario(flags, line)?;
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

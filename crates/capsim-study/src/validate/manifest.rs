//! The index of everything that is validated: run sets, profiles, and what each profile may be fitted to.
//!
//! The rules that keep a fit honest are checked here, not promised: at most one experiment per kernel path, no
//! coefficient moved by two paths, none that only the fitted experiment could speak for, and every experiment either
//! fitted or predicted.
use super::runs::RunsFile;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// `validation/index.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `"capsim.index/1"`.
    pub schema: String,
    /// Files of runs, or folders of them, from the manifest's folder on.
    pub sets: Vec<String>,
    /// Engine profiles and their fits.
    pub profiles: Vec<ProfilePlan>,
    /// Experiments that cannot be simulated, one file of reasons each.
    #[serde(default)]
    pub unusable: Vec<String>,
    /// Comparisons that are kept as figures.
    #[serde(default)]
    pub recorded: Vec<RecordedSet>,
    /// Diagnoses by run id, or by a beginning of it that ends in `*`.
    #[serde(default)]
    pub diagnoses: BTreeMap<String, String>,
}

/// One engine profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfilePlan {
    /// Its id, as files of runs name it in `engine`.
    pub id: String,
    /// What is known before any of these runs: the file of a profile, from the manifest's folder on.
    pub prior: String,
    /// Where the fitted profile is written; absent: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ship: Option<String>,
    /// Kernel paths with the one experiment that each is fitted to.
    pub paths: Vec<PathPlan>,
}

/// One kernel path of a profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathPlan {
    /// Its name: `dense`, `experts`, …
    pub path: String,
    /// The experiment.
    pub experiment: String,
    /// Those of its runs that are fitted; absent: all. The others are not counted as predicted either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<Vec<String>>,
    /// Coefficients that it moves, by beginnings of their dotted names.
    pub moves: Vec<String>,
}

/// A comparison that is kept as figures (`validate::recorded`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordedSet {
    /// What it is.
    pub name: String,
    /// The file of figures, from the manifest's folder on.
    pub figures: String,
    /// Who measured it: sets of one group are one source.
    pub group: String,
    /// Device, as the report names it.
    pub device: String,
    /// Id of the engine profile.
    pub engine: String,
    /// Whether the model has experts.
    #[serde(default)]
    pub moe: bool,
    /// Where it comes from, and what was fitted.
    pub note: String,
    /// The fitted profile, and the prior that it was fitted from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<FitFiles>,
    /// A file of runs whose requests lie in the shared data, which may not be copied here: where they are found the figures are
    /// computed anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<String>,
    /// What was chosen with the data in hand; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    /// Why runs are missed, by the beginning of their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub diagnoses: BTreeMap<String, String>,
}

/// Two engine profiles, from the manifest's folder on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FitFiles {
    /// Before.
    pub prior: String,
    /// After.
    pub profile: String,
}

/// Experiments that are not simulated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnusableFile {
    /// `"capsim.unusable/1"`.
    pub schema: String,
    /// Each with its reason.
    pub experiments: Vec<Unusable>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unusable {
    /// Its id.
    pub experiment: String,
    /// Why not.
    pub reason: String,
    /// Where it was published.
    pub source: String,
}

/// What is wrong with a manifest, or with the files that it names taken together.
#[derive(Debug, thiserror::Error)]
#[error("{name}: field `{field}`: {problem}")]
pub struct ManifestError {
    /// The file.
    pub name: String,
    /// Path of the field.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

fn tagged<T: serde::de::DeserializeOwned>(
    text: &str,
    name: &str,
    tag: &str,
) -> Result<T, ManifestError> {
    let bad = |field: String, problem: String| ManifestError {
        name: name.into(),
        field,
        problem,
    };
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|e| bad("(the whole file)".into(), format!("is no JSON: {e}")))?;
    match value.get("schema").and_then(|s| s.as_str()) {
        Some(s) if s == tag => {}
        Some(s) => {
            return Err(bad(
                "schema".into(),
                format!("expected \"{tag}\", found \"{s}\""),
            ));
        }
        None => return Err(bad("schema".into(), format!("missing; expected \"{tag}\""))),
    }
    serde_path_to_error::deserialize(value)
        .map_err(|e| bad(e.path().to_string(), e.inner().to_string()))
}

impl UnusableFile {
    /// Reads it from JSON text; `name` appears in errors.
    ///
    /// # Errors
    /// Names the field that is missing, unknown or of the wrong type.
    pub fn parse(text: &str, name: &str) -> Result<Self, ManifestError> {
        tagged(text, name, "capsim.unusable/1")
    }
}

impl Manifest {
    /// The schema tag that this version reads.
    pub const SCHEMA: &'static str = "capsim.index/1";

    /// An index of one profile alone.
    pub fn of_plan(plan: &ProfilePlan) -> Self {
        Self {
            schema: Self::SCHEMA.into(),
            sets: vec![],
            profiles: vec![plan.clone()],
            unusable: vec![],
            recorded: vec![],
            diagnoses: BTreeMap::new(),
        }
    }

    /// Reads a manifest from JSON text; `name` appears in errors.
    ///
    /// # Errors
    /// Names the field that is missing, unknown, of the wrong type, or that breaks a rule of its own.
    pub fn parse(text: &str, name: &str) -> Result<Self, ManifestError> {
        let m: Self = tagged(text, name, Self::SCHEMA)?;
        let bad = |field: String, problem: String| ManifestError {
            name: name.into(),
            field,
            problem,
        };
        let mut ids = BTreeSet::new();
        let mut experiments = BTreeSet::new();
        for (i, p) in m.profiles.iter().enumerate() {
            let at = |f: &str| format!("profiles[{i}].{f}");
            if !ids.insert(&p.id) {
                return Err(bad(at("id"), format!("`{}` appears twice", p.id)));
            }
            let mut paths = BTreeSet::new();
            let mut moved: Vec<&String> = vec![];
            for (j, path) in p.paths.iter().enumerate() {
                let at = |f: &str| at(&format!("paths[{j}].{f}"));
                if !paths.insert(&path.path) {
                    return Err(bad(
                        at("path"),
                        format!(
                            "`{}` is fitted twice; one experiment per kernel path is the most",
                            path.path
                        ),
                    ));
                }
                if !experiments.insert(&path.experiment) {
                    return Err(bad(
                        at("experiment"),
                        format!("`{}` is fitted twice", path.experiment),
                    ));
                }
                if path.moves.is_empty() || path.moves.iter().any(String::is_empty) {
                    return Err(bad(
                        at("moves"),
                        "needs the beginnings of coefficient names".into(),
                    ));
                }
                for m in &path.moves {
                    if let Some(other) = moved
                        .iter()
                        .find(|o| o.starts_with(m.as_str()) || m.starts_with(o.as_str()))
                    {
                        return Err(bad(
                            at("moves"),
                            format!("`{m}` is moved by another path already, as `{other}`"),
                        ));
                    }
                }
                moved.extend(&path.moves);
            }
        }
        Ok(m)
    }

    /// Which experiments are fitted.
    pub fn fitted(&self) -> BTreeSet<&str> {
        self.profiles
            .iter()
            .flat_map(|p| p.paths.iter().map(|x| x.experiment.as_str()))
            .collect()
    }

    /// Checks the manifest against the runs that it names: every fitted experiment is there and uses the profile, and for
    /// every kernel path there is at least one experiment of the same profile that is predicted.
    ///
    /// # Errors
    /// Names the profile's field.
    pub fn check(&self, name: &str, files: &[RunsFile]) -> Result<(), ManifestError> {
        let fitted = self.fitted();
        let mut profile_of: BTreeMap<&str, &str> = BTreeMap::new();
        for f in files {
            for r in &f.runs {
                if let Some(other) = profile_of.insert(r.experiment(), &f.engine)
                    && other != f.engine
                {
                    return Err(ManifestError {
                        name: name.into(),
                        field: "sets".into(),
                        problem: format!(
                            "experiment `{}` is predicted with two profiles, `{other}` and `{}`",
                            r.experiment(),
                            f.engine
                        ),
                    });
                }
            }
        }
        for (i, p) in self.profiles.iter().enumerate() {
            for (j, path) in p.paths.iter().enumerate() {
                let bad = |field: &str, problem: String| ManifestError {
                    name: name.into(),
                    field: format!("profiles[{i}].paths[{j}].{field}"),
                    problem,
                };
                match profile_of.get(path.experiment.as_str()) {
                    Some(e) if *e == p.id => {}
                    Some(e) => {
                        return Err(bad(
                            "experiment",
                            format!(
                                "`{}` is predicted with profile `{e}`, not `{}`",
                                path.experiment, p.id
                            ),
                        ));
                    }
                    None => {
                        return Err(bad(
                            "experiment",
                            format!("`{}` is in none of the sets", path.experiment),
                        ));
                    }
                }
                // The path of the experts that this one moves, if it moves one.
                let tiles = path.moves.iter().find_map(|m| {
                    let rest = m.strip_prefix("moe_paths.")?;
                    Some(rest.split('.').next().unwrap_or(rest))
                });
                let spoken_for = files.iter().any(|f| {
                    f.engine == p.id
                        && tiles.is_none_or(|t| f.moe_tiles.as_deref().unwrap_or("default") == t)
                        && f.runs.iter().any(|r| !fitted.contains(r.experiment()))
                });
                if !spoken_for {
                    return Err(bad(
                        "experiment",
                        format!(
                            "no other experiment of profile `{}` takes path `{}`: its coefficients would exist for one run \
                             only",
                            p.id, path.path
                        ),
                    ));
                }
            }
        }
        if let Some(f) = files
            .iter()
            .find(|f| !self.profiles.iter().any(|p| p.id == f.engine))
        {
            return Err(ManifestError {
                name: name.into(),
                field: "profiles".into(),
                problem: format!(
                    "`{}` needs profile `{}`, which is not listed",
                    f.name, f.engine
                ),
            });
        }
        Ok(())
    }

    /// What is known of why a run is missed.
    pub fn diagnosis<'a>(&'a self, run: &super::runs::RecordedRun) -> Option<&'a str> {
        self.diagnoses
            .iter()
            .filter(|(key, _)| match key.strip_suffix('*') {
                Some(start) => run.id.starts_with(start) || run.experiment().starts_with(start),
                None => run.id == **key || run.experiment() == **key,
            })
            .max_by_key(|(key, _)| key.len())
            .map(|(_, text)| text.as_str())
    }
}

//! Structures and fits chosen by code, a source left out at a time: what the choice costs on runs that had no part in it.
//!
//! The structures that a profile may have are listed in `validation/structures.json`, each as a patch of its prior. For every source
//! (repository) of its runs: fits that rest on the source's own experiments move to another experiment of the same kind of model, or
//! are left out; every structure is fitted anew; the one with the smallest mean error over the *other* sources is taken, each of
//! them weighing the same; and the error of the left-out source's runs with it is what counts.
use super::accuracy::{AccuracyError, ScoredRun, fit_profile, group, medians, score};
use super::fit::tells;
use super::hypothesis::Basis;
use super::manifest::{Manifest, PathPlan, ProfilePlan};
use super::runs::{RecordedRun, RunsFile};
use capsim::device::{EngineFile, EngineProfile, ProfileError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// `validation/structures.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StructuresFile {
    /// `"capsim.structures/1"`.
    pub schema: String,
    /// What it is.
    #[serde(default)]
    pub note: String,
    /// All of them; the first that names a profile is the one that ships.
    pub structures: Vec<Structure>,
}

/// One structure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Structure {
    /// Its name.
    pub name: String,
    /// Why it may be so.
    pub why: String,
    /// Profiles that may have it.
    pub profiles: Vec<String>,
    /// What it changes of a prior: a JSON merge patch.
    pub patch: serde_json::Value,
}

impl StructuresFile {
    /// The tag.
    pub const SCHEMA: &'static str = "capsim.structures/1";

    /// Reads a file; `name` appears in errors.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn parse(text: &str, name: &str) -> Result<Self, String> {
        let mut json = serde_json::Deserializer::from_str(text);
        let file: Self = serde_path_to_error::deserialize(&mut json)
            .map_err(|e| format!("{name}: field `{}`: {}", e.path(), e.inner()))?;
        if file.schema != Self::SCHEMA {
            return Err(format!(
                "{name}: field `schema`: expected \"{}\", found \"{}\"",
                Self::SCHEMA,
                file.schema
            ));
        }
        Ok(file)
    }

    /// A profile's structures: name and prior, the shipped one first; that alone where none is listed.
    ///
    /// # Errors
    /// If a patch makes a profile that cannot be.
    pub fn of(&self, prior: &EngineProfile) -> Result<Vec<(String, EngineProfile)>, ProfileError> {
        let mut all = vec![];
        for s in self
            .structures
            .iter()
            .filter(|s| s.profiles.contains(&prior.id))
        {
            all.push((s.name.clone(), EngineFile::patched(prior, &s.patch)?));
        }
        if all.is_empty() {
            all.push(("as filed".into(), prior.clone()));
        }
        Ok(all)
    }
}

/// A profile's files of runs.
type Files<'a> = Vec<&'a (RunsFile, Basis)>;

/// An experiment that a path may be fitted to.
struct Experiment {
    name: String,
    source: String,
    /// Whether the model has experts, and by which path they run.
    kind: (bool, Option<String>),
    /// How many figures it tells.
    figures: usize,
    /// Whether each of its runs has one to fit to.
    tells: bool,
}

fn experiments(files: &Files<'_>) -> Vec<Experiment> {
    let mut all: Vec<Experiment> = vec![];
    for (file, basis) in files {
        for run in &file.runs {
            let at = all.iter().position(|e| e.name == run.experiment());
            let at = at.unwrap_or_else(|| {
                all.push(Experiment {
                    name: run.experiment().into(),
                    source: group(file, run),
                    kind: (basis.model.experts().is_some(), file.moe_tiles.clone()),
                    figures: 0,
                    tells: true,
                });
                all.len() - 1
            });
            all[at].figures += run.measured.len();
            all[at].tells &= tells(run) && run.disturbed.is_none();
        }
    }
    all
}

/// The plan of a profile without a source: paths that rest on it move to the experiment of another source that is of the same kind
/// of model and tells most, or go.
fn plan_without(plan: &ProfilePlan, files: &Files<'_>, source: &str) -> (ProfilePlan, Vec<String>) {
    let all = experiments(files);
    let mut moved = vec![];
    let mut taken: BTreeSet<String> = plan.paths.iter().map(|p| p.experiment.clone()).collect();
    let mut paths = vec![];
    for path in &plan.paths {
        let own = all.iter().find(|e| e.name == path.experiment);
        let Some(own) = own.filter(|e| e.source == source) else {
            paths.push(path.clone());
            continue;
        };
        let other = all
            .iter()
            .filter(|e| e.source != source && e.kind == own.kind && e.tells)
            .filter(|e| !taken.contains(&e.name))
            .max_by(|a, b| a.figures.cmp(&b.figures).then_with(|| b.name.cmp(&a.name)));
        match other {
            Some(e) => {
                taken.insert(e.name.clone());
                moved.push(format!("{} → {}", path.path, e.name));
                paths.push(PathPlan {
                    experiment: e.name.clone(),
                    runs: None,
                    ..path.clone()
                });
            }
            None => moved.push(format!("{}: not fitted", path.path)),
        }
    }
    let plan = ProfilePlan {
        paths,
        ..plan.clone()
    };
    (plan, moved)
}

/// What came of one profile without one source.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The source left out.
    pub source: String,
    /// The profile.
    pub profile: String,
    /// The device of its runs.
    pub device: String,
    /// The structure taken, and of how many.
    pub structure: (String, usize),
    /// Fits that moved to another experiment.
    pub moved: Vec<String>,
    /// Errors of the source's decode rates, predicted / measured − 1.
    pub decode: Vec<f64>,
    /// Errors of its mean first-token times.
    pub ttft: Vec<f64>,
}

/// Mean over sources of the mean absolute errors in logarithms, decode and TTFT weighing the same.
fn loss(runs: &[ScoredRun]) -> f64 {
    let mut by: BTreeMap<(&str, bool), Vec<f64>> = BTreeMap::new();
    for r in runs {
        let mut add = |ttft, e: Option<f64>| {
            if let Some(e) = e {
                let size = libm::log1p(e.max(-0.999)).abs();
                by.entry((&r.group, ttft)).or_default().push(size);
            }
        };
        add(false, r.decode().map(|d| d.1));
        add(true, r.ttft());
    }
    let means = by.values().map(|v| v.iter().sum::<f64>() / v.len() as f64);
    means.sum::<f64>() / by.len().max(1) as f64
}

/// A profile's runs, scored with what one structure was fitted to: those of a source, or all others.
fn scored(
    plan: &ProfilePlan,
    files: &Files<'_>,
    prior: &EngineProfile,
    wanted: impl Fn(&RunsFile, &RecordedRun) -> bool,
) -> Result<Vec<ScoredRun>, AccuracyError> {
    let owned: Vec<(RunsFile, Basis)> = files.iter().map(|f| (*f).clone()).collect();
    let fitted = fit_profile(plan, prior, &owned)?;
    let manifest = Manifest::of_plan(plan);
    let mut all = vec![];
    for (number, (file, basis)) in files.iter().enumerate() {
        let mut basis = basis.clone();
        basis.engine = fitted.profile.clone();
        basis.engine.without_model_sd();
        for run in file.runs.iter().filter(|r| wanted(file, r)) {
            let fitted = plan.paths.iter().any(|p| p.experiment == run.experiment());
            if fitted || run.disturbed.is_some() {
                continue;
            }
            // A run that cannot be simulated is listed elsewhere.
            if let Ok(r) = score(&manifest, number, file, &basis, run) {
                all.push(r);
            }
        }
    }
    Ok(all)
}

/// Chooses a profile's structure without a source, and predicts the source with it.
///
/// # Errors
/// If a fitted run cannot be simulated, or a structure makes a profile that cannot be.
pub fn choose(
    plan: &ProfilePlan,
    prior: &EngineProfile,
    structures: &StructuresFile,
    sets: &[(RunsFile, Basis)],
    source: &str,
) -> Result<Chosen, String> {
    let files: Files<'_> = sets.iter().filter(|(f, _)| f.engine == plan.id).collect();
    let (plan, moved) = plan_without(plan, &files, source);
    let all = structures.of(prior).map_err(|e| e.to_string())?;
    let of_source = |f: &RunsFile, r: &RecordedRun| group(f, r) == source;
    let mut best: Option<(f64, usize)> = None;
    if all.len() > 1 {
        for (i, (_, prior)) in all.iter().enumerate() {
            let others = scored(&plan, &files, prior, |f, r| !of_source(f, r));
            let loss = loss(&others.map_err(|e| e.to_string())?);
            if best.is_none_or(|(least, _)| loss < least) {
                best = Some((loss, i));
            }
        }
    }
    let (name, prior) = &all[best.map_or(0, |b| b.1)];
    let runs = scored(&plan, &files, prior, of_source).map_err(|e| e.to_string())?;
    Ok(Chosen {
        source: source.into(),
        profile: plan.id.clone(),
        device: files
            .first()
            .map_or_else(String::new, |f| f.0.device.clone()),
        structure: (name.clone(), all.len()),
        moved,
        decode: runs
            .iter()
            .filter_map(|r| r.decode().map(|d| d.1))
            .collect(),
        ttft: runs.iter().filter_map(ScoredRun::ttft).collect(),
    })
}

/// Every profile with every source of its runs.
pub fn pairs(manifest: &Manifest, sets: &[(RunsFile, Basis)]) -> Vec<(usize, String)> {
    let mut all = vec![];
    for (i, plan) in manifest.profiles.iter().enumerate() {
        let files = sets.iter().filter(|(f, _)| f.engine == plan.id);
        let sources: BTreeSet<String> = files
            .flat_map(|(f, _)| f.runs.iter().map(|r| group(f, r)))
            .collect();
        all.extend(sources.into_iter().map(|s| (i, s)));
    }
    all
}

/// The page.
pub fn markdown(all: &[Chosen]) -> String {
    let mut o = String::from(
        "# Chosen by code, a source left out at a time\n\nWritten by `capsim validate --all --reselect`; do not edit. [All \
         devices](accuracy.md)\n\nFor every source: fits that rest on its experiments move to another source's, every structure in \
         `validation/structures.json` is fitted anew, the one with the smallest error on the *other* sources is taken, and this is what \
         the left-out source's runs are then predicted with. No run here had any part in what predicted it.\n\n",
    );
    let cell = |v: &[f64]| match v.len() {
        0 => "–|–".to_string(),
        n => {
            let (abs, bias) = medians(v);
            format!("{:.1} % ({n})|{:+.1} %", 100.0 * abs, 100.0 * bias)
        }
    };
    o.push_str("device|decode: median abs. error (runs)|bias|TTFT: median abs. error (runs)|bias\n---|---|---|---|---\n");
    let devices: BTreeSet<&str> = all.iter().map(|c| c.device.as_str()).collect();
    for device in devices {
        let every = |of: fn(&Chosen) -> &Vec<f64>| -> Vec<f64> {
            let here = all.iter().filter(|c| c.device == device);
            here.flat_map(|c| of(c).iter().copied()).collect()
        };
        let (decode, ttft) = (every(|c| &c.decode), every(|c| &c.ttft));
        let _ = writeln!(o, "{device}|{}|{}", cell(&decode), cell(&ttft));
    }
    o.push('\n');
    o.push_str(
        "source left out|profile|structure taken|fits moved|decode: median abs. error (runs)|bias|TTFT: median abs. error (runs)|bias\n\
         ---|---|---|---|---|---|---|---\n",
    );
    for c in all
        .iter()
        .filter(|c| !c.decode.is_empty() || !c.ttft.is_empty())
    {
        let _ = writeln!(
            o,
            "{}|{}|{} (of {})|{}|{}|{}",
            c.source,
            c.profile,
            c.structure.0,
            c.structure.1,
            if c.moved.is_empty() {
                "–".into()
            } else {
                c.moved.join("; ")
            },
            cell(&c.decode),
            cell(&c.ttft),
        );
    }
    o
}

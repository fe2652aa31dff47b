//! A sweep under way: its points, its folder, what is left to do. Wherever a point is simulated, the result is the
//! same bytes, so that a point may be lost, repeated or done twice at once.
use super::super::files::{Files, Texts};
use super::super::scenario_args::{flag, of_line, read_line};
use super::plan::{Flags, Plan};
use super::point::Point;
use super::store::{self, Listing, Merged, Store};
use anyhow::{Context, bail, ensure};
use capsim::line::Line;
use capsim::predict::spec::ScenarioSpec;
use capsim_study::report::page::worded;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What another process needs to simulate a point, besides the texts of the files that the sweep names.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    hash: String,
    scenario: ScenarioSpec,
}

/// A sweep of one shard into one folder.
pub struct Job {
    dir: PathBuf,
    store: Store,
    files: Files,
    points: Vec<Point>,
    mine: usize,
    todo: Vec<usize>,
}

/// The document of a plan's point.
fn document(plan: &Plan, i: usize, files: &Files) -> anyhow::Result<ScenarioSpec> {
    let mut words = plan.line.clone();
    words.extend(plan.serve.get(i).into_iter().flatten().cloned());
    let mut line: Option<Line> = None;
    let mut spec = ScenarioSpec::default();
    if !words.is_empty() {
        let read = line.insert(read_line(&words, files)?);
        spec = of_line(read)?;
    }
    for (field, value) in &plan.points[i] {
        spec.set_json(field, value)?;
    }
    match line {
        Some(line) if spec.model.is_none() => bail!(line.no_model()),
        _ => Ok(spec),
    }
}

/// A plan's points, all understood before any is simulated: a mistake in the last one costs nothing.
///
/// # Errors
/// The first point, in the plan's order, that cannot be understood.
pub fn understand(plan: &Plan, files: &Files) -> anyhow::Result<Vec<Point>> {
    let one = |(i, fields): (usize, &Flags)| {
        document(plan, i, files)
            .and_then(|spec| Point::new(spec, files))
            .with_context(|| {
                let what: Vec<String> = fields
                    .iter()
                    .filter(|(f, _)| plan.dimensions.contains(f))
                    .map(|(f, v)| format!("{} {}", flag(f), worded(v)))
                    .collect();
                match what.is_empty() {
                    true => format!("point {}", i + 1),
                    false => format!("point {} ({})", i + 1, what.join(", ")),
                }
            })
    };
    plan.points.par_iter().enumerate().map(one).collect()
}

impl Job {
    /// Opens the folder for the plan's points and finds out what is left to do of every `step`-th from `first` on.
    ///
    /// # Errors
    /// The folder holds another sweep, or cannot be written.
    pub fn open(
        plan: &Plan,
        points: Vec<Point>,
        files: Files,
        dir: &Path,
        (first, step): (usize, usize),
    ) -> anyhow::Result<Self> {
        let hashes: Vec<String> = points.iter().map(|p| p.hash.clone()).collect();
        let store = Store::open(dir, &Listing::new(plan, &hashes))?;
        let mine: Vec<usize> = (first..points.len()).step_by(step).collect();
        let mut seen = BTreeSet::new();
        let todo = mine
            .iter()
            .copied()
            .filter(|&i| seen.insert(&hashes[i]) && store.get(&hashes[i]).is_none())
            .collect();
        Ok(Self {
            dir: dir.into(),
            store,
            files,
            points,
            mine: mine.len(),
            todo,
        })
    }

    /// Points of the plan.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether the plan has no point.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Points of this shard.
    pub fn mine(&self) -> usize {
        self.mine
    }

    /// The points that are to be simulated.
    pub fn todo(&self) -> &[usize] {
        &self.todo
    }

    /// The texts of all files that the points name.
    ///
    /// # Errors
    /// One that cannot be read as a whole.
    pub fn texts(&self) -> anyhow::Result<Texts> {
        self.files.texts()
    }

    /// A point for [`evaluate`], in this or another process.
    pub fn task(&self, point: usize) -> String {
        let p = &self.points[point];
        let task = Task {
            hash: p.hash.clone(),
            scenario: p.spec.clone(),
        };
        serde_json::to_string(&task).expect("texts")
    }

    /// Simulates a point here and keeps its result.
    ///
    /// # Errors
    /// The result cannot be written.
    pub fn run(&self, point: usize) -> anyhow::Result<()> {
        let p = &self.points[point];
        self.store.put(&p.hash, &store::line(&p.evaluate())?)
    }

    /// Keeps what [`evaluate`] made of a point.
    ///
    /// # Errors
    /// It is not the result of this point, or it cannot be written.
    pub fn keep(&self, point: usize, result: &str) -> anyhow::Result<()> {
        let hash = &self.points[point].hash;
        ensure!(
            result.ends_with('\n') && store::whole(result, hash).is_some(),
            "point {}: what came back is not its result",
            point + 1
        );
        self.store.put(hash, result)
    }

    /// All results of the folder; writes the tables if none is missing.
    ///
    /// # Errors
    /// A result or a table cannot be read or written.
    pub fn finish(&self) -> anyhow::Result<Merged> {
        let merged = store::collect(std::slice::from_ref(&self.dir))?;
        if merged.missing.is_empty() {
            store::tables(&self.dir, &merged)?;
        }
        Ok(merged)
    }
}

/// What a point's file holds, from its [`Job::task`] and the [`Job::texts`] of its sweep.
///
/// # Errors
/// This process understands the point otherwise than the one that wrote the task: another version, other built-in profiles.
pub fn evaluate(task: &str, files: &Files) -> anyhow::Result<String> {
    let task: Task = serde_json::from_str(task).context("not a point of a sweep")?;
    let point = Point::new(task.scenario, files)?;
    ensure!(
        point.hash == task.hash,
        "a point is {} here and {} where the sweep began: another version or build of capsim; install the same one everywhere",
        point.hash,
        task.hash
    );
    store::line(&point.evaluate())
}

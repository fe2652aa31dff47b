//! Comparisons that are kept as figures, for `capsim validate --all`; computed anew where their requests are found.
use super::{files, validate};
use anyhow::{Context, bail};
use capsim::device::{EngineFile, EngineProfile};
use capsim_calibrate::clock::now_utc;
use capsim_study::report::accuracy_recorded::{Section, moved};
use capsim_study::validate::accuracy::ScoredRun;
use capsim_study::validate::compare::{Candidate, candidates};
use capsim_study::validate::manifest::RecordedSet;
use capsim_study::validate::recorded::{Figure, FigureRun, Figures};
use capsim_study::validate::runs::RunsFile;
use std::path::Path;

/// Whether the shared data holds the requests of every run of a file.
pub fn found(path: &Path) -> anyhow::Result<bool> {
    let file = RunsFile::parse(&files::read(path)?, &path.display().to_string())?;
    let traces = file.runs.iter().filter_map(|r| r.workload.trace.as_ref());
    Ok(traces
        .filter_map(|t| t.file.strip_prefix("shared:"))
        .all(|rest| files::shared(rest).exists()))
}

/// Seven digits, as profiles are written.
fn short(v: f64) -> f64 {
    format!("{v:.6e}").parse().expect("just written")
}

/// Date and minute, as the figures of `scripts/whole_loop.py` have it.
fn now() -> String {
    let now = now_utc().replace('T', " ");
    now.chars().take("2026-11-25 01:26".len()).collect()
}

fn figures(run: &str, experiment: &str, c: &Candidate) -> FigureRun {
    FigureRun {
        name: run.into(),
        experiment: Some(experiment.into()),
        fitted: false,
        batch: Some(short(c.prediction.run.occupancy.batch)),
        components: vec![],
        metrics: c
            .metrics
            .iter()
            .map(|m| Figure {
                metric: m.metric.clone(),
                measured: short(m.measured),
                predicted: short(m.predicted),
                low: None,
                high: None,
                propagated: Some(short(m.propagated())),
            })
            .collect(),
    }
}

/// Predicts the runs of a file whose requests were found.
fn computed(path: &Path, date: String) -> anyhow::Result<Figures> {
    let (file, mut basis, absent) = validate::open(path, None, None, None)?;
    // The model's deviation comes from all other runs, afterwards.
    basis.engine.without_model_sd();
    if let Some(a) = absent.first() {
        bail!("run `{}`: {}", a.id, a.problem);
    }
    let mut runs = vec![];
    for run in &file.runs {
        let all = candidates(&file, &basis, run).with_context(|| format!("run `{}`", run.id))?;
        // What is predicted twice, under two settings, was measured once.
        runs.push(figures(&run.id, &file.name, &all[0]));
    }
    Ok(Figures {
        schema: Figures::SCHEMA.into(),
        date,
        aims: Default::default(),
        fitted_on: vec![],
        runs,
    })
}

/// Figures that differ: run, metric, before, now.
fn changes(before: &Figures, now: &Figures) -> Vec<(String, String, f64, f64)> {
    let mut all = vec![];
    for r in &now.runs {
        for m in &r.metrics {
            let old = before
                .runs
                .iter()
                .find(|b| b.name == r.name)
                .and_then(|b| b.metrics.iter().find(|x| x.metric == m.metric));
            let was = old.map_or(f64::NAN, |o| o.predicted);
            if was != m.predicted {
                all.push((r.name.clone(), m.metric.to_string(), was, m.predicted));
            }
        }
    }
    all
}

/// A set of the manifest as set `number` of the report. With `write`, figures that were computed anew are recorded.
pub fn recorded(
    home: &Path,
    set: &RecordedSet,
    number: usize,
    write: bool,
) -> anyhow::Result<(Section, Vec<ScoredRun>)> {
    let path = home.join(&set.figures);
    let name = path.display().to_string();
    let runs = set.runs.as_ref().map(|r| home.join(r));
    let here = runs.as_deref().map(found).transpose()?;
    let kept = match path.exists() || here != Some(true) {
        true => Some(Figures::parse(&files::read(&path)?, &name)?),
        false => None,
    };
    let mut figures = kept.clone();
    let mut changed = vec![];
    if let (Some(runs), Some(true)) = (&runs, here) {
        let now = computed(runs, now())?;
        changed = kept.as_ref().map_or(vec![], |k| changes(k, &now));
        let as_kept = kept.as_ref().is_some_and(|k| k.runs == now.runs);
        if !as_kept {
            if write {
                files::write(&path, &(serde_json::to_string_pretty(&now)? + "\n"))?;
            }
            figures = Some(now);
        }
    }
    let figures = figures.expect("read, or computed");
    let mut scored = figures.scored(number, &set.group, set.moe, set.doubt.as_deref());
    for r in &mut scored {
        r.diagnosis = set
            .diagnoses
            .iter()
            .filter(|(start, _)| r.id.starts_with(start.as_str()))
            .max_by_key(|(start, _)| start.len())
            .map(|(_, why)| why.clone());
    }
    let moved = match &set.fit {
        None => vec![],
        Some(f) => {
            let profile = |p: &str, prior| -> anyhow::Result<EngineProfile> {
                let path = home.join(p);
                let (text, name) = (files::read(&path)?, path.display().to_string());
                Ok(EngineFile::pick(&text, &name, Some(&set.engine), prior)?)
            };
            moved(&profile(&f.prior, true)?, &profile(&f.profile, false)?)
        }
    };
    let section = Section {
        set: number,
        about: set.clone(),
        date: figures.date,
        moved,
        found: here,
        changed,
    };
    Ok((section, scored))
}

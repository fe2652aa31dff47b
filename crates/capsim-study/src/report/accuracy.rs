//! docs/accuracy.md and its picture: every recorded run against its prediction.
mod intervals;
mod picture;

pub use picture::svg;

use super::accuracy_recorded as recorded;
use super::table::three;
use crate::validate::accuracy::{Accuracy, Role, ScoredRun, medians};
use crate::validate::fit::Change;
use crate::validate::manifest::{Manifest, Unusable};
use crate::validate::spread::Place;
use capsim::device::{BatchClass, EngineId, sheet};
use capsim::engine::kind;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Runs of one file, as the report names them.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Device.
    pub device: String,
    /// Engine profile.
    pub profile: String,
    /// Engine.
    pub engine: &'static str,
}

impl Set {
    /// The engine of a profile, in words.
    pub fn engine(profile: &str, scheduler: EngineId) -> &'static str {
        kind(scheduler).name_in(profile)
    }
}

/// The maker of a set's device, or the first word of its name, and the engine.
pub fn place(set: &Set) -> Place {
    let word = || set.device.split(' ').next().unwrap_or("").into();
    let maker = sheet::maker_of(&set.device).unwrap_or_else(word);
    (maker, set.engine.into())
}

/// The runs that were predicted.
pub fn predicted(a: &Accuracy) -> Vec<&ScoredRun> {
    a.runs
        .iter()
        .filter(|r| r.role == Role::Predicted)
        .collect()
}

/// Errors of some runs, summed up.
struct Tally {
    runs: usize,
    experiments: usize,
    decode: Vec<f64>,
    ttft: Vec<f64>,
    inside: usize,
    metrics: usize,
}

impl Tally {
    fn of<'a>(runs: impl IntoIterator<Item = &'a ScoredRun>) -> Self {
        let mut t = Self {
            runs: 0,
            experiments: 0,
            decode: vec![],
            ttft: vec![],
            inside: 0,
            metrics: 0,
        };
        let mut experiments = BTreeSet::new();
        for r in runs {
            t.runs += 1;
            experiments.insert(&r.experiment);
            t.decode.extend(r.decode().map(|d| d.1));
            t.ttft.extend(r.ttft());
            t.metrics += r.metrics.len();
            t.inside += r.metrics.iter().filter(|m| m.inside).count();
        }
        t.experiments = experiments.len();
        t
    }

    fn cells(&self) -> String {
        let cell = |v: &[f64]| {
            let (abs, bias) = medians(v);
            if v.is_empty() {
                "–|–".to_string()
            } else {
                format!("{:.1} % ({})|{:+.1} %", 100.0 * abs, v.len(), 100.0 * bias)
            }
        };
        let covered = if self.metrics == 0 {
            "–".into()
        } else {
            format!(
                "{:.0} % ({})",
                100.0 * self.inside as f64 / self.metrics as f64,
                self.metrics
            )
        };
        format!(
            "{}|{}|{}|{}|{covered}",
            self.experiments,
            self.runs,
            cell(&self.decode),
            cell(&self.ttft)
        )
    }
}

/// Devices, in order of first appearance.
fn devices(sets: &[Set]) -> Vec<&str> {
    let mut all: Vec<&str> = vec![];
    for s in sets {
        if !all.contains(&s.device.as_str()) {
            all.push(&s.device);
        }
    }
    all
}

/// The few lines that matter most.
pub fn headline(sets: &[Set], a: &Accuracy) -> String {
    let mut o = String::new();
    for device in devices(sets) {
        let runs: Vec<&ScoredRun> = predicted(a)
            .into_iter()
            .filter(|r| sets[r.file].device == device)
            .collect();
        let t = Tally::of(runs.iter().copied());
        let (d, db) = medians(&t.decode);
        let (p, pb) = medians(&t.ttft);
        let doubtful = runs.iter().filter(|r| r.doubt.is_some()).count();
        let _ = writeln!(
            o,
            "{device}: {} runs of {} experiments predicted; median |error| of decode throughput {:.1} % (bias {:+.1} %, {} runs), of \
             TTFT {:.1} % (bias {:+.1} %, {} runs); {} of {} metrics ({:.0} %) in their 90 % interval{}",
            t.runs,
            t.experiments,
            100.0 * d,
            100.0 * db,
            t.decode.len(),
            100.0 * p,
            100.0 * pb,
            t.ttft.len(),
            t.inside,
            t.metrics,
            100.0 * t.inside as f64 / t.metrics.max(1) as f64,
            match doubtful {
                0 => String::new(),
                n => format!("; {n} of the runs not strictly blind (†)"),
            },
        );
    }
    o
}

/// Batch sizes that a reader tells apart.
fn load(r: &ScoredRun) -> &'static str {
    BatchClass::of(r.batch).words()
}

const HEADER: &str = "class|experiments|runs|decode: median abs. error (runs)|bias|TTFT: median abs. error (runs)|bias|in the \
                      90 % interval (metrics)\n---|---|---|---|---|---|---|---\n";

fn by(o: &mut String, title: &str, runs: &[&ScoredRun], class: impl Fn(&ScoredRun) -> String) {
    let mut classes: BTreeMap<String, Vec<&ScoredRun>> = BTreeMap::new();
    for r in runs {
        classes.entry(class(r)).or_default().push(r);
    }
    let _ = write!(o, "\n### {title}\n\n{HEADER}");
    for (name, runs) in classes {
        let _ = writeln!(o, "{name}|{}", Tally::of(runs).cells());
    }
}

/// A page of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Its file's name without `.md`; that of the front page is empty.
    pub name: String,
    /// Markdown.
    pub text: String,
}

/// A device's name as a file's.
fn slug(device: &str) -> String {
    let plain: String = device
        .chars()
        .map(|c| match c.is_ascii_alphanumeric() {
            true => c.to_ascii_lowercase(),
            false => '-',
        })
        .collect();
    let words: Vec<&str> = plain.split('-').filter(|w| !w.is_empty()).collect();
    words.join("-")
}

const BACK: &str = "Written by `capsim validate --all`; do not edit. [All devices](../accuracy.md)";

/// The whole report: a front page, one per device, and one that says what was fitted. `folder` is the pages' folder, seen from the
/// front page.
pub fn pages(
    manifest: &Manifest,
    sets: &[Set],
    a: &Accuracy,
    unusable: &[Unusable],
    sections: &[recorded::Section],
    folder: &str,
) -> Vec<Page> {
    let all = predicted(a);
    let mut fits = format!("# What was fitted on what, and what was not simulated\n\n{BACK}\n");
    fitted(&mut fits, manifest, a);
    not_simulated(&mut fits, a, unusable);
    let mut pages = vec![
        Page {
            name: String::new(),
            text: front(sets, a, &all, folder),
        },
        Page {
            name: "fits".into(),
            text: fits,
        },
    ];
    for device in devices(sets) {
        let mut text = format!("# Accuracy on {device}\n\n{BACK}\n\n");
        for line in headline(sets, a).lines() {
            if let Some(figures) = line.strip_prefix(&format!("{device}: ")) {
                let _ = writeln!(text, "{figures}. † not strictly blind.");
            }
        }
        worst(&mut text, device, sets, &all);
        let own = sections.iter().filter(|s| s.about.device == device);
        recorded::sections(&mut text, a, own);
        everything(&mut text, device, sets, a);
        pages.push(Page {
            name: slug(device),
            text,
        });
    }
    pages
}

fn front(sets: &[Set], a: &Accuracy, all: &[&ScoredRun], folder: &str) -> String {
    let mut o = String::from(
        "# Accuracy\n\nWritten by `capsim validate --all`; do not edit. Public measurements in, public runs predicted, every error \
         listed: one page per device.\n\n",
    );
    for line in headline(sets, a).lines() {
        let (device, figures) = line.split_once(": ").unwrap_or((line, ""));
        let _ = writeln!(o, "- [{device}]({folder}/{}.md): {figures}", slug(device));
    }
    let _ = write!(
        o,
        "\nAn error is predicted / measured − 1. Decoding is counted as a rate (output tokens per second, or the inverse of TPOT or \
         of the inter-token latency), once per run; TTFT as a time. A run is *fitted*, *beside* (another part of a fitted \
         experiment; counted nowhere), *disturbed* (something else happened on the server, as was noted when it was recorded; counted \
         nowhere) or *predicted*; no run is two of these. An experiment is one published measurement; \
         llama-bench tables and depth curves give several runs each; repetitions of a load are one. [What was fitted on what, and \
         what was not simulated]({folder}/fits.md). [The same with nothing fitted or chosen on a run's own source](reselected.md).\n\n† Not strictly blind: \
         something about this very run was chosen with its data in hand; its device's page says what. The priors of the gfx1151 \
         profiles, and the choice of the experiments that they are fitted to, were made with that collection known.\n\n## By class, \
         predicted runs only\n",
    );
    by_class(&mut o, sets, all);
    intervals::section(&mut o, a, |file| place(&sets[file]));
    o
}

fn by_class(o: &mut String, sets: &[Set], all: &[&ScoredRun]) {
    by(o, "Engine", all, |r| sets[r.file].engine.into());
    by(o, "Model", all, |r| {
        if r.moe { "mixture of experts" } else { "dense" }.into()
    });
    by(o, "Device", all, |r| sets[r.file].device.clone());
    by(o, "Load", all, |r| load(r).into());
    by(o, "Profile", all, |r| sets[r.file].profile.clone());
    by(o, "Settings", all, |r| {
        if r.inferred.is_some() {
            "partly unknown; the hypothesis that the run's own data prefer"
        } else {
            "as recorded"
        }
        .into()
    });
    by(o, "Blindness", all, |r| {
        if r.doubt.is_some() {
            "not strictly blind (†)"
        } else {
            "nothing chosen with the run's data"
        }
        .into()
    });
    by(o, "Source", all, |r| r.group.clone());
}

/// The coefficients of every profile, before and after, and the experiments that moved them.
fn fitted(o: &mut String, manifest: &Manifest, a: &Accuracy) {
    o.push_str("\n## What was fitted on what\n\nAt most one experiment per kernel path; no coefficient is moved by two; every path has other experiments that are \
                predicted (checked by the command). Coefficients, before and after:\n");
    for (p, plan) in a.profiles.iter().zip(&manifest.profiles) {
        let _ = writeln!(o, "\n### {}\n", p.id);
        if plan.paths.is_empty() {
            o.push_str("Nothing: predicted from its prior.\n");
        }
        for path in &plan.paths {
            let _ = writeln!(
                o,
                "- path *{}*: `{}`{}, moving {}",
                path.path,
                path.experiment,
                path.runs
                    .as_ref()
                    .map_or(String::new(), |r| format!(" ({})", r.join(", "))),
                path.moves
                    .iter()
                    .map(|m| format!("`{m}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            );
        }
        if let Some(f) = &p.fit {
            let _ = writeln!(
                o,
                "- largest remaining error on a fitted figure {:.1} %\n\ncoefficient|prior|fitted\n---|---|---",
                100.0 * f.worst_residual
            );
            for c in &f.changes {
                change(o, c);
            }
        }
    }
}

/// A line of the table of coefficients.
fn change(o: &mut String, c: &Change) {
    let show = |v: f64| {
        if c.name.ends_with(".fill") {
            format!("{v:.0}")
        } else if c.name.starts_with("host.") {
            format!("{:.3} ms", 1e3 * v)
        } else {
            format!("{v:.3}")
        }
    };
    let _ = writeln!(
        o,
        "`{}`|{} ± {:.0} %|{} ± {:.0} %",
        c.name,
        show(c.before),
        100.0 * c.rel_sd_before,
        show(c.after),
        100.0 * c.rel_sd_after
    );
}

fn not_simulated(o: &mut String, a: &Accuracy, unusable: &[Unusable]) {
    o.push_str("\n## Not simulated\n\nexperiment|why|source\n---|---|---\n");
    for u in unusable {
        let _ = writeln!(o, "{}|{}|{}", u.experiment, u.reason, link(&u.source));
    }
    for (id, why) in &a.failed {
        let _ = writeln!(o, "{id}|{}|–", why.replace('\n', " "));
    }
}

fn link(source: &str) -> String {
    if source.starts_with("https://") {
        format!("<{source}>")
    } else {
        source.to_string()
    }
}

fn worst(o: &mut String, device: &str, sets: &[Set], all: &[&ScoredRun]) {
    let mut list: Vec<(&ScoredRun, usize)> = all
        .iter()
        .filter(|r| sets[r.file].device == device)
        .filter_map(|r| {
            let at = (0..r.metrics.len()).max_by(|x, y| {
                r.metrics[*x]
                    .log_error
                    .abs()
                    .total_cmp(&r.metrics[*y].log_error.abs())
            })?;
            Some((*r, at))
        })
        .collect();
    if list.is_empty() {
        return;
    }
    let _ = write!(
        o,
        "\n## The ten worst experiments on {device}\n\nBy their largest error, whatever the sign; each experiment once.\n\n\
         run|profile|metric|measured|predicted|error|diagnosis\n---|---|---|---|---|---|---\n"
    );
    list.sort_by(|x, y| {
        let size = |(r, m): &(&ScoredRun, usize)| r.metrics[*m].log_error.abs();
        size(y)
            .total_cmp(&size(x))
            .then_with(|| x.0.id.cmp(&y.0.id))
    });
    let mut seen = BTreeSet::new();
    for (r, m) in list
        .into_iter()
        .filter(|(r, _)| seen.insert(r.experiment.clone()))
        .take(10)
    {
        let m = &r.metrics[m];
        let _ = writeln!(
            o,
            "{}{}|{}|{}|{}|{}|{:+.0} %|{}",
            r.id,
            dagger(r),
            sets[r.file].profile,
            m.metric,
            three(m.measured),
            three(m.predicted),
            100.0 * m.error(),
            r.diagnosis.as_deref().unwrap_or("none yet")
        );
    }
}

fn dagger(r: &ScoredRun) -> &'static str {
    if r.doubt.is_some() && r.role == Role::Predicted {
        " †"
    } else {
        ""
    }
}

fn everything(o: &mut String, device: &str, sets: &[Set], a: &Accuracy) {
    o.push_str("\n## Every run\n\nIntervals are 90 %; • marks a measured value outside.\n");
    for (i, file) in sets.iter().enumerate() {
        let runs: Vec<&ScoredRun> = a.runs.iter().filter(|r| r.file == i).collect();
        if runs.is_empty() || file.device != device {
            continue;
        }
        let _ = write!(
            o,
            "\n### {}\n\nrun|role|metric|measured|predicted|error|interval\n---|---|---|---|---|---|---\n",
            file.name
        );
        for r in runs {
            let role = match r.role {
                Role::Fitted => "fitted",
                Role::Beside => "beside",
                Role::Disturbed => "disturbed",
                Role::Predicted => "predicted",
            };
            for (j, m) in r.metrics.iter().enumerate() {
                let id = match (&r.inferred, j) {
                    (_, 1..) => String::new(),
                    (Some(words), _) => format!("{} (supposing {words})", r.id),
                    (None, _) => r.id.clone(),
                };
                let _ = writeln!(
                    o,
                    "{id}|{}{}|{}|{}|{}|{:+.1} %|{} … {}{}",
                    if j == 0 { role } else { "" },
                    if j == 0 { dagger(r) } else { "" },
                    m.metric,
                    three(m.measured),
                    three(m.predicted),
                    100.0 * m.error(),
                    three(m.interval.low),
                    three(m.interval.high),
                    if m.inside || r.role != Role::Predicted {
                        ""
                    } else {
                        " •"
                    }
                );
            }
        }
    }
}

//! The report's sections on comparisons that are kept as figures.
use super::table::three;
use crate::validate::accuracy::{Accuracy, Role};
use crate::validate::manifest::RecordedSet;
use capsim::device::EngineProfile;
use std::fmt::Write as _;

/// One of them.
#[derive(Clone, Debug)]
pub struct Section {
    /// Number of its set in the report.
    pub set: usize,
    /// What the manifest says.
    pub about: RecordedSet,
    /// When the figures were computed.
    pub date: String,
    /// Coefficients that a fit moved: name, before, after.
    pub moved: Vec<(String, f64, f64)>,
    /// Where the requests lie elsewhere: whether they were found.
    pub found: Option<bool>,
    /// Figures that were found recorded and are not those computed now: run, metric, recorded, now.
    pub changed: Vec<(String, String, f64, f64)>,
}

/// Coefficients whose values differ.
pub fn moved(prior: &EngineProfile, fitted: &EngineProfile) -> Vec<(String, f64, f64)> {
    let before = prior.coefficients();
    fitted
        .coefficients()
        .into_iter()
        .filter_map(|(name, q)| {
            let (_, p) = before.iter().find(|(n, _)| *n == name)?;
            // Written with a few digits, read again: an unchanged value may differ in the last one.
            let same = (q.value / p.value - 1.0).abs() < 1e-6;
            (!same).then_some((name, p.value, q.value))
        })
        .collect()
}

fn value(name: &str, v: f64) -> String {
    if name.starts_with("host.") {
        format!("{:.3} ms", 1e3 * v)
    } else {
        format!("{v:.3}")
    }
}

/// Sections, one after the other.
pub fn sections<'a>(o: &mut String, a: &Accuracy, sections: impl Iterator<Item = &'a Section>) {
    for s in sections {
        let _ = writeln!(o, "\n## {}\n\n{}", s.about.name, s.about.note);
        let _ = writeln!(
            o,
            "\n- Figures of {} UTC, in `validation/{}`.",
            s.date, s.about.figures
        );
        let fitted: Vec<String> = a
            .runs
            .iter()
            .filter(|r| r.file == s.set && r.role == Role::Fitted)
            .map(|r| format!("`{}`", r.id))
            .collect();
        if fitted.is_empty() {
            o.push_str("- Nothing was fitted to these runs.\n");
        } else {
            let _ = writeln!(
                o,
                "- Fitted to {}; all others predicted.",
                fitted.join(", ")
            );
        }
        if let Some(doubt) = &s.about.doubt {
            let _ = writeln!(o, "- † {doubt}.");
        }
        match s.found {
            None => {}
            Some(false) => o.push_str(
                "- **The requests of these runs are absent here** (they may not be copied into this project; `CAPSIM_SHARED` names the \
                 folder that holds them): the figures are those recorded on that date, not computed anew.\n",
            ),
            Some(true) if s.changed.is_empty() => o.push_str(
                "- The requests of these runs were found: computed anew, the figures are those recorded.\n",
            ),
            Some(true) => {
                o.push_str(
                    "- The requests of these runs were found. Computed anew, and counted here, the figures are not those recorded:\n\n\
                     run|metric|recorded|now\n---|---|---|---\n",
                );
                for (run, metric, recorded, now) in &s.changed {
                    let _ = writeln!(o, "{run}|{metric}|{}|{}", three(*recorded), three(*now));
                }
            }
        }
        if !s.moved.is_empty() {
            o.push_str("\ncoefficient|prior|fitted\n---|---|---\n");
            for (name, before, after) in &s.moved {
                let _ = writeln!(
                    o,
                    "`{name}`|{}|{}",
                    value(name, *before),
                    value(name, *after)
                );
            }
        }
    }
}

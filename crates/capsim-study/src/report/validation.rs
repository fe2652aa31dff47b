//! Measured beside predicted.
use super::table::{WIDTH, three, with_header, wrap};
use crate::validate::compare::{Candidate, NotPredicted, RunComparison};
use crate::validate::fit::Fit;
use crate::validate::hypothesis::{AS_RECORDED, Basis};
use crate::validate::runs::RunsFile;
use capsim::metrics::{Latency, Metric, MetricName};
use std::fmt::Write as _;

const COLUMNS: [&str; 6] = [
    "metric",
    "measured",
    "predicted",
    "error",
    "90 % interval",
    "verdict",
];

fn rows(c: &Candidate, judged: bool) -> Vec<[String; 6]> {
    c.metrics
        .iter()
        .map(|m| {
            let interval = m.interval.map_or("–".into(), |i| {
                format!(
                    "{} … {}{}",
                    three(i.low),
                    three(i.high),
                    if m.inside() == Some(true) {
                        ""
                    } else {
                        " (outside)"
                    }
                )
            });
            let verdict = match m.agrees() {
                _ if !judged => "fitted",
                None => "–",
                Some(true) => "agrees",
                Some(false) => "OFF",
            };
            [
                m.metric.to_string(),
                three(m.measured),
                three(m.predicted),
                format!("{:+.1} %", 100.0 * m.error),
                interval,
                verdict.into(),
            ]
        })
        .collect()
}

/// Errors of predicted runs, for the closing lines.
struct Tally {
    judged: usize,
    agree: usize,
    covered: usize,
    intervals: usize,
    worst: Option<(String, String, f64)>,
    mean_abs: f64,
}

fn tally(runs: &[RunComparison]) -> Tally {
    let mut t = Tally {
        judged: 0,
        agree: 0,
        covered: 0,
        intervals: 0,
        worst: None,
        mean_abs: 0.0,
    };
    for r in runs.iter().filter(|r| !r.fitted) {
        for m in &r.preferred().metrics {
            if let Some(inside) = m.inside() {
                t.intervals += 1;
                t.covered += usize::from(inside);
            }
            if let Some(ok) = m.agrees() {
                t.judged += 1;
                t.agree += usize::from(ok);
                t.mean_abs += m.error.abs();
                if t.worst
                    .as_ref()
                    .is_none_or(|(_, _, e)| m.error.abs() > e.abs())
                {
                    t.worst = Some((r.id.clone(), m.metric.to_string(), m.error));
                }
            }
        }
    }
    t.mean_abs /= t.judged.max(1) as f64;
    t
}

fn closing(runs: &[RunComparison]) -> String {
    let t = tally(runs);
    let mut o = String::new();
    let predicted = runs.iter().filter(|r| !r.fitted).count();
    let counts = format!(
        "{} of {} means and throughputs of {predicted} predicted runs agree; mean |error| {:.1} %; {} of {} measured values lie \
         in their 90 % interval.",
        t.agree,
        t.judged,
        100.0 * t.mean_abs,
        t.covered,
        t.intervals
    );
    let _ = writeln!(o, "{}", wrap(&counts, 80, ""));
    if let Some((run, metric, e)) = t.worst {
        let _ = writeln!(o, "Largest error: {metric} of {run}, {:+.1} %.", 100.0 * e);
    }
    let counted: Vec<bool> = runs
        .iter()
        .flat_map(|r| &r.preferred().counters)
        .map(|(_, recorded, simulated)| recorded == simulated)
        .collect();
    if !counted.is_empty() {
        let exact = counted.iter().filter(|c| **c).count();
        let _ = writeln!(
            o,
            "{exact} of {} server counters are met exactly.",
            counted.len()
        );
    }
    if predicted >= MANY {
        let mut t = with_header(&BY_METRIC);
        for row in by_metric(runs) {
            t.add_row(row);
        }
        let _ = writeln!(o, "\n{t}\n");
    }
    o
}

pub(super) fn fit_lines(fit: &Fit) -> String {
    let mut o = String::new();
    let names: Vec<&str> = fit
        .profile
        .fit
        .iter()
        .flat_map(|f| f.runs.iter().map(String::as_str))
        .collect();
    let title = format!(
        "Engine profile fitted to {} (never counted as predicted); remaining error there {:.2} %:",
        names.join(", "),
        100.0 * fit.worst_residual
    );
    let _ = writeln!(o, "{}", wrap(&title, 80, ""));
    for c in fit.changes.iter().filter(|c| {
        (c.after / c.before - 1.0).abs() > 0.002 || c.rel_sd_after < 0.95 * c.rel_sd_before
    }) {
        let show = |v: f64| {
            if v < 0.01 {
                format!("{:.3} ms", 1e3 * v)
            } else {
                format!("{v:.3}")
            }
        };
        let _ = writeln!(
            o,
            "  {:<38} {} ± {:.0} % → {} ± {:.0} %",
            c.name,
            show(c.before),
            100.0 * c.rel_sd_before,
            show(c.after),
            100.0 * c.rel_sd_after
        );
    }
    o
}

fn supposed(c: &Candidate) -> String {
    if c.hypothesis.words == AS_RECORDED {
        AS_RECORDED.into()
    } else {
        format!("supposing {}", c.hypothesis.words)
    }
}

/// What the other hypotheses would give, one line each.
fn others(r: &RunComparison) -> Vec<String> {
    r.candidates[1..]
        .iter()
        .map(|c| {
            let m = c
                .metrics
                .iter()
                .find(|m| m.metric.is_recorded(Metric::mean(Latency::E2el)))
                .or(c.metrics.first());
            format!(
                "{}: {}, misfit {:.1} %",
                supposed(c),
                m.map_or(String::new(), |m| format!(
                    "{} {:+.1} %",
                    m.metric,
                    100.0 * m.error
                )),
                100.0 * c.misfit
            )
        })
        .collect()
}

/// The counters of a run beside the simulated ones.
fn counters(c: &Candidate) -> Option<String> {
    let words: Vec<String> = c
        .counters
        .iter()
        .map(|(name, recorded, simulated)| {
            if recorded == simulated {
                format!("{name} {recorded}")
            } else {
                format!("{name} {recorded}, simulated {simulated} (OFF)")
            }
        })
        .collect();
    (!words.is_empty()).then(|| format!("counters: {}", words.join("; ")))
}

/// Errors of predicted runs by metric: how many, median |error|, mean error (bias), largest, coverage.
fn by_metric(runs: &[RunComparison]) -> Vec<[String; 6]> {
    let mut all = std::collections::BTreeMap::<&MetricName, Vec<(f64, Option<bool>)>>::new();
    for r in runs.iter().filter(|r| !r.fitted) {
        for m in &r.preferred().metrics {
            all.entry(&m.metric)
                .or_default()
                .push((m.error, m.inside()));
        }
    }
    all.into_iter()
        .map(|(metric, errors)| {
            let mut sizes: Vec<f64> = errors.iter().map(|(e, _)| e.abs()).collect();
            sizes.sort_by(f64::total_cmp);
            let bias = errors.iter().map(|(e, _)| e).sum::<f64>() / errors.len() as f64;
            let known: Vec<bool> = errors.iter().filter_map(|(_, i)| *i).collect();
            [
                metric.to_string(),
                errors.len().to_string(),
                format!("{:.1} %", 100.0 * capsim::stats::percentile(&sizes, 50.0)),
                format!("{:+.1} %", 100.0 * bias),
                format!("{:.1} %", 100.0 * sizes[sizes.len() - 1]),
                if known.is_empty() {
                    "–".into()
                } else {
                    format!("{}/{}", known.iter().filter(|i| **i).count(), known.len())
                },
            ]
        })
        .collect()
}

const BY_METRIC: [&str; 6] = [
    "metric",
    "runs",
    "median |error|",
    "bias",
    "largest",
    "in interval",
];

/// Runs from which on a table by metric says more than the runs one by one.
const MANY: usize = 6;

/// A line per run: errors of the means that people look at.
pub fn summary(runs: &[RunComparison]) -> String {
    const SHOWN: [(Metric, &str); 4] = [
        (Metric::OutputThroughput, "tok/s"),
        (Metric::mean(Latency::Ttft), "TTFT"),
        (Metric::mean(Latency::Tpot), "TPOT"),
        (Metric::mean(Latency::E2el), "E2EL"),
    ];
    let mut header = vec!["run"];
    header.extend(SHOWN.iter().map(|(_, short)| *short));
    header.push("counters");
    let mut t = with_header(&header);
    for r in runs {
        let best = r.preferred();
        let mut row = vec![format!(
            "{}{}",
            r.id,
            if r.fitted { " (fitted)" } else { "" }
        )];
        for (metric, _) in SHOWN {
            let m = best.metrics.iter().find(|m| m.metric.is_recorded(metric));
            row.push(m.map_or("–".into(), |m| format!("{:+.1} %", 100.0 * m.error)));
        }
        let off = best.counters.iter().filter(|(_, a, b)| a != b).count();
        row.push(match (best.counters.len(), off) {
            (0, _) => "–".into(),
            (_, 0) => "exact".into(),
            (n, off) => format!("{off} of {n} off"),
        });
        t.add_row(row);
    }
    format!("{t}\n\n{}", closing(runs))
}

/// For the terminal.
pub fn text(file: &RunsFile, basis: &Basis, fit: Option<&Fit>, runs: &[RunComparison]) -> String {
    let mut o = String::new();
    let _ = writeln!(
        o,
        "{}\n{}\n",
        file.name,
        wrap(&format!("source: {}", file.source), 78, "  ")
    );
    if let Some(f) = fit {
        o.push_str(&fit_lines(f));
        o.push('\n');
    }
    let mut outside = false;
    for fitted in [true, false] {
        for r in runs.iter().filter(|r| r.fitted == fitted) {
            let best = r.preferred();
            let _ = writeln!(
                o,
                "{}{}",
                r.id,
                if fitted {
                    "   (fitted, not a prediction)"
                } else {
                    ""
                }
            );
            let _ = writeln!(o, "  {}", wrap(&supposed(best), 76, "  "));
            let mut t = with_header(&COLUMNS);
            for mut row in rows(best, !fitted) {
                let [.., interval, verdict] = &mut row;
                *interval = interval.replace(" … ", "–");
                if let Some(inner) = interval.strip_suffix(" (outside)") {
                    *interval = inner.into();
                    verdict.push_str(" *");
                    outside = true;
                }
                t.add_row(row);
            }
            t.set_width(WIDTH - 2);
            for l in t.to_string().lines() {
                let _ = writeln!(o, "  {}", l.trim_end());
            }
            if let Some(line) = counters(best) {
                let _ = writeln!(o, "  {}", wrap(&line, 76, "    "));
            }
            for line in others(r) {
                let _ = writeln!(o, "  else {}", wrap(&line, 71, "       "));
            }
            o.push('\n');
        }
    }
    if outside {
        o.push_str("* measured outside the 90 % interval\n\n");
    }
    o.push_str(&closing(runs));
    let _ = writeln!(
        o,
        "{}",
        wrap(
            &format!(
                "Device profile {} ({}), engine profile {} ({}). Where a run's settings were not recorded, the hypothesis that \
                 the data prefer was chosen with the data in hand: see `capsim explain`.",
                basis.device.id,
                basis.device.provenance.origin.word(),
                basis.engine.id,
                basis.engine.provenance.origin.word()
            ),
            78,
            ""
        )
    );
    o
}

/// As a document.
pub fn markdown(
    file: &RunsFile,
    basis: &Basis,
    fit: Option<&Fit>,
    runs: &[RunComparison],
) -> String {
    let mut o = String::new();
    let _ = writeln!(
        o,
        "# {}\n\nSource: {}. Device profile `{}`, engine profile `{}`.\n",
        file.name, file.source, basis.device.id, basis.engine.id
    );
    if let Some(f) = fit {
        let _ = writeln!(o, "```text\n{}```\n", fit_lines(f));
    }
    for r in runs {
        let best = r.preferred();
        let _ = writeln!(
            o,
            "## {}{}\n\n{}.\n",
            r.id,
            if r.fitted {
                " (fitted, not a prediction)"
            } else {
                ""
            },
            supposed(best)
        );
        let _ = writeln!(
            o,
            "| {} |\n|{}",
            COLUMNS.join(" | "),
            " --- |".repeat(COLUMNS.len())
        );
        for row in rows(best, !r.fitted) {
            let _ = writeln!(o, "| {} |", row.join(" | "));
        }
        if let Some(line) = counters(best) {
            let _ = writeln!(o, "\n{line}.");
        }
        for line in others(r) {
            let _ = writeln!(o, "\nElse {line}.");
        }
        o.push('\n');
    }
    o.push_str(&closing(runs));
    o
}

/// Runs that could not be predicted, a line each; empty if there is none.
pub fn not_predicted(all: &[NotPredicted]) -> String {
    all.iter().fold(String::new(), |mut o, n| {
        let _ = writeln!(o, "not predicted: {}: {}", n.id, n.problem);
        o
    })
}

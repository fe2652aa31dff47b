//! An answer beside what its server does.
use super::capacity::{labelled, value};
use super::table::{WIDTH, left, three, with_header, wrap};
use crate::validate::verified::{TermPair, Verified};
use capsim::metrics::{Latency, Metric};
use std::fmt::Write as _;

/// Figures shown below the conditions of the SLO.
const BESIDE: [(&str, Metric); 2] = [
    ("output tok/s", Metric::OutputThroughput),
    ("E2EL ms", Metric::mean(Latency::E2el)),
];

fn condition(t: &TermPair) -> [String; 5] {
    let verdict = |v: f64| match t.term.margin_of(v) <= 1.0 {
        true => value(&t.term, v),
        false => format!("{} !", value(&t.term, v)),
    };
    [
        t.term.to_string(),
        verdict(t.measured),
        verdict(t.predicted),
        format!("{:+.1} %", 100.0 * (t.predicted / t.measured - 1.0)),
        t.interval.map_or("–".into(), |i| {
            format!("{} … {}", value(&t.term, i.low), value(&t.term, i.high))
        }),
    ]
}

/// One run's rows.
fn rows(v: &Verified) -> Vec<[String; 6]> {
    let mut all: Vec<[String; 5]> = v.terms.iter().map(condition).collect();
    for (name, metric) in BESIDE {
        if let Some(m) = v
            .paired
            .metrics
            .iter()
            .find(|m| m.metric.metric() == metric)
        {
            all.push([
                name.into(),
                three(m.measured),
                three(m.predicted),
                format!("{:+.1} %", 100.0 * m.error),
                m.interval.map_or("–".into(), |i| {
                    format!("{} … {}", three(i.low), three(i.high))
                }),
            ]);
        }
    }
    all.into_iter()
        .enumerate()
        .map(|(i, [a, b, c, d, e])| {
            let what = if i == 0 {
                v.what.clone()
            } else {
                String::new()
            };
            [what, a, b, c, d, e]
        })
        .collect()
}

/// What the runs say of the SLO, in one sentence each where they differ.
fn verdict(all: &[Verified]) -> String {
    let with_slo = all.iter().any(|v| !v.terms.is_empty());
    if !with_slo {
        return "there is no SLO to hold; see the errors above".into();
    }
    let apart: Vec<&Verified> = all.iter().filter(|v| !v.agrees()).collect();
    if apart.is_empty() {
        return format!(
            "as predicted: the SLO holds at {} and breaks at {}",
            named(all, true),
            named(all, false)
        );
    }
    let one = |v: &&Verified| match v.met {
        true => format!(
            "{}: the server meets the SLO, which the prediction did not expect",
            v.what
        ),
        false => format!(
            "{}: the prediction meets the SLO, the server does not",
            v.what
        ),
    };
    let sentences: Vec<String> = apart.iter().map(one).collect();
    format!("NOT AS PREDICTED. {}", sentences.join(". "))
}

fn named(all: &[Verified], met: bool) -> String {
    let names: Vec<&str> = all
        .iter()
        .filter(|v| v.met == met)
        .map(|v| v.what.as_str())
        .collect();
    match names.is_empty() {
        true => "none of those measured".into(),
        false => names.join(", "),
    }
}

/// For the terminal.
pub fn text(url: &str, all: &[Verified]) -> String {
    let title = format!(
        "Measured at {url}, each run beside the simulation of its very requests (! misses the SLO)"
    );
    let mut o = format!("\n{}\n\n", wrap(&title, 80, ""));
    let header = [
        "run",
        "figure",
        "measured",
        "predicted",
        "error",
        "90 % interval",
    ];
    let mut t = with_header(&header);
    for v in all {
        for row in rows(v) {
            t.add_row(row);
        }
    }
    let mut t = left(t, &[1]);
    t.set_width(WIDTH);
    for l in t.to_string().lines() {
        let _ = writeln!(o, "{}", l.trim_end());
    }
    o.push('\n');
    o.push_str(&labelled("Verdict", &verdict(all)));
    for v in all {
        o.push_str(&labelled(
            "Differs",
            &format!("{}: {}", v.what, v.paired.blame),
        ));
    }
    let mut said: Vec<&str> = vec![];
    for v in all {
        for note in &v.paired.notes {
            if !said.contains(&note.as_str()) {
                said.push(note);
                o.push_str(&labelled("Note", note));
            }
        }
    }
    o
}

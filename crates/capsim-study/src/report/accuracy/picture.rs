//! The picture of docs/accuracy.md: measured against predicted.
use super::{Set, predicted};
use crate::report::frame::{Axis, Dot, Frame, INK, SOFT, heading, key, page, text};
use crate::validate::accuracy::{Accuracy, ScoredRun};
use capsim::device::Phase;
use capsim::metrics::{Latency, Metric};
use std::fmt::Write as _;

/// Width and height of a panel, and its upper edge.
const SIDE: f64 = 344.0;
const TOP: f64 = 40.0;

const COLOURS: [(&str, &str); 4] = [
    ("vLLM", "#134a78"),
    ("llama.cpp", "#b5532a"),
    ("SGLang", "#3d7a3a"),
    ("Ollama", "#7a4a8a"),
];

/// Measured against predicted, both logarithmic: decoding left, TTFT right. Dots are predicted runs.
pub fn svg(sets: &[Set], a: &Accuracy) -> String {
    let (width, height) = (860.0, 452.0);
    let mut o = page(
        width,
        height,
        13,
        "Predicted against measured, runs that were not fitted",
    );
    for (i, (name, colour)) in COLOURS.iter().enumerate() {
        key(&mut o, (40.0 + 110.0 * i as f64, 440.5), colour, name);
    }
    text(
        &mut o,
        (830.0, 440.5),
        "end",
        SOFT,
        "bands: ±10 % and ±20 %",
    );
    for (kind, left, decades, title) in [
        (Phase::Decode, 56.0, (0, 4), "Decoding, tokens per second"),
        (Phase::Prefill, 486.0, (1, 6), "Time to first token, ms"),
    ] {
        let axis = Axis::Decades(decades.0, decades.1);
        let frame = Frame {
            left,
            top: TOP,
            width: SIDE,
            height: SIDE,
            x: axis,
            y: axis,
        };
        panel(&mut o, &frame, decades, title);
        dots(&mut o, &frame, sets, a, kind);
    }
    o.push_str("</svg>\n");
    o
}

/// The values of a run that a panel compares: tokens per second, or milliseconds; `None`: it has none.
fn values(r: &ScoredRun, kind: Phase) -> Option<(f64, f64)> {
    match kind {
        Phase::Prefill => {
            let ttft = [Metric::mean(Latency::Ttft), Metric::median(Latency::Ttft)];
            let m = r
                .metrics
                .iter()
                .find(|m| ttft.iter().any(|t| m.metric.is_recorded(*t)))?;
            Some((m.measured, m.predicted))
        }
        Phase::Decode => {
            let (metric, _) = r.decode()?;
            let m = r.of(metric)?;
            if metric.is_throughput() {
                Some((m.measured, m.predicted))
            } else if metric.latency() == Some(Latency::E2el) {
                None
            } else {
                Some((1e3 / m.measured, 1e3 / m.predicted))
            }
        }
    }
}

/// Title, bands, decades and the line on which predictions are exact.
fn panel(o: &mut String, f: &Frame, decades: (i32, i32), title: &str) {
    let (low, high) = (
        libm::pow(10.0, decades.0.into()),
        libm::pow(10.0, decades.1.into()),
    );
    heading(o, f.left, title);
    for (band, colour) in [(1.2, "#eef4fa"), (1.1, "#dcebf7")] {
        let corners = [
            (low, low),
            (low, low * band),
            (high / band, high),
            (high, high),
            (high, high / band),
            (low * band, low),
        ];
        let points: Vec<String> = corners
            .iter()
            .map(|(x, y)| format!("{:.1},{:.1}", f.px(*x), f.py(*y)))
            .collect();
        let _ = writeln!(
            o,
            "<polygon points=\"{}\" fill=\"{colour}\"/>",
            points.join(" ")
        );
    }
    f.columns(o, &|v| v.to_string());
    f.rows(o, &|v| v.to_string());
    f.line(o, (low, low), (high, high), INK);
    text(o, (f.right(), f.bottom() + 34.0), "end", SOFT, "measured");
    text(o, (f.left, f.top - 4.0), "start", SOFT, "predicted");
}

/// A dot for each predicted run.
fn dots(o: &mut String, f: &Frame, sets: &[Set], a: &Accuracy, kind: Phase) {
    for r in predicted(a) {
        let Some(at) = values(r, kind) else {
            continue;
        };
        let name = sets[r.file].engine;
        let colour = COLOURS
            .iter()
            .find(|(n, _)| *n == name)
            .map_or(SOFT, |c| c.1);
        let dot = Dot {
            radius: 3.0,
            colour,
            opacity: 0.55,
            words: None,
        };
        f.dot(o, at, dot);
    }
}

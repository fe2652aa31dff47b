//! The picture of docs/accuracy.md: measured against predicted.
use super::{Set, predicted};
use crate::validate::accuracy::{Accuracy, Kind, ScoredRun};
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
    let mut o = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"system-ui, \
         sans-serif\" font-size=\"13\">\n<title>Predicted against measured, runs that were not fitted</title>\n<rect \
         width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (i, (name, colour)) in COLOURS.iter().enumerate() {
        let x = 40.0 + 110.0 * i as f64;
        let _ = writeln!(
            o,
            "<circle cx=\"{x}\" cy=\"436\" r=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"440.5\" fill=\"#1a1a1a\">{name}</text>",
            x + 10.0
        );
    }
    o.push_str("<text x=\"830\" y=\"440.5\" text-anchor=\"end\" fill=\"#555555\">bands: ±10 % and ±20 %</text>\n");
    for (kind, left, decades, title) in [
        (Kind::Decode, 56.0, (0, 4), "Decoding, tokens per second"),
        (Kind::Prefill, 486.0, (1, 6), "Time to first token, ms"),
    ] {
        let panel = Panel { left, decades };
        panel.frame(&mut o, title);
        panel.dots(&mut o, sets, a, kind);
    }
    o.push_str("</svg>\n");
    o
}

/// The values of a run that a panel compares: tokens per second, or milliseconds; `None`: it has none.
fn values(r: &ScoredRun, kind: Kind) -> Option<(f64, f64)> {
    match kind {
        Kind::Prefill => {
            let ttft = [Metric::mean(Latency::Ttft), Metric::median(Latency::Ttft)];
            let m = r
                .metrics
                .iter()
                .find(|m| ttft.iter().any(|t| m.metric.is_recorded(*t)))?;
            Some((m.measured, m.predicted))
        }
        Kind::Decode => {
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

/// A square with logarithmic axes.
struct Panel {
    left: f64,
    /// Decade exponents of both axes.
    decades: (i32, i32),
}

impl Panel {
    /// Part of the axis below a value.
    fn part(&self, v: f64) -> f64 {
        let (first, last) = self.decades;
        let span = f64::from(last - first);
        ((libm::log10(v) - f64::from(first)) / span).clamp(0.0, 1.0)
    }
    fn x(&self, v: f64) -> f64 {
        self.left + SIDE * self.part(v)
    }
    fn y(&self, v: f64) -> f64 {
        TOP + SIDE * (1.0 - self.part(v))
    }

    /// Title, bands, decades and the line on which predictions are exact.
    fn frame(&self, o: &mut String, title: &str) {
        let (left, decades) = (self.left, self.decades);
        let (x, y) = (|v| self.x(v), |v| self.y(v));
        let (low, high) = (
            libm::pow(10.0, decades.0.into()),
            libm::pow(10.0, decades.1.into()),
        );
        let _ = writeln!(
            o,
            "<text x=\"{left}\" y=\"24\" font-size=\"15\" font-weight=\"600\" fill=\"#1a1a1a\">{title}</text>"
        );
        for (band, colour) in [(1.2, "#eef4fa"), (1.1, "#dcebf7")] {
            let _ = writeln!(
                o,
                "<polygon points=\"{:.1},{:.1} {:.1},{:.1} {:.1},{:.1} {:.1},{:.1} {:.1},{:.1} {:.1},{:.1}\" fill=\"{colour}\"/>",
                x(low),
                y(low),
                x(low),
                y(low * band),
                x(high / band),
                y(high),
                x(high),
                y(high),
                x(high),
                y(high / band),
                x(low * band),
                y(low)
            );
        }
        for d in decades.0..=decades.1 {
            let v = libm::pow(10.0, d.into());
            let _ = writeln!(
                o,
                "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{1:.1}\" stroke=\"#d0d0d0\"/><line x1=\"{left}\" x2=\"{2:.1}\" \
                 y1=\"{3:.1}\" y2=\"{3:.1}\" stroke=\"#d0d0d0\"/><text x=\"{0:.1}\" y=\"{4:.1}\" text-anchor=\"middle\" \
                 fill=\"#555555\">{v}</text><text x=\"{5:.1}\" y=\"{6:.1}\" text-anchor=\"end\" fill=\"#555555\">{v}</text>",
                x(v),
                TOP + SIDE,
                left + SIDE,
                y(v),
                TOP + SIDE + 17.0,
                left - 5.0,
                y(v) + 4.5
            );
        }
        let _ = writeln!(
            o,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#1a1a1a\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\" fill=\"#555555\">measured</text><text x=\"{left}\" y=\"{:.1}\" fill=\"#555555\">predicted</text>",
            x(low),
            y(low),
            x(high),
            y(high),
            left + SIDE,
            TOP + SIDE + 34.0,
            TOP - 4.0
        );
    }

    /// A dot for each predicted run.
    fn dots(&self, o: &mut String, sets: &[Set], a: &Accuracy, kind: Kind) {
        for r in predicted(a) {
            let Some((measured, predicted)) = values(r, kind) else {
                continue;
            };
            let name = sets[r.file].engine;
            let colour = COLOURS
                .iter()
                .find(|(n, _)| *n == name)
                .map_or("#555555", |c| c.1);
            let _ = writeln!(
                o,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\" fill-opacity=\"0.55\"/>",
                self.x(measured),
                self.y(predicted)
            );
        }
    }
}

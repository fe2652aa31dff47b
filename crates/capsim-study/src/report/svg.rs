//! The accuracy picture: predicted over measured for every predicted run, with its interval.
use super::chart::escape;
use crate::validate::compare::RunComparison;
use capsim::metrics::{Latency, Metric};
use std::fmt::Write as _;

/// Metrics that stand for a run: one latency, one rate.
const SHOWN: &[(Metric, &str)] = &[
    (Metric::mean(Latency::E2el), "mean latency"),
    (Metric::OutputThroughput, "output tok/s"),
];

const WIDTH: f64 = 760.0;
const LEFT: f64 = 300.0;
const ROW: f64 = 26.0;
const TOP: f64 = 58.0;
/// Ratio at the left and right edge of the plot.
const RANGE: (f64, f64) = (0.80, 1.20);

fn x(ratio: f64) -> f64 {
    let t = (ratio.clamp(RANGE.0, RANGE.1) - RANGE.0) / (RANGE.1 - RANGE.0);
    LEFT + t * (WIDTH - LEFT - 30.0)
}

/// An SVG with one row per metric and predicted run. Dots are predicted / measured, bars the 90 % interval, the band
/// the tolerance; fitted runs are left out.
pub fn accuracy(title: &str, runs: &[RunComparison]) -> String {
    let rows: Vec<_> = runs
        .iter()
        .filter(|r| !r.fitted)
        .flat_map(|r| {
            SHOWN.iter().filter_map(move |(metric, words)| {
                let all = &r.preferred().metrics;
                let m = all.iter().find(|m| m.metric.is_recorded(*metric))?;
                Some((r, m, *words))
            })
        })
        .collect();
    let height = TOP + ROW * rows.len() as f64 + 40.0;
    let bottom = height - 34.0;
    let mut o = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" font-family=\"system-ui, \
         sans-serif\" font-size=\"13\">\n<title>{0}: predicted over measured</title>\n<rect width=\"100%\" height=\"100%\" \
         fill=\"#ffffff\"/>\n<text x=\"16\" y=\"24\" font-size=\"15\" font-weight=\"600\" fill=\"#1a1a1a\">{0}</text>\n<text x=\"16\" \
         y=\"43\" fill=\"#555555\">predicted / measured; bars: 90 % interval; band: ±5 %</text>\n",
        escape(title)
    );
    let _ = writeln!(
        o,
        "<rect x=\"{:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#dcebf7\"/>",
        x(0.95),
        x(1.05) - x(0.95),
        bottom - TOP
    );
    for tick in [0.8, 0.9, 1.0, 1.1, 1.2] {
        let _ = writeln!(
            o,
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{bottom:.1}\" stroke=\"{1}\"/><text x=\"{0:.1}\" y=\"{2:.1}\" \
             text-anchor=\"middle\" fill=\"#555555\">{tick:.1}</text>",
            x(tick),
            if tick == 1.0 { "#1a1a1a" } else { "#d0d0d0" },
            bottom + 18.0
        );
    }
    for (i, (run, m, words)) in rows.iter().enumerate() {
        let y = TOP + ROW * (i as f64 + 0.5);
        let ratio = m.predicted / m.measured;
        let _ = writeln!(
            o,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#1a1a1a\">{} · {words}</text>",
            LEFT - 14.0,
            y + 4.5,
            escape(&run.id)
        );
        if let Some(iv) = m.interval {
            let _ = writeln!(
                o,
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#2b6ca3\" stroke-width=\"3\" opacity=\"0.45\"/>",
                x(iv.low / m.measured),
                x(iv.high / m.measured)
            );
        }
        let _ = writeln!(
            o,
            "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"#134a78\"><title>{:+.1} %</title></circle>",
            x(ratio),
            100.0 * (ratio - 1.0)
        );
    }
    o.push_str("</svg>\n");
    o
}

//! The accuracy picture: predicted over measured for every predicted run, with its interval.
use super::frame::{Axis, Dot, Frame, INK, SOFT, heading, page, text};
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
    let frame = Frame {
        left: LEFT,
        top: TOP,
        width: WIDTH - LEFT - 30.0,
        height: ROW * rows.len() as f64 + 6.0,
        x: Axis::Between(RANGE.0, RANGE.1),
        // Rows from the top: 1 is above the first, 0 below the last.
        y: Axis::Linear(1.0),
    };
    let mut o = page(
        WIDTH,
        height,
        13,
        &format!("{title}: predicted over measured"),
    );
    heading(&mut o, 16.0, title);
    let below = "predicted / measured; bars: 90 % interval; band: ±5 %";
    text(&mut o, (16.0, 43.0), "start", SOFT, below);
    let _ = writeln!(
        o,
        "<rect x=\"{:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#dcebf7\"/>",
        frame.px(0.95),
        frame.px(1.05) - frame.px(0.95),
        frame.height
    );
    frame.columns(&mut o, &|v| format!("{v:.1}"));
    frame.line(&mut o, (1.0, 0.0), (1.0, 1.0), INK);
    for (i, (run, m, words)) in rows.iter().enumerate() {
        let down = ROW * (i as f64 + 0.5);
        let y = TOP + down;
        let name = format!("{} · {words}", run.id);
        text(&mut o, (LEFT - 14.0, y + 4.5), "end", INK, &name);
        if let Some(iv) = m.interval {
            let _ = writeln!(
                o,
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#2b6ca3\" stroke-width=\"3\" opacity=\"0.45\"/>",
                frame.px(iv.low / m.measured),
                frame.px(iv.high / m.measured)
            );
        }
        let ratio = m.predicted / m.measured;
        let words = format!("{:+.1} %", 100.0 * (ratio - 1.0));
        let dot = Dot {
            radius: 5.0,
            colour: "#134a78",
            opacity: 1.0,
            words: Some(&words),
        };
        frame.dot(&mut o, (ratio, 1.0 - down / frame.height), dot);
    }
    o.push_str("</svg>\n");
    o
}

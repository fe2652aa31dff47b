//! Measured over predicted as pictures: each request as a dot, quantiles against quantiles, the engine over time.
use super::frame::{Axis, Dot, Frame, INK, SOFT, heading, page, text};
use super::table::three;
use crate::validate::paired::{Pair, Paired};
use capsim_live::bench::scrape::Sample;
use std::fmt::Write as _;

const MEASURED: &str = "#b5532a";
const PREDICTED: &str = "#134a78";

/// Most points drawn of one curve: beyond it a picture only gets slower.
const MOST: usize = 2000;

/// A panel: its title above, its axes named.
fn panel(o: &mut String, f: &Frame, title: &str, x: &str, y: &str) {
    let (left, top) = (f.left, f.top);
    text(o, (left, top - 24.0), "start", INK, title);
    text(o, (left, top - 8.0), "start", SOFT, y);
    text(o, (f.right(), f.bottom() + 32.0), "end", SOFT, x);
    f.columns(o, &three);
    f.rows(o, &three);
}

fn diagonal(o: &mut String, f: &Frame, most: f64) {
    f.line(o, (0.0, 0.0), (most, most), INK);
}

fn dots(o: &mut String, f: &Frame, points: &[(f64, f64)], colour: &str) {
    let dot = Dot {
        radius: 2.5,
        colour,
        opacity: 0.5,
        words: None,
    };
    let step = points.len().div_ceil(MOST).max(1);
    for at in points.iter().step_by(step) {
        f.dot(o, *at, dot);
    }
}

/// A curve that keeps its value until the next point.
fn steps(o: &mut String, f: &Frame, points: &[(f64, f64)], colour: &str) {
    let step = points.len().div_ceil(MOST).max(1);
    let mut d = String::new();
    let mut last = None;
    for (x, y) in points.iter().step_by(step) {
        let (px, py) = (f.px(*x), f.py(*y));
        match last {
            None => {
                let _ = write!(d, "M{px:.1} {py:.1}");
            }
            Some(before) => {
                let _ = write!(d, "L{px:.1} {before:.1}L{px:.1} {py:.1}");
            }
        }
        last = Some(py);
    }
    let _ = writeln!(
        o,
        "<path d=\"{d}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
    );
}

fn top(values: impl Iterator<Item = f64>) -> f64 {
    let max = values.filter(|v| v.is_finite()).fold(0.0, f64::max);
    if max <= 0.0 {
        return 1.0;
    }
    // Four steps of 1, 2, 2.5 or 5 times a power of ten.
    let unit = libm::pow(10.0, libm::floor(libm::log10(max / 4.0)));
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .find(|s| 4.0 * s * unit >= max)
        .unwrap_or(10.0);
    4.0 * step * unit
}

fn open(width: f64, height: f64, title: &str) -> String {
    let mut o = page(width, height, 12, title);
    heading(&mut o, 16.0, title);
    o
}

type Values = (Vec<f64>, Vec<f64>);

fn columns(pairs: &[Pair]) -> [(&'static str, Values); 2] {
    let ttft = pairs
        .iter()
        .filter_map(|p| Some((1e3 * p.ttft?, 1e3 * p.ttft_predicted)))
        .unzip();
    let e2el = pairs
        .iter()
        .map(|p| (1e3 * p.e2el, 1e3 * p.e2el_predicted))
        .unzip();
    [("TTFT", ttft), ("E2EL", e2el)]
}

/// Scatter and quantile plots of one recording; `None` without requests.
pub fn requests(p: &Paired) -> Option<String> {
    let columns: Vec<_> = columns(&p.pairs)
        .into_iter()
        .filter(|(_, (m, _))| !m.is_empty())
        .collect();
    if columns.is_empty() {
        return None;
    }
    let mut o = open(
        780.0,
        70.0 + 360.0 * columns.len() as f64,
        &format!("{}: predicted over measured, in milliseconds", p.name),
    );
    for (i, (name, (measured, predicted))) in columns.iter().enumerate() {
        let most = top(measured.iter().chain(predicted).copied());
        let at = |column: f64| Frame {
            left: 70.0 + 380.0 * column,
            top: 90.0 + 360.0 * i as f64,
            width: 290.0,
            height: 260.0,
            x: Axis::Linear(most),
            y: Axis::Linear(most),
        };
        let frame = at(0.0);
        panel(
            &mut o,
            &frame,
            &format!("{name}, request by request"),
            "measured",
            "predicted",
        );
        diagonal(&mut o, &frame, most);
        let pairs: Vec<_> = measured
            .iter()
            .copied()
            .zip(predicted.iter().copied())
            .collect();
        dots(&mut o, &frame, &pairs, PREDICTED);
        let frame = at(1.0);
        panel(
            &mut o,
            &frame,
            &format!("{name}, quantile by quantile"),
            "measured",
            "predicted",
        );
        diagonal(&mut o, &frame, most);
        let sorted = |v: &[f64]| {
            let mut v = v.to_vec();
            v.sort_by(f64::total_cmp);
            v
        };
        let quantiles: Vec<_> = sorted(measured)
            .into_iter()
            .zip(sorted(predicted))
            .collect();
        dots(&mut o, &frame, &quantiles, PREDICTED);
    }
    o.push_str("</svg>\n");
    Some(o)
}

/// A curve's title, and its value in a sample.
type Curve = (&'static str, fn(&Sample) -> f64);

/// Running, waiting and KV usage over time, measured and predicted; `None` without a measured series.
pub fn series(p: &Paired) -> Option<String> {
    if p.series.is_empty() {
        return None;
    }
    let curves: [Curve; 3] = [
        ("requests running", |s| s.running),
        ("requests waiting", |s| s.waiting),
        ("KV blocks in use, %", |s| 100.0 * s.kv),
    ];
    let both = || p.series.iter().chain(&p.predicted_series);
    let mut o = open(
        780.0,
        70.0 + 230.0 * curves.len() as f64,
        &format!("{}: the engine over time", p.name),
    );
    let _ = writeln!(
        o,
        "<text x=\"764\" y=\"24\" text-anchor=\"end\"><tspan fill=\"{MEASURED}\">● measured</tspan> <tspan \
         fill=\"{PREDICTED}\">— predicted</tspan></text>"
    );
    for (i, (title, value)) in curves.iter().enumerate() {
        let frame = Frame {
            left: 70.0,
            top: 90.0 + 230.0 * i as f64,
            width: 680.0,
            height: 140.0,
            x: Axis::Linear(top(both().map(|s| s.t))),
            y: Axis::Linear(top(both().map(value))),
        };
        panel(&mut o, &frame, title, "seconds", "");
        let of = |all: &[Sample]| all.iter().map(|s| (s.t, value(s))).collect::<Vec<_>>();
        steps(&mut o, &frame, &of(&p.predicted_series), PREDICTED);
        // Looks half a second apart make no curve.
        dots(&mut o, &frame, &of(&p.series), MEASURED);
    }
    o.push_str("</svg>\n");
    Some(o)
}

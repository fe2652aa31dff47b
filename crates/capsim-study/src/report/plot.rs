//! Measured over predicted as pictures: each request as a dot, quantiles against quantiles, the engine over time.
use super::chart::escape;
use super::table::three;
use crate::validate::paired::{Pair, Paired};
use capsim_live::bench::scrape::Sample;
use std::fmt::Write as _;

const INK: &str = "#1a1a1a";
const SOFT: &str = "#555555";
const GRID: &str = "#d0d0d0";
const MEASURED: &str = "#b5532a";
const PREDICTED: &str = "#134a78";

/// Most points drawn of one curve: beyond it a picture only gets slower.
const MOST: usize = 2000;

/// A frame with axes from 0.
struct Panel {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    x_max: f64,
    y_max: f64,
}

impl Panel {
    fn x(&self, v: f64) -> f64 {
        self.left + self.width * (v / self.x_max).clamp(0.0, 1.0)
    }
    fn y(&self, v: f64) -> f64 {
        self.top + self.height * (1.0 - (v / self.y_max).clamp(0.0, 1.0))
    }

    fn frame(&self, o: &mut String, title: &str, x: &str, y: &str) {
        let (l, t, w, h) = (self.left, self.top, self.width, self.height);
        let _ = writeln!(
            o,
            "<text x=\"{l}\" y=\"{:.1}\" font-weight=\"600\" fill=\"{INK}\">{}</text>",
            t - 24.0,
            escape(title)
        );
        let _ = writeln!(
            o,
            "<text x=\"{l}\" y=\"{:.1}\" fill=\"{SOFT}\">{}</text>",
            t - 8.0,
            escape(y)
        );
        let _ = writeln!(
            o,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{SOFT}\">{}</text>",
            l + w,
            t + h + 32.0,
            escape(x)
        );
        for i in 0..=4 {
            let part = f64::from(i) / 4.0;
            let (px, py) = (l + w * part, t + h * (1.0 - part));
            let _ = writeln!(
                o,
                "<line x1=\"{px:.1}\" x2=\"{px:.1}\" y1=\"{t}\" y2=\"{:.1}\" stroke=\"{GRID}\"/><text x=\"{px:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\" fill=\"{SOFT}\">{}</text>",
                t + h,
                t + h + 16.0,
                three(self.x_max * part)
            );
            let _ = writeln!(
                o,
                "<line x1=\"{l}\" x2=\"{:.1}\" y1=\"{py:.1}\" y2=\"{py:.1}\" stroke=\"{GRID}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\" fill=\"{SOFT}\">{}</text>",
                l + w,
                l - 6.0,
                py + 4.0,
                three(self.y_max * part)
            );
        }
    }

    fn diagonal(&self, o: &mut String) {
        let end = self.x_max.min(self.y_max);
        let _ = writeln!(
            o,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{INK}\"/>",
            self.x(0.0),
            self.y(0.0),
            self.x(end),
            self.y(end)
        );
    }

    fn dots(&self, o: &mut String, points: &[(f64, f64)], colour: &str) {
        let step = points.len().div_ceil(MOST).max(1);
        for (x, y) in points.iter().step_by(step) {
            let _ = writeln!(
                o,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\" fill=\"{colour}\" opacity=\"0.5\"/>",
                self.x(*x),
                self.y(*y)
            );
        }
    }

    /// A curve that keeps its value until the next point.
    fn steps(&self, o: &mut String, points: &[(f64, f64)], colour: &str) {
        let step = points.len().div_ceil(MOST).max(1);
        let mut d = String::new();
        let mut last = None;
        for (x, y) in points.iter().step_by(step) {
            let (px, py) = (self.x(*x), self.y(*y));
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
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"system-ui, \
         sans-serif\" font-size=\"12\">\n<title>{0}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text \
         x=\"16\" y=\"24\" font-size=\"15\" font-weight=\"600\" fill=\"{INK}\">{0}</text>\n",
        escape(title)
    )
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
        let at = |column: f64| Panel {
            left: 70.0 + 380.0 * column,
            top: 90.0 + 360.0 * i as f64,
            width: 290.0,
            height: 260.0,
            x_max: most,
            y_max: most,
        };
        let panel = at(0.0);
        panel.frame(
            &mut o,
            &format!("{name}, request by request"),
            "measured",
            "predicted",
        );
        panel.diagonal(&mut o);
        let pairs: Vec<_> = measured
            .iter()
            .copied()
            .zip(predicted.iter().copied())
            .collect();
        panel.dots(&mut o, &pairs, PREDICTED);
        let panel = at(1.0);
        panel.frame(
            &mut o,
            &format!("{name}, quantile by quantile"),
            "measured",
            "predicted",
        );
        panel.diagonal(&mut o);
        let sorted = |v: &[f64]| {
            let mut v = v.to_vec();
            v.sort_by(f64::total_cmp);
            v
        };
        let quantiles: Vec<_> = sorted(measured)
            .into_iter()
            .zip(sorted(predicted))
            .collect();
        panel.dots(&mut o, &quantiles, PREDICTED);
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
        let panel = Panel {
            left: 70.0,
            top: 90.0 + 230.0 * i as f64,
            width: 680.0,
            height: 140.0,
            x_max: top(both().map(|s| s.t)),
            y_max: top(both().map(value)),
        };
        panel.frame(&mut o, title, "seconds", "");
        let of = |all: &[Sample]| all.iter().map(|s| (s.t, value(s))).collect::<Vec<_>>();
        panel.steps(&mut o, &of(&p.predicted_series), PREDICTED);
        // Looks half a second apart make no curve.
        panel.dots(&mut o, &of(&p.series), MEASURED);
    }
    o.push_str("</svg>\n");
    Some(o)
}

//! Charts as SVG: lines, steps and dots over linear or logarithmic axes. Colours are CSS variables, so that a page can be light or dark;
//! a chart on its own carries their values with it.
use std::fmt::Write as _;

/// Width of the drawing, in its own units. Small, so that its letters stay readable on a phone.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 48.0;
/// Most points drawn of one line.
const MOST: usize = 1500;
/// Most dots that the keyboard stops at.
const STOPS: usize = 60;

/// Okabe and Ito's palette, told apart by colour-blind eyes; as light on dark where needed.
pub const STYLE: &str = "\
:root{--ink:#1b1b1f;--soft:#56565e;--grid:#dcdce2;--paper:#ffffff;--panel:#f6f6f8;--c0:#0067a5;--c1:#c25100;--c2:#007f5f;--c3:#8a3a80;--c4:#7a6200;--c5:#2f2f35}
@media (prefers-color-scheme:dark){:root{--ink:#ececf1;--soft:#a9a9b4;--grid:#3a3a42;--paper:#16161a;--panel:#202026;--c0:#62b8f0;--c1:#f2954d;--c2:#46c79f;--c3:#d597cb;--c4:#dcc04c;--c5:#d8d8de}}
";

/// How an axis runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Even steps, from zero.
    #[default]
    Linear,
    /// Even steps, from wherever the values begin.
    Free,
    /// Even factors, over whole decades.
    Log,
    /// Even factors, from the least value to the greatest, with ticks at powers of two: for loads, which double.
    Doubling,
}

impl Scale {
    /// Whether equal ways are equal factors.
    fn factors(self) -> bool {
        matches!(self, Scale::Log | Scale::Doubling)
    }
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// Dots, joined by a line.
    #[default]
    Line,
    /// A value that holds until the next.
    Step,
    /// Dots alone.
    Dots,
}

/// One point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dot {
    /// Place.
    pub x: f64,
    /// Value.
    pub y: f64,
    /// Ends of the value's interval.
    pub range: Option<(f64, f64)>,
    /// Its tooltip; may be empty.
    pub label: String,
}

/// Points that belong together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points, in order of drawing.
    pub dots: Vec<Dot>,
    /// Drawn how.
    pub mark: Mark,
}

/// A place on the axis to the right that has a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Upright {
    /// Where.
    pub x: f64,
    /// Its name.
    pub name: String,
    /// Number of the series that it belongs to, which gives the colour; `None`: to all.
    pub series: Option<usize>,
}

/// A chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// What it shows; also its accessible name.
    pub title: String,
    /// Quantity and unit to the right.
    pub x: String,
    /// Quantity and unit upwards.
    pub y: String,
    /// Axis to the right.
    pub x_scale: Scale,
    /// Axis upwards.
    pub y_scale: Scale,
    /// What is drawn.
    pub series: Vec<Series>,
    /// Levels to compare with: value and name.
    pub levels: Vec<(f64, String)>,
    /// Places to compare with.
    pub uprights: Vec<Upright>,
}

/// `&`, `<`, `>` and quotes as text.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A number for people: three digits that matter.
pub fn short(v: f64) -> String {
    let a = v.abs();
    let (scaled, unit) = match a {
        a if a >= 1e12 => (v / 1e12, " T"),
        a if a >= 1e9 => (v / 1e9, " G"),
        a if a >= 1e6 => (v / 1e6, " M"),
        a if a >= 1e4 => (v / 1e3, " k"),
        _ => (v, ""),
    };
    let digits = match scaled.abs() {
        s if s == 0.0 || s >= 100.0 => 0,
        s if s >= 10.0 => 1,
        s if s >= 1.0 => 2,
        s if s >= 0.01 => 3,
        _ => 5,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

/// An axis: from where to where, and its ticks.
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    pub(super) ticks: Vec<f64>,
}

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Option<Self> {
        let usable = |v: &f64| v.is_finite() && (!scale.factors() || *v > 0.0);
        let (low, high) = values
            .filter(usable)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| {
                (a.min(v), b.max(v))
            });
        if low > high {
            return None;
        }
        Some(match scale {
            Scale::Doubling => Self::doubling(low, high),
            Scale::Linear | Scale::Free => {
                let low = if scale == Scale::Free {
                    low
                } else {
                    low.min(0.0)
                };
                let span = if high > low { high - low } else { 1.0 };
                let power = libm::pow(10.0, libm::floor(libm::log10(span / 4.0)));
                let step = [1.0, 2.0, 2.5, 5.0, 10.0]
                    .into_iter()
                    .map(|f| f * power)
                    .find(|s| span / s <= 5.0)
                    .unwrap_or(10.0 * power);
                let first = libm::floor(low / step);
                let last = libm::ceil((low + span) / step);
                Self {
                    scale,
                    low: first * step,
                    high: last * step,
                    ticks: (0..=(last - first) as usize)
                        .map(|i| (first + i as f64) * step)
                        .collect(),
                }
            }
            Scale::Log => {
                let (mut from, mut to) =
                    (libm::floor(libm::log10(low)), libm::ceil(libm::log10(high)));
                if from == to {
                    from -= 1.0;
                    to += 1.0;
                }
                let decades = (to - from) as usize;
                let every = decades.div_ceil(6).max(1);
                let marks: &[f64] = if decades <= 2 {
                    &[1.0, 2.0, 5.0]
                } else {
                    &[1.0]
                };
                let (low, high) = (libm::pow(10.0, from), libm::pow(10.0, to));
                Self {
                    scale,
                    low,
                    high,
                    ticks: (0..=decades)
                        .step_by(every)
                        .flat_map(|d| {
                            marks
                                .iter()
                                .map(move |m| m * libm::pow(10.0, from + d as f64))
                        })
                        .filter(|t| *t <= high * 1.000_1)
                        .collect(),
                }
            }
        })
    }

    /// An axis with ticks at powers of two, eight at most.
    fn doubling(low: f64, high: f64) -> Self {
        let (low, high) = if high > low {
            (low, high)
        } else {
            (low / 2.0, high * 2.0)
        };
        let first = libm::ceil(libm::log2(low) - 1e-9) as i32;
        let last = libm::floor(libm::log2(high) + 1e-9) as i32;
        let every = ((last - first).max(0) as usize).div_ceil(8).max(1);
        let powers = (first..=last).step_by(every);
        Self {
            scale: Scale::Doubling,
            low,
            high,
            ticks: powers.map(|k| libm::exp2(f64::from(k))).collect(),
        }
    }

    /// Part of the way from low to high.
    pub(super) fn part(&self, v: f64) -> Option<f64> {
        let t = match self.scale {
            Scale::Linear | Scale::Free => (v - self.low) / (self.high - self.low),
            _ if v > 0.0 => libm::log10(v / self.low) / libm::log10(self.high / self.low),
            _ => return None,
        };
        t.is_finite().then_some(t.clamp(0.0, 1.0))
    }
}

impl Chart {
    /// The axes that hold every point, level and place; `None` if there is nothing to draw.
    pub(super) fn axes(&self) -> Option<(Axis, Axis)> {
        let dots = || self.series.iter().flat_map(|s| &s.dots);
        let across = self.uprights.iter().map(|u| u.x);
        let x = Axis::new(self.x_scale, dots().map(|d| d.x).chain(across))?;
        let ends = |d: &Dot| [Some(d.y), d.range.map(|r| r.0), d.range.map(|r| r.1)];
        let levels = self.levels.iter().map(|l| l.0);
        let y = Axis::new(self.y_scale, dots().flat_map(ends).flatten().chain(levels))?;
        Some((x, y))
    }

    /// The drawing, for a page that defines the colours of [`STYLE`]; `None` if there is nothing to draw.
    pub fn svg(&self) -> Option<String> {
        let dots = || self.series.iter().flat_map(|s| &s.dots);
        let (x, y) = self.axes()?;
        let px = |v: f64| x.part(v).map(|t| LEFT + t * (WIDTH - LEFT - RIGHT));
        let py = |v: f64| {
            y.part(v)
                .map(|t| HEIGHT - BOTTOM - t * (HEIGHT - TOP - BOTTOM))
        };
        let mut o = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"group\" aria-label=\"{}\" \
             font-family=\"system-ui,sans-serif\" font-size=\"12\">\n",
            escape(&self.title)
        );
        let bottom = HEIGHT - BOTTOM;
        for t in &x.ticks {
            if let Some(p) = px(*t) {
                let _ = writeln!(
                    o,
                    "<path d=\"M{p:.1} {TOP}V{bottom}\" stroke=\"var(--grid)\"/><text x=\"{p:.1}\" y=\"{:.1}\" text-anchor=\"middle\" \
                     fill=\"var(--soft)\">{}</text>",
                    bottom + 16.0,
                    short(*t)
                );
            }
        }
        for t in &y.ticks {
            if let Some(p) = py(*t) {
                let _ = writeln!(
                    o,
                    "<path d=\"M{LEFT} {p:.1}H{}\" stroke=\"var(--grid)\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" \
                     fill=\"var(--soft)\">{}</text>",
                    WIDTH - RIGHT,
                    LEFT - 6.0,
                    p + 4.0,
                    short(*t)
                );
            }
        }
        let _ = writeln!(
            o,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"var(--soft)\">{}</text><text transform=\"translate(13 {:.1}) \
             rotate(-90)\" text-anchor=\"middle\" fill=\"var(--soft)\">{}</text>",
            WIDTH - RIGHT,
            HEIGHT - 12.0,
            escape(&self.x),
            (TOP + bottom) / 2.0,
            escape(&self.y)
        );
        for (value, name) in &self.levels {
            if let Some(p) = py(*value) {
                let _ = writeln!(
                    o,
                    "<path d=\"M{LEFT} {p:.1}H{}\" stroke=\"var(--ink)\" stroke-dasharray=\"5 4\"/><text x=\"{}\" y=\"{:.1}\" \
                     fill=\"var(--ink)\">{}</text>",
                    WIDTH - RIGHT,
                    LEFT + 6.0,
                    p - 5.0,
                    escape(name)
                );
            }
        }
        for (i, u) in self.uprights.iter().enumerate() {
            if let Some(p) = px(u.x) {
                let colour = u
                    .series
                    .map_or("var(--ink)".into(), |s| format!("var(--c{})", s % 6));
                // Names stand beside the foot of their line, where latencies seldom are, on the side with more room, each on
                // a row of its own.
                let (at, anchor) = if p > WIDTH / 2.0 {
                    (p - 5.0, "end")
                } else {
                    (p + 5.0, "start")
                };
                let _ = writeln!(
                    o,
                    "<path d=\"M{p:.1} {TOP}V{bottom}\" stroke=\"{colour}\" stroke-dasharray=\"2 4\"/><text x=\"{at:.1}\" \
                     y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{}</text>",
                    bottom - 6.0 - 14.0 * i as f64,
                    escape(&u.name)
                );
            }
        }
        let stops = dots().filter(|d| !d.label.is_empty()).count() <= STOPS;
        for (i, s) in self.series.iter().enumerate() {
            draw(&mut o, s, i % 6, stops, &px, &py);
        }
        o.push_str("</svg>\n");
        Some(o)
    }

    /// Names of the series, if there are several to be told apart.
    pub fn legend(&self) -> Vec<&str> {
        match &self.series[..] {
            [_] => vec![],
            many => many.iter().map(|s| s.name.as_str()).collect(),
        }
    }

    /// The drawing as a file of its own, with its title and legend.
    pub fn file(&self) -> Option<String> {
        Some(standalone(&self.title, &self.legend(), &self.svg()?))
    }
}

/// How a part or series is coloured: after six come the same again, paler.
pub(super) fn swatch(i: usize) -> (usize, &'static str) {
    (i % 6, if i < 6 { "1" } else { ".55" })
}

/// A drawing of this module as a file of its own: the colours' values, paper, title and legend around it.
pub(super) fn standalone(title: &str, legend: &[&str], svg: &str) -> String {
    /// Width of a letter at 12 units, generously.
    const LETTER: f64 = 6.6;
    const ROW: f64 = 18.0;
    let (head, body) = svg.split_once('\n').unwrap_or((svg, ""));
    let height: f64 = head
        .split_once("viewBox=\"0 0 ")
        .and_then(|(_, r)| r.split('"').next()?.split(' ').nth(1)?.parse().ok())
        .unwrap_or(HEIGHT);
    // Where each entry of the legend stands: row and place.
    let mut places: Vec<(f64, f64)> = vec![];
    let (mut x, mut rows) = (12.0, f64::from(u8::from(!legend.is_empty())));
    for name in legend {
        let width = 28.0 + LETTER * name.chars().count() as f64;
        if x > 12.0 && x + width > WIDTH {
            (x, rows) = (12.0, rows + 1.0);
        }
        places.push((rows, x));
        x += width;
    }
    let above = 34.0 + ROW * rows;
    let mut entries = String::new();
    for (i, (name, (row, x))) in legend.iter().zip(places).enumerate() {
        let (colour, opacity) = swatch(i);
        let y = 24.0 + ROW * row - above;
        let _ = writeln!(
            entries,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\" fill=\"var(--c{colour})\" opacity=\"{opacity}\"/><text \
             x=\"{:.1}\" y=\"{y:.1}\" fill=\"var(--ink)\">{}</text>",
            y - 9.0,
            x + 15.0,
            escape(name)
        );
    }
    let head = head.replacen(
        &format!("viewBox=\"0 0 {WIDTH} {height}\""),
        &format!("viewBox=\"0 {} {WIDTH} {}\"", -above, height + above),
        1,
    );
    let style = STYLE.replace(":root", "svg");
    format!(
        "{head}\n<title>{0}</title>\n<style>{style}</style>\n<rect y=\"{1}\" width=\"100%\" height=\"{2}\" \
         fill=\"var(--paper)\"/>\n<text x=\"12\" y=\"{3}\" font-size=\"14\" font-weight=\"600\" \
         fill=\"var(--ink)\">{0}</text>\n{entries}{body}",
        escape(title),
        -above,
        height + above,
        22.0 - above,
    )
}

fn draw(
    o: &mut String,
    s: &Series,
    colour: usize,
    stops: bool,
    px: &impl Fn(f64) -> Option<f64>,
    py: &impl Fn(f64) -> Option<f64>,
) {
    let every = s.dots.len().div_ceil(MOST).max(1);
    let seen: Vec<(f64, f64, &Dot)> = s
        .dots
        .iter()
        .step_by(every)
        .filter_map(|d| Some((px(d.x)?, py(d.y)?, d)))
        .collect();
    if s.mark != Mark::Dots && seen.len() > 1 {
        let mut path = String::new();
        for (i, (x, y, _)) in seen.iter().enumerate() {
            let _ = match (i, s.mark) {
                (0, _) => write!(path, "M{x:.1} {y:.1}"),
                (_, Mark::Step) => write!(path, "H{x:.1}V{y:.1}"),
                _ => write!(path, "L{x:.1} {y:.1}"),
            };
        }
        let _ = writeln!(
            o,
            "<path d=\"{path}\" fill=\"none\" stroke=\"var(--c{colour})\" stroke-width=\"2\" stroke-linejoin=\"round\"/>"
        );
    }
    for (x, y, d) in &seen {
        if let Some((low, high)) = d.range.and_then(|(a, b)| Some((py(a)?, py(b)?))) {
            let _ = writeln!(
                o,
                "<path d=\"M{x:.1} {low:.1}V{high:.1}\" stroke=\"var(--c{colour})\" stroke-width=\"3\" opacity=\".35\"/>"
            );
        }
        if d.label.is_empty() && s.mark != Mark::Dots {
            continue;
        }
        let words = escape(&d.label);
        let focus = if stops && !words.is_empty() {
            format!(" tabindex=\"0\" role=\"img\" aria-label=\"{words}\"")
        } else {
            String::new()
        };
        // Form tells series apart where colour does not.
        let shape = match colour {
            0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\""),
            1 => format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"7.5\" height=\"7.5\"",
                x - 3.75,
                y - 3.75
            ),
            2 => format!("<path d=\"M{x:.1} {:.1}l5 8.5h-10z\"", y - 5.0),
            3 => format!("<path d=\"M{x:.1} {:.1}l5 5l-5 5l-5 -5z\"", y - 5.0),
            4 => format!("<path d=\"M{x:.1} {:.1}l-5 -8.5h10z\"", y + 5.0),
            _ => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\""),
        };
        let _ = writeln!(
            o,
            "{shape} fill=\"var(--c{colour})\"{focus}><title>{words}</title>{}",
            close(colour)
        );
    }
}

fn close(colour: usize) -> &'static str {
    match colour {
        1 => "</rect>",
        0 | 5 => "</circle>",
        _ => "</path>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: Scale, ys: &[f64]) -> Chart {
        Chart {
            title: "a < b".into(),
            x: "x".into(),
            y: "y".into(),
            x_scale: scale,
            y_scale: scale,
            series: vec![Series {
                name: "s".into(),
                dots: ys
                    .iter()
                    .enumerate()
                    .map(|(i, y)| Dot {
                        x: i as f64 + 1.0,
                        y: *y,
                        range: None,
                        label: format!("{y}"),
                    })
                    .collect(),
                mark: Mark::Line,
            }],
            ..Chart::default()
        }
    }

    #[test]
    fn any_values_give_a_drawing_inside_its_frame_or_none() {
        for ys in [
            &[1.0, 2.0][..],
            &[0.0, 0.0],
            &[5.0],
            &[-3.0, 1e300],
            &[1e-9, 1e12],
            &[f64::NAN, 4.0, f64::INFINITY],
        ] {
            for scale in [Scale::Linear, Scale::Free, Scale::Log, Scale::Doubling] {
                let Some(svg) = chart(scale, ys).svg() else {
                    assert!(scale.factors() && ys.iter().all(|y| *y <= 0.0), "{ys:?}");
                    continue;
                };
                assert!(svg.contains("a &lt; b"));
                assert!(
                    !svg.contains("NaN") && !svg.contains("inf"),
                    "{ys:?}: {svg}"
                );
                for part in svg.split("cy=\"").skip(1) {
                    let y: f64 = part.split('"').next().unwrap().parse().unwrap();
                    assert!(
                        (TOP - 0.1..=HEIGHT - BOTTOM + 0.1).contains(&y),
                        "{ys:?}: {y}"
                    );
                }
            }
        }
        assert!(chart(Scale::Linear, &[]).svg().is_none());
    }

    #[test]
    fn larger_is_higher_and_ticks_hold_the_data() {
        for scale in [Scale::Linear, Scale::Free, Scale::Log, Scale::Doubling] {
            let axis = Axis::new(scale, [3.0, 870.0].into_iter()).unwrap();
            let parts: Vec<f64> = [3.0, 40.0, 870.0]
                .iter()
                .map(|v| axis.part(*v).unwrap())
                .collect();
            assert!(parts[0] < parts[1] && parts[1] < parts[2]);
            assert!(axis.low <= 3.0 && axis.high >= 870.0);
            assert!((3..=12).contains(&axis.ticks.len()), "{:?}", axis.ticks);
        }
    }

    #[test]
    fn numbers_for_people() {
        for (v, text) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (1234.0, "1234"),
            (12_345.0, "12.3 k"),
            (0.05, "0.05"),
            (-2e9, "-2 G"),
            (99.96, "100"),
        ] {
            assert_eq!(short(v), text);
        }
    }
}

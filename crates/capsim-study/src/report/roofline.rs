//! The roofline picture: attainable rate over arithmetic intensity, with every measured point on it.
use super::frame::{Axis, Dot as Mark, Frame, SOFT, heading, page, text};
use capsim_calibrate::fit::{Fit, Kind, kind_of};
use capsim_calibrate::samples::SamplesFile;
use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 62.0;

/// Families in the legend: label and colour (told apart by colour-blind eyes: Okabe and Ito's palette).
const GROUPS: &[(&str, &str)] = &[
    ("matrix products", "#0072b2"),
    ("attention", "#d55e00"),
    ("experts", "#009e73"),
    ("other", "#8a8a8a"),
];

fn group(family: &str) -> usize {
    if family.starts_with("gemm") || family.contains("lm_head") {
        0
    } else if family.starts_with("attention") {
        1
    } else if family.starts_with("moe") {
        2
    } else {
        3
    }
}

fn rate_words(v: f64) -> String {
    match v {
        v if v >= 1e12 => format!("{:.0} T", v / 1e12),
        v if v >= 1e9 => format!("{:.0} G", v / 1e9),
        v => format!("{:.0} M", v / 1e6),
    }
}

fn intensity_words(v: f64) -> String {
    if v >= 1.0 {
        format!("{v:.0}")
    } else {
        format!("{v}")
    }
}

/// An SVG: the memory roof and the compute roof as measured, the cache's roof, and points of every family that computes.
pub fn svg(file: &SamplesFile, fit: &Fit) -> String {
    let plot = Plot::of(file, fit);
    let mut o = plot.head(&fit.profile.name, file.device.software);
    plot.grid(&mut o);
    plot.roofs(&mut o);
    plot.dots(&mut o);
    plot.labels(&mut o);
    plot.legend(&mut o);
    o.push_str("</svg>\n");
    o
}

/// Right and lower edge of the plot.
const EDGE: f64 = WIDTH - RIGHT;
const BASE: f64 = HEIGHT - BOTTOM;

/// A measured point.
struct Dot {
    /// Operations per byte.
    x: f64,
    /// Operations per second.
    y: f64,
    /// Its family's place in [`GROUPS`].
    group: usize,
    key: String,
}

/// What is drawn, and where.
struct Plot {
    /// Bytes per second of the memory, and of the cache.
    dram: f64,
    cache: f64,
    /// Most operations per second.
    peak: f64,
    dots: Vec<Dot>,
    frame: Frame,
    /// Least and largest intensity in the plot.
    x: (f64, f64),
    /// Least rate in the plot.
    y0: f64,
}

impl Plot {
    fn of(file: &SamplesFile, fit: &Fit) -> Self {
        let p = &fit.profile;
        let (dram, peak) = (p.dram_read(), p.gemm_f16.peak());
        let dots = dots(file);
        let ridge = peak / dram;
        let min = |f: fn(&Dot) -> f64, v: f64| dots.iter().map(f).fold(v, f64::min);
        let max = |f: fn(&Dot) -> f64, v: f64| dots.iter().map(f).fold(v, f64::max);
        let x = (
            libm::floor(libm::log10(min(|p| p.x, (ridge / 30.0).min(0.5)).max(1e-2))),
            libm::ceil(libm::log10(max(|p| p.x, ridge * 30.0))),
        );
        let x0 = libm::pow(10.0, x.0);
        let y = (
            libm::floor(libm::log10(min(|p| p.y, x0 * dram).max(peak / 1e6))),
            libm::ceil(libm::log10(max(|p| p.y, peak) * 1.3)),
        );
        Self {
            dram,
            cache: p.stream_read.peak(),
            peak,
            x: (x0, libm::pow(10.0, x.1)),
            y0: libm::pow(10.0, y.0),
            frame: Frame {
                left: LEFT,
                top: TOP,
                width: EDGE - LEFT,
                height: BASE - TOP,
                x: Axis::Decades(x.0 as i32, x.1 as i32),
                y: Axis::Decades(y.0 as i32, y.1 as i32),
            },
            dots,
        }
    }

    /// Whether the cache is so much faster that it has a roof of its own.
    fn has_cache(&self) -> bool {
        self.cache > 1.15 * self.dram
    }

    /// Title and frame.
    fn head(&self, name: &str, software: bool) -> String {
        let mut o = page(WIDTH, HEIGHT, 13, &format!("Roofline of {name}"));
        heading(&mut o, 16.0, name);
        let device = if software {
            "; a software device: no GPU's speed"
        } else {
            ""
        };
        let words = format!("measured rates over arithmetic intensity{device}");
        text(&mut o, (16.0, 44.0), "start", SOFT, &words);
        let _ = writeln!(
            o,
            "<clipPath id=\"plot\"><rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/></clipPath>",
            EDGE - LEFT,
            BASE - TOP
        );
        o
    }

    /// A line and its label at every power of ten.
    fn grid(&self, o: &mut String) {
        self.frame.columns(o, &intensity_words);
        self.frame.rows(o, &rate_words);
    }

    fn roofs(&self, o: &mut String) {
        let (axes, peak, (x0, x1)) = (&self.frame, self.peak, self.x);
        let mut roof = |rate: f64, colour: &str, dash: &str, width: f64| {
            // From where it enters the plot.
            let x0 = (self.y0 / rate).max(x0);
            let _ = writeln!(
                o,
                "<polyline clip-path=\"url(#plot)\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{dash} points=\"{:.1},{:.1} \
                 {:.1},{:.1} {:.1},{:.1}\"/>",
                axes.px(x0),
                axes.py(rate * x0),
                axes.px(peak / rate),
                axes.py(peak),
                axes.px(x1),
                axes.py(peak)
            );
        };
        if self.has_cache() {
            roof(self.cache, "#8a8a8a", " stroke-dasharray=\"5 4\"", 1.5);
        }
        roof(self.dram, "#1a1a1a", "", 2.5);
    }

    fn dots(&self, o: &mut String) {
        for d in &self.dots {
            let words = format!("{}: {}op/s at {:.2} op/B", d.key, rate_words(d.y), d.x);
            let mark = Mark {
                radius: 4.0,
                colour: GROUPS[d.group].1,
                opacity: 0.75,
                words: Some(&words),
            };
            self.frame.dot(o, (d.x, d.y), mark);
        }
    }

    /// The roofs' rates, and what the axes are.
    fn labels(&self, o: &mut String) {
        let (axes, dram, cache, peak) = (&self.frame, self.dram, self.cache, self.peak);
        let (x0, ridge) = (self.x.0, peak / dram);
        let _ = writeln!(
            o,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#1a1a1a\" font-weight=\"600\">{}</text>",
            EDGE - 6.0,
            axes.py(peak) - 8.0,
            format_args!("{} op/s", super::calibration::si(peak))
        );
        // Where the memory roof enters the plot, its label stands below it, to the right.
        let low = (self.y0 / dram).max(x0);
        let at = low * libm::pow(ridge / low, 0.45);
        let _ = writeln!(
            o,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#1a1a1a\" font-weight=\"600\">memory {}B/s</text>",
            axes.px(at) + 10.0,
            axes.py(at * dram) + 16.0,
            super::calibration::si(dram)
        );
        if self.has_cache() {
            let low = (self.y0 / cache).max(x0);
            let at = low * libm::pow(peak / cache / low, 0.55);
            let _ = writeln!(
                o,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#777777\">cache {}B/s</text>",
                axes.px(at) - 10.0,
                axes.py(at * cache) - 4.0,
                super::calibration::si(cache)
            );
        }
        let _ = writeln!(
            o,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#1a1a1a\">operations per byte</text>\n<text \
             transform=\"translate(18 {:.1}) rotate(-90)\" text-anchor=\"middle\" fill=\"#1a1a1a\">operations per second</text>",
            (LEFT + EDGE) / 2.0,
            HEIGHT - 20.0,
            (TOP + BASE) / 2.0
        );
    }

    fn legend(&self, o: &mut String) {
        let mut row = 0.0;
        for (g, (label, colour)) in GROUPS.iter().enumerate() {
            if self.dots.iter().any(|d| d.group == g) {
                let py = BASE - 16.0 - row * 19.0;
                let _ = writeln!(
                    o,
                    "<circle cx=\"{:.1}\" cy=\"{py:.1}\" r=\"4\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                     text-anchor=\"end\" fill=\"#1a1a1a\">{label}</text>",
                    EDGE - 12.0,
                    EDGE - 22.0,
                    py + 4.5
                );
                row += 1.0;
            }
        }
    }
}

/// The points that compute and move bytes, elementwise kernels apart.
fn dots(file: &SamplesFile) -> Vec<Dot> {
    file.points
        .iter()
        .filter_map(|r| {
            let s = r.seconds()?;
            let computes = r.work.flops > 0.0 && r.work.bytes > 0.0;
            (computes && kind_of(r) != Kind::Elementwise).then(|| Dot {
                x: r.work.flops / r.work.bytes,
                y: r.work.flops / s,
                group: group(&r.family),
                key: r.key(),
            })
        })
        .collect()
}

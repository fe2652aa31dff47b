//! The roofline picture: attainable rate over arithmetic intensity, with every measured point on it.
use super::chart::escape;
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

struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    fn px(&self, v: f64) -> f64 {
        LEFT + (libm::log10(v) - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }
    fn py(&self, v: f64) -> f64 {
        HEIGHT
            - BOTTOM
            - (libm::log10(v) - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - TOP - BOTTOM)
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
    axes: Axes,
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
            axes: Axes { x, y },
            dots,
        }
    }

    /// Whether the cache is so much faster that it has a roof of its own.
    fn has_cache(&self) -> bool {
        self.cache > 1.15 * self.dram
    }

    /// Title and frame.
    fn head(&self, name: &str, software: bool) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-family=\"system-ui, \
             sans-serif\" font-size=\"13\">\n<title>Roofline of {0}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
             <text x=\"16\" y=\"24\" font-size=\"15\" font-weight=\"600\" fill=\"#1a1a1a\">{0}</text>\n<text x=\"16\" y=\"44\" \
             fill=\"#555555\">measured rates over arithmetic intensity{1}</text>\n<clipPath id=\"plot\"><rect x=\"{LEFT}\" y=\"{TOP}\" \
             width=\"{2:.1}\" height=\"{3:.1}\"/></clipPath>\n",
            escape(name),
            if software {
                "; a software device: no GPU's speed"
            } else {
                ""
            },
            EDGE - LEFT,
            BASE - TOP
        )
    }

    /// A line and its label at every power of ten.
    fn grid(&self, o: &mut String) {
        let (axes, right, base) = (&self.axes, EDGE, BASE);
        let (x, y) = (axes.x, axes.y);
        let mut grid = |at: f64, label: String, vertical: bool| {
            if vertical {
                let px = axes.px(at);
                let _ = writeln!(
                    o,
                    "<line x1=\"{px:.1}\" x2=\"{px:.1}\" y1=\"{TOP}\" y2=\"{base}\" stroke=\"#e4e4e4\"/><text x=\"{px:.1}\" y=\"{:.1}\" \
                     text-anchor=\"middle\" fill=\"#555555\">{label}</text>",
                    base + 18.0
                );
            } else {
                let py = axes.py(at);
                let _ = writeln!(
                    o,
                    "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{py:.1}\" y2=\"{py:.1}\" stroke=\"#e4e4e4\"/><text x=\"{:.1}\" \
                     y=\"{:.1}\" text-anchor=\"end\" fill=\"#555555\">{label}</text>",
                    LEFT - 8.0,
                    py + 4.5
                );
            }
        };
        for d in x.0 as i32..=x.1 as i32 {
            let v = libm::pow(10.0, f64::from(d));
            grid(v, intensity_words(v), true);
        }
        for d in y.0 as i32..=y.1 as i32 {
            let v = libm::pow(10.0, f64::from(d));
            grid(v, rate_words(v), false);
        }
    }

    fn roofs(&self, o: &mut String) {
        let (axes, peak, (x0, x1)) = (&self.axes, self.peak, self.x);
        let mut roof = |rate: f64, colour: &str, dash: &str, width: f64| {
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
            let _ = writeln!(
                o,
                "<circle clip-path=\"url(#plot)\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{}\" fill-opacity=\"0.75\"><title>{}: {}op/s at \
                 {:.2} op/B</title></circle>",
                self.axes.px(d.x),
                self.axes.py(d.y),
                GROUPS[d.group].1,
                escape(&d.key),
                rate_words(d.y),
                d.x
            );
        }
    }

    /// The roofs' rates, and what the axes are.
    fn labels(&self, o: &mut String) {
        let (axes, dram, cache, peak) = (&self.axes, self.dram, self.cache, self.peak);
        let (x0, ridge) = (self.x.0, peak / dram);
        let _ = writeln!(
            o,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#1a1a1a\" font-weight=\"600\">{}</text>",
            EDGE - 6.0,
            axes.py(peak) - 8.0,
            escape(&format!("{} op/s", super::calibration::si(peak)))
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

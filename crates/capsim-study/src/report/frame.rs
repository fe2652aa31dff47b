//! What all pictures of points share: the page, axes with lines and labels, dots. A frame knows where a value is drawn.
//!
//! Written by hand: a plotting crate would bring fonts and rasters for a few lines of SVG, whose bytes are to be the same everywhere.
use super::chart::escape;
use std::fmt::Write as _;

pub const INK: &str = "#1a1a1a";
pub const SOFT: &str = "#555555";
pub const GRID: &str = "#d0d0d0";

/// Begins a picture: its size, font and white ground, and a title that is read out.
pub fn page(width: f64, height: f64, font_size: u32, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"system-ui, \
         sans-serif\" font-size=\"{font_size}\">\n<title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        escape(title)
    )
}

/// A picture's heading.
pub fn heading(o: &mut String, x: f64, text: &str) {
    let _ = writeln!(
        o,
        "<text x=\"{x}\" y=\"24\" font-size=\"15\" font-weight=\"600\" fill=\"{INK}\">{}</text>",
        escape(text)
    );
}

/// Text at a place; `anchor` is `start`, `middle` or `end`.
pub fn text(o: &mut String, (x, y): (f64, f64), anchor: &str, colour: &str, words: &str) {
    let _ = writeln!(
        o,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{}</text>",
        escape(words)
    );
}

/// How values lie along an axis.
#[derive(Clone, Copy, Debug)]
pub enum Axis {
    /// From 0 to the value.
    Linear(f64),
    /// Powers of ten, from one exponent to another.
    Decades(i32, i32),
    /// Between two values.
    Between(f64, f64),
}

/// Most lines across an axis of powers of ten, before some of them are left out.
const MOST_LINES: usize = 24;

impl Axis {
    /// The part of the axis below a value; beyond its ends the value stays at them.
    fn part(self, v: f64) -> f64 {
        let part = match self {
            Self::Linear(max) => v / max,
            Self::Decades(first, last) => {
                (libm::log10(v) - f64::from(first)) / (f64::from(last) - f64::from(first))
            }
            Self::Between(low, high) => (v - low) / (high - low),
        };
        part.clamp(0.0, 1.0)
    }

    /// Where lines are drawn: four steps, or each power of ten.
    fn lines(self) -> Vec<f64> {
        match self {
            Self::Linear(max) => (0..=4).map(|i| max * f64::from(i) / 4.0).collect(),
            Self::Decades(first, last) => {
                // A value that is no sensible one must not ask for a million lines.
                let (first, last) = (first.max(-308), last.min(308));
                let step = 1 + (last - first).max(0) as usize / MOST_LINES;
                let exponents = (first..=last).step_by(step);
                exponents.map(|d| libm::pow(10.0, d.into())).collect()
            }
            Self::Between(low, high) => (0..=4)
                .map(|i| low + (high - low) * f64::from(i) / 4.0)
                .collect(),
        }
    }
}

/// A rectangle with axes.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
    pub x: Axis,
    pub y: Axis,
}

/// What an axis' values are called.
pub type Words<'a> = &'a dyn Fn(f64) -> String;

impl Frame {
    pub fn px(&self, v: f64) -> f64 {
        self.left + self.width * self.x.part(v)
    }
    pub fn py(&self, v: f64) -> f64 {
        self.top + self.height * (1.0 - self.y.part(v))
    }
    pub fn right(&self) -> f64 {
        self.left + self.width
    }
    pub fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// A line with its value across the frame at each place of the x axis.
    pub fn columns(&self, o: &mut String, words: Words<'_>) {
        for v in self.x.lines() {
            let (x, bottom) = (self.px(v), self.bottom());
            let _ = writeln!(
                o,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\" stroke=\"{GRID}\"/>",
                self.top
            );
            text(o, (x, bottom + 17.0), "middle", SOFT, &words(v));
        }
    }

    /// The same along the y axis.
    pub fn rows(&self, o: &mut String, words: Words<'_>) {
        for v in self.y.lines() {
            let y = self.py(v);
            let _ = writeln!(
                o,
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{GRID}\"/>",
                self.left,
                self.right()
            );
            text(o, (self.left - 6.0, y + 4.5), "end", SOFT, &words(v));
        }
    }

    /// A straight line between two points.
    pub fn line(&self, o: &mut String, a: (f64, f64), b: (f64, f64), colour: &str) {
        let _ = writeln!(
            o,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>",
            self.px(a.0),
            self.py(a.1),
            self.px(b.0),
            self.py(b.1)
        );
    }

    /// A dot of a radius, so opaque; with words it says when it is pointed at.
    pub fn dot(&self, o: &mut String, at: (f64, f64), dot: Dot<'_>) {
        let _ = write!(
            o,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{}\" fill=\"{}\" fill-opacity=\"{}\"",
            self.px(at.0),
            self.py(at.1),
            dot.radius,
            dot.colour,
            dot.opacity
        );
        let _ = match dot.words {
            None => writeln!(o, "/>"),
            Some(w) => writeln!(o, "><title>{}</title></circle>", escape(w)),
        };
    }
}

/// How a dot looks.
#[derive(Clone, Copy, Debug)]
pub struct Dot<'a> {
    pub radius: f64,
    pub colour: &'a str,
    pub opacity: f64,
    pub words: Option<&'a str>,
}

/// A coloured dot and what it stands for, its words to the right of it.
pub fn key(o: &mut String, (x, y): (f64, f64), colour: &str, words: &str) {
    let _ = writeln!(
        o,
        "<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"/>",
        y - 4.5
    );
    text(o, (x + 10.0, y), "start", INK, words);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_of_any_ends_has_few_lines() {
        for (first, last) in [(0, 3), (-300, 300), (i32::MIN, i32::MAX)] {
            let axis = Axis::Decades(first, last);
            assert!(axis.lines().len() <= 2 * MOST_LINES, "{first} {last}");
            assert!((0.0..=1.0).contains(&axis.part(10.0)));
        }
        assert_eq!(Axis::Decades(0, 3).lines(), [1.0, 10.0, 100.0, 1000.0]);
    }

    #[test]
    fn values_lie_where_their_axes_say() {
        let f = Frame {
            left: 10.0,
            top: 20.0,
            width: 100.0,
            height: 50.0,
            x: Axis::Decades(0, 2),
            y: Axis::Linear(4.0),
        };
        assert_eq!((f.px(1.0), f.px(10.0), f.px(100.0)), (10.0, 60.0, 110.0));
        assert_eq!((f.py(0.0), f.py(2.0), f.py(4.0)), (70.0, 45.0, 20.0));
        // Beyond the ends nothing leaves the frame.
        assert_eq!((f.px(1e9), f.py(-1.0)), (110.0, 70.0));
        let mut o = page(1.0, 1.0, 12, "<a>");
        f.columns(&mut o, &|v| format!("{v} <"));
        assert!(
            o.contains("<title>&lt;a&gt;</title>") && o.contains("10 &lt;"),
            "{o}"
        );
        assert_eq!(o.matches("<line ").count(), 3);
    }
}

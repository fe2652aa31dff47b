//! Parts of a whole as bars of one length, as SVG in the colours of [`chart`](super::chart).
use super::chart::{escape, standalone, swatch};
use std::fmt::Write as _;

const WIDTH: f64 = 480.0;
const BAR: f64 = 24.0;
/// A name, its bar, and room.
const ROW: f64 = 52.0;
/// Most rows drawn; the table beside the picture has all.
const MOST: usize = 12;

/// Rows that are divided in the same way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bars {
    /// What it shows; also its accessible name.
    pub title: String,
    /// Names of the parts.
    pub parts: Vec<String>,
    /// Name of each row (may be empty), and the size of every part, in any unit.
    pub rows: Vec<(String, Vec<f64>)>,
}

impl Bars {
    /// Shares of a row, each 0 to 1; all 0 if there is nothing to divide.
    pub fn shares(values: &[f64]) -> Vec<f64> {
        let sum: f64 = values.iter().sum();
        values.iter().map(|v| v / sum.max(1e-300)).collect()
    }

    /// Names of the parts, for a legend.
    pub fn legend(&self) -> Vec<&str> {
        self.parts.iter().map(String::as_str).collect()
    }

    /// The drawing, for a page that defines the colours; `None` if there is nothing to draw.
    pub fn svg(&self) -> Option<String> {
        let rows: Vec<_> = self
            .rows
            .iter()
            .filter(|(_, v)| v.iter().sum::<f64>() > 0.0)
            .take(MOST)
            .collect();
        if rows.is_empty() {
            return None;
        }
        let mut o = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" role=\"group\" aria-label=\"{}\" \
             font-family=\"system-ui,sans-serif\" font-size=\"12\">\n",
            ROW * rows.len() as f64,
            escape(&self.title)
        );
        for (r, (name, values)) in rows.iter().enumerate() {
            let top = ROW * r as f64 + 16.0;
            let shares = Self::shares(values);
            let words: Vec<String> = self
                .parts
                .iter()
                .zip(&shares)
                .filter(|(_, s)| **s >= 0.005)
                .map(|(p, s)| format!("{p} {:.0} %", 100.0 * s))
                .collect();
            let _ = writeln!(
                o,
                "<text x=\"0\" y=\"{:.1}\" fill=\"var(--soft)\">{}</text><g tabindex=\"0\" role=\"img\" aria-label=\"{}\">",
                top - 4.0,
                escape(name),
                escape(&words.join(", "))
            );
            let mut x = 0.0;
            for (i, (part, share)) in self.parts.iter().zip(&shares).enumerate() {
                let (colour, opacity) = swatch(i);
                let width = WIDTH * share;
                if *share > 0.0 {
                    let label = format!("{part} {:.0} %", 100.0 * share);
                    let _ = write!(
                        o,
                        "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"var(--c{colour})\" \
                         opacity=\"{opacity}\"><title>{}</title></rect>",
                        escape(&label)
                    );
                }
                if *share >= 0.08 {
                    let _ = write!(
                        o,
                        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"var(--paper)\" pointer-events=\"none\">{:.0} %</text>",
                        x + width / 2.0,
                        top + 16.0,
                        100.0 * share
                    );
                }
                x += width;
            }
            o.push_str("</g>\n");
        }
        o.push_str("</svg>\n");
        Some(o)
    }

    /// The drawing as a file of its own, with its title and legend.
    pub fn file(&self) -> Option<String> {
        Some(standalone(&self.title, &self.legend(), &self.svg()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_one_length_whatever_the_unit_and_empty_rows_are_left_out() {
        let bars = Bars {
            title: "t".into(),
            parts: vec!["a".into(), "b".into(), "c".into()],
            rows: vec![
                ("x".into(), vec![1.0, 2.0, 1.0]),
                ("none".into(), vec![0.0; 3]),
                ("y".into(), vec![1e-9, 0.0, 3e-9]),
            ],
        };
        let svg = bars.svg().unwrap();
        let widths: Vec<f64> = svg
            .split(" width=\"")
            .skip(1)
            .map(|p| p.split('"').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(widths, [120.0, 240.0, 120.0, 120.0, 360.0]);
        assert!(!svg.contains(">none<"));
        assert!(bars.file().unwrap().contains(">c</text>"));
        assert!(Bars::default().svg().is_none());
    }
}

//! A sweep: all points, and those that no other beats.
use super::super::chart::{Chart, Dot, Mark, Scale, Series, escape, short};
use super::super::json::Point;
use super::super::json::listing::SweepPoint;
use super::{PageError, Picture, Section, charts, folded, metric, prediction, table, worded};
use capsim::metrics::{Latency, Metric, Unit};
use capsim::plan::Slo;

/// Most rows of the table on the page; all are in the files.
const MOST: usize = 200;

fn name(row: &SweepPoint, dimensions: &[String]) -> String {
    dimensions
        .iter()
        .filter_map(|d| Some(format!("{d} {}", row.flags.get(d)?.as_str()?)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Which points no other beats in both: larger is better for both figures.
pub fn pareto(points: &[(f64, f64)]) -> Vec<bool> {
    points
        .iter()
        .map(|(x, y)| {
            !points
                .iter()
                .any(|(a, b)| a >= x && b >= y && (a > x || b > y))
        })
        .collect()
}

/// The points of a sweep, and how those that are served compare.
struct Sweep<'a> {
    rows: &'a [SweepPoint],
    /// Flags that differ between points.
    dimensions: Vec<String>,
    /// The points that can be served, with their predictions.
    served: Vec<(&'a SweepPoint, &'a Point)>,
    /// Of each of those, tokens per second that one user sees, and of all users.
    figures: Vec<(f64, f64)>,
    /// Which of them no other beats in both.
    best: Vec<bool>,
}

pub fn section(title: &str, rows: &[SweepPoint], slo: Option<&Slo>) -> Result<Section, PageError> {
    let sweep = Sweep::of(rows);
    let mut pictures = vec![sweep.front()];
    pictures.extend(sweep.over_load(slo)?);
    Ok(Section {
        title: if title.is_empty() {
            "Sweep".into()
        } else {
            format!("Sweep: {title}")
        },
        body: sweep.body(&pictures),
        pictures,
        ..Section::default()
    })
}

/// Flags that differ between points.
fn dimensions(rows: &[SweepPoint]) -> Vec<String> {
    let mut dimensions: Vec<String> = vec![];
    for r in rows {
        for k in r.flags.keys() {
            if !dimensions.contains(k) {
                dimensions.push(k.clone());
            }
        }
    }
    dimensions.retain(|d| rows.iter().any(|r| r.flags.get(d) != rows[0].flags.get(d)));
    dimensions
}

impl<'a> Sweep<'a> {
    fn of(rows: &'a [SweepPoint]) -> Self {
        let served: Vec<(&SweepPoint, &Point)> = rows
            .iter()
            .filter_map(|r| Some((r, r.prediction.as_ref()?)))
            .collect();
        let figures: Vec<(f64, f64)> = served
            .iter()
            .map(|(_, p)| {
                let at = |m| p.value(m).unwrap_or(f64::NAN);
                (
                    1e3 / at(Metric::mean(Latency::Tpot)),
                    at(Metric::OutputThroughput),
                )
            })
            .collect();
        Self {
            rows,
            dimensions: dimensions(rows),
            served,
            best: pareto(&figures),
            figures,
        }
    }

    /// Points on the front, or those behind it, by the tokens per second that one user sees.
    fn dots(&self, on: bool) -> Vec<Dot> {
        let mut all: Vec<Dot> = self
            .served
            .iter()
            .zip(&self.figures)
            .zip(&self.best)
            .filter(|(_, b)| **b == on)
            .map(|(((r, _), (x, y)), _)| Dot {
                x: *x,
                y: *y,
                range: None,
                label: format!(
                    "{}: {} tok/s, {} tok/s per user",
                    name(r, &self.dimensions),
                    short(*y),
                    short(*x)
                ),
            })
            .collect();
        all.sort_by(|a, b| a.x.total_cmp(&b.x));
        all
    }

    fn front(&self) -> Picture {
        Picture::from(Chart {
            title: "Throughput against interactivity".into(),
            x: "tok/s that one user sees (1 / mean TPOT)".into(),
            y: "output tok/s".into(),
            x_scale: Scale::Linear,
            y_scale: Scale::Linear,
            series: vec![
                Series {
                    name: "no other is better in both".into(),
                    dots: self.dots(true),
                    mark: Mark::Line,
                },
                Series {
                    name: "others".into(),
                    dots: self.dots(false),
                    mark: Mark::Dots,
                },
            ],
            ..Chart::default()
        })
    }

    /// Charts over the load that was varied, a line for each combination of the other flags.
    fn over_load(&self, slo: Option<&Slo>) -> Result<Vec<Picture>, PageError> {
        let dimensions = &self.dimensions;
        // Points in the form that a table of predictions has, so that the same charts serve.
        let points: Vec<Point> = self
            .served
            .iter()
            .map(|(r, p)| Point {
                varied: dimensions
                    .iter()
                    .filter_map(|d| Some((d.clone(), r.flags.get(d)?.clone())))
                    .collect(),
                ..(*p).clone()
            })
            .collect();
        let load = super::LOADS
            .iter()
            .find(|d| dimensions.iter().any(|x| x == **d))
            .map(|d| d.to_string())
            .or_else(|| prediction::along(&points));
        let Some(flag) = load else {
            return Ok(vec![]);
        };
        let named: Vec<prediction::Named<'_>> = points
            .iter()
            .map(|p| {
                let others: Vec<String> = dimensions
                    .iter()
                    .filter(|d| **d != flag)
                    .filter_map(|d| Some(format!("{d} {}", worded(p.varied.get(d)?))))
                    .collect();
                let here = p.varied.get(&flag).map_or("null".into(), worded);
                let label = format!("{flag} {here}");
                (others.join(", "), label, p)
            })
            .collect();
        let lines: std::collections::BTreeSet<&String> = named.iter().map(|n| &n.0).collect();
        // More lines than colours say nothing.
        if lines.len() > 6 {
            return Ok(vec![]);
        }
        let charts = super::over(&flag, &named, slo)?;
        Ok(charts.into_iter().map(Picture::from).collect())
    }

    /// The charts, and the points in tables.
    fn body(&self, pictures: &[Picture]) -> String {
        let (served, dimensions) = (&self.served, &self.dimensions);
        let refused: Vec<Vec<String>> = self
            .rows
            .iter()
            .filter_map(|r| Some(vec![name(r, dimensions), r.refused.clone()?]))
            .collect();
        let mut body = super::refused("points", served.iter().map(|(_, p)| *p));
        body += &format!(
            "<p class=\"note\">{} points of {}; {} cannot be served.</p>\n",
            self.rows.len(),
            escape(&dimensions.join(", ")),
            refused.len()
        );
        body += &charts(pictures);
        let head: Vec<String> = [
            "setting",
            "output tok/s",
            "mean TTFT s",
            "mean TPOT ms",
            "P99 E2EL s",
            "binds",
        ]
        .map(String::from)
        .to_vec();
        let line = |(r, p): &(&SweepPoint, &Point)| {
            vec![
                name(r, dimensions),
                metric(p, Metric::OutputThroughput, Unit::TokensPerSecond),
                metric(p, Metric::mean(Latency::Ttft), Unit::Seconds),
                metric(p, Metric::mean(Latency::Tpot), Unit::Milliseconds),
                metric(p, Metric::percentile(Latency::E2el, 99.0), Unit::Seconds),
                p.binds.clone(),
            ]
        };
        let front: Vec<Vec<String>> = served
            .iter()
            .zip(&self.best)
            .filter(|(_, b)| **b)
            .map(|(r, _)| line(r))
            .collect();
        body += &table("Points that no other beats in both", &head, &front);
        let every: Vec<Vec<String>> = served.iter().take(MOST).map(line).collect();
        let caption = if served.len() > MOST {
            format!("The first {MOST} of {} points", served.len())
        } else {
            "All points".into()
        };
        body += &folded(&caption, &table(&caption, &head, &every));
        if !refused.is_empty() {
            let head = ["setting", "why"].map(String::from);
            body += &folded("What cannot be served", &table("Refused", &head, &refused));
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::pareto;

    #[test]
    fn the_front_is_what_nothing_beats() {
        let points = [
            (1.0, 9.0),
            (2.0, 8.0),
            (2.0, 7.0),
            (1.5, 8.0),
            (3.0, 1.0),
            (3.0, 1.0),
            (f64::NAN, 100.0),
        ];
        assert_eq!(
            pareto(&points),
            [true, true, false, false, true, true, true]
        );
    }
}

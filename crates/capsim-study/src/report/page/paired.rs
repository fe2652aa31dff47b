//! A recorded benchmark beside the prediction of the same requests.
use super::super::chart::{Chart, Dot, Mark, Series, escape};
use super::super::json::paired::{PairedAnswer, Recording, Request, State};
use super::requests::{compared, head, sorted};
use super::{Picture, Section, charts, list, shown, table};

/// A latency of a request in seconds, where it was measured.
type Of = fn(&Request) -> Option<f64>;

/// What is compared, in milliseconds, under the names of its two sides.
fn sides(recording: &Recording, measured: Of, predicted: Of) -> Vec<(String, Vec<f64>)> {
    let of = |of: Of| {
        let all = recording.requests.iter();
        sorted(all.filter_map(|r| Some(1e3 * of(r)?)))
    };
    vec![
        ("measured".into(), of(measured)),
        ("predicted".into(), of(predicted)),
    ]
}

/// Measured over predicted in time.
fn over_time(
    recording: &Recording,
    title: &str,
    unit: &str,
    of: fn(&State) -> Option<f64>,
) -> Picture {
    let series = |states: &[State], name: &str, mark| Series {
        name: name.into(),
        dots: states
            .iter()
            .filter_map(|s| {
                Some(Dot {
                    x: s.t,
                    y: of(s)?,
                    ..Dot::default()
                })
            })
            .collect(),
        mark,
    };
    Chart {
        title: title.into(),
        x: "seconds".into(),
        y: unit.into(),
        series: vec![
            series(&recording.series, "measured", Mark::Dots),
            series(&recording.predicted_series, "predicted", Mark::Step),
        ],
        ..Chart::default()
    }
    .into()
}

/// Predicted over measured, request by request.
fn scatter(recording: &Recording, title: &str, measured: Of, predicted: Of) -> Option<Picture> {
    let both = |q: &Request| Some((1e3 * measured(q)?, 1e3 * predicted(q)?));
    let dots: Vec<Dot> = recording
        .requests
        .iter()
        .filter_map(both)
        .filter(|(m, p)| m.is_finite() && p.is_finite())
        .map(|(x, y)| Dot {
            x,
            y,
            ..Dot::default()
        })
        .collect();
    if dots.is_empty() {
        return None;
    }
    let most = dots.iter().map(|d| d.x.max(d.y)).fold(0.0, f64::max);
    let exact = [0.0, most].map(|v| Dot {
        x: v,
        y: v,
        ..Dot::default()
    });
    let chart = Chart {
        title: format!("{title}, request by request"),
        x: "measured, ms".into(),
        y: "predicted, ms".into(),
        series: vec![
            Series {
                name: "requests".into(),
                dots,
                mark: Mark::Dots,
            },
            Series {
                name: "exact".into(),
                dots: exact.into(),
                mark: Mark::Line,
            },
        ],
        ..Chart::default()
    };
    Some(chart.into())
}

/// The latencies that are compared.
const LATENCIES: [(&str, Of, Of); 2] = [
    ("TTFT", |q| q.ttft, |q| Some(q.ttft_predicted)),
    ("E2E latency", |q| Some(q.e2el), |q| Some(q.e2el_predicted)),
];

/// The pictures of a recording, and the rows of the table of its latencies.
fn drawn(r: &Recording) -> (Vec<Picture>, Vec<Vec<String>>) {
    let (mut all, mut rows) = (vec![], vec![]);
    for (title, measured, predicted) in LATENCIES {
        let both = sides(r, measured, predicted);
        if both.iter().all(|(_, v)| !v.is_empty()) {
            all.extend(scatter(r, title, measured, predicted));
            all.push(compared(title, &both, &mut rows));
        }
    }
    if !r.series.is_empty() {
        let requests = "requests";
        all.extend([
            over_time(r, "Requests running", requests, |s| Some(s.running)),
            over_time(r, "Requests waiting", requests, |s| Some(s.waiting)),
            over_time(r, "KV cache", "% of blocks", |s| Some(100.0 * s.kv?)),
        ]);
    }
    (all, rows)
}

/// The pictures of a recording.
pub fn pictures(r: &Recording) -> Vec<Picture> {
    drawn(r).0
}

/// The rows of the table of metrics.
fn metrics(recording: &Recording) -> Vec<Vec<String>> {
    let row = |m: &super::super::json::validation::Metric| {
        let c = &m.compared;
        vec![
            c.metric.to_string(),
            shown(c.measured),
            shown(c.predicted),
            c.error
                .map_or("–".into(), |e| format!("{:+.1} %", 100.0 * e)),
            format!("{}–{}", shown(c.low), shown(c.high)),
            match m.inside {
                Some(true) => "inside".into(),
                Some(false) => "outside".into(),
                None => "–".into(),
            },
        ]
    };
    recording.metrics.iter().map(row).collect()
}

pub(super) fn section(answer: &PairedAnswer) -> Section {
    let mut section = Section {
        title: "Measured against predicted".into(),
        ..Section::default()
    };
    for r in &answer.recordings {
        let (all, rows) = drawn(r);
        let columns = [
            "metric",
            "measured",
            "predicted",
            "error",
            "90 % interval",
            "measured lies",
        ]
        .map(String::from);
        let fitted = if r.fitted {
            " (fitted to it: not counted as predicted)"
        } else {
            ""
        };
        let name = &r.name;
        section.body += &format!("<h3>{}{fitted}</h3>\n", escape(name));
        section.body += &charts(&all);
        section.body += &table(&format!("Metrics of {name}"), &columns, &metrics(r));
        if !rows.is_empty() {
            section.body += &table(&format!("Latencies of {name}"), &head(), &rows);
        }
        let mut notes = vec![format!("largest difference: {}", r.largest_difference)];
        notes.extend(r.notes.iter().cloned());
        section.body += &list(&notes);
        section.pictures.extend(all);
    }
    section
}

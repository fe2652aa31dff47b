//! How much load: every condition of the SLO over load, the highest load that meets it, and the knee.
use super::super::chart::{Chart, Dot, Scale, Series, Upright, escape, short};
use super::{PageError, Picture, Section, array, charts, figure_of, list, refused, table, word};
use capsim::plan::{Slo, Term};
use serde_json::Value;

/// A line over the loads of the curve.
fn line(curve: &[Value], of: impl Fn(&Value) -> Option<f64>, unit: &str) -> Series {
    Series {
        dots: curve
            .iter()
            .filter_map(|p| {
                let (x, y) = (p["load"].as_f64()?, of(p)?);
                Some(Dot {
                    x,
                    y,
                    label: format!("load {}: {} {unit}", short(x), short(y)),
                    ..Dot::default()
                })
            })
            .collect(),
        ..Series::default()
    }
}

/// Where the SLO begins or ends to be met, and the knee.
fn marks(value: &Value) -> Vec<Upright> {
    // Of throughput alone, more load breaks nothing.
    let met = match figure_of(value, "/rising/least") {
        Some(least) => (Some(least), "SLO met from"),
        None => (figure_of(value, "/highest/load"), "SLO met up to"),
    };
    [met, (figure_of(value, "/knee"), "knee")]
        .into_iter()
        .filter_map(|(x, name)| {
            let x = x?;
            Some(Upright {
                x,
                name: format!("{name} {}", short(x)),
                series: None,
            })
        })
        .collect()
}

/// Every condition over load, then what the engine does.
fn pictures(curve: &[Value], axis: &str, slo: &Slo, uprights: &[Upright]) -> Vec<Picture> {
    let chart = |title: String, unit: &str, y_scale, series, level: Option<f64>| -> Picture {
        Chart {
            title,
            x: axis.into(),
            y: unit.into(),
            y_scale,
            series: vec![series],
            levels: level
                .map(|v| (v, format!("SLO {} {unit}", short(v))))
                .into_iter()
                .collect(),
            uprights: uprights.to_vec(),
            ..Chart::default()
        }
        .into()
    };
    let mut all = vec![];
    for (i, term) in slo.terms.iter().enumerate() {
        let (unit, factor, limit) = match term {
            Term::Latency { limit, .. } => ("ms", 1e3, *limit),
            Term::Goodput(share) => ("%", 100.0, *share),
            Term::Throughput { least, .. } => ("1/s", 1.0, *least),
        };
        let series = line(curve, |p| p["values"][i].as_f64().map(|v| v * factor), unit);
        let scale = match term {
            Term::Latency { .. } => Scale::Log,
            _ => Scale::Linear,
        };
        all.push(chart(
            format!("{} over {axis}", term.name()),
            unit,
            scale,
            series,
            Some(limit * factor),
        ));
    }
    for (title, key, unit, factor) in [
        ("Output throughput", "output_throughput", "tok/s", 1.0),
        ("Mean E2E latency", "e2el", "s", 1.0),
        ("Sequences per step", "batch", "sequences", 1.0),
        ("KV blocks in use at most", "kv_max", "%", 100.0),
    ] {
        let series = line(curve, |p| p[key].as_f64().map(|v| v * factor), unit);
        all.push(chart(
            format!("{title} over {axis}"),
            unit,
            Scale::Linear,
            series,
            None,
        ));
    }
    all
}

/// Latency against load, a row for each load.
fn loads(curve: &[Value], axis: &str, slo: &Slo) -> String {
    let mut head = vec![axis.to_string()];
    head.extend(slo.terms.iter().map(Term::name));
    head.extend(
        [
            "E2EL s",
            "batch",
            "output tok/s",
            "KV most",
            "waits for",
            "SLO",
        ]
        .map(String::from),
    );
    let rows: Vec<Vec<String>> = curve
        .iter()
        .map(|p| {
            let at = |key: &str| p[key].as_f64().map_or("–".into(), short);
            let mut row = vec![at("load")];
            row.extend(slo.terms.iter().enumerate().map(|(i, term)| {
                let Some(v) = p["values"][i].as_f64() else {
                    return "–".into();
                };
                match term {
                    Term::Latency { .. } => format!("{} ms", short(1e3 * v)),
                    Term::Goodput(_) => format!("{} %", short(100.0 * v)),
                    Term::Throughput { .. } => short(v),
                }
            }));
            row.extend([
                at("e2el"),
                at("batch"),
                at("output_throughput"),
                p["kv_max"]
                    .as_f64()
                    .map_or("–".into(), |v| format!("{:.0} %", 100.0 * v)),
                p["waits_for"].as_str().unwrap_or("–").replace('_', " "),
                if p["met"] == true { "met" } else { "broken" }.into(),
            ]);
            row
        })
        .collect();
    table("Latency against load", &head, &rows)
}

/// The highest load in words, or that from which on the SLO is met.
fn reached(value: &Value) -> String {
    let end = |key: &str| figure_of(value, key).map_or("no limit".into(), short);
    match (
        figure_of(value, "/rising/least"),
        figure_of(value, "/highest/load"),
    ) {
        (Some(v), _) => format!(
            "no limit; it is met from {} [{} … {}] on, 90 % interval",
            short(v),
            end("/rising/lucky"),
            figure_of(value, "/rising/unlucky").map_or("none".into(), short)
        ),
        (None, Some(v)) => format!(
            "{} [{} … {}], 90 % interval",
            short(v),
            end("/low"),
            end("/high")
        ),
        (None, None) => "no load meets it".into(),
    }
}

pub fn section(value: &Value) -> Result<Section, PageError> {
    let curve = array(value, "curve")?;
    let (text, axis) = (word(value, "slo")?, word(value, "axis")?);
    let slo = Slo::parse(text).map_err(|_| PageError::Missing("slo".into()))?;
    let pictures = pictures(curve, axis, &slo, &marks(value));
    let notes = value["notes"].as_array().into_iter().flatten();
    let notes: Vec<String> = notes.filter_map(|n| Some(n.as_str()?.into())).collect();
    let body = refused("loads", curve.iter())
        + &format!(
            "<p class=\"note\">SLO {}; highest {axis} that meets it: {}. The knee is where throughput over latency is \
             largest.</p>\n",
            escape(text),
            reached(value)
        )
        + &charts(&pictures)
        + &loads(curve, axis, &slo)
        + &list(&notes);
    Ok(Section {
        title: format!("Capacity: {text}"),
        body,
        pictures,
    })
}

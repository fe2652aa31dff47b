//! How much load: every condition of the SLO over load, the highest load that meets it, and the knee.
use super::super::capacity::{facts, floor};
use super::super::chart::{Chart, Dot, Scale, Series, Upright, escape, short};
use super::{
    PageError, Picture, Refused, Section, charts, definitions, head, list, refused, shown, table,
    word,
};
use capsim::plan::capacity::{Capacity, Point};
use capsim::plan::{Slo, Term};

/// A line over the loads of the curve.
fn line(curve: &[Point], of: impl Fn(&Point) -> f64, unit: &str) -> Series {
    Series {
        dots: curve
            .iter()
            .filter_map(|p| {
                let (x, y) = (p.load, of(p));
                y.is_finite().then(|| Dot {
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
fn marks(answer: &Capacity) -> Vec<Upright> {
    // Of throughput alone, more load breaks nothing.
    let met = match answer.rising.as_ref().and_then(|r| r.least) {
        Some(least) => (Some(least), "SLO met from"),
        None => (answer.highest.as_ref().map(|p| p.load), "SLO met up to"),
    };
    [met, (answer.knee, "knee")]
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
fn pictures(curve: &[Point], axis: &str, slo: &Slo, uprights: &[Upright]) -> Vec<Picture> {
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
            Term::Latency { limit, .. } if *limit >= 1.0 => ("s", 1.0, *limit),
            Term::Latency { limit, .. } => ("ms", 1e3, *limit),
            Term::Goodput(share) => ("%", 100.0, *share),
            Term::Throughput { least, .. } => ("1/s", 1.0, *least),
        };
        let series = line(curve, |p| value(p, i) * factor, unit);
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
    type Of = fn(&Point) -> f64;
    let engine: [(&str, &str, Of); 4] = [
        ("Output throughput", "tok/s", |p| p.output_throughput),
        ("Mean E2E latency", "s", |p| p.e2el),
        ("Sequences per step", "sequences", |p| p.batch),
        ("KV blocks in use at most", "%", |p| 100.0 * p.kv_max),
    ];
    for (title, unit, of) in engine {
        let series = line(curve, of, unit);
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
fn loads(curve: &[Point], axis: &str, slo: &Slo) -> String {
    let mut columns = vec![axis.to_string()];
    columns.extend(slo.terms.iter().map(Term::name));
    columns.extend(
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
            let mut row = vec![shown(p.load)];
            row.extend(slo.terms.iter().enumerate().map(|(i, term)| {
                let v = value(p, i);
                match term {
                    _ if !v.is_finite() => "–".into(),
                    Term::Latency { limit, .. } if *limit >= 1.0 => format!("{} s", short(v)),
                    Term::Latency { .. } => format!("{} ms", short(1e3 * v)),
                    Term::Goodput(_) => format!("{} %", short(100.0 * v)),
                    Term::Throughput { .. } => short(v),
                }
            }));
            row.extend([
                shown(p.e2el),
                shown(p.batch),
                shown(p.output_throughput),
                match p.kv_max.is_finite() {
                    true => format!("{:.0} %", 100.0 * p.kv_max),
                    false => "–".into(),
                },
                word(&p.waits_for).replace('_', " "),
                if p.met { "met" } else { "broken" }.into(),
            ]);
            row
        })
        .collect();
    table("Latency against load", &columns, &rows)
}

/// The highest load in words, or that from which on the SLO is met.
fn reached(answer: &Capacity) -> String {
    let end = |v: Option<f64>| v.map_or("no limit".into(), short);
    let from = answer.rising.as_ref().and_then(|r| Some((r.least?, r)));
    match (from, &answer.highest) {
        (Some((least, r)), _) => format!(
            "no limit; it is met from {} [{} … {}] on, 90 % interval",
            short(least),
            end(r.lucky),
            r.unlucky.map_or("none".into(), short)
        ),
        (None, Some(p)) => format!(
            "{} [{} … {}], 90 % interval",
            short(p.load),
            short(answer.low),
            end(answer.high)
        ),
        (None, None) => "no load meets it".into(),
    }
}

/// The value of a condition at a load; not finite where there is none.
fn value(p: &Point, condition: usize) -> f64 {
    p.values.get(condition).copied().unwrap_or(f64::NAN)
}

impl From<&Point> for Refused {
    fn from(p: &Point) -> Self {
        Self {
            refused: p.refused,
            of: p.num_prompts.into(),
            max_model_len: None,
        }
    }
}

/// What the terminal says of the answer, in the same words.
fn said(answer: &Capacity, slo: &Slo) -> String {
    let mut all = facts(slo, answer);
    all.extend(floor(slo, answer));
    let mut rows: Vec<Vec<String>> = vec![];
    for (label, text) in all {
        match rows.last_mut() {
            Some(row) if label.is_empty() => row[1] += &format!("; {text}"),
            _ => rows.push(vec![label.into(), text]),
        }
    }
    definitions(&rows)
}

pub fn section(answer: &Capacity) -> Result<Section, PageError> {
    let (curve, text) = (&answer.curve[..], &answer.slo);
    let axis = &word(&answer.axis);
    let slo = Slo::parse(text).map_err(|_| PageError::Missing("slo".into()))?;
    let pictures = pictures(curve, axis, &slo, &marks(answer));
    let body = refused("loads", curve.iter())
        + &head::answer(&answer.answer)
        + &format!(
            "<p class=\"note\">SLO {}; highest {axis} that meets it: {}. The knee is where throughput over latency is \
             largest.</p>\n",
            escape(text),
            reached(answer)
        )
        + &charts(&pictures)
        + &said(answer, &slo)
        + &loads(curve, axis, &slo)
        + &list(&answer.notes);
    Ok(Section {
        title: format!("Capacity{}: {text}", head::subject(answer.about.as_ref())),
        head: head::about(answer.about.as_ref()),
        body,
        pictures,
    })
}

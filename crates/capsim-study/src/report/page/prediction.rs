//! Predictions: throughput against interactivity, where step time goes, what the figures rest on.
use super::super::bars::Bars;
use super::super::chart::{Chart, Dot, Series, short};
use super::super::json::{Point, Predictions};
use super::load::over;
use super::{
    PageError, Picture, Section, charts, figure, folded, head, left_out, list, metric, refused,
    shown, table, worded,
};
use capsim::metrics::{Latency, Metric, Unit};
use capsim::plan::Slo;

/// A prediction with the line it belongs to and its own name.
pub type Named<'a> = (String, String, &'a Point);

/// What a prediction is called: the flags that make it differ from the others.
fn name(p: &Point) -> String {
    p.varied
        .iter()
        .map(|(k, v)| format!("{k} {}", worded(v)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Adds a dot to the line of its group.
pub(super) fn put(series: &mut Vec<Series>, group: &str, dot: Dot) {
    match series.iter_mut().find(|s| s.name == group) {
        Some(s) => s.dots.push(dot),
        None => series.push(Series {
            name: group.into(),
            dots: vec![dot],
            ..Series::default()
        }),
    }
}

/// Output throughput over tokens per second that one user sees: up and to the right is better. One series per value of `group`.
pub fn frontier(points: &[Named<'_>]) -> Chart {
    let mut series: Vec<Series> = vec![];
    for (group, label, p) in points {
        let (Some(tpot), Some(rate)) = (
            p.value(Metric::mean(Latency::Tpot)),
            p.value(Metric::OutputThroughput),
        ) else {
            continue;
        };
        if tpot <= 0.0 {
            continue;
        }
        let dot = Dot {
            x: 1e3 / tpot,
            y: rate,
            range: p.range(Metric::OutputThroughput),
            label: format!(
                "{label}: {} tok/s, {} tok/s per user",
                short(rate),
                short(1e3 / tpot)
            ),
        };
        put(&mut series, group, dot);
    }
    Chart {
        title: "Throughput against interactivity".into(),
        x: "tok/s that one user sees (1 / mean TPOT)".into(),
        y: "output tok/s".into(),
        series,
        ..Chart::default()
    }
}

/// Parts of the step time as bars of one length, and as a table.
pub fn breakdown(points: &[Point]) -> (Picture, String) {
    let mut keys: Vec<&String> = vec![];
    for p in points {
        for (k, v) in &p.breakdown_s {
            if v.unwrap_or(0.0) > 0.0 && !keys.contains(&k) {
                keys.push(k);
            }
        }
    }
    let parts: Vec<String> = keys.iter().map(|k| k.replace('_', " ")).collect();
    let sizes = |p: &Point| -> Vec<f64> {
        let size = |k: &&String| p.breakdown_s.get(*k).copied().flatten().unwrap_or(0.0);
        keys.iter().map(size).collect()
    };
    let rows: Vec<(String, Vec<f64>)> = points.iter().map(|p| (name(p), sizes(p))).collect();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|(name, sizes)| {
            let shares = Bars::shares(sizes).into_iter();
            std::iter::once(name.clone())
                .chain(shares.map(|s| format!("{:.0} %", 100.0 * s)))
                .collect()
        })
        .collect();
    let mut head = vec!["setting".to_string()];
    head.extend(parts.iter().cloned());
    let bars = Bars {
        title: "Where step time goes".into(),
        parts,
        rows,
    };
    let below = folded(
        "Shares as a table",
        &table("Share of step time", &head, &cells),
    );
    (bars.into(), below)
}

/// What a prediction rests on, and what its reader must know.
pub fn foundations(title: &str, p: &Point) -> String {
    let rests: Vec<Vec<String>> = p
        .rests_on
        .iter()
        .map(|r| {
            vec![
                r.coefficient.clone(),
                r.origin.word().into(),
                r.rel_sd
                    .map_or("–".into(), |v| format!("± {:.0} %", 100.0 * v)),
                r.slope_of_output_throughput
                    .map_or("–".into(), |v| format!("{v:+.2}")),
            ]
        })
        .collect();
    let head = [
        "coefficient",
        "origin",
        "uncertainty",
        "tok/s per 1 %, in %",
    ]
    .map(String::from);
    folded(title, &table("Coefficients", &head, &rests)) + &list(&p.caveats)
}

/// What the first row of each model, device and engine profile rests on.
fn all_foundations(points: &[Point]) -> String {
    let mut seen: Vec<[&str; 3]> = vec![];
    let mut o = String::new();
    for p in points {
        let who = [&p.model[..], &p.device, &p.engine];
        if !seen.contains(&who) {
            seen.push(who);
            let [model, device, engine] = who;
            let title = format!("What the first row of {model} on {device} with {engine} rests on");
            o += &foundations(&title, p);
        }
    }
    o
}

pub(super) fn section(answer: &Predictions, slo: Option<&Slo>) -> Result<Section, PageError> {
    let points = &answer.points[..];
    if points.is_empty() {
        return Err(PageError::Missing("points".into()));
    }
    let mut body = left_out(points.iter()) + &refused("rows", points.iter());
    body += &head::answer(&answer.answer);
    // The flag with most values runs along a line; the others tell lines apart.
    let along = along(points);
    let named: Vec<Named<'_>> = points
        .iter()
        .map(|p| {
            let group: Vec<String> = p
                .varied
                .iter()
                .filter(|(k, _)| Some(k.as_str()) != along.as_deref())
                .map(|(k, v)| format!("{k} {}", worded(v)))
                .collect();
            (group.join(", "), name(p), p)
        })
        .collect();
    let mut all: Vec<Picture> = vec![];
    if points.len() > 1 {
        all.push(frontier(&named).into());
        if let Some(flag) = &along {
            all.extend(over(flag, &named, slo)?.into_iter().map(Picture::from));
        }
    }
    body += &charts(&all);
    let head: Vec<String> = [
        "setting",
        "output tok/s",
        "mean TTFT s",
        "P99 TTFT s",
        "mean TPOT ms",
        "mean E2EL s",
        "batch",
        "KV most",
        "preemptions",
        "binds",
    ]
    .map(String::from)
    .to_vec();
    let rows: Vec<Vec<String>> = points
        .iter()
        .map(|p| {
            let occ = &p.occupancy;
            vec![
                name(p),
                metric(p, Metric::OutputThroughput, Unit::TokensPerSecond),
                metric(p, Metric::mean(Latency::Ttft), Unit::Seconds),
                metric(p, Metric::percentile(Latency::Ttft, 99.0), Unit::Seconds),
                metric(p, Metric::mean(Latency::Tpot), Unit::Milliseconds),
                metric(p, Metric::mean(Latency::E2el), Unit::Seconds),
                shown(occ.batch),
                occ.kv_usage_max
                    .map_or("–".into(), |v| format!("{:.0} %", 100.0 * v)),
                short(occ.preemptions as f64),
                p.binds.clone(),
            ]
        })
        .collect();
    body += &table("Figures with their 90 % intervals", &head, &rows);
    let (parts, below) = breakdown(points);
    body += &format!("<div class=\"charts\">\n{}</div>\n", figure(&parts, &below));
    all.push(parts);
    body += &all_foundations(points);
    Ok(Section {
        title: format!(
            "Prediction of {} on {}",
            head::models(points),
            head::devices(points)
        ),
        head: head::predictions(answer),
        body,
        pictures: all,
    })
}

/// The numeric flag with most values.
pub fn along(points: &[Point]) -> Option<String> {
    let mut values: Vec<(String, std::collections::BTreeSet<String>)> = vec![];
    for p in points {
        for (k, v) in &p.varied {
            let v = worded(v);
            if !v.parse::<f64>().is_ok_and(f64::is_finite) {
                continue;
            }
            match values.iter_mut().find(|(n, _)| n == k) {
                Some((_, set)) => drop(set.insert(v)),
                None => values.push((k.clone(), [v].into())),
            }
        }
    }
    values
        .into_iter()
        .filter(|(_, set)| set.len() > 1)
        .reduce(|a, b| if b.1.len() > a.1.len() { b } else { a })
        .map(|(k, _)| k)
}

//! Predictions: throughput against interactivity, where step time goes, what the figures rest on.
use super::super::bars::Bars;
use super::super::chart::{Chart, Dot, Series, escape, short};
use super::load::over;
use super::worded;
use super::{
    PageError, Picture, Section, array, charts, figure, figure_of, folded, list, metric, refused,
    table, word,
};
use capsim::plan::Slo;
use serde_json::Value;

/// A prediction with the line it belongs to and its own name.
pub type Named<'a> = (String, String, &'a Value);

/// What a prediction is called: the flags that make it differ from the others.
fn name(p: &Value) -> String {
    let Some(varied) = p["varied"].as_object() else {
        return String::new();
    };
    varied
        .iter()
        .map(|(k, v)| format!("{k} {}", worded(v)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The 90 % interval of a metric.
pub(super) fn range(p: &Value, metric: &str) -> Option<(f64, f64)> {
    Some((
        figure_of(p, &format!("/metrics/{metric}/low"))?,
        figure_of(p, &format!("/metrics/{metric}/high"))?,
    ))
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
            figure_of(p, "/metrics/mean_tpot_ms/value"),
            figure_of(p, "/metrics/output_throughput/value"),
        ) else {
            continue;
        };
        if tpot <= 0.0 {
            continue;
        }
        let dot = Dot {
            x: 1e3 / tpot,
            y: rate,
            range: range(p, "output_throughput"),
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
pub fn breakdown(points: &[Value]) -> (Picture, String) {
    let mut keys: Vec<&String> = vec![];
    for p in points {
        for (k, v) in p["breakdown_s"].as_object().into_iter().flatten() {
            if v.as_f64().unwrap_or(0.0) > 0.0 && !keys.contains(&k) {
                keys.push(k);
            }
        }
    }
    let parts: Vec<String> = keys.iter().map(|k| k.replace('_', " ")).collect();
    let sizes = |p: &Value| -> Vec<f64> {
        keys.iter()
            .map(|k| p["breakdown_s"][*k].as_f64().unwrap_or(0.0))
            .collect()
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
pub fn foundations(title: &str, p: &Value) -> String {
    let rests: Vec<Vec<String>> = p["rests_on"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|r| {
            vec![
                r["coefficient"].as_str().unwrap_or("?").into(),
                r["origin"].as_str().unwrap_or("?").into(),
                r["rel_sd"]
                    .as_f64()
                    .map_or("–".into(), |v| format!("± {:.0} %", 100.0 * v)),
                r["slope_of_output_throughput"]
                    .as_f64()
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
    let caveats: Vec<String> = p["caveats"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| c.as_str().map(String::from))
        .collect();
    folded(title, &table("Coefficients", &head, &rests)) + &list(&caveats)
}

/// A word that points have, each value once.
fn each<'a>(points: &'a [Value], key: &str) -> Result<Vec<&'a str>, PageError> {
    let mut all = vec![];
    for p in points {
        let value = word(p, key)?;
        if !all.contains(&value) {
            all.push(value);
        }
    }
    Ok(all)
}

/// What the first row of each model, device and engine profile rests on.
fn all_foundations(points: &[Value]) -> Result<String, PageError> {
    let mut seen: Vec<[&str; 3]> = vec![];
    let mut o = String::new();
    for p in points {
        let who = [word(p, "model")?, word(p, "device")?, word(p, "engine")?];
        if !seen.contains(&who) {
            seen.push(who);
            let [model, device, engine] = who;
            let title = format!("What the first row of {model} on {device} with {engine} rests on");
            o += &foundations(&title, p);
        }
    }
    Ok(o)
}

pub(super) fn section(value: &Value, slo: Option<&Slo>) -> Result<Section, PageError> {
    let points = array(value, "points")?;
    if points.is_empty() {
        return Err(PageError::Missing("points".into()));
    }
    let mut body = refused("rows", points.iter());
    body += &format!(
        "<p class=\"note\">{} on {}, engine {}. Ranges are 90 % intervals.</p>\n",
        escape(&each(points, "model")?.join("; ")),
        escape(&each(points, "device")?.join("; ")),
        escape(&each(points, "engine")?.join("; "))
    );
    // The flag with most values runs along a line; the others tell lines apart.
    let along = along(points);
    let named: Vec<Named<'_>> = points
        .iter()
        .map(|p| {
            let group: Vec<String> = p["varied"]
                .as_object()
                .into_iter()
                .flatten()
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
            let number = |place: &str| figure_of(p, place).map_or("–".into(), short);
            vec![
                name(p),
                metric(p, "output_throughput"),
                metric(p, "mean_ttft_s"),
                metric(p, "p99_ttft_s"),
                metric(p, "mean_tpot_ms"),
                metric(p, "mean_e2el_s"),
                number("/occupancy/batch"),
                figure_of(p, "/occupancy/kv_usage_max")
                    .map_or("–".into(), |v| format!("{:.0} %", 100.0 * v)),
                number("/occupancy/preemptions"),
                p["binds"].as_str().unwrap_or("–").into(),
            ]
        })
        .collect();
    body += &table("Figures with their 90 % intervals", &head, &rows);
    let (parts, below) = breakdown(points);
    body += &format!("<div class=\"charts\">\n{}</div>\n", figure(&parts, &below));
    all.push(parts);
    body += &all_foundations(points)?;
    Ok(Section {
        title: "Prediction".into(),
        body,
        pictures: all,
    })
}

/// The numeric flag with most values.
pub fn along(points: &[Value]) -> Option<String> {
    let mut values: Vec<(String, std::collections::BTreeSet<String>)> = vec![];
    for p in points {
        for (k, v) in p["varied"].as_object().into_iter().flatten() {
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

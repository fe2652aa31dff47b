//! Predictions: throughput against interactivity, where step time goes, what the figures rest on.
use super::super::chart::{Chart, Dot, Mark, Scale, Series, escape, short};
use super::{PageError, Section, array, charts, figure_of, folded, list, metric, table, word};
use serde_json::Value;
use std::fmt::Write as _;

/// What a prediction is called: the flags that make it differ from the others.
fn name(p: &Value) -> String {
    let Some(varied) = p["varied"].as_object() else {
        return String::new();
    };
    varied
        .iter()
        .map(|(k, v)| format!("{k} {}", v.as_str().unwrap_or("?")))
        .collect::<Vec<_>>()
        .join(", ")
}

fn range(p: &Value, metric: &str) -> Option<(f64, f64)> {
    Some((
        figure_of(p, &format!("/metrics/{metric}/low"))?,
        figure_of(p, &format!("/metrics/{metric}/high"))?,
    ))
}

/// Output throughput over tokens per second that one user sees: up and to the right is better. One series per value of `group`.
pub fn frontier(points: &[(String, String, &Value)]) -> Chart {
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
        match series.iter_mut().find(|s| s.name == *group) {
            Some(s) => s.dots.push(dot),
            None => series.push(Series {
                name: group.clone(),
                dots: vec![dot],
                mark: Mark::Line,
            }),
        }
    }
    Chart {
        title: "Throughput against interactivity".into(),
        x: "tok/s that one user sees (1 / mean TPOT)".into(),
        y: "output tok/s".into(),
        x_scale: Scale::Linear,
        y_scale: Scale::Linear,
        series,
        levels: vec![],
    }
}

/// Parts of the step time as bars of one length.
fn breakdown(points: &[Value]) -> String {
    let mut parts: Vec<String> = vec![];
    for p in points {
        for (k, v) in p["breakdown_s"].as_object().into_iter().flatten() {
            if v.as_f64().unwrap_or(0.0) > 0.0 && !parts.contains(k) {
                parts.push(k.clone());
            }
        }
    }
    let rows: Vec<Vec<String>> = points
        .iter()
        .map(|p| {
            let at = |k: &String| p["breakdown_s"][k].as_f64().unwrap_or(0.0);
            let sum: f64 = parts.iter().map(at).sum();
            let mut row = vec![name(p)];
            row.extend(
                parts
                    .iter()
                    .map(|k| format!("{:.0} %", 100.0 * at(k) / sum.max(1e-300))),
            );
            row
        })
        .collect();
    let mut head = vec!["setting".to_string()];
    head.extend(parts.iter().map(|p| p.replace('_', " ")));
    let mut bars = String::new();
    for p in points.iter().take(12) {
        let at = |k: &String| p["breakdown_s"][k].as_f64().unwrap_or(0.0);
        let sum: f64 = parts.iter().map(at).sum();
        let _ = write!(
            bars,
            "<p>{}</p><div class=\"bar\" role=\"img\" aria-label=\"",
            escape(&name(p))
        );
        for k in &parts {
            let _ = write!(
                bars,
                "{} {:.0} %, ",
                escape(&k.replace('_', " ")),
                100.0 * at(k) / sum.max(1e-300)
            );
        }
        bars.push_str("\">");
        for (i, k) in parts.iter().enumerate() {
            let _ = write!(
                bars,
                "<span style=\"width:{:.2}%;background:var(--c{});opacity:{}\" title=\"{} {:.0} %\"></span>",
                100.0 * at(k) / sum.max(1e-300),
                i % 6,
                if i < 6 { "1" } else { ".55" },
                escape(&k.replace('_', " ")),
                100.0 * at(k) / sum.max(1e-300)
            );
        }
        bars.push_str("</div>\n");
    }
    let mut legend = String::from("<ul class=\"legend\">");
    for (i, k) in parts.iter().enumerate() {
        let _ = write!(
            legend,
            "<li><span style=\"background:var(--c{});opacity:{}\"></span>{}</li>",
            i % 6,
            if i < 6 { "1" } else { ".55" },
            escape(&k.replace('_', " "))
        );
    }
    legend.push_str("</ul>\n");
    format!(
        "<figure><figcaption>Where step time goes</figcaption>{legend}{bars}{}</figure>\n",
        folded(
            "Shares as a table",
            &table("Share of step time", &head, &rows)
        )
    )
}

pub fn section(value: &Value) -> Result<Section, PageError> {
    let points = array(value, "points")?;
    let first = points
        .first()
        .ok_or_else(|| PageError::Missing("points".into()))?;
    let mut body = format!(
        "<p class=\"note\">{} on {}, engine {}. Ranges are 90 % intervals.</p>\n",
        escape(word(first, "model")?),
        escape(word(first, "device")?),
        escape(word(first, "engine")?)
    );
    // The flag with most values runs along a line; the others tell lines apart.
    let along = along(points);
    let named: Vec<(String, String, &Value)> = points
        .iter()
        .map(|p| {
            let group: Vec<String> = p["varied"]
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(k, _)| Some(k.as_str()) != along.as_deref())
                .map(|(k, v)| format!("{k} {}", v.as_str().unwrap_or("?")))
                .collect();
            (group.join(", "), name(p), p)
        })
        .collect();
    let mut all = vec![];
    if points.len() > 1 {
        all.push(frontier(&named));
        if let Some(flag) = &along {
            all.extend(over(flag, &named));
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
    body += &breakdown(points);
    let rests: Vec<Vec<String>> = first["rests_on"]
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
    body += &folded(
        "What the first row rests on",
        &table("Coefficients", &head, &rests),
    );
    let caveats: Vec<String> = first["caveats"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| c.as_str().map(String::from))
        .collect();
    body += &list(&caveats);
    Ok(Section {
        title: "Prediction".into(),
        body,
    })
}

/// The numeric flag with most values.
pub fn along(points: &[Value]) -> Option<String> {
    let mut values: Vec<(String, std::collections::BTreeSet<String>)> = vec![];
    for p in points {
        for (k, v) in p["varied"].as_object().into_iter().flatten() {
            let Some(v) = v
                .as_str()
                .filter(|v| v.parse::<f64>().is_ok_and(f64::is_finite))
            else {
                continue;
            };
            match values.iter_mut().find(|(n, _)| n == k) {
                Some((_, set)) => drop(set.insert(v.into())),
                None => values.push((k.clone(), [v.to_string()].into())),
            }
        }
    }
    values
        .into_iter()
        .filter(|(_, set)| set.len() > 1)
        .reduce(|a, b| if b.1.len() > a.1.len() { b } else { a })
        .map(|(k, _)| k)
}

/// Latencies over a flag.
pub fn over(flag: &str, points: &[(String, String, &Value)]) -> Vec<Chart> {
    [
        ("mean_ttft_ms", "Mean TTFT", "s", 1e-3),
        ("mean_tpot_ms", "Mean TPOT", "ms", 1.0),
        ("p99_e2el_ms", "P99 E2E latency", "s", 1e-3),
    ]
    .into_iter()
    .map(|(metric, title, unit, factor)| {
        let mut series: Vec<Series> = vec![];
        for (group, label, p) in points {
            let (Some(x), Some(y)) = (
                p["varied"][flag]
                    .as_str()
                    .and_then(|v| v.parse::<f64>().ok()),
                figure_of(p, &format!("/metrics/{metric}/value")),
            ) else {
                continue;
            };
            let dot = Dot {
                x,
                y: y * factor,
                range: range(p, metric).map(|(a, b)| (a * factor, b * factor)),
                label: format!("{label}: {} {unit}", short(y * factor)),
            };
            match series.iter_mut().find(|s| s.name == *group) {
                Some(s) => s.dots.push(dot),
                None => series.push(Series {
                    name: group.clone(),
                    dots: vec![dot],
                    mark: Mark::Line,
                }),
            }
        }
        Chart {
            title: format!("{title} over {flag}"),
            x: flag.into(),
            y: format!("{unit}, logarithmic"),
            x_scale: Scale::Linear,
            y_scale: Scale::Log,
            series,
            levels: vec![],
        }
    })
    .collect()
}

//! A recorded benchmark beside the prediction of the same requests.
use super::super::chart::{Chart, Dot, Mark, Series, escape, short};
use super::requests::{compared, head, sorted};
use super::{PageError, Picture, Section, array, charts, list, table, word};
use serde_json::Value;

/// What is compared, under the names of its two sides.
fn sides(recording: &Value, key: &str) -> Vec<(String, Vec<f64>)> {
    let of = |key: &str| {
        let all = recording["requests"].as_array().into_iter().flatten();
        sorted(all.filter_map(|r| Some(1e3 * r[key].as_f64()?)))
    };
    vec![
        ("measured".into(), of(key)),
        ("predicted".into(), of(&format!("{key}_predicted"))),
    ]
}

/// Measured over predicted in time.
fn over_time(recording: &Value, key: &str, title: &str, factor: f64, unit: &str) -> Picture {
    let series = |place: &str, name: &str, mark| Series {
        name: name.into(),
        dots: recording[place]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|s| {
                Some(Dot {
                    x: s["t"].as_f64()?,
                    y: factor * s[key].as_f64()?,
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
            series("series", "measured", Mark::Dots),
            series("predicted_series", "predicted", Mark::Step),
        ],
        ..Chart::default()
    }
    .into()
}

pub fn section(value: &Value) -> Result<Section, PageError> {
    let mut section = Section {
        title: "Measured against predicted".into(),
        ..Section::default()
    };
    for r in array(value, "recordings")? {
        let name = word(r, "name")?;
        let mut all = vec![];
        let mut rows = vec![];
        for (title, key) in [("TTFT", "ttft"), ("E2E latency", "e2el")] {
            let both = sides(r, key);
            if both.iter().all(|(_, v)| !v.is_empty()) {
                all.push(compared(title, &both, &mut rows));
            }
        }
        if r["series"].as_array().is_some_and(|s| !s.is_empty()) {
            for (key, title, factor, unit) in [
                ("running", "Requests running", 1.0, "requests"),
                ("waiting", "Requests waiting", 1.0, "requests"),
                ("kv", "KV cache", 100.0, "% of blocks"),
            ] {
                all.push(over_time(r, key, title, factor, unit));
            }
        }
        let metrics: Vec<Vec<String>> = array(r, "metrics")?
            .iter()
            .map(|m| {
                let at = |key: &str| m[key].as_f64().map_or("–".into(), short);
                vec![
                    m["metric"].as_str().unwrap_or("?").into(),
                    at("measured"),
                    at("predicted"),
                    m["error"]
                        .as_f64()
                        .map_or("–".into(), |e| format!("{:+.1} %", 100.0 * e)),
                    format!("{}–{}", at("low"), at("high")),
                    match m["inside"].as_bool() {
                        Some(true) => "inside".into(),
                        Some(false) => "outside".into(),
                        None => "–".into(),
                    },
                ]
            })
            .collect();
        let columns = [
            "metric",
            "measured",
            "predicted",
            "error",
            "90 % interval",
            "measured lies",
        ]
        .map(String::from);
        let fitted = if r["fitted"] == true {
            " (fitted to it: not counted as predicted)"
        } else {
            ""
        };
        section.body += &format!("<h3>{}{fitted}</h3>\n", escape(name));
        section.body += &charts(&all);
        section.body += &table(&format!("Metrics of {name}"), &columns, &metrics);
        if !rows.is_empty() {
            section.body += &table(&format!("Latencies of {name}"), &head(), &rows);
        }
        let notes: Vec<String> = r["largest_difference"]
            .as_str()
            .map(|b| format!("largest difference: {b}"))
            .into_iter()
            .chain(
                r["notes"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|n| n.as_str().map(String::from)),
            )
            .collect();
        section.body += &list(&notes);
        section.pictures.extend(all);
    }
    Ok(section)
}

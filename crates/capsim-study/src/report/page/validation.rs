//! Measured against predicted.
use super::super::chart::{Chart, Dot, Mark, Scale, Series, escape, short};
use super::{PageError, Picture, Section, array, charts, list, table, word};
use serde_json::Value;

pub fn section(value: &Value) -> Result<Section, PageError> {
    let runs = array(value, "runs")?;
    let mut rows = vec![];
    let mut series: Vec<Series> = vec![];
    let (mut inside, mut bounded) = (0, 0);
    for run in runs {
        let id = word(run, "id")?;
        let fitted = run["fitted"] == true;
        // The hypothesis that the data prefer stands first.
        let Some(best) = array(run, "candidates")?.first() else {
            continue;
        };
        for m in array(best, "metrics")? {
            let metric = word(m, "metric")?;
            // The answer's own error allows for the digits of the record.
            let (Some(measured), Some(predicted), Some(error)) = (
                m["measured"].as_f64(),
                m["predicted"].as_f64(),
                m["error"].as_f64(),
            ) else {
                continue;
            };
            let range = m["low"].as_f64().zip(m["high"].as_f64());
            let error = 100.0 * error;
            rows.push(vec![
                format!("{id}{}, {metric}", if fitted { " (fitted)" } else { "" }),
                short(measured),
                short(predicted),
                format!("{error:+.1} %"),
                range.map_or("–".into(), |(a, b)| format!("{}–{}", short(a), short(b))),
                match m["inside"].as_bool() {
                    Some(true) => "inside".into(),
                    Some(false) => "outside".into(),
                    None => "–".into(),
                },
            ]);
            if fitted {
                continue;
            }
            if let Some(i) = m["inside"].as_bool() {
                bounded += 1;
                inside += usize::from(i);
            }
            let kind = if metric.contains("throughput") {
                "throughput"
            } else if metric.contains("ttft") {
                "TTFT"
            } else if metric.contains("tpot") || metric.contains("itl") {
                "TPOT, ITL"
            } else {
                "latency, duration"
            };
            let dot = Dot {
                x: measured,
                y: 1.0 + error / 100.0,
                range: range.map(|(a, b)| (a / measured, b / measured)),
                label: format!("{id}, {metric}: {error:+.1} %"),
            };
            match series.iter_mut().find(|s| s.name == kind) {
                Some(s) => s.dots.push(dot),
                None => series.push(Series {
                    name: kind.into(),
                    dots: vec![dot],
                    mark: Mark::Dots,
                }),
            }
        }
    }
    let fitted: Vec<String> = value["fitted_on"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|f| f.as_str().map(String::from))
        .collect();
    let mut body = format!(
        "<p class=\"note\">{}. {}; {inside} of {bounded} measured values of predicted runs lie in their 90 % interval.</p>\n",
        escape(value["name"].as_str().unwrap_or("Runs")),
        if fitted.is_empty() {
            "Nothing was fitted".into()
        } else {
            format!(
                "Fitted on {}, which is not counted as predicted",
                escape(&fitted.join(", "))
            )
        }
    );
    let all = [Picture::from(Chart {
        title: "Predicted over measured".into(),
        x: "measured value (s, ms, tok/s), logarithmic".into(),
        y: "predicted / measured".into(),
        x_scale: Scale::Log,
        y_scale: Scale::Free,
        series,
        levels: vec![(1.0, "exact".into())],
        ..Chart::default()
    })];
    body += &charts(&all);
    let head = [
        "run, metric",
        "measured",
        "predicted",
        "error",
        "90 % interval",
        "measured lies",
    ]
    .map(String::from);
    body += &table("All metrics", &head, &rows);
    let supposed: Vec<String> = runs
        .iter()
        .filter_map(|r| {
            let h = r["candidates"][0]["hypothesis"].as_str()?;
            Some(format!("{}: supposing {h}", r["id"].as_str()?))
        })
        .collect();
    body += &list(&supposed);
    Ok(Section {
        title: "Validation".into(),
        body,
        pictures: all.into(),
    })
}

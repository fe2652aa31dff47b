//! Which settings: today's, the best, those that no other beats, and what each knob does.
use super::super::chart::{Chart, Dot, Mark, Series, escape, short};
use super::{PageError, Picture, Section, array, charts, list, refused, table};
use serde_json::Value;

/// Settings that were changed, in words.
fn changes(outcome: &Value) -> String {
    let pair = |c: &Value| Some(format!("{} {}", c[0].as_str()?, super::worded(&c[1])));
    let all = outcome["changes"].as_array().into_iter().flatten();
    let all: Vec<String> = all.filter_map(pair).collect();
    match all.is_empty() {
        true => "as today".into(),
        false => all.join(", "),
    }
}

/// A row of the table of settings.
fn row(name: &str, o: &Value) -> Vec<String> {
    let at = |key: &str, factor: f64| {
        let v = o[key].as_f64();
        v.map_or("–".into(), |v| short(factor * v))
    };
    vec![
        format!("{name}: {}", changes(o)),
        at("output_throughput", 1.0),
        at("interactivity", 1.0),
        at("ttft", 1.0),
        at("tpot", 1e3),
        at("e2el", 1.0),
        at("devices", 1.0),
        o["concurrency"]
            .as_u64()
            .map_or("–".into(), |c| c.to_string()),
        match (o["margin"].as_f64(), o["met"].as_bool()) {
            (None, _) => "–".into(),
            (Some(m), Some(true)) => format!("met, {:.0} % used", 100.0 * m),
            (Some(_), _) => "broken".into(),
        },
    ]
}

/// Outcomes as points: throughput over what one user sees.
fn series(name: &str, outcomes: &[&Value], mark: Mark) -> Series {
    let dot = |o: &&Value| {
        let (x, y) = (
            o["interactivity"].as_f64()?,
            o["output_throughput"].as_f64()?,
        );
        Some(Dot {
            x,
            y,
            label: format!(
                "{name}: {}: {} tok/s, {} tok/s per user",
                changes(o),
                short(y),
                short(x)
            ),
            ..Dot::default()
        })
    };
    Series {
        name: name.into(),
        dots: outcomes.iter().filter_map(dot).collect(),
        mark,
    }
}

/// What each knob does to the best setting.
fn effects(value: &Value) -> Result<String, PageError> {
    let rows: Vec<Vec<String>> = array(value, "effects")?
        .iter()
        .map(|e| {
            let other = |o: &Value| {
                let missed = if o[2] == true { "" } else { ", misses the SLO" };
                let score = o[1].as_f64();
                score.map_or(format!("{}: not possible", super::worded(&o[0])), |s| {
                    format!("{}: × {}{missed}", super::worded(&o[0]), short(s))
                })
            };
            let others = e["others"].as_array().into_iter().flatten();
            let others: Vec<String> = others.map(other).collect();
            vec![
                e["knob"].as_str().unwrap_or("?").into(),
                super::worded(&e["chosen"]),
                others.join("; "),
            ]
        })
        .collect();
    let head = ["knob", "best setting", "every other value: score"].map(String::from);
    Ok(match rows.is_empty() {
        true => String::new(),
        false => table("Each knob turned alone", &head, &rows),
    })
}

pub fn section(value: &Value) -> Result<Section, PageError> {
    let front: Vec<&Value> = array(value, "front")?.iter().collect();
    let there = |key: &str| Some(&value[key]).filter(|o| o.is_object());
    let shown: Vec<(&str, &Value)> = [
        ("today", there("present")),
        ("best", there("best")),
        ("nearest to the SLO", there("nearest")),
    ]
    .into_iter()
    .filter_map(|(name, o)| Some((name, o?)))
    .collect();
    let slo = value["slo"].as_str().unwrap_or("none");
    let mut body = refused(
        "settings",
        shown.iter().map(|(_, o)| *o).chain(front.iter().copied()),
    );
    body += &format!(
        "<p class=\"note\">SLO {}; {} settings tried, of which {} do not start; objective: {}.</p>\n",
        escape(slo),
        value["tried"],
        value["refused"],
        escape(&super::worded(&value["objective"]).replace('_', " "))
    );
    if let Some(line) = shown.last().and_then(|(_, o)| o["serve"].as_str()) {
        body += &format!("<pre><code>{}</code></pre>\n", escape(line));
    }
    if let Some([gain, low, high]) = value["gain"].as_array().map(Vec::as_slice) {
        let one = |v: &Value| v.as_f64().map_or("–".into(), short);
        let (gain, low, high) = (one(gain), one(low), one(high));
        body += &format!("<p class=\"note\">Best over today: × {gain} [{low} … {high}].</p>\n");
    }
    let mut all = vec![series("nothing tried beats it in both", &front, Mark::Line)];
    for (name, o) in &shown {
        all.push(series(name, &[*o], Mark::Dots));
    }
    let pictures = vec![Picture::from(Chart {
        title: "Throughput against interactivity".into(),
        x: "tok/s that one user sees (1 / mean TPOT)".into(),
        y: "output tok/s".into(),
        series: all,
        ..Chart::default()
    })];
    body += &charts(&pictures);
    let head = [
        "setting",
        "output tok/s",
        "tok/s per user",
        "mean TTFT s",
        "mean TPOT ms",
        "mean E2EL s",
        "devices",
        "at once",
        "SLO",
    ]
    .map(String::from);
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|(name, o)| row(name, o))
        .chain(front.iter().map(|o| row("not beaten", o)))
        .collect();
    body += &table("Settings", &head, &rows);
    body += &effects(value)?;
    let notes = value["notes"].as_array().into_iter().flatten();
    let notes: Vec<String> = notes.filter_map(|n| Some(n.as_str()?.into())).collect();
    body += &list(&notes);
    Ok(Section {
        title: format!("Settings: SLO {slo}"),
        body,
        pictures,
    })
}

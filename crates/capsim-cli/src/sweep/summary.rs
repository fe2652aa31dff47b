//! What a sweep says when it ends.
use super::store::Merged;
use capsim_study::report::json;
use capsim_study::report::json::listing::{Best, RefusedPoint, SweepSummary};
use capsim_study::report::page::{refusals, worded};
use capsim_study::report::table::wrap;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// What people look for first: in words, metric, unit, and whether more is better.
const WANTED: [(&str, &str, &str, f64); 3] = [
    ("most output", "output_throughput", "tok/s", 1.0),
    ("lowest mean TPOT", "mean_tpot_ms", "ms", -1.0),
    ("lowest mean TTFT", "mean_ttft_ms", "ms", -1.0),
];

/// What a point sets of what the sweep varies.
fn flags(merged: &Merged, row: &Value) -> BTreeMap<String, Value> {
    let flag = |d: &String| Some((d.clone(), row["flags"].get(d)?.clone()));
    merged.listing.dimensions.iter().filter_map(flag).collect()
}

/// The same in words, in the plan's order.
fn in_words(merged: &Merged, flags: &BTreeMap<String, Value>) -> String {
    let one = |d: &String| Some(format!("{} {}", d.replace('_', "-"), worded(flags.get(d)?)));
    let all: Vec<String> = merged.listing.dimensions.iter().filter_map(one).collect();
    all.join(", ")
}

/// The best point by a metric; the first of equals.
fn best(merged: &Merged, what: &str, metric: &str, sign: f64) -> Option<Best> {
    let path = format!("/prediction/metrics/{metric}/value");
    let (value, row) = merged
        .rows
        .iter()
        .filter_map(|r| Some((r.pointer(&path)?.as_f64()?, r)))
        .reduce(|a, b| if sign * b.0 > sign * a.0 { b } else { a })?;
    Some(Best {
        what: what.into(),
        metric: metric.into(),
        value,
        flags: flags(merged, row),
    })
}

fn summary(dir: &Path, merged: &Merged) -> SweepSummary {
    let refused = |r: &&Value| !r["refused"].is_null();
    SweepSummary {
        schema: "capsim.sweep-summary/1".into(),
        folder: dir.display().to_string(),
        complete: merged.missing.is_empty(),
        points: merged.listing.points.len(),
        missing: merged.missing.len(),
        refused: merged.rows.iter().filter(refused).count(),
        refusal: merged.rows.iter().find(refused).map(|row| RefusedPoint {
            flags: flags(merged, row),
            why: row["refused"].as_str().unwrap_or_default().into(),
        }),
        refused_requests: refusals(
            "points",
            merged
                .rows
                .iter()
                .filter(|r| !refused(r))
                .map(|r| &r["prediction"]),
        ),
        best: WANTED
            .iter()
            .filter_map(|(what, metric, _, sign)| best(merged, what, metric, *sign))
            .collect(),
    }
}

/// Prints it; `tables` says whether they are written.
pub fn show(dir: &Path, merged: &Merged, tables: bool, json: bool) {
    let s = summary(dir, merged);
    if json {
        println!("{}", json::text(&s));
        return;
    }
    let there = s.points - s.missing;
    if !tables {
        println!(
            "{there} of {} points are in {}; when all shards are done: capsim sweep merge {1}",
            s.points, s.folder
        );
        return;
    }
    if let Some(text) = &s.refused_requests {
        println!("{}", wrap(&format!("Refused: {text}"), 80, "  "));
    }
    println!(
        "{there} points, {} of them cannot be served; {}/results.jsonl, .csv{}",
        s.refused,
        s.folder,
        if cfg!(feature = "parquet") {
            ", .parquet"
        } else {
            " (.parquet: build capsim with --features parquet)"
        }
    );
    if let Some(r) = &s.refusal {
        let flags = in_words(merged, &r.flags);
        let which = if flags.is_empty() {
            String::new()
        } else {
            format!(", for one, {flags}")
        };
        let text = format!("cannot be served{which}: {}", r.why);
        println!("  {}", wrap(&text, 78, "  "));
    }
    for b in &s.best {
        let unit = WANTED.iter().find(|w| w.1 == b.metric).map_or("", |w| w.2);
        let with = match in_words(merged, &b.flags) {
            flags if flags.is_empty() => flags,
            flags => format!(" with {flags}"),
        };
        println!("  {}: {:.4} {unit}{with}", b.what, b.value);
    }
}

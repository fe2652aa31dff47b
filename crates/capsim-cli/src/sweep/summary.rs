//! What a sweep says when it ends.
use super::store::Merged;
use capsim::metrics::{Latency, Metric};
use capsim_study::report::json;
use capsim_study::report::json::listing::{Best, RefusedPoint, SweepPoint, SweepSummary};
use capsim_study::report::page::{refusals, worded};
use capsim_study::report::table::wrap;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// What people look for first: in words, metric, and whether more is better.
const WANTED: [(&str, Metric, f64); 3] = [
    ("most output", Metric::OutputThroughput, 1.0),
    ("lowest mean TPOT", Metric::mean(Latency::Tpot), -1.0),
    ("lowest mean TTFT", Metric::mean(Latency::Ttft), -1.0),
];

/// What a point sets of what the sweep varies.
fn flags(merged: &Merged, row: &SweepPoint) -> BTreeMap<String, Value> {
    let flag = |d: &String| Some((d.clone(), row.flags.get(d)?.clone()));
    merged.listing.dimensions.iter().filter_map(flag).collect()
}

/// The same in words, in the plan's order.
fn in_words(merged: &Merged, flags: &BTreeMap<String, Value>) -> String {
    let one = |d: &String| Some(format!("{} {}", d.replace('_', "-"), worded(flags.get(d)?)));
    let all: Vec<String> = merged.listing.dimensions.iter().filter_map(one).collect();
    all.join(", ")
}

/// The best point by a metric; the first of equals.
fn best(merged: &Merged, what: &str, metric: Metric, sign: f64) -> Option<Best> {
    let (value, row) = merged
        .rows
        .iter()
        .filter_map(|r| Some((r.prediction.as_ref()?.value(metric)?, r)))
        .reduce(|a, b| if sign * b.0 > sign * a.0 { b } else { a })?;
    Some(Best {
        what: what.into(),
        metric,
        value,
        flags: flags(merged, row),
    })
}

fn summary(dir: &Path, merged: &Merged) -> SweepSummary {
    let refused = || {
        merged
            .rows
            .iter()
            .filter_map(|r| Some((r, r.refused.as_ref()?)))
    };
    let mut served = merged.rows.iter().filter_map(|r| r.prediction.as_ref());
    SweepSummary {
        schema: "capsim.sweep-summary/1".into(),
        folder: dir.display().to_string(),
        complete: merged.missing.is_empty(),
        points: merged.listing.points.len(),
        missing: merged.missing.len(),
        refused: refused().count(),
        refusal: refused().next().map(|(row, why)| RefusedPoint {
            flags: flags(merged, row),
            why: why.clone(),
        }),
        refused_requests: refusals("points", &mut served),
        best: WANTED
            .iter()
            .filter_map(|(what, metric, sign)| best(merged, what, *metric, *sign))
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
        let unit = b.metric.unit();
        let with = match in_words(merged, &b.flags) {
            flags if flags.is_empty() => flags,
            flags => format!(" with {flags}"),
        };
        println!("  {}: {:.4} {unit}{with}", b.what, b.value);
    }
}

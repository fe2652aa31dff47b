//! Tables: latencies, and what the engine did.
use super::Side;
use capsim::fields::Value as Setting;
use capsim::metrics::{Latency, Metric, PERCENTILES, Unit};
use capsim_study::report::chart::short;
use capsim_study::report::page::{metric, table};

/// Every latency with its percentiles.
pub fn latencies(sides: &[Side]) -> String {
    let head = ["latency", "mean", "median", "P90", "P95", "P99"].map(String::from);
    let mut rows: Vec<Vec<String>> = vec![];
    for (latency, unit) in [
        (Latency::Ttft, Unit::Seconds),
        (Latency::Tpot, Unit::Milliseconds),
        (Latency::Itl, Unit::Milliseconds),
        (Latency::E2el, Unit::Seconds),
    ] {
        for side in sides {
            let p = &side.seen.point;
            let percentiles = PERCENTILES.map(|q| Metric::percentile(latency, q));
            let name = side.titled(&format!("{}, {unit}", latency.heading()));
            let cells = std::iter::once(name)
                .chain([metric(p, Metric::mean(latency), unit)])
                .chain(percentiles.map(|m| metric(p, m, unit)));
            rows.push(cells.collect());
        }
    }
    table("Latencies with their 90 % intervals", &head, &rows)
}

/// What a state's engine did, and the switches in force.
fn did(side: &Side) -> Vec<(&'static str, String)> {
    let (s, run) = (&side.seen.row.scenario, &side.seen.row.prediction.run);
    let occ = &run.occupancy;
    let percent = |v: f64| format!("{:.1} %", 100.0 * v);
    let mut rows = vec![
        ("engine", s.engine.name.clone()),
        ("device", s.device.name.clone()),
        (
            "devices",
            run.settings.parallel.all_devices().max(1).to_string(),
        ),
        ("sequences per step", short(occ.batch)),
        ("requests waiting", short(occ.waiting)),
        ("KV blocks in use, on average", percent(occ.kv_mean)),
        ("KV blocks in use, at most", percent(occ.kv_max)),
        ("preemptions", run.summary.preemptions.to_string()),
        ("prefix hit rate", percent(run.summary.prefix_hit_rate())),
        ("steps", occ.steps.to_string()),
        (
            "mean step, ms",
            short(1e3 * occ.busy / occ.steps.max(1) as f64),
        ),
        ("requests served", run.summary.completed.to_string()),
        ("requests refused", run.summary.refused.to_string()),
        ("seconds in all", short(run.summary.duration)),
    ];
    if let Some(d) = run.distinct_experts {
        rows.push(("distinct experts per layer", short(d)));
    }
    for (field, value) in run.settings.in_force.iter() {
        if let Setting::Switch(on) = value {
            rows.push((field.label, if *on { "on" } else { "off" }.into()));
        }
    }
    rows
}

/// Settings in force and what the engine did.
pub fn engine(sides: &[Side]) -> String {
    let all: Vec<Vec<(&'static str, String)>> = sides.iter().map(did).collect();
    let mut names: Vec<&'static str> = vec![];
    for (name, _) in all.iter().flatten() {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let cell = |rows: &[(&'static str, String)], name: &str| {
        let found = rows.iter().find(|(n, _)| *n == name);
        found.map_or("–".into(), |(_, v)| v.clone())
    };
    let rows: Vec<Vec<String>> = names
        .iter()
        .map(|name| {
            let cells = all.iter().map(|rows| cell(rows, name));
            std::iter::once(name.to_string()).chain(cells).collect()
        })
        .collect();
    let mut head = vec!["what".to_string()];
    head.extend(sides.iter().map(|s| match s.name {
        "" => "value".to_string(),
        name => name.into(),
    }));
    table("The engine", &head, &rows)
}

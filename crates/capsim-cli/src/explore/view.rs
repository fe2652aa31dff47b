//! Answers as pieces of the page: tables and the report's own pictures.
use capsim::fields::Value as Setting;
use capsim::metrics::{Dist, Latency, Metric, PERCENTILES, Percentiles, Unit};
use capsim::model::KvDtype;
use capsim::plan::Slo;
use capsim::predict::{Prediction, Scenario};
use capsim_study::report::bars::Bars;
use capsim_study::report::chart::{Upright, escape, short};
use capsim_study::report::json::{self, Point};
use capsim_study::report::page::prediction::{
    Named, breakdown as parts, foundations as rests, frontier,
};
use capsim_study::report::page::{
    self, Instant, PageError, Picture, charts, distribution, figure, folded, metric, over, table,
};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Quantiles from which a distribution is drawn.
const QUANTILES: usize = 200;

/// What is read out when the figures change.
pub fn summary(p: &Point) -> String {
    let refused = page::refusals("", [p].into_iter()).map_or(String::new(), |r| r + ". ");
    let value = |metric| p.value(metric).unwrap_or(f64::NAN);
    format!(
        "{refused}{} output tok/s, mean TTFT {} s, mean TPOT {} ms; binds: {}",
        short(value(Metric::OutputThroughput)),
        short(value(Metric::mean(Latency::Ttft)) * 1e-3),
        short(value(Metric::mean(Latency::Tpot))),
        p.binds
    )
}

/// The figures that matter most, large.
pub fn headline(p: &Point) -> String {
    let mut o = page::left_out([p].into_iter()) + &page::refused("", [p].into_iter());
    o += "<dl class=\"cards\">";
    for (name, metric, unit, factor) in [
        ("Output throughput", Metric::OutputThroughput, "tok/s", 1.0),
        ("Mean TTFT", Metric::mean(Latency::Ttft), "s", 1e-3),
        ("Mean TPOT", Metric::mean(Latency::Tpot), "ms", 1.0),
        ("Mean E2E latency", Metric::mean(Latency::E2el), "s", 1e-3),
        ("Requests", Metric::RequestThroughput, "1/s", 1.0),
    ] {
        let at = |v: f64| short(v * factor);
        let range = match p.range(metric) {
            Some((a, b)) => format!("{} – {}", at(a), at(b)),
            None => "…".into(),
        };
        let _ = write!(
            o,
            "<div><dt>{name}</dt><dd><output data-metric=\"{metric}\">{}</output> <small>{unit}</small></dd><dd \
             class=\"range\">{range}</dd></div>",
            at(p.value(metric).unwrap_or(f64::NAN))
        );
    }
    let _ = write!(
        o,
        "<div class=\"binds\"><dt>What binds</dt><dd>{}</dd><dd class=\"range\">{}</dd></div></dl>",
        escape(&p.binds),
        if p.range(Metric::OutputThroughput).is_none() {
            "90 % intervals follow"
        } else {
            "ranges: 90 % intervals"
        }
    );
    o
}

/// Every latency with its percentiles.
pub fn latencies(p: &Point) -> String {
    let head = ["latency", "mean", "median", "P90", "P95", "P99"].map(String::from);
    let rows: Vec<Vec<String>> = [
        (Latency::Ttft, Unit::Seconds),
        (Latency::Tpot, Unit::Milliseconds),
        (Latency::Itl, Unit::Milliseconds),
        (Latency::E2el, Unit::Seconds),
    ]
    .into_iter()
    .map(|(latency, unit)| {
        let percentiles = PERCENTILES.map(|q| Metric::percentile(latency, q));
        std::iter::once(format!("{}, {unit}", latency.heading()))
            .chain([metric(p, Metric::mean(latency), unit)])
            .chain(percentiles.map(|m| metric(p, m, unit)))
            .collect()
    })
    .collect();
    table("Latencies with their 90 % intervals", &head, &rows)
}

/// Where step time goes.
pub fn breakdown(s: &Scenario, p: &Prediction) -> String {
    let (picture, below) = parts(&[json::prediction(&[], s, p)]);
    figure(&picture, &below)
}

/// Where the device memory goes.
pub fn memory(p: &Prediction) -> String {
    let m = &p.run.settings.memory;
    let used = [m.weights, m.activations, m.non_torch, m.kv_cache];
    let sum: f64 = used.iter().map(|b| b.as_f64()).sum();
    let mut values: Vec<f64> = used.iter().map(|b| b.as_f64()).collect();
    values.push((m.total.as_f64() - sum).max(0.0));
    let bars = Bars {
        title: "Where the memory goes".into(),
        parts: [
            "weights",
            "activations",
            "runtime",
            "KV cache",
            "left alone",
        ]
        .map(String::from)
        .to_vec(),
        rows: vec![(format!("{} of device memory", m.total), values)],
    };
    let rows: Vec<Vec<String>> = bars
        .parts
        .iter()
        .zip(used.iter().map(ToString::to_string).chain([String::new()]))
        .take(used.len())
        .map(|(part, bytes)| vec![part.clone(), bytes])
        .chain([vec!["KV blocks".into(), m.num_gpu_blocks.to_string()]])
        .collect();
    let head = ["part", "size"].map(String::from);
    figure(
        &Picture::from(bars),
        &folded("Sizes as a table", &table("Memory", &head, &rows)),
    )
}

/// Settings in force and what the engine did.
pub fn engine(s: &Scenario, p: &Prediction) -> String {
    let run = &p.run;
    let occ = &run.occupancy;
    let mut rows = vec![
        ("engine", s.engine.name.clone()),
        ("device", s.device.name.clone()),
        ("sequences per step", short(occ.batch)),
        ("requests waiting", short(occ.waiting)),
        (
            "KV blocks in use",
            format!(
                "{:.1} % on average, {:.1} % at most",
                100.0 * occ.kv_mean,
                100.0 * occ.kv_max
            ),
        ),
        ("preemptions", run.summary.preemptions.to_string()),
        (
            "prefix hit rate",
            format!("{:.1} %", 100.0 * run.summary.prefix_hit_rate()),
        ),
        (
            "steps",
            format!(
                "{} of {} ms",
                occ.steps,
                short(1e3 * occ.busy / occ.steps.max(1) as f64)
            ),
        ),
        ("requests served", run.summary.completed.to_string()),
        ("requests refused", run.summary.refused.to_string()),
        ("seconds in all", short(run.summary.duration)),
    ];
    for (field, value) in run.settings.in_force.iter() {
        if let Setting::Switch(on) = value {
            rows.push((field.label, if *on { "on" } else { "off" }.into()));
        }
    }
    if let Some(d) = run.distinct_experts {
        rows.push(("distinct experts per layer", short(d)));
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(a, b)| vec![a.to_string(), b])
        .collect();
    let head = ["what", "value"].map(String::from);
    table("The engine", &head, &rows)
}

fn quantiles(d: &Dist) -> Vec<f64> {
    if d.count() == 0 {
        return vec![];
    }
    let n = d.count().min(QUANTILES);
    (1..=n)
        .map(|i| 1e3 * d.percentile(100.0 * i as f64 / n as f64, Percentiles::Linear))
        .collect()
}

/// Distributions over requests.
pub fn distributions(p: &Prediction) -> String {
    let s = &p.run.summary;
    let all: Vec<Picture> = [
        ("TTFT", &s.ttft),
        ("TPOT", &s.tpot),
        ("E2E latency", &s.e2el),
    ]
    .into_iter()
    .map(|(name, d)| distribution(name, &[("predicted".into(), quantiles(d))]).into())
    .collect();
    charts(&all)
}

/// What the figures rest on: profiles, coefficients, caveats.
pub fn foundations(s: &Scenario, p: &Prediction) -> String {
    let sources: String = [
        ("Device", &s.device.name, &s.device.provenance),
        ("Engine", &s.engine.name, &s.engine.provenance),
    ]
    .into_iter()
    .map(|(what, name, from)| {
        format!(
            "<p class=\"note\">{what}: {} ({}: {})</p>\n",
            escape(name),
            from.origin.word(),
            escape(&from.source)
        )
    })
    .collect();
    sources + &rests("What the figures rest on", &json::prediction(&[], s, p))
}

/// The engine over time, from the lines of a timeline.
pub fn timeline(lines: &str) -> String {
    let rows: Vec<Instant> = lines
        .lines()
        .filter_map(|l| serde_json::from_str(l).ok())
        .collect();
    page::timeline("the run", &rows).body
}

/// Latency against load, and throughput against interactivity along it.
pub fn curve(
    flag: &str,
    now: f64,
    points: &[Point],
    slo: Option<&Slo>,
) -> Result<String, PageError> {
    let named: Vec<Named<'_>> = points
        .iter()
        .map(|p| {
            let x = p.varied.get(flag).map_or("null".into(), page::worded);
            (String::new(), format!("{flag} {x}"), p)
        })
        .collect();
    let mut all = over(flag, &named, slo)?;
    let refused = page::refused("loads", points.iter());
    for chart in &mut all {
        chart.uprights.push(Upright {
            x: now,
            name: format!("now {}", short(now)),
            series: None,
        });
    }
    all.push(frontier(&named));
    let all: Vec<Picture> = all.into_iter().map(Picture::from).collect();
    Ok(refused + &charts(&all))
}

/// The values in force of knobs that were left alone, by their flags; what has none is absent.
pub fn effective(s: &Scenario, p: &Prediction) -> Value {
    let w = &s.workload;
    let mut all = json!({
        "model": s.model_name,
        "device": s.device.id,
        "engine": s.engine.id,
        "prompts": "distinct",
        "random-input-len": w.input_len,
        "random-output-len": w.output_len,
        "random-range-ratio": w.range_ratio,
        "shared-prefix-len": w.shared_prefix_len,
        "num-prompts": w.num_prompts,
        "request-rate": w.request_rate,
        "max-concurrency": w.max_concurrency,
    });
    for (field, value) in p.run.settings.in_force.iter() {
        all[field.flag()] = match value {
            // The page's switches are choices between words.
            Setting::Switch(on) => on.to_string().into(),
            value => json!(value),
        };
    }
    let kv = s.model.precision().kv;
    all["kv-cache-dtype"] = match kv {
        KvDtype::Auto => "auto".to_string(),
        other => other.to_string(),
    }
    .into();
    if s.model.experts().is_some() {
        all["moe-tiles"] = s
            .moe_path
            .clone()
            .unwrap_or_else(|| s.engine.moe_default.clone())
            .into();
    }
    all
}

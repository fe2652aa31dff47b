//! Answers as pieces of the page: tables and the report's own pictures, of one state or of two beside each other.
mod charts;
mod headline;
mod tables;

pub use charts::{breakdown, curve, distributions, memory, no_curve};
pub use headline::{headline, summary};
pub use tables::{engine, latencies};

use super::knob::{Asked, ELECTRICITY, PRICE, State};
use super::seen::{Goals, Seen};
use capsim::fields::Value as Setting;
use capsim::model::KvDtype;
use capsim::plan::compare::Price;
use capsim::predict::{Prediction, Scenario};
use capsim_study::report::answer::weights;
use capsim_study::report::chart::escape;
use capsim_study::report::page::prediction::foundations as rests;
use capsim_study::report::page::{self, Instant};
use serde_json::{Value, json};

/// One of the states on the page.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// What tells it from the other; empty where there is none.
    pub name: &'static str,
    /// What came of it.
    pub seen: &'a Seen,
}

impl<'a> Side<'a> {
    /// The present state, behind the pinned one if there is one.
    pub fn of(now: &'a Seen, pinned: Option<&'a Seen>) -> Vec<Self> {
        let side = |name, seen| Self { name, seen };
        match pinned {
            Some(a) => vec![side("A", a), side("B", now)],
            None => vec![side("", now)],
        }
    }

    /// The present one.
    pub fn now(sides: &[Self]) -> &'a Seen {
        sides.last().expect("there is one").seen
    }

    /// A row or series of it: `name`, with what tells it from the other.
    fn titled(&self, name: &str) -> String {
        match (name, self.name) {
            (name, "") => name.into(),
            ("", side) => side.into(),
            (name, side) => format!("{name}, {side}"),
        }
    }
}

/// What the page is about, for its title.
pub fn about(seen: &Seen) -> String {
    let s = &seen.row.scenario;
    format!(
        "{} ({}) on {}, {}",
        s.model_name,
        weights(s),
        s.device.name,
        s.engine.name
    )
}

/// The answer in words.
pub fn says(text: &str) -> String {
    format!("<p class=\"says\">{}</p>\n", escape(text))
}

/// In what the pinned state and the present one differ.
pub fn pins(asked: &Asked) -> String {
    let Some(pinned) = &asked.pinned else {
        return String::new();
    };
    let value = |s: &State, flag: &str| s.get(flag).unwrap_or("default").to_string();
    let mut flags: Vec<&String> = pinned
        .0
        .iter()
        .chain(&asked.now.0)
        .map(|(f, _)| f)
        .collect();
    flags.sort();
    flags.dedup();
    let all: Vec<String> = flags
        .into_iter()
        .filter(|f| pinned.get(f) != asked.now.get(f))
        .map(|f| {
            let (a, b) = (value(pinned, f), value(&asked.now, f));
            format!(
                "<code>{f}</code> {} → <strong>{}</strong>",
                escape(&a),
                escape(&b)
            )
        })
        .collect();
    let differ = match all.is_empty() {
        true => "both are the same so far; turn a knob".into(),
        false => all.join(", "),
    };
    format!("A (pinned) → B (now): {differ}")
}

/// What the figures rest on: profiles, coefficients, caveats.
pub fn foundations(seen: &Seen) -> String {
    let s = &seen.row.scenario;
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
    sources + &rests("What the figures rest on", &seen.point)
}

/// The engine over time, from the lines of a timeline.
pub fn timeline(lines: &str) -> String {
    let rows: Vec<Instant> = lines
        .lines()
        .filter_map(|l| serde_json::from_str(l).ok())
        .collect();
    page::timeline("the run", &rows).body
}

/// A price as its knob takes it.
fn written(p: Price) -> String {
    match p {
        Price::PerHour(rate) => format!("{rate}/h"),
        Price::Bought { paid, months } => format!("{paid},{months}mo"),
    }
}

/// The values in force of knobs that were left alone, by their flags; what has none is absent.
pub fn effective(s: &Scenario, p: &Prediction, goals: &Goals) -> Value {
    let w = &s.workload;
    let mut all = json!({
        "model": s.model_name,
        "weights": weights(s),
        "device": s.device.id,
        "engine": s.engine.id,
        "engine-version": p.run.settings.config.version.to_string(),
        "prompts": "distinct",
        "random-input-len": w.input_len,
        "random-output-len": w.output_len,
        "random-range-ratio": w.range_ratio,
        "shared-prefix-len": w.shared_prefix_len,
        "num-prompts": w.num_prompts,
        "request-rate": w.request_rate,
        "max-concurrency": w.max_concurrency,
        "users": w.users.as_ref().map(|u| u.count),
        "think-time": w.users.as_ref().map(|u| u.think.mean()),
        "turns": w.users.as_ref().map(|u| u.turns),
        "trace-speedup": w.trace.as_ref().map(|t| t.speedup),
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
    if let Some(p) = goals.price {
        all[PRICE] = written(p).into();
    }
    if let Some(e) = goals.electricity {
        all[ELECTRICITY] = format!("{e}/kWh").into();
    }
    all
}

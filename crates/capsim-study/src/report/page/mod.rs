//! One self-contained HTML page from any result of capsim: no script, no other file, light and dark, for screens of any width.
mod capacity;
mod compare;
mod device;
mod explain;
mod head;
mod load;
#[cfg(feature = "live")]
mod measured;
mod memory;
pub mod paired;
mod picture;
pub mod prediction;
mod requests;
mod sweep;
mod timeline;
mod tune;
mod validation;

pub use head::Head;
pub use load::{LOADS, over};
#[cfg(feature = "live")]
pub use measured::measured;
pub use picture::Picture;
pub use requests::{Latencies, distribution, requests};
pub use timeline::{Instant, timeline};

use super::chart::{STYLE, escape, short, swatch};
use super::json::listing::SweepPoint;
use super::json::{Point, ReadError, read};
use capsim::engine::settings::MAX_MODEL_LEN;
use capsim::metrics::{Metric, Unit};
use capsim::plan::Slo;
use capsim::predict::unmodelled;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;

/// A part of the page.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Heading.
    pub title: String,
    /// What it is about: names and values, in order.
    pub head: Head,
    /// What stands beneath, as HTML.
    pub body: String,
    /// The pictures in it, for files of their own.
    pub pictures: Vec<Picture>,
}

/// Why a result cannot be shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// No schema, or one that has no page.
    #[error(
        "schema `{0}` cannot be shown; predictions, sweeps, capacities, comparisons, settings (tune), memory, validations, explanations, device \
         profiles, timelines and requests can"
    )]
    Schema(String),
    /// An SLO whose figure predictions do not hold.
    #[error(
        "SLO `{0}`: predictions hold .mean, .p50, .p90, .p95 and .p99 of ttft, tpot, itl and e2el, and throughputs; `capsim capacity --json` \
         answers every SLO"
    )]
    Slo(String),
    /// A field that should be there is not, or is of the wrong type.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A figure that should be there is not.
    #[error("`{0}` is missing or of the wrong type")]
    Missing(String),
}

/// The section of a result in JSON, by its schema. Where latency stands against load, `slo` is drawn in.
///
/// # Errors
/// An unknown schema, or a field that is missing or of the wrong type.
pub fn section(document: Value, slo: Option<&Slo>) -> Result<Section, PageError> {
    match document["schema"].as_str() {
        Some("capsim.prediction/1") => prediction::section(&read(document)?, slo),
        Some("capsim.capacity/1") => capacity::section(&read(document)?),
        Some("capsim.tune/1") => Ok(tune::section(&read(document)?)),
        Some("capsim.memory/1") => Ok(memory::section(&read(document)?)),
        Some("capsim.compare/1") => Ok(compare::section(&read(document)?)),
        Some("capsim.explanation/1") => Ok(explain::runs(&read(document)?)),
        Some("capsim.log/1") => Ok(explain::log(&read(document)?)),
        Some("capsim.validation/1") => Ok(validation::section(&read(document)?)),
        Some("capsim.paired/1") => Ok(paired::section(&read(document)?)),
        Some("capsim.device/1") => device::section(&read(document)?),
        other => Err(PageError::Schema(other.unwrap_or("none").into())),
    }
}

/// The section of a sweep: the rows of its `results.jsonl`.
///
/// # Errors
/// An SLO on a figure that predictions do not hold.
pub fn sweep_section(
    name: &str,
    rows: &[SweepPoint],
    slo: Option<&Slo>,
) -> Result<Section, PageError> {
    sweep::section(name, rows, slo)
}

/// Layout of a page of sections, beside the colours of `STYLE`.
pub const LAYOUT: &str = "\
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
main{max-width:1200px;margin:0 auto;padding:16px}h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem;border-top:1px \
solid var(--grid);padding-top:1rem}.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr));gap:16px}\
figure{margin:0;background:var(--panel);border-radius:8px;padding:12px}figure svg{width:100%;height:auto;display:block}\
figcaption{font-weight:600;margin-bottom:4px}.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 16px;padding:0;margin:0 0 \
6px;font-size:.85rem}.legend span{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}\
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}th,td{padding:3px \
8px;text-align:right;border-bottom:1px solid var(--grid)}th:first-child,td:first-child{text-align:left}caption{text-align:left;\
color:var(--soft)}details{margin-top:8px}summary{cursor:pointer;color:var(--soft)}:focus-visible{outline:3px solid var(--c1);outline-offset:2px}\
svg :focus-visible{outline:none;stroke:var(--c1);stroke-width:3}a{color:var(--c0)}pre{overflow-x:auto;background:var(--panel);border-radius:8px;padding:8px;font-size:.85rem}.note{color:var(--soft);max-width:75ch}.answer{font-size:1.1rem;max-width:75ch}\
.about{display:grid;gap:2px;margin:0 0 12px;font-size:.9rem}.about div{display:flex;gap:8px}.about dt{flex:0 0 5.5em;color:var(--soft)}.about \
dd{margin:0;min-width:0;overflow-wrap:anywhere}.refused{font-weight:600;max-width:75ch}ul.plain{padding-left:1.2em}";

/// What a page is called that was given no name: its only section, or the model and device of all.
fn named(sections: &[Section]) -> String {
    if let [one] = sections {
        return one.title.clone();
    }
    let said = |name: &str| {
        let mut all: Vec<&str> = vec![];
        let of = sections.iter().flat_map(|s| &s.head);
        for (_, value) in of.filter(|(n, _)| *n == name) {
            if !all.contains(&&value[..]) {
                all.push(value);
            }
        }
        all.join(", ")
    };
    match (said("Model"), said("Device")) {
        (model, _) if model.is_empty() => format!("capsim: {} results", sections.len()),
        (model, device) if device.is_empty() => format!("capsim: {model}"),
        (model, device) => format!("capsim: {model} on {device}"),
    }
}

/// The whole page; without a title it is called after what stands on it.
pub fn page(title: Option<&str>, sections: &[Section]) -> String {
    let title = title.map_or_else(|| named(sections), String::from);
    let mut o = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>{0}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}{LAYOUT}</style>\n</head>\n<body>\n<main>\n<h1>{0}</h1>\n",
        escape(&title)
    );
    if sections.len() > 1 {
        o.push_str("<nav aria-label=\"Contents\"><ul class=\"plain\">\n");
        for (i, s) in sections.iter().enumerate() {
            let _ = writeln!(o, "<li><a href=\"#s{i}\">{}</a></li>", escape(&s.title));
        }
        o.push_str("</ul></nav>\n");
    }
    for (i, s) in sections.iter().enumerate() {
        let _ = writeln!(
            o,
            "<section aria-labelledby=\"s{i}\">\n<h2 id=\"s{i}\">{}</h2>\n{}{}</section>",
            escape(&s.title),
            head::html(&s.head),
            s.body
        );
    }
    let _ = writeln!(
        o,
        "<p class=\"note\">Written by capsim {}.</p>\n</main>\n</body>\n</html>",
        env!("CARGO_PKG_VERSION")
    );
    o
}

/// A picture in its frame, with a legend if it has several series, and `below` it what belongs to it.
pub fn figure(picture: &Picture, below: &str) -> String {
    let Some(svg) = picture.svg() else {
        return String::new();
    };
    let mut o = format!(
        "<figure>\n<figcaption>{}</figcaption>\n",
        escape(picture.title())
    );
    let legend = picture.legend();
    if !legend.is_empty() {
        o.push_str("<ul class=\"legend\">");
        for (i, name) in legend.iter().enumerate() {
            let (colour, opacity) = swatch(i);
            let _ = write!(
                o,
                "<li><span style=\"background:var(--c{colour});opacity:{opacity}\"></span>{}</li>",
                escape(name)
            );
        }
        o.push_str("</ul>\n");
    }
    o + &svg + below + "</figure>\n"
}

/// Pictures beside each other where there is room.
pub fn charts(all: &[Picture]) -> String {
    let inside: String = all.iter().map(|p| figure(p, "")).collect();
    if inside.is_empty() {
        return inside;
    }
    format!("<div class=\"charts\">\n{inside}</div>\n")
}

/// A table; the first column is words, the others are figures.
pub fn table(caption: &str, head: &[String], rows: &[Vec<String>]) -> String {
    let mut o = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table><caption>{0}</caption><thead><tr>",
        escape(caption)
    );
    for h in head {
        let _ = write!(o, "<th scope=\"col\">{}</th>", escape(h));
    }
    o.push_str("</tr></thead><tbody>\n");
    for r in rows {
        o.push_str("<tr>");
        for (i, c) in r.iter().enumerate() {
            let _ = match i {
                0 => write!(o, "<th scope=\"row\">{}</th>", escape(c)),
                _ => write!(o, "<td>{}</td>", escape(c)),
            };
        }
        o.push_str("</tr>\n");
    }
    o + "</tbody></table></div>\n"
}

/// Labels and what is said under them.
pub fn definitions(rows: &[Vec<String>]) -> String {
    let mut o = String::from("<dl class=\"about said\">\n");
    for row in rows {
        let [label, text] = &row[..] else { continue };
        let _ = writeln!(
            o,
            "<div><dt>{}</dt><dd>{}</dd></div>",
            escape(label),
            escape(text)
        );
    }
    o + "</dl>\n"
}

/// A table that is folded away.
pub fn folded(summary: &str, inside: &str) -> String {
    format!(
        "<details><summary>{}</summary>\n{inside}</details>\n",
        escape(summary)
    )
}

/// A list of sentences.
pub fn list(items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let inside: String = items
        .iter()
        .map(|i| format!("<li>{}</li>\n", escape(i)))
        .collect();
    format!("<ul class=\"plain\">\n{inside}</ul>\n")
}

/// Requests of a run that were refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// How many.
    pub refused: u64,
    /// Of how many that were asked for.
    pub of: u64,
    /// The setting that refuses longer requests, where it is known.
    pub max_model_len: Option<u32>,
}

impl From<&Point> for Refused {
    fn from(p: &Point) -> Self {
        Self {
            refused: p.refused,
            of: p.num_requests,
            max_model_len: p.settings.in_force.get(MAX_MODEL_LEN),
        }
    }
}

/// What predictions refused, as the first lines of their section; empty if nothing. `rows` says what they are called.
pub fn refused(rows: &str, runs: impl Iterator<Item = impl Into<Refused>>) -> String {
    match refusals(rows, runs) {
        Some(text) => format!("<p class=\"refused\" role=\"note\">{}</p>\n", escape(&text)),
        None => String::new(),
    }
}

/// The flags of a pasted line that are not simulated, as the first lines of a section; empty if there are none.
pub fn left_out<'a>(points: impl Iterator<Item = &'a Point>) -> String {
    let mut told: Vec<&[String]> = points.map(|p| &p.not_simulated[..]).collect();
    told.dedup();
    let some = told.into_iter().filter(|flags| !flags.is_empty());
    some.map(|flags| {
        let text = escape(&unmodelled::sentence(flags));
        format!("<p class=\"refused\" role=\"note\">{text}</p>\n")
    })
    .collect()
}

/// The same as a sentence.
pub fn refusals(rows: &str, runs: impl Iterator<Item = impl Into<Refused>>) -> Option<String> {
    let (mut all, mut refusing) = (0, 0);
    let mut worst: Option<(f64, Refused)> = None;
    for run in runs {
        all += 1;
        let run: Refused = run.into();
        if run.refused == 0 {
            continue;
        }
        refusing += 1;
        let share = run.refused as f64 / run.of as f64;
        if worst.is_none_or(|(w, _)| share > w) {
            worst = Some((share, run));
        }
    }
    let (share, run) = worst?;
    let which = match all {
        1 => String::new(),
        _ => format!("in {refusing} of {all} {rows}, up to "),
    };
    Some(format!(
        "{which}{} of {} requests refused ({:.1} %): prompt and output together exceed max-model-len{} or the KV cache; the \
         figures are of the others",
        run.refused,
        run.of,
        100.0 * share,
        run.max_model_len.map_or(String::new(), |n| format!(" {n}"))
    ))
}

/// A number of four digits, or a dash for what is not there.
fn shown(v: impl Into<Option<f64>>) -> String {
    v.into().filter(|v| v.is_finite()).map_or("–".into(), short)
}

/// A metric with its interval, or a dash; a latency in `unit`, milliseconds or seconds.
pub fn metric(p: &Point, metric: Metric, unit: Unit) -> String {
    let factor = factor(metric, unit);
    let show = |v: f64| short(v * factor);
    match (p.value(metric), p.range(metric)) {
        (Some(v), Some((a, b))) => format!("{} ({}–{})", show(v), show(a), show(b)),
        (Some(v), None) => show(v),
        (None, _) => "–".into(),
    }
}

/// What a metric's value is multiplied by for `unit`.
pub fn factor(metric: Metric, unit: Unit) -> f64 {
    match (metric.unit(), unit) {
        (Unit::Milliseconds, Unit::Seconds) => 1e-3,
        _ => 1.0,
    }
}

/// The word that an answer has for a value of an enum.
fn word(value: &impl Serialize) -> String {
    worded(&super::json::value(value))
}

/// A value of a varied field, as it is typed.
pub fn worded(v: &serde_json::Value) -> String {
    match v {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

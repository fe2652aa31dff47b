//! One self-contained HTML page from any result of capsim: no script, no other file, light and dark, for screens of any width.
mod capacity;
mod device;
mod load;
#[cfg(feature = "live")]
mod measured;
mod memory;
mod paired;
mod picture;
pub mod prediction;
mod requests;
mod sweep;
mod timeline;
mod tune;
mod validation;

pub use load::{LOADS, over};
#[cfg(feature = "live")]
pub use measured::measured;
pub use picture::Picture;
pub use requests::{Latencies, distribution, requests};
pub use timeline::{Instant, timeline};

use super::chart::{STYLE, escape, short, swatch};
use capsim::plan::Slo;
use serde_json::Value;
use std::fmt::Write as _;

/// A part of the page.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Heading.
    pub title: String,
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
        "schema `{0}` cannot be shown; predictions, sweeps, capacities, settings (tune), memory, validations, device profiles, timelines \
         and requests can"
    )]
    Schema(String),
    /// An SLO whose figure predictions do not hold.
    #[error(
        "SLO `{0}`: predictions hold .mean, .p50, .p90, .p95 and .p99 of ttft, tpot, itl and e2el, and throughputs; `capsim capacity --json` \
         answers every SLO"
    )]
    Slo(String),
    /// A figure that should be there is not.
    #[error("`{0}` is missing or of the wrong type")]
    Missing(String),
}

/// The section of a result in JSON, by its schema. Where latency stands against load, `slo` is drawn in.
///
/// # Errors
/// An unknown schema, or a figure that is missing.
pub fn section(value: &Value, slo: Option<&Slo>) -> Result<Section, PageError> {
    match value["schema"].as_str() {
        Some("capsim.prediction/1") => prediction::section(value, slo),
        Some("capsim.capacity/1") => capacity::section(value),
        Some("capsim.tune/1") => tune::section(value),
        Some("capsim.memory/1") => memory::section(value),
        Some("capsim.validation/1") => validation::section(value),
        Some("capsim.paired/1") => paired::section(value),
        Some("capsim.device/1") => device::section(value),
        other => Err(PageError::Schema(other.unwrap_or("none").into())),
    }
}

/// The section of a sweep: the rows of its `results.jsonl`.
///
/// # Errors
/// A row that is none.
pub fn sweep_section(name: &str, rows: &[Value], slo: Option<&Slo>) -> Result<Section, PageError> {
    sweep::section(name, rows, slo)
}

/// Layout of a page of sections, beside the colours of `STYLE`.
pub const LAYOUT: &str = "\
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
main{max-width:1080px;margin:0 auto;padding:16px}h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem;border-top:1px \
solid var(--grid);padding-top:1rem}.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr));gap:16px}\
figure{margin:0;background:var(--panel);border-radius:8px;padding:12px}figure svg{width:100%;height:auto;display:block}\
figcaption{font-weight:600;margin-bottom:4px}.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 16px;padding:0;margin:0 0 \
6px;font-size:.85rem}.legend span{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}\
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}th,td{padding:3px \
10px;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}th:first-child,td:first-child{text-align:left}caption{text-align:left;\
color:var(--soft)}details{margin-top:8px}summary{cursor:pointer;color:var(--soft)}:focus-visible{outline:3px solid var(--c1);outline-offset:2px}\
svg :focus-visible{outline:none;stroke:var(--c1);stroke-width:3}a{color:var(--c0)}pre{overflow-x:auto;background:var(--panel);border-radius:8px;padding:8px;font-size:.85rem}.note{color:var(--soft);max-width:75ch}.refused{font-weight:600;max-width:75ch}ul.plain{padding-left:1.2em}";

/// The whole page.
pub fn page(title: &str, sections: &[Section]) -> String {
    let mut o = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>{0}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}{LAYOUT}</style>\n</head>\n<body>\n<main>\n<h1>{0}</h1>\n",
        escape(title)
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
            "<section aria-labelledby=\"s{i}\">\n<h2 id=\"s{i}\">{}</h2>\n{}</section>",
            escape(&s.title),
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

/// What predictions refused, as the first lines of their section; empty if nothing. `rows` says what they are called.
pub fn refused<'a>(rows: &str, points: impl Iterator<Item = &'a Value>) -> String {
    match refusals(rows, points) {
        Some(text) => format!("<p class=\"refused\" role=\"note\">{}</p>\n", escape(&text)),
        None => String::new(),
    }
}

/// The same as a sentence.
pub fn refusals<'a>(rows: &str, points: impl Iterator<Item = &'a Value>) -> Option<String> {
    let (mut all, mut refusing) = (0, 0);
    let mut worst: Option<(f64, &Value)> = None;
    for p in points {
        all += 1;
        let of = p["num_requests"].as_f64().or(p["num_prompts"].as_f64());
        let Some(n) = p["refused"].as_f64().filter(|n| *n > 0.0) else {
            continue;
        };
        refusing += 1;
        let share = n / of.unwrap_or(f64::NAN);
        if worst.is_none_or(|(w, _)| share > w) {
            worst = Some((share, p));
        }
    }
    let (share, p) = worst?;
    let of = p["num_requests"].as_u64().or(p["num_prompts"].as_u64());
    let which = match all {
        1 => String::new(),
        _ => format!("in {refusing} of {all} {rows}, up to "),
    };
    let limit = p["settings"]["max_model_len"].as_u64();
    Some(format!(
        "{which}{} of {} requests refused ({:.1} %): prompt and output together exceed max-model-len{} or the KV cache; the \
         figures are of the others",
        p["refused"],
        of.unwrap_or(0),
        100.0 * share,
        limit.map_or(String::new(), |n| format!(" {n}"))
    ))
}

fn figure_of(v: &Value, place: &str) -> Option<f64> {
    v.pointer(place).and_then(Value::as_f64)
}

fn word<'a>(v: &'a Value, key: &str) -> Result<&'a str, PageError> {
    v[key]
        .as_str()
        .ok_or_else(|| PageError::Missing(key.into()))
}

fn array<'a>(v: &'a Value, key: &str) -> Result<&'a Vec<Value>, PageError> {
    v[key]
        .as_array()
        .ok_or_else(|| PageError::Missing(key.into()))
}

/// A metric with its interval, or a dash; times of milliseconds as seconds if `name` ends in `_s`.
pub fn metric(p: &Value, name: &str) -> String {
    let (place, factor) = match name.strip_suffix("_s") {
        Some(stem) => (format!("{stem}_ms"), 1e-3),
        None => (name.to_string(), 1.0),
    };
    let at = |key: &str| figure_of(p, &format!("/metrics/{place}/{key}")).map(|v| v * factor);
    match (at("value"), at("low"), at("high")) {
        (Some(v), Some(a), Some(b)) => format!("{} ({}–{})", short(v), short(a), short(b)),
        (Some(v), ..) => short(v),
        _ => "–".into(),
    }
}

/// A value of a varied field, as it is typed.
pub fn worded(v: &serde_json::Value) -> String {
    match v {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

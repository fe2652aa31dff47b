//! A benchmark that was measured: the figures as its tool states them, and distributions over its requests.
use super::super::chart::{escape, short};
use super::requests::sorted;
use super::{Picture, Section, charts, distribution, list, table};
use capsim_live::bench::read::Recording;

/// The load in words.
fn load(r: &Recording) -> String {
    let rate = r
        .request_rate
        .map(|v| format!("{} requests/s planned", short(v)));
    let limit = r
        .max_concurrency
        .map(|n| format!("at most {n} requests open"));
    let parts: Vec<String> = [rate, limit].into_iter().flatten().collect();
    match parts.is_empty() {
        true => "all requests at once".into(),
        false => parts.join(", "),
    }
}

/// The section of a file's results.
pub fn measured(all: &[Recording]) -> Section {
    let mut pictures = vec![];
    let bodies = all.iter().map(|r| {
        let (body, more) = one(r);
        pictures.extend(more);
        match all.len() {
            1 => body,
            _ => format!("<h3>{}</h3>\n{body}", escape(&r.name)),
        }
    });
    let body: String = bodies.collect();
    let title = match all {
        [one] => format!("Measured: {}", one.name),
        several => format!("Measured: {} results", several.len()),
    };
    Section {
        title,
        body,
        pictures,
        ..Section::default()
    }
}

/// What stands beneath a result's heading, and the pictures in it.
fn one(r: &Recording) -> (String, Vec<Picture>) {
    let counted = || r.requests.iter().filter(|q| q.measured);
    let answered = || counted().filter(|q| q.ok);
    let mut body = format!(
        "<p class=\"note\">Measured by {}{}{}: {} of {} requests answered; {}.</p>\n",
        r.tool.words(),
        r.model
            .as_deref()
            .map_or(String::new(), |m| format!(", {}", escape(m))),
        r.date
            .as_deref()
            .map_or(String::new(), |d| format!(", {}", escape(d))),
        answered().count(),
        counted().count(),
        escape(&load(r))
    );
    let ms = |of: &dyn Fn(&capsim_live::bench::read::Recorded) -> Option<f64>| {
        sorted(answered().filter_map(|q| Some(1e3 * of(q)?)))
    };
    let pictures: Vec<Picture> = [
        ("TTFT", ms(&|q| q.ttft)),
        ("E2E latency", ms(&|q| q.latency)),
    ]
    .into_iter()
    .filter(|(_, v)| v.len() > 1)
    .map(|(title, v)| distribution(title, &[("measured".into(), v)]).into())
    .collect();
    body += &charts(&pictures);
    let rows: Vec<Vec<String>> = r
        .reported
        .iter()
        .map(|(metric, v)| vec![metric.to_string(), short(*v)])
        .collect();
    let head = ["metric", "measured"].map(String::from);
    body += &table("Figures as stored", &head, &rows);
    body += &list(&r.notes);
    (body, pictures)
}

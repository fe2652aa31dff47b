//! What recorded runs or a server's log tell: findings with their evidence.
use super::super::chart::escape;
use super::super::json::log::LogAnswer;
use super::super::json::validation::{Claim, Explanation};
use super::{Section, list, shown, table};

/// Findings, each with what it follows from.
fn claims<'a>(all: impl Iterator<Item = &'a Claim>) -> String {
    let items: String = all
        .map(|c| {
            format!(
                "<li>{}<br><span class=\"note\">{}</span></li>\n",
                escape(&c.claim),
                escape(&c.evidence)
            )
        })
        .collect();
    match items.is_empty() {
        true => "<p class=\"note\">Nothing beyond what was recorded.</p>\n".into(),
        false => format!("<ul class=\"plain\">\n{items}</ul>\n"),
    }
}

/// Recorded runs.
pub fn runs(e: &Explanation) -> Section {
    let mut body = String::new();
    for r in &e.runs {
        body += &format!("<h3>{}</h3>\n{}", escape(&r.id), claims(r.findings.iter()));
    }
    if !e.differences.is_empty() {
        body += "<h3>Differences between runs of the same load</h3>\n";
        body += &claims(e.differences.iter().map(|d| &d.finding));
    }
    Section {
        title: format!("Explanation of {} recorded runs", e.runs.len()),
        body,
        ..Section::default()
    }
}

/// A server's log.
pub fn log(l: &LogAnswer) -> Section {
    let engine = match &l.version {
        Some(release) => format!("{} {release}", l.engine),
        None => l.engine.clone(),
    };
    let mut body = claims(l.findings.iter());
    let rows: Vec<Vec<String>> = l
        .memory
        .iter()
        .map(|m| {
            vec![
                format!("{}, {}", m.part, m.unit),
                shown(m.logged),
                shown(m.predicted),
            ]
        })
        .collect();
    let columns = ["part", "logged", "predicted"].map(String::from);
    if !rows.is_empty() {
        body += &table("Where the memory went", &columns, &rows);
    }
    if let Some(load) = &l.load {
        let rows = [
            ("requests running, mean", load.running),
            ("requests running, most", load.running_max),
            ("requests waiting, mean", load.waiting),
            ("requests waiting, most", load.waiting_max),
            ("KV cache at most, %", load.kv_max.map(|v| 100.0 * v)),
            ("prompt tok/s", load.prompt_throughput),
            ("output tok/s", load.output_throughput),
            ("output tok/s, predicted", load.predicted_output_throughput),
        ];
        let rows = rows.map(|(name, v)| vec![name.to_string(), shown(v)]);
        let columns = ["figure", "value"].map(String::from);
        body += &table("How busy the server was", &columns, &rows);
    }
    body += &list(&l.notes);
    let model = l.model.clone().unwrap_or_default();
    let mut head = vec![("Model", model), ("Engine", engine.clone())];
    head.push(("Command", l.command.clone()));
    head.retain(|(_, text)| !text.is_empty());
    Section {
        title: format!("Log of {engine}"),
        head,
        body,
        pictures: vec![],
    }
}

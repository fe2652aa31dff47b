//! What a section is about: model, device, engine, load, command, and when it was made.
use super::super::chart::escape;
use super::super::json::{Point, Predictions};
use capsim::predict::{About, public_name};
use std::fmt::Write as _;

/// Names of things with their values, in order.
pub type Head = Vec<(&'static str, String)>;

/// A fact, unless it is empty.
fn put(head: &mut Head, name: &'static str, value: &str) {
    if !value.is_empty() {
        head.push((name, value.into()));
    }
}

/// What an answer is about.
pub fn about(a: Option<&About>) -> Head {
    let mut head = vec![];
    if let Some(a) = a {
        put(&mut head, "Model", &a.model);
        put(&mut head, "Device", &a.device);
        put(&mut head, "Engine", &a.engine);
        put(&mut head, "Load", &a.load);
        put(&mut head, "Command", &a.command);
    }
    head
}

/// A part of a title: ` of MODEL on DEVICE`, as far as they are known.
pub fn subject(a: Option<&About>) -> String {
    let part = |word: &str, text: &str| match text {
        "" => String::new(),
        text => format!(" {word} {text}"),
    };
    a.map_or(String::new(), |a| {
        part("of", &a.model) + &part("on", &a.device)
    })
}

/// What points say, each word once; past the third the others are counted.
fn each(points: &[Point], of: impl Fn(&Point) -> String) -> String {
    let mut all: Vec<String> = vec![];
    for value in points.iter().map(of) {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    let more = all.len().saturating_sub(3);
    all.truncate(3);
    match more {
        0 => all.join("; "),
        n => format!("{}; and {n} more", all.join("; ")),
    }
}

/// What a table of predictions is about.
pub fn predictions(answer: &Predictions) -> Head {
    let points = &answer.points[..];
    let mut head = vec![];
    put(&mut head, "Model", &models(points));
    put(&mut head, "Device", &devices(points));
    let engine = |p: &Point| format!("{}, release {}", p.engine, p.settings.version);
    put(&mut head, "Engine", &each(points, engine));
    let load = |p: &Point| {
        let w = &p.workload;
        // Older results hold only those answered.
        let asked = p.num_requests.max(p.completed + p.refused);
        format!("{asked} requests of {}, {}", w.sizes(), w.pace())
    };
    put(&mut head, "Load", &each(points, load));
    let settings = |p: &Point| {
        let set = super::super::json::value(&p.settings.in_force);
        let of = |name: &str| {
            set.get(name)
                .map(|v| format!("{} {v}", name.replace('_', "-")))
        };
        let usual = [
            "max_num_seqs",
            "max_num_batched_tokens",
            "max_model_len",
            "tensor_parallel_size",
        ];
        usual
            .into_iter()
            .filter_map(of)
            .collect::<Vec<_>>()
            .join(", ")
    };
    put(&mut head, "Settings", &each(points, settings));
    put(&mut head, "Command", &answer.command);
    head
}

pub fn models(points: &[Point]) -> String {
    each(points, |p| public_name(&p.model).to_owned())
}

pub fn devices(points: &[Point]) -> String {
    each(points, |p| p.device.clone())
}

/// The answer in words, as the command prints it first.
pub fn answer(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!("<p class=\"answer\">{}</p>\n", escape(text)),
    }
}

/// As HTML; commands in letters of one width.
pub fn html(head: &Head) -> String {
    if head.is_empty() {
        return String::new();
    }
    let mut o = String::from("<dl class=\"about\">\n");
    for (name, value) in head {
        let value = match *name {
            "Command" => format!("<code>{}</code>", escape(value)),
            _ => escape(value),
        };
        let _ = writeln!(o, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    o + "</dl>\n"
}

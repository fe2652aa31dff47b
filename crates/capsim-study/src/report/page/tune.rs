//! Which settings: today's, the best, those that no other beats, and what each knob does.
use super::super::chart::{Chart, Dot, Mark, Series, escape, short};
use super::{Picture, Refused, Section, charts, head, list, refused, shown, table, word};
use capsim::plan::tune::{Outcome, Tuned};

/// Settings that were changed, in words.
fn changes(outcome: &Outcome) -> String {
    let pair = |(knob, value): &(String, String)| format!("{knob} {value}");
    let all: Vec<String> = outcome.changes.iter().map(pair).collect();
    match all.is_empty() {
        true => "as today".into(),
        false => all.join(", "),
    }
}

/// A row of the table of settings.
fn row(name: &str, o: &Outcome) -> Vec<String> {
    vec![
        format!("{name}: {}", changes(o)),
        shown(o.output_throughput),
        shown(o.interactivity),
        shown(o.ttft),
        shown(1e3 * o.tpot),
        shown(o.e2el),
        short(o.devices.into()),
        o.concurrency.map_or("–".into(), |c| c.to_string()),
        match o.margin {
            None => "–".into(),
            Some(m) if o.met => format!("met, {:.0} % used", 100.0 * m),
            Some(_) => "broken".into(),
        },
    ]
}

/// Outcomes as points: throughput over what one user sees.
fn series<'a>(name: &str, outcomes: impl Iterator<Item = &'a Outcome>, mark: Mark) -> Series {
    let dot = |o: &Outcome| {
        let (x, y) = (o.interactivity, o.output_throughput);
        (x.is_finite() && y.is_finite()).then(|| Dot {
            x,
            y,
            label: format!(
                "{name}: {}: {} tok/s, {} tok/s per user",
                changes(o),
                short(y),
                short(x)
            ),
            ..Dot::default()
        })
    };
    Series {
        name: name.into(),
        dots: outcomes.filter_map(dot).collect(),
        mark,
    }
}

/// What each knob does to the best setting.
fn effects(answer: &Tuned) -> String {
    let other = |(value, score, met): &(String, Option<f64>, bool)| {
        let missed = if *met { "" } else { ", misses the SLO" };
        score.map_or(format!("{value}: not possible"), |s| {
            format!("{value}: × {}{missed}", short(s))
        })
    };
    let rows: Vec<Vec<String>> = answer
        .effects
        .iter()
        .map(|e| {
            let others: Vec<String> = e.others.iter().map(other).collect();
            vec![e.knob.clone(), e.chosen.clone(), others.join("; ")]
        })
        .collect();
    let columns = ["knob", "best setting", "every other value: score"].map(String::from);
    match rows.is_empty() {
        true => String::new(),
        false => table("Each knob turned alone", &columns, &rows),
    }
}

impl From<&Outcome> for Refused {
    fn from(o: &Outcome) -> Self {
        Self {
            refused: o.refused,
            of: o.requests,
            max_model_len: None,
        }
    }
}

pub fn section(answer: &Tuned) -> Section {
    let front = || answer.front.iter();
    let named: Vec<(&str, &Outcome)> = [
        ("today", &answer.present),
        ("best", &answer.best),
        ("nearest to the SLO", &answer.nearest),
    ]
    .into_iter()
    .filter_map(|(name, o)| Some((name, o.as_ref()?)))
    .collect();
    let slo = answer.slo.as_deref().unwrap_or("none");
    let mut body = refused("settings", named.iter().map(|(_, o)| *o).chain(front()));
    body += &head::answer(&answer.answer);
    body += &format!(
        "<p class=\"note\">SLO {}; {} settings tried, of which {} do not start; objective: {}.</p>\n",
        escape(slo),
        answer.tried,
        answer.refused,
        escape(&word(&answer.objective).replace('_', " "))
    );
    if let Some((_, o)) = named.last() {
        body += &format!("<pre><code>{}</code></pre>\n", escape(&o.serve));
    }
    if let Some(gain) = answer.gain {
        let [gain, low, high] = gain.map(shown);
        body += &format!("<p class=\"note\">Best over today: × {gain} [{low} … {high}].</p>\n");
    }
    let mut all = vec![series(
        "nothing tried beats it in both",
        front(),
        Mark::Line,
    )];
    for (name, o) in &named {
        all.push(series(name, std::iter::once(*o), Mark::Dots));
    }
    let pictures = vec![Picture::from(Chart {
        title: "Throughput against interactivity".into(),
        x: "tok/s that one user sees (1 / mean TPOT)".into(),
        y: "output tok/s".into(),
        series: all,
        ..Chart::default()
    })];
    body += &charts(&pictures);
    let columns = [
        "setting",
        "output tok/s",
        "tok/s per user",
        "mean TTFT s",
        "mean TPOT ms",
        "mean E2EL s",
        "devices",
        "at once",
        "SLO",
    ]
    .map(String::from);
    let rows: Vec<Vec<String>> = named
        .iter()
        .map(|(name, o)| row(name, o))
        .chain(front().map(|o| row("not beaten", o)))
        .collect();
    body += &table("Settings", &columns, &rows);
    body += &effects(answer);
    body += &list(&answer.notes);
    Section {
        title: format!(
            "Settings{}: SLO {slo}",
            head::subject(answer.about.as_ref())
        ),
        head: head::about(answer.about.as_ref()),
        body,
        pictures,
    }
}

//! Which machine: cost (or the number of devices) against what one user reads, every offer, and what does not serve the users.
use super::super::chart::{Chart, Dot, Mark, Series, escape, short};
use super::super::compare::devices;
use super::{Picture, Section, charts, head, list, shown, table};
use capsim::plan::compare::{Compared, Offer, Range};

/// What an offer is called.
fn name(o: &Offer) -> String {
    let tensor = match o.tensor_parallel_size {
        1 => String::new(),
        n => format!(", {n} to an engine"),
    };
    format!("{}, {}{tensor}", o.device, o.weights)
}

/// A value with its interval; where only a limit is known, that.
fn ranged(r: Option<Range>) -> String {
    match r {
        Some(Range {
            value: Some(v),
            low,
            high,
        }) => match (low, high) {
            (Some(a), Some(b)) if a < v || v < b => {
                format!("{} ({}–{})", short(v), short(a), short(b))
            }
            (Some(a), None) => format!("{} ({}–∞)", short(v), short(a)),
            _ => short(v),
        },
        Some(Range { high: Some(h), .. }) => format!("≤ {}", short(h)),
        _ => "–".into(),
    }
}

/// Cost per hour of an offer; where nothing is priced, its devices.
fn price(o: &Offer, priced: bool) -> Option<Range> {
    match priced {
        true => o.cost_per_hour,
        false => Some(o.devices),
    }
}

fn chart(c: &Compared, priced: bool) -> Picture {
    let dots = |front: bool| {
        let of = c.offers.iter().filter(move |o| o.on_front == front);
        let mut dots: Vec<Dot> = of
            .filter_map(|o| {
                let cost = price(o, priced)?;
                let y = cost.value?;
                let unit = if priced { "per hour" } else { "devices" };
                Some(Dot {
                    x: o.interactivity,
                    y,
                    range: cost.low.zip(cost.high),
                    label: format!(
                        "{}: {} tok/s for each user, {} {unit}",
                        name(o),
                        short(o.interactivity),
                        short(y)
                    ),
                })
            })
            .collect();
        dots.sort_by(|a, b| a.x.total_cmp(&b.x));
        dots
    };
    let beaten = match priced {
        true => "nothing is both cheaper and faster to read",
        false => "nothing needs fewer devices and is faster to read",
    };
    let named = |name: &str, dots, mark| Series {
        name: name.into(),
        dots,
        mark,
    };
    let all = [
        named(beaten, dots(true), Mark::Line),
        named("others", dots(false), Mark::Dots),
    ];
    let series = all.into_iter().filter(|s| !s.dots.is_empty()).collect();
    let (title, y) = match priced {
        true => ("Cost against interactivity", "cost per hour"),
        false => ("Devices against interactivity", "devices in all"),
    };
    Chart {
        title: title.into(),
        x: "tok/s that one user reads (1 / mean TPOT)".into(),
        y: y.into(),
        series,
        ..Chart::default()
    }
    .into()
}

pub fn section(c: &Compared) -> Section {
    let priced = c.offers.iter().any(|o| o.cost_per_hour.is_some());
    let pictures = vec![chart(c, priced)];
    let columns = [
        "offer",
        "devices",
        "users per engine",
        "tok/s per user",
        "mean TTFT s",
        "output tok/s",
        "cost per hour",
        "cost per million tokens",
        "W",
        "J per token",
        "not beaten",
    ]
    .map(String::from);
    let rows: Vec<Vec<String>> = c
        .offers
        .iter()
        .map(|o| {
            vec![
                name(o),
                devices(o),
                o.users_per_engine.to_string(),
                shown(o.interactivity),
                shown(o.ttft),
                shown(o.output_throughput),
                ranged(o.cost_per_hour),
                ranged(o.cost_per_million_tokens),
                ranged(o.watts),
                ranged(o.joules_per_token),
                if o.on_front { "yes" } else { "no" }.into(),
            ]
        })
        .collect();
    let mut body = head::answer(&c.answer) + &charts(&pictures);
    body += &table("Offers, with their 90 % intervals", &columns, &rows);
    if let Some(first) = c.offers.first() {
        body += &format!(
            "<p>One of the {} engines of the first offer:</p>\n<pre><code>{}</code></pre>\n",
            first.engines,
            escape(&first.serve)
        );
    }
    let missed = c.missed.iter();
    let missed = missed.map(|m| format!("{} does not serve them: {}", m.device, m.why));
    let mut notes: Vec<String> = missed.collect();
    notes.extend(c.assumed.iter().map(|a| format!("assumed: {a}")));
    notes.extend(c.notes.iter().cloned());
    body += &list(&notes);
    Section {
        title: format!(
            "Which machine: {} users{}, SLO {}",
            c.users,
            head::subject(c.about.as_ref()),
            c.slo
        ),
        head: head::about(c.about.as_ref()),
        body,
        pictures,
    }
}

//! The figures that matter most, large, and what is read out when they change.
use super::super::seen::Seen;
use super::Side;
use capsim::metrics::{Latency, Metric};
use capsim::plan::compare::Range;
use capsim_study::report::chart::{escape, short};
use capsim_study::report::json::{Figure, Point};
use capsim_study::report::page;
use std::fmt::Write as _;

/// What is read out.
pub fn summary(seen: &Seen) -> String {
    let p = &seen.point;
    let refused = page::refusals("", [p].into_iter()).map_or(String::new(), |r| r + ". ");
    let value = |metric| p.value(metric).unwrap_or(f64::NAN);
    let slo = match (seen.slo.is_empty(), seen.slo.iter().all(|j| j.met)) {
        (true, _) => "",
        (false, true) => "SLO met. ",
        (false, false) => "SLO missed. ",
    };
    format!(
        "{refused}{slo}{} output tok/s, mean TTFT {} s, mean TPOT {} ms; bottleneck: {}",
        short(value(Metric::OutputThroughput)),
        short(value(Metric::mean(Latency::Ttft)) * 1e-3),
        short(value(Metric::mean(Latency::Tpot))),
        p.binds
    )
}

/// A figure on a card.
struct Card {
    /// What it is.
    name: &'static str,
    /// Its name in the page's code.
    metric: String,
    /// Its unit, behind it.
    unit: &'static str,
    /// Value and interval of each side, in that unit.
    sides: Vec<Figure>,
    /// Whether a phone has room for it at the top.
    first: bool,
    /// A second figure of the present side, in words.
    below: String,
}

/// Value, or bounds, of a figure of the present side, with its unit.
fn below(sides: &[Side], unit: &str, of: impl Fn(&Seen) -> Option<Figure>) -> String {
    match of(Side::now(sides)) {
        Some(f) => match (f.value, f.high) {
            (Some(v), _) => format!("{} {unit}", short(v)),
            (None, Some(high)) => format!("at most {} {unit}", short(high)),
            _ => String::new(),
        },
        None => String::new(),
    }
}

fn card(o: &mut String, card: &Card) {
    let show = |v: Option<f64>| v.filter(|v| v.is_finite()).map_or("–".into(), short);
    let now = card.sides.last().expect("there is one");
    let range = match (now.value, now.low, now.high) {
        (None, _, Some(high)) => format!("at most {}", short(high)),
        (_, Some(low), Some(high)) => format!("{} – {}", short(low), short(high)),
        (None, ..) => String::new(),
        _ => "…".into(),
    };
    let _ = write!(
        o,
        "<div{}><dt>{}</dt><dd><output data-metric=\"{}\">{}</output> <small>{}</small></dd><dd class=\"range\">{range}</dd>",
        if card.first { "" } else { " class=\"more\"" },
        card.name,
        card.metric,
        show(now.value),
        card.unit
    );
    if !card.below.is_empty() {
        let _ = write!(o, "<dd class=\"range\">{}</dd>", card.below);
    }
    if let [a, b] = &card.sides[..]
        && let Some(was) = a.value
    {
        let change = match b.value.map(|b| b / was) {
            Some(f) if f.is_finite() && (0.5..2.0).contains(&f) => {
                format!(" ({:+.0} %)", 100.0 * (f - 1.0))
            }
            Some(f) if f.is_finite() => format!(" (×{f:.2})"),
            _ => String::new(),
        };
        let _ = write!(o, "<dd class=\"pin\">A: {}{change}</dd>", short(was));
    }
    o.push_str("</div>");
}

fn scaled(f: &Figure, factor: f64) -> Figure {
    let times = |v: Option<f64>| v.map(|v| v * factor);
    Figure {
        value: times(f.value),
        low: times(f.low),
        high: times(f.high),
    }
}

fn figure(r: Range) -> Figure {
    Figure {
        value: r.value,
        low: r.low,
        high: r.high,
    }
}

const NOTHING: Figure = Figure {
    value: None,
    low: None,
    high: None,
};

/// Output tokens per second of one answer: 1000 over the mean TPOT in milliseconds.
fn each(p: &Point) -> Figure {
    let Some(f) = p.metrics.get(&Metric::mean(Latency::Tpot)) else {
        return NOTHING;
    };
    let turned = |v: Option<f64>| v.filter(|v| *v > 0.0).map(|v| 1e3 / v);
    Figure {
        value: turned(f.value),
        low: turned(f.high),
        high: turned(f.low),
    }
}

fn figures(sides: &[Side]) -> Vec<Card> {
    let of = |f: &dyn Fn(&Point) -> Figure| sides.iter().map(|s| f(&s.seen.point)).collect();
    let metric = |name, metric: Metric, unit, factor: f64, first| Card {
        name,
        metric: metric.to_string(),
        unit,
        sides: of(&|p| {
            p.metrics
                .get(&metric)
                .map_or(NOTHING, |f| scaled(f, factor))
        }),
        first,
        below: String::new(),
    };
    let mean = Metric::mean;
    let mut all = vec![
        metric("Throughput", Metric::OutputThroughput, "tok/s", 1.0, true),
        Card {
            name: "Each answer",
            metric: "interactivity".into(),
            unit: "tok/s",
            sides: of(&each),
            first: true,
            below: String::new(),
        },
        metric("Mean TTFT", mean(Latency::Ttft), "s", 1e-3, true),
        metric("Mean TPOT", mean(Latency::Tpot), "ms", 1.0, false),
        metric("Mean E2E", mean(Latency::E2el), "s", 1e-3, false),
        metric("Requests", Metric::RequestThroughput, "1/s", 1.0, false),
    ];
    let energy = |f: fn(&capsim_study::report::json::EnergyFigures) -> Figure| {
        of(&|p| p.energy.as_ref().map_or(NOTHING, f))
    };
    if sides.iter().any(|s| s.seen.point.energy.is_some()) {
        all.push(Card {
            name: "Energy",
            metric: "joules".into(),
            unit: "J/token",
            sides: energy(|e| e.joules_per_output_token.clone()),
            first: false,
            below: below(sides, "W", |s| {
                s.point.energy.as_ref().map(|e| e.watts.clone())
            }),
        });
    }
    if sides.iter().any(|s| s.seen.cost.is_some()) {
        let million = |s: &Side| s.seen.cost.map_or(NOTHING, |c| figure(c.million));
        all.push(Card {
            name: "1 M tokens cost",
            metric: "cost_per_million_tokens".into(),
            unit: "",
            sides: sides.iter().map(million).collect(),
            first: true,
            below: below(sides, "per hour", |s| s.cost.map(|c| figure(c.hour))),
        });
    }
    all
}

/// Whether the SLO holds, and of each condition the value and the limit.
fn slo(seen: &Seen) -> String {
    if seen.slo.is_empty() {
        return String::new();
    }
    let met = seen.slo.iter().all(|j| j.met);
    let terms: Vec<String> = seen
        .slo
        .iter()
        .map(|j| {
            format!(
                "<span class=\"{}\">{} {} {}, limit {}</span>",
                if j.met { "holds" } else { "fails" },
                if j.met { "✓" } else { "✗" },
                escape(&j.name),
                escape(&j.value),
                escape(&j.limit)
            )
        })
        .collect();
    format!(
        "<div class=\"slo {}\"><dt>SLO</dt><dd><output data-metric=\"slo\">{}</output></dd><dd class=\"range\">{}</dd></div>",
        if met { "met" } else { "missed" },
        if met { "met" } else { "missed" },
        terms.concat()
    )
}

/// All cards, below what a reader must know first.
pub fn headline(sides: &[Side]) -> String {
    let now = Side::now(sides);
    let p = &now.point;
    let mut o = page::left_out([p].into_iter()) + &page::refused("", [p].into_iter());
    o += match sides.len() {
        1 => "<dl class=\"cards\">",
        _ => "<dl class=\"cards two\">",
    };
    for c in &figures(sides) {
        card(&mut o, c);
    }
    o += &slo(now);
    let _ = write!(
        o,
        "<div class=\"binds\"><dt>Bottleneck</dt><dd>{}</dd><dd class=\"range\">{}</dd>{}</div></dl>",
        escape(&p.binds),
        if p.range(Metric::OutputThroughput).is_none() {
            "intervals follow"
        } else {
            "90 % intervals"
        },
        match sides {
            [a, _] => format!("<dd class=\"pin\">A: {}</dd>", escape(&a.seen.point.binds)),
            _ => String::new(),
        }
    );
    o
}

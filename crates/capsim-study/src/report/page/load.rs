//! Latency against load, or against any other flag: with the SLO's line, the highest load that meets it, and the knee.
use super::super::chart::{Chart, Dot, Scale, Series, Upright, short};
use super::prediction::{Named, put};
use super::{PageError, worded};
use capsim::metrics::{Latency, Metric, PERCENTILES, Statistic};
use capsim::plan::capacity::knee;
use capsim::plan::{Slo, Term};

/// Flags that say how much load there is.
pub const LOADS: &[&str] = &["request_rate", "max_concurrency", "users", "trace_speedup"];

/// What is drawn where no SLO says otherwise.
const USUAL: &[Metric] = &[
    Metric::mean(Latency::Ttft),
    Metric::mean(Latency::Tpot),
    Metric::percentile(Latency::E2el, 99.0),
];

/// The metric of a prediction that a condition is about.
fn metric_of(term: &Term) -> Option<Metric> {
    match term {
        Term::Latency { latency, stat, .. } => match stat {
            Statistic::Percentile(p) if !PERCENTILES.contains(p) => None,
            _ => Some(Metric::Latency(*latency, *stat)),
        },
        Term::Throughput { metric, .. } => Some(*metric),
        Term::Goodput(_) => None,
    }
}

/// Title, unit, and milliseconds (or tokens) of one unit.
fn words(metric: Metric) -> (String, &'static str, f64) {
    let Metric::Latency(latency, statistic) = metric else {
        return (metric.to_string().replace('_', " "), "1/s", 1.0);
    };
    let statistic = match statistic {
        Statistic::Mean => "Mean".into(),
        Statistic::Percentile(50.0) => "Median".into(),
        other => other.to_string().to_uppercase(),
    };
    match latency {
        Latency::Ttft => (format!("{statistic} TTFT"), "s", 1e-3),
        Latency::Tpot | Latency::Itl => (format!("{statistic} {}", latency.heading()), "ms", 1.0),
        Latency::E2el | Latency::Queue => (format!("{statistic} E2E latency"), "s", 1e-3),
    }
}

/// The figure that a condition is about, with refused requests counted as infinitely slow; where the percentile that this makes is
/// not kept, the next higher one. `None`: it falls among them.
fn asked(named: &Named<'_>, metric: Metric, term: &Term) -> Option<f64> {
    let p = named.2;
    let asked = p.completed as f64 + p.refused as f64;
    let answered = p.completed as f64 / asked.max(1.0);
    let (Term::Latency { latency, stat, .. }, true) = (term, answered < 1.0) else {
        return p.value(metric);
    };
    let Statistic::Percentile(q) = stat else {
        return None;
    };
    let q = PERCENTILES.iter().find(|kept| **kept >= q / answered)?;
    p.value(Metric::percentile(*latency, *q))
}

fn met(named: &Named<'_>, terms: &[(Metric, &Term)]) -> bool {
    terms.iter().all(|(metric, term)| {
        asked(named, *metric, term).is_some_and(|v| match term {
            Term::Latency { limit, .. } => v <= 1e3 * limit,
            Term::Throughput { least, .. } => v >= *least,
            Term::Goodput(_) => false,
        })
    })
}

/// The points of a line by their place on the flag's axis.
fn line<'a>(flag: &str, points: &'a [Named<'a>], group: &str) -> Vec<(f64, &'a Named<'a>)> {
    let mut all: Vec<_> = points
        .iter()
        .filter(|p| p.0 == group)
        .filter_map(|p| {
            let x = worded(p.2.varied.get(flag)?).parse::<f64>().ok()?;
            x.is_finite().then_some((x, p))
        })
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all
}

/// Knee, and the highest load up to which every one meets the SLO, of every line.
fn uprights(
    flag: &str,
    points: &[Named<'_>],
    groups: &[String],
    terms: &[(Metric, &Term)],
) -> Vec<Upright> {
    if !LOADS.contains(&flag) {
        return vec![];
    }
    let mut all = vec![];
    for (i, group) in groups.iter().enumerate() {
        let line = line(flag, points, group);
        if line.len() < 3 {
            continue;
        }
        let mut mark = |x: Option<f64>, name: &str| {
            if let Some(x) = x {
                all.push(Upright {
                    x,
                    name: format!("{name} {}", short(x)),
                    series: (groups.len() > 1).then_some(i),
                });
            }
        };
        if !terms.is_empty() {
            let best = line.iter().take_while(|(_, p)| met(p, terms)).last();
            mark(best.map(|b| b.0), "SLO met up to");
        }
        let power = line.iter().filter_map(|(x, p)| {
            Some((
                *x,
                p.2.value(Metric::RequestThroughput)?,
                p.2.value(Metric::mean(Latency::E2el))?,
            ))
        });
        mark(knee(power), "knee");
    }
    all
}

/// Even factors where values span several doublings, as loads that are tried do; else even steps.
pub(super) fn scale<'a>(dots: impl Iterator<Item = &'a Dot>) -> Scale {
    let (low, high) = dots.fold((f64::INFINITY, 0.0_f64), |(a, b), d| {
        (a.min(d.x), b.max(d.x))
    });
    match low > 0.0 && high >= 8.0 * low {
        true => Scale::Log,
        false => Scale::Linear,
    }
}

/// Metrics over a flag: the usual latencies, and those of the SLO.
///
/// # Errors
/// An SLO on a figure that predictions do not hold.
pub fn over(flag: &str, points: &[Named<'_>], slo: Option<&Slo>) -> Result<Vec<Chart>, PageError> {
    let terms: Vec<(Metric, &Term)> = slo
        .iter()
        .flat_map(|s| &s.terms)
        .map(|t| {
            metric_of(t)
                .map(|m| (m, t))
                .ok_or_else(|| PageError::Slo(t.name()))
        })
        .collect::<Result<_, _>>()?;
    let mut metrics: Vec<Metric> = terms.iter().map(|t| t.0).collect();
    for m in USUAL {
        // A condition on another figure of the same latency stands for it.
        if !metrics.iter().any(|have| have.latency() == m.latency()) {
            metrics.push(*m);
        }
    }
    metrics.dedup();
    let mut groups: Vec<String> = vec![];
    for p in points {
        if !groups.contains(&p.0) {
            groups.push(p.0.clone());
        }
    }
    let uprights = uprights(flag, points, &groups, &terms);
    let chart = |metric: Metric| {
        let (title, unit, factor) = words(metric);
        let mut series: Vec<Series> = vec![];
        for group in &groups {
            for (x, named) in line(flag, points, group) {
                let Some(y) = named.2.value(metric) else {
                    continue;
                };
                let dot = Dot {
                    x,
                    y: y * factor,
                    range: named.2.range(metric).map(|(a, b)| (a * factor, b * factor)),
                    label: format!("{}: {} {unit}", named.1, short(y * factor)),
                };
                put(&mut series, group, dot);
            }
        }
        let levels = terms
            .iter()
            .filter(|t| t.0 == metric)
            .map(|(_, t)| match t {
                Term::Latency { limit, .. } => 1e3 * limit * factor,
                Term::Throughput { least, .. } => *least,
                Term::Goodput(share) => *share,
            })
            .map(|v| (v, format!("SLO {} {unit}", short(v))))
            .collect();
        Chart {
            title: format!("{title} over {}", flag.replace('_', "-")),
            x: flag.replace('_', "-"),
            y: format!("{unit}, logarithmic"),
            x_scale: scale(series.iter().flat_map(|s| &s.dots)),
            y_scale: Scale::Log,
            series,
            levels,
            uprights: uprights.clone(),
        }
    };
    Ok(metrics.into_iter().map(chart).collect())
}

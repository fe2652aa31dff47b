//! Latency against load, or against any other flag: with the SLO's line, the highest load that meets it, and the knee.
use super::super::chart::{Chart, Dot, Scale, Series, Upright, short};
use super::prediction::{Named, put, range};
use super::worded;
use super::{PageError, figure_of};
use capsim::metrics::PERCENTILES;
use capsim::plan::capacity::knee;
use capsim::plan::{Slo, Stat, Term};

/// Flags that say how much load there is.
pub const LOADS: &[&str] = &["request_rate", "max_concurrency", "users", "trace_speedup"];

/// What is drawn where no SLO says otherwise.
const USUAL: &[&str] = &["mean_ttft_ms", "mean_tpot_ms", "p99_e2el_ms"];

/// The metric of a prediction that a condition is about.
fn metric_of(term: &Term) -> Option<String> {
    Some(match term {
        Term::Latency { latency, stat, .. } => {
            let stat = match stat {
                Stat::Mean => "mean".into(),
                Stat::Percentile(50.0) => "median".into(),
                Stat::Percentile(p) if PERCENTILES.contains(p) => format!("p{p}"),
                Stat::Percentile(_) => return None,
            };
            format!("{stat}_{}_ms", latency.name())
        }
        Term::Throughput { metric, .. } => metric.to_string(),
        Term::Goodput(_) => return None,
    })
}

/// Title, unit, and milliseconds (or tokens) of one unit.
fn words(metric: &str) -> (String, &'static str, f64) {
    let Some((stat, latency)) = metric.strip_suffix("_ms").and_then(|m| m.split_once('_')) else {
        return (metric.replace('_', " "), "1/s", 1.0);
    };
    let stat = match stat {
        "mean" => "Mean".into(),
        "median" => "Median".into(),
        percentile => percentile.to_uppercase(),
    };
    match latency {
        "ttft" => (format!("{stat} TTFT"), "s", 1e-3),
        "tpot" => (format!("{stat} TPOT"), "ms", 1.0),
        "itl" => (format!("{stat} ITL"), "ms", 1.0),
        _ => (format!("{stat} E2E latency"), "s", 1e-3),
    }
}

fn value(named: &Named<'_>, metric: &str) -> Option<f64> {
    figure_of(named.2, &format!("/metrics/{metric}/value"))
}

/// The figure that a condition is about, with refused requests counted as infinitely slow; where the percentile that this makes is
/// not kept, the next higher one. `None`: it falls among them.
fn asked(named: &Named<'_>, metric: &str, term: &Term) -> Option<f64> {
    let count = |key: &str| named.2[key].as_f64().unwrap_or(0.0);
    let answered = count("completed") / (count("completed") + count("refused")).max(1.0);
    let (Term::Latency { latency, stat, .. }, true) = (term, answered < 1.0) else {
        return value(named, metric);
    };
    let Stat::Percentile(p) = stat else {
        return None;
    };
    let p = PERCENTILES.iter().find(|kept| **kept >= p / answered)?;
    let stat = match *p {
        50.0 => "median".into(),
        p => format!("p{p}"),
    };
    value(named, &format!("{stat}_{}_ms", latency.name()))
}

fn met(named: &Named<'_>, terms: &[(String, &Term)]) -> bool {
    terms.iter().all(|(metric, term)| {
        asked(named, metric, term).is_some_and(|v| match term {
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
            let x = worded(&p.2["varied"][flag]).parse::<f64>().ok()?;
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
    terms: &[(String, &Term)],
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
                value(p, "request_throughput")?,
                value(p, "mean_e2el_ms")?,
            ))
        });
        mark(knee(power), "knee");
    }
    all
}

/// Metrics over a flag: the usual latencies, and those of the SLO.
///
/// # Errors
/// An SLO on a figure that predictions do not hold.
pub fn over(flag: &str, points: &[Named<'_>], slo: Option<&Slo>) -> Result<Vec<Chart>, PageError> {
    let terms: Vec<(String, &Term)> = slo
        .iter()
        .flat_map(|s| &s.terms)
        .map(|t| {
            metric_of(t)
                .map(|m| (m, t))
                .ok_or_else(|| PageError::Slo(t.name()))
        })
        .collect::<Result<_, _>>()?;
    let mut metrics: Vec<&str> = terms.iter().map(|t| t.0.as_str()).collect();
    for m in USUAL {
        // A condition on another figure of the same latency stands for it.
        let latency = m.split_once('_').map(|x| x.1);
        if !metrics
            .iter()
            .any(|have| have.split_once('_').map(|x| x.1) == latency)
        {
            metrics.push(m);
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
    let chart = |metric: &str| {
        let (title, unit, factor) = words(metric);
        let mut series: Vec<Series> = vec![];
        for group in &groups {
            for (x, named) in line(flag, points, group) {
                let Some(y) = value(named, metric) else {
                    continue;
                };
                let dot = Dot {
                    x,
                    y: y * factor,
                    range: range(named.2, metric).map(|(a, b)| (a * factor, b * factor)),
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
            x: flag.into(),
            y: format!("{unit}, logarithmic"),
            y_scale: Scale::Log,
            series,
            levels,
            uprights: uprights.clone(),
            ..Chart::default()
        }
    };
    Ok(metrics.into_iter().map(chart).collect())
}

//! How much load an engine bears under an SLO.
mod answer;
mod bench;
mod inquiry;
mod rising;

pub use answer::{Capacity, FloorTerm, Nearest, Outlook, Point, Rising};
pub use bench::at_load;

use super::confidence::at_least;
use super::floor::ideal;
use super::limit::elasticities;
use super::load::Axis;
use super::pool::Pool;
use super::slo::{Slo, Term};
use super::trial::trial;
use super::uncertainty::extremes;
use super::what_if::changes;
use crate::predict::{PredictError, Scenario};
use bench::{Bench, has_chance};
use inquiry::{Inquiry, Place, chance};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// What must hold.
    pub slo: Slo,
    /// What is raised.
    pub axis: Axis,
    /// Independent runs per load; a load without chance gets one.
    pub seeds: u32,
    /// Of these, so many must meet the SLO; `None`: all.
    pub needed: Option<u32>,
    /// Confidence of the statement about runs, 0 to 1.
    pub confidence: f64,
    /// Requests per run; `None`: what the percentiles and the load need ([`Axis::prompts`]).
    pub prompts: Option<u32>,
    /// The load there is today, for the headroom.
    pub present: Option<f64>,
    /// The load to be served in all, for the number of replicas.
    pub wanted: Option<f64>,
    /// Whether to try other settings.
    pub what_if: bool,
}

/// Fractions of the highest load at which the curve is drawn.
const CURVE: [f64; 8] = [0.25, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 2.0];

/// Answers a question about a scenario. The scenario's own load on the axis does not matter.
///
/// # Errors
/// Settings that no engine starts with, or a load that makes no sense.
pub fn capacity(
    scenario: &Scenario,
    q: &Question,
    pool: &impl Pool,
) -> Result<Capacity, PredictError> {
    let upper = q.slo.against_load();
    let chance = chance(scenario, q);
    let mut asked = Inquiry::new(scenario, q, &upper, chance, pool);
    let place = asked.place()?;
    let Place { at, unlimited, .. } = place;
    let few = asked.slope_runs(at);
    let ends = extremes(&few, &q.slo, &place.decisive, pool)?;
    let curve = curve(&mut asked.bench, at, asked.rises || unlimited)?;
    let rising = asked.rising(&ends)?;
    let best = asked.best(&place.found, &curve);
    let (low, high) = asked.interval(&place, &ends, rising.as_ref(), best)?;
    let floor = floor(&mut asked.bench, q, at)?;
    let elasticities = elasticities(&few, &q.slo, &place.decisive, pool).ok();
    let outlooks = if q.what_if && !asked.rises {
        outlooks(scenario, q, &upper, asked.fewest(), at, pool)?
    } else {
        vec![]
    };
    let present = asked.point(q.present.map(|p| q.axis.step(p)))?;
    let highest = asked.point(best.map(|load| q.axis.step(load)))?;
    let broken = asked.point(place.found.broken)?;
    let low = low.min(best.unwrap_or(0.0));
    Ok(Capacity {
        schema: "capsim.capacity/1".into(),
        answer: String::new(),
        about: None,
        axis: q.axis,
        slo: q.slo.to_string(),
        runs_share: highest
            .as_ref()
            .map_or(0.0, |p| at_least(p.runs_met, p.runs, q.confidence)),
        low,
        high: high.map(|h| h.max(best.unwrap_or(0.0))),
        rests_on: ends
            .shares
            .into_iter()
            .filter(|s| s.1 > 0.02)
            .take(6)
            .collect(),
        confidence: q.confidence,
        seeds: asked.seeds,
        needed: asked.bench.needed,
        deterministic: !chance,
        knee: knee(curve.iter().map(|p| (p.load, p.request_throughput, p.e2el))),
        not_monotone: asked.not_monotone(&curve, best, unlimited),
        curve,
        decisive: place.decisive.name(),
        elasticities,
        floor,
        short_of: highest.as_ref().map_or(vec![], |p| short_of(&q.slo, p)),
        rising,
        present,
        wanted: q.wanted,
        replicas: replicas(q.wanted, best.unwrap_or(0.0)),
        replicas_unlucky: replicas(q.wanted, low),
        outlooks,
        highest,
        broken,
        notes: scenario
            .beyond_profile()
            .iter()
            .map(ToString::to_string)
            .collect(),
    })
}

/// Conditions on throughput that a point does not meet.
fn short_of(slo: &Slo, point: &Point) -> Vec<String> {
    slo.terms
        .iter()
        .zip(&point.values)
        .filter(|(t, v)| t.wants_load() && t.margin_of(**v) > 1.0)
        .map(|(t, _)| t.name())
        .collect()
}

/// Replicas for a load to be served, each bearing so much; `None`: nothing is wanted, or none bears any.
fn replicas(wanted: Option<f64>, per: f64) -> Option<u32> {
    match wanted {
        Some(w) if per > 0.0 => Some(libm::ceil(w / per - 1e-9).min(1e9) as u32),
        _ => None,
    }
}

/// The highest load of another scenario, searched from a step that is thought to be near; 0 if none will do, `None` if the
/// SLO does not limit it.
fn highest_of(
    scenario: &Scenario,
    q: &Question,
    slo: &Slo,
    seeds: u32,
    near: i64,
    pool: &impl Pool,
) -> Result<Option<f64>, PredictError> {
    let mut bench = Bench::new(scenario, q, slo, seeds, pool);
    let found = bench.search(near)?;
    Ok(match (found.highest, found.broken) {
        (Some(_), None) => None,
        (Some(s), _) => Some(q.axis.value(s)),
        (None, _) => Some(0.0),
    })
}

/// The points around a step; if nothing happens beyond it, only those before it and the next, with what is known beyond.
fn curve<P: Pool>(
    bench: &mut Bench<'_, P>,
    at: i64,
    ends: bool,
) -> Result<Vec<Point>, PredictError> {
    let axis = bench.q.axis;
    let load = axis.value(at);
    let shown = CURVE.iter().filter(|f| !ends || **f <= 1.25);
    let mut steps: Vec<i64> = shown.map(|f| axis.step(f * load)).collect();
    if ends {
        steps.extend(bench.known.range(at..).map(|(s, _)| *s));
    }
    steps.push(at);
    if axis.counts() {
        steps.push(1);
    }
    steps.sort_unstable();
    steps.dedup();
    steps
        .into_iter()
        .map(|s| Ok(bench.at(s)?.0.clone()))
        .collect()
}

/// The load, of (load, throughput, latency), at which throughput over latency is largest: power, as L. Kleinrock defines it
/// (Proc. ICC, 1979).
pub fn knee(points: impl Iterator<Item = (f64, f64, f64)>) -> Option<f64> {
    points
        .max_by(|a, b| (a.1 / a.2).total_cmp(&(b.1 / b.2)))
        .map(|p| p.0)
}

/// The least that is possible: of latencies at the lowest load, of throughput at the step that serves most.
fn floor<P: Pool>(
    bench: &mut Bench<'_, P>,
    q: &Question,
    at: i64,
) -> Result<Vec<FloorTerm>, PredictError> {
    let lowest = if q.axis.counts() {
        1
    } else {
        q.axis.step(1e-3)
    };
    let mut all = vec![];
    for t in &q.slo.terms {
        let step = if t.wants_load() { at } else { lowest };
        let best = trial(&ideal(&bench.scenario(step, 0)), &q.slo)?;
        all.push(FloorTerm {
            name: t.name(),
            limit: match t {
                Term::Latency { limit, .. } => *limit,
                Term::Goodput(v) | Term::Throughput { least: v, .. } => *v,
            },
            alone: t.value(&bench.at(step)?.1),
            ideal: t.value(&best),
        });
    }
    Ok(all)
}

fn outlooks(
    scenario: &Scenario,
    q: &Question,
    slo: &Slo,
    seeds: u32,
    near: i64,
    pool: &impl Pool,
) -> Result<Vec<Outlook>, PredictError> {
    let mut all = vec![];
    for change in changes(scenario) {
        let load = highest_of(&change.scenario, q, slo, seeds, near, pool)?;
        all.push(Outlook {
            what: change.what,
            same_answers: change.same_answers,
            load,
        });
    }
    let rank = |o: &Outlook| o.load.unwrap_or(f64::INFINITY);
    all.sort_by(|a, b| {
        rank(b)
            .total_cmp(&rank(a))
            .then_with(|| a.what.cmp(&b.what))
    });
    Ok(all)
}

//! How much load an engine bears under an SLO.
mod answer;
mod bench;
mod rising;

pub use answer::{Capacity, FloorTerm, Nearest, Outlook, Point, Rising};

use super::confidence::at_least;
use super::floor::ideal;
use super::limit::elasticities;
use super::load::Axis;
use super::pool::Pool;
use super::search::Found;
use super::slo::{Slo, Term};
use super::trial::trial;
use super::uncertainty::extremes;
use super::what_if::changes;
use crate::predict::{PredictError, Scenario};
use bench::{Bench, has_chance};

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

/// Runs per load where only a comparison is wanted.
const FEW: u32 = 2;

/// Runs per coefficient for the slopes.
const GRADIENT_SEEDS: u32 = 3;

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
    let mut probe = scenario.clone();
    q.axis.apply(&mut probe, 1.0);
    let chance = has_chance(&probe);
    // A rate is bounded by what is served; users who wait for their answers are not.
    let rises = upper.terms.is_empty() && q.axis.counts();
    let seeds = match (chance, rises) {
        (false, _) => 1,
        // Throughput is a mean over thousands of requests.
        (true, true) => q.seeds.clamp(1, FEW),
        (true, false) => q.seeds.max(1),
    };
    let mut bench = Bench::new(
        scenario,
        q,
        if rises { &q.slo } else { &upper },
        seeds,
        pool,
    );
    let axis = q.axis;
    // Begin where the device is about half used.
    let start = match (axis.counts(), q.present) {
        // Today's load, but not one that would take long to find too high.
        (true, Some(p)) => axis.step(p.min(256.0)),
        (false, Some(p)) => axis.step(p),
        (true, None) => 4,
        (false, None) if axis == Axis::Speedup => 0,
        (false, None) => {
            let (alone, _) = bench.at(axis.step(1e-3))?;
            axis.step(2.0 / alone.e2el.max(1e-6))
        }
    };
    let found = if rises {
        bench.search_for(start, false)?;
        if rising::least(&bench).is_none() {
            // Throughput may be highest between two loads tried.
            let near = rising::nearest(&bench);
            curve(&mut bench, near, rises)?;
        }
        Found {
            highest: rising::least(&bench),
            broken: None,
        }
    } else {
        bench.search(start)?
    };
    let near = match (found.broken, found.highest) {
        (Some(s), _) | (None, Some(s)) => s,
        (None, None) => rising::nearest(&bench),
    };
    // The decisive condition is that which is nearest to its limit where the SLO just breaks.
    let (decisive, _) = {
        let (_, t) = bench.at(near)?;
        if upper.terms.is_empty() {
            q.slo.tightest(t)
        } else {
            upper.tightest(t)
        }
    };
    // Of loads that nothing bounds, the lowest at which throughput is at its end: beyond it, only the queue grows.
    let unlimited = found.highest.is_some() && found.broken.is_none();
    let saturated = (unlimited && !rises).then(|| bench.saturated());
    let at = saturated.or(found.highest).unwrap_or(near);
    let few: Vec<Scenario> = (0..seeds.min(GRADIENT_SEEDS))
        .map(|k| bench.scenario(at, k))
        .collect();
    let ends = extremes(&few, &q.slo, &decisive, pool)?;
    let other = |s: &Scenario, n: u32| -> Result<Option<f64>, PredictError> {
        // Only the coefficients differ: load and seed are the base's.
        let mut base = scenario.clone();
        (base.device, base.engine) = (s.device.clone(), s.engine.clone());
        highest_of(&base, q, &upper, n, at, pool)
    };
    let fewer = seeds.min(FEW.max(seeds / 2));
    let curve = curve(&mut bench, at, rises || unlimited)?;
    let rising = if rises {
        Some(rising::answer(scenario, q, &mut bench, &ends, fewer, pool)?)
    } else {
        None
    };
    let best = if rises {
        let met = curve.iter().filter(|p| p.met).map(|p| p.load);
        met.max_by(f64::total_cmp)
    } else {
        found.highest.map(|s| axis.value(s))
    };
    let (low, high) = match &rising {
        Some(r) if r.unlucky.is_some() => (best.unwrap_or(0.0), None),
        Some(r) if r.least.is_some() => (0.0, None),
        Some(_) => (0.0, Some(0.0)),
        None => {
            let low = other(&ends.slow, fewer)?.unwrap_or(f64::INFINITY);
            let high = if unlimited {
                None
            } else {
                other(&ends.fast, fewer)?
            };
            (low, high)
        }
    };
    let not_monotone = curve.iter().any(|p| match best {
        _ if rises => false,
        Some(b) => (p.load < b && !p.met) || (p.load > b && p.met && !unlimited),
        None => p.met,
    });
    let knee = knee(curve.iter().map(|p| (p.load, p.request_throughput, p.e2el)));
    let floor = floor(&mut bench, q, at)?;
    let elasticities = elasticities(&few, &q.slo, &decisive, pool).ok();
    let outlooks = if q.what_if && !rises {
        outlooks(scenario, q, &upper, seeds.min(FEW), at, pool)?
    } else {
        vec![]
    };
    let present = match q.present {
        Some(p) => Some(bench.at(axis.step(p))?.0.clone()),
        None => None,
    };
    let highest = match best {
        Some(load) => Some(bench.at(axis.step(load))?.0.clone()),
        None => None,
    };
    let broken = match found.broken {
        Some(s) => Some(bench.at(s)?.0.clone()),
        None => None,
    };
    let short_of = highest.as_ref().map_or(vec![], |p| {
        let terms = q.slo.terms.iter().zip(&p.values);
        terms
            .filter(|(t, v)| t.wants_load() && t.margin_of(**v) > 1.0)
            .map(|(t, _)| t.name())
            .collect()
    });
    let low = low.min(best.unwrap_or(0.0));
    let replicas = |per: f64| match q.wanted {
        Some(w) if per > 0.0 => Some(libm::ceil(w / per - 1e-9).min(1e9) as u32),
        _ => None,
    };
    Ok(Capacity {
        schema: "capsim.capacity/1".into(),
        axis,
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
        seeds,
        needed: bench.needed,
        deterministic: !chance,
        curve,
        knee,
        not_monotone,
        decisive: decisive.name(),
        elasticities,
        floor,
        short_of,
        rising,
        present,
        wanted: q.wanted,
        replicas: replicas(best.unwrap_or(0.0)),
        replicas_unlucky: replicas(low),
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

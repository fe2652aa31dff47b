//! How much load an engine bears under an SLO.
use super::confidence::at_least;
use super::floor::ideal;
use super::limit::{Elasticities, Limit, elasticities};
use super::load::Axis;
use super::pool::Pool;
use super::search::highest;
use super::slo::{Slo, Term, figure};
use super::trial::{Trial, trial};
use super::uncertainty::extremes;
use super::what_if::changes;
use super::{Latency, Stat};
use crate::predict::{PredictError, Scenario};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

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

/// Figures at one load, means over its runs. Latencies in seconds.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Point {
    /// The load, in units of the axis.
    pub load: f64,
    /// Requests measured per run.
    pub num_prompts: u32,
    /// Runs.
    pub runs: u32,
    /// Runs that met the SLO.
    pub runs_met: u32,
    /// Whether enough did.
    pub met: bool,
    /// Value of each condition, in the order of the SLO.
    pub values: Vec<f64>,
    /// Mean time to first token.
    pub ttft: f64,
    /// Mean time per output token.
    pub tpot: f64,
    /// Mean end-to-end latency.
    pub e2el: f64,
    /// Requests per second.
    pub request_throughput: f64,
    /// Output tokens per second.
    pub output_throughput: f64,
    /// Mean sequences in a step.
    pub batch: f64,
    /// Mean requests waiting.
    pub waiting: f64,
    /// Highest KV usage, 0 to 1.
    pub kv_max: f64,
    /// Preemptions per request.
    pub preemptions: f64,
    /// What requests wait for.
    pub waits_for: Limit,
    /// Largest part of the step time.
    pub step_part: String,
    /// Requests come faster than they are served.
    pub overloaded: bool,
}

/// One condition of the SLO, and the least that is possible.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FloorTerm {
    /// `ttft.p95`.
    pub name: String,
    /// The limit, in seconds, as a share or per second.
    pub limit: f64,
    /// At the lowest load.
    pub alone: f64,
    /// At the lowest load, if the engine wasted nothing of the device ([`ideal`]).
    pub ideal: f64,
}

/// A setting that was changed, and what the capacity would be then.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Outlook {
    /// The change.
    pub what: String,
    /// Whether answers stay the same.
    pub same_answers: bool,
    /// The highest load then; 0 if none meets the SLO, absent if the SLO does not limit it.
    pub load: Option<f64>,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Capacity {
    /// `capsim.capacity/1`.
    pub schema: String,
    /// What was raised.
    pub axis: Axis,
    /// The SLO as it was understood.
    pub slo: String,
    /// The highest load that meets it; absent: none does.
    pub highest: Option<Point>,
    /// The lowest load found that does not; absent: the SLO does not limit the load.
    pub broken: Option<Point>,
    /// The same under the unluckiest of twenty cost models (95 %), and under the luckiest; 0: none meets the SLO.
    pub low: f64,
    /// See `low`; absent: the SLO does not limit the load.
    pub high: Option<f64>,
    /// Coefficients behind that interval: name and part of the variance, largest first.
    pub rests_on: Vec<(String, f64)>,
    /// At least this share of such runs meets the SLO at the highest load, with the confidence asked for.
    pub runs_share: f64,
    /// The confidence.
    pub confidence: f64,
    /// Runs per load, and how many must meet the SLO.
    pub seeds: u32,
    /// See `seeds`.
    pub needed: u32,
    /// Whether the load holds no chance, so that all runs would be the same.
    pub deterministic: bool,
    /// Latency against load, in increasing order.
    pub curve: Vec<Point>,
    /// The load of the curve with the largest ratio of throughput to latency.
    pub knee: Option<f64>,
    /// A lower load failed, or a higher one met the SLO.
    pub not_monotone: bool,
    /// The condition that breaks first, and by how many per cent it shrinks if a resource becomes one per cent faster.
    pub decisive: String,
    /// See `decisive`.
    pub elasticities: Option<Elasticities>,
    /// The least that is possible.
    pub floor: Vec<FloorTerm>,
    /// Conditions that only throughput can meet, and that the highest load does not.
    pub short_of: Vec<String>,
    /// The load there is.
    pub present: Option<Point>,
    /// The load to be served, and the number of replicas for it: by the best estimate, and by the unlucky one.
    pub wanted: Option<f64>,
    /// See `wanted`; absent: impossible.
    pub replicas: Option<u32>,
    /// See `wanted`.
    pub replicas_unlucky: Option<u32>,
    /// Other settings, best first.
    pub outlooks: Vec<Outlook>,
}

/// Whether two seeds make two runs.
fn has_chance(scenario: &Scenario) -> bool {
    let w = &scenario.workload;
    let lengths = w.range_ratio > 0.0 || w.input_dist.is_some() || w.output_dist.is_some();
    lengths
        || w.users.is_some()
        || (w.trace.is_none() && (w.request_rate.is_some() || w.arrival.is_some()))
}

/// Evaluates loads of one scenario and remembers them.
struct Bench<'a, P> {
    base: &'a Scenario,
    q: &'a Question,
    slo: &'a Slo,
    seeds: u32,
    needed: u32,
    pool: &'a P,
    known: BTreeMap<i64, (Point, Trial)>,
}

impl<'a, P: Pool> Bench<'a, P> {
    fn new(base: &'a Scenario, q: &'a Question, slo: &'a Slo, seeds: u32, pool: &'a P) -> Self {
        Self {
            base,
            q,
            slo,
            seeds,
            needed: q.needed.unwrap_or(seeds).min(seeds),
            pool,
            known: BTreeMap::new(),
        }
    }

    fn scenario(&self, step: i64, seed: u32) -> Scenario {
        let mut s = self.base.clone();
        let load = self.q.axis.value(step);
        self.q.axis.apply(&mut s, load);
        let turns = s.workload.users.as_ref().map_or(1, |u| u.turns);
        s.workload.num_prompts = match (&s.workload.trace, self.q.prompts) {
            (_, Some(n)) => n,
            (Some(_), None) => s.workload.num_prompts,
            (None, None) => self.q.axis.prompts(load, self.q.slo.tail(), turns),
        };
        s.workload.seed = s.workload.seed.wrapping_add(u64::from(seed));
        s
    }

    fn at(&mut self, step: i64) -> Result<&(Point, Trial), PredictError> {
        if !self.known.contains_key(&step) {
            let jobs: Vec<Scenario> = (0..self.seeds).map(|k| self.scenario(step, k)).collect();
            let trials = self
                .pool
                .map(&jobs, |s| trial(s, &self.q.slo))
                .into_iter()
                .collect::<Result<Vec<_>, _>>()?;
            let point = self.point(step, jobs[0].workload.num_prompts, &trials);
            let first = trials.into_iter().next().expect("at least one seed");
            self.known.insert(step, (point, first));
        }
        Ok(&self.known[&step])
    }

    fn point(&self, step: i64, num_prompts: u32, trials: &[Trial]) -> Point {
        let n = trials.len() as f64;
        let mean = |f: &dyn Fn(&Trial) -> f64| trials.iter().map(f).sum::<f64>() / n;
        let open = matches!(self.q.axis, Axis::Rate | Axis::Speedup);
        let lost = |t: &Trial| open && t.overloaded();
        let runs_met = trials
            .iter()
            .filter(|t| self.slo.met(t) && !lost(t))
            .count() as u32;
        let run = &trials[0].run;
        Point {
            load: self.q.axis.value(step),
            num_prompts,
            runs: trials.len() as u32,
            runs_met,
            met: runs_met >= self.needed,
            values: self
                .q
                .slo
                .terms
                .iter()
                .map(|term| mean(&|t| term.value(t)))
                .collect(),
            ttft: mean(&|t| figure(&t.run.summary, Latency::Ttft, Stat::Mean)),
            tpot: mean(&|t| figure(&t.run.summary, Latency::Tpot, Stat::Mean)),
            e2el: mean(&|t| figure(&t.run.summary, Latency::E2el, Stat::Mean)),
            request_throughput: mean(&|t| t.run.summary.request_throughput()),
            output_throughput: mean(&|t| t.run.summary.output_throughput()),
            batch: mean(&|t| t.run.occupancy.batch),
            waiting: mean(&|t| t.run.occupancy.waiting),
            kv_max: trials
                .iter()
                .map(|t| t.run.occupancy.kv_max)
                .fold(0.0, f64::max),
            preemptions: mean(&|t| {
                t.run.summary.preemptions as f64 / (t.run.summary.completed as f64).max(1.0)
            }),
            waits_for: Limit::of(run),
            step_part: run.breakdown.largest().words().into(),
            overloaded: open && trials.iter().filter(|t| t.overloaded()).count() * 2 > trials.len(),
        }
    }

    /// The highest load that will do, searched from `start`.
    fn search(&mut self, start: i64) -> Result<super::Found, PredictError> {
        let axis = self.q.axis;
        let counts = axis.counts();
        highest(
            axis.range(),
            start,
            axis.stride(),
            |s| axis.resolution(s),
            |step| {
                let (p, t) = self.at(step)?;
                // A closed loop at its end: every place taken, as many waiting again, and the SLO met nevertheless.
                let seats = f64::from(t.run.settings.config.max_num_seqs);
                let full = counts && p.batch > 0.9 * seats && p.waiting > 2.0 * seats;
                Ok(if p.met && full {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(p.met)
                })
            },
        )
    }
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
    let seeds = if chance { q.seeds.max(1) } else { 1 };
    let mut bench = Bench::new(scenario, q, &upper, seeds, pool);
    let axis = q.axis;
    // Begin where the device is about half used.
    let start = match (axis.counts(), q.present) {
        (_, Some(p)) => axis.step(p),
        (true, None) => 4,
        (false, None) if axis == Axis::Speedup => 0,
        (false, None) => {
            let (alone, _) = bench.at(axis.step(1e-3))?;
            axis.step(2.0 / alone.e2el.max(1e-6))
        }
    };
    let found = bench.search(start)?;
    let lowest = found.highest.or(found.broken).expect("something was tried");
    let near = found.broken.unwrap_or(lowest);
    // The decisive condition is that which is nearest to its limit where the SLO just breaks.
    let (decisive, _) = {
        let (_, t) = bench.at(near)?;
        if upper.terms.is_empty() {
            q.slo.tightest(t)
        } else {
            upper.tightest(t)
        }
    };
    let at = found.highest.unwrap_or(near);
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
    let low = other(&ends.slow, fewer)?.unwrap_or(f64::INFINITY);
    let high = other(&ends.fast, fewer)?;
    let best = found.highest.map(|s| axis.value(s));
    let unlimited = found.broken.is_none();
    let curve = curve(&mut bench, at)?;
    let not_monotone = curve.iter().any(|p| match best {
        Some(b) => (p.load < b && !p.met) || (p.load > b && p.met && !unlimited),
        None => p.met,
    });
    let knee = knee(curve.iter().map(|p| (p.load, p.request_throughput, p.e2el)));
    let floor = floor(&mut bench, q)?;
    let elasticities = elasticities(&few, &q.slo, &decisive, pool).ok();
    let outlooks = if q.what_if {
        outlooks(scenario, q, &upper, seeds.min(FEW), at, pool)?
    } else {
        vec![]
    };
    let present = match q.present {
        Some(p) => Some(bench.at(axis.step(p))?.0.clone()),
        None => None,
    };
    let highest = match found.highest {
        Some(s) => Some(bench.at(s)?.0.clone()),
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
        high: if unlimited {
            None
        } else {
            high.map(|h| h.max(best.unwrap_or(0.0)))
        },
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
        present,
        wanted: q.wanted,
        replicas: replicas(best.unwrap_or(0.0)),
        replicas_unlucky: replicas(low),
        outlooks,
        highest,
        broken,
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

fn curve<P: Pool>(bench: &mut Bench<'_, P>, at: i64) -> Result<Vec<Point>, PredictError> {
    let axis = bench.q.axis;
    let load = axis.value(at);
    let mut steps: Vec<i64> = CURVE.iter().map(|f| axis.step(f * load)).collect();
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

fn floor<P: Pool>(bench: &mut Bench<'_, P>, q: &Question) -> Result<Vec<FloorTerm>, PredictError> {
    let step = if q.axis.counts() {
        1
    } else {
        q.axis.step(1e-3)
    };
    let alone = bench.at(step)?.1.clone();
    let best = trial(&ideal(&bench.scenario(step, 0)), &q.slo)?;
    Ok(q.slo
        .terms
        .iter()
        .map(|t| FloorTerm {
            name: t.name(),
            limit: match t {
                Term::Latency { limit, .. } => *limit,
                Term::Goodput(v) | Term::Throughput { least: v, .. } => *v,
            },
            alone: t.value(&alone),
            ideal: t.value(&best),
        })
        .collect())
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

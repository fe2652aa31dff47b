//! Which settings: many tried briefly, few tried long, the best explained.
//!
//! Successive halving (K. Jamieson and A. Talwalkar, AISTATS 2016): every setting gets a short run; the better part, and all on the
//! front of throughput against speed per user, get a longer one, until the last are compared over several seeds at
//! full length. Then each knob of the best is turned alone, which both tells what it matters and finds what sampling missed.
use super::load::Axis;
use super::pool::Pool;
use super::settings::{Knob, Setting};
use super::slo::{Latency, Slo, Stat, figure};
use super::trial::{Trial, trial};
use super::uncertainty::extremes;
use super::{Limit, Term, serve_line};
use crate::predict::{PredictError, Scenario};
use crate::rng::Seed;
use rand::RngExt as _;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What "better" means among settings that meet the SLO; those that do not are ranked by how little they miss it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// More output tokens per second.
    Throughput,
    /// More room to the SLO's limits; without an SLO, a shorter mean end-to-end latency.
    Latency,
    /// More output tokens per second and device.
    PerDevice,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// What must hold; `None`: nothing.
    pub slo: Option<Slo>,
    /// What is better.
    pub objective: Objective,
    /// Knobs; the first value of each is today's.
    pub knobs: Vec<Knob>,
    /// Most settings to try; if there are more combinations, some are drawn.
    pub settings: usize,
    /// Loads at which each setting is tried: requests open at once. Empty: the scenario's own load.
    pub concurrency: Vec<u32>,
    /// Seeds of the final comparison.
    pub seeds: u32,
    /// Settings that survive every rung at least.
    pub keep: usize,
    /// Requests of a run at full length; `None`: by the load.
    pub prompts: Option<u32>,
    /// Most devices that a setting may use; `None`: any number.
    pub devices: Option<u32>,
    /// Part of the score that is given up for fewer and smaller changes.
    pub simpler: f64,
}

/// A setting at a load: means over its runs. Latencies in seconds.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Outcome {
    /// Knobs that differ from today's, with their values.
    pub changes: Vec<(String, String)>,
    /// The `vllm serve` line.
    pub serve: String,
    /// Requests open at once, where that was varied.
    pub concurrency: Option<u32>,
    /// Whether every run met the SLO.
    pub met: bool,
    /// How much of the tightest limit is used up; absent without an SLO.
    pub margin: Option<f64>,
    /// Devices that it takes.
    pub devices: u32,
    /// Output tokens per second, of all devices together.
    pub output_throughput: f64,
    /// Output tokens per second that one user sees: 1 / mean TPOT.
    pub interactivity: f64,
    /// Mean time to first token.
    pub ttft: f64,
    /// Mean time per output token.
    pub tpot: f64,
    /// Mean end-to-end latency.
    pub e2el: f64,
    /// Preemptions per request.
    pub preemptions: f64,
    /// Highest KV usage, 0 to 1.
    pub kv_max: f64,
    /// What requests wait for.
    pub waits_for: Limit,
    /// What is compared: larger is better.
    pub score: f64,
}

/// What one knob does to the best setting.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Effect {
    /// The knob.
    pub knob: String,
    /// Its value in the best setting.
    pub chosen: String,
    /// Every other value: score relative to the best's, and whether the SLO is met; absent: the engine does not start, or takes more devices
    /// than there are.
    pub others: Vec<(String, Option<f64>, bool)>,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tuned {
    /// `capsim.tune/1`.
    pub schema: String,
    /// The SLO as it was understood.
    pub slo: Option<String>,
    /// What was better.
    pub objective: Objective,
    /// Combinations that there are.
    pub combinations: f64,
    /// Settings tried.
    pub tried: usize,
    /// Of these, engines that would not start.
    pub refused: usize,
    /// Of the rest, different engines: some combinations come to the same.
    pub distinct: usize,
    /// Simulations run.
    pub simulations: usize,
    /// Settings alive at each rung, and requests per run there.
    pub rungs: Vec<(usize, u32)>,
    /// Today's setting; absent: it does not start.
    pub present: Option<Outcome>,
    /// The best that meets the SLO.
    pub best: Option<Outcome>,
    /// If none meets it: the one that misses it least.
    pub nearest: Option<Outcome>,
    /// Best score over today's, and the smallest and largest under unlucky and lucky cost models.
    pub gain: Option<[f64; 3]>,
    /// Settings none of which is beaten in both throughput and tokens per second per user, among those that meet the SLO.
    pub front: Vec<Outcome>,
    /// What each knob does to the best setting, most first.
    pub effects: Vec<Effect>,
}

type Choice = Vec<usize>;

/// Figures of one setting at one load.
#[derive(Clone, Debug)]
struct Figures {
    met: bool,
    margin: f64,
    devices: u32,
    throughput: f64,
    interactivity: f64,
    score: f64,
    ttft: f64,
    tpot: f64,
    e2el: f64,
    preemptions: f64,
    kv_max: f64,
    waits_for: Limit,
}

impl Figures {
    /// What the front weighs against speed per user.
    fn worth(&self, objective: Objective) -> f64 {
        match objective {
            Objective::PerDevice => self.throughput / f64::from(self.devices),
            Objective::Throughput | Objective::Latency => self.throughput,
        }
    }
}

struct Tuner<'a, P> {
    base: &'a Scenario,
    q: &'a Question,
    slo: Slo,
    pool: &'a P,
    simulations: usize,
    /// By setting, level, requests and seeds.
    known: BTreeMap<(String, u32, u32, u32), Figures>,
}

/// An SLO that asks for nothing.
fn nothing() -> Slo {
    Slo {
        terms: vec![],
        per_request: super::slo::PerRequest::default(),
    }
}

impl<P: Pool> Tuner<'_, P> {
    fn scenario(&self, choice: &[usize]) -> Scenario {
        let mut s = self.base.clone();
        for (knob, &i) in self.q.knobs.iter().zip(choice) {
            knob.values[i].apply(&mut s);
        }
        s
    }

    /// What the engine comes to; `None`: it does not start, or takes more devices than there are.
    fn key(&self, choice: &[usize]) -> Option<String> {
        if !fits(self.base, self.q, choice) {
            return None;
        }
        let s = self.scenario(choice);
        let settings = s.settings().ok()?;
        Some(format!(
            "{:?} {:?} {:?} {} {:?} {:?} {}",
            settings.config,
            settings.parallel,
            settings.group,
            settings.enforce_eager,
            s.moe_path.as_ref().unwrap_or(&s.engine.moe_default),
            s.model.precision(),
            s.device.id
        ))
    }

    fn levels(&self) -> Vec<Option<u32>> {
        match &self.q.concurrency[..] {
            [] => vec![None],
            all => all.iter().copied().map(Some).collect(),
        }
    }

    /// Requests of a run at full length.
    fn full(&self, level: Option<u32>) -> u32 {
        let w = &self.base.workload;
        self.q
            .prompts
            .unwrap_or_else(|| match (level.or(w.max_concurrency), &w.users) {
                (_, Some(_)) => w.num_prompts.max(64),
                (Some(c), _) => Axis::Concurrency.prompts(f64::from(c), self.slo.tail(), 1),
                (None, None) => w.num_prompts.max(64),
            })
    }

    /// Evaluates settings at all levels with so many parts of the full length and so many seeds.
    fn evaluate(
        &mut self,
        choices: &[(Choice, String)],
        part: u32,
        seeds: u32,
    ) -> Result<Vec<Vec<Figures>>, PredictError> {
        let levels = self.levels();
        let mut jobs: Vec<((String, u32, u32, u32), Scenario)> = vec![];
        let mut wanted = BTreeSet::new();
        for (choice, key) in choices {
            for level in &levels {
                let full = self.full(*level);
                let clients = level.or(self.base.workload.max_concurrency).unwrap_or(0);
                // Short, but long enough that everybody asks twice.
                let prompts = full
                    .div_ceil(part)
                    .max(clients.saturating_mul(2))
                    .max(24)
                    .min(full);
                let id = (key.clone(), level.unwrap_or(0), prompts, seeds);
                if self.known.contains_key(&id) || !wanted.insert(id.clone()) {
                    continue;
                }
                let mut s = self.scenario(choice);
                s.workload.num_prompts = prompts;
                if level.is_some() {
                    s.workload.max_concurrency = *level;
                }
                jobs.push((id, s));
            }
        }
        let slo = &self.slo;
        let objective = self.q.objective;
        self.simulations += jobs.len() * seeds as usize;
        let results = self.pool.map(&jobs, |(_, s)| {
            let trials = (0..seeds)
                .map(|k| {
                    let mut s = s.clone();
                    s.workload.seed = s.workload.seed.wrapping_add(u64::from(k));
                    trial(&s, slo)
                })
                .collect::<Result<Vec<_>, _>>()?;
            Ok::<_, PredictError>(figures(slo, objective, &trials))
        });
        for ((id, _), r) in jobs.into_iter().zip(results) {
            self.known.insert(id, r?);
        }
        Ok(choices
            .iter()
            .map(|(_, key)| {
                levels
                    .iter()
                    .map(|level| {
                        let full = self.full(*level);
                        let clients = level.or(self.base.workload.max_concurrency).unwrap_or(0);
                        let prompts = full
                            .div_ceil(part)
                            .max(clients.saturating_mul(2))
                            .max(24)
                            .min(full);
                        self.known[&(key.clone(), level.unwrap_or(0), prompts, seeds)].clone()
                    })
                    .collect()
            })
            .collect())
    }

    fn outcome(&self, choice: &[usize], level: Option<u32>, f: &Figures) -> Outcome {
        let changes = self
            .q
            .knobs
            .iter()
            .zip(choice)
            .filter(|(_, i)| **i > 0)
            .map(|(k, &i)| (k.name.clone(), k.values[i].to_string()))
            .collect();
        Outcome {
            changes,
            serve: serve_line::words(&self.scenario(choice)).join(" "),
            concurrency: level,
            met: f.met,
            margin: (!self.slo.terms.is_empty()).then_some(f.margin),
            devices: f.devices,
            output_throughput: f.throughput,
            interactivity: f.interactivity,
            ttft: f.ttft,
            tpot: f.tpot,
            e2el: f.e2el,
            preemptions: f.preemptions,
            kv_max: f.kv_max,
            waits_for: f.waits_for,
            score: f.score,
        }
    }
}

fn figures(slo: &Slo, objective: Objective, trials: &[Trial]) -> Figures {
    let n = trials.len() as f64;
    let mean = |f: &dyn Fn(&Trial) -> f64| trials.iter().map(f).sum::<f64>() / n;
    let stat = |l| mean(&move |t: &Trial| figure(&t.run.summary, l, Stat::Mean));
    let (ttft, tpot, e2el) = (
        stat(Latency::Ttft),
        stat(Latency::Tpot),
        stat(Latency::E2el),
    );
    let margin = if slo.terms.is_empty() {
        0.0
    } else {
        mean(&|t| slo.tightest(t).1.min(1e9))
    };
    let throughput = mean(&|t| t.run.summary.output_throughput());
    let devices = trials[0].run.settings.parallel.devices();
    Figures {
        devices,
        met: trials.iter().all(|t| slo.met(t)),
        margin,
        throughput,
        interactivity: 1.0 / tpot,
        score: match objective {
            Objective::Throughput => throughput,
            Objective::Latency if slo.terms.is_empty() => 1.0 / e2el,
            Objective::Latency => 1.0 / margin,
            Objective::PerDevice => throughput / f64::from(devices),
        },
        ttft,
        tpot,
        e2el,
        preemptions: mean(&|t| {
            t.run.summary.preemptions as f64 / (t.run.summary.completed as f64).max(1.0)
        }),
        kv_max: trials
            .iter()
            .map(|t| t.run.occupancy.kv_max)
            .fold(0.0, f64::max),
        waits_for: Limit::of(&trials[0].run),
    }
}

/// The order of settings: those that meet the SLO by their score, then the others by how little they miss it.
fn rank(f: &Figures) -> (bool, f64) {
    if f.met {
        (true, f.score)
    } else {
        (false, -f.margin)
    }
}

fn better(a: &Figures, b: &Figures) -> std::cmp::Ordering {
    let (x, y) = (rank(a), rank(b));
    x.0.cmp(&y.0).then(x.1.total_cmp(&y.1))
}

/// The best of a setting's levels.
fn top(levels: &[Figures]) -> (usize, &Figures) {
    levels
        .iter()
        .enumerate()
        .max_by(|a, b| better(a.1, b.1).then(b.0.cmp(&a.0)))
        .expect("at least one level")
}

/// Indices of points that no other beats in both coordinates, by increasing first coordinate.
pub fn pareto(points: &[(f64, f64)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&a, &b| {
        points[b]
            .0
            .total_cmp(&points[a].0)
            .then(points[b].1.total_cmp(&points[a].1))
            .then(a.cmp(&b))
    });
    let mut front = vec![];
    let mut highest = f64::NEG_INFINITY;
    for i in order {
        if points[i].1 > highest {
            highest = points[i].1;
            front.push(i);
        }
    }
    front.reverse();
    front
}

/// Fractions of the full length at successive rungs.
const PARTS: [u32; 3] = [8, 3, 1];

/// Of each rung, one in so many survives.
const SURVIVORS: usize = 4;

/// Rounds of turning every knob of the best alone.
const ROUNDS: usize = 4;

/// Searches.
///
/// # Errors
/// A load that makes no sense. Settings that do not start are counted, not refused.
pub fn tune(base: &Scenario, q: &Question, pool: &impl Pool) -> Result<Tuned, PredictError> {
    let slo = q.slo.clone().unwrap_or_else(nothing);
    let mut t = Tuner {
        base,
        q,
        slo,
        pool,
        simulations: 0,
        known: BTreeMap::new(),
    };
    let drawn = draw(base, q);
    let tried = drawn.len();
    // Different engines only; the first choice of each stands for all.
    let mut seen = BTreeSet::new();
    let mut refused = 0;
    let mut alive: Vec<(Choice, String)> = vec![];
    for choice in drawn {
        match t.key(&choice) {
            None => refused += 1,
            Some(key) => {
                if seen.insert(key.clone()) {
                    alive.push((choice, key));
                }
            }
        }
    }
    let distinct = alive.len();
    let today: Choice = vec![0; q.knobs.len()];
    let mut rungs = vec![];
    for part in PARTS {
        if alive.len() <= q.keep.max(1) && part > 1 {
            continue;
        }
        if part == 1 {
            break;
        }
        rungs.push((alive.len(), t.full(t.levels()[0]).div_ceil(part)));
        let all = t.evaluate(&alive, part, 1)?;
        alive = survivors(alive, &all, q.keep, q.objective);
    }
    let levels = t.levels();
    rungs.push((alive.len(), t.full(levels[0])));
    let mut finals = t.evaluate(&alive, 1, q.seeds)?;
    let present = match t.key(&today) {
        Some(key) => {
            let f = t.evaluate(&[(today.clone(), key)], 1, q.seeds)?.remove(0);
            let (level, f) = top(&f);
            Some(t.outcome(&today, levels[level], f))
        }
        None => None,
    };
    let Some(mut best) = (0..alive.len()).max_by(|&a, &b| {
        better(top(&finals[a]).1, top(&finals[b]).1)
            // Of equals, that which changes least.
            .then_with(|| changed(&alive[b].0).cmp(&changed(&alive[a].0)))
            .then(b.cmp(&a))
    }) else {
        return Ok(empty(q, tried, refused, rungs));
    };
    for _ in 0..ROUNDS {
        let (_, fresh, all) = neighbours(&mut t, &alive[best].0)?;
        let base_score = top(&finals[best]).1.clone();
        let next = (0..fresh.len())
            .max_by(|&a, &b| better(top(&all[a]).1, top(&all[b]).1).then(b.cmp(&a)));
        match next {
            // More than rounding: else two equal settings would take turns.
            Some(i) if clearly_better(top(&all[i]).1, &base_score) => {
                alive.push(fresh[i].clone());
                finals.push(all[i].clone());
                best = alive.len() - 1;
            }
            _ => break,
        }
    }
    simplify(&mut t, &mut alive[best], &mut finals[best])?;
    let (turned, fresh, all) = neighbours(&mut t, &alive[best].0)?;
    let effects = effects_of(
        q,
        &alive[best].0,
        &turned,
        &fresh,
        &all,
        top(&finals[best]).1,
    );
    let (level, figures) = top(&finals[best]);
    let outcome = t.outcome(&alive[best].0, levels[level], figures);
    let gain = match &present {
        Some(p) if outcome.met || !p.met => {
            gain(&t, &alive[best].0, levels[level], &today, &outcome, p)?
        }
        _ => None,
    };
    let mut front = vec![];
    let mut candidates: Vec<(usize, usize)> = vec![];
    for (i, per_level) in finals.iter().enumerate() {
        for (l, f) in per_level.iter().enumerate() {
            if f.met && f.interactivity.is_finite() {
                candidates.push((i, l));
            }
        }
    }
    let points: Vec<(f64, f64)> = candidates
        .iter()
        .map(|&(i, l)| (finals[i][l].worth(q.objective), finals[i][l].interactivity))
        .collect();
    for k in pareto(&points) {
        let (i, l) = candidates[k];
        front.push(t.outcome(&alive[i].0, levels[l], &finals[i][l]));
    }
    let met = outcome.met;
    Ok(Tuned {
        present,
        nearest: (!met).then(|| outcome.clone()),
        best: met.then_some(outcome),
        gain,
        front,
        effects,
        distinct,
        simulations: t.simulations,
        ..empty(q, tried, refused, rungs)
    })
}

/// A knob, a value of it, and the setting with it.
type Turned = (usize, usize, Choice);

/// Every knob of a setting turned alone; those that start, and their figures at full length.
#[allow(clippy::type_complexity)]
fn neighbours<P: Pool>(
    t: &mut Tuner<'_, P>,
    choice: &[usize],
) -> Result<(Vec<Turned>, Vec<(Choice, String)>, Vec<Vec<Figures>>), PredictError> {
    let turned = turned(t.q, choice);
    let mut fresh = vec![];
    for c in &turned {
        if let Some(key) = t.key(&c.2) {
            fresh.push((c.2.clone(), key));
        }
    }
    let all = t.evaluate(&fresh, 1, t.q.seeds)?;
    Ok((turned, fresh, all))
}

/// Takes back what brings next to nothing: every knob to the first of its values, today's before all, with which the score
/// stays within [`Question::simpler`] of the best's and the SLO as well met.
fn simplify<P: Pool>(
    t: &mut Tuner<'_, P>,
    best: &mut (Choice, String),
    figures: &mut Vec<Figures>,
) -> Result<(), PredictError> {
    let goal = top(figures).1.clone();
    loop {
        let before = best.0.clone();
        for k in 0..before.len() {
            for i in 0..best.0[k] {
                let mut c = best.0.clone();
                c[k] = i;
                let Some(key) = t.key(&c) else { continue };
                let f = t
                    .evaluate(&[(c.clone(), key.clone())], 1, t.q.seeds)?
                    .remove(0);
                let new = top(&f).1;
                let as_good = if goal.met {
                    new.met && new.score >= goal.score * (1.0 - t.q.simpler)
                } else {
                    new.met || new.margin <= goal.margin * (1.0 + t.q.simpler)
                };
                if as_good {
                    *best = (c, key);
                    *figures = f;
                    break;
                }
            }
        }
        if best.0 == before {
            return Ok(());
        }
    }
}

fn empty(q: &Question, tried: usize, refused: usize, rungs: Vec<(usize, u32)>) -> Tuned {
    Tuned {
        schema: "capsim.tune/1".into(),
        slo: q.slo.as_ref().map(ToString::to_string),
        objective: q.objective,
        combinations: q.knobs.iter().map(|k| k.values.len() as f64).product(),
        tried,
        refused,
        distinct: 0,
        simulations: 0,
        rungs,
        present: None,
        best: None,
        nearest: None,
        gain: None,
        front: vec![],
        effects: vec![],
    }
}

fn changed(choice: &[usize]) -> usize {
    choice.iter().filter(|i| **i > 0).count()
}

fn clearly_better(a: &Figures, b: &Figures) -> bool {
    let (x, y) = (rank(a), rank(b));
    (x.0 && !y.0) || (x.0 == y.0 && x.1 > y.1 + 1e-6 * y.1.abs())
}

/// Whether a setting takes no more devices than there are.
fn fits(base: &Scenario, q: &Question, choice: &[usize]) -> bool {
    let Some(most) = q.devices else {
        return true;
    };
    let mut serve = (
        base.serve.tensor_parallel_size,
        base.serve.data_parallel_size,
    );
    for (knob, &i) in q.knobs.iter().zip(choice) {
        match knob.values[i] {
            Setting::TensorParallel(n) => serve.0 = Some(n),
            Setting::DataParallel(n) => serve.1 = Some(n),
            _ => {}
        }
    }
    serve.0.unwrap_or(1).saturating_mul(serve.1.unwrap_or(1)) <= most
}

/// Draws in vain after which no more settings are looked for, per setting wanted.
const PATIENCE: usize = 50;

/// All combinations, or today's, every knob turned alone, and some drawn at random; of these, what the devices allow.
fn draw(base: &Scenario, q: &Question) -> Vec<Choice> {
    let sizes: Vec<usize> = q.knobs.iter().map(|k| k.values.len()).collect();
    let product: f64 = sizes.iter().map(|n| *n as f64).product();
    let today = vec![0; sizes.len()];
    if product <= q.settings as f64 {
        let mut all = vec![vec![]];
        for n in sizes {
            all = all
                .into_iter()
                .flat_map(|c: Choice| (0..n).map(move |i| c.iter().copied().chain([i]).collect()))
                .collect();
        }
        all.retain(|c| fits(base, q, c));
        return all;
    }
    let mut all = vec![today.clone()];
    all.extend(turned(q, &today).into_iter().map(|c| c.2));
    all.retain(|c| fits(base, q, c));
    all.truncate(q.settings.max(1));
    let mut seen: BTreeSet<Choice> = all.iter().cloned().collect();
    let mut rng = Seed(base.workload.seed).stream("settings tried");
    let mut left = q.settings.saturating_mul(PATIENCE);
    while all.len() < q.settings && left > 0 {
        left -= 1;
        let c: Choice = sizes.iter().map(|&n| rng.random_range(0..n)).collect();
        if fits(base, q, &c) && seen.insert(c.clone()) {
            all.push(c);
        }
    }
    all
}

/// Every knob turned alone: (knob, value, choice).
fn turned(q: &Question, choice: &[usize]) -> Vec<Turned> {
    let mut all = vec![];
    for (k, knob) in q.knobs.iter().enumerate() {
        for i in (0..knob.values.len()).filter(|i| *i != choice[k]) {
            let mut c = choice.to_vec();
            c[k] = i;
            all.push((k, i, c));
        }
    }
    all
}

fn survivors(
    alive: Vec<(Choice, String)>,
    all: &[Vec<Figures>],
    keep: usize,
    objective: Objective,
) -> Vec<(Choice, String)> {
    let mut order: Vec<usize> = (0..alive.len()).collect();
    order.sort_by(|&a, &b| better(top(&all[b]).1, top(&all[a]).1).then(a.cmp(&b)));
    let n = keep.max(alive.len() / SURVIVORS);
    let mut stay: BTreeSet<usize> = order.iter().take(n).copied().collect();
    // The best at every level, and the front.
    for level in 0..all[0].len() {
        let points: Vec<(f64, f64)> = all
            .iter()
            .map(|f| (f[level].worth(objective), f[level].interactivity))
            .collect();
        stay.extend(pareto(&points).into_iter().rev().take(keep));
    }
    alive
        .into_iter()
        .enumerate()
        .filter(|(i, _)| stay.contains(i))
        .map(|(_, c)| c)
        .collect()
}

fn effects_of(
    q: &Question,
    choice: &[usize],
    turned: &[Turned],
    fresh: &[(Choice, String)],
    all: &[Vec<Figures>],
    base: &Figures,
) -> Vec<Effect> {
    let mut effects: Vec<Effect> = q
        .knobs
        .iter()
        .enumerate()
        .filter(|(_, k)| k.values.len() > 1)
        .map(|(k, knob)| Effect {
            knob: knob.name.clone(),
            chosen: knob.values[choice[k]].to_string(),
            others: turned
                .iter()
                .filter(|t| t.0 == k)
                .map(|(_, i, c)| {
                    let found = fresh.iter().position(|(f, _)| f == c);
                    let figures = found.map(|at| top(&all[at]).1);
                    (
                        knob.values[*i].to_string(),
                        figures.map(|f| f.score / base.score),
                        figures.is_some_and(|f| f.met),
                    )
                })
                .collect(),
        })
        .collect();
    let weight = |e: &Effect| {
        e.others
            .iter()
            .map(|(_, r, _)| r.map_or(0.0, |r| libm::fabs(libm::log(r.max(1e-9)))))
            .fold(0.0, f64::max)
    };
    effects.sort_by(|a, b| {
        weight(b)
            .total_cmp(&weight(a))
            .then_with(|| a.knob.cmp(&b.knob))
    });
    effects
}

/// The gain, and what it would be under unlucky and lucky coefficients of the cost model.
fn gain<P: Pool>(
    t: &Tuner<'_, P>,
    best: &[usize],
    level: Option<u32>,
    today: &[usize],
    outcome: &Outcome,
    present: &Outcome,
) -> Result<Option<[f64; 3]>, PredictError> {
    let ratio = outcome.score / present.score;
    if best == today {
        return Ok(Some([ratio; 3]));
    }
    let at = |choice: &[usize], level: Option<u32>| {
        let mut s = t.scenario(choice);
        s.workload.num_prompts = t.full(level);
        if level.is_some() {
            s.workload.max_concurrency = level;
        }
        s
    };
    let (a, b) = (at(best, level), at(today, present.concurrency));
    if a.device.id != b.device.id {
        return Ok(Some([ratio; 3]));
    }
    // The direction in which the new setting's own throughput suffers most.
    let term = Term::Throughput {
        metric: "output_throughput",
        least: 1.0,
    };
    let ends = extremes(std::slice::from_ref(&a), &t.slo, &term, t.pool)?;
    let mut all = [ratio; 3];
    for (slot, end) in [(1, &ends.slow), (2, &ends.fast)] {
        let jobs: Vec<Scenario> = [&a, &b]
            .map(|s| Scenario {
                engine: end.engine.clone(),
                device: end.device.clone(),
                ..s.clone()
            })
            .to_vec();
        let mut scores = vec![];
        let slo = &t.slo;
        for r in t.pool.map(&jobs, |s| trial(s, slo)) {
            scores.push(figures(&t.slo, t.q.objective, &[r?]).score);
        }
        all[slot] = scores[0] / scores[1];
    }
    let (x, y) = (all[1].min(all[2]).min(ratio), all[1].max(all[2]).max(ratio));
    Ok(Some([ratio, x, y]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_holds_what_nothing_beats() {
        let points = [
            (1.0, 9.0),
            (2.0, 8.0),
            (2.0, 7.0),
            (3.0, 8.0),
            (4.0, 1.0),
            (0.5, 9.0),
        ];
        let front = pareto(&points);
        for (i, p) in points.iter().enumerate() {
            let beaten = points.iter().any(|o| o.0 >= p.0 && o.1 >= p.1 && o != p);
            assert_eq!(front.contains(&i), !beaten, "{p:?}");
        }
        assert_eq!(front, [0, 3, 4]);
    }
}

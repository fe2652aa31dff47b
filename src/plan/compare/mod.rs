//! Which machine: for each device, weight format and tensor-parallel size the least number of engines that serve all users under an
//! SLO, with its power and its cost.
//!
//! Candidates that the memory does not hold are left out first. Each other one is simulated with all users on one engine; where that
//! misses the SLO, a search finds the most users of one engine, and engines share the users evenly. The interval of the number of
//! devices comes from the same search under unlucky and lucky coefficients ([`extremes`]).
mod answer;
mod price;

pub use answer::{Compared, Missed, Offer, Range};
pub use price::Price;

use super::pool::{Pool, Sequential};
use super::search::highest;
use super::slo::Slo;
use super::trial::{Trial, trial};
use super::tune::pareto;
use super::uncertainty::extremes;
use super::{Axis, Term};
use crate::predict::{PredictError, Scenario, estimate};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// A device with a way to serve on it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its weight format.
    pub weights: String,
    /// Devices of one engine.
    pub tensor: u32,
    /// What is simulated; its load has users.
    pub scenario: Scenario,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// What must hold for every engine.
    pub slo: Slo,
    /// Users in all.
    pub users: u32,
    /// Requests of a run; `None`: by the load.
    pub prompts: Option<u32>,
    /// Prices by device id.
    pub prices: BTreeMap<String, Price>,
    /// Price of a kWh.
    pub electricity: Option<f64>,
}

impl Question {
    /// The scenario of one engine of an offer, under its part of the users.
    pub fn scenario(&self, candidates: &[Candidate], o: &Offer) -> Option<Scenario> {
        let same = |c: &&Candidate| {
            c.scenario.device.id == o.device
                && c.weights == o.weights
                && c.tensor == o.tensor_parallel_size
        };
        let found = candidates.iter().find(same)?;
        Some(with_users(&found.scenario, self, o.users_per_engine))
    }
}

/// A candidate that serves the users, with the run of one of its engines.
struct Served {
    engines: u32,
    trial: Trial,
}

/// The scenario of one engine with so many users.
fn with_users(s: &Scenario, q: &Question, users: u32) -> Scenario {
    let mut s = s.clone();
    Axis::Users.apply(&mut s, f64::from(users));
    let turns = s.workload.users.as_ref().map_or(1, |u| u.turns);
    let prompts = Axis::Users.prompts(f64::from(users), q.slo.tail(), turns);
    s.workload.num_prompts = q.prompts.unwrap_or(prompts);
    s
}

fn each(users: u32, engines: u32) -> u32 {
    users.div_ceil(engines.max(1)).max(1)
}

/// The least number of engines that serve all; `None`: none does, because one user alone breaks the SLO.
fn engines(s: &Scenario, q: &Question) -> Result<Option<u32>, PredictError> {
    let met =
        |users: u32| Ok::<bool, PredictError>(q.slo.met(&trial(&with_users(s, q, users), &q.slo)?));
    if met(q.users)? {
        return Ok(Some(1));
    }
    if q.users == 1 {
        return Ok(None);
    }
    let found = highest(
        1..=i64::from(q.users) - 1,
        i64::from(q.users / 4).max(1),
        None,
        |step| step / 50,
        |step| Ok::<_, PredictError>(ControlFlow::Continue(met(step as u32)?)),
    )?;
    Ok(found.highest.map(|most| q.users.div_ceil(most as u32)))
}

fn serve(c: &Candidate, q: &Question) -> Result<Option<Served>, PredictError> {
    let Some(engines) = engines(&c.scenario, q)? else {
        return Ok(None);
    };
    let at = with_users(&c.scenario, q, each(q.users, engines));
    let trial = trial(&at, &q.slo)?;
    Ok(Some(Served { engines, trial }))
}

/// Engines under the luckiest and the unluckiest coefficients.
fn interval(
    c: &Candidate,
    q: &Question,
    served: &Served,
) -> Result<[Option<u32>; 2], PredictError> {
    let at = with_users(&c.scenario, q, each(q.users, served.engines));
    let (term, _) = q.slo.tightest(&served.trial);
    let ends = extremes(&[at], &q.slo, &term, &Sequential)?;
    let under = |other: &Scenario| {
        let mut s = c.scenario.clone();
        (s.device, s.engine) = (other.device.clone(), other.engine.clone());
        engines(&s, q)
    };
    Ok([under(&ends.fast)?, under(&ends.slow)?])
}

/// Why one user alone breaks the SLO, or what keeps the candidate from running.
fn why_not(c: &Candidate, q: &Question) -> String {
    match trial(&with_users(&c.scenario, q, 1), &q.slo) {
        Err(e) => e.to_string(),
        Ok(t) => {
            let (term, _) = q.slo.tightest(&t);
            let seconds = matches!(term, Term::Latency { .. });
            let unit = if seconds { " s" } else { "" };
            format!(
                "{} is {:.3}{unit} with one user alone",
                term.name(),
                term.value(&t)
            )
        }
    }
}

/// An exact number.
fn exact(v: f64) -> Range {
    Range {
        value: Some(v),
        low: Some(v),
        high: Some(v),
    }
}

impl Range {
    /// With its lower end times `low` and its upper end times `high`; no `high`, no upper end.
    fn wider(self, low: f64, high: Option<f64>) -> Self {
        Self {
            value: self.value,
            low: self.low.map(|v| v * low),
            high: self.high.zip(high).map(|(v, h)| v * h),
        }
    }

    fn times(self, f: f64) -> Self {
        let scaled = |v: Option<f64>| v.map(|v| v * f);
        Self {
            value: scaled(self.value),
            low: scaled(self.low),
            high: scaled(self.high),
        }
    }
}

/// An offer whose interval is not known yet.
fn offer(c: &Candidate, q: &Question, s: &Served) -> Offer {
    let device = &c.scenario.device;
    let users = each(q.users, s.engines);
    let at = with_users(&c.scenario, q, users);
    let summary = &s.trial.run.summary;
    let n = f64::from(s.engines);
    let rate = n * summary.output_throughput();
    let tpot = summary.tpot.mean();
    let prediction = estimate(&at, s.trial.run.clone());
    let energy = prediction.energy(&at);
    let range = |w: &crate::device::Watts| Range {
        value: w.value,
        low: Some(w.low),
        high: Some(w.high),
    };
    let watts = energy.as_ref().map(|e| range(&e.watts).times(n));
    let devices = n * f64::from(c.tensor);
    let price = q.prices.get(&device.id).copied();
    Offer {
        device: device.id.clone(),
        name: device.name.clone(),
        origin: device.provenance.origin,
        engine: c.scenario.engine.id.clone(),
        weights: c.weights.clone(),
        tensor_parallel_size: c.tensor,
        engines: s.engines,
        devices: exact(devices),
        users_per_engine: users,
        values: q.slo.terms.iter().map(|t| t.value(&s.trial)).collect(),
        interactivity: if tpot > 0.0 { 1.0 / tpot } else { 0.0 },
        ttft: summary.ttft.mean(),
        output_throughput: rate,
        joules_per_token: energy.as_ref().map(|e| range(&e.joules_per_token)),
        price,
        cost_per_hour: price.map(|p| p.cost(devices, watts, q.electricity)),
        cost_per_million_tokens: None,
        watts,
        on_front: false,
        serve: at.server_line().to_string(),
    }
}

/// Puts the interval of the number of engines into an offer: of the devices, and of the cost, which follows them.
fn widen(o: &mut Offer, [lucky, unlucky]: [Option<u32>; 2]) {
    let engines = f64::from(o.engines);
    let share = |n: u32| f64::from(n) / engines;
    let low = lucky.map_or(1.0, share).min(1.0);
    let high = unlucky.map(share).map(|h| h.max(1.0));
    o.devices = o.devices.wider(low, high);
    o.cost_per_hour = o.cost_per_hour.map(|c| c.wider(low, high));
    let million = 1e6 / (3600.0 * o.output_throughput);
    o.cost_per_million_tokens = o.cost_per_hour.map(|c| c.times(million));
}

/// What offers are ordered by: priced ones first, by cost; then by devices; then the faster to read.
fn order(a: &Offer, b: &Offer) -> std::cmp::Ordering {
    let cost = |o: &Offer| {
        o.cost_per_hour
            .and_then(|c| c.value)
            .unwrap_or(f64::INFINITY)
    };
    let devices = |o: &Offer| o.devices.value.unwrap_or(f64::INFINITY);
    cost(a)
        .total_cmp(&cost(b))
        .then(devices(a).total_cmp(&devices(b)))
        .then(b.interactivity.total_cmp(&a.interactivity))
}

/// Offers that none beats in both cost and speed to read; where nothing is priced, in devices and speed.
fn front(offers: &[Offer]) -> BTreeSet<usize> {
    let priced = offers.iter().any(|o| o.cost_per_hour.is_some());
    let key = |o: &Offer| match priced {
        true => o.cost_per_hour.and_then(|c| c.value),
        false => o.devices.value,
    };
    let known: Vec<(usize, f64)> = offers
        .iter()
        .enumerate()
        .filter_map(|(i, o)| Some((i, key(o)?)))
        .collect();
    let points: Vec<(f64, f64)> = known
        .iter()
        .map(|(i, cost)| (-cost, offers[*i].interactivity))
        .collect();
    pareto(&points).into_iter().map(|at| known[at].0).collect()
}

/// Compares. `unfit` are devices of which no candidate was made, with the reason.
///
/// # Errors
/// A load that makes no sense for any candidate.
pub fn compare(
    candidates: &[Candidate],
    unfit: Vec<Missed>,
    q: &Question,
    pool: &impl Pool,
) -> Result<Compared, PredictError> {
    let served = pool.map(candidates, |c| serve(c, q));
    if !served.is_empty() && served.iter().all(Result::is_err) {
        let mut errors = served.into_iter().filter_map(Result::err);
        return Err(errors.next().expect("all are errors"));
    }
    let mut all: Vec<(usize, Offer)> = vec![];
    for (i, s) in served.iter().enumerate() {
        if let Ok(Some(s)) = s {
            all.push((i, offer(&candidates[i], q, s)));
        }
    }
    all.sort_by(|a, b| order(&a.1, &b.1));
    let (places, mut offers): (Vec<usize>, Vec<Offer>) = all.into_iter().unzip();
    // The first of each device, and the front.
    let mut kept = front(&offers);
    for at in &kept {
        offers[*at].on_front = true;
    }
    let mut seen = BTreeSet::new();
    kept.extend((0..offers.len()).filter(|&at| seen.insert(offers[at].device.clone())));
    let kept: Vec<usize> = kept.into_iter().collect();
    let ends = pool.map(&kept, |&at| {
        let i = places[at];
        match &served[i] {
            Ok(Some(s)) => interval(&candidates[i], q, s),
            _ => unreachable!("an offer was served"),
        }
    });
    let mut chosen = vec![];
    for (at, ends) in kept.into_iter().zip(ends) {
        let mut o = offers[at].clone();
        widen(&mut o, ends?);
        chosen.push(o);
    }
    let mut missed = unfit;
    for c in candidates {
        let id = &c.scenario.device.id;
        if !seen.contains(id) && !missed.iter().any(|m| m.device == *id) {
            missed.push(Missed {
                device: id.clone(),
                why: why_not(best_try(candidates, id).unwrap_or(c), q),
            });
        }
    }
    Ok(Compared {
        schema: "capsim.compare/1".into(),
        answer: String::new(),
        about: None,
        users: q.users,
        slo: q.slo.to_string(),
        electricity: q.electricity,
        notes: notes(&chosen, q),
        offers: chosen,
        missed,
        simulated: candidates.len(),
        assumed: assumed(candidates),
    })
}

/// What was assumed for all candidates, and that some have shorter contexts.
fn assumed(candidates: &[Candidate]) -> Vec<String> {
    let mut all: Vec<String> = vec![];
    for note in candidates.iter().flat_map(|c| &c.scenario.notes.assumed) {
        let note = match note.starts_with("--max-model-len") {
            true => {
                "where the memory does not hold the model's longest context: the longest that it holds"
            }
            false => note,
        };
        if !all.iter().any(|n| n == note) {
            all.push(note.into());
        }
    }
    all
}

/// What the costs of devices that are bought leave out, or take for the data sheet's limit.
fn notes(offers: &[Offer], q: &Question) -> Vec<String> {
    let bought = |o: &&Offer| matches!(o.price, Some(Price::Bought { .. }));
    let of = |which: &dyn Fn(&Offer) -> bool| -> String {
        let mut ids: Vec<&str> = offers
            .iter()
            .filter(bought)
            .filter(|o| which(o))
            .map(|o| o.device.as_str())
            .collect();
        ids.dedup();
        ids.join(", ")
    };
    let mut all = vec![];
    let mut say = |ids: String, what: &str| {
        if !ids.is_empty() {
            all.push(format!("{ids}: {what}"));
        }
    };
    if q.electricity.is_none() {
        say(
            of(&|_| true),
            "the cost is without electricity; give --electricity",
        );
        return all;
    }
    say(
        of(&|o| o.watts.is_none()),
        "the cost is without electricity: nothing is known of the power",
    );
    say(
        of(&|o| o.watts.is_some_and(|w| w.value.is_none())),
        "electricity is counted at the data sheet's power limit, more than is drawn",
    );
    all
}

/// Of a device that misses the SLO, the candidate with the most devices: what it misses says most.
fn best_try<'a>(candidates: &'a [Candidate], device: &str) -> Option<&'a Candidate> {
    let of = candidates.iter().filter(|c| c.scenario.device.id == device);
    of.max_by_key(|c| c.tensor)
}

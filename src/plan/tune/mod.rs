//! Which settings: many tried briefly, few tried long, the best explained.
//!
//! Successive halving (K. Jamieson and A. Talwalkar, AISTATS 2016): every setting gets a short run; the better part, and all on the
//! front of throughput against speed per user, get a longer one, until the last are compared over several seeds at
//! full length. Then each knob of the best is turned alone, which both tells what it matters and finds what sampling missed.
mod answer;
mod draw;
mod effects;
mod front;
mod tuner;

pub use answer::{Effect, Outcome, Tuned};
pub use front::pareto;

use super::pool::Pool;
use super::settings::Knob;
use super::slo::Slo;
use crate::predict::{PredictError, Scenario};
use draw::{Choice, Turned, changed, draw, turned};
use effects::{effects_of, gain};
use front::survivors;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use tuner::{Figures, Tuner, better, clearly_better, nothing, top};

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

/// Fractions of the full length at successive rungs.
const PARTS: [u32; 3] = [8, 3, 1];

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
    let scenario = t.scenario(&alive[best].0);
    let mut notes: Vec<String> = scenario
        .beyond_profile()
        .iter()
        .map(ToString::to_string)
        .collect();
    if scenario.engine.id != base.engine.id {
        notes.push(format!(
            "the best setting is priced with engine profile `{}`, today's with `{}`",
            scenario.engine.id, base.engine.id
        ));
    }
    Ok(Tuned {
        notes,
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
        notes: vec![],
    }
}

//! Which settings: many tried briefly, few tried long, the best explained.
//!
//! Successive halving (K. Jamieson and A. Talwalkar, AISTATS 2016): every setting gets a short run; the better part, and all on the
//! front of throughput against speed per user, get a longer one, until the last are compared over several seeds at
//! full length. Then each knob of the best is turned alone, which both tells what it matters and finds what sampling missed.
mod answer;
mod draw;
mod effects;
mod finals;
mod front;
mod tuner;

pub use answer::{Effect, Outcome, Tuned};
pub use front::pareto;

use super::pool::Pool;
use super::settings::Knob;
use super::slo::Slo;
use crate::predict::{PredictError, Scenario};
use draw::{Choice, Turned, draw, turned};
use effects::{effects_of, gain};
use finals::Finals;
use front::survivors;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tuner::{Figures, Tuner, nothing, top};

/// What "better" means among settings that meet the SLO; those that do not are ranked by how little they miss it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Parts of the full length at successive rungs; the last, at full length, comes after them.
const PARTS: [u32; 2] = [8, 3];

/// Settings, each with what the engine comes to.
type Engines = Vec<(Choice, String)>;

/// Of each rung, settings and requests.
type Rungs = Vec<(usize, u32)>;

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
    let (engines, refused) = distinct(&t, drawn);
    let distinct = engines.len();
    let (alive, rungs) = halve(&mut t, engines)?;
    let mut finals = Finals {
        figures: t.evaluate(&alive, 1, q.seeds)?,
        settings: alive,
    };
    let today: Choice = vec![0; q.knobs.len()];
    let present = present(&mut t, &today)?;
    let Some(best) = finals.best() else {
        return Ok(empty(q, tried, refused, rungs));
    };
    let best = finals.climb(&mut t, best)?;
    simplify(
        &mut t,
        &mut finals.settings[best],
        &mut finals.figures[best],
    )?;
    let choice = &finals.settings[best].0;
    let beside = neighbours(&mut t, choice)?;
    let (level, figures) = top(&finals.figures[best]);
    let level = t.levels()[level];
    let effects = effects_of(q, choice, &beside, figures);
    let outcome = t.outcome(choice, level, figures);
    let gain = match &present {
        Some(p) if outcome.met || !p.met => gain(&t, choice, level, &today, &outcome, p)?,
        _ => None,
    };
    let met = outcome.met;
    Ok(Tuned {
        notes: notes(base, &t.scenario(choice)),
        present,
        nearest: (!met).then(|| outcome.clone()),
        best: met.then_some(outcome),
        gain,
        front: finals.front(&t, q.objective),
        effects,
        distinct,
        simulations: t.simulations,
        ..empty(q, tried, refused, rungs)
    })
}

/// The settings that are different engines, the first choice of each standing for all, and how many choices do not start.
fn distinct<P: Pool>(t: &Tuner<'_, P>, drawn: Vec<Choice>) -> (Engines, usize) {
    let mut seen = BTreeSet::new();
    let mut refused = 0;
    let mut engines = vec![];
    for choice in drawn {
        match t.key(&choice) {
            None => refused += 1,
            Some(key) => {
                if seen.insert(key.clone()) {
                    engines.push((choice, key));
                }
            }
        }
    }
    (engines, refused)
}

/// The settings left after the short rungs; of each rung, the full one included, settings and requests.
fn halve<P: Pool>(
    t: &mut Tuner<'_, P>,
    mut alive: Engines,
) -> Result<(Engines, Rungs), PredictError> {
    let (keep, objective) = (t.q.keep, t.q.objective);
    let full = t.full(t.levels()[0]);
    let mut rungs = vec![];
    for part in PARTS {
        if alive.len() <= keep.max(1) {
            break;
        }
        rungs.push((alive.len(), full.div_ceil(part)));
        let all = t.evaluate(&alive, part, 1)?;
        alive = survivors(alive, &all, keep, objective);
    }
    rungs.push((alive.len(), full));
    Ok((alive, rungs))
}

/// What today's settings come to; `None`: they do not start.
fn present<P: Pool>(t: &mut Tuner<'_, P>, today: &Choice) -> Result<Option<Outcome>, PredictError> {
    let Some(key) = t.key(today) else {
        return Ok(None);
    };
    let f = t.evaluate(&[(today.clone(), key)], 1, t.q.seeds)?.remove(0);
    let (level, f) = top(&f);
    Ok(Some(t.outcome(today, t.levels()[level], f)))
}

/// What a reader must know of the prices of the best setting.
fn notes(base: &Scenario, best: &Scenario) -> Vec<String> {
    let mut notes: Vec<String> = best
        .beyond_profile()
        .iter()
        .map(ToString::to_string)
        .collect();
    if best.engine.id != base.engine.id {
        notes.push(format!(
            "the best setting is priced with engine profile `{}`, today's with `{}`",
            best.engine.id, base.engine.id
        ));
    }
    notes
}

/// Every knob of a setting turned alone.
struct Neighbours {
    turned: Vec<Turned>,
    /// Those that start.
    fresh: Engines,
    /// Their figures at full length.
    figures: Vec<Vec<Figures>>,
}

fn neighbours<P: Pool>(t: &mut Tuner<'_, P>, choice: &[usize]) -> Result<Neighbours, PredictError> {
    let turned = turned(t.q, choice);
    let mut fresh = vec![];
    for c in &turned {
        if let Some(key) = t.key(&c.2) {
            fresh.push((c.2.clone(), key));
        }
    }
    Ok(Neighbours {
        figures: t.evaluate(&fresh, 1, t.q.seeds)?,
        turned,
        fresh,
    })
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

/// An answer that names nothing but what was tried.
fn empty(q: &Question, tried: usize, refused: usize, rungs: Rungs) -> Tuned {
    Tuned {
        schema: "capsim.tune/1".into(),
        answer: String::new(),
        about: None,
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

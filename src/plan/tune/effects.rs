//! What every knob does to the best setting, and what it gains.
use super::tuner::{Figures, Tuner, figures, top};
use super::{Effect, Neighbours, Outcome, Question};
use crate::metrics::Metric;
use crate::plan::{Pool, Term, extremes, trial};
use crate::predict::{PredictError, Scenario};

/// Every knob's values beside the chosen one; knobs that matter most first.
pub fn effects_of(
    q: &Question,
    choice: &[usize],
    beside: &Neighbours,
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
            others: beside
                .turned
                .iter()
                .filter(|t| t.0 == k)
                .map(|(_, i, c)| {
                    let found = beside.fresh.iter().position(|(f, _)| f == c);
                    let figures = found.map(|at| top(&beside.figures[at]).1);
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
pub fn gain<P: Pool>(
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
    if a.device.id != b.device.id || a.engine.id != b.engine.id {
        return Ok(Some([ratio; 3]));
    }
    // The direction in which the new setting's own throughput suffers most.
    let term = Term::Throughput {
        metric: Metric::OutputThroughput,
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

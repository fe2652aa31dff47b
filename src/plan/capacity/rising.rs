//! Objectives that more load can only help: conditions on throughput alone, on a closed loop.
//!
//! Nothing bounds the load from above; what can be told is from which load on they hold, or, as throughput ends where every place
//! is taken, that they never do and what comes nearest.
use super::{Bench, Nearest, Question, Rising};
use crate::plan::{Extremes, Pool, trial};
use crate::predict::{PredictError, Scenario};

/// How far the best load may surpass another that counts as good: repeats differ by as much.
const SAME: f64 = 1.01;

/// The lowest step known to meet the SLO.
pub fn least<P: Pool>(bench: &Bench<'_, P>) -> Option<i64> {
    let met = bench.known.iter().find(|(_, (p, _))| p.met);
    met.map(|(step, _)| *step)
}

/// The lowest step known that comes as near to the SLO as any.
pub fn nearest<P: Pool>(bench: &Bench<'_, P>) -> i64 {
    let terms = &bench.q.slo.terms;
    let margins: Vec<(i64, f64)> = bench
        .known
        .iter()
        .map(|(step, (p, _))| {
            let worst = terms.iter().zip(&p.values).map(|(t, v)| t.margin_of(*v));
            (*step, worst.fold(0.0, f64::max))
        })
        .collect();
    let best = margins.iter().fold(f64::INFINITY, |b, m| b.min(m.1));
    let near = margins.iter().find(|m| m.1 <= best * SAME);
    near.expect("something was tried").0
}

/// The lowest load of another cost model that meets the SLO.
fn least_of<P: Pool>(
    scenario: &Scenario,
    with: &Scenario,
    q: &Question,
    seeds: u32,
    near: i64,
    pool: &P,
) -> Result<Option<f64>, PredictError> {
    let mut base = scenario.clone();
    (base.device, base.engine) = (with.device.clone(), with.engine.clone());
    let mut bench = Bench::new(&base, q, &q.slo, seeds, pool);
    let found = bench.search_for(near, false)?;
    Ok(found.broken.map(|s| q.axis.value(s)))
}

/// The answer, when a step was found or none.
pub fn answer<P: Pool>(
    scenario: &Scenario,
    q: &Question,
    bench: &mut Bench<'_, P>,
    ends: &Extremes,
    seeds: u32,
    pool: &P,
) -> Result<Rising, PredictError> {
    if let Some(step) = least(bench) {
        let load = q.axis.value(step);
        let lucky = least_of(scenario, &ends.fast, q, seeds, step, pool)?;
        let unlucky = least_of(scenario, &ends.slow, q, seeds, step, pool)?;
        return Ok(Rising {
            least: Some(load),
            lucky: lucky.map(|l| l.min(load)),
            unlucky: unlucky.map(|l| l.max(load)),
            nearest: None,
        });
    }
    let values = |s: &Scenario| -> Result<Vec<f64>, PredictError> {
        let t = trial(s, &q.slo)?;
        Ok(q.slo.terms.iter().map(|term| term.value(&t)).collect())
    };
    let step = nearest(bench);
    Ok(Rising {
        least: None,
        lucky: None,
        unlucky: None,
        nearest: Some(Nearest {
            point: bench.at(step)?.0.clone(),
            unlucky: values(&ends.slow)?,
            lucky: values(&ends.fast)?,
        }),
    })
}

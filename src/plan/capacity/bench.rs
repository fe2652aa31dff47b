//! Loads of one scenario, simulated once each.
use super::{Point, Question};
use crate::metrics::{Latency, Statistic};
use crate::plan::slo::{Slo, figure};
use crate::plan::{Axis, Found, Limit, Pool, Trial, highest, trial};
use crate::predict::{PredictError, Scenario};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Whether two seeds make two runs.
pub(super) fn has_chance(scenario: &Scenario) -> bool {
    let w = &scenario.workload;
    let lengths = w.range_ratio > 0.0 || w.input_dist.is_some() || w.output_dist.is_some();
    lengths
        || w.users.is_some()
        || (w.trace.is_none() && (w.request_rate.is_some() || w.arrival.is_some()))
}

/// The scenario under one load of the question, with as many requests as a run of it has.
pub fn at_load(base: &Scenario, q: &Question, load: f64) -> Scenario {
    let mut s = base.clone();
    q.axis.apply(&mut s, load);
    s.workload.num_prompts = match (&s.workload.trace, q.prompts) {
        (_, Some(n)) => n,
        (Some(_), None) => s.workload.num_prompts,
        (None, None) => prompts(base, q, load),
    };
    s
}

/// Requests of a run. Where only what runs counts and not what waits, many requests at once need fewer rounds each.
fn prompts(base: &Scenario, q: &Question, load: f64) -> u32 {
    let (axis, slo) = (q.axis, &q.slo);
    let turns = base.workload.users.as_ref().map_or(1, |u| u.turns);
    let usual = axis.prompts(load, slo.tail(), turns);
    if axis == Axis::Concurrency && slo.blind_to_queue() {
        let many = load.min(MANY);
        let enough = (ROUNDS * many + FEW_ROUNDS * (load - many)) as u32;
        usual.min(enough.max(axis.prompts(0.0, slo.tail(), turns)))
    } else {
        usual
    }
}

/// Evaluates loads of one scenario and remembers them.
pub(super) struct Bench<'a, P> {
    base: &'a Scenario,
    pub q: &'a Question,
    slo: &'a Slo,
    seeds: u32,
    pub needed: u32,
    pool: &'a P,
    pub known: BTreeMap<i64, (Point, Trial)>,
}

/// Rounds of a run, as [`Axis::prompts`] has it, of up to [`MANY`] requests at once; each one more adds [`FEW_ROUNDS`]. Throughput and
/// the time between tokens are means over what runs: many at once average as many rounds do.
const ROUNDS: f64 = 12.0;
const FEW_ROUNDS: f64 = 2.0;
const MANY: f64 = 256.0;

impl<'a, P: Pool> Bench<'a, P> {
    pub fn new(base: &'a Scenario, q: &'a Question, slo: &'a Slo, seeds: u32, pool: &'a P) -> Self {
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

    pub fn scenario(&self, step: i64, seed: u32) -> Scenario {
        let mut s = at_load(self.base, self.q, self.q.axis.value(step));
        s.workload.seed = s.workload.seed.wrapping_add(u64::from(seed));
        s
    }

    /// A load's point, and the first of its runs.
    pub fn at(&mut self, step: i64) -> Result<&(Point, Trial), PredictError> {
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
            refused: run.summary.refused,
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
            ttft: mean(&|t| figure(&t.run.summary, Latency::Ttft, Statistic::Mean)),
            tpot: mean(&|t| figure(&t.run.summary, Latency::Tpot, Statistic::Mean)),
            e2el: mean(&|t| figure(&t.run.summary, Latency::E2el, Statistic::Mean)),
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

    /// Whether a closed loop is at its end: requests wait all the time, and what is asked does not depend on how many do, or
    /// twice as many wait as run.
    pub fn full(&self, p: &Point) -> bool {
        let waiting = if self.q.slo.blind_to_queue() {
            0.25
        } else {
            2.0
        };
        self.q.axis.counts() && p.waiting > waiting * p.batch
    }

    /// The highest load that will do, searched from `start`.
    pub fn search(&mut self, start: i64) -> Result<Found, PredictError> {
        self.search_for(start, true)
    }

    /// The lowest step known with the highest throughput, within what repeats differ by.
    pub fn saturated(&self) -> i64 {
        let rate = |p: &Point| p.output_throughput;
        let most = self
            .known
            .values()
            .map(|(p, _)| rate(p))
            .fold(0.0, f64::max);
        let step = self.known.iter().find(|(_, (p, _))| rate(p) >= 0.98 * most);
        *step.expect("something was tried").0
    }

    /// The highest load that meets the SLO, or that does not.
    pub fn search_for(&mut self, start: i64, meets: bool) -> Result<Found, PredictError> {
        let axis = self.q.axis;
        highest(
            axis.range(),
            start,
            axis.stride(),
            |s| axis.resolution(s),
            |step| {
                let p = self.at(step)?.0.clone();
                let will_do = p.met == meets;
                Ok(if will_do && self.full(&p) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(will_do)
                })
            },
        )
    }
}

//! One question about a scenario under way: the search, and the parts of the answer that rest on it.
use super::{Bench, Point, Question, Rising, curve, has_chance, highest_of, rising};
use crate::plan::slo::{Slo, Term};
use crate::plan::{Axis, Extremes, Found, Pool};
use crate::predict::{PredictError, Scenario};

/// Runs per load where only a comparison is wanted.
const FEW: u32 = 2;

/// Runs per coefficient for the slopes.
const GRADIENT_SEEDS: u32 = 3;

/// Highest load begun with where today's is given, of axes that count things: one that is far too high takes long to find so.
const HIGHEST_START: f64 = 256.0;

/// Whether two runs of a scenario under a question's load differ.
pub fn chance(scenario: &Scenario, q: &Question) -> bool {
    let mut probe = scenario.clone();
    q.axis.apply(&mut probe, 1.0);
    has_chance(&probe)
}

/// What stays the same through all parts of an answer, and the loads tried so far.
pub struct Inquiry<'a, P> {
    scenario: &'a Scenario,
    q: &'a Question,
    /// The conditions that more load can only break.
    upper: &'a Slo,
    /// Whether more load can only help. A rate is bounded by what is served; users who wait for their answers are not.
    pub rises: bool,
    /// Runs per load.
    pub seeds: u32,
    pool: &'a P,
    pub bench: Bench<'a, P>,
}

/// Where a search ended.
pub struct Place {
    pub found: Found,
    /// The condition that is nearest to its limit where the SLO just breaks.
    pub decisive: Term,
    /// Whether some load meets the SLO and no load breaks it.
    pub unlimited: bool,
    /// The step that the rest of the answer is about.
    pub at: i64,
}

impl<'a, P: Pool> Inquiry<'a, P> {
    pub fn new(
        scenario: &'a Scenario,
        q: &'a Question,
        upper: &'a Slo,
        chance: bool,
        pool: &'a P,
    ) -> Self {
        let rises = upper.terms.is_empty() && q.axis.counts();
        let seeds = match (chance, rises) {
            (false, _) => 1,
            // Throughput is a mean over thousands of requests.
            (true, true) => q.seeds.clamp(1, FEW),
            (true, false) => q.seeds.max(1),
        };
        let slo = if rises { &q.slo } else { upper };
        Self {
            scenario,
            q,
            upper,
            rises,
            seeds,
            pool,
            bench: Bench::new(scenario, q, slo, seeds, pool),
        }
    }

    /// The step to begin at: today's load, or where the device is about half used.
    fn start(&mut self) -> Result<i64, PredictError> {
        let axis = self.q.axis;
        Ok(match (axis.counts(), self.q.present) {
            (true, Some(p)) => axis.step(p.min(HIGHEST_START)),
            (false, Some(p)) => axis.step(p),
            (true, None) => 4,
            (false, None) if axis == Axis::Speedup => 0,
            (false, None) => {
                let (alone, _) = self.bench.at(axis.step(1e-3))?;
                axis.step(2.0 / alone.e2el.max(1e-6))
            }
        })
    }

    fn search(&mut self) -> Result<Found, PredictError> {
        let start = self.start()?;
        if !self.rises {
            return self.bench.search(start);
        }
        self.bench.search_for(start, false)?;
        if rising::least(&self.bench).is_none() {
            // Throughput may be highest between two loads tried.
            let near = rising::nearest(&self.bench);
            curve(&mut self.bench, near, self.rises)?;
        }
        Ok(Found {
            highest: rising::least(&self.bench),
            broken: None,
        })
    }

    /// Searches, and says what decides there.
    pub fn place(&mut self) -> Result<Place, PredictError> {
        let found = self.search()?;
        let near = match (found.broken, found.highest) {
            (Some(s), _) | (None, Some(s)) => s,
            (None, None) => rising::nearest(&self.bench),
        };
        let (_, trial) = self.bench.at(near)?;
        let (decisive, _) = if self.upper.terms.is_empty() {
            self.q.slo.tightest(trial)
        } else {
            self.upper.tightest(trial)
        };
        // Of loads that nothing bounds, the lowest at which throughput is at its end: beyond it, only the queue grows.
        let unlimited = found.highest.is_some() && found.broken.is_none();
        let saturated = (unlimited && !self.rises).then(|| self.bench.saturated());
        Ok(Place {
            found,
            decisive,
            unlimited,
            at: saturated.or(found.highest).unwrap_or(near),
        })
    }

    /// One load under the seeds that slopes are means over.
    pub fn slope_runs(&self, at: i64) -> Vec<Scenario> {
        (0..self.seeds.min(GRADIENT_SEEDS))
            .map(|k| self.bench.scenario(at, k))
            .collect()
    }

    /// Runs per load under other coefficients.
    fn fewer(&self) -> u32 {
        self.seeds.min(FEW.max(self.seeds / 2))
    }

    /// Runs per load under other settings.
    pub fn fewest(&self) -> u32 {
        self.seeds.min(FEW)
    }

    /// From which load on, where more load can only help.
    pub fn rising(&mut self, ends: &Extremes) -> Result<Option<Rising>, PredictError> {
        if !self.rises {
            return Ok(None);
        }
        let seeds = self.fewer();
        rising::answer(
            self.scenario,
            self.q,
            &mut self.bench,
            ends,
            seeds,
            self.pool,
        )
        .map(Some)
    }

    /// The highest load that meets the SLO; where more load helps, the highest of those on the curve.
    pub fn best(&self, found: &Found, curve: &[Point]) -> Option<f64> {
        if self.rises {
            let met = curve.iter().filter(|p| p.met).map(|p| p.load);
            met.max_by(f64::total_cmp)
        } else {
            found.highest.map(|s| self.q.axis.value(s))
        }
    }

    /// The highest load under the unlucky and the lucky coefficients; no upper end: the SLO does not limit it.
    pub fn interval(
        &self,
        place: &Place,
        ends: &Extremes,
        rising: Option<&Rising>,
        best: Option<f64>,
    ) -> Result<(f64, Option<f64>), PredictError> {
        Ok(match rising {
            Some(r) if r.unlucky.is_some() => (best.unwrap_or(0.0), None),
            Some(r) if r.least.is_some() => (0.0, None),
            Some(_) => (0.0, Some(0.0)),
            None => {
                let low = self.priced_as(&ends.slow, place.at)?;
                let low = low.unwrap_or(f64::INFINITY);
                let high = if place.unlimited {
                    None
                } else {
                    self.priced_as(&ends.fast, place.at)?
                };
                (low, high)
            }
        })
    }

    /// The highest load with another scenario's coefficients.
    fn priced_as(&self, other: &Scenario, near: i64) -> Result<Option<f64>, PredictError> {
        // Only the coefficients differ: load and seed are the base's.
        let mut base = self.scenario.clone();
        (base.device, base.engine) = (other.device.clone(), other.engine.clone());
        highest_of(&base, self.q, self.upper, self.fewer(), near, self.pool)
    }

    /// Whether a lower load than the best failed, or a higher one met the SLO.
    pub fn not_monotone(&self, curve: &[Point], best: Option<f64>, unlimited: bool) -> bool {
        !self.rises
            && curve.iter().any(|p| match best {
                Some(b) => (p.load < b && !p.met) || (p.load > b && p.met && !unlimited),
                None => p.met,
            })
    }

    /// The point of a step, if there is one.
    pub fn point(&mut self, step: Option<i64>) -> Result<Option<Point>, PredictError> {
        step.map(|s| Ok(self.bench.at(s)?.0.clone())).transpose()
    }
}

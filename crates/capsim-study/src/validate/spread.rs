//! How far predictions are off beyond what their coefficients explain, by class of run: estimated from other people's runs.
//!
//! For a figure of source group g (the repository that published it), σ is the smallest with which 90 % of the *other* groups'
//! errors of the same class lie within 1.645 · √(propagated² + σ²), every group weighing the same (leave-one-group-out; the
//! quantile is that of split conformal prediction, V. Vovk et al., 2005). A class with few groups says little, so that each is
//! drawn towards the wider class that it is a part of: with n groups of its own, σ² = (n s² + w σ²(wider)) / (n + w).
//!
//! Spreads of coefficients that were assumed may be too wide as well. Where nine tenths of the errors lie inside them with σ = 0, the
//! same nine tenths are asked for of κ · propagated, with κ < 1, drawn towards the wider class's as σ² is.
//!
//! Which classes are told apart, and w, is chosen among [`STRUCTURES`], for first tokens and for later ones each by itself, by the mean
//! interval score (T. Gneiting and A. E. Raftery,
//! J. Am. Stat. Assoc. 102, 2007) of the logarithms over all groups, each predicted from the others: width plus 20 times what lies
//! outside. Ways that leave fewer classes with a coverage which the binomial test rejects at 1 % come first. Engines are always told apart, whatever the score asks for: what one engine's host and kernels get wrong on a device says
//! nothing of another's. (On 2026-11-30, when SGLang's runs of DeepSeek-R1 came to vLLM's on NVIDIA devices, the score preferred maker ×
//! batch, 1.100, which would have doubled the intervals of vLLM's first tokens there for what SGLang's are missed by.)
use super::accuracy::{Role, ScoredRun};
use capsim::device::{BatchClass, ModelSpread, Phase};
use capsim::metrics::{Latency, Metric};
use capsim::predict::Interval;
use std::collections::{BTreeMap, BTreeSet};

/// 95th percentile of the standard normal distribution.
pub const Z: f64 = 1.644_853_626_951_472_7;

/// The phase that a metric is about.
pub fn phase(metric: Metric) -> Phase {
    if metric.latency() == Some(Latency::Ttft) {
        Phase::Prefill
    } else {
        Phase::Decode
    }
}

/// A class of figures.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class {
    /// First token or later ones.
    pub phase: Phase,
    /// Whether it is a high percentile, a smallest or a largest value: a few requests make it.
    pub tail: bool,
    /// Maker of the device.
    pub family: String,
    /// The engine.
    pub engine: String,
    /// Sequences in a step.
    pub batch: BatchClass,
    /// Whether the model has experts.
    pub experts: bool,
}

/// An error of a prediction.
#[derive(Clone, Debug)]
pub struct Residual {
    /// What of.
    pub class: Class,
    /// Who published the measurement.
    pub group: String,
    /// Of which experiment.
    pub experiment: String,
    /// ln(predicted / measured).
    pub log: f64,
    /// Standard deviation of ln predicted that coefficients explain.
    pub propagated: f64,
}

/// Something by which classes are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Maker of the device.
    Family,
    /// The engine.
    Engine,
    /// Sequences in a step.
    Batch,
    /// Experts or none.
    Experts,
}

impl Level {
    fn same(self, a: &Class, b: &Class) -> bool {
        match self {
            Self::Family => a.family == b.family,
            Self::Engine => a.engine == b.engine,
            Self::Batch => a.batch == b.batch,
            Self::Experts => a.experts == b.experts,
        }
    }
}

/// One way to tell classes apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Structure {
    /// From wide to narrow; phases are always told apart.
    pub levels: &'static [Level],
    /// How many groups the wider class weighs.
    pub weight: f64,
}

impl Structure {
    /// In words.
    pub fn words(&self) -> String {
        let names: Vec<&str> = self
            .levels
            .iter()
            .map(|l| match l {
                Level::Family => "maker",
                Level::Engine => "engine",
                Level::Batch => "batch",
                Level::Experts => "experts",
            })
            .collect();
        if names.is_empty() {
            return "phase alone".into();
        }
        format!(
            "phase × {}, the wider class weighing {} groups",
            names.join(" × "),
            self.weight
        )
    }
}

const fn with(levels: &'static [Level], weight: f64) -> Structure {
    Structure { levels, weight }
}

/// What is chosen from; the first is one width for all runs of a phase.
pub const STRUCTURES: &[Structure] = {
    use Level::{Batch, Engine, Experts, Family};
    &[
        with(&[], 0.0),
        with(&[Family, Engine], 0.5),
        with(&[Family, Engine], 1.0),
        with(&[Family, Engine], 2.0),
        with(&[Engine, Family], 0.5),
        with(&[Engine, Family], 1.0),
        with(&[Engine, Family], 2.0),
        with(&[Family, Engine, Batch], 0.5),
        with(&[Family, Engine, Batch], 1.0),
        with(&[Family, Engine, Batch], 2.0),
        with(&[Engine, Family, Batch], 0.5),
        with(&[Engine, Family, Batch], 1.0),
        with(&[Engine, Family, Batch], 2.0),
        with(&[Family, Engine, Batch, Experts], 0.5),
        with(&[Family, Engine, Batch, Experts], 1.0),
        with(&[Family, Engine, Batch, Experts], 2.0),
        with(&[Engine, Family, Batch, Experts], 0.5),
        with(&[Engine, Family, Batch, Experts], 1.0),
        with(&[Engine, Family, Batch, Experts], 2.0),
    ]
};

/// Where a set was recorded: the maker of its device, and the engine.
pub type Place = (String, String);

/// The errors of predicted runs; `place` tells where a set was recorded.
pub fn residuals(runs: &[ScoredRun], place: impl Fn(usize) -> Place) -> Vec<Residual> {
    let counted = |r: &&ScoredRun| r.role == Role::Predicted && !r.own_intervals;
    runs.iter()
        .filter(counted)
        .flat_map(|r| {
            let of = |metric| class(r, metric, place(r.file));
            r.metrics
                .iter()
                .map(move |m| Residual {
                    class: of(m.metric.metric()),
                    group: r.group.clone(),
                    experiment: r.experiment.clone(),
                    log: m.log_error,
                    propagated: m.propagated,
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The class of a run's figure.
pub fn class(r: &ScoredRun, metric: Metric, (family, engine): Place) -> Class {
    Class {
        phase: phase(metric),
        tail: metric.is_tail(),
        family,
        engine,
        batch: BatchClass::of(r.batch),
        experts: r.moe,
    }
}

/// How far predictions of a class are off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    /// Beyond what coefficients explain: a standard deviation of the logarithm.
    pub sd: f64,
    /// Factor on what coefficients explain.
    pub explained: f64,
}

impl Deviation {
    /// Standard deviation of the logarithm of a figure whose coefficients explain `propagated`.
    pub fn sigma(self, propagated: f64) -> f64 {
        libm::hypot(self.sd, self.explained * propagated)
    }

    /// Of `n` groups, drawn towards the one of a wider class, which weighs `weight` groups.
    fn drawn(self, n: f64, wider: Self, weight: f64) -> Self {
        let mean = |own: f64, wider: f64| {
            libm::sqrt((n * own * own + weight * wider * wider) / (n + weight))
        };
        Self {
            sd: mean(self.sd, wider.sd),
            explained: mean(self.explained, wider.explained),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            sd: self.sd.max(other.sd),
            explained: self.explained.max(other.explained),
        }
    }
}

/// The smallest deviation with which 90 % of the errors lie within 1.645 √((κ propagated)² + σ²), groups weighing the same: κ = 1 and
/// the σ that it takes; or, if none is needed, σ = 0 and the κ below 1 that is enough.
fn needed(errors: &[&Residual]) -> Deviation {
    let more = |r: &Residual| {
        let e = r.log.abs() / Z;
        libm::sqrt((e * e - r.propagated * r.propagated).max(0.0))
    };
    let share = |r: &Residual| r.log.abs() / Z / r.propagated.max(1e-12);
    let sd = nine_tenths(errors, more);
    Deviation {
        sd,
        explained: match sd > 0.0 || errors.is_empty() {
            true => 1.0,
            false => nine_tenths(errors, share).min(1.0),
        },
    }
}

/// The smallest value that nine tenths of the errors do not exceed; groups weigh the same.
fn nine_tenths(errors: &[&Residual], of: impl Fn(&Residual) -> f64) -> f64 {
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    for r in errors {
        *counts.entry(&r.group).or_default() += 1.0;
    }
    let mut needed: Vec<(f64, f64)> = errors
        .iter()
        .map(|r| (of(r), 1.0 / counts[r.group.as_str()]))
        .collect();
    needed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = needed.iter().map(|n| n.1).sum();
    let mut sum = 0.0;
    for (sd, weight) in &needed {
        sum += weight;
        // Weights are thirds and sevenths: what is nine tenths but for rounding is nine tenths.
        if sum >= 0.9 * total * (1.0 - 1e-12) {
            return *sd;
        }
    }
    0.0
}

/// The deviation of a class, from all groups but one. Tails are at least as uncertain as what they are the tails of, of which there
/// are more figures.
pub fn deviation(
    all: &[Residual],
    class: &Class,
    without: Option<&str>,
    s: &Structure,
) -> Deviation {
    let own = of_class(all, class, without, s);
    if !class.tail {
        return own;
    }
    let middle = Class {
        tail: false,
        ..class.clone()
    };
    own.max(of_class(all, &middle, without, s))
}

fn of_class(all: &[Residual], class: &Class, without: Option<&str>, s: &Structure) -> Deviation {
    let mut of: Vec<&Residual> = all
        .iter()
        .filter(|r| (r.class.phase, r.class.tail) == (class.phase, class.tail))
        .filter(|r| Some(r.group.as_str()) != without)
        .collect();
    let mut found = needed(&of);
    for level in s.levels {
        of.retain(|r| level.same(&r.class, class));
        let n = groups(&of) as f64;
        if n > 0.0 {
            found = needed(&of).drawn(n, found, s.weight);
        }
    }
    found
}

fn groups(of: &[&Residual]) -> usize {
    of.iter().map(|r| &r.group).collect::<BTreeSet<_>>().len()
}

/// The interval score of one error at 90 %, in logarithms.
pub fn interval_score(log: f64, sigma: f64) -> f64 {
    let half = Z * sigma;
    2.0 * half + 20.0 * (log.abs() - half).max(0.0)
}

/// How a structure does: every group predicted from the others, groups weighing the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Which.
    pub structure: Structure,
    /// Mean interval score.
    pub score: f64,
    /// Share of figures in their intervals.
    pub inside: f64,
    /// Classes whose coverage is far from nine tenths.
    pub rejected: usize,
}

/// Chance below which a class's coverage is not that of a 90 % interval.
const REJECTED: f64 = 0.01;

/// Of each experiment, how many figures lie inside, of how many.
#[derive(Default)]
pub struct Experiments<'a>(BTreeMap<&'a str, (usize, usize)>);

impl<'a> Experiments<'a> {
    /// One more figure.
    pub fn add(&mut self, experiment: &'a str, inside: bool) {
        let (count, n) = self.0.entry(experiment).or_default();
        *count += usize::from(inside);
        *n += 1;
    }

    /// The two-sided binomial test, an experiment counting once.
    pub fn chance(&self) -> f64 {
        let shares = self.0.values();
        let shares = shares.map(|(inside, n)| *inside as f64 / *n as f64);
        let inside = libm::round(shares.sum::<f64>()) as usize;
        binomial_p(inside, self.0.len())
    }
}

/// All structures for the figures of a phase, each group left out once.
pub fn scores(all: &[Residual], phase: Phase) -> Vec<Score> {
    let of_phase = |r: &&Residual| r.class.phase == phase;
    let all: &[Residual] = &all.iter().filter(of_phase).cloned().collect::<Vec<_>>();
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    for r in all {
        *counts.entry(&r.group).or_default() += 1.0;
    }
    let one = |s: &Structure| {
        let mut known: BTreeMap<(&Class, &str), Deviation> = BTreeMap::new();
        let mut classes: BTreeMap<&Class, Experiments<'_>> = BTreeMap::new();
        let (mut sum, mut inside) = (0.0, 0);
        for r in all {
            let sigma = known
                .entry((&r.class, &r.group))
                .or_insert_with(|| deviation(all, &r.class, Some(&r.group), s))
                .sigma(r.propagated);
            sum += interval_score(r.log, sigma) / counts[r.group.as_str()];
            let covered = r.log.abs() <= Z * sigma;
            inside += usize::from(covered);
            let class = classes.entry(&r.class).or_default();
            class.add(&r.experiment, covered);
        }
        Score {
            structure: *s,
            score: sum / counts.len().max(1) as f64,
            inside: inside as f64 / all.len().max(1) as f64,
            rejected: classes.values().filter(|c| c.chance() < REJECTED).count(),
        }
    };
    STRUCTURES.iter().map(one).collect()
}

/// The structure of each phase.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Of what.
    pub phase: Phase,
    /// How all do.
    pub scores: Vec<Score>,
    /// The one with the smallest score.
    pub structure: Structure,
}

impl Chosen {
    fn of(all: &[Residual], phase: Phase) -> Self {
        let scores = scores(all, phase);
        Self {
            phase,
            structure: best(&scores),
            scores,
        }
    }
}

fn structure(chosen: &[Chosen; 2], phase: Phase) -> &Structure {
    let of = chosen.iter().find(|c| c.phase == phase);
    &of.expect("both phases are there").structure
}

/// The one with the fewest rejected classes, of these the one with the smallest score; the earlier of two equals.
pub fn best(scores: &[Score]) -> Structure {
    let order = |a: &&Score, b: &&Score| {
        let rejected = a.rejected.cmp(&b.rejected);
        rejected.then(a.score.total_cmp(&b.score))
    };
    let least = scores.iter().min_by(order);
    least.map_or(STRUCTURES[0], |s| s.structure)
}

/// Every class of an engine on a maker's devices, from all groups.
pub fn table(all: &[Residual], (family, engine): &Place, chosen: &[Chosen; 2]) -> Vec<ModelSpread> {
    let mut rows = vec![];
    let tails = [false, true];
    let phases = [Phase::Decode, Phase::Prefill];
    for (phase, tail) in phases.into_iter().flat_map(|p| tails.map(|t| (p, t))) {
        for batch in [BatchClass::One, BatchClass::Few, BatchClass::Many] {
            for experts in [false, true] {
                let class = Class {
                    phase,
                    tail,
                    family: family.clone(),
                    engine: engine.clone(),
                    batch,
                    experts,
                };
                let own: Vec<&Residual> = all.iter().filter(|r| r.class == class).collect();
                let found = deviation(all, &class, None, structure(chosen, phase));
                let rounded = |x: f64| (x * 1e4).round() / 1e4;
                rows.push(ModelSpread {
                    phase,
                    tail,
                    batch,
                    experts,
                    rel_sd: rounded(found.sd),
                    explained: rounded(found.explained),
                    runs: own.len() as u32,
                    sources: groups(&own) as u32,
                });
            }
        }
    }
    rows
}

/// What was estimated.
#[derive(Clone, Debug)]
pub struct Spreads {
    /// The errors.
    pub residuals: Vec<Residual>,
    /// Which classes are told apart.
    pub chosen: [Chosen; 2],
}

impl Spreads {
    /// One deviation for all runs of a phase, from all groups.
    pub fn common(&self, phase: Phase) -> f64 {
        let of = |r: &&Residual| r.class.phase == phase && !r.class.tail;
        let first = self.residuals.iter().find(of);
        first.map_or(0.0, |r| {
            deviation(&self.residuals, &r.class, None, &STRUCTURES[0]).sd
        })
    }

    /// Every class of an engine on a maker's devices, from all groups.
    pub fn table(&self, place: &Place) -> Vec<ModelSpread> {
        table(&self.residuals, place, &self.chosen)
    }
}

/// Fills in intervals with the model's deviation, leave-one-group-out; `place` tells where a set was recorded.
pub fn intervals(runs: &mut [ScoredRun], place: impl Fn(usize) -> Place) -> Spreads {
    let residuals = residuals(runs, &place);
    let chosen = [Phase::Decode, Phase::Prefill].map(|p| Chosen::of(&residuals, p));
    let mut known: BTreeMap<(Class, String), Deviation> = BTreeMap::new();
    for r in runs.iter_mut().filter(|r| !r.own_intervals) {
        let classes: Vec<Class> = r
            .metrics
            .iter()
            .map(|m| class(r, m.metric.metric(), place(r.file)))
            .collect();
        for (m, class) in r.metrics.iter_mut().zip(&classes) {
            let sigma = known
                .entry((class.clone(), r.group.clone()))
                .or_insert_with(|| {
                    let structure = structure(&chosen, class.phase);
                    deviation(&residuals, class, Some(&r.group), structure)
                })
                .sigma(m.propagated);
            m.interval = Interval {
                low: m.predicted * libm::exp(-Z * sigma),
                high: m.predicted * libm::exp(Z * sigma),
            };
            m.inside = m.log_error.abs() <= Z * sigma;
        }
    }
    Spreads { residuals, chosen }
}

/// Chance of at most, or at least, this many of `n` at 90 %, whichever is smaller, twice: the two-sided binomial test.
pub fn binomial_p(inside: usize, n: usize) -> f64 {
    let ln_choose = |k: usize| {
        libm::lgamma(n as f64 + 1.0)
            - libm::lgamma(k as f64 + 1.0)
            - libm::lgamma((n - k) as f64 + 1.0)
    };
    let p = |k: usize| {
        libm::exp(ln_choose(k) + k as f64 * libm::log(0.9) + (n - k) as f64 * libm::log(0.1))
    };
    let low: f64 = (0..=inside).map(p).sum();
    let high: f64 = (inside..=n).map(p).sum();
    (2.0 * low.min(high)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn residual(group: &str, family: &str, log: f64, propagated: f64) -> Residual {
        Residual {
            class: Class {
                phase: Phase::Decode,
                tail: false,
                family: family.into(),
                engine: "vLLM".into(),
                batch: BatchClass::One,
                experts: false,
            },
            group: group.into(),
            experiment: group.into(),
            log,
            propagated,
        }
    }

    #[test]
    fn the_deviation_covers_nine_tenths_and_no_group_outweighs_another() {
        let all: Vec<Residual> = (1..=10)
            .map(|i| residual("a", "x", f64::from(i) * 0.01, 0.0))
            .collect();
        let one = &STRUCTURES[0];
        let sd = |all: &[Residual]| deviation(all, &all[0].class, None, one).sd;
        assert!((sd(&all) - 0.09 / Z).abs() < 1e-12);
        // Ten thousand small errors of one group do not hide a large one of another.
        let mut many = vec![residual("a", "x", 0.001, 0.0); 10_000];
        many.push(residual("b", "x", 0.5, 0.0));
        assert!((sd(&many) - 0.5 / Z).abs() < 1e-12);
        // What propagation explains already is not added again.
        assert_eq!(sd(&[residual("a", "x", 0.1, 0.2)]), 0.0);
    }

    #[test]
    fn coefficients_explain_no_more_than_the_errors_bear_out() {
        let one = &STRUCTURES[0];
        let found = |all: &[Residual]| deviation(all, &all[0].class, None, one);
        let small = found(&[residual("a", "x", 0.1 * Z, 0.2)]);
        assert!((small.explained - 0.5).abs() < 1e-12 && small.sd == 0.0);
        assert!((small.sigma(0.2) - 0.1).abs() < 1e-12);
        // Where they do not suffice they count in full, and more is added.
        let large = found(&[residual("a", "x", 0.5 * Z, 0.3)]);
        assert!(large.explained == 1.0 && (large.sigma(0.3) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_class_with_few_groups_is_drawn_towards_the_wider_one() {
        let all = vec![
            residual("a", "x", 0.1 * Z, 0.0),
            residual("b", "y", 0.4 * Z, 0.0),
        ];
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        let class = &all[0].class;
        near(deviation(&all, class, None, &STRUCTURES[0]).sd, 0.4);
        let s = with(&[Level::Family], 1.0);
        near(
            deviation(&all, class, None, &s).sd,
            libm::sqrt((0.01 + 0.16) / 2.0),
        );
        // Left out, nothing of its own family remains.
        near(deviation(&all, class, Some("a"), &s).sd, 0.4);
    }

    #[test]
    fn a_structure_that_tells_good_from_bad_scores_better() {
        let mut all = vec![];
        for g in ["a", "b", "c", "d"] {
            all.extend((0..20).map(|_| residual(g, "x", 0.02, 0.01)));
        }
        for g in ["e", "f", "g", "h"] {
            all.extend((0..20).map(|_| residual(g, "y", 0.4, 0.01)));
        }
        let scores = scores(&all, Phase::Decode);
        assert_ne!(best(&scores), STRUCTURES[0]);
        let common = scores[0].score;
        assert!(scores.iter().all(|s| s.score <= common + 1e-12));
        let chosen = [Phase::Decode, Phase::Prefill].map(|p| Chosen::of(&all, p));
        let rows = table(&all, &("x".into(), "vLLM".into()), &chosen);
        assert_eq!(rows.len(), 24);
        assert_eq!((rows[0].runs, rows[0].sources), (80, 4));
        assert!(rows[0].rel_sd < 0.3);
    }

    #[test]
    fn the_binomial_test_rejects_what_is_far_from_nine_tenths() {
        assert!(binomial_p(90, 100) > 0.9);
        assert!(binomial_p(75, 100) < 0.01);
        assert!(binomial_p(100, 100) < 0.01);
        assert!(binomial_p(6, 6) > 0.5);
        assert!((binomial_p(0, 1) - 0.2).abs() < 1e-9);
    }

    #[test]
    fn a_source_never_widens_its_own_interval() {
        let run = |group: &str, log_error: f64| ScoredRun {
            id: group.into(),
            file: 0,
            experiment: group.into(),
            group: group.into(),
            role: Role::Predicted,
            inferred: None,
            batch: 1.0,
            moe: false,
            metrics: vec![crate::validate::accuracy::Scored {
                metric: Metric::mean(Latency::Tpot).into(),
                measured: 1.0,
                predicted: libm::exp(log_error),
                log_error,
                propagated: 0.01,
                interval: Interval {
                    low: 1.0,
                    high: 1.0,
                },
                inside: false,
            }],
            diagnosis: None,
            doubt: None,
            own_intervals: false,
        };
        let mut runs = vec![run("a", 0.02), run("b", 0.9)];
        intervals(&mut runs, |_| ("x".into(), "vLLM".into()));
        assert!(runs[0].metrics[0].inside, "as wide as b's error asks");
        assert!(!runs[1].metrics[0].inside, "as narrow as a's error allows");
    }
}

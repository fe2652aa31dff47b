//! How wide intervals are, how many hold, and how their widths were chosen.
use crate::validate::accuracy::{Accuracy, Role, Scored};
use crate::validate::spread::{self, Place, STRUCTURES, Z, binomial_p};
use capsim::device::Phase;
use capsim::stats::percentile;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Decode => "decode",
        Phase::Prefill => "TTFT",
    }
}

/// The figures of a class.
#[derive(Default)]
struct Figures<'a> {
    all: Vec<&'a Scored>,
    sources: BTreeSet<&'a str>,
    /// Of each experiment, how many lie inside, of how many.
    experiments: BTreeMap<&'a str, (usize, usize)>,
}

impl Figures<'_> {
    /// The two-sided binomial test, an experiment counting once.
    fn chance(&self) -> f64 {
        let shares = self
            .experiments
            .values()
            .map(|(inside, n)| *inside as f64 / *n as f64);
        let inside = libm::round(shares.sum::<f64>()) as usize;
        binomial_p(inside, self.experiments.len())
    }
}

/// Half of an interval over the prediction.
fn half(m: &Scored) -> f64 {
    (m.interval.high - m.interval.low) / 2.0 / m.predicted
}

/// The mean interval score of the logarithms.
fn score(all: &[&Scored]) -> f64 {
    let one = |m: &&Scored| {
        let sigma = libm::log(m.interval.high / m.interval.low) / (2.0 * Z);
        spread::interval_score(m.log_error, sigma)
    };
    all.iter().map(one).sum::<f64>() / all.len().max(1) as f64
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    percentile(&of, 50.0)
}

/// The section of the front page; `place` tells where a set was recorded.
pub(super) fn section(o: &mut String, a: &Accuracy, place: impl Fn(usize) -> Place) {
    let s = &a.spreads;
    let common = [Phase::Decode, Phase::Prefill]
        .map(|p| format!("{:.0} % for {}", 100.0 * s.common(p), words(p)))
        .join(" and ");
    let chosen = s.scores.iter().find(|x| x.structure == s.structure);
    let one = s.scores.iter().find(|x| x.structure == STRUCTURES[0]);
    let _ = writeln!(
        o,
        "\n## Intervals\n\nSpreads of coefficients, after the fit, and between repeats are propagated linearly in logarithms. What the model \
         gets wrong, and what differs between boxes, builds and weeks, is added as a deviation estimated from the runs of *other* sources \
         (leave-one-source-out: the smallest with which nine tenths of their errors lie inside; every source weighs the same). One \
         deviation for all devices would be {common}. Classes are told apart as the mean interval score of sources that were left out \
         asks for, among {} ways listed in `validate/spread.rs`: {}. Its score is {:.3}, that of one common deviation {:.3} (width of the \
         interval in logarithms, plus 20 times what lies outside). The shipped profiles carry the deviation of each class. Settings that \
         a record does not state widen the interval of that run: every alternative is simulated, or, where the run's own figures choose \
         among hypotheses, keeps their likelihood as weight. Comparisons that are kept as figures have the interval of their own \
         profile, and take no part in this.\n",
        STRUCTURES.len(),
        s.structure.words(),
        chosen.map_or(f64::NAN, |x| x.score),
        one.map_or(f64::NAN, |x| x.score),
    );
    let mut classes: BTreeMap<_, Figures<'_>> = BTreeMap::new();
    for r in a.runs.iter().filter(|r| r.role == Role::Predicted) {
        for m in &r.metrics {
            let class = spread::class(r, m.metric.metric(), place(r.file));
            let of = classes.entry(class).or_default();
            of.all.push(m);
            of.sources.insert(&r.group);
            let (inside, n) = of.experiments.entry(&r.experiment).or_default();
            *inside += usize::from(m.inside);
            *n += 1;
        }
    }
    o.push_str(
        "figures|maker, engine|load|model|figures (sources)|inside|half-width, median|interval score|experiments: chance of as many inside, at 90 %\n\
         ---|---|---|---|---|---|---|---|---\n",
    );
    for (class, of) in classes {
        let inside = of.all.iter().filter(|m| m.inside).count();
        let _ = writeln!(
            o,
            "{}{}|{}|{}|{}|{} ({})|{:.0} %|± {:.0} %|{:.2}|{:.3}",
            words(class.phase),
            if class.tail { ", tails" } else { "" },
            class.family + ", " + &class.engine,
            class.batch.words(),
            if class.experts { "experts" } else { "dense" },
            of.all.len(),
            of.sources.len(),
            100.0 * inside as f64 / of.all.len() as f64,
            100.0 * median(of.all.iter().map(|m| half(m)).collect()),
            score(&of.all),
            of.chance(),
        );
    }
    o.push_str(
        "\nFigures of one experiment are not independent of each other: in the last column, a two-sided binomial test, it counts once, as the \
         share of its figures that lie inside.\n",
    );
}

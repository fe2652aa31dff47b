//! How wide intervals are, how many hold, and how their widths were chosen.
use crate::validate::accuracy::{Accuracy, Role, Scored};
use crate::validate::spread::{self, Experiments, Place, STRUCTURES, Structure, Z};
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
    experiments: Experiments<'a>,
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
    let told_apart = s.chosen.each_ref().map(|c| {
        let score = |s: &Structure| {
            let of = c.scores.iter().find(|x| x.structure == *s);
            of.map_or(f64::NAN, |x| x.score)
        };
        format!(
            "for {} {} (score {:.3}, that of one common deviation {:.3})",
            words(c.phase),
            c.structure.words(),
            score(&c.structure),
            score(&STRUCTURES[0]),
        )
    });
    let _ = writeln!(
        o,
        "\n## Intervals\n\nSpreads of coefficients, after the fit, and between repeats are propagated linearly in logarithms. What the model \
         gets wrong, and what differs between boxes, builds and weeks, is added as a deviation estimated from the runs of *other* sources \
         (leave-one-source-out: the smallest with which nine tenths of their errors lie inside; every source weighs the same). One \
         deviation for all devices would be {common}. Classes are told apart as the mean interval score of sources that were left out \
         asks for (width of the interval in logarithms, plus 20 times what lies outside), among {} ways listed in `validate/spread.rs`, those first with which no class is rejected at 1 %: {}. \
         Where nine tenths of a class's errors lie well inside what its coefficients' spreads explain, those count less, by the factor \
         that the errors bear out. The shipped profiles carry the deviation of each class. Settings that \
         a record does not state widen the interval of that run: every alternative is simulated, or, where the run's own figures choose \
         among hypotheses, keeps their likelihood as weight. Comparisons that are kept as figures have the interval of their own \
         profile, and take no part in this.\n",
        STRUCTURES.len(),
        told_apart.join("; "),
    );
    let mut classes: BTreeMap<_, Figures<'_>> = BTreeMap::new();
    for r in a.runs.iter().filter(|r| r.role == Role::Predicted) {
        for m in &r.metrics {
            let class = spread::class(r, m.metric.metric(), place(r.file));
            let of = classes.entry(class).or_default();
            of.all.push(m);
            of.sources.insert(&r.group);
            of.experiments.add(&r.experiment, m.inside);
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
            of.experiments.chance(),
        );
    }
    o.push_str(
        "\nFigures of one experiment are not independent of each other: in the last column, a two-sided binomial test, it counts once, as the \
         share of its figures that lie inside.\n",
    );
}

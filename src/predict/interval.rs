//! How far the truth may be from a prediction.
//!
//! Linear propagation in logarithms: with g_j = ∂ ln metric / ∂ ln coefficient_j from one simulation per
//! coefficient, the variance of ln metric is gᵀ C g, C being the covariance of the coefficients' logarithms
//! (diagonal from their stated spreads, or the fit's own matrix), plus the run-to-run spread and the model
//! error in quadrature. The interval is metric · exp(±1.645 σ): 90 % if the spreads are honest.
//!
//! Near saturation a straight line is no model of a latency. Where an end would lie far away, two more runs with the coefficients at
//! their likely ends bound it; throughputs are bounded by the load offered, and percentiles by each other ([`super::bounds`]).
use super::beyond_profile;
use super::bounds::{Reach, ends_of, extremes, ordered, planned_span, within_load, within_runs};
use super::prediction::{PredictError, Scenario};
use super::run::{Dearer, Load, Ready, Run};
use super::uncertain::{Uncertain, Z95, covariance, uncertain};
use crate::device::{BatchClass, Phase};
use crate::engine::SimError;
use crate::engine::observe::Observer;
use crate::metrics::{Latency, Metric, Percentiles, Statistic, Summary};
use std::collections::BTreeMap;

/// A 90 % interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// 5th percentile.
    pub low: f64,
    /// 95th percentile.
    pub high: f64,
}

/// How much one coefficient moves the output throughput.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensitivity {
    /// Dotted name in the engine or device profile.
    pub name: String,
    /// ∂ ln output throughput / ∂ ln coefficient.
    pub slope: f64,
    /// Its relative standard deviation.
    pub rel_sd: f64,
    /// Where the coefficient comes from.
    pub origin: crate::device::Origin,
}

/// Metrics that get an interval.
pub const METRICS: &[Metric] = &[
    Metric::Duration,
    Metric::RequestThroughput,
    Metric::OutputThroughput,
    Metric::TotalThroughput,
    Metric::mean(Latency::Ttft),
    Metric::median(Latency::Ttft),
    Metric::percentile(Latency::Ttft, 90.0),
    Metric::percentile(Latency::Ttft, 95.0),
    Metric::percentile(Latency::Ttft, 99.0),
    Metric::mean(Latency::Tpot),
    Metric::median(Latency::Tpot),
    Metric::percentile(Latency::Tpot, 90.0),
    Metric::percentile(Latency::Tpot, 95.0),
    Metric::percentile(Latency::Tpot, 99.0),
    Metric::mean(Latency::Itl),
    Metric::median(Latency::Itl),
    Metric::percentile(Latency::Itl, 90.0),
    Metric::percentile(Latency::Itl, 95.0),
    Metric::percentile(Latency::Itl, 99.0),
    Metric::mean(Latency::E2el),
    Metric::median(Latency::E2el),
    Metric::Latency(Latency::E2el, Statistic::Min),
    Metric::percentile(Latency::E2el, 90.0),
    Metric::percentile(Latency::E2el, 95.0),
    Metric::percentile(Latency::E2el, 99.0),
    Metric::Latency(Latency::E2el, Statistic::Max),
];

/// Half-width of a difference quotient, in logarithms. Small against the spreads, large against rounding.
const STEP: f64 = 0.03;

/// Gradients of ln metric for every metric, and the intervals that follow.
#[derive(Default)]
pub(super) struct Propagation {
    pub intervals: BTreeMap<Metric, Interval>,
    pub sensitivities: Vec<Sensitivity>,
    /// Requests simulated per coefficient, if fewer than predicted.
    pub shortened_to: Option<u32>,
}

/// Most requests simulated per coefficient. Gradients of logarithms hardly depend on the length of a run once
/// it is long; twenty full simulations of a million requests would.
const GRADIENT_PROMPTS: u32 = 16_384;

/// The same load with fewer requests, if it is a long one: at least eight for every client.
fn shorter(scenario: &Scenario) -> Option<Scenario> {
    let w = &scenario.workload;
    let clients = w.max_concurrency.unwrap_or(0);
    let prompts = GRADIENT_PROMPTS.max(clients.saturating_mul(8));
    (prompts < w.num_prompts).then(|| {
        let mut short = scenario.clone();
        short.workload.num_prompts = prompts;
        short
    })
}

fn log_metrics(summary: &Summary) -> Vec<f64> {
    METRICS
        .iter()
        .map(|m| libm::log(summary.metric(*m, Percentiles::Linear).max(1e-12)))
        .collect()
}

/// From which distance of an end, in logarithms, runs have to bound it: a factor of 2. Nearer, a straight line does.
const FAR: f64 = std::f64::consts::LN_2;

/// Part of the variance that is given up for fewer simulations: half of it is what an interval may be too narrow by.
const NEGLIGIBLE: f64 = 0.01;

/// One simulation of a scenario and, by one more per coefficient that matters to the price of its steps, its intervals.
pub(super) fn propagate(
    scenario: &Scenario,
    load: Load<'_>,
    observer: &mut impl Observer,
) -> Result<(Run, Propagation), PredictError> {
    let all = uncertain(scenario);
    let short = match load {
        Load::Own => shorter(scenario),
        Load::Recorded(_) => None,
    };
    let base = short.as_ref().unwrap_or(scenario);
    let varied: Vec<Scenario> = all
        .iter()
        .map(|u| {
            let mut varied = base.clone();
            u.coefficient.scale(&mut varied, libm::exp(STEP));
            varied
        })
        .collect();
    let varied = varied
        .iter()
        .map(|s| Ready::new(s, load))
        .collect::<Result<Vec<_>, _>>()?;
    let ready = Ready::new(scenario, load)?;
    let (run, at_base, dearer) = if let Some(short) = &short {
        let (run, _) = ready.run(&[], observer)?;
        let (summary, dearer) = Ready::new(short, load)?.summary(&varied, observer)?;
        (run, log_metrics(&summary), dearer)
    } else {
        let (run, dearer) = ready.run(&varied, observer)?;
        let logs = log_metrics(&run.summary);
        (run, logs, dearer)
    };
    let recorded = matches!(load, Load::Recorded(_));
    let arrivals = |u: &Uncertain| u.coefficient.moves_arrivals(scenario, recorded);
    let matters = that_matter(scenario, &all, &dearer);
    let mut gradients: Vec<Vec<f64>> = Vec::new();
    for ((u, varied), matters) in all.iter().zip(&varied).zip(matters) {
        if !matters && !arrivals(u) {
            gradients.push(vec![0.0; METRICS.len()]);
            continue;
        }
        let logs = log_metrics(&varied.summary(&[], observer)?.0);
        let slope = |(v, b): (&f64, &f64)| (v - b) / STEP;
        gradients.push(logs.iter().zip(&at_base).map(slope).collect());
    }
    let batch = BatchClass::of(run.occupancy.batch);
    let spreads = spreads(scenario, batch, &all, &gradients);
    let value = |m: Metric| run.summary.metric(m, Percentiles::Linear);
    let mut intervals: BTreeMap<_, _> = METRICS
        .iter()
        .zip(&spreads)
        .map(|(m, s)| (*m, s.around(value(*m))))
        .collect();
    let far = |s: &Spread| Z95 * libm::sqrt(s.known) > FAR;
    if spreads.iter().any(far) {
        let cov = covariance(scenario, &all);
        let mut pairs = vec![extremes(base, &all, &cov, &dearer, STEP)];
        // When requests come moves no price, so that it has runs of its own.
        let clients = all.iter().filter(|u| arrivals(u));
        pairs.extend(clients.map(|u| ends_of(base, u)));
        let mut reached = vec![];
        for pair in &pairs {
            reached.push(reach(pair, load, &at_base, observer)?);
        }
        // Coefficients far off may describe an engine that does not start: then nothing is shown.
        if let Some(reached) = reached.into_iter().collect::<Option<Vec<_>>>() {
            let open = spreads.iter().map(|s| far(s).then(|| libm::sqrt(s.open)));
            let open: Vec<Option<f64>> = open.collect();
            within_runs(&mut intervals, &reached, &open, value);
        }
    }
    if let Some(span) = planned_span(scenario, load) {
        within_load(&mut intervals, span, value);
    }
    ordered(&mut intervals);
    let propagation = Propagation {
        intervals,
        sensitivities: sensitivities(&all, &gradients),
        shortened_to: short.map(|s| s.workload.num_prompts),
    };
    Ok((run, propagation))
}

/// How far two runs lie below and above the best estimate, in logarithms of each metric; `None` if one of them cannot be served.
fn reach(
    pair: &[Scenario; 2],
    load: Load<'_>,
    at_base: &[f64],
    observer: &impl Observer,
) -> Result<Option<Vec<Reach>>, PredictError> {
    let mut all = vec![Reach::default(); METRICS.len()];
    for s in pair {
        let logs = match Ready::new(s, load).and_then(|r| r.summary(&[], observer)) {
            Ok((summary, _)) => log_metrics(&summary),
            Err(e @ PredictError::Simulation(SimError::Stopped)) => return Err(e),
            Err(_) => return Ok(None),
        };
        for (reach, (v, b)) in all.iter_mut().zip(logs.iter().zip(at_base)) {
            reach.down = reach.down.min(v - b);
            reach.up = reach.up.max(v - b);
        }
    }
    Ok(Some(all))
}

/// Which coefficients an interval cannot do without. The others are those that add least to the variance of the price of a step, and
/// all together less than [`NEGLIGIBLE`] of it, in steps that compute prompts and in those that do not. Coefficients that a
/// fit correlates with others count always.
fn that_matter(scenario: &Scenario, all: &[Uncertain], dearer: &[Dearer]) -> Vec<bool> {
    let cov = covariance(scenario, all);
    let n = all.len();
    let repeat = scenario.engine.repeat_rel_sd.value;
    let model = scenario.engine.least_model_sd();
    let rest = repeat * repeat + model * model + beyond_profile(scenario);
    let classes: [fn(&Dearer) -> f64; 2] = [|d| d.prefill, |d| d.decode];
    // Of each class, every coefficient's own part of the variance.
    let parts: Vec<Vec<f64>> = classes
        .iter()
        .map(|class| {
            let slope: Vec<f64> = dearer.iter().map(|d| class(d) / STEP).collect();
            let own = |i: usize| slope[i] * slope[i] * cov[i][i];
            let total: f64 = rest + (0..n).map(own).sum::<f64>();
            (0..n).map(|i| own(i) / total.max(1e-12)).collect()
        })
        .collect();
    let part = |i: usize| parts[0][i].max(parts[1][i]);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| part(*a).total_cmp(&part(*b)).then(a.cmp(b)));
    let mut matters = vec![true; n];
    let mut left_out = 0.0;
    for i in order {
        left_out += part(i);
        let alone = (0..n).all(|j| j == i || cov[i][j] == 0.0);
        matters[i] = dearer[i].moved && (left_out > NEGLIGIBLE || !alone);
    }
    matters
}

/// By how much each coefficient may move the output throughput, most first.
fn sensitivities(all: &[Uncertain], gradients: &[Vec<f64>]) -> Vec<Sensitivity> {
    let output = METRICS.iter().position(|m| *m == Metric::OutputThroughput);
    let output = output.expect("listed");
    let mut sensitivities: Vec<Sensitivity> = all
        .iter()
        .zip(gradients)
        .map(|(u, g)| Sensitivity {
            name: u.coefficient.to_string(),
            slope: g[output],
            rel_sd: u.rel_sd,
            origin: u.origin,
        })
        .collect();
    sensitivities.sort_by(|a, b| {
        (b.slope * b.rel_sd)
            .abs()
            .total_cmp(&(a.slope * a.rel_sd).abs())
            .then_with(|| a.name.cmp(&b.name))
    });
    sensitivities
}

/// Variance of a metric's logarithm.
struct Spread {
    /// What uncertain coefficients explain.
    known: f64,
    /// The rest: how runs differ, and what the model does not resolve.
    open: f64,
}

impl Spread {
    /// The interval around a value.
    fn around(&self, value: f64) -> Interval {
        let sigma = libm::sqrt((self.known + self.open).max(0.0));
        Interval {
            low: value * libm::exp(-Z95 * sigma),
            high: value * libm::exp(Z95 * sigma),
        }
    }
}

/// The variance of every metric, in the order of [`METRICS`].
fn spreads(
    scenario: &Scenario,
    batch: BatchClass,
    all: &[Uncertain],
    gradients: &[Vec<f64>],
) -> Vec<Spread> {
    let n = all.len();
    let cov = covariance(scenario, all);
    let repeat = scenario.engine.repeat_rel_sd.value;
    let beyond = beyond_profile(scenario);
    let experts = scenario.model.experts().is_some();
    let model = |phase, tail| scenario.engine.model_sd(phase, tail, batch, experts);
    // Errors say how far coefficients are off where there were errors to look at.
    let seen = scenario.engine.devices.contains(&scenario.device.id);
    let explained = |phase, tail| match seen {
        true => scenario.engine.explained(phase, tail, batch, experts),
        false => 1.0,
    };
    let of = |(m, metric): (usize, &Metric)| {
        let phase = match metric.latency() {
            Some(Latency::Ttft) => Phase::Prefill,
            _ => Phase::Decode,
        };
        let structure = model(phase, metric.is_tail());
        let mut known = 0.0;
        for i in 0..n {
            for j in 0..n {
                known += gradients[i][m] * cov[i][j] * gradients[j][m];
            }
        }
        let explained = explained(phase, metric.is_tail());
        Spread {
            known: f64::max(known, 0.0) * explained * explained,
            open: repeat * repeat + structure * structure + beyond,
        }
    };
    METRICS.iter().enumerate().map(of).collect()
}

//! How far the truth may be from a prediction.
//!
//! Linear propagation in logarithms: with g_j = ∂ ln metric / ∂ ln coefficient_j from one simulation per
//! coefficient, the variance of ln metric is gᵀ C g, C being the covariance of the coefficients' logarithms
//! (diagonal from their stated spreads, or the fit's own matrix), plus the run-to-run spread and the model
//! error in quadrature. The interval is metric · exp(±1.645 σ): 90 % if the spreads are honest.
use super::prediction::{PredictError, Scenario};
use super::run::{Dearer, Load, Ready, Run};
use super::uncertain::{Uncertain, Z95, covariance, uncertain};
use crate::engine::observe::Observer;
use crate::metrics::{Percentiles, Summary};

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
pub const METRICS: &[&str] = &[
    "duration_s",
    "request_throughput",
    "output_throughput",
    "total_token_throughput",
    "mean_ttft_ms",
    "median_ttft_ms",
    "p90_ttft_ms",
    "p95_ttft_ms",
    "p99_ttft_ms",
    "mean_tpot_ms",
    "median_tpot_ms",
    "p90_tpot_ms",
    "p95_tpot_ms",
    "p99_tpot_ms",
    "mean_itl_ms",
    "median_itl_ms",
    "p90_itl_ms",
    "p95_itl_ms",
    "p99_itl_ms",
    "mean_e2el_ms",
    "median_e2el_ms",
    "min_e2el_ms",
    "p90_e2el_ms",
    "p95_e2el_ms",
    "p99_e2el_ms",
    "max_e2el_ms",
];

/// Half-width of a difference quotient, in logarithms. Small against the spreads, large against rounding.
const STEP: f64 = 0.03;

/// Gradients of ln metric for every metric, and the intervals that follow.
#[derive(Default)]
pub(super) struct Propagation {
    pub intervals: std::collections::BTreeMap<&'static str, Interval>,
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
        .map(|m| {
            libm::log(
                summary
                    .metric(m, Percentiles::Linear)
                    .unwrap_or(f64::NAN)
                    .max(1e-12),
            )
        })
        .collect()
}

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
    let propagation = Propagation {
        intervals: intervals(scenario, &run.summary, &all, &gradients),
        sensitivities: sensitivities(&all, &gradients),
        shortened_to: short.map(|s| s.workload.num_prompts),
    };
    Ok((run, propagation))
}

/// Which coefficients an interval cannot do without. The others are those that add least to the variance of the price of a step, and
/// all together less than [`NEGLIGIBLE`] of it, in steps that compute prompts and in those that do not. Coefficients that a
/// fit correlates with others count always.
fn that_matter(scenario: &Scenario, all: &[Uncertain], dearer: &[Dearer]) -> Vec<bool> {
    let cov = covariance(scenario, all);
    let n = all.len();
    let (repeat, model) = (
        &scenario.engine.repeat_rel_sd,
        &scenario.engine.model_rel_sd,
    );
    let rest = repeat.value * repeat.value + model.value * model.value;
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
    let output = METRICS.iter().position(|m| *m == "output_throughput");
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

fn intervals(
    scenario: &Scenario,
    base: &Summary,
    all: &[Uncertain],
    gradients: &[Vec<f64>],
) -> std::collections::BTreeMap<&'static str, Interval> {
    let n = all.len();
    let cov = covariance(scenario, all);
    let repeat = scenario.engine.repeat_rel_sd.value;
    let model = scenario.engine.model_rel_sd.value;
    let prefill = scenario
        .engine
        .model_rel_sd_prefill
        .as_ref()
        .map_or(model, |q| q.value);
    let mut intervals = std::collections::BTreeMap::new();
    for (m, name) in METRICS.iter().enumerate() {
        let structure = if name.contains("ttft") {
            prefill
        } else {
            model
        };
        let mut variance = repeat * repeat + structure * structure;
        for i in 0..n {
            for j in 0..n {
                variance += gradients[i][m] * cov[i][j] * gradients[j][m];
            }
        }
        let sigma = libm::sqrt(variance.max(0.0));
        let value = base.metric(name, Percentiles::Linear).unwrap_or(f64::NAN);
        intervals.insert(
            *name,
            Interval {
                low: value * libm::exp(-Z95 * sigma),
                high: value * libm::exp(Z95 * sigma),
            },
        );
    }
    intervals
}

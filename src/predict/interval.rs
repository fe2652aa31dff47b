//! How far the truth may be from a prediction.
//!
//! Linear propagation in logarithms: with g_j = ∂ ln metric / ∂ ln coefficient_j from one simulation per
//! coefficient, the variance of ln metric is gᵀ C g, C being the covariance of the coefficients' logarithms
//! (diagonal from their stated spreads, or the fit's own matrix), plus the run-to-run spread and the model
//! error in quadrature. The interval is metric · exp(±1.645 σ): 90 % if the spreads are honest.
use super::prediction::{PredictError, Run, Scenario};
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
    "p99_ttft_ms",
    "mean_tpot_ms",
    "median_tpot_ms",
    "p90_tpot_ms",
    "p99_tpot_ms",
    "mean_itl_ms",
    "median_itl_ms",
    "p90_itl_ms",
    "p99_itl_ms",
    "mean_e2el_ms",
    "median_e2el_ms",
    "min_e2el_ms",
    "p90_e2el_ms",
    "p99_e2el_ms",
    "max_e2el_ms",
];

/// 95th percentile of the standard normal distribution.
const Z: f64 = 1.644_853_626_951_472_7;

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

/// A coefficient to vary: one of the engine profile's, or a whole curve of the device's.
enum Knob {
    Engine(String),
    Stream,
    Gemm,
    Attention,
    Kernels,
    LinkLatency,
    LinkRate,
}

impl Knob {
    fn name(&self) -> String {
        match self {
            Knob::Engine(n) => n.clone(),
            Knob::Stream => "device.stream_read".into(),
            Knob::Gemm => "device.gemm_f16".into(),
            Knob::Attention => "device.attention_prefill".into(),
            Knob::Kernels => "device.kernels".into(),
            Knob::LinkLatency => "device.link.latency".into(),
            Knob::LinkRate => "device.link.rate".into(),
        }
    }
    fn apply(&self, s: &mut Scenario, factor: f64) {
        let scale = |c: &mut crate::device::Curve| c.points.iter_mut().for_each(|p| p.y *= factor);
        match self {
            Knob::Engine(n) => {
                s.engine
                    .coefficient_mut(n)
                    .expect("listed by the profile")
                    .value *= factor
            }
            Knob::Stream => scale(&mut s.device.stream_read),
            Knob::Gemm => scale(&mut s.device.gemm_f16),
            Knob::Attention => scale(&mut s.device.attention_prefill),
            Knob::Kernels => s.device.kernels.iter_mut().for_each(|k| k.scale(factor)),
            Knob::LinkLatency => {
                if let Some(link) = &mut s.device.link {
                    link.latency.value *= factor
                }
            }
            Knob::LinkRate => {
                if let Some(link) = &mut s.device.link {
                    link.rate.value *= factor
                }
            }
        }
    }
}

/// One simulation of a scenario whose coefficients were varied.
type Simulate<'a> = &'a dyn Fn(&Scenario) -> Result<Run, PredictError>;

pub(super) fn propagate(
    scenario: &Scenario,
    base: &Summary,
    simulate: Simulate<'_>,
    may_shorten: bool,
) -> Result<Propagation, PredictError> {
    let path = scenario
        .moe_path
        .clone()
        .unwrap_or_else(|| scenario.engine.moe_default.clone());
    let is_moe = scenario.model.experts().is_some();
    let mut knobs = vec![];
    for (name, q) in scenario.engine.coefficients() {
        let other_path = name.starts_with("moe_paths.")
            && (!is_moe || !name.starts_with(&format!("moe_paths.{path}.")));
        if !other_path && q.rel_sd > 0.0 {
            knobs.push((Knob::Engine(name), q.rel_sd, q.provenance.origin));
        }
    }
    // Efficiencies published for this very device are absolute rates in disguise: their spread already
    // contains the device curve's. On another device the curve's own spread comes on top.
    if !scenario.engine.devices.contains(&scenario.device.id) {
        let d = &scenario.device;
        for (knob, curve) in [
            (Knob::Stream, &d.stream_read),
            (Knob::Gemm, &d.gemm_f16),
            (Knob::Attention, &d.attention_prefill),
        ] {
            let last = curve.points[curve.points.len() - 1];
            knobs.push((knob, last.rel_sd.max(0.01), curve.provenance.origin));
        }
    }
    if let Some(k) = scenario.device.kernels.first() {
        knobs.push((Knob::Kernels, k.rel_sd, k.provenance.origin));
    }
    let many = |n: Option<u32>| n.is_some_and(|n| n > 1);
    if (many(scenario.serve.tensor_parallel_size) || many(scenario.serve.data_parallel_size))
        && let Some(link) = &scenario.device.link
    {
        for (knob, q) in [
            (Knob::LinkLatency, &link.latency),
            (Knob::LinkRate, &link.rate),
        ] {
            knobs.push((knob, q.rel_sd, q.provenance.origin));
        }
    }
    let short = if may_shorten { shorter(scenario) } else { None };
    let at_base = match &short {
        Some(s) => log_metrics(&simulate(s)?.summary),
        None => log_metrics(base),
    };
    let mut gradients: Vec<Vec<f64>> = Vec::new();
    let mut sensitivities = Vec::new();
    for (knob, rel_sd, origin) in &knobs {
        let mut varied = short.as_ref().unwrap_or(scenario).clone();
        knob.apply(&mut varied, libm::exp(STEP));
        let summary = simulate(&varied)?.summary;
        let g: Vec<f64> = log_metrics(&summary)
            .iter()
            .zip(&at_base)
            .map(|(v, b)| (v - b) / STEP)
            .collect();
        let output = METRICS.iter().position(|m| *m == "output_throughput");
        sensitivities.push(Sensitivity {
            name: knob.name(),
            slope: g[output.expect("listed")],
            rel_sd: *rel_sd,
            origin: *origin,
        });
        gradients.push(g);
    }
    // Covariance of ln coefficient: ln(1 + sd²) is the log-normal's variance for a relative deviation sd.
    let n = knobs.len();
    let mut cov = vec![vec![0.0; n]; n];
    for (i, (_, sd, _)) in knobs.iter().enumerate() {
        cov[i][i] = libm::log1p(sd * sd);
    }
    if let Some(fit) = &scenario.engine.fit {
        let index: Vec<Option<usize>> = fit
            .coefficients
            .iter()
            .map(|c| knobs.iter().position(|(k, _, _)| k.name() == *c))
            .collect();
        for (a, i) in index.iter().enumerate() {
            for (b, j) in index.iter().enumerate() {
                if let (Some(i), Some(j)) = (i, j) {
                    cov[*i][*j] = fit.covariance[a][b];
                }
            }
        }
    }
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
                low: value * libm::exp(-Z * sigma),
                high: value * libm::exp(Z * sigma),
            },
        );
    }
    sensitivities.sort_by(|a, b| {
        (b.slope * b.rel_sd)
            .abs()
            .total_cmp(&(a.slope * a.rel_sd).abs())
            .then_with(|| a.name.cmp(&b.name))
    });
    Ok(Propagation {
        intervals,
        sensitivities,
        shortened_to: short.map(|s| s.workload.num_prompts),
    })
}

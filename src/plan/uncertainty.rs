//! The slowest and the fastest that the cost model's own uncertainty allows for.
//!
//! First-order reliability (A. M. Hasofer and N. C. Lind, J. Eng. Mech. Div. 100, 1974): among all values of the
//! coefficients that lie 1.645 standard deviations from their best estimates, those that harm a figure most are, to first order,
//! at 1.645 · C g / √(gᵀ C g) in logarithms, g being the figure's gradient and C the coefficients' covariance. Where the
//! figure crosses a limit there, its 95 % quantile crosses it.
use super::pool::Pool;
use super::slo::{Slo, Term};
use super::trial::trial;
use crate::predict::{PredictError, Scenario};

/// 95th percentile of the standard normal distribution.
const Z: f64 = 1.644_853_626_951_472_7;

/// A scenario under unlucky and lucky coefficients.
#[derive(Clone, Debug)]
pub struct Extremes {
    /// Worse than nineteen of twenty.
    pub slow: Scenario,
    /// Better than nineteen of twenty.
    pub fast: Scenario,
    /// Coefficients by their part of the variance, largest first.
    pub shares: Vec<(String, f64)>,
}

#[derive(Clone)]
enum Knob {
    Engine(String),
    Stream,
    Gemm,
    Attention,
    /// All times together: what the model does not resolve, and how runs differ.
    Everything,
}

impl Knob {
    fn name(&self) -> String {
        match self {
            Knob::Engine(n) => n.clone(),
            Knob::Stream => "device.stream_read".into(),
            Knob::Gemm => "device.gemm_f16".into(),
            Knob::Attention => "device.attention_prefill".into(),
            Knob::Everything => "model and repeats".into(),
        }
    }

    fn apply(&self, s: &mut Scenario, log_factor: f64) {
        let f = libm::exp(log_factor);
        let scale =
            |c: &mut crate::device::Curve, f: f64| c.points.iter_mut().for_each(|p| p.y *= f);
        match self {
            Knob::Engine(n) => s.engine.coefficient_mut(n).expect("listed").value *= f,
            Knob::Stream => scale(&mut s.device.stream_read, f),
            Knob::Gemm => scale(&mut s.device.gemm_f16, f),
            Knob::Attention => scale(&mut s.device.attention_prefill, f),
            Knob::Everything => {
                let d = &mut s.device;
                for c in [
                    &mut d.stream_read,
                    &mut d.gemm_f16,
                    &mut d.attention_prefill,
                    &mut d.elementwise,
                ] {
                    scale(c, 1.0 / f);
                }
                d.launch.value *= f;
                let h = &mut s.engine.host;
                for q in [
                    &mut h.step,
                    &mut h.per_seq,
                    &mut h.launch_eager,
                    &mut h.launch_graph,
                ] {
                    q.value *= f;
                }
            }
        }
    }
}

fn knobs(scenario: &Scenario) -> Vec<(Knob, f64)> {
    let path = scenario
        .moe_path
        .clone()
        .unwrap_or_else(|| scenario.engine.moe_default.clone());
    let is_moe = scenario.model.experts().is_some();
    let mut all = vec![];
    for (name, q) in scenario.engine.coefficients() {
        let other = name.starts_with("moe_paths.")
            && (!is_moe || !name.starts_with(&format!("moe_paths.{path}.")));
        if !other && q.rel_sd > 0.0 {
            all.push((Knob::Engine(name), q.rel_sd));
        }
    }
    // As in predict::interval: efficiencies published for this very device contain its curves' spread.
    if !scenario.engine.devices.contains(&scenario.device.id) {
        let d = &scenario.device;
        for (knob, curve) in [
            (Knob::Stream, &d.stream_read),
            (Knob::Gemm, &d.gemm_f16),
            (Knob::Attention, &d.attention_prefill),
        ] {
            let sd = curve.points.last().map_or(0.0, |p| p.rel_sd);
            all.push((knob, sd.max(0.01)));
        }
    }
    let (repeat, model) = (
        scenario.engine.repeat_rel_sd.value,
        scenario.engine.model_rel_sd.value,
    );
    all.push((
        Knob::Everything,
        libm::sqrt(repeat * repeat + model * model),
    ));
    all
}

/// How far a coefficient is moved for its slope, in logarithms: as far as it is uncertain, so that the chance in a run weighs
/// little against it, but not beyond where a straight line is one.
fn stride(sd: f64) -> f64 {
    sd.clamp(0.03, 0.3)
}

/// Finds the coefficients that harm, and that help, a condition most. `scenarios` are one load under several seeds; each is
/// simulated once as it is and once per coefficient, and the slopes are means over the seeds. The results are the first
/// of them with other coefficients.
///
/// # Errors
/// As [`trial`].
pub fn extremes(
    scenarios: &[Scenario],
    slo: &Slo,
    term: &Term,
    pool: &impl Pool,
) -> Result<Extremes, PredictError> {
    let scenario = &scenarios[0];
    let knobs = knobs(scenario);
    let mut jobs: Vec<Scenario> = scenarios.to_vec();
    for (k, sd) in &knobs {
        for base in scenarios {
            let mut s = base.clone();
            k.apply(&mut s, stride(*sd));
            jobs.push(s);
        }
    }
    let logs = pool
        .map(&jobs, |s| trial(s, slo))
        .into_iter()
        .map(|t| Ok(libm::log(term.margin(&t?).clamp(1e-12, 1e12))))
        .collect::<Result<Vec<f64>, PredictError>>()?;
    let (base, varied) = logs.split_at(scenarios.len());
    let g: Vec<f64> = varied
        .chunks(scenarios.len())
        .zip(&knobs)
        .map(|(with, (_, sd))| {
            let rise: f64 = with.iter().zip(base).map(|(w, b)| w - b).sum();
            rise / base.len() as f64 / stride(*sd)
        })
        .collect();
    let n = knobs.len();
    let mut cov = vec![vec![0.0; n]; n];
    for (i, (_, sd)) in knobs.iter().enumerate() {
        cov[i][i] = libm::log1p(sd * sd);
    }
    if let Some(fit) = &scenario.engine.fit {
        let index: Vec<Option<usize>> = fit
            .coefficients
            .iter()
            .map(|c| knobs.iter().position(|(k, _)| k.name() == *c))
            .collect();
        for (a, i) in index.iter().enumerate() {
            for (b, j) in index.iter().enumerate() {
                if let (Some(i), Some(j)) = (i, j) {
                    cov[*i][*j] = fit.covariance[a][b];
                }
            }
        }
    }
    let cg: Vec<f64> = cov
        .iter()
        .map(|row| row.iter().zip(&g).map(|(c, g)| c * g).sum())
        .collect();
    let variance: f64 = cg.iter().zip(&g).map(|(a, b)| a * b).sum();
    let (mut slow, mut fast) = (scenario.clone(), scenario.clone());
    let mut shares = vec![];
    if variance > 0.0 {
        for ((knob, _), (c, g)) in knobs.iter().zip(cg.iter().zip(&g)) {
            let shift = Z * c / libm::sqrt(variance);
            knob.apply(&mut slow, shift);
            knob.apply(&mut fast, -shift);
            shares.push((knob.name(), c * g / variance));
        }
    }
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(Extremes { slow, fast, shares })
}

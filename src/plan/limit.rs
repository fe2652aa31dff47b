//! What limits a run, and how much faster it would be if a resource were.
use super::pool::Pool;
use super::slo::{Slo, Term};
use super::trial::trial;
use crate::predict::{PredictError, Run, Scenario};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What requests wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The KV cache: requests queue or are preempted because no block is free.
    KvCapacity,
    /// No more sequences may run.
    MaxNumSeqs,
    /// The token budget of a step: prompts queue for it.
    TokenBudget,
    /// Nothing: requests are scheduled at once, and the length of a step decides.
    StepTime,
    /// Nothing: the device is idle for more than a third of the time.
    Nothing,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::KvCapacity => "KV capacity",
            Limit::MaxNumSeqs => "max-num-seqs",
            Limit::TokenBudget => "token budget",
            Limit::StepTime => "step time",
            Limit::Nothing => "nothing",
        })
    }
}

impl Limit {
    /// What requests of a run wait for.
    pub fn of(run: &Run) -> Self {
        let (s, occ, c) = (&run.summary, &run.occupancy, &run.settings.config);
        let queued = s.queue.mean() / s.e2el.mean().max(1e-12);
        // Steps are counted on one stage of a pipeline, which shares the sequences with the others.
        let stages = run.settings.stages.len().max(1) as f64;
        let preempted = s.preemptions as f64 / (s.completed as f64).max(1.0);
        if preempted > 0.01 || (queued > 0.1 && occ.kv_max > 0.95) {
            Limit::KvCapacity
        } else if queued > 0.1 && occ.batch * stages > 0.8 * f64::from(c.max_num_seqs) {
            Limit::MaxNumSeqs
        } else if queued > 0.1 && run.widest_step >= c.max_num_batched_tokens {
            Limit::TokenBudget
        } else if occ.busy * stages < 0.66 * s.duration {
            Limit::Nothing
        } else {
            Limit::StepTime
        }
    }
}

/// By how many per cent what is used up of a limit shrinks if a resource becomes one per cent faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Elasticities {
    /// Memory bandwidth.
    pub bandwidth: f64,
    /// Arithmetic.
    pub compute: f64,
    /// Host time and launches.
    pub host: f64,
}

impl Elasticities {
    /// In words, largest first.
    pub fn words(&self) -> String {
        let mut all = [
            ("bandwidth", self.bandwidth),
            ("compute", self.compute),
            ("host", self.host),
        ];
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        let parts: Vec<String> = all.iter().map(|(n, e)| format!("{n} {e:.2}")).collect();
        parts.join(", ")
    }

    /// The resource that matters most.
    pub fn largest(&self) -> &'static str {
        if self.bandwidth >= self.compute && self.bandwidth >= self.host {
            "memory bandwidth"
        } else if self.compute >= self.host {
            "compute"
        } else {
            "host time"
        }
    }
}

/// How much faster a resource is made, in logarithms.
const STEP: f64 = 0.1;

fn faster(scenario: &Scenario, resource: usize) -> Scenario {
    let mut s = scenario.clone();
    let factor = libm::exp(STEP);
    let scale = |c: &mut crate::device::Curve| c.points.iter_mut().for_each(|p| p.y *= factor);
    match resource {
        0 => {
            scale(&mut s.device.stream_read);
            scale(&mut s.device.elementwise);
        }
        1 => {
            scale(&mut s.device.gemm_f16);
            scale(&mut s.device.attention_prefill);
        }
        _ => {
            let h = &mut s.engine.host;
            for q in [
                &mut h.step,
                &mut h.per_seq,
                &mut h.launch_eager,
                &mut h.launch_graph,
            ] {
                q.value /= factor;
            }
            if let Some(q) = &mut h.launch_experts {
                q.value /= factor;
            }
            s.device.launch.value /= factor;
        }
    }
    s
}

/// How much each resource matters for a condition, at one load under several seeds.
///
/// # Errors
/// As [`trial`].
pub(super) fn elasticities(
    scenarios: &[Scenario],
    slo: &Slo,
    term: &Term,
    pool: &impl Pool,
) -> Result<Elasticities, PredictError> {
    let mut jobs: Vec<Scenario> = scenarios.to_vec();
    for resource in 0..3 {
        jobs.extend(scenarios.iter().map(|s| faster(s, resource)));
    }
    let logs = pool
        .map(&jobs, |s| trial(s, slo))
        .into_iter()
        .map(|t| Ok(libm::log(term.margin(&t?).clamp(1e-12, 1e12))))
        .collect::<Result<Vec<f64>, PredictError>>()?;
    let n = scenarios.len();
    let gain = |resource: usize| {
        let with = &logs[(resource + 1) * n..(resource + 2) * n];
        let fall: f64 = logs[..n].iter().zip(with).map(|(b, w)| b - w).sum();
        fall / n as f64 / STEP
    };
    Ok(Elasticities {
        bandwidth: gain(0),
        compute: gain(1),
        host: gain(2),
    })
}

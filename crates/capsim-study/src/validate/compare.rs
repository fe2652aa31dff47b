//! Recorded runs against predictions, fitted and held out kept apart.
use super::hypothesis::{Basis, Hypothesis, hypotheses};
use super::runs::{RecordedRun, RunsFile};
use super::spread::Z;
use capsim::metrics::{Metric, MetricName, Percentiles};
use capsim::predict::{Interval, PredictError, Prediction, predict, predict_replay};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One metric of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricComparison {
    /// Its name.
    pub metric: MetricName,
    /// As recorded.
    pub measured: f64,
    /// As simulated.
    pub predicted: f64,
    /// predicted / measured − 1, after allowing for the digits to which the measured value was rounded.
    pub error: f64,
    /// 90 % interval of the prediction, where one is computed.
    pub interval: Option<Interval>,
    /// Largest |error| that counts as agreement; `None`: not judged.
    pub tolerance: Option<f64>,
}

impl MetricComparison {
    /// A measured value beside a predicted one; their error by the one rule that texts, JSON and pages share.
    pub fn new(
        metric: MetricName,
        measured: f64,
        predicted: f64,
        interval: Option<Interval>,
        tolerance: Option<f64>,
    ) -> Self {
        Self {
            error: error(predicted, measured),
            metric,
            measured,
            predicted,
            interval,
            tolerance,
        }
    }
    /// Standard deviation of ln predicted, by its interval; 0 where there is none.
    pub fn propagated(&self) -> f64 {
        let spread = |i: Interval| libm::log(i.high / i.low) / (2.0 * Z);
        let there = |i: &Interval| i.low > 0.0 && i.high > i.low;
        self.interval.filter(there).map_or(0.0, spread)
    }
    /// Whether the measured value, as far as its digits tell, lies in the interval.
    pub fn inside(&self) -> Option<bool> {
        let slack = rounding(self.measured);
        self.interval
            .map(|i| (i.low - slack..=i.high + slack).contains(&self.measured))
    }
    /// Whether the error is within tolerance; `None`: not judged.
    pub fn agrees(&self) -> Option<bool> {
        self.tolerance.map(|t| self.error.abs() <= t)
    }
}

/// A run predicted under one hypothesis.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What was supposed.
    pub hypothesis: Hypothesis,
    /// Every recorded metric.
    pub metrics: Vec<MetricComparison>,
    /// Every recorded counter: name, recorded, simulated.
    pub counters: Vec<(String, u64, u64)>,
    /// Root mean square of the log errors of the judged kinds of metric (means and throughputs).
    pub misfit: f64,
    /// The prediction itself.
    pub prediction: Prediction,
}

/// A run with all its hypotheses.
#[derive(Clone, Debug)]
pub struct RunComparison {
    /// The run's id.
    pub id: String,
    /// Whether the engine profile was fitted to this run.
    pub fitted: bool,
    /// One per hypothesis, the one that the data prefer first.
    pub candidates: Vec<Candidate>,
}

impl RunComparison {
    /// The hypothesis that the data prefer.
    pub fn preferred(&self) -> &Candidate {
        &self.candidates[0]
    }
    /// Whether every judged metric of the preferred hypothesis agrees.
    pub fn agrees(&self) -> bool {
        self.preferred()
            .metrics
            .iter()
            .all(|m| m.agrees() != Some(false))
    }
}

/// Half a unit in the last decimal place with which a value was written: 0.06 stands for 0.055 … 0.065.
fn rounding(value: f64) -> f64 {
    let text = format!("{value}");
    let decimals = text.split_once('.').map_or(0, |(_, d)| d.len());
    0.5 * libm::pow(10.0, -(decimals as f64))
}

/// predicted / measured − 1, zero where the measured value may have been rounded from the predicted one, else
/// reduced by the rounding.
fn error(predicted: f64, measured: f64) -> f64 {
    let off = predicted - measured;
    let slack = rounding(measured).min(0.1 * measured);
    if off.abs() <= slack {
        0.0
    } else {
        (off - slack.copysign(off)) / measured
    }
}

/// Predicts `run` under every hypothesis that its record leaves open.
///
/// # Errors
/// If no hypothesis can be simulated: the first one's error.
pub fn candidates(
    file: &RunsFile,
    basis: &Basis,
    run: &RecordedRun,
) -> Result<Vec<Candidate>, PredictError> {
    let rule: Percentiles = file.client.percentiles.into();
    let mut all = vec![];
    let mut failed = None;
    for hypothesis in hypotheses(file, run, basis.model.experts().is_some()) {
        let scenario = basis.scenario(run, &hypothesis);
        let predicted = match run.workload.cycle {
            Some(cycle) => predict_replay(&scenario, &cycle.replay(&run.workload), &mut ()),
            None => predict(&scenario),
        };
        let prediction = match predicted {
            Ok(p) => p,
            Err(e) => {
                failed.get_or_insert(e);
                continue;
            }
        };
        let mut metrics = vec![];
        let (mut sum, mut count) = (0.0, 0);
        for (name, &measured) in &run.measured {
            let metric = name.metric();
            let predicted = prediction.run.summary.metric(metric, rule);
            let interval = prediction.interval_of(metric).map(|i| {
                // Intervals are computed for NumPy's percentiles; the same relative width holds for others.
                let base = prediction.run.summary.metric(metric, Percentiles::Linear);
                Interval {
                    low: i.low * predicted / base,
                    high: i.high * predicted / base,
                }
            });
            let tolerance = file.tolerance.of(metric);
            let c = MetricComparison::new(name.clone(), measured, predicted, interval, tolerance);
            if metric.is_mean() || metric.is_throughput() || metric == Metric::Duration {
                let log = libm::log1p(c.error);
                sum += log * log;
                count += 1;
            }
            metrics.push(c);
        }
        let engine = &prediction.run.engine;
        let counters = run
            .counters
            .iter()
            .map(|(name, recorded)| {
                let simulated = match name.as_str() {
                    "steps" => engine.steps,
                    // vLLM counts every output token in the iteration that yields it, the last one, whose KV is never computed,
                    // included.
                    "iteration_tokens" => engine.computed_tokens + engine.completed,
                    "prefix_queries" => engine.prefix.queries,
                    "prefix_hits" => engine.prefix.hits,
                    "preemptions" => engine.preemptions,
                    other => unreachable!("`{other}`: checked when the file was read"),
                };
                (name.clone(), *recorded, simulated)
            })
            .collect();
        all.push(Candidate {
            hypothesis,
            metrics,
            counters,
            misfit: libm::sqrt(sum / f64::from(count.max(1))),
            prediction,
        });
    }
    all.sort_by(|a, b| a.misfit.total_cmp(&b.misfit));
    match failed {
        Some(e) if all.is_empty() => Err(e),
        _ => Ok(all),
    }
}

/// A run that could not be predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NotPredicted {
    /// Its id.
    pub id: String,
    /// Why, and what to do.
    pub problem: String,
}

/// Compares every run of a file that can be predicted, and names those that cannot.
pub fn compare(
    file: &RunsFile,
    basis: &Basis,
    fitted: &[String],
) -> (Vec<RunComparison>, Vec<NotPredicted>) {
    let (mut runs, mut not) = (vec![], vec![]);
    for run in &file.runs {
        match candidates(file, basis, run) {
            Ok(candidates) => runs.push(RunComparison {
                id: run.id.clone(),
                fitted: fitted.contains(&run.id),
                candidates,
            }),
            Err(e) => not.push(NotPredicted {
                id: run.id.clone(),
                problem: e.to_string(),
            }),
        }
    }
    (runs, not)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_of_the_record_is_no_error_of_the_prediction() {
        assert_eq!(error(0.0646, 0.06), 0.0);
        assert_eq!(error(16.54, 16.54), 0.0);
        assert!((error(17.0, 16.0) - 0.5 / 16.0).abs() < 1e-12);
        assert!(error(0.08, 0.06) > 0.2);
    }
}

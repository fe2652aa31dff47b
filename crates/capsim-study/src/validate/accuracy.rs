//! All recorded runs against predictions: what `capsim validate --all` computes before anything is written.
//!
//! # Intervals
//!
//! Propagation (`predict::interval`) gives each metric the spread that its coefficients, after the fit, leave. What the model
//! itself gets wrong, and what differs between boxes, builds and weeks, is estimated from other people's runs ([`spread`](super::spread)).
use super::compare::{Candidate, candidates};
use super::fit::{Fit, FitError, FitRun, fit};
use super::hypothesis::Basis;
use super::manifest::{Manifest, ProfilePlan};
use super::runs::{RecordedRun, RunsFile};
use super::spread::Spreads;
use super::unknown;
use capsim::device::EngineProfile;
use capsim::metrics::{Latency, Metric, MetricName, Percentiles};
use capsim::predict::{Interval, PredictError};

/// What a run is to the fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Fitted.
    Fitted,
    /// Another run of a fitted experiment: shown, counted nowhere.
    Beside,
    /// Predicted.
    Predicted,
    /// Recorded while something else happened on the server: shown, counted nowhere.
    Disturbed,
}

/// One metric of one run.
#[derive(Clone, Debug)]
pub struct Scored {
    /// Its name.
    pub metric: MetricName,
    /// As recorded.
    pub measured: f64,
    /// As simulated.
    pub predicted: f64,
    /// ln(predicted / measured), after allowing for rounding.
    pub log_error: f64,
    /// Propagated standard deviation of ln predicted.
    pub propagated: f64,
    /// 90 % interval with the model's deviation.
    pub interval: Interval,
    /// Whether the measured value lies in it.
    pub inside: bool,
}

impl Scored {
    /// predicted / measured − 1.
    pub fn error(&self) -> f64 {
        libm::exp(self.log_error) - 1.0
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct ScoredRun {
    /// Its id.
    pub id: String,
    /// Number of its file.
    pub file: usize,
    /// Its experiment.
    pub experiment: String,
    /// Who published it.
    pub group: String,
    /// What it is to the fit.
    pub role: Role,
    /// What had to be supposed, and was chosen among several by the run's own data; `None`: nothing.
    pub inferred: Option<String>,
    /// Mean sequences in a batch.
    pub batch: f64,
    /// Whether the model has experts.
    pub moe: bool,
    /// Its metrics.
    pub metrics: Vec<Scored>,
    /// Why it is missed, where known.
    pub diagnosis: Option<String>,
    /// What was chosen with this very run's data in hand; `None`: nothing, it was predicted blindly.
    pub doubt: Option<String>,
    /// Whether its intervals are those that its comparison was made with: it takes no part in what other runs' are estimated from.
    pub own_intervals: bool,
}

impl ScoredRun {
    /// The one figure that stands for decoding, as a rate: its name and predicted / measured − 1.
    pub fn decode(&self) -> Option<(Metric, f64)> {
        [
            Metric::OutputThroughput,
            Metric::TotalThroughput,
            Metric::mean(Latency::Tpot),
            Metric::median(Latency::Itl),
            Metric::mean(Latency::Itl),
            Metric::mean(Latency::E2el),
        ]
        .into_iter()
        .find_map(|metric| {
            let m = self.of(metric)?;
            let log = if metric.is_throughput() {
                m.log_error
            } else {
                -m.log_error
            };
            Some((metric, libm::exp(log) - 1.0))
        })
    }
    /// A metric of it, under the name that recorded runs have.
    pub fn of(&self, metric: Metric) -> Option<&Scored> {
        self.metrics.iter().find(|m| m.metric.is_recorded(metric))
    }
    /// The error of the time to the first token.
    pub fn ttft(&self) -> Option<f64> {
        let mean = self.of(Metric::mean(Latency::Ttft));
        mean.or_else(|| self.of(Metric::median(Latency::Ttft)))
            .map(Scored::error)
    }
}

/// A profile after its fit.
#[derive(Clone, Debug)]
pub struct FittedProfile {
    /// Its id.
    pub id: String,
    /// Path and experiment.
    pub paths: Vec<(String, String)>,
    /// The fit; `None` where nothing was fitted.
    pub fit: Option<Fit>,
    /// The profile to predict with.
    pub profile: EngineProfile,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Accuracy {
    /// Profiles, in the manifest's order.
    pub profiles: Vec<FittedProfile>,
    /// Runs, in the files' order.
    pub runs: Vec<ScoredRun>,
    /// Runs that cannot be simulated, with the reason.
    pub failed: Vec<(String, String)>,
    /// What the model gets wrong, by class.
    pub spreads: Spreads,
}

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
pub enum AccuracyError {
    /// A fit failed.
    #[error("profile `{profile}`: {error}")]
    Fit {
        /// Which.
        profile: String,
        /// Why.
        error: Box<FitError>,
    },
    /// A fitted run cannot be simulated.
    #[error("run `{run}`: {error}")]
    Run {
        /// Which.
        run: String,
        /// Why.
        error: Box<PredictError>,
    },
    /// A manifest and its files do not fit together.
    #[error(transparent)]
    Manifest(#[from] super::manifest::ManifestError),
}

/// Fits one profile to the experiments that its plan names.
///
/// # Errors
/// If a run cannot be simulated or has nothing to fit to.
pub fn fit_profile(
    plan: &ProfilePlan,
    prior: &EngineProfile,
    files: &[(RunsFile, Basis)],
) -> Result<FittedProfile, AccuracyError> {
    let mut frozen = prior.clone();
    let moved = |name: &str| {
        plan.paths
            .iter()
            .any(|p| p.moves.iter().any(|m| name.starts_with(m.as_str())))
    };
    // What no path moves keeps its spread for the interval, but is no unknown of the fit.
    let names: Vec<(String, f64)> = prior
        .coefficients()
        .iter()
        .map(|(n, q)| (n.clone(), q.rel_sd))
        .collect();
    for (name, _) in names.iter().filter(|(n, _)| !moved(n)) {
        if let Some(q) = frozen.coefficient_mut(name) {
            q.rel_sd = 0.0;
        }
    }
    let mut chosen: Vec<(&RunsFile, Basis, &RecordedRun)> = vec![];
    for path in &plan.paths {
        for (file, basis) in files {
            for run in &file.runs {
                let wanted = run.experiment() == path.experiment
                    && path.runs.as_ref().is_none_or(|r| r.contains(&run.id));
                if wanted {
                    let basis = Basis {
                        engine: prior.clone(),
                        ..basis.clone()
                    };
                    chosen.push((file, basis, run));
                }
            }
        }
    }
    let paths = plan
        .paths
        .iter()
        .map(|p| (p.path.clone(), p.experiment.clone()))
        .collect();
    let Some((_, first, _)) = chosen.first() else {
        return Ok(FittedProfile {
            id: plan.id.clone(),
            paths,
            fit: None,
            profile: prior.clone(),
        });
    };
    let mut runs = vec![];
    for (file, basis, run) in &chosen {
        let best = candidates(file, basis, run).map_err(|error| AccuracyError::Run {
            run: run.id.clone(),
            error: Box::new(error),
        })?;
        runs.push(FitRun {
            name: run.id.clone(),
            run,
            basis: Some(basis),
            hypothesis: best[0].hypothesis.clone(),
            replay: None,
        });
    }
    let base = Basis {
        engine: frozen,
        ..first.clone()
    };
    let mut f = fit(&base, &runs, Percentiles::Linear).map_err(|error| AccuracyError::Fit {
        profile: plan.id.clone(),
        error: Box::new(error),
    })?;
    for (name, sd) in names.iter().filter(|(n, _)| !moved(n)) {
        if let Some(q) = f.profile.coefficient_mut(name) {
            q.rel_sd = *sd;
        }
    }
    f.profile.id = plan.id.clone();
    f.profile.name = prior.name.clone();
    f.profile.provenance.note = format!(
        "fitted by `capsim validate --all`, one experiment per kernel path; prior: {}",
        prior.provenance.source
    );
    Ok(FittedProfile {
        id: plan.id.clone(),
        paths,
        profile: f.profile.clone(),
        fit: Some(f),
    })
}

/// The repository or thread that a run was published in: its source up to the path, the commit or the date.
pub fn group(file: &RunsFile, run: &RecordedRun) -> String {
    let source = run.source.as_deref().unwrap_or(&file.source);
    let rest = source.strip_prefix("https://github.com/").unwrap_or(source);
    let mut parts = rest.split(['/', ':', ',', ' ', '@']);
    match (parts.next(), parts.next()) {
        (Some(owner), Some(name)) => format!("{owner}/{name}"),
        _ => rest.to_string(),
    }
}

/// `open` is the variance that unknown settings leave, for each metric.
fn scored(c: &Candidate, open: &[f64]) -> Vec<Scored> {
    c.metrics
        .iter()
        .zip(open)
        .map(|(m, open)| {
            let propagated = m.propagated();
            Scored {
                metric: m.metric.clone(),
                measured: m.measured,
                predicted: m.predicted,
                log_error: libm::log1p(m.error.max(-0.999_999)),
                propagated: libm::sqrt(propagated * propagated + open),
                interval: Interval {
                    low: m.predicted,
                    high: m.predicted,
                },
                inside: false,
            }
        })
        .collect()
}

/// Predicts one run with its fitted profile.
///
/// # Errors
/// As a sentence, if it cannot be simulated.
pub fn score(
    manifest: &Manifest,
    number: usize,
    file: &RunsFile,
    basis: &Basis,
    run: &RecordedRun,
) -> Result<ScoredRun, String> {
    let all = candidates(file, basis, run).map_err(|e| e.to_string())?;
    let best = &all[0];
    let metrics: Vec<Metric> = best.metrics.iter().map(|m| m.metric.metric()).collect();
    let rule: Percentiles = file.client.percentiles.into();
    let unstated =
        unknown::variance(basis, run, best, &metrics, rule).map_err(|e| format!("unknown: {e}"))?;
    let open: Vec<f64> = unknown::doubt(&all, &metrics, rule)
        .iter()
        .zip(unstated)
        .map(|(a, b)| a + b)
        .collect();
    let plan = manifest
        .profiles
        .iter()
        .flat_map(|p| &p.paths)
        .find(|p| p.experiment == run.experiment());
    Ok(ScoredRun {
        id: run.id.clone(),
        file: number,
        experiment: run.experiment().into(),
        group: group(file, run),
        role: match plan {
            None if run.disturbed.is_some() => Role::Disturbed,
            None => Role::Predicted,
            Some(p) if p.runs.as_ref().is_none_or(|r| r.contains(&run.id)) => Role::Fitted,
            Some(_) => Role::Beside,
        },
        inferred: (all.len() > 1).then(|| best.hypothesis.words.clone()),
        batch: best.prediction.run.occupancy.batch,
        moe: basis.model.experts().is_some(),
        metrics: scored(best, &open),
        own_intervals: false,
        diagnosis: run
            .diagnosis
            .clone()
            .or_else(|| run.disturbed.clone())
            .or_else(|| manifest.diagnosis(run).map(String::from)),
        doubt: run.doubt.clone().or_else(|| {
            (all.len() > 1).then(|| {
                "settings that are not recorded: the hypothesis that the run's own data prefer"
                    .into()
            })
        }),
    })
}

/// The median of absolute values, and of the values themselves; zeros of nothing.
pub fn medians(values: &[f64]) -> (f64, f64) {
    let median = |mut v: Vec<f64>| {
        v.sort_by(f64::total_cmp);
        match v.len() {
            0 => 0.0,
            n if n % 2 == 1 => v[n / 2],
            n => (v[n / 2 - 1] + v[n / 2]) / 2.0,
        }
    };
    (
        median(values.iter().map(|v| v.abs()).collect()),
        median(values.to_vec()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(medians(&[-3.0, 1.0, 2.0]), (2.0, 1.0));
        assert_eq!(medians(&[1.0, 2.0]), (1.5, 1.5));
        assert_eq!(medians(&[]), (0.0, 0.0));
    }
}

//! Answers of `capsim validate` and `capsim explain`.
use super::finite;
use crate::report::accuracy::Set;
use crate::validate::accuracy::{Accuracy, Role, Scored};
use crate::validate::compare::{Candidate, MetricComparison, NotPredicted, RunComparison};
use crate::validate::explain::{Finding, RunFindings};
use crate::validate::fit::Fit;
use crate::validate::runs::RunsFile;
use capsim::device::Phase;
use capsim::engine::settings::SettingValues;
use capsim::metrics::MetricName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A metric, measured and predicted.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Compared {
    /// Its name, which ends in its unit; throughputs are per second.
    pub metric: MetricName,
    /// As recorded.
    pub measured: f64,
    /// As simulated.
    pub predicted: Option<f64>,
    /// predicted / measured − 1, after allowing for rounding of the measured value.
    pub error: Option<f64>,
    /// Lower end of the 90 % interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// A metric of a run, judged where there is a tolerance.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Metric {
    /// Both sides.
    #[serde(flatten)]
    pub compared: Compared,
    /// Whether the measured value lies in the interval.
    pub inside: Option<bool>,
    /// Largest |error| that counts as agreement; null: not judged.
    pub tolerance: Option<f64>,
    /// Whether it agrees; null: not judged.
    pub agrees: Option<bool>,
}

impl From<&MetricComparison> for Metric {
    fn from(m: &MetricComparison) -> Self {
        Self {
            compared: Compared {
                metric: m.metric.clone(),
                measured: m.measured,
                predicted: finite(m.predicted),
                error: finite(m.error),
                low: m.interval.and_then(|i| finite(i.low)),
                high: m.interval.and_then(|i| finite(i.high)),
            },
            inside: m.inside(),
            tolerance: m.tolerance,
            agrees: m.agrees(),
        }
    }
}

/// A counter of the engine, which is met exactly or not.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Counter {
    /// Its name.
    pub counter: String,
    /// As recorded.
    pub recorded: u64,
    /// As simulated.
    pub simulated: u64,
}

/// A run under one hypothesis.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Supposed {
    /// What was supposed.
    pub hypothesis: String,
    /// Settings supposed.
    pub engine_args: SettingValues,
    /// Root mean square of the log errors of the judged metrics.
    pub misfit: Option<f64>,
    /// Counters.
    pub counters: Vec<Counter>,
    /// Metrics.
    pub metrics: Vec<Metric>,
}

impl From<&Candidate> for Supposed {
    fn from(c: &Candidate) -> Self {
        let counter = |(name, recorded, simulated): &(String, u64, u64)| Counter {
            counter: name.clone(),
            recorded: *recorded,
            simulated: *simulated,
        };
        Self {
            hypothesis: c.hypothesis.words.clone(),
            engine_args: c.hypothesis.serve.clone(),
            misfit: finite(c.misfit),
            counters: c.counters.iter().map(counter).collect(),
            metrics: c.metrics.iter().map(Metric::from).collect(),
        }
    }
}

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Whether the engine profile was fitted to it.
    pub fitted: bool,
    /// Whether it agrees; null for a fitted run.
    pub agrees: Option<bool>,
    /// Hypotheses, the one that the data prefer first.
    pub candidates: Vec<Supposed>,
}

/// `capsim validate RUNS --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Validation {
    /// Format.
    #[schemars(extend("const" = "capsim.validation/1"))]
    pub schema: String,
    /// Name of the file of runs.
    pub name: String,
    /// Runs that the engine profile was fitted to.
    pub fitted_on: Option<Vec<String>>,
    /// Runs.
    pub runs: Vec<Run>,
    /// Runs that could not be predicted; then the exit code is 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_predicted: Vec<NotPredicted>,
}

/// Runs that a profile was fitted to.
pub(crate) fn fitted_on(fit: Option<&Fit>) -> Option<Vec<String>> {
    fit.and_then(|f| f.profile.fit.as_ref())
        .map(|f| f.runs.clone())
}

impl Validation {
    /// Of compared runs.
    pub fn new(
        file: &RunsFile,
        fit: Option<&Fit>,
        runs: &[RunComparison],
        not_predicted: &[NotPredicted],
    ) -> Self {
        let run = |r: &RunComparison| Run {
            id: r.id.clone(),
            fitted: r.fitted,
            agrees: (!r.fitted).then(|| r.agrees()),
            candidates: r.candidates.iter().map(Supposed::from).collect(),
        };
        Self {
            schema: "capsim.validation/1".into(),
            name: file.name.clone(),
            fitted_on: fitted_on(fit),
            runs: runs.iter().map(run).collect(),
            not_predicted: not_predicted.to_vec(),
        }
    }
}

/// What follows from a run or a pair of runs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    /// What follows.
    pub claim: String,
    /// From what.
    pub evidence: String,
}

impl From<&Finding> for Claim {
    fn from(f: &Finding) -> Self {
        Self {
            claim: f.claim.clone(),
            evidence: f.evidence.clone(),
        }
    }
}

/// Findings about a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// The run.
    pub id: String,
    /// Strongest first.
    pub findings: Vec<Claim>,
}

/// Why two runs of one load differ.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Differ {
    /// The two runs.
    pub between: [String; 2],
    /// Why.
    pub finding: Claim,
}

/// `capsim explain --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// Format.
    #[schemars(extend("const" = "capsim.explanation/1"))]
    pub schema: String,
    /// Runs.
    pub runs: Vec<Explained>,
    /// Pairs of runs.
    pub differences: Vec<Differ>,
}

impl Explanation {
    /// Of findings about runs, and about pairs of them.
    pub fn new(runs: &[RunFindings], pairs: &[(String, String, Finding)]) -> Self {
        Self {
            schema: "capsim.explanation/1".into(),
            runs: runs
                .iter()
                .map(|r| Explained {
                    id: r.id.clone(),
                    findings: r.findings.iter().map(Claim::from).collect(),
                })
                .collect(),
            differences: pairs
                .iter()
                .map(|(a, b, f)| Differ {
                    between: [a.clone(), b.clone()],
                    finding: f.into(),
                })
                .collect(),
        }
    }
}

/// A metric of a run of `capsim validate --all`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Score {
    /// Both sides.
    #[serde(flatten)]
    pub compared: Compared,
    /// Whether the measured value lies in it.
    pub inside: bool,
}

impl From<&Scored> for Score {
    fn from(m: &Scored) -> Self {
        Self {
            compared: Compared {
                metric: m.metric.clone(),
                measured: m.measured,
                predicted: finite(m.predicted),
                error: finite(m.error()),
                low: finite(m.interval.low),
                high: finite(m.interval.high),
            },
            inside: m.inside,
        }
    }
}

/// A run of `capsim validate --all`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AllRun {
    /// Its id.
    pub id: String,
    /// Its experiment.
    pub experiment: String,
    /// Who published it.
    pub group: String,
    /// Device profile of its file.
    pub device: String,
    /// Whether it was fitted, belongs to a fitted experiment, was disturbed by something else, or was predicted.
    #[schemars(extend("enum" = ["fitted", "beside", "disturbed", "predicted"]))]
    pub role: String,
    /// What was chosen among several hypotheses by the run's own data.
    pub inferred: Option<String>,
    /// Its metrics.
    pub metrics: Vec<Score>,
    /// Why it is missed, where known.
    pub diagnosis: Option<String>,
}

/// `capsim validate --all --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct All {
    /// Format.
    #[schemars(extend("const" = "capsim.accuracy/1"))]
    pub schema: String,
    /// Runs, in the files' order.
    pub runs: Vec<AllRun>,
    /// Runs that cannot be simulated, each with the reason.
    pub failed: Vec<Refused>,
    /// Standard deviation of the model's own error of decoding, in ln, of all classes together.
    pub model_sd_decode: Option<f64>,
    /// The same of TTFT.
    pub model_sd_ttft: Option<f64>,
}

/// A run that cannot be simulated.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// Its id.
    pub id: String,
    /// Why.
    pub why: String,
}

impl All {
    /// Of everything that was scored.
    pub fn new(sets: &[Set], a: &Accuracy) -> Self {
        Self {
            schema: "capsim.accuracy/1".into(),
            runs: a
                .runs
                .iter()
                .map(|r| AllRun {
                    id: r.id.clone(),
                    experiment: r.experiment.clone(),
                    group: r.group.clone(),
                    device: sets[r.file].device.to_string(),
                    role: match r.role {
                        Role::Fitted => "fitted",
                        Role::Beside => "beside",
                        Role::Disturbed => "disturbed",
                        Role::Predicted => "predicted",
                    }
                    .into(),
                    inferred: r.inferred.clone(),
                    metrics: r.metrics.iter().map(Score::from).collect(),
                    diagnosis: r.diagnosis.clone(),
                })
                .collect(),
            failed: a
                .failed
                .iter()
                .map(|(id, why)| Refused {
                    id: id.clone(),
                    why: why.clone(),
                })
                .collect(),
            model_sd_decode: finite(a.spreads.common(Phase::Decode)),
            model_sd_ttft: finite(a.spreads.common(Phase::Prefill)),
        }
    }
}

//! Comparisons that are kept as figures: those of `scripts/whole_loop.py`, and those with data that may not lie here.
//!
//! Figures of runs whose requests lie in shared data tell how far coefficients spread, and get their intervals as all other runs do
//! (`spread::intervals`). Those of `scripts/whole_loop.py` have the intervals of the comparison itself, with the profile's own
//! model deviation, and take no part there.
use super::accuracy::{Role, Scored, ScoredRun};
use capsim::metrics::{Metric, MetricName};
use capsim::predict::Interval;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A file of such figures: `capsim.figures/1`, or `capsim.loop/1`, of which the rest is not read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The tag.
    pub schema: String,
    /// When they were computed: `2026-11-25 01:26`, UTC.
    pub date: String,
    /// The metrics that count; empty: all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aims: BTreeMap<MetricName, f64>,
    /// Runs that calibrated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fitted_on: Vec<String>,
    /// All of them.
    pub runs: Vec<FigureRun>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FigureRun {
    /// Its name.
    pub name: String,
    /// The measurement behind it, where several runs are predictions of one; absent: the name without its repetition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// Whether it was fitted.
    #[serde(default)]
    pub fitted: bool,
    /// Mean sequences in a batch, as simulated; absent: from `components`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<f64>,
    /// Parts of the time, and counters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
    /// Measured and predicted.
    pub metrics: Vec<Figure>,
}

/// A counter, such as `engine steps`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// As simulated.
    pub predicted: f64,
}

/// One metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Its name.
    pub metric: MetricName,
    /// As recorded.
    pub measured: f64,
    /// As simulated.
    pub predicted: f64,
    /// The 90 % interval, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Its upper end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Standard deviation of ln predicted that coefficients explain; then the interval is that of other runs' errors, as for runs whose
    /// requests lie here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagated: Option<f64>,
}

/// What is wrong with a file of figures.
#[derive(Debug, thiserror::Error)]
#[error("{name}: field `{field}`: {problem}")]
pub struct FiguresError {
    /// The file.
    pub name: String,
    /// Path of the field.
    pub field: String,
    /// What is wrong.
    pub problem: String,
}

impl Figures {
    /// The tag of files that capsim writes.
    pub const SCHEMA: &'static str = "capsim.figures/1";

    /// Reads figures from JSON text; `name` appears in errors.
    ///
    /// # Errors
    /// Names the field that is missing, of the wrong type or no positive number.
    pub fn parse(text: &str, name: &str) -> Result<Self, FiguresError> {
        let bad = |field: String, problem: String| FiguresError {
            name: name.into(),
            field,
            problem,
        };
        let mut json = serde_json::Deserializer::from_str(text);
        let figures: Self = serde_path_to_error::deserialize(&mut json)
            .map_err(|e| bad(e.path().to_string(), e.inner().to_string()))?;
        if ![Self::SCHEMA, "capsim.loop/1"].contains(&figures.schema.as_str()) {
            return Err(bad(
                "schema".into(),
                format!(
                    "expected \"{}\" or \"capsim.loop/1\", found \"{}\"",
                    Self::SCHEMA,
                    figures.schema
                ),
            ));
        }
        for (i, r) in figures.runs.iter().enumerate() {
            for (j, m) in r.metrics.iter().enumerate() {
                let values = [Some(m.measured), Some(m.predicted), m.low, m.high];
                if values
                    .iter()
                    .flatten()
                    .any(|v| !(v.is_finite() && *v > 0.0))
                {
                    return Err(bad(
                        format!("runs[{i}].metrics[{j}]"),
                        format!("{}: every value must be above 0", m.metric),
                    ));
                }
            }
        }
        Ok(figures)
    }

    /// The runs as the report counts them: of set `number`, published by `group`, of a mixture or not.
    pub fn scored(
        &self,
        number: usize,
        group: &str,
        moe: bool,
        doubt: Option<&str>,
    ) -> Vec<ScoredRun> {
        self.runs
            .iter()
            .map(|r| ScoredRun {
                id: r.name.clone(),
                file: number,
                experiment: format!(
                    "{group}: {}",
                    r.experiment.as_deref().unwrap_or_else(|| load(&r.name))
                ),
                group: group.into(),
                role: if r.fitted || self.fitted_on.contains(&r.name) {
                    Role::Fitted
                } else {
                    Role::Predicted
                },
                inferred: None,
                batch: r.batch(),
                moe,
                metrics: r
                    .metrics
                    .iter()
                    .filter(|m| self.aims.is_empty() || self.aims.contains_key(&m.metric))
                    .map(Figure::scored)
                    .collect(),
                diagnosis: None,
                own_intervals: r.metrics.iter().any(|m| m.propagated.is_none()),
                doubt: doubt.map(String::from),
            })
            .collect()
    }
}

/// A load and its repetitions (`…-0`, `…-1`) are one experiment.
fn load(run: &str) -> &str {
    match run.rsplit_once('-') {
        Some((load, n)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => load,
        _ => run,
    }
}

impl FigureRun {
    /// Mean sequences in a batch: output tokens over engine steps, if nothing better is known.
    fn batch(&self) -> f64 {
        let metric = |metric| self.metrics.iter().find(|m| m.metric.is_recorded(metric));
        let steps = self.components.iter().find(|c| c.name == "engine steps");
        let counted = || {
            let rate = metric(Metric::OutputThroughput)?.predicted;
            let seconds = metric(Metric::Duration)?.predicted;
            steps
                .filter(|s| s.predicted > 0.0)
                .map(|s| rate * seconds / s.predicted)
        };
        self.batch.or_else(counted).unwrap_or(1.0)
    }
}

impl Figure {
    fn scored(&self) -> Scored {
        let interval = Interval {
            low: self.low.unwrap_or(self.predicted),
            high: self.high.unwrap_or(self.predicted),
        };
        Scored {
            metric: self.metric.clone(),
            measured: self.measured,
            predicted: self.predicted,
            log_error: libm::log(self.predicted / self.measured),
            propagated: self.propagated.unwrap_or(0.0),
            inside: (interval.low..=interval.high).contains(&self.measured),
            interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"schema": "capsim.loop/1", "date": "2026-11-25 01:26", "vllm": "0.32.0",
        "aims": {"mean_tpot_ms": 0.1}, "fitted_on": ["m16-c1-0"],
        "runs": [
          {"name": "m16-c1-0", "fitted": true, "metrics": [{"metric": "mean_tpot_ms", "measured": 10.0, "predicted": 10.0}]},
          {"name": "m16-c4-1", "notes": [], "components": [{"name": "engine steps", "measured": 99, "predicted": 100, "unit": ""}],
           "metrics": [
            {"metric": "mean_tpot_ms", "measured": 10.0, "predicted": 11.0, "low": 10.5, "high": 12.0, "error": 0.1},
            {"metric": "output_token_throughput", "measured": 100.0, "predicted": 50.0},
            {"metric": "duration_s", "measured": 4.0, "predicted": 8.0}]}]}"#;

    #[test]
    fn figures_are_counted_as_they_are_recorded() {
        let f = Figures::parse(TEXT, "x").unwrap();
        let runs = f.scored(7, "a", true, Some("known"));
        assert_eq!(runs[0].role, Role::Fitted);
        let r = &runs[1];
        assert_eq!(
            (r.role, r.file, r.experiment.as_str()),
            (Role::Predicted, 7, "a: m16-c4")
        );
        assert_eq!(r.batch, 4.0);
        // Only what has an aim.
        assert_eq!(r.metrics.len(), 1);
        assert!((r.metrics[0].error() - 0.1).abs() < 1e-12);
        assert!(!r.metrics[0].inside, "10 lies below 10.5");
        assert_eq!(load("m16-poisson4-128x64-0"), "m16-poisson4-128x64");
        assert_eq!(load("own-sizing"), "own-sizing");
    }

    #[test]
    fn bad_figures_name_their_field() {
        let e = Figures::parse(&TEXT.replace("10.5", "-1"), "x").unwrap_err();
        assert_eq!(e.field, "runs[1].metrics[0]");
        let e = Figures::parse(&TEXT.replace("capsim.loop/1", "x"), "x").unwrap_err();
        assert_eq!(e.field, "schema");
        let e = Figures::parse(&TEXT.replace("\"measured\": 100.0,", ""), "x").unwrap_err();
        assert!(e.to_string().contains("runs[1].metrics[1]"), "{e}");
    }
}

//! What a page hands out as files: the same bytes as the command line's exports.
use super::answer::{Answers, Stop};
use super::knob::{Refusal, State};
use capsim::predict::Scenario;
use capsim_study::report::flat;
use capsim_study::report::json::listing::SweepPoint;
use capsim_study::report::requests::{Requests, Rows};

/// A file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// `capsim predict --json`.
    Prediction,
    /// `capsim predict --save-scenario`.
    Scenario,
    /// The points of the curves, with every metric.
    Curve,
    /// `capsim predict --save-requests`.
    Requests,
}

impl File {
    /// All, in the order of the page.
    pub const ALL: [Self; 4] = [
        Self::Prediction,
        Self::Scenario,
        Self::Curve,
        Self::Requests,
    ];

    /// Its name, and what it holds.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Prediction => ("prediction.json", "All figures (JSON)"),
            Self::Scenario => ("scenario.json", "The scenario (JSON)"),
            Self::Curve => ("curve.csv", "The curve (CSV)"),
            Self::Requests => ("requests.csv", "Every request (CSV)"),
        }
    }

    /// The file of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.words().0 == name)
    }

    /// Its type.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Prediction | Self::Scenario => "application/json",
            Self::Curve | Self::Requests => "text/csv; charset=utf-8",
        }
    }

    /// What it holds for a state.
    ///
    /// # Errors
    /// A state that cannot be served.
    pub fn of(self, answers: &Answers, state: &State, stop: &Stop) -> Result<Vec<u8>, Refusal> {
        let failed = |message: String| Refusal {
            flag: None,
            message,
        };
        match self {
            Self::Prediction => {
                let (seen, ()) = answers.watched(state, |_| Ok(()), stop)?;
                let text = crate::predict::to_json(&[seen.row]);
                Ok((text.map_err(|e| failed(e.to_string()))? + "\n").into_bytes())
            }
            Self::Scenario => Ok(answers.described(state)?.0.document.into_bytes()),
            Self::Curve => {
                let Some(along) = answers.along(state, stop)? else {
                    return Err(failed("this load has no number to turn".into()));
                };
                let rows: Vec<SweepPoint> = along
                    .points
                    .into_iter()
                    .enumerate()
                    .map(|(index, p)| SweepPoint {
                        schema: "capsim.sweep-point/1".into(),
                        hash: String::new(),
                        index,
                        flags: p.varied.clone(),
                        prediction: Some(p),
                        refused: None,
                    })
                    .collect();
                let mut table = flat::table(&[along.flag.to_string()], &rows);
                // Place and name of a point mean something in a sweep alone.
                table
                    .columns
                    .retain(|(name, _)| name != "index" && name != "hash");
                let mut out = vec![];
                flat::csv(&table, &mut out).map_err(|e| failed(e.to_string()))?;
                Ok(out)
            }
            Self::Requests => {
                let rows = |s: &Scenario| {
                    let warmup = u64::from(s.workload.warmup);
                    Ok(Requests::new(vec![], Rows::Csv, warmup))
                };
                let (_, rows) = answers.watched(state, rows, stop)?;
                rows.finish().map_err(|e| failed(e.to_string()))
            }
        }
    }
}

//! `capsim.predict` and `capsim.what_if`.
use crate::call::{Said, interruptible};
use crate::table::Table;
use anyhow::ensure;
use capsim::engine::observe::{Observer, RequestRecord, StepRecord};
use capsim::units::Span;
use capsim_cli::api;
use capsim_study::report::requests::{Requests, Rows};
use capsim_study::report::timeline::Timeline;
use pyo3::prelude::*;

/// What is written down while a simulation runs, as the command line's files hold it.
#[derive(Default)]
struct Watch {
    requests: Option<Requests<Vec<u8>>>,
    timeline: Option<Timeline<Vec<u8>>>,
}

impl Observer for Watch {
    fn on_step(&mut self, step: &StepRecord) {
        self.timeline.on_step(step);
    }
    fn on_request(&mut self, request: &RequestRecord) {
        self.requests.on_request(request);
    }
}

/// All of it, each point of it alone, requests, time series.
type Answer = (String, Vec<String>, Option<Table>, Option<Table>);

/// The answer of `capsim predict --json`, the same for each point, what `--save-requests` writes, what `--save-timeline` writes. `timeline`: seconds per row,
/// 0 for one row per step. `single`: several points are an error.
/// `progress(done, all)` is called as points are done.
#[pyfunction]
pub fn predict(
    py: Python<'_>,
    said: Said,
    single: bool,
    requests: bool,
    timeline: Option<f64>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Answer> {
    interruptible(py, move |stop| {
        let points = said.scenario.points()?;
        if single && points.len() != 1 {
            let fields: Vec<&str> = points[0].varied.iter().map(|(f, _)| *f).collect();
            anyhow::bail!(
                "these are {} scenarios, by {}: `what_if` predicts several",
                points.len(),
                fields.join(", ")
            );
        }
        let points = api::asked(points, &said.files)?;
        let mut watch = Watch::default();
        if let [point] = &points[..] {
            let scenario = &point.scenario;
            if requests {
                let warmup = u64::from(scenario.workload.warmup);
                watch.requests = Some(Requests::new(vec![], Rows::Csv, warmup));
            }
            if let Some(secs) = timeline {
                ensure!(
                    secs == 0.0 || (1e-3..=1e9).contains(&secs),
                    "timeline {secs}: must be 0, or lie between 0.001 and 1e9 seconds"
                );
                let interval = (secs > 0.0).then(|| Span::from_secs(secs));
                let usable = u64::from(scenario.settings()?.config.num_gpu_blocks - 1);
                watch.timeline = Some(Timeline::new(vec![], Rows::Csv, usable, interval));
            }
        }
        let (mut done, all) = (0, points.len());
        let rows = api::rows(points, &mut watch, || {
            ensure!(!stop.is_set(), "interrupted");
            done += 1;
            if let Some(f) = &progress {
                Python::with_gil(|py| f.call1(py, (done, all)).map(drop))?;
            }
            Ok(())
        })?;
        let requests = watch.requests.map(|r| Table::of_csv(&r.finish()?));
        let timeline = watch.timeline.map(|t| Table::of_csv(&t.finish()?));
        let each = rows.chunks(1).map(api::to_json).collect::<Result<_, _>>()?;
        Ok((
            api::to_json(&rows)?,
            each,
            requests.transpose()?,
            timeline.transpose()?,
        ))
    })
}

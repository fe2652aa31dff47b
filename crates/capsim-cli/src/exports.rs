//! Files that a prediction writes while its simulation runs.
use super::files::{self, Pending};
use anyhow::{Context, bail, ensure};
use capsim::engine::Step;
use capsim::engine::observe::{Observer, RequestRecord, StepRecord};
use capsim::predict::Scenario;
use capsim::units::{SimTime, Span};
use capsim::workload::RequestId;
use capsim_study::report::Row;
use capsim_study::report::requests::{Requests, Rows};
use capsim_study::report::timeline::Timeline;
use capsim_study::report::trace::Trace;
use capsim_study::report::vllm_result::VllmResult;
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
#[command(next_help_heading = "Files of a single prediction")]
pub struct ExportArgs {
    /// Also write every request of the simulation, as it ends: CSV if the name ends in .csv, else one JSON object per line
    #[arg(long, value_name = "FILE")]
    save_requests: Option<PathBuf>,
    /// Also write the engine's state step by step: CSV if the name ends in .csv, else one JSON object per line
    #[arg(long, value_name = "FILE")]
    save_timeline: Option<PathBuf>,
    /// One row of the timeline per so many seconds, instead of per step
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "save_timeline",
        allow_negative_numbers = true
    )]
    timeline_interval: Option<f64>,
    /// Also write steps, requests and counters as a Chrome trace, for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Also write the result file that `vllm bench serve --save-result` would write
    #[arg(long, value_name = "FILE")]
    save_result: Option<PathBuf>,
    /// In the result file, lists of every request's lengths, TTFT and ITLs too (memory for every token)
    #[arg(long, requires = "save_result")]
    save_detailed: bool,
}

impl ExportArgs {
    fn given(&self) -> Vec<(&'static str, &Path)> {
        [
            ("--save-requests", &self.save_requests),
            ("--save-timeline", &self.save_timeline),
            ("--trace", &self.trace),
            ("--save-result", &self.save_result),
        ]
        .into_iter()
        .filter_map(|(flag, path)| path.as_deref().map(|p| (flag, p)))
        .collect()
    }

    /// An error if anything was asked for.
    pub fn only_for_one(&self) -> anyhow::Result<()> {
        match self.given().first() {
            Some((flag, _)) => bail!("{flag} describes one prediction: give one value per flag"),
            None => Ok(()),
        }
    }
}

/// The files that were asked for, being written.
pub struct Exports {
    requests: Option<Requests<Pending>>,
    timeline: Option<Timeline<Pending>>,
    trace: Option<Trace<Pending>>,
    result: Option<(PathBuf, VllmResult)>,
}

fn rows(path: &Path) -> Rows {
    let csv = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    if csv { Rows::Csv } else { Rows::JsonLines }
}

/// Shortest row of a resampled timeline: below it the file is larger than the run is long.
const MIN_INTERVAL: f64 = 1e-3;

impl Exports {
    /// Begins them all, so that a place where nothing can be written is known before the simulation.
    pub fn new(args: &ExportArgs, scenario: &Scenario) -> anyhow::Result<Self> {
        let given = args.given();
        for (i, (flag, path)) in given.iter().enumerate() {
            if let Some((other, _)) = given[..i].iter().find(|(_, p)| p == path) {
                bail!("{other} and {flag} both name {}", path.display());
            }
        }
        if let Some(i) = args.timeline_interval {
            ensure!(
                (MIN_INTERVAL..=1e9).contains(&i),
                "--timeline-interval {i}: must lie between {MIN_INTERVAL} and 1e9 seconds"
            );
        }
        let usable = u64::from(scenario.settings()?.config.num_gpu_blocks - 1);
        let warmup = u64::from(scenario.workload.warmup);
        let begin = |path: &Option<PathBuf>| path.as_deref().map(Pending::new).transpose();
        // Only tried: this one is written at the end.
        begin(&args.save_result)?;
        Ok(Self {
            requests: begin(&args.save_requests)?.map(|file| {
                let rows = rows(file.path());
                Requests::new(file, rows, warmup)
            }),
            timeline: begin(&args.save_timeline)?.map(|file| {
                let rows = rows(file.path());
                let interval = args.timeline_interval.map(Span::from_secs);
                Timeline::new(file, rows, usable, interval)
            }),
            trace: begin(&args.trace)?.map(|file| Trace::new(file, usable, warmup)),
            result: args
                .save_result
                .clone()
                .map(|path| (path, VllmResult::new(warmup, args.save_detailed))),
        })
    }

    /// Completes them, and when all are whole gives them their names.
    pub fn keep(self, row: &Row) -> anyhow::Result<()> {
        let full = "while writing what the simulation did";
        let mut whole = vec![];
        if let Some(x) = self.requests {
            whole.push(x.finish().context(full)?);
        }
        if let Some(x) = self.timeline {
            whole.push(x.finish().context(full)?);
        }
        if let Some(x) = self.trace {
            whole.push(x.finish().context(full)?);
        }
        if let Some((path, x)) = self.result {
            files::write(&path, &(serde_json::to_string(&x.json(row))? + "\n"))?;
        }
        whole.into_iter().try_for_each(Pending::keep)
    }
}

impl Observer for Exports {
    fn on_arrival(&mut self, id: RequestId, at: SimTime) {
        if let Some((_, x)) = &mut self.result {
            x.on_arrival(id, at);
        }
    }
    fn on_schedule(&mut self, at: SimTime, step: &Step<'_>) {
        self.trace.on_schedule(at, step);
        if let Some((_, x)) = &mut self.result {
            x.on_schedule(at, step);
        }
    }
    fn wants_output(&self) -> bool {
        self.result.as_ref().is_some_and(|(_, x)| x.wants_output())
    }
    fn on_output(&mut self, at: SimTime, tokens: &[RequestId]) {
        if let Some((_, x)) = &mut self.result {
            x.on_output(at, tokens);
        }
    }
    fn on_step(&mut self, step: &StepRecord) {
        self.timeline.on_step(step);
        self.trace.on_step(step);
        if let Some((_, x)) = &mut self.result {
            x.on_step(step);
        }
    }
    fn on_request(&mut self, request: &RequestRecord) {
        self.requests.on_request(request);
        self.trace.on_request(request);
        if let Some((_, x)) = &mut self.result {
            x.on_request(request);
        }
    }
}

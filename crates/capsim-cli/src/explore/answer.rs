//! What a page gets for a state: the figures at once, then their intervals and the engine over time, then latency against load.
use super::knob::{Knob, Refusal, SLO, State};
use super::{Describe, Described, view};
use capsim::engine::SimError;
use capsim::engine::observe::{Observer, StepRecord};
use capsim::fields::Value as Field;
use capsim::plan::Slo;
use capsim::predict::{
    PredictError, Prediction, Run, Scenario, estimate, predict_observed, simulate_observed,
};
use capsim::units::Span;
use capsim_study::report::json::{self, Point};
use capsim_study::report::requests::Rows;
use capsim_study::report::timeline::Timeline;
use serde::Serialize;
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Rows of the timeline.
const ROWS: f64 = 240.0;
/// Most output tokens of one state, warm-up aside: beyond them a page is the wrong tool.
const TOKENS: u64 = 50_000_000;
/// Steps between two looks at the clock.
const LOOK: u32 = 256;

/// When to give up: the client is gone, or it takes too long.
#[derive(Clone)]
pub struct Stop {
    gone: Arc<AtomicBool>,
    deadline: Instant,
}

impl Stop {
    /// Gives up after `time`.
    pub fn after(time: Duration) -> Self {
        Self {
            gone: Arc::default(),
            deadline: Instant::now() + time,
        }
    }

    /// Lets `other` watch until then.
    fn watching<O>(&self, other: O) -> Until<'_, O> {
        Until {
            stop: self,
            steps: Cell::new(0),
            other,
        }
    }

    /// Dropped, it ends what is being simulated.
    pub fn guard(&self) -> Guard {
        Guard(Arc::clone(&self.gone))
    }
}

/// A waiting client.
pub struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets `other` watch until it is time to give up.
struct Until<'a, O> {
    stop: &'a Stop,
    steps: Cell<u32>,
    other: O,
}

impl<O: Observer> Observer for Until<'_, O> {
    fn stop(&self) -> bool {
        let n = self.steps.get();
        self.steps.set(n.wrapping_add(1));
        n.is_multiple_of(LOOK)
            && (self.stop.gone.load(Ordering::Relaxed) || Instant::now() > self.stop.deadline)
    }
    fn on_step(&mut self, step: &StepRecord) {
        self.other.on_step(step);
    }
}

/// Answers for states.
pub struct Answers {
    /// What can be turned.
    pub knobs: Vec<Knob>,
    /// What a state means.
    pub describe: Box<Describe>,
}

/// What a page gets.
#[derive(Default, Serialize)]
pub struct Answer {
    /// What is read out when the figures change.
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    /// Pieces of the page by their places.
    html: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prediction: Option<Point>,
    /// The same question on the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    /// The line that starts such a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    serve: Option<String>,
    /// Values in force of knobs that were left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective: Option<Value>,
}

impl Answers {
    fn refusal(&self, e: &PredictError) -> Refusal {
        if matches!(e, PredictError::Simulation(SimError::Stopped)) {
            return Refusal {
                flag: Some("num-prompts".into()),
                message: "takes too long for a page: fewer requests or shorter answers, or the command below".into(),
            };
        }
        Refusal::of(e.to_string(), &self.knobs)
    }

    fn described(&self, state: &State) -> Result<Described, Refusal> {
        let d = (self.describe)(state).map_err(|e| Refusal::of(e, &self.knobs))?;
        let w = &d.scenario.workload;
        let tokens = u64::from(w.num_prompts) * u64::from(w.longest_output());
        if tokens > TOKENS {
            return Err(Refusal {
                flag: Some("num-prompts".into()),
                message: format!(
                    "{tokens} output tokens are too many for a page ({TOKENS}); `capsim predict` has no limit"
                ),
            });
        }
        Ok(d)
    }

    fn simulate(&self, s: &Scenario, stop: &Stop) -> Result<Run, Refusal> {
        simulate_observed(s, &mut stop.watching(())).map_err(|e| self.refusal(&e))
    }

    /// Everything that one simulation says.
    pub fn predict(&self, state: &State, stop: &Stop) -> Result<Answer, Refusal> {
        let d = self.described(state)?;
        let run = self.simulate(&d.scenario, stop)?;
        let p = estimate(&d.scenario, run);
        let mut answer = figures(&d, &p);
        answer.serve = Some(d.scenario.server_line().to_string());
        answer.effective = Some(view::effective(&d.scenario, &p));
        answer.html.extend([
            ("breakdown", view::breakdown(&d.scenario, &p)),
            ("memory", view::memory(&p)),
            ("engine", view::engine(&d.scenario, &p)),
            ("distributions", view::distributions(&p)),
        ]);
        answer.command = Some(d.command);
        Ok(answer)
    }

    /// The figures with their intervals, what they rest on, and the engine over time.
    pub fn settled(&self, state: &State, stop: &Stop) -> Result<Answer, Refusal> {
        let d = self.described(state)?;
        let run = self.simulate(&d.scenario, stop)?;
        // The length of a row follows from the length of the run, so that it takes another one to fill them.
        let interval = Span::from_secs((run.engine.end.secs() / ROWS).max(1e-6));
        let usable = u64::from(run.settings.config.num_gpu_blocks - 1);
        let timeline = Timeline::new(vec![], Rows::JsonLines, usable, Some(interval));
        let mut watching = stop.watching(timeline);
        let p = predict_observed(&d.scenario, &mut watching).map_err(|e| self.refusal(&e))?;
        let rows = watching.other.finish().expect("memory takes everything");
        let mut answer = figures(&d, &p);
        let timeline = view::timeline(&String::from_utf8_lossy(&rows));
        answer.html.extend([
            ("foundations", view::foundations(&d.scenario, &p)),
            ("timeline", timeline),
        ]);
        Ok(answer)
    }

    /// Latency against load, around the present one.
    pub fn curve(&self, state: &State, stop: &Stop) -> Result<Answer, Refusal> {
        let slo = state
            .get(SLO)
            .map(Slo::parse)
            .transpose()
            .map_err(|e| Refusal {
                flag: Some(SLO.into()),
                message: e.to_string(),
            })?;
        let d = self.described(state)?;
        let Some((flag, now, loads)) = loads(&d.scenario) else {
            return Ok(Answer::of("curve", String::new()));
        };
        let mut points = vec![];
        for load in loads {
            let mut s = d.scenario.clone();
            let w = &mut s.workload;
            match flag {
                "request_rate" => w.request_rate = Some(load),
                _ => {
                    w.max_concurrency = Some(load as u32);
                    // As `capsim predict` does without a number.
                    w.num_prompts = w.num_prompts.max((load as u32).saturating_mul(4));
                }
            }
            let run = self.simulate(&s, stop)?;
            let p = estimate(&s, run);
            points.push(json::prediction(&[(flag, Field::Number(load))], &s, &p));
        }
        let html = view::curve(flag, now, &points, slo.as_ref()).map_err(|e| Refusal {
            flag: Some(SLO.into()),
            message: e.to_string(),
        })?;
        Ok(Answer::of("curve", html))
    }
}

impl Answer {
    /// One piece of the page.
    fn of(place: &'static str, html: String) -> Self {
        Self {
            html: [(place, html)].into(),
            ..Self::default()
        }
    }
}

/// The figures, as data and as they are shown.
fn figures(d: &Described, p: &Prediction) -> Answer {
    let prediction = json::prediction(&[], &d.scenario, p);
    Answer {
        summary: Some(view::summary(&prediction)),
        html: [
            ("headline", view::headline(&prediction)),
            ("latencies", view::latencies(&prediction)),
        ]
        .into(),
        prediction: Some(prediction),
        ..Answer::default()
    }
}

/// The flag that says how much load there is, its present value, and values around it.
fn loads(s: &Scenario) -> Option<(&'static str, f64, Vec<f64>)> {
    let w = &s.workload;
    if w.users.is_some() || w.trace.is_some() || w.arrival.is_some() {
        return None;
    }
    if let Some(rate) = w.request_rate {
        let factors = [0.0625, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0];
        return Some(("request_rate", rate, factors.map(|f| f * rate).to_vec()));
    }
    let now = w.max_concurrency?;
    let top = f64::from(now) * 4.0;
    let mut all: Vec<f64> = (0..)
        .map(|i| f64::from(1u32 << i))
        .take_while(|v| *v <= top.clamp(16.0, 1024.0))
        .collect();
    all.push(now.into());
    all.sort_by(f64::total_cmp);
    all.dedup();
    Some(("max_concurrency", now.into(), all))
}

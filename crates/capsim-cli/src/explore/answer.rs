//! What a page gets for a state: the figures at once, then their intervals and the engine over time, then latency against load.
use super::knob::{Asked, Knob, Refusal, SLO, State};
use super::seen::{Goals, Prices, Seen};
use super::view::{self, Side};
use super::{Describe, Described};
use capsim::engine::SimError;
use capsim::engine::observe::{Observer, StepRecord};
use capsim::fields::Value as Field;
use capsim::plan::Axis;
use capsim::predict::{PredictError, Run, Scenario, estimate, predict_observed, simulate_observed};
use capsim::units::Span;
use capsim_study::report::answer as in_words;
use capsim_study::report::json::{self, Point};
use capsim_study::report::requests::Rows;
use capsim_study::report::timeline::Timeline;
use serde::Serialize;
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rows of the timeline.
const ROWS: f64 = 240.0;
/// Most output tokens of one state, warm-up aside: beyond them a page is the wrong tool.
const TOKENS: u64 = 50_000_000;
/// Most output tokens of a state for which other weight formats and engines are simulated, too.
const GAINS: u64 = 4_000_000;
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
    /// What devices cost.
    pub prices: Prices,
    /// The state that was pinned last, so that it is not simulated again with each turn of a knob, and whether it has intervals.
    pub pinned: Mutex<Option<(State, bool, Arc<Seen>)>>,
}

/// A state along its load.
pub(super) struct Along {
    /// The field that says how much load there is.
    pub flag: &'static str,
    /// Its present value.
    pub now: f64,
    /// Predictions, the lowest load first.
    pub points: Vec<Point>,
}

/// What a page gets.
#[derive(Default, Serialize)]
pub struct Answer {
    /// What the page is about, for its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<String>,
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

    /// What a state means, and what it asks for.
    pub(super) fn described(&self, state: &State) -> Result<(Described, Goals), Refusal> {
        let d = (self.describe)(state).map_err(|e| Refusal::of(e, &self.knobs))?;
        let goals = Goals::of(state, &d.scenario.device.id, &self.prices)?;
        let tokens = output_tokens(&d.scenario);
        if tokens > TOKENS {
            return Err(Refusal {
                flag: Some("num-prompts".into()),
                message: format!(
                    "{tokens} output tokens are too many for a page ({TOKENS}); `capsim predict` has no limit"
                ),
            });
        }
        Ok((d, goals))
    }

    fn simulate(&self, s: &Scenario, stop: &Stop) -> Result<Run, Refusal> {
        simulate_observed(s, &mut stop.watching(())).map_err(|e| self.refusal(&e))
    }

    /// A state with its intervals, while `other` watches the run.
    pub(super) fn watched<O: Observer>(
        &self,
        state: &State,
        other: impl FnOnce(&Scenario) -> Result<O, Refusal>,
        stop: &Stop,
    ) -> Result<(Seen, O), Refusal> {
        let (d, goals) = self.described(state)?;
        let mut watching = stop.watching(other(&d.scenario)?);
        let p = predict_observed(&d.scenario, &mut watching).map_err(|e| self.refusal(&e))?;
        Ok((Seen::new(d.scenario, p, &goals)?, watching.other))
    }

    /// The pinned state, with its intervals if they are asked for or known already.
    fn pinned(
        &self,
        state: Option<&State>,
        settled: bool,
        stop: &Stop,
    ) -> Result<Option<Arc<Seen>>, Refusal> {
        let Some(state) = state else { return Ok(None) };
        let known = |k: &&(State, bool, Arc<Seen>)| k.0 == *state && (k.1 || !settled);
        let cache = || self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, seen)) = cache().as_ref().filter(known) {
            return Ok(Some(Arc::clone(seen)));
        }
        let made = if settled {
            self.watched(state, |_| Ok(()), stop).map(|(seen, ())| seen)
        } else {
            self.described(state).and_then(|(d, goals)| {
                let run = self.simulate(&d.scenario, stop)?;
                let p = estimate(&d.scenario, run);
                Seen::new(d.scenario, p, &goals)
            })
        };
        let seen = Arc::new(made.map_err(|r| Refusal {
            flag: None,
            message: format!("the pinned state: {}", r.message),
        })?);
        *cache() = Some((state.clone(), settled, Arc::clone(&seen)));
        Ok(Some(seen))
    }

    /// Everything that one simulation says.
    pub fn predict(&self, asked: &Asked, stop: &Stop) -> Result<Answer, Refusal> {
        let (d, goals) = self.described(&asked.now)?;
        let run = self.simulate(&d.scenario, stop)?;
        let p = estimate(&d.scenario, run);
        let serve = d.scenario.server_line().to_string();
        let effective = view::effective(&d.scenario, &p, &goals);
        let seen = Seen::new(d.scenario, p, &goals)?;
        let pinned = self.pinned(asked.pinned.as_ref(), false, stop)?;
        let sides = Side::of(&seen, pinned.as_deref());
        let mut answer = figures(&sides);
        answer.about = Some(view::about(&seen));
        answer.serve = Some(serve);
        answer.effective = Some(effective);
        answer.html.extend([
            ("says", view::says(&in_words::sentence(&seen.row))),
            ("pins", view::pins(asked)),
            ("breakdown", view::breakdown(&sides)),
            ("memory", view::memory(&sides)),
            ("engine", view::engine(&sides)),
            ("distributions", view::distributions(&sides)),
        ]);
        answer.command = Some(d.command);
        Ok(answer)
    }

    /// The figures with their intervals, what they rest on, what would be faster, and the engine over time.
    pub fn settled(&self, asked: &Asked, stop: &Stop) -> Result<Answer, Refusal> {
        let (d, _) = self.described(&asked.now)?;
        let run = self.simulate(&d.scenario, stop)?;
        // The length of a row follows from the length of the run, so that it takes another one to fill them.
        let interval = Span::from_secs((run.engine.end.secs() / ROWS).max(1e-6));
        let usable = u64::from(run.settings.config.num_gpu_blocks - 1);
        let lines = |_: &Scenario| {
            Ok(Timeline::new(
                vec![],
                Rows::JsonLines,
                usable,
                Some(interval),
            ))
        };
        let (seen, timeline) = self.watched(&asked.now, lines, stop)?;
        let rows = timeline.finish().expect("memory takes everything");
        let pinned = self.pinned(asked.pinned.as_ref(), true, stop)?;
        let mut answer = figures(&Side::of(&seen, pinned.as_deref()));
        let says = match output_tokens(&seen.row.scenario) <= GAINS {
            true => in_words::predicted(std::slice::from_ref(&seen.row)),
            false => in_words::sentence(&seen.row),
        };
        let timeline = view::timeline(&String::from_utf8_lossy(&rows));
        answer.html.extend([
            ("says", view::says(&says)),
            ("foundations", view::foundations(&seen)),
            ("timeline", timeline),
        ]);
        Ok(answer)
    }

    /// A state along its load; `None`: nothing says how much load there is.
    pub(super) fn along(&self, state: &State, stop: &Stop) -> Result<Option<Along>, Refusal> {
        let (d, _) = self.described(state)?;
        let Some((axis, now, loads)) = loads(&d.scenario) else {
            return Ok(None);
        };
        let flag = axis.flag();
        let mut points = vec![];
        for load in loads {
            let mut s = d.scenario.clone();
            axis.apply(&mut s, load);
            if axis.counts() {
                // As `capsim predict` does without a number.
                let least = (load as u32).saturating_mul(4);
                s.workload.num_prompts = s.workload.num_prompts.max(least);
            }
            let run = self.simulate(&s, stop)?;
            let p = estimate(&s, run);
            points.push(json::prediction(&[(flag, Field::Number(load))], &s, &p));
        }
        Ok(Some(Along { flag, now, points }))
    }

    /// Latency against load, around the present one.
    pub fn curve(&self, asked: &Asked, stop: &Stop) -> Result<Answer, Refusal> {
        let (_, goals) = self.described(&asked.now)?;
        let Some(now) = self.along(&asked.now, stop)? else {
            return Ok(Answer::of("curve", view::no_curve()));
        };
        let pinned = match &asked.pinned {
            Some(a) => self.along(a, stop)?.filter(|a| a.flag == now.flag),
            None => None,
        };
        let lines = match &pinned {
            Some(a) => vec![("A, pinned", &a.points[..]), ("B, now", &now.points)],
            None => vec![("", &now.points[..])],
        };
        let slo = goals.slo.as_ref();
        let html = view::curve(now.flag, now.now, &lines, slo).map_err(|e| Refusal {
            flag: Some(SLO.into()),
            message: e.to_string(),
        })?;
        Ok(Answer::of("curve", html))
    }
}

/// The most output tokens that a scenario asks for, warm-up aside.
fn output_tokens(s: &Scenario) -> u64 {
    u64::from(s.workload.num_prompts) * u64::from(s.workload.longest_output())
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
fn figures(sides: &[Side]) -> Answer {
    let now = Side::now(sides);
    Answer {
        summary: Some(view::summary(now)),
        html: [
            ("headline", view::headline(sides)),
            ("latencies", view::latencies(sides)),
        ]
        .into(),
        prediction: Some(now.point.clone()),
        ..Answer::default()
    }
}

/// What says how much load there is, its present value, and values around it.
fn loads(s: &Scenario) -> Option<(Axis, f64, Vec<f64>)> {
    let w = &s.workload;
    let (axis, now) = if let Some(u) = &w.users {
        (Axis::Users, f64::from(u.count))
    } else if let Some(t) = &w.trace {
        (Axis::Speedup, t.speedup)
    } else if w.arrival.is_some() {
        return None;
    } else if let Some(rate) = w.request_rate {
        (Axis::Rate, rate)
    } else {
        (Axis::Concurrency, f64::from(w.max_concurrency?))
    };
    if !axis.counts() {
        let factors = [0.0625, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0];
        return Some((axis, now, factors.map(|f| f * now).to_vec()));
    }
    let mut all: Vec<f64> = (0..)
        .map(|i| f64::from(1u32 << i))
        .take_while(|v| *v <= (now * 4.0).clamp(16.0, 1024.0))
        .collect();
    all.push(now);
    all.sort_by(f64::total_cmp);
    all.dedup();
    Some((axis, now, all))
}

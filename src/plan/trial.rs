//! One simulation, and what an SLO wants to know of it.
use super::slo::{PerRequest, Slo};
use crate::engine::observe::{FinishReason, Observer, RequestRecord};
use crate::predict::{PredictError, Run, Scenario, simulate_observed};
use crate::units::SimTime;
use crate::workload::RequestId;

/// A simulated run.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The run.
    pub run: Run,
    /// Share of the measured requests that met every per-request limit; 1 if there is none.
    pub good_share: f64,
    /// From the first measured arrival to the last, in seconds. Where the client holds planned sends back
    /// (`max_concurrency`): from the first planned send to the last.
    pub arriving: f64,
    /// From the end of `arriving` to the last answer's end, in seconds.
    pub draining: f64,
}

impl Trial {
    /// Whether the queue grew as long as requests came: after the last arrival it took more than a quarter of the arrivals' time, and
    /// more than three usual latencies, to work it off.
    pub fn overloaded(&self) -> bool {
        let s = &self.run.summary;
        let usual = s.e2el.percentile(10.0, crate::metrics::Percentiles::Linear);
        self.draining > 0.25 * self.arriving && self.draining > 3.0 * usual
    }
}

struct Watch {
    limits: PerRequest,
    warmup: u64,
    good: u64,
    all: u64,
    arrivals: Option<(SimTime, SimTime)>,
    end: SimTime,
}

impl Observer for Watch {
    fn on_arrival(&mut self, id: RequestId, at: SimTime) {
        if id.0 >= self.warmup {
            let first = self.arrivals.map_or(at, |a| a.0);
            self.arrivals = Some((first, at));
        }
    }
    fn on_request(&mut self, r: &RequestRecord) {
        if r.id.0 < self.warmup || r.reason == FinishReason::Abort {
            return;
        }
        self.all += 1;
        self.end = self.end.max(r.finish);
        let tokens = f64::from(r.output_tokens.saturating_sub(1)).max(1.0);
        let met = self.limits.met_by(
            r.first_token.since(r.arrival).secs(),
            r.finish.since(r.first_token).secs() / tokens,
            r.finish.since(r.arrival).secs(),
        );
        self.good += u64::from(met);
    }
}

/// Simulates a scenario once.
///
/// # Errors
/// As [`simulate_once`](crate::predict::simulate_once).
pub fn trial(scenario: &Scenario, slo: &Slo) -> Result<Trial, PredictError> {
    let mut watch = Watch {
        limits: slo.per_request,
        warmup: scenario.workload.warmup.into(),
        good: 0,
        all: 0,
        arrivals: None,
        end: SimTime::ZERO,
    };
    let run = simulate_observed(scenario, &mut watch)?;
    let (first, last) = watch.arrivals.unwrap_or_default();
    // What the client holds back is a queue, too: it counts from the planned sends on.
    let w = &scenario.workload;
    let planned = w.max_concurrency.and_then(|_| w.planned_span());
    let last = planned.map_or(last, |span| last.min(first + span));
    // What was refused met nothing.
    let asked = watch.all + run.summary.refused;
    Ok(Trial {
        good_share: watch.good as f64 / (asked as f64).max(1.0),
        arriving: last.since(first).secs(),
        draining: if watch.end > last {
            watch.end.since(last).secs()
        } else {
            0.0
        },
        run,
    })
}

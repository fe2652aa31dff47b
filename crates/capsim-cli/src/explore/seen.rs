//! A state, simulated: its prediction, how it stands to the SLO, and what it costs.
use super::knob::{ELECTRICITY, PRICE, Refusal, SLO, State};
use crate::compare;
use capsim::device::Watts;
use capsim::metrics::Metric;
use capsim::plan::compare::{Price, Range};
use capsim::plan::{Slo, Term};
use capsim::predict::{Prediction, Scenario};
use capsim_study::report::Row;
use capsim_study::report::json::{self, Point};
use std::collections::BTreeMap;

/// What a state asks for besides its prediction.
#[derive(Clone, Debug, Default)]
pub struct Goals {
    /// Conditions.
    pub slo: Option<Slo>,
    /// Of one device.
    pub price: Option<Price>,
    /// Per kWh.
    pub electricity: Option<f64>,
}

/// Prices from the command line, which hold where a state says none.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    /// By device id.
    pub devices: BTreeMap<String, Price>,
    /// Per kWh.
    pub electricity: Option<f64>,
}

impl Goals {
    /// Reads them from a state.
    ///
    /// # Errors
    /// A value that cannot be read, by the name of its knob.
    pub fn of(state: &State, device: &str, prices: &Prices) -> Result<Self, Refusal> {
        let wrong = |flag: &str, message: String| Refusal {
            flag: Some(flag.into()),
            message,
        };
        let slo = state.get(SLO).map(Slo::parse).transpose();
        let price = state.get(PRICE).map(Price::parse).transpose();
        let electricity = compare::electricity(state.get(ELECTRICITY));
        Ok(Self {
            slo: slo.map_err(|e| wrong(SLO, e.to_string()))?,
            price: price
                .map_err(|e| wrong(PRICE, e))?
                .or_else(|| prices.devices.get(device).copied()),
            electricity: electricity
                .map_err(|e| wrong(ELECTRICITY, e.to_string()))?
                .or(prices.electricity),
        })
    }
}

/// A condition of the SLO, and what came of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The figure: `ttft.p95`.
    pub name: String,
    /// Its limit, with its unit.
    pub limit: String,
    /// Its value, with its unit.
    pub value: String,
    /// Whether it holds.
    pub met: bool,
}

/// What a state costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Per hour of all devices.
    pub hour: Range,
    /// Per million output tokens at this load.
    pub million: Range,
}

/// A state, simulated.
pub struct Seen {
    /// Scenario and prediction.
    pub row: Row,
    /// The prediction as data.
    pub point: Point,
    /// The conditions, judged.
    pub slo: Vec<Judged>,
    /// What it costs; `None`: no price is known.
    pub cost: Option<Cost>,
}

impl Seen {
    /// Puts a prediction beside the goals.
    ///
    /// # Errors
    /// A condition that no prediction can judge.
    pub fn new(scenario: Scenario, prediction: Prediction, goals: &Goals) -> Result<Self, Refusal> {
        Ok(Self {
            point: json::prediction(&[], &scenario, &prediction),
            slo: judged(goals.slo.as_ref(), &prediction)?,
            cost: goals
                .price
                .map(|p| cost(p, goals.electricity, &scenario, &prediction)),
            row: Row {
                varied: vec![],
                scenario,
                prediction,
            },
        })
    }
}

fn judged(slo: Option<&Slo>, p: &Prediction) -> Result<Vec<Judged>, Refusal> {
    let Some(slo) = slo else { return Ok(vec![]) };
    if slo.terms.iter().any(|t| matches!(t, Term::Goodput(_))) {
        return Err(Refusal {
            flag: Some(SLO.into()),
            message: "goodput needs limits for each request, which a page does not judge; `capsim capacity` does"
                .into(),
        });
    }
    let one = |term: &Term| {
        let value = term.value_of(&p.run.summary, 1.0);
        Judged {
            name: term.name(),
            limit: term.limit(),
            value: match value.is_finite() {
                true => term.with_limit(three(value)).limit(),
                false => "not reached".into(),
            },
            met: term.margin_of(value) <= 1.0,
        }
    };
    Ok(slo.terms.iter().map(one).collect())
}

/// Three digits that matter.
fn three(v: f64) -> f64 {
    format!("{v:.2e}").parse().unwrap_or(v)
}

fn range(w: &Watts) -> Range {
    Range {
        value: w.value,
        low: Some(w.low),
        high: Some(w.high),
    }
}

/// Cost per hour, and per million output tokens: their bounds are those of the cost over those of the throughput.
fn cost(price: Price, electricity: Option<f64>, s: &Scenario, p: &Prediction) -> Cost {
    let watts = p.energy(s).map(|e| range(&e.watts));
    let devices = p.run.settings.parallel.all_devices().max(1);
    let hour = price.cost(f64::from(devices), watts, electricity);
    let rate = p.run.summary.output_throughput();
    let (slow, fast) = match p.interval_of(Metric::OutputThroughput) {
        Some(i) => (i.low, i.high),
        None => (rate, rate),
    };
    let per = |cost: Option<f64>, rate: f64| match rate > 0.0 {
        true => cost.map(|c| c * 1e6 / (3600.0 * rate)),
        false => None,
    };
    Cost {
        hour,
        million: Range {
            value: per(hour.value, rate),
            low: per(hour.low, fast),
            high: per(hour.high, slow),
        },
    }
}

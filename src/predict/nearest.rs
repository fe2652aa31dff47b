//! Trust at a glance: the recorded run that is nearest to a prediction, and how far off capsim was there.
//!
//! The records are those of `capsim validate --all` that were predicted (docs/accuracy.md), in `calibration/records.json`.
use super::{Prediction, Scenario};
use crate::device::{BatchClass, EngineId, sheet};
use crate::engine::kind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A recorded run, as far as it takes to tell how near it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The device profile's id.
    pub device: String,
    /// The engine.
    pub engine: EngineId,
    /// The engine profile's id.
    pub profile: String,
    /// The model.
    pub model: String,
    /// Its parameters that a token passes.
    pub active: u64,
    /// Whether it has experts.
    pub experts: bool,
    /// Whether it drafted: speculative decoding.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drafts: bool,
    /// Kind of its weights' format.
    pub weights: String,
    /// Mean prompt tokens.
    pub prompt: f64,
    /// Mean sequences in a batch.
    pub batch: f64,
    /// Predicted / measured − 1 of the decode rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode: Option<f64>,
    /// Predicted / measured − 1 of the mean TTFT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft: Option<f64>,
    /// Who published it.
    pub source: String,
    /// Whether something about the model was chosen with this run known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seen: bool,
}

/// A file of records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// `"capsim.records/1"`.
    pub schema: String,
    /// In the order of docs/accuracy.md.
    pub runs: Vec<Record>,
}

impl Records {
    /// The tag.
    pub const SCHEMA: &'static str = "capsim.records/1";

    /// Those that ship with capsim.
    pub fn builtin() -> Self {
        serde_json::from_str(include_str!("../../calibration/records.json"))
            .expect("shipped records are valid")
    }
}

/// The nearest of the records.
#[derive(Clone, Debug, PartialEq)]
pub struct Nearest<'a> {
    /// Which.
    pub record: &'a Record,
    /// What it does not share with the prediction: `device`, `engine`, `weights`, `experts`, `batch`, `model size`.
    pub differs: Vec<&'static str>,
}

/// What a prediction is compared by.
struct Asked {
    weights: Vec<String>,
    active: f64,
    experts: bool,
    drafts: bool,
    prompt: f64,
    batch: f64,
    /// By device id, read once for all records.
    makers: BTreeMap<String, String>,
}

impl Asked {
    fn of(s: &Scenario, p: &Prediction) -> Self {
        let summary = &p.run.summary;
        Self {
            weights: s.model.weight_formats().iter().map(|f| f.kind()).collect(),
            active: s.model.parameters().active() as f64,
            experts: s.model.experts().is_some(),
            drafts: p.run.settings.drafting.is_some(),
            prompt: summary.input_tokens as f64 / (summary.completed as f64).max(1.0),
            batch: p.run.occupancy.batch.max(1.0),
            makers: sheet::makers(),
        }
    }
}

/// A format that computes alike, under one name.
fn plain(format: &str) -> &str {
    match format {
        "fp16" => "bf16",
        f => f,
    }
}

/// Models whose active parameters lie within this factor are of a size.
const OF_A_SIZE: f64 = 2.0;

/// How far a record lies away, and in what. The weights say which differences move errors most in docs/accuracy.md: another
/// engine or device most, then the kind of model and of weights, then loads and sizes by their doublings.
fn distance(s: &Scenario, a: &Asked, r: &Record) -> (f64, Vec<&'static str>) {
    let mut differs = vec![];
    let mut far = 0.0;
    let mut add = |holds: bool, name, much: f64| {
        if !holds {
            differs.push(name);
            far += much;
        }
    };
    let device = s.device.id == r.device;
    let maker = |id: &String| a.makers.get(id);
    let own = maker(&s.device.id);
    let related = own.is_some() && own == maker(&r.device);
    add(device, "device", if related { 2.0 } else { 4.0 });
    add(s.engine.scheduler == r.engine, "engine", 3.0);
    add(a.experts == r.experts, "experts", 1.5);
    add(a.drafts == r.drafts, "drafts", 1.0);
    let weights = a.weights.iter().any(|w| plain(w) == plain(&r.weights));
    add(weights, "weights", 1.0);
    let doublings = |x: f64, y: f64| libm::fabs(libm::log2(x.max(1.0) / y.max(1.0)));
    let size = doublings(a.active, r.active as f64);
    add(size <= libm::log2(OF_A_SIZE), "model size", 0.0);
    add(
        BatchClass::of(a.batch) == BatchClass::of(r.batch),
        "batch",
        0.5,
    );
    far += 0.5 * size + 0.4 * doublings(a.batch, r.batch) + 0.15 * doublings(a.prompt, r.prompt);
    if s.engine.id != r.profile {
        far += 0.3;
    }
    (far, differs)
}

/// The record nearest to a prediction; the first of several. `None` if there are none.
pub fn nearest<'a>(all: &'a Records, s: &Scenario, p: &Prediction) -> Option<Nearest<'a>> {
    let asked = Asked::of(s, p);
    let far = |r: &'a Record| {
        let (far, differs) = distance(s, &asked, r);
        (far, Nearest { record: r, differs })
    };
    let (_, found) = all
        .runs
        .iter()
        .map(far)
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(found)
}

impl std::fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let r = self.record;
        if !self.differs.is_empty() {
            write!(
                f,
                "no recorded run is like this; the nearest differs in {}: ",
                list(&self.differs)
            )?;
        }
        write!(
            f,
            "{} ({}) under {} on {}, about {:.0} at a time, prompts of {:.0} tokens ({}): ",
            r.model,
            r.weights,
            kind(r.engine).name_in(&r.profile),
            r.device,
            r.batch,
            r.prompt,
            r.source
        )?;
        let percent = |e: f64| format!("{:+.0} %", 100.0 * e);
        match (r.decode, r.ttft) {
            (Some(d), Some(t)) => write!(f, "decode rate {} off, TTFT {}", percent(d), percent(t)),
            (Some(d), None) => write!(f, "decode rate {} off", percent(d)),
            (None, Some(t)) => write!(f, "TTFT {} off", percent(t)),
            (None, None) => f.write_str("other figures alone"),
        }?;
        if r.seen {
            f.write_str("; it was known when the model was made")?;
        }
        Ok(())
    }
}

fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).into(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

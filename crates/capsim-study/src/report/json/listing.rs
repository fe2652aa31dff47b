//! Answers of the commands that list, read, convert and draw.
use capsim::device::{KernelTimes, Origin, Residual};
use capsim::metrics::Metric;
use capsim::workload::trace::TraceStats;
use capsim_calibrate::discover::Found;
use capsim_calibrate::environment::Environment;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A model that ships.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ModelEntry {
    /// Its name.
    pub name: String,
    /// Parameters.
    pub parameters: u64,
    /// Parameters without the routed experts that a token does not visit; the embedding is among them.
    pub active_parameters: u64,
    /// Bytes of the weights in the format of its config.json.
    pub weight_bytes: u64,
    /// Bytes that a token takes in the KV cache.
    pub kv_bytes_per_token: u64,
    /// Bytes of the states that recurrent layers keep of a sequence; 0 without such layers.
    #[serde(default)]
    #[schemars(!default)]
    pub state_bytes_per_sequence: u64,
}

/// A profile that ships.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProfileEntry {
    /// Its id, for `--device` or `--engine`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What most of it rests on.
    pub rests_on: Origin,
}

/// `capsim models --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Models {
    /// Format.
    #[schemars(extend("const" = "capsim.models/1"))]
    pub schema: String,
    /// Models.
    pub models: Vec<ModelEntry>,
    /// Device profiles.
    pub devices: Vec<ProfileEntry>,
    /// Engine profiles.
    pub engines: Vec<ProfileEntry>,
}

/// `capsim devices --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Devices {
    /// Format.
    #[schemars(extend("const" = "capsim.devices/1"))]
    pub schema: String,
    /// Devices, usable or not.
    pub devices: Vec<Found>,
    /// State of the machine.
    pub environment: Environment,
    /// Who else is busy.
    pub disturbances: Vec<String>,
}

/// `capsim trace stats --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Trace {
    /// Format.
    #[schemars(extend("const" = "capsim.trace/1"))]
    pub schema: String,
    /// Its figures.
    #[serde(flatten)]
    pub stats: TraceStats,
}

/// `capsim trace convert --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Converted {
    /// Format.
    #[schemars(extend("const" = "capsim.converted-trace/1"))]
    pub schema: String,
    /// The file written.
    pub output: String,
    /// Requests in it.
    pub requests: usize,
    /// From the first to the last, seconds.
    pub duration_s: f64,
}

/// `capsim report --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Page {
    /// Format.
    #[schemars(extend("const" = "capsim.page/1"))]
    pub schema: String,
    /// The file written.
    pub output: String,
    /// Sections of the page.
    pub sections: usize,
}

/// How well a fit meets the times that it was made from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Fitted {
    /// What was measured: a model, or a number format.
    pub what: String,
    /// Devices that share an operator.
    pub tensor_parallel_size: u32,
    /// Kernel.
    pub kernel: String,
    /// |predicted / measured − 1|.
    pub residual: Residual,
}

/// `capsim import … --json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Imported {
    /// Format.
    #[schemars(extend("const" = "capsim.import/1"))]
    pub schema: String,
    /// Files written: what they hold, and where they are.
    pub files: BTreeMap<String, String>,
    /// Releases of the tables that were read, by kind.
    pub tables: BTreeMap<String, String>,
    /// Lines of llama-bench that were read.
    pub measurements: Option<usize>,
    /// How well the fits meet the measured times.
    pub fits: Vec<Fitted>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

impl Imported {
    /// A new answer.
    pub fn new() -> Self {
        Self {
            schema: "capsim.import/1".into(),
            ..Self::default()
        }
    }

    /// Notes a file.
    pub fn wrote(&mut self, what: &str, path: &Path) {
        self.files.insert(what.into(), path.display().to_string());
    }

    /// Notes how well kernel times were fitted.
    pub fn fitted(&mut self, what: &str, tp: u32, k: &KernelTimes) {
        let mut add = |kernel: String, residual: Residual| {
            self.fits.push(Fitted {
                what: what.into(),
                tensor_parallel_size: tp,
                kernel,
                residual,
            });
        };
        for r in &k.rows {
            if let Some(res) = r.residual {
                add(format!("{} ({} pieces)", r.covers[0], r.pieces.len()), res);
            }
        }
        for a in &k.attention {
            let names = ["decode attention", "prefill attention", "mixed attention"];
            for (name, r) in names.iter().zip(&a.residual) {
                add(name.to_string(), *r);
            }
        }
        for e in &k.experts {
            if let Some(r) = e.residual {
                add("experts".into(), r);
            }
        }
    }
}

/// Point of a sweep that is best by some metric.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Best {
    /// In words.
    pub what: String,
    /// The metric.
    pub metric: Metric,
    /// Its value.
    pub value: f64,
    /// Flags that the sweep varies.
    pub flags: BTreeMap<String, Value>,
}

/// A point that cannot be served.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RefusedPoint {
    /// Flags that the sweep varies.
    pub flags: BTreeMap<String, Value>,
    /// Why.
    pub why: String,
}

/// `capsim sweep --json` and `capsim sweep merge --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SweepSummary {
    /// Format.
    #[schemars(extend("const" = "capsim.sweep-summary/1"))]
    pub schema: String,
    /// Folder of results.jsonl, results.csv and results.parquet, once all points are there.
    pub folder: String,
    /// Whether all points are there.
    pub complete: bool,
    /// Points of the plan.
    pub points: usize,
    /// Points without a result.
    pub missing: usize,
    /// Points that cannot be served.
    pub refused: usize,
    /// The first of them.
    pub refusal: Option<RefusedPoint>,
    /// How many of the others refuse requests, and how many at most; absent: none does.
    pub refused_requests: Option<String>,
    /// Best points.
    pub best: Vec<Best>,
}

/// A line of a sweep's results.jsonl.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SweepPoint {
    /// Format.
    #[schemars(extend("const" = "capsim.sweep-point/1"))]
    pub schema: String,
    /// Names the point: 96 bits of SHA-256 over capsim's version and the whole scenario.
    pub hash: String,
    /// Its place in the plan, from 0.
    pub index: usize,
    /// Its flags.
    pub flags: BTreeMap<String, Value>,
    /// The prediction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<super::Point>,
    /// Why it cannot be served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

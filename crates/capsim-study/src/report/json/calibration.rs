//! Answers of `capsim calibrate`.
use super::finite;
use capsim_calibrate::compare::Difference;
use capsim_calibrate::fit::Fit;
use capsim_calibrate::meaning::Meaning;
use capsim_calibrate::samples::{Flag, Limits, Outcome, SamplesFile};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A fitted parameter.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Parameter {
    /// What.
    pub name: String,
    /// In base units.
    pub value: Option<f64>,
    /// Relative standard deviation.
    pub rel_sd: Option<f64>,
    /// `B/s`, `op/s`, `B` or `s`.
    pub unit: String,
}

/// A curve, and how well it predicts its own points.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Curve {
    /// Its name.
    pub name: String,
    /// Points in it.
    pub points: usize,
    /// Median spread of the samples, relative.
    pub spread: Option<f64>,
    /// Median of the leave-one-out errors; null with fewer than three points.
    pub left_out_median: Option<f64>,
    /// 90th percentile of them.
    pub left_out_p90: Option<f64>,
}

/// A measured point.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// Its family.
    pub family: String,
    /// Its name within the family.
    pub id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The best variant, which was measured.
    pub variant: Option<String>,
    /// Median seconds of a pass.
    pub seconds: Option<f64>,
    /// What disturbed it.
    pub flags: Vec<Flag>,
}

/// What the profile means for Qwen3-30B-A3B in bf16, one sequence of 1024 tokens.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Decode {
    /// Tokens per second if every kernel were as good as the microbenchmarks and the host cost nothing.
    pub roof_tokens_per_s: Option<f64>,
    /// Tokens per second as vLLM 0.12 on ROCm uses a device.
    pub vllm_0_12_rocm_tokens_per_s: Option<f64>,
    /// Whether the weights fit into the device's memory.
    pub fits: bool,
}

/// `capsim calibrate --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Calibration {
    /// Format.
    #[schemars(extend("const" = "capsim.calibration/1"))]
    pub schema: String,
    /// Id of the profile.
    pub device: String,
    /// Name of the device.
    pub name: String,
    /// Whether a processor plays the device.
    pub software: bool,
    /// Reading memory, bytes per second.
    pub memory_read_bytes_per_s: Option<f64>,
    /// Reading the cache, at most.
    pub cache_read_bytes_per_s: Option<f64>,
    /// Products of 16-bit matrices at most, operations per second.
    pub gemm_f16_peak_ops_per_s: Option<f64>,
    /// Launch of a kernel in seconds.
    pub launch_s: Option<f64>,
    /// Peaks of the data sheet.
    pub limits: Limits,
    /// Parameters.
    pub parameters: Vec<Parameter>,
    /// Curves.
    pub curves: Vec<Curve>,
    /// Points.
    pub points: Vec<Measured>,
    /// What it means for a known model; null where it cannot be priced.
    pub qwen3_30b_a3b_bf16_batch_1: Option<Decode>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

impl Calibration {
    /// Of samples and their fit.
    pub fn new(
        file: &SamplesFile,
        fit: &Fit,
        meaning: Option<&Meaning>,
        notes: Vec<String>,
    ) -> Self {
        let p = &fit.profile;
        Self {
            schema: "capsim.calibration/1".into(),
            device: p.id.clone(),
            name: p.name.clone(),
            software: file.device.software,
            memory_read_bytes_per_s: finite(p.dram_read()),
            cache_read_bytes_per_s: finite(p.stream_read.peak()),
            gemm_f16_peak_ops_per_s: finite(p.gemm_f16.peak()),
            launch_s: finite(p.launch.value),
            limits: file.limits.clone(),
            parameters: fit
                .parameters
                .iter()
                .map(|p| Parameter {
                    name: p.name.into(),
                    value: finite(p.value),
                    rel_sd: finite(p.rel_sd),
                    unit: p.unit.into(),
                })
                .collect(),
            curves: fit
                .families
                .iter()
                .map(|f| Curve {
                    name: f.name.clone(),
                    points: f.points,
                    spread: finite(f.spread),
                    left_out_median: finite(f.median_error),
                    left_out_p90: finite(f.p90_error),
                })
                .collect(),
            points: file
                .points
                .iter()
                .map(|p| Measured {
                    family: p.family.clone(),
                    id: p.id.clone(),
                    outcome: p.outcome.clone(),
                    variant: p.variant.clone(),
                    seconds: p.seconds().and_then(finite),
                    flags: p.flags.clone(),
                })
                .collect(),
            qwen3_30b_a3b_bf16_batch_1: meaning.map(|m| Decode {
                roof_tokens_per_s: finite(m.roof),
                vllm_0_12_rocm_tokens_per_s: finite(m.engine),
                fits: m.fits,
            }),
            notes,
        }
    }
}

/// A point of two calibrations.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Compared {
    /// Family and name.
    pub point: String,
    /// Second time over first.
    pub time_ratio: Option<f64>,
    /// Lower end of its 99 % interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// In words.
    pub verdict: String,
}

/// `capsim calibrate --compare A B --json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Format.
    #[schemars(extend("const" = "capsim.calibration-comparison/1"))]
    pub schema: String,
    /// The first file.
    pub first: String,
    /// The second file.
    pub second: String,
    /// Points that both have.
    pub points: Vec<Compared>,
}

impl Comparison {
    /// Of two files.
    pub fn new(a: &str, b: &str, all: &[Difference]) -> Self {
        Self {
            schema: "capsim.calibration-comparison/1".into(),
            first: a.into(),
            second: b.into(),
            points: all
                .iter()
                .map(|d| Compared {
                    point: d.key.clone(),
                    time_ratio: finite(d.ratio),
                    low: finite(d.low),
                    high: finite(d.high),
                    verdict: d.verdict.words().into(),
                })
                .collect(),
        }
    }
}

//! The samples file: everything that was measured, raw, with what is needed to judge and to fit it again.
use super::backend::{Api, DeviceInfo, Work};
use super::family::{Effort, Point};
use capsim::stats::{mad, mean, percentile, std_dev};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A calibration run, finished or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamplesFile {
    /// `"capsim.samples/1"`.
    pub schema: String,
    /// Release of capsim that measured.
    pub capsim: String,
    /// The command, as typed.
    pub command: String,
    /// When it began, UTC.
    pub started: String,
    /// Whether every point was measured, failed or was dropped for a reason; a file that is not complete can be resumed.
    pub complete: bool,
    /// The API.
    pub api: Api,
    /// The device, as its driver tells.
    pub device: DeviceInfo,
    /// What else is known of the machine: driver, clocks, power, temperature, load; or the reason why it is not known.
    pub environment: BTreeMap<String, String>,
    /// How much was asked for.
    pub effort: Effort,
    /// Seed of all random contents.
    pub seed: u64,
    /// Only these families were asked for; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// Bytes that a cold working set has at least.
    pub ring_bytes: u64,
    /// Most bytes allocated at any time: the memory guard.
    pub budget_bytes: u64,
    /// Smallest step of the clock that was used, measured, in seconds; 0: not measured yet.
    pub timer_tick_s: f64,
    /// Host time that a submission takes on top of the device's, in seconds.
    pub submit_s: f64,
    /// Known limits that rates are held against.
    pub limits: Limits,
    /// Hash of each kernel's source, by `name`.
    pub kernels: BTreeMap<String, String>,
    /// Readings of the sentinel, relative to the first: 1.03 is 3 % slower.
    pub sentinel: Vec<SentinelReading>,
    /// Seconds for which the device was to be kept busy after the points; 0: not at all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub soak_s: f64,
    /// Readings of the sentinel meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub soak: Vec<SentinelReading>,
    /// What the device drew, where its driver tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<PowerRecord>,
    /// The points, in the order in which they were measured.
    pub points: Vec<PointRecord>,
}

/// Readings of a device's power, in watts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerRecord {
    /// What told it, and how exactly.
    pub source: String,
    /// Before anything ran.
    pub idle_w: Vec<f64>,
    /// While the largest working set was read.
    pub streaming_w: Vec<f64>,
    /// While the product with the most rows ran.
    pub multiplying_w: Vec<f64>,
}

fn is_zero(v: &f64) -> bool {
    *v == 0.0
}

/// What physics allows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes per second between device and memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<f64>,
    /// 16-bit operations per second with matrix units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flops: Option<f64>,
    /// Who says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
}

/// One reading of the sentinel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SentinelReading {
    /// Seconds since the begin of the session.
    pub at_s: f64,
    /// Streaming time relative to the first reading.
    pub stream: f64,
    /// Matrix product's time relative to the first reading.
    pub gemm: f64,
}

/// How a point ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// It has samples.
    Measured,
    /// No variant runs on this device: the reason.
    Unsupported(String),
    /// It failed: a wrong answer, a compiler's refusal, a crash, a rate above physics.
    Failed(String),
    /// The driver crashed or hung: how. The trials name the variant at fault, if one was running; it is not tried again.
    Crashed(String),
    /// It was not tried: the reason.
    Dropped(String),
}

/// What is to be known about a measured point.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// The samples' standard deviation is above 5 % of their mean.
    Noisy,
    /// The sentinel was off, before and after a pause.
    Throttled,
    /// The sentinel was off and there was no time to measure again.
    Drifted,
    /// Fewer samples than the protocol wants: time ran out.
    FewSamples,
    /// Device and host clock disagree by more than 10 % after subtracting the cost of submission.
    ClocksDisagree,
    /// Timed by the host's clock: there is no other.
    HostClock,
    /// Measured with twice the ring, because the first rate was above physics.
    RingDoubled,
    /// Slower than a point with more work, beyond noise.
    OutOfOrder,
}

/// A variant's short trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The variant.
    pub variant: String,
    /// Seconds per pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A point with its samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PointRecord {
    /// Its family.
    pub family: String,
    /// Its name within the family.
    pub id: String,
    /// Its place in the sweep.
    pub axes: BTreeMap<String, f64>,
    /// Whether a profile needs it.
    pub required: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// The best variant, which the samples are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// All variants tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trials: Vec<Trial>,
    /// What one pass does.
    #[serde(default)]
    pub work: Work,
    /// Launches in a pass.
    #[serde(default)]
    pub launches: u32,
    /// Passes in a sample.
    #[serde(default)]
    pub passes: u32,
    /// Every sample: seconds per pass by the clock in use, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples_s: Vec<f64>,
    /// The host's clock beside it, seconds per pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_s: Vec<f64>,
    /// Figures of `samples_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<Stats>,
    /// What is to be known about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
}

/// Figures of some samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// How many.
    pub n: u32,
    /// Smallest.
    pub min: f64,
    /// 10th percentile.
    pub p10: f64,
    /// Median.
    pub median: f64,
    /// 90th percentile.
    pub p90: f64,
    /// Median absolute deviation from the median, unscaled.
    pub mad: f64,
    /// Standard deviation over mean.
    pub cv: f64,
}

impl Stats {
    /// Figures of at least one sample.
    pub fn of(samples: &[f64]) -> Self {
        let mut v = samples.to_vec();
        v.sort_by(f64::total_cmp);
        Self {
            n: v.len() as u32,
            min: v[0],
            p10: percentile(&v, 10.0),
            median: percentile(&v, 50.0),
            p90: percentile(&v, 90.0),
            mad: mad(&v),
            cv: std_dev(&v) / mean(&v),
        }
    }

    /// Relative standard deviation of one sample, robust: 1.4826 · MAD / median.
    pub fn rel_sd(&self) -> f64 {
        1.4826 * self.mad / self.median
    }

    /// Relative standard error of the median: √(π/2) · σ / √n for normal samples.
    pub fn rel_error(&self) -> f64 {
        1.2533 * self.rel_sd() / libm::sqrt(f64::from(self.n))
    }
}

impl PointRecord {
    /// A point that nothing is known of yet.
    pub fn blank(family: &str, point: &Point) -> Self {
        Self {
            family: family.into(),
            id: point.id.clone(),
            axes: point
                .axes
                .iter()
                .map(|(k, v)| (k.to_string(), *v))
                .collect(),
            required: point.required,
            outcome: Outcome::Measured,
            variant: None,
            trials: vec![],
            work: Work::default(),
            launches: 0,
            passes: 0,
            samples_s: vec![],
            host_s: vec![],
            stats: None,
            flags: vec![],
        }
    }

    /// Seconds per pass, if it was measured.
    pub fn seconds(&self) -> Option<f64> {
        match self.outcome {
            Outcome::Measured => self.stats.map(|s| s.median),
            _ => None,
        }
    }
    /// An axis' value.
    pub fn axis(&self, name: &str) -> Option<f64> {
        self.axes.get(name).copied()
    }
    /// `family/id`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.family, self.id)
    }
}

/// What is wrong with a samples file.
#[derive(Debug, thiserror::Error)]
#[error("{name}: field `{field}`: {problem}")]
pub struct SamplesError {
    /// The file.
    pub name: String,
    /// Path of the field.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl SamplesFile {
    /// The schema tag that this version reads and writes.
    pub const SCHEMA: &'static str = "capsim.samples/1";

    /// Reads a file; `name` appears in errors.
    ///
    /// # Errors
    /// Names the field that is missing, unknown, of the wrong type or out of range.
    pub fn parse(text: &str, name: &str) -> Result<Self, SamplesError> {
        #[derive(Deserialize)]
        struct Tag {
            schema: String,
        }
        let error = |field: String, problem: String| SamplesError {
            name: name.into(),
            field,
            problem,
        };
        let tag: Tag =
            serde_json::from_str(text).map_err(|e| error("schema".into(), e.to_string()))?;
        if tag.schema != Self::SCHEMA {
            return Err(error(
                "schema".into(),
                format!(
                    "expected \"{}\", found \"{}\": this is no samples file of this version",
                    Self::SCHEMA,
                    tag.schema
                ),
            ));
        }
        let de = &mut serde_json::Deserializer::from_str(text);
        let file: Self = serde_path_to_error::deserialize(de)
            .map_err(|e| error(e.path().to_string(), e.inner().to_string()))?;
        file.check()
            .map_err(|(field, problem)| error(field, problem))?;
        Ok(file)
    }

    /// As text, to be written.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings only") + "\n"
    }

    fn check(&self) -> Result<(), (String, String)> {
        let bad = |field: String, problem: &str| Err((field, problem.to_string()));
        let amount = |v: f64| v.is_finite() && (0.0..1e24).contains(&v);
        for (field, v) in [
            ("timer_tick_s", self.timer_tick_s),
            ("submit_s", self.submit_s),
        ] {
            if !amount(v) || v > 10.0 {
                return bad(field.into(), "must lie between 0 and 10 seconds");
            }
        }
        for (field, v) in [
            ("limits.bandwidth", self.limits.bandwidth),
            ("limits.flops", self.limits.flops),
        ] {
            if v.is_some_and(|v| !(amount(v) && v > 0.0)) {
                return bad(field.into(), "must be a positive rate per second");
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        for (i, p) in self.points.iter().enumerate() {
            let at = |f: &str| format!("points[{i}].{f}");
            if !seen.insert((p.family.as_str(), p.id.as_str())) {
                return bad(at("id"), "appears twice in its family");
            }
            if p.axes.values().any(|v| !amount(*v)) {
                return bad(at("axes"), "must be numbers from 0 to 1e24");
            }
            for (f, v) in [
                ("work.bytes", p.work.bytes),
                ("work.flops", p.work.flops),
                ("work.working_set", p.work.working_set),
            ] {
                if !amount(v) {
                    return bad(at(f), "must be a number from 0 to 1e24");
                }
            }
            if p.outcome != Outcome::Measured {
                continue;
            }
            if p.samples_s.is_empty() {
                return bad(at("samples_s"), "a measured point has samples");
            }
            let sample = |v: &f64| v.is_finite() && *v > 0.0 && *v < 1e6;
            if !p.samples_s.iter().all(sample) {
                return bad(at("samples_s"), "must be positive seconds");
            }
            if !p.host_s.iter().all(sample) {
                return bad(at("host_s"), "must be positive seconds");
            }
            let Some(stats) = p.stats else {
                return bad(at("stats"), "a measured point has them");
            };
            // Edited samples need edited figures; a mismatch is found here.
            let again = Stats::of(&p.samples_s);
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * b.abs() + 1e-15;
            if stats.n != again.n
                || !close(stats.median, again.median)
                || !close(stats.mad, again.mad)
                || !close(stats.min, again.min)
            {
                return bad(at("stats"), "does not follow from samples_s");
            }
            // A pass that is a copy between host and device has no launches.
            if p.passes == 0 {
                return bad(at("passes"), "a measured point has passes");
            }
        }
        Ok(())
    }

    /// The record of a point, if it was dealt with.
    pub fn find(&self, family: &str, id: &str) -> Option<&PointRecord> {
        self.points
            .iter()
            .find(|p| p.family == family && p.id == id)
    }

    /// Puts a record in the place of an earlier one of the same point, or at the end.
    pub fn put(&mut self, record: PointRecord) {
        match self
            .points
            .iter_mut()
            .find(|p| p.family == record.family && p.id == record.id)
        {
            Some(old) => *old = record,
            None => self.points.push(record),
        }
    }

    /// Measured points of a family.
    pub fn measured<'a>(&'a self, family: &'a str) -> impl Iterator<Item = &'a PointRecord> {
        self.points
            .iter()
            .filter(move |p| p.family == family && p.outcome == Outcome::Measured)
    }
}

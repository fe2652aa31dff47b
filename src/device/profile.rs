//! The device profile: what the hardware can do.
use super::{
    Curve, Host, KernelCurves, KernelTimes, Link, Power, ProfileError, Provenance, Quantity, parse,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a device can do, as measured by microbenchmarks (or published by those who measured it).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceProfile {
    /// `"capsim.device/1"`.
    pub schema: String,
    /// Short name, as `--device` takes it.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Other names that `--device` takes.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Device memory.
    pub memory: Memory,
    /// Rate of streaming reads, bytes per second, over the size of the working set in bytes: cache plateaus
    /// and DRAM.
    pub stream_read: Curve,
    /// Rate of 16-bit matrix multiplication with matrix units, operations per second, over the number of
    /// rows M, for weights too large for any cache. It is the compute limit: the weights' streaming time is
    /// a separate limit, and the larger of the two times counts.
    pub gemm_f16: Curve,
    /// Rate of causal prefill attention, operations per second (4 · heads · head_dim per query-key pair),
    /// over the number of new tokens.
    pub attention_prefill: Curve,
    /// Rate of elementwise kernels, bytes moved (read + written) per second, over bytes moved.
    pub elementwise: Curve,
    /// Time on the device that a dependent kernel adds by being launched at all, in seconds.
    pub launch: Quantity,
    /// Rate of matrix units at 8-bit operands relative to 16-bit (1 where they are no faster).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8_ratio: Option<Quantity>,
    /// Curves of kernels of the same kind as an engine's.
    #[serde(default, skip_serializing_if = "KernelCurves::is_empty")]
    pub curves: KernelCurves,
    /// Families as they were measured, by name: the raw points behind the curves, which prices do not read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measured: BTreeMap<String, Surface>,
    /// Where kernels switch and the rate falls although it should rise. Recorded; the curves above contain their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub switches: Vec<Switch>,
    /// Times of an engine's own kernels, by shape: where a model's shapes are among them they count instead of curves and
    /// efficiencies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<KernelTimes>,
    /// How devices of this kind in one node reach each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// The machine that it sits in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// Of a processor: whose kernels its curves were measured with. Absent: an accelerator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<ProcessorKernels>,
    /// What a device draws.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Power>,
    /// What the whole profile rests on.
    pub provenance: Provenance,
}

/// Whose kernels the curves of a processor were measured with: what an engine reaches of them differs by as much as the kernels do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ProcessorKernels {
    /// capsim's own.
    Capsim,
    /// Operators of PyTorch or of an engine.
    Library,
}

/// A family of measurements over several axes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Surface {
    /// The points.
    pub points: Vec<SurfacePoint>,
    /// Where they come from.
    pub provenance: Provenance,
}

/// One measurement: figures per launch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SurfacePoint {
    /// Its name within the family.
    pub id: String,
    /// Its place: `m`, `n`, `k`, `tokens`, `distinct`, `context`, `batch`, `bytes`, …
    pub axes: BTreeMap<String, f64>,
    /// The kernel variant that was fastest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kernel: String,
    /// Seconds, launch included.
    pub seconds: f64,
    /// Bytes to and from memory.
    pub bytes: f64,
    /// Arithmetic operations.
    pub flops: f64,
    /// One standard deviation of `seconds`, relative.
    pub rel_sd: f64,
}

/// A place where the rate falls: another kernel takes over, or the device's scheduling has a cliff.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// The family.
    pub curve: String,
    /// The axis along which it happens.
    pub axis: String,
    /// The last measured place before it.
    pub before: f64,
    /// The first measured place after it.
    pub after: f64,
    /// Rate after over rate before.
    pub factor: f64,
}

/// Device memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// What the runtime reports as total device memory, in bytes.
    pub total_bytes: Quantity,
    /// Whether host and device share it.
    #[serde(default)]
    pub unified: bool,
}

impl DeviceProfile {
    /// The schema tag that this version reads and writes.
    pub const SCHEMA: &'static str = "capsim.device/1";

    /// Reads a profile from JSON text; `name` (a file name) appears in errors.
    ///
    /// # Errors
    /// Names the field that is missing, unknown, of the wrong type or out of range.
    pub fn parse(text: &str, name: &str) -> Result<Self, ProfileError> {
        let profile: Self = parse(text, name, Self::SCHEMA)?;
        profile.check().map_err(|e| match e {
            ProfileError::Value { field, problem } => ProfileError::Shape {
                name: name.into(),
                field,
                problem,
            },
            e => e,
        })?;
        Ok(profile)
    }

    fn check(&self) -> Result<(), ProfileError> {
        self.memory.total_bytes.check("memory.total_bytes", 1e16)?;
        self.stream_read.check("stream_read")?;
        self.gemm_f16.check("gemm_f16")?;
        self.attention_prefill.check("attention_prefill")?;
        self.elementwise.check("elementwise")?;
        self.launch.check("launch", 1.0)?;
        if let Some(q) = &self.int8_ratio {
            q.check("int8_ratio", 100.0)?;
        }
        self.curves.check()?;
        let bad = |field: String, problem: &str| {
            Err(ProfileError::Value {
                field,
                problem: problem.into(),
            })
        };
        let amount = |v: f64| v.is_finite() && (0.0..1e24).contains(&v);
        for (name, surface) in &self.measured {
            for (i, p) in surface.points.iter().enumerate() {
                let at = |f: &str| format!("measured.{name}.points[{i}].{f}");
                if !(amount(p.seconds) && p.seconds > 0.0) {
                    return bad(at("seconds"), "must be positive");
                }
                if !amount(p.bytes) || !amount(p.flops) || !p.axes.values().all(|v| amount(*v)) {
                    return bad(
                        at("bytes"),
                        "bytes, flops and axes must lie between 0 and 1e24",
                    );
                }
                if !(0.0..=3.0).contains(&p.rel_sd) {
                    return bad(at("rel_sd"), "must lie between 0 and 3");
                }
            }
        }
        for (i, s) in self.switches.iter().enumerate() {
            if ![s.before, s.after, s.factor].iter().all(|v| amount(*v)) {
                return bad(format!("switches[{i}]"), "must hold positive numbers");
            }
        }
        for (i, k) in self.kernels.iter().enumerate() {
            k.check(&format!("kernels[{i}]"))?;
        }
        if let Some(link) = &self.link {
            link.check()?;
        }
        if let Some(host) = &self.host {
            host.check()?;
        }
        if let Some(power) = &self.power {
            power.check()?;
        }
        Ok(())
    }

    /// Streaming read rate from DRAM, bytes per second: the curve's last plateau.
    pub fn dram_read(&self) -> f64 {
        self.stream_read.points[self.stream_read.points.len() - 1].y
    }
}

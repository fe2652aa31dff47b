//! The device profile: what the hardware can do.
use super::{Curve, ProfileError, Provenance, Quantity, parse};
use serde::{Deserialize, Serialize};

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
    /// What the whole profile rests on.
    pub provenance: Provenance,
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
        Ok(())
    }

    /// Streaming read rate from DRAM, bytes per second: the curve's last plateau.
    pub fn dram_read(&self) -> f64 {
        self.stream_read.points[self.stream_read.points.len() - 1].y
    }
}

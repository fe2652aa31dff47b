//! What hardware and engines achieve: profiles with provenance, and the curves in them.
//!
//! A **device profile** holds what a device can do, from microbenchmarks alone. An **engine profile** holds
//! what a serving engine achieves of that. Both are versioned JSON files (docs/formats.md); this module
//! owns the schema and reads text, never files.
pub mod builtin;
mod curve;
mod curves;
mod engine_file;
mod engine_profile;
mod host;
mod kernels;
mod link;
mod power;
mod profile;
mod provenance;
pub mod sheet;
mod spread;
mod times;

pub use curve::{Curve, Point, Reading};
pub use curves::{CURVES, CurveId, CurveInfo, KernelCurves, cuda_graph_launch};
pub use engine_file::{EngineFile, FiledProfile};
// The line reader still says it so.
#[doc(hidden)]
pub use engine_profile::EngineId as Scheduler;
pub use engine_profile::{
    EngineId, EngineProfile, Fill, FitRecord, FrontEndTimes, HostCost, MemoryOverhead, MoePath,
    MoeRegime, OtherWeights, tile_of,
};
pub use host::{CROSSING, Host, HostRates};
pub use kernels::{
    AttentionTimes, ExpertPoint, ExpertTimes, Grid, KernelTimes, Mixed, Piece, Residual, RowShape,
    RowTimes, Seconds,
};
pub use link::{Link, LinkGroup};
pub use power::{Power, Watts};
pub use profile::{DeviceProfile, Memory, ProcessorKernels, Surface, SurfacePoint, Switch};
pub use provenance::{Origin, Provenance, Quantity};
pub use spread::{BatchClass, ModelSpread, Phase};
pub use times::{TimePoint, Times};

/// What is wrong with a profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not JSON, or not of the schema's shape.
    #[error("{name}: field `{field}`: {problem}")]
    Shape {
        /// The file's name.
        name: String,
        /// Path of the offending field.
        field: String,
        /// What serde says.
        problem: String,
    },
    /// A value outside its range.
    #[error("field `{field}`: {problem}")]
    Value {
        /// Path of the offending field.
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// No built-in profile of that name.
    #[error(
        "no built-in {kind} profile is called `{name}`; did you mean `{nearest}`? There are: {known}. A file is given by its path (with a `/` or ending in .json)"
    )]
    Unknown {
        /// `device` or `engine`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The most similar one.
        nearest: String,
        /// All of them.
        known: String,
    },
    /// No device of that name.
    #[error(
        "no device is called `{name}`. Three ways to a profile: measure it (on its machine: capsim calibrate); build one from its data \
         sheet (capsim device new {quoted} --memory-gib 32 --bandwidth-gbs 1792 --tflops-bf16 210, or at once --device \
         '{quoted}:32GiB,1792GB/s,210TFLOPS', with its own numbers); or import published kernel times (capsim import --help). \
         `capsim models` lists those that ship{like}. A file is given by its path (with a `/` or ending in .json)"
    )]
    UnknownDevice {
        /// What was asked for.
        name: String,
        /// The same as one word of a command line.
        quoted: String,
        /// The most similar ones, in words; empty where none is.
        like: String,
    },
    /// A profile of another kind or of a future version.
    #[error("{name}: field `schema`: expected \"{expected}\", found \"{found}\"; {hint}")]
    Schema {
        /// The file's name.
        name: String,
        /// The schema that this version reads.
        expected: &'static str,
        /// What the file says.
        found: String,
        /// What to do.
        hint: &'static str,
    },
}

/// Reads one versioned JSON document: schema tag first, so that another kind of file is named as such.
fn parse<T: serde::de::DeserializeOwned>(
    text: &str,
    name: &str,
    expected: &'static str,
) -> Result<T, ProfileError> {
    #[derive(serde::Deserialize)]
    struct Tag {
        schema: String,
    }
    let shape = |field: String, problem: String| ProfileError::Shape {
        name: name.into(),
        field,
        problem,
    };
    let tag: Tag = serde_json::from_str(text).map_err(|e| shape("schema".into(), e.to_string()))?;
    if tag.schema != expected {
        let (kind, _) = expected.split_once('/').unwrap_or((expected, ""));
        return Err(ProfileError::Schema {
            name: name.into(),
            expected,
            hint: if tag.schema.starts_with(kind) {
                "the file is of another version: use the capsim that wrote it, or write it anew"
            } else {
                "this is another kind of file"
            },
            found: tag.schema,
        });
    }
    let de = &mut serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(de)
        .map_err(|e| shape(e.path().to_string(), e.inner().to_string()))
}

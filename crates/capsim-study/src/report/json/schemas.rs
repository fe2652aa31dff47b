//! Every JSON format by name, with its schema.
use super::{Predictions, calibration, listing, validation};
use crate::validate::manifest::Manifest;
use crate::validate::runs::RunsFile;
use capsim::device::{DeviceProfile, EngineFile, EngineProfile};
use capsim::plan::{capacity::Capacity, memory::Memory, tune::Tuned};
use capsim::predict::spec::ScenarioSpec;
use capsim_calibrate::samples::SamplesFile;
use schemars::{JsonSchema, Schema, generate::SchemaSettings};

/// A format.
#[derive(Clone, Copy)]
pub struct Format {
    /// Its name on the command line; `NAME` of `capsim.NAME/1`.
    pub name: &'static str,
    /// Where it is met.
    pub what: &'static str,
    /// Its JSON Schema.
    pub schema: fn() -> Schema,
}

/// What capsim reads: fields with a default may be absent.
fn read<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>()
}

/// What capsim writes: every field is there.
fn written<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>()
}

const fn format(name: &'static str, what: &'static str, schema: fn() -> Schema) -> Format {
    Format { name, what, schema }
}

/// All of them: files first, then answers.
pub const ALL: &[Format] = &[
    format("scenario", "scenario document", read::<ScenarioSpec>),
    format("device", "device profile", read::<DeviceProfile>),
    format("engine", "engine profile", read::<EngineProfile>),
    format("engines", "file of engine profiles", read::<EngineFile>),
    format("runs", "recorded runs", read::<RunsFile>),
    format("index", "index of run sets", read::<Manifest>),
    format("samples", "samples of calibrate", read::<SamplesFile>),
    format("prediction", "predict --json", written::<Predictions>),
    format("capacity", "capacity --json", written::<Capacity>),
    format("memory", "memory --json", written::<Memory>),
    format("tune", "tune --json", written::<Tuned>),
    format(
        "sweep-summary",
        "sweep --json",
        written::<listing::SweepSummary>,
    ),
    format(
        "sweep-point",
        "a line of a sweep's results.jsonl",
        written::<listing::SweepPoint>,
    ),
    format(
        "validation",
        "validate RUNS --json",
        written::<validation::Validation>,
    ),
    format(
        "accuracy",
        "validate --all --json",
        written::<validation::All>,
    ),
    #[cfg(feature = "live")]
    format(
        "paired",
        "validate --url --json, validate --bench --json",
        written::<super::paired::PairedAnswer>,
    ),
    #[cfg(feature = "live")]
    format(
        "bench",
        "bench --json and its result file",
        written::<super::paired::BenchResult>,
    ),
    #[cfg(feature = "live")]
    format(
        "bench-sweep",
        "bench sweep --json",
        written::<super::paired::BenchSweep>,
    ),
    format(
        "explanation",
        "explain --json",
        written::<validation::Explanation>,
    ),
    format(
        "calibration",
        "calibrate --json",
        written::<calibration::Calibration>,
    ),
    format(
        "calibration-comparison",
        "calibrate --compare --json",
        written::<calibration::Comparison>,
    ),
    format("devices", "devices --json", written::<listing::Devices>),
    format("models", "models --json", written::<listing::Models>),
    format("trace", "trace stats --json", written::<listing::Trace>),
    format(
        "converted-trace",
        "trace convert --json",
        written::<listing::Converted>,
    ),
    format("import", "import --json", written::<listing::Imported>),
    format("page", "report --json", written::<listing::Page>),
];

/// A format by name.
pub fn find(name: &str) -> Option<&'static Format> {
    ALL.iter().find(|f| f.name == name)
}

//! Every JSON format by name, with its schema.
use super::{Predictions, ReadError, calibration, listing, validation};
use crate::validate::manifest::Manifest;
use crate::validate::runs::RunsFile;
use capsim::device::{DeviceProfile, EngineFile, EngineProfile};
use capsim::plan::{capacity::Capacity, compare::Compared, memory::Memory, tune::Tuned};
use capsim::predict::spec::ScenarioSpec;
use capsim_calibrate::bundle::Bundle;
use capsim_calibrate::samples::SamplesFile;
use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A format.
#[derive(Clone, Copy)]
pub struct Format {
    /// Its name on the command line; `NAME` of `capsim.NAME/1`.
    pub name: &'static str,
    /// Where it is met.
    pub what: &'static str,
    /// Its JSON Schema.
    pub schema: fn() -> Schema,
    /// Reads a document into the format's type and writes that again, keys in the order of its fields.
    pub again: fn(Value) -> Result<String, ReadError>,
}

/// What capsim reads: fields with a default may be absent.
const fn file<T: JsonSchema + Serialize + DeserializeOwned>(
    name: &'static str,
    what: &'static str,
) -> Format {
    Format {
        name,
        what,
        schema: || schema::<T>(SchemaSettings::draft2020_12()),
        again: again::<T>,
    }
}

/// What capsim writes: every field is there.
const fn answer<T: JsonSchema + Serialize + DeserializeOwned>(
    name: &'static str,
    what: &'static str,
) -> Format {
    Format {
        name,
        what,
        schema: || schema::<T>(SchemaSettings::draft2020_12().for_serialize()),
        again: again::<T>,
    }
}

fn schema<T: JsonSchema>(settings: SchemaSettings) -> Schema {
    settings.into_generator().into_root_schema_for::<T>()
}

fn again<T: Serialize + DeserializeOwned>(document: Value) -> Result<String, ReadError> {
    let read: T = super::read(document)?;
    Ok(serde_json::to_string_pretty(&read).expect("documents have text keys"))
}

/// All of them: files first, then answers.
pub const ALL: &[Format] = &[
    file::<ScenarioSpec>("scenario", "scenario document"),
    file::<DeviceProfile>("device", "device profile"),
    file::<EngineProfile>("engine", "engine profile"),
    file::<EngineFile>("engines", "file of engine profiles"),
    file::<RunsFile>("runs", "recorded runs"),
    file::<Manifest>("index", "index of run sets"),
    file::<SamplesFile>("samples", "samples of calibrate"),
    file::<Bundle>("bundle", "calibrate --bundle"),
    answer::<Predictions>("prediction", "predict --json"),
    answer::<Capacity>("capacity", "capacity --json"),
    answer::<Compared>("compare", "compare --json"),
    answer::<Memory>("memory", "memory --json"),
    answer::<Tuned>("tune", "tune --json"),
    answer::<listing::SweepSummary>("sweep-summary", "sweep --json"),
    answer::<listing::SweepPoint>("sweep-point", "a line of a sweep's results.jsonl"),
    answer::<validation::Validation>("validation", "validate RUNS --json"),
    answer::<validation::All>("accuracy", "validate --all --json"),
    #[cfg(feature = "live")]
    answer::<super::paired::PairedAnswer>(
        "paired",
        "validate --url --json, validate --bench --json",
    ),
    #[cfg(feature = "live")]
    answer::<super::verified::Verification>(
        "verification",
        "capacity --verify --json, tune --verify --json",
    ),
    #[cfg(feature = "live")]
    answer::<super::paired::BenchResult>("bench", "bench --json and its result file"),
    #[cfg(feature = "live")]
    answer::<super::paired::BenchSweep>("bench-sweep", "bench sweep --json"),
    answer::<validation::Explanation>("explanation", "explain RUNS --json"),
    answer::<super::log::LogAnswer>("log", "explain LOG --json"),
    answer::<calibration::Calibration>("calibration", "calibrate --json"),
    answer::<calibration::Comparison>("calibration-comparison", "calibrate --compare --json"),
    answer::<listing::Devices>("devices", "devices --json"),
    answer::<listing::Models>("models", "models --json"),
    answer::<listing::Trace>("trace", "trace stats --json"),
    answer::<listing::Converted>("converted-trace", "trace convert --json"),
    answer::<listing::Imported>("import", "import --json"),
    answer::<listing::Page>("page", "report --json"),
];

/// A format by name.
pub fn find(name: &str) -> Option<&'static Format> {
    ALL.iter().find(|f| f.name == name)
}

//! One calibration in one file, to be read through and sent: profile, samples with their environment, and a benchmark of a server on the
//! same device if there is one.
use super::fit::{self, FitError};
use super::samples::SamplesFile;
use capsim::device::DeviceProfile;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// `"capsim.bundle/1"`.
    #[schemars(extend("const" = "capsim.bundle/1"))]
    pub schema: String,
    /// What is in it, for those who review it.
    pub about: String,
    /// The profile that was made of the samples.
    pub device: DeviceProfile,
    /// All samples, with device, driver and environment.
    pub samples: SamplesFile,
    /// A result of `capsim bench serve` against a server on this device, without addresses and texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bench: Option<Value>,
}

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It cannot be read, or says something impossible.
    #[error("{name}: `{field}`: {problem}")]
    Field {
        /// The file.
        name: String,
        /// Where.
        field: String,
        /// What.
        problem: String,
    },
    /// Its samples give no profile.
    #[error("{name}: {error}")]
    Fit {
        /// The file.
        name: String,
        /// Why.
        error: FitError,
    },
}

/// Keys of a benchmark that say where it ran or what was asked and answered.
const PRIVATE: &[&str] = &["url", "root", "generated_texts"];

/// Takes private keys out, at any depth.
fn bare(value: &mut Value) {
    match value {
        Value::Object(o) => {
            o.retain(|k, _| !PRIVATE.contains(&k.as_str()));
            o.values_mut().for_each(bare);
        }
        Value::Array(a) => a.iter_mut().for_each(bare),
        _ => {}
    }
}

/// Whether this is what `capsim bench serve --save-result` writes.
fn is_bench(value: &Value) -> bool {
    let tag = value.pointer("/capsim/schema").and_then(Value::as_str);
    tag.is_some_and(|t| t.starts_with("capsim.bench/"))
}

impl Bundle {
    /// The schema tag that this version reads and writes.
    pub const SCHEMA: &'static str = "capsim.bundle/1";

    /// Of a profile and the samples that it was made of. `bench` comes with the name of its file.
    ///
    /// # Errors
    /// The benchmark is none of capsim's.
    pub fn new(
        device: DeviceProfile,
        samples: SamplesFile,
        bench: Option<(&str, Value)>,
    ) -> Result<Self, BundleError> {
        let bench = match bench {
            Some((name, value)) if !is_bench(&value) => {
                return Err(BundleError::Field {
                    name: name.into(),
                    field: "capsim.schema".into(),
                    problem: "this is no result of `capsim bench serve --save-result`".into(),
                });
            }
            Some((_, mut value)) => {
                bare(&mut value);
                Some(value)
            }
            None => None,
        };
        let beside = match bench {
            Some(_) => ", and a benchmark of a server on it",
            None => "",
        };
        Ok(Self {
            schema: Self::SCHEMA.into(),
            about: format!(
                "capsim calibrate on {}, {}: the device profile, {} points with their samples, driver and environment{beside}. \
                 `capsim import calibration FILE` reads it.",
                samples.device.name,
                samples.started,
                samples.points.len()
            ),
            device,
            samples,
            bench,
        })
    }

    /// As text, to be written.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings only") + "\n"
    }

    /// Reads a file; `name` appears in errors.
    ///
    /// # Errors
    /// Names the field that is missing, unknown, of the wrong type or out of range.
    pub fn parse(text: &str, name: &str) -> Result<Self, BundleError> {
        let error = |field: String, problem: String| BundleError::Field {
            name: name.into(),
            field,
            problem,
        };
        let value: Value = serde_json::from_str(text)
            .map_err(|e| error("(whole)".into(), format!("no JSON: {e}")))?;
        match value.get("schema").and_then(Value::as_str) {
            Some(Self::SCHEMA) => {}
            other => {
                return Err(error(
                    "schema".into(),
                    format!(
                        "expected \"{}\", found {}: `capsim calibrate --bundle` writes such a file",
                        Self::SCHEMA,
                        other.map_or("none".into(), |o| format!("\"{o}\""))
                    ),
                ));
            }
        }
        let bundle: Self = serde_path_to_error::deserialize(value)
            .map_err(|e| error(e.path().to_string(), e.inner().to_string()))?;
        // The readers' own checks, beyond types.
        let samples = bundle.samples.to_text();
        SamplesFile::parse(&samples, name).map_err(|e| error("samples".into(), e.to_string()))?;
        let device = serde_json::to_string(&bundle.device).expect("numbers and strings");
        DeviceProfile::parse(&device, name).map_err(|e| error("device".into(), e.to_string()))?;
        if bundle.bench.as_ref().is_some_and(|b| !is_bench(b)) {
            let problem = "no result of `capsim bench serve`".into();
            return Err(error("bench".into(), problem));
        }
        Ok(bundle)
    }

    /// The profile that this version makes of the samples, and whether it is the one in the bundle.
    ///
    /// # Errors
    /// The samples give none.
    pub fn refit(&self, name: &str) -> Result<(fit::Fit, bool), BundleError> {
        let fit = fit::fit(&self.samples, "samples.json").map_err(|error| BundleError::Fit {
            name: name.into(),
            error,
        })?;
        let same = fit.profile == self.device;
        Ok((fit, same))
    }
}

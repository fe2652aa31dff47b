//! A scenario as a document, `capsim.scenario/1`: model, device, engine, settings and load, as far as they are said.
//!
//! The command line's flags, a pasted line, a plan, the page, recorded runs and Python each become a [`ScenarioSpec`] or change one;
//! [`ScenarioSpec::resolve`] is the one place in which what is not said takes its default.
pub mod deployment;
mod grid;
mod line;
mod resolve;
mod served;
mod speculation;

pub use deployment::{DeploymentSection, DeploymentValues};
pub use grid::{Point, Variation, expand};
pub use resolve::{Catalog, DEFAULT_DEVICE, SpecError, weighted};
pub use served::*;

use crate::device::{DeviceProfile, EngineProfile};
use crate::engine::settings::{EngineSection, SettingValues};
use crate::fields::{Field, FieldError, Section, Value};
use crate::workload::load::{LoadSection, LoadValues};
use serde::{Deserialize, Serialize};

/// A profile by its name, or the profile itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Part<T> {
    /// A name that the catalogue knows.
    Named(String),
    /// The thing itself.
    Inline(Box<T>),
}

/// A model's config under a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct InlineModel {
    /// The model's name, for people.
    pub name: String,
    /// The content of its Hugging Face `config.json`.
    pub config: serde_json::Value,
}

/// A scenario as far as it is said. What is absent takes its default when it is resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ScenarioSpec {
    /// `"capsim.scenario/1"`.
    pub schema: String,
    /// Model: a name that ships with capsim, the path of a `config.json`, or a config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Part<InlineModel>>,
    /// Keys of the model's config with other values: `KEY=VALUE`, several separated by `;`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// Class, or `model_type`, whose layers are taken, whatever the config names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_architecture: Option<String>,
    /// Weight format; absent: the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Device profile: an id that ships with capsim, a path, or a profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Part<DeviceProfile>>,
    /// Engine profile: an id that ships with capsim, a path, or a profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Part<EngineProfile>>,
    /// The engine that is started, where it is not the profile's: vllm, sglang, trtllm, llama-server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Release of vLLM whose rules, defaults and memory terms apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// Kernels of the experts, by their name in the engine profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moe_tiles: Option<String>,
    /// Popularity of experts: `uniform`, or `zipf:S`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<String>,
    /// GB/s of the host's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_bandwidth_gbs: Option<f64>,
    /// 10¹² matrix operations per second of the host's processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_tflops: Option<f64>,
    /// GB/s of the bus between the host's memory and the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus_gbs: Option<f64>,
    /// GB/s of each device to other nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_gbs: Option<f64>,
    /// Engine settings under vLLM's names.
    #[serde(default, skip_serializing_if = "SettingValues::is_empty")]
    pub settings: SettingValues,
    /// The load, under `vllm bench serve`'s names.
    #[serde(default, skip_serializing_if = "LoadValues::is_empty")]
    pub load: LoadValues,
    /// How many engines serve, and what connects them; nothing: one engine.
    #[serde(default, skip_serializing_if = "DeploymentValues::is_empty")]
    pub deployment: DeploymentValues,
    /// Flags of a pasted line that may change memory or speed and are not simulated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_simulated: Vec<String>,
    /// Flags of a pasted line that change neither.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub harmless: Vec<String>,
    /// How a pasted line was read, where the reader should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub line_notes: Vec<String>,
}

impl Default for ScenarioSpec {
    fn default() -> Self {
        Self {
            schema: Self::SCHEMA.into(),
            model: None,
            set: None,
            assume_architecture: None,
            weights: None,
            device: None,
            engine: None,
            server: None,
            engine_version: None,
            moe_tiles: None,
            routing: None,
            host_bandwidth_gbs: None,
            host_tflops: None,
            bus_gbs: None,
            network_gbs: None,
            settings: SettingValues::default(),
            load: LoadValues::default(),
            deployment: DeploymentValues::default(),
            not_simulated: vec![],
            harmless: vec![],
            line_notes: vec![],
        }
    }
}

impl ScenarioSpec {
    /// The schema tag that this version reads and writes.
    pub const SCHEMA: &'static str = "capsim.scenario/1";

    /// Reads a document; `name` (a file name) appears in errors.
    ///
    /// # Errors
    /// Names the field that is unknown or of the wrong type.
    pub fn parse(text: &str, name: &str) -> Result<Self, SpecError> {
        let in_file = |problem: String| SpecError::File {
            name: name.into(),
            problem,
        };
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|e| in_file(e.to_string()))?;
        match value.get("schema").and_then(|s| s.as_str()) {
            Some(Self::SCHEMA) => {}
            Some(other) => {
                let expected = Self::SCHEMA;
                return Err(in_file(format!(
                    "schema: `{other}` is no scenario of this version; expected `{expected}`"
                )));
            }
            None => {
                return Err(in_file(format!(
                    "schema: is missing; a scenario begins with \"schema\": \"{}\"",
                    Self::SCHEMA
                )));
            }
        }
        serde_path_to_error::deserialize(value).map_err(|e| {
            let path = e.path().to_string();
            in_file(match path.as_str() {
                "." => e.inner().to_string(),
                path => format!("{path}: {}", e.inner()),
            })
        })
    }

    /// The field of this name, whichever section it belongs to.
    ///
    /// # Errors
    /// There is none; the error names the most similar one.
    pub fn field(name: &str) -> Result<&'static Field, FieldError> {
        if let Some(field) = all_fields().find(|f| f.is(name)) {
            return Ok(field);
        }
        let near = all_fields()
            .map(|f| (strsim::jaro_winkler(&f.flag(), &name.replace('_', "-")), f))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(likeness, _)| *likeness > 0.8);
        Err(FieldError {
            field: name.into(),
            problem: match near {
                Some((_, f)) => {
                    format!("is no field of a scenario; did you mean `{}`?", f.name)
                }
                None => "is no field of a scenario".into(),
            },
        })
    }

    /// Sets a field of any section.
    ///
    /// # Errors
    /// There is no field of this name.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), FieldError> {
        let field = Self::field(name)?;
        if let Ok(at) = EngineSection::place(field.name) {
            self.settings.put(at, value);
            return Ok(());
        }
        if let Ok(at) = LoadSection::place(field.name) {
            self.load.put(at, value);
            return Ok(());
        }
        if let Ok(at) = DeploymentSection::place(field.name) {
            self.deployment.put(at, value);
            return Ok(());
        }
        if let (Value::Number(number), Some(slot)) = (&value, self.host_rate(field.name)) {
            *slot = Some(*number);
            return Ok(());
        }
        let text = value.to_string();
        match field.name {
            "model" => self.model = Some(Part::Named(text)),
            "device" => self.device = Some(Part::Named(text)),
            "engine" => self.engine = Some(Part::Named(text)),
            "set" => self.set = Some(text),
            "assume_architecture" => self.assume_architecture = Some(text),
            "weights" => self.weights = Some(text),
            "server" => self.server = Some(text),
            "engine_version" => self.engine_version = Some(text),
            "moe_tiles" => self.moe_tiles = Some(text),
            "routing" => self.routing = Some(text),
            other => unreachable!("{other} is in no section"),
        }
        Ok(())
    }

    /// The host's rate of this name.
    fn host_rate(&mut self, name: &str) -> Option<&mut Option<f64>> {
        match name {
            "host_bandwidth_gbs" => Some(&mut self.host_bandwidth_gbs),
            "host_tflops" => Some(&mut self.host_tflops),
            "bus_gbs" => Some(&mut self.bus_gbs),
            "network_gbs" => Some(&mut self.network_gbs),
            _ => None,
        }
    }

    /// Sets a field to what a JSON document or a plan says of it.
    ///
    /// # Errors
    /// There is no field of this name, or it cannot have this value.
    pub fn set_json(&mut self, name: &str, value: &serde_json::Value) -> Result<(), FieldError> {
        let value = Self::field(name)?.from_json(value)?;
        self.set(name, value)
    }

    /// Everything that is said by a value, in the order of the sections; parts that are inline are not in it.
    pub fn said(&self) -> Vec<(&'static Field, Value)> {
        fn name<T>(part: &Option<Part<T>>) -> Option<&String> {
            match part {
                Some(Part::Named(name)) => Some(name),
                _ => None,
            }
        }
        let texts = [
            (MODEL, name(&self.model)),
            (SET, self.set.as_ref()),
            (ASSUME_ARCHITECTURE, self.assume_architecture.as_ref()),
            (WEIGHTS, self.weights.as_ref()),
            (DEVICE, name(&self.device)),
            (ENGINE, name(&self.engine)),
            (SERVER, self.server.as_ref()),
            (ENGINE_VERSION, self.engine_version.as_ref()),
            (MOE_TILES, self.moe_tiles.as_ref()),
            (ROUTING, self.routing.as_ref()),
        ];
        let served = texts
            .into_iter()
            .filter_map(|(key, text)| Some((key.field(), Value::Text(text?.clone()))));
        let rates = [
            (HOST_BANDWIDTH_GBS, self.host_bandwidth_gbs),
            (HOST_TFLOPS, self.host_tflops),
            (BUS_GBS, self.bus_gbs),
            (NETWORK_GBS, self.network_gbs),
        ];
        let rates = rates
            .into_iter()
            .filter_map(|(key, rate)| Some((key.field(), Value::Number(rate?))));
        let settings = self.settings.iter().map(|(f, v)| (f, v.clone()));
        let load = self.load.iter().map(|(f, v)| (f, v.clone()));
        let deployment = self.deployment.iter().map(|(f, v)| (f, v.clone()));
        served
            .chain(rates)
            .chain(settings)
            .chain(load)
            .chain(deployment)
            .collect()
    }

    /// The parts of it that are inline, and the flags of a pasted line that are not simulated: what [`said`](Self::said) leaves out.
    pub fn unsaid(&self) -> Self {
        fn inline<T: Clone>(part: &Option<Part<T>>) -> Option<Part<T>> {
            part.clone().filter(|p| matches!(p, Part::Inline(_)))
        }
        Self {
            model: inline(&self.model),
            device: inline(&self.device),
            engine: inline(&self.engine),
            not_simulated: self.not_simulated.clone(),
            harmless: self.harmless.clone(),
            line_notes: self.line_notes.clone(),
            ..Self::default()
        }
    }

    /// Whether a part of it is inline.
    pub fn has_inline(&self) -> bool {
        let inline = self.unsaid();
        inline.model.is_some() || inline.device.is_some() || inline.engine.is_some()
    }

    /// Takes over what `other` says.
    pub fn overlay(&mut self, other: &Self) {
        fn over<T: Clone>(slot: &mut Option<T>, other: &Option<T>) {
            if other.is_some() {
                slot.clone_from(other);
            }
        }
        over(&mut self.model, &other.model);
        over(&mut self.set, &other.set);
        over(&mut self.assume_architecture, &other.assume_architecture);
        over(&mut self.weights, &other.weights);
        over(&mut self.device, &other.device);
        over(&mut self.engine, &other.engine);
        over(&mut self.server, &other.server);
        over(&mut self.engine_version, &other.engine_version);
        over(&mut self.moe_tiles, &other.moe_tiles);
        over(&mut self.routing, &other.routing);
        over(&mut self.host_bandwidth_gbs, &other.host_bandwidth_gbs);
        over(&mut self.host_tflops, &other.host_tflops);
        over(&mut self.bus_gbs, &other.bus_gbs);
        over(&mut self.network_gbs, &other.network_gbs);
        self.settings.overlay(&other.settings);
        self.load.overlay(&other.load);
        self.deployment.overlay(&other.deployment);
        for (mine, theirs) in [
            (&mut self.not_simulated, &other.not_simulated),
            (&mut self.harmless, &other.harmless),
            (&mut self.line_notes, &other.line_notes),
        ] {
            for flag in theirs {
                if !mine.contains(flag) {
                    mine.push(flag.clone());
                }
            }
        }
    }

    /// The document as JSON text, keys in the order of this type, without what was not said.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("text keys and nothing that can fail") + "\n"
    }
}

/// The fields of all sections.
pub fn all_fields() -> impl Iterator<Item = &'static Field> {
    ServedSection::fields()
        .chain(EngineSection::fields())
        .chain(LoadSection::fields())
        .chain(DeploymentSection::fields())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_back_as_it_was_written() {
        let mut s = ScenarioSpec::default();
        for (name, value) in [
            ("model", Value::Text("qwen3-8b".into())),
            ("max-num-seqs", Value::Count(8)),
            ("input-len", Value::Count(100)),
            ("request_rate", Value::Number(f64::INFINITY)),
            ("weights", Value::Text("fp8".into())),
        ] {
            s.set(name, value).unwrap();
        }
        let text = s.to_json();
        assert_eq!(ScenarioSpec::parse(&text, "s.json").unwrap(), s);
        let one = r#"{"schema": "capsim.scenario/1", "device": "h100-sxm", "load": {"max_concurrency": 3}}"#;
        s.overlay(&ScenarioSpec::parse(one, "t.json").unwrap());
        assert_eq!(s.device, Some(Part::Named("h100-sxm".into())));
        assert_eq!(s.load.iter().count(), 3);
    }

    #[test]
    fn names_are_unique_over_all_sections() {
        let mut seen: Vec<&str> = vec![];
        for f in all_fields() {
            for name in std::iter::once(&f.name).chain(f.aliases) {
                assert!(!seen.contains(name), "{name} is there twice");
                seen.push(name);
            }
        }
    }

    #[test]
    fn what_is_no_scenario_is_refused_by_its_field() {
        for (text, part) in [
            ("{}", "schema: is missing"),
            (r#"{"schema": "capsim.scenario/2"}"#, "of this version"),
            (
                r#"{"schema": "capsim.scenario/1", "modle": "x"}"#,
                "unknown field `modle`",
            ),
            (
                r#"{"schema": "capsim.scenario/1", "settings": {"max_num_seqs": "many"}}"#,
                "settings: max_num_seqs: `many`",
            ),
            (
                r#"{"schema": "capsim.scenario/1", "load": {"request_rat": 1}}"#,
                "did you mean `request_rate`",
            ),
            ("[", "EOF"),
        ] {
            let e = ScenarioSpec::parse(text, "s.json").unwrap_err().to_string();
            assert!(e.starts_with("s.json: ") && e.contains(part), "{e}");
        }
        let e = ScenarioSpec::default()
            .set("max-num-sequences", Value::Count(1))
            .unwrap_err();
        assert!(e.to_string().contains("`max_num_seqs`"), "{e}");
    }
}

//! What was said → a scenario. Every default of what was not said is taken here, or in a function that this one calls.
use super::{InlineModel, Part, ScenarioSpec};
use crate::cost::Routing;
use crate::device::{DeviceProfile, EngineId, EngineProfile, Origin, ProfileError};
use crate::engine::settings::{
    DTYPE, KV_CACHE_DTYPE, MAX_MODEL_LEN, NNODES, QUANTIZATION, SettingValues,
};
use crate::engine::{ENGINES, EngineVersion};
use crate::fields::FieldError;
use crate::model::encoder::Image;
use crate::model::{self, Model, ModelConfig, Overrides, Precision};
use crate::predict::memory::MemoryError;
use crate::predict::{EngineWanted, Engines, Notes, Scenario, SettingsError};
use crate::workload::load::{self, LoadFiles};
use crate::workload::{ImageCost, Images};
use std::sync::Arc;

/// The model that the built-in profiles were made for.
const DEFAULT_MODEL: &str = "Qwen/Qwen3-30B-A3B-Instruct-2507";

/// The device of the first recorded runs.
/// The device where none is named.
pub const DEFAULT_DEVICE: &str = "gfx1151";

/// Where models, profiles and files are found by their names.
pub trait Catalog: LoadFiles {
    /// A model's config, with what is said over it.
    ///
    /// # Errors
    /// There is none of this name, or it is not valid.
    fn model(&self, name: &str, over: &Overrides) -> Result<ModelConfig, SpecError>;
    /// A device profile.
    ///
    /// # Errors
    /// There is none of this name, or it is not valid.
    fn device(&self, name: &str) -> Result<DeviceProfile, SpecError>;
    /// An engine profile.
    ///
    /// # Errors
    /// There is none of this name, or it is not valid.
    fn engine(&self, name: &str) -> Result<EngineProfile, SpecError>;
}

/// What is wrong with a scenario.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A file that is no scenario.
    #[error("{name}: {problem}")]
    File {
        /// The file's name.
        name: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A field.
    #[error(transparent)]
    Field(#[from] FieldError),
}

impl SpecError {
    /// A field that cannot have its value.
    pub fn field(field: &str, problem: impl ToString) -> Self {
        Self::Field(FieldError {
            field: field.into(),
            problem: problem.to_string(),
        })
    }
}

impl Scenario {
    /// Where no longest sequence is said and the memory does not hold one of the model's own length: the longest that it holds.
    pub fn hold_longest(&mut self) {
        if let Some(d) = &self.deployment {
            // The shortest of what the pools hold.
            for mut pool in d.scenarios(self) {
                let before = pool.serve.get(MAX_MODEL_LEN);
                pool.serve
                    .set(MAX_MODEL_LEN, self.serve.get(MAX_MODEL_LEN).or(before));
                pool.hold_longest();
                if pool.serve.get(MAX_MODEL_LEN) != before {
                    self.serve.set(MAX_MODEL_LEN, pool.serve.get(MAX_MODEL_LEN));
                    self.notes.assumed = pool.notes.assumed;
                }
            }
            return;
        }
        if self.serve.get(MAX_MODEL_LEN).is_none()
            && let Err(SettingsError::Memory(MemoryError::ModelLenTooLong {
                max_model_len,
                largest,
                ..
            })) = self.settings()
            && largest > 0
        {
            self.serve.set(MAX_MODEL_LEN, largest);
            self.notes.assumed.push(format!(
                "--max-model-len {largest}, the longest that the memory holds; the engine itself would not start with the \
                 model's {max_model_len}"
            ));
        }
    }
}

impl ScenarioSpec {
    /// The scenario as it is said, defaults included. The same document and catalogue give the same scenario.
    ///
    /// # Errors
    /// A name that the catalogue does not know, a value out of range, values that contradict each other. Errors name the field.
    pub fn described(&self, catalog: &dyn Catalog) -> Result<Scenario, SpecError> {
        if self.deployment.is_empty() {
            return self.alone(catalog);
        }
        let (base_spec, pools) = self.with_pools()?;
        let mut base = base_spec.alone(catalog)?;
        base.deployment = self.deployed(&base, pools, &base_spec, catalog)?;
        if let Some(d) = &base.deployment {
            let assumed = d.assumed(&base);
            base.notes.assumed.extend(assumed);
        }
        Ok(base)
    }

    /// As [`described`](Self::described), of one engine.
    pub(super) fn alone(&self, catalog: &dyn Catalog) -> Result<Scenario, SpecError> {
        let (model_name, config) = self.config(catalog)?;
        let model = self.weighted(&config)?;
        let device = match &self.device {
            Some(Part::Inline(profile)) => (**profile).clone(),
            Some(Part::Named(name)) => catalog.device(name)?,
            None => catalog.device(DEFAULT_DEVICE)?,
        };
        let device = device
            .with_host(self.host_bandwidth_gbs, self.host_tflops, self.bus_gbs)
            .and_then(|d| d.with_network(self.network_gbs))
            .map_err(|e| match e {
                ProfileError::Value { field, problem } => SpecError::field(&field, problem),
                e => SpecError::field("device", e),
            })?;
        let release = self.release()?;
        let (engine, engines) = self.engine_profile(catalog, &model, &device, release)?;
        let (mut workload, of_load) = load::resolve(&self.load, catalog)?;
        if let Some(images) = &mut workload.images {
            images.each = cost_of(images, &config).map_err(|e| SpecError::field("images", e))?;
        }
        let mut assumed = [&config.assumed[..], &of_load].concat();
        assumed.extend(self.network(&device));
        let mut scenario = Scenario {
            model_name,
            model,
            device,
            engine,
            engines,
            release,
            serve: self.settings.clone(),
            moe_path: self.moe_tiles.clone(),
            routing: self.popularity()?,
            speculation: self.speculation(catalog)?,
            workload,
            notes: Notes {
                assumed,
                not_simulated: self.not_simulated.clone(),
                harmless: self.harmless.clone(),
                line: self.line_notes.clone(),
                device_assumed: self.device.is_none(),
                said: (!self.has_inline()).then(|| {
                    let said = self.said().into_iter();
                    said.map(|(f, v)| (f.name, v)).collect()
                }),
            },
            deployment: None,
        };
        let drafts = super::speculation::assumed(&scenario);
        scenario.notes.assumed.extend(drafts);
        Ok(scenario)
    }

    /// As [`described`](Self::described); where no longest sequence is said and the memory does not hold one of the model's own
    /// length, the longest that it holds. vLLM would not start there, which the notes say.
    ///
    /// # Errors
    /// As [`described`](Self::described).
    pub fn resolve(&self, catalog: &dyn Catalog) -> Result<Scenario, SpecError> {
        let mut scenario = self.described(catalog)?;
        scenario.hold_longest();
        Ok(scenario)
    }

    /// What is assumed of the network between nodes, where there are several.
    fn network(&self, device: &DeviceProfile) -> Option<String> {
        self.settings.get(NNODES).filter(|n| *n > 1)?;
        let network = device.host_rates().network;
        let assumed = network.provenance.origin == Origin::Assumed;
        assumed.then(|| {
            format!(
                "{:.0} GB/s from each device to other nodes, {} (--network-gbs)",
                network.value / 1e9,
                network.provenance.source
            )
        })
    }

    /// The model's name and config.
    ///
    /// # Errors
    /// The catalogue does not know it, or the config is not valid.
    pub fn config(&self, catalog: &dyn Catalog) -> Result<(String, ModelConfig), SpecError> {
        let over = self.overrides()?;
        match &self.model {
            Some(Part::Inline(inline)) => {
                let InlineModel { name, config } = &**inline;
                let config = model::config::parse_with(&config.to_string(), name, &over);
                Ok((
                    name.clone(),
                    config.map_err(|e| SpecError::field("model", e))?,
                ))
            }
            Some(Part::Named(name)) => Ok((name.clone(), catalog.model(name, &over)?)),
            None => Ok((DEFAULT_MODEL.into(), catalog.model(DEFAULT_MODEL, &over)?)),
        }
    }

    /// What is said over the model's config.
    ///
    /// # Errors
    /// A part of `set` that is not `KEY=VALUE`.
    pub fn overrides(&self) -> Result<Overrides, SpecError> {
        let keys = Overrides::keys(self.set.as_deref().unwrap_or_default());
        Ok(Overrides {
            architecture: self.assume_architecture.clone(),
            keys: keys.map_err(|e| SpecError::field("set", e))?,
        })
    }

    /// The model in the weight format that is said.
    ///
    /// # Errors
    /// A format that is not known, or that the model cannot have.
    pub fn weighted(&self, config: &ModelConfig) -> Result<Model, SpecError> {
        weighted(config, self.weights.as_deref(), &self.settings)
    }

    fn release(&self) -> Result<Option<EngineVersion>, SpecError> {
        match &self.engine_version {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(version) => Ok(Some(version)),
                Err(e) => Err(SpecError::field("engine_version", e)),
            },
        }
    }

    /// The engine that is said to be started.
    fn started(&self) -> Result<Option<EngineId>, SpecError> {
        let Some(server) = self.server.as_deref() else {
            return Ok(None);
        };
        let found = ENGINES.iter().find(|e| e.key() == server);
        found.map(|e| Some(e.id())).ok_or_else(|| {
            let keys: Vec<&str> = ENGINES.iter().map(|e| e.key()).collect();
            let problem = format!("`{server}` is none of {}", keys.join(", "));
            SpecError::field("server", problem)
        })
    }

    /// The engine profile that is named, with the rules of the engine that is started, else the one that fits best; and where it was
    /// chosen, if it was.
    fn engine_profile(
        &self,
        catalog: &dyn Catalog,
        model: &Model,
        device: &DeviceProfile,
        release: Option<EngineVersion>,
    ) -> Result<(EngineProfile, Option<Arc<Engines>>), SpecError> {
        let started = self.started()?;
        let engines = Engines::builtin();
        let named = match &self.engine {
            Some(Part::Inline(profile)) => (**profile).clone(),
            Some(Part::Named(name)) => catalog.engine(name)?,
            None => {
                let profile = engines.choose(&EngineWanted {
                    model,
                    device,
                    engine: started,
                    release,
                });
                return Ok((profile, Some(Arc::new(engines))));
            }
        };
        let rules = started.unwrap_or(named.scheduler);
        Ok((engines.under(named, rules, device), None))
    }

    fn popularity(&self) -> Result<Routing, SpecError> {
        let Some(text) = &self.routing else {
            return Ok(Routing::Uniform);
        };
        if text == "uniform" {
            return Ok(Routing::Uniform);
        }
        if let Some(s) = text.strip_prefix("zipf:")
            && let Ok(s) = s.parse::<f64>()
            && (0.0..=5.0).contains(&s)
        {
            return Ok(Routing::Zipf(s));
        }
        Err(SpecError::field(
            "routing",
            format!("`{text}`: must be uniform or zipf:S with S between 0 and 5"),
        ))
    }
}

/// What an image is to a model, by the model's own rule.
fn cost_of(images: &Images, config: &ModelConfig) -> Result<ImageCost, String> {
    let encoder = config.encoder.as_ref().ok_or_else(|| {
        "the model's config describes no vision tower that capsim knows: give the path of the checkpoint's own config.json, with its \
         vision_config"
            .to_owned()
    })?;
    let image = encoder.image(Image {
        width: images.width,
        height: images.height,
    })?;
    Ok(ImageCost {
        tokens: image.tokens,
        embeds: image.embeds,
        patches: image.patches,
        tiles: image.tiles,
    })
}

/// A model in a weight format. `weights` is capsim's own word; the settings `quantization` and `dtype` are vLLM's.
///
/// # Errors
/// A format that is not known, or that the model cannot have.
pub fn weighted(
    config: &ModelConfig,
    weights: Option<&str>,
    settings: &SettingValues,
) -> Result<Model, SpecError> {
    let dtype = settings.get(DTYPE).filter(|d| d != "auto");
    let quantization = settings.get(QUANTIZATION);
    let named = weights
        .map(|w| ("weights", w))
        .or(quantization.as_deref().map(|q| ("quantization", q)));
    let by_name = |field: &str, said: &str, name: &str| {
        Precision::by_name(name, config)
            .map_err(|e| SpecError::field(field, format!("`{said}`: {e}")))
    };
    let checkpoint = || {
        Precision::of_checkpoint(config).map_err(|e| {
            let way = "name the weights' format with --weights (nvfp4, fp8, awq, int8, …)";
            SpecError::field("model", format!("{e}; {way}"))
        })
    };
    let precision = match (named, &dtype) {
        (Some(("quantization", q)), _) => Precision::of_flag(q, config)
            .map_err(|e| SpecError::field("quantization", format!("`{q}`: {e}")))?,
        (Some((field, w)), _) => by_name(field, w, w)?,
        (None, Some(d)) => {
            let name = match d.as_str() {
                "half" | "float16" => "fp16",
                "bfloat16" => "bf16",
                "float" | "float32" => "fp32",
                other => other,
            };
            // A quantized checkpoint stays one.
            checkpoint()?.with_dtype(by_name("dtype", d, name)?.dtype)
        }
        (None, None) => checkpoint()?,
    };
    let precision = match settings.get(KV_CACHE_DTYPE).as_deref() {
        None | Some("auto") => precision,
        Some(kv) => precision.with_kv(
            kv.parse()
                .map_err(|e| SpecError::field("kv_cache_dtype", format!("`{kv}`: {e}")))?,
        ),
    };
    Ok(Model::new(config, precision))
}

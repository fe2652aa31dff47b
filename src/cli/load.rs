//! Names on the command line → models and profiles: built in, or a file's path.
use super::files::Files;
use crate::device::{DeviceProfile, EngineProfile, Scheduler, builtin};
use crate::model::{self, Model, ModelConfig, Precision};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

impl Files {
    fn is_path(&self, name: &str) -> bool {
        name.ends_with(".json") || self.exists(Path::new(name))
    }

    /// A folder stands for the file in it.
    fn file_in(&self, name: &str, file: &str) -> PathBuf {
        let path = PathBuf::from(name);
        if self.is_dir(&path) {
            path.join(file)
        } else {
            path
        }
    }

    /// A device profile.
    pub fn device(&self, name: &str) -> anyhow::Result<DeviceProfile> {
        if self.is_path(name) {
            let path = self.file_in(name, "device.json");
            Ok(DeviceProfile::parse(
                &self.read(&path)?,
                &path.display().to_string(),
            )?)
        } else {
            builtin::device(name).context("--device")
        }
    }

    /// An engine profile.
    pub fn engine(&self, name: &str) -> anyhow::Result<EngineProfile> {
        if self.is_path(name) {
            let path = self.file_in(name, "engine.json");
            Ok(EngineProfile::parse(
                &self.read(&path)?,
                &path.display().to_string(),
            )?)
        } else {
            builtin::engine(name).context("--engine")
        }
    }

    /// The engine profile that was named, else one for the device, of the engine that a pasted line starts.
    pub fn engine_for(
        &self,
        name: Option<&str>,
        device: &DeviceProfile,
        starts: Option<Scheduler>,
    ) -> anyhow::Result<EngineProfile> {
        let Some(name) = name else {
            return match starts {
                None | Some(Scheduler::Vllm) => Ok(builtin::engine_for(device)),
                Some(rules) => builtin::engine_of(device, rules).with_context(|| {
                    format!(
                        "the pasted line starts {}, and no built-in engine profile of it knows device `{}`: name one with --engine \
                         (capsim import llama-bench makes one)",
                        rules.words(),
                        device.id
                    )
                }),
            };
        };
        let profile = self.engine(name)?;
        match starts {
            Some(rules) if rules != profile.scheduler => bail!(
                "--engine {name}: the profile is one of {}, but the pasted line starts {}",
                profile.scheduler.words(),
                rules.words()
            ),
            _ => Ok(profile),
        }
    }

    /// A model's config.
    pub fn config(&self, name: &str) -> anyhow::Result<ModelConfig> {
        if self.is_path(name) {
            let path = self.file_in(name, "config.json");
            Ok(model::config::parse(
                &self.read(&path)?,
                &path.display().to_string(),
            )?)
        } else {
            Ok(model::builtin::find(name).context("--model")?.config())
        }
    }
}

/// A device profile on this machine.
pub fn device(name: &str) -> anyhow::Result<DeviceProfile> {
    Files::default().device(name)
}

/// An engine profile on this machine.
pub fn engine(name: &str) -> anyhow::Result<EngineProfile> {
    Files::default().engine(name)
}

/// A model's config on this machine.
pub fn config(name: &str) -> anyhow::Result<ModelConfig> {
    Files::default().config(name)
}

/// A model in a weight format. `weights` is capsim's own word; `quantization` and `dtype` are vLLM's.
pub fn model(
    config: &ModelConfig,
    weights: Option<&str>,
    quantization: Option<&str>,
    dtype: Option<&str>,
    kv_cache_dtype: Option<&str>,
) -> anyhow::Result<Model> {
    let dtype = dtype.filter(|d| *d != "auto");
    let precision = match (weights.or(quantization), dtype) {
        (Some(w), _) => {
            Precision::by_name(w, config).with_context(|| format!("weight format `{w}`"))?
        }
        (None, Some(d)) => {
            let name = match d {
                "half" | "float16" => "fp16",
                "bfloat16" => "bf16",
                "float" | "float32" => "fp32",
                other => other,
            };
            Precision::by_name(name, config).with_context(|| format!("--dtype `{d}`"))?
        }
        (None, None) => Precision::of(config),
    };
    let precision = match kv_cache_dtype {
        None | Some("auto") => precision,
        Some(kv) => precision.with_kv(
            kv.parse()
                .with_context(|| format!("--kv-cache-dtype `{kv}`"))?,
        ),
    };
    Ok(Model::new(config, precision))
}

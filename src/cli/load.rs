//! Names on the command line → models and profiles: built in, or a file's path.
use super::files;
use crate::device::{DeviceProfile, EngineProfile, Scheduler, builtin};
use crate::model::{self, Model, ModelConfig, Precision};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

fn is_path(name: &str) -> bool {
    name.ends_with(".json") || Path::new(name).exists()
}

/// A folder stands for the file in it.
fn file_in(name: &str, file: &str) -> PathBuf {
    let path = PathBuf::from(name);
    if path.is_dir() { path.join(file) } else { path }
}

/// A device profile.
pub fn device(name: &str) -> anyhow::Result<DeviceProfile> {
    if is_path(name) {
        let path = file_in(name, "device.json");
        Ok(DeviceProfile::parse(
            &files::read(&path)?,
            &path.display().to_string(),
        )?)
    } else {
        builtin::device(name).context("--device")
    }
}

/// An engine profile.
pub fn engine(name: &str) -> anyhow::Result<EngineProfile> {
    if is_path(name) {
        let path = file_in(name, "engine.json");
        Ok(EngineProfile::parse(
            &files::read(&path)?,
            &path.display().to_string(),
        )?)
    } else {
        builtin::engine(name).context("--engine")
    }
}

/// The engine profile that was named, else one for the device, of the engine that a pasted line starts.
pub fn engine_for(
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
    let profile = engine(name)?;
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
pub fn config(name: &str) -> anyhow::Result<ModelConfig> {
    if is_path(name) {
        let path = file_in(name, "config.json");
        Ok(model::config::parse(
            &files::read(&path)?,
            &path.display().to_string(),
        )?)
    } else {
        Ok(model::builtin::find(name).context("--model")?.config())
    }
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

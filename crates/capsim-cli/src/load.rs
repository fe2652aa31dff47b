//! Names on the command line → models and profiles: built in, or a file's path.
use super::files::{self, Files};
use super::hub;
use capsim::device::{DeviceProfile, EngineFile, EngineProfile, builtin, sheet};
use capsim::engine::settings::{KV_CACHE_DTYPE, SettingValues};
use capsim::model::{self, Model, ModelConfig, Overrides};
use capsim::predict::spec::{Catalog, InlineModel, Part, ScenarioSpec, SpecError, weighted};
use capsim::predict::unknown_kind;
use capsim::workload::load::LoadFiles;
use std::path::{Path, PathBuf};

/// Bytes that hold the whole header of a GGUF file, vocabulary included: those of 250 000 words take some 10 MiB.
const GGUF_HEAD: u64 = 64 << 20;

/// The folder or file of a name, where it is one; a folder stands for the file in it.
fn file_of(files: &Files, name: &str, file: &str) -> Option<PathBuf> {
    let path = PathBuf::from(name);
    if !name.ends_with(".json") && !files.exists(&path) {
        return None;
    }
    Some(if files.is_dir(&path) {
        // Mistral's checkpoints may have their own form alone.
        let other = path.join("params.json");
        match path.join(file) {
            own if file == "config.json" && !files.exists(&own) && files.exists(&other) => other,
            own => own,
        }
    } else {
        path
    })
}

/// Reads and parses a file that a field names.
fn parsed<T, E: std::fmt::Display>(
    files: &Files,
    field: &str,
    path: &Path,
    parse: impl Fn(&str, &str) -> Result<T, E>,
) -> Result<T, SpecError> {
    let wrong = |problem: String| SpecError::field(field, problem);
    let text = files.read(path).map_err(|e| wrong(format!("{e:#}")))?;
    parse(&text, &path.display().to_string()).map_err(|e| wrong(e.to_string()))
}

/// The text of a config, with what ModelOpt wrote beside it where it states no format of its own.
fn config_text(files: &Files, path: &Path) -> anyhow::Result<String> {
    let text = files.read(path)?;
    let beside = path.with_file_name("hf_quant_config.json");
    if text.contains("\"quantization_config\"") || !files.exists(&beside) {
        return Ok(text);
    }
    let (name, beside_name) = (path.display().to_string(), beside.display().to_string());
    let more = files.read(&beside)?;
    Ok(model::config::with_modelopt(
        &text,
        &name,
        &more,
        &beside_name,
    )?)
}

impl LoadFiles for Files {
    fn text(&self, path: &str) -> Result<String, String> {
        self.read(Path::new(path)).map_err(|e| format!("{e:#}"))
    }
    fn pieces(
        &self,
        path: &str,
        take: &mut dyn FnMut(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        Files::pieces(self, Path::new(path), take).map_err(|e| format!("{e:#}"))
    }
    fn is_folder(&self, path: &str) -> bool {
        self.is_dir(Path::new(path))
    }
    fn names(&self, folder: &str) -> Result<Vec<String>, String> {
        self.list(Path::new(folder)).map_err(|e| format!("{e:#}"))
    }
}

/// Names are those of what ships with capsim, or paths.
impl Catalog for Files {
    fn model(&self, name: &str, over: &Overrides) -> Result<ModelConfig, SpecError> {
        let wrong = |e: String| SpecError::field("model", e);
        let from_file = |path: &Path| {
            let text = config_text(self, path).map_err(|e| wrong(format!("{e:#}")))?;
            let name = path.display().to_string();
            model::config::parse_with(&text, &name, over).map_err(|e| wrong(e.to_string()))
        };
        if let Some(path) = file_of(self, name, "config.json") {
            if path
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
            {
                let head = files::head(&path, GGUF_HEAD).map_err(|e| wrong(format!("{e:#}")))?;
                let shown = path.display().to_string();
                let config = model::gguf_file::parse_with(&head, &shown, over);
                return config.map_err(|e| wrong(e.to_string()));
            }
            return from_file(&path);
        }
        let found = model::checkpoint::find(name);
        // A model's own config says more than a name that stands for another's.
        let exact = found.as_ref().is_ok_and(|f| f.is_the_model_itself());
        match hub::config(self, name).filter(|_| !exact) {
            Some(path) => from_file(&path),
            None => found
                .and_then(|f| f.config_with(over))
                .map_err(|e| SpecError::field("model", e)),
        }
    }
    fn device(&self, name: &str) -> Result<DeviceProfile, SpecError> {
        if sheet::is_inline(name) {
            return builtin::device(name).map_err(|e| SpecError::field("device", e));
        }
        match file_of(self, name, "device.json") {
            Some(path) => parsed(self, "device", &path, DeviceProfile::parse),
            None => builtin::device(name).map_err(|e| SpecError::field("device", e)),
        }
    }
    fn engine(&self, name: &str) -> Result<EngineProfile, SpecError> {
        // FILE#ID: one of a file of profiles.
        let (file, id) = match name.rsplit_once(".json#") {
            Some((stem, id)) => (format!("{stem}.json"), Some(id)),
            None => (name.to_string(), None),
        };
        match file_of(self, &file, "engine.json") {
            Some(path) => {
                let profile = parsed(self, "engine", &path, |text, name| {
                    EngineFile::pick(text, name, id, false)
                })?;
                match unknown_kind(&profile) {
                    None => Ok(profile),
                    Some(word) => Err(SpecError::field(
                        "engine",
                        format!(
                            "{}: field `weights`: `{word}` is no kind of weight format; write bf16, fp8, int8, int4, mxfp4, q4_k, …, \
                             without a group size",
                            path.display()
                        ),
                    )),
                }
            }
            None => builtin::engine(name).map_err(|e| SpecError::field("engine", e)),
        }
    }
}

impl Files {
    /// A document with the models and profiles in it that are files, so that it can be read elsewhere.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn inlined(&self, spec: &ScenarioSpec) -> anyhow::Result<ScenarioSpec> {
        let mut spec = spec.clone();
        if let Some(Part::Named(name)) = &spec.model
            && let Some(path) = file_of(self, name, "config.json")
        {
            let shown = path.display().to_string();
            let config = model::config::document(&config_text(self, &path)?, &shown)?;
            let name = name.clone();
            spec.model = Some(Part::Inline(Box::new(InlineModel { name, config })));
        }
        if let Some(Part::Named(name)) = &spec.device
            && (sheet::is_inline(name) || file_of(self, name, "device.json").is_some())
        {
            spec.device = Some(Part::Inline(Box::new(Catalog::device(self, name)?)));
        }
        if let Some(Part::Named(name)) = &spec.engine
            && file_of(self, name, "engine.json").is_some()
        {
            spec.engine = Some(Part::Inline(Box::new(Catalog::engine(self, name)?)));
        }
        Ok(spec)
    }
}

/// A device profile on this machine.
pub fn device(name: &str) -> anyhow::Result<DeviceProfile> {
    Ok(Catalog::device(&Files::default(), name)?)
}

/// An engine profile on this machine.
pub fn engine(name: &str) -> anyhow::Result<EngineProfile> {
    Ok(Catalog::engine(&Files::default(), name)?)
}

/// A model's config on this machine.
pub fn config(name: &str) -> anyhow::Result<ModelConfig> {
    Ok(Catalog::model(
        &Files::default(),
        name,
        &Overrides::default(),
    )?)
}

/// A model in a weight format, and a data type of the KV cache.
pub fn model(
    config: &ModelConfig,
    weights: Option<&str>,
    kv_cache_dtype: Option<&str>,
) -> anyhow::Result<Model> {
    let settings = SettingValues::default().with(KV_CACHE_DTYPE, kv_cache_dtype.map(String::from));
    Ok(weighted(config, weights, &settings)?)
}

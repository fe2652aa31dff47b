//! What the name of a checkpoint says: the model, and the format of its weights. `Qwen/Qwen3-32B-AWQ` is Qwen3-32B in AWQ.
use super::builtin::{self, Builtin};
use super::config::{self, ModelConfig, Quantization};
use super::error::ModelError;
use super::format::WeightFormat;
use super::gguf_name;
use super::overrides::Overrides;
use super::precision::Precision;

const INT4: WeightFormat = WeightFormat::Int4 {
    group: 128,
    zero_point: true,
};
/// Without zero points: compressed-tensors' W4A16, and bitsandbytes' NF4 with double quantization (4 bits and 1/8).
const INT4_PLAIN: WeightFormat = WeightFormat::Int4 {
    group: 128,
    zero_point: false,
};
/// NF4 as vLLM makes it when it loads plain weights: one fp32 per 64 weights, 4.5 bits.
const NF4: &str = "int4-g32-sym";

/// Ends of names, longest first where one ends with another, and the format that they stand for.
const ENDS: &[(&str, WeightFormat)] = &[
    ("gptq-int8", WeightFormat::Int8Group { group: 128 }),
    ("gptq-8bit", WeightFormat::Int8Group { group: 128 }),
    ("gptq-int4", INT4),
    ("gptq-4bit", INT4),
    ("int4-gptq", INT4),
    ("awq-int4", INT4),
    ("awq-4bit", INT4),
    ("int4-awq", INT4),
    ("int4-autoround", INT4),
    ("autoround-int4", INT4),
    ("unsloth-bnb-4bit", INT4_PLAIN),
    ("bnb-4bit", INT4_PLAIN),
    ("quantized.w4a16", INT4_PLAIN),
    ("quantized.w8a8", WeightFormat::Int8),
    ("quantized.w8a16", WeightFormat::Int8),
    ("w4a16", INT4_PLAIN),
    ("w8a8", WeightFormat::Int8),
    ("w8a16", WeightFormat::Int8),
    ("fp8-dynamic", WeightFormat::Fp8),
    ("fp8-kv", WeightFormat::Fp8),
    ("fp8", WeightFormat::Fp8),
    ("awq", INT4),
    ("gptq", INT4),
    ("int8", WeightFormat::Int8),
    ("int4", INT4),
    ("mxfp4", WeightFormat::Mxfp4),
    ("nvfp4", WeightFormat::Nvfp4),
    ("mxfp8", WeightFormat::Mxfp8),
];

/// Models with the sizes of another one, of which they were made: the tables of DeepSeek-R1 (arXiv:2501.12948 §2.4) and of Qwen2.5-Coder
/// (arXiv:2409.12186 §2), the cards of Llama-3.3-70B-Instruct, QwQ-32B and DeepSeek-R1-0528-Qwen3-8B, and the configs of NVIDIA's
/// quantised DeepSeek-V3.1, Kimi-K2.6 and -K2.7 (aiconfigurator-core 0.12.0, `model_configs/`); Qwen3.8-27B's config has the keys of
/// Qwen3.6-27B's (xorbitsai/inference#5337), and vLLM gives both the same blocks (LMCache/LMCache#5079).
const MADE_OF: &[(&str, &str)] = &[
    ("llama-3.3-70b-instruct", "llama-3.1-70b-instruct"),
    ("qwq-32b", "qwen2.5-32b-instruct"),
    ("deepseek-r1-distill-qwen-7b", "qwen2.5-7b-instruct"),
    ("deepseek-r1-distill-qwen-14b", "qwen2.5-14b-instruct"),
    ("deepseek-r1-distill-qwen-32b", "qwen2.5-32b-instruct"),
    ("deepseek-r1-distill-llama-8b", "llama-3.1-8b-instruct"),
    ("deepseek-r1-distill-llama-70b", "llama-3.1-70b-instruct"),
    ("deepseek-r1-0528-qwen3-8b", "qwen3-8b"),
    ("deepseek-v3.1", "deepseek-v3"),
    ("qwen3.8-27b", "qwen3.6-27b"),
    ("kimi-k2.6", "kimi-k2.5"),
    ("kimi-k2.7-code", "kimi-k2.5"),
    ("qwen2.5-coder-0.5b-instruct", "qwen2.5-0.5b-instruct"),
    ("qwen2.5-coder-1.5b-instruct", "qwen2.5-1.5b-instruct"),
    ("qwen2.5-coder-3b-instruct", "qwen2.5-3b-instruct"),
    ("qwen2.5-coder-7b-instruct", "qwen2.5-7b-instruct"),
    ("qwen2.5-coder-14b-instruct", "qwen2.5-14b-instruct"),
    ("qwen2.5-coder-32b-instruct", "qwen2.5-32b-instruct"),
];

/// Ollama's names of families, where they are not the beginning of the built-in name.
const OLLAMA: &[(&str, &str)] = &[
    ("llama2", "llama-2"),
    ("llama3", "llama-3"),
    ("llama3.1", "llama-3.1"),
    ("llama3.2", "llama-3.2"),
    ("llama3.3", "llama-3.3"),
    ("llama4", "llama-4"),
    ("gemma2", "gemma-2"),
    ("gemma3", "gemma-3"),
    ("gemma3n", "gemma-3n"),
    ("gemma4", "gemma-4"),
    ("phi4", "phi-4"),
    ("phi4-mini", "phi-4-mini"),
    ("deepseek-r1", "deepseek-r1-distill-qwen"),
];

/// A built-in model as a checkpoint's name describes it.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The model.
    pub model: &'static Builtin,
    /// The format that the name states; `None`: the model's own.
    pub quantization: Option<Quantization>,
    /// The name of a GGUF mixture, as [`Precision::by_name`] takes it.
    pub mixture: Option<String>,
    /// The name, where another model's sizes stand for it.
    pub named: Option<String>,
}

impl Checkpoint {
    fn of(model: &'static Builtin) -> Self {
        Self {
            model,
            quantization: None,
            mixture: None,
            named: None,
        }
    }

    /// Whether the name says nothing beside the model.
    pub fn is_the_model_itself(&self) -> bool {
        self.quantization.is_none() && self.mixture.is_none() && self.named.is_none()
    }

    /// The model's config, with the checkpoint's format.
    ///
    /// # Errors
    /// A GGUF mixture that is not known.
    pub fn config(&self) -> Result<ModelConfig, ModelError> {
        self.config_with(&Overrides::default())
    }

    /// The same with what a user says over it.
    ///
    /// # Errors
    /// As [`config`](Self::config), and a key that cannot be set.
    pub fn config_with(&self, over: &Overrides) -> Result<ModelConfig, ModelError> {
        let mut config = config::parse_with(self.model.json, self.model.id, over)?;
        if let Some(q) = self.quantization {
            config.quantization = Some(q);
            config.quantization_by_layer.clear();
            let format = q.format().map_or(String::new(), |f| f.to_string());
            config.caveats.push(format!(
                "The format is that of the name, {format} in all of its linear layers or experts; the checkpoint's own config.json says \
                 what is left out of it, and which KV cache it asks for."
            ));
        }
        if let Some(name) = &self.named {
            config.caveats.push(format!(
                "`{name}` has the sizes of {}, whose config is taken; its longest context may be another (--max-model-len), and so may its own format (--weights).",
                self.model.id
            ));
        }
        if let Some(mixture) = &self.mixture {
            config.stored = Some(Precision::by_name(mixture, &config)?);
        }
        Ok(config)
    }
}

/// Finds a built-in model by a checkpoint's name: a Hugging Face id or its last part, of any owner; the address of its page; the folder
/// that it was downloaded to; each with the name of a weight format at its end; a GGUF file or repository; a tag of Ollama's library. A
/// name never stands for a model of another size.
///
/// # Errors
/// No built-in model has this name.
///
/// ```
/// use capsim::model::{WeightFormat, checkpoint};
/// let c = checkpoint::find("Qwen/Qwen3-32B-AWQ")?;
/// assert_eq!(c.model.id, "Qwen/Qwen3-32B");
/// assert_eq!(c.quantization.unwrap().format(), Some("awq".parse::<WeightFormat>()?));
/// assert_eq!(checkpoint::find("/models/Qwen3-8B/")?.model.id, "Qwen/Qwen3-8B");
/// assert_eq!(checkpoint::find("unsloth/Qwen3-8B-GGUF:Q4_K_M")?.mixture.as_deref(), Some("q4_k_m"));
/// assert_eq!(checkpoint::find("llama3.1:8b")?.model.id, "meta-llama/Llama-3.1-8B-Instruct");
/// # Ok::<(), capsim::model::ModelError>(())
/// ```
pub fn find(name: &str) -> Result<Checkpoint, ModelError> {
    let unknown = match builtin::find(name) {
        Ok(model) => return Ok(with_name(model, name)),
        Err(e) => e,
    };
    let found = in_gguf(name).or_else(|| ollama(name)).or_else(|| {
        let bare = last_part(name).to_ascii_lowercase();
        bare_name(&bare).or_else(|| with_format(&bare))
    });
    found.ok_or(unknown)
}

/// The model, with the name that was given where it is of another model of the same sizes.
fn with_name(model: &'static Builtin, name: &str) -> Checkpoint {
    let bare = last_part(name).to_ascii_lowercase();
    // A short name says less than the whole one, not something else.
    let own = model.name().starts_with(&bare) || model.name() == format!("{bare}-instruct");
    Checkpoint {
        named: (!own).then(|| name.chars().take(100).collect()),
        ..Checkpoint::of(model)
    }
}

/// A name without a format: Meta's first ids of Llama 3 and 3.1; the owner in front of a file's name, as bartowski writes it
/// (Qwen_Qwen3-8B); a model of another one's sizes.
fn bare_name(bare: &str) -> Option<Checkpoint> {
    if let Ok(model) = builtin::find(bare) {
        return Some(with_name(model, bare));
    }
    let renamed = match (bare.strip_prefix("meta-llama-"), bare.split_once('_')) {
        (Some(rest), _) => Some(format!("llama-{rest}")),
        (None, Some((_, rest))) => Some(rest.to_owned()),
        _ => None,
    };
    if let Some(model) = renamed.and_then(|n| builtin::find(&n).ok()) {
        return Some(Checkpoint::of(model));
    }
    let (_, of) = MADE_OF
        .iter()
        .find(|(n, _)| *n == bare || n.strip_suffix("-instruct") == Some(bare))?;
    let model = builtin::find(of).ok()?;
    Some(Checkpoint {
        named: Some(bare.to_owned()),
        ..Checkpoint::of(model)
    })
}

/// A name with a format at its end.
fn with_format(bare: &str) -> Option<Checkpoint> {
    let (found, format) = ENDS.iter().find_map(|(end, format)| {
        let model = bare.strip_suffix(end)?.strip_suffix(['-', '.', '_'])?;
        Some((bare_name(model)?, *format))
    })?;
    // Qwen's own FP8 checkpoints have one scale per block of 128 × 128.
    let format = match format {
        WeightFormat::Fp8 if found.model.id.starts_with("Qwen/") && bare.ends_with("fp8") => {
            WeightFormat::Fp8Block
        }
        other => other,
    };
    let experts = format == WeightFormat::Mxfp4 && found.model.config().moe().is_some();
    Some(Checkpoint {
        quantization: Some(if experts {
            Quantization::experts(format)
        } else {
            Quantization::all(format)
        }),
        ..found
    })
}

/// A file `….gguf`, or a repository of such with or without the format that is wanted: `unsloth/Qwen3-8B-GGUF:Q4_K_M`.
fn in_gguf(name: &str) -> Option<Checkpoint> {
    let lower = name.to_ascii_lowercase();
    let (model, mixture) = if lower.ends_with(".gguf") {
        let (model, mixture) = gguf_name::of_file(name);
        (model, mixture?)
    } else if lower.ends_with("-gguf") || lower.contains("-gguf:") {
        gguf_name::of_repo(name.strip_prefix("hf.co/").unwrap_or(name))
    } else {
        return None;
    };
    let found = bare_name(&model.to_ascii_lowercase())?;
    Some(Checkpoint {
        mixture: Some(mixture),
        ..found
    })
}

/// A tag of Ollama's library: `FAMILY:SIZE` with or without the variant and the format (`llama3.1:8b-instruct-q8_0`); a tag without one
/// is Q4_K_M, OpenAI's models are MXFP4 (ollama.com/library: the tags' own pages).
fn ollama(name: &str) -> Option<Checkpoint> {
    let lower = name.trim().to_ascii_lowercase();
    let (family, tag) = lower.rsplit('/').next()?.split_once(':')?;
    let family = OLLAMA
        .iter()
        .find(|(n, _)| *n == family)
        .map_or(family, |(_, own)| own);
    let (size, mixture) = gguf_name::split_tag(tag);
    if !size.starts_with(|c: char| c.is_ascii_digit() || c == 'e') {
        return None;
    }
    let found = bare_name(&format!("{family}-{size}"))?;
    let usual = match found.model.id.starts_with("openai/") {
        true => "gguf-mxfp4",
        false => "q4_k_m",
    };
    Some(Checkpoint {
        mixture: Some(mixture.unwrap_or_else(|| usual.to_owned())),
        ..found
    })
}

/// The part of a name that says which model it is: of an id or an address the last one, of a folder of Hugging Face's cache the id's.
fn last_part(name: &str) -> &str {
    let name = name.trim().trim_end_matches(['/', '\\']);
    if let Some((_, cached)) = name.split_once("models--") {
        let id = cached.split(['/', '\\']).next().unwrap_or(cached);
        return id.rsplit("--").next().unwrap_or(id);
    }
    let name = name.split_once("/tree/").map_or(name, |(id, _)| id);
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

/// Values of `--quantization` (vLLM, SGLang) that choose a kernel, or repeat what the checkpoint says of itself. With a config that says
/// nothing they stand for the format beside them; without one, only the checkpoint knows.
const REPEATED: &[(&str, Option<&str>)] = &[
    ("awq", Some("awq")),
    ("awq_marlin", Some("awq")),
    ("auto_awq", Some("awq")),
    ("awq_triton", Some("awq")),
    ("moe_wna16", Some("awq")),
    ("gptq", Some("gptq")),
    ("auto_gptq", Some("gptq")),
    ("gptq_marlin", Some("gptq")),
    ("gptq_marlin_24", Some("gptq")),
    ("gptq_bitblas", Some("gptq")),
    ("marlin", Some("gptq")),
    ("bitblas", Some("gptq")),
    ("auto-round", Some("gptq")),
    ("inc", Some("gptq")),
    ("fp8", Some("fp8")),
    ("fbgemm_fp8", Some("fp8")),
    ("ptpc_fp8", Some("fp8")),
    ("fp8_per_tensor", Some("fp8")),
    ("fp8_per_block", Some("fp8-block")),
    ("blockwise_fp8", Some("fp8-block")),
    ("w8a8_fp8", Some("fp8")),
    ("modelopt_fp8", Some("fp8")),
    ("modelopt_fp4", Some("nvfp4")),
    ("petit_nvfp4", Some("nvfp4")),
    ("mxfp8", Some("mxfp8")),
    ("w8a8_int8", Some("int8")),
    ("int8_per_channel_weight_only", Some("int8")),
    ("rtn", Some("int8")),
    ("experts_int8", Some("auto+experts=int8")),
    ("mxfp4", Some("mxfp4")),
    ("bitsandbytes", Some(NF4)),
    ("compressed-tensors", None),
    ("compressed_tensors", None),
    ("modelopt", None),
    ("quark", None),
    ("torchao", None),
    ("hqq", None),
    ("gguf", None),
    ("sparseml", None),
];

impl Precision {
    /// As an engine's `--quantization` says: the checkpoint's own format where the config states one and the value repeats it or chooses a
    /// kernel for it; else the format of that name, as [`by_name`](Self::by_name).
    ///
    /// # Errors
    /// A format that is not known, or one that only the checkpoint's own config would state.
    pub fn of_flag(quantization: &str, config: &ModelConfig) -> Result<Self, ModelError> {
        let lower = quantization.to_ascii_lowercase();
        let Some((_, format)) = REPEATED.iter().find(|(q, _)| *q == lower) else {
            return Self::by_name(quantization, config);
        };
        match (config.quantization, format) {
            (Some(_), _) => Self::of_checkpoint(config),
            (None, Some(format)) => Self::by_name(format, config),
            (None, None) => Err(ModelError::UnstatedFormat {
                name: lower.chars().take(80).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(name: &str) -> (String, Option<String>) {
        let c = find(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let format = c
            .quantization
            .and_then(|q| q.format())
            .map(|f| f.to_string());
        (c.model.name(), format)
    }

    #[test]
    fn a_name_states_the_model_and_its_format() {
        for (name, model, stated) in [
            ("Qwen/Qwen3-32B-AWQ", "qwen3-32b", Some("int4-g128")),
            ("Qwen/Qwen3-30B-A3B-FP8", "qwen3-30b-a3b", Some("fp8-block")),
            (
                "Qwen/Qwen3-30B-A3B-Instruct-2507-FP8",
                "qwen3-30b-a3b-instruct-2507",
                Some("fp8-block"),
            ),
            (
                "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic",
                "llama-3.1-8b-instruct",
                Some("fp8"),
            ),
            (
                "nvidia/Llama-3.1-8B-Instruct-FP8",
                "llama-3.1-8b-instruct",
                Some("fp8"),
            ),
            (
                "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4",
                "llama-3.1-70b-instruct",
                Some("int4-g128"),
            ),
            (
                "RedHatAI/Qwen3-8B-quantized.w4a16",
                "qwen3-8b",
                Some("int4-g128-sym"),
            ),
            (
                "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8",
                "llama-3.1-8b-instruct",
                Some("int8"),
            ),
            (
                "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8",
                "qwen2.5-7b-instruct",
                Some("int8-g128"),
            ),
            (
                "unsloth/Qwen3-14B-unsloth-bnb-4bit",
                "qwen3-14b",
                Some("int4-g128-sym"),
            ),
            ("unsloth/Qwen3-8B", "qwen3-8b", None),
            (
                "meta-llama/Meta-Llama-3.1-8B-Instruct",
                "llama-3.1-8b-instruct",
                None,
            ),
            (
                "https://huggingface.co/Qwen/Qwen3-8B/tree/main",
                "qwen3-8b",
                None,
            ),
            ("hf://Qwen/Qwen3-8B", "qwen3-8b", None),
            (
                "cache/hub/models--Qwen--Qwen3-8B-AWQ/snapshots/0123",
                "qwen3-8b",
                Some("int4-g128"),
            ),
            ("C:\\models\\Qwen3-8B", "qwen3-8b", None),
            ("Qwen_Qwen3-8B", "qwen3-8b", None),
            ("openai/gpt-oss-20b", "gpt-oss-20b", None),
        ] {
            assert_eq!(
                format(name),
                (model.to_string(), stated.map(String::from)),
                "{name}"
            );
        }
        for name in ["Qwen/Qwen3-8B-VL", "", "/", "-awq", "é-AWQ", "models--"] {
            assert!(find(name).is_err(), "{name}");
        }
    }

    #[test]
    fn names_that_people_type_find_the_model_of_the_same_sizes() {
        for (name, model, mixture) in [
            (
                "meta-llama/Llama-3.3-70B-Instruct",
                "llama-3.1-70b-instruct",
                None,
            ),
            (
                "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic",
                "llama-3.1-70b-instruct",
                None,
            ),
            (
                "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
                "qwen2.5-32b-instruct",
                None,
            ),
            ("Qwen/QwQ-32B-AWQ", "qwen2.5-32b-instruct", None),
            ("Qwen/Qwen3-4B-Instruct-2507", "qwen3-4b", None),
            (
                "Qwen/Qwen3-30B-A3B-Thinking-2507",
                "qwen3-30b-a3b-instruct-2507",
                None,
            ),
            ("meta-llama/Llama-3.1-8B", "llama-3.1-8b-instruct", None),
            ("unsloth/Qwen3-8B-GGUF:Q4_K_M", "qwen3-8b", Some("q4_k_m")),
            (
                "bartowski/Qwen_Qwen3-8B-GGUF:Q8_0",
                "qwen3-8b",
                Some("q8_0"),
            ),
            (
                "unsloth/gpt-oss-20b-GGUF",
                "gpt-oss-20b",
                Some("gguf-mxfp4"),
            ),
            ("Qwen3-8B-Q6_K.gguf", "qwen3-8b", Some("gguf-q6_k")),
            ("llama3.1:8b", "llama-3.1-8b-instruct", Some("q4_k_m")),
            (
                "llama3.1:8b-instruct-q8_0",
                "llama-3.1-8b-instruct",
                Some("q8_0"),
            ),
            ("Qwen3.8-27B-Q4_K_M.gguf", "qwen3.6-27b", Some("q4_k_m")),
            ("qwen3:30b-a3b", "qwen3-30b-a3b", Some("q4_k_m")),
            ("gpt-oss:20b", "gpt-oss-20b", Some("gguf-mxfp4")),
            ("llama3.2:3b", "llama-3.2-3b-instruct", Some("q4_k_m")),
        ] {
            let c = find(name).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(c.model.name(), model, "{name}");
            assert_eq!(c.mixture.as_deref(), mixture, "{name}");
            c.config().unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        // The answer says so where another model's config stands for it.
        let c = find("Qwen/QwQ-32B").unwrap().config().unwrap();
        assert!(
            c.caveats
                .iter()
                .any(|c| c.contains("sizes of Qwen/Qwen2.5-32B"))
        );
        let own = find("unsloth/Qwen3-8B").unwrap().config().unwrap();
        assert_eq!(own.caveats, Vec::<String>::new());
    }

    #[test]
    fn a_name_never_stands_for_another_size() {
        for name in [
            "ministral-3",
            "phi",
            "mistralai/Mistral-7B-Instruct-v0.3",
            "Qwen/Qwen3-8B-Mini",
            "Qwen/Qwen3",
            "llama3.1:405",
            "llama3.1",
            "qwen3:latest",
            "deepseek-r1:1.5b",
            "Qwen/Qwen3-8B-Instruct-7B",
            "google/gemma-2-27b-it",
            ":",
            "a:b:c",
            "-gguf:",
            ".gguf",
            "x-GGUF:",
        ] {
            if let Ok(found) = find(name) {
                panic!("{name} stands for {}", found.model.id);
            }
        }
    }

    #[test]
    fn a_quantization_flag_repeats_the_checkpoint_or_names_a_format() {
        let plain = builtin::find("qwen3-8b").unwrap().config();
        let awq = find("Qwen3-8B-AWQ").unwrap().config().unwrap();
        let fp8 = find("Qwen3-8B-FP8").unwrap().config().unwrap();
        let mlp = |flag: &str, config: &ModelConfig| {
            Precision::of_flag(flag, config).unwrap().mlp.to_string()
        };
        assert_eq!(mlp("awq_marlin", &awq), "int4-g128");
        assert_eq!(mlp("compressed-tensors", &awq), "int4-g128");
        assert_eq!(mlp("fp8", &fp8), "fp8-block");
        assert_eq!(mlp("fp8", &plain), "fp8");
        assert_eq!(mlp("gptq_marlin", &plain), "int4-g128");
        assert_eq!(mlp("bitsandbytes", &plain), "int4-g32-sym");
        assert_eq!(mlp("q8_0", &plain), "q8_0");
        let e = Precision::of_flag("modelopt", &plain)
            .unwrap_err()
            .to_string();
        assert!(e.contains("--weights"), "{e}");
        assert!(Precision::of_flag("nonsense", &plain).is_err());
        let moe = builtin::find("qwen3-30b-a3b").unwrap().config();
        let p = Precision::of_flag("experts_int8", &moe).unwrap();
        assert_eq!(
            (p.experts.to_string().as_str(), p.mlp.to_string().as_str()),
            ("int8", "bf16")
        );
    }
}

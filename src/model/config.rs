//! A Hugging Face `config.json`, checked: from here on no size is zero and no product overflows.
use super::architecture::{Architecture, QkNorm, Rules, known, rules, suggest};
use super::error::ModelError;
use super::format::WeightFormat;
use super::kept::Kept;
pub use super::layers::{FullHeads, LinearAttention, MoeConfig};
use super::precision::Dtype;
use super::raw::RawConfig;
use serde::{Deserialize, Serialize};

/// Sizes and switches of one decoder-only model, in the names of the `config.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelConfig {
    /// Where the text came from, for error texts and reports.
    pub source: String,
    /// The architecture.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden_size: u32,
    /// Inner width of a dense MLP; 0 if no layer has one.
    pub intermediate_size: u32,
    /// Number of decoder layers.
    pub num_hidden_layers: u32,
    /// Query heads.
    pub num_attention_heads: u32,
    /// Key/value heads; divides the query heads.
    pub num_key_value_heads: u32,
    /// Width of one head.
    pub head_dim: u32,
    /// Rows of the embedding and of the lm_head.
    pub vocab_size: u32,
    /// Longest context the model was made for.
    pub max_position_embeddings: u32,
    /// `torch_dtype`; bfloat16 if absent.
    pub dtype: Dtype,
    /// Whether the lm_head is the embedding matrix.
    pub tie_word_embeddings: bool,
    /// Bias on q, k, v.
    pub qkv_bias: bool,
    /// Bias on the output projection.
    pub o_bias: bool,
    /// Bias on the dense MLP's matrices (Llama's `mlp_bias`).
    pub mlp_bias: bool,
    /// RMSNorm on every head of q and k.
    pub qk_norm: bool,
    /// RMSNorms of hidden size per layer: 2, or 4 (Gemma 2 and 3).
    pub norms_per_layer: u32,
    /// One attention-sink logit per query head (gpt-oss).
    pub attention_sinks: bool,
    /// Sliding window of each layer in tokens, the token itself included; None is full attention.
    pub windows: Vec<Option<u32>>,
    /// Whether q is projected twice as wide, one half gating attention's result (Qwen3-Next and later).
    pub attention_gate: bool,
    /// Layers without a sliding window have heads of their own shape (Gemma 4).
    pub full_heads: Option<FullHeads>,
    /// Whether each layer keeps a recurrent state instead of keys and values.
    pub linear_layers: Vec<bool>,
    /// The recurrent layers' shape, if any layer is one.
    pub linear: Option<LinearAttention>,
    /// Whether each layer's MLP is a mixture of experts.
    pub moe_layers: Vec<bool>,
    /// The experts, if any layer has them.
    pub moe: Option<MoeConfig>,
    /// What the checkpoint's `quantization_config` says.
    pub quantization: Option<Quantization>,
    /// What this description leaves out, in sentences.
    pub caveats: Vec<String>,
}

/// How a checkpoint's linear layers are quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantization {
    /// The format of the quantised matrices.
    pub format: WeightFormat,
    /// Only the routed experts are quantised (MXFP4 checkpoints).
    pub experts_only: bool,
    /// What the checkpoint keeps in floats.
    #[serde(default)]
    pub kept: Kept,
}

// Larger than any model announced, small enough that every later product fits in 64 bits.
pub(super) const MAX_WIDTH: u32 = 1 << 24;
pub(super) const MAX_HEADS: u32 = 1 << 16;
const MAX_LAYERS: u32 = 1 << 13;
pub(super) const MAX_EXPERTS: u32 = 1 << 16;
const MAX_VOCAB: u32 = 1 << 28;
const MAX_PARAMETERS: u128 = 1_000_000_000_000_000;

/// Reads the text of a `config.json`. `source_name` (usually the path) appears in errors.
///
/// A multimodal wrapper's `text_config` is unwrapped. Fields that do not change sizes are ignored.
///
/// # Errors
/// Names the file and the field: not JSON, wrong type, missing, impossible (zero, negative, not divisible,
/// more than 10¹⁵ parameters), or an architecture without operators, with the closest known name.
///
/// ```
/// use capsim::model::config;
/// let err = config::parse(r#"{"architectures": ["Qwen3MoeForCausalML"]}"#, "my/config.json").unwrap_err();
/// assert_eq!(
///     err.to_string().split(';').next().unwrap(),
///     "my/config.json: field `architectures[0]`: unknown architecture \"Qwen3MoeForCausalML\" \
///      (did you mean \"Qwen3MoeForCausalLM\"?)"
/// );
/// ```
pub fn parse(json: &str, source_name: &str) -> Result<ModelConfig, ModelError> {
    let mut de = serde_json::Deserializer::from_str(json);
    let outer: RawConfig =
        serde_path_to_error::deserialize(&mut de).map_err(|e| ModelError::Json {
            file: source_name.to_owned(),
            field: e.path().to_string(),
            problem: e.inner().to_string(),
        })?;
    de.end().map_err(|e| ModelError::Json {
        file: source_name.to_owned(),
        field: ".".to_owned(),
        problem: e.to_string(),
    })?;
    let mut caveats = Vec::new();
    if outer.text_config.is_some() || outer.vision_config.is_some() {
        caveats.push(
            "Only the text part is described: vision or audio towers, their weights and their time \
             are left out."
                .to_owned(),
        );
    }
    let (raw, prefix) = match &outer.text_config {
        Some(text) => (&**text, "text_config."),
        None => (&outer, ""),
    };
    let rules = find_rules(&outer, source_name)?;
    Reader {
        raw,
        outer: &outer,
        prefix,
        file: source_name,
        rules,
        caveats,
    }
    .read()
}

/// `architectures[0]` decides where it is given: a derived class (a draft head, a classifier) often keeps the
/// `model_type` of its parent. Inside `text_config` only `model_type` is usual.
fn find_rules(outer: &RawConfig, file: &str) -> Result<&'static Rules, ModelError> {
    let named = |c: &RawConfig, prefix: &str| {
        let first = c.architectures.as_ref().and_then(|a| a.first());
        match (first, &c.model_type) {
            (Some(a), _) => Some((format!("{prefix}architectures[0]"), a.clone())),
            (None, Some(t)) => Some((format!("{prefix}model_type"), t.clone())),
            (None, None) => None,
        }
    };
    let (field, value) = outer
        .text_config
        .as_ref()
        .and_then(|t| named(t, "text_config."))
        .or_else(|| named(outer, ""))
        .ok_or_else(|| ModelError::Missing {
            file: file.to_owned(),
            field: "architectures".to_owned(),
            architecture: "every model".to_owned(),
        })?;
    if value.starts_with("Deepseek") || value.starts_with("deepseek") {
        return Err(ModelError::Unsupported {
            file: file.to_owned(),
            field,
            problem: format!("{value} uses multi-head latent attention"),
        });
    }
    rules(&value).ok_or_else(|| ModelError::UnknownArchitecture {
        file: file.to_owned(),
        field,
        suggestion: suggest(&value),
        // A whole novel in the field should not become a whole novel in the error.
        value: value.chars().take(80).collect(),
        known: known(),
    })
}

/// Reads a config field by field; each kind of layer reads its own (`layers/`).
pub(super) struct Reader<'a> {
    pub(super) raw: &'a RawConfig,
    outer: &'a RawConfig,
    prefix: &'static str,
    file: &'a str,
    pub(super) rules: &'static Rules,
    caveats: Vec<String>,
}

impl Reader<'_> {
    fn read(mut self) -> Result<ModelConfig, ModelError> {
        let (raw, rules) = (self.raw, self.rules);
        let hidden_size = self.size("hidden_size", raw.hidden_size, MAX_WIDTH)?;
        let num_hidden_layers =
            self.size("num_hidden_layers", raw.num_hidden_layers, MAX_LAYERS)?;
        let (q_heads, kv_heads, head_dim) = self.heads(hidden_size)?;
        let vocab_size = self.size("vocab_size", self.or(raw.vocab_size, 262_208), MAX_VOCAB)?;
        let max_position_embeddings = self.size(
            "max_position_embeddings",
            self.or(raw.max_position_embeddings, 131_072),
            u32::MAX,
        )?;

        let linear_layers = self.linear_layers(num_hidden_layers)?;
        let linear = self.linear(&linear_layers)?;
        let windows = self.windows(num_hidden_layers, &linear_layers)?;
        let full_heads = self.full_heads(head_dim, kv_heads, q_heads)?;
        self.refuse_shared_inputs()?;
        let (moe, moe_layers) = self.experts(num_hidden_layers)?;
        let intermediate_size = if moe_layers.iter().all(|&m| m) {
            0
        } else {
            self.size("intermediate_size", raw.intermediate_size, MAX_WIDTH)?
        };
        let (qkv_bias, o_bias) = self.attention_bias();
        let dtype = self.dtype()?;
        if dtype == Dtype::Fp32 {
            let said = "The checkpoint is in float32; it runs in bfloat16 unless --dtype float32 is given.";
            self.caveats.push(said.to_owned());
        }
        let quantization = self.quantization()?;
        let config = ModelConfig {
            source: self.file.to_owned(),
            architecture: rules.arch,
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads: q_heads,
            num_key_value_heads: kv_heads,
            head_dim,
            vocab_size,
            max_position_embeddings,
            dtype,
            tie_word_embeddings: raw
                .tie_word_embeddings
                .or(self.outer.tie_word_embeddings)
                .unwrap_or(rules.tied),
            qkv_bias,
            o_bias,
            mlp_bias: rules.arch == Architecture::Llama && raw.mlp_bias.unwrap_or(false),
            qk_norm: match rules.qk_norm {
                QkNorm::Never => false,
                QkNorm::Always => true,
                QkNorm::ByFlag => raw.use_qk_norm.unwrap_or(false),
            },
            norms_per_layer: rules.norms_per_layer,
            attention_sinks: rules.arch == Architecture::GptOss,
            windows,
            attention_gate: match rules.arch {
                Architecture::Qwen3Next => true,
                Architecture::Qwen35 | Architecture::Qwen35Moe => {
                    raw.attn_output_gate.unwrap_or(true)
                }
                _ => false,
            },
            full_heads,
            linear_layers,
            linear,
            moe_layers,
            moe,
            quantization,
            caveats: std::mem::take(&mut self.caveats),
        };
        let total = config.parameters_wide();
        if total > MAX_PARAMETERS {
            return Err(self.invalid(
                "hidden_size",
                format!(
                    "together with intermediate_size, num_hidden_layers, num_experts and vocab_size this makes \
                     {total} parameters; capsim takes up to {MAX_PARAMETERS}"
                ),
            ));
        }
        Ok(config)
    }

    /// A field that Gemma 3's multimodal configs omit if it equals the default of `Gemma3TextConfig`.
    pub(super) fn or(&self, value: Option<u32>, default: u32) -> Option<u32> {
        let gemma3_text = self.rules.arch == Architecture::Gemma3 && !self.prefix.is_empty();
        value.or(gemma3_text.then_some(default))
    }

    /// What no operator here describes: inputs of every layer, and keys and values shared by layers (Gemma 3n).
    fn refuse_shared_inputs(&self) -> Result<(), ModelError> {
        if let Some(n) = self.raw.hidden_size_per_layer_input.filter(|n| *n > 0) {
            return Err(self.unsupported(
                "hidden_size_per_layer_input",
                format!("per-layer inputs of width {n}"),
            ));
        }
        if let Some(n) = self.raw.num_kv_shared_layers.filter(|n| *n > 0) {
            return Err(self.unsupported("num_kv_shared_layers", format!("{n} of them")));
        }
        Ok(())
    }

    fn field(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn invalid(&self, name: &str, problem: String) -> ModelError {
        ModelError::Invalid {
            file: self.file.to_owned(),
            field: self.field(name),
            problem,
        }
    }

    pub(super) fn unsupported(&self, name: &str, problem: String) -> ModelError {
        ModelError::Unsupported {
            file: self.file.to_owned(),
            field: self.field(name),
            problem,
        }
    }

    /// A size that must be there, at least 1 and at most `max`.
    pub(super) fn size(&self, name: &str, value: Option<u32>, max: u32) -> Result<u32, ModelError> {
        match value {
            None => Err(ModelError::Missing {
                file: self.file.to_owned(),
                field: self.field(name),
                architecture: format!("{:?}", self.rules.arch),
            }),
            Some(0) => Err(self.invalid(name, "is 0; it must be at least 1".to_owned())),
            Some(v) if v > max => {
                Err(self.invalid(name, format!("is {v}; capsim takes at most {max}")))
            }
            Some(v) => Ok(v),
        }
    }

    fn dtype(&self) -> Result<Dtype, ModelError> {
        let given = [
            (
                "torch_dtype",
                self.raw
                    .torch_dtype
                    .as_ref()
                    .or(self.outer.torch_dtype.as_ref()),
            ),
            (
                "dtype",
                self.raw.dtype.as_ref().or(self.outer.dtype.as_ref()),
            ),
        ];
        let Some((name, value)) = given.into_iter().find_map(|(n, v)| v.map(|v| (n, v))) else {
            return Ok(Dtype::Bf16);
        };
        match value.trim_start_matches("torch.") {
            "bfloat16" | "auto" => Ok(Dtype::Bf16),
            "float16" | "half" => Ok(Dtype::Fp16),
            "float32" | "float" => Ok(Dtype::Fp32),
            other => {
                let other: String = other.chars().take(80).collect();
                Err(self.invalid(
                    name,
                    format!("\"{other}\" is none of bfloat16, float16, float32"),
                ))
            }
        }
    }

    fn quantization(&mut self) -> Result<Option<Quantization>, ModelError> {
        let Some(q) = self
            .raw
            .quantization_config
            .as_ref()
            .or(self.outer.quantization_config.as_ref())
        else {
            return Ok(None);
        };
        match q.read() {
            Ok((quantization, caveat)) => {
                self.caveats.extend(caveat);
                Ok(Some(quantization))
            }
            Err((field, problem)) => {
                Err(self.unsupported(&format!("quantization_config.{field}"), problem))
            }
        }
    }
}

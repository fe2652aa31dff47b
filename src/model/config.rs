//! A Hugging Face `config.json`, checked: from here on no size is zero and no product overflows.
use super::architecture::{
    Architecture, AttentionBias, MoeRule, QkNorm, Rules, WindowRule, known, rules, suggest,
};
use super::error::ModelError;
use super::format::WeightFormat;
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

/// The routed and shared experts of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoeConfig {
    /// Routed experts per layer (E).
    pub num_experts: u32,
    /// Experts that each token is sent to (k).
    pub num_experts_per_tok: u32,
    /// Inner width of one expert.
    pub moe_intermediate_size: u32,
    /// Inner width of the shared expert(s) together; 0 if none.
    pub shared_expert_intermediate_size: u32,
    /// Whether the shared expert has a gate of its own (hidden → 1; Qwen2-MoE).
    pub shared_expert_gate: bool,
    /// Whether router and experts have biases (gpt-oss).
    pub bias: bool,
    /// Whether the router has a per-expert correction bias (GLM-4.5, DeepSeek-V3).
    pub router_correction_bias: bool,
}

/// Gated DeltaNet: linear attention with a state of fixed size per sequence (arXiv:2412.06464).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinearAttention {
    /// Key (and query) heads.
    pub key_heads: u32,
    /// Value heads; each has a state of `key_dim × value_dim`.
    pub value_heads: u32,
    /// Width of a key.
    pub key_dim: u32,
    /// Width of a value.
    pub value_dim: u32,
    /// Length of the causal convolution over q, k and v.
    pub conv: u32,
    /// Whether vLLM keeps the states in fp32 (`mamba_ssm_dtype`), rather than in the model's own type.
    pub fp32_states: bool,
}

impl LinearAttention {
    /// Width of q and k together with v: what the convolution runs over.
    pub fn conv_width(&self) -> u64 {
        2 * u64::from(self.key_heads) * u64::from(self.key_dim) + self.value_width()
    }
    /// Width of the values.
    pub fn value_width(&self) -> u64 {
        u64::from(self.value_heads) * u64::from(self.value_dim)
    }
    /// Elements of one layer's state of one sequence: the matrices in fp32, the convolution's tail apart.
    pub fn state_elements(&self) -> u64 {
        u64::from(self.value_heads) * u64::from(self.key_dim) * u64::from(self.value_dim)
    }
}

/// Heads of the layers that see everything, where they differ from those with a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullHeads {
    /// Width of one head.
    pub head_dim: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Whether values are the keys: no matrix of their own (`attention_k_eq_v`).
    pub v_is_k: bool,
}

/// How a checkpoint's linear layers are quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantization {
    /// The format of the quantised matrices.
    pub format: WeightFormat,
    /// Only the routed experts are quantised (MXFP4 checkpoints).
    pub experts_only: bool,
}

// Larger than any model announced, small enough that every later product fits in 64 bits.
const MAX_WIDTH: u32 = 1 << 24;
const MAX_HEADS: u32 = 1 << 16;
const MAX_LAYERS: u32 = 1 << 13;
const MAX_EXPERTS: u32 = 1 << 16;
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
    let (raw, prefix) = match &outer.text_config {
        Some(text) => {
            caveats.push(
                "Only the text part is described: vision or audio towers, their weights and their time \
                 are left out."
                    .to_owned(),
            );
            (&**text, "text_config.")
        }
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

struct Reader<'a> {
    raw: &'a RawConfig,
    outer: &'a RawConfig,
    prefix: &'static str,
    file: &'a str,
    rules: &'static Rules,
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
    fn or(&self, value: Option<u32>, default: u32) -> Option<u32> {
        let gemma3_text = self.rules.arch == Architecture::Gemma3 && !self.prefix.is_empty();
        value.or(gemma3_text.then_some(default))
    }

    /// Query heads, key/value heads and the width of one.
    fn heads(&self, hidden_size: u32) -> Result<(u32, u32, u32), ModelError> {
        let q_heads = self.size(
            "num_attention_heads",
            self.or(self.raw.num_attention_heads, 8),
            MAX_HEADS,
        )?;
        let kv = if self.rules.kv_heads_default_to_q {
            self.raw.num_key_value_heads.or(Some(q_heads))
        } else {
            self.or(self.raw.num_key_value_heads, 4)
        };
        let kv_heads = self.size("num_key_value_heads", kv, MAX_HEADS)?;
        if q_heads % kv_heads != 0 {
            return Err(self.invalid(
                "num_key_value_heads",
                format!("{kv_heads} does not divide num_attention_heads = {q_heads}"),
            ));
        }
        let head_dim = match self.raw.head_dim.or(self.rules.head_dim) {
            Some(d) => self.size("head_dim", Some(d), MAX_WIDTH)?,
            None if hidden_size.is_multiple_of(q_heads) => hidden_size / q_heads,
            None => {
                return Err(self.invalid(
                    "num_attention_heads",
                    format!(
                        "{q_heads} does not divide hidden_size = {hidden_size}; give head_dim if that is meant"
                    ),
                ));
            }
        };
        Ok((q_heads, kv_heads, head_dim))
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

    /// Whether q, k, v and the output projection have biases.
    fn attention_bias(&self) -> (bool, bool) {
        let flag = self
            .raw
            .attention_bias
            .unwrap_or(self.rules.arch == Architecture::GptOss);
        match self.rules.bias {
            AttentionBias::AllByFlag => (flag, flag),
            AttentionBias::QkvByFlag => (flag, false),
            AttentionBias::QkvAlways => (true, false),
            AttentionBias::Never => (false, false),
        }
    }

    fn field(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn invalid(&self, name: &str, problem: String) -> ModelError {
        ModelError::Invalid {
            file: self.file.to_owned(),
            field: self.field(name),
            problem,
        }
    }

    fn unsupported(&self, name: &str, problem: String) -> ModelError {
        ModelError::Unsupported {
            file: self.file.to_owned(),
            field: self.field(name),
            problem,
        }
    }

    /// A size that must be there, at least 1 and at most `max`.
    fn size(&self, name: &str, value: Option<u32>, max: u32) -> Result<u32, ModelError> {
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

    fn hybrid(&self) -> bool {
        matches!(
            self.rules.arch,
            Architecture::Qwen3Next | Architecture::Qwen35 | Architecture::Qwen35Moe
        )
    }

    /// Which layers are recurrent: as `layer_types` says, else all but every `full_attention_interval`-th
    /// (4 in `Qwen3NextConfig` and `Qwen3_5TextConfig`).
    fn linear_layers(&self, layers: u32) -> Result<Vec<bool>, ModelError> {
        let raw = self.raw;
        if !self.hybrid() {
            return Ok(vec![false; layers as usize]);
        }
        let some = |field, linear: Vec<bool>| {
            if linear.contains(&false) {
                return Ok(linear);
            }
            // vLLM serves such a model without a KV cache, which capsim does not.
            Err(self.invalid(
                field,
                format!("leaves none of the {layers} layers with attention; models without a KV cache are not simulated"),
            ))
        };
        if let Some(types) = &raw.layer_types {
            let linear = types.iter().map(|t| t == "linear_attention").collect();
            return some("layer_types", linear);
        }
        let every = raw.full_attention_interval.unwrap_or(4);
        if every == 0 {
            return Err(self.invalid(
                "full_attention_interval",
                "is 0; 4 means that every fourth layer sees everything".to_owned(),
            ));
        }
        let linear = (0..layers).map(|i| !(i + 1).is_multiple_of(every));
        some("full_attention_interval", linear.collect())
    }

    fn linear(&mut self, layers: &[bool]) -> Result<Option<LinearAttention>, ModelError> {
        if !layers.contains(&true) {
            return Ok(None);
        }
        let raw = self.raw;
        Ok(Some(LinearAttention {
            key_heads: self.size(
                "linear_num_key_heads",
                raw.linear_num_key_heads.or(Some(16)),
                MAX_HEADS,
            )?,
            value_heads: self.size(
                "linear_num_value_heads",
                raw.linear_num_value_heads.or(Some(32)),
                MAX_HEADS,
            )?,
            key_dim: self.size(
                "linear_key_head_dim",
                raw.linear_key_head_dim.or(Some(128)),
                1 << 12,
            )?,
            value_dim: self.size(
                "linear_value_head_dim",
                raw.linear_value_head_dim.or(Some(128)),
                1 << 12,
            )?,
            conv: self.size(
                "linear_conv_kernel_dim",
                raw.linear_conv_kernel_dim.or(Some(4)),
                1 << 10,
            )?,
            fp32_states: raw.mamba_ssm_dtype.as_deref() == Some("float32"),
        }))
    }

    fn full_heads(
        &self,
        head_dim: u32,
        kv_heads: u32,
        q_heads: u32,
    ) -> Result<Option<FullHeads>, ModelError> {
        if self.rules.arch != Architecture::Gemma4 {
            return Ok(None);
        }
        let raw = self.raw;
        let heads = FullHeads {
            head_dim: self.size(
                "global_head_dim",
                raw.global_head_dim.or(Some(head_dim)),
                MAX_WIDTH,
            )?,
            kv_heads: self.size(
                "num_global_key_value_heads",
                raw.num_global_key_value_heads.or(Some(kv_heads)),
                MAX_HEADS,
            )?,
            v_is_k: raw.attention_k_eq_v.unwrap_or(false),
        };
        if !q_heads.is_multiple_of(heads.kv_heads) {
            return Err(self.invalid(
                "num_global_key_value_heads",
                format!(
                    "{} does not divide num_attention_heads = {q_heads}",
                    heads.kv_heads
                ),
            ));
        }
        Ok(Some(heads))
    }

    fn windows(&self, layers: u32, linear: &[bool]) -> Result<Vec<Option<u32>>, ModelError> {
        let raw = self.raw;
        let slides: Vec<bool> = if let Some(types) = &raw.layer_types {
            if types.len() != layers as usize {
                return Err(self.invalid(
                    "layer_types",
                    format!("has {} entries for {layers} layers", types.len()),
                ));
            }
            let mut slides = Vec::with_capacity(types.len());
            for (i, t) in types.iter().enumerate() {
                slides.push(match t.as_str() {
                    "full_attention" => false,
                    "sliding_attention" => true,
                    "linear_attention" if linear[i] => false,
                    other => {
                        let other: String = other.chars().take(80).collect();
                        return Err(self.unsupported(
                            &format!("layer_types[{i}]"),
                            format!("layers of type \"{other}\""),
                        ));
                    }
                });
            }
            slides
        } else {
            let rule = |i: u32| match self.rules.window {
                WindowRule::Never => false,
                WindowRule::AllIfSet => raw.sliding_window.is_some(),
                WindowRule::FromMaxWindowLayers => {
                    raw.use_sliding_window.unwrap_or(false)
                        && raw.sliding_window.is_some()
                        && i >= raw.max_window_layers.unwrap_or(layers)
                }
                WindowRule::EveryNthFull(n) => {
                    let n = raw.sliding_window_pattern.unwrap_or(n);
                    n == 0 || !(i + 1).is_multiple_of(n)
                }
            };
            (0..layers).map(rule).collect()
        };
        if !slides.contains(&true) {
            return Ok(vec![None; layers as usize]);
        }
        // The library defaults of Gemma2Config, Gemma3TextConfig and GptOssConfig.
        let default = match self.rules.arch {
            Architecture::Gemma2 | Architecture::Gemma3 => Some(4096),
            Architecture::GptOss => Some(128),
            Architecture::Gemma4 => Some(512),
            _ => None,
        };
        let window = self.size("sliding_window", raw.sliding_window.or(default), u32::MAX)?;
        Ok(slides.into_iter().map(|s| s.then_some(window)).collect())
    }

    fn experts(&self, layers: u32) -> Result<(Option<MoeConfig>, Vec<bool>), ModelError> {
        let (raw, n) = (self.raw, layers as usize);
        let rule = self.rules.moe;
        if rule == MoeRule::Dense {
            return Ok((None, vec![false; n]));
        }
        let (name, given) = [
            ("num_experts", raw.num_experts),
            ("num_local_experts", raw.num_local_experts),
            ("n_routed_experts", raw.n_routed_experts),
        ]
        .into_iter()
        .find(|(_, v)| v.is_some())
        .unwrap_or(("num_experts", None));
        let is_moe: Vec<bool> = match rule {
            MoeRule::Dense => unreachable!("handled above"),
            MoeRule::All | MoeRule::AllBiased => vec![true; n],
            MoeRule::BesideDense => vec![raw.enable_moe_block.unwrap_or(false); n],
            MoeRule::Sparse => {
                let step = raw.decoder_sparse_step.unwrap_or(1);
                if step == 0 {
                    return Err(self.invalid(
                        "decoder_sparse_step",
                        "is 0; 1 means that every layer has experts".to_owned(),
                    ));
                }
                let dense = raw.mlp_only_layers.as_deref().unwrap_or(&[]);
                (0..layers)
                    .map(|i| (i + 1).is_multiple_of(step) && !dense.contains(&i))
                    .collect()
            }
            MoeRule::AfterFirstDense => {
                let first = raw.first_k_dense_replace.unwrap_or(0);
                (0..layers).map(|i| i >= first).collect()
            }
        };
        if !is_moe.contains(&true) {
            return Ok((None, is_moe));
        }
        let num_experts = self.size(name, given, MAX_EXPERTS)?;
        let top_k = raw
            .num_experts_per_tok
            .or(raw.experts_per_token)
            .or(raw.top_k_experts);
        let top_k = self.size("num_experts_per_tok", top_k, MAX_EXPERTS)?;
        if top_k > num_experts {
            return Err(self.invalid(
                "num_experts_per_tok",
                format!("is {top_k}, but there are only {name} = {num_experts}"),
            ));
        }
        let inter = match rule {
            MoeRule::All | MoeRule::AllBiased => {
                self.size("intermediate_size", raw.intermediate_size, MAX_WIDTH)?
            }
            _ => self.size(
                "moe_intermediate_size",
                raw.moe_intermediate_size,
                MAX_WIDTH,
            )?,
        };
        let shared = match rule {
            MoeRule::Sparse => raw.shared_expert_intermediate_size.unwrap_or(0),
            // The dense MLP beside the experts is computed like a shared expert.
            MoeRule::BesideDense => {
                self.size("intermediate_size", raw.intermediate_size, MAX_WIDTH)?
            }
            MoeRule::AfterFirstDense => {
                let count = raw.n_shared_experts.unwrap_or(0);
                inter.checked_mul(count).ok_or_else(|| {
                    self.invalid("n_shared_experts", format!("is {count}: too many"))
                })?
            }
            _ => 0,
        };
        if shared > MAX_WIDTH {
            return Err(self.invalid(
                "shared_expert_intermediate_size",
                format!("is {shared}; capsim takes at most {MAX_WIDTH}"),
            ));
        }
        let moe = MoeConfig {
            num_experts,
            num_experts_per_tok: top_k,
            moe_intermediate_size: inter,
            shared_expert_intermediate_size: shared,
            shared_expert_gate: shared > 0
                && matches!(
                    self.rules.arch,
                    Architecture::Qwen2Moe | Architecture::Qwen3Next | Architecture::Qwen35Moe
                ),
            bias: rule == MoeRule::AllBiased,
            router_correction_bias: rule == MoeRule::AfterFirstDense,
        };
        Ok((Some(moe), is_moe))
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

//! A Hugging Face `config.json`, checked: from here on no size is zero and no product overflows.
use super::architecture::{EmbeddingRule, MixerRule, Rules, known, rules, suggest};
use super::encoder::{self, Encoder};
use super::error::ModelError;
use super::layers::{Layer, Mixer, MoeConfig, PerLayerInputs};
use super::overrides::Overrides;
use super::precision::{Dtype, Precision};
pub use super::quantization::Quantization;
use super::raw::{Fields, object};
use serde::Serialize;
use serde_json::{Map, Value};

/// Sizes and switches of one decoder-only model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelConfig {
    /// Where the text came from, for error texts and reports.
    pub source: String,
    /// The architecture: the first of its names in `architectures`.
    pub architecture: &'static str,
    /// Width of the residual stream.
    pub hidden_size: u32,
    /// Number of decoder layers.
    pub num_hidden_layers: u32,
    /// Query heads of the first layer with attention.
    pub num_attention_heads: u32,
    /// Its key/value heads.
    pub num_key_value_heads: u32,
    /// Width of one head, or of its rotary part where that is apart.
    pub head_dim: u32,
    /// Whether heads are rotated by their positions, of which the engine keeps a table.
    pub rotary: bool,
    /// Rows of the embedding and of the lm_head.
    pub vocab_size: u32,
    /// Longest context the model was made for.
    pub max_position_embeddings: u32,
    /// `torch_dtype`; bfloat16 if absent.
    pub dtype: Dtype,
    /// Whether the lm_head is the embedding matrix.
    pub tie_word_embeddings: bool,
    /// Whether the lm_head has a bias.
    pub lm_head_bias: bool,
    /// What stands at the input.
    #[serde(skip)]
    pub(super) embedding: EmbeddingRule,
    /// Inputs of each layer, if it has any (Gemma 3n, Gemma 4 E).
    pub per_layer: Option<PerLayerInputs>,
    /// Vectors of each norm: 1, 2 with a bias, 0 without parameters.
    pub norm_vectors: u32,
    /// The layers.
    pub layers: Vec<Layer>,
    /// What the checkpoint's `quantization_config` says.
    pub quantization: Option<Quantization>,
    /// The same for each layer, where some differ from most; else empty.
    pub quantization_by_layer: Vec<Quantization>,
    /// Hidden states that a product joins to one before the layers: drafters only, else 0.
    #[serde(skip)]
    pub(super) joins: u32,
    /// Its vision tower, which [`parameters`](Self::parameters) does not contain.
    pub encoder: Option<Encoder>,
    /// How a file of another kind stores it: a GGUF mixture.
    pub stored: Option<Precision>,
    /// Why what it says is not understood: an answer then needs the weights' format by name.
    #[serde(skip)]
    pub unread: Option<ModelError>,
    /// What this description leaves out, in sentences.
    pub caveats: Vec<String>,
    /// What was taken for what is not known, or said over the config, in sentences: its figures may be off, and prices more so.
    pub assumed: Vec<String>,
    /// Whether layers or formats of another class stand for unknown ones.
    pub resembles: bool,
}

impl ModelConfig {
    /// The experts of the first layer that has some.
    pub fn moe(&self) -> Option<&MoeConfig> {
        self.layers.iter().find_map(Layer::moe)
    }

    /// The same without what was said over the config.
    fn without_said(&self) -> Self {
        Self {
            assumed: self
                .assumed
                .iter()
                .filter(|s| !s.contains("--set"))
                .cloned()
                .collect(),
            ..self.clone()
        }
    }

    /// Sliding window of each layer in tokens; None is full attention.
    pub fn windows(&self) -> Vec<Option<u32>> {
        self.layers.iter().map(Layer::window).collect()
    }

    /// Whether each layer's MLP is a mixture of experts.
    pub fn moe_layers(&self) -> Vec<bool> {
        self.layers.iter().map(|l| l.moe().is_some()).collect()
    }
}

// Larger than any model announced, small enough that every later product fits in 64 bits.
pub(super) const MAX_WIDTH: u32 = 1 << 24;
pub(super) const MAX_HEADS: u32 = 1 << 16;
/// The widest that a product of two sizes may be.
const MAX_PRODUCT: u32 = 1 << 28;
const MAX_LAYERS: u32 = 1 << 13;
pub(super) const MAX_EXPERTS: u32 = 1 << 16;
pub(super) const MAX_VOCAB: u32 = 1 << 28;
const MAX_PARAMETERS: u128 = 1_000_000_000_000_000;

/// Reads the text of a `config.json`. `source_name` (usually the path) appears in errors.
///
/// A multimodal wrapper's `text_config` is unwrapped; Mistral's `params.json` is read as well. Fields that do not change sizes are ignored. What ModelOpt writes beside the
/// config may stand in it as `hf_quant_config`.
///
/// # Errors
/// Names the file and the field: not JSON, wrong type, missing, impossible (zero, negative, not divisible,
/// more than 10¹⁵ parameters), or an architecture that no known one resembles, with the known name that it may be a misspelling of. A
/// format of weights that is not known is no error yet: see [`ModelConfig::unread`].
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
    parse_with(json, source_name, &Overrides::default())
}

/// As [`parse`], with what a user says over the config.
///
/// # Errors
/// As [`parse`]; a key inside of what is no object.
pub fn parse_with(
    json: &str,
    source_name: &str,
    over: &Overrides,
) -> Result<ModelConfig, ModelError> {
    let mut config = read(json, source_name, over)?;
    for (at, (key, value)) in over.keys.iter().enumerate() {
        // What is read of the config tells whether a key counts: a misspelt one changes nothing.
        let without = read(json, source_name, &over.without(at));
        config.assumed.push(match without {
            Ok(same) if same == config.without_said() => {
                format!("--set {key}={value} changes nothing that is counted: no such key is read")
            }
            _ => format!("{key} is {value}, said over the config (--set)"),
        });
    }
    Ok(config)
}

/// Names under which wrappers keep their text part: InternVL calls it `llm_config`.
const TEXT_PARTS: [&str; 3] = ["text_config", "llm_config", "language_config"];

/// The path of the text part.
fn text_path(map: &Map<String, Value>) -> Option<String> {
    let is_object = |v: Option<&Value>| v.is_some_and(Value::is_object);
    let thinker = map.get("thinker_config").and_then(Value::as_object);
    let (outer, prefix) = match thinker {
        Some(inner) => (inner, "thinker_config"),
        None => (map, ""),
    };
    match TEXT_PARTS.iter().find(|n| is_object(outer.get(**n))) {
        Some(name) if prefix.is_empty() => Some((*name).to_owned()),
        Some(name) => Some(format!("{prefix}.{name}")),
        None => thinker.map(|_| prefix.to_owned()),
    }
}

fn read(json: &str, source_name: &str, over: &Overrides) -> Result<ModelConfig, ModelError> {
    let mut map = object(json, source_name)?;
    if let Some(adapted) = super::params_json::adapted(&map) {
        map = adapted;
    }
    let part = text_path(&map);
    over.apply(&mut map, part.as_deref(), source_name)?;
    let outer = Fields::new(&map, source_name);
    let text = text_part(&outer)?;
    let mut caveats = Vec::new();
    let seen = (text.is_some() || outer.get("vision_config").is_some())
        .then(|| encoder::read(&outer, 1).is_some());
    match seen {
        Some(false) => {
            let size = match tower(&outer) {
                Some(n) => format!(" (at least {:.1} B parameters)", n / 1e9),
                None => String::new(),
            };
            caveats.push(format!(
                "Only the text part is described: vision or audio towers{size}, their weights and their time are left out."
            ));
        }
        Some(true) if outer.get("audio_config").is_some() => {
            caveats.push("The audio tower is left out: its weights and its time.".to_owned())
        }
        _ => {}
    }
    let f = text.unwrap_or_else(|| outer.clone());
    let Chosen { rules, unknown } = find_rules(&f, &outer, source_name, over)?;
    let Some(unknown) = unknown else {
        return read_as(rules, f, outer, caveats);
    };
    // The class is not known, and another stands for it: what that one misses is no fault of the file.
    let mut config = read_as(rules, f, outer, caveats).map_err(|e| unknown.refused(rules, &e))?;
    config.assumed.insert(0, unknown.said(rules));
    config.resembles = true;
    Ok(config)
}

/// Reads a config as one of a class.
fn read_as(
    rules: &'static Rules,
    f: Fields<'_>,
    outer: Fields<'_>,
    caveats: Vec<String>,
) -> Result<ModelConfig, ModelError> {
    let hidden_size = match f.number("hidden_size")? {
        Some(n) => f.checked(f.called("hidden_size"), n, MAX_WIDTH)?,
        None => return Err(missing(&f, rules, "hidden_size")),
    };
    // Nemotron 3 Ultra gives a list of its layers instead of their number.
    let listed = f.list("layers_block_type")?.map(|l| l.len() as u32);
    let layers = match f.number("num_hidden_layers")?.or(listed) {
        Some(n) => f.checked(f.called("num_hidden_layers"), n, MAX_LAYERS)?,
        None => return Err(missing(&f, rules, "num_hidden_layers")),
    };
    Reader {
        f,
        outer,
        rules,
        hidden_size,
        layers,
    }
    .read(caveats)
}

/// The text part of a wrapper; omni models have it inside their thinker.
fn text_part<'a>(outer: &Fields<'a>) -> Result<Option<Fields<'a>>, ModelError> {
    let thinker = outer.inner("thinker_config")?;
    let outer = thinker.as_ref().unwrap_or(outer);
    for name in TEXT_PARTS {
        if let Some(inner) = outer.inner(name)? {
            return Ok(Some(inner));
        }
    }
    Ok(thinker)
}

/// Parameters of a vision tower's layers: q, k, v and o, and the two matrices of the MLP. What stands before and behind them is not
/// counted.
fn tower(outer: &Fields) -> Option<f64> {
    let v = outer.inner("vision_config").ok()??;
    let first = |names: [&str; 3]| {
        let size = names.iter().find_map(|n| v.number(n).ok().flatten());
        size.filter(|n| (1..=MAX_WIDTH).contains(n)).map(f64::from)
    };
    let layers = first(["depth", "num_hidden_layers", "vt_num_hidden_layers"])?;
    let h = first(["hidden_size", "vt_hidden_size", "width"])?;
    let inner = first(["intermediate_size", "vt_intermediate_size", "mlp_dim"])?;
    Some(layers * (4.0 * h * h + 2.0 * h * inner))
}

fn missing(f: &Fields, rules: &Rules, name: &str) -> ModelError {
    ModelError::Missing {
        file: f.file().to_owned(),
        field: f.path(name),
        architecture: rules.names[0].to_owned(),
    }
}

/// The class whose layers count.
struct Chosen {
    rules: &'static Rules,
    /// The config's own, where it is not known or another one was asked for.
    unknown: Option<Unknown>,
}

/// A class for which another one stands.
struct Unknown {
    file: String,
    field: String,
    name: String,
    /// Whether the other one was asked for.
    asked: bool,
}

impl Unknown {
    fn said(&self, rules: &Rules) -> String {
        let (name, other) = (&self.name, rules.names[0]);
        match self.asked {
            true => format!(
                "the layers of {name} are counted as those of {other}, as --assume-architecture says"
            ),
            false => format!(
                "{name} is not known: its layers are counted as those of {other}, which its keys resemble most \
                 (--assume-architecture NAME takes another class)"
            ),
        }
    }

    fn error(&self, why: String) -> ModelError {
        ModelError::UnknownArchitecture {
            file: self.file.clone(),
            field: self.field.clone(),
            suggestion: suggest(&self.name),
            // A whole novel in the field should not become a whole novel in the error.
            value: self.name.chars().take(80).collect(),
            why: why.into(),
            known: known().into(),
        }
    }

    fn refused(&self, rules: &Rules, e: &ModelError) -> ModelError {
        match self.asked {
            true => e.clone(),
            false => self.error(format!(
                "{}, which it resembles most, does not fit ({e}); ",
                rules.names[0]
            )),
        }
    }
}

/// `architectures[0]` decides where it is given: a derived class (a draft head, a classifier) often keeps the
/// `model_type` of its parent. Inside `text_config` only `model_type` is usual; where that is not known, the wrapper's class may be.
fn find_rules(
    f: &Fields,
    outer: &Fields,
    file: &str,
    over: &Overrides,
) -> Result<Chosen, ModelError> {
    let named = |c: &Fields| -> Result<Option<(String, String)>, ModelError> {
        let first = c.words("architectures")?.first().map(|a| a.to_string());
        Ok(match (first, c.word("model_type")?) {
            (Some(a), _) => Some((c.path("architectures[0]"), a)),
            (None, Some(t)) => Some((c.path("model_type"), t.to_owned())),
            (None, None) => None,
        })
    };
    let (inner, whole) = (named(f)?, named(outer)?);
    let all = [inner, whole];
    let own = all.iter().flatten().find_map(|(_, name)| rules(name));
    let (field, name) = match all.into_iter().flatten().next() {
        Some(found) => found,
        None => (
            "architectures".to_owned(),
            "a class without a name".to_owned(),
        ),
    };
    let unknown = Unknown {
        file: file.to_owned(),
        field,
        name,
        asked: over.architecture.is_some(),
    };
    if let Some(asked) = &over.architecture {
        let found = rules(asked).ok_or_else(|| ModelError::UnknownFormat {
            what: "architecture in --assume-architecture",
            suggestion: suggest(asked),
            name: asked.chars().take(80).collect(),
            known: known(),
        })?;
        let unknown = own
            .is_none_or(|own| own.names != found.names)
            .then_some(unknown);
        return Ok(Chosen {
            rules: found,
            unknown,
        });
    }
    if let Some(rules) = own {
        return Ok(Chosen {
            rules,
            unknown: None,
        });
    }
    // A misspelling is no other class.
    if suggest(&unknown.name).is_some() {
        return Err(unknown.error(String::new()));
    }
    if unknown.name.starts_with("a class") && f.get("hidden_size").is_none() {
        return Err(ModelError::Missing {
            file: file.to_owned(),
            field: "architectures".to_owned(),
            architecture: "every model".to_owned(),
        });
    }
    match super::nearest::nearest(f, &unknown.name)? {
        Some(rules) => Ok(Chosen {
            rules,
            unknown: Some(unknown),
        }),
        None => Err(unknown.error(
            "its config has other layers than any class that is known, or is none of a model that writes text; "
                .to_owned(),
        )),
    }
}

/// Reads a config; each kind of layer reads its own keys (`layers/`).
pub(super) struct Reader<'a> {
    /// The text part's fields.
    pub(super) f: Fields<'a>,
    outer: Fields<'a>,
    pub(super) rules: &'static Rules,
    pub(super) hidden_size: u32,
    /// Number of layers.
    pub(super) layers: u32,
}

impl Reader<'_> {
    fn read(self, mut caveats: Vec<String>) -> Result<ModelConfig, ModelError> {
        let rules = self.rules;
        let layers: Vec<Layer> = (0..self.layers)
            .map(|i| self.layer(i))
            .collect::<Result<_, _>>()?;
        self.some_attention(&layers)?;
        let (q_heads, kv_heads, head_dim) = match rules.mixer {
            MixerRule::Latent | MixerRule::Kda => self.latent_heads()?,
            _ => first_heads(&layers),
        };
        let dtype = self.dtype()?;
        if dtype == Dtype::Fp32 {
            let said = "The checkpoint is in float32; it runs in bfloat16 unless --dtype float32 is given.";
            caveats.push(said.to_owned());
        }
        let mut config = ModelConfig {
            source: self.f.file().to_owned(),
            architecture: rules.names[0],
            hidden_size: self.hidden_size,
            num_hidden_layers: self.layers,
            num_attention_heads: q_heads,
            num_key_value_heads: kv_heads,
            head_dim,
            rotary: self.rotary()?,
            vocab_size: self.size("vocab_size", rules.vocab_size, MAX_VOCAB)?,
            max_position_embeddings: self.size(
                "max_position_embeddings",
                rules.max_position_embeddings,
                u32::MAX,
            )?,
            dtype,
            tie_word_embeddings: match self.f.flag("tie_word_embeddings")? {
                Some(tied) => tied,
                None => self
                    .outer
                    .flag("tie_word_embeddings")?
                    .unwrap_or(rules.tied),
            },
            lm_head_bias: match rules.lm_head_bias {
                Some(usual) => self.f.flag("lm_head_bias")?.unwrap_or(usual),
                None => false,
            },
            embedding: rules.embedding,
            per_layer: self.per_layer()?,
            norm_vectors: rules.norm_vectors,
            layers,
            quantization: None,
            quantization_by_layer: vec![],
            joins: 0,
            encoder: encoder::read(&self.outer, self.hidden_size),
            stored: None,
            unread: None,
            caveats,
            assumed: vec![],
            resembles: false,
        };
        let total = config.parameters_wide();
        if total > MAX_PARAMETERS {
            return Err(self.f.invalid(
                "hidden_size",
                format!(
                    "together with intermediate_size, num_hidden_layers, num_experts and vocab_size this makes \
                     {total} parameters; capsim takes up to {MAX_PARAMETERS}"
                ),
            ));
        }
        match self.quantization(&config.layers, &mut config.caveats) {
            Ok(formats) => {
                config.quantization = formats.most;
                config.quantization_by_layer = formats.by_layer;
                config.resembles = formats.guessed.is_some();
                config.assumed.extend(formats.guessed);
            }
            Err(e) => config.unread = Some(e),
        }
        Ok(config)
    }

    /// Granite 4-H and Kimi K3 say that they go without.
    fn rotary(&self) -> Result<bool, ModelError> {
        let without = self.f.word("position_embedding_type")? == Some("nope")
            || self.f.flag("mla_use_nope")? == Some(true);
        Ok(self.rules.rotary && !without)
    }

    /// vLLM serves a model without attention without a KV cache, which capsim does not.
    fn some_attention(&self, layers: &[Layer]) -> Result<(), ModelError> {
        let keeps = |l: &Layer| match &l.mixer {
            // A window alone keeps nothing of what lies before it.
            Some(Mixer::Compressed(c)) => c.ratio > 0,
            Some(m) => !m.is_recurrent(),
            None => false,
        };
        if layers.iter().any(keeps) {
            return Ok(());
        }
        let names = [
            "layer_types",
            "full_attention_interval",
            "hybrid_override_pattern",
            "linear_attn_config",
            "block_configs",
            "compress_ratios",
        ];
        let field = names.into_iter().find(|n| self.f.get(n).is_some());
        Err(self.f.invalid(
            field.unwrap_or("architectures"),
            format!(
                "leaves none of the {} layers with attention; models without a KV cache are not simulated",
                self.layers
            ),
        ))
    }

    pub(super) fn missing(&self, name: &str) -> ModelError {
        missing(&self.f, self.rules, name)
    }

    /// A size: at least 1 and at most `max`; `usual` where it is absent.
    pub(super) fn size(&self, name: &str, usual: Option<u32>, max: u32) -> Result<u32, ModelError> {
        match self.f.number(name)?.or(usual) {
            None => Err(self.missing(name)),
            Some(v) => self.f.checked(self.f.called(name), v, max),
        }
    }

    /// A width that is a product of two sizes.
    pub(super) fn product(&self, name: &str, a: u32, b: u32) -> Result<u32, ModelError> {
        let wide = a.saturating_mul(b);
        self.f.checked(name, wide, MAX_PRODUCT)
    }

    fn dtype(&self) -> Result<Dtype, ModelError> {
        let mut given = None;
        for (f, name) in [
            (&self.f, "torch_dtype"),
            (&self.outer, "torch_dtype"),
            (&self.f, "dtype"),
            (&self.outer, "dtype"),
        ] {
            if let Some(word) = f.word(name)? {
                given = Some((name, word));
                break;
            }
        }
        let Some((name, value)) = given else {
            return Ok(Dtype::Bf16);
        };
        match value.trim_start_matches("torch.") {
            "bfloat16" | "auto" => Ok(Dtype::Bf16),
            "float16" | "half" => Ok(Dtype::Fp16),
            "float32" | "float" => Ok(Dtype::Fp32),
            other => {
                let other: String = other.chars().take(80).collect();
                Err(self.f.invalid(
                    name,
                    format!("\"{other}\" is none of bfloat16, float16, float32"),
                ))
            }
        }
    }

    /// vLLM 0.33.0 reads `hf_quant_config.json` where the config has no `quantization_config` (`transformers_utils/config.py`).
    fn quantization(
        &self,
        layers: &[Layer],
        caveats: &mut Vec<String>,
    ) -> Result<Formats, ModelError> {
        let mut found = None;
        for (f, name) in [
            (&self.f, "quantization_config"),
            (&self.outer, "quantization_config"),
            (&self.f, "compression_config"),
            (&self.outer, "hf_quant_config"),
        ] {
            found = match found {
                None => f.inner(name)?,
                some => some,
            };
        }
        let mut formats = match found {
            Some(q) => {
                let read = super::quantization::read(&q, layers, caveats)?;
                Formats {
                    most: Some(read.most),
                    by_layer: read.by_layer,
                    guessed: read.guessed,
                }
            }
            None => Formats::default(),
        };
        // DeepSeek-V4: experts in MXFP4 though the rest is in 8 bits.
        if self.f.word("expert_dtype")? == Some("fp4") {
            let q = formats.most.get_or_insert_default();
            if q.experts != Some(super::WeightFormat::Nvfp4) {
                q.experts = Some(super::WeightFormat::Mxfp4);
            }
        }
        Ok(formats)
    }
}

/// What a checkpoint says of its formats.
#[derive(Default)]
struct Formats {
    /// Those of most layers.
    most: Option<Quantization>,
    /// Those of each layer, where some differ.
    by_layer: Vec<Quantization>,
    /// What was taken for a method that is not known.
    guessed: Option<String>,
}

/// Heads of the first layer with attention.
fn first_heads(layers: &[Layer]) -> (u32, u32, u32) {
    let heads = |l: &Layer| match &l.mixer {
        Some(Mixer::Attention(a)) => Some((a.q_heads, a.kv_heads, a.head_dim)),
        Some(Mixer::Compressed(a)) => Some((a.heads, 1, a.rope)),
        _ => None,
    };
    layers.iter().find_map(heads).unwrap_or((1, 1, 1))
}

/// The text as JSON, with null for the numbers that only Python writes.
///
/// # Errors
/// It is no JSON object.
pub fn document(json: &str, name: &str) -> Result<Value, ModelError> {
    object(json, name).map(Value::Object)
}

/// The text with what ModelOpt wrote beside it, where it has no `quantization_config` of its own.
///
/// # Errors
/// One of the two is no JSON object.
pub fn with_modelopt(
    config: &str,
    name: &str,
    beside: &str,
    beside_name: &str,
) -> Result<String, ModelError> {
    let mut map = object(config, name)?;
    let beside = object(beside, beside_name)?;
    map.insert("hf_quant_config".to_owned(), Value::Object(beside));
    Ok(Value::Object(map).to_string())
}

//! Which matrix of a model is stored how.
use super::config::{ModelConfig, Quantization};
use super::error::{ModelError, closest};
use super::format::WeightFormat;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// Type of activations and unquantised weights (`--dtype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE single precision.
    Fp32,
    /// IEEE half precision.
    Fp16,
    /// bfloat16.
    Bf16,
}

impl Dtype {
    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Fp32 => 4,
            Self::Fp16 | Self::Bf16 => 2,
        }
    }
    /// Weights stored as they are.
    pub fn format(self) -> WeightFormat {
        match self {
            Self::Fp32 => WeightFormat::Fp32,
            Self::Fp16 => WeightFormat::Fp16,
            Self::Bf16 => WeightFormat::Bf16,
        }
    }
}

/// Type of the KV cache's elements (`--kv-cache-dtype`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvDtype {
    /// As the activations.
    #[default]
    Auto,
    /// IEEE half precision.
    Fp16,
    /// bfloat16.
    Bf16,
    /// 8-bit float; scales are per tensor and not counted.
    Fp8,
    /// GGUF Q8_0 (llama.cpp's `-ctk q8_0 -ctv q8_0`).
    Q8,
    /// GGUF Q4_0.
    Q4,
}

impl KvDtype {
    /// Bytes of 32 elements, given the activation type.
    pub fn block_bytes(self, activation: Dtype) -> u64 {
        match self {
            Self::Auto => 32 * activation.bytes(),
            Self::Fp16 | Self::Bf16 => 64,
            Self::Fp8 => 32,
            Self::Q8 => 34,
            Self::Q4 => 18,
        }
    }
}

impl std::fmt::Display for KvDtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Fp16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::Fp8 => "fp8",
            Self::Q8 => "q8_0",
            Self::Q4 => "q4_0",
        })
    }
}

impl FromStr for KvDtype {
    type Err = ModelError;
    /// vLLM's names: `auto`, `bfloat16`, `fp8`, `fp8_e4m3`, `fp8_e5m2`; also `fp16`, and llama.cpp's `q8_0`, `q4_0`.
    fn from_str(name: &str) -> Result<Self, ModelError> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "auto" => Self::Auto,
            "fp16" | "float16" | "half" => Self::Fp16,
            "bf16" | "bfloat16" => Self::Bf16,
            "fp8" | "fp8_e4m3" | "fp8_e5m2" => Self::Fp8,
            "q8_0" => Self::Q8,
            "q4_0" => Self::Q4,
            _ => {
                let known = ["auto", "fp16", "bf16", "fp8", "q8_0", "q4_0"];
                return Err(ModelError::UnknownFormat {
                    what: "KV-cache dtype",
                    name: name.to_owned(),
                    suggestion: closest(name, known),
                    known: known.join(", "),
                });
            }
        })
    }
}

/// Which matrix is stored how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Precision {
    /// Activations and biases.
    pub dtype: Dtype,
    /// Norm weights.
    pub norms: Dtype,
    /// QKV and O projections.
    pub attention: WeightFormat,
    /// Projections of linear attention.
    pub recurrent: WeightFormat,
    /// Dense MLPs.
    pub mlp: WeightFormat,
    /// Shared experts.
    pub shared: WeightFormat,
    /// Routed experts.
    pub experts: WeightFormat,
    /// The router (`mlp.gate`); quantisers leave it alone.
    pub router: WeightFormat,
    /// Input embedding, where it is not the lm_head too.
    pub embedding: WeightFormat,
    /// Output head, and an embedding tied to it.
    pub lm_head: WeightFormat,
    /// llama.cpp's `_M` mixtures store V and down projections of about half of the layers in this format
    /// (`use_more_bits` in llama.cpp's `llama-quant.cpp`).
    pub more_bits: Option<WeightFormat>,
    /// The KV cache.
    pub kv: KvDtype,
    /// Whether layers may differ as the checkpoint says ([`ModelConfig::quantization_by_layer`]).
    #[serde(default)]
    pub by_layer: bool,
}

impl Precision {
    /// Nothing quantised: every matrix in `dtype`.
    pub fn plain(dtype: Dtype) -> Self {
        let f = dtype.format();
        Self {
            dtype,
            norms: dtype,
            attention: f,
            recurrent: f,
            mlp: f,
            shared: f,
            experts: f,
            router: f,
            embedding: f,
            lm_head: f,
            more_bits: None,
            kv: KvDtype::Auto,
            by_layer: false,
        }
    }

    /// All linear layers and experts in `format`; embedding, head, router, norms and biases in `dtype`.
    pub fn linear(format: WeightFormat, dtype: Dtype) -> Self {
        Self {
            attention: format,
            recurrent: format,
            mlp: format,
            shared: format,
            experts: format,
            ..Self::plain(dtype)
        }
    }

    /// llama.cpp's Q4_K_M: Q4_K, with Q6_K for the head and for V and down projections of half of the layers;
    /// router and norms in fp32. About 4.85 bits per weight in all.
    pub fn gguf_q4_k_m() -> Self {
        let (q4, q6) = (WeightFormat::GgufQ4K, WeightFormat::GgufQ6K);
        Self {
            norms: Dtype::Fp32,
            router: WeightFormat::Fp32,
            embedding: q4,
            lm_head: q6,
            more_bits: Some(q6),
            ..Self::linear(q4, Dtype::Fp16)
        }
    }

    /// llama.cpp's Q5_K_M: as Q4_K_M, with Q5_K in the place of Q4_K (`llama_tensor_get_type` in `llama-quant.cpp`).
    fn gguf_q5_k_m() -> Self {
        let (q5, q6) = (WeightFormat::GgufQ5K, WeightFormat::GgufQ6K);
        Self {
            more_bits: Some(q6),
            ..Self::gguf_pure(q5, q6)
        }
    }

    /// llama.cpp's Q8_0: everything but the router and the norms.
    pub fn gguf_q8_0() -> Self {
        Self::gguf_pure(WeightFormat::GgufQ8, WeightFormat::GgufQ8)
    }

    /// A GGUF file with all matrices in one format but the head; router and norms in fp32.
    fn gguf_pure(format: WeightFormat, head: WeightFormat) -> Self {
        Self {
            norms: Dtype::Fp32,
            router: WeightFormat::Fp32,
            embedding: format,
            lm_head: head,
            ..Self::linear(format, Dtype::Fp16)
        }
    }

    /// A mixture from `gguf_q4_k_m` or a pure format, everything outside the experts in Q8_0.
    fn gguf_dynamic(base: Self) -> Self {
        let q8 = WeightFormat::GgufQ8;
        Self {
            attention: q8,
            recurrent: q8,
            mlp: q8,
            shared: q8,
            ..base
        }
    }

    /// As the checkpoint stores it: `torch_dtype` and `quantization_config`.
    ///
    /// A checkpoint in float32 runs in bfloat16 unless another type is asked for (`config/model.py: _resolve_auto_dtype` of vLLM 0.12.0).
    pub fn of(config: &ModelConfig) -> Self {
        let dtype = match config.dtype {
            Dtype::Fp32 => Dtype::Bf16,
            half => half,
        };
        if let Some(stored) = config.stored {
            return stored;
        }
        let plain = Self::plain(dtype);
        let Some(q) = config.quantization else {
            return plain;
        };
        Self {
            lm_head: q.lm_head.unwrap_or(plain.lm_head),
            kv: q.kv.unwrap_or_default(),
            by_layer: !config.quantization_by_layer.is_empty(),
            ..plain.of_layer(&q)
        }
    }

    /// With the formats of one layer; what is not quantised there is in the activations' type.
    pub(crate) fn of_layer(self, q: &Quantization) -> Self {
        let of = |f: Option<WeightFormat>| f.unwrap_or(self.dtype.format());
        Self {
            attention: of(q.attention),
            recurrent: of(q.recurrent),
            mlp: of(q.mlp),
            shared: of(q.shared),
            experts: of(q.experts),
            ..self
        }
    }

    /// As the checkpoint stores it, where that is understood.
    ///
    /// # Errors
    /// A method or format that is not: the weights must be named then.
    pub fn of_checkpoint(config: &ModelConfig) -> Result<Self, ModelError> {
        match &config.unread {
            Some(e) => Err(e.clone()),
            None => Ok(Self::of(config)),
        }
    }

    /// By name: `auto` (as the checkpoint), `q4_k_m`, `q8_0`, `mxfp4` (experts only), or any
    /// [`WeightFormat`] for all linear layers. A plain float format changes the activations too (`--dtype`).
    ///
    /// GGUF files by their names: `q4_k_m`, `q4_k_s`, `q5_k_m`, `q5_k_s`, `q4_0`, `q6_k`, `q8_0`; `gguf-mxfp4` (experts; the rest in Q8_0), and
    /// `gguf-dynamic-q4`, `-q6`: Q4_K_M or Q6_K experts, everything else in Q8_0, close to Unsloth's UD-Q4_K_XL
    /// and UD-Q6_K_XL of 2026 by file size and speed. Single kinds of matrix can be changed after a `+`:
    /// `bf16+experts=int4-g32+lm_head=int4-g128` (kinds: attention, recurrent, mlp, shared, experts, router, embedding, lm_head; mlp changes shared experts, too).
    pub fn by_name(name: &str, config: &ModelConfig) -> Result<Self, ModelError> {
        let lower = name.to_ascii_lowercase();
        if let Some((base, changes)) = lower.split_once('+') {
            let mut precision = Self::by_name(base, config)?;
            for change in changes.split('+') {
                precision.change(change)?;
            }
            return Ok(precision);
        }
        match lower.as_str() {
            "auto" => return Self::of_checkpoint(config),
            "q4_k_m" => return Ok(Self::gguf_q4_k_m()),
            "q5_k_m" => return Ok(Self::gguf_q5_k_m()),
            "q8_0" => return Ok(Self::gguf_q8_0()),
            // `llama_model_quantize`: Q4_0, IQ4_NL, Q6_K and the small K files keep the head in Q6_K. (The latter have one format more in
            // V and down projections of the first layers: less than 1 % of the bytes.)
            "q4_k_s" => {
                return Ok(Self::gguf_pure(
                    WeightFormat::GgufQ4K,
                    WeightFormat::GgufQ6K,
                ));
            }
            "q5_k_s" => {
                return Ok(Self::gguf_pure(
                    WeightFormat::GgufQ5K,
                    WeightFormat::GgufQ6K,
                ));
            }
            "q4_0" | "iq4_nl" | "gguf-q4_0" => {
                return Ok(Self::gguf_pure(
                    WeightFormat::GgufQ40,
                    WeightFormat::GgufQ6K,
                ));
            }
            "q6_k" | "gguf-q6_k" => {
                return Ok(Self::gguf_pure(
                    WeightFormat::GgufQ6K,
                    WeightFormat::GgufQ6K,
                ));
            }
            // ggml-org's gpt-oss files: experts as released, the rest in Q8_0.
            "gguf-mxfp4" => {
                return Ok(Self {
                    experts: WeightFormat::Mxfp4,
                    ..Self::gguf_q8_0()
                });
            }
            "gguf-dynamic-q4" => return Ok(Self::gguf_dynamic(Self::gguf_q4_k_m())),
            "gguf-dynamic-q6" => {
                return Ok(Self::gguf_dynamic(Self::gguf_pure(
                    WeightFormat::GgufQ6K,
                    WeightFormat::GgufQ6K,
                )));
            }
            _ => {}
        }
        Ok(match name.parse()? {
            WeightFormat::Fp32 => Self::plain(Dtype::Fp32),
            WeightFormat::Fp16 => Self::plain(Dtype::Fp16),
            WeightFormat::Bf16 => Self::plain(Dtype::Bf16),
            WeightFormat::Mxfp4 if config.moe().is_some() => Self {
                experts: WeightFormat::Mxfp4,
                ..Self::plain(config.dtype)
            },
            format => Self::linear(format, config.dtype),
        })
    }

    /// Changes one kind of matrix: `experts=int4-g32`.
    fn change(&mut self, change: &str) -> Result<(), ModelError> {
        let known = [
            "attention",
            "recurrent",
            "mlp",
            "shared",
            "experts",
            "router",
            "embedding",
            "lm_head",
        ];
        let (kind, format) = change.split_once('=').unwrap_or((change, ""));
        let place = match kind {
            "attention" => &mut self.attention,
            "recurrent" => &mut self.recurrent,
            "mlp" => {
                self.shared = format.parse()?;
                &mut self.mlp
            }
            "shared" => &mut self.shared,
            "experts" => &mut self.experts,
            "router" => &mut self.router,
            "embedding" => &mut self.embedding,
            "lm_head" => &mut self.lm_head,
            _ => {
                return Err(ModelError::UnknownFormat {
                    what: "kind of matrix",
                    name: kind.chars().take(80).collect(),
                    suggestion: closest(kind, known),
                    known: known.join(", "),
                });
            }
        };
        *place = format.parse()?;
        Ok(())
    }

    /// With other activations; matrices that are not quantised are kept in their type, quantised ones stay what they are.
    pub fn with_dtype(self, dtype: Dtype) -> Self {
        let own = self.dtype.format();
        let of = |f: WeightFormat| if f == own { dtype.format() } else { f };
        Self {
            dtype,
            norms: dtype,
            attention: of(self.attention),
            recurrent: of(self.recurrent),
            mlp: of(self.mlp),
            shared: of(self.shared),
            experts: of(self.experts),
            router: of(self.router),
            embedding: of(self.embedding),
            lm_head: of(self.lm_head),
            more_bits: self.more_bits,
            kv: self.kv,
            by_layer: self.by_layer,
        }
    }

    /// The same with another KV-cache dtype.
    pub fn with_kv(self, kv: KvDtype) -> Self {
        Self { kv, ..self }
    }

    /// Whether `layer` of `layers` is one of those that a `_M` mixture stores with more bits: the first and
    /// last eighth, and every third between (llama.cpp `use_more_bits`).
    pub(crate) fn layer_has_more_bits(layer: u32, layers: u32) -> bool {
        let eighth = layers / 8;
        layer < eighth || u64::from(layer) >= 7 * u64::from(layers) / 8 || (layer - eighth) % 3 == 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_layers_have_more_bits() {
        for layers in [32, 36, 48, 64] {
            let n = (0..layers)
                .filter(|&i| Precision::layer_has_more_bits(i, layers))
                .count();
            assert_eq!(n as u32, layers / 2);
        }
    }
}

//! How weights and the KV cache are stored: exact bits per weight, and which matrices are quantised.
use super::config::{ModelConfig, Quantization};
use super::error::{ModelError, closest};
use crate::units::Bytes;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// A storage format of one weight matrix.
///
/// ```
/// use capsim::model::WeightFormat;
/// let awq: WeightFormat = "awq".parse()?;
/// // Per group of 128: 128·4 bits, one fp16 scale, one 4-bit zero point.
/// assert_eq!(awq.bits_per_weight(), (532, 128));
/// assert_eq!(awq.matrix_bytes(2048, 2048).0, 2048 * 16 * 532 / 8);
/// # Ok::<(), capsim::model::ModelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WeightFormat {
    /// IEEE single precision.
    Fp32,
    /// IEEE half precision.
    Fp16,
    /// bfloat16.
    Bf16,
    /// 8-bit float, one fp32 scale per output row (`fp8` with `activation_scheme: dynamic`,
    /// compressed-tensors `channel`; a per-tensor scale is smaller still).
    Fp8,
    /// 8-bit float with one fp32 scale per 128 × 128 block (`weight_block_size` of DeepSeek-V3 and
    /// the Qwen3 FP8 checkpoints; DeepSeek-V3 report, arXiv:2412.19437 §3.3).
    Fp8Block,
    /// 8-bit integer, one fp32 scale per output row (compressed-tensors W8A8).
    Int8,
    /// 8-bit integer in groups along the input, one fp16 scale and one 8-bit zero point each
    /// (GPTQ with `bits: 8`).
    Int8Group {
        /// Weights per group.
        group: u32,
    },
    /// 4-bit integer in groups along the input, one fp16 scale each, and with `zero_point` a 4-bit zero
    /// (AWQ and GPTQ pack one; compressed-tensors symmetric has none).
    Int4 {
        /// Weights per group.
        group: u32,
        /// Whether a 4-bit zero point is stored for each group.
        zero_point: bool,
    },
    /// GGUF Q4_K: super-blocks of 256 weights in 144 bytes (ggml `block_q4_K`).
    GgufQ4K,
    /// GGUF Q6_K: super-blocks of 256 weights in 210 bytes (ggml `block_q6_K`).
    GgufQ6K,
    /// GGUF Q8_0: blocks of 32 weights in 34 bytes (ggml `block_q8_0`).
    GgufQ8,
    /// OCP microscaling FP4: 32 weights of 4 bits and one 8-bit exponent (OCP MX specification 1.0 §5.2).
    Mxfp4,
}

/// Bits of one weight, and bits and reach of the metadata beside it.
struct Layout {
    weight: u64,
    /// Bits stored once per group of `group.0` rows × `group.1` columns; 0 columns means the whole row.
    extra: u64,
    group: (u64, u64),
}

impl WeightFormat {
    fn layout(self) -> Layout {
        let plain = |weight| Layout {
            weight,
            extra: 0,
            group: (1, 0),
        };
        let blocked = |weight, extra, cols| Layout {
            weight,
            extra,
            group: (1, cols),
        };
        match self {
            Self::Fp32 => plain(32),
            Self::Fp16 | Self::Bf16 => plain(16),
            Self::Fp8 | Self::Int8 => Layout {
                weight: 8,
                extra: 32,
                group: (1, 0),
            },
            Self::Fp8Block => Layout {
                weight: 8,
                extra: 32,
                group: (128, 128),
            },
            Self::Int8Group { group } => blocked(8, 16 + 8, group.max(1).into()),
            Self::Int4 { group, zero_point } => {
                blocked(4, if zero_point { 16 + 4 } else { 16 }, group.max(1).into())
            }
            Self::GgufQ4K => blocked(4, 144 * 8 - 256 * 4, 256),
            Self::GgufQ6K => blocked(6, 210 * 8 - 256 * 6, 256),
            Self::GgufQ8 => blocked(8, 16, 32),
            Self::Mxfp4 => blocked(4, 8, 32),
        }
    }

    /// Bits per weight as an exact fraction (bits of a full group, weights in it). A format with one scale
    /// per output row reports its bare weight bits: the scale's share depends on the row's length, and
    /// [`matrix_bytes`](Self::matrix_bytes) counts it.
    pub fn bits_per_weight(self) -> (u64, u64) {
        let l = self.layout();
        match l.group {
            (_, 0) => (l.weight, 1),
            (rows, cols) => (l.weight * rows * cols + l.extra, rows * cols),
        }
    }

    /// Exact bytes of an `out_features` × `in_features` matrix with its scales and zero points.
    /// A group cut short by the matrix's edge stores only its own weights, but a whole scale.
    ///
    /// # Panics
    /// If the result exceeds `u64`: [`ModelConfig`](super::ModelConfig) is checked against that.
    pub fn matrix_bytes(self, out_features: u64, in_features: u64) -> Bytes {
        let (l, out, cols) = (
            self.layout(),
            u128::from(out_features),
            u128::from(in_features),
        );
        let groups = match l.group {
            (_, 0) => out,
            (r, c) => out.div_ceil(r.into()) * cols.div_ceil(c.into()),
        };
        let bits = out * cols * u128::from(l.weight) + groups * u128::from(l.extra);
        Bytes(u64::try_from(bits.div_ceil(8)).expect("a checked model's matrix fits in u64 bytes"))
    }

    /// Whether the weights are plain floats, no scale and no unpacking.
    pub fn is_plain(self) -> bool {
        matches!(self, Self::Fp32 | Self::Fp16 | Self::Bf16)
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fp32 => f.write_str("fp32"),
            Self::Fp16 => f.write_str("fp16"),
            Self::Bf16 => f.write_str("bf16"),
            Self::Fp8 => f.write_str("fp8"),
            Self::Fp8Block => f.write_str("fp8-block"),
            Self::Int8 => f.write_str("int8"),
            Self::Int8Group { group } => write!(f, "int8-g{group}"),
            Self::Int4 {
                group,
                zero_point: true,
            } => write!(f, "int4-g{group}"),
            Self::Int4 {
                group,
                zero_point: false,
            } => write!(f, "int4-g{group}-sym"),
            Self::GgufQ4K => f.write_str("q4_k"),
            Self::GgufQ6K => f.write_str("q6_k"),
            Self::GgufQ8 => f.write_str("q8_0"),
            Self::Mxfp4 => f.write_str("mxfp4"),
        }
    }
}

const FORMATS: [&str; 14] = [
    "fp32",
    "fp16",
    "bf16",
    "fp8",
    "fp8-block",
    "int8",
    "int8-g128",
    "int4-g128",
    "awq",
    "gptq",
    "q4_k",
    "q6_k",
    "q8_0",
    "mxfp4",
];

impl FromStr for WeightFormat {
    type Err = ModelError;
    /// The names that [`Display`](fmt::Display) writes, and the usual synonyms (`half`, `bfloat16`, `awq`,
    /// `gptq`, …). `int4-gN` and `int8-gN` take any group size N.
    fn from_str(name: &str) -> Result<Self, ModelError> {
        let lower = name.to_ascii_lowercase();
        let group = |s: &str| s.parse::<u32>().ok().filter(|g| (1..=1 << 20).contains(g));
        Ok(match lower.as_str() {
            "fp32" | "float32" | "f32" | "float" => Self::Fp32,
            "fp16" | "float16" | "f16" | "half" => Self::Fp16,
            "bf16" | "bfloat16" => Self::Bf16,
            "fp8" | "fp8_e4m3" | "fp8_e5m2" => Self::Fp8,
            "fp8-block" => Self::Fp8Block,
            "int8" | "w8a8" => Self::Int8,
            "int4" | "awq" | "gptq" => Self::Int4 {
                group: 128,
                zero_point: true,
            },
            "q4_k" => Self::GgufQ4K,
            "q6_k" => Self::GgufQ6K,
            "q8_0" => Self::GgufQ8,
            "mxfp4" => Self::Mxfp4,
            other => {
                let parsed = if let Some(g) = other.strip_prefix("int8-g") {
                    group(g).map(|group| Self::Int8Group { group })
                } else if let Some(g) = other.strip_prefix("int4-g") {
                    match g.strip_suffix("-sym") {
                        Some(g) => group(g).map(|group| Self::Int4 {
                            group,
                            zero_point: false,
                        }),
                        None => group(g).map(|group| Self::Int4 {
                            group,
                            zero_point: true,
                        }),
                    }
                } else {
                    None
                };
                return parsed.ok_or_else(|| ModelError::UnknownFormat {
                    what: "weight format",
                    name: name.to_owned(),
                    suggestion: closest(name, FORMATS),
                    known: FORMATS.join(", "),
                });
            }
        })
    }
}

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
}

impl KvDtype {
    /// Bytes of one element, given the activation type.
    pub fn bytes(self, activation: Dtype) -> u64 {
        match self {
            Self::Auto => activation.bytes(),
            Self::Fp16 | Self::Bf16 => 2,
            Self::Fp8 => 1,
        }
    }
}

impl FromStr for KvDtype {
    type Err = ModelError;
    /// vLLM's names: `auto`, `bfloat16`, `fp8`, `fp8_e4m3`, `fp8_e5m2`; also `fp16`.
    fn from_str(name: &str) -> Result<Self, ModelError> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "auto" => Self::Auto,
            "fp16" | "float16" | "half" => Self::Fp16,
            "bf16" | "bfloat16" => Self::Bf16,
            "fp8" | "fp8_e4m3" | "fp8_e5m2" => Self::Fp8,
            _ => {
                let known = ["auto", "fp16", "bf16", "fp8"];
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
    /// Dense MLPs and shared experts.
    pub mlp: WeightFormat,
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
}

impl Precision {
    /// Nothing quantised: every matrix in `dtype`.
    pub fn plain(dtype: Dtype) -> Self {
        let f = dtype.format();
        Self {
            dtype,
            norms: dtype,
            attention: f,
            mlp: f,
            experts: f,
            router: f,
            embedding: f,
            lm_head: f,
            more_bits: None,
            kv: KvDtype::Auto,
        }
    }

    /// All linear layers and experts in `format`; embedding, head, router, norms and biases in `dtype`.
    pub fn linear(format: WeightFormat, dtype: Dtype) -> Self {
        Self {
            attention: format,
            mlp: format,
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

    /// llama.cpp's Q8_0: everything but the router and the norms.
    pub fn gguf_q8_0() -> Self {
        let q8 = WeightFormat::GgufQ8;
        Self {
            norms: Dtype::Fp32,
            router: WeightFormat::Fp32,
            embedding: q8,
            lm_head: q8,
            ..Self::linear(q8, Dtype::Fp16)
        }
    }

    /// As the checkpoint stores it: `torch_dtype` and `quantization_config`.
    pub fn of(config: &ModelConfig) -> Self {
        match config.quantization {
            None => Self::plain(config.dtype),
            Some(Quantization {
                format,
                experts_only,
            }) if experts_only => Self {
                experts: format,
                ..Self::plain(config.dtype)
            },
            Some(Quantization { format, .. }) => Self::linear(format, config.dtype),
        }
    }

    /// By name: `auto` (as the checkpoint), `q4_k_m`, `q8_0`, `mxfp4` (experts only), or any
    /// [`WeightFormat`] for all linear layers. A plain float format changes the activations too (`--dtype`).
    pub fn by_name(name: &str, config: &ModelConfig) -> Result<Self, ModelError> {
        match name.to_ascii_lowercase().as_str() {
            "auto" => return Ok(Self::of(config)),
            "q4_k_m" => return Ok(Self::gguf_q4_k_m()),
            "q8_0" => return Ok(Self::gguf_q8_0()),
            _ => {}
        }
        Ok(match name.parse()? {
            WeightFormat::Fp32 => Self::plain(Dtype::Fp32),
            WeightFormat::Fp16 => Self::plain(Dtype::Fp16),
            WeightFormat::Bf16 => Self::plain(Dtype::Bf16),
            WeightFormat::Mxfp4 if config.moe.is_some() => Self {
                experts: WeightFormat::Mxfp4,
                ..Self::plain(config.dtype)
            },
            format => Self::linear(format, config.dtype),
        })
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
    fn bits_per_weight_are_those_of_the_format_definitions() {
        for (name, bits) in [
            ("fp32", 32.0),
            ("bf16", 16.0),
            ("fp8", 8.0),
            ("fp8-block", 8.0 + 32.0 / 16384.0),
            ("int8-g128", 8.1875),
            ("awq", 4.15625),
            ("int4-g32-sym", 4.5),
            ("q4_k", 4.5),
            ("q6_k", 6.5625),
            ("q8_0", 8.5),
            ("mxfp4", 4.25),
        ] {
            let (b, n) = name.parse::<WeightFormat>().unwrap().bits_per_weight();
            assert_eq!(b as f64 / n as f64, bits, "{name}");
        }
    }

    #[test]
    fn every_format_reads_back_what_it_writes() {
        for name in FORMATS {
            let f: WeightFormat = name.parse().unwrap();
            assert_eq!(f.to_string().parse::<WeightFormat>().unwrap(), f);
        }
        let err = "bf61".parse::<WeightFormat>().unwrap_err().to_string();
        assert!(err.contains("did you mean \"bf16\""), "{err}");
    }

    #[test]
    fn whole_groups_cost_exactly_their_bits_and_a_cut_group_a_whole_scale() {
        let f = WeightFormat::Mxfp4;
        assert_eq!(f.matrix_bytes(10, 64), Bytes(10 * 2 * 17));
        assert_eq!(
            f.matrix_bytes(1, 33),
            Bytes((33 * 4 + 2 * 8u64).div_ceil(8))
        );
        assert_eq!(
            WeightFormat::Int8.matrix_bytes(10, 64),
            Bytes(10 * 64 + 10 * 4)
        );
    }

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

//! Storage formats of weights, with their exact bits.
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
    /// GGUF Q5_K: super-blocks of 256 weights in 176 bytes (ggml `block_q5_K`).
    GgufQ5K,
    /// GGUF Q4_0 and IQ4_NL: blocks of 32 weights in 18 bytes (ggml `block_q4_0`, `block_iq4_nl`).
    GgufQ40,
    /// Another of GGUF's types, by ggml's number: one of those that [`of_ggml`](Self::of_ggml) gives.
    Ggml(u8),
    /// OCP microscaling FP4: 32 weights of 4 bits and one 8-bit exponent (OCP MX specification 1.0 §5.2).
    Mxfp4,
    /// The same with 6 bits.
    Mxfp6,
    /// The same with 8 bits.
    Mxfp8,
    /// NVIDIA's FP4: 16 weights of 4 bits and one 8-bit float, 4.5 bits in all; one fp32 per matrix beside them is not counted
    /// (`model_executor/layers/quantization/modelopt.py` of vLLM 0.33.0: `ModelOptNvFp4LinearMethod`).
    Nvfp4,
}

/// GGUF's other types: ggml's number, name, bytes of a block, weights in it (`ggml.h`, `ggml-common.h`: the sizes that its static
/// assertions give).
const GGML: &[(u32, &str, u64, u64)] = &[
    (3, "q4_1", 20, 32),
    (6, "q5_0", 22, 32),
    (7, "q5_1", 24, 32),
    (10, "q2_k", 84, 256),
    (11, "q3_k", 110, 256),
    (16, "iq2_xxs", 66, 256),
    (17, "iq2_xs", 74, 256),
    (18, "iq3_xxs", 98, 256),
    (19, "iq1_s", 50, 256),
    (21, "iq3_s", 110, 256),
    (22, "iq2_s", 82, 256),
    (23, "iq4_xs", 136, 256),
    (29, "iq1_m", 56, 256),
];

/// Bits of one weight, and bits and reach of the metadata beside it.
struct Layout {
    weight: u64,
    /// Bits stored once per group of `group.0` rows × `group.1` columns; 0 columns means the whole row.
    extra: u64,
    group: (u64, u64),
}

impl WeightFormat {
    /// The format of ggml's type of a number; `None`: it is not known.
    pub fn of_ggml(kind: u32) -> Option<Self> {
        Some(match kind {
            2 | 20 => Self::GgufQ40,
            8 => Self::GgufQ8,
            12 => Self::GgufQ4K,
            13 => Self::GgufQ5K,
            14 => Self::GgufQ6K,
            _ => {
                let (id, ..) = GGML.iter().find(|(id, ..)| *id == kind)?;
                Self::Ggml(*id as u8)
            }
        })
    }

    fn ggml(id: u8) -> (&'static str, u64, u64) {
        let row = GGML.iter().find(|(i, ..)| *i == u32::from(id));
        row.map_or(("q8_0", 34, 32), |(_, name, bytes, weights)| {
            (*name, *bytes, *weights)
        })
    }

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
            Self::GgufQ5K => blocked(5, 176 * 8 - 256 * 5, 256),
            Self::GgufQ40 => blocked(4, 16, 32),
            Self::Ggml(id) => {
                let (_, bytes, weights) = Self::ggml(id);
                let each = bytes * 8 / weights;
                blocked(each, bytes * 8 - each * weights, weights)
            }
            Self::Mxfp4 => blocked(4, 8, 32),
            Self::Mxfp6 => blocked(6, 8, 32),
            Self::Mxfp8 => blocked(8, 8, 32),
            Self::Nvfp4 => blocked(4, 8, 16),
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

    /// The format's name without its group size and zero points, which change bytes but not the kernel: `int4`, `int8-group`,
    /// `bf16`, `q4_k`.
    pub fn kind(self) -> String {
        match self {
            Self::Int4 { .. } => "int4".into(),
            Self::Int8Group { .. } => "int8-group".into(),
            other => other.to_string(),
        }
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
            Self::GgufQ5K => f.write_str("q5_k"),
            Self::GgufQ40 => f.write_str("q4_0"),
            Self::Ggml(id) => f.write_str(Self::ggml(*id).0),
            Self::Mxfp4 => f.write_str("mxfp4"),
            Self::Mxfp6 => f.write_str("mxfp6"),
            Self::Mxfp8 => f.write_str("mxfp8"),
            Self::Nvfp4 => f.write_str("nvfp4"),
        }
    }
}

const FORMATS: [&str; 19] = [
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
    "q5_k",
    "q4_0",
    "mxfp4",
    "mxfp6",
    "mxfp8",
    "nvfp4",
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
            "q5_k" => Self::GgufQ5K,
            "q4_0" | "iq4_nl" => Self::GgufQ40,
            "mxfp4" => Self::Mxfp4,
            "mxfp6" => Self::Mxfp6,
            "mxfp8" => Self::Mxfp8,
            "nvfp4" | "fp4" => Self::Nvfp4,
            other => {
                let parsed = if let Some((id, ..)) = GGML.iter().find(|(_, n, ..)| *n == other) {
                    Some(Self::Ggml(*id as u8))
                } else if let Some(g) = other.strip_prefix("int8-g") {
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
                    suggestion: by_bits(name).or_else(|| closest(name, FORMATS)),
                    known: FORMATS.join(", "),
                });
            }
        })
    }
}

/// The usual format of as many bits as a name says: `4bit`, `8-bit`.
fn by_bits(name: &str) -> Option<String> {
    let bits = name.to_ascii_lowercase().replace(['-', '_', ' '], "");
    let format = match bits.trim_end_matches('s').strip_suffix("bit")? {
        "4" | "four" => "awq",
        "8" | "eight" => "fp8",
        "16" => "bf16",
        "32" => "fp32",
        _ => return None,
    };
    Some(format.into())
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
            ("mxfp6", 6.25),
            ("mxfp8", 8.25),
            ("nvfp4", 4.5),
            ("q3_k", 3.4375),
            ("iq4_xs", 4.25),
            ("iq2_xxs", 2.0625),
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
}

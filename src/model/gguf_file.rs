//! The header of a GGUF file: a model's sizes, and the type of every tensor (ggml's `docs/gguf.md`, versions 2 and 3).
//!
//! The sizes become the config that the same model has on Hugging Face, which is then read as any other; the types say how each kind of
//! matrix is stored.
use super::config::{self, ModelConfig, Quantization};
use super::error::ModelError;
use super::format::WeightFormat;
use super::overrides::Overrides;
use super::precision::{Dtype, Precision};
use serde_json::{Map, Value, json};

/// A tensor of the file.
struct Tensor {
    name: String,
    elements: u64,
    /// ggml's number of its type.
    kind: u32,
}

/// What is read of a header.
struct Header {
    fields: Map<String, Value>,
    tensors: Vec<Tensor>,
}

/// Reads numbers and strings off the front.
struct Bytes<'a> {
    rest: &'a [u8],
    file: &'a str,
}

impl<'a> Bytes<'a> {
    fn wrong(&self, problem: &str) -> ModelError {
        ModelError::Json {
            file: self.file.to_owned(),
            field: "GGUF header".to_owned(),
            problem: problem.to_owned(),
        }
    }
    fn take(&mut self, n: u64) -> Result<&'a [u8], ModelError> {
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        if n > self.rest.len() {
            return Err(self.wrong("ends in the middle of its header: is the file whole?"));
        }
        let (taken, rest) = self.rest.split_at(n);
        self.rest = rest;
        Ok(taken)
    }
    fn u32(&mut self) -> Result<u32, ModelError> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }
    fn u64(&mut self) -> Result<u64, ModelError> {
        let (low, high) = (self.u32()?, self.u32()?);
        Ok(u64::from(low) | u64::from(high) << 32)
    }
    fn string(&mut self) -> Result<String, ModelError> {
        let n = self.u64()?;
        Ok(String::from_utf8_lossy(self.take(n)?).into_owned())
    }

    /// A value of a type; of an array only its length, but for numbers in a short one.
    fn value(&mut self, kind: u32, depth: u32) -> Result<Value, ModelError> {
        Ok(match kind {
            0 | 7 => Value::from(self.take(1)?[0]),
            1 => Value::from(self.take(1)?[0] as i8),
            2 => Value::from(u16::from_le_bytes([self.take(1)?[0], self.take(1)?[0]])),
            3 => Value::from(i16::from_le_bytes([self.take(1)?[0], self.take(1)?[0]])),
            4 => Value::from(self.u32()?),
            5 => Value::from(self.u32()? as i32),
            6 => Value::from(f32::from_bits(self.u32()?)),
            8 => Value::from(self.string()?),
            9 if depth < 4 => {
                let (inner, n) = (self.u32()?, self.u64()?);
                let mut few = vec![];
                for _ in 0..n {
                    let v = self.value(inner, depth + 1)?;
                    if few.len() < 1024 {
                        few.push(v);
                    }
                }
                match n {
                    0..=1024 => Value::Array(few),
                    _ => json!({ "length": n }),
                }
            }
            10 => Value::from(self.u64()?),
            11 => Value::from(self.u64()? as i64),
            12 => Value::from(f64::from_bits(self.u64()?)),
            _ => return Err(self.wrong("has a value of a type that is not known")),
        })
    }
}

fn header(bytes: &[u8], file: &str) -> Result<Header, ModelError> {
    let mut b = Bytes { rest: bytes, file };
    if b.take(4)? != b"GGUF" {
        return Err(b.wrong("is missing: the file does not begin with GGUF"));
    }
    let version = b.u32()?;
    if !(2..=3).contains(&version) {
        return Err(b.wrong("is of a version other than 2 and 3"));
    }
    let (tensors, fields) = (b.u64()?, b.u64()?);
    let mut found = Header {
        fields: Map::new(),
        tensors: vec![],
    };
    for _ in 0..fields {
        let key = b.string()?;
        let kind = b.u32()?;
        let value = b.value(kind, 0)?;
        found.fields.insert(key, value);
    }
    for _ in 0..tensors {
        let name = b.string()?;
        let dims = b.u32()?;
        if dims > 8 {
            return Err(b.wrong("has a tensor of more than 8 dimensions"));
        }
        let mut elements = 1u64;
        for _ in 0..dims {
            elements = elements.saturating_mul(b.u64()?);
        }
        let kind = b.u32()?;
        b.u64()?;
        found.tensors.push(Tensor {
            name,
            elements,
            kind,
        });
    }
    Ok(found)
}

/// Names of architectures in files, and the `model_type` of the same model.
const ARCHITECTURES: &[(&str, &str)] = &[
    ("llama", "llama"),
    ("mistral3", "ministral3"),
    ("granite", "granite"),
    ("qwen2", "qwen2"),
    ("qwen2moe", "qwen2_moe"),
    ("qwen3", "qwen3"),
    ("qwen3moe", "qwen3_moe"),
    ("qwen3vl", "qwen3_vl_text"),
    ("qwen3vlmoe", "qwen3_vl_moe_text"),
    ("gemma", "gemma"),
    ("gemma2", "gemma2"),
    ("gemma3", "gemma3_text"),
    ("phi3", "phi3"),
    ("glm4", "glm4"),
    ("gpt-oss", "gpt_oss"),
];

/// Fields of files, behind the architecture's name, and of configs.
const FIELDS: &[(&str, &str)] = &[
    ("embedding_length", "hidden_size"),
    ("block_count", "num_hidden_layers"),
    ("feed_forward_length", "intermediate_size"),
    ("context_length", "max_position_embeddings"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "head_dim"),
    ("attention.sliding_window", "sliding_window"),
    ("expert_count", "num_experts"),
    ("expert_used_count", "num_experts_per_tok"),
    ("expert_feed_forward_length", "moe_intermediate_size"),
    (
        "expert_shared_feed_forward_length",
        "shared_expert_intermediate_size",
    ),
];

/// Parts of names of tensors that attention and MLPs do not have: recurrent layers, convolutions, latent attention
/// (llama.cpp, `src/llama-arch.cpp`).
const OTHER_LAYERS: &[&str] = &["ssm_", "shortconv", "attn_kv_a", "time_mix", "indexer"];

/// The config that the file's fields say.
fn config_of(h: &Header, file: &str) -> Result<Value, ModelError> {
    let word = |k: &str| h.fields.get(k).and_then(Value::as_str);
    let arch = word("general.architecture").unwrap_or("");
    // One that is not known goes by its own name: a class may resemble it, if it has attention as others have.
    let known = ARCHITECTURES.iter().find(|(n, _)| *n == arch);
    let other = |t: &&Tensor| OTHER_LAYERS.iter().any(|part| t.name.contains(part));
    if let (None, Some(t)) = (known, h.tensors.iter().find(other)) {
        let names: Vec<&str> = ARCHITECTURES.iter().map(|(n, _)| *n).collect();
        return Err(ModelError::UnknownArchitecture {
            file: file.to_owned(),
            field: "general.architecture".to_owned(),
            value: arch.chars().take(80).collect(),
            suggestion: None,
            why: format!(
                "its layers are not attention alone (`{}`), so that no class stands for it; the model's config.json may be read; ",
                t.name.chars().take(80).collect::<String>()
            )
            .into(),
            known: names.join(", ").into(),
        });
    }
    let mut model_type = known.map_or(arch, |(_, ours)| *ours);
    let mut config = Map::new();
    for (theirs, ours) in FIELDS {
        if let Some(v) = h.fields.get(&format!("{arch}.{theirs}")) {
            config.insert((*ours).to_owned(), v.clone());
        }
    }
    if arch == "llama" && config.contains_key("num_experts") {
        model_type = "mixtral";
    }
    let tensor = |name: &str| h.tensors.iter().find(|t| t.name == name);
    let has = |end: &str| h.tensors.iter().any(|t| t.name.ends_with(end));
    let width = config.get("hidden_size").and_then(Value::as_u64);
    if let (Some(table), Some(width)) = (tensor("token_embd.weight"), width.filter(|w| *w > 0)) {
        config.insert("vocab_size".into(), (table.elements / width).into());
    }
    let tied = tensor("output.weight").is_none();
    config.insert("tie_word_embeddings".into(), tied.into());
    config.insert("attention_bias".into(), has("attn_q.bias").into());
    // A window that the model's class has only if it is told so.
    config.insert("use_sliding_window".into(), false.into());
    config.insert("model_type".into(), model_type.into());
    Ok(Value::Object(config))
}

/// The format of ggml's type.
fn format_of(kind: u32) -> Option<WeightFormat> {
    Some(match kind {
        0 => WeightFormat::Fp32,
        1 => WeightFormat::Fp16,
        30 => WeightFormat::Bf16,
        39 => WeightFormat::Mxfp4,
        _ => WeightFormat::of_ggml(kind)?,
    })
}

/// The kind of matrix that a tensor of a layer is.
fn kind_of(name: &str) -> Option<(u32, &'static str)> {
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let kind = match rest.strip_suffix(".weight")? {
        "attn_q" | "attn_k" | "attn_v" | "attn_qkv" | "attn_output" => "attention",
        "ffn_gate" | "ffn_up" | "ffn_down" => "mlp",
        "ffn_gate_shexp" | "ffn_up_shexp" | "ffn_down_shexp" => "shared",
        "ffn_gate_exps" | "ffn_up_exps" | "ffn_down_exps" | "ffn_gate_up_exps" => "experts",
        _ => return None,
    };
    Some((layer.parse().ok()?, kind))
}

/// The format in which most of the named weights are.
fn most<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> Option<WeightFormat> {
    let mut counts: Vec<(WeightFormat, u64)> = vec![];
    for t in tensors {
        let format = format_of(t.kind)?;
        match counts.iter_mut().find(|(f, _)| *f == format) {
            Some((_, n)) => *n = n.saturating_add(t.elements),
            None => counts.push((format, t.elements)),
        }
    }
    counts.into_iter().max_by_key(|(_, n)| *n).map(|(f, _)| f)
}

/// Reads the beginning of a file, which holds the whole header. `name` appears in errors.
///
/// # Errors
/// No GGUF header, one that is cut off, an architecture or a tensor's type that is not known.
pub fn parse(bytes: &[u8], name: &str) -> Result<ModelConfig, ModelError> {
    parse_with(bytes, name, &Overrides::default())
}

/// As [`parse`], with what a user says over the config that the header stands for.
///
/// # Errors
/// As [`parse`].
pub fn parse_with(bytes: &[u8], name: &str, over: &Overrides) -> Result<ModelConfig, ModelError> {
    let h = header(bytes, name)?;
    let mut config = config::parse_with(&config_of(&h, name)?.to_string(), name, over)?;
    let unknown = h.tensors.iter().find(|t| format_of(t.kind).is_none());
    if let Some(t) = unknown {
        return Err(ModelError::Unsupported {
            file: name.to_owned(),
            field: t.name.chars().take(80).collect(),
            problem: format!("a tensor of ggml's type {}", t.kind),
        });
    }
    let of = |kind: &str, layer: Option<u32>| {
        most(h.tensors.iter().filter(|t| {
            kind_of(&t.name).is_some_and(|(l, k)| k == kind && layer.is_none_or(|w| w == l))
        }))
    };
    let formats = |layer: Option<u32>| Quantization {
        attention: of("attention", layer),
        mlp: of("mlp", layer),
        shared: of("shared", layer),
        experts: of("experts", layer),
        ..Quantization::default()
    };
    let all = formats(None);
    let single = |name: &str| most(h.tensors.iter().filter(|t| t.name == name));
    let plain = Precision::plain(Dtype::Fp16);
    let embedding = single("token_embd.weight").unwrap_or(plain.embedding);
    config.quantization_by_layer = (0..config.num_hidden_layers)
        .map(|i| formats(Some(i)))
        .collect();
    // Norms and routers are in fp32 in every file (`llama_model_quantize`).
    config.stored = Some(Precision {
        norms: Dtype::Fp32,
        router: WeightFormat::Fp32,
        embedding,
        lm_head: single("output.weight").unwrap_or(embedding),
        by_layer: true,
        ..plain.of_layer(&all)
    });
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, builtin};

    fn string(out: &mut Vec<u8>, s: &str) {
        out.extend((s.len() as u64).to_le_bytes());
        out.extend(s.as_bytes());
    }

    /// A file of Qwen3-0.6B in Q4_K with V and down projections in Q6_K, as the specification lays it out.
    fn file() -> Vec<u8> {
        let numbers = [
            ("qwen3.embedding_length", 1024),
            ("qwen3.block_count", 28),
            ("qwen3.feed_forward_length", 3072),
            ("qwen3.context_length", 40960),
            ("qwen3.attention.head_count", 16),
            ("qwen3.attention.head_count_kv", 8),
            ("qwen3.attention.key_length", 128),
        ];
        let mut tensors: Vec<(String, u64, u32)> =
            vec![("token_embd.weight".into(), 151_936 * 1024, 14)];
        for i in 0..28 {
            for (name, elements, kind) in [
                ("attn_q", 2048 * 1024, 12),
                ("attn_k", 1024 * 1024, 12),
                ("attn_v", 1024 * 1024, 14),
                ("attn_output", 1024 * 2048, 12),
                ("ffn_gate", 3072 * 1024, 12),
                ("ffn_up", 3072 * 1024, 12),
                ("ffn_down", 1024 * 3072, if i < 3 { 14 } else { 12 }),
                ("attn_norm", 1024, 0),
            ] {
                tensors.push((format!("blk.{i}.{name}.weight"), elements, kind));
            }
        }
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((tensors.len() as u64).to_le_bytes());
        out.extend((numbers.len() as u64 + 2).to_le_bytes());
        string(&mut out, "general.architecture");
        out.extend(8u32.to_le_bytes());
        string(&mut out, "qwen3");
        for (key, n) in numbers {
            string(&mut out, key);
            out.extend(4u32.to_le_bytes());
            out.extend((n as u32).to_le_bytes());
        }
        string(&mut out, "tokenizer.ggml.tokens");
        out.extend(9u32.to_le_bytes());
        out.extend(8u32.to_le_bytes());
        out.extend(2000u64.to_le_bytes());
        (0..2000).for_each(|_| string(&mut out, "word"));
        for (name, elements, kind) in tensors {
            string(&mut out, &name);
            out.extend(1u32.to_le_bytes());
            out.extend(elements.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend(0u64.to_le_bytes());
        }
        out
    }

    #[test]
    fn a_header_says_sizes_and_formats() {
        let config = parse(&file(), "m.gguf").unwrap();
        let own = builtin::find("qwen3-0.6b").unwrap().config();
        assert_eq!(config.parameters(), own.parameters());
        let p = Precision::of(&config);
        assert_eq!(
            (p.attention.to_string(), p.mlp.to_string()),
            ("q4_k".into(), "q4_k".into())
        );
        assert_eq!(p.lm_head.to_string(), "q6_k");
        let whole = Model::new(&own, Precision::gguf_q4_k_m()).total_weight_bytes();
        let here = Model::new(&config, p).total_weight_bytes();
        assert!(
            (here.as_f64() / whole.as_f64() - 1.0).abs() < 0.05,
            "{here} {whole}"
        );
    }

    #[test]
    fn a_file_that_is_cut_or_changed_is_an_error_and_no_panic() {
        let whole = file();
        for n in (0..whole.len()).step_by(97) {
            assert!(parse(&whole[..n], "m.gguf").is_err());
        }
        for n in (0..600).chain((600..whole.len()).step_by(1499)) {
            for bits in [0x01, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[n] ^= bits;
                let _ = parse(&changed, "m.gguf");
            }
        }
    }
}

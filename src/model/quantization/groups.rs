//! The methods, each with its keys.
use super::Stated;
use crate::model::error::ModelError;
use crate::model::format::WeightFormat;
use crate::model::modules::Pattern;
use crate::model::precision::KvDtype;
use crate::model::raw::Fields;
use serde_json::Value;

/// Names of modules that stay in the model's own type, whatever the method calls the list.
const LEFT_OUT: [&str; 7] = [
    "modules_to_not_convert",
    "ignored_layers",
    "ignore",
    "llm_int8_skip_modules",
    "exclude_modules",
    "exclude",
    "unquantized_modules",
];

pub(super) fn stated<'a>(q: &Fields<'a>) -> Result<Stated<'a>, ModelError> {
    let mut s = Stated {
        kv: kv(q),
        ..Stated::default()
    };
    // `hf_quant_config.json` has everything one level deeper.
    let inner = q.inner("quantization")?;
    let f = inner.as_ref().unwrap_or(q);
    s.kv = s.kv.or(kv(f));
    let method = q.word("quant_method")?;
    match method {
        Some(
            "awq" | "gptq" | "auto-round" | "auto_round" | "intel/auto-round" | "inc" | "moe_wna16",
        ) => {
            gptq(q, &mut s)?;
        }
        Some("fp8" | "fbgemm_fp8" | "ptpc_fp8") => {
            s.rest = Some(fp8(q)?);
            // ModelOpt's experts in a checkpoint that is in 8 bits beside them: what it ignores stays in those.
            if q.get("quantized_layers").is_some() {
                modelopt(q, &mut s)?;
                return Ok(s);
            }
        }
        Some("mxfp4" | "gpt_oss_mxfp4") => {
            // Such checkpoints list attention as not converted; the rest is not quantised either.
            s.name(Pattern::listed("*.experts*"), "", Some(WeightFormat::Mxfp4));
            return Ok(s);
        }
        Some("mxfp8") => s.rest = Some(WeightFormat::Mxfp8),
        Some("compressed-tensors") => groups(q, &mut s)?,
        Some("bitsandbytes") => s.rest = Some(bitsandbytes(q)?),
        Some("quark") => quark(q, &mut s)?,
        Some("torchao") => s.rest = Some(torchao(q)?),
        Some("experts_int8") => {
            s.name(Pattern::listed("*.experts*"), "", Some(WeightFormat::Int8));
        }
        Some("modelopt" | "modelopt_fp4" | "modelopt_mxfp8" | "modelopt_mixed") => {
            modelopt(f, &mut s)?
        }
        Some(other) => {
            let shown: String = other.chars().take(80).collect();
            let Some(format) = resembled(q, other) else {
                return Err(q.unsupported("quant_method", format!("\"{shown}\"")));
            };
            s.rest = Some(format);
            s.guessed = Some(format!(
                "quant_method \"{shown}\" is not known: its matrices are counted as {format}, which its keys resemble most (--weights names \
                 another format)"
            ));
        }
        None if f.get("quant_algo").is_some() => modelopt(f, &mut s)?,
        None => return Err(q.unsupported("quant_method", "absent".to_owned())),
    }
    left_out(f, &mut s)?;
    Ok(s)
}

/// The format that a method of another name resembles: by its bits and group, else by what its name says.
fn resembled(q: &Fields, method: &str) -> Option<WeightFormat> {
    let bits = ["bits", "w_bit", "wbits", "nbits", "num_bits", "weight_bits"];
    let bits = bits.into_iter().find_map(|k| whole(q, k));
    let group = whole(q, "group_size").or(whole(q, "q_group_size"));
    let name = method.to_ascii_lowercase();
    let says = |word: &str| name.contains(word);
    let by_name = [
        ("nvfp4", WeightFormat::Nvfp4),
        ("mxfp8", WeightFormat::Mxfp8),
        ("mxfp4", WeightFormat::Mxfp4),
        ("fp8", WeightFormat::Fp8),
        ("int8", WeightFormat::Int8),
        ("w8a8", WeightFormat::Int8),
    ];
    let found = by_name.into_iter().find(|(word, _)| says(word));
    match (found, bits) {
        (Some((_, format)), None | Some(4 | 8)) => Some(format),
        (None, Some(bits @ (4 | 8))) => {
            int(q, "bits", Some(bits as u32), group.or(Some(128)), true).ok()
        }
        (None, None) if says("int4") || says("w4a16") => {
            int(q, "bits", Some(4), group.or(Some(128)), true).ok()
        }
        _ => None,
    }
}

fn left_out<'a>(f: &Fields<'a>, s: &mut Stated<'a>) -> Result<(), ModelError> {
    for list in LEFT_OUT {
        for text in f.words(list)? {
            s.name(Pattern::listed(text), text, None);
        }
    }
    Ok(())
}

/// A KV cache in 8 bits that the checkpoint asks for: vLLM 0.33.0 takes it under `--kv-cache-dtype auto`
/// (`model_executor/layers/attention/attention.py`).
fn kv(f: &Fields) -> Option<KvDtype> {
    let fp8 = |v: &Value| match v {
        Value::String(s) => s.to_ascii_lowercase().starts_with("fp8"),
        Value::Object(o) => {
            let bits = o.get("num_bits").and_then(Value::as_u64) == Some(8);
            let word = |k: &str| o.get(k).and_then(Value::as_str).unwrap_or("");
            (bits && word("type") != "int") || word("dtype").starts_with("fp8")
        }
        _ => false,
    };
    [
        "kv_cache_scheme",
        "kv_cache_quant_algo",
        "kv_cache_quant_config",
    ]
    .into_iter()
    .filter_map(|k| f.get(k))
    .any(fp8)
    .then_some(KvDtype::Fp8)
}

/// Integers in groups, as compressed-tensors, GPTQ and AWQ have them.
fn int(
    f: &Fields,
    name: &str,
    bits: Option<u32>,
    group: Option<i64>,
    zero_point: bool,
) -> Result<WeightFormat, ModelError> {
    match (bits, group.unwrap_or(-1)) {
        // One scale per output row; its few bytes are those of the int8 format.
        (Some(8), ..=0) => Ok(WeightFormat::Int8),
        (Some(bits @ (4 | 8)), g @ 1..=1_048_576) => {
            let group = g as u32;
            Ok(if bits == 8 {
                WeightFormat::Int8Group { group }
            } else {
                WeightFormat::Int4 { group, zero_point }
            })
        }
        // A group longer than any row: one scale per row.
        (Some(4), ..=0) => Ok(WeightFormat::Int4 {
            group: 1 << 24,
            zero_point,
        }),
        (Some(b @ (4 | 8)), g) => Err(f.unsupported("group_size", format!("{g} with {b} bits"))),
        (Some(b), _) => Err(f.unsupported(name, format!("{b}-bit weights"))),
        (None, _) => Err(f.unsupported(name, "absent".to_owned())),
    }
}

fn whole(f: &Fields, name: &str) -> Option<i64> {
    f.get(name).and_then(Value::as_i64)
}

/// AWQ, GPTQ and AutoRound, which packs as GPTQ does, zero points included.
fn gptq<'a>(q: &Fields<'a>, s: &mut Stated<'a>) -> Result<(), ModelError> {
    let group = whole(q, "group_size").or(whole(q, "q_group_size"));
    let bits = match q.number("bits")? {
        None => q.number("w_bit")?,
        given => given,
    };
    let format = int(q, "bits", bits, group, true)?;
    s.rest = Some(format);
    if q.flag("lm_head")? == Some(true) {
        s.name(Pattern::listed("lm_head"), "", Some(format));
    }
    // GPTQModel: expressions, a minus in front of those that are left out, else with what differs.
    if let Some(dynamic) = q.inner("dynamic")? {
        for (key, _) in dynamic.entries() {
            if let Some(text) = key.strip_prefix("-:") {
                s.name(Pattern::expression(text), key, None);
            } else if let Some(own) = dynamic.inner(key)?
                && let Some(bits) = own.number("bits")?
            {
                let text = key.strip_prefix("+:").unwrap_or(key);
                let format = int(
                    &own,
                    "bits",
                    Some(bits),
                    whole(&own, "group_size").or(group),
                    true,
                )?;
                s.name(Pattern::expression(text), key, Some(format));
            }
        }
    }
    // AutoRound: modules with bits of their own.
    if let Some(extra) = q.inner("extra_config")? {
        for (key, _) in extra.entries() {
            let Some(own) = extra.inner(key)? else {
                continue;
            };
            let format = match own.number("bits")? {
                None => continue,
                Some(16 | 32) => None,
                bits => Some(int(
                    &own,
                    "bits",
                    bits,
                    whole(&own, "group_size").or(group),
                    true,
                )?),
            };
            s.name(Pattern::listed(key), key, format);
        }
    }
    Ok(())
}

fn fp8(q: &Fields) -> Result<WeightFormat, ModelError> {
    match q.numbers("weight_block_size")?.as_deref() {
        None => Ok(WeightFormat::Fp8),
        Some([128, 128]) => Ok(WeightFormat::Fp8Block),
        Some([1, 32]) => Ok(WeightFormat::Mxfp8),
        Some(other) => Err(q.unsupported("weight_block_size", format!("blocks of {other:?}"))),
    }
}

fn bitsandbytes(q: &Fields) -> Result<WeightFormat, ModelError> {
    let four = q.flag("load_in_4bit")? == Some(true);
    let eight = q.flag("load_in_8bit")? == Some(true);
    let double = q.flag("bnb_4bit_use_double_quant")?.unwrap_or(true);
    match (four, eight) {
        // NF4: one fp32 per 64 weights (QLoRA, arXiv:2305.14314 §3); quantised again, 8 bits of it: 1/8 of a bit a weight.
        (true, _) if double => Ok(WeightFormat::Int4 {
            group: 128,
            zero_point: false,
        }),
        (true, _) => Ok(WeightFormat::Int4 {
            group: 32,
            zero_point: false,
        }),
        (_, true) => Ok(WeightFormat::Int8),
        _ => Err(q.unsupported(
            "quant_method",
            "\"bitsandbytes\" without load_in_4bit or load_in_8bit".into(),
        )),
    }
}

/// compressed-tensors and ModelOpt: `config_groups`, each with the names that it is for.
fn groups<'a>(q: &Fields<'a>, s: &mut Stated<'a>) -> Result<(), ModelError> {
    let Some(all) = q.inner("config_groups")? else {
        return Err(q.unsupported("config_groups", "absent".to_owned()));
    };
    let mut any = false;
    for (key, _) in all.entries() {
        let Some(group) = all.inner(key)? else {
            continue;
        };
        any = true;
        let format = match group.inner("weights")? {
            Some(w) => Some(group_format(&w)?),
            // Only activations: the weights stay.
            None => None,
        };
        let targets = group.words("targets")?;
        if targets.is_empty() {
            s.rest = s.rest.or(format);
        }
        for text in targets {
            match text {
                "Linear" | "FusedMoE" => s.rest = s.rest.or(format),
                _ => s.name(Pattern::listed(text), text, format),
            }
        }
    }
    if any {
        Ok(())
    } else {
        Err(q.unsupported("config_groups", "is empty".to_owned()))
    }
}

fn group_format(w: &Fields) -> Result<WeightFormat, ModelError> {
    let symmetric = w.flag("symmetric")?.unwrap_or(true);
    let (bits, group) = (w.number("num_bits")?, whole(w, "group_size"));
    match (w.word("type")?, bits, group) {
        (Some("float"), Some(8), Some(32)) => Ok(WeightFormat::Mxfp8),
        (Some("float"), Some(8), _) if w.word("strategy")? == Some("block") => {
            Ok(WeightFormat::Fp8Block)
        }
        (Some("float"), Some(8), _) => Ok(WeightFormat::Fp8),
        (Some("float"), Some(4), Some(32)) => Ok(WeightFormat::Mxfp4),
        (Some("float"), Some(4), Some(16) | None) => Ok(WeightFormat::Nvfp4),
        (Some("int") | None, bits, group) => int(w, "num_bits", bits, group, !symmetric),
        (kind, bits, group) => Err(w.unsupported(
            "type",
            format!(
                "{} of {} bits in groups of {}",
                kind.unwrap_or("nothing"),
                bits.unwrap_or(0),
                group.unwrap_or(-1)
            ),
        )),
    }
}

/// ModelOpt's names of formats (`QUANT_ALGOS` of vLLM 0.33.0, `model_executor/layers/quantization/modelopt.py`).
fn algorithm(f: &Fields, name: &str, algorithm: &str) -> Result<WeightFormat, ModelError> {
    let group = whole(f, "group_size").unwrap_or(128).clamp(1, 1 << 20) as u32;
    Ok(match algorithm.to_ascii_uppercase().as_str() {
        "FP8" | "FP8_PER_CHANNEL_PER_TOKEN" => WeightFormat::Fp8,
        "FP8_PB_WO" | "FP8_PB_REAL" => WeightFormat::Fp8Block,
        "NVFP4" | "W4A16_NVFP4" | "NVFP4_AWQ" | "W4A8_NVFP4_FP8" => WeightFormat::Nvfp4,
        "MXFP4" | "W4A8_MXFP4_FP8" => WeightFormat::Mxfp4,
        "MXFP8" => WeightFormat::Mxfp8,
        "W4A16_AWQ" | "W4A8_AWQ" | "INT4_AWQ" => WeightFormat::Int4 {
            group,
            zero_point: false,
        },
        "INT8_SQ" | "W8A8_SQ_PER_CHANNEL" | "W8A16" => WeightFormat::Int8,
        _ => {
            let other: String = algorithm.chars().take(80).collect();
            return Err(f.unsupported(name, format!("\"{other}\"")));
        }
    })
}

fn modelopt<'a>(f: &Fields<'a>, s: &mut Stated<'a>) -> Result<(), ModelError> {
    // With formats of single modules, what is not listed is not quantised.
    if let Some(layers) = f.inner("quantized_layers")? {
        for (key, value) in layers.entries() {
            let own = layers.inner(key)?;
            let said = own.as_ref().map_or(Ok(None), |o| o.word("quant_algo"))?;
            let said = said.or(value.as_str());
            let from = own.as_ref().unwrap_or(&layers);
            if let Some(said) = said {
                let format = algorithm(from, "quant_algo", said)?;
                s.name(Pattern::listed(key), key, Some(format));
            }
        }
        return Ok(());
    }
    match f.word("quant_algo")? {
        Some("MIXED_PRECISION") | None => groups(f, s),
        Some(said) => {
            s.rest = Some(algorithm(f, "quant_algo", said)?);
            Ok(())
        }
    }
}

/// AMD's: `global_quant_config`, and others for names and patterns in `layer_quant_config` (`quantization/quark/quark.py` of vLLM 0.33.0).
fn quark<'a>(q: &Fields<'a>, s: &mut Stated<'a>) -> Result<(), ModelError> {
    if let Some(global) = q.inner("global_quant_config")? {
        s.rest = quark_format(&global)?;
    }
    if let Some(layers) = q.inner("layer_quant_config")? {
        for (key, _) in layers.entries() {
            if let Some(own) = layers.inner(key)? {
                let format = quark_format(&own)?;
                s.name(Pattern::listed(key), key, format);
            }
        }
    }
    if s.rest.is_none() && s.named.is_empty() {
        return Err(q.unsupported("global_quant_config", "absent".to_owned()));
    }
    // The names of the KV projections' outputs in 8 bits.
    let outputs = q
        .inner("export")?
        .map(|e| e.words("kv_cache_group"))
        .transpose()?;
    if outputs.is_some_and(|names| !names.is_empty()) {
        s.kv = Some(KvDtype::Fp8);
    }
    Ok(())
}

fn quark_format(f: &Fields) -> Result<Option<WeightFormat>, ModelError> {
    let Some(w) = (match f.get("weight") {
        // Two steps of quantisation: the last is what is stored.
        Some(Value::Array(steps)) => f.item("weight", steps.len().saturating_sub(1) as u32)?,
        _ => f.inner("weight")?,
    }) else {
        return Ok(None);
    };
    let group = whole(&w, "group_size");
    let symmetric = w.flag("symmetric")?.unwrap_or(true);
    let dtype = w.word("dtype")?.unwrap_or("").to_ascii_lowercase();
    Ok(Some(match (dtype.as_str(), group) {
        ("fp4" | "mx" | "mxfp4", Some(16)) => WeightFormat::Nvfp4,
        ("fp4" | "mx" | "mxfp4", _) => WeightFormat::Mxfp4,
        (d, _) if d.starts_with("fp6") => WeightFormat::Mxfp6,
        (d, Some(32)) if d.starts_with("fp8") => WeightFormat::Mxfp8,
        (d, _) if d.starts_with("fp8") => WeightFormat::Fp8,
        ("int8" | "uint8", _) => int(&w, "dtype", Some(8), group, !symmetric)?,
        ("int4" | "uint4", _) => int(&w, "dtype", Some(4), group, !symmetric)?,
        ("bfloat16" | "float16", _) => return Ok(None),
        (other, _) => {
            let other: String = other.chars().take(80).collect();
            return Err(w.unsupported("dtype", format!("\"{other}\"")));
        }
    }))
}

/// torchao: `quant_type`, a name or `{"default": {"_type": …, "_data": …}}`.
fn torchao(q: &Fields) -> Result<WeightFormat, ModelError> {
    let object = q.get("quant_type").filter(|v| v.is_object());
    let (name, group) = match object {
        None => (
            q.word("quant_type")?.map(str::to_owned),
            whole(q, "group_size"),
        ),
        Some(v) => {
            let default = v.get("default").unwrap_or(v);
            let data = default.get("_data").unwrap_or(default);
            let name = default.get("_type").and_then(Value::as_str);
            (
                name.map(str::to_owned),
                data.get("group_size").and_then(Value::as_i64),
            )
        }
    };
    let name = name.unwrap_or_default().to_ascii_lowercase();
    if name.contains("int4") {
        return int(q, "quant_type", Some(4), Some(group.unwrap_or(128)), true);
    }
    if name.contains("int8") {
        return Ok(WeightFormat::Int8);
    }
    if name.contains("float8") || name.contains("fp8") {
        return Ok(WeightFormat::Fp8);
    }
    let name: String = name.chars().take(80).collect();
    Err(q.unsupported("quant_type", format!("\"{name}\"")))
}

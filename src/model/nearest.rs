//! The known class that an unknown one resembles: by the keys of its config, which say what kinds of layers it has, and among classes with
//! such layers by the beginning of its name.
use super::architecture::{MixerRule, MoeRule, RULES, Rules};
use super::error::ModelError;
use super::raw::Fields;

/// Keys that only configs with a kind of mixer have, with the class that has such layers. The first that is there decides.
const MARKS: &[(&str, MixerRule, &str)] = &[
    ("compress_ratios", MixerRule::Compressed, "deepseek_v4"),
    ("linear_attn_config", MixerRule::Kda, "kimi_linear"),
    ("kv_lora_rank", MixerRule::Latent, "deepseek_v3"),
    ("hybrid_override_pattern", MixerRule::Pattern, "nemotron_h"),
    ("linear_num_value_heads", MixerRule::Delta, "qwen3_next"),
    ("attn_layer_period", MixerRule::MambaPeriod, "jamba"),
    ("mamba_d_ssm", MixerRule::MambaBeside, "falcon_h1"),
    ("mamba_n_heads", MixerRule::MambaTypes, "granitemoehybrid"),
    ("conv_L_cache", MixerRule::Conv, "lfm2"),
    ("block_configs", MixerRule::Blocks, "nemotron-nas"),
];

/// Keys of layers that are neither of the above nor attention: no class here resembles them.
const FOREIGN: &[&str] = &[
    "state_size",
    "ssm_cfg",
    "ssm_state_size",
    "attention_hidden_size",
    "encoder_layers",
    "decoder_layers",
    "num_decoder_layers",
];

/// Ends of the names of classes that generate text.
const GENERATES: &[&str] = &["ForCausalLM", "ForConditionalGeneration", "LMHeadModel"];

fn by_name(name: &str) -> Option<&'static Rules> {
    RULES.iter().find(|r| r.names.contains(&name))
}

/// Letters that two names have in common at their beginning, whatever their case.
fn common(a: &str, b: &str) -> usize {
    let same = a.chars().zip(b.chars());
    same.take_while(|(a, b)| a.eq_ignore_ascii_case(b) && a.is_ascii_alphabetic())
        .count()
}

/// The class that an unknown one of this name resembles, if its config is one of a model that generates text.
pub(super) fn nearest(f: &Fields, name: &str) -> Result<Option<&'static Rules>, ModelError> {
    let encoder = f.flag("is_encoder_decoder").unwrap_or(None) == Some(true);
    let class = name.chars().any(|c| c.is_ascii_uppercase());
    let generates = !class || GENERATES.iter().any(|end| name.ends_with(end));
    let mark = MARKS.iter().find(|(key, ..)| f.get(key).is_some());
    let foreign = mark.is_none() && FOREIGN.iter().any(|key| f.get(key).is_some());
    if encoder || foreign || !generates {
        return Ok(None);
    }
    let experts = f.number("num_experts")?.is_some_and(|n| n > 1);
    let (mixer, usual) = match mark {
        Some((_, mixer, usual)) => (*mixer, *usual),
        None if experts => (MixerRule::Attention, "qwen3_moe"),
        None => (MixerRule::Attention, "llama"),
    };
    let fits = |moe: MoeRule| match moe {
        MoeRule::BesideDense => true,
        moe => (moe != MoeRule::Dense) == experts,
    };
    let alike = |r: &&'static Rules| r.mixer == mixer && fits(r.moe);
    // Four letters are a family's name; of several generations the last is taken.
    let family = RULES.iter().filter(alike).filter_map(|r| {
        let shared = r.names.iter().map(|n| common(n, name)).max();
        shared.filter(|n| *n >= 4).map(|n| (n, r))
    });
    let best = family.max_by_key(|(n, _)| *n).map(|(_, r)| r);
    let usual = by_name(usual);
    Ok(best
        .or(usual.filter(alike))
        .or_else(|| RULES.iter().find(alike))
        .or(usual))
}

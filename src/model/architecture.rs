//! The architectures that have operators: a row each, which names its kinds of layers and what its config may leave out.
mod table;

use super::error::closest;
pub(crate) use table::RULES;

/// What a config may leave out, and what always holds, after `configuration_*.py` and `modeling_*.py`
/// of transformers 4.57 and 5.24 (directory `src/transformers/models/`); for classes that transformers lacks, after
/// `vllm/model_executor/models/` of vLLM 0.33.0.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// `architectures[0]` and `model_type`.
    pub names: &'static [&'static str],
    /// What stands before the MLP of each layer.
    pub mixer: MixerRule,
    /// `head_dim` when absent; None derives hidden_size / num_attention_heads.
    pub head_dim: Option<u32>,
    /// Whether `num_key_value_heads` may be absent: as many as query heads then.
    pub kv_heads_default_to_q: bool,
    pub tied: bool,
    /// Which projections of attention carry a bias.
    pub bias: AttentionBias,
    pub qk_norm: QkNorm,
    pub gate: GateRule,
    pub sinks: SinkRule,
    /// Norms of hidden size per layer: 4 where the outputs of attention and MLP are normed too, 1 where both read the same.
    pub norms_per_layer: u32,
    /// Vectors of each norm: 1 of RMSNorm, 2 of LayerNorm with a bias, 0 of a norm without parameters.
    pub norm_vectors: u32,
    pub window: WindowRule,
    /// `sliding_window` when absent.
    pub default_window: Option<u32>,
    pub mlp: MlpRule,
    pub moe: MoeRule,
    /// Whether the router has a correction bias for each expert.
    pub router_bias: bool,
    /// Whether the shared expert has a gate (hidden → 1).
    pub shared_gate: bool,
    pub embedding: EmbeddingRule,
    /// `lm_head_bias` when absent; None: never one.
    pub lm_head_bias: Option<bool>,
    /// `vocab_size` and `max_position_embeddings` when absent: configs of multimodal models leave out what equals their class's default.
    pub vocab_size: Option<u32>,
    pub max_position_embeddings: Option<u32>,
    /// `num_attention_heads` and `num_key_value_heads` when absent.
    pub heads: Option<(u32, u32)>,
    /// Whether positions are rotary embeddings, of which the engine keeps a table.
    pub rotary: bool,
}

/// What stands before the MLP.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum MixerRule {
    /// Attention with keys and values per head group.
    Attention,
    /// The same with `block_configs` for each layer (Nemotron-NAS): layers without attention, or without an MLP.
    Blocks,
    /// Gated DeltaNet in three of four layers.
    Delta,
    /// Multi-head latent attention, with an indexer where `index_topk` is given.
    Latent,
    /// Kimi delta attention in the layers that `linear_attn_config` lists, latent attention in the others.
    Kda,
    /// One of Mamba 2, attention, MLP or experts per layer, as `hybrid_override_pattern` says.
    Pattern,
    /// Mamba 2 or attention, as `layer_types` says.
    MambaTypes,
    /// Mamba 2 beside attention in each layer.
    MambaBeside,
    /// Mamba 1, and attention in every `attn_layer_period`-th layer (Jamba).
    MambaPeriod,
    /// A gated short convolution or attention, as `layer_types` says.
    Conv,
    /// DeepSeek-V4: one key/value head of compressed entries beside a short window.
    Compressed,
}

/// Biases of attention's projections: the first of the keys that is there decides, else the default.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum AttentionBias {
    /// q, k, v and o together.
    All(&'static [&'static str], bool),
    /// q, k, v; o has none.
    Qkv(&'static [&'static str], bool),
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum QkNorm {
    Never,
    /// Over each head; one scale of its width for q, one for k.
    Head,
    /// `use_qk_norm`.
    HeadByFlag,
    /// Over the whole width of q and of k.
    Width,
    /// A scale for each head, with `use_qk_norm`.
    WidthByFlag,
    /// As `Head`, without scales.
    Bare,
}

/// What gates attention's result.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum GateRule {
    Never,
    /// q is projected twice as wide, one half gates.
    Always,
    /// `attn_output_gate`, on if absent.
    ByFlag,
    /// One number per head, with `use_head_wise_attn_gate`.
    Head,
}

/// Which layers have a logit per query head that takes attention away from all tokens.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum SinkRule {
    Never,
    Always,
    /// `add_swa_attention_sink_bias`, `add_full_attention_sink_bias`.
    ByFlag,
}

/// Which layers slide where the config has no `layer_types`.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum WindowRule {
    Never,
    /// Every layer, if `sliding_window` is set.
    AllIfSet,
    /// With `use_sliding_window`, layers from `max_window_layers` on.
    FromMaxWindowLayers,
    /// Every `n`-th layer is full (`sliding_window_pattern` overrides n).
    EveryNthFull(u32),
    /// The same, if `sliding_window` is set.
    EveryNthFullIfSet(u32),
    /// Layers attend within chunks of `attention_chunk_size`, but for those without rotary embedding: every fourth, or as
    /// `no_rope_layers` says.
    Chunks,
    /// `hybrid_layer_pattern`: 1 slides.
    Pattern,
}

/// The dense MLP.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct MlpRule {
    /// Gate and up beside down; else two matrices.
    pub gated: bool,
    /// The key of its inner width; `intermediate_size` where that is absent.
    pub key: &'static str,
    /// Whether an absent width is four times the stream's.
    pub four_times: bool,
    /// Keys of which the first that is there says whether there are biases, and the default.
    pub bias: (&'static [&'static str], bool),
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum MoeRule {
    Dense,
    /// All layers; an expert has `intermediate_size`.
    All,
    /// As `All`, with biases in router and experts.
    AllBiased,
    /// The layers that the config's keys say; an expert has `moe_intermediate_size`, else `intermediate_size`.
    Keys,
    /// `enable_moe_block`: experts of `moe_intermediate_size` beside a dense MLP of `intermediate_size` in every layer.
    BesideDense,
}

/// What stands at the model's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum EmbeddingRule {
    Plain,
    /// Scaled by a constant.
    Scaled,
    /// A norm behind it (BLOOM).
    Normed,
    /// Learnt positions, with so many more than `max_position_embeddings` (GPT-2: 0, OPT: 2).
    Positions(u32),
    /// As `Scaled`, with inputs for each layer (Gemma 3n, Gemma 4 E).
    PerLayer,
}

/// The rules of the architecture that `name` means (`architectures[0]` or `model_type`).
pub(crate) fn rules(name: &str) -> Option<&'static Rules> {
    RULES.iter().find(|r| r.names.contains(&name))
}

/// All names, for error texts.
pub(crate) fn known() -> String {
    let firsts: Vec<_> = RULES.iter().map(|r| r.names[0]).collect();
    firsts.join(", ")
}

/// The known name of which `name` is a misspelling: two letters off at most. Another architecture is no misspelling.
pub(crate) fn suggest(name: &str) -> Option<String> {
    let near = closest(name, RULES.iter().flat_map(|r| r.names.iter().copied()))?;
    let digits = |s: &str| -> Vec<char> { s.chars().filter(char::is_ascii_digit).collect() };
    let short: String = name.chars().take(100).collect();
    (strsim::levenshtein(&short, &near) <= 2 && digits(&short) == digits(&near)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_means_two_architectures() {
        let mut all: Vec<&str> = RULES.iter().flat_map(|r| r.names).copied().collect();
        let n = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), n);
    }

    #[test]
    fn only_a_misspelling_is_suggested() {
        assert_eq!(
            suggest("Qwen3MoeForCausalML").unwrap(),
            "Qwen3MoeForCausalLM"
        );
        assert_eq!(suggest("Qwen4ForCausalLM"), None);
        assert_eq!(suggest("RwkvForCausalLM"), None);
    }
}

//! The rows.
use super::{
    AttentionBias, EmbeddingRule, GateRule, MixerRule, MlpRule, MoeRule, QkNorm, Rules, SinkRule,
    WindowRule,
};

/// `attention_bias` switches q, k, v and o together.
const ALL_BY_FLAG: AttentionBias = AttentionBias::All(&["attention_bias"], false);
const QKV_BY_FLAG: AttentionBias = AttentionBias::Qkv(&["attention_bias"], false);
const QKV_ALWAYS: AttentionBias = AttentionBias::Qkv(&[], true);
const NEVER: AttentionBias = AttentionBias::Qkv(&[], false);

const GATED: MlpRule = MlpRule {
    gated: true,
    key: "intermediate_size",
    four_times: false,
    bias: (&[], false),
};
/// Up and down alone.
const PLAIN: MlpRule = MlpRule {
    gated: false,
    ..GATED
};
const PLAIN_BIASED: MlpRule = MlpRule {
    four_times: true,
    bias: (&[], true),
    ..PLAIN
};

const BASE: Rules = Rules {
    names: &[],
    mixer: MixerRule::Attention,
    head_dim: None,
    kv_heads_default_to_q: false,
    tied: false,
    bias: NEVER,
    qk_norm: QkNorm::Never,
    gate: GateRule::Never,
    sinks: SinkRule::Never,
    norms_per_layer: 2,
    norm_vectors: 1,
    window: WindowRule::Never,
    default_window: None,
    mlp: GATED,
    moe: MoeRule::Dense,
    router_bias: false,
    shared_gate: false,
    embedding: EmbeddingRule::Plain,
    lm_head_bias: None,
    vocab_size: None,
    max_position_embeddings: None,
    heads: None,
    rotary: true,
};

/// Two matrices with biases, LayerNorm with biases, as many key/value heads as query heads.
const OLD: Rules = Rules {
    kv_heads_default_to_q: true,
    bias: AttentionBias::All(&[], true),
    norm_vectors: 2,
    mlp: PLAIN_BIASED,
    ..BASE
};

/// DeepSeek's: multi-head latent attention, dense layers first, a correction bias in the router.
const LATENT: Rules = Rules {
    mixer: MixerRule::Latent,
    kv_heads_default_to_q: true,
    bias: ALL_BY_FLAG,
    moe: MoeRule::Keys,
    router_bias: true,
    ..BASE
};

pub(crate) const RULES: &[Rules] = &[
    // Granite scales embedding, residuals and logits by constants: no size depends on them. SmolLM3 leaves out the rotary embedding of
    // every fourth layer.
    Rules {
        names: &[
            "LlamaForCausalLM",
            "llama",
            "GraniteForCausalLM",
            "granite",
            "SmolLM3ForCausalLM",
            "smollm3",
            "AquilaForCausalLM",
            "MiniCPMForCausalLM",
            "minicpm",
        ],
        kv_heads_default_to_q: true,
        bias: ALL_BY_FLAG,
        mlp: MlpRule {
            bias: (&["mlp_bias"], false),
            ..GATED
        },
        ..BASE
    },
    // `modeling_seed_oss.py`: the output projection has a bias only with `attention_out_bias`, which no published config sets.
    Rules {
        names: &["SeedOssForCausalLM", "seed_oss"],
        bias: QKV_BY_FLAG,
        ..BASE
    },
    Rules {
        names: &[
            "InternLM3ForCausalLM",
            "internlm3",
            "InternLM2ForCausalLM",
            "internlm2",
        ],
        bias: AttentionBias::All(&["bias"], false),
        ..BASE
    },
    Rules {
        names: &["ExaoneForCausalLM", "exaone"],
        ..BASE
    },
    Rules {
        names: &["ArceeForCausalLM", "arcee"],
        bias: ALL_BY_FLAG,
        mlp: PLAIN,
        ..BASE
    },
    Rules {
        names: &["NemotronForCausalLM", "nemotron"],
        bias: ALL_BY_FLAG,
        norm_vectors: 2,
        mlp: PLAIN,
        ..BASE
    },
    // Two matrices with xIELU between them, whose two parameters a layer are not counted.
    Rules {
        names: &["ApertusForCausalLM", "apertus"],
        kv_heads_default_to_q: true,
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::Head,
        mlp: PLAIN,
        ..BASE
    },
    Rules {
        names: &["DeciLMForCausalLM", "nemotron-nas", "deci"],
        mixer: MixerRule::Blocks,
        ..BASE
    },
    Rules {
        names: &["HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense"],
        kv_heads_default_to_q: true,
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::HeadByFlag,
        ..BASE
    },
    Rules {
        names: &[
            "HunYuanMoEV1ForCausalLM",
            "hunyuan_v1_moe",
            "HunYuanForCausalLM",
        ],
        kv_heads_default_to_q: true,
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::HeadByFlag,
        moe: MoeRule::Keys,
        ..BASE
    },
    // GLM-4-0414: a norm behind attention and MLP, too.
    Rules {
        names: &[
            "Glm4ForCausalLM",
            "glm4",
            "Glm4vForConditionalGeneration",
            "glm4v_text",
        ],
        head_dim: Some(128),
        bias: QKV_BY_FLAG,
        norms_per_layer: 4,
        ..BASE
    },
    Rules {
        names: &["GlmForCausalLM", "glm"],
        head_dim: Some(128),
        bias: AttentionBias::Qkv(&["attention_bias"], true),
        ..BASE
    },
    Rules {
        names: &[
            "ChatGLMModel",
            "ChatGLMForConditionalGeneration",
            "ChatGLMForCausalLM",
            "chatglm",
        ],
        bias: AttentionBias::Qkv(&["add_qkv_bias"], false),
        ..BASE
    },
    Rules {
        names: &["MistralForCausalLM", "mistral"],
        window: WindowRule::AllIfSet,
        // `MistralConfig`: what Pixtral's configs leave out.
        vocab_size: Some(32_000),
        max_position_embeddings: Some(131_072),
        heads: Some((32, 8)),
        ..BASE
    },
    Rules {
        names: &["MixtralForCausalLM", "mixtral"],
        window: WindowRule::AllIfSet,
        moe: MoeRule::All,
        ..BASE
    },
    Rules {
        names: &["Phi3ForCausalLM", "phi3", "Phi4MMForCausalLM", "phi4mm"],
        kv_heads_default_to_q: true,
        window: WindowRule::AllIfSet,
        ..BASE
    },
    Rules {
        names: &["PhiMoEForCausalLM", "PhimoeForCausalLM", "phimoe"],
        bias: ALL_BY_FLAG,
        norm_vectors: 2,
        window: WindowRule::AllIfSet,
        moe: MoeRule::All,
        lm_head_bias: Some(false),
        ..BASE
    },
    Rules {
        names: &[
            "Qwen2ForCausalLM",
            "qwen2",
            "Qwen2_5_VLForConditionalGeneration",
            "qwen2_5_vl",
            "qwen2_5_vl_text",
            "Qwen2VLForConditionalGeneration",
            "qwen2_vl",
            "qwen2_vl_text",
            "qwen2_5_omni_text",
            "MiMoForCausalLM",
            "mimo",
        ],
        bias: QKV_ALWAYS,
        window: WindowRule::FromMaxWindowLayers,
        ..BASE
    },
    Rules {
        names: &[
            "Qwen3ForCausalLM",
            "qwen3",
            "Qwen3VLForConditionalGeneration",
            "qwen3_vl",
            "qwen3_vl_text",
        ],
        head_dim: Some(128),
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::Head,
        window: WindowRule::FromMaxWindowLayers,
        ..BASE
    },
    Rules {
        names: &["Qwen2MoeForCausalLM", "qwen2_moe"],
        bias: QKV_ALWAYS,
        window: WindowRule::FromMaxWindowLayers,
        moe: MoeRule::Keys,
        shared_gate: true,
        ..BASE
    },
    Rules {
        names: &[
            "Qwen3MoeForCausalLM",
            "qwen3_moe",
            "Qwen3VLMoeForConditionalGeneration",
            "qwen3_vl_moe",
            "qwen3_vl_moe_text",
            "qwen3_omni_moe_text",
        ],
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::Head,
        window: WindowRule::FromMaxWindowLayers,
        moe: MoeRule::Keys,
        ..BASE
    },
    Rules {
        names: &["GemmaForCausalLM", "gemma"],
        head_dim: Some(256),
        tied: true,
        bias: ALL_BY_FLAG,
        embedding: EmbeddingRule::Scaled,
        ..BASE
    },
    Rules {
        names: &["Gemma2ForCausalLM", "gemma2"],
        head_dim: Some(256),
        tied: true,
        bias: ALL_BY_FLAG,
        norms_per_layer: 4,
        window: WindowRule::EveryNthFull(2),
        default_window: Some(4096),
        embedding: EmbeddingRule::Scaled,
        ..BASE
    },
    Rules {
        names: &[
            "Gemma3ForCausalLM",
            "gemma3_text",
            "Gemma3ForConditionalGeneration",
            "gemma3",
        ],
        head_dim: Some(256),
        tied: true,
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::Head,
        norms_per_layer: 4,
        window: WindowRule::EveryNthFull(6),
        default_window: Some(4096),
        embedding: EmbeddingRule::Scaled,
        // `Gemma3TextConfig`.
        vocab_size: Some(262_208),
        max_position_embeddings: Some(131_072),
        heads: Some((8, 4)),
        ..BASE
    },
    Rules {
        names: &[
            "Gemma3nForCausalLM",
            "gemma3n_text",
            "Gemma3nForConditionalGeneration",
            "gemma3n",
        ],
        head_dim: Some(256),
        tied: true,
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::Head,
        norms_per_layer: 4,
        window: WindowRule::EveryNthFull(5),
        default_window: Some(512),
        embedding: EmbeddingRule::PerLayer,
        // `Gemma3nTextConfig`.
        vocab_size: Some(262_400),
        max_position_embeddings: Some(32_768),
        heads: Some((8, 2)),
        ..BASE
    },
    Rules {
        names: &["GptOssForCausalLM", "gpt_oss"],
        head_dim: Some(64),
        bias: AttentionBias::All(&["attention_bias"], true),
        sinks: SinkRule::Always,
        window: WindowRule::EveryNthFull(2),
        default_window: Some(128),
        moe: MoeRule::AllBiased,
        ..BASE
    },
    Rules {
        names: &[
            "Glm4MoeForCausalLM",
            "glm4_moe",
            "Glm4vMoeForConditionalGeneration",
            "glm4v_moe_text",
        ],
        head_dim: Some(128),
        bias: QKV_BY_FLAG,
        qk_norm: QkNorm::HeadByFlag,
        moe: MoeRule::Keys,
        router_bias: true,
        ..BASE
    },
    Rules {
        names: &["Dots1ForCausalLM", "dots1"],
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::Head,
        moe: MoeRule::Keys,
        router_bias: true,
        ..BASE
    },
    Rules {
        names: &["Qwen3NextForCausalLM", "qwen3_next"],
        mixer: MixerRule::Delta,
        head_dim: Some(256),
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::Head,
        gate: GateRule::Always,
        moe: MoeRule::Keys,
        shared_gate: true,
        ..BASE
    },
    Rules {
        names: &[
            "Qwen3_5ForCausalLM",
            "qwen3_5_text",
            "Qwen3_5ForConditionalGeneration",
            "qwen3_5",
        ],
        mixer: MixerRule::Delta,
        head_dim: Some(256),
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::Head,
        gate: GateRule::ByFlag,
        ..BASE
    },
    Rules {
        names: &[
            "Qwen3_5MoeForCausalLM",
            "qwen3_5_moe_text",
            "Qwen3_5MoeForConditionalGeneration",
            "qwen3_5_moe",
        ],
        mixer: MixerRule::Delta,
        head_dim: Some(256),
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::Head,
        gate: GateRule::ByFlag,
        moe: MoeRule::Keys,
        shared_gate: true,
        ..BASE
    },
    Rules {
        names: &[
            "Gemma4ForCausalLM",
            "gemma4_text",
            "Gemma4ForConditionalGeneration",
            "gemma4",
        ],
        head_dim: Some(256),
        tied: true,
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::Head,
        norms_per_layer: 4,
        window: WindowRule::EveryNthFull(6),
        default_window: Some(512),
        moe: MoeRule::BesideDense,
        embedding: EmbeddingRule::PerLayer,
        ..BASE
    },
    Rules {
        names: &["Ministral3ForCausalLM", "ministral3"],
        head_dim: Some(128),
        ..BASE
    },
    // The norms stand behind attention and MLP; q and k are normed over their whole width.
    Rules {
        names: &["Olmo2ForCausalLM", "olmo2"],
        kv_heads_default_to_q: true,
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::Width,
        ..BASE
    },
    Rules {
        names: &["Olmo3ForCausalLM", "olmo3"],
        kv_heads_default_to_q: true,
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::Width,
        window: WindowRule::EveryNthFull(4),
        default_window: Some(4096),
        ..BASE
    },
    // LayerNorm without parameters.
    Rules {
        names: &["OlmoForCausalLM", "olmo"],
        kv_heads_default_to_q: true,
        bias: ALL_BY_FLAG,
        norm_vectors: 0,
        ..BASE
    },
    Rules {
        names: &["OlmoeForCausalLM", "olmoe"],
        kv_heads_default_to_q: true,
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::Width,
        moe: MoeRule::All,
        ..BASE
    },
    Rules {
        names: &["Exaone4ForCausalLM", "exaone4"],
        qk_norm: QkNorm::Head,
        window: WindowRule::EveryNthFullIfSet(4),
        ..BASE
    },
    // One LayerNorm without a bias, whose result attention and MLP share.
    Rules {
        names: &["CohereForCausalLM", "cohere"],
        kv_heads_default_to_q: true,
        tied: true,
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::WidthByFlag,
        norms_per_layer: 1,
        ..BASE
    },
    Rules {
        names: &[
            "Cohere2ForCausalLM",
            "cohere2",
            "Cohere2VisionForConditionalGeneration",
        ],
        kv_heads_default_to_q: true,
        tied: true,
        bias: ALL_BY_FLAG,
        norms_per_layer: 1,
        window: WindowRule::EveryNthFull(4),
        default_window: Some(4096),
        ..BASE
    },
    Rules {
        names: &[
            "DeepseekV3ForCausalLM",
            "deepseek_v3",
            "kimi_k2",
            "DeepseekV32ForCausalLM",
            "deepseek_v32",
        ],
        ..LATENT
    },
    Rules {
        names: &["DeepseekV2ForCausalLM", "deepseek_v2"],
        router_bias: false,
        ..LATENT
    },
    Rules {
        names: &[
            "Glm4MoeLiteForCausalLM",
            "glm4_moe_lite",
            "GlmMoeDsaForCausalLM",
            "glm_moe_dsa",
        ],
        ..LATENT
    },
    Rules {
        names: &["DeepseekV4ForCausalLM", "deepseek_v4"],
        mixer: MixerRule::Compressed,
        ..LATENT
    },
    Rules {
        names: &["KimiLinearForCausalLM", "kimi_linear"],
        mixer: MixerRule::Kda,
        ..LATENT
    },
    Rules {
        names: &["MiniMaxM2ForCausalLM", "minimax_m2"],
        qk_norm: QkNorm::Width,
        moe: MoeRule::Keys,
        router_bias: true,
        ..BASE
    },
    Rules {
        names: &[
            "MiniMaxM3ForCausalLM",
            "minimax_m3",
            "MiniMaxM3SparseForCausalLM",
            "MiniMaxM3SparseForConditionalGeneration",
        ],
        qk_norm: QkNorm::Head,
        mlp: MlpRule {
            key: "dense_intermediate_size",
            ..GATED
        },
        moe: MoeRule::Keys,
        router_bias: true,
        ..BASE
    },
    Rules {
        names: &[
            "Llama4ForCausalLM",
            "llama4_text",
            "Llama4ForConditionalGeneration",
            "llama4",
        ],
        bias: ALL_BY_FLAG,
        qk_norm: QkNorm::Bare,
        window: WindowRule::Chunks,
        mlp: MlpRule {
            key: "intermediate_size_mlp",
            ..GATED
        },
        moe: MoeRule::Keys,
        ..BASE
    },
    Rules {
        names: &[
            "MiMoV2FlashForCausalLM",
            "mimo_v2_flash",
            "MiMoV2ForCausalLM",
            "mimo_v2",
        ],
        bias: QKV_BY_FLAG,
        sinks: SinkRule::ByFlag,
        window: WindowRule::Pattern,
        moe: MoeRule::Keys,
        router_bias: true,
        ..BASE
    },
    Rules {
        names: &[
            "Step3p5ForCausalLM",
            "step3p5",
            "Step3p7FlashForCausalLM",
            "step3p7",
        ],
        qk_norm: QkNorm::Head,
        gate: GateRule::Head,
        window: WindowRule::Never,
        moe: MoeRule::Keys,
        router_bias: true,
        ..BASE
    },
    Rules {
        names: &["Ernie4_5ForCausalLM", "ernie4_5"],
        bias: AttentionBias::All(&["use_bias"], false),
        mlp: MlpRule {
            bias: (&["use_bias"], false),
            ..GATED
        },
        ..BASE
    },
    Rules {
        names: &[
            "Ernie4_5_MoeForCausalLM",
            "Ernie4_5_MoEForCausalLM",
            "ernie4_5_moe",
        ],
        bias: AttentionBias::All(&["use_bias"], false),
        moe: MoeRule::Keys,
        router_bias: true,
        ..BASE
    },
    // Ling and Ring.
    Rules {
        names: &["BailingMoeForCausalLM", "bailing_moe"],
        bias: AttentionBias::Qkv(&["use_qkv_bias"], false),
        moe: MoeRule::Keys,
        ..BASE
    },
    Rules {
        names: &["BailingMoeV2ForCausalLM", "bailing_moe_v2"],
        bias: AttentionBias::Qkv(&["use_qkv_bias"], false),
        qk_norm: QkNorm::HeadByFlag,
        moe: MoeRule::Keys,
        router_bias: true,
        ..BASE
    },
    Rules {
        names: &["GraniteMoeForCausalLM", "granitemoe"],
        bias: ALL_BY_FLAG,
        moe: MoeRule::All,
        ..BASE
    },
    Rules {
        names: &[
            "GraniteMoeHybridForCausalLM",
            "granitemoehybrid",
            "GraniteMoeSharedForCausalLM",
            "granitemoeshared",
        ],
        mixer: MixerRule::MambaTypes,
        bias: ALL_BY_FLAG,
        mlp: MlpRule {
            key: "shared_intermediate_size",
            ..GATED
        },
        moe: MoeRule::Keys,
        ..BASE
    },
    Rules {
        names: &["NemotronHForCausalLM", "nemotron_h"],
        rotary: false,
        mixer: MixerRule::Pattern,
        bias: ALL_BY_FLAG,
        norms_per_layer: 1,
        mlp: MlpRule {
            bias: (&["mlp_bias"], false),
            ..PLAIN
        },
        moe: MoeRule::Keys,
        router_bias: true,
        ..BASE
    },
    Rules {
        names: &["FalconH1ForCausalLM", "falcon_h1"],
        mixer: MixerRule::MambaBeside,
        bias: ALL_BY_FLAG,
        mlp: MlpRule {
            bias: (&["mlp_bias"], false),
            ..GATED
        },
        ..BASE
    },
    Rules {
        names: &["JambaForCausalLM", "jamba"],
        rotary: false,
        mixer: MixerRule::MambaPeriod,
        moe: MoeRule::Keys,
        ..BASE
    },
    Rules {
        names: &["Lfm2ForCausalLM", "lfm2", "Lfm2VlForConditionalGeneration"],
        mixer: MixerRule::Conv,
        tied: true,
        qk_norm: QkNorm::Head,
        ..BASE
    },
    Rules {
        names: &["Lfm2MoeForCausalLM", "lfm2_moe"],
        mixer: MixerRule::Conv,
        tied: true,
        qk_norm: QkNorm::Head,
        moe: MoeRule::Keys,
        router_bias: true,
        ..BASE
    },
    Rules {
        names: &["DbrxForCausalLM", "dbrx"],
        moe: MoeRule::All,
        ..BASE
    },
    Rules {
        names: &["GPTNeoXForCausalLM", "gpt_neox"],
        ..OLD
    },
    // No positions: ALiBi.
    Rules {
        names: &["BloomForCausalLM", "bloom"],
        rotary: false,
        tied: true,
        embedding: EmbeddingRule::Normed,
        max_position_embeddings: Some(2048),
        ..OLD
    },
    Rules {
        names: &["Starcoder2ForCausalLM", "starcoder2"],
        tied: true,
        bias: AttentionBias::All(&["use_bias"], true),
        window: WindowRule::AllIfSet,
        mlp: MlpRule {
            bias: (&["use_bias"], true),
            ..PLAIN
        },
        ..OLD
    },
    Rules {
        names: &["GPT2LMHeadModel", "gpt2"],
        rotary: false,
        tied: true,
        embedding: EmbeddingRule::Positions(0),
        ..OLD
    },
    // The MLP beside attention, both behind one norm.
    Rules {
        names: &["GPTJForCausalLM", "gptj"],
        bias: NEVER,
        norms_per_layer: 1,
        lm_head_bias: Some(true),
        ..OLD
    },
    Rules {
        names: &["PhiForCausalLM", "phi"],
        norms_per_layer: 1,
        lm_head_bias: Some(true),
        ..OLD
    },
    Rules {
        names: &["OPTForCausalLM", "opt"],
        rotary: false,
        tied: true,
        bias: AttentionBias::All(&["enable_bias"], true),
        embedding: EmbeddingRule::Positions(2),
        ..OLD
    },
    Rules {
        names: &[
            "StableLmForCausalLM",
            "stablelm",
            "StableLMEpochForCausalLM",
        ],
        kv_heads_default_to_q: true,
        bias: AttentionBias::Qkv(&["use_qkv_bias"], false),
        norm_vectors: 2,
        ..BASE
    },
    // One matrix for q, k and v, which are as many heads each.
    Rules {
        names: &["BaichuanForCausalLM", "BaiChuanForCausalLM", "baichuan"],
        kv_heads_default_to_q: true,
        ..BASE
    },
];

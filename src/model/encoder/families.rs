//! The towers by family: which keys of `vision_config` they read, what those are when they are absent, and which matrices follow
//! (transformers 5.19.0, `models/*/modeling_*.py` and `configuration_*.py`; Kimi K2.5: vLLM 0.32.0, `models/kimi_k25_vit.py`).
use super::tokens::TokenRule;
use super::{Encoder, Matrix};
use crate::model::config::{MAX_HEADS, MAX_WIDTH};
use crate::model::raw::Fields;

/// Pixels of an image: the least and the most that the checkpoints' `preprocessor_config.json` say. Qwen2-VL and Qwen2.5-VL: 4 and 16 384
/// tokens of 28 × 28 (Qwen2.5-VL-7B-Instruct: Blaizzy/mlx-vlm#1175). Qwen3-VL and later: 256² and 4096² (Qwen3.5-2B-Base, Qwen3.6-35B-A3B-FP8).
const QWEN2_PIXELS: (u64, u64) = (4 * 784, 16_384 * 784);
const QWEN3_PIXELS: (u64, u64) = (256 * 256, 4096 * 4096);

/// The longest edge of Pixtral's images where the config does not say (`PixtralVisionConfig.image_size`).
const PIXTRAL_EDGE: u32 = 1024;

/// Most tiles of an image: `max_patches` of Llama 4's processor, `max_dynamic_patch` of InternVL's configs.
const LLAMA4_TILES: u32 = 16;
const INTERNVL_TILES: u32 = 12;

/// Kernels of a layer as its class calls them: two norms, the products, rotary embedding of q and k, attention, the MLP's activation, two
/// additions.
const KERNELS: u32 = 12;

/// Reads one family's tower.
type Read = fn(&Tower) -> Option<Encoder>;

/// `model_type` of the model or of its tower, and how the tower is read.
const FAMILIES: &[(&[&str], Read)] = &[
    (&["qwen2_5_vl", "qwen2_5_vl_vision"], qwen2_5),
    (
        &[
            "qwen3_vl",
            "qwen3_vl_moe",
            "qwen3_vl_vision",
            "qwen3_5",
            "qwen3_5_moe",
            "qwen3_5_moe_vision",
            "qwen3_5_vision",
            "qwen3_omni_moe_vision_encoder",
            "qwen3_vl_moe_vision",
        ],
        qwen3,
    ),
    (&["siglip_vision_model", "gemma3"], gemma3),
    (&["gemma4_vision", "gemma4"], gemma4),
    (&["llama4_vision_model", "llama4"], llama4),
    (&["pixtral", "mistral3"], pixtral),
    (
        &["internvl_chat", "intern_vit_6b", "internvl_vision"],
        internvl,
    ),
    (&["kimi_k25", "kimi_k2"], kimi),
];

/// The tower of a config; `None`: it has none, or one that is not known.
pub(in crate::model) fn read(outer: &Fields, text_width: u32) -> Option<Encoder> {
    let inside = outer.inner("thinker_config").ok().flatten();
    let outer = inside.as_ref().unwrap_or(outer);
    let vision = outer.inner("vision_config").ok()??;
    let word = |f: &Fields| {
        f.word("model_type")
            .ok()
            .flatten()
            .unwrap_or_default()
            .to_owned()
    };
    let names = [word(&vision), word(outer)];
    // Kimi's configs name their tower by its keys alone.
    let kimi = vision.get("vt_hidden_size").is_some();
    let found = FAMILIES
        .iter()
        .find(|(known, _)| names.iter().any(|n| known.contains(&n.as_str())));
    let read = match found {
        Some((_, read)) => *read,
        None if kimi => self::kimi as Read,
        None => return None,
    };
    read(&Tower {
        vision,
        outer,
        text: text_width,
    })
}

/// What a family reads its tower from.
struct Tower<'a> {
    vision: Fields<'a>,
    outer: &'a Fields<'a>,
    /// Width of the language model.
    text: u32,
}

/// Sizes that all towers have.
#[derive(Clone, Copy)]
struct Sizes {
    layers: u32,
    width: u32,
    inner: u32,
    heads: u32,
    patch: u32,
}

impl Tower<'_> {
    /// A size of the tower: the first of the names that is there, else the class's default.
    fn size(&self, names: &[&str], usual: u32) -> Option<u32> {
        let found = names
            .iter()
            .find_map(|n| self.vision.number(n).ok().flatten());
        let n = found.unwrap_or(usual);
        (1..=MAX_WIDTH).contains(&n).then_some(n)
    }

    fn sizes(&self, usual: Sizes) -> Option<Sizes> {
        let s = Sizes {
            layers: self.size(
                &["depth", "num_hidden_layers", "vt_num_hidden_layers"],
                usual.layers,
            )?,
            width: self.size(&["hidden_size", "vt_hidden_size"], usual.width)?,
            inner: self.size(&["intermediate_size", "vt_intermediate_size"], usual.inner)?,
            heads: self.size(
                &["num_heads", "num_attention_heads", "vt_num_attention_heads"],
                usual.heads,
            )?,
            patch: self.size(&["patch_size"], usual.patch)?,
        };
        // Small enough that no product overflows.
        (s.layers <= 1 << 10
            && s.width <= 1 << 16
            && s.inner <= 1 << 18
            && s.patch <= 256
            && s.heads <= MAX_HEADS)
            .then_some(s)
    }

    /// A size beside the tower's object.
    fn outside(&self, name: &str, usual: u32) -> u32 {
        self.outer
            .number(name)
            .ok()
            .flatten()
            .filter(|n| *n > 0)
            .unwrap_or(usual)
    }
}

/// Matrices and vectors of a tower as they are added up.
struct Build {
    matrices: Vec<Matrix>,
    parameters: u64,
}

impl Build {
    fn new() -> Self {
        Self {
            matrices: vec![],
            parameters: 0,
        }
    }

    /// A matrix that stands in the tower so often, a row of which `patches` patches become.
    fn matrix(&mut self, out: u32, inner: u32, times: u32, patches: u32, bias: bool) {
        self.matrices.push(Matrix {
            out,
            inner,
            times,
            patches,
        });
        let (out, inner) = (u64::from(out), u64::from(inner));
        let own = out * inner + if bias { out } else { 0 };
        self.parameters += own * u64::from(times);
    }

    /// Parameters that multiply nothing.
    fn vectors(&mut self, n: u64) {
        self.parameters += n;
    }

    /// All layers: q, k, v of `attention` wide, o, an MLP with or without a gate.
    fn layers(&mut self, s: Sizes, attention: u32, gated: bool, bias: bool, norms: u64) {
        self.matrix(3 * attention, s.width, s.layers, 1, bias);
        self.matrix(s.width, attention, s.layers, 1, bias);
        let up = if gated { 2 } else { 1 };
        self.matrix(up * s.inner, s.width, s.layers, 1, bias);
        self.matrix(s.width, s.inner, s.layers, 1, bias);
        self.vectors(u64::from(s.layers) * norms);
    }

    fn done(
        self,
        family: &'static str,
        s: Sizes,
        attention: u32,
        rule: Option<TokenRule>,
    ) -> Encoder {
        Encoder {
            family,
            parameters: self.parameters,
            layers: s.layers,
            width: s.width,
            attention_width: attention,
            inner: s.inner,
            kernels: KERNELS,
            matrices: self.matrices,
            window: None,
            vectors: 1,
            rule,
        }
    }
}

/// `Qwen3VLVisionModel`, which Qwen3.5 has without the mergers in the middle.
fn qwen3(t: &Tower) -> Option<Encoder> {
    let s = t.sizes(Sizes {
        layers: 27,
        width: 1152,
        inner: 4304,
        heads: 16,
        patch: 16,
    })?;
    let merge = t.size(&["spatial_merge_size"], 2)?;
    let frames = t.size(&["temporal_patch_size"], 2)?;
    let out = t.size(&["out_hidden_size"], t.text)?;
    let positions = t.size(&["num_position_embeddings"], 2304)?;
    let stacked = t.vision.list("deepstack_visual_indexes").ok().flatten();
    let stacked = stacked.map_or(0, <[_]>::len) as u32;
    if merge > 16 || frames > 16 || out > 1 << 18 || stacked > s.layers {
        return None;
    }
    let (w, merged) = (u64::from(s.width), s.width * merge * merge);
    let mut b = Build::new();
    b.matrix(s.width, 3 * frames * s.patch * s.patch, 1, 1, true);
    b.vectors(u64::from(positions) * w);
    b.layers(s, s.width, false, true, 4 * w);
    b.matrix(merged, merged, 1 + stacked, merge * merge, true);
    b.matrix(out, merged, 1 + stacked, merge * merge, true);
    b.vectors(2 * w + u64::from(stacked) * 2 * u64::from(merged));
    let rule = TokenRule::Pixels {
        patch: s.patch,
        merge,
        least: QWEN3_PIXELS.0,
        most: QWEN3_PIXELS.1,
    };
    let mut e = b.done("Qwen3-VL", s, s.width, Some(rule));
    e.vectors = 1 + stacked;
    Some(e)
}

/// `Qwen2_5_VisionTransformerPretrainedModel`: most layers attend within windows.
fn qwen2_5(t: &Tower) -> Option<Encoder> {
    let s = t.sizes(Sizes {
        layers: 32,
        width: 3584,
        inner: 3420,
        heads: 16,
        patch: 14,
    })?;
    let merge = t.size(&["spatial_merge_size"], 2)?;
    let frames = t.size(&["temporal_patch_size"], 2)?;
    let out = t.size(&["out_hidden_size"], t.text)?;
    let window = t.size(&["window_size"], 112)? / s.patch;
    let full = t.vision.list("fullatt_block_indexes").ok().flatten();
    let full = full.map_or(4, <[_]>::len) as u32;
    if merge > 16 || frames > 16 || out > 1 << 18 {
        return None;
    }
    let (w, merged) = (u64::from(s.width), s.width * merge * merge);
    let mut b = Build::new();
    b.matrix(s.width, 3 * frames * s.patch * s.patch, 1, 1, false);
    b.layers(s, s.width, true, true, 2 * w);
    b.matrix(merged, merged, 1, merge * merge, true);
    b.matrix(out, merged, 1, merge * merge, true);
    b.vectors(w);
    let rule = TokenRule::Pixels {
        patch: s.patch,
        merge,
        least: QWEN2_PIXELS.0,
        most: QWEN2_PIXELS.1,
    };
    let mut e = b.done("Qwen2.5-VL", s, s.width, Some(rule));
    e.window = Some((window.saturating_mul(window), s.layers.saturating_sub(full)));
    Some(e)
}

/// `SiglipVisionModel` with `Gemma3MultiModalProjector`: images of one size, pooled to `mm_tokens_per_image`.
fn gemma3(t: &Tower) -> Option<Encoder> {
    let s = t.sizes(Sizes {
        layers: 12,
        width: 768,
        inner: 3072,
        heads: 12,
        patch: 16,
    })?;
    let side = t.size(&["image_size"], 224)? / s.patch;
    if side == 0 || side > 1 << 10 {
        return None;
    }
    let (w, patches) = (u64::from(s.width), side * side);
    let embeds = t.outside("mm_tokens_per_image", 256).min(patches);
    let mut b = Build::new();
    b.matrix(s.width, 3 * s.patch * s.patch, 1, 1, true);
    b.vectors(u64::from(patches) * w);
    b.layers(s, s.width, false, true, 4 * w);
    b.vectors(2 * w + w);
    b.matrix(t.text, s.width, 1, (patches / embeds).max(1), false);
    // Line breaks, `<start_of_image>` and `<end_of_image>` around it.
    let rule = TokenRule::Fixed {
        patches,
        embeds,
        around: 4,
    };
    Some(b.done("Gemma 3", s, s.width, Some(rule)))
}

/// `Gemma4VisionModel` with `Gemma4MultimodalEmbedder`.
fn gemma4(t: &Tower) -> Option<Encoder> {
    let s = t.sizes(Sizes {
        layers: 16,
        width: 768,
        inner: 3072,
        heads: 12,
        patch: 16,
    })?;
    let head = t.size(&["head_dim"], 64)?;
    let positions = t.size(&["position_embedding_size"], 10 * 1024)?;
    let pool = t.size(&["pooling_kernel_size"], 3)?;
    let most = t.size(&["default_output_length"], 280)?;
    let attention = s.heads.checked_mul(head).filter(|n| *n <= 1 << 16)?;
    if pool > 16 || most > 1 << 16 {
        return None;
    }
    let w = u64::from(s.width);
    let mut b = Build::new();
    b.matrix(s.width, 3 * s.patch * s.patch, 1, 1, false);
    b.vectors(2 * u64::from(positions) * w);
    b.layers(s, attention, true, false, 4 * w + 2 * u64::from(head));
    b.matrix(t.text, s.width, 1, pool * pool, false);
    let rule = TokenRule::Budget {
        patch: s.patch,
        pool,
        most,
    };
    Some(b.done("Gemma 4", s, attention, Some(rule)))
}

/// `Llama4VisionModel`: a class token beside the patches of each tile, four of which become one token.
fn llama4(t: &Tower) -> Option<Encoder> {
    let s = t.sizes(Sizes {
        layers: 34,
        width: 768,
        inner: 5632,
        heads: 16,
        patch: 14,
    })?;
    let side = t.size(&["image_size"], 448)?;
    let grid = side / s.patch;
    let input = t.size(&["projector_input_dim"], 4096)?;
    let output = t.size(&["projector_output_dim"], 4096)?;
    let vision = t.size(&["vision_output_dim"], 7680)?;
    if !(2..=1 << 10).contains(&grid) || input.max(output).max(vision) > 1 << 16 {
        return None;
    }
    let (w, patches) = (u64::from(s.width), grid * grid);
    let mut b = Build::new();
    b.matrix(s.width, 3 * s.patch * s.patch, 1, 1, false);
    b.vectors(w + u64::from(patches + 1) * w + 4 * w);
    b.layers(s, s.width, false, true, 4 * w);
    b.matrix(input, s.inner, 1, 4, false);
    b.matrix(output, output, 1, 4, false);
    b.matrix(t.text, vision, 1, 4, false);
    let rule = TokenRule::Canvas {
        side,
        patches: patches + 1,
        embeds: patches / 4,
        most: LLAMA4_TILES,
    };
    Some(b.done("Llama 4", s, s.width, Some(rule)))
}

/// `PixtralVisionModel` with `Mistral3MultiModalProjector`, or LLaVA's without merging.
fn pixtral(t: &Tower) -> Option<Encoder> {
    let s = t.sizes(Sizes {
        layers: 24,
        width: 1024,
        inner: 4096,
        heads: 16,
        patch: 16,
    })?;
    let edge = t.size(&["image_size"], PIXTRAL_EDGE)?;
    let llava = t.outer.word("model_type").ok().flatten() == Some("llava");
    let merge = match llava {
        true => 1,
        false => t.outside("spatial_merge_size", 2),
    };
    if merge > 16 || edge > 1 << 16 {
        return None;
    }
    let bias = |name: &str, usual: bool| t.outer.flag(name).ok().flatten().unwrap_or(usual);
    let w = u64::from(s.width);
    let mut b = Build::new();
    b.matrix(s.width, 3 * s.patch * s.patch, 1, 1, false);
    b.vectors(w);
    b.layers(s, s.width, true, false, 2 * w);
    let biased = bias("multimodal_projector_bias", llava);
    if !llava {
        b.vectors(w);
        b.matrix(s.width, s.width * merge * merge, 1, merge * merge, false);
    }
    b.matrix(t.text, s.width, 1, merge * merge, biased);
    b.matrix(t.text, t.text, 1, merge * merge, biased);
    let rule = TokenRule::Rows {
        patch: s.patch,
        merge,
        edge,
    };
    Some(b.done("Pixtral", s, s.width, Some(rule)))
}

/// `InternVLVisionModel` as InternViT-300M has it; the projector reads four patches at once.
fn internvl(t: &Tower) -> Option<Encoder> {
    let s = t.sizes(Sizes {
        layers: 24,
        width: 1024,
        inner: 4096,
        heads: 16,
        patch: 14,
    })?;
    let side = t.size(&["image_size"], 448)?;
    let grid = side / s.patch;
    // The 6 B tower has no biases and norms of q and k.
    if !(2..=1 << 10).contains(&grid) || t.vision.flag("qkv_bias").ok().flatten() == Some(false) {
        return None;
    }
    let (w, patches) = (u64::from(s.width), grid * grid);
    let mut b = Build::new();
    b.matrix(s.width, 3 * s.patch * s.patch, 1, 1, true);
    b.vectors(w + u64::from(patches + 1) * w);
    // Two norms and two scales of what a layer adds.
    b.layers(s, s.width, false, true, 4 * w + 2 * w);
    b.vectors(2 * 4 * w);
    b.matrix(t.text, 4 * s.width, 1, 4, true);
    b.matrix(t.text, t.text, 1, 4, true);
    let rule = TokenRule::Shapes {
        side,
        patches: patches + 1,
        embeds: patches / 4,
        most: t.outside("max_dynamic_patch", INTERNVL_TILES).min(64),
    };
    Some(b.done("InternVL", s, s.width, Some(rule)))
}

/// `MoonViT3dPretrainedModel` with its patch merger. How its processor cuts images is in the checkpoint's own code.
fn kimi(t: &Tower) -> Option<Encoder> {
    let s = t.sizes(Sizes {
        layers: 27,
        width: 1152,
        inner: 4304,
        heads: 16,
        patch: 14,
    })?;
    let high = t.size(&["init_pos_emb_height"], 64)?;
    let wide = t.size(&["init_pos_emb_width"], 64)?;
    let (w, merged) = (u64::from(s.width), 4 * s.width);
    let mut b = Build::new();
    b.matrix(s.width, 3 * s.patch * s.patch, 1, 1, true);
    b.vectors(u64::from(high) * u64::from(wide) * w);
    b.layers(s, s.width, false, true, 4 * w);
    b.vectors(2 * w + 2 * w);
    b.matrix(merged, merged, 1, 4, true);
    b.matrix(t.text, merged, 1, 4, true);
    Some(b.done("Kimi K2.5", s, s.width, None))
}

#[cfg(test)]
mod tests {
    use crate::model::config;
    use serde_json::{Value, json};

    fn parameters(kind: &str, text_width: u32, vision: Value) -> u64 {
        let text = json!({
            "model_type": "qwen2", "hidden_size": text_width, "num_hidden_layers": 1, "num_attention_heads": 8,
            "num_key_value_heads": 8, "intermediate_size": 64, "vocab_size": 100, "max_position_embeddings": 100,
        });
        let config = json!({"model_type": kind, "vision_config": vision, "text_config": text, "architectures": ["Qwen2ForCausalLM"]});
        let config = config::parse(&config.to_string(), kind).unwrap();
        config
            .encoder
            .unwrap_or_else(|| panic!("{kind}"))
            .parameters
    }

    /// Counted by the classes of transformers 5.19.0 on the meta device, with torch 2.13.
    #[test]
    fn towers_have_as_many_parameters_as_their_classes() {
        let qwen3 = |depth: u32, width: u32, inner: u32, out: u32, stacked: Value| {
            json!({"depth": depth, "hidden_size": width, "intermediate_size": inner, "out_hidden_size": out, "num_heads": 16,
                   "deepstack_visual_indexes": stacked})
        };
        let cases = [
            // Qwen3-VL-2B, -8B, Qwen3.5-27B.
            (
                "qwen3_vl",
                2048,
                qwen3(24, 1024, 4096, 2048, json!([5, 11, 17])),
                406_957_056,
            ),
            (
                "qwen3_vl",
                4096,
                qwen3(27, 1152, 4304, 4096, json!([8, 16, 24])),
                576_388_336,
            ),
            (
                "qwen3_5",
                5120,
                qwen3(27, 1152, 4304, 5120, json!([])),
                460_730_096,
            ),
            (
                "qwen2_5_vl",
                3584,
                json!({"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584}),
                676_550_144,
            ),
            // Gemma 4 31B.
            (
                "gemma4",
                5376,
                json!({"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
                       "head_dim": 72}),
                575_741_232,
            ),
            // Gemma 3 12B: tower and projector.
            (
                "gemma3",
                3840,
                json!({"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
                       "image_size": 896, "patch_size": 14}),
                416_866_032 + 4_424_832,
            ),
            (
                "llama4",
                5120,
                json!({"hidden_size": 1408, "num_hidden_layers": 34, "intermediate_size": 5632, "vision_output_dim": 4096,
                       "image_size": 336, "patch_size": 14}),
                850_960_896 + 20_971_520,
            ),
            // Mistral Small 3.1.
            (
                "mistral3",
                5120,
                json!({"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "image_size": 1540, "patch_size": 14}),
                403_305_472 + 35_652_608,
            ),
            (
                "internvl_chat",
                3584,
                json!({"hidden_size": 1024}),
                304_012_288 + 27_540_480,
            ),
        ];
        for (kind, text_width, vision, want) in cases {
            assert_eq!(
                parameters(kind, text_width, vision),
                want,
                "{kind} {text_width}"
            );
        }
    }
}

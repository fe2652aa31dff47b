//! Attention with keys and values in a paged cache, shared by groups of query heads: config, parameters, operators.
use super::{Expander, pass};
use crate::model::architecture::{Architecture, AttentionBias, WindowRule};
use crate::model::config::{MAX_HEADS, MAX_WIDTH, ModelConfig, Reader};
use crate::model::error::ModelError;
use crate::model::op::{AttentionDims, OpKind};
use crate::units::Bytes;
use serde::{Deserialize, Serialize};

/// Heads of the layers that see everything, where they differ from those with a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullHeads {
    /// Width of one head.
    pub head_dim: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Whether values are the keys: no matrix of their own (`attention_k_eq_v`).
    pub v_is_k: bool,
}

impl ModelConfig {
    /// The heads of a layer that keeps keys and values.
    pub fn heads(&self, layer: u32) -> FullHeads {
        match (self.full_heads, self.windows[layer as usize]) {
            (Some(full), None) => full,
            _ => FullHeads {
                head_dim: self.head_dim,
                kv_heads: self.num_key_value_heads,
                v_is_k: false,
            },
        }
    }
}

/// Parameters of a layer's projections with their biases, of q/k norms and of sinks.
pub(in crate::model) fn parameters(c: &ModelConfig, layer: u32) -> u128 {
    let n = |v: u32| u128::from(v);
    let if_on = |on: bool, v: u128| if on { v } else { 0 };
    let h = n(c.hidden_size);
    let heads = c.heads(layer);
    let q = n(c.num_attention_heads) * n(heads.head_dim);
    let kv = n(heads.kv_heads) * n(heads.head_dim);
    let (q_out, kv_out) = (
        if c.attention_gate { 2 * q } else { q },
        if heads.v_is_k { kv } else { 2 * kv },
    );
    (q_out + kv_out) * h
        + h * q
        + if_on(c.qkv_bias, q_out + kv_out)
        + if_on(c.o_bias, h)
        + if_on(c.qk_norm, 2 * n(heads.head_dim))
        + if_on(c.attention_sinks, n(c.num_attention_heads))
}

impl Reader<'_> {
    /// Query heads, key/value heads and the width of one.
    pub(in crate::model) fn heads(&self, hidden_size: u32) -> Result<(u32, u32, u32), ModelError> {
        let q_heads = self.size(
            "num_attention_heads",
            self.or(self.raw.num_attention_heads, 8),
            MAX_HEADS,
        )?;
        let kv = if self.rules.kv_heads_default_to_q {
            self.raw.num_key_value_heads.or(Some(q_heads))
        } else {
            self.or(self.raw.num_key_value_heads, 4)
        };
        let kv_heads = self.size("num_key_value_heads", kv, MAX_HEADS)?;
        if q_heads % kv_heads != 0 {
            return Err(self.invalid(
                "num_key_value_heads",
                format!("{kv_heads} does not divide num_attention_heads = {q_heads}"),
            ));
        }
        let head_dim = match self.raw.head_dim.or(self.rules.head_dim) {
            Some(d) => self.size("head_dim", Some(d), MAX_WIDTH)?,
            None if hidden_size.is_multiple_of(q_heads) => hidden_size / q_heads,
            None => {
                return Err(self.invalid(
                    "num_attention_heads",
                    format!(
                        "{q_heads} does not divide hidden_size = {hidden_size}; give head_dim if that is meant"
                    ),
                ));
            }
        };
        Ok((q_heads, kv_heads, head_dim))
    }

    /// Whether q, k, v and the output projection have biases.
    pub(in crate::model) fn attention_bias(&self) -> (bool, bool) {
        let flag = self
            .raw
            .attention_bias
            .unwrap_or(self.rules.arch == Architecture::GptOss);
        match self.rules.bias {
            AttentionBias::AllByFlag => (flag, flag),
            AttentionBias::QkvByFlag => (flag, false),
            AttentionBias::QkvAlways => (true, false),
            AttentionBias::Never => (false, false),
        }
    }

    pub(in crate::model) fn full_heads(
        &self,
        head_dim: u32,
        kv_heads: u32,
        q_heads: u32,
    ) -> Result<Option<FullHeads>, ModelError> {
        if self.rules.arch != Architecture::Gemma4 {
            return Ok(None);
        }
        let raw = self.raw;
        let heads = FullHeads {
            head_dim: self.size(
                "global_head_dim",
                raw.global_head_dim.or(Some(head_dim)),
                MAX_WIDTH,
            )?,
            kv_heads: self.size(
                "num_global_key_value_heads",
                raw.num_global_key_value_heads.or(Some(kv_heads)),
                MAX_HEADS,
            )?,
            v_is_k: raw.attention_k_eq_v.unwrap_or(false),
        };
        if !q_heads.is_multiple_of(heads.kv_heads) {
            return Err(self.invalid(
                "num_global_key_value_heads",
                format!(
                    "{} does not divide num_attention_heads = {q_heads}",
                    heads.kv_heads
                ),
            ));
        }
        Ok(Some(heads))
    }

    pub(in crate::model) fn windows(
        &self,
        layers: u32,
        linear: &[bool],
    ) -> Result<Vec<Option<u32>>, ModelError> {
        let raw = self.raw;
        let slides: Vec<bool> = if let Some(types) = &raw.layer_types {
            if types.len() != layers as usize {
                return Err(self.invalid(
                    "layer_types",
                    format!("has {} entries for {layers} layers", types.len()),
                ));
            }
            let mut slides = Vec::with_capacity(types.len());
            for (i, t) in types.iter().enumerate() {
                slides.push(match t.as_str() {
                    "full_attention" => false,
                    "sliding_attention" => true,
                    "linear_attention" if linear[i] => false,
                    other => {
                        let other: String = other.chars().take(80).collect();
                        return Err(self.unsupported(
                            &format!("layer_types[{i}]"),
                            format!("layers of type \"{other}\""),
                        ));
                    }
                });
            }
            slides
        } else {
            let rule = |i: u32| match self.rules.window {
                WindowRule::Never => false,
                WindowRule::AllIfSet => raw.sliding_window.is_some(),
                WindowRule::FromMaxWindowLayers => {
                    raw.use_sliding_window.unwrap_or(false)
                        && raw.sliding_window.is_some()
                        && i >= raw.max_window_layers.unwrap_or(layers)
                }
                WindowRule::EveryNthFull(n) => {
                    let n = raw.sliding_window_pattern.unwrap_or(n);
                    n == 0 || !(i + 1).is_multiple_of(n)
                }
            };
            (0..layers).map(rule).collect()
        };
        if !slides.contains(&true) {
            return Ok(vec![None; layers as usize]);
        }
        // The library defaults of Gemma2Config, Gemma3TextConfig and GptOssConfig.
        let default = match self.rules.arch {
            Architecture::Gemma2 | Architecture::Gemma3 => Some(4096),
            Architecture::GptOss => Some(128),
            Architecture::Gemma4 => Some(512),
            _ => None,
        };
        let window = self.size("sliding_window", raw.sliding_window.or(default), u32::MAX)?;
        Ok(slides.into_iter().map(|s| s.then_some(window)).collect())
    }
}

impl Expander<'_> {
    pub(super) fn attention(&mut self, layer: u32) {
        let (c, p) = (self.c, self.p);
        let h = u64::from(c.hidden_size);
        let heads = c.heads(layer);
        let q = u64::from(c.num_attention_heads) * u64::from(heads.head_dim);
        let kv = u64::from(heads.kv_heads) * u64::from(heads.head_dim);
        let gate = if c.attention_gate { q } else { 0 };
        let v_format = self.more_bits(p.attention, layer);

        self.norm();
        let v = if heads.v_is_k { 0 } else { kv };
        let parts = [(q + gate + kv, p.attention), (v, v_format)];
        self.gemm("qkv_proj", &parts, h, c.qkv_bias);
        if c.qk_norm {
            let weights = 2 * u64::from(heads.head_dim) * p.norms.bytes();
            self.elementwise("qk_norm", 2, weights, 2 * (q + kv));
        }
        self.elementwise("rotary", 1, 0, 2 * (q + kv));
        let kv_block_bytes = p.kv.block_bytes(p.dtype);
        self.each(
            "kv_write",
            1,
            pass(0, 2 * (kv * self.act + kv * kv_block_bytes / 32)),
        );
        let sinks = if c.attention_sinks {
            u64::from(c.num_attention_heads) * self.act
        } else {
            0
        };
        let window = c.windows[layer as usize];
        self.each(
            if window.is_some() {
                "attention_windowed"
            } else {
                "attention"
            },
            2,
            OpKind::Attention(AttentionDims {
                q_heads: c.num_attention_heads,
                kv_heads: heads.kv_heads,
                head_dim: heads.head_dim,
                window,
                kv_block_bytes,
                activations_per_row: Bytes(2 * q * self.act),
                weights: Bytes(sinks),
            }),
        );
        if gate > 0 {
            self.elementwise("attention_gate", 1, 0, 3 * q);
        }
        self.gemm("o_proj", &[(h, p.attention)], q, c.o_bias);
        self.all_reduce();
        self.post_norm();
    }
}

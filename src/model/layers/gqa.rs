//! Attention with keys and values in a paged cache, shared by groups of query heads: config, parameters, operators.
use super::{Expander, pass};
use crate::model::architecture::{AttentionBias, GateRule, QkNorm, SinkRule, WindowRule};
use crate::model::config::{MAX_HEADS, MAX_WIDTH, Reader};
use crate::model::error::ModelError;
use crate::model::op::{AttentionDims, Cache, OpKind};
use crate::units::Bytes;
use serde::Serialize;

/// A layer's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Attention {
    /// Query heads.
    pub q_heads: u32,
    /// Key/value heads; divides the query heads.
    pub kv_heads: u32,
    /// Width of a query's and a key's head.
    pub head_dim: u32,
    /// Width of a value's head.
    pub value_dim: u32,
    /// Sliding window or chunk in tokens, the token itself included; None sees everything.
    pub window: Option<u32>,
    /// Whether keys and values are those of an earlier layer: no matrices and no cache of its own (Gemma 3n).
    pub shared_kv: bool,
    /// Whether values are the keys: no matrix of their own (`attention_k_eq_v`).
    pub v_is_k: bool,
    /// Bias on q, k, v.
    pub qkv_bias: bool,
    /// Bias on the output projection.
    pub o_bias: bool,
    /// Scales of the norms of q and of k; None: they are not normed.
    pub qk_norm: Option<(u32, u32)>,
    /// Columns of q's projection that gate the result: as many as q has, one per head, or none.
    pub gate: u32,
    /// One logit per query head that takes attention away from all tokens (gpt-oss).
    pub sinks: bool,
    /// Chooses the blocks of the context that queries see (MiniMax-M3).
    pub index: Option<BlockIndex>,
}

/// An index over blocks of the context: narrow queries and keys of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BlockIndex {
    /// Its query heads; there is one key head.
    pub heads: u32,
    /// Width of one.
    pub width: u32,
    /// Tokens that queries see of the context.
    pub reach: u32,
}

impl Attention {
    /// Widths of q, k, v.
    fn widths(&self) -> (u64, u64, u64) {
        let n = |heads: u32, width: u32| u64::from(heads) * u64::from(width);
        (
            n(self.q_heads, self.head_dim),
            n(self.kv_heads, self.head_dim),
            n(self.kv_heads, self.value_dim),
        )
    }

    /// Columns of the projections of q with its gate, of k, and of v.
    fn projected(&self) -> (u64, u64, u64) {
        let (q, k, v) = self.widths();
        let own = |w| if self.shared_kv { 0 } else { w };
        (
            q + u64::from(self.gate),
            own(k),
            if self.v_is_k { 0 } else { own(v) },
        )
    }

    /// Width of the result.
    fn result(&self) -> u64 {
        u64::from(self.q_heads) * u64::from(self.value_dim)
    }

    /// Parameters of the projections with their biases, of q/k norms and of sinks.
    pub(super) fn parameters(&self, h: u128) -> u128 {
        let if_on = |on: bool, v: u128| if on { v } else { 0 };
        let (q, k, v) = self.projected();
        let qkv = u128::from(q) + u128::from(k) + u128::from(v);
        let norms = self
            .qk_norm
            .map_or(0, |(q, k)| u128::from(q) + if_on(!self.shared_kv, k.into()));
        qkv * h
            + h * u128::from(self.result())
            + if_on(self.qkv_bias, qkv)
            + if_on(self.o_bias, h)
            + norms
            + if_on(self.sinks, self.q_heads.into())
            + self.index.map_or(0, |i| i.parameters(h))
    }

    /// One of `t` devices' part. Key/value heads are repeated where there are fewer than devices.
    pub(super) fn part(&self, t: u32) -> Self {
        let scale = |n: u32, heads: u32| if n > heads { (n / t).max(1) } else { n };
        Self {
            q_heads: (self.q_heads / t).max(1),
            kv_heads: (self.kv_heads / t).max(1),
            gate: self.gate / t,
            index: self.index.map(|i| BlockIndex {
                heads: (i.heads / t).max(1),
                ..i
            }),
            qk_norm: self.qk_norm.map(|(q, k)| {
                let wide = q > self.head_dim;
                if wide {
                    (scale(q, self.head_dim), scale(k, self.head_dim))
                } else {
                    (q, k)
                }
            }),
            ..*self
        }
    }

    pub(super) fn problem(&self, t: u32) -> Option<String> {
        if !self.q_heads.is_multiple_of(t) {
            return Some(format!(
                "num_attention_heads {} is not divisible by {t}",
                self.q_heads
            ));
        }
        let kv = self.kv_heads;
        (!kv.is_multiple_of(t) && !t.is_multiple_of(kv))
            .then(|| format!("num_key_value_heads {kv} and {t} do not divide each other"))
    }

    /// Elements alive per token: fused QKV, and the result.
    pub(super) fn widest(&self) -> f64 {
        let (q, k, v) = self.widths();
        (q + k + v + self.result()) as f64
    }
}

impl BlockIndex {
    fn parameters(&self, h: u128) -> u128 {
        let (heads, w) = (u128::from(self.heads), u128::from(self.width));
        (heads + 1) * w * h + 2 * w
    }
}

impl Reader<'_> {
    /// Query heads, key/value heads and the width of one.
    pub(in crate::model) fn heads(&self) -> Result<(u32, u32, u32), ModelError> {
        let (q, kv) = match self.rules.heads {
            Some((q, kv)) => (Some(q), Some(kv)),
            None => (None, None),
        };
        let q_heads = self.size("num_attention_heads", q, MAX_HEADS)?;
        let multi_query = self.f.flag("multi_query")? == Some(true);
        let kv = match () {
            () if multi_query => Some(1),
            () if self.rules.kv_heads_default_to_q => Some(q_heads),
            () => kv,
        };
        let kv_heads = self.size("num_key_value_heads", kv, MAX_HEADS)?;
        self.divides("num_key_value_heads", kv_heads, q_heads)?;
        let head_dim = match self.f.number("head_dim")?.or(self.rules.head_dim) {
            Some(d) => self.f.checked("head_dim", d, MAX_WIDTH)?,
            None if self.hidden_size.is_multiple_of(q_heads) => self.hidden_size / q_heads,
            None => {
                return Err(self.f.invalid(
                    self.f.called("num_attention_heads"),
                    format!(
                        "{q_heads} does not divide hidden_size = {}; give head_dim if that is meant",
                        self.hidden_size
                    ),
                ));
            }
        };
        Ok((q_heads, kv_heads, head_dim))
    }

    fn divides(&self, name: &str, kv: u32, q: u32) -> Result<(), ModelError> {
        if q.is_multiple_of(kv) {
            return Ok(());
        }
        Err(self.f.invalid(
            self.f.called(name),
            format!("{kv} does not divide num_attention_heads = {q}"),
        ))
    }

    /// Whether q, k, v and the output projection have biases.
    pub(super) fn attention_bias(&self) -> Result<(bool, bool), ModelError> {
        Ok(match self.rules.bias {
            AttentionBias::All(keys, default) => {
                let on = self.first_flag(keys, default)?;
                (on, on)
            }
            AttentionBias::Qkv(keys, default) => (self.first_flag(keys, default)?, false),
        })
    }

    /// The first of the flags that is there.
    pub(super) fn first_flag(&self, keys: &[&str], default: bool) -> Result<bool, ModelError> {
        for key in keys {
            if let Some(on) = self.f.flag(key)? {
                return Ok(on);
            }
        }
        Ok(default)
    }

    /// Heads of a layer: keys for the sliding layers alone (MiMo-V2, Step 3.5), or for those that see everything (Gemma 4).
    fn heads_of(&self, window: Option<u32>) -> Result<(u32, u32, u32, u32, bool), ModelError> {
        let (q, kv, width) = self.heads()?;
        let v = self.size("v_head_dim", Some(width), MAX_WIDTH)?;
        let (q_name, kv_name, width_name, v_name) = match window {
            Some(_) => (
                "swa_num_attention_heads",
                "swa_num_key_value_heads",
                "swa_head_dim",
                "swa_v_head_dim",
            ),
            None => (
                "",
                "num_global_key_value_heads",
                "global_head_dim",
                "global_head_dim",
            ),
        };
        let mut f = self.f.clone();
        let mut names = (q_name, kv_name, width_name, v_name);
        if window.is_some()
            && let Some(other) = self.f.inner("attention_other_setting")?
        {
            f = other;
            names = (
                "num_attention_heads",
                "num_attention_groups",
                "head_dim",
                "head_dim",
            );
        }
        let or = |name: &str, usual: u32, max| match f.number(name)? {
            Some(n) => f.checked(name, n, max),
            None => Ok(usual),
        };
        let q = or(names.0, q, MAX_HEADS)?;
        let kv = or(names.1, kv, MAX_HEADS)?;
        self.divides(names.1, kv, q)?;
        let v_is_k = window.is_none() && self.f.flag("attention_k_eq_v")?.unwrap_or(false);
        Ok((
            q,
            kv,
            or(names.2, width, MAX_WIDTH)?,
            or(names.3, v, MAX_WIDTH)?,
            v_is_k,
        ))
    }

    pub(super) fn attention_at(&self, layer: u32) -> Result<Attention, ModelError> {
        let window = self.window(layer)?;
        let (q_heads, kv_heads, head_dim, value_dim, v_is_k) = self.heads_of(window)?;
        let (qkv_bias, o_bias) = self.attention_bias()?;
        let by_flag = |name| self.f.flag(name).map(|f| f.unwrap_or(false));
        let (q, k) = (
            self.product("head_dim", q_heads, head_dim)?,
            self.product("head_dim", kv_heads, head_dim)?,
        );
        let qk_norm = match self.rules.qk_norm {
            QkNorm::Never => None,
            QkNorm::Head => Some((head_dim, head_dim)),
            QkNorm::HeadByFlag => by_flag("use_qk_norm")?.then_some((head_dim, head_dim)),
            QkNorm::Width => Some((q, k)),
            QkNorm::WidthByFlag => by_flag("use_qk_norm")?.then_some((q, k)),
            QkNorm::Bare => by_flag("use_qk_norm")?.then_some((0, 0)),
        };
        let gate = match self.rules.gate {
            GateRule::Never => 0,
            GateRule::Always => q,
            GateRule::ByFlag if self.f.flag("attn_output_gate")?.unwrap_or(true) => q,
            GateRule::Head if by_flag("use_head_wise_attn_gate")? => q_heads,
            GateRule::ByFlag | GateRule::Head => 0,
        };
        let sinks = match (self.rules.sinks, window) {
            (SinkRule::Never, _) => false,
            (SinkRule::Always, _) => true,
            (SinkRule::ByFlag, Some(_)) => by_flag("add_swa_attention_sink_bias")?,
            (SinkRule::ByFlag, None) => by_flag("add_full_attention_sink_bias")?,
        };
        let shared = self.f.number("num_kv_shared_layers")?.unwrap_or(0);
        if shared > 0 && shared >= self.layers {
            return Err(self.f.invalid(
                "num_kv_shared_layers",
                format!(
                    "is {shared} of {} layers: none would have keys and values of its own",
                    self.layers
                ),
            ));
        }
        Ok(Attention {
            q_heads,
            kv_heads,
            head_dim,
            value_dim,
            window,
            shared_kv: layer >= self.layers - shared,
            v_is_k,
            qkv_bias,
            o_bias,
            qk_norm,
            gate,
            sinks,
            index: self.block_index(layer)?,
        })
    }

    fn block_index(&self, layer: u32) -> Result<Option<BlockIndex>, ModelError> {
        let Some(f) = self.f.inner("sparse_attention_config")? else {
            return Ok(None);
        };
        if f.flag("use_sparse_attention")? == Some(false)
            || f.number_of("sparse_attention_freq", layer)? == Some(0)
        {
            return Ok(None);
        }
        let size = |name: &str, usual, max| f.checked(name, f.number(name)?.unwrap_or(usual), max);
        let blocks = size("sparse_topk_blocks", 16, MAX_WIDTH)?;
        let tokens = size("sparse_block_size", 128, MAX_WIDTH)?;
        Ok(Some(BlockIndex {
            heads: size("sparse_num_index_heads", 4, MAX_HEADS)?,
            width: size("sparse_index_dim", 128, MAX_WIDTH)?,
            reach: blocks.saturating_mul(tokens),
        }))
    }

    /// What a layer sees: as `layer_types` says, else as the architecture's rule.
    fn window(&self, layer: u32) -> Result<Option<u32>, ModelError> {
        let f = &self.f;
        let slides = match self.layer_type(layer)? {
            Some("full_attention" | "attention" | "global_attention") => false,
            Some("sliding_attention") => true,
            Some("chunked_attention") => return self.chunk(),
            Some(other) => {
                let other: String = other.chars().take(80).collect();
                return Err(f.unsupported(
                    &format!("layer_types[{layer}]"),
                    format!("layers of type \"{other}\""),
                ));
            }
            None => match self.rules.window {
                WindowRule::Never => false,
                WindowRule::AllIfSet => f.number("sliding_window")?.is_some(),
                WindowRule::FromMaxWindowLayers => {
                    f.flag("use_sliding_window")?.unwrap_or(false)
                        && f.number("sliding_window")?.is_some()
                        && layer >= f.number("max_window_layers")?.unwrap_or(self.layers)
                }
                WindowRule::EveryNthFull(n) => self.nth_slides(n, layer)?,
                WindowRule::EveryNthFullIfSet(n) => {
                    f.number("sliding_window")?.is_some() && self.nth_slides(n, layer)?
                }
                WindowRule::Pattern => f.number_of("hybrid_layer_pattern", layer)? == Some(1),
                WindowRule::Chunks => {
                    let full = match f.list("no_rope_layers")? {
                        Some(list) if !list.is_empty() => {
                            f.number_of("no_rope_layers", layer)? == Some(0)
                        }
                        // `Llama4TextConfig`: no_rope_layer_interval 4.
                        _ => {
                            let n = f.number("no_rope_layer_interval")?.unwrap_or(4);
                            n != 0 && (layer + 1).is_multiple_of(n)
                        }
                    };
                    return if full { Ok(None) } else { self.chunk() };
                }
            },
        };
        if !slides {
            return Ok(None);
        }
        self.size("sliding_window", self.rules.default_window, u32::MAX)
            .map(Some)
    }

    /// `sliding_window_pattern` is a number, or letters with L for local layers (EXAONE 4).
    fn nth_slides(&self, n: u32, layer: u32) -> Result<bool, ModelError> {
        if let Some(serde_json::Value::String(letters)) = self.f.get("sliding_window_pattern") {
            let letters = letters.as_bytes();
            let letter = letters.get(layer as usize % letters.len().max(1));
            return Ok(letter == Some(&b'L'));
        }
        let n = self.f.number("sliding_window_pattern")?.unwrap_or(n);
        Ok(n == 0 || !(layer + 1).is_multiple_of(n))
    }

    /// `Llama4TextConfig`: attention_chunk_size 8192.
    fn chunk(&self) -> Result<Option<u32>, ModelError> {
        self.size("attention_chunk_size", Some(8192), u32::MAX)
            .map(Some)
    }
}

impl Expander<'_> {
    pub(super) fn attention(&mut self, a: &Attention, layer: u32) {
        let p = self.p;
        let h = u64::from(self.c.hidden_size);
        let (q, k, v) = a.widths();
        let (q_out, k_out, v_out) = a.projected();
        let v_format = self.more_bits(p.attention, layer);
        let parts = [(q_out + k_out, p.attention), (v_out, v_format)];
        self.gemm("qkv_proj", &parts, h, a.qkv_bias);
        if let Some((q_scales, k_scales)) = a.qk_norm {
            let scales = q_scales + if a.shared_kv { 0 } else { k_scales };
            let weights = u64::from(scales) * p.norms.bytes();
            self.elementwise("qk_norm", 2, weights, 2 * (q + k_out));
        }
        self.elementwise("rotary", 1, 0, 2 * (q + k_out));
        let kv_block_bytes = p.kv.block_bytes(p.dtype);
        let bytes = (k + v) * kv_block_bytes / 32;
        if !a.shared_kv {
            self.each("kv_write", 1, pass(0, (k + v) * self.act + bytes));
        }
        let sinks = if a.sinks {
            u64::from(a.q_heads) * self.act
        } else {
            0
        };
        if let Some(index) = a.index {
            self.block_index(&index, h);
        }
        let window = a.window.or(a.index.map(|i| i.reach));
        self.each(
            if window.is_some() {
                "attention_windowed"
            } else {
                "attention"
            },
            2,
            OpKind::Attention(AttentionDims {
                q_heads: a.q_heads,
                kv_heads: a.kv_heads,
                head_dim: a.head_dim,
                value_dim: a.value_dim,
                window,
                kv_block_bytes,
                cache: Cache {
                    bounded: a.index.is_none(),
                    ..match a.shared_kv {
                        true => Cache {
                            kept: 0,
                            ..Cache::of(bytes)
                        },
                        false => Cache::of(bytes).divided(self.parallel.context),
                    }
                },
                activations_per_row: Bytes((q + a.result()) * self.act),
                weights: Bytes(sinks),
            }),
        );
        self.share_context(a.q_heads, a.head_dim.into(), a.value_dim.into());
        if a.gate > 0 {
            self.elementwise("attention_gate", 1, 0, 3 * a.result());
        }
        self.gemm("o_proj", &[(h, p.attention)], a.result(), a.o_bias);
    }

    /// The index's projections and its scan of all keys, which are kept beside the others.
    fn block_index(&mut self, i: &BlockIndex, h: u64) {
        let (heads, w) = (u64::from(i.heads), u64::from(i.width));
        let plain = self.p.dtype.format();
        self.gemm("index_proj", &[((heads + 1) * w, plain)], h, false);
        self.elementwise(
            "index_norm",
            2,
            2 * w * self.p.norms.bytes(),
            2 * (heads + 1) * w,
        );
        self.index_scan(
            (i.heads, i.width),
            1,
            32 * self.act,
            Cache::of(w * self.act),
        );
    }
}

//! Multi-head latent attention: one narrow vector per token is kept instead of keys and values (DeepSeek-V2, arXiv:2405.04434 §2.1), with
//! DeepSeek-V3.2's indexer over it where the config has one (DSA): config, parameters, operators.
//!
//! vLLM 0.33.0 (`model_executor/layers/attention/mla_attention.py`) decodes with the up-projection absorbed into queries and results, so
//! that each token's latent is read once for all heads, and expands keys and values for prompts.
use super::{Expander, pass};
use crate::model::config::{MAX_HEADS, MAX_WIDTH, Reader};
use crate::model::error::ModelError;
use crate::model::op::{AttentionDims, Cache, OpKind};
use crate::model::precision::KvDtype;
use crate::units::Bytes;
use serde::Serialize;

/// A layer's latent attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latent {
    /// Query heads.
    pub heads: u32,
    /// Width that queries are projected through; 0: they are not.
    pub q_rank: u32,
    /// Width of the latent vector.
    pub kv_rank: u32,
    /// Width of a head's part without positions.
    pub nope: u32,
    /// Width of the rotary part, which all heads share.
    pub rope: u32,
    /// Width of a value's head.
    pub value: u32,
    /// Bias on the projections from the stream and on the output projection.
    pub bias: bool,
    /// Whether the result is gated by a projection as wide (Kimi K3).
    pub gate: bool,
    /// Tokens that queries see of the context, chosen by an index; None: all.
    pub reach: Option<u32>,
    /// The index, where this layer has one of its own.
    pub index: Option<Index>,
}

/// The index's narrow attention over all tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Index {
    /// Query heads; there is one key.
    pub heads: u32,
    /// Width of one.
    pub width: u32,
}

impl Index {
    /// Bytes of a token's key: 8-bit floats and one fp32 per 128 of them (`DeepseekV32IndexerCache` in vLLM 0.33.0,
    /// `models/deepseek_v2.py`).
    pub(super) fn key_bytes(&self) -> u64 {
        u64::from(self.width) + 4 * u64::from(self.width).div_ceil(128)
    }

    fn parameters(&self, h: u128, q_rank: u128) -> u128 {
        let (heads, w) = (u128::from(self.heads), u128::from(self.width));
        // wq_b, wk, weights_proj; the key's LayerNorm.
        q_rank * heads * w + h * w + h * heads + 2 * w
    }
}

impl Latent {
    fn query(&self) -> u64 {
        u64::from(self.heads) * (u64::from(self.nope) + u64::from(self.rope))
    }
    fn result(&self) -> u64 {
        u64::from(self.heads) * u64::from(self.value)
    }
    /// Keys without positions and values of all heads, which the latent expands to.
    fn expanded(&self) -> u64 {
        u64::from(self.heads) * (u64::from(self.nope) + u64::from(self.value))
    }
    /// Elements kept per token.
    fn kept(&self) -> u64 {
        u64::from(self.kv_rank) + u64::from(self.rope)
    }
    /// Input of the queries' last projection.
    fn query_input(&self, h: u64) -> u64 {
        match self.q_rank {
            0 => h,
            rank => rank.into(),
        }
    }

    pub(super) fn parameters(&self, h: u128) -> u128 {
        let n = u128::from;
        let (rank, kv_rank, kept) = (
            u128::from(self.q_rank),
            u128::from(self.kv_rank),
            n(self.kept()),
        );
        let query = match rank {
            0 => h * n(self.query()),
            _ => (h + 1 + n(self.query())) * rank,
        };
        let biases = if self.bias { rank + kept + h } else { 0 };
        let gate = if self.gate { h * n(self.result()) } else { 0 };
        query
            + h * kept
            + kv_rank
            + kv_rank * n(self.expanded())
            + n(self.result()) * h
            + biases
            + gate
            + self
                .index
                .map_or(0, |i| i.parameters(h, if rank == 0 { h } else { rank }))
    }

    /// Heads are divided; the latent is every device's.
    pub(super) fn part(&self, t: u32) -> Self {
        Self {
            heads: (self.heads / t).max(1),
            ..*self
        }
    }

    pub(super) fn problem(&self, t: u32) -> Option<String> {
        (!self.heads.is_multiple_of(t))
            .then(|| format!("num_attention_heads {} is not divisible by {t}", self.heads))
    }

    pub(super) fn widest(&self) -> f64 {
        (self.query() + self.expanded() + self.result()) as f64
    }
}

impl Reader<'_> {
    pub(super) fn latent_at(&self, layer: u32) -> Result<Latent, ModelError> {
        let f = &self.f;
        let (heads, _, _) = self.latent_heads()?;
        let rank = f.number("q_lora_rank")?.unwrap_or(0);
        let reach = f.number("index_topk")?.filter(|n| *n > 0);
        // Layers with "shared" use the choice of the last one with "full".
        let own = match f.list("indexer_types")? {
            Some(types) => types.get(layer as usize).and_then(|t| t.as_str()) == Some("full"),
            None => true,
        };
        let index = match reach {
            Some(_) if own => Some(Index {
                heads: self.size("index_n_heads", None, MAX_HEADS)?,
                width: self.size("index_head_dim", Some(128), MAX_WIDTH)?,
            }),
            _ => None,
        };
        if index.is_some() && rank == 0 {
            return Err(self.missing("q_lora_rank"));
        }
        Ok(Latent {
            heads,
            q_rank: if rank == 0 {
                0
            } else {
                f.checked("q_lora_rank", rank, MAX_WIDTH)?
            },
            kv_rank: self.size("kv_lora_rank", None, MAX_WIDTH)?,
            nope: self.size("qk_nope_head_dim", None, MAX_WIDTH)?,
            rope: self.size("qk_rope_head_dim", None, MAX_WIDTH)?,
            value: self.size("v_head_dim", None, MAX_WIDTH)?,
            bias: self.attention_bias()?.0,
            gate: f.flag("mla_use_output_gate")?.unwrap_or(false),
            reach,
            index,
        })
    }

    /// Heads, and the widths of a key's and a value's.
    pub(in crate::model) fn latent_heads(&self) -> Result<(u32, u32, u32), ModelError> {
        let heads = self.size("num_attention_heads", None, MAX_HEADS)?;
        let rope = self.size("qk_rope_head_dim", None, MAX_WIDTH)?;
        Ok((heads, heads, rope))
    }
}

impl Expander<'_> {
    pub(super) fn latent_attention(&mut self, a: &Latent) {
        let p = self.p;
        let h = u64::from(self.c.hidden_size);
        let (rank, kept) = (u64::from(a.q_rank), a.kept());
        // One product from the stream (`fused_qkv_a_proj`); without a rank the queries come from it, too.
        let first = if a.q_rank == 0 { a.query() } else { rank };
        self.gemm(
            "qkv_a_proj",
            &[(first + kept, p.attention)],
            h,
            a.bias && rank > 0,
        );
        let scales = rank + u64::from(a.kv_rank);
        self.elementwise("latent_norm", 2, scales * p.norms.bytes(), 2 * scales);
        if a.q_rank > 0 {
            self.gemm("q_b_proj", &[(a.query(), p.attention)], rank, false);
        }
        let rotated = (u64::from(a.heads) + 1) * u64::from(a.rope);
        self.elementwise("rotary", 1, 0, 2 * rotated);
        let kv_block_bytes = p.kv.block_bytes(p.dtype);
        let bytes = self.latent_bytes(a);
        self.each("kv_write", 1, pass(0, kept * self.act + bytes));
        if let Some(index) = a.index {
            self.index(&index, a.query_input(h));
        }
        // For prompts the latent is expanded; in decoding the same matrix multiplies queries and results instead, at the same number of
        // operations per row.
        let kv_rank = u64::from(a.kv_rank);
        self.gemm("kv_b_proj", &[(a.expanded(), p.attention)], kv_rank, false);
        let decode_ops = 2 * u64::from(a.heads) * (kept + kv_rank);
        self.each(
            "attention_latent",
            2,
            OpKind::Attention(AttentionDims {
                q_heads: a.heads,
                kv_heads: 1,
                head_dim: a.nope + a.rope,
                value_dim: a.value,
                window: a.reach,
                kv_block_bytes,
                cache: Cache {
                    bounded: false,
                    expand: 2 * kv_rank * a.expanded(),
                    decode_ops,
                    ..Cache::of(bytes).divided(self.parallel.context)
                },
                activations_per_row: Bytes((a.query() + a.result()) * self.act),
                weights: Bytes::ZERO,
            }),
        );
        self.share_context(a.heads, kept, kv_rank);
        if a.gate {
            self.gemm("gate_proj", &[(a.result(), p.attention)], h, false);
            self.elementwise("attention_gate", 1, 0, 3 * a.result());
        }
        self.gemm("o_proj", &[(h, p.attention)], a.result(), a.bias);
    }

    /// Bytes kept per token. Where an index chooses tokens, an 8-bit latent keeps its rotary part in 16 bits and four scales
    /// (`fp8_ds_mla`, 656 bytes of 512 + 64; vLLM 0.33.0, `v1/attention/backends/mla/flashmla_sparse.py`).
    fn latent_bytes(&self, a: &Latent) -> u64 {
        let (rank, rope) = (u64::from(a.kv_rank), u64::from(a.rope));
        match (self.p.kv, a.reach) {
            (KvDtype::Fp8, Some(_)) => rank + 4 * rank.div_ceil(128) + 2 * rope,
            _ => a.kept() * self.p.kv.block_bytes(self.p.dtype) / 32,
        }
    }

    /// The scan of an index: `heads` queries of `width` columns score every cached key, of which there is one per token. `block` is the
    /// bytes of 32 cached elements; `cache` says what is kept and read of them.
    pub(super) fn index_scan(
        &mut self,
        (heads, width): (u32, u32),
        kernels: u32,
        block: u64,
        cache: Cache,
    ) {
        let row = u64::from(heads) * u64::from(width);
        self.each(
            "index",
            kernels,
            OpKind::Attention(AttentionDims {
                q_heads: heads,
                kv_heads: 1,
                head_dim: width,
                value_dim: 0,
                window: None,
                kv_block_bytes: block,
                cache,
                activations_per_row: Bytes(row * self.act),
                weights: Bytes::ZERO,
            }),
        );
    }

    /// The index: its projections, its scan of all keys, and the choice of the best.
    pub(super) fn index(&mut self, i: &Index, query_input: u64) {
        let h = u64::from(self.c.hidden_size);
        let (heads, w) = (u64::from(i.heads), u64::from(i.width));
        let plain = self.p.dtype.format();
        self.gemm(
            "index_q_proj",
            &[(heads * w, self.p.attention)],
            query_input,
            false,
        );
        self.gemm(
            "index_k_proj",
            &[(w, self.p.attention), (heads, plain)],
            h,
            false,
        );
        self.elementwise("index_norm", 1, 2 * w * self.p.norms.bytes(), 4 * w);
        let bytes = i.key_bytes();
        self.index_scan(
            (i.heads, i.width),
            2,
            32,
            Cache {
                decode_ops: 2 * heads * w,
                ..Cache::of(bytes)
            },
        );
    }
}

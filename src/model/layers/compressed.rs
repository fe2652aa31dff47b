//! DeepSeek-V4's attention: one key/value head of compressed entries, of all tokens, beside a short window of uncompressed ones.
//!
//! As vLLM 0.33.0 has it (`models/deepseek_v4/attention.py`, `compressor.py`): `compress_ratios` gives each layer the tokens of an entry; with 4
//! an index chooses `index_topk` entries, with 128 all are read, and each layer keeps a window of `sliding_window` tokens, which does not
//! grow with the sequence and is counted as a state. An entry is 8-bit: 448 bytes and 7 scales in one byte each, rounded to 8, and 64
//! rotary elements in 16 bits, 584 bytes in all of a head of 512.
use super::mla::Index;
use super::{Expander, pass};
use crate::model::config::{MAX_HEADS, MAX_WIDTH, Reader};
use crate::model::error::ModelError;
use crate::model::op::{AttentionDims, Cache, OpKind, Recurrence};
use crate::units::Bytes;
use serde::Serialize;

/// A layer's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Compressed {
    /// Query heads; one key/value head.
    pub heads: u32,
    /// Width of a head.
    pub width: u32,
    /// Its rotary part.
    pub rope: u32,
    /// Width that queries are projected through.
    pub q_rank: u32,
    /// Groups of heads whose results are projected apart, and the width of each.
    pub groups: u32,
    /// See `groups`.
    pub o_rank: u32,
    /// Tokens of a compressed entry; 0: the layer has its window only.
    pub ratio: u32,
    /// Tokens of the window.
    pub window: u32,
    /// Tokens that the chosen entries stand for.
    pub reach: Option<u32>,
    /// The index that chooses.
    pub index: Option<Index>,
    /// Streams that run beside each other and are mixed before and behind attention and MLP (hyper-connections).
    pub streams: u32,
}

impl Compressed {
    fn query(&self) -> u64 {
        u64::from(self.heads) * u64::from(self.width)
    }
    fn grouped(&self) -> u64 {
        u64::from(self.groups) * u64::from(self.o_rank)
    }
    /// Columns of a compressor of `width`: values and their weights, twice where entries overlap (ratio 4).
    fn compressor(&self, width: u32) -> u64 {
        let overlap = if self.ratio == 4 { 2 } else { 1 };
        match self.ratio {
            0 => 0,
            _ => 2 * overlap * u64::from(width),
        }
    }
    /// Parameters of the mixing of streams around attention and MLP.
    fn mixing(&self, h: u128) -> u128 {
        let n = u128::from(self.streams);
        2 * (n + 2) * n * n * h
    }
    pub(super) fn parameters(&self, h: u128) -> u128 {
        let n = u128::from;
        let (q_rank, width) = (u128::from(self.q_rank), u128::from(self.width));
        let index = self.index.map_or(0, |i| {
            let (heads, w) = (u128::from(i.heads), u128::from(i.width));
            q_rank * heads * w + h * heads + h * n(self.compressor(i.width))
        });
        h * (q_rank + width)
            + q_rank
            + width
            + q_rank * n(self.query())
            + n(self.query()) * u128::from(self.o_rank)
            + n(self.grouped()) * h
            + h * n(self.compressor(self.width))
            + u128::from(self.heads)
            + index
            + self.mixing(h)
    }
    pub(super) fn part(&self, t: u32) -> Self {
        Self {
            heads: (self.heads / t).max(1),
            groups: (self.groups / t).max(1),
            ..*self
        }
    }
    pub(super) fn problem(&self, t: u32) -> Option<String> {
        [
            ("num_attention_heads", self.heads),
            ("o_groups", self.groups),
        ]
        .into_iter()
        .find(|(_, n)| !n.is_multiple_of(t))
        .map(|(name, n)| format!("{name} {n} is not divisible by {t}"))
    }
    pub(super) fn widest(&self) -> f64 {
        (2 * self.query() + self.grouped()) as f64
    }
    /// Bytes of an entry.
    fn entry(&self) -> u64 {
        let plain = u64::from(self.width.saturating_sub(self.rope));
        plain + plain.div_ceil(64).next_multiple_of(8) + 2 * u64::from(self.rope)
    }
}

/// Tokens of an entry beyond which it would be less than a byte per token.
const MAX_RATIO: u32 = 512;

impl Reader<'_> {
    pub(super) fn compressed_at(&self, layer: u32) -> Result<Compressed, ModelError> {
        let f = &self.f;
        let Some(ratio) = f.number_of("compress_ratios", layer)? else {
            return Err(self.missing("compress_ratios"));
        };
        if ratio > MAX_RATIO {
            return Err(f.invalid(
                "compress_ratios",
                format!("an entry of {ratio} tokens: capsim takes up to {MAX_RATIO}, the largest known is 128"),
            ));
        }
        let heads = self.size("num_attention_heads", None, MAX_HEADS)?;
        let groups = self.size("o_groups", None, MAX_HEADS)?;
        if !heads.is_multiple_of(groups) {
            return Err(f.invalid(
                "o_groups",
                format!("{groups} does not divide num_attention_heads = {heads}"),
            ));
        }
        let topk = self.size("index_topk", None, MAX_WIDTH)?;
        let index = match ratio {
            4 => Some(Index {
                heads: self.size("index_n_heads", None, MAX_HEADS)?,
                width: self.size("index_head_dim", Some(128), MAX_WIDTH)?,
            }),
            _ => None,
        };
        Ok(Compressed {
            heads,
            width: self.size("head_dim", None, MAX_WIDTH)?,
            rope: self.size("qk_rope_head_dim", None, MAX_WIDTH)?,
            q_rank: self.size("q_lora_rank", None, MAX_WIDTH)?,
            groups,
            o_rank: self.size("o_lora_rank", None, MAX_WIDTH)?,
            ratio,
            window: self.size("sliding_window", Some(128), MAX_WIDTH)?,
            reach: index.map(|_| topk.saturating_mul(ratio)),
            index,
            streams: self.size("hc_mult", Some(1), 64)?,
        })
    }
}

impl Expander<'_> {
    pub(super) fn compressed_attention(&mut self, a: &Compressed) {
        let p = self.p;
        let h = u64::from(self.c.hidden_size);
        let (rank, width) = (u64::from(a.q_rank), u64::from(a.width));
        let plain = p.dtype.format();
        let streams = u64::from(a.streams);
        // Mixing the streams, once before attention and once before the MLP: each reads and writes all of them.
        let mixing = u64::try_from(a.mixing(h.into())).expect("checked when the config was parsed");
        let passes = 4 * streams * h * self.act;
        self.each("mix_streams", 4, pass(mixing * self.act, passes));
        self.gemm("qkv_a_proj", &[(rank + width, p.attention)], h, false);
        self.elementwise(
            "latent_norm",
            2,
            (rank + width) * p.norms.bytes(),
            2 * (rank + width),
        );
        self.gemm("q_b_proj", &[(a.query(), p.attention)], rank, false);
        let compressed = a.compressor(a.width);
        if compressed > 0 {
            self.gemm("compress_proj", &[(compressed, plain)], h, false);
        }
        let rotated = (u64::from(a.heads) + 1) * u64::from(a.rope);
        self.elementwise("rotary", 1, 0, 2 * rotated);
        self.each("kv_write", 1, pass(0, width * self.act + a.entry()));
        if let Some(index) = a.index {
            self.compressed_index(a, &index);
        }
        let pairs = 4 * u64::from(a.heads) * width;
        let window = u64::from(a.window) * a.entry();
        self.each(
            "attention_window",
            1,
            OpKind::Recurrence(Recurrence {
                // The window is read; one entry of it is written.
                state: Bytes(window / 2),
                kept: Bytes(window),
                ops_per_token: pairs * u64::from(a.window),
                activations_per_row: Bytes(2 * a.query() * self.act),
                weights: Bytes(u64::from(a.heads) * self.act),
            }),
        );
        if a.ratio > 0 {
            self.each(
                "attention_compressed",
                2,
                OpKind::Attention(AttentionDims {
                    q_heads: a.heads,
                    kv_heads: 1,
                    head_dim: a.width,
                    value_dim: a.width,
                    window: a.reach,
                    kv_block_bytes: 32,
                    cache: Cache {
                        tokens: a.ratio,
                        bounded: false,
                        decode_ops: pairs,
                        ..Cache::of(a.entry())
                    },
                    activations_per_row: Bytes(2 * a.query() * self.act),
                    weights: Bytes::ZERO,
                }),
            );
        }
        // Each group of heads through a matrix of its own: fewer operations than one matrix of all would have.
        let per_group = a.query() / u64::from(a.groups);
        self.gemm("o_a_proj", &[(a.grouped(), p.attention)], per_group, false);
        self.gemm("o_proj", &[(h, p.attention)], a.grouped(), false);
    }

    fn compressed_index(&mut self, a: &Compressed, i: &Index) {
        let h = u64::from(self.c.hidden_size);
        let (heads, w) = (u64::from(i.heads), u64::from(i.width));
        let plain = self.p.dtype.format();
        let parts = [(heads * w, self.p.attention)];
        self.gemm("index_q_proj", &parts, a.q_rank.into(), false);
        let parts = [(heads + a.compressor(i.width), plain)];
        self.gemm("index_k_proj", &parts, h, false);
        self.index_scan(
            (i.heads, i.width),
            2,
            32,
            Cache {
                tokens: a.ratio,
                decode_ops: 2 * heads * w,
                ..Cache::of(i.key_bytes())
            },
        );
    }
}

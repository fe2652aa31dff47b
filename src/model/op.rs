//! One operator: what it computes, over which rows, and its exact bytes and operations.
//!
//! Sizes are integers and exact. The methods that price with them return `f64`, exact up to 2⁵³.
use super::format::WeightFormat;
use super::precision::Dtype;
use crate::units::{Bytes, Flops};
use serde::Serialize;

/// Which rows an operator processes in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// Every new token of the batch.
    Tokens,
    /// Only the rows whose next token is sampled.
    Sampled,
}

/// `rows × in_features` times `in_features × out_features`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gemm {
    /// Width of a result row.
    pub out_features: u64,
    /// Width of an input row.
    pub in_features: u64,
    /// How the matrix is stored. (In a llama.cpp `_M` mixture the V part of QKV may be stored wider: `weights`
    /// counts that, this does not show it.)
    pub format: WeightFormat,
    /// Exact bytes of the matrix with scales and bias, in one layer.
    pub weights: Bytes,
    /// Activations read and written per row.
    pub activations_per_row: Bytes,
}

impl Gemm {
    /// A matrix in a float type, without a bias.
    pub(crate) fn plain(out: u32, inner: u32, dtype: Dtype) -> Self {
        let (out, inner) = (u64::from(out), u64::from(inner));
        Self {
            out_features: out,
            in_features: inner,
            format: dtype.format(),
            weights: Bytes(out * inner * dtype.bytes()),
            activations_per_row: Bytes((out + inner) * dtype.bytes()),
        }
    }
    /// Bytes of the weights.
    pub fn weight_bytes(&self) -> f64 {
        self.weights.as_f64()
    }
    /// Bytes of activations read and written per row.
    pub fn activation_bytes_per_row(&self) -> f64 {
        self.activations_per_row.as_f64()
    }
    /// 2 · out · in operations per row: a multiply-add is two.
    pub fn ops_per_row(&self) -> f64 {
        2.0 * self.out_features as f64 * self.in_features as f64
    }
}

/// The grouped matrix products of a mixture of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ExpertGemms {
    /// Experts that this device holds: all of the layer, unless whole experts are divided among devices.
    pub num_experts: u32,
    /// Experts in the layer (E), which the router chooses from.
    pub of: u32,
    /// Data-parallel engines whose tokens all come here.
    pub engines: u32,
    /// Experts per token (k).
    pub top_k: u32,
    /// Inner width; gate and up together are `2·intermediate × hidden`, down is `hidden × intermediate`.
    pub intermediate: u64,
    /// Width of their input: that of the residual stream, or of what it is projected to.
    pub hidden: u64,
    /// Whether there is a gate beside up.
    pub gated: bool,
    /// Storage of gate and up.
    pub gate_up_format: WeightFormat,
    /// Storage of down.
    pub down_format: WeightFormat,
    /// Exact bytes of one expert: gate, up and down, scales and biases.
    pub weights_per_expert: Bytes,
    /// Activations read and written per token: each of its k copies goes in and out of both products.
    pub activations_per_token: Bytes,
}

impl ExpertGemms {
    /// Bytes of one expert of one layer.
    pub fn bytes_per_expert(&self) -> f64 {
        self.weights_per_expert.as_f64()
    }
    /// Bytes of activations per token, all k copies.
    pub fn activation_bytes_per_token(&self) -> f64 {
        self.activations_per_token.as_f64()
    }
    /// Columns of the first product: gate and up, or up alone.
    pub fn first_columns(&self) -> u64 {
        if self.gated {
            2 * self.intermediate
        } else {
            self.intermediate
        }
    }
    /// 2 · 3 · intermediate · hidden operations per (token, expert) row, 2 · 2 without a gate; a token has `top_k` such rows.
    pub fn ops_per_row(&self) -> f64 {
        2.0 * (self.first_columns() + self.intermediate) as f64 * self.hidden as f64
    }
    /// Bytes read in one layer by a batch that touches `distinct` experts, at most all of them.
    pub fn weight_bytes_touched(&self, distinct: f64) -> f64 {
        self.bytes_per_expert() * distinct.clamp(0.0, f64::from(self.num_experts))
    }
}

/// What attention keeps of a token and reads of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// Bytes that a layer keeps per entry; 0 where it reads another layer's keys and values.
    pub kept: u64,
    /// Devices that divide the entries of a sequence among them; `kept` and `read` are the part of one.
    pub among: u32,
    /// Bytes of an entry that decoding reads.
    pub read: u64,
    /// Tokens of an entry: more than 1 where they are compressed.
    pub tokens: u32,
    /// Whether entries outside of the window are dropped; a window may also say how many of all that are kept are read.
    pub bounded: bool,
    /// Operations per cached token and layer to make keys and values of an entry for a prompt's chunk (latent attention).
    pub expand: u64,
    /// Operations per (query, key) pair in decoding, where these may take longer than the reading; else 0.
    pub decode_ops: u64,
}

impl Cache {
    /// With its entries divided among so many devices.
    pub(super) fn divided(self, among: u32) -> Self {
        let n = u64::from(among.max(1));
        Self {
            kept: self.kept.div_ceil(n),
            read: self.read.div_ceil(n),
            among,
            ..self
        }
    }

    /// Keys and values as they are.
    pub fn of(bytes: u64) -> Self {
        Self {
            kept: bytes,
            among: 1,
            read: bytes,
            tokens: 1,
            bounded: true,
            expand: 0,
            decode_ops: 0,
        }
    }
}

/// Attention over the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AttentionDims {
    /// Query heads.
    pub q_heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Width of a query's and a key's head.
    pub head_dim: u32,
    /// Width of a value's head.
    pub value_dim: u32,
    /// Each query sees at most this many tokens, itself included.
    pub window: Option<u32>,
    /// Bytes of 32 cached elements, scales included.
    pub kv_block_bytes: u64,
    /// What is kept and read.
    pub cache: Cache,
    /// Queries read and results written per new token; the cache is not in it.
    pub activations_per_row: Bytes,
    /// Bytes of weights: attention sinks, usually none.
    pub weights: Bytes,
}

impl AttentionDims {
    /// Bytes that `layers` layers keep per cached token; of compressed entries a token's share, rounded down.
    pub fn kv_bytes(&self, layers: u32) -> Bytes {
        Bytes(u64::from(layers) * self.cache.kept / u64::from(self.cache.tokens.max(1)))
    }
    /// Bytes of keys and values that decoding reads per cached token in one layer.
    pub fn read_bytes_per_token(&self) -> f64 {
        self.cache.read as f64 / f64::from(self.cache.tokens.max(1))
    }
    /// Bytes of keys and values per cached token in one layer.
    pub fn kv_bytes_per_token(&self) -> f64 {
        self.cache.kept as f64 / f64::from(self.cache.tokens.max(1))
    }
    /// Operations of one layer per (query token, key token) pair of a prompt: QKᵀ and PV, 2·width each for every query
    /// head (FlashAttention-2, arXiv:2307.08691 §4.1, without its factor ½: pairs are counted causally).
    pub fn ops_per_pair(&self) -> f64 {
        let widths = f64::from(self.head_dim) + f64::from(self.value_dim);
        2.0 * f64::from(self.q_heads) * widths / f64::from(self.cache.tokens.max(1))
    }
    /// Whether keys and values of the same width are kept and read as they are: what kernel times of attention are of.
    pub fn is_plain(&self) -> bool {
        let c = self.cache;
        let whole = (c.tokens, c.among) == (1, 1);
        self.value_dim == self.head_dim && whole && (c.expand, c.decode_ops) == (0, 0)
    }
    /// The window of what is kept.
    pub fn kept_window(&self) -> Option<u32> {
        self.window.filter(|_| self.cache.bounded)
    }
}

/// Linear attention, a state-space layer or a short convolution: each sequence keeps a state instead of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Recurrence {
    /// Bytes of one sequence's state in one layer; a step reads and writes it once.
    pub state: Bytes,
    /// Bytes that vLLM keeps of it: in the model's own type unless the config says otherwise
    /// (`MambaStateDtypeCalculator.gated_delta_net_state_dtype`, `mamba_ssm_dtype`).
    pub kept: Bytes,
    /// Operations per token in one layer.
    pub ops_per_token: u64,
    /// Activations read and written per new token.
    pub activations_per_row: Bytes,
    /// Bytes of weights.
    pub weights: Bytes,
}

/// One or more passes over rows, priced by their bytes alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Pass {
    /// Bytes read and written per row, over all its launches.
    pub bytes_per_token: f64,
    /// Bytes of weights in one layer that are read: a norm's scale.
    pub weights: Bytes,
    /// Bytes of a table of which rows are looked up: the embedding (0 if it is the lm_head too).
    pub table: Bytes,
}

/// What ranks do with their data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exchange {
    /// Every rank gets the sum.
    AllReduce,
    /// Every rank gets the rows of all ranks.
    AllGather,
    /// Every rank gets the sum of its own rows.
    ReduceScatter,
}

/// An exchange between devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Collective {
    /// What is done.
    pub exchange: Exchange,
    /// Devices that take part.
    pub ranks: u32,
    /// Bytes of one row; for a gather or scatter the rows of all ranks together move.
    pub bytes_per_row: Bytes,
    /// Whether the rows are those of all data-parallel engines together.
    pub gathered: bool,
}

/// What an operator computes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OpKind {
    /// A matrix product with fixed weights.
    Gemm(Gemm),
    /// The product that scores experts.
    Router(Gemm),
    /// The grouped products of the chosen experts.
    Experts(ExpertGemms),
    /// Attention over the KV cache.
    Attention(AttentionDims),
    /// Linear attention.
    Recurrence(Recurrence),
    /// Streaming over rows: norms, rotary, activations, cache writes, look-ups, sampling.
    Elementwise(Pass),
    /// Exchange with the other devices that share the model.
    Collective(Collective),
}

/// An operator of the model's step. Equal operators of several layers are one `Op`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Op {
    /// Its name in profiles and breakdowns, e.g. `qkv_proj`.
    pub name: &'static str,
    /// How many layers have it; 1 for what happens once per step.
    pub layers: u32,
    /// The rows it works on.
    pub rows: Rows,
    /// Kernel launches per layer in eager mode.
    pub kernels: u32,
    /// What it computes.
    pub kind: OpKind,
}

impl Op {
    /// Exact bytes of its weights in one layer, all experts, with scales and biases.
    pub fn weight_bytes(&self) -> Bytes {
        match self.kind {
            OpKind::Gemm(g) | OpKind::Router(g) => g.weights,
            OpKind::Experts(e) => e.weights_per_expert * e.num_experts.into(),
            OpKind::Attention(a) => a.weights,
            OpKind::Recurrence(r) => r.weights,
            OpKind::Elementwise(p) => p.weights + p.table,
            OpKind::Collective(_) => Bytes::ZERO,
        }
    }

    /// The part of it that `part` of its `total` bytes of weights make, and the rest: fewer columns of a matrix, a narrower expert.
    pub(super) fn split(&self, part: u64, total: u64) -> (Self, Self) {
        let of = |n: u64| (u128::from(n) * u128::from(part) / u128::from(total.max(1))) as u64;
        let (mut one, mut rest) = (*self, *self);
        match (&mut one.kind, &mut rest.kind) {
            (OpKind::Gemm(a), OpKind::Gemm(b)) | (OpKind::Router(a), OpKind::Router(b)) => {
                a.out_features = of(a.out_features);
                b.out_features -= a.out_features;
                a.weights = Bytes(of(a.weights.0));
                b.weights -= a.weights;
                a.activations_per_row = Bytes(of(a.activations_per_row.0));
                b.activations_per_row -= a.activations_per_row;
            }
            (OpKind::Experts(a), OpKind::Experts(b)) => {
                a.intermediate = of(a.intermediate);
                b.intermediate -= a.intermediate;
                a.weights_per_expert = Bytes(of(a.weights_per_expert.0));
                b.weights_per_expert -= a.weights_per_expert;
                a.activations_per_token = Bytes(of(a.activations_per_token.0));
                b.activations_per_token -= a.activations_per_token;
            }
            _ => {}
        }
        (one, rest)
    }

    /// Weight bytes that one layer reads when the batch touches `distinct` experts (ignored by other
    /// operators). The embedding reads rows, not the table: 0.
    pub fn weight_bytes_touched(&self, distinct: u64) -> Bytes {
        match self.kind {
            OpKind::Experts(e) => e.weights_per_expert * distinct.min(e.num_experts.into()),
            OpKind::Elementwise(p) => p.weights,
            _ => self.weight_bytes(),
        }
    }

    /// Matrix operations per row in one layer, a multiply-add as two; for experts per token, all k of them.
    /// Attention depends on the context, see [`AttentionDims::ops_per_pair`]; elementwise work counts 0.
    pub fn flops_per_row(&self) -> Flops {
        match self.kind {
            OpKind::Gemm(g) | OpKind::Router(g) => Flops(2 * g.out_features * g.in_features),
            OpKind::Experts(e) => {
                Flops(2 * u64::from(e.top_k) * (e.first_columns() + e.intermediate) * e.hidden)
            }
            OpKind::Recurrence(r) => Flops(r.ops_per_token),
            OpKind::Attention(_) | OpKind::Elementwise(_) | OpKind::Collective(_) => Flops::ZERO,
        }
    }

    /// Bytes of keys and values per cached token in all its layers; 0 for everything but attention.
    pub fn kv_bytes(&self) -> Bytes {
        match self.kind {
            OpKind::Attention(a) => a.kv_bytes(self.layers),
            _ => Bytes::ZERO,
        }
    }
}

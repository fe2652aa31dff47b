//! One operator: which kernel class runs it, over which rows, and its exact bytes and operations.
use super::precision::WeightFormat;
use crate::units::{Bytes, Flops};
use serde::Serialize;

/// The family of kernels whose measured curve prices an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelClass {
    /// Token rows times one weight matrix.
    DenseGemm,
    /// Token rows times the weights of the experts that they chose.
    MoeGemm,
    /// The small matrix that scores experts.
    Router,
    /// Paged attention over the KV cache; the cost model splits it into decode and prefill.
    Attention,
    /// Norms, rotary embedding, activations, sums: one pass over rows.
    Elementwise,
    /// Writing new keys and values into the paged cache.
    KvWrite,
    /// Looking up rows of the embedding.
    Embedding,
    /// The output head, on sampled rows only.
    LmHead,
    /// From logits to a token.
    Sampling,
    /// Collectives between devices; no operator of a single-device model.
    Comm,
}

/// Which rows an operator processes in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// Every new token of the batch.
    Tokens,
    /// Only the rows whose next token is sampled.
    Sampled,
}

/// The sizes of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OpKind {
    /// `rows × in_features` times `in_features × out_features`.
    Gemm {
        /// Width of a result row.
        out_features: u64,
        /// Width of an input row.
        in_features: u64,
        /// How the matrix is stored. (In a llama.cpp `_M` mixture the V part of QKV may be stored wider:
        /// [`Op::weight_bytes`] counts that, this does not show it.)
        format: WeightFormat,
    },
    /// Both grouped matrix products of a mixture of experts.
    Experts {
        /// Experts in the layer (E).
        num_experts: u32,
        /// Experts per token (k).
        top_k: u32,
        /// Inner width; gate and up together are `2·intermediate × hidden`, down is `hidden × intermediate`.
        intermediate: u64,
        /// Width of the residual stream.
        hidden: u64,
        /// Storage of gate and up.
        gate_up_format: WeightFormat,
        /// Storage of down.
        down_format: WeightFormat,
        /// Exact bytes of one expert: gate, up and down, scales and biases.
        bytes_per_expert: Bytes,
    },
    /// Attention over the cache.
    Attention {
        /// Query heads.
        q_heads: u32,
        /// Key/value heads.
        kv_heads: u32,
        /// Width of a head.
        head_dim: u32,
        /// Each query sees at most this many tokens, itself included.
        window: Option<u32>,
        /// Bytes of a cached element.
        kv_element_bytes: u64,
    },
    /// One or more passes over rows.
    Elementwise,
}

/// An operator of the model's step. Equal operators of several layers are one `Op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Op {
    /// Its name in profiles and breakdowns, e.g. `qkv_proj`.
    pub name: &'static str,
    /// The curve that prices it.
    pub class: KernelClass,
    /// How many layers have it; 1 for what happens once per step.
    pub layers: u32,
    /// The rows it works on.
    pub rows: Rows,
    /// Kernel launches per layer in eager mode.
    pub kernels: u32,
    /// Its sizes.
    pub kind: OpKind,
    /// Exact bytes of its weights in one layer, all experts, with scales and biases. 0 for a tied embedding,
    /// which is counted at the lm_head.
    pub weight_bytes: Bytes,
    /// Bytes of activations read and written per row (per token for experts; without the KV cache for
    /// attention).
    pub activation_bytes_per_row: Bytes,
}

impl Op {
    /// Weight bytes that one layer reads when the batch touches `distinct` experts (ignored by other
    /// operators). The embedding reads rows, not the table: 0.
    pub fn weight_bytes_touched(&self, distinct: u64) -> Bytes {
        match self.kind {
            OpKind::Experts { bytes_per_expert, num_experts, .. } => {
                bytes_per_expert * distinct.min(num_experts.into())
            }
            _ if self.class == KernelClass::Embedding => Bytes::ZERO,
            _ => self.weight_bytes,
        }
    }

    /// As [`weight_bytes_touched`](Self::weight_bytes_touched) for an expected, fractional number of experts.
    pub fn weight_bytes_expected(&self, distinct: f64) -> f64 {
        match self.kind {
            OpKind::Experts { bytes_per_expert, num_experts, .. } => {
                bytes_per_expert.as_f64() * distinct.clamp(0.0, f64::from(num_experts))
            }
            _ => self.weight_bytes_touched(0).as_f64(),
        }
    }

    /// Matrix operations per row in one layer, a multiply-add as two: 2·out·in, for experts
    /// k · 2 · 3·intermediate·hidden. Attention depends on the context, see
    /// [`flops_per_pair`](Self::flops_per_pair); elementwise work is priced by its bytes and counts 0.
    pub fn flops_per_row(&self) -> Flops {
        match self.kind {
            OpKind::Gemm { out_features, in_features, .. } => Flops(2 * out_features * in_features),
            OpKind::Experts { top_k, intermediate, hidden, .. } => {
                Flops(6 * u64::from(top_k) * intermediate * hidden)
            }
            OpKind::Attention { .. } | OpKind::Elementwise => Flops::ZERO,
        }
    }

    /// Matrix operations of one layer per (query token, key token) pair: QKᵀ and PV, 2·head_dim each for
    /// every query head (FlashAttention-2, arXiv:2307.08691 §4.1, without its factor ½: pairs are counted
    /// causally).
    pub fn flops_per_pair(&self) -> Flops {
        match self.kind {
            OpKind::Attention { q_heads, head_dim, .. } => {
                Flops(4 * u64::from(q_heads) * u64::from(head_dim))
            }
            _ => Flops::ZERO,
        }
    }

    /// Bytes of keys and values per cached token in one layer; 0 for everything but attention.
    pub fn kv_bytes_per_token(&self) -> Bytes {
        match self.kind {
            OpKind::Attention { kv_heads, head_dim, kv_element_bytes, .. } => {
                Bytes(2 * u64::from(kv_heads) * u64::from(head_dim) * kv_element_bytes)
            }
            _ => Bytes::ZERO,
        }
    }
}

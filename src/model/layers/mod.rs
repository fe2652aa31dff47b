//! The kinds of layers, each with its config keys, parameters and operators, and the list of a step's operators that follows, fused and
//! launched as vLLM does it.
//!
//! Kernel counts are assumed, after the structure of vLLM 0.12.0 with its custom operators in eager mode
//! (`vllm/model_executor/models/{llama,qwen3,qwen3_moe,gemma2,gpt_oss}.py` and the layers they use); no profile of a
//! running engine was taken:
//!
//! | operator | launches | where |
//! |---|---|---|
//! | linear_attention | 3 | causal convolution with its state, gates, gated delta rule (`vllm/model_executor/layers/mamba`, `fla`) |
//! | norm | 1 | `fused_add_rms_norm` adds the residual in the same kernel (`csrc/layernorm_kernels.cu`) |
//! | qkv_proj, o_proj, gate_up_proj, down_proj | 1 each | `QKVParallelLinear`, `MergedColumnParallelLinear` fuse the parts |
//! | qk_norm | 2 | one RMSNorm over the heads of q, one over those of k |
//! | rotary | 1 | q and k in place (`csrc/pos_encoding_kernels.cu`) |
//! | kv_write | 1 | `reshape_and_cache_flash` (`csrc/cache_kernels.cu`) |
//! | attention | 2 | split-KV kernel and its reduction when decoding (`triton_unified_attention.py`, paged attention v2) |
//! | act_and_mul | 1 | `silu_and_mul` (`csrc/activation_kernels.cu`) |
//! | router | 1 | `ReplicatedLinear` |
//! | moe_route | 3 | top-k softmax, then `moe_align_block_size`: count, sort (`csrc/moe/`) |
//! | experts | 2 | grouped gate+up, grouped down (`fused_moe.py`) |
//! | moe_sum | 1 | weighted sum of k rows |
//! | shared_gate | 3 | hidden → 1 product, sigmoid·multiply, add |
//! | embed, gather_sampled, lm_head | 1 each | |
//! | sampling | 3 | logits to fp32, argmax, gather of the result (`vllm/v1/sample/sampler.py`, greedy) |
//!
//! With torch.compile the elementwise kernels are fused further and with graphs launches cost less: that is
//! the engine profile's business, not the model's.
use super::config::ModelConfig;
mod deltanet;
pub(super) mod gqa;
mod head;
pub(super) mod mlp;
mod moe;

pub use deltanet::LinearAttention;
pub use gqa::FullHeads;
pub use moe::MoeConfig;

use super::format::WeightFormat;
use super::op::{Collective, Exchange, Gemm, Op, OpKind, Pass, Rows};
use super::parallel::Parallel;
use super::precision::Precision;
use crate::units::Bytes;

/// All operators of a step in execution order, equal ones of several layers merged at their first place.
///
/// `part` holds the sizes of one device's part of `whole`.
pub(super) fn expand(
    whole: &ModelConfig,
    part: &ModelConfig,
    precision: &Precision,
    parallel: Parallel,
) -> Vec<Op> {
    let mut x = Expander {
        c: part,
        whole,
        parallel,
        p: precision,
        ops: Vec::new(),
        act: precision.dtype.bytes(),
    };
    x.embedding();
    for layer in 0..part.num_hidden_layers {
        match part.linear {
            Some(l) if part.linear_layers[layer as usize] => x.linear_attention(&l),
            _ => x.attention(layer),
        }
        x.mlp(layer);
    }
    x.head();
    x.ops
}

fn pass(weights: u64, bytes_per_row: u64) -> OpKind {
    OpKind::Elementwise(Pass {
        bytes_per_token: bytes_per_row as f64,
        weights: Bytes(weights),
        table: Bytes::ZERO,
    })
}

struct Expander<'a> {
    c: &'a ModelConfig,
    whole: &'a ModelConfig,
    parallel: Parallel,
    p: &'a Precision,
    ops: Vec<Op>,
    /// Bytes of an activation.
    act: u64,
}

impl Expander<'_> {
    fn push(&mut self, op: Op) {
        let same = |o: &&mut Op| {
            Op {
                layers: op.layers,
                ..**o
            } == op
        };
        match self.ops.iter_mut().find(same) {
            Some(o) => o.layers += op.layers,
            None => self.ops.push(op),
        }
    }

    fn elementwise(&mut self, name: &'static str, kernels: u32, weights: u64, elements: u64) {
        self.each(name, kernels, pass(weights, elements * self.act));
    }

    /// An exchange of `bytes` per row among `ranks` devices; nothing if there is only one.
    fn exchange(
        &mut self,
        name: &'static str,
        exchange: Exchange,
        rows: Rows,
        ranks: u32,
        bytes: u64,
        gathered: bool,
    ) {
        if ranks > 1 {
            self.push(Op {
                name,
                layers: 1,
                rows,
                kernels: 1,
                kind: OpKind::Collective(Collective {
                    exchange,
                    ranks,
                    bytes_per_row: Bytes(bytes),
                    gathered,
                }),
            });
        }
    }

    /// The sum of a row-parallel product over the devices that share the layer (`RowParallelLinear`).
    fn all_reduce(&mut self) {
        let bytes = u64::from(self.c.hidden_size) * self.act;
        self.exchange(
            "all_reduce",
            Exchange::AllReduce,
            Rows::Tokens,
            self.parallel.tensor,
            bytes,
            false,
        );
    }

    /// A matrix given as the parts that were fused into it: (rows, format).
    fn matrix(&self, parts: &[(u64, WeightFormat)], in_features: u64, bias: bool) -> Gemm {
        let out_features = parts.iter().map(|p| p.0).sum();
        let weights: Bytes = parts
            .iter()
            .map(|&(out, f)| f.matrix_bytes(out, in_features))
            .sum();
        let bias = if bias { out_features * self.act } else { 0 };
        Gemm {
            out_features,
            in_features,
            format: parts[0].1,
            weights: weights + Bytes(bias),
            activations_per_row: Bytes((in_features + out_features) * self.act),
        }
    }

    /// An operator of one layer over every new token's row.
    fn each(&mut self, name: &'static str, kernels: u32, kind: OpKind) {
        self.push(Op {
            name,
            layers: 1,
            rows: Rows::Tokens,
            kernels,
            kind,
        });
    }

    /// A product with a matrix of these parts.
    fn gemm(
        &mut self,
        name: &'static str,
        parts: &[(u64, WeightFormat)],
        in_features: u64,
        bias: bool,
    ) {
        let matrix = self.matrix(parts, in_features, bias);
        self.each(name, 1, OpKind::Gemm(matrix));
    }

    /// `residual + x`, then RMSNorm: reads and writes both streams.
    fn norm(&mut self) {
        let h = u64::from(self.c.hidden_size);
        self.elementwise("norm", 1, h * self.p.norms.bytes(), 4 * h);
    }

    /// RMSNorm of a sublayer's output, without a residual (Gemma 2 and 3).
    fn post_norm(&mut self) {
        if self.c.norms_per_layer == 4 {
            let h = u64::from(self.c.hidden_size);
            self.elementwise("post_norm", 1, h * self.p.norms.bytes(), 2 * h);
        }
    }

    /// The format of a V or down projection in this layer.
    fn more_bits(&self, usual: WeightFormat, layer: u32) -> WeightFormat {
        let bits = |f: WeightFormat| {
            let (bits, weights) = f.bits_per_weight();
            bits as f64 / weights as f64
        };
        match self.p.more_bits {
            Some(f)
                if bits(usual) < bits(f)
                    && Precision::layer_has_more_bits(layer, self.c.num_hidden_layers) =>
            {
                f
            }
            _ => usual,
        }
    }
}

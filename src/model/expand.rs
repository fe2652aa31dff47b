//! From a config to the operators of a step, fused and launched as vLLM does it.
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
use super::architecture::Architecture;
use super::config::{LinearAttention, ModelConfig, MoeConfig};
use super::format::WeightFormat;
use super::op::{
    AttentionDims, Collective, Exchange, ExpertGemms, Gemm, KernelClass, Op, OpKind, Pass,
    Recurrence, Rows,
};
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
        self.push(Op {
            name,
            class: KernelClass::Elementwise,
            layers: 1,
            rows: Rows::Tokens,
            kernels,
            kind: pass(weights, elements * self.act),
        });
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
                class: KernelClass::Comm,
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
    fn gemm(
        &mut self,
        name: &'static str,
        class: KernelClass,
        rows: Rows,
        parts: &[(u64, WeightFormat)],
        in_features: u64,
        bias: bool,
    ) {
        let out_features = parts.iter().map(|p| p.0).sum();
        let weights: Bytes = parts
            .iter()
            .map(|&(out, f)| f.matrix_bytes(out, in_features))
            .sum();
        let bias = if bias { out_features * self.act } else { 0 };
        let gemm = Gemm {
            out_features,
            in_features,
            format: parts[0].1,
            weights: weights + Bytes(bias),
            activations_per_row: Bytes((in_features + out_features) * self.act),
        };
        let kind = match class {
            KernelClass::Router => OpKind::Router(gemm),
            _ => OpKind::Gemm(gemm),
        };
        self.push(Op {
            name,
            class,
            layers: 1,
            rows,
            kernels: 1,
            kind,
        });
    }

    /// A table that is also the head is stored as the head (llama.cpp gives it the output's type).
    fn embedding_format(&self) -> WeightFormat {
        if self.c.tie_word_embeddings {
            self.p.lm_head
        } else {
            self.p.embedding
        }
    }

    fn embedding(&mut self) {
        let (c, h) = (self.c, u64::from(self.c.hidden_size));
        let f = self.embedding_format();
        let table = f.matrix_bytes(c.vocab_size.into(), h);
        self.push(Op {
            name: "embed",
            class: KernelClass::Embedding,
            layers: 1,
            rows: Rows::Tokens,
            kernels: 1,
            kind: pass(
                if c.tie_word_embeddings { 0 } else { table.0 },
                f.matrix_bytes(1, h).0 + h * self.act,
            ),
        });
        self.all_reduce();
        if matches!(
            c.architecture,
            Architecture::Gemma
                | Architecture::Gemma2
                | Architecture::Gemma3
                | Architecture::Gemma4
        ) {
            self.elementwise("embed_scale", 1, 0, 2 * h);
        }
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

    fn attention(&mut self, layer: u32) {
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
        self.gemm(
            "qkv_proj",
            KernelClass::DenseGemm,
            Rows::Tokens,
            &parts,
            h,
            c.qkv_bias,
        );
        if c.qk_norm {
            let weights = 2 * u64::from(heads.head_dim) * p.norms.bytes();
            self.elementwise("qk_norm", 2, weights, 2 * (q + kv));
        }
        self.elementwise("rotary", 1, 0, 2 * (q + kv));
        let kv_block_bytes = p.kv.block_bytes(p.dtype);
        self.push(Op {
            name: "kv_write",
            class: KernelClass::KvWrite,
            layers: 1,
            rows: Rows::Tokens,
            kernels: 1,
            kind: pass(0, 2 * (kv * self.act + kv * kv_block_bytes / 32)),
        });
        let sinks = if c.attention_sinks {
            u64::from(c.num_attention_heads) * self.act
        } else {
            0
        };
        let window = c.windows[layer as usize];
        self.push(Op {
            name: if window.is_some() {
                "attention_windowed"
            } else {
                "attention"
            },
            class: KernelClass::Attention,
            layers: 1,
            rows: Rows::Tokens,
            kernels: 2,
            kind: OpKind::Attention(AttentionDims {
                q_heads: c.num_attention_heads,
                kv_heads: heads.kv_heads,
                head_dim: heads.head_dim,
                window,
                kv_block_bytes,
                activations_per_row: Bytes(2 * q * self.act),
                weights: Bytes(sinks),
            }),
        });
        if gate > 0 {
            self.elementwise("attention_gate", 1, 0, 3 * q);
        }
        self.gemm(
            "o_proj",
            KernelClass::DenseGemm,
            Rows::Tokens,
            &[(h, p.attention)],
            q,
            c.o_bias,
        );
        self.all_reduce();
        self.post_norm();
    }

    /// Gated DeltaNet: projections as matrices, the recurrence as a state per sequence.
    fn linear_attention(&mut self, l: &LinearAttention) {
        let h = u64::from(self.c.hidden_size);
        let (conv, value) = (l.conv_width(), l.value_width());
        let heads = u64::from(l.value_heads);
        let (class, rows) = (KernelClass::DenseGemm, Rows::Tokens);
        self.norm();
        let parts = [(conv + value, self.p.recurrent)];
        self.gemm("linear_in_proj", class, rows, &parts, h, false);
        // b and a are too narrow for blocks of weights: quantisers leave them in floats.
        let parts = [(2 * heads, self.p.dtype.format())];
        self.gemm("linear_ba_proj", class, rows, &parts, h, false);
        // The recurrence itself: A_log, dt_bias, the convolution's taps and the norm are its weights.
        let tail = conv * u64::from(l.conv.saturating_sub(1)) * self.act;
        let ssm = if l.fp32_states { 4 } else { self.act };
        let weights = conv * u64::from(l.conv) + 2 * heads + u64::from(l.value_dim);
        self.push(Op {
            name: "linear_attention",
            class: KernelClass::Recurrence,
            layers: 1,
            rows,
            kernels: 3,
            kind: OpKind::Recurrence(Recurrence {
                // fp32 matrices, and the last conv − 1 inputs.
                state: Bytes(4 * l.state_elements() + tail),
                kept: Bytes(ssm * l.state_elements() + tail),
                // Per value head: decay and read (2 products), update (1), each k × v multiply-adds.
                ops_per_token: 6 * l.state_elements(),
                activations_per_row: Bytes((2 * conv + 3 * value) * self.act),
                weights: Bytes(weights * self.act),
            }),
        });
        let parts = [(h, self.p.recurrent)];
        self.gemm("linear_out_proj", class, rows, &parts, value, false);
        self.all_reduce();
        self.post_norm();
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

    fn mlp(&mut self, layer: u32) {
        self.norm();
        match self.c.moe {
            Some(moe) if self.c.moe_layers[layer as usize] => self.experts(layer, &moe),
            _ => {
                let inter = self.c.intermediate_size.into();
                self.dense_mlp(["gate_up_proj", "act_and_mul", "down_proj"], layer, inter);
                self.all_reduce();
            }
        }
        self.post_norm();
    }

    fn dense_mlp(&mut self, names: [&'static str; 3], layer: u32, inter: u64) {
        let (h, f, bias) = (u64::from(self.c.hidden_size), self.p.mlp, self.c.mlp_bias);
        let down = self.more_bits(f, layer);
        let (class, rows) = (KernelClass::DenseGemm, Rows::Tokens);
        self.gemm(names[0], class, rows, &[(2 * inter, f)], h, bias);
        self.elementwise(names[1], 1, 0, 3 * inter);
        self.gemm(names[2], class, rows, &[(h, down)], inter, bias);
    }

    fn experts(&mut self, layer: u32, moe: &MoeConfig) {
        let (h, act) = (u64::from(self.c.hidden_size), self.act);
        let (e, k) = (
            u64::from(moe.num_experts),
            u64::from(moe.num_experts_per_tok),
        );
        let inter = u64::from(moe.moe_intermediate_size);
        let (gate_up, down) = (self.p.experts, self.more_bits(self.p.experts, layer));

        self.gemm(
            "router",
            KernelClass::Router,
            Rows::Tokens,
            &[(e, self.p.router)],
            h,
            moe.bias,
        );
        // Scores in, k weights and ids out (4 bytes each), and the sorted ids written and read once.
        let correction = if moe.router_correction_bias { 4 * e } else { 0 };
        self.push(Op {
            name: "moe_route",
            class: KernelClass::Elementwise,
            layers: 1,
            rows: Rows::Tokens,
            kernels: 3,
            kind: pass(correction, e * act + 16 * k),
        });
        // Between data-parallel engines every device gets all tokens and gives back everybody's sums
        // (`all2all_backend` allgather_reducescatter, vLLM's default on one node).
        let engines = self.parallel.data;
        if engines > 1 {
            self.exchange(
                "expert_dispatch",
                Exchange::AllGather,
                Rows::Tokens,
                self.parallel.devices(),
                (h + e) * act,
                true,
            );
        }
        let biases = if moe.bias { (2 * inter + h) * act } else { 0 };
        let weights_per_expert =
            gate_up.matrix_bytes(2 * inter, h) + down.matrix_bytes(h, inter) + Bytes(biases);
        self.push(Op {
            name: "experts",
            class: KernelClass::MoeGemm,
            layers: 1,
            rows: Rows::Tokens,
            kernels: 2,
            kind: OpKind::Experts(ExpertGemms {
                num_experts: moe.num_experts.div_ceil(self.parallel.expert_ranks()),
                of: moe.num_experts,
                engines,
                top_k: moe.num_experts_per_tok,
                intermediate: inter,
                hidden: h,
                gate_up_format: gate_up,
                down_format: down,
                weights_per_expert,
                activations_per_token: Bytes(k * (h + 2 * inter + inter + h) * act),
            }),
        });
        self.elementwise("moe_act_and_mul", 1, 0, 3 * k * inter);
        self.elementwise("moe_sum", 1, 0, (k + 1) * h);
        if moe.shared_expert_intermediate_size > 0 {
            let names = [
                "shared_gate_up_proj",
                "shared_act_and_mul",
                "shared_down_proj",
            ];
            self.dense_mlp(names, layer, moe.shared_expert_intermediate_size.into());
            if moe.shared_expert_gate {
                self.elementwise("shared_gate", 3, h * act, 5 * h);
            } else {
                self.elementwise("shared_add", 1, 0, 3 * h);
            }
        }
        if engines > 1 {
            self.exchange(
                "expert_combine",
                Exchange::ReduceScatter,
                Rows::Tokens,
                self.parallel.devices(),
                h * act,
                true,
            );
        } else {
            self.all_reduce();
        }
    }

    fn head(&mut self) {
        let (h, v) = (u64::from(self.c.hidden_size), u64::from(self.c.vocab_size));
        let whole = u64::from(self.whole.vocab_size);
        self.norm();
        let once = |name, class, kernels, bytes| Op {
            name,
            class,
            layers: 1,
            rows: Rows::Sampled,
            kernels,
            kind: pass(0, bytes),
        };
        self.push(once(
            "gather_sampled",
            KernelClass::Elementwise,
            1,
            2 * h * self.act,
        ));
        let format = self.p.lm_head;
        self.gemm(
            "lm_head",
            KernelClass::LmHead,
            Rows::Sampled,
            &[(v, format)],
            h,
            false,
        );
        self.exchange(
            "gather_logits",
            Exchange::AllGather,
            Rows::Sampled,
            self.parallel.tensor,
            whole * self.act,
            false,
        );
        // Logits are read, written as fp32 and scanned once, on every device.
        self.push(once(
            "sampling",
            KernelClass::Sampling,
            3,
            whole * (self.act + 8),
        ));
    }
}

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
mod compressed;
mod deltanet;
mod gqa;
mod head;
mod kda;
mod mamba;
mod mla;
mod mlp;
mod moe;
mod pattern;
mod per_layer;
mod short_conv;

pub use compressed::Compressed;
pub use deltanet::LinearAttention;
pub use gqa::{Attention, BlockIndex};
pub use kda::Kda;
pub use mamba::Mamba;
pub use mla::{Index, Latent};
pub use mlp::Mlp;
pub use moe::MoeConfig;
pub use per_layer::PerLayerInputs;
pub use short_conv::ShortConv;

use super::format::WeightFormat;
use super::op::{Collective, Exchange, Gemm, Op, OpKind, Pass, Rows};
use super::parallel::Parallel;
use super::pipeline::Stage;
use super::placement::{Place, Placement, Placer};
use super::precision::Precision;
use crate::units::Bytes;
use serde::Serialize;

/// What stands before the MLP of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mixer {
    /// Keys and values per head group.
    Attention(Attention),
    /// Multi-head latent attention.
    Latent(Latent),
    /// DeepSeek-V4's.
    Compressed(Compressed),
    /// Gated DeltaNet.
    Delta(LinearAttention),
    /// Kimi delta attention.
    Kda(Kda),
    /// Mamba 1 or 2.
    Mamba(Mamba),
    /// A gated short convolution.
    ShortConv(ShortConv),
}

/// What stands behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ffn {
    /// A dense MLP.
    Dense(Mlp),
    /// A mixture of experts.
    Experts(MoeConfig),
}

/// One decoder layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// What mixes tokens.
    pub mixer: Option<Mixer>,
    /// What does so beside it, on the same input (Falcon-H1).
    pub beside: Option<Mamba>,
    /// What works on each token.
    pub ffn: Option<Ffn>,
    /// Norms of the stream's width.
    pub norms: u32,
}

/// The same for each kind of mixer.
macro_rules! each_mixer {
    ($mixer:expr, $m:ident => $do:expr) => {
        match $mixer {
            Mixer::Attention($m) => $do,
            Mixer::Latent($m) => $do,
            Mixer::Compressed($m) => $do,
            Mixer::Delta($m) => $do,
            Mixer::Kda($m) => $do,
            Mixer::Mamba($m) => $do,
            Mixer::ShortConv($m) => $do,
        }
    };
}

impl Mixer {
    /// Whether it keeps a state per sequence and nothing per token.
    pub fn is_recurrent(&self) -> bool {
        !matches!(
            self,
            Self::Attention(_) | Self::Latent(_) | Self::Compressed(_)
        )
    }

    /// Its name, if no run of a model with it was compared with prices.
    pub fn uncompared(&self) -> Option<&'static str> {
        match self {
            Self::Attention(a) if a.index.is_none() => None,
            Self::Delta(_) => None,
            Self::Attention(_) => Some("block-sparse attention"),
            Self::Latent(a) if a.reach.is_some() => Some("sparse latent attention"),
            Self::Latent(_) => Some("latent attention"),
            Self::Compressed(_) => Some("compressed attention"),
            Self::Kda(_) => Some("Kimi delta attention"),
            Self::Mamba(_) => Some("Mamba layers"),
            Self::ShortConv(_) => Some("short convolutions"),
        }
    }

    fn part(&self, t: u32) -> Self {
        match self {
            Self::Attention(m) => Self::Attention(m.part(t)),
            Self::Latent(m) => Self::Latent(m.part(t)),
            Self::Compressed(m) => Self::Compressed(m.part(t)),
            Self::Delta(m) => Self::Delta(m.part(t)),
            Self::Kda(m) => Self::Kda(m.part(t)),
            Self::Mamba(m) => Self::Mamba(m.part(t)),
            Self::ShortConv(m) => Self::ShortConv(m.part(t)),
        }
    }
}

impl Layer {
    /// Parameters of what mixes tokens, in a stream of width `h`.
    pub(super) fn mixer_parameters(&self, h: u128) -> u128 {
        let own = |m: &Mixer| each_mixer!(m, m => m.parameters(h));
        self.mixer.as_ref().map_or(0, own) + self.beside.map_or(0, |m| m.parameters(h))
    }

    /// Parameters of a dense MLP.
    pub(super) fn dense_parameters(&self, h: u128) -> u128 {
        match &self.ffn {
            Some(Ffn::Dense(mlp)) => mlp.parameters(h),
            _ => 0,
        }
    }

    /// The experts, if it has any.
    pub fn moe(&self) -> Option<&MoeConfig> {
        match &self.ffn {
            Some(Ffn::Experts(moe)) => Some(moe),
            _ => None,
        }
    }

    /// Tokens that its attention sees, if it slides.
    pub fn window(&self) -> Option<u32> {
        match &self.mixer {
            Some(Mixer::Attention(a)) => a.window,
            _ => None,
        }
    }

    /// One device's part.
    pub(super) fn part(&self, parallel: Parallel) -> Self {
        let t = parallel.tensor;
        Self {
            mixer: self.mixer.as_ref().map(|m| m.part(t)),
            beside: self.beside.map(|m| m.part(t)),
            ffn: self.ffn.as_ref().map(|f| match f {
                Ffn::Dense(mlp) => Ffn::Dense(mlp.part(t)),
                Ffn::Experts(moe) => Ffn::Experts(moe.part(parallel)),
            }),
            norms: self.norms,
        }
    }

    /// Why it cannot be divided so.
    pub(super) fn problem(&self, parallel: Parallel) -> Option<String> {
        let t = parallel.tensor;
        let mixer = self.mixer.as_ref();
        mixer
            .and_then(|m| each_mixer!(m, m => m.problem(t)))
            .or_else(|| self.beside.and_then(|m| m.problem(t)))
            .or_else(|| match &self.ffn {
                Some(Ffn::Dense(mlp)) => mlp.problem(t),
                Some(Ffn::Experts(moe)) => moe.problem(parallel),
                None => None,
            })
    }

    /// The most elements that are alive at once per token, beside the stream.
    pub(super) fn widest(&self, h: u32) -> f64 {
        let mixer = self.mixer.as_ref();
        let mixer = mixer.map_or(0.0, |m| each_mixer!(m, m => m.widest()));
        let ffn = match &self.ffn {
            Some(Ffn::Dense(mlp)) => mlp.widest(),
            Some(Ffn::Experts(moe)) => moe.widest(h),
            None => 0.0,
        };
        mixer.max(ffn).max(self.beside.map_or(0.0, |m| m.widest()))
    }
}

/// The operators of a step in execution order, equal ones of several layers merged at their first place.
#[derive(Default)]
pub(super) struct Ops {
    /// The device's.
    pub device: Vec<Op>,
    /// The host's.
    pub host: Vec<Op>,
    /// How often the step goes from one to the other.
    pub crossings: u32,
}

/// All operators of a step.
///
/// `part` holds the sizes of one device's part of `whole`, `stage` which of its layers are there.
pub(super) fn expand(
    whole: &ModelConfig,
    part: &ModelConfig,
    precision: &Precision,
    parallel: Parallel,
    placement: &Placement,
    stage: &Stage,
) -> Ops {
    let mut x = Expander {
        c: part,
        whole,
        parallel,
        p: precision,
        ops: Ops::default(),
        placer: Placer::new(placement, part.layers.len() as u32),
        place: Place::Input,
        on_host: false,
        act: precision.dtype.bytes(),
    };
    if stage.first {
        x.embedding(stage);
        x.join();
    }
    let own: Vec<Precision> = match precision.by_layer {
        true => part
            .quantization_by_layer
            .iter()
            .map(|q| precision.of_layer(q))
            .collect(),
        false => vec![],
    };
    for (i, layer) in (0..).zip(&part.layers) {
        if !stage.layers.contains(&i) {
            continue;
        }
        x.p = own.get(i as usize).unwrap_or(precision);
        x.place = Place::Layer(i);
        x.layer(i, layer);
    }
    x.p = precision;
    x.place = Place::Output;
    if stage.last {
        x.head();
    }
    x.ops
}

/// Adds an operator to equal ones of other layers.
fn merged(ops: &mut Vec<Op>, op: Op) {
    let same = |o: &&mut Op| {
        Op {
            layers: op.layers,
            ..**o
        } == op
    };
    match ops.iter_mut().find(same) {
        Some(o) => o.layers += op.layers,
        None => ops.push(op),
    }
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
    ops: Ops,
    placer: Placer<'a>,
    place: Place,
    /// Whether the operator before was the host's.
    on_host: bool,
    /// Bytes of an activation.
    act: u64,
}

impl Expander<'_> {
    fn layer(&mut self, i: u32, layer: &Layer) {
        if let Some(mixer) = &layer.mixer {
            self.norm();
            match mixer {
                Mixer::Attention(m) => self.attention(m, i),
                Mixer::Latent(m) => self.latent_attention(m),
                Mixer::Compressed(m) => self.compressed_attention(m),
                Mixer::Delta(m) => self.linear_attention(m),
                Mixer::Kda(m) => self.kda(m),
                Mixer::Mamba(m) => self.mamba(m),
                Mixer::ShortConv(m) => self.convolution(m),
            }
            if let Some(mamba) = &layer.beside {
                self.mamba(mamba);
            }
            self.all_reduce();
            if layer.norms == 4 {
                self.post_norm();
            }
        }
        if let Some(ffn) = &layer.ffn {
            // One norm for both where the MLP stands beside attention.
            if layer.mixer.is_none() || layer.norms > 1 {
                self.norm();
            }
            self.ffn(ffn, i);
            if layer.norms == 4 {
                self.post_norm();
            }
        }
        if let Some(inputs) = self.c.per_layer {
            self.layer_input(&inputs);
        }
    }

    /// A drafter's product that joins hidden states to one.
    fn join(&mut self) {
        let h = u64::from(self.c.hidden_size);
        if self.c.joins > 0 {
            let from = u64::from(self.c.joins) * h;
            self.gemm("join", &[(h, self.p.dtype.format())], from, false);
        }
    }

    fn push(&mut self, op: Op) {
        let (device, host) = self.placer.parts(self.place, op);
        if self.place != Place::Input {
            let there = host.is_some();
            self.ops.crossings += u32::from(there != self.on_host);
            self.on_host = there;
        }
        for (op, ops) in [(device, &mut self.ops.device), (host, &mut self.ops.host)] {
            if let Some(op) = op {
                merged(ops, op);
            }
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

    /// What devices exchange for the sequences that decode where each has only some of their tokens: the queries of all heads, widths of one
    /// query and one result each, the weights of their results in 32 bit, and the results' sums (`query_gather` and `cp_lse_ag_out_rs`, vLLM
    /// 0.32.0, `v1/attention/ops/dcp.py`). What prompts exchange is not counted.
    fn share_context(&mut self, heads: u32, query: u64, result: u64) {
        let ranks = self.parallel.context;
        let all = u64::from(ranks) * u64::from(heads);
        for (name, exchange, bytes) in [
            (
                "context_queries",
                Exchange::AllGather,
                all * query * self.act,
            ),
            (
                "context_weights",
                Exchange::AllGather,
                all * u64::from(ranks) * 4,
            ),
            (
                "context_results",
                Exchange::ReduceScatter,
                all * result * self.act,
            ),
        ] {
            self.exchange(name, exchange, Rows::Sampled, ranks, bytes, false);
        }
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

    /// `residual + x`, then the norm: reads and writes both streams.
    fn norm(&mut self) {
        let h = u64::from(self.c.hidden_size);
        let weights = u64::from(self.c.norm_vectors) * h * self.p.norms.bytes();
        self.elementwise("norm", 1, weights, 4 * h);
    }

    /// RMSNorm of a sublayer's output, without a residual (Gemma 2 and 3).
    fn post_norm(&mut self) {
        let h = u64::from(self.c.hidden_size);
        let weights = u64::from(self.c.norm_vectors) * h * self.p.norms.bytes();
        self.elementwise("post_norm", 1, weights, 2 * h);
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

//! From a `config.json` to operators with exact bytes and operations.
//!
//! [`config::parse`] reads and checks the text, [`Precision`] says how each matrix is stored, and [`Model`]
//! lists the operators of one engine step: what the cost model prices. [`experts`] predicts how many
//! experts a batch touches, [`builtin`] has the models that ship with capsim.
//!
//! ```
//! use capsim::model::{Model, Precision, builtin, experts::Popularity};
//!
//! let config = builtin::find("qwen3-30b-a3b-instruct-2507")?.config();
//! let model = Model::new(&config, Precision::of(&config));
//! assert_eq!(model.kv_bytes_per_token().0, 96 * 1024);
//! // One token reads 8 of 128 experts in each of 48 layers, and everything else but the embedding.
//! assert_eq!(format!("{:.2}", model.weight_bytes_per_token().gb()), "6.08");
//! assert_eq!(format!("{:.2}", model.total_weight_bytes().gb()), "61.06");
//!
//! // Two independent tokens touch 15.5 experts, so decoding two at once nearly doubles the experts' bytes.
//! let moe = model.experts().unwrap();
//! let touched = Popularity::uniform(moe.num, moe.top_k).expected_distinct(2);
//! assert!((touched - 15.5).abs() < 1e-9);
//!
//! // The same model as llama.cpp stores it in Q4_K_M, to the byte.
//! let small = Model::new(&config, Precision::by_name("q4_k_m", &config)?);
//! assert_eq!(small.total_weight_bytes().0, 18_550_716_416);
//! # Ok::<(), capsim::model::ModelError>(())
//! ```
mod architecture;
pub mod builtin;
pub mod checkpoint;
pub mod config;
mod drafter;
pub mod encoder;
mod error;
pub mod experts;
mod format;
pub mod gguf_file;
pub(crate) mod gguf_name;
mod layers;
mod modules;
mod nearest;
mod op;
pub mod overrides;
mod parallel;
mod params;
mod params_json;
mod pattern;
mod pipeline;
mod placement;
mod precision;
mod quantization;
mod raw;

pub use config::{ModelConfig, Quantization};
pub use drafter::{Drafter, Head};
pub use encoder::Encoder;
pub use error::ModelError;
pub use format::WeightFormat;
pub use layers::{
    Attention, BlockIndex, Compressed, Ffn, Index, Kda, Latent, Layer, LinearAttention, Mamba,
    Mixer, Mlp, MoeConfig, PerLayerInputs, ShortConv,
};
pub use op::{
    AttentionDims, Cache, Collective, Exchange, ExpertGemms, Gemm, Op, OpKind, Pass, Recurrence,
    Rows,
};
pub use overrides::Overrides;
pub use parallel::Parallel;
pub use params::Parameters;
pub use pipeline::Stage;
pub use placement::{Override, Placed, Placement, Split};
pub use precision::{Dtype, KvDtype, Precision};

use crate::units::Bytes;
use serde::Serialize;

/// A model in a given precision, on one device: its operators and the totals that follow from them.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    config: ModelConfig,
    /// Sizes of one device's part.
    part: ModelConfig,
    parallel: Parallel,
    precision: Precision,
    /// The layers that are here, where a pipeline has the others elsewhere.
    stage: Stage,
    ops: Vec<Op>,
}

/// The mixture of experts as the cost model sees it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Experts {
    /// Experts per layer (E).
    pub num: u32,
    /// Experts per token (k).
    pub top_k: u32,
    /// Layers that have them.
    pub layers: u32,
    /// Bytes of one expert of one layer; the mean, where layers store them differently.
    pub bytes_per_layer_and_expert: f64,
}

/// Layers that share one kind of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AttentionLayers {
    /// Sliding window in tokens, the query itself included; None is full attention.
    pub window: Option<u32>,
    /// How many layers.
    pub layers: u32,
    /// Bytes of keys and values per token, all these layers together.
    pub kv_bytes_per_token: Bytes,
}

impl Model {
    /// Expands a checked config into operators.
    pub fn new(config: &ModelConfig, precision: Precision) -> Self {
        Self::divided(config, precision, Parallel::default())
    }

    /// One device's part of a model that several share. What cannot be divided evenly
    /// ([`Parallel::problem`]) is rounded.
    fn divided(config: &ModelConfig, precision: Precision, parallel: Parallel) -> Self {
        Self {
            config: config.clone(),
            part: parallel.part(config),
            parallel,
            precision,
            stage: Stage::whole(config.layers.len() as u32),
            ops: vec![],
        }
        .expanded()
    }

    /// With the operators that follow from the rest.
    fn expanded(mut self) -> Self {
        self.ops = self.operators(&Placement::Device).device;
        self
    }

    fn operators(&self, placement: &Placement) -> layers::Ops {
        layers::expand(
            &self.config,
            &self.part,
            &self.precision,
            self.parallel,
            placement,
            &self.stage,
        )
    }

    /// The parts of a pipeline whose stages have so many layers each, the first one first.
    pub fn stages(&self, layers: &[u32]) -> Vec<Self> {
        let of = |stage| Self {
            stage,
            ..self.clone()
        };
        let all = Stage::all(layers).into_iter();
        all.map(|stage| of(stage).expanded()).collect()
    }

    /// The layers that are here.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// What the device's memory holds of it, and what the host's does.
    pub fn placed(&self, placement: &Placement) -> Placed {
        let of = |ops| Self {
            ops,
            ..self.clone()
        };
        let ops = self.operators(placement);
        Placed {
            host: (!ops.host.is_empty()).then(|| of(ops.host)),
            device: of(ops.device),
            crossings: ops.crossings,
        }
    }

    /// One device's part of this model if `parallel` devices share it.
    ///
    /// # Errors
    /// Sizes that do not divide.
    pub fn shared(&self, parallel: Parallel) -> Result<Self, String> {
        match parallel.problem(&self.config) {
            Some(problem) => Err(problem),
            None => Ok(Self::divided(&self.config, self.precision, parallel)),
        }
    }

    /// How it is divided.
    pub fn parallel(&self) -> Parallel {
        self.parallel
    }

    /// The config it was made from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// How its matrices are stored.
    pub fn precision(&self) -> &Precision {
        &self.precision
    }

    /// The formats of its layers' matrices, each once: the quantised ones or, where no matrix is quantised, the float format.
    /// What a quantised checkpoint leaves in 16 bit is not among them.
    pub fn weight_formats(&self) -> Vec<WeightFormat> {
        let mut all: Vec<WeightFormat> = vec![];
        for op in &self.ops {
            match op.kind {
                OpKind::Gemm(g) if op.rows == Rows::Tokens => all.push(g.format),
                OpKind::Experts(e) => all.extend([e.gate_up_format, e.down_format]),
                _ => {}
            }
        }
        if all.iter().any(|f| !f.is_plain()) {
            all.retain(|f| !f.is_plain());
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The operators of a step, in execution order; equal ones of several layers are one entry.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Bytes of all weights: what loading takes, and what leaves the KV cache's share of the memory.
    pub fn total_weight_bytes(&self) -> Bytes {
        self.ops
            .iter()
            .map(|o| o.weight_bytes() * o.layers.into())
            .sum()
    }

    /// Weight bytes that decoding one token alone reads: everything but the embedding table, and k of E experts.
    pub fn weight_bytes_per_token(&self) -> Bytes {
        let k = self
            .config
            .moe()
            .map_or(0, |m| m.num_experts_per_tok.into());
        self.ops
            .iter()
            .map(|o| o.weight_bytes_touched(k) * o.layers.into())
            .sum()
    }

    /// Bytes of keys and values per cached token, all layers together.
    pub fn kv_bytes_per_token(&self) -> Bytes {
        self.ops.iter().map(Op::kv_bytes).sum()
    }

    /// Bytes of one KV block of `block_size` tokens, all layers together (`--block-size`). Sliding layers are
    /// counted as if they kept every token; see [`attention_layers`](Self::attention_layers).
    pub fn kv_bytes_per_block(&self, block_size: u32) -> Bytes {
        self.kv_bytes_per_token() * block_size.into()
    }

    /// Bytes that recurrent layers keep of a sequence, all of them together.
    pub fn state_bytes_per_sequence(&self) -> Bytes {
        let state = |o: &Op| match o.kind {
            OpKind::Recurrence(r) => r.kept * o.layers.into(),
            _ => Bytes::ZERO,
        };
        self.ops.iter().map(state).sum()
    }

    /// The recurrent layers and what each keeps of a sequence; `None` if every layer is attention.
    pub fn recurrent(&self) -> Option<(u32, Recurrence)> {
        let mut all = self.ops.iter().filter_map(|o| match o.kind {
            OpKind::Recurrence(r) => Some((o.layers, r)),
            _ => None,
        });
        let (first, r) = all.next()?;
        Some((all.fold(first, |n, (layers, _)| n + layers), r))
    }

    /// The kinds of attention, in order of first appearance.
    pub fn attention_layers(&self) -> Vec<AttentionLayers> {
        let kind = |o: &Op| match o.kind {
            // Layers that read another's keys and values keep none.
            OpKind::Attention(a) if a.cache.kept > 0 => Some(AttentionLayers {
                window: a.kept_window(),
                layers: o.layers,
                kv_bytes_per_token: o.kv_bytes(),
            }),
            _ => None,
        };
        self.ops.iter().filter_map(kind).collect()
    }

    /// The fewest tokens that any layer's queries see at most, if some do not see all.
    pub fn window(&self) -> Option<u32> {
        let window = |o: &Op| match o.kind {
            OpKind::Attention(a) => a.window,
            _ => None,
        };
        self.ops.iter().filter_map(window).min()
    }

    /// The experts, if the model has any.
    pub fn experts(&self) -> Option<Experts> {
        let moe = self.config.moe()?;
        let ops = self
            .ops
            .iter()
            .filter(|o| matches!(o.kind, OpKind::Experts(_)));
        let layers: u32 = ops.clone().map(|o| o.layers).sum();
        if layers == 0 {
            return None;
        }
        let bytes: Bytes = ops.map(|o| o.weight_bytes() * o.layers.into()).sum();
        Some(Experts {
            num: moe.num_experts,
            top_k: moe.num_experts_per_tok,
            layers,
            bytes_per_layer_and_expert: bytes.as_f64()
                / (f64::from(layers) * f64::from(moe.num_experts)),
        })
    }

    /// The most bytes of activations beside the residual stream that are alive at once per token: the largest
    /// of fused QKV with attention's result, gate+up with its product, and fused-MoE's workspaces (k rows of
    /// max(2·intermediate, hidden), shared by the first and last product, and k of the product between;
    /// `fused_experts_impl` in `vllm/model_executor/layers/fused_moe/fused_moe.py`, vLLM 0.12.0).
    pub fn widest_activation_bytes_per_token(&self) -> f64 {
        let c = &self.part;
        let widest = c.layers.iter().map(|l| l.widest(c.hidden_size));
        widest.fold(0.0, f64::max) * self.precision.dtype.bytes() as f64
    }

    /// Parameter counts.
    pub fn parameters(&self) -> Parameters {
        self.config.parameters()
    }

    /// Number of decoder layers.
    pub fn num_layers(&self) -> u32 {
        self.config.num_hidden_layers
    }

    /// Rows of the lm_head.
    pub fn vocab_size(&self) -> u32 {
        self.config.vocab_size
    }

    /// Width of the residual stream.
    pub fn hidden_size(&self) -> u32 {
        self.config.hidden_size
    }

    /// Longest context the model was made for.
    pub fn max_position_embeddings(&self) -> u32 {
        self.config.max_position_embeddings
    }

    /// Kernel launches of one eager step.
    pub fn kernels_per_step(&self) -> u32 {
        self.ops.iter().map(|o| o.kernels * o.layers).sum()
    }
}

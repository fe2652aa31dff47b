//! What Gemma 3n and the small Gemma 4 models add to each layer: an input of its own from a second embedding table, and in Gemma 3n
//! parallel streams (AltUp) and a low-rank product beside attention (LAuReL). Config, parameters, operators
//! (transformers 5.24.0, `models/gemma3n/modeling_gemma3n.py`; vLLM 0.33.0, `models/gemma3n.py`).
use super::{Expander, pass};
use crate::model::config::{MAX_VOCAB, MAX_WIDTH, Reader};
use crate::model::error::ModelError;
use crate::model::op::{OpKind, Pass};
use crate::units::Bytes;
use serde::Serialize;

/// Inputs of each layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PerLayerInputs {
    /// Width of a layer's input.
    pub width: u32,
    /// Rows of its table.
    pub vocab: u32,
    /// Rank of the product beside attention; 0: none.
    pub laurel: u32,
    /// Streams; 1: the usual one.
    pub streams: u32,
}

impl PerLayerInputs {
    /// Parameters of the table.
    pub fn table(&self, layers: u32) -> u128 {
        u128::from(self.vocab) * u128::from(self.columns(layers))
    }
    fn columns(&self, layers: u32) -> u64 {
        u64::from(self.width) * u64::from(layers)
    }
    /// The projection from the stream to all layers' inputs with its norm, and the projections between streams.
    pub(in crate::model) fn once(&self, h: u128, layers: u32) -> u128 {
        let between = 2 * u128::from(self.streams.saturating_sub(1)) * h * h;
        h * u128::from(self.columns(layers)) + u128::from(self.width) + between
    }
    /// Of a layer: gate and projection with their norm, the product beside attention, the streams' mixing.
    pub(in crate::model) fn each(&self, h: u128) -> u128 {
        let (w, rank) = (u128::from(self.width), u128::from(self.laurel));
        let beside = if rank > 0 { (2 * rank + 1) * h } else { 0 };
        (2 * w + 1) * h + beside + self.mixing(h)
    }
    /// Predictions and corrections of the streams, and their router with its norm and a scale.
    fn mixing(&self, h: u128) -> u128 {
        match u128::from(self.streams) {
            0 | 1 => 0,
            n => n * n * n + n * n + (n + 2) * h,
        }
    }
}

impl Reader<'_> {
    pub(in crate::model) fn per_layer(&self) -> Result<Option<PerLayerInputs>, ModelError> {
        let f = &self.f;
        let Some(width) = f.number("hidden_size_per_layer_input")?.filter(|n| *n > 0) else {
            return Ok(None);
        };
        Ok(Some(PerLayerInputs {
            width: f.checked("hidden_size_per_layer_input", width, MAX_WIDTH)?,
            vocab: self.size("vocab_size_per_layer_input", Some(262_144), MAX_VOCAB)?,
            laurel: f.number("laurel_rank")?.unwrap_or(0).min(MAX_WIDTH),
            streams: self.size("altup_num_inputs", Some(1), 64)?,
        }))
    }
}

impl Expander<'_> {
    /// Before the first layer: looking up all layers' inputs, and the projection of the stream that is added to them.
    pub(super) fn layer_inputs(&mut self, p: &PerLayerInputs) {
        let h = u64::from(self.c.hidden_size);
        let columns = p.columns(self.c.num_hidden_layers);
        let format = self.p.embedding;
        let look_up = Pass {
            bytes_per_token: (format.matrix_bytes(1, columns).0 + columns * self.act) as f64,
            weights: Bytes::ZERO,
            table: format.matrix_bytes(p.vocab.into(), columns),
        };
        self.each("layer_embed", 1, OpKind::Elementwise(look_up));
        let plain = self.p.dtype.format();
        self.gemm("layer_input_proj", &[(columns, plain)], h, false);
        let scales = u64::from(p.width) * self.p.norms.bytes();
        self.elementwise("layer_input_norm", 2, scales, 5 * columns);
        for _ in 1..p.streams {
            self.gemm("stream_proj", &[(h, plain)], h, false);
            self.gemm("stream_unproj", &[(h, plain)], h, false);
        }
    }

    /// In each layer.
    pub(super) fn layer_input(&mut self, p: &PerLayerInputs) {
        let h = u64::from(self.c.hidden_size);
        let (w, rank) = (u64::from(p.width), u64::from(p.laurel));
        let format = self.p.mlp;
        self.gemm("layer_gate", &[(w, format)], h, false);
        self.elementwise("layer_gate_mul", 1, 0, 3 * w);
        self.gemm("layer_proj", &[(h, format)], w, false);
        let norm = h * self.p.norms.bytes();
        self.elementwise("layer_norm", 1, norm, 4 * h);
        if rank > 0 {
            self.gemm("laurel_left", &[(rank, format)], h, false);
            self.gemm("laurel_right", &[(h, format)], rank, false);
            self.elementwise("laurel_norm", 1, norm, 4 * h);
        }
        if p.streams > 1 {
            let mixing =
                u64::try_from(p.mixing(h.into())).expect("checked when the config was parsed");
            let passes = 4 * u64::from(p.streams) * h * self.act;
            self.each("mix_streams", 4, pass(mixing * self.act, passes));
        }
    }
}

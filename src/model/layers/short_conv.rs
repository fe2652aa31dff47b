//! A gated short convolution (LFM2, arXiv:2511.23404): config, parameters, operators.
//!
//! What vLLM 0.33.0 keeps of a sequence: `short_conv_state_shape` in `model_executor/layers/mamba/mamba_utils.py`.
use super::Expander;
use crate::model::config::Reader;
use crate::model::error::ModelError;
use crate::model::op::{OpKind, Recurrence};
use crate::units::Bytes;
use serde::Serialize;

/// A layer's convolution, over the width of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ShortConv {
    /// Channels.
    pub width: u32,
    /// Length of the convolution.
    pub conv: u32,
    /// Whether it and its projections have biases.
    pub bias: bool,
}

impl ShortConv {
    fn small(&self) -> u64 {
        u64::from(self.width) * (u64::from(self.conv) + u64::from(self.bias))
    }
    pub(super) fn parameters(&self, h: u128) -> u128 {
        let w = u128::from(self.width);
        let biases = if self.bias { 3 * w + h } else { 0 };
        4 * h * w + biases + u128::from(self.small())
    }
    pub(super) fn part(&self, t: u32) -> Self {
        Self {
            width: (self.width / t).max(1),
            ..*self
        }
    }
    pub(super) fn problem(&self, t: u32) -> Option<String> {
        (!self.width.is_multiple_of(t))
            .then(|| format!("hidden_size {} is not divisible by {t}", self.width))
    }
    pub(super) fn widest(&self) -> f64 {
        4.0 * f64::from(self.width)
    }
}

impl Reader<'_> {
    pub(super) fn short_conv(&self) -> Result<ShortConv, ModelError> {
        Ok(ShortConv {
            width: self.hidden_size,
            conv: self.size("conv_L_cache", Some(3), 1 << 10)?,
            bias: self.f.flag("conv_bias")?.unwrap_or(false),
        })
    }
}

impl Expander<'_> {
    pub(super) fn convolution(&mut self, s: &ShortConv) {
        let h = u64::from(self.c.hidden_size);
        let w = u64::from(s.width);
        let format = self.p.recurrent;
        self.gemm("conv_in_proj", &[(3 * w, format)], h, s.bias);
        let tail = Bytes(w * u64::from(s.conv.saturating_sub(1)) * self.act);
        let weights = Bytes(s.small() * self.act);
        self.each(
            "short_conv",
            3,
            OpKind::Recurrence(Recurrence {
                state: tail,
                kept: tail,
                // A multiply-add per tap, and two gates.
                ops_per_token: w * (2 * u64::from(s.conv) + 2),
                activations_per_row: Bytes(4 * w * self.act),
                weights,
            }),
        );
        self.gemm("conv_out_proj", &[(h, format)], w, s.bias);
    }
}

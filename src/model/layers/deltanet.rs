//! Gated DeltaNet, linear attention: config, parameters, operators.
use super::Expander;
use crate::model::config::{MAX_HEADS, Reader};
use crate::model::error::ModelError;
use crate::model::op::{OpKind, Recurrence};
use crate::units::Bytes;
use serde::Serialize;

/// Gated DeltaNet: linear attention with a state of fixed size per sequence (arXiv:2412.06464).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LinearAttention {
    /// Key (and query) heads.
    pub key_heads: u32,
    /// Value heads; each has a state of `key_dim × value_dim`.
    pub value_heads: u32,
    /// Width of a key.
    pub key_dim: u32,
    /// Width of a value.
    pub value_dim: u32,
    /// Length of the causal convolution over q, k and v.
    pub conv: u32,
    /// Whether vLLM keeps the states in fp32 (`mamba_ssm_dtype`), rather than in the model's own type.
    pub fp32_states: bool,
}

impl LinearAttention {
    /// Width of q and k together with v: what the convolution runs over.
    pub fn conv_width(&self) -> u64 {
        2 * u64::from(self.key_heads) * u64::from(self.key_dim) + self.value_width()
    }
    /// Width of the values.
    pub fn value_width(&self) -> u64 {
        u64::from(self.value_heads) * u64::from(self.value_dim)
    }
    /// Elements of one layer's state of one sequence: the matrices in fp32, the convolution's tail apart.
    pub fn state_elements(&self) -> u64 {
        u64::from(self.value_heads) * u64::from(self.key_dim) * u64::from(self.value_dim)
    }
    /// Parameters of a layer in a stream of width `h`: q, k, v, z; b, a; out; the convolution; A_log and dt_bias; the norm over a value.
    pub(in crate::model) fn parameters(&self, h: u128) -> u128 {
        let (conv, value) = (
            u128::from(self.conv_width()),
            u128::from(self.value_width()),
        );
        let heads = u128::from(self.value_heads);
        (conv + value + 2 * heads) * h
            + value * h
            + conv * u128::from(self.conv)
            + 2 * heads
            + u128::from(self.value_dim)
    }
}

impl LinearAttention {
    pub(super) fn part(&self, t: u32) -> Self {
        Self {
            key_heads: (self.key_heads / t).max(1),
            value_heads: (self.value_heads / t).max(1),
            ..*self
        }
    }

    pub(super) fn problem(&self, t: u32) -> Option<String> {
        [
            ("linear_num_key_heads", self.key_heads),
            ("linear_num_value_heads", self.value_heads),
        ]
        .into_iter()
        .find(|(_, n)| !n.is_multiple_of(t))
        .map(|(name, n)| format!("{name} {n} is not divisible by {t}"))
    }

    pub(super) fn widest(&self) -> f64 {
        (self.conv_width() + 2 * self.value_width()) as f64
    }
}

impl Reader<'_> {
    /// Whether a layer is recurrent: as `layer_types` says, else all but every `full_attention_interval`-th
    /// (4 in `Qwen3NextConfig` and `Qwen3_5TextConfig`).
    pub(super) fn is_delta(&self, layer: u32) -> Result<bool, ModelError> {
        if let Some(kind) = self.layer_type(layer)? {
            return Ok(kind == "linear_attention");
        }
        let every = self.f.number("full_attention_interval")?.unwrap_or(4);
        if every == 0 {
            return Err(self.f.invalid(
                "full_attention_interval",
                "is 0; 4 means that every fourth layer sees everything".to_owned(),
            ));
        }
        Ok(!(layer + 1).is_multiple_of(every))
    }

    pub(super) fn delta(&self) -> Result<LinearAttention, ModelError> {
        Ok(LinearAttention {
            key_heads: self.size("linear_num_key_heads", Some(16), MAX_HEADS)?,
            value_heads: self.size("linear_num_value_heads", Some(32), MAX_HEADS)?,
            key_dim: self.size("linear_key_head_dim", Some(128), 1 << 12)?,
            value_dim: self.size("linear_value_head_dim", Some(128), 1 << 12)?,
            conv: self.size("linear_conv_kernel_dim", Some(4), 1 << 10)?,
            fp32_states: self.f.word("mamba_ssm_dtype")? == Some("float32"),
        })
    }
}

impl Expander<'_> {
    /// Gated DeltaNet: projections as matrices, the recurrence as a state per sequence.
    pub(super) fn linear_attention(&mut self, l: &LinearAttention) {
        let h = u64::from(self.c.hidden_size);
        let (conv, value) = (l.conv_width(), l.value_width());
        let heads = u64::from(l.value_heads);
        let parts = [(conv + value, self.p.recurrent)];
        self.gemm("linear_in_proj", &parts, h, false);
        // b and a are too narrow for blocks of weights: quantisers leave them in floats.
        let parts = [(2 * heads, self.p.dtype.format())];
        self.gemm("linear_ba_proj", &parts, h, false);
        // The recurrence itself: A_log, dt_bias, the convolution's taps and the norm are its weights.
        let tail = conv * u64::from(l.conv.saturating_sub(1)) * self.act;
        let ssm = if l.fp32_states { 4 } else { self.act };
        let weights = conv * u64::from(l.conv) + 2 * heads + u64::from(l.value_dim);
        self.each(
            "linear_attention",
            3,
            OpKind::Recurrence(Recurrence {
                // fp32 matrices, and the last conv − 1 inputs.
                state: Bytes(4 * l.state_elements() + tail),
                kept: Bytes(ssm * l.state_elements() + tail),
                // Per value head: decay and read (2 products), update (1), each k × v multiply-adds.
                ops_per_token: 6 * l.state_elements(),
                activations_per_row: Bytes((2 * conv + 3 * value) * self.act),
                weights: Bytes(weights * self.act),
            }),
        );
        let parts = [(h, self.p.recurrent)];
        self.gemm("linear_out_proj", &parts, value, false);
    }
}

//! Kimi delta attention, a gated delta rule with a decay for each channel (Kimi Linear, arXiv:2510.26692): config, parameters, operators.
//!
//! What vLLM 0.33.0 keeps of a sequence: `kda_state_shape` in `model_executor/layers/mamba/mamba_utils.py`.
use super::Expander;
use crate::model::config::{MAX_HEADS, MAX_WIDTH, Reader};
use crate::model::error::ModelError;
use crate::model::op::{OpKind, Recurrence};
use crate::units::Bytes;
use serde::Serialize;

/// A layer's delta attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Kda {
    /// Heads of queries, keys and values alike.
    pub heads: u32,
    /// Width of one.
    pub width: u32,
    /// Length of the causal convolutions over q, k and v.
    pub conv: u32,
    /// Whether the result's gate is one matrix rather than two through a head's width (Kimi K3).
    pub full_gate: bool,
}

impl Kda {
    fn wide(&self) -> u64 {
        u64::from(self.heads) * u64::from(self.width)
    }
    /// Parameters of the convolutions, A_log, dt_bias and the result's norm.
    fn small(&self) -> u64 {
        3 * self.wide() * u64::from(self.conv)
            + u64::from(self.heads)
            + self.wide()
            + u64::from(self.width)
    }
    pub(super) fn parameters(&self, h: u128) -> u128 {
        let (wide, narrow) = (u128::from(self.wide()), u128::from(self.width));
        let through = (h + wide) * narrow;
        let gate = if self.full_gate { h * wide } else { through };
        4 * h * wide + h * u128::from(self.heads) + through + gate + u128::from(self.small())
    }
    pub(super) fn part(&self, t: u32) -> Self {
        Self {
            heads: (self.heads / t).max(1),
            ..*self
        }
    }
    pub(super) fn problem(&self, t: u32) -> Option<String> {
        (!self.heads.is_multiple_of(t)).then(|| {
            format!(
                "linear_attn_config.num_heads {} is not divisible by {t}",
                self.heads
            )
        })
    }
    pub(super) fn widest(&self) -> f64 {
        5.0 * self.wide() as f64
    }
}

impl Reader<'_> {
    /// The layer's delta attention, if it is one: `kda_layers` and `full_attn_layers` count from 1.
    pub(super) fn kda_at(&self, layer: u32) -> Result<Option<Kda>, ModelError> {
        let Some(f) = self.f.inner("linear_attn_config")? else {
            return Err(self.missing("linear_attn_config"));
        };
        let Some(layers) = f.numbers("kda_layers")? else {
            return Err(self.missing("linear_attn_config.kda_layers"));
        };
        if !layers.contains(&(layer + 1)) {
            return Ok(None);
        }
        let size = |name: &str, usual: Option<u32>, max| match f.number(name)?.or(usual) {
            Some(n) => f.checked(name, n, max),
            None => Err(self.missing(&format!("linear_attn_config.{name}"))),
        };
        Ok(Some(Kda {
            heads: size("num_heads", None, MAX_HEADS)?,
            width: size("head_dim", Some(128), MAX_WIDTH.min(1 << 12))?,
            conv: size("short_conv_kernel_size", Some(4), 1 << 10)?,
            full_gate: f.flag("use_full_rank_gate")?.unwrap_or(false),
        }))
    }
}

impl Expander<'_> {
    pub(super) fn kda(&mut self, k: &Kda) {
        let h = u64::from(self.c.hidden_size);
        let (wide, narrow) = (k.wide(), u64::from(k.width));
        let (format, plain) = (self.p.recurrent, self.p.dtype.format());
        self.gemm("kda_qkv_proj", &[(3 * wide, format)], h, false);
        // β, and the decay through a head's width; the gate likewise, or as one matrix.
        let (gate, last) = if k.full_gate {
            (wide, wide)
        } else {
            (narrow, 2 * wide)
        };
        let parts = [(u64::from(k.heads) + narrow + gate, plain)];
        self.gemm("kda_gates_proj", &parts, h, false);
        self.gemm("kda_decay_proj", &[(last, plain)], narrow, false);
        let elements = wide * narrow;
        let tail = 3 * wide * u64::from(k.conv.saturating_sub(1)) * self.act;
        let state = Bytes(4 * elements + tail);
        let weights = Bytes(k.small() * self.act);
        self.each(
            "kda",
            5,
            OpKind::Recurrence(Recurrence {
                state,
                kept: state,
                // Per element: decay (1), read of the old value (2), update (2), read (2).
                ops_per_token: 7 * elements,
                activations_per_row: Bytes(8 * wide * self.act),
                weights,
            }),
        );
        self.gemm("kda_out_proj", &[(h, format)], wide, false);
    }
}

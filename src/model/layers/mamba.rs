//! State-space layers, Mamba 1 (arXiv:2312.00752) and Mamba 2 (arXiv:2405.21060): config, parameters, operators.
//!
//! What vLLM 0.33.0 keeps of a sequence: `mamba1_state_shape` and `mamba2_state_shape` in
//! `model_executor/layers/mamba/mamba_utils.py`.
use super::Expander;
use crate::model::config::{MAX_HEADS, MAX_WIDTH, Reader};
use crate::model::error::ModelError;
use crate::model::op::{OpKind, Recurrence};
use crate::units::Bytes;
use serde::Serialize;

/// A state-space layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Mamba {
    /// Heads of Mamba 2; 0: Mamba 1, which has a step of its own for each channel.
    pub heads: u32,
    /// Inner width: heads × their width.
    pub inner: u32,
    /// Elements of the state per channel.
    pub state: u32,
    /// Groups that share the state's input and output vectors (Mamba 2).
    pub groups: u32,
    /// Width that steps are projected through (Mamba 1).
    pub step_rank: u32,
    /// Length of the causal convolution.
    pub conv: u32,
    /// Whether the convolution has a bias.
    pub conv_bias: bool,
    /// Whether the projections have.
    pub bias: bool,
    /// Whether the result is normed before it is projected.
    pub norm: bool,
    /// Whether vLLM keeps the states in fp32 (`mamba_ssm_cache_dtype`), rather than in the model's own type.
    pub fp32_states: bool,
}

impl Mamba {
    /// Channels that the convolution runs over.
    fn convolved(&self) -> u64 {
        let vectors = match self.heads {
            0 => 0,
            _ => 2 * u64::from(self.groups) * u64::from(self.state),
        };
        u64::from(self.inner) + vectors
    }

    /// Columns of the projection from the stream: the gate, what is convolved, and the heads' steps.
    fn projected(&self) -> u64 {
        u64::from(self.inner) + self.convolved() + u64::from(self.heads)
    }

    fn state_elements(&self) -> u64 {
        u64::from(self.inner) * u64::from(self.state)
    }

    /// Mamba 1's projections inside: to steps and vectors, and from the steps' rank to the channels.
    fn inside(&self) -> u128 {
        let n = |v: u32| u128::from(v);
        match self.heads {
            0 => {
                let (rank, state) = (n(self.step_rank), n(self.state));
                n(self.inner) * (rank + 2 * state) + (rank + 1) * n(self.inner) + rank + 2 * state
            }
            _ => 0,
        }
    }

    /// Parameters beside the two large matrices: the convolution, what makes the recurrence, the norm.
    fn small(&self) -> u128 {
        let n = |v: u32| u128::from(v);
        let taps = u128::from(self.convolved()) * (n(self.conv) + u128::from(self.conv_bias));
        let own = match self.heads {
            0 => n(self.inner) * n(self.state) + n(self.inner),
            heads => 3 * n(heads),
        };
        taps + own + if self.norm { n(self.inner) } else { 0 }
    }

    pub(super) fn parameters(&self, h: u128) -> u128 {
        let (projected, inner) = (u128::from(self.projected()), u128::from(self.inner));
        let biases = if self.bias { projected + h } else { 0 };
        (projected + inner) * h + biases + self.small() + self.inside()
    }

    /// One of `t` devices' part: groups are repeated where there are fewer than devices (`extra_groups_for_head_shards`).
    pub(super) fn part(&self, t: u32) -> Self {
        Self {
            heads: self.heads / t,
            inner: (self.inner / t).max(1),
            groups: self.groups.div_ceil(t),
            ..*self
        }
    }

    pub(super) fn problem(&self, t: u32) -> Option<String> {
        let (name, n) = match self.heads {
            0 => ("the width of Mamba layers", self.inner),
            heads => ("the number of Mamba heads", heads),
        };
        if !n.is_multiple_of(t) {
            return Some(format!("{name}, {n}, is not divisible by {t}"));
        }
        let groups = self.groups;
        (self.heads > 0 && groups > 1 && !groups.is_multiple_of(t) && !t.is_multiple_of(groups))
            .then(|| format!("{groups} groups of Mamba layers and {t} do not divide each other"))
    }

    pub(super) fn widest(&self) -> f64 {
        (self.projected() + u64::from(self.inner)) as f64
    }

    /// What is kept of a sequence, and what a step costs.
    fn recurrence(&self, act: u64) -> Recurrence {
        let tail = self.convolved() * u64::from(self.conv.saturating_sub(1)) * act;
        let element = if self.fp32_states { 4 } else { act };
        let state = self.state_elements() * element + tail;
        Recurrence {
            state: Bytes(state),
            kept: Bytes(state),
            // Per element of the state: decay (1), the step's outer product added (2), read (2).
            ops_per_token: 5 * self.state_elements(),
            activations_per_row: Bytes((2 * self.convolved() + 3 * u64::from(self.inner)) * act),
            weights: Bytes(
                u64::try_from(self.small()).expect("checked when the config was parsed") * act,
            ),
        }
    }
}

impl Reader<'_> {
    /// `mamba_ssm_cache_dtype`, else the class's: Nemotron-H keeps fp32 (vLLM 0.33.0, `models/config.py`:
    /// `NemotronHForCausalLMConfig`), the others the model's own type.
    fn fp32_states(&self, usual: bool) -> Result<bool, ModelError> {
        Ok(match self.f.word("mamba_ssm_cache_dtype")? {
            Some("float32") => true,
            Some("auto") | None => usual,
            Some(_) => false,
        })
    }

    /// Nemotron-H's keys.
    pub(super) fn mamba_of_pattern(&self) -> Result<Mamba, ModelError> {
        let f = &self.f;
        let heads = self.size("mamba_num_heads", None, MAX_HEADS)?;
        let width = self.size("mamba_head_dim", None, MAX_WIDTH)?;
        Ok(Mamba {
            heads,
            inner: self.product("mamba_head_dim", heads, width)?,
            state: self.size("ssm_state_size", None, 1 << 16)?,
            groups: self.size("n_groups", Some(8), MAX_HEADS)?,
            step_rank: 0,
            conv: self.size("conv_kernel", Some(4), 1 << 10)?,
            conv_bias: f.flag("use_conv_bias")?.unwrap_or(true),
            bias: f.flag("mamba_proj_bias")?.unwrap_or(false),
            norm: true,
            fp32_states: self.fp32_states(true)?,
        })
    }

    /// The keys of Granite, Falcon-H1 and Bamba; the inner width is `mamba_d_ssm`, else `mamba_expand` times the stream's.
    pub(super) fn mamba2(&self) -> Result<Mamba, ModelError> {
        let f = &self.f;
        let inner = match f.number("mamba_d_ssm")? {
            Some(n) => f.checked("mamba_d_ssm", n, MAX_WIDTH)?,
            None => {
                let expand = self.size("mamba_expand", Some(2), 64)?;
                self.product("mamba_expand", self.hidden_size, expand)?
            }
        };
        let heads = self.size("mamba_n_heads", None, MAX_HEADS)?;
        if !inner.is_multiple_of(heads) {
            return Err(f.invalid(
                "mamba_n_heads",
                format!("{heads} does not divide the inner width {inner}"),
            ));
        }
        // Falcon-H1 norms with `mamba_rms_norm`; the others always.
        let norm = f.flag("mamba_rms_norm")?.unwrap_or(true);
        Ok(Mamba {
            heads,
            inner,
            state: self.size("mamba_d_state", Some(128), 1 << 16)?,
            groups: self.size("mamba_n_groups", Some(1), MAX_HEADS)?,
            step_rank: 0,
            conv: self.size("mamba_d_conv", Some(4), 1 << 10)?,
            conv_bias: f.flag("mamba_conv_bias")?.unwrap_or(true),
            bias: f.flag("mamba_proj_bias")?.unwrap_or(false),
            norm,
            fp32_states: self.fp32_states(false)?,
        })
    }

    /// Jamba's keys (`JambaConfig`: d_state 16, d_conv 4, expand 2).
    pub(super) fn mamba1(&self) -> Result<Mamba, ModelError> {
        let f = &self.f;
        let expand = self.size("mamba_expand", Some(2), 64)?;
        Ok(Mamba {
            heads: 0,
            inner: self.product("mamba_expand", self.hidden_size, expand)?,
            state: self.size("mamba_d_state", Some(16), 1 << 16)?,
            groups: 0,
            step_rank: self.size(
                "mamba_dt_rank",
                Some(self.hidden_size.div_ceil(16)),
                MAX_WIDTH,
            )?,
            conv: self.size("mamba_d_conv", Some(4), 1 << 10)?,
            conv_bias: f.flag("mamba_conv_bias")?.unwrap_or(true),
            bias: f.flag("mamba_proj_bias")?.unwrap_or(false),
            norm: false,
            fp32_states: self.fp32_states(false)?,
        })
    }
}

impl Expander<'_> {
    pub(super) fn mamba(&mut self, m: &Mamba) {
        let h = u64::from(self.c.hidden_size);
        let format = self.p.recurrent;
        self.gemm("mamba_in_proj", &[(m.projected(), format)], h, m.bias);
        if m.heads == 0 {
            let plain = self.p.dtype.format();
            let (rank, state, inner) = (
                u64::from(m.step_rank),
                u64::from(m.state),
                u64::from(m.inner),
            );
            self.gemm("mamba_x_proj", &[(rank + 2 * state, plain)], inner, false);
            let scales = (rank + 2 * state) * self.p.norms.bytes();
            self.elementwise("mamba_norms", 3, scales, 2 * (rank + 2 * state));
            self.gemm("mamba_dt_proj", &[(inner, plain)], rank, true);
        }
        let recurrence = m.recurrence(self.act);
        self.each("mamba", 4, OpKind::Recurrence(recurrence));
        self.gemm("mamba_out_proj", &[(h, format)], m.inner.into(), m.bias);
    }
}

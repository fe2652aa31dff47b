//! Where the stages of a layer write.
use super::super::attention::PARTIAL;
use super::super::harness::*;
use super::inputs::Sizes;
use crate::backend::Slice;
use crate::family::ProbeError;

/// A result of each stage; layers overwrite those of the one before.
pub(super) struct Outputs {
    /// Before attention: normed, projected, turned.
    pub h: Slice,
    pub q: Slice,
    pub q_turned: Slice,
    pub kv: Slice,
    pub kv_turned: Slice,
    /// Of the parts of each sequence, and of all of it.
    pub partial: Slice,
    pub attended: Slice,
    pub projected: Slice,
    pub residual: Slice,
    pub h2: Slice,
    /// Scores of all experts; of the best, their shares and who they are.
    pub logits: Slice,
    pub shares: Slice,
    pub best: Slice,
    pub gate_up: Slice,
    pub activated: Slice,
    pub down: Slice,
    pub combined: Slice,
    /// The layer's result.
    pub y: Slice,
}

impl Outputs {
    pub fn alloc(arena: &mut Arena, s: &Sizes) -> Result<Self, ProbeError> {
        let (m, d, f) = (s.batch, s.hidden, s.expert);
        let (qw, kvw, ids) = (s.qw(), s.kvw(), s.ids());
        let mut out = |n: usize| arena.output(n);
        Ok(Self {
            h: out(m * d)?,
            q: out(m * qw)?,
            q_turned: out(m * qw)?,
            kv: out(2 * m * kvw)?,
            kv_turned: out(2 * m * kvw)?,
            partial: out(m * s.heads * s.splits * PARTIAL)?,
            attended: out(m * qw)?,
            projected: out(m * d)?,
            residual: out(m * d)?,
            h2: out(m * d)?,
            logits: out(m * s.experts)?,
            shares: out(ids)?,
            best: out(ids)?,
            gate_up: out(ids * 2 * f)?,
            activated: out(ids * f)?,
            down: out(ids * d)?,
            combined: out(m * d)?,
            y: out(m * d)?,
        })
    }
}

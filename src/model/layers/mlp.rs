//! The dense MLP: config, parameters, operators.
use super::{Expander, Ffn};
use crate::model::config::{MAX_WIDTH, Reader};
use crate::model::error::ModelError;
use serde::Serialize;

/// A dense MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Mlp {
    /// Inner width.
    pub inner: u32,
    /// Gate and up beside down; else up and down.
    pub gated: bool,
    /// Biases on its matrices.
    pub bias: bool,
}

impl Mlp {
    /// Columns of the first product.
    pub(super) fn first(&self) -> u64 {
        u64::from(self.inner) * if self.gated { 2 } else { 1 }
    }

    /// Parameters in a stream of width `h`.
    pub(super) fn parameters(&self, h: u128) -> u128 {
        let (first, inner) = (u128::from(self.first()), u128::from(self.inner));
        (first + inner) * h + if self.bias { first + h } else { 0 }
    }

    pub(super) fn part(&self, t: u32) -> Self {
        Self {
            inner: self.inner / t,
            ..*self
        }
    }

    pub(super) fn problem(&self, t: u32) -> Option<String> {
        (!self.inner.is_multiple_of(t))
            .then(|| format!("intermediate_size {} is not divisible by {t}", self.inner))
    }

    /// Elements alive per token.
    pub(super) fn widest(&self) -> f64 {
        (self.first() + u64::from(self.inner)) as f64
    }
}

impl Reader<'_> {
    /// The dense MLP of a layer.
    pub(super) fn dense_at(&self, layer: u32) -> Result<Mlp, ModelError> {
        let rule = self.rules.mlp;
        let key = match self.f.get(rule.key) {
            Some(_) => rule.key,
            None => "intermediate_size",
        };
        let given = match self.f.number_of(key, layer)? {
            None if rule.four_times => self.hidden_size.checked_mul(4),
            given => given,
        };
        let Some(inner) = given else {
            return Err(self.missing(key));
        };
        let inner = self.f.checked(self.f.called(key), inner, MAX_WIDTH)?;
        Ok(Mlp {
            inner: self.adjusted(inner, layer)?,
            gated: rule.gated,
            bias: self.first_flag(rule.bias.0, rule.bias.1)?,
        })
    }

    /// What some classes make of the width that the file gives: LFM2 takes two thirds of it, to a multiple of `block_multiple_of`
    /// (`Lfm2MLP`, unless `block_auto_adjust_ff_dim` is off); Gemma 4's `use_double_wide_mlp` doubles it in layers whose keys and
    /// values are those of others.
    fn adjusted(&self, inner: u32, layer: u32) -> Result<u32, ModelError> {
        let f = &self.f;
        if f.flag("block_auto_adjust_ff_dim")? == Some(true) {
            let multiplier = f.get("block_ffn_dim_multiplier").and_then(|v| v.as_f64());
            let two_thirds = f64::from((u64::from(inner) * 2 / 3) as u32);
            let wide = (two_thirds * multiplier.unwrap_or(1.0).clamp(0.0, 64.0)) as u64;
            let step = u64::from(f.number("block_multiple_of")?.unwrap_or(256).max(1));
            let wide = u32::try_from(wide.div_ceil(step) * step).unwrap_or(u32::MAX);
            return f.checked("intermediate_size", wide, MAX_WIDTH);
        }
        let shared = f.number("num_kv_shared_layers")?.unwrap_or(0);
        if f.flag("use_double_wide_mlp")? == Some(true) && layer + shared >= self.layers {
            return f.checked("intermediate_size", inner.saturating_mul(2), MAX_WIDTH);
        }
        Ok(inner)
    }
}

impl Expander<'_> {
    pub(super) fn ffn(&mut self, ffn: &Ffn, layer: u32) {
        match ffn {
            Ffn::Experts(moe) => self.experts(layer, moe),
            Ffn::Dense(mlp) => {
                let format = self.p.mlp;
                self.dense_mlp(
                    ["gate_up_proj", "act_and_mul", "down_proj"],
                    layer,
                    mlp,
                    format,
                );
                self.all_reduce();
            }
        }
    }

    pub(super) fn dense_mlp(
        &mut self,
        names: [&'static str; 3],
        layer: u32,
        mlp: &Mlp,
        f: crate::model::WeightFormat,
    ) {
        let (h, inner) = (u64::from(self.c.hidden_size), u64::from(mlp.inner));
        let down = self.more_bits(f, layer);
        self.gemm(names[0], &[(mlp.first(), f)], h, mlp.bias);
        self.elementwise(names[1], 1, 0, mlp.first() + inner);
        self.gemm(names[2], &[(h, down)], inner, mlp.bias);
    }
}

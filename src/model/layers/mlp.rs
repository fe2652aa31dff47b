//! The dense MLP: parameters, operators.
use super::Expander;
use crate::model::config::ModelConfig;

/// Parameters of one dense MLP.
pub(in crate::model) fn parameters(c: &ModelConfig) -> u128 {
    let (h, inter) = (u128::from(c.hidden_size), u128::from(c.intermediate_size));
    3 * h * inter + if c.mlp_bias { 2 * inter + h } else { 0 }
}

impl Expander<'_> {
    pub(super) fn mlp(&mut self, layer: u32) {
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

    pub(super) fn dense_mlp(&mut self, names: [&'static str; 3], layer: u32, inter: u64) {
        let (h, f, bias) = (u64::from(self.c.hidden_size), self.p.mlp, self.c.mlp_bias);
        let down = self.more_bits(f, layer);
        self.gemm(names[0], &[(2 * inter, f)], h, bias);
        self.elementwise(names[1], 1, 0, 3 * inter);
        self.gemm(names[2], &[(h, down)], inter, bias);
    }
}

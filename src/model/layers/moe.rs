//! A mixture of experts with its router and shared experts: config, parameters, operators.
use super::{Expander, pass};
use crate::model::architecture::{Architecture, MoeRule};
use crate::model::config::{MAX_EXPERTS, MAX_WIDTH, Reader};
use crate::model::error::ModelError;
use crate::model::op::{Exchange, ExpertGemms, OpKind, Rows};
use crate::units::Bytes;
use serde::{Deserialize, Serialize};

/// The routed and shared experts of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoeConfig {
    /// Routed experts per layer (E).
    pub num_experts: u32,
    /// Experts that each token is sent to (k).
    pub num_experts_per_tok: u32,
    /// Inner width of one expert.
    pub moe_intermediate_size: u32,
    /// Inner width of the shared expert(s) together; 0 if none.
    pub shared_expert_intermediate_size: u32,
    /// Whether the shared expert has a gate of its own (hidden → 1; Qwen2-MoE).
    pub shared_expert_gate: bool,
    /// Whether router and experts have biases (gpt-oss).
    pub bias: bool,
    /// Whether the router has a per-expert correction bias (GLM-4.5, DeepSeek-V3).
    pub router_correction_bias: bool,
}

/// `v` where it is there.
fn if_on(on: bool, v: u128) -> u128 {
    if on { v } else { 0 }
}

impl MoeConfig {
    /// Parameters of one expert in a stream of width `h`.
    pub(in crate::model) fn per_expert(&self, h: u128) -> u128 {
        let i = u128::from(self.moe_intermediate_size);
        3 * h * i + if_on(self.bias, 2 * i + h)
    }
    /// Those of a layer's router.
    pub(in crate::model) fn router_parameters(&self, h: u128) -> u128 {
        let e = u128::from(self.num_experts);
        e * h + if_on(self.bias, e) + if_on(self.router_correction_bias, e)
    }
    /// Those of a layer's shared experts and their gate.
    pub(in crate::model) fn shared_parameters(&self, h: u128) -> u128 {
        3 * h * u128::from(self.shared_expert_intermediate_size) + if_on(self.shared_expert_gate, h)
    }
}

impl Reader<'_> {
    pub(in crate::model) fn experts(
        &self,
        layers: u32,
    ) -> Result<(Option<MoeConfig>, Vec<bool>), ModelError> {
        let (raw, n) = (self.raw, layers as usize);
        let rule = self.rules.moe;
        if rule == MoeRule::Dense {
            return Ok((None, vec![false; n]));
        }
        let (name, given) = [
            ("num_experts", raw.num_experts),
            ("num_local_experts", raw.num_local_experts),
            ("n_routed_experts", raw.n_routed_experts),
        ]
        .into_iter()
        .find(|(_, v)| v.is_some())
        .unwrap_or(("num_experts", None));
        let is_moe: Vec<bool> = match rule {
            MoeRule::Dense => unreachable!("handled above"),
            MoeRule::All | MoeRule::AllBiased => vec![true; n],
            MoeRule::BesideDense => vec![raw.enable_moe_block.unwrap_or(false); n],
            MoeRule::Sparse => {
                let step = raw.decoder_sparse_step.unwrap_or(1);
                if step == 0 {
                    return Err(self.invalid(
                        "decoder_sparse_step",
                        "is 0; 1 means that every layer has experts".to_owned(),
                    ));
                }
                let dense = raw.mlp_only_layers.as_deref().unwrap_or(&[]);
                (0..layers)
                    .map(|i| (i + 1).is_multiple_of(step) && !dense.contains(&i))
                    .collect()
            }
            MoeRule::AfterFirstDense => {
                let first = raw.first_k_dense_replace.unwrap_or(0);
                (0..layers).map(|i| i >= first).collect()
            }
        };
        if !is_moe.contains(&true) {
            return Ok((None, is_moe));
        }
        let num_experts = self.size(name, given, MAX_EXPERTS)?;
        let top_k = raw
            .num_experts_per_tok
            .or(raw.experts_per_token)
            .or(raw.top_k_experts);
        let top_k = self.size("num_experts_per_tok", top_k, MAX_EXPERTS)?;
        if top_k > num_experts {
            return Err(self.invalid(
                "num_experts_per_tok",
                format!("is {top_k}, but there are only {name} = {num_experts}"),
            ));
        }
        let inter = match rule {
            MoeRule::All | MoeRule::AllBiased => {
                self.size("intermediate_size", raw.intermediate_size, MAX_WIDTH)?
            }
            _ => self.size(
                "moe_intermediate_size",
                raw.moe_intermediate_size,
                MAX_WIDTH,
            )?,
        };
        let shared = match rule {
            MoeRule::Sparse => raw.shared_expert_intermediate_size.unwrap_or(0),
            // The dense MLP beside the experts is computed like a shared expert.
            MoeRule::BesideDense => {
                self.size("intermediate_size", raw.intermediate_size, MAX_WIDTH)?
            }
            MoeRule::AfterFirstDense => {
                let count = raw.n_shared_experts.unwrap_or(0);
                inter.checked_mul(count).ok_or_else(|| {
                    self.invalid("n_shared_experts", format!("is {count}: too many"))
                })?
            }
            _ => 0,
        };
        if shared > MAX_WIDTH {
            return Err(self.invalid(
                "shared_expert_intermediate_size",
                format!("is {shared}; capsim takes at most {MAX_WIDTH}"),
            ));
        }
        let moe = MoeConfig {
            num_experts,
            num_experts_per_tok: top_k,
            moe_intermediate_size: inter,
            shared_expert_intermediate_size: shared,
            shared_expert_gate: shared > 0
                && matches!(
                    self.rules.arch,
                    Architecture::Qwen2Moe | Architecture::Qwen3Next | Architecture::Qwen35Moe
                ),
            bias: rule == MoeRule::AllBiased,
            router_correction_bias: rule == MoeRule::AfterFirstDense,
        };
        Ok((Some(moe), is_moe))
    }
}

impl Expander<'_> {
    pub(super) fn experts(&mut self, layer: u32, moe: &MoeConfig) {
        let (h, act) = (u64::from(self.c.hidden_size), self.act);
        let (e, k) = (
            u64::from(moe.num_experts),
            u64::from(moe.num_experts_per_tok),
        );
        let inter = u64::from(moe.moe_intermediate_size);
        let (gate_up, down) = (self.p.experts, self.more_bits(self.p.experts, layer));

        let router = self.matrix(&[(e, self.p.router)], h, moe.bias);
        self.each("router", 1, OpKind::Router(router));
        // Scores in, k weights and ids out (4 bytes each), and the sorted ids written and read once.
        let correction = if moe.router_correction_bias { 4 * e } else { 0 };
        self.each("moe_route", 3, pass(correction, e * act + 16 * k));
        // Between data-parallel engines every device gets all tokens and gives back the sums of all tokens
        // (`all2all_backend` allgather_reducescatter, vLLM's default on one node).
        let engines = self.parallel.data;
        if engines > 1 {
            self.exchange(
                "expert_dispatch",
                Exchange::AllGather,
                Rows::Tokens,
                self.parallel.devices(),
                (h + e) * act,
                true,
            );
        }
        let biases = if moe.bias { (2 * inter + h) * act } else { 0 };
        let weights_per_expert =
            gate_up.matrix_bytes(2 * inter, h) + down.matrix_bytes(h, inter) + Bytes(biases);
        self.each(
            "experts",
            2,
            OpKind::Experts(ExpertGemms {
                num_experts: moe.num_experts.div_ceil(self.parallel.expert_ranks()),
                of: moe.num_experts,
                engines,
                top_k: moe.num_experts_per_tok,
                intermediate: inter,
                hidden: h,
                gate_up_format: gate_up,
                down_format: down,
                weights_per_expert,
                activations_per_token: Bytes(k * (h + 2 * inter + inter + h) * act),
            }),
        );
        self.elementwise("moe_act_and_mul", 1, 0, 3 * k * inter);
        self.elementwise("moe_sum", 1, 0, (k + 1) * h);
        if moe.shared_expert_intermediate_size > 0 {
            let names = [
                "shared_gate_up_proj",
                "shared_act_and_mul",
                "shared_down_proj",
            ];
            self.dense_mlp(names, layer, moe.shared_expert_intermediate_size.into());
            if moe.shared_expert_gate {
                self.elementwise("shared_gate", 3, h * act, 5 * h);
            } else {
                self.elementwise("shared_add", 1, 0, 3 * h);
            }
        }
        if engines > 1 {
            self.exchange(
                "expert_combine",
                Exchange::ReduceScatter,
                Rows::Tokens,
                self.parallel.devices(),
                h * act,
                true,
            );
        } else {
            self.all_reduce();
        }
    }
}

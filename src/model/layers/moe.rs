//! A mixture of experts with its router and shared experts: config, parameters, operators.
use super::mlp::Mlp;
use super::{Expander, pass};
use crate::model::architecture::MoeRule;
use crate::model::config::{MAX_EXPERTS, MAX_WIDTH, Reader};
use crate::model::error::ModelError;
use crate::model::op::{Exchange, ExpertGemms, OpKind, Rows};
use crate::model::parallel::Parallel;
use crate::units::Bytes;
use serde::Serialize;

/// The routed and shared experts of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MoeConfig {
    /// Routed experts per layer (E).
    pub num_experts: u32,
    /// Experts that each token is sent to (k).
    pub num_experts_per_tok: u32,
    /// Inner width of one expert.
    pub moe_intermediate_size: u32,
    /// Width that the stream is projected to before the experts, and from behind them (Nemotron 3 Super, Kimi K3); 0: it is not.
    pub latent: u32,
    /// Gate and up beside down; else up and down (Nemotron-H).
    pub gated: bool,
    /// Inner width of the shared expert(s) together, or of a dense MLP beside the experts; 0 if none.
    pub shared_expert_intermediate_size: u32,
    /// Whether the shared expert has a gate of its own (hidden → 1; Qwen2-MoE).
    pub shared_expert_gate: bool,
    /// Whether what stands beside the experts is a dense MLP rather than a shared expert (Gemma 4).
    pub dense_beside: bool,
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
    fn expert(&self) -> Mlp {
        Mlp {
            inner: self.moe_intermediate_size,
            gated: self.gated,
            bias: self.bias,
        }
    }
    fn shared(&self) -> Mlp {
        Mlp {
            inner: self.shared_expert_intermediate_size,
            gated: self.gated,
            bias: false,
        }
    }
    /// Width of the experts' input in a stream of width `h`.
    fn input(&self, h: u128) -> u128 {
        match self.latent {
            0 => h,
            latent => latent.into(),
        }
    }
    /// Parameters of one expert in a stream of width `h`.
    pub(in crate::model) fn per_expert(&self, h: u128) -> u128 {
        self.expert().parameters(self.input(h))
    }
    /// Those of a layer's router.
    pub(in crate::model) fn router_parameters(&self, h: u128) -> u128 {
        let e = u128::from(self.num_experts);
        e * h + if_on(self.bias, e) + if_on(self.router_correction_bias, e)
    }
    /// Those of a layer's shared experts and their gate, and of the projections around the experts.
    pub(in crate::model) fn shared_parameters(&self, h: u128) -> u128 {
        self.shared().parameters(h)
            + if_on(self.shared_expert_gate, h)
            + 2 * h * u128::from(self.latent)
    }

    pub(super) fn part(&self, parallel: Parallel) -> Self {
        let mut part = *self;
        if !parallel.expert {
            part.moe_intermediate_size /= parallel.devices();
        }
        part.shared_expert_intermediate_size /= parallel.tensor;
        part
    }

    pub(super) fn problem(&self, parallel: Parallel) -> Option<String> {
        let n = parallel.devices();
        if parallel.expert {
            return (self.num_experts < n)
                .then(|| format!("{} experts are fewer than {n} devices", self.num_experts));
        }
        let whole = |what: &str, v: u32, by: u32| {
            (!v.is_multiple_of(by)).then(|| format!("{what} {v} is not divisible by {by}"))
        };
        whole("moe_intermediate_size", self.moe_intermediate_size, n).or_else(|| {
            whole(
                "shared_expert_intermediate_size",
                self.shared_expert_intermediate_size,
                parallel.tensor,
            )
        })
    }

    /// Elements alive per token: the shared expert's, or fused-MoE's workspaces.
    pub(super) fn widest(&self, h: u32) -> f64 {
        let (k, e) = (f64::from(self.num_experts_per_tok), self.expert());
        let rows = (e.first() as f64).max(self.input(h.into()) as f64);
        let routed = k * (rows + f64::from(e.inner));
        self.shared().widest().max(routed)
    }
}

impl Reader<'_> {
    /// Whether a layer has experts, by the keys that configs say it with.
    fn has_experts(&self, layer: u32) -> Result<bool, ModelError> {
        let f = &self.f;
        match self.rules.moe {
            MoeRule::Dense => return Ok(false),
            MoeRule::All | MoeRule::AllBiased => return Ok(true),
            MoeRule::BesideDense => return Ok(f.flag("enable_moe_block")?.unwrap_or(false)),
            MoeRule::Keys => {}
        }
        // A class that has them, in a model without.
        if f.number("num_experts")? == Some(0) {
            return Ok(false);
        }
        if let Some(types) = f.list("mlp_layer_types")? {
            let kind = types.get(layer as usize).and_then(|t| t.as_str());
            return Ok(kind == Some("sparse"));
        }
        let number = |name: &str, usual: u32| f.number(name).map(|n| n.unwrap_or(usual));
        // ERNIE has one of each, or one for text and one for images.
        let first = f.number_of("moe_layer_start_index", 0)?.unwrap_or(0);
        let last = f.number_of("moe_layer_end_index", 0)?.unwrap_or(u32::MAX);
        let first = first
            .max(number("first_k_dense_replace", 0)?)
            .max(number("num_dense_layers", 0)?);
        if layer < first || layer > last {
            return Ok(false);
        }
        if let Some(list) = f.numbers("mlp_only_layers")?
            && list.contains(&layer)
        {
            return Ok(false);
        }
        // Step 3.5: the layers' numbers in one string.
        if let Some(list) = f.word("moe_layers_enum")? {
            let mine = layer.to_string();
            return Ok(list.split(',').any(|n| n.trim() == mine));
        }
        if let Some(serde_json::Value::Array(_)) = f.get("moe_layer_freq") {
            return Ok(f.number_of("moe_layer_freq", layer)? == Some(1));
        }
        for (key, offset, usual) in [
            ("decoder_sparse_step", 1, 1),
            ("interleave_moe_layer_step", 1, 1),
            ("moe_layer_freq", 0, 1),
            ("moe_layer_interval", 1, 1),
        ] {
            let step = number(key, usual)?;
            if step == 0 {
                return Err(f.invalid(key, "is 0; 1 means that every layer has experts".to_owned()));
            }
            if !(layer + offset).is_multiple_of(step) {
                return Ok(false);
            }
        }
        // Jamba: every second, from the second on.
        if let Some(period) = f.number("expert_layer_period")? {
            let period = f.checked("expert_layer_period", period, MAX_EXPERTS)?;
            return Ok(layer % period == number("expert_layer_offset", 1)? % period);
        }
        Ok(true)
    }

    /// A key of the experts, which some configs give as a list with an entry for each layer (Hunyuan).
    fn of_experts(&self, name: &str, layer: u32) -> Result<u32, ModelError> {
        match self.f.number_of(name, layer)? {
            Some(n) => self.f.checked(self.f.called(name), n, MAX_EXPERTS),
            None => Err(self.missing(name)),
        }
    }

    /// The experts of a layer, if it has any.
    pub(super) fn experts_at(&self, layer: u32) -> Result<Option<MoeConfig>, ModelError> {
        if !self.has_experts(layer)? {
            return Ok(None);
        }
        self.routed(layer).map(Some)
    }

    pub(super) fn routed(&self, layer: u32) -> Result<MoeConfig, ModelError> {
        let (f, rule) = (&self.f, self.rules.moe);
        let num_experts = self.of_experts("num_experts", layer)?;
        let top_k = self.of_experts("num_experts_per_tok", layer)?;
        if top_k > num_experts {
            return Err(f.invalid(
                f.called("num_experts_per_tok"),
                format!(
                    "is {top_k}, but there are only {} = {num_experts}",
                    f.called("num_experts")
                ),
            ));
        }
        let name = match rule {
            MoeRule::All | MoeRule::AllBiased => "intermediate_size",
            _ if f.get("moe_intermediate_size").is_some() => "moe_intermediate_size",
            // Classes whose experts have the width of a dense MLP.
            MoeRule::Keys if f.get("intermediate_size").is_some() => "intermediate_size",
            _ => "moe_intermediate_size",
        };
        let Some(inner) = f.number_of(name, layer)? else {
            return Err(self.missing(name));
        };
        let inner = f.checked(f.called(name), inner, MAX_WIDTH)?;
        let shared = self.shared_width(inner, layer)?;
        let latent = match f.number("moe_latent_size")? {
            Some(n) => Some(n),
            None => f.number("routed_expert_hidden_size")?,
        };
        Ok(MoeConfig {
            num_experts,
            num_experts_per_tok: top_k,
            moe_intermediate_size: inner,
            latent: match latent {
                Some(n) if n > 0 => f.checked("moe_latent_size", n, MAX_WIDTH)?,
                _ => 0,
            },
            gated: self.rules.mlp.gated,
            shared_expert_intermediate_size: shared,
            shared_expert_gate: shared > 0 && self.rules.shared_gate,
            dense_beside: rule == MoeRule::BesideDense,
            bias: rule == MoeRule::AllBiased,
            router_correction_bias: self.rules.router_bias
                && f.flag("use_expert_bias")? != Some(false),
        })
    }

    /// Width of the shared experts together: given as such, or as their number.
    fn shared_width(&self, inner: u32, layer: u32) -> Result<u32, ModelError> {
        let f = &self.f;
        if self.rules.moe == MoeRule::BesideDense {
            return Ok(self.dense_at(layer)?.inner);
        }
        if matches!(self.rules.moe, MoeRule::All | MoeRule::AllBiased) {
            return Ok(0);
        }
        let each = match f.number("shared_expert_intermediate_size")? {
            None if self.rules.mlp.key == "intermediate_size_mlp" => Some(inner),
            None => f.number("shared_intermediate_size")?.filter(|n| *n > 0),
            given => given,
        };
        let count = f.number_of("n_shared_experts", layer)?;
        let width = match (each, count) {
            (None, None) => 0,
            (Some(width), None) => width,
            (each, Some(count)) => {
                let one = each.unwrap_or(inner);
                one.checked_mul(count).ok_or_else(|| {
                    let name = f.called("n_shared_experts");
                    f.invalid(name, format!("is {count}: too many"))
                })?
            }
        };
        if width > MAX_WIDTH {
            return Err(f.invalid(
                f.called("shared_expert_intermediate_size"),
                format!("is {width}; capsim takes at most {MAX_WIDTH}"),
            ));
        }
        Ok(width)
    }
}

impl Expander<'_> {
    /// The experts of a stream of width `h`, which is projected to a narrower one before and back behind them where the model says so.
    fn routed(&mut self, layer: u32, moe: &MoeConfig) {
        let act = self.act;
        let k = u64::from(moe.num_experts_per_tok);
        let stream = u64::from(self.c.hidden_size);
        let h = match moe.latent {
            0 => stream,
            latent => latent.into(),
        };
        if h != stream {
            let format = self.p.shared;
            self.gemm("latent_in_proj", &[(h, format)], stream, false);
        }
        let expert = moe.expert();
        let (first, inner) = (expert.first(), u64::from(expert.inner));
        let (gate_up, down) = (self.p.experts, self.more_bits(self.p.experts, layer));
        let biases = if moe.bias { (first + h) * act } else { 0 };
        let weights_per_expert =
            gate_up.matrix_bytes(first, h) + down.matrix_bytes(h, inner) + Bytes(biases);
        self.each(
            "experts",
            2,
            OpKind::Experts(ExpertGemms {
                num_experts: moe.num_experts.div_ceil(self.parallel.expert_ranks()),
                of: moe.num_experts,
                engines: self.parallel.data,
                top_k: moe.num_experts_per_tok,
                intermediate: inner,
                hidden: h,
                gated: moe.gated,
                gate_up_format: gate_up,
                down_format: down,
                weights_per_expert,
                activations_per_token: Bytes(k * (h + first + inner + h) * act),
            }),
        );
        self.elementwise("moe_act_and_mul", 1, 0, k * (first + inner));
        self.elementwise("moe_sum", 1, 0, (k + 1) * h);
        if h != stream {
            let format = self.p.shared;
            self.gemm("latent_out_proj", &[(stream, format)], h, false);
        }
    }

    pub(super) fn experts(&mut self, layer: u32, moe: &MoeConfig) {
        let (h, act) = (u64::from(self.c.hidden_size), self.act);
        let (e, k) = (
            u64::from(moe.num_experts),
            u64::from(moe.num_experts_per_tok),
        );
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
        self.routed(layer, moe);
        if moe.shared_expert_intermediate_size > 0 {
            let names = [
                "shared_gate_up_proj",
                "shared_act_and_mul",
                "shared_down_proj",
            ];
            let format = if moe.dense_beside {
                self.p.mlp
            } else {
                self.p.shared
            };
            self.dense_mlp(names, layer, &moe.shared(), format);
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

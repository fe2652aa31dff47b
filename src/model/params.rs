//! Parameter counts from the sizes alone.
use super::config::ModelConfig;
use super::layers::{gqa, mlp};

/// Parameters of one model, by part. All layers together, except where it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Input embedding.
    pub embedding: u64,
    /// Output head; 0 if it is the embedding.
    pub lm_head: u64,
    /// Attention projections with biases, q/k norms and sinks.
    pub attention: u64,
    /// Dense MLPs, shared experts and their gates.
    pub mlp: u64,
    /// Routers.
    pub router: u64,
    /// All routed experts.
    pub experts: u64,
    /// One expert of one layer.
    pub per_expert: u64,
    /// Norms of hidden size.
    pub norms: u64,
    /// Routed experts that one token passes, over all layers.
    pub experts_active: u64,
}

impl Parameters {
    /// Everything, a tied head once.
    pub fn total(&self) -> u64 {
        self.embedding
            + self.lm_head
            + self.attention
            + self.mlp
            + self.router
            + self.experts
            + self.norms
    }

    /// What one token's forward pass multiplies with: the head and the top-k experts, but not the embedding
    /// table, of which one row is looked up. gpt-oss counts so (3.61 B for gpt-oss-20b, arXiv:2508.10925
    /// table 1); Qwen's "3.3 B activated" adds the embedding.
    pub fn active(&self) -> u64 {
        let head = if self.lm_head == 0 {
            self.embedding
        } else {
            self.lm_head
        };
        head + self.attention + self.mlp + self.router + self.experts_active + self.norms
    }
}

/// Counts in 128 bits, before the sizes are known to be sane.
struct Wide {
    embedding: u128,
    lm_head: u128,
    attention: u128,
    mlp: u128,
    router: u128,
    experts: u128,
    per_expert: u128,
    norms: u128,
    experts_active: u128,
}

impl ModelConfig {
    /// Parameters by part. The formulas are the shapes of the checkpoint's tensors
    /// (transformers 4.57, `modeling_*.py` of each architecture).
    pub fn parameters(&self) -> Parameters {
        let w = self.wide();
        let n = |v: u128| u64::try_from(v).expect("checked when the config was parsed");
        Parameters {
            embedding: n(w.embedding),
            lm_head: n(w.lm_head),
            attention: n(w.attention),
            mlp: n(w.mlp),
            router: n(w.router),
            experts: n(w.experts),
            per_expert: n(w.per_expert),
            norms: n(w.norms),
            experts_active: n(w.experts_active),
        }
    }

    pub(super) fn parameters_wide(&self) -> u128 {
        let w = self.wide();
        w.embedding + w.lm_head + w.attention + w.mlp + w.router + w.experts + w.norms
    }

    fn wide(&self) -> Wide {
        let n = |v: u32| u128::from(v);
        let (h, layers) = (n(self.hidden_size), n(self.num_hidden_layers));
        let if_on = |on: bool, v: u128| if on { v } else { 0 };
        let attention: u128 = (0..self.num_hidden_layers)
            .map(
                |layer| match (&self.linear, self.linear_layers[layer as usize]) {
                    (Some(l), true) => l.parameters(h),
                    _ => gqa::parameters(self, layer),
                },
            )
            .sum();
        let moe_layers = self.moe_layers.iter().filter(|&&m| m).count() as u128;
        let dense = mlp::parameters(self);
        let mut w = Wide {
            embedding: n(self.vocab_size) * h,
            lm_head: if_on(!self.tie_word_embeddings, n(self.vocab_size) * h),
            attention,
            mlp: dense * (layers - moe_layers),
            router: 0,
            experts: 0,
            per_expert: 0,
            norms: (n(self.norms_per_layer) * layers + 1) * h,
            experts_active: 0,
        };
        if let Some(moe) = &self.moe {
            w.per_expert = moe.per_expert(h);
            w.experts = moe_layers * n(moe.num_experts) * w.per_expert;
            w.experts_active = moe_layers * n(moe.num_experts_per_tok) * w.per_expert;
            w.router = moe_layers * moe.router_parameters(h);
            w.mlp += moe_layers * moe.shared_parameters(h);
        }
        w
    }
}

//! Parameter counts from the sizes alone.
use super::architecture::EmbeddingRule;
use super::config::ModelConfig;

/// Parameters of one model, by part. All layers together, except where it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Input embedding with learnt positions, and a second table of the layers' inputs.
    pub embedding: u64,
    /// The part of it that is the lm_head, too.
    pub tied: u64,
    /// Output head; 0 if it is the embedding.
    pub lm_head: u64,
    /// What mixes tokens: attention projections with biases, q/k norms and sinks; recurrent layers.
    pub attention: u64,
    /// Dense MLPs, shared experts and their gates; the layers' own inputs but for their table.
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

    /// All but the routed experts that a token does not visit: what model cards call active ("3.3 B activated" of Qwen3-30B-A3B).
    pub fn active(&self) -> u64 {
        self.total() - self.experts + self.experts_active
    }

    /// What one token's forward pass multiplies with: the head and the top-k experts, but not the embedding
    /// table, of which one row is looked up. gpt-oss counts so (3.61 B for gpt-oss-20b, arXiv:2508.10925
    /// table 1).
    pub fn multiplied(&self) -> u64 {
        self.active() - self.embedding + self.tied
    }
}

/// Counts in 128 bits, before the sizes are known to be sane.
struct Wide {
    embedding: u128,
    tied: u128,
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
            tied: n(w.tied),
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
        let if_on = |on: bool, v: u128| if on { v } else { 0 };
        let h = n(self.hidden_size);
        let table = n(self.vocab_size) * h;
        let bias = if_on(self.lm_head_bias, self.vocab_size.into());
        let mut w = Wide {
            embedding: table,
            tied: if_on(self.tie_word_embeddings, table),
            lm_head: if_on(!self.tie_word_embeddings, table) + bias,
            attention: 0,
            mlp: 0,
            router: 0,
            experts: 0,
            per_expert: 0,
            norms: n(self.norm_vectors) * h,
            experts_active: 0,
        };
        match self.embedding {
            EmbeddingRule::Positions(more) => {
                w.embedding += (n(self.max_position_embeddings) + n(more)) * h;
            }
            EmbeddingRule::Normed => w.norms += n(self.norm_vectors) * h,
            EmbeddingRule::Plain | EmbeddingRule::Scaled | EmbeddingRule::PerLayer => {}
        }
        if let Some(inputs) = &self.per_layer {
            w.embedding += inputs.table(self.num_hidden_layers);
            w.mlp += inputs.once(h, self.num_hidden_layers);
            w.mlp += inputs.each(h) * n(self.num_hidden_layers);
        }
        for layer in &self.layers {
            w.attention += layer.mixer_parameters(h);
            w.mlp += layer.dense_parameters(h);
            w.norms += n(layer.norms) * n(self.norm_vectors) * h;
            if let Some(moe) = layer.moe() {
                let one = moe.per_expert(h);
                w.per_expert = w.per_expert.max(one);
                w.experts += n(moe.num_experts) * one;
                w.experts_active += n(moe.num_experts_per_tok) * one;
                w.router += moe.router_parameters(h);
                w.mlp += moe.shared_parameters(h);
            }
        }
        w
    }
}

//! What a model's operators come to over all layers, before prices.
use super::grouped::ExpertGroup;
use crate::model::{AttentionDims, ExpertGemms, Model, OpKind};

/// Sums over the operators. Kernels and layers are counts of one step.
#[derive(Default)]
pub(super) struct OpSums {
    /// Kernels started in a step.
    pub kernels: f64,
    /// Layers with experts.
    pub expert_layers: f64,
    /// Seconds per KV token read by decode attention: layers that see everything, layers with a window.
    pub kv_full: f64,
    pub kv_windowed: f64,
    /// Operations per (query, key) pair, both kinds of layer.
    pub pair_full: f64,
    pub pair_windowed: f64,
    /// Seconds per sequence to read and write the states of linear attention.
    pub state: f64,
    /// Operations of linear attention per token.
    pub recurrence_ops: f64,
    /// Tokens that layers with a window see.
    pub window: Option<u32>,
    /// The first layers' experts, and each group of layers whose experts are alike.
    pub experts: Option<(ExpertGemms, Vec<ExpertGroup>)>,
}

impl OpSums {
    /// The sums for a model whose attention reads `stream` bytes per second.
    pub fn of(model: &Model, stream: f64) -> Self {
        let mut sums = Self::default();
        for op in model.ops() {
            let layers = f64::from(op.layers);
            sums.kernels += layers * f64::from(op.kernels);
            match &op.kind {
                OpKind::Attention(a) => sums.attention(a, layers, stream),
                OpKind::Recurrence(r) => {
                    sums.state += layers * 2.0 * r.state.as_f64() / stream;
                    sums.recurrence_ops += layers * r.ops_per_token as f64;
                }
                OpKind::Experts(e) => sums.experts(e, layers),
                _ => {}
            }
        }
        sums
    }

    fn attention(&mut self, a: &AttentionDims, layers: f64, stream: f64) {
        let per_token = layers * a.kv_bytes_per_token() / stream;
        let pairs = layers * 4.0 * f64::from(a.q_heads) * f64::from(a.head_dim);
        if let Some(w) = a.window {
            self.window = Some(w);
            self.kv_windowed += per_token;
            self.pair_windowed += pairs;
        } else {
            self.kv_full += per_token;
            self.pair_full += pairs;
        }
    }

    fn experts(&mut self, e: &ExpertGemms, layers: f64) {
        self.expert_layers += layers;
        let (_, groups) = self.experts.get_or_insert_with(|| (*e, vec![]));
        groups.push(ExpertGroup {
            layers,
            bytes_per_expert: e.bytes_per_expert(),
            activation_bytes_per_token: e.activation_bytes_per_token(),
            ops_per_row: e.ops_per_row(),
            top_k: f64::from(e.top_k),
            columns: (2.0 * e.intermediate as f64, e.hidden as f64),
        });
    }
}

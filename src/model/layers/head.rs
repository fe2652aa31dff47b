//! What happens once in a step: looking up the embedding, the output head, sampling.
use super::{Expander, pass};
use crate::model::architecture::EmbeddingRule;
use crate::model::format::WeightFormat;
use crate::model::op::{Exchange, Op, OpKind, Pass, Rows};
use crate::model::pipeline::Stage;
use crate::units::Bytes;

impl Expander<'_> {
    /// A table that is also the head is stored as the head (llama.cpp gives it the output's type).
    fn embedding_format(&self) -> WeightFormat {
        if self.c.tie_word_embeddings {
            self.p.lm_head
        } else {
            self.p.embedding
        }
    }

    /// A table that is also the head is counted there, where the head is on the same device (`llama.py`@0.32.0: the last stage of a
    /// pipeline has a table of its own).
    pub(super) fn embedding(&mut self, stage: &Stage) {
        let (c, h) = (self.c, u64::from(self.c.hidden_size));
        let f = self.embedding_format();
        let table = f.matrix_bytes(c.vocab_size.into(), h);
        let row = f.matrix_bytes(1, h).0 + h * self.act;
        let look_up = Pass {
            bytes_per_token: row as f64,
            weights: Bytes::ZERO,
            table: if c.tie_word_embeddings && stage.last {
                Bytes::ZERO
            } else {
                table
            },
        };
        self.each("embed", 1, OpKind::Elementwise(look_up));
        self.all_reduce();
        match c.embedding {
            EmbeddingRule::Scaled | EmbeddingRule::PerLayer => {
                self.elementwise("embed_scale", 1, 0, 2 * h);
            }
            EmbeddingRule::Normed => {
                let scales = u64::from(c.norm_vectors) * h * self.p.norms.bytes();
                self.elementwise("embed_norm", 1, scales, 2 * h);
            }
            EmbeddingRule::Positions(more) => {
                let plain = self.p.dtype.format();
                let rows = u64::from(c.max_position_embeddings) + u64::from(more);
                let look_up = Pass {
                    bytes_per_token: (3 * h * self.act) as f64,
                    weights: Bytes::ZERO,
                    table: plain.matrix_bytes(rows, h),
                };
                self.each("embed_positions", 1, OpKind::Elementwise(look_up));
            }
            EmbeddingRule::Plain => {}
        }
        if let Some(inputs) = c.per_layer {
            self.layer_inputs(&inputs);
        }
    }

    pub(super) fn head(&mut self) {
        let (h, v) = (u64::from(self.c.hidden_size), u64::from(self.c.vocab_size));
        let whole = u64::from(self.whole.vocab_size);
        self.norm();
        let once = |name, kernels, kind| Op {
            name,
            layers: 1,
            rows: Rows::Sampled,
            kernels,
            kind,
        };
        self.push(once("gather_sampled", 1, pass(0, 2 * h * self.act)));
        let matrix = self.matrix(&[(v, self.p.lm_head)], h, self.c.lm_head_bias);
        self.push(once("lm_head", 1, OpKind::Gemm(matrix)));
        self.exchange(
            "gather_logits",
            Exchange::AllGather,
            Rows::Sampled,
            self.parallel.tensor,
            whole * self.act,
            false,
        );
        // Logits are read, written as fp32 and scanned once, on every device.
        self.push(once("sampling", 3, pass(0, whole * (self.act + 8))));
    }
}

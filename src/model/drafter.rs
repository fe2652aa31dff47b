//! Layers that draft on a model's hidden states: what an EAGLE head, the model's own MTP layer or a DFlash drafter computes and keeps.
//!
//! A drafter whose config is not known is taken to be shaped like the model it drafts for: published ones are.
use super::layers::{Ffn, Layer, Mlp};
use super::{Model, ModelConfig, Precision};
use crate::units::Bytes;

/// A kind of drafter on hidden states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// One dense layer behind a product that joins the embedding and the last hidden state; the model's own output head
    /// (`model_executor/models/llama_eagle.py`, vLLM 0.32.0).
    Eagle,
    /// One dense layer behind a product that joins three hidden states; an output head of its own over part of the vocabulary
    /// (`llama_eagle3.py`, vLLM 0.32.0).
    Eagle3,
    /// A layer of the model, experts included, behind a product that joins the embedding and the last hidden state; the model's own output
    /// head (`deepseek_mtp.py`, vLLM 0.32.0).
    Mtp,
    /// Five dense layers behind a product that joins five hidden states; the model's own output head (`n_extract=5` and 58 tensors of
    /// Qwen3-8B-DFlash-b16 in ggml-org/llama.cpp#25792).
    Dflash,
}

/// Rows of an EAGLE-3 output head (`draft_vocab_size` in SpecForge's configs, `llama3-8B-eagle3.json` and the others).
const EAGLE3_VOCAB: u32 = 32_000;

/// What drafts.
#[derive(Clone, Debug, PartialEq)]
pub struct Drafter {
    /// Its layers with all that one pass of it computes.
    pub model: Model,
    /// Weights that the device holds for it beside the model's.
    pub weights: Bytes,
}

impl Drafter {
    /// A model of its own.
    pub fn model(model: Model) -> Self {
        Self {
            weights: model.total_weight_bytes(),
            model,
        }
    }

    /// Layers on the hidden states of `target`, of which one device's part is given.
    pub fn head(head: Head, target: &Model) -> Self {
        let whole = target.config();
        let layers = match head {
            Head::Dflash => 5,
            _ => 1,
        };
        let config = ModelConfig {
            layers: vec![layer(head, whole); layers],
            num_hidden_layers: layers as u32,
            joins: match head {
                Head::Eagle | Head::Mtp => 2,
                Head::Eagle3 => 3,
                Head::Dflash => 5,
            },
            vocab_size: match head {
                Head::Eagle3 => whole.vocab_size.min(EAGLE3_VOCAB),
                _ => whole.vocab_size,
            },
            per_layer: None,
            encoder: None,
            quantization_by_layer: vec![],
            // The output head is counted apart from the embedding, which is the model's.
            tie_word_embeddings: false,
            ..whole.clone()
        };
        // Only the layer that belongs to the checkpoint is quantised as the checkpoint is.
        let precision = match head {
            Head::Mtp => Precision {
                by_layer: false,
                ..*target.precision()
            },
            _ => Precision {
                kv: target.precision().kv,
                ..Precision::plain(target.precision().dtype)
            },
        };
        let model = Model::new(&config, precision);
        let model = model
            .shared(target.parallel())
            .unwrap_or_else(|_| model.clone());
        let shared = |name: &str| name == "embed" || (name == "lm_head" && head != Head::Eagle3);
        let own = model.ops().iter().filter(|o| !shared(o.name));
        Self {
            weights: own.map(|o| o.weight_bytes() * o.layers.into()).sum(),
            model,
        }
    }
}

/// A drafter's layer: the model's last one with attention over everything, with a dense MLP but for MTP.
fn layer(head: Head, whole: &ModelConfig) -> Layer {
    let attends = |l: &&Layer| l.mixer.as_ref().is_some_and(|m| !m.is_recurrent());
    let full = |l: &&Layer| attends(l) && l.window().is_none();
    let found = whole
        .layers
        .iter()
        .rev()
        .find(full)
        .or_else(|| whole.layers.iter().rev().find(attends))
        .or(whole.layers.last());
    let mut layer = *found.expect("a model has layers");
    if head == Head::Mtp {
        return layer;
    }
    layer.beside = None;
    let dense = whole.layers.iter().find_map(|l| match l.ffn {
        Some(Ffn::Dense(mlp)) => Some(mlp),
        _ => None,
    });
    // Of a mixture without dense layers nothing says how wide a drafter's is: four times the stream, as in the first transformers.
    layer.ffn = Some(Ffn::Dense(dense.unwrap_or(Mlp {
        inner: whole.hidden_size.saturating_mul(4),
        gated: true,
        bias: false,
    })));
    layer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::builtin;

    fn of(name: &str) -> Model {
        let config = builtin::find(name).unwrap().config();
        Model::new(&config, Precision::of(&config))
    }

    #[test]
    fn drafters_are_as_large_as_published_ones() {
        // yuhuili/EAGLE-LLaMA3-Instruct-8B has 0.25 B parameters (vllm-project/vllm-ascend#5022), in 16 bit.
        let eagle = Drafter::head(Head::Eagle, &of("llama-3.1-8b-instruct"));
        let parameters = eagle.weights.as_f64() / 2.0;
        assert!((0.24e9..0.27e9).contains(&parameters), "{parameters:e}");
        // DeepSeek-V3's MTP module has 14 B parameters (ROCm/ATOM#609), with the embedding and the head that it shares; in 8 bit.
        let target = of("deepseek-r1");
        let mtp = Drafter::head(Head::Mtp, &target);
        let shared = 2.0 * f64::from(target.vocab_size()) * f64::from(target.hidden_size());
        let all = mtp.weights.as_f64() + shared;
        assert!((13.3e9..14.3e9).contains(&all), "{all:e}");
    }

    #[test]
    fn a_drafter_keeps_the_keys_and_values_of_its_layers() {
        let target = of("llama-3.1-8b-instruct");
        let token = target.kv_bytes_per_token().as_f64() / 32.0;
        for (head, layers) in [(Head::Eagle3, 1.0), (Head::Dflash, 5.0)] {
            let drafter = Drafter::head(head, &target);
            assert_eq!(drafter.model.kv_bytes_per_token().as_f64(), layers * token);
        }
        // Part of a head is drafted by part of a device.
        let half = target.shared(crate::model::Parallel::tensor(2)).unwrap();
        let (one, two) = (
            Drafter::head(Head::Eagle, &target),
            Drafter::head(Head::Eagle, &half),
        );
        assert!(two.weights.as_f64() < 0.6 * one.weights.as_f64());
    }
}

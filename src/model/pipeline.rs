//! Which layers a stage of a pipeline has.
use super::config::ModelConfig;
use std::ops::Range;

/// A part of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its layers.
    pub layers: Range<u32>,
    /// Whether the embedding is here.
    pub first: bool,
    /// Whether the output head is here.
    pub last: bool,
}

impl Stage {
    /// All of a model.
    pub(super) fn whole(layers: u32) -> Self {
        Self {
            layers: 0..layers,
            first: true,
            last: true,
        }
    }

    /// Stages of so many layers each.
    pub(super) fn all(layers: &[u32]) -> Vec<Self> {
        let mut from = 0;
        let stage = |(i, n): (usize, &u32)| {
            let start = from;
            from += n;
            Self {
                layers: start..from,
                first: i == 0,
                last: i + 1 == layers.len(),
            }
        };
        layers.iter().enumerate().map(stage).collect()
    }

    /// Number of its layers.
    pub fn len(&self) -> u32 {
        self.layers.end - self.layers.start
    }

    /// Whether it has no layer.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl ModelConfig {
    /// Layers of each of `stages` stages: equally many; those that are left over go to the last stages but the very last one, which
    /// has the head, one each (vLLM 0.32.0, `distributed/utils.py: get_pp_indices`).
    ///
    /// # Errors
    /// More stages than layers.
    pub fn layers_of_stages(&self, stages: u32) -> Result<Vec<u32>, String> {
        let all = self.layers.len() as u32;
        if stages == 0 || stages > all {
            return Err(format!(
                "{stages} stages: must lie between 1 and the model's {all} layers"
            ));
        }
        let mut layers = vec![all / stages; stages as usize];
        let last = layers.len() - 1;
        // Never more than there are stages before the last one.
        for i in 0..(all % stages) as usize {
            layers[last - 1 - i] += 1;
        }
        Ok(layers)
    }

    /// The same as it is said, `20,21,19` (`VLLM_PP_LAYER_PARTITION`).
    ///
    /// # Errors
    /// What is no such list, or does not fit the number of stages or of layers.
    pub fn layers_as_said(&self, list: &str, stages: u32) -> Result<Vec<u32>, String> {
        let layers: Option<Vec<u32>> = list
            .split(',')
            .map(|n| n.trim().parse().ok().filter(|n| *n > 0))
            .collect();
        let layers = layers.ok_or_else(|| {
            format!("`{list}` is no list of numbers of layers with commas between them, such as 20,21,19")
        })?;
        let (all, sum) = (
            self.layers.len() as u64,
            layers.iter().map(|n| u64::from(*n)).sum::<u64>(),
        );
        if layers.len() != stages as usize {
            return Err(format!(
                "`{list}` has {} parts for {stages} stages",
                layers.len()
            ));
        }
        if sum != all {
            return Err(format!("`{list}` is {sum} layers of the model's {all}"));
        }
        Ok(layers)
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{Model, Precision, builtin};
    use crate::units::Bytes;

    #[test]
    fn layers_are_divided_as_vllm_does() {
        let mut config = builtin::find("qwen3-8b").unwrap().config();
        let layer = config.layers[0];
        let mut of = |layers: usize, stages| {
            config.layers = vec![layer; layers];
            config.layers_of_stages(stages)
        };
        assert_eq!(of(36, 1), Ok(vec![36]));
        assert_eq!(of(36, 4), Ok(vec![9; 4]));
        // The examples of the function's own documentation: left over layers go to the middle.
        assert_eq!(of(61, 2), Ok(vec![31, 30]));
        assert_eq!(of(61, 4), Ok(vec![15, 15, 16, 15]));
        assert_eq!(of(62, 4), Ok(vec![15, 16, 16, 15]));
        assert_eq!(of(63, 4), Ok(vec![16, 16, 16, 15]));
        assert!(of(3, 4).is_err() && of(3, 0).is_err());
        let config = builtin::find("qwen3-8b").unwrap().config();
        assert_eq!(config.layers_as_said("20,16", 2), Ok(vec![20, 16]));
        for (list, says) in [
            ("20,17", "37"),
            ("36", "1 parts"),
            ("a,b", "no list"),
            ("36,0", "no list"),
            ("4294967295,4294967295", "8589934590"),
        ] {
            let e = config.layers_as_said(list, 2).unwrap_err();
            assert!(e.contains(says), "{list}: {e}");
        }
    }

    /// Stages together are the whole model, but for a table that the first and the last one have both; one stage is the model itself.
    #[test]
    fn stages_together_are_the_whole() {
        for name in [
            "qwen3-8b",
            "qwen3-0.6b",
            "deepseek-r1",
            "llama-3.2-1b-instruct",
        ] {
            let config = builtin::find(name).unwrap().config();
            let m = Model::new(&config, Precision::of(&config));
            assert_eq!(m.stages(&[m.num_layers()]), [m.clone()], "{name}");
            for n in [2, 3, 4] {
                let stages = m.stages(&config.layers_of_stages(n).unwrap());
                let sum = |of: fn(&Model) -> Bytes| stages.iter().map(of).sum::<Bytes>();
                let table = if config.tie_word_embeddings {
                    let f = m.precision().lm_head;
                    f.matrix_bytes(config.vocab_size.into(), config.hidden_size.into())
                } else {
                    Bytes::ZERO
                };
                assert_eq!(
                    sum(Model::total_weight_bytes),
                    m.total_weight_bytes() + table,
                    "{name} {n}"
                );
                assert_eq!(sum(Model::kv_bytes_per_token), m.kv_bytes_per_token());
                let kernels: u32 = stages.iter().map(Model::kernels_per_step).sum();
                assert_eq!(kernels, m.kernels_per_step());
            }
        }
    }
}

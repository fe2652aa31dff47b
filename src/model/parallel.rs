//! How one model is divided among devices, under vLLM's names.
use super::config::ModelConfig;
use super::layers::{Attention, Mixer};
use serde::Serialize;

/// Devices that serve one model together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Parallel {
    /// Devices that share every layer (`--tensor-parallel-size`).
    pub tensor: u32,
    /// Engines with requests of their own that share the experts (`--data-parallel-size`).
    pub data: u32,
    /// Whether whole experts are given to devices (`--enable-expert-parallel`) instead of slices of all of them.
    pub expert: bool,
    /// Groups of devices that each have some of the layers (`--pipeline-parallel-size`).
    pub pipeline: u32,
    /// Tensor-parallel devices that divide the KV cache of each sequence (`--decode-context-parallel-size`).
    pub context: u32,
    /// Machines among which all of them are divided evenly (`--nnodes`).
    pub nodes: u32,
}

impl Default for Parallel {
    fn default() -> Self {
        Self {
            tensor: 1,
            data: 1,
            expert: false,
            pipeline: 1,
            context: 1,
            nodes: 1,
        }
    }
}

impl Parallel {
    /// Tensor parallelism alone.
    pub fn tensor(tensor: u32) -> Self {
        Self {
            tensor,
            ..Self::default()
        }
    }

    /// Devices that a layer is divided among, of all data-parallel engines together.
    pub fn devices(&self) -> u32 {
        self.tensor.saturating_mul(self.data)
    }

    /// Devices in all.
    pub fn all_devices(&self) -> u32 {
        self.devices().saturating_mul(self.pipeline)
    }

    /// Nodes that `ranks` devices stand on which share a layer: those of one tensor-parallel group, or of all data-parallel engines. Ranks are
    /// numbered by tensor, then pipeline, then data parallelism (vLLM 0.32.0, `distributed/parallel_state.py: initialize_model_parallel`),
    /// and each node has the next ones.
    pub fn nodes_of(&self, ranks: u32) -> u32 {
        let each = (self.all_devices() / self.nodes.max(1)).max(1);
        if ranks <= self.tensor {
            return ranks.div_ceil(each);
        }
        let of_group = self.tensor.div_ceil(each);
        // One engine's part of a stage after the other, a whole engine apart.
        let engine = (self.tensor * self.pipeline).max(1);
        let apart = if engine >= each {
            self.data
        } else {
            self.data.div_ceil(each / engine)
        };
        (apart * of_group).min(self.nodes)
    }

    /// Whether stage number `to` of a pipeline stands on other nodes than the one before it.
    pub fn crosses_to(&self, to: u32) -> bool {
        let each = (self.all_devices() / self.nodes.max(1)).max(1);
        // Of the first engine: the others' stages lie the same way wherever engines fill nodes or nodes engines.
        let node = |stage: u32| stage * self.tensor / each;
        node(to) != node(to - 1)
    }

    /// Why devices cannot divide the KV cache so, if they cannot: vLLM's own conditions (0.32.0, `config/parallel.py`, `config/model.py:
    /// verify_with_parallel_config`), and what is not simulated.
    pub fn problem_of_context(&self, config: &ModelConfig) -> Option<String> {
        let (n, t) = (self.context, self.tensor);
        if n == 1 {
            return None;
        }
        if n == 0 || !t.is_multiple_of(n) {
            return Some(format!(
                "{n}: must divide the {t} devices of tensor_parallel_size"
            ));
        }
        let of_heads = |a: &Attention| {
            let (kv, each) = (a.kv_heads, a.q_heads / a.kv_heads.max(1));
            let most = t / kv.max(1);
            (n > most || !each.is_multiple_of(n)).then(|| {
                format!(
                    "{n}: with {kv} key/value heads on {t} devices it must divide the {each} query heads of each and be at most {most}; raise \
                     tensor_parallel_size or lower it"
                )
            })
        };
        config.layers.iter().find_map(|layer| match &layer.mixer {
            Some(Mixer::Attention(a))
                if a.window.is_none() && a.index.is_none() && !a.shared_kv =>
            {
                of_heads(a)
            }
            Some(Mixer::Latent(a)) if a.reach.is_none() && a.index.is_none() => None,
            None => None,
            _ => Some(format!(
                "{n}: is simulated where every layer attends to the whole context; leave it out for the answer without it"
            )),
        })
    }

    /// Why the nodes cannot have these devices, if they cannot (vLLM 0.32.0, `engine/arg_utils.py`).
    pub fn problem_of_nodes(&self) -> Option<String> {
        let all = self.all_devices();
        (self.nodes == 0 || !all.is_multiple_of(self.nodes))
            .then(|| format!("{}: must divide the {all} devices evenly", self.nodes))
    }

    /// Why `config` cannot be divided so, if it cannot: vLLM's own conditions (`ModelConfig.verify_with_parallel_config`,
    /// `divide` in the layers).
    pub fn problem(&self, config: &ModelConfig) -> Option<String> {
        let t = self.tensor;
        if t == 0 || self.data == 0 || self.pipeline == 0 {
            return Some("sizes must be at least 1".into());
        }
        if t > 1024 || self.data > 1024 || self.pipeline > 1024 {
            return Some("more than 1024 devices".into());
        }
        let mut last = None;
        config.layers.iter().find_map(|layer| {
            // Most layers are like the one before.
            if last.replace(layer) == Some(layer) {
                return None;
            }
            layer.problem(*self)
        })
    }

    /// The sizes of one device's part. Key/value heads are repeated where there are fewer than devices; the vocabulary is padded
    /// to a multiple of 64 first (`vocab_parallel_embedding.py`).
    pub(super) fn part(&self, config: &ModelConfig) -> ModelConfig {
        let t = self.tensor;
        let mut part = config.clone();
        part.num_attention_heads = (part.num_attention_heads / t).max(1);
        part.num_key_value_heads = (part.num_key_value_heads / t).max(1);
        for layer in &mut part.layers {
            *layer = layer.part(*self);
        }
        if t > 1 {
            part.vocab_size = config.vocab_size.next_multiple_of(64).div_ceil(t);
        }
        part
    }

    /// Ranks among which whole experts are divided.
    pub fn expert_ranks(&self) -> u32 {
        if self.expert { self.devices() } else { 1 }
    }
}

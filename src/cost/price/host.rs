//! What the host adds to the device's time: scheduling, launching kernels, graphs.
use super::CostOptions;
use crate::cost::StepShape;
use crate::device::{DeviceProfile, EngineProfile};
use crate::model::{Model, OpKind};

/// Host times and the rule by which they meet the device's.
#[derive(Clone, Debug)]
pub struct HostRule {
    step: f64,
    per_seq: f64,
    /// Seconds to launch all kernels of a step without graphs.
    launch_eager: f64,
    launch_graph: f64,
    /// Kernels started in a pass.
    kernels: f64,
    /// Seconds that the device takes to start one: in a stream, in a replayed graph.
    launch_device: (f64, f64),
    /// Sizes of batch that have a graph; empty where none is used.
    captured: Vec<u32>,
    overlapped: bool,
}

impl HostRule {
    /// As the engine runs the model.
    pub fn new(
        model: &Model,
        device: &DeviceProfile,
        engine: &EngineProfile,
        options: &CostOptions,
    ) -> Self {
        let (mut kernels, mut expert_layers) = (0.0, 0.0);
        for op in model.ops() {
            let layers = f64::from(op.layers);
            kernels += layers * f64::from(op.kernels);
            if matches!(op.kind, OpKind::Experts(_)) {
                expert_layers += layers;
            }
        }
        let host = &engine.host;
        let per_expert_layer = host.launch_experts.as_ref().map_or(0.0, |q| q.value);
        Self {
            step: host.step.value,
            per_seq: host.per_seq.value,
            launch_eager: match &host.launch_uncompiled {
                Some(q) if options.enforce_eager => {
                    let layers = f64::from(model.stage().len());
                    layers * q.value + expert_layers * per_expert_layer
                }
                _ => kernels * host.launch_eager.value + expert_layers * per_expert_layer,
            },
            launch_graph: host.launch_graph.value,
            kernels,
            launch_device: {
                let stream = device.launch.value;
                let graph = device.curves.launch_graph.as_ref();
                (stream, graph.map_or(stream, |q| q.value))
            },
            captured: if options.enforce_eager {
                vec![]
            } else {
                // Of as many rows as the sequences of a step have (`uniform_decode_query_len`, vLLM 0.32.0).
                captured_sizes(options.max_outputs(), options.max_num_batched_tokens)
            },
            overlapped: options.async_scheduling,
        }
    }

    /// That of a later stage of a pipeline: each prepares a step while the stages before compute it (`Worker.execute_model` posts its receive
    /// and waits for it in the model, `v1/worker/gpu_worker.py`@0.32.0), so that only launching is left.
    pub fn of_later_stage(self) -> Self {
        Self {
            step: 0.0,
            per_seq: 0.0,
            ..self
        }
    }

    /// The smallest captured size that holds so many tokens; `None`: no graph does.
    pub fn graph(&self, tokens: u32) -> Option<u32> {
        self.captured
            .get(self.captured.partition_point(|&c| c < tokens))
            .copied()
    }

    /// Seconds in which the device starts the kernels of a step in so many passes.
    pub fn starts(&self, shape: &StepShape, passes: f64) -> f64 {
        let one = match self.graph(shape.tokens()) {
            Some(_) => self.launch_device.1,
            None => self.launch_device.0,
        };
        self.kernels * one * passes
    }

    /// Seconds in which the host launches a pass over so many tokens.
    pub fn launch(&self, tokens: u32) -> f64 {
        match self.graph(tokens) {
            Some(_) => self.launch_graph,
            None => self.launch_eager,
        }
    }

    /// Seconds from the device's part of a step to the whole of it.
    ///
    /// `host` and `launch` are seconds that drafting adds to the host's work and to the launches.
    pub fn whole(&self, shape: &StepShape, device: f64, host: f64, launch: f64) -> f64 {
        let host = self.step + self.per_seq * f64::from(shape.seqs()) + host;
        let launch = self.launch(shape.tokens()) + launch;
        if self.overlapped {
            device.max(host + launch)
        } else {
            host + device.max(launch)
        }
    }
}

/// Graph sizes that vLLM 0.12 captures (`config/vllm.py: _set_cudagraph_sizes`): 1, 2, 4, then every 8 below
/// 256, then every 16, up to min(2 · max_num_seqs, 512, max_num_batched_tokens).
fn captured_sizes(max_num_seqs: u32, max_num_batched_tokens: u32) -> Vec<u32> {
    let limit = max_num_seqs
        .saturating_mul(2)
        .min(512)
        .min(max_num_batched_tokens);
    [1, 2, 4]
        .into_iter()
        .chain((8..256).step_by(8))
        .chain((256..=512).step_by(16))
        .filter(|&s| s <= limit)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captured_sizes_are_vllms() {
        assert_eq!(captured_sizes(5, 2048), [1, 2, 4, 8]);
        let all = captured_sizes(1024, 8192);
        assert_eq!(all.first(), Some(&1));
        assert_eq!(all.last(), Some(&512));
        assert!(all.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(captured_sizes(256, 16).last(), Some(&16));
    }
}

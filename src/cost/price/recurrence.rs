//! Linear attention: a state per sequence, read and written in every step, and arithmetic per token of a prompt.
use crate::cost::StepShape;
use crate::device::{DeviceProfile, EngineProfile};
use crate::model::{Model, OpKind};

/// The recurrent layers of a model; nothing costs anything where it has none.
#[derive(Clone, Debug)]
pub struct RecurrencePrice {
    /// Seconds per sequence to read and write the states of all layers.
    state: f64,
    /// Operations per token, all layers.
    ops: f64,
    /// Share of the device's attention rate.
    efficiency: f64,
}

impl RecurrencePrice {
    /// As the engine runs them on the device.
    pub fn new(model: &Model, device: &DeviceProfile, engine: &EngineProfile) -> Self {
        let stream = device.dram_read() * engine.attention_stream.value;
        let (mut state, mut ops) = (0.0, 0.0);
        for op in model.ops() {
            if let OpKind::Recurrence(r) = &op.kind {
                let layers = f64::from(op.layers);
                state += layers * 2.0 * r.state.as_f64() / stream;
                ops += layers * r.ops_per_token as f64;
            }
        }
        let efficiency = engine.recurrence_compute.as_ref();
        Self {
            state,
            ops,
            efficiency: efficiency.unwrap_or(&engine.attention_compute).value,
        }
    }

    /// Seconds of the decoding sequences' states: read once, and written after every draft, to go back to (`MambaSpec` of vLLM 0.12.0,
    /// `num_speculative_blocks`).
    pub fn decode(&self, shape: &StepShape) -> f64 {
        self.state * (f64::from(shape.decode_seqs) + 0.5 * f64::from(shape.verified))
    }

    /// Seconds of arithmetic on prompts at a `rate` of operations per second.
    pub fn prefill_compute(&self, shape: &StepShape, rate: f64) -> f64 {
        self.ops * f64::from(shape.prefill_tokens) / (rate * self.efficiency)
    }

    /// Seconds of the prompts' states, in so many passes.
    pub fn prefill_states(&self, shape: &StepShape, passes: f64) -> f64 {
        self.state * f64::from(shape.prefill_seqs) * passes
    }
}

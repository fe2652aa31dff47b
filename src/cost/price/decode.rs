//! Decode attention by the time of its own kernel: a latency that short contexts pay too, and the memory's rate beyond what was
//! measured.
use crate::cost::StepShape;
use crate::device::{DeviceProfile, EngineProfile, Times};
use crate::model::{Model, OpKind};

/// All layers with attention.
#[derive(Clone, Debug)]
pub struct DecodeTimes {
    times: Times,
    /// Seconds per byte beyond the last measured size.
    beyond: f64,
    efficiency: f64,
    /// Layers, bytes per cached token, whether they have a window.
    layers: Vec<(f64, f64, bool)>,
}

impl DecodeTimes {
    /// `None` where the device has no such curve.
    pub fn new(model: &Model, device: &DeviceProfile, engine: &EngineProfile) -> Option<Self> {
        Some(Self {
            times: device.curves.attention_decode.clone()?,
            beyond: 1.0 / device.dram_read(),
            efficiency: engine.attention_stream.value,
            layers: model
                .ops()
                .iter()
                .filter_map(|op| match &op.kind {
                    OpKind::Attention(a) => Some((
                        f64::from(op.layers),
                        a.kv_bytes_per_token(),
                        a.window.is_some(),
                    )),
                    _ => None,
                })
                .collect(),
        })
    }

    /// Seconds of the decoding sequences of a step.
    pub fn seconds(&self, shape: &StepShape) -> f64 {
        if shape.decode_seqs == 0 {
            return 0.0;
        }
        let least = self.times.least();
        self.layers
            .iter()
            .map(|&(layers, bytes, windowed)| {
                let tokens = if windowed {
                    shape.decode_context_windowed
                } else {
                    shape.decode_context
                };
                let more = self.times.at(tokens as f64 * bytes, self.beyond) - least;
                layers * (least + more / self.efficiency)
            })
            .sum()
    }
}

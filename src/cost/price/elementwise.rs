//! Passes over rows, priced by their bytes, or by the time of their own kernel where it was measured.
use crate::device::{Curve, DeviceProfile, EngineProfile, Times};
use crate::model::{Model, Op, Pass};

/// How fast passes run.
#[derive(Clone, Debug)]
pub struct Passes {
    /// Bytes per second by bytes of a pass.
    curve: Curve,
    /// The engine's efficiency.
    efficiency: f64,
    /// Operators with a curve of their own: name, times, and size per row; `None`: its bytes.
    own: Vec<(&'static str, Times, Option<f64>)>,
}

impl Passes {
    /// As the engine runs them on the device.
    pub fn new(model: &Model, device: &DeviceProfile, engine: &EngineProfile) -> Self {
        let c = &device.curves;
        let vocabulary = f64::from(model.config().vocab_size);
        let own = [
            ("moe_route", &c.router, Some(1.0)),
            ("kv_write", &c.kv_write, None),
            ("sampling", &c.sampling, Some(vocabulary)),
        ];
        Self {
            curve: device.elementwise.clone(),
            efficiency: engine.elementwise.value,
            own: own
                .into_iter()
                .filter_map(|(name, times, size)| Some((name, times.clone()?, size)))
                .collect(),
        }
    }

    /// Seconds of a pass that reads and writes so many bytes.
    pub fn seconds(&self, bytes: f64) -> f64 {
        bytes / (self.curve.at(bytes.max(1.0)).y * self.efficiency)
    }

    /// Seconds of an operator over `rows` rows.
    pub fn of(&self, op: &Op, pass: &Pass, rows: f64) -> f64 {
        let bytes = rows * pass.bytes_per_token;
        match self.own.iter().find(|(name, ..)| *name == op.name) {
            Some((_, times, size)) => {
                let size = size.map_or(bytes, |s| s * rows);
                times.at(size, times.tail()) / self.efficiency
            }
            None => self.seconds(bytes),
        }
    }
}

//! Passes over rows, priced by their bytes alone.
use crate::device::{Curve, DeviceProfile, EngineProfile};

/// How fast passes run.
#[derive(Clone, Debug)]
pub struct Passes {
    /// Bytes per second by bytes of a pass.
    curve: Curve,
    /// The engine's efficiency.
    efficiency: f64,
}

impl Passes {
    /// As the engine runs them on the device.
    pub fn new(device: &DeviceProfile, engine: &EngineProfile) -> Self {
        Self {
            curve: device.elementwise.clone(),
            efficiency: engine.elementwise.value,
        }
    }

    /// Seconds of a pass that reads and writes so many bytes.
    pub fn seconds(&self, bytes: f64) -> f64 {
        bytes / (self.curve.at(bytes.max(1.0)).y * self.efficiency)
    }
}

//! Rates at which kernels stream weights: their own curve where it was measured, else the device's memory rate.
use crate::device::{Curve, DeviceProfile};

/// Bytes per second by bytes.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Of such kernels.
    curve: Option<Curve>,
    /// Without a curve.
    flat: f64,
    /// The engine's efficiency.
    efficiency: f64,
}

impl Stream {
    /// Of dense products.
    pub fn matrix(device: &DeviceProfile, efficiency: f64) -> Self {
        Self {
            curve: device.curves.matrix_stream.clone(),
            flat: device.dram_read(),
            efficiency,
        }
    }

    /// Of grouped experts.
    pub fn experts(device: &DeviceProfile) -> Self {
        Self {
            curve: device.curves.experts_stream.clone(),
            flat: device.dram_read(),
            efficiency: 1.0,
        }
    }

    /// Seconds to stream so many bytes.
    pub fn seconds(&self, bytes: f64) -> f64 {
        let rate = self
            .curve
            .as_ref()
            .map_or(self.flat, |c| c.at(bytes.max(1.0)).y);
        bytes / (rate * self.efficiency)
    }
}

//! What matrix kernels have in common, dense and grouped.
use super::stream::Stream;
use super::tables::start_of;
use crate::device::{Curve, DeviceProfile, EngineProfile, tile_of};
use crate::model::Gemm;

/// Time of an operator that streams and computes (see [`EngineProfile::roofline_power`]).
pub fn roofline(power: Option<f64>, stream: f64, compute: f64) -> f64 {
    match power {
        None => stream.max(compute),
        Some(1.0) => stream + compute,
        Some(p) => {
            let (low, high) = (stream.min(compute), stream.max(compute));
            high * libm::pow(1.0 + libm::pow(low / high, p), 1.0 / p)
        }
    }
}

/// An engine's dense products on a device.
#[derive(Clone, Debug)]
pub struct Dense {
    /// Matrix rate in operations per second, by rows.
    curve: Curve,
    /// Weights and activations.
    stream: Stream,
    /// See [`EngineProfile::dense_compute`].
    compute: f64,
    matvec_rows: u32,
    tiles: Vec<u32>,
    roofline_power: Option<f64>,
    /// Seconds of a kernel beyond its bytes, where the device's tables tell them.
    start: f64,
}

impl Dense {
    /// As the engine runs them there.
    pub fn new(device: &DeviceProfile, engine: &EngineProfile) -> Self {
        Self {
            curve: device.gemm_f16.clone(),
            stream: Stream::matrix(device, engine.dense_stream.value),
            compute: engine.dense_compute.value * device.curves.library(),
            matvec_rows: engine.matvec_rows,
            tiles: engine.dense_tiles.clone(),
            roofline_power: engine.roofline_power,
            start: start_of(device).map_or(0.0, |s| s.seconds),
        }
    }

    /// Seconds of a product over `rows` rows.
    pub fn seconds(&self, g: &Gemm, rows: u32) -> f64 {
        let n = f64::from(rows);
        let bytes = g.weight_bytes() + n * g.activation_bytes_per_row();
        let streaming = self.start + self.stream.seconds(bytes);
        if rows <= self.matvec_rows {
            return streaming;
        }
        let (computed, rate) = match tile_of(&self.tiles, rows) {
            // Whole tiles, at the kernel's own rate.
            Some(tile) => (f64::from(rows.div_ceil(tile) * tile), self.curve.peak()),
            None => (n, self.curve.at(n).y),
        };
        let arithmetic = computed * g.ops_per_row() / (rate * self.compute);
        roofline(self.roofline_power, streaming, arithmetic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::builtin;
    use crate::model::{self, Model, OpKind, Precision};

    #[test]
    fn an_engines_own_kernel_takes_as_long_for_one_row_of_a_tile_as_for_all() {
        let mut engine = builtin::engine("llamacpp-vulkan").expect("built in");
        // So much slower that arithmetic decides everywhere.
        engine.dense_compute.value = 1e-3;
        engine.matvec_rows = 8;
        let device = builtin::device("gfx1151").expect("built in");
        let config = model::builtin::find("qwen3-8b").expect("built in").config();
        let model = Model::new(&config, Precision::of(&config));
        let gemm = model
            .ops()
            .iter()
            .find_map(|op| match op.kind {
                OpKind::Gemm(g) => Some(g),
                _ => None,
            })
            .expect("has one");
        let dense = Dense::new(&device, &engine);
        let at = |n| dense.seconds(&gemm, n);
        assert_eq!(engine.dense_tiles, [32, 64, 128]);
        assert_eq!(at(9), at(32));
        assert!((at(33) / at(32) - 2.0).abs() < 1e-9);
        assert_eq!(at(65), at(128));
        assert!((at(512) / at(128) - 4.0).abs() < 1e-9);
        // Up to eight rows the weights are streamed once, whatever the arithmetic.
        assert!(at(8) < 0.1 * at(9));
        let mut last = 0.0;
        for n in 1..600 {
            assert!(at(n) >= last, "{n} rows are faster than {}", n - 1);
            last = at(n);
        }
    }
}

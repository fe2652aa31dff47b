//! What matrix kernels have in common, dense and grouped.
use crate::device::{Curve, EngineProfile, tile_of};
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

/// Seconds of a dense product over `rows` rows. `stream` is the device's streaming read in bytes per second, `curve` its matrix
/// rate by rows.
pub fn dense(engine: &EngineProfile, stream: f64, curve: &Curve, g: &Gemm, rows: u32) -> f64 {
    let n = f64::from(rows);
    let bytes = g.weight_bytes() + n * g.activation_bytes_per_row();
    let streaming = bytes / (stream * engine.dense_stream.value);
    if rows <= engine.matvec_rows {
        return streaming;
    }
    let (computed, rate) = match tile_of(&engine.dense_tiles, rows) {
        // Whole tiles, at the kernel's own rate.
        Some(tile) => (f64::from(rows.div_ceil(tile) * tile), curve.peak()),
        None => (n, curve.at(n).y),
    };
    let arithmetic = computed * g.ops_per_row() / (rate * engine.dense_compute.value);
    roofline(engine.roofline_power, streaming, arithmetic)
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
        let at = |n| dense(&engine, device.dram_read(), &device.gemm_f16, &gemm, n);
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

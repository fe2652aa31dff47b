//! Which matrix units a device offers, and the kernels that use them.
use super::harness::*;
use crate::calibrate::backend::Kernel;
use crate::calibrate::family::{Scope, Variant};

/// Variants of the prefill product that use matrix units, most promising first.
pub(super) fn variants(scope: &Scope, format: Format) -> Vec<Variant> {
    let has = |f: &str| scope.device.features.iter().any(|g| g == f);
    // (feature, kernel, work-items, tile rows, tile columns)
    let mut found = vec![];
    if has("bf16-wmma") {
        found.push(("bf16-wmma", "gemm_wmma", 128, 64, 64));
    }
    if has("ptx-mma") {
        found.push(("ptx-mma", "gemm_ptx", 128, 64, 64));
    }
    if has("coop-matrix-f16") && format == Format::F16 {
        found.push(("coop-matrix-f16", "gemm_coop", 0, 32, 32));
    }
    found
        .into_iter()
        .map(|(feature, name, items, m, n)| {
            let plain = kernel(
                name,
                &[("FORMAT", format as u32)],
                [items.max(32), 1],
                "rrw",
                3,
            );
            Variant {
                id: format!(
                    "{}-{}-{m}x{n}",
                    format.label(),
                    name.trim_start_matches("gemm_")
                ),
                kernels: vec![Kernel {
                    needs: vec![feature],
                    ..plain
                }],
                options: vec![("format", format as u32), ("tile_m", m), ("tile_n", n)],
            }
        })
        .collect()
}

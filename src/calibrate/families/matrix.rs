//! Which matrix units a device offers, and the kernels that use them.
use super::harness::*;
use crate::calibrate::backend::Kernel;
use crate::calibrate::family::{Scope, Variant};

/// One way to matrix units.
struct Unit {
    /// Feature of the device.
    feature: &'static str,
    kernel: &'static str,
    /// Work-items of a work-group.
    group: u32,
    /// Products of 16 × 16 per side and wave, the define `EACH`.
    each: u32,
    /// Rows and columns of a work-group's tile.
    tile: u32,
}

/// Variants of the prefill product that use matrix units, most promising first.
pub(super) fn variants(scope: &Scope, format: Format) -> Vec<Variant> {
    let mut units = vec![];
    let wmma = match format {
        Format::F16 => "f16-wmma",
        _ => "bf16-wmma",
    };
    for each in [4, 2] {
        for (feature, kernel) in [(wmma, "gemm_wmma"), ("ptx-mma", "gemm_ptx")] {
            units.push(Unit {
                feature,
                kernel,
                group: 128,
                each,
                tile: 32 * each,
            });
        }
    }
    if format == Format::F16 {
        // A work-group should be one subgroup, and how large that is, is the driver's choice: the check decides.
        units.extend([32, 64].map(|group| Unit {
            feature: "coop-matrix-f16",
            kernel: "gemm_coop",
            group,
            each: 2,
            tile: 32,
        }));
    }
    units.retain(|u| scope.device.features.iter().any(|f| f == u.feature));
    units
        .into_iter()
        .map(|u| {
            let defines = [("FORMAT", format as u32), ("EACH", u.each)];
            let plain = kernel(u.kernel, &defines, [u.group, 1], "rrw", 3);
            let name = u.kernel.trim_start_matches("gemm_");
            Variant {
                id: format!("{}-{name}-{}x{}", format.label(), u.tile, u.group),
                kernels: vec![Kernel {
                    needs: vec![u.feature],
                    ..plain
                }],
                options: vec![
                    ("format", format as u32),
                    ("tile_m", u.tile),
                    ("tile_n", u.tile),
                ],
            }
        })
        .collect()
}

//! Which matrix units a device offers, and the kernels that use them.
use super::harness::*;
use crate::backend::Kernel;
use crate::family::{Scope, Variant};

/// One way to matrix units.
struct Unit {
    /// Feature of the device.
    feature: &'static str,
    kernel: &'static str,
    /// Work-items of a work-group.
    group: u32,
    /// What the kernel is told of its tile.
    defines: Vec<(&'static str, u32)>,
    /// Rows and columns of a work-group's tile.
    tile: (u32, u32),
}

/// A tile of `gemm_ptx`: rows, columns, depth of a slice, slices under way, warps one above the other. The slices fill the 48 KiB
/// of local memory that every NVIDIA device gives.
type PtxTile = (u32, u32, u32, u32, u32);

/// Tiles for so many rows, most promising first: small ones where large ones would leave most of the device idle.
fn ptx_tiles(rows: usize) -> &'static [PtxTile] {
    const SKINNY: PtxTile = (16, 64, 64, 2, 1);
    const LOW: PtxTile = (32, 64, 64, 2, 1);
    const SQUARE: PtxTile = (64, 64, 64, 1, 2);
    const WIDE: PtxTile = (64, 128, 32, 2, 1);
    const LARGE: PtxTile = (128, 128, 32, 1, 2);
    match rows {
        0..=16 => &[SKINNY],
        17..=32 => &[LOW, SKINNY],
        33..=64 => &[SQUARE, LOW],
        65..=128 => &[SQUARE, WIDE],
        129..=512 => &[LARGE, WIDE, SQUARE],
        _ => &[LARGE, WIDE],
    }
}

/// Variants of the prefill product that use matrix units, most promising first, for so many rows.
pub(super) fn variants(scope: &Scope, format: Format, rows: usize) -> Vec<Variant> {
    let wmma = match format {
        Format::F16 => "f16-wmma",
        _ => "bf16-wmma",
    };
    let mut units: Vec<Unit> = [4, 2]
        .map(|each| Unit {
            feature: wmma,
            kernel: "gemm_wmma",
            group: 128,
            defines: vec![("EACH", each)],
            tile: (32 * each, 32 * each),
        })
        .into();
    units.extend(
        ptx_tiles(rows)
            .iter()
            .map(|&(tm, tn, bk, under_way, warps_m)| Unit {
                feature: "ptx-mma",
                kernel: "gemm_ptx",
                group: 128,
                defines: vec![
                    ("TM", tm),
                    ("TN", tn),
                    ("BK", bk),
                    ("UNDER_WAY", under_way),
                    ("WARPS_M", warps_m),
                ],
                tile: (tm, tn),
            }),
    );
    if format == Format::F16 {
        // A work-group should be one subgroup, and how large that is, is the driver's choice: the check decides.
        units.extend([32, 64].map(|group| Unit {
            feature: "coop-matrix-f16",
            kernel: "gemm_coop",
            group,
            defines: vec![("EACH", 2)],
            tile: (32, 32),
        }));
    }
    units.retain(|u| scope.device.features.iter().any(|f| f == u.feature));
    units
        .into_iter()
        .map(|u| {
            let mut defines = vec![("FORMAT", format as u32)];
            defines.extend(u.defines);
            let plain = kernel(u.kernel, &defines, [u.group, 1], "rrw", 3);
            let name = u.kernel.trim_start_matches("gemm_");
            let (tile_m, tile_n) = u.tile;
            Variant {
                id: match u.kernel {
                    "gemm_ptx" => format!("{}-{name}-{tile_m}x{tile_n}", format.label()),
                    _ => format!("{}-{name}-{tile_m}x{}", format.label(), u.group),
                },
                kernels: vec![Kernel {
                    needs: vec![u.feature],
                    ..plain
                }],
                options: vec![
                    ("format", format as u32),
                    ("tile_m", tile_m),
                    ("tile_n", tile_n),
                ],
            }
        })
        .collect()
}

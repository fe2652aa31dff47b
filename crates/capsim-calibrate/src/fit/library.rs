//! What capsim's kernels cannot show of a device, from what others published about it.
use super::super::samples::SamplesFile;
use super::kernels::{has_matrix_units, is_library};
use super::source::Source;
use super::{Kind, launch, of};
use capsim::device::{Origin, Provenance, Quantity, cuda_graph_launch};

/// Names of NVIDIA's Hopper devices, in lower case.
const HOPPER: &[&str] = &["h100", "h200", "h800", "h20", "gh200"];

fn is_nvidia(file: &SamplesFile) -> bool {
    file.device.vendor.to_lowercase().contains("nvidia") && !file.device.software
}

fn published(value: f64, rel_sd: f64, source: &str, note: &str) -> Quantity {
    Quantity {
        value,
        rel_sd,
        provenance: Provenance {
            origin: Origin::Published,
            source: source.into(),
            note: note.into(),
        },
    }
}

/// The launch of a kernel in a replayed graph: measured where PyTorch replays one; no other API that capsim measures through does.
pub(super) fn launch_graph(source: &Source) -> Option<Quantity> {
    match launch::slope(&of(source.file, Kind::GraphChain)) {
        Some((value, rel_sd)) => Some(Quantity {
            value,
            rel_sd,
            provenance: source
                .measured("slope of operators that do next to nothing in a replayed graph"),
        }),
        None => is_nvidia(source.file).then(cuda_graph_launch),
    }
}

/// Hopper's own matrix instruction (wgmma) needs a compiler that OpenCL does not bring; the kernels use the previous one (mma.sync).
pub(super) fn matrix_library(file: &SamplesFile) -> Option<Quantity> {
    let name = file.device.name.to_lowercase();
    let measured =
        |p: &super::PointRecord| p.seconds().is_some() && has_matrix_units(p) && !is_library(p);
    (is_nvidia(file)
        && HOPPER.iter().any(|h| name.contains(h))
        && file.points.iter().any(measured))
    .then(|| {
        published(
            1.6,
            0.15,
            "PyTorch 2.11 beside these kernels on an H200: × 1.44 at 128 rows, × 1.80 at 4096 (docs/calibration.md); \
             FlashAttention-3 over FlashAttention-2 on an H100: × 1.5 to 2.0 (arXiv 2407.08608)",
            "mma.sync against wgmma",
        )
    })
}

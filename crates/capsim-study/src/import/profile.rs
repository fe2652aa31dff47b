//! A device profile around kernel times: curves for whatever shapes they lack, read off the same measurements.
use super::gpus::Gpu;
use capsim::device::{
    Curve, DeviceProfile, KernelTimes, Link, Memory, Origin, Point, Provenance, Quantity, RowShape,
    RowTimes,
};
use capsim::model::WeightFormat;

/// Where measurements come from, for people who want to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Repository or package, with its version.
    pub name: String,
    /// Its licence.
    pub licence: String,
}

impl Source {
    /// As one phrase.
    pub fn words(&self) -> String {
        format!("{} ({})", self.name, self.licence)
    }
}

/// Adds kernel times to those of the same engine and format; shapes that are there already stay.
pub fn add_kernels(all: &mut Vec<KernelTimes>, more: KernelTimes) {
    let Some(k) = all
        .iter_mut()
        .find(|k| k.engine == more.engine && k.format == more.format)
    else {
        all.push(more);
        return;
    };
    for r in more.rows {
        if !k
            .rows
            .iter()
            .any(|o| o.shape == r.shape && o.covers == r.covers)
        {
            k.rows.push(r);
        }
    }
    for a in more.attention {
        let key = |x: &capsim::device::AttentionTimes| {
            (x.q_heads, x.kv_heads, x.head_dim, x.kv_element_bytes)
        };
        if !k.attention.iter().any(|o| key(o) == key(&a)) {
            k.attention.push(a);
        }
    }
    for e in more.experts {
        let key =
            |x: &capsim::device::ExpertTimes| (x.num_experts, x.top_k, x.hidden, x.intermediate);
        if !k.experts.iter().any(|o| key(o) == key(&e)) {
            k.experts.push(e);
        }
    }
}

fn curve(points: Vec<(f64, f64)>, source: &str, note: &str) -> Curve {
    Curve {
        points: points
            .into_iter()
            .map(|(x, y)| Point {
                x,
                y: super::fit::round(y),
                rel_sd: 0.05,
            })
            .collect(),
        provenance: Provenance {
            origin: Origin::Fitted,
            source: source.into(),
            note: note.into(),
        },
    }
}

/// Rows at which the rates of matrix products are read off.
const ROWS: [u32; 5] = [256, 512, 1024, 1536, 2048];

/// A matrix product that was measured: outputs, inputs, times.
type Matrix<'a> = (f64, f64, &'a RowTimes);

/// The matrices of the first format.
fn matrices(kernels: &[KernelTimes]) -> Vec<Matrix<'_>> {
    kernels
        .iter()
        .take(1)
        .flat_map(|k| &k.rows)
        .filter_map(|r| match r.shape {
            RowShape::Matrix {
                out_features,
                in_features,
            } => Some((out_features as f64, in_features as f64, r)),
            RowShape::Pass { .. } => None,
        })
        .collect()
}

/// Bytes per second of the best matrix at one row; 0: none was measured.
fn stream_of(gpu: &Gpu, matrices: &[Matrix<'_>], format: WeightFormat) -> f64 {
    let bytes = |n: f64, k: f64| format.matrix_bytes(n as u64, k as u64).as_f64();
    // What fits a cache streams from there when a measurement is repeated: large matrices count, where there are any.
    let large = matrices.iter().any(|(n, k, _)| bytes(*n, *k) > 150e6);
    matrices
        .iter()
        .filter(|(n, k, _)| !large || bytes(*n, *k) > 150e6)
        .map(|(n, k, r)| bytes(*n, *k) / r.at(1).value)
        .map(|v| v.min(gpu.bandwidth))
        .fold(0.0, f64::max)
}

/// Operations per second of the best matrix at each number of rows; where those are not measured, at the most rows that are.
fn rates_of(matrices: &[Matrix<'_>]) -> Option<Vec<(f64, f64)>> {
    let best = |rows: u32| {
        matrices
            .iter()
            .filter(|(_, _, r)| !r.at(rows).extrapolated)
            .map(|(n, k, r)| 2.0 * n * k * f64::from(rows) / r.at(rows).value)
            .fold(0.0, f64::max)
    };
    let mut gemm: Vec<(f64, f64)> = ROWS
        .iter()
        .filter_map(|&rows| {
            let best = best(rows);
            (best > 0.0).then_some((f64::from(rows), best))
        })
        .collect();
    if gemm.is_empty() {
        let most = |r: &RowTimes| r.pieces[r.pieces.len() - 1].to;
        let rows = matrices.iter().map(|m| most(m.2)).max()?;
        let best = best(rows);
        gemm.push((f64::from(rows), best));
    }
    Some(gemm)
}

/// Operations per second of the best head count at each length of a chunk.
fn prefill_of(kernels: &[KernelTimes]) -> Vec<(f64, f64)> {
    [256.0, 512.0, 1024.0, 2048.0]
        .iter()
        .filter_map(|&c| {
            let best = kernels
                .iter()
                .flat_map(|k| &k.attention)
                .map(|a| {
                    let pairs = c * (c + 1.0) / 2.0;
                    4.0 * f64::from(a.q_heads) * f64::from(a.head_dim) * pairs
                        / a.at(0.0, 0.0, c, 0.0).value
                })
                .fold(0.0, f64::max);
            (best > 0.0).then_some((c, best))
        })
        .collect()
}

/// Bytes per second of norms at each size.
fn passes_of(gpu: &Gpu, kernels: &[KernelTimes]) -> Vec<(f64, f64)> {
    [16u32, 256, 2048]
        .iter()
        .filter_map(|&rows| {
            let r = kernels.iter().flat_map(|k| &k.rows).find(|r| {
                matches!(r.shape, RowShape::Pass { .. }) && r.covers.iter().any(|c| c == "norm")
            })?;
            let RowShape::Pass { bytes_per_row } = r.shape else {
                return None;
            };
            let bytes = bytes_per_row as f64 * f64::from(rows);
            Some((bytes, (bytes / r.at(rows).value).min(4.0 * gpu.bandwidth)))
        })
        .collect()
}

/// A device profile from kernel times; curves come from the first format's.
///
/// The curves stand in for shapes that the tables lack: streaming is the best of all matrices at one row, arithmetic the
/// best of all at many rows, attention that of the longest chunks; nothing is faster than the data sheet allows.
pub fn device_of(gpu: &Gpu, kernels: Vec<KernelTimes>, source: &Source) -> Option<DeviceProfile> {
    let words = source.words();
    let format = kernels
        .first()
        .and_then(|k| k.format.parse::<WeightFormat>().ok())
        .unwrap_or(WeightFormat::Bf16);
    let matrices = matrices(&kernels);
    let stream = stream_of(gpu, &matrices, format);
    if stream == 0.0 {
        return None;
    }
    let gemm = rates_of(&matrices)?;
    let prefill = prefill_of(&kernels);
    let passes = passes_of(gpu, &kernels);
    let mut d = bare(gpu, source);
    d.stream_read = curve(
        vec![(1e9, stream)],
        &words,
        "the best matrix at one row; for shapes without times of their own",
    );
    d.gemm_f16 = curve(
        gemm,
        &words,
        "the best matrix at so many rows; for shapes without times of their own",
    );
    d.attention_prefill = if prefill.is_empty() {
        let peak = d.gemm_f16.peak();
        let mut c = curve(
            vec![(512.0, 0.5 * peak)],
            &words,
            "half of the matrix rate: no attention was measured",
        );
        c.provenance.origin = Origin::Assumed;
        c
    } else {
        curve(
            prefill,
            &words,
            "the best head count at a chunk of that length; for shapes without times of their own",
        )
    };
    d.elementwise = if passes.is_empty() {
        let mut c = curve(vec![(1e6, 0.8 * stream)], &words, "no pass was measured");
        c.provenance.origin = Origin::Assumed;
        c
    } else {
        curve(
            passes,
            &words,
            "residual and RMSNorm; small passes are all launch",
        )
    };
    d.kernels = kernels;
    Some(d)
}

/// A profile of the GPU's name, memory and link, with curves still to be filled in.
pub(super) fn bare(gpu: &Gpu, source: &Source) -> DeviceProfile {
    let words = source.words();
    let empty = || curve(vec![(1.0, 1.0)], &words, "");
    let quantity = |value, rel_sd, origin, source: &str, note: &str| Quantity {
        value,
        rel_sd,
        provenance: Provenance {
            origin,
            source: source.into(),
            note: note.into(),
        },
    };
    DeviceProfile {
        schema: DeviceProfile::SCHEMA.into(),
        id: gpu.id.into(),
        name: gpu.name.into(),
        aliases: gpu.aliases.iter().map(|s| s.to_string()).collect(),
        memory: Memory {
            total_bytes: quantity(
                gpu.memory,
                0.002,
                Origin::Published,
                gpu.memory_source,
                "",
            ),
            unified: false,
        },
        stream_read: empty(),
        gemm_f16: empty(),
        attention_prefill: empty(),
        elementwise: empty(),
        launch: quantity(
            0.7e-6,
            0.5,
            Origin::Assumed,
            "gap between dependent kernels of a replayed CUDA graph",
            "the tables hold kernels alone; gaps of 0.5 to 1.3 µs are usual, fused kernels have fewer",
        ),
        int8_ratio: None,
        processor: None,
        curves: Default::default(),
        measured: Default::default(),
        switches: vec![],
        kernels: vec![],
        host: None,
        power: None,
        link: Some(Link {
            latency: quantity(
                gpu.latency,
                gpu.link_sd,
                Origin::Published,
                gpu.link_source,
                "small all-reduce of two devices, launch included",
            ),
            rate: quantity(
                gpu.rate,
                gpu.link_sd,
                Origin::Published,
                gpu.link_source,
                "",
            ),
            groups: vec![],
        }),
        provenance: Provenance {
            origin: Origin::Fitted,
            source: words.clone(),
            note: "curves and kernel times fitted to published measurements; memory and link published".into(),
        },
    }
}

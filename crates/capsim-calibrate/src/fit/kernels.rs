//! Curves of kernels of the same kind as an engine's: few-row products, grouped experts, decode attention, small kernels.
//!
//! A point speaks for memory only where memory limited it. capsim's kernels for few rows do without matrix units (the variants of
//! [`has_matrix_units`] use them); an engine's do not, so that a time which such a kernel's own arithmetic set is no limit of the
//! device. By the roofline, arithmetic limits a kernel if it takes longer, at the best rate that this kernel reaches anywhere, than
//! the bytes take at the memory's rate. If both are far below the time, the kernel waits, and an engine's kernel waits, too. Where matrix
//! units were used, arithmetic at the device's matrix rate decides. What is limited by arithmetic stays among the raw points and is left
//! out of the curve.
use super::super::samples::PointRecord;
use super::source::Source;
use super::{Kind, Launches, Sample, curve, of, sample};
use capsim::device::{Curve, KernelCurves, TimePoint, Times};

/// Rows up to which a product without matrix units is one of few: beyond, its arithmetic may take longer than its bytes.
pub(super) const FEW_ROWS: f64 = 2.0;
/// Codes of weight formats up to this one are floats (`families/harness.rs: Format`).
const LAST_FLOAT: f64 = 2.0;
/// A kernel that takes this many times as long as its arithmetic waits for something else.
const WAITS: f64 = 2.0;

/// Whether a point was measured with matrix units.
pub(super) fn has_matrix_units(p: &PointRecord) -> bool {
    let variant = p.variant.as_deref().unwrap_or("");
    ["ptx", "wmma", "coop", LIBRARY]
        .iter()
        .any(|u| variant.contains(u))
}

/// In the names of variants that are operators of PyTorch or of an engine: vendors' libraries use what the device has, and one call is the
/// whole of an attention or of a layer's experts.
const LIBRARY: &str = "library";

/// Whether a point was measured with a library's operators.
pub(super) fn is_library(p: &PointRecord) -> bool {
    p.variant.as_deref().is_some_and(|v| v.contains(LIBRARY))
}

/// Which product a point is of, whatever its rows: shape, format, and what computes it.
pub(super) fn product(p: &PointRecord) -> String {
    let axis = |name| p.axis(name).unwrap_or(0.0);
    let (units, library) = (has_matrix_units(p), is_library(p));
    format!(
        "{} {} {} {units} {library}",
        axis("n"),
        axis("k"),
        axis("format")
    )
}

/// Launches of one decode attention (partial results, and their sum), or of one layer's experts (gate and up, and down).
fn launches_each(p: &PointRecord) -> f64 {
    if is_library(p) { 1.0 } else { 2.0 }
}

/// Rows of a grouped kernel's tile: the number behind `m` in its variant's name.
fn tile_rows(p: &PointRecord) -> f64 {
    let variant = p.variant.as_deref().unwrap_or("");
    let parsed = variant
        .split('-')
        .filter_map(|part| part.strip_prefix('m'))
        .find_map(|n| n.parse().ok());
    parsed.unwrap_or(1.0)
}

/// The smallest time at each size, and no time shorter than that of a smaller size.
fn settled(samples: Vec<Sample>) -> Vec<Sample> {
    let mut all = curve::merged(samples);
    curve::never_faster(&mut all);
    all
}

fn rates(samples: &[Sample], source: &Source, note: &str) -> Option<Curve> {
    (!samples.is_empty()).then(|| Curve {
        points: curve::points(samples),
        provenance: source.measured(note),
    })
}

fn times(samples: &[Sample], source: &Source, note: &str) -> Option<Times> {
    (!samples.is_empty()).then(|| Times {
        points: samples
            .iter()
            .map(|s| TimePoint {
                x: s.x,
                seconds: s.seconds,
                rel_sd: s.rel_sd(),
            })
            .collect(),
        provenance: source.measured(note),
    })
}

/// What the curves of a file need to know of it.
pub(super) struct Kernels<'a> {
    pub source: &'a Source<'a>,
    pub t0: Launches,
    /// Seconds per byte from memory.
    pub per_byte: f64,
    /// Operations per second of matrix products with many rows.
    pub matrix_rate: f64,
    pub notes: Vec<String>,
}

impl Kernels<'_> {
    fn of(&self, kind: Kind) -> Vec<&PointRecord> {
        of(self.source.file, kind)
    }

    /// All of them.
    pub fn curves(&mut self) -> KernelCurves {
        KernelCurves {
            matrix_stream: self.matrix_stream(),
            experts_stream: self.experts_stream(),
            experts_rate: self.experts_rate(),
            attention_decode: self.attention_decode(),
            router: self.small(Kind::Router, |p| p.axis("tokens"), "softmax and top k"),
            kv_write: self.small(
                Kind::KvWrite,
                |p| Some(p.work.bytes / f64::from(p.launches)),
                "keys and values by slot mapping",
            ),
            sampling: self.small(
                Kind::Sampling,
                |p| Some(p.axis("batch")? * p.axis("vocab")?),
                "argmax over logits",
            ),
            launch_graph: super::library::launch_graph(self.source),
            matrix_library: super::library::matrix_library(self.source.file),
        }
    }

    /// Products of the fewest rows measured, of weights of 16 bits and more: what takes integers apart is arithmetic.
    fn matrix_stream(&self) -> Option<Curve> {
        let plain = |p: &&PointRecord| p.axis("weight_bytes").is_none_or(|b| b >= 2.0);
        let all: Vec<&PointRecord> = self.of(Kind::Gemm).into_iter().filter(plain).collect();
        let fewest = all
            .iter()
            .filter_map(|p| p.axis("m"))
            .fold(f64::INFINITY, f64::min);
        let samples = all
            .iter()
            .filter(|p| p.axis("m") == Some(fewest) && fewest <= FEW_ROWS)
            .filter_map(|p| {
                let bytes = p.work.bytes / f64::from(p.launches);
                sample(p, bytes, p.work.bytes, self.t0)
            })
            .collect();
        rates(
            &settled(samples),
            self.source,
            "products of the fewest rows in 16 and 32 bits, over bytes of one product",
        )
    }

    /// Operations per second that the points' kernel reaches at best, as far as it does without matrix units.
    fn plain_rate(&self, points: &[&PointRecord]) -> f64 {
        points
            .iter()
            .filter(|p| !has_matrix_units(p))
            .filter_map(|p| Some(sample(p, 1.0, p.work.flops, self.t0)?.rate()))
            .fold(0.0, f64::max)
    }

    /// Whether arithmetic of `operations` without matrix units, and neither bytes nor waiting, takes these seconds.
    fn limited(&self, operations: f64, bytes: f64, seconds: f64, plain_rate: f64) -> bool {
        let arithmetic = operations / plain_rate;
        plain_rate > 0.0 && arithmetic > bytes * self.per_byte && seconds < WAITS * arithmetic
    }

    /// Both grouped products of a layer in floats, and whether arithmetic limits them.
    fn grouped(&self) -> Vec<(&PointRecord, bool)> {
        let plain: Vec<&PointRecord> = self
            .of(Kind::Experts)
            .into_iter()
            .filter(|p| p.axis("format").is_none_or(|f| f <= LAST_FLOAT))
            .collect();
        let best = self.plain_rate(&plain);
        let limited = |p: &PointRecord| {
            if has_matrix_units(p) {
                return Some(p.work.flops / self.matrix_rate > p.work.bytes * self.per_byte);
            }
            let seconds = sample(p, 1.0, p.work.bytes, self.t0)?.seconds;
            let slots = p.axis("tokens")? * p.axis("topk")?;
            // Each expert has at least one tile, and a tile all its rows.
            let tile = tile_rows(p);
            let computed = (slots / tile).max(p.axis("distinct")?) * tile / slots;
            Some(self.limited(p.work.flops * computed, p.work.bytes, seconds, best))
        };
        plain
            .into_iter()
            .filter_map(|p| Some((p, limited(p)?)))
            .collect()
    }

    /// Grouped products that memory limits.
    fn experts_stream(&mut self) -> Option<Curve> {
        let all = self.grouped();
        let samples: Vec<Sample> = all
            .iter()
            .filter(|(_, limited)| !limited)
            .filter_map(|(p, _)| {
                let layers = f64::from(p.launches) / launches_each(p);
                sample(p, p.work.bytes / layers, p.work.bytes, self.t0)
            })
            .collect();
        let (left, of) = (all.len() - samples.len(), all.len());
        if left > 0 {
            self.notes.push(format!(
                "{left} of {of} points of grouped experts are limited by arithmetic: they say nothing of memory"
            ));
        }
        rates(
            &settled(samples),
            self.source,
            "both grouped products of a layer in 16 bits where memory limits them, over bytes of the experts touched",
        )
    }

    /// Grouped products that arithmetic limits. On an accelerator all experts are computed at once, and what engines' kernels do with
    /// matrix units is not what capsim's do without.
    fn experts_rate(&self) -> Option<Curve> {
        self.source.processor()?;
        let all = self.grouped();
        let samples = all.iter().filter(|(_, limited)| *limited);
        let samples = samples.filter_map(|(p, _)| {
            let rows = p.axis("tokens")? * p.axis("topk")? / p.axis("distinct")?;
            sample(p, rows, p.work.flops, self.t0)
        });
        let mut merged = curve::merged(samples.collect());
        curve::rising(&mut merged);
        rates(
            &merged,
            self.source,
            "both grouped products of a layer in 16 bits where arithmetic limits them, over rows of an expert",
        )
    }

    /// Decode attention at one length: the best time at each size of the cache, where memory and waiting limit it.
    fn attention_decode(&mut self) -> Option<Times> {
        let points = self.of(Kind::AttentionDecode);
        let mut all: Vec<(Sample, f64)> = points
            .iter()
            .filter_map(|p| {
                let cached = p.axis("batch")? * p.axis("context")?;
                // Keys and values of heads of 128 in 16 bits.
                let bytes = cached * p.axis("kv_heads")? * 2.0 * 128.0 * 2.0;
                let operations = f64::from(p.launches) / launches_each(p);
                let s = sample(p, bytes, bytes * operations, self.t0)?;
                let s = Sample {
                    amount: bytes,
                    seconds: s.seconds / operations,
                    ..s
                };
                Some((s, p.work.flops / operations))
            })
            .collect();
        // The best at each size, so that a size is judged by the kernel that stands for it.
        all.sort_by(|a, b| {
            let size = a.0.x.total_cmp(&b.0.x);
            size.then(a.0.seconds.total_cmp(&b.0.seconds))
        });
        all.dedup_by(|a, b| a.0.x <= b.0.x * 1.01);
        let units = self
            .source
            .file
            .points
            .iter()
            .any(|p| p.seconds().is_some() && has_matrix_units(p));
        let (best, sizes) = (self.plain_rate(&points), all.len());
        all.retain(|(s, flops)| !units || !self.limited(*flops, s.x, s.seconds, best));
        if all.len() < sizes {
            self.notes.push(format!(
                "decode attention: {} of {sizes} sizes are limited by arithmetic without matrix units; beyond the others it is priced by the memory's rate",
                sizes - all.len()
            ));
        }
        let mut samples: Vec<Sample> = all.into_iter().map(|(s, _)| s).collect();
        curve::never_faster(&mut samples);
        times(
            &samples,
            self.source,
            "one layer's attention with one new token per sequence, 32 query heads of 128, 16 bits",
        )
    }

    fn small(
        &self,
        kind: Kind,
        size: fn(&PointRecord) -> Option<f64>,
        note: &str,
    ) -> Option<Times> {
        let samples = self
            .of(kind)
            .into_iter()
            .filter_map(|p| {
                let launches = f64::from(p.launches);
                let x = size(p)?;
                let s = sample(p, x, x * launches, self.t0)?;
                Some(Sample {
                    amount: x,
                    seconds: s.seconds / launches,
                    ..s
                })
            })
            .collect();
        times(&settled(samples), self.source, note)
    }
}

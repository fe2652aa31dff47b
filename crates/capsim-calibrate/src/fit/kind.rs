//! Which part of a device profile a measured point speaks for.
use super::super::samples::PointRecord;

/// The parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Streaming reads of a working set.
    Read,
    /// Dense matrix products over rows.
    Gemm,
    /// Causal attention without a past.
    AttentionPrefill,
    /// Elementwise kernels.
    Elementwise,
    /// A chain of dependent empty launches.
    Chain,
    /// Recorded, but no curve of its own.
    Other,
}

/// What a point speaks for, by its family's name and its axes.
pub fn of(p: &PointRecord) -> Kind {
    let is = |axis: &str, value: f64| p.axis(axis).is_none_or(|v| v == value);
    match p.family.as_str() {
        "stream_read" => Kind::Read,
        "stream" if p.id.starts_with("read") => Kind::Read,
        f if f.starts_with("gemm") && p.axis("m").is_some() => Kind::Gemm,
        "attention_prefill" if is("past", 0.0) => Kind::AttentionPrefill,
        "elementwise" => Kind::Elementwise,
        "launch" if is("chain", 1.0) && p.axis("launches").is_some() => Kind::Chain,
        _ => Kind::Other,
    }
}

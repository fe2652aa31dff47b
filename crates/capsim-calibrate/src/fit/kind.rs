//! Which part of a device profile a measured point speaks for.
use super::super::samples::PointRecord;

/// The parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Streaming reads of a working set.
    Read,
    /// Dense matrix products over rows.
    Gemm,
    /// Causal attention of a chunk.
    AttentionPrefill,
    /// Elementwise kernels.
    Elementwise,
    /// A chain of dependent empty launches.
    Chain,
    /// The same in a replayed graph.
    GraphChain,
    /// Grouped products of a mixture's experts.
    Experts,
    /// Decode attention of sequences of one length.
    AttentionDecode,
    /// The choice of experts.
    Router,
    /// Writes into the KV cache.
    KvWrite,
    /// The choice of tokens.
    Sampling,
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
        "attention_prefill" => Kind::AttentionPrefill,
        "elementwise" => Kind::Elementwise,
        "launch" if is("chain", 1.0) && p.axis("launches").is_some() => Kind::Chain,
        "launch_graph" => Kind::GraphChain,
        "moe" => Kind::Experts,
        "attention_decode" if is("mixed", 0.0) => Kind::AttentionDecode,
        "router" => Kind::Router,
        "kv_write" => Kind::KvWrite,
        "sampling" => Kind::Sampling,
        _ => Kind::Other,
    }
}

//! The shapes that are measured: those of Qwen3-30B-A3B (config.json in models/), or small ones of the same kind.
use super::harness::{native, thorough};
use crate::family::Scope;

/// A decoder layer's sizes.
#[derive(Clone, Copy)]
pub(super) struct Shapes {
    pub hidden: usize,
    /// Columns of the joint query, key and value projection.
    pub qkv: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub expert: usize,
    pub experts: usize,
    pub topk: usize,
    pub vocab: usize,
}

/// Size of a head; the kernels have it built in.
pub(super) const HEAD: usize = 128;
/// Tokens of a KV block.
pub(super) const BLOCK: usize = 16;

impl Shapes {
    pub const MODEL: Self = Self {
        hidden: 2048,
        qkv: 5120,
        heads: 32,
        kv_heads: 4,
        expert: 768,
        experts: 128,
        topk: 8,
        vocab: 151_936,
    };

    /// For software devices, on which the model's own would take minutes.
    pub const SMALL: Self = Self {
        hidden: 512,
        qkv: 1024,
        heads: 4,
        kv_heads: 2,
        expert: 256,
        experts: 16,
        topk: 4,
        vocab: 8192,
    };

    /// For the CPU device: a layer of Qwen3-0.6B (config.json in models/) with a few small experts.
    pub const NATIVE: Self = Self {
        hidden: 1024,
        qkv: 4096,
        heads: 16,
        kv_heads: 8,
        expert: 384,
        experts: 16,
        topk: 4,
        vocab: 32_768,
    };

    pub fn of(scope: &Scope) -> Self {
        match (scope.device.software, native(scope.device)) {
            (false, _) => Self::MODEL,
            (true, true) if thorough(scope) => Self::NATIVE,
            (true, _) => Self::SMALL,
        }
    }
}

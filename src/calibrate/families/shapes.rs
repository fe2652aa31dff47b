//! The shapes that are measured: those of Qwen3-30B-A3B (config.json in models/), or small ones of the same kind.
use crate::calibrate::family::Scope;

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

    pub fn of(scope: &Scope) -> Self {
        if scope.device.software {
            Self::SMALL
        } else {
            Self::MODEL
        }
    }
}

//! The native kernels. Each does what the sources of the same name in `kernels/` do, for the same buffers and numbers.
mod attention;
mod bf16;
mod gemm;
mod numbers;
mod product;
mod small;
mod stream;
mod tile;

use super::call::Function;

/// The native function of a kernel's name.
pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "add" => small::add,
        "argmax" => small::argmax,
        "attention_decode" => attention::decode,
        "attention_prefill" => attention::prefill,
        "attention_reduce" => attention::reduce,
        "combine" => small::combine,
        "empty" => stream::empty,
        "gemm_grouped" => gemm::grouped,
        "gemm_tiled" => gemm::tiled,
        "kv_write" => small::kv_write,
        "rmsnorm" => small::rmsnorm,
        "rope" => small::rope,
        "router" => small::router,
        "silu_mul" => small::silu_mul,
        "stream_copy" => stream::copy,
        "stream_gather" => stream::gather,
        "stream_read" => stream::read,
        "stream_write" => stream::write,
        _ => return None,
    })
}

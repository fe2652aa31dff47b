//! The families of microbenchmarks: what a serving step is made of.
mod attention;
mod contention;
mod copy;
mod gemm;
mod harness;
mod launch;
mod layer;
mod matrix;
mod shapes;
mod small;
mod stream;
pub(crate) mod torch;

use super::family::Family;

/// Every family that PyTorch measures.
pub fn torch() -> Vec<Box<dyn Family>> {
    torch::all()
}

/// Every family, in the order in which they are measured: what a profile needs first comes first.
pub fn all() -> Vec<Box<dyn Family>> {
    vec![
        Box::new(stream::Stream { read: true }),
        Box::new(launch::LaunchCost),
        Box::new(gemm::Prefill),
        Box::new(attention::CausalPrefill),
        Box::new(small::Elementwise),
        Box::new(gemm::Skinny),
        Box::new(gemm::Moe),
        Box::new(attention::PagedDecode),
        Box::new(small::Router),
        Box::new(small::KvWrite),
        Box::new(small::Sampling),
        Box::new(stream::Stream { read: false }),
        Box::new(layer::Layer),
        Box::new(copy::HostCopy),
        Box::new(contention::Contention),
    ]
}

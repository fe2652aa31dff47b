//! The families on a device that PyTorch drives: the points of the other backends, run by an engine's operators.
//!
//! Activations are in the format of the weights, as engines have them. What a variant's name says: `library` for operators of torch or of
//! an engine, which use whatever units the device has; `graph` where the pass is captured once and replayed.
mod attention;
mod experts;
mod memory;
mod products;
mod small;

use super::harness::*;
use crate::backend::{Kernel, Launch, Slice, Work};
use crate::family::{Family, Scope, Variant};
use crate::torch::GRAPH;

/// Relative L2 error allowed of sums in 32 bits that are rounded to bfloat16, as are the numbers between two products: its unit
/// roundoff is 2^-8 (8 significant bits).
const BF16_TOLERANCE: f64 = 1.0 / 128.0;

fn tolerance(format: Format) -> f64 {
    match format {
        Format::Bf16 => BF16_TOLERANCE,
        // 11 significant bits.
        Format::F16 => 1.0 / 1024.0,
        _ => 1e-4,
    }
}

/// Every family.
pub(crate) fn all() -> Vec<Box<dyn Family>> {
    vec![
        Box::new(memory::Stream),
        Box::new(memory::LaunchCost),
        Box::new(memory::GraphCost),
        Box::new(products::Dense(super::gemm::Prefill)),
        Box::new(attention::CausalPrefill),
        Box::new(small::Elementwise),
        Box::new(products::Dense(super::gemm::Skinny)),
        Box::new(experts::Experts),
        Box::new(attention::PagedDecode),
        Box::new(small::Router),
        Box::new(small::KvWrite),
        Box::new(small::Sampling),
        Box::new(products::Fp8),
    ]
}

fn has(scope: &Scope, feature: &str) -> bool {
    scope.device.features.iter().any(|f| f == feature)
}

/// An operator by its name in `torch/operators.py`: what it is called in variants, and the feature that it needs (empty: none).
#[derive(Clone, Copy)]
struct Operator {
    name: &'static str,
    label: &'static str,
    needs: &'static str,
}

/// The variants of these operators that the device has, each replayed as a graph first where it can be.
fn variants(
    scope: &Scope,
    operators: &[Operator],
    prefix: &str,
    defines: &[(&'static str, u32)],
    buffers: &str,
    numbers: usize,
) -> Vec<Variant> {
    let mut all = vec![];
    for o in operators {
        if !(o.needs.is_empty() || has(scope, o.needs)) {
            continue;
        }
        for graph in [true, false] {
            if graph && !has(scope, "cuda-graphs") {
                continue;
            }
            let mut defines = defines.to_vec();
            if graph {
                defines.push((GRAPH, 1));
            }
            let mut id = format!("{prefix}library-{}", o.label);
            if graph {
                id.push_str("-graph");
            }
            all.push(Variant {
                id,
                kernels: vec![Kernel {
                    needs: if o.needs.is_empty() {
                        vec![]
                    } else {
                        vec![o.needs]
                    },
                    ..kernel(o.name, &defines, [1, 1], buffers, numbers)
                }],
                options: defines,
            });
        }
    }
    all
}

/// One call. Its last number says whether the answer is wanted.
fn call(
    arena: &Arena,
    kernel: crate::backend::KernelId,
    buffers: Vec<Slice>,
    numbers: &[usize],
    work: Work,
) -> Launch {
    let mut numbers: Vec<u32> = numbers.iter().map(|n| *n as u32).collect();
    numbers.push(arena.keep.into());
    Launch {
        kernel,
        buffers,
        numbers,
        groups: [1, 1, 1],
        work,
    }
}

/// Words that so many numbers of a format take.
fn words(numbers: usize, format: Format) -> usize {
    numbers.div_ceil(format.per_word())
}

/// Bytes of a number of 16 bits or more.
fn width(format: Format) -> usize {
    4 / format.per_word()
}

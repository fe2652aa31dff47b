//! One whole decoder layer in order: whether the sum of the parts is the whole.
//!
//! The same launches are measured once as a chain and once part by part, at the same shapes and on the same memory, so that the
//! difference is what the additive cost model leaves out. Pass: the layer's launches, for as many layers as make the weights
//! cold. Bytes and FLOPs per pass: the sum of those of the launches, as the kernels' headers state them.
mod inputs;
mod outputs;
mod reference;
mod stages;

use super::attention::decode_kernels;
use super::gemm::{grouped_kernel, grouped_variants, weight_bytes};
use super::harness::*;
use super::shapes::{BLOCK, HEAD, Shapes};
use super::small::row_choices;
use crate::backend::KernelId;
use crate::family::{Effort, Point, ProbeError, Scope, Variant};
use inputs::{Inputs, Sizes, Weights, matrices};
use outputs::Outputs;
use reference::Reference;
use stages::Stages;

/// What is measured separately, in the order of the layer; number 0 is the whole.
const PARTS: [&str; 11] = [
    "chain",
    "norm",
    "qkv",
    "rope",
    "kv_write",
    "attention",
    "o",
    "add",
    "router",
    "experts",
    "combine",
];

/// Weights and cache.
const FORMAT: Format = Format::Bf16;
/// Fourteen stages in f32 lie between input and output, and a key or value within one f32 error of the middle between two bf16
/// numbers may be rounded the other way (2⁻⁸ of one of 128 elements at one of ~50 tokens: 10⁻⁵ to 10⁻⁴ of the result).
const TOLERANCE: f64 = 1e-4;

/// A decoder layer of Qwen3-30B-A3B, or a small one of its kind.
pub(super) struct Layer;

/// The kernels of a variant, in this order.
const DENSE: usize = 0;
const EXPERT: usize = 1;
const ATTENTION: usize = 2;
const REDUCE: usize = 3;
const NORM: usize = 4;
const ROPE: usize = 5;
const KV_WRITE: usize = 6;
const ROUTER: usize = 7;
const SILU: usize = 8;
const COMBINE: usize = 9;
const ADD: usize = 10;

fn at(s: &Shapes, batch: usize, context: usize, part: usize) -> Point {
    point(
        format!("b{batch}-{}", PARTS[part]),
        vec![
            ("batch", batch as f64),
            ("context", context as f64),
            ("part", part as f64),
            ("hidden", s.hidden as f64),
            ("expert", s.expert as f64),
        ],
        false,
    )
}

impl Bench for Layer {
    fn name(&self) -> &'static str {
        "layer"
    }

    fn about(&self) -> &'static str {
        "One whole decoder layer at batch 1, 2 and 4, and each of its parts alone: whether the sum of the parts is the whole"
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let s = Shapes::of(scope);
        let context = if scope.device.software { 256 } else { 1024 };
        let mut points = vec![];
        for batch in [1, 2, 4] {
            for part in 0..PARTS.len() {
                let wanted = match scope.effort {
                    Effort::Quick => false,
                    Effort::Standard => batch == 1,
                    Effort::Full => true,
                };
                if wanted {
                    points.push(at(&s, batch, context, part));
                }
            }
        }
        points
    }

    fn variants(&self, scope: &Scope, point: &Point) -> Vec<Variant> {
        let s = Shapes::of(scope);
        let batch = axis(point, "batch");
        let Some((shape, group)) = row_choices(scope).into_iter().next() else {
            return vec![];
        };
        // The products' best shape is asked for by their own families; here one of each kind is enough.
        let mut products = grouped_variants(scope, FORMAT, batch);
        products.truncate(2);
        let (on, attention, splits) = match (native(scope.device), scope.device.software) {
            (true, _) => (Shape::Items, 1, 1),
            (_, true) => (Shape::Items, 4, 2),
            _ => (
                Shape::Lanes,
                128,
                (4 * units(scope.device)).div_ceil((batch * s.kv_heads) as u32),
            ),
        };
        let splits = splits
            .clamp(1, (axis(point, "context") / BLOCK).clamp(1, 64) as u32)
            .next_power_of_two();
        let by_row = ("SHAPE", shape as u32);
        let router = if shape == Shape::Lanes {
            s.experts as u32
        } else {
            group
        };
        products
            .into_iter()
            .map(|p| {
                let rows = option(&p, "rows");
                let product = p.kernels[0].clone();
                let same = product.defines.iter().find(|(n, _)| *n == "SHAPE");
                let product_shape = match same {
                    Some((_, v)) if v == "0" => Shape::Lanes,
                    _ => Shape::Items,
                };
                let expert = grouped_kernel(FORMAT, 1, product_shape, product.group[0], rows);
                let mut kernels = vec![product, expert];
                kernels.extend(decode_kernels(on, attention, s.heads, s.kv_heads));
                let topk = ("TOPK", s.topk as u32);
                let experts = ("EXPERTS", s.experts as u32);
                let g = [group, 1];
                kernels.extend([
                    kernel("rmsnorm", &[by_row], g, "rrw", 2),
                    kernel("rope", &[("D", HEAD as u32), by_row], g, "rrw", 2),
                    kernel("kv_write", &[by_row], g, "rrw", 3),
                    kernel("router", &[by_row, experts, topk], [router, 1], "rww", 1),
                    kernel("silu_mul", &[by_row], g, "rw", 2),
                    kernel("combine", &[topk, by_row], g, "rrw", 2),
                    kernel("add", &[by_row], g, "rrw", 1),
                ]);
                Variant {
                    id: format!("{}-split{splits}", p.id),
                    kernels,
                    options: vec![
                        ("tm", option(&p, "tm")),
                        ("rows", rows),
                        ("shape", on as u32),
                        ("by_row", shape as u32),
                        ("splits", splits),
                        ("heads", s.heads as u32),
                        ("kv_heads", s.kv_heads as u32),
                        ("experts", s.experts as u32),
                        ("topk", s.topk as u32),
                    ],
                }
            })
            .collect()
    }

    fn small(&self, _: &Variant) -> Point {
        let s = Shapes {
            hidden: 256,
            expert: 128,
            ..Shapes::SMALL
        };
        at(&s, 3, 50, 0)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let sizes = Sizes::of(point, variant);
        let kernels: Vec<KernelId> = variant
            .kernels
            .iter()
            .map(|k| arena.compile(k))
            .collect::<Result<_, _>>()?;
        let inputs = Inputs::upload(arena, &sizes)?;
        let out = Outputs::alloc(arena, &sizes)?;
        let matrices = matrices(&sizes, inputs.distinct);
        let values = inputs.paged.values;
        let weights: u64 = matrices
            .iter()
            .map(|(e, n, k)| weight_bytes(FORMAT, e * n * k))
            .sum();
        let cached = (values * 8) as u64;
        let fit = (arena.scope.budget_bytes * 3 / 4 / (weights + cached)).max(1) as usize;
        let layers = arena.compute_slots(weights + cached, 2).min(fit);
        let stages = Stages {
            attention: Variant {
                kernels: variant.kernels[ATTENTION..=REDUCE].to_vec(),
                ..variant.clone()
            },
            variant,
            kernels,
            sizes,
            inputs: &inputs,
            out: &out,
            matrices,
            set: (weights + cached) as f64 * layers as f64,
        };
        let part = axis(point, "part");
        let mut built = Built::default();
        let mut first = None;
        for _ in 0..layers {
            let weights = Weights::random(arena, values, &matrices)?;
            let chain = stages.launches(&weights).into_iter();
            let wanted = chain.filter(|(p, _)| part == 0 || part == *p);
            built.pass.extend(wanted.map(|(_, l)| l));
            first.get_or_insert(weights);
        }
        if let Some(weights) = first.filter(|_| arena.keep) {
            let reference = Reference {
                sizes,
                inputs: &inputs,
                matrices,
                weights: &weights,
            };
            built.answers = reference.answers(&out);
        }
        Ok(built)
    }
}

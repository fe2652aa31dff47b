//! Dense products by `F.linear` and by the engine's own.
use super::super::gemm::weight_bytes;
use super::super::harness::*;
use super::{Operator, call, tolerance, variants, width, words};
use crate::backend::Work;
use crate::family::{Point, ProbeError, Scope, Variant};

const LINEAR: &[Operator] = &[
    Operator {
        name: "linear_amx",
        label: "amx",
        needs: "vllm-amx",
    },
    Operator {
        name: "linear_onednn",
        label: "onednn",
        needs: "vllm-onednn",
    },
    Operator {
        name: "linear",
        label: "linear",
        needs: "",
    },
];

/// The products of another family's points.
pub(super) struct Dense<B>(pub B);

fn format_of(point: &Point) -> Format {
    Format::of(axis(point, "format") as u32)
}

/// Weights once through, rows at a time: a pass over enough matrices that none stays in a cache.
fn build(arena: &mut Arena, point: &Point, variant: &Variant) -> Result<Built, ProbeError> {
    let format = Format::of(option(variant, "FORMAT"));
    let (m, n, k) = (axis(point, "m"), axis(point, "n"), axis(point, "k"));
    let kernel = arena.compile(&variant.kernels[0])?;
    let bytes = weight_bytes(format, n * k);
    // Packed copies of the weights stand beside them: half of the ring each.
    let slots = match arena.scope.device.software {
        true => arena
            .slots(2 * bytes)
            .min(if m > 1 { 8 } else { usize::MAX }),
        false => arena.slots(bytes),
    };
    let w = arena.ring(n * k, format, slots)?;
    let x = arena.random(m * k, format)?;
    let y = arena.output(words(m * n, format))?;
    let work = Work {
        bytes: bytes as f64 + (m * (k + n) * width(format)) as f64,
        flops: 2.0 * (m * n * k) as f64,
        working_set: (bytes * slots as u64) as f64,
    };
    let mut built = Built::default();
    for w in &w {
        let launch = call(arena, kernel, vec![w.at, x.at, y], &[m, n, k], work);
        built.pass.push(launch);
    }
    if arena.keep {
        let term = |i: usize, t: usize| {
            let (row, col) = (i / n, i % n);
            format.decode(&x.words, row * k + t) * format.decode(&w[0].words, col * k + t)
        };
        let values = (0..m * n).map(|i| (0..k).map(|t| term(i, t)).sum());
        built.answers.push(Answer {
            at: y,
            expect: Expect::Floats(format, values.collect(), tolerance(format)),
        });
    }
    Ok(built)
}

fn small() -> Point {
    let axes = vec![("m", 6.0), ("n", 128.0), ("k", 256.0)];
    point("check".into(), axes, false)
}

impl<B: Bench> Bench for Dense<B> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn about(&self) -> &'static str {
        self.0.about()
    }

    fn feeds(&self) -> &'static [CurveId] {
        self.0.feeds()
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let mut points = self.0.points(scope);
        points.retain(|p| !format_of(p).quantised());
        points
    }

    fn variants(&self, scope: &Scope, point: &Point) -> Vec<Variant> {
        let format = format_of(point);
        let prefix = format!("{}-", format.label());
        variants(
            scope,
            LINEAR,
            &prefix,
            &[("FORMAT", format as u32)],
            "rrw",
            4,
        )
    }

    fn small(&self, _: &Variant) -> Point {
        small()
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        build(arena, point, variant)
    }
}

/// Products in 8-bit floats, on request: no curve is made of them.
pub(super) struct Fp8;

impl Bench for Fp8 {
    fn name(&self) -> &'static str {
        "scaled_fp8"
    }

    fn about(&self) -> &'static str {
        "Products in E4M3 with one scale a tensor (torch._scaled_mm): what 8-bit weights and activations give"
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let mut points = super::super::gemm::Prefill.points(scope);
        points.retain(|p| format_of(p) == Format::Bf16);
        for p in &mut points {
            p.required = false;
        }
        points
    }

    fn variants(&self, scope: &Scope, _: &Point) -> Vec<Variant> {
        let fp8 = [Operator {
            name: "linear_fp8",
            label: "scaled",
            needs: "",
        }];
        let format = [("FORMAT", Format::Bf16 as u32)];
        variants(scope, &fp8, "fp8-", &format, "rrw", 4)
    }

    fn small(&self, _: &Variant) -> Point {
        small()
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let mut built = build(arena, point, variant)?;
        for answer in &mut built.answers {
            if let Expect::Floats(_, _, tolerance) = &mut answer.expect {
                // Both factors are rounded to 4 significant bits: each by up to 2^-4.
                *tolerance = 1.0 / 16.0;
            }
        }
        Ok(built)
    }
}

//! A layer's experts in one call: gate and up, activation, down, and their weighted sum.
use super::super::gemm::{Moe, Routing, expert_tiles, weight_bytes};
use super::super::harness::*;
use super::{BF16_TOLERANCE, Operator, call, variants, words};
use crate::backend::Work;
use crate::family::{Point, ProbeError, Scope, Variant};

const OPERATORS: &[Operator] = &[
    Operator {
        name: "experts_vllm",
        label: "fused",
        needs: "vllm-fused-moe",
    },
    Operator {
        name: "experts_cpu",
        label: "vllm",
        needs: "vllm-cpu-moe",
    },
    Operator {
        name: "experts_grouped",
        label: "grouped",
        needs: "",
    },
    Operator {
        name: "experts_loop",
        label: "loop",
        needs: "",
    },
];

pub(super) struct Experts;

/// A layer in memory on the host: the answer by the definition, in f64.
struct Reference<'a> {
    x: &'a [u32],
    w13: &'a [u32],
    w2: &'a [u32],
    d: usize,
    f: usize,
}

impl Reference<'_> {
    fn get(words: &[u32], i: usize) -> f64 {
        Format::Bf16.decode(words, i)
    }

    /// What one expert makes of a token.
    fn expert(&self, token: usize, expert: usize) -> Vec<f64> {
        let (d, f) = (self.d, self.f);
        let product = |row: usize| -> f64 {
            let term = |i: usize| {
                Self::get(self.x, token * d + i)
                    * Self::get(self.w13, (expert * 2 * f + row) * d + i)
            };
            (0..d).map(term).sum()
        };
        let h: Vec<f64> = (0..f)
            .map(|j| {
                let gate = product(j);
                gate / (1.0 + libm::exp(-gate)) * product(f + j)
            })
            .collect();
        (0..d)
            .map(|i| {
                let at = (expert * d + i) * f;
                h.iter()
                    .enumerate()
                    .map(|(j, h)| h * Self::get(self.w2, at + j))
                    .sum()
            })
            .collect()
    }
}

impl Bench for Experts {
    fn name(&self) -> &'static str {
        Moe.name()
    }

    fn about(&self) -> &'static str {
        Moe.about()
    }

    fn feeds(&self) -> &'static [CurveId] {
        Moe.feeds()
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let mut points = Moe.points(scope);
        points.retain(|p| axis(p, "format") == Format::Bf16 as usize);
        points
    }

    fn variants(&self, scope: &Scope, _: &Point) -> Vec<Variant> {
        let format = [("FORMAT", Format::Bf16 as u32)];
        variants(scope, OPERATORS, "bf16-", &format, "rrrrrw", 6)
    }

    fn small(&self, variant: &Variant) -> Point {
        Moe.small(variant)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let format = Format::Bf16;
        let kernel = arena.compile(&variant.kernels[0])?;
        let of = |name| axis(point, name);
        let (t, d, f) = (of("tokens"), of("hidden"), of("expert"));
        let (experts, topk) = (of("experts"), of("topk"));
        let routing = Routing::ALL[axis(point, "routing") % 4];
        let chosen = routing.choose(t, experts, topk, arena.scope.seed);
        let (_, distinct) = expert_tiles(&chosen, experts, 1);
        let read = weight_bytes(format, distinct * 3 * d * f);
        // Packed copies stand beside the weights.
        let all = 2 * weight_bytes(format, experts * 3 * d * f);
        let fit = (arena.scope.budget_bytes * 3 / 4 / all).max(1) as usize;
        let layers = arena.compute_slots(read, 2).min(fit);
        let w13 = arena.ring(experts * 2 * f * d, format, layers)?;
        let w2 = arena.ring(experts * d * f, format, layers)?;
        let x = arena.random(t * d, format)?;
        let ids = arena.upload(&chosen.concat())?;
        let share = 1.0 / topk as f32;
        let shares = arena.upload(&vec![share.to_bits(); t * topk])?;
        let y = arena.output(words(t * d, format))?;
        let work = Work {
            bytes: read as f64 + (t * d * 4) as f64,
            flops: 2.0 * (t * topk * 3 * d * f) as f64,
            working_set: read as f64 * layers as f64,
        };
        let mut built = Built::default();
        let numbers = [t, d, f, experts, topk];
        for (a, b) in w13.iter().zip(&w2) {
            let buffers = vec![a.at, b.at, x.at, ids, shares, y];
            built
                .pass
                .push(call(arena, kernel, buffers, &numbers, work));
        }
        if arena.keep {
            let layer = Reference {
                x: &x.words,
                w13: &w13[0].words,
                w2: &w2[0].words,
                d,
                f,
            };
            let mut values = vec![0.0; t * d];
            for (token, chosen) in chosen.iter().enumerate() {
                for e in chosen {
                    for (i, v) in layer.expert(token, *e as usize).into_iter().enumerate() {
                        values[token * d + i] += v * f64::from(share);
                    }
                }
            }
            built.answers.push(Answer {
                at: y,
                expect: Expect::Floats(format, values, BF16_TOLERANCE),
            });
        }
        Ok(built)
    }
}

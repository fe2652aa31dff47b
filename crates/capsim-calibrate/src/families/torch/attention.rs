//! Attention by torch's own operator, by FlashAttention and by the engine's.
use super::super::attention::{self as plain, reference, vector};
use super::super::harness::*;
use super::super::shapes::HEAD;
use super::{BF16_TOLERANCE, Operator, call, variants, words};
use crate::backend::Work;
use crate::family::{Point, ProbeError, Scope, Variant};

const FLASH: Operator = Operator {
    name: "flash",
    label: "flash",
    needs: "flash-attention",
};
const ENGINE: Operator = Operator {
    name: "cpu_attention",
    label: "vllm",
    needs: "vllm-cpu-attention",
};
const DECODE: &[Operator] = &[
    FLASH,
    ENGINE,
    Operator {
        name: "decode_sdpa",
        label: "sdpa",
        needs: "",
    },
];
const PREFILL: &[Operator] = &[
    FLASH,
    ENGINE,
    Operator {
        name: "prefill_sdpa",
        label: "sdpa",
        needs: "",
    },
];

fn both_heads(point: &Point) -> [(&'static str, u32); 2] {
    [
        ("HEADS", axis(point, "heads") as u32),
        ("KV_HEADS", axis(point, "kv_heads") as u32),
    ]
}

fn heads_axes(variant: &Variant) -> Vec<(&'static str, f64)> {
    vec![
        ("heads", f64::from(option(variant, "HEADS"))),
        ("kv_heads", f64::from(option(variant, "KV_HEADS"))),
    ]
}

/// Sequences of one length, of which the last tokens attend to all before them and to themselves.
struct Chunk {
    batch: usize,
    context: usize,
    new: usize,
    heads: usize,
    kv_heads: usize,
}

impl Chunk {
    /// Pairs of a query and a key that it sees, in one sequence.
    fn pairs(&self) -> usize {
        let past = self.context - self.new;
        self.new * past + self.new * (self.new + 1) / 2
    }

    /// The answer by the definition, from keys and values that follow each other.
    fn answer(&self, q: &[u32], kv: &[u32]) -> Vec<f64> {
        let values = self.batch * self.context * self.kv_heads * HEAD;
        let mut all = vec![];
        for b in 0..self.batch {
            for r in 0..self.new {
                for h in 0..self.heads {
                    let at = |t: usize| {
                        let row = b * self.context + t;
                        (row * self.kv_heads + h / (self.heads / self.kv_heads)) * HEAD
                    };
                    let seen = 0..self.context - self.new + r + 1;
                    let keys: Vec<_> = seen.clone().map(|t| vector(kv, at(t))).collect();
                    let vals: Vec<_> = seen.map(|t| vector(kv, values + at(t))).collect();
                    let q = vector(q, ((b * self.new + r) * self.heads + h) * HEAD);
                    all.extend(reference(&q, &keys, &vals));
                }
            }
        }
        all
    }

    fn build(&self, arena: &mut Arena, variant: &Variant) -> Result<Built, ProbeError> {
        let kernel = arena.compile(&variant.kernels[0])?;
        let cached = self.batch * self.context * self.kv_heads * HEAD * 2;
        let bytes = (cached * 2) as u64;
        // The engine's own layout stands beside what it is made of.
        let slots = match self.new {
            1 => arena.compute_slots(2 * bytes, 8),
            _ => 1,
        };
        let kv = arena.ring(cached, Format::Bf16, slots)?;
        let rows = self.batch * self.new * self.heads;
        let q = arena.random(rows * HEAD, Format::Bf16)?;
        let out = arena.output(words(rows * HEAD, Format::Bf16))?;
        let decode = variant.kernels[0].name == "decode_sdpa";
        let numbers = match decode {
            true => vec![self.batch, self.context],
            false => vec![self.batch, self.context, self.new],
        };
        let work = Work {
            bytes: bytes as f64 + (rows * HEAD * 4) as f64,
            flops: 4.0 * (self.batch * self.heads * HEAD * self.pairs()) as f64,
            working_set: (bytes * slots as u64) as f64,
        };
        let mut built = Built::default();
        for kv in &kv {
            let buffers = vec![q.at, kv.at, out];
            built
                .pass
                .push(call(arena, kernel, buffers, &numbers, work));
        }
        if arena.keep {
            let values = self.answer(&q.words, &kv[0].words);
            built.answers.push(Answer {
                at: out,
                expect: Expect::Floats(Format::Bf16, values, BF16_TOLERANCE),
            });
        }
        Ok(built)
    }
}

/// One new token per sequence.
pub(super) struct PagedDecode;

impl Bench for PagedDecode {
    fn name(&self) -> &'static str {
        plain::PagedDecode.name()
    }

    fn about(&self) -> &'static str {
        plain::PagedDecode.about()
    }

    fn feeds(&self) -> &'static [CurveId] {
        plain::PagedDecode.feeds()
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let mut points = plain::PagedDecode.points(scope);
        points.retain(|p| axis(p, "mixed") == 0);
        points
    }

    fn variants(&self, scope: &Scope, point: &Point) -> Vec<Variant> {
        let mut all = vec![];
        for o in DECODE {
            let numbers = if o.name == "decode_sdpa" { 3 } else { 4 };
            all.extend(variants(
                scope,
                &[*o],
                "",
                &both_heads(point),
                "rrw",
                numbers,
            ));
        }
        all
    }

    fn small(&self, variant: &Variant) -> Point {
        let mut axes = vec![("batch", 3.0), ("context", 100.0)];
        axes.extend(heads_axes(variant));
        point("check".into(), axes, false)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let chunk = Chunk {
            batch: axis(point, "batch"),
            context: axis(point, "context"),
            new: 1,
            heads: axis(point, "heads"),
            kv_heads: axis(point, "kv_heads"),
        };
        chunk.build(arena, variant)
    }
}

/// A chunk of one sequence.
pub(super) struct CausalPrefill;

impl Bench for CausalPrefill {
    fn name(&self) -> &'static str {
        plain::CausalPrefill.name()
    }

    fn about(&self) -> &'static str {
        plain::CausalPrefill.about()
    }

    fn feeds(&self) -> &'static [CurveId] {
        plain::CausalPrefill.feeds()
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        plain::CausalPrefill.points(scope)
    }

    fn variants(&self, scope: &Scope, point: &Point) -> Vec<Variant> {
        variants(scope, PREFILL, "", &both_heads(point), "rrw", 4)
    }

    fn small(&self, variant: &Variant) -> Point {
        let mut axes = vec![("tokens", 37.0), ("past", 29.0)];
        axes.extend(heads_axes(variant));
        point("check".into(), axes, false)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let new = axis(point, "tokens");
        let chunk = Chunk {
            batch: 1,
            context: axis(point, "past") + new,
            new,
            heads: axis(point, "heads"),
            kv_heads: axis(point, "kv_heads"),
        };
        chunk.build(arena, variant)
    }
}

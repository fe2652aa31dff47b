//! The operators between the products, in bfloat16.
use super::super::harness::*;
use super::super::shapes::HEAD;
use super::super::small as plain;
use super::{BF16_TOLERANCE, Operator, call, variants, words};
use crate::backend::Work;
use crate::family::{Point, ProbeError, Scope, Variant};

/// Width of the rows that are measured.
const WIDTH: usize = 2048;

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Add,
    Silu,
    Norm,
    Rope,
}

impl Op {
    const ALL: [Op; 4] = [Op::Add, Op::Silu, Op::Norm, Op::Rope];

    fn label(self) -> &'static str {
        ["add", "silu_mul", "rmsnorm", "rope"][self as usize]
    }

    /// Numbers that a row reads and writes.
    fn per_row(self) -> usize {
        [3 * WIDTH, 3 * WIDTH, 2 * WIDTH, 2 * WIDTH + HEAD][self as usize]
    }
}

/// Additions, SiLU·mul, RMSNorm, RoPE.
pub(super) struct Elementwise;

impl Elementwise {
    fn point(op: Op, rows: usize, required: bool) -> Point {
        point(
            format!("{}-t{rows}", op.label()),
            vec![
                ("bytes", (rows * op.per_row() * 2) as f64),
                ("tokens", rows as f64),
                ("op", f64::from(op as u8)),
            ],
            required,
        )
    }

    /// Element `i` of the answer.
    fn value(op: Op, x: &Data, other: &Data, i: usize) -> f64 {
        let get = |d: &Data, i: usize| Format::Bf16.decode(&d.words, i);
        let (r, c) = (i / WIDTH, i % WIDTH);
        match op {
            Op::Add => get(x, i) + get(other, i),
            Op::Silu => {
                let (g, u) = (get(x, 2 * r * WIDTH + c), get(x, (2 * r + 1) * WIDTH + c));
                g / (1.0 + libm::exp(-g)) * u
            }
            Op::Norm => {
                let squares = (0..WIDTH).map(|j| get(x, r * WIDTH + j));
                let mean = squares.map(|v| v * v).sum::<f64>() / WIDTH as f64;
                get(x, i) / (mean + 1e-6).sqrt() * get(other, c)
            }
            Op::Rope => {
                let (h, j) = (i / HEAD * HEAD, i % HEAD);
                let (half, p) = (HEAD / 2, j % (HEAD / 2));
                let (a, b) = (get(x, h + p), get(x, h + half + p));
                let at = r * HEAD + p;
                let (cos, sin) = (get(other, at), get(other, at + half));
                if j < half {
                    a * cos - b * sin
                } else {
                    b * cos + a * sin
                }
            }
        }
    }
}

impl Bench for Elementwise {
    fn name(&self) -> &'static str {
        plain::Elementwise.name()
    }

    fn about(&self) -> &'static str {
        plain::Elementwise.about()
    }

    fn feeds(&self) -> &'static [CurveId] {
        plain::Elementwise.feeds()
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let (low, high) = match scope.device.software {
            true => (8, 256),
            false => (64, 4096),
        };
        let mut points = vec![
            Self::point(Op::Add, low, true),
            Self::point(Op::Add, high, true),
        ];
        if thorough(scope) {
            for op in Op::ALL {
                for rows in [1, low, high] {
                    let p = Self::point(op, rows, false);
                    if points.iter().all(|o| o.id != p.id) {
                        points.push(p);
                    }
                }
            }
        }
        points
    }

    fn variants(&self, scope: &Scope, point: &Point) -> Vec<Variant> {
        let op = Op::ALL[axis(point, "op") % Op::ALL.len()];
        let engines: &[u32] = match op {
            Op::Silu | Op::Norm => &[1, 0],
            _ => &[0],
        };
        engines
            .iter()
            .flat_map(|engine| {
                let operator = Operator {
                    name: op.label(),
                    label: if *engine == 1 { "vllm" } else { "torch" },
                    needs: if *engine == 1 { "vllm-norms" } else { "" },
                };
                let defines = [("ENGINE", *engine), ("OP", op as u32)];
                let prefix = format!("{}-", op.label());
                variants(scope, &[operator], &prefix, &defines, "rrw", 3)
            })
            .collect()
    }

    fn small(&self, variant: &Variant) -> Point {
        Self::point(Op::ALL[option(variant, "OP") as usize], 3, false)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let op = Op::ALL[option(variant, "OP") as usize];
        let rows = axis(point, "tokens");
        let kernel = arena.compile(&variant.kernels[0])?;
        let bf16 = Format::Bf16;
        let x = match op {
            Op::Silu => arena.random(rows * 2 * WIDTH, bf16)?,
            _ => arena.random(rows * WIDTH, bf16)?,
        };
        let other = match op {
            Op::Add => arena.random(rows * WIDTH, bf16)?,
            Op::Rope => arena.random(rows * HEAD, bf16)?,
            _ => arena.random(WIDTH, bf16)?,
        };
        let out = arena.output(words(rows * WIDTH, bf16))?;
        let bytes = (rows * op.per_row() * 2) as f64;
        let work = Work {
            bytes,
            flops: (rows * WIDTH * [1, 6, 4, 3][op as usize]) as f64,
            working_set: bytes,
        };
        let buffers = vec![x.at, other.at, out];
        let mut built = Built::default();
        built
            .pass
            .push(call(arena, kernel, buffers, &[rows, WIDTH], work));
        if arena.keep {
            let values = (0..rows * WIDTH).map(|i| Self::value(op, &x, &other, i));
            built.answers.push(Answer {
                at: out,
                expect: Expect::Floats(bf16, values.collect(), BF16_TOLERANCE),
            });
        }
        Ok(built)
    }
}

const EXPERTS: usize = 128;
const TOPK: usize = 8;

/// Softmax and top-k over the experts.
pub(super) struct Router;

impl Bench for Router {
    fn name(&self) -> &'static str {
        plain::Router.name()
    }

    fn about(&self) -> &'static str {
        plain::Router.about()
    }

    fn feeds(&self) -> &'static [CurveId] {
        plain::Router.feeds()
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        plain::Router.points(scope)
    }

    fn variants(&self, scope: &Scope, _: &Point) -> Vec<Variant> {
        let operator = Operator {
            name: "router",
            label: "torch",
            needs: "",
        };
        let defines = [("EXPERTS", EXPERTS as u32), ("TOPK", TOPK as u32)];
        variants(scope, &[operator], "", &defines, "rww", 2)
    }

    fn small(&self, variant: &Variant) -> Point {
        plain::Router.small(variant)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let rows = axis(point, "tokens");
        let kernel = arena.compile(&variant.kernels[0])?;
        let x = arena.random(rows * EXPERTS, Format::F32)?;
        let (shares, ids) = (arena.output(rows * TOPK)?, arena.output(rows * TOPK)?);
        let bytes = (rows * (EXPERTS + 2 * TOPK) * 4) as f64;
        let work = Work {
            bytes,
            flops: (rows * EXPERTS * (2 + TOPK)) as f64,
            working_set: bytes,
        };
        let mut built = Built::default();
        let buffers = vec![x.at, shares, ids];
        built.pass.push(call(arena, kernel, buffers, &[rows], work));
        if arena.keep {
            let (weights, best) = plain::routed(&x.words, rows, EXPERTS, TOPK);
            built.answers.push(Answer {
                at: shares,
                expect: Expect::Floats(Format::F32, weights, F32_TOLERANCE),
            });
            built.answers.push(Answer {
                at: ids,
                expect: Expect::Words(best),
            });
        }
        Ok(built)
    }
}

/// New keys and values into their slots.
pub(super) struct KvWrite;

impl Bench for KvWrite {
    fn name(&self) -> &'static str {
        plain::KvWrite.name()
    }

    fn about(&self) -> &'static str {
        plain::KvWrite.about()
    }

    fn feeds(&self) -> &'static [CurveId] {
        plain::KvWrite.feeds()
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        plain::KvWrite.points(scope)
    }

    fn variants(&self, scope: &Scope, _: &Point) -> Vec<Variant> {
        let operator = Operator {
            name: "kv_write",
            label: "torch",
            needs: "",
        };
        variants(scope, &[operator], "", &[], "rrw", 4)
    }

    fn small(&self, variant: &Variant) -> Point {
        plain::KvWrite.small(variant)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let (rows, width) = (axis(point, "tokens"), axis(point, "width"));
        let kernel = arena.compile(&variant.kernels[0])?;
        let x = arena.random(2 * rows * width, Format::Bf16)?;
        let count = if arena.keep { rows } else { 4 * rows };
        let mut slots = shuffled(count as u32, arena.scope.seed);
        slots.truncate(rows);
        let slots_at = arena.upload(&slots)?;
        let cache = arena.output(count * width)?;
        let bytes = (rows * 2 * width * 4) as f64;
        let work = Work {
            bytes,
            flops: 0.0,
            working_set: bytes,
        };
        let mut built = Built::default();
        let buffers = vec![x.at, slots_at, cache];
        built
            .pass
            .push(call(arena, kernel, buffers, &[rows, width, count], work));
        if arena.keep {
            let mut words = vec![0; count * width];
            let half = rows * width / 2;
            for (r, slot) in slots.iter().enumerate() {
                let (from, to) = (r * width / 2, *slot as usize * width / 2);
                for part in 0..2 {
                    let source = &x.words[part * half + from..][..width / 2];
                    words[part * count * width / 2 + to..][..width / 2].copy_from_slice(source);
                }
            }
            built.answers.push(Answer {
                at: cache,
                expect: Expect::Words(words),
            });
        }
        Ok(built)
    }
}

/// Greedy sampling.
pub(super) struct Sampling;

impl Bench for Sampling {
    fn name(&self) -> &'static str {
        plain::Sampling.name()
    }

    fn about(&self) -> &'static str {
        plain::Sampling.about()
    }

    fn feeds(&self) -> &'static [CurveId] {
        plain::Sampling.feeds()
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        plain::Sampling.points(scope)
    }

    fn variants(&self, scope: &Scope, _: &Point) -> Vec<Variant> {
        let operator = Operator {
            name: "argmax",
            label: "torch",
            needs: "",
        };
        variants(scope, &[operator], "", &[], "rw", 3)
    }

    fn small(&self, variant: &Variant) -> Point {
        plain::Sampling.small(variant)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let (rows, n) = (axis(point, "batch"), axis(point, "vocab"));
        let kernel = arena.compile(&variant.kernels[0])?;
        let x = arena.random(rows * n, Format::F32)?;
        let out = arena.output(rows)?;
        let bytes = (rows * n * 4) as f64;
        let work = Work {
            bytes,
            flops: (rows * n) as f64,
            working_set: bytes,
        };
        let mut built = Built::default();
        let buffers = vec![x.at, out];
        built
            .pass
            .push(call(arena, kernel, buffers, &[rows, n], work));
        if arena.keep {
            built.answers.push(Answer {
                at: out,
                expect: Expect::Words(plain::largest(&x.words, rows, n)),
            });
        }
        Ok(built)
    }
}

//! The kernels between the matrix products: elementwise, router, KV write, sampling.
use super::harness::*;
use super::shapes::{HEAD, Shapes};
use crate::backend::{Launch, Slice, Work};
use crate::family::{Effort, Point, ProbeError, Scope, Variant};

/// How a device may run a kernel that has one row per item or per work-group.
pub(super) fn row_choices(scope: &Scope) -> Vec<(Shape, u32)> {
    let mut choices = match (native(scope.device), scope.device.software) {
        (true, _) => vec![(Shape::Items, 1)],
        (_, true) => vec![(Shape::Items, 1), (Shape::Lanes, 64)],
        _ => vec![(Shape::Lanes, 256), (Shape::Lanes, 64), (Shape::Items, 64)],
    };
    choices.truncate(match scope.effort {
        Effort::Quick => 1,
        Effort::Standard => 2,
        Effort::Full => 3,
    });
    choices
}

pub(super) fn groups(shape: u32, group: u32, rows: usize) -> [u32; 3] {
    match shape {
        0 => [rows as u32, 1, 1],
        _ => [(rows as u32).div_ceil(group), 1, 1],
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Add,
    Silu,
    Norm,
    Rope,
    Combine,
}

impl Op {
    const ALL: [Op; 5] = [Op::Add, Op::Silu, Op::Norm, Op::Rope, Op::Combine];

    fn label(self) -> &'static str {
        ["add", "silu_mul", "rmsnorm", "rope", "combine"][self as usize]
    }
}

/// Add, SiLU·mul, RMSNorm, RoPE, and the experts' weighted sum.
pub(super) struct Elementwise;

/// Width of the rows that are measured.
const WIDTH: usize = 2048;
const TOPK: usize = 8;

impl Elementwise {
    /// Words that a row reads and writes (weights that all rows share not counted), and elements of its result.
    fn per_row(op: Op) -> (usize, usize) {
        match op {
            Op::Add => (3 * WIDTH, WIDTH),
            Op::Silu => (3 * WIDTH, WIDTH),
            Op::Norm => (2 * WIDTH, WIDTH),
            Op::Rope => (2 * WIDTH + HEAD, WIDTH),
            Op::Combine => (WIDTH * (TOPK + 1) + TOPK, WIDTH),
        }
    }

    fn point(op: Op, rows: usize, required: bool) -> Point {
        let bytes = rows * Self::per_row(op).0 * 4;
        point(
            format!("{}-t{rows}", op.label()),
            vec![
                ("bytes", bytes as f64),
                ("tokens", rows as f64),
                ("op", f64::from(op as u8)),
            ],
            required,
        )
    }
}

impl Bench for Elementwise {
    fn name(&self) -> &'static str {
        "elementwise"
    }

    fn about(&self) -> &'static str {
        "RMSNorm, RoPE, SiLU·mul, additions: the small kernels that move activations between the products"
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[CurveId::Elementwise]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let (low, high) = if scope.device.software {
            (8, 256)
        } else {
            (64, 4096)
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
        let (buffers, numbers, defines): (_, _, Vec<(&'static str, u32)>) = match op {
            Op::Add => ("rrw", 1, vec![]),
            Op::Silu => ("rw", 2, vec![]),
            Op::Norm => ("rrw", 2, vec![]),
            Op::Rope => ("rrw", 2, vec![("D", HEAD as u32)]),
            Op::Combine => ("rrw", 2, vec![("TOPK", TOPK as u32)]),
        };
        row_choices(scope)
            .into_iter()
            .map(|(shape, group)| {
                let mut defines = defines.clone();
                defines.push(("SHAPE", shape as u32));
                Variant {
                    id: format!("{}-{}-{group}", op.label(), shape.label()),
                    kernels: vec![kernel(op.label(), &defines, [group, 1], buffers, numbers)],
                    options: vec![("op", op as u32), ("shape", shape as u32)],
                }
            })
            .collect()
    }

    fn small(&self, variant: &Variant) -> Point {
        Self::point(Op::ALL[option(variant, "op") as usize], 3, false)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let op = Op::ALL[option(variant, "op") as usize];
        let rows = axis(point, "tokens");
        let kernel = arena.compile(&variant.kernels[0])?;
        let (per_row, width) = Self::per_row(op);
        let group = variant.kernels[0].group[0];
        let by_row = groups(option(variant, "shape"), group, rows);
        let f32s = |arena: &mut Arena, n: usize| arena.random(n, Format::F32);
        let x = match op {
            Op::Silu => f32s(arena, rows * 2 * width)?,
            Op::Combine => f32s(arena, rows * TOPK * width)?,
            _ => f32s(arena, rows * width)?,
        };
        let other = match op {
            Op::Add => Some(f32s(arena, rows * width)?),
            Op::Norm => Some(f32s(arena, width)?),
            Op::Rope => Some(f32s(arena, rows * HEAD)?),
            Op::Combine => Some(f32s(arena, rows * TOPK)?),
            Op::Silu => None,
        };
        let out = arena.output(rows * width)?;
        let numbers = match op {
            Op::Add => vec![(rows * width) as u32],
            Op::Rope => vec![rows as u32, (width / HEAD) as u32],
            _ => vec![rows as u32, width as u32],
        };
        let mut buffers = vec![x.at];
        buffers.extend(other.iter().map(|o| o.at));
        buffers.push(out);
        let bytes = (rows * per_row * 4) as f64;
        let mut built = Built::default();
        built.pass.push(Launch {
            kernel,
            buffers,
            numbers,
            groups: match op {
                // Neighbours take neighbours here, whatever the shape: a row is only a unit of counting.
                Op::Add if option(variant, "shape") == 0 => {
                    [((rows * width / 4) as u32).div_ceil(group).min(65535), 1, 1]
                }
                _ => by_row,
            },
            work: Work {
                bytes,
                flops: (rows * width * [1, 6, 4, 3, 2 * TOPK][op as usize]) as f64,
                working_set: bytes,
            },
        });
        if arena.keep {
            let get = |d: &Data, i: usize| Format::F32.decode(&d.words, i);
            let o = other.as_ref().unwrap_or(&x);
            let value = |i: usize| {
                let (r, c) = (i / width, i % width);
                match op {
                    Op::Add => get(&x, i) + get(o, i),
                    Op::Silu => {
                        let (g, u) = (get(&x, 2 * r * width + c), get(&x, (2 * r + 1) * width + c));
                        g / (1.0 + libm::exp(-g)) * u
                    }
                    Op::Norm => {
                        let squares = (0..width).map(|j| get(&x, r * width + j));
                        let mean = squares.map(|v| v * v).sum::<f64>() / width as f64;
                        get(&x, i) / (mean + 1e-6).sqrt() * get(o, c)
                    }
                    Op::Rope => {
                        let (h, j) = (i / HEAD * HEAD, i % HEAD);
                        let (half, p) = (HEAD / 2, j % (HEAD / 2));
                        let (a, b) = (get(&x, h + p), get(&x, h + half + p));
                        let (cos, sin) = (get(o, r * HEAD + p), get(o, r * HEAD + half + p));
                        if j < half {
                            a * cos - b * sin
                        } else {
                            b * cos + a * sin
                        }
                    }
                    Op::Combine => (0..TOPK)
                        .map(|j| get(o, r * TOPK + j) * get(&x, (r * TOPK + j) * width + c))
                        .sum(),
                }
            };
            built.answers.push(Answer {
                at: out,
                expect: Expect::Floats(
                    Format::F32,
                    (0..rows * width).map(value).collect(),
                    F32_TOLERANCE,
                ),
            });
        }
        Ok(built)
    }
}

/// Softmax and top-k over the experts.
pub(super) struct Router;

impl Bench for Router {
    fn name(&self) -> &'static str {
        "router"
    }

    fn about(&self) -> &'static str {
        "Softmax over 128 experts and the 8 best of them, for each token (the router's product is a skinny GEMM)"
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[CurveId::Router]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let tokens: &[usize] = match (scope.effort, scope.device.software) {
            (Effort::Quick, _) => &[],
            (_, true) => &[1, 8, 64],
            _ => &[1, 8, 64, 512, 4096],
        };
        tokens
            .iter()
            .map(|t| point(format!("t{t}"), vec![("tokens", *t as f64)], false))
            .collect()
    }

    fn variants(&self, scope: &Scope, _: &Point) -> Vec<Variant> {
        row_choices(scope)
            .into_iter()
            // A work-group of the lanes shape has an item per expert.
            .map(|(shape, group)| (shape, if shape == Shape::Lanes { 128 } else { group }))
            .map(|(shape, group)| Variant {
                id: format!("{}-{group}", shape.label()),
                kernels: vec![kernel(
                    "router",
                    &[
                        ("SHAPE", shape as u32),
                        ("EXPERTS", 128),
                        ("TOPK", TOPK as u32),
                    ],
                    [group, 1],
                    "rww",
                    1,
                )],
                options: vec![("shape", shape as u32)],
            })
            .fold(vec![], |mut all: Vec<Variant>, v| {
                if all.iter().all(|o| o.id != v.id) {
                    all.push(v);
                }
                all
            })
    }

    fn small(&self, _: &Variant) -> Point {
        point("check".into(), vec![("tokens", 5.0)], false)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let rows = axis(point, "tokens");
        let kernel = arena.compile(&variant.kernels[0])?;
        let x = arena.random(rows * 128, Format::F32)?;
        let (weights, ids) = (arena.output(rows * TOPK)?, arena.output(rows * TOPK)?);
        let bytes = (rows * (128 + 2 * TOPK) * 4) as f64;
        let mut built = Built::default();
        built.pass.push(Launch {
            kernel,
            buffers: vec![x.at, weights, ids],
            numbers: vec![rows as u32],
            groups: groups(option(variant, "shape"), variant.kernels[0].group[0], rows),
            work: Work {
                bytes,
                flops: (rows * 128 * (2 + TOPK)) as f64,
                working_set: bytes,
            },
        });
        if arena.keep {
            let (shares, best) = routed(&x.words, rows, 128, TOPK);
            built.answers.push(Answer {
                at: weights,
                expect: Expect::Floats(Format::F32, shares, F32_TOLERANCE),
            });
            built.answers.push(Answer {
                at: ids,
                expect: Expect::Words(best),
            });
        }
        Ok(built)
    }
}

/// The shares of the best experts of each row of logits, and which they are.
pub(super) fn routed(
    logits: &[u32],
    rows: usize,
    experts: usize,
    topk: usize,
) -> (Vec<f64>, Vec<u32>) {
    let (mut shares, mut best) = (vec![], vec![]);
    for r in 0..rows {
        let logit = |e: &u32| Format::F32.decode(logits, r * experts + *e as usize);
        let mut order: Vec<u32> = (0..experts as u32).collect();
        order.sort_by(|a, b| logit(b).total_cmp(&logit(a)).then(a.cmp(b)));
        order.truncate(topk);
        let p: Vec<f64> = order.iter().map(|e| libm::exp(logit(e))).collect();
        shares.extend(p.iter().map(|v| v / p.iter().sum::<f64>()));
        best.extend(order);
    }
    (shares, best)
}

/// The place of the largest number of each row.
pub(super) fn largest(logits: &[u32], rows: usize, n: usize) -> Vec<u32> {
    let best = |r: usize| {
        let value = |i: usize| Format::F32.decode(logits, r * n + i);
        (1..n).fold(0, |b, i| if value(i) > value(b) { i } else { b }) as u32
    };
    (0..rows).map(best).collect()
}

/// New keys and values into the paged cache.
pub(super) struct KvWrite;

impl Bench for KvWrite {
    fn name(&self) -> &'static str {
        "kv_write"
    }

    fn about(&self) -> &'static str {
        "New keys and values rounded to bf16 and scattered by the slot mapping"
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[CurveId::KvWrite]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let tokens: &[usize] = match (scope.effort, scope.device.software) {
            (Effort::Quick, _) => &[],
            (_, true) => &[1, 16, 256],
            _ => &[1, 16, 256, 4096],
        };
        let width = Shapes::of(scope).kv_heads * HEAD;
        tokens
            .iter()
            .map(|t| {
                let axes = vec![("tokens", *t as f64), ("width", width as f64)];
                point(format!("t{t}"), axes, false)
            })
            .collect()
    }

    fn variants(&self, scope: &Scope, _: &Point) -> Vec<Variant> {
        row_choices(scope)
            .into_iter()
            .map(|(shape, group)| Variant {
                id: format!("{}-{group}", shape.label()),
                kernels: vec![kernel(
                    "kv_write",
                    &[("SHAPE", shape as u32)],
                    [group, 1],
                    "rrw",
                    3,
                )],
                options: vec![("shape", shape as u32)],
            })
            .collect()
    }

    fn small(&self, _: &Variant) -> Point {
        point(
            "check".into(),
            vec![("tokens", 5.0), ("width", 256.0)],
            false,
        )
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let (rows, width) = (axis(point, "tokens"), axis(point, "width"));
        let kernel = arena.compile(&variant.kernels[0])?;
        let x = arena.random(2 * rows * width, Format::F32)?;
        // Slots of a cache four times as long, in shuffled order; all of it written while answers are checked.
        let count = if arena.keep { rows } else { 4 * rows };
        let mut slots = shuffled(count as u32, arena.scope.seed);
        slots.truncate(rows);
        let slots_at = arena.upload(&slots)?;
        let values = count * width / 2;
        let cache = arena.output(2 * values)?;
        let mut built = Built::default();
        built.pass.push(Launch {
            kernel,
            buffers: vec![x.at, slots_at, cache],
            numbers: vec![rows as u32, width as u32, values as u32],
            groups: groups(option(variant, "shape"), variant.kernels[0].group[0], rows),
            work: Work {
                bytes: (rows * (2 * width * 6 + 4)) as f64,
                flops: 0.0,
                working_set: (rows * 2 * width * 6) as f64,
            },
        });
        if arena.keep {
            let mut words = vec![0; 2 * values];
            for (r, slot) in slots.iter().enumerate() {
                for half in 0..2 {
                    for c in 0..width {
                        let f = f32::from_bits(x.words[(2 * r + half) * width + c]);
                        let bits = u32::from(half::bf16::from_f32(f).to_bits());
                        let at = half * values * 2 + *slot as usize * width + c;
                        words[at / 2] |= bits << (16 * (at % 2));
                    }
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
        "sampling"
    }

    fn about(&self) -> &'static str {
        "Argmax over the vocabulary for each sequence (lm_head itself is a skinny GEMM)"
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[CurveId::Sampling]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let rows: &[usize] = match (scope.effort, scope.device.software) {
            (Effort::Quick, _) => &[],
            (_, true) => &[1, 8],
            _ => &[1, 8, 32, 128],
        };
        let vocab = Shapes::of(scope).vocab;
        rows.iter()
            .map(|b| {
                let axes = vec![("batch", *b as f64), ("vocab", vocab as f64)];
                point(format!("b{b}"), axes, false)
            })
            .collect()
    }

    fn variants(&self, scope: &Scope, _: &Point) -> Vec<Variant> {
        row_choices(scope)
            .into_iter()
            .map(|(shape, group)| Variant {
                id: format!("{}-{group}", shape.label()),
                kernels: vec![kernel(
                    "argmax",
                    &[("SHAPE", shape as u32)],
                    [group, 1],
                    "rw",
                    2,
                )],
                options: vec![("shape", shape as u32)],
            })
            .collect()
    }

    fn small(&self, _: &Variant) -> Point {
        point(
            "check".into(),
            vec![("batch", 3.0), ("vocab", 1003.0)],
            false,
        )
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let (rows, n) = (axis(point, "batch"), axis(point, "vocab"));
        let kernel = arena.compile(&variant.kernels[0])?;
        // Logits come fresh from lm_head: no ring.
        let x = arena.random(rows * n, Format::F32)?;
        let out = arena.output(rows)?;
        let mut built = Built::default();
        built.pass.push(Launch {
            kernel,
            buffers: vec![x.at, out],
            numbers: vec![rows as u32, n as u32],
            groups: groups(option(variant, "shape"), variant.kernels[0].group[0], rows),
            work: Work {
                bytes: (rows * n * 4) as f64,
                flops: (rows * n) as f64,
                working_set: (rows * n * 4) as f64,
            },
        });
        if arena.keep {
            built.answers.push(Answer {
                at: Slice {
                    len: rows as u64 * 4,
                    ..out
                },
                expect: Expect::Words(largest(&x.words, rows, n)),
            });
        }
        Ok(built)
    }
}

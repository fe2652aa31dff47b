//! One whole decoder layer in order: whether the sum of the parts is the whole.
//!
//! The same launches are measured once as a chain and once part by part, at the same shapes and on the same memory, so that the
//! difference is what the additive cost model leaves out. Pass: the layer's launches, for as many layers as make the weights
//! cold. Bytes and FLOPs per pass: the sum of those of the launches, as the kernels' headers state them.
use super::attention::{self, Decode, PARTIAL, decode_kernels};
use super::gemm::{
    Grouped, Routing, dense_tiles, expert_tiles, grouped_kernel, grouped_variants, weight_bytes,
};
use super::harness::*;
use super::shapes::{BLOCK, HEAD, Shapes};
use super::small::{groups, row_choices};
use crate::backend::{KernelId, Launch, Slice, Work};
use crate::family::{Effort, Point, ProbeError, Scope, Variant};

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
        let o = |name| option(variant, name) as usize;
        let (m, context, d, f) = (
            axis(point, "batch"),
            axis(point, "context"),
            axis(point, "hidden"),
            axis(point, "expert"),
        );
        let (heads, kv_heads) = (o("heads"), o("kv_heads"));
        let (experts, topk, splits) = (o("experts"), o("topk"), o("splits"));
        let (qw, kvw, ids) = (heads * HEAD, kv_heads * HEAD, m * topk);
        let k: Vec<KernelId> = variant
            .kernels
            .iter()
            .map(|k| arena.compile(k))
            .collect::<Result<_, _>>()?;

        // The table of the grouped products is the host's, and only the experts in it are in memory.
        let chosen = Routing::Uniform.choose(m, experts, topk, arena.scope.seed);
        let mut used: Vec<u32> = chosen.iter().flatten().copied().collect();
        used.sort_unstable();
        used.dedup();
        let place = |e: &u32| used.binary_search(e).unwrap_or(0) as u32;
        let chosen: Vec<Vec<u32>> = chosen
            .iter()
            .map(|c| c.iter().map(place).collect())
            .collect();
        let distinct = used.len();
        let tm = o("tm");
        let (dense, routed) = (dense_tiles(m, tm), expert_tiles(&chosen, distinct, 1).0);
        // Keys are expert 0 and values expert 1 of a product whose rows alternate: what kv_write wants.
        let sides: Vec<Vec<u32>> = vec![vec![0, 1]; m];
        let sides = expert_tiles(&sides, 2, tm).0;
        let dense_at = arena.upload(&dense)?;
        let routed_at = arena.upload(&routed)?;
        let sides_at = arena.upload(&sides)?;

        // Cache: blocks in shuffled order, the new token last.
        let stride = context.div_ceil(BLOCK);
        let table = shuffled((m * stride) as u32, arena.scope.seed);
        let slot = |b: usize, t: usize| table[b * stride + t / BLOCK] as usize * BLOCK + t % BLOCK;
        let slots: Vec<u32> = (0..m).map(|b| slot(b, context - 1) as u32).collect();
        let lens = vec![context as u32; m];
        let values = m * stride * BLOCK * kvw / 2;
        let (table_at, lens_at, slots_at) = (
            arena.upload(&table)?,
            arena.upload(&lens)?,
            arena.upload(&slots)?,
        );
        let turn = |row: usize, c: usize| {
            let p = (c % (HEAD / 2)) as f64;
            let angle = (context - 1 + row) as f64 * libm::pow(1e6, -2.0 * p / HEAD as f64);
            if c < HEAD / 2 {
                libm::cos(angle) as f32
            } else {
                libm::sin(angle) as f32
            }
        };
        let turns: Vec<f32> = (0..m * HEAD).map(|i| turn(i / HEAD, i % HEAD)).collect();
        // Values are not turned: cosine 1, sine 0.
        let kv_turns: Vec<f32> = (0..2 * m * HEAD)
            .map(|i| match (i / HEAD % 2, i % HEAD < HEAD / 2) {
                (0, _) => turns[i / HEAD / 2 * HEAD + i % HEAD],
                (_, cosine) => f32::from(u8::from(cosine)),
            })
            .collect();
        let turns_at = arena.upload(bytemuck::cast_slice(&turns))?;
        let kv_turns_at = arena.upload(bytemuck::cast_slice(&kv_turns))?;

        let x = arena.random(m * d, Format::F32)?;
        let gains = [arena.random(d, Format::F32)?, arena.random(d, Format::F32)?];
        let unused = arena.random(64, Format::F32)?;
        let mut out = |n: usize| arena.output(n);
        let (h, q, q_turned) = (out(m * d)?, out(m * qw)?, out(m * qw)?);
        let (kv, kv_turned) = (out(2 * m * kvw)?, out(2 * m * kvw)?);
        let (partial, attended) = (out(m * heads * splits * PARTIAL)?, out(m * qw)?);
        let (projected, residual, h2) = (out(m * d)?, out(m * d)?, out(m * d)?);
        let (logits, shares, best) = (out(m * experts)?, out(ids)?, out(ids)?);
        let (gate_up, activated, down) = (out(ids * 2 * f)?, out(ids * f)?, out(ids * d)?);
        let (combined, y) = (out(m * d)?, out(m * d)?);

        // q, kv, o, router, gate+up, down: (experts, n, k).
        let shapes = [
            (1, qw, d),
            (2, kvw, d),
            (1, d, qw),
            (1, experts, d),
            (distinct, 2 * f, d),
            (distinct, d, f),
        ];
        let weights: u64 = shapes
            .iter()
            .map(|(e, n, k)| weight_bytes(FORMAT, e * n * k))
            .sum();
        let cached = (values * 8) as u64;
        let fit = (arena.scope.budget_bytes * 3 / 4 / (weights + cached)).max(1) as usize;
        let layers = arena.compute_slots(weights + cached, 2).min(fit);
        let set = (weights + cached) as f64 * layers as f64;

        let floats = |n: usize| (n * 4) as f64;
        let by_row = |i: usize, rows: usize| {
            groups(option(variant, "by_row"), variant.kernels[i].group[0], rows)
        };
        let row =
            |i: usize, buffers: &[Slice], numbers: &[usize], bytes: f64, flops: usize| Launch {
                kernel: k[i],
                buffers: buffers.to_vec(),
                numbers: numbers.iter().map(|n| *n as u32).collect(),
                groups: match (i, o("by_row")) {
                    (ADD, 0) => [
                        ((m * d / 4) as u32).div_ceil(variant.kernels[i].group[0]),
                        1,
                        1,
                    ],
                    _ => by_row(i, numbers[0]),
                },
                work: Work {
                    bytes,
                    flops: flops as f64,
                    working_set: bytes,
                },
            };
        let norm = |from: Slice, gain: Slice, to: Slice| {
            row(
                NORM,
                &[from, gain, to],
                &[m, d],
                floats(2 * m * d),
                4 * m * d,
            )
        };
        let add = |a: Slice, b: Slice, to: Slice| Launch {
            groups: match o("by_row") {
                0 => [
                    ((m * d / 4) as u32).div_ceil(variant.kernels[ADD].group[0]),
                    1,
                    1,
                ],
                _ => by_row(ADD, m),
            },
            ..row(ADD, &[a, b, to], &[m * d], floats(3 * m * d), m * d)
        };
        let decode = Decode {
            variant: &Variant {
                kernels: variant.kernels[ATTENTION..=REDUCE].to_vec(),
                ..variant.clone()
            },
            heads,
            kv_heads,
            splits,
            lens: &lens,
            values,
            stride,
        };
        let mut built = Built::default();
        let mut first = None;
        for _ in 0..layers {
            let cache = arena.random(values * 4, FORMAT)?;
            let w: Vec<Data> = shapes
                .iter()
                .map(|(e, n, k)| arena.random(e * n * k, FORMAT))
                .collect::<Result<_, _>>()?;
            let product = |i: usize,
                           tiles: &(&[u32], Slice),
                           rows: usize,
                           share: usize,
                           from: Slice,
                           to: Slice| {
                let (e, n, depth) = shapes[i];
                let routed = i >= 4;
                Grouped {
                    kernel: k[if routed { EXPERT } else { DENSE }],
                    tm: if routed { 1 } else { tm },
                    rows: option(variant, "rows"),
                    n,
                    k: depth,
                    share,
                    tiles: tiles.0,
                }
                .launch(
                    [w[i].at, unused.at, from, tiles.1, to],
                    Work {
                        bytes: weight_bytes(FORMAT, e * n * depth) as f64
                            + floats(rows / share * depth + rows * n),
                        flops: 2.0 * (rows * n * depth) as f64,
                        working_set: set,
                    },
                )
            };
            let dense = (&dense[..], dense_at);
            let sides = (&sides[..], sides_at);
            let routed = (&routed[..], routed_at);
            let [attend, reduce] = decode.launches(
                [k[ATTENTION], k[REDUCE]],
                [q_turned, cache.at, table_at, lens_at, partial, attended],
                set,
            );
            // Which part a launch belongs to stands before it.
            let chain = [
                (1, norm(x.at, gains[0].at, h)),
                (2, product(0, &dense, m, 1, h, q)),
                (2, product(1, &sides, 2 * m, 2, h, kv)),
                (
                    3,
                    row(
                        ROPE,
                        &[q, turns_at, q_turned],
                        &[m, heads],
                        floats(m * (2 * qw + HEAD)),
                        3 * m * qw,
                    ),
                ),
                (
                    3,
                    row(
                        ROPE,
                        &[kv, kv_turns_at, kv_turned],
                        &[2 * m, kv_heads],
                        floats(2 * m * (2 * kvw + HEAD)),
                        6 * m * kvw,
                    ),
                ),
                (
                    4,
                    row(
                        KV_WRITE,
                        &[kv_turned, slots_at, cache.at],
                        &[m, kvw, values],
                        (m * (2 * kvw * 6 + 4)) as f64,
                        0,
                    ),
                ),
                (5, attend),
                (5, reduce),
                (6, product(2, &dense, m, 1, attended, projected)),
                (7, add(x.at, projected, residual)),
                (1, norm(residual, gains[1].at, h2)),
                (8, product(3, &dense, m, 1, h2, logits)),
                (
                    8,
                    row(
                        ROUTER,
                        &[logits, shares, best],
                        &[m],
                        floats(m * (experts + 2 * topk)),
                        m * experts * (2 + topk),
                    ),
                ),
                (9, product(4, &routed, ids, topk, h2, gate_up)),
                (
                    9,
                    row(
                        SILU,
                        &[gate_up, activated],
                        &[ids, f],
                        floats(3 * ids * f),
                        6 * ids * f,
                    ),
                ),
                (9, product(5, &routed, ids, 1, activated, down)),
                (
                    10,
                    row(
                        COMBINE,
                        &[down, shares, combined],
                        &[m, d],
                        floats(m * (d * (topk + 1) + topk)),
                        2 * topk * m * d,
                    ),
                ),
                (7, add(residual, combined, y)),
            ];
            let part = axis(point, "part");
            let wanted = chain.into_iter().filter(|(p, _)| part == 0 || part == *p);
            built.pass.extend(wanted.map(|(_, l)| l));
            first.get_or_insert((cache, w));
        }
        let Some((cache, w)) = first.filter(|_| arena.keep) else {
            return Ok(built);
        };

        // The layer once more, by the definitions, in f64.
        let f64s = |d: &Data| -> Vec<f64> {
            (0..d.words.len())
                .map(|i| Format::F32.decode(&d.words, i))
                .collect()
        };
        let normed = |x: &[f64], gain: &[f64]| -> Vec<f64> {
            let row = |x: &[f64]| {
                let mean = x.iter().map(|v| v * v).sum::<f64>() / d as f64;
                let scale = 1.0 / (mean + 1e-6).sqrt();
                x.iter()
                    .zip(gain)
                    .map(|(x, g)| x * scale * g)
                    .collect::<Vec<_>>()
            };
            x.chunks(d).flat_map(row).collect()
        };
        // Row `r` of x times the matrix of expert `e`.
        let times = |i: usize, e: usize, x: &[f64]| -> Vec<f64> {
            let (_, n, depth) = shapes[i];
            let row = |j: usize| {
                let at = (e * n + j) * depth;
                (0..depth)
                    .map(|t| FORMAT.decode(&w[i].words, at + t) * x[t])
                    .sum()
            };
            (0..n).map(row).collect()
        };
        let turned = |x: &[f64], b: usize| -> Vec<f64> {
            let cs = |c: usize| f64::from(turns[b * HEAD + c]);
            let half = HEAD / 2;
            let one = |h: &[f64], j: usize| match j < half {
                true => h[j] * cs(j) - h[j + half] * cs(half + j),
                false => h[j] * cs(j - half) + h[j - half] * cs(j),
            };
            x.chunks(HEAD)
                .flat_map(|h| (0..HEAD).map(|j| one(h, j)).collect::<Vec<_>>())
                .collect()
        };
        let rounded = |v: f64| half::bf16::from_f32(v as f32).to_f64();
        let mut answers: [Vec<f64>; 5] = Default::default();
        let x = f64s(&x);
        for b in 0..m {
            let x = &x[b * d..][..d];
            let h = normed(x, &f64s(&gains[0]));
            let q = turned(&times(0, 0, &h), b);
            let new_key: Vec<f64> = turned(&times(1, 0, &h), b)
                .into_iter()
                .map(rounded)
                .collect();
            let new_value: Vec<f64> = times(1, 1, &h).into_iter().map(rounded).collect();
            let mut attended = vec![];
            for (i, q) in q.chunks(HEAD).enumerate() {
                let g = i / (heads / kv_heads);
                let old = |base: usize, t: usize| {
                    attention::vector(&cache.words, base + (slot(b, t) * kv_heads + g) * HEAD)
                };
                let all = |base: usize, new: &[f64]| -> Vec<Vec<f64>> {
                    let mut v: Vec<_> = (0..context - 1).map(|t| old(base, t)).collect();
                    v.push(new[g * HEAD..][..HEAD].to_vec());
                    v
                };
                attended.extend(attention::reference(
                    q,
                    &all(0, &new_key),
                    &all(2 * values, &new_value),
                ));
            }
            let residual: Vec<f64> = x
                .iter()
                .zip(times(2, 0, &attended))
                .map(|(a, b)| a + b)
                .collect();
            let h2 = normed(&residual, &f64s(&gains[1]));
            let mut logits = times(3, 0, &h2);
            logits.sort_by(|a, b| b.total_cmp(a));
            let p: Vec<f64> = logits[..topk].iter().map(|l| libm::exp(*l)).collect();
            let sum: f64 = p.iter().sum();
            let mut combined = vec![0.0; d];
            for (e, p) in chosen[b].iter().zip(&p) {
                let both = times(4, *e as usize, &h2);
                let act: Vec<f64> = (0..f)
                    .map(|i| both[i] / (1.0 + libm::exp(-both[i])) * both[f + i])
                    .collect();
                for (c, v) in combined.iter_mut().zip(times(5, *e as usize, &act)) {
                    *c += p / sum * v;
                }
            }
            answers[4].extend(residual.iter().zip(&combined).map(|(a, b)| a + b));
            answers[0].extend(q);
            answers[1].extend(attended);
            answers[2].extend(residual);
            answers[3].extend(combined);
        }
        // Stages on the way are compared as well: the residual would hide a small error of what is added to it.
        let places = [q_turned, attended, residual, combined, y];
        for (at, values) in places.into_iter().zip(answers) {
            let expect = Expect::Floats(Format::F32, values, TOLERANCE);
            built.answers.push(Answer { at, expect });
        }
        Ok(built)
    }
}

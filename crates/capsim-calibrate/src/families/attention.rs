//! Attention: over a paged cache for decoding, and causal over contiguous keys for prefill.
use super::harness::*;
use super::shapes::{BLOCK, HEAD, Shapes};
use crate::backend::{Kernel, Launch, Slice, Work};
use crate::family::{Effort, Point, ProbeError, Scope, Variant};

/// Words of a split's partial result: sums, largest score, sum of exponentials.
pub(super) const PARTIAL: usize = HEAD + 2;

fn defines(shape: Shape, heads: usize, kv_heads: usize) -> Vec<(&'static str, u32)> {
    vec![
        ("SHAPE", shape as u32),
        ("HEADS", heads as u32),
        ("KV_HEADS", kv_heads as u32),
        ("BLOCK", BLOCK as u32),
    ]
}

/// Softmax(q · K / √128) · V by the definition.
pub(super) fn reference(q: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<f64> {
    let dot = |k: &Vec<f64>| q.iter().zip(k).map(|(a, b)| a * b).sum::<f64>();
    let scores: Vec<f64> = keys.iter().map(|k| dot(k) / (HEAD as f64).sqrt()).collect();
    let max = scores.iter().fold(f64::NEG_INFINITY, |m, s| m.max(*s));
    let p: Vec<f64> = scores.iter().map(|s| libm::exp(s - max)).collect();
    let sum: f64 = p.iter().sum();
    (0..HEAD)
        .map(|d| p.iter().zip(values).map(|(p, v)| p * v[d]).sum::<f64>() / sum)
        .collect()
}

/// A head's vector in an array of 16-bit numbers.
pub(super) fn vector(words: &[u32], first: usize) -> Vec<f64> {
    (first..first + HEAD)
        .map(|i| Format::Bf16.decode(words, i))
        .collect()
}

fn query(words: &[u32], first: usize) -> Vec<f64> {
    (first..first + HEAD)
        .map(|i| Format::F32.decode(words, i))
        .collect()
}

/// Decode attention: the two kernels `attention_decode` and `attention_reduce`.
pub(super) fn decode_kernels(
    shape: Shape,
    group: u32,
    heads: usize,
    kv_heads: usize,
) -> Vec<Kernel> {
    let reduce = if group == 1 { 1 } else { 64 };
    vec![
        kernel(
            "attention_decode",
            &defines(shape, heads, kv_heads),
            [group, 1],
            "rrrrw",
            4,
        ),
        kernel("attention_reduce", &[], [reduce, 1], "rw", 2),
    ]
}

/// The launches of one layer's decode attention.
pub(super) struct Decode<'a> {
    pub variant: &'a Variant,
    pub heads: usize,
    pub kv_heads: usize,
    pub splits: usize,
    pub lens: &'a [u32],
    /// Words before the values in the cache.
    pub values: usize,
    /// Blocks of a row of the table.
    pub stride: usize,
}

impl Decode<'_> {
    /// Arguments: queries, cache, table, lengths, partial results, output.
    pub fn launches(
        &self,
        ids: [crate::backend::KernelId; 2],
        b: [Slice; 6],
        working_set: f64,
    ) -> [Launch; 2] {
        let batch = self.lens.len();
        let rows = batch * self.heads;
        let context: f64 = self.lens.iter().map(|l| f64::from(*l)).sum();
        let partial = (rows * self.splits * PARTIAL * 4) as f64;
        let group = self.variant.kernels[0].group[0];
        let groups = match option(self.variant, "shape") {
            0 => [self.splits as u32, self.kv_heads as u32, batch as u32],
            _ => [((rows * self.splits) as u32).div_ceil(group), 1, 1],
        };
        [
            Launch {
                kernel: ids[0],
                buffers: b[..5].to_vec(),
                numbers: vec![
                    batch as u32,
                    self.splits as u32,
                    self.stride as u32,
                    self.values as u32,
                ],
                groups,
                work: Work {
                    bytes: context * (2 * self.kv_heads * HEAD * 2) as f64
                        + (rows * HEAD * 4) as f64
                        + partial,
                    flops: 4.0 * (self.heads * HEAD) as f64 * context,
                    working_set,
                },
            },
            Launch {
                kernel: ids[1],
                buffers: vec![b[4], b[5]],
                numbers: vec![rows as u32, self.splits as u32],
                groups: [
                    ((rows * HEAD) as u32).div_ceil(self.variant.kernels[1].group[0]),
                    1,
                    1,
                ],
                work: Work {
                    bytes: partial + (rows * HEAD * 4) as f64,
                    flops: (rows * self.splits * HEAD * 2) as f64,
                    working_set: partial,
                },
            },
        ]
    }
}

/// Decoding over the paged cache.
pub(super) struct PagedDecode;

impl Bench for PagedDecode {
    fn name(&self) -> &'static str {
        "attention_decode"
    }

    fn about(&self) -> &'static str {
        "One new token per sequence over a paged KV cache, blocks of 16 in shuffled order: what a decode step pays for context"
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[CurveId::AttentionDecode]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let s = Shapes::of(scope);
        let (batches, contexts): (&[usize], &[usize]) = match (scope.device.software, scope.effort)
        {
            (_, Effort::Quick) => (&[8], &[512]),
            (true, _) => (&[1, 4], &[256, 1024]),
            (_, Effort::Standard) => (&[1, 8, 32], &[256, 2048, 16384]),
            _ => (&[1, 2, 4, 8, 16, 32, 64], &[256, 1024, 4096, 16384, 65536]),
        };
        let mut points = vec![];
        let mut add = |b: usize, c: usize, mixed: bool| {
            if b * c * 2 * s.kv_heads * HEAD * 2 <= (scope.budget_bytes / 2).min(2 << 30) as usize {
                points.push(point(
                    format!("b{b}-c{c}{}", if mixed { "-mixed" } else { "" }),
                    vec![
                        ("batch", b as f64),
                        ("context", c as f64),
                        ("mixed", f64::from(u8::from(mixed))),
                        ("heads", s.heads as f64),
                        ("kv_heads", s.kv_heads as f64),
                    ],
                    false,
                ));
            }
        };
        for b in batches {
            for c in contexts {
                add(*b, *c, false);
            }
        }
        if thorough(scope) {
            add(8, contexts[1], true);
            add(32, contexts[1], true);
        }
        points
    }

    fn variants(&self, scope: &Scope, point: &Point) -> Vec<Variant> {
        let (heads, kv_heads) = (axis(point, "heads"), axis(point, "kv_heads"));
        let batch = axis(point, "batch");
        let blocks = (axis(point, "context") / BLOCK).max(1) as u32;
        // As many splits as fill the device: each compute unit wants a few work-groups.
        let fill = (4 * units(scope.device)).div_ceil((batch * kv_heads) as u32);
        let mut choices = match (native(scope.device), scope.device.software) {
            (true, _) => vec![(Shape::Items, 1, 1), (Shape::Items, 1, 4)],
            (_, true) => vec![(Shape::Items, 4, 2), (Shape::Lanes, 128, 2)],
            _ => vec![
                (Shape::Lanes, 128, fill),
                (Shape::Lanes, 128, fill * 4),
                (Shape::Lanes, 128, 1),
                (Shape::Items, 32, fill * 4),
            ],
        };
        choices.truncate(match scope.effort {
            Effort::Quick => 1,
            Effort::Standard => 2,
            Effort::Full => 4,
        });
        let mut all: Vec<Variant> = vec![];
        for (shape, group, splits) in choices {
            let splits = splits.clamp(1, blocks.min(64)).next_power_of_two();
            let v = Variant {
                id: format!("{}-{group}-split{splits}", shape.label()),
                kernels: decode_kernels(shape, group, heads, kv_heads),
                options: vec![
                    ("shape", shape as u32),
                    ("splits", splits),
                    ("heads", heads as u32),
                    ("kv_heads", kv_heads as u32),
                ],
            };
            if all.iter().all(|o| o.id != v.id) {
                all.push(v);
            }
        }
        all
    }

    fn small(&self, variant: &Variant) -> Point {
        let axes = vec![
            ("batch", 3.0),
            ("context", 100.0),
            ("mixed", 1.0),
            ("heads", f64::from(option(variant, "heads"))),
            ("kv_heads", f64::from(option(variant, "kv_heads"))),
        ];
        point("check".into(), axes, false)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let (batch, context) = (axis(point, "batch"), axis(point, "context"));
        let (heads, kv_heads) = (axis(point, "heads"), axis(point, "kv_heads"));
        let splits = option(variant, "splits") as usize;
        let ids = [
            arena.compile(&variant.kernels[0])?,
            arena.compile(&variant.kernels[1])?,
        ];
        // Mixed lengths: from a quarter to seven quarters of the mean.
        let lens: Vec<u32> = (0..batch)
            .map(|b| match axis(point, "mixed") {
                0 => context,
                _ => (context / 4 + context * 3 * b / (2 * (batch - 1).max(1))).max(1),
            } as u32)
            .collect();
        let stride = lens
            .iter()
            .map(|l| (*l as usize).div_ceil(BLOCK))
            .max()
            .unwrap_or(1);
        let total = batch * stride;
        let table = shuffled(total as u32, arena.scope.seed);
        // Words of the keys of all blocks; the values follow.
        let values = total * BLOCK * kv_heads * HEAD / 2;
        let cache = (values * 2 * 4) as u64;
        let slots = arena.compute_slots(cache, 8);
        let kv = arena.ring(values * 4, Format::Bf16, slots)?;
        let q = arena.random(batch * heads * HEAD, Format::F32)?;
        let table_at = arena.upload(&table)?;
        let lens_at = arena.upload(&lens)?;
        let partial = arena.output(batch * heads * splits * PARTIAL)?;
        let out = arena.output(batch * heads * HEAD)?;
        let decode = Decode {
            variant,
            heads,
            kv_heads,
            splits,
            lens: &lens,
            values,
            stride,
        };
        let mut built = Built::default();
        for kv in &kv {
            let b = [q.at, kv.at, table_at, lens_at, partial, out];
            let set = (cache * slots as u64) as f64;
            built.pass.extend(decode.launches(ids, b, set));
        }
        if arena.keep {
            let mut expected = vec![];
            for (b, len) in lens.iter().enumerate() {
                for h in 0..heads {
                    let at = |t: usize| {
                        let slot = table[b * stride + t / BLOCK] as usize * BLOCK + t % BLOCK;
                        (slot * kv_heads + h / (heads / kv_heads)) * HEAD
                    };
                    let all = 0..*len as usize;
                    let keys: Vec<_> = all.clone().map(|t| vector(&kv[0].words, at(t))).collect();
                    let vals: Vec<_> = all
                        .map(|t| vector(&kv[0].words, values * 2 + at(t)))
                        .collect();
                    let q = query(&q.words, (b * heads + h) * HEAD);
                    expected.extend(reference(&q, &keys, &vals));
                }
            }
            built.answers.push(Answer {
                at: out,
                expect: Expect::Floats(Format::F32, expected, F32_TOLERANCE),
            });
        }
        Ok(built)
    }
}

/// Causal attention of a chunk.
pub(super) struct CausalPrefill;

/// The option `shape` of the kernel for NVIDIA's matrix units, the feature that it needs, and its rows per work-group.
const PTX: u32 = 2;
const PTX_FEATURE: &str = "ptx-mma";
const PTX_ROWS: u32 = 64;
/// Relative L2 error allowed where queries and weights are rounded to bfloat16 first: its unit roundoff, 2^-8 (8 significant bits).
const BF16_TOLERANCE: f64 = 1.0 / 256.0;

/// Arithmetic of one launch at most: 200 ms at 1 TFLOP/s, slower than any GPU worth measuring.
const LAUNCH_FLOPS: f64 = 2e11;

impl Bench for CausalPrefill {
    fn name(&self) -> &'static str {
        "attention_prefill"
    }

    fn about(&self) -> &'static str {
        "A chunk of new tokens over themselves and a past: what prefill pays for context"
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[CurveId::AttentionPrefill]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let s = Shapes::of(scope);
        let (chunks, pasts): (&[usize], &[usize]) = match (scope.device.software, scope.effort) {
            (true, Effort::Quick) => (&[32, 128], &[0]),
            (true, _) => (&[32, 128, 256], &[0, 256]),
            (_, Effort::Quick) => (&[128, 1024], &[0]),
            (_, Effort::Standard) => (&[128, 512, 1024, 2048], &[0, 2048, 8192]),
            _ => (&[128, 512, 1024, 2048, 4096], &[0, 2048, 8192, 32768]),
        };
        let mut points = vec![];
        for past in pasts {
            for q in chunks {
                let required = *past == 0
                    && matches!(
                        (scope.device.software, q),
                        (true, 32 | 128) | (false, 128 | 1024)
                    );
                points.push(point(
                    format!("q{q}-p{past}"),
                    vec![
                        ("tokens", *q as f64),
                        ("past", *past as f64),
                        ("heads", s.heads as f64),
                        ("kv_heads", s.kv_heads as f64),
                    ],
                    required,
                ));
            }
        }
        points
    }

    fn variants(&self, scope: &Scope, point: &Point) -> Vec<Variant> {
        let (heads, kv_heads) = (axis(point, "heads"), axis(point, "kv_heads"));
        let choices = match (native(scope.device), scope.device.software) {
            (true, _) => vec![(Shape::Items, 1)],
            (_, true) => vec![(Shape::Items, 8), (Shape::Lanes, 128)],
            _ => vec![(Shape::Lanes, 128), (Shape::Items, 64)],
        };
        let most = if thorough(scope) { 2 } else { 1 };
        let options = |shape: u32| {
            vec![
                ("shape", shape),
                ("heads", heads as u32),
                ("kv_heads", kv_heads as u32),
            ]
        };
        let plain = choices
            .into_iter()
            .take(most)
            .map(|(shape, group)| Variant {
                id: format!("{}-{group}", shape.label()),
                kernels: vec![kernel(
                    "attention_prefill",
                    &defines(shape, heads, kv_heads),
                    [group, 1],
                    "rrw",
                    4,
                )],
                options: options(shape as u32),
            });
        let mut all = vec![];
        if scope.device.features.iter().any(|f| f == PTX_FEATURE) {
            let sizes = [("HEADS", heads as u32), ("KV_HEADS", kv_heads as u32)];
            all.push(Variant {
                id: "ptx-128".into(),
                kernels: vec![Kernel {
                    needs: vec![PTX_FEATURE],
                    ..kernel("attention_ptx", &sizes, [128, 1], "rrw", 4)
                }],
                options: options(PTX),
            });
        }
        all.extend(plain);
        all
    }

    fn small(&self, variant: &Variant) -> Point {
        let axes = vec![
            ("tokens", 37.0),
            ("past", 29.0),
            ("heads", f64::from(option(variant, "heads"))),
            ("kv_heads", f64::from(option(variant, "kv_heads"))),
        ];
        point("check".into(), axes, false)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let (n, past) = (axis(point, "tokens"), axis(point, "past"));
        let (heads, kv_heads) = (axis(point, "heads"), axis(point, "kv_heads"));
        let kernel = arena.compile(&variant.kernels[0])?;
        let values = (past + n) * kv_heads * HEAD / 2;
        let kv = arena.random(values * 4, Format::Bf16)?;
        // Rows of one launch: whole multiples of 32, few enough that it stays short.
        let row_flops = (4 * heads * HEAD * (past + n)) as f64;
        let rows = ((LAUNCH_FLOPS / row_flops) as usize / 32 * 32).clamp(32, n.max(32));
        let tolerance = match option(variant, "shape") {
            PTX => BF16_TOLERANCE,
            _ => F32_TOLERANCE,
        };
        let mut built = Built::default();
        for first in (0..n).step_by(rows) {
            let rows = rows.min(n - first);
            let q = arena.random(rows * heads * HEAD, Format::F32)?;
            let out = arena.output(rows * heads * HEAD)?;
            let before = past + first;
            let group = variant.kernels[0].group[0];
            let groups = match option(variant, "shape") {
                0 => [(rows as u32).div_ceil(ROWS), heads as u32, 1],
                PTX => [(rows as u32).div_ceil(PTX_ROWS), heads as u32, 1],
                _ => [((rows * heads) as u32).div_ceil(group), 1, 1],
            };
            // Pairs of a query and a key that it sees.
            let pairs = (rows * before + rows * (rows + 1) / 2) as f64;
            built.pass.push(Launch {
                kernel,
                buffers: vec![q.at, kv.at, out],
                numbers: vec![rows as u32, before as u32, values as u32, 0],
                groups,
                work: Work {
                    bytes: ((before + rows) * kv_heads * HEAD * 4 + rows * heads * HEAD * 8) as f64,
                    flops: 4.0 * (heads * HEAD) as f64 * pairs,
                    working_set: (values * 8) as f64,
                },
            });
            if arena.keep {
                let mut expected = vec![];
                for r in 0..rows {
                    for h in 0..heads {
                        let at = |t: usize| (t * kv_heads + h / (heads / kv_heads)) * HEAD;
                        let all = 0..before + r + 1;
                        let keys: Vec<_> = all.clone().map(|t| vector(&kv.words, at(t))).collect();
                        let vals: Vec<_> =
                            all.map(|t| vector(&kv.words, values * 2 + at(t))).collect();
                        let q = query(&q.words, (r * heads + h) * HEAD);
                        expected.extend(reference(&q, &keys, &vals));
                    }
                }
                built.answers.push(Answer {
                    at: out,
                    expect: Expect::Floats(Format::F32, expected, tolerance),
                });
            }
        }
        Ok(built)
    }
}

/// Query rows of a work-group in the lanes shape; the kernels have it built in.
const ROWS: u32 = 16;

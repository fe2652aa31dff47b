//! Matrix products with few rows (decode), with many (prefill), and grouped by expert.
use super::harness::*;
use super::shapes::Shapes;
use crate::backend::{Kernel, Launch, Slice, Work};
use crate::family::{Effort, Point, ProbeError, Scope, Variant};

/// Marks an unused row of a tile.
const UNUSED: u32 = u32::MAX;

/// One grouped product in memory.
pub(super) struct Grouped<'a> {
    pub kernel: crate::backend::KernelId,
    /// Rows of the tile, the kernel's define `TM`.
    pub tm: usize,
    /// Weight rows that one work-group takes.
    pub rows: u32,
    pub n: usize,
    pub k: usize,
    /// Ids that share one row of x: top-k before the experts, 1 otherwise.
    pub share: usize,
    /// Tiles: expert, then `tm` ids each.
    pub tiles: &'a [u32],
}

impl Grouped<'_> {
    pub fn launch(&self, buffers: [Slice; 5], work: Work) -> Launch {
        Launch {
            kernel: self.kernel,
            buffers: buffers.to_vec(),
            numbers: vec![self.n as u32, self.k as u32, self.share as u32],
            groups: [
                (self.n as u32).div_ceil(self.rows),
                (self.tiles.len() / (self.tm + 1)) as u32,
                1,
            ],
            work,
        }
    }

    /// The answer by the definition, in f64.
    pub fn reference(
        &self,
        format: Format,
        w: &[u32],
        s: &[u32],
        x: &[u32],
        ids: usize,
    ) -> Vec<f64> {
        let mut y = vec![f64::NAN; ids * self.n];
        let groups = self.k / QUANT_GROUP;
        for tile in self.tiles.chunks(self.tm + 1) {
            for id in tile[1..].iter().filter(|id| **id != UNUSED) {
                let row = *id as usize / self.share;
                for n in 0..self.n {
                    let at = tile[0] as usize * self.n + n;
                    let term = |k: usize| {
                        let scale = match format.quantised() {
                            true => Format::F16.decode(s, at * groups + k / QUANT_GROUP),
                            false => 1.0,
                        };
                        let x = Format::F32.decode(x, row * self.k + k);
                        format.decode(w, at * self.k + k) * scale * x
                    };
                    y[*id as usize * self.n + n] = (0..self.k).map(term).sum();
                }
            }
        }
        y
    }
}

/// The kernel `gemm_grouped` in one shape.
pub(super) fn grouped_kernel(
    format: Format,
    tm: u32,
    shape: Shape,
    group: u32,
    rows: u32,
) -> Kernel {
    kernel(
        "gemm_grouped",
        &[
            ("FORMAT", format as u32),
            ("TM", tm),
            ("SHAPE", shape as u32),
            ("ROWS", rows),
        ],
        [group, 1],
        "rrrrw",
        3,
    )
}

/// Shapes of the grouped kernel that a device may try for so many rows per tile, most promising first.
pub(super) fn grouped_variants(scope: &Scope, format: Format, rows: usize) -> Vec<Variant> {
    let tm = match rows {
        0..=1 => 1u32,
        2 => 2,
        3..=4 => 4,
        _ => 8,
    };
    // (shape, work-group, weight rows per work-group)
    let mut choices = match (native(scope.device), scope.device.software) {
        (true, _) => vec![(Shape::Items, 1, 32)],
        (_, true) => vec![
            (Shape::Items, 4, 4),
            (Shape::Lanes, 32, 8),
            (Shape::Items, 16, 16),
        ],
        _ => vec![
            (Shape::Lanes, 64, 4),
            (Shape::Lanes, 128, 4),
            (Shape::Lanes, 256, 8),
            (Shape::Lanes, 32, 2),
            (Shape::Items, 64, 64),
        ],
    };
    choices.truncate(match scope.effort {
        Effort::Quick => 1,
        Effort::Standard => 3,
        Effort::Full => 5,
    });
    choices
        .into_iter()
        .map(|(shape, group, rows)| Variant {
            id: format!("{}-m{tm}-{}-{group}x{rows}", format.label(), shape.label()),
            kernels: vec![grouped_kernel(format, tm, shape, group, rows)],
            options: vec![("format", format as u32), ("tm", tm), ("rows", rows)],
        })
        .collect()
}

/// Weights of one product, scales beside them (a few unused words where the format has none).
pub(super) fn weights(
    arena: &mut Arena,
    format: Format,
    numbers: usize,
    slots: usize,
) -> Result<(Vec<Data>, Vec<Data>), ProbeError> {
    let w = arena.ring(numbers, format, slots)?;
    let s = match format.quantised() {
        true => arena.ring(numbers / QUANT_GROUP, Format::F16, slots)?,
        false => {
            let one = arena.random(64, Format::F32)?;
            vec![one; slots]
        }
    };
    Ok((w, s))
}

/// Bytes of so many weights with their scales.
pub(super) fn weight_bytes(format: Format, numbers: usize) -> u64 {
    let scales = if format.quantised() {
        numbers / QUANT_GROUP * 2
    } else {
        0
    };
    (numbers / format.per_word() * 4 + scales) as u64
}

/// Tiles of a dense product: ids 0 … m in order, all of one expert.
pub(super) fn dense_tiles(m: usize, tm: usize) -> Vec<u32> {
    (0..m.div_ceil(tm))
        .flat_map(|t| {
            let id = move |i: usize| {
                if t * tm + i < m {
                    (t * tm + i) as u32
                } else {
                    UNUSED
                }
            };
            std::iter::once(0).chain((0..tm).map(id))
        })
        .collect()
}

/// Products with few rows.
pub(super) struct Skinny;

impl Bench for Skinny {
    fn name(&self) -> &'static str {
        "gemm_skinny"
    }

    fn about(&self) -> &'static str {
        "Few rows times a large weight matrix, in five weight formats: the dense products of a decode step"
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[CurveId::MatrixStream, CurveId::GemmF16]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let s = Shapes::of(scope);
        let shapes = [
            ("qkv", s.qkv, s.hidden),
            ("o", s.hidden, s.heads * super::shapes::HEAD),
            ("lm_head", s.vocab, s.hidden),
        ];
        let make = |(name, n, k): (&str, usize, usize), m: usize, format: Format| {
            point(
                format!("m{m}-{name}-{}", format.label()),
                vec![
                    ("m", m as f64),
                    ("n", n as f64),
                    ("k", k as f64),
                    (
                        "weight_bytes",
                        weight_bytes(format, n * k) as f64 / (n * k) as f64,
                    ),
                    ("format", f64::from(format as u8)),
                ],
                false,
            )
        };
        let mut points = vec![];
        let (few, many): (&[usize], &[usize]) = match scope.effort {
            Effort::Quick => (&[1, 8], &[]),
            Effort::Standard => (&[1, 2, 4, 8, 16, 32, 64], &[1]),
            Effort::Full => (&[1, 2, 4, 8, 16, 32, 64, 128, 256], &[1, 2, 4, 8, 32]),
        };
        // Integers are taken apart by arithmetic of capsim's own: no curve is made of them.
        let formats: &[Format] = match scope.effort {
            Effort::Full => &[Format::F16, Format::Int4, Format::Int8, Format::F32],
            _ => &[Format::F16, Format::F32],
        };
        for m in few {
            points.push(make(shapes[0], *m, Format::Bf16));
        }
        for m in many {
            points.push(make(shapes[1], *m, Format::Bf16));
            points.push(make(shapes[2], *m, Format::Bf16));
            for format in formats {
                points.push(make(shapes[0], *m, *format));
            }
        }
        points
    }

    fn variants(&self, scope: &Scope, point: &Point) -> Vec<Variant> {
        grouped_variants(
            scope,
            Format::of(axis(point, "format") as u32),
            axis(point, "m"),
        )
    }

    fn small(&self, variant: &Variant) -> Point {
        // One row more than a tile has, and a number of weight rows that no work-group divides.
        let m = option(variant, "tm") + 1;
        let axes = vec![("m", f64::from(m)), ("n", 75.0), ("k", 256.0)];
        point("check".into(), axes, false)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let format = Format::of(option(variant, "format"));
        let tm = option(variant, "tm") as usize;
        let (m, n, k) = (axis(point, "m"), axis(point, "n"), axis(point, "k"));
        let kernel = arena.compile(&variant.kernels[0])?;
        // A matrix larger than a binding comes in parts of as many whole rows as fit.
        let whole = weight_bytes(format, n * k);
        let binding = largest_binding(arena.scope.device);
        let parts = whole.div_ceil(binding) as usize;
        let n = n.div_ceil(parts);
        let bytes = weight_bytes(format, n * k);
        let slots = arena.slots(bytes).max(parts).next_multiple_of(parts);
        let slots = match arena.scope.device.software {
            true if m > 1 => slots.min(8),
            _ => slots,
        };
        let (w, s) = weights(arena, format, n * k, slots)?;
        let x = arena.random(m * k, Format::F32)?;
        let tiles = dense_tiles(m, tm);
        let table = arena.upload(&tiles)?;
        let y = arena.output(m * n)?;
        let product = Grouped {
            kernel,
            tm,
            rows: option(variant, "rows"),
            n,
            k,
            share: 1,
            tiles: &tiles,
        };
        let work = Work {
            bytes: bytes as f64 + (m * (k + n) * 4) as f64,
            flops: 2.0 * (m * n * k) as f64,
            working_set: (bytes * slots as u64) as f64,
        };
        let mut built = Built::default();
        for (w, s) in w.iter().zip(&s) {
            built
                .pass
                .push(product.launch([w.at, s.at, x.at, table, y], work));
        }
        if arena.keep {
            let values = product.reference(format, &w[0].words, &s[0].words, &x.words, m);
            built.answers.push(Answer {
                at: y,
                expect: Expect::Floats(Format::F32, values, F32_TOLERANCE),
            });
        }
        Ok(built)
    }
}

/// Products with many rows.
pub(super) struct Prefill;

impl Bench for Prefill {
    fn name(&self) -> &'static str {
        "gemm_prefill"
    }

    fn about(&self) -> &'static str {
        "Many rows times a weight matrix in 16 bits, with matrix units where the API reaches them: the products of prefill"
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[CurveId::GemmF16]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let s = Shapes::of(scope);
        let ms: &[usize] = match (scope.device.software, scope.effort) {
            (true, Effort::Quick) => &[64, 128],
            (true, _) if native(scope.device) => &[1, 2, 4, 8, 16, 32, 64, 128, 256],
            (true, _) => &[16, 64, 128, 256],
            (_, Effort::Quick) => &[128, 512, 2048],
            _ => &[16, 32, 64, 128, 256, 512, 1024, 2048, 4096],
        };
        let mut points = vec![];
        for format in [Format::F16, Format::Bf16] {
            for (name, n, k) in [("qkv", s.qkv, s.hidden), ("o", s.hidden, s.heads * 128)] {
                let first = format == Format::F16 && name == "qkv";
                // A processor may multiply bfloat16 twice as fast as half precision, and engines serve in that then.
                let both = native(scope.device) && name == "qkv";
                let wanted = first || both || scope.effort == Effort::Full;
                let also = thorough(scope) && name == "qkv";
                for m in ms {
                    if wanted || (also && matches!(m, 256 | 2048)) {
                        points.push(point(
                            format!("m{m}-{name}-{}", format.label()),
                            vec![
                                ("m", *m as f64),
                                ("n", n as f64),
                                ("k", k as f64),
                                ("weight_bytes", 2.0),
                                ("format", f64::from(format as u8)),
                            ],
                            first && matches!(m, 64 | 128 | 512 | 2048),
                        ));
                    }
                }
            }
        }
        points
    }

    fn variants(&self, scope: &Scope, point: &Point) -> Vec<Variant> {
        let format = Format::of(axis(point, "format") as u32);
        let mut all = super::matrix::variants(scope, format, axis(point, "m"));
        // (side of the work-group, products per work-item and side)
        let mut choices = match (native(scope.device), scope.device.software) {
            (true, _) => vec![(1, 1)],
            (_, true) => vec![(8, 4), (16, 1)],
            _ => vec![(16, 4), (8, 8), (8, 4), (16, 8)],
        };
        choices.retain(|(side, _)| side * side <= scope.device.max_group.max(1));
        choices.truncate(match scope.effort {
            Effort::Quick => 1,
            Effort::Standard => 2,
            Effort::Full => 4,
        });
        all.extend(choices.into_iter().map(|(side, each)| Variant {
            id: format!("{}-plain-{}x{each}", format.label(), side * each),
            kernels: vec![kernel(
                "gemm_tiled",
                &[("FORMAT", format as u32), ("EACH", each)],
                [side, side],
                "rrw",
                3,
            )],
            options: vec![
                ("format", format as u32),
                ("tile_m", side * each),
                ("tile_n", side * each),
                ("tile_k", 2),
            ],
        }));
        all
    }

    fn small(&self, variant: &Variant) -> Point {
        // Whole tiles, as the real shapes are: more than one each way, and several slices of a tile's depth.
        let side = |tile: &str| {
            let tile = option(variant, tile);
            (2 * tile).max(37u32.next_multiple_of(tile.max(1)))
        };
        let axes = vec![
            ("m", f64::from(side("tile_m"))),
            ("n", f64::from(side("tile_n"))),
            ("k", 192.0),
        ];
        point("check".into(), axes, false)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let format = Format::of(option(variant, "format"));
        let (tile_m, tile_n) = (option(variant, "tile_m"), option(variant, "tile_n"));
        let (m, n, k) = (axis(point, "m"), axis(point, "n"), axis(point, "k"));
        // Rows are padded to whole tiles; what is counted is the work asked for.
        let padded = m.next_multiple_of(tile_m as usize);
        let kernel = arena.compile(&variant.kernels[0])?;
        let bytes = (n * k * 2) as u64;
        let slots = arena.compute_slots(bytes, 2);
        let b = arena.ring(n * k, format, slots)?;
        let a = arena.random(padded * k, format)?;
        let c = arena.output(padded * n)?;
        let mut built = Built::default();
        for b in &b {
            built.pass.push(Launch {
                kernel,
                buffers: vec![b.at, a.at, c],
                numbers: vec![padded as u32, n as u32, k as u32],
                groups: [
                    (n as u32).div_ceil(tile_n),
                    (padded as u32).div_ceil(tile_m),
                    1,
                ],
                work: Work {
                    bytes: bytes as f64 + (m * k * 2 + m * n * 4) as f64,
                    flops: 2.0 * (m * n * k) as f64,
                    working_set: (bytes * slots as u64) as f64,
                },
            });
        }
        if arena.keep {
            let mut values = vec![0.0; padded * n];
            for (i, v) in values.iter_mut().enumerate() {
                let (row, col) = (i / n, i % n);
                let term = |t: usize| {
                    format.decode(&a.words, row * k + t) * format.decode(&b[0].words, col * k + t)
                };
                *v = (0..k).map(term).sum();
            }
            built.answers.push(Answer {
                at: c,
                expect: Expect::Floats(Format::F32, values, F32_TOLERANCE),
            });
        }
        Ok(built)
    }
}

/// How tokens choose experts.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Routing {
    /// All the same few.
    Same,
    /// Independent and uniform.
    Uniform,
    /// Independent, the popularity of expert i falling as 1/(i+1).
    Zipf,
    /// As many different ones as possible.
    Spread,
}

impl Routing {
    pub const ALL: [Routing; 4] = [Self::Same, Self::Uniform, Self::Zipf, Self::Spread];

    fn label(self) -> &'static str {
        ["same", "uniform", "zipf", "spread"][self as usize]
    }

    /// The experts of each token, `topk` different ones each.
    pub fn choose(self, tokens: usize, experts: usize, topk: usize, seed: u64) -> Vec<Vec<u32>> {
        (0..tokens)
            .map(|t| match self {
                Self::Same => (0..topk as u32).collect(),
                Self::Spread => (0..topk)
                    .map(|j| ((t * topk + j) % experts) as u32)
                    .collect(),
                Self::Uniform => {
                    let order = shuffled(experts as u32, seed.wrapping_add(977 * t as u64));
                    order[..topk].to_vec()
                }
                Self::Zipf => {
                    // Exponential races: expert i arrives at rate 1/(i+1).
                    let order = shuffled(1 << 12, seed.wrapping_add(977 * t as u64));
                    let mut race: Vec<(f64, u32)> = (0..experts)
                        .map(|e| {
                            let u = (f64::from(order[e]) + 0.5) / 4096.0;
                            (-libm::log(u) * (e + 1) as f64, e as u32)
                        })
                        .collect();
                    race.sort_by(|a, b| a.0.total_cmp(&b.0));
                    race[..topk].iter().map(|r| r.1).collect()
                }
            })
            .collect()
    }
}

/// Tiles of a grouped product: each expert's ids, padded to whole tiles. An id is token · top-k + place.
pub(super) fn expert_tiles(chosen: &[Vec<u32>], experts: usize, tm: usize) -> (Vec<u32>, usize) {
    let mut by_expert = vec![vec![]; experts];
    for (t, chosen) in chosen.iter().enumerate() {
        for (j, e) in chosen.iter().enumerate() {
            by_expert[*e as usize].push((t * chosen.len() + j) as u32);
        }
    }
    let mut tiles = vec![];
    for (e, ids) in by_expert.iter().enumerate() {
        for ids in ids.chunks(tm) {
            tiles.push(e as u32);
            tiles.extend(ids);
            tiles.resize(tiles.len().next_multiple_of(tm + 1), UNUSED);
        }
    }
    let distinct = by_expert.iter().filter(|ids| !ids.is_empty()).count();
    (tiles, distinct)
}

/// Grouped products.
pub(super) struct Moe;

impl Bench for Moe {
    fn name(&self) -> &'static str {
        "moe"
    }

    fn about(&self) -> &'static str {
        "Products grouped by expert, gate+up and down, over tokens and the way they are routed: what most of a mixture's step goes to"
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[CurveId::ExpertsStream, CurveId::ExpertsRate]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let s = Shapes::of(scope);
        let tokens: &[usize] = match (scope.device.software, scope.effort) {
            (_, Effort::Quick) => &[1, 8],
            (true, _) => &[1, 4, 16, 64],
            (_, Effort::Standard) => &[1, 4, 8, 16, 64, 256],
            _ => &[1, 2, 4, 8, 16, 32, 64, 128, 512, 2048],
        };
        let mut points = vec![];
        for format in [Format::Bf16, Format::Int4] {
            for routing in Routing::ALL {
                let wanted = match scope.effort {
                    Effort::Quick => format == Format::Bf16 && routing == Routing::Uniform,
                    Effort::Standard => {
                        format == Format::Bf16
                            && matches!(routing, Routing::Uniform | Routing::Same)
                    }
                    Effort::Full => true,
                };
                for t in tokens.iter().filter(|_| wanted) {
                    let chosen = routing.choose(*t, s.experts, s.topk, scope.seed);
                    let (_, distinct) = expert_tiles(&chosen, s.experts, 1);
                    points.push(point(
                        format!("t{t}-{}-{}", routing.label(), format.label()),
                        vec![
                            ("tokens", *t as f64),
                            ("distinct", distinct as f64),
                            ("routing", f64::from(routing as u8)),
                            ("format", f64::from(format as u8)),
                            ("hidden", s.hidden as f64),
                            ("expert", s.expert as f64),
                            ("experts", s.experts as f64),
                            ("topk", s.topk as f64),
                        ],
                        false,
                    ));
                }
            }
        }
        points
    }

    fn variants(&self, scope: &Scope, point: &Point) -> Vec<Variant> {
        let rows = axis(point, "tokens") * axis(point, "topk");
        let rows = rows.div_ceil(axis(point, "distinct").max(1));
        grouped_variants(scope, Format::of(axis(point, "format") as u32), rows)
    }

    fn small(&self, _: &Variant) -> Point {
        let axes = vec![
            ("tokens", 9.0),
            ("routing", 1.0),
            ("hidden", 256.0),
            ("expert", 128.0),
            ("experts", 4.0),
            ("topk", 2.0),
        ];
        point("check".into(), axes, false)
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let format = Format::of(option(variant, "format"));
        let tm = option(variant, "tm") as usize;
        let kernel = arena.compile(&variant.kernels[0])?;
        let (t, d, f) = (
            axis(point, "tokens"),
            axis(point, "hidden"),
            axis(point, "expert"),
        );
        let (experts, topk) = (axis(point, "experts"), axis(point, "topk"));
        let routing = Routing::ALL[axis(point, "routing") % 4];
        let chosen = routing.choose(t, experts, topk, arena.scope.seed);
        let (tiles, distinct) = expert_tiles(&chosen, experts, tm);
        let table = arena.upload(&tiles)?;
        let ids = t * topk;
        // Layers follow each other in memory: a pass goes through enough of them that none stays in a cache.
        let read = weight_bytes(format, distinct * 3 * d * f);
        let all = weight_bytes(format, experts * 3 * d * f);
        let fit = (arena.scope.budget_bytes * 3 / 4 / all).max(1) as usize;
        let layers = arena.compute_slots(read, 2).min(fit);
        let x = arena.random(t * d, Format::F32)?;
        let h = arena.random(ids * f, Format::F32)?;
        let mut built = Built::default();
        for (n, k, share, x) in [(2 * f, d, topk, &x), (d, f, 1, &h)] {
            let product = Grouped {
                kernel,
                tm,
                rows: option(variant, "rows"),
                n,
                k,
                share,
                tiles: &tiles,
            };
            let (w, s) = weights(arena, format, experts * n * k, layers)?;
            let y = arena.output(ids * n)?;
            let bytes = weight_bytes(format, distinct * n * k) as f64;
            let work = Work {
                bytes: bytes + ((x.at.len as usize) + ids * n * 4) as f64,
                flops: 2.0 * (ids * n * k) as f64,
                working_set: read as f64 * layers as f64,
            };
            for (i, (w, s)) in w.iter().zip(&s).enumerate() {
                let launch = product.launch([w.at, s.at, x.at, table, y], work);
                // Gate+up and down alternate, as they do from layer to layer.
                let place = built.pass.len().min(2 * i + usize::from(share == 1));
                built.pass.insert(place, launch);
            }
            if arena.keep {
                let values = product.reference(format, &w[0].words, &s[0].words, &x.words, ids);
                built.answers.push(Answer {
                    at: y,
                    expect: Expect::Floats(Format::F32, values, F32_TOLERANCE),
                });
            }
        }
        Ok(built)
    }
}

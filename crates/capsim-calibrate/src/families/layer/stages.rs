//! The launches of a layer in order, each with the part that it belongs to.
use super::super::attention::Decode;
use super::super::gemm::{Grouped, weight_bytes};
use super::super::harness::*;
use super::super::shapes::HEAD;
use super::super::small::groups;
use super::inputs::*;
use super::outputs::Outputs;
use super::{
    ADD, ATTENTION, COMBINE, DENSE, EXPERT, FORMAT, KV_WRITE, NORM, REDUCE, ROPE, ROUTER, SILU,
};
use crate::backend::{KernelId, Launch, Slice, Work};
use crate::family::Variant;

/// What every layer's launches share.
pub(super) struct Stages<'a> {
    pub variant: &'a Variant,
    /// The kernels of attention alone.
    pub attention: Variant,
    pub kernels: Vec<KernelId>,
    pub sizes: Sizes,
    pub inputs: &'a Inputs,
    pub out: &'a Outputs,
    pub matrices: [(usize, usize, usize); 6],
    /// Bytes of weights and caches of all layers, which a pass goes through.
    pub set: f64,
}

/// A product: which weights, on which rows, from where to where.
struct Product<'a> {
    matrix: usize,
    tiles: &'a Tiles,
    rows: usize,
    /// Rows of the result that share one row of what is read.
    share: usize,
    from: Slice,
    to: Slice,
}

/// Bytes of so many numbers in f32.
fn floats(n: usize) -> f64 {
    (n * 4) as f64
}

impl Stages<'_> {
    /// A kernel that goes over rows; the first of its numbers says how many.
    fn row(
        &self,
        kernel: usize,
        buffers: &[Slice],
        numbers: &[usize],
        bytes: f64,
        flops: usize,
    ) -> Launch {
        Launch {
            kernel: self.kernels[kernel],
            buffers: buffers.to_vec(),
            numbers: numbers.iter().map(|n| *n as u32).collect(),
            groups: self.by_row(kernel, numbers[0]),
            work: Work {
                bytes,
                flops: flops as f64,
                working_set: bytes,
            },
        }
    }

    fn by_row(&self, kernel: usize, rows: usize) -> [u32; 3] {
        let group = self.variant.kernels[kernel].group[0];
        groups(option(self.variant, "by_row"), group, rows)
    }

    fn norm(&self, from: Slice, gain: Slice, to: Slice) -> Launch {
        let (m, d) = (self.sizes.batch, self.sizes.hidden);
        let bytes = floats(2 * m * d);
        self.row(NORM, &[from, gain, to], &[m, d], bytes, 4 * m * d)
    }

    fn add(&self, a: Slice, b: Slice, to: Slice) -> Launch {
        let (m, d) = (self.sizes.batch, self.sizes.hidden);
        let group = self.variant.kernels[ADD].group[0];
        Launch {
            groups: match option(self.variant, "by_row") {
                0 => [((m * d / 4) as u32).div_ceil(group), 1, 1],
                _ => self.by_row(ADD, m),
            },
            ..self.row(ADD, &[a, b, to], &[m * d], floats(3 * m * d), m * d)
        }
    }

    fn product(&self, w: &Weights, p: Product) -> Launch {
        let (e, n, depth) = self.matrices[p.matrix];
        let routed = p.matrix >= GATE_UP;
        Grouped {
            kernel: self.kernels[if routed { EXPERT } else { DENSE }],
            tm: if routed { 1 } else { self.sizes.tm },
            rows: option(self.variant, "rows"),
            n,
            k: depth,
            share: p.share,
            tiles: &p.tiles.words,
        }
        .launch(
            [
                w.all[p.matrix].at,
                self.inputs.unused.at,
                p.from,
                p.tiles.at,
                p.to,
            ],
            Work {
                bytes: weight_bytes(FORMAT, e * n * depth) as f64
                    + floats(p.rows / p.share * depth + p.rows * n),
                flops: 2.0 * (p.rows * n * depth) as f64,
                working_set: self.set,
            },
        )
    }

    /// A dense product of one row per sequence.
    fn dense(&self, w: &Weights, matrix: usize, from: Slice, to: Slice) -> Launch {
        let (tiles, rows) = (&self.inputs.dense, self.sizes.batch);
        let p = Product {
            matrix,
            tiles,
            rows,
            share: 1,
            from,
            to,
        };
        self.product(w, p)
    }

    /// The launches of one layer, each after the number of its part in [`PARTS`](super::PARTS).
    pub fn launches(&self, w: &Weights) -> Vec<(usize, Launch)> {
        let (x, out) = (self.inputs.x.at, self.out);
        let gains = &self.inputs.gains;
        let [attend, reduce] = self.attention(w);
        let mut all = vec![
            (1, self.norm(x, gains[0].at, out.h)),
            (2, self.dense(w, Q, out.h, out.q)),
            (2, self.keys_and_values(w)),
        ];
        all.extend(self.rope().map(|l| (3, l)));
        all.extend([
            (4, self.kv_write(w)),
            (5, attend),
            (5, reduce),
            (6, self.dense(w, O, out.attended, out.projected)),
            (7, self.add(x, out.projected, out.residual)),
            (1, self.norm(out.residual, gains[1].at, out.h2)),
            (8, self.dense(w, ROUTER_WEIGHTS, out.h2, out.logits)),
            (8, self.router()),
        ]);
        all.extend(self.experts(w).map(|l| (9, l)));
        all.extend([
            (10, self.combine()),
            (7, self.add(out.residual, out.combined, out.y)),
        ]);
        all
    }

    fn keys_and_values(&self, w: &Weights) -> Launch {
        let p = Product {
            matrix: KV,
            tiles: &self.inputs.sides,
            rows: 2 * self.sizes.batch,
            share: 2,
            from: self.out.h,
            to: self.out.kv,
        };
        self.product(w, p)
    }

    /// Queries, then keys with values.
    fn rope(&self) -> [Launch; 2] {
        let (s, i, out) = (&self.sizes, self.inputs, self.out);
        let (m, qw, kvw) = (s.batch, s.qw(), s.kvw());
        [
            self.row(
                ROPE,
                &[out.q, i.turns_at, out.q_turned],
                &[m, s.heads],
                floats(m * (2 * qw + HEAD)),
                3 * m * qw,
            ),
            self.row(
                ROPE,
                &[out.kv, i.kv_turns_at, out.kv_turned],
                &[2 * m, s.kv_heads],
                floats(2 * m * (2 * kvw + HEAD)),
                6 * m * kvw,
            ),
        ]
    }

    fn kv_write(&self, w: &Weights) -> Launch {
        let (m, kvw) = (self.sizes.batch, self.sizes.kvw());
        let paged = &self.inputs.paged;
        self.row(
            KV_WRITE,
            &[self.out.kv_turned, paged.slots_at, w.cache.at],
            &[m, kvw, paged.values],
            (m * (2 * kvw * 6 + 4)) as f64,
            0,
        )
    }

    fn attention(&self, w: &Weights) -> [Launch; 2] {
        let (s, paged, out) = (&self.sizes, &self.inputs.paged, self.out);
        Decode {
            variant: &self.attention,
            heads: s.heads,
            kv_heads: s.kv_heads,
            splits: s.splits,
            lens: &paged.lens,
            values: paged.values,
            stride: paged.stride,
        }
        .launches(
            [self.kernels[ATTENTION], self.kernels[REDUCE]],
            [
                out.q_turned,
                w.cache.at,
                paged.table_at,
                paged.lens_at,
                out.partial,
                out.attended,
            ],
            self.set,
        )
    }

    fn router(&self) -> Launch {
        let (s, out) = (&self.sizes, self.out);
        let m = s.batch;
        self.row(
            ROUTER,
            &[out.logits, out.shares, out.best],
            &[m],
            floats(m * (s.experts + 2 * s.topk)),
            m * s.experts * (2 + s.topk),
        )
    }

    /// Gate and up, activation, down.
    fn experts(&self, w: &Weights) -> [Launch; 3] {
        let (s, out) = (&self.sizes, self.out);
        let (ids, f) = (s.ids(), s.expert);
        let product = |matrix, share, from, to| {
            let p = Product {
                matrix,
                tiles: &self.inputs.routed,
                rows: ids,
                share,
                from,
                to,
            };
            self.product(w, p)
        };
        [
            product(GATE_UP, s.topk, out.h2, out.gate_up),
            self.row(
                SILU,
                &[out.gate_up, out.activated],
                &[ids, f],
                floats(3 * ids * f),
                6 * ids * f,
            ),
            product(DOWN, 1, out.activated, out.down),
        ]
    }

    fn combine(&self) -> Launch {
        let (s, out) = (&self.sizes, self.out);
        let (m, d, topk) = (s.batch, s.hidden, s.topk);
        self.row(
            COMBINE,
            &[out.down, out.shares, out.combined],
            &[m, d],
            floats(m * (d * (topk + 1) + topk)),
            2 * topk * m * d,
        )
    }
}

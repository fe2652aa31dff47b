//! What a layer works on: its sizes, and the memory that its stages read and write.
use super::super::gemm::{Routing, dense_tiles, expert_tiles};
use super::super::harness::*;
use super::super::shapes::{BLOCK, HEAD};
use super::FORMAT;
use crate::backend::Slice;
use crate::family::{Point, ProbeError, Variant};

/// Sizes of a layer and of the batch in it.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Sequences, each with one new token.
    pub batch: usize,
    /// Tokens of each, the new one included.
    pub context: usize,
    pub hidden: usize,
    /// Inner width of an expert.
    pub expert: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub experts: usize,
    pub topk: usize,
    /// Parts in which attention reads a sequence.
    pub splits: usize,
    /// Rows of a dense tile.
    pub tm: usize,
}

impl Sizes {
    pub fn of(point: &Point, variant: &Variant) -> Self {
        let o = |name| option(variant, name) as usize;
        Self {
            batch: axis(point, "batch"),
            context: axis(point, "context"),
            hidden: axis(point, "hidden"),
            expert: axis(point, "expert"),
            heads: o("heads"),
            kv_heads: o("kv_heads"),
            experts: o("experts"),
            topk: o("topk"),
            splits: o("splits"),
            tm: o("tm"),
        }
    }

    /// Width of all queries.
    pub fn qw(&self) -> usize {
        self.heads * HEAD
    }

    /// Width of all keys, or of all values.
    pub fn kvw(&self) -> usize {
        self.kv_heads * HEAD
    }

    /// Rows that the experts compute together.
    pub fn ids(&self) -> usize {
        self.batch * self.topk
    }
}

/// The weights of a layer, in this order: (experts, outputs, inputs).
pub(super) const Q: usize = 0;
pub(super) const KV: usize = 1;
pub(super) const O: usize = 2;
pub(super) const ROUTER_WEIGHTS: usize = 3;
pub(super) const GATE_UP: usize = 4;
pub(super) const DOWN: usize = 5;

/// Their sizes, with `distinct` experts in memory.
pub(super) fn matrices(s: &Sizes, distinct: usize) -> [(usize, usize, usize); 6] {
    let (d, f) = (s.hidden, s.expert);
    [
        (1, s.qw(), d),
        (2, s.kvw(), d),
        (1, d, s.qw()),
        (1, s.experts, d),
        (distinct, 2 * f, d),
        (distinct, d, f),
    ]
}

/// Tiles of a product, on the host and on the device.
pub(super) struct Tiles {
    pub words: Vec<u32>,
    pub at: Slice,
}

impl Tiles {
    fn upload(arena: &mut Arena, words: Vec<u32>) -> Result<Self, ProbeError> {
        let at = arena.upload(&words)?;
        Ok(Self { words, at })
    }
}

/// Where keys and values lie: blocks in shuffled order, the new token last.
pub(super) struct Paged {
    table: Vec<u32>,
    /// Blocks of a sequence.
    pub stride: usize,
    pub lens: Vec<u32>,
    /// Words of the cache before the values.
    pub values: usize,
    pub table_at: Slice,
    pub lens_at: Slice,
    pub slots_at: Slice,
}

impl Paged {
    fn upload(arena: &mut Arena, s: &Sizes) -> Result<Self, ProbeError> {
        let stride = s.context.div_ceil(BLOCK);
        let table = shuffled((s.batch * stride) as u32, arena.scope.seed);
        let lens = vec![s.context as u32; s.batch];
        let slots: Vec<u32> = (0..s.batch)
            .map(|b| slot(&table, stride, b, s.context - 1) as u32)
            .collect();
        Ok(Self {
            stride,
            values: s.batch * stride * BLOCK * s.kvw() / 2,
            table_at: arena.upload(&table)?,
            lens_at: arena.upload(&lens)?,
            slots_at: arena.upload(&slots)?,
            table,
            lens,
        })
    }

    /// Place of a sequence's token.
    pub fn slot(&self, sequence: usize, token: usize) -> usize {
        slot(&self.table, self.stride, sequence, token)
    }
}

fn slot(table: &[u32], stride: usize, sequence: usize, token: usize) -> usize {
    table[sequence * stride + token / BLOCK] as usize * BLOCK + token % BLOCK
}

/// Everything that is there before the first stage.
pub(super) struct Inputs {
    /// The experts of each token, counted among those in memory.
    pub chosen: Vec<Vec<u32>>,
    /// How many are in memory: the table of the grouped products is the host's, and no other expert is there.
    pub distinct: usize,
    pub dense: Tiles,
    pub routed: Tiles,
    /// Keys are expert 0 and values expert 1 of a product whose rows alternate: what kv_write wants.
    pub sides: Tiles,
    pub paged: Paged,
    /// Cosines and sines of each row, by which its queries and keys are turned.
    pub turns: Vec<f32>,
    pub turns_at: Slice,
    pub kv_turns_at: Slice,
    pub x: Data,
    pub gains: [Data; 2],
    /// Scales that this format has none of.
    pub unused: Data,
}

impl Inputs {
    pub fn upload(arena: &mut Arena, s: &Sizes) -> Result<Self, ProbeError> {
        let m = s.batch;
        let chosen = Routing::Uniform.choose(m, s.experts, s.topk, arena.scope.seed);
        let mut used: Vec<u32> = chosen.iter().flatten().copied().collect();
        used.sort_unstable();
        used.dedup();
        let place = |e: &u32| used.binary_search(e).unwrap_or(0) as u32;
        let chosen: Vec<Vec<u32>> = chosen
            .iter()
            .map(|c| c.iter().map(place).collect())
            .collect();
        let distinct = used.len();
        let sides: Vec<Vec<u32>> = vec![vec![0, 1]; m];
        let turns = turns(s);
        Ok(Self {
            distinct,
            dense: Tiles::upload(arena, dense_tiles(m, s.tm))?,
            routed: Tiles::upload(arena, expert_tiles(&chosen, distinct, 1).0)?,
            sides: Tiles::upload(arena, expert_tiles(&sides, 2, s.tm).0)?,
            chosen,
            paged: Paged::upload(arena, s)?,
            turns_at: arena.upload(bytemuck::cast_slice(&turns))?,
            kv_turns_at: arena.upload(bytemuck::cast_slice(&kv_turns(&turns, m)))?,
            turns,
            x: arena.random(m * s.hidden, Format::F32)?,
            gains: [
                arena.random(s.hidden, Format::F32)?,
                arena.random(s.hidden, Format::F32)?,
            ],
            unused: arena.random(64, Format::F32)?,
        })
    }
}

/// Rotary positions: of each row the cosines, then the sines.
fn turns(s: &Sizes) -> Vec<f32> {
    let turn = |row: usize, c: usize| {
        let p = (c % (HEAD / 2)) as f64;
        let angle = (s.context - 1 + row) as f64 * libm::pow(1e6, -2.0 * p / HEAD as f64);
        if c < HEAD / 2 {
            libm::cos(angle) as f32
        } else {
            libm::sin(angle) as f32
        }
    };
    (0..s.batch * HEAD)
        .map(|i| turn(i / HEAD, i % HEAD))
        .collect()
}

/// The same for keys and values by turns. Values are not turned: cosine 1, sine 0.
fn kv_turns(turns: &[f32], batch: usize) -> Vec<f32> {
    (0..2 * batch * HEAD)
        .map(|i| match (i / HEAD % 2, i % HEAD < HEAD / 2) {
            (0, _) => turns[i / HEAD / 2 * HEAD + i % HEAD],
            (_, cosine) => f32::from(u8::from(cosine)),
        })
        .collect()
}

/// Cache and weights of one layer.
pub(super) struct Weights {
    pub cache: Data,
    pub all: Vec<Data>,
}

impl Weights {
    pub fn random(
        arena: &mut Arena,
        values: usize,
        matrices: &[(usize, usize, usize)],
    ) -> Result<Self, ProbeError> {
        Ok(Self {
            cache: arena.random(values * 4, FORMAT)?,
            all: matrices
                .iter()
                .map(|(e, n, k)| arena.random(e * n * k, FORMAT))
                .collect::<Result<_, _>>()?,
        })
    }
}

//! Rows times weight matrices: each weight is decoded once and used for all rows.
use super::bf16;
use super::numbers::{self, BF16, INT8, QUANT_GROUP};
use super::tile::{self, LINE, QUAD};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Weight rows of one task at most: decoded, they fit the second cache.
const STRIP: usize = 32;

/// Up to so many groups of rows it costs less to decode weights again for each than to keep them decoded.
const fn few(format: usize) -> usize {
    if numbers::per_word(format) > 2 || format == numbers::F16 {
        2
    } else {
        3
    }
}

/// Weight matrices beneath each other, `n` rows of `k` numbers each.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    pub format: usize,
    pub words: &'a [u32],
    /// f16, one per [`QUANT_GROUP`] weights of a row, if the format has them.
    pub scales: &'a [u32],
    pub n: usize,
    pub k: usize,
}

impl Weights<'_> {
    /// The scale of number `at` of a row.
    #[inline(always)]
    fn scale(&self, row: usize, at: usize) -> f32 {
        let i = row * (self.k / QUANT_GROUP) + at / QUANT_GROUP;
        numbers::half((self.scales[i / 2] >> (16 * (i % 2))) & 0xffff)
    }
}

/// What is multiplied by the weights, in rows of `k` numbers.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
    F32(&'a [f32]),
    /// Words of a 16-bit format.
    Half(usize, &'a [u32]),
}

/// Rows that are multiplied by the same matrix. The result of `id` is row `id` of the output; it is made of row `id / share`.
pub(super) struct Segment {
    /// Number of the matrix.
    pub matrix: usize,
    pub ids: Vec<u32>,
}

/// As many rows as the registers hold the sums of, packed line by line.
struct Group {
    segment: usize,
    ids: Range<usize>,
    /// Words in the packed array.
    at: Range<usize>,
}

/// `y[id] = W[matrix] · x[id / share]` for all ids of all segments.
pub(super) fn product(
    arch: pulp::Arch,
    weights: Weights,
    x: Rows,
    share: usize,
    segments: &[Segment],
    y: &mut [f32],
) {
    let (n, k) = (weights.n, weights.k);
    let per_word = numbers::per_word(weights.format);
    // Words of a row, in whole lines.
    let lines = (k / per_word).div_ceil(LINE);
    let direct = matches!(x, Rows::Half(BF16, _))
        && weights.format == BF16
        && (k / 2).is_multiple_of(LINE)
        && bf16::available();
    let (most, row_words) = match direct {
        true => (bf16::MOST, lines * LINE),
        false => (arch.dispatch(Most), lines * LINE * per_word),
    };
    let groups = groups(segments, most, row_words);
    let total = groups.last().map_or(0, |g| g.at.end);
    let mut packed = vec![0u32; total];
    let pack_one = |(group, to): (&Group, &mut [u32])| {
        let ids = &segments[group.segment].ids[group.ids.clone()];
        for (r, id) in ids.iter().enumerate() {
            let row = *id as usize / share;
            let place = (r, ids.len());
            match x {
                Rows::F32(x) => {
                    arch.dispatch(|| pack_floats(&x[row * k..][..k], per_word, place, to));
                }
                Rows::Half(_, x) if direct => pack_words(&x[row * k / 2..][..k / 2], place, to),
                Rows::Half(format, x) => arch.dispatch(PackHalf {
                    format,
                    x: &x[row * k / 2..][..k / 2],
                    place,
                    to,
                }),
            }
        }
    };
    let parts = split(&mut packed, groups.iter().map(|g| g.at.len()));
    let pairs: Vec<_> = groups.iter().zip(parts).collect();
    pairs.into_par_iter().for_each(pack_one);

    // Each task makes the results of one strip of weight rows for all ids of a segment.
    let strip = n
        .div_ceil(4 * rayon::current_num_threads())
        .next_multiple_of(QUAD)
        .clamp(2 * QUAD, STRIP);
    let tasks: Vec<(usize, usize)> = (0..segments.len())
        .flat_map(|s| (0..n).step_by(strip).map(move |first| (s, first)))
        .collect();
    let mut results = vec![0f32; segments.iter().map(|s| s.ids.len() * n).sum()];
    let parts = split(
        &mut results,
        tasks
            .iter()
            .map(|(s, first)| segments[*s].ids.len() * strip.min(n - first)),
    );
    let pairs: Vec<_> = tasks.iter().zip(parts).collect();
    pairs.into_par_iter().for_each(|((s, first), out)| {
        let rows = strip.min(n - first);
        let task = Task {
            weights,
            first: segments[*s].matrix * n + first,
            rows,
            groups: of_segment(&groups, *s),
            packed: &packed,
            out,
        };
        if direct {
            task.direct();
        } else {
            arch.dispatch(task);
        }
    });

    gather(segments, &results, strip, n, y);
}

/// From strips of `strip` weight rows each to rows of the output.
fn gather(segments: &[Segment], results: &[f32], strip: usize, n: usize, y: &mut [f32]) {
    let mut place = vec![None; y.len() / n];
    let mut base = 0;
    for s in segments {
        for (j, id) in s.ids.iter().enumerate() {
            place[*id as usize] = Some((base, j, s.ids.len()));
        }
        base += s.ids.len() * n;
    }
    y.par_chunks_exact_mut(n)
        .zip(place)
        .with_min_len(1 + (1 << 14) / n)
        .for_each(|(y, place)| {
            let Some((base, j, count)) = place else {
                return;
            };
            for (first, y) in (0..n).step_by(strip).zip(y.chunks_mut(strip)) {
                y.copy_from_slice(&results[base + first * count + j * y.len()..][..y.len()]);
            }
        });
}

struct Most;

impl WithSimd for Most {
    type Output = usize;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        tile::most::<S>()
    }
}

/// Cuts each segment's ids into groups of about the same size.
fn groups(segments: &[Segment], most: usize, row_words: usize) -> Vec<Group> {
    let mut all = vec![];
    let mut at = 0;
    for (segment, s) in segments.iter().enumerate() {
        let (m, parts) = (s.ids.len(), s.ids.len().div_ceil(most));
        for i in 0..parts {
            let ids = i * m / parts..(i + 1) * m / parts;
            let end = at + ids.len() * row_words;
            all.push(Group {
                segment,
                ids,
                at: at..end,
            });
            at = end;
        }
    }
    all
}

fn of_segment(groups: &[Group], segment: usize) -> &[Group] {
    let from = groups.partition_point(|g| g.segment < segment);
    let to = groups.partition_point(|g| g.segment <= segment);
    &groups[from..to]
}

/// Consecutive parts of these lengths.
fn split<T>(mut whole: &mut [T], lengths: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    lengths
        .map(|len| {
            let (part, rest) = std::mem::take(&mut whole).split_at_mut(len);
            whole = rest;
            part
        })
        .collect()
}

/// Line `line` of row `r` of `rows`.
#[inline(always)]
fn line_mut(to: &mut [u32], line: usize, (r, rows): (usize, usize)) -> &mut [u32; LINE] {
    let at = (line * rows + r) * LINE;
    to[at..].first_chunk_mut().expect("room for every line")
}

/// Packs floats in the order in which weights of so many per word are decoded: of 16 words first all first numbers, and so on.
#[inline(always)]
fn pack_floats(x: &[f32], per_word: usize, place: (usize, usize), to: &mut [u32]) {
    for (i, x) in x.chunks(LINE * per_word).enumerate() {
        for p in 0..per_word {
            let to = line_mut(to, i * per_word + p, place);
            for (to, x) in to.iter_mut().zip(x.iter().skip(p).step_by(per_word)) {
                *to = x.to_bits();
            }
        }
    }
}

/// Decodes and packs a row of a 16-bit format.
struct PackHalf<'a> {
    format: usize,
    x: &'a [u32],
    place: (usize, usize),
    to: &'a mut [u32],
}

impl WithSimd for PackHalf<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (i, x) in self.x.chunks(LINE).enumerate() {
            let mut words = [0; LINE];
            words[..x.len()].copy_from_slice(x);
            let mut both = [0f32; 2 * LINE];
            match self.format {
                numbers::F16 => tile::unpack::<S, { numbers::F16 }>(simd, &words, &mut both),
                _ => tile::unpack::<S, BF16>(simd, &words, &mut both),
            }
            let (lines, _) = bytemuck::cast_slice::<f32, u32>(&both).as_chunks();
            for (p, line) in lines.iter().enumerate() {
                *line_mut(self.to, 2 * i + p, self.place) = *line;
            }
        }
    }
}

#[inline(always)]
fn pack_words(x: &[u32], place: (usize, usize), to: &mut [u32]) {
    for (i, x) in x.as_chunks::<LINE>().0.iter().enumerate() {
        *line_mut(to, i, place) = *x;
    }
}

/// One strip of weight rows.
struct Task<'a> {
    weights: Weights<'a>,
    /// First weight row, counted over all matrices.
    first: usize,
    rows: usize,
    groups: &'a [Group],
    packed: &'a [u32],
    /// `rows` results of each id.
    out: &'a mut [f32],
}

impl Task<'_> {
    /// Stores the sums of four weight rows (fewer at the end) with one row of x.
    #[inline(always)]
    fn store(out: &mut [f32], rows: usize, quad: usize, id: usize, sums: [f32; QUAD]) {
        let count = QUAD.min(rows - quad);
        out[id * rows + quad..][..count].copy_from_slice(&sums[..count]);
    }

    fn direct(self) {
        let width = self.weights.k / 2;
        for group in self.groups {
            for quad in (0..self.rows).step_by(QUAD) {
                let left = std::array::from_fn(|i| {
                    let row = self.first + (quad + i).min(self.rows - 1);
                    &self.weights.words[row * width..][..width]
                });
                let right = &self.packed[group.at.clone()];
                bf16::dots(left, right, group.ids.len(), |b, sums| {
                    Self::store(self.out, self.rows, quad, group.ids.start + b, sums);
                });
            }
        }
    }
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // A format known to the compiler in each loop.
        match self.weights.format {
            numbers::F32 => self.floats::<S, { numbers::F32 }>(simd),
            numbers::F16 => self.floats::<S, { numbers::F16 }>(simd),
            BF16 => self.floats::<S, BF16>(simd),
            INT8 => self.floats::<S, INT8>(simd),
            _ => self.floats::<S, { numbers::INT4 }>(simd),
        }
    }
}

impl Task<'_> {
    /// Weight row `i` of the strip, the last one beyond its end.
    #[inline(always)]
    fn row(&self, i: usize) -> usize {
        self.first + i.min(self.rows - 1)
    }

    #[inline(always)]
    fn floats<S: Simd, const FORMAT: usize>(self, simd: S) {
        let w = self.weights;
        let per_word = numbers::per_word(FORMAT);
        let width = w.k / per_word;
        let words = |row: usize| &w.words[row * width..][..width];
        let scale = |row: usize, line: usize| match FORMAT >= INT8 {
            true => w.scale(row, line * LINE * per_word),
            false => 1.0,
        };
        let packed: &[f32] = bytemuck::cast_slice(self.packed);
        if self.groups.len() <= few(FORMAT) {
            for quad in (0..self.rows).step_by(QUAD) {
                let [a, b, c, d] = [
                    self.row(quad),
                    self.row(quad + 1),
                    self.row(quad + 2),
                    self.row(quad + 3),
                ];
                for group in self.groups {
                    tile::dots_of_words::<S, FORMAT>(
                        simd,
                        [words(a), words(b), words(c), words(d)],
                        |i| [scale(a, i), scale(b, i), scale(c, i), scale(d, i)],
                        &packed[group.at.clone()],
                        group.ids.len(),
                        |b, sums| Self::store(self.out, self.rows, quad, group.ids.start + b, sums),
                    );
                }
            }
            return;
        }
        let line = per_word * LINE * QUAD;
        let quad_floats = width.div_ceil(LINE) * line;
        let mut panel = vec![0f32; self.rows.div_ceil(QUAD) * quad_floats];
        for (quad, panel) in panel.chunks_exact_mut(quad_floats).enumerate() {
            for r in 0..QUAD {
                let row = self.row(quad * QUAD + r);
                let (whole, rest) = words(row).as_chunks::<LINE>();
                for (i, (words, to)) in whole.iter().zip(panel.chunks_exact_mut(line)).enumerate() {
                    tile::decode::<S, FORMAT>(simd, words, scale(row, i), r, to);
                }
                if !rest.is_empty() {
                    // Filled up; the right side is zero there.
                    let mut last = [0; LINE];
                    last[..rest.len()].copy_from_slice(rest);
                    let to = &mut panel[whole.len() * line..];
                    tile::decode::<S, FORMAT>(simd, &last, scale(row, whole.len()), r, to);
                }
            }
        }
        for group in self.groups {
            let right = &packed[group.at.clone()];
            for (quad, left) in panel.chunks_exact(quad_floats).enumerate() {
                tile::dots(simd, left, right, group.ids.len(), |b, sums| {
                    Self::store(self.out, self.rows, quad * QUAD, group.ids.start + b, sums);
                });
            }
        }
    }
}

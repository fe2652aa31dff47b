//! Small blocks of products whose sums stay in registers.
//!
//! Everything is generic over the vectors (`pulp::Simd`) and inlined into one dispatch, where a fused multiply-add is one
//! instruction. Numbers lie in *lines* of 16, one vector of the widest kind or some of a narrower one.
use super::numbers::{BF16, F16, F32, INT8, per_word};
use pulp::Simd;

/// Numbers in a line.
pub(super) const LINE: usize = 16;
/// Rows of the left side of a block of dot products.
pub(super) const QUAD: usize = 4;
/// Rows of the right side at most, where there are 32 registers: 4 · 6 sums, 4 operands, 1 operand.
const WIDE: usize = 6;
/// The same where there are 16.
const NARROW: usize = 2;

/// Most rows of the right side that [`dots`] takes with these vectors.
pub(super) fn most<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 {
        WIDE
    } else {
        NARROW
    }
}

/// Sums of four left rows with `B` right rows, each still spread over the lanes of a vector.
type Sums<S, const B: usize> = [[<S as Simd>::f32s; QUAD]; B];

#[inline(always)]
fn totals<S: Simd, const B: usize>(simd: S, sums: &Sums<S, B>) -> [[f32; QUAD]; B] {
    let mut out = [[0f32; QUAD]; B];
    // Loops, not `map`: what a closure holds is not compiled for the vectors.
    for (sums, out) in sums.iter().zip(&mut out) {
        for (sum, out) in sums.iter().zip(out) {
            *out = simd.reduce_sum_f32s(*sum);
        }
    }
    out
}

#[inline(always)]
fn add<S: Simd, const B: usize>(
    simd: S,
    left: [S::f32s; QUAD],
    right: &[S::f32s],
    (p, parts): (usize, usize),
    sums: &mut Sums<S, B>,
) {
    for (b, sums) in sums.iter_mut().enumerate() {
        let r = right[b * parts + p];
        for (l, sum) in left.iter().zip(sums) {
            *sum = simd.mul_add_f32s(*l, r, *sum);
        }
    }
}

/// Both sides in lines: line 0 of each row, line 1 of each row …
#[inline(always)]
fn dots_of<S: Simd, const B: usize>(simd: S, left: &[f32], right: &[f32]) -> [[f32; QUAD]; B] {
    let left: &[S::f32s] = bytemuck::cast_slice(left);
    let right: &[S::f32s] = bytemuck::cast_slice(right);
    let parts = LINE / S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); QUAD]; B];
    let lines = left.chunks_exact(QUAD * parts);
    for (left, right) in lines.zip(right.chunks_exact(B * parts)) {
        for p in 0..parts {
            let left = [
                left[p],
                left[parts + p],
                left[2 * parts + p],
                left[3 * parts + p],
            ];
            add(simd, left, right, (p, parts), &mut sums);
        }
    }
    totals(simd, &sums)
}

/// Calls `$f::<$s, B>` with the number of rows.
macro_rules! by_rows {
    ($rows:expr, $f:ident::<$s:ty $(, $c:tt)*>($($arg:expr),*), $out:expr) => {
        match $rows {
            1 => deliver($f::<$s $(, $c)*, 1>($($arg),*), $out),
            2 => deliver($f::<$s $(, $c)*, 2>($($arg),*), $out),
            3 => deliver($f::<$s $(, $c)*, 3>($($arg),*), $out),
            4 => deliver($f::<$s $(, $c)*, 4>($($arg),*), $out),
            5 => deliver($f::<$s $(, $c)*, 5>($($arg),*), $out),
            _ => deliver($f::<$s $(, $c)*, 6>($($arg),*), $out),
        }
    };
}

#[inline(always)]
fn deliver<const B: usize>(all: [[f32; QUAD]; B], mut out: impl FnMut(usize, [f32; QUAD])) {
    for (b, sums) in all.iter().enumerate() {
        out(b, *sums);
    }
}

/// Dot products of four rows, decoded, with `rows` ≤ [`most`] rows: `out(b, sums of the four)`.
#[inline(always)]
pub(super) fn dots<S: Simd>(
    simd: S,
    left: &[f32],
    right: &[f32],
    rows: usize,
    out: impl FnMut(usize, [f32; QUAD]),
) {
    by_rows!(rows, dots_of::<S>(simd, left, right), out);
}

/// Numbers `p` of a vector of words. Integers of few bits become floats by being put into the mantissa of 2²³.
#[inline(always)]
fn numbers<S: Simd, const FORMAT: usize>(simd: S, words: S::u32s, p: usize) -> S::f32s {
    let splat = |bits: u32| simd.splat_u32s(bits);
    let shifted = |bits: usize| match p {
        0 => words,
        _ => simd.wrapping_dyn_shr_u32s(words, splat((bits * p) as u32)),
    };
    let small = |bits: S::u32s, zero: f32| {
        let float = simd.transmute_f32s_u32s(simd.or_u32s(bits, splat(0x4b00_0000)));
        simd.sub_f32s(float, simd.splat_f32s(8_388_608.0 + zero))
    };
    match FORMAT {
        F32 => simd.transmute_f32s_u32s(words),
        F16 => {
            let half = shifted(16);
            let size = simd.and_u32s(half, splat(0x7fff));
            let size = simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(size, splat(13)));
            let size = simd.mul_f32s(size, simd.splat_f32s(f32::from_bits(0x7780_0000)));
            let sign = simd.wrapping_dyn_shl_u32s(simd.and_u32s(half, splat(0x8000)), splat(16));
            simd.transmute_f32s_u32s(simd.or_u32s(simd.transmute_u32s_f32s(size), sign))
        }
        BF16 => simd.transmute_f32s_u32s(match p {
            0 => simd.wrapping_dyn_shl_u32s(words, splat(16)),
            _ => simd.and_u32s(words, splat(0xffff_0000)),
        }),
        INT8 => {
            let byte = simd.and_u32s(shifted(8), splat(0xff));
            small(simd.xor_u32s(byte, splat(0x80)), 128.0)
        }
        _ => small(simd.and_u32s(shifted(4), splat(15)), 8.0),
    }
}

/// Decodes a line of words into the `per_word` lines of row `r` of four.
#[inline(always)]
pub(super) fn decode<S: Simd, const FORMAT: usize>(
    simd: S,
    words: &[u32; LINE],
    scale: f32,
    r: usize,
    to: &mut [f32],
) {
    let words: &[S::u32s] = bytemuck::cast_slice(words);
    for (p, to) in to.chunks_exact_mut(QUAD * LINE).enumerate() {
        let to: &mut [S::f32s] = bytemuck::cast_slice_mut(&mut to[r * LINE..][..LINE]);
        for (to, words) in to.iter_mut().zip(words) {
            let v = numbers::<S, FORMAT>(simd, *words, p);
            *to = match FORMAT >= INT8 {
                true => simd.mul_f32s(v, simd.splat_f32s(scale)),
                false => v,
            };
        }
    }
}

/// Four lines of words times `B` rows of floats.
#[inline(always)]
fn step<S: Simd, const FORMAT: usize, const B: usize>(
    simd: S,
    words: [&[u32; LINE]; QUAD],
    scales: [f32; QUAD],
    right: &[f32],
    sums: &mut Sums<S, B>,
) {
    let parts = LINE / S::F32_LANES;
    let right: &[S::f32s] = bytemuck::cast_slice(right);
    let [w0, w1, w2, w3]: [&[S::u32s]; QUAD] = [
        bytemuck::cast_slice(words[0]),
        bytemuck::cast_slice(words[1]),
        bytemuck::cast_slice(words[2]),
        bytemuck::cast_slice(words[3]),
    ];
    for (p, right) in right.chunks_exact(B * parts).enumerate() {
        for part in 0..parts {
            let mut left = [
                numbers::<S, FORMAT>(simd, w0[part], p),
                numbers::<S, FORMAT>(simd, w1[part], p),
                numbers::<S, FORMAT>(simd, w2[part], p),
                numbers::<S, FORMAT>(simd, w3[part], p),
            ];
            if FORMAT >= INT8 {
                for (left, scale) in left.iter_mut().zip(scales) {
                    *left = simd.mul_f32s(*left, simd.splat_f32s(scale));
                }
            }
            add(simd, left, right, (part, parts), sums);
        }
    }
}

#[inline(always)]
fn words_of<S: Simd, const FORMAT: usize, const B: usize>(
    simd: S,
    left: [&[u32]; QUAD],
    scales: impl Fn(usize) -> [f32; QUAD],
    right: &[f32],
) -> [[f32; QUAD]; B] {
    let mut sums = [[simd.splat_f32s(0.0); QUAD]; B];
    let mut right = right.chunks_exact(B * LINE * per_word(FORMAT));
    let [l0, l1, l2, l3] = left;
    let (l0, r0) = l0.as_chunks::<LINE>();
    let (l1, r1) = l1.as_chunks::<LINE>();
    let (l2, r2) = l2.as_chunks::<LINE>();
    let (l3, r3) = l3.as_chunks::<LINE>();
    let whole = l0.len();
    let rows = l0.iter().zip(l1).zip(l2).zip(l3);
    for (i, ((((l0, l1), l2), l3), right)) in rows.zip(&mut right).enumerate() {
        step::<S, FORMAT, B>(simd, [l0, l1, l2, l3], scales(i), right, &mut sums);
    }
    if let Some(right) = right.next() {
        // The last words, filled up; the right side is zero there.
        let mut last = [[0; LINE]; QUAD];
        for (last, rest) in last.iter_mut().zip([r0, r1, r2, r3]) {
            last[..rest.len()].copy_from_slice(rest);
        }
        let [l0, l1, l2, l3] = &last;
        step::<S, FORMAT, B>(simd, [l0, l1, l2, l3], scales(whole), right, &mut sums);
    }
    totals(simd, &sums)
}

/// As [`dots`], the left side decoded on the way: for rows that are used once. `scales(i)` are those of line `i` of words.
#[inline(always)]
pub(super) fn dots_of_words<S: Simd, const FORMAT: usize>(
    simd: S,
    left: [&[u32]; QUAD],
    scales: impl Fn(usize) -> [f32; QUAD],
    right: &[f32],
    rows: usize,
    out: impl FnMut(usize, [f32; QUAD]),
) {
    by_rows!(rows, words_of::<S, FORMAT>(simd, left, scales, right), out);
}

/// Rows of a block of outer products at most.
const TALL: usize = 6;

/// A matrix in rows of so many numbers.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub at: &'a [f32],
    pub width: usize,
}

/// `c[r][..] += Σ_t a[r][t] · b[t][..]` of `R` rows and `V` vectors.
#[inline(always)]
fn outer_of<S: Simd, const R: usize, const V: usize>(
    simd: S,
    a: Matrix,
    b: Matrix,
    depth: usize,
    c: &mut [f32],
    width: usize,
) {
    let len = V * S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    for (r, sums) in sums.iter_mut().enumerate() {
        sums.copy_from_slice(bytemuck::cast_slice(&c[r * width..][..len]));
    }
    let mut rows = [&[][..]; R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &a.at[r * a.width..][..depth];
    }
    for t in 0..depth {
        let b: &[S::f32s] = bytemuck::cast_slice(&b.at[t * b.width..][..len]);
        for (row, sums) in rows.iter().zip(&mut sums) {
            let a = simd.splat_f32s(row[t]);
            for (b, sum) in b.iter().zip(sums) {
                *sum = simd.mul_add_f32s(a, *b, *sum);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let c: &mut [S::f32s] = bytemuck::cast_slice_mut(&mut c[r * width..][..len]);
        c.copy_from_slice(sums);
    }
}

/// `c[r][..] += Σ_t a[r][t] · b[t][..]` for `rows` rows and t < `depth`; `cols`, a multiple of [`LINE`], columns.
#[inline(always)]
pub(super) fn outer<S: Simd>(
    simd: S,
    (rows, cols, depth): (usize, usize, usize),
    a: Matrix,
    b: Matrix,
    c: &mut [f32],
    width: usize,
) {
    let wide = if S::REGISTER_COUNT >= 32 { 4 } else { 2 };
    for first in (0..rows).step_by(TALL) {
        let a = Matrix {
            at: &a.at[first * a.width..],
            ..a
        };
        let mut col = 0;
        while col < cols {
            let vectors = ((cols - col) / S::F32_LANES).min(wide);
            let b = Matrix {
                at: &b.at[col..],
                ..b
            };
            let c = &mut c[first * width + col..];
            macro_rules! by {
                ($r:literal) => {
                    match vectors {
                        1 => outer_of::<S, $r, 1>(simd, a, b, depth, c, width),
                        2 | 3 => outer_of::<S, $r, 2>(simd, a, b, depth, c, width),
                        _ => outer_of::<S, $r, 4>(simd, a, b, depth, c, width),
                    }
                };
            }
            match rows - first {
                1 => by!(1),
                2 => by!(2),
                3 => by!(3),
                4 => by!(4),
                5 => by!(5),
                _ => by!(6),
            }
            col += S::F32_LANES * if vectors == 3 { 2 } else { vectors };
        }
    }
}

/// Decodes a line of words into lines: of all words the first number, then the second …
#[inline(always)]
pub(super) fn unpack<S: Simd, const FORMAT: usize>(simd: S, words: &[u32; LINE], to: &mut [f32]) {
    let words: &[S::u32s] = bytemuck::cast_slice(words);
    for (p, to) in to.chunks_exact_mut(LINE).enumerate() {
        let to: &mut [S::f32s] = bytemuck::cast_slice_mut(to);
        for (to, words) in to.iter_mut().zip(words) {
            *to = numbers::<S, FORMAT>(simd, *words, p);
        }
    }
}

/// `c[r][..] += Σ_t a[r][t] · b[t][..]`, row t of b being the words from `at[t]` on, decoded on the way into the order of
/// [`unpack`]; `V` vectors of words at a time. A row of c is a whole number of lines of words.
#[inline(always)]
fn outer_words_of<S: Simd, const FORMAT: usize, const R: usize, const V: usize>(
    simd: S,
    a: Matrix,
    (b, at): (&[u32], &[usize]),
    c: &mut [f32],
) {
    // A 16-bit format.
    const PER_WORD: usize = 2;
    let width = c.len() / R;
    let lanes = S::F32_LANES;
    let mut rows = [&[][..]; R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &a.at[r * a.width..][..at.len()];
    }
    for word in (0..width / PER_WORD).step_by(V * lanes) {
        let mut sums = [[[simd.splat_f32s(0.0); PER_WORD]; V]; R];
        for (t, at) in at.iter().enumerate() {
            let words: &[S::u32s] = bytemuck::cast_slice(&b[at + word..][..V * lanes]);
            let mut v = [[simd.splat_f32s(0.0); PER_WORD]; V];
            for (v, words) in v.iter_mut().zip(words) {
                v[0] = numbers::<S, FORMAT>(simd, *words, 0);
                v[1] = numbers::<S, FORMAT>(simd, *words, 1);
            }
            for (row, sums) in rows.iter().zip(&mut sums) {
                let a = simd.splat_f32s(row[t]);
                for (v, sums) in v.iter().zip(sums) {
                    sums[0] = simd.mul_add_f32s(a, v[0], sums[0]);
                    sums[1] = simd.mul_add_f32s(a, v[1], sums[1]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (i, sums) in sums.iter().enumerate() {
                let at = word + i * lanes;
                let (line, part) = (at / LINE, at % LINE);
                for (p, sum) in sums.iter().enumerate() {
                    let first = r * width + (line * PER_WORD + p) * LINE + part;
                    let c: &mut [S::f32s] = bytemuck::cast_slice_mut(&mut c[first..][..lanes]);
                    c[0] = simd.add_f32s(c[0], *sum);
                }
            }
        }
    }
}

/// See [`outer_words_of`]; `rows` ≤ [`most`], 16-bit formats, a multiple of 128 columns.
#[inline(always)]
pub(super) fn outer_words<S: Simd, const FORMAT: usize>(
    simd: S,
    rows: usize,
    a: Matrix,
    b: (&[u32], &[usize]),
    c: &mut [f32],
) {
    match (rows, S::REGISTER_COUNT >= 32) {
        (1, true) => outer_words_of::<S, FORMAT, 1, 4>(simd, a, b, c),
        (2, true) => outer_words_of::<S, FORMAT, 2, 4>(simd, a, b, c),
        (3, true) => outer_words_of::<S, FORMAT, 3, 2>(simd, a, b, c),
        (4, _) => outer_words_of::<S, FORMAT, 4, 2>(simd, a, b, c),
        (5, _) => outer_words_of::<S, FORMAT, 5, 2>(simd, a, b, c),
        (6, _) => outer_words_of::<S, FORMAT, 6, 2>(simd, a, b, c),
        (1, false) => outer_words_of::<S, FORMAT, 1, 2>(simd, a, b, c),
        _ => outer_words_of::<S, FORMAT, 2, 2>(simd, a, b, c),
    }
}

/// eˣ for x ≤ 0, from −87 on, to about 10⁻⁷: 2ⁿ times a polynomial of the rest (Cephes `expf`, Moshier 1992).
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let splat = |v: f32| simd.splat_f32s(v);
    let x = simd.max_f32s(x, splat(-87.0));
    // Adding 1.5 · 2²³ leaves the nearest whole number, here with the bias of an exponent, in the lowest bits.
    let magic = splat(12_582_912.0 + 127.0);
    let t = simd.mul_add_f32s(x, splat(std::f32::consts::LOG2_E), magic);
    let n = simd.sub_f32s(t, magic);
    let power = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(t), simd.splat_u32s(23));
    let r = simd.mul_add_f32s(n, splat(-0.693_359_4), x);
    let r = simd.mul_add_f32s(n, splat(2.121_944_4e-4), r);
    let mut p = splat(1.987_569_1e-4);
    for c in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = simd.mul_add_f32s(p, r, splat(c));
    }
    let p = simd.mul_add_f32s(p, simd.mul_f32s(r, r), simd.add_f32s(r, splat(1.0)));
    simd.mul_f32s(p, simd.transmute_f32s_u32s(power))
}

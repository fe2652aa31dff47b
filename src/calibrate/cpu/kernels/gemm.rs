//! Matrix products.
use super::super::call::Call;
use super::numbers::{self, QUANT_GROUP, dots};
use rayon::prelude::*;

/// Weight rows that one task takes.
const ROWS: usize = 32;

/// `y[id] = W[expert] · x[id / share]` for every id of every tile; a dense product is the case of one expert.
pub(super) fn grouped(mut call: Call) {
    match call.define("TM") {
        1 => grouped_by::<1>(&mut call),
        2 => grouped_by::<2>(&mut call),
        4 => grouped_by::<4>(&mut call),
        8 => grouped_by::<8>(&mut call),
        _ => grouped_by::<16>(&mut call),
    }
}

fn grouped_by<const TM: usize>(call: &mut Call) {
    let (w, s, x, tiles) = (call.reads[0], call.reads[1], call.floats(2), call.reads[3]);
    let format = call.define("FORMAT");
    let (n, k, share) = (call.number(0), call.number(1), call.number(2));
    let count = call.groups[1] as usize;
    let width = k / numbers::per_word(format);
    let arch = call.arch;
    let mut results = vec![0f32; count * n * TM];
    results
        .par_chunks_mut(n.max(1) * TM)
        .zip(tiles.par_chunks(TM + 1))
        .for_each(|(results, tile)| {
            let expert = tile[0] as usize;
            let rows: [&[f32]; TM] = std::array::from_fn(|i| match tile[1 + i] {
                u32::MAX => &x[..k],
                id => &x[id as usize / share * k..][..k],
            });
            results
                .par_chunks_mut(ROWS * TM)
                .enumerate()
                .for_each(|(chunk, results)| {
                    arch.dispatch(|| {
                        let mut buffer = vec![0f32; k];
                        for (i, out) in results.chunks_exact_mut(TM).enumerate() {
                            let row = expert * n + chunk * ROWS + i;
                            weights(format, &w[row * width..][..width], s, row, &mut buffer);
                            let d: [[f32; TM]; 1] = dots([&buffer], rows);
                            out.copy_from_slice(&d[0]);
                        }
                    });
                });
        });
    let y: &mut [f32] = bytemuck::cast_slice_mut(&mut *call.writes[0]);
    for (results, tile) in results.chunks(n * TM).zip(tiles.chunks(TM + 1)) {
        for (j, id) in tile[1..]
            .iter()
            .enumerate()
            .filter(|(_, id)| **id != u32::MAX)
        {
            let y = &mut y[*id as usize * n..][..n];
            for (y, r) in y.iter_mut().zip(results.iter().skip(j).step_by(TM)) {
                *y = *r;
            }
        }
    }
}

/// Decodes one row of weights, scales applied.
#[inline(always)]
fn weights(format: usize, words: &[u32], scales: &[u32], row: usize, out: &mut [f32]) {
    numbers::decode(format, words, out);
    if format >= numbers::INT8 {
        let groups = out.len() / QUANT_GROUP;
        for (g, part) in out.chunks_exact_mut(QUANT_GROUP).enumerate() {
            let i = row * groups + g;
            let scale = numbers::half((scales[i / 2] >> (16 * (i % 2))) & 0xffff);
            part.iter_mut().for_each(|v| *v *= scale);
        }
    }
}

/// Columns of the product that are decoded and computed at a time.
const PANEL: usize = 256;

/// `C = A · Bᵀ` of 16-bit matrices, sums in f32: panels are widened and handed to `matrixmultiply`, which picks its kernel by what
/// the processor has.
pub(super) fn tiled(mut call: Call) {
    let (b, a) = (call.reads[0], call.reads[1]);
    let format = call.define("FORMAT");
    let (m, n, k) = (call.number(0), call.number(1), call.number(2));
    let width = k / 2;
    let block = m.div_ceil(rayon::current_num_threads()).clamp(1, 128);
    call.rows(0, m * n, block * n, |i, out: &mut [f32]| {
        let rows = out.len() / n;
        let mut left = vec![0f32; rows * k];
        numbers::decode(format, &a[i * block * width..][..rows * width], &mut left);
        let mut right = vec![0f32; PANEL.min(n) * k];
        for col in (0..n).step_by(PANEL) {
            let cols = PANEL.min(n - col);
            let right = &mut right[..cols * k];
            numbers::decode(format, &b[col * width..][..cols * width], right);
            product(rows, cols, k, &left, right, &mut out[col..], n);
        }
    });
}

/// `out[r · stride + c] = Σ left[r · k + t] · right[c · k + t]`.
#[allow(unsafe_code)]
fn product(
    rows: usize,
    cols: usize,
    k: usize,
    left: &[f32],
    right: &[f32],
    out: &mut [f32],
    stride: usize,
) {
    assert!(rows > 0 && left.len() >= rows * k && right.len() >= cols * k);
    assert!(out.len() >= (rows - 1) * stride + cols && cols <= stride);
    // SAFETY: the lengths were checked against the shapes and strides just above, and `out` overlaps neither input, for it is
    // borrowed mutably.
    unsafe {
        matrixmultiply::sgemm(
            rows,
            k,
            cols,
            1.0,
            left.as_ptr(),
            k as isize,
            1,
            right.as_ptr(),
            1,
            k as isize,
            0.0,
            out.as_mut_ptr(),
            stride as isize,
            1,
        );
    }
}

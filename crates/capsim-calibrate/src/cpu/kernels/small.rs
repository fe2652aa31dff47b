//! The small kernels between the matrix products.
use super::super::call::Call;
use super::numbers::{dot, to_bf16};
use rayon::prelude::*;

/// Floats that one task takes of a long vector.
const PIECE: usize = 1 << 14;

pub(super) fn add(mut call: Call) {
    let (a, b, n) = (call.floats(0), call.floats(1), call.number(0));
    call.rows(0, n, PIECE, |i, out: &mut [f32]| {
        let at = i * PIECE;
        let (a, b) = (&a[at..at + out.len()], &b[at..at + out.len()]);
        for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
            *o = a + b;
        }
    });
}

/// `silu(gate) · up`, both halves of one row.
pub(super) fn silu_mul(mut call: Call) {
    let (x, rows, f) = (call.floats(0), call.number(0), call.number(1));
    call.rows(0, rows * f, f, |i, out: &mut [f32]| {
        let (gate, up) = x[2 * i * f..][..2 * f].split_at(f);
        for ((o, g), u) in out.iter_mut().zip(gate).zip(up) {
            *o = g / (1.0 + (-g).exp()) * u;
        }
    });
}

pub(super) fn rmsnorm(mut call: Call) {
    let (x, w) = (call.floats(0), call.floats(1));
    let (rows, d) = (call.number(0), call.number(1));
    call.rows(0, rows * d, d, |i, out: &mut [f32]| {
        let x = &x[i * d..][..d];
        let scale = 1.0 / (dot(x, x) / d as f32 + 1e-6).sqrt();
        for ((o, x), w) in out.iter_mut().zip(x).zip(w) {
            *o = x * scale * w;
        }
    });
}

/// Rotary embedding: the first and the second half of a head turn together, by the angles of the row's position.
pub(super) fn rope(mut call: Call) {
    let (x, turns) = (call.floats(0), call.floats(1));
    let (rows, heads, d) = (call.number(0), call.number(1), call.define("D"));
    call.rows(0, rows * heads * d, d, |i, out: &mut [f32]| {
        let (a, b) = x[i * d..][..d].split_at(d / 2);
        let (cos, sin) = turns[i / heads * d..][..d].split_at(d / 2);
        let (left, right) = out.split_at_mut(d / 2);
        for j in 0..d / 2 {
            left[j] = a[j] * cos[j] - b[j] * sin[j];
            right[j] = b[j] * cos[j] + a[j] * sin[j];
        }
    });
}

/// Sums the experts' results of each token, weighted.
pub(super) fn combine(mut call: Call) {
    let (x, w) = (call.floats(0), call.floats(1));
    let (rows, d, k) = (call.number(0), call.number(1), call.define("TOPK"));
    call.rows(0, rows * d, d, |i, out: &mut [f32]| {
        out.fill(0.0);
        for j in i * k..(i + 1) * k {
            for (o, x) in out.iter_mut().zip(&x[j * d..][..d]) {
                *o += w[j] * x;
            }
        }
    });
}

/// Softmax over the experts, the largest few, renormalised.
pub(super) fn router(mut call: Call) {
    let (x, rows) = (call.floats(0), call.number(0));
    let (experts, k) = (call.define("EXPERTS"), call.define("TOPK"));
    let [weights, ids] = &mut call.writes[..] else {
        return;
    };
    let weights: &mut [f32] = bytemuck::cast_slice_mut(&mut weights[..rows * k]);
    weights
        .par_chunks_mut(k)
        .zip(ids[..rows * k].par_chunks_mut(k))
        .enumerate()
        .for_each(|(i, (weights, ids))| {
            let x = &x[i * experts..][..experts];
            let max = x.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
            let mut sum = 0.0;
            for j in 0..k {
                let free = (0..experts).filter(|e| !ids[..j].contains(&(*e as u32)));
                let best = free.fold(usize::MAX, |b, e| {
                    if b == usize::MAX || x[e] > x[b] { e } else { b }
                });
                ids[j] = best as u32;
                weights[j] = (x[best] - max).exp();
                sum += weights[j];
            }
            weights.iter_mut().for_each(|w| *w /= sum);
        });
}

/// Rounds keys and values of new tokens to bfloat16 and puts them where the slot mapping says.
pub(super) fn kv_write(call: Call) {
    let (x, slots) = (call.floats(0), call.reads[1]);
    let (rows, width, values) = (call.number(0), call.number(1), call.number(2));
    let mut writes = call.writes;
    for (i, slot) in slots[..rows].iter().enumerate() {
        for (half, base) in [(0, 0), (1, values)] {
            let from = &x[(2 * i + half) * width..][..width];
            let to = &mut writes[0][base + *slot as usize * width / 2..][..width / 2];
            for (t, f) in to.iter_mut().zip(from.chunks_exact(2)) {
                *t = to_bf16(f[0]) | to_bf16(f[1]) << 16;
            }
        }
    }
}

/// Index of the largest of each row, the first of equals.
pub(super) fn argmax(mut call: Call) {
    let (x, rows, n) = (call.floats(0), call.number(0), call.number(1));
    call.rows(0, rows, 1, |i, out: &mut [u32]| {
        let x = &x[i * n..][..n];
        // By pieces: finding the largest value is a vector loop, finding its place is not.
        let max = |p: &[f32]| {
            let mut lanes = [f32::NEG_INFINITY; 16];
            for c in p.chunks(16) {
                for (l, v) in lanes.iter_mut().zip(c) {
                    *l = if *v > *l { *v } else { *l };
                }
            }
            lanes.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b))
        };
        let largest = max(x);
        out[0] = x.iter().position(|v| *v == largest).unwrap_or(0) as u32;
    });
}

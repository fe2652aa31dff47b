//! Moving bytes.
use super::super::call::Call;

/// Words of the accumulators: four vectors of the widest kind, to hide the latency of an addition.
const LANES: usize = 64;

/// The number on which an empty kernel writes, so that it can be checked.
const TRIGGER: u32 = 0x9e37_79b9;

/// Gives every thread something to start for, and does nothing unless it is told to.
pub(super) fn empty(mut call: Call) {
    let (items, number) = (call.items().min(call.writes[0].len()), call.numbers[0]);
    call.rows(0, items, 1, |i, out: &mut [u32]| {
        if number == TRIGGER {
            out[0] = i as u32 + 1;
        }
    });
}

#[inline(always)]
fn sum(words: &[u32]) -> u32 {
    let mut lanes = [0u32; LANES];
    let mut chunks = words.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (l, w) in lanes.iter_mut().zip(chunk) {
            *l = l.wrapping_add(*w);
        }
    }
    let all = lanes.iter().chain(chunks.remainder());
    all.fold(0u32, |a, b| a.wrapping_add(*b))
}

/// Words of part `i` of `parts`, in whole vectors of four words.
fn part(i: usize, parts: usize, vectors: usize) -> std::ops::Range<usize> {
    i * vectors / parts * 4..(i + 1) * vectors / parts * 4
}

pub(super) fn read(mut call: Call) {
    let (src, vectors, items) = (call.reads[0], call.number(0), call.items());
    call.rows(0, items, 1, |i, out: &mut [u32]| {
        out[0] = sum(&src[part(i, items, vectors)]);
    });
}

pub(super) fn write(mut call: Call) {
    let (vectors, value) = (call.number(0), call.numbers[1]);
    let width = vectors.div_ceil(call.items()) * 4;
    call.rows(0, vectors * 4, width, |r, out: &mut [u32]| {
        let first = (r * width) as u32;
        for (i, o) in out.iter_mut().enumerate() {
            *o = value.wrapping_add(first + i as u32);
        }
    });
}

pub(super) fn copy(mut call: Call) {
    let (src, vectors) = (call.reads[0], call.number(0));
    let width = vectors.div_ceil(call.items()) * 4;
    call.rows(0, vectors * 4, width, |r, out: &mut [u32]| {
        out.copy_from_slice(&src[r * width..r * width + out.len()]);
    });
}

/// Every item sums the same share of each block.
pub(super) fn gather(mut call: Call) {
    let (src, index) = (call.reads[0], call.reads[1]);
    let (blocks, vectors, items) = (call.number(0), call.number(1), call.items());
    call.rows(0, items, 1, |i, out: &mut [u32]| {
        let range = part(i, items, vectors);
        let block = |b: &u32| &src[*b as usize * vectors * 4..][range.clone()];
        out[0] = index[..blocks]
            .iter()
            .fold(0u32, |a, b| a.wrapping_add(sum(block(b))));
    });
}

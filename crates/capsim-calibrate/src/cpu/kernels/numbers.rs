//! Number formats and dot products, written so that the compiler makes whole vectors of them.
//!
//! Everything here is inlined into a `pulp` dispatch: what is not inlined would be compiled for the baseline.

/// Lanes of the widest vector.
const W: usize = 16;

/// The codes of the define `FORMAT`.
pub(super) const F32: usize = 0;
pub(super) const F16: usize = 1;
pub(super) const BF16: usize = 2;
pub(super) const INT8: usize = 3;
pub(super) const INT4: usize = 4;
/// Weights that share a scale.
pub(super) const QUANT_GROUP: usize = 128;

/// Numbers in a 32-bit word.
pub(super) const fn per_word(format: usize) -> usize {
    [1, 2, 2, 4, 8][format]
}

/// An IEEE half without infinities: shifting puts exponent and mantissa in place, the factor corrects the bias (and makes
/// subnormal numbers normal).
#[inline(always)]
pub(super) fn half(bits: u32) -> f32 {
    let sign = (bits & 0x8000) << 16;
    let size = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(size.to_bits() | sign)
}

/// Rounds to bfloat16, ties to even.
#[inline(always)]
pub(super) fn to_bf16(value: f32) -> u32 {
    let bits = value.to_bits();
    bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16
}

/// Products of each of `A` rows with each of `B` rows: a block small enough for the registers.
#[inline(always)]
pub(super) fn dots<const A: usize, const B: usize>(
    a: [&[f32]; A],
    b: [&[f32]; B],
) -> [[f32; B]; A] {
    let n = a[0].len();
    let whole = n / W * W;
    let mut sums = [[[0f32; W]; B]; A];
    for at in (0..whole).step_by(W) {
        for (a, sums) in a.iter().zip(&mut sums) {
            let a = &a[at..at + W];
            for (b, sum) in b.iter().zip(sums) {
                let b = &b[at..at + W];
                for l in 0..W {
                    // Not fused: where this is not inlined into the dispatch, the baseline has no such instruction and would
                    // call a function for every single product.
                    sum[l] += a[l] * b[l];
                }
            }
        }
    }
    let mut out = [[0f32; B]; A];
    for i in 0..A {
        for j in 0..B {
            let tail = (whole..n).map(|t| a[i][t] * b[j][t]);
            out[i][j] = sums[i][j].iter().sum::<f32>() + tail.sum::<f32>();
        }
    }
    out
}

#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    dots([a], [b])[0][0]
}

/// Asks for words that will be read soon.
#[inline(always)]
pub(super) fn prefetch(words: &[u32]) {
    #[cfg(target_arch = "x86_64")]
    for line in words.chunks(W) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint; it neither reads nor faults, whatever the address.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = words;
}

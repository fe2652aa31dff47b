//! Products of bfloat16 pairs by the processor's own instruction (AVX-512 BF16), which engines use where it exists: twice the
//! operations of an f32 product.
use super::tile::{LINE, QUAD};

/// Most rows of the right side, as in [`super::tile`].
pub(super) const MOST: usize = 6;

/// Whether the processor has the instruction.
pub(super) fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bf16")
        && std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Dot products of four rows of words with `rows` ≤ [`MOST`] rows, whose words lie in lines of 16: line 0 of each row, line 1 of
/// each row … Two numbers in a word, sums in f32: `out(b, sums of the four)`. Only where [`available`].
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub(super) fn dots(
    left: [&[u32]; QUAD],
    right: &[u32],
    rows: usize,
    mut out: impl FnMut(usize, [f32; QUAD]),
) {
    assert!(available(), "no AVX-512 BF16");
    macro_rules! by {
        ($n:literal) => {{
            // SAFETY: the processor has these features, as was checked above.
            let all = unsafe { x86::dots::<$n>(left, right) };
            for (b, sums) in all.into_iter().enumerate() {
                out(b, sums);
            }
        }};
    }
    match rows {
        1 => by!(1),
        2 => by!(2),
        3 => by!(3),
        4 => by!(4),
        5 => by!(5),
        _ => by!(6),
    }
}

/// Never called: [`available`] says no.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn dots(_: [&[u32]; QUAD], _: &[u32], _: usize, _: impl FnMut(usize, [f32; QUAD])) {
    unreachable!("no such instruction here");
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LINE, QUAD};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn dots<const B: usize>(left: [&[u32]; QUAD], right: &[u32]) -> [[f32; QUAD]; B] {
        let [l0, l1, l2, l3] = left.map(|l| l.as_chunks::<LINE>().0);
        let right = right.as_chunks::<LINE>().0.chunks_exact(B);
        let mut sums = [[_mm512_setzero_ps(); QUAD]; B];
        for ((((l0, l1), l2), l3), r) in l0.iter().zip(l1).zip(l2).zip(l3).zip(right) {
            let l: [__m512bh; QUAD] = [
                bytemuck::cast(*l0),
                bytemuck::cast(*l1),
                bytemuck::cast(*l2),
                bytemuck::cast(*l3),
            ];
            for (r, sums) in r.iter().zip(&mut sums) {
                let r: __m512bh = bytemuck::cast(*r);
                for (l, sum) in l.iter().zip(sums) {
                    *sum = _mm512_dpbf16_ps(*sum, *l, r);
                }
            }
        }
        sums.map(|s| s.map(|s| _mm512_reduce_add_ps(s)))
    }
}

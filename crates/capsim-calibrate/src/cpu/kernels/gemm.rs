//! Matrix products.
use super::super::call::Call;
use super::product::{Rows, Segment, Weights, product};

/// Marks an unused row of a tile.
const UNUSED: u32 = u32::MAX;

/// `y[id] = W[expert] · x[id / share]` for every id of every tile; a dense product is the case of one expert. Neighbouring tiles
/// of one expert are one product.
pub(super) fn grouped(mut call: Call) {
    let tile = call.define("TM") + 1;
    let (n, k, share) = (call.number(0), call.number(1), call.number(2));
    let tiles = &call.reads[3][..call.groups[1] as usize * tile];
    let mut segments: Vec<Segment> = vec![];
    for tile in tiles.chunks_exact(tile) {
        let matrix = tile[0] as usize;
        let ids = tile[1..].iter().filter(|id| **id != UNUSED);
        match segments.last_mut() {
            Some(last) if last.matrix == matrix => last.ids.extend(ids),
            _ => segments.push(Segment {
                matrix,
                ids: ids.copied().collect(),
            }),
        }
    }
    let weights = Weights {
        format: call.define("FORMAT"),
        words: call.reads[0],
        scales: call.reads[1],
        n,
        k,
    };
    let y = bytemuck::cast_slice_mut(&mut *call.writes[0]);
    let x = Rows::F32(bytemuck::cast_slice(call.reads[2]));
    product(call.arch, weights, x, share, &segments, y);
}

/// `C = A · Bᵀ` of 16-bit matrices, sums in f32.
pub(super) fn tiled(mut call: Call) {
    let (b, a) = (call.reads[0], call.reads[1]);
    let format = call.define("FORMAT");
    let (m, n, k) = (call.number(0), call.number(1), call.number(2));
    let weights = Weights {
        format,
        words: b,
        scales: &[],
        n,
        k,
    };
    let all = Segment {
        matrix: 0,
        ids: (0..m as u32).collect(),
    };
    let y = bytemuck::cast_slice_mut(&mut call.writes[0][..m * n]);
    product(call.arch, weights, Rows::Half(format, a), 1, &[all], y);
}

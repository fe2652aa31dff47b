//! Times of shapes that were not measured, from those of the nearest measured shapes in a device's tables.
//!
//! A kernel takes a start (launch, first loads, drain) and then time in proportion to its work; tiles, waves and kernel switches of
//! a similar shape are kept. A test leaves each measured shape out in turn and holds how far this comes from it.
use crate::device::{AttentionTimes, KernelTimes, RowShape, RowTimes};

/// What a matrix product costs beyond its bytes: seconds(bytes) = start + bytes / rate, with few rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    /// Seconds before the first byte and after the last one.
    pub seconds: f64,
    /// Bytes per second in between.
    pub rate: f64,
}

/// Matrices smaller than this may have been timed while they lay in a last-level cache (50 MB on an H100, 96 on an L40S), where a
/// model's weights, read in turn, never lie; above 32 MiB the measured rates of all devices agree with their memory's.
const BEYOND_CACHE: f64 = 32.0 * 1048576.0;

/// Matrices that a line is drawn through, at least.
const ENOUGH: usize = 8;

impl Start {
    /// The line through the times of single rows, by least squares of relative errors; `None` of too few matrices.
    pub fn of<'a>(matrices: impl Iterator<Item = (f64, &'a RowTimes)>) -> Option<Self> {
        let points: Vec<(f64, f64)> = matrices
            .filter(|(bytes, _)| *bytes >= BEYOND_CACHE)
            .map(|(bytes, times)| (bytes, times.at(1).value))
            .collect();
        if points.len() < ENOUGH {
            return None;
        }
        // Minimise Σ (a/t + s·b/t − 1)² for start a and seconds per byte s.
        let (mut aa, mut ab, mut bb, mut a1, mut b1) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (bytes, t) in points {
            let (x, y) = (1.0 / t, bytes / t);
            aa += x * x;
            ab += x * y;
            bb += y * y;
            a1 += x;
            b1 += y;
        }
        let det = aa * bb - ab * ab;
        let seconds = ((a1 * bb - b1 * ab) / det).max(0.0);
        let per_byte = (b1 - seconds * ab) / bb;
        (per_byte > 0.0 && per_byte.is_finite()).then(|| Self {
            seconds,
            rate: 1.0 / per_byte,
        })
    }
}

/// Times of one shape, made of the measured times of it or of the nearest ones.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Measured times, and how many times their work it has.
    from: Vec<(RowTimes, f64)>,
    /// Seconds of the start, which do not grow with the work.
    start: f64,
    /// Seconds that its bytes take from memory at the device's best rate.
    least: f64,
}

impl Rows {
    /// Times of the very shape.
    pub fn measured(times: RowTimes, least: f64) -> Self {
        Self {
            from: vec![(times, 1.0)],
            start: 0.0,
            least,
        }
    }

    /// Those of the two nearest matrices in `tables`, in proportion; `None` if there is none.
    pub fn nearest(
        tables: &KernelTimes,
        (out_features, in_features): (u64, u64),
        start: f64,
        least: f64,
    ) -> Option<Self> {
        let (n, k) = (out_features as f64, in_features as f64);
        let apart = |a: f64, b: f64| libm::fabs(libm::log(a / b));
        let mut near: Vec<(f64, f64, &RowTimes)> = tables
            .rows
            .iter()
            .filter_map(|r| match r.shape {
                RowShape::Matrix {
                    out_features,
                    in_features,
                } => {
                    let (a, b) = (out_features as f64, in_features as f64);
                    let work = n * k / (a * b);
                    Some((apart(n, a) + apart(k, b), work, r))
                }
                RowShape::Pass { .. } => None,
            })
            .collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        near.truncate(2);
        (!near.is_empty()).then(|| Self {
            from: near
                .into_iter()
                .map(|(_, work, r)| (r.clone(), work))
                .collect(),
            start,
            least,
        })
    }

    /// Seconds of one layer for so many rows.
    pub fn at(&self, rows: u32) -> f64 {
        let one = |(times, work): &(RowTimes, f64)| {
            let t = times.at(rows).value;
            // A measured time below the start is all start.
            let start = self.start.min(t);
            start + (t - start) * work
        };
        let mean = self.from.iter().map(one).sum::<f64>() / self.from.len() as f64;
        mean.max(self.least)
    }

    /// Whether so many rows are more than were measured.
    pub fn outside(&self, rows: u32) -> bool {
        self.from.iter().any(|(t, _)| t.at(rows).extrapolated)
    }
}

/// Seconds by which a call that is a graph of its own takes longer than the next kernel of a graph. Attention of the databases whose
/// kernels were timed one by one is replayed so (`repeat_n=1`, collector/vllm/collect_attn.py of ai-dynamo/aiconfigurator@5ef50c9b): one
/// sequence of 16 tokens takes 11.7 µs on an H100, 7.2 to 8.8 µs inside vLLM on an RTX PRO 6000 and a 4090
/// (casys-kaist/LLMServingSim@5daddb21).
const OWN_GRAPH: f64 = 4e-6;

/// Times of one attention shape, made of those of the nearest measured one.
#[derive(Clone, Debug)]
pub struct Heads {
    /// Seconds in each of its times that do not pass in a server.
    beside: f64,
    times: AttentionTimes,
    /// Key/value heads, relative: a sequence with twice as many is as much work as two sequences.
    heads: f64,
    /// Bytes of a cached head, relative: as much work as so many times the context.
    width: f64,
    /// Query heads × width, relative: operations of a prompt's pair.
    pairs: f64,
}

/// A shape of attention: query heads, key/value heads, width of a head, bytes of a cached element.
#[derive(Clone, Copy, Debug)]
pub struct HeadShape {
    pub q_heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub element_bytes: f64,
}

/// Heads may be so many times as wide, or as narrow, as those that were measured.
const WIDTHS: f64 = 2.0;

impl Heads {
    /// The nearest shape: in width first, then in queries per key/value head, then in heads. `None` if none is near.
    pub fn nearest<'a>(tables: &'a [KernelTimes], shape: HeadShape) -> Option<Self> {
        let all = |k: &'a KernelTimes| {
            let beside = k.attention_backend.as_ref().map_or(0.0, |_| OWN_GRAPH);
            k.attention.iter().map(move |a| (beside, a))
        };
        let apart = |a: f64, b: f64| libm::fabs(libm::log(a / b));
        let group = |q: u32, kv: u32| f64::from(q) / f64::from(kv);
        let (dim, wanted) = (
            f64::from(shape.head_dim),
            group(shape.q_heads, shape.kv_heads),
        );
        let bytes = dim * shape.element_bytes;
        let (_, beside, best) = tables
            .iter()
            .flat_map(all)
            .filter(|(_, m)| apart(dim, f64::from(m.head_dim)) <= libm::log(WIDTHS) + 1e-9)
            .map(|(beside, m)| {
                let far = 4.0 * apart(bytes, f64::from(m.head_dim) * m.kv_element_bytes as f64)
                    + 2.0 * apart(wanted, group(m.q_heads, m.kv_heads))
                    + apart(f64::from(shape.kv_heads), f64::from(m.kv_heads));
                (far, beside, m)
            })
            .min_by(|a, b| a.0.total_cmp(&b.0))?;
        Some(Self {
            beside,
            heads: f64::from(shape.kv_heads) / f64::from(best.kv_heads),
            width: bytes / (f64::from(best.head_dim) * best.kv_element_bytes as f64),
            pairs: f64::from(shape.q_heads) * dim
                / (f64::from(best.q_heads) * f64::from(best.head_dim)),
            times: best.clone(),
        })
    }

    /// Operators that the measured kernel covers.
    pub fn covers(&self) -> &[String] {
        &self.times.covers
    }

    /// Seconds of one layer: `n` decoding sequences of `kv` tokens beside a chunk of `chunk` tokens with `before` tokens before
    /// it; the decoding part and the chunk's. And whether that lies outside what was measured.
    pub fn at(&self, n: f64, kv: f64, chunk: f64, before: f64) -> (f64, f64, bool) {
        let (n, kv) = (n * self.heads, kv * self.width);
        let beside = |s: f64| (s - self.beside).max(0.0);
        if chunk <= 0.0 {
            let s = self.times.at(n, kv, 0.0, 0.0);
            return (beside(s.value), 0.0, s.extrapolated);
        }
        let alone = self.times.at(0.0, 0.0, chunk, before);
        let both = self.times.at(n, kv, chunk, before);
        let start = alone.value.min(self.times.prefill.seconds[0][0]);
        let prefill = beside(start + (alone.value - start) * self.pairs);
        let decode = match n > 0.0 {
            true => beside(both.value - alone.value),
            false => 0.0,
        };
        (decode, prefill, both.extrapolated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceProfile, builtin};

    fn tables(device: &str) -> DeviceProfile {
        builtin::device(device).expect("built in")
    }

    fn sizes(r: &RowTimes) -> Option<(u64, u64)> {
        match r.shape {
            RowShape::Matrix {
                out_features,
                in_features,
            } => Some((out_features, in_features)),
            RowShape::Pass { .. } => None,
        }
    }

    fn median(mut v: Vec<f64>) -> f64 {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    }

    /// Errors of every measured matrix of 8 MiB and more when it is left out, at so many rows: of its neighbours, and of the memory's
    /// best rate and nothing else.
    fn left_out(device: &DeviceProfile, rows: u32) -> (Vec<f64>, Vec<f64>) {
        let k = &device.kernels[0];
        let start = crate::cost::price::tables::start_of(device).unwrap();
        let (mut near, mut rate) = (vec![], vec![]);
        for r in &k.rows {
            let Some((n, i)) = sizes(r).filter(|(n, i)| n * i * 2 >= 8 << 20) else {
                continue;
            };
            let others = KernelTimes {
                rows: k
                    .rows
                    .iter()
                    .filter(|o| o.shape != r.shape)
                    .cloned()
                    .collect(),
                ..k.clone()
            };
            let bytes = (n * i * 2) as f64;
            let of = Rows::nearest(&others, (n, i), start.seconds, 0.0).unwrap();
            let measured = r.at(rows).value;
            near.push((of.at(rows) / measured - 1.0).abs());
            rate.push((bytes / device.dram_read() / measured - 1.0).abs());
        }
        (near, rate)
    }

    #[test]
    fn a_matrix_that_is_left_out_is_told_from_its_neighbours() {
        for device in ["h100-sxm", "h200-sxm", "a100-sxm", "l40s"] {
            let device = tables(device);
            for (rows, most) in [(1, 0.05), (16, 0.06), (512, 0.12), (2048, 0.08)] {
                let (near, rate) = left_out(&device, rows);
                assert!(near.len() >= 60);
                let (near, rate) = (median(near), median(rate));
                eprintln!("{} {rows}: {near:.3} (rate alone {rate:.3})", device.id);
                assert!(near <= most, "{} at {rows} rows: {near}", device.id);
                // Better than what it replaces, where that says anything: with few rows.
                assert!(rows > 16 || near <= rate, "{}: {near} {rate}", device.id);
            }
        }
    }

    #[test]
    fn a_start_and_a_rate_are_found_again() {
        let rows: Vec<(f64, RowTimes)> = (1..20)
            .map(|i| {
                let bytes = 4e7 * f64::from(i);
                let t = 3e-6 + bytes / 2e12;
                let piece = crate::device::Piece {
                    to: 16,
                    seconds: t,
                    per_row: 0.0,
                };
                let times = RowTimes {
                    covers: vec!["x".into()],
                    shape: RowShape::Pass { bytes_per_row: 1 },
                    pieces: vec![piece],
                    residual: None,
                };
                (bytes, times)
            })
            .collect();
        let line = Start::of(rows.iter().map(|(b, t)| (*b, t))).unwrap();
        assert!((line.seconds - 3e-6).abs() < 1e-12, "{line:?}");
        assert!((line.rate / 2e12 - 1.0).abs() < 1e-9, "{line:?}");
        // Too few, or all so small that a cache may hold them: nothing is said.
        assert!(Start::of(rows[..5].iter().map(|(b, t)| (*b, t))).is_none());
    }

    #[test]
    fn twice_the_heads_are_as_much_work_as_twice_the_sequences() {
        let device = tables("h100-sxm");
        let shape = |heads: u32| HeadShape {
            q_heads: 4 * heads,
            kv_heads: heads,
            head_dim: 128,
            element_bytes: 2.0,
        };
        let at = |heads: u32, n: f64| {
            let of = Heads::nearest(&device.kernels, shape(heads)).unwrap();
            of.at(n, 2048.0, 0.0, 0.0).0
        };
        assert_eq!(at(16, 32.0), at(8, 64.0));
        assert_eq!(at(64, 8.0), at(8, 64.0));
        // More heads never take less time.
        let (mut last, n) = (0.0, 64.0);
        for heads in [1, 2, 4, 8, 16, 32, 64] {
            assert!(at(heads, n) >= last, "{heads}");
            last = at(heads, n);
        }
    }

    #[test]
    fn no_matrix_is_read_faster_than_memory_gives_it() {
        // Small shards were timed while they lay in the L40S's cache of 96 MB.
        let device = tables("l40s");
        let small = device.kernels[0]
            .rows
            .iter()
            .find(|r| sizes(r) == Some((5120, 1024)))
            .unwrap();
        let least = 2.0 * 5120.0 * 1024.0 / device.dram_read();
        assert!(small.at(1).value < least);
        assert_eq!(Rows::measured(small.clone(), least).at(1), least);
    }
}

//! From measured points to the pieces, grids and lines of a device profile: weighted least squares of the relative error.
use capsim::device::{ExpertPoint, Grid, Mixed, Piece, Residual};
use nalgebra::{DMatrix, DVector};

/// A piece must save this much of the sum of squared relative errors to be worth it: four points that lie 2 % off.
const WORTH: f64 = 4.0 * 0.02 * 0.02;

/// Fewest measurements under one piece: two figures from three, or the piece would be the measurements themselves.
const FEWEST: usize = 3;

/// Sums over a stretch of points, weighted by 1/t², from which its line follows.
#[derive(Clone, Copy, Default)]
struct Sums {
    w: f64,
    x: f64,
    xx: f64,
    y: f64,
    xy: f64,
    yy: f64,
}

impl Sums {
    fn add(mut self, x: f64, t: f64) -> Self {
        let w = 1.0 / (t * t);
        self.w += w;
        self.x += w * x;
        self.xx += w * x * x;
        self.y += w * t;
        self.xy += w * x * t;
        self.yy += w * t * t;
        self
    }
    fn less(self, o: Self) -> Self {
        Self {
            w: self.w - o.w,
            x: self.x - o.x,
            xx: self.xx - o.xx,
            y: self.y - o.y,
            xy: self.xy - o.xy,
            yy: self.yy - o.yy,
        }
    }
    /// (level at x = 0, slope ≥ 0, squared relative error).
    fn line(self) -> (f64, f64, f64) {
        let det = self.w * self.xx - self.x * self.x;
        let slope = if det > 1e-12 * self.w * self.xx {
            ((self.w * self.xy - self.x * self.y) / det).max(0.0)
        } else {
            0.0
        };
        let level = (self.y - slope * self.x) / self.w;
        let error = self.yy - 2.0 * level * self.y - 2.0 * slope * self.xy
            + level * level * self.w
            + 2.0 * level * slope * self.x
            + slope * slope * self.xx;
        (level, slope, error.max(0.0))
    }
}

/// Straight pieces through (rows, seconds), in order of rows: as few as describe them (dynamic programming over all ways to cut).
/// More rows of one kernel never cost less within a piece; between pieces the time may jump either way.
pub fn pieces(points: &[(u32, f64)]) -> (Vec<Piece>, Residual) {
    cut(points, WORTH)
}

/// As [`pieces`], of times that were themselves interpolated: fewer pieces, each for four points that lie 5 % off.
pub fn coarse_pieces(points: &[(u32, f64)]) -> (Vec<Piece>, Residual) {
    cut(points, 4.0 * 0.05 * 0.05)
}

fn cut(points: &[(u32, f64)], worth: f64) -> (Vec<Piece>, Residual) {
    let n = points.len();
    let mut prefix = vec![Sums::default()];
    for &(x, t) in points {
        let last = prefix[prefix.len() - 1];
        prefix.push(last.add(f64::from(x), t));
    }
    let few = FEWEST.min(n);
    // Best cost of the first j points, and where their last piece begins.
    let mut best = vec![(f64::INFINITY, 0usize); n + 1];
    best[0].0 = 0.0;
    for j in few..=n {
        for i in 0..=(j - few) {
            if best[i].0.is_finite() {
                let (_, _, error) = prefix[j].less(prefix[i]).line();
                let cost = best[i].0 + error + worth;
                if cost < best[j].0 {
                    best[j] = (cost, i);
                }
            }
        }
    }
    let mut cuts = vec![];
    let mut j = n;
    while j > 0 {
        cuts.push((best[j].1, j));
        j = best[j].1;
    }
    cuts.reverse();
    let pieces: Vec<Piece> = cuts
        .iter()
        .map(|&(i, j)| {
            let (level, slope, _) = prefix[j].less(prefix[i]).line();
            let to = points[j - 1].0;
            Piece {
                to,
                seconds: round(level + slope * f64::from(to)),
                per_row: round(slope),
            }
        })
        .collect();
    let errors = points
        .iter()
        .map(|&(x, t)| {
            let p = pieces[pieces.partition_point(|p| p.to < x)];
            (p.seconds - p.per_row * f64::from(p.to - x)) / t - 1.0
        })
        .collect();
    (pieces, residual(errors))
}

/// Four significant digits: what a fit to a few measurements is worth.
pub fn round(v: f64) -> f64 {
    format!("{v:.3e}").parse().expect("a number just printed")
}

/// Median and 90th percentile of absolute errors, and their signed mean.
pub fn residual(errors: Vec<f64>) -> Residual {
    let n = errors.len().max(1);
    let bias = errors.iter().sum::<f64>() / n as f64;
    let mut all: Vec<f64> = errors.iter().map(|e| e.abs()).collect();
    all.sort_by(f64::total_cmp);
    let at = |q: f64| {
        all.get(((all.len() as f64 - 1.0) * q).round() as usize)
            .copied()
            .unwrap_or(0.0)
    };
    let short = |v: f64| (v * 1e4).round() / 1e4;
    Residual {
        points: errors.len() as u32,
        median: short(at(0.5)),
        p90: short(at(0.9)),
        bias: short(bias),
    }
}

/// What of a grid a measurement at (x, y) is made of: index of a node and its share.
fn shares(x: &[f64], y: &[f64], at: (f64, f64), per_x: f64) -> Vec<(usize, f64)> {
    let cell = |axis: &[f64], v: f64| {
        let n = axis.len();
        if n == 1 {
            return (0, 0.0);
        }
        let i = axis.partition_point(|&a| a <= v).clamp(1, n - 1);
        (i - 1, (v - axis[i - 1]) / (axis[i] - axis[i - 1]))
    };
    let (i, t) = cell(x, at.0);
    let (j, u) = cell(y, at.1);
    let mut all = vec![];
    for (di, a) in [(0, 1.0 - t), (1, t)] {
        for (dj, b) in [(0, 1.0 - u), (1, u)] {
            if i + di < x.len() && j + dj < y.len() && a * b != 0.0 {
                // Where time per unit of x is linear, a node stands for seconds/x.
                let scale = if x[i] >= per_x { at.0 / x[i + di] } else { 1.0 };
                all.push(((i + di) * y.len() + j + dj, a * b * scale));
            }
        }
    }
    all
}

/// A measurement: its place, its seconds, and the seconds that its error is relative to.
pub type Sample = ((f64, f64), f64, f64);

/// The grid over the lines `x`, `y` that is nearest to the samples, in relative terms; nodes that no sample says anything
/// about continue their neighbours. `per_x` says from where on along `x` it is seconds/x that are linear
/// ([`AttentionTimes`](capsim::device::AttentionTimes)).
pub fn grid(x: &[f64], y: &[f64], samples: &[Sample], per_x: f64) -> Grid {
    let n = x.len() * y.len();
    let mut a = DMatrix::<f64>::zeros(n, n);
    let mut b = DVector::<f64>::zeros(n);
    for (at, t, scale) in samples {
        let w = 1.0 / (scale * scale);
        let all = shares(x, y, *at, per_x);
        for &(i, s) in &all {
            b[i] += w * s * t;
            for &(j, u) in &all {
                a[(i, j)] += w * s * u;
            }
        }
    }
    // Smoothness, far weaker than any measurement: the second difference along each axis, relative to the largest time.
    let scale = samples.iter().map(|s| s.2).fold(1e-9, f64::max);
    let weak = 1e-6 / (scale * scale);
    let mut bend = |line: [(usize, f64); 3]| {
        let [(i, p), (j, q), (k, r)] = line;
        let h1 = (r - q) / (r - p);
        let c = [(i, h1), (j, -1.0), (k, 1.0 - h1)];
        for (m, u) in c {
            for (o, v) in c {
                a[(m, o)] += weak * u * v;
            }
        }
    };
    for i in 0..x.len() {
        for j in 1..y.len().saturating_sub(1) {
            let at = |j: usize| (i * y.len() + j, y[j]);
            bend([at(j - 1), at(j), at(j + 1)]);
        }
    }
    for j in 0..y.len() {
        for i in 1..x.len().saturating_sub(1) {
            let at = |i: usize| (i * y.len() + j, x[i]);
            bend([at(i - 1), at(i), at(i + 1)]);
        }
    }
    let solution = a
        .clone()
        .cholesky()
        .map(|c| c.solve(&b))
        .or_else(|| a.svd(true, true).solve(&b, 1e-14).ok())
        .unwrap_or(b);
    Grid {
        x: x.to_vec(),
        y: y.to_vec(),
        seconds: (0..x.len())
            .map(|i| {
                (0..y.len())
                    .map(|j| round(solution[i * y.len() + j].max(0.0)))
                    .collect()
            })
            .collect(),
    }
}

/// The grids of what decoding sequences add, by chunk, fitted together: between chunks they are linear too.
/// A sample is ((chunk, n, kv), seconds added, seconds in all).
pub fn mixed(
    chunks: &[f64],
    x: &[f64],
    y: &[f64],
    samples: &[((f64, f64, f64), f64, f64)],
) -> Vec<Mixed> {
    chunks
        .iter()
        .enumerate()
        .map(|(c, &chunk)| {
            // Samples at this chunk, or between its neighbours where none is exactly at it.
            let low = if c > 0 { chunks[c - 1] } else { 0.0 };
            let high = chunks.get(c + 1).copied().unwrap_or(f64::INFINITY);
            let exact = samples.iter().any(|s| s.0.0 == chunk);
            let near: Vec<_> = samples
                .iter()
                .filter(|s| {
                    if exact {
                        s.0.0 == chunk
                    } else {
                        s.0.0 > low && s.0.0 < high
                    }
                })
                .collect();
            // Relative to the whole time of the kernel: small additions to a long chunk matter little.
            let all: Vec<Sample> = near.iter().map(|s| ((s.0.1, s.0.2), s.1, s.2)).collect();
            Mixed {
                chunk,
                added: grid(x, y, &all, f64::INFINITY),
            }
        })
        .collect()
}

/// Lines over distinct experts, one per number of tokens: (tokens, experts, seconds) → base, slope, least. The weights of
/// few experts may stay in a cache between repetitions of a measurement, which they never do between layers: lines go
/// through a quarter of the experts and more, and fewer tokens than touch those have the line of the next.
pub fn experts(samples: &[(u32, u32, f64)]) -> Vec<ExpertPoint> {
    let mut tokens: Vec<u32> = samples.iter().map(|s| s.0).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let most = samples.iter().map(|s| f64::from(s.1)).fold(0.0, f64::max);
    let mut lines: Vec<(u32, f64, f64, f64)> = vec![];
    for &t in &tokens {
        let mut here: Vec<(f64, f64)> = samples
            .iter()
            .filter(|s| s.0 == t)
            .map(|s| (f64::from(s.1), s.2))
            .collect();
        here.sort_by(|a, b| a.0.total_cmp(&b.0));
        // The arithmetic limit shows where fewer experts cost no less.
        let flat = here
            .windows(2)
            .take_while(|w| w[1].1 < 1.1 * w[0].1)
            .count();
        let least = if flat > 0 { here[flat.min(1)].1 } else { 0.0 };
        let sloped = &here[flat.min(here.len() - 1)..];
        // A quarter of the experts and more: fewer may stay in a cache.
        let sure = sloped.partition_point(|p| p.0 < most / 4.0);
        let sloped = &sloped[sure..];
        if sloped.len() < 2 {
            lines.push((t, f64::NAN, f64::NAN, least));
            continue;
        }
        let n = sloped.len() as f64;
        let (mx, my) = (
            sloped.iter().map(|p| p.0).sum::<f64>() / n,
            sloped.iter().map(|p| p.1).sum::<f64>() / n,
        );
        let sxy: f64 = sloped.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
        let sxx: f64 = sloped.iter().map(|p| (p.0 - mx) * (p.0 - mx)).sum();
        let slope = (sxy / sxx).max(0.0);
        lines.push((t, my - slope * mx, slope, least));
    }
    let known: Vec<(u32, f64, f64)> = lines
        .iter()
        .filter(|l| l.2.is_finite())
        .map(|l| (l.0, l.1, l.2))
        .collect();
    lines
        .iter()
        .filter_map(|&(t, base, slope, least)| {
            let (base, slope) = if slope.is_finite() {
                (base, slope)
            } else {
                let near = known
                    .iter()
                    .min_by_key(|k| k.0.abs_diff(t))
                    .copied()
                    .unwrap_or((t, 0.0, 0.0));
                (near.1, near.2)
            };
            slope.is_finite().then(|| ExpertPoint {
                tokens: f64::from(t),
                base: round(base.max(0.0)),
                per_expert: round(slope),
                least: round(if known.is_empty() {
                    least
                } else {
                    least.min(base + slope * 1e9)
                }),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staircase_keeps_its_steps() {
        // 128 rows per wave: 10 µs each, and 1 ns per row.
        let truth = |x: u32| f64::from(x.div_ceil(128)) * 10e-6 + f64::from(x) * 1e-9;
        let points: Vec<(u32, f64)> = (1..=64).map(|i| (i * 16, truth(i * 16))).collect();
        let (pieces, residual) = pieces(&points);
        assert!(residual.p90 < 1e-3, "{residual:?}");
        assert_eq!(pieces[0].to, 128);
        assert!(pieces.len() <= 8);
        assert!(pieces.iter().all(|p| p.per_row >= 0.0));
    }

    #[test]
    fn a_bilinear_law_is_found_whatever_the_lines() {
        let law = |n: f64, kv: f64| 5e-6 + 3e-7 * n + 4e-9 * n * kv;
        let mut samples = vec![];
        for n in [1.0, 2.0, 4.0, 8.0, 32.0, 64.0] {
            for kv in [16.0, 128.0, 1000.0, 4000.0] {
                samples.push(((n, kv), law(n, kv), law(n, kv)));
            }
        }
        let g = grid(&[1.0, 64.0], &[16.0, 4000.0], &samples, f64::INFINITY);
        for (n, kv) in [(3.0, 50.0), (50.0, 3000.0), (100.0, 8000.0)] {
            let got = g.at(n, kv).value;
            assert!((got / law(n, kv) - 1.0).abs() < 2e-3, "{n} {kv} {got}");
        }
    }

    #[test]
    fn quadratic_chunks_are_met_between_the_lines() {
        let law = |c: f64, b: f64| c * (20e-9 + 1e-11 * c + 2e-11 * b);
        let mut samples = vec![];
        for c in [256.0, 512.0, 1024.0, 2048.0] {
            for b in [0.0, 512.0, 4096.0] {
                samples.push(((c, b), law(c, b), law(c, b)));
            }
        }
        let g = grid(&[256.0, 2048.0], &[0.0, 4096.0], &samples, 256.0);
        let at = capsim::device::AttentionTimes {
            covers: vec![],
            q_heads: 1,
            kv_heads: 1,
            head_dim: 1,
            kv_element_bytes: 2,
            decode: g.clone(),
            prefill: g,
            least_per_token: 0.0,
            mixed: vec![],
            residual: vec![],
        };
        let got = at.at(0.0, 0.0, 700.0, 300.0).value;
        assert!((got / law(700.0, 300.0) - 1.0).abs() < 2e-3, "{got}");
    }

    #[test]
    fn experts_are_a_line_over_distinct_ones() {
        let law = |t: u32, e: u32| (20e-6 + 6e-6 * f64::from(e)).max(f64::from(t) * 0.2e-6);
        let mut samples = vec![];
        for t in [1u32, 16, 256, 2048] {
            for e in [8u32, 16, 32, 64, 128] {
                if e <= t * 8 {
                    samples.push((t, e, law(t, e)));
                }
            }
        }
        let points = experts(&samples);
        assert_eq!(points.len(), 4);
        for p in &points[1..] {
            assert!((p.per_expert / 6e-6 - 1.0).abs() < 0.02, "{p:?}");
        }
    }
}

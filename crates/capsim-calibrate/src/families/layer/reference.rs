//! The layer once more, by the definitions, in f64.
use super::super::attention;
use super::super::harness::*;
use super::super::shapes::HEAD;
use super::inputs::*;
use super::outputs::Outputs;
use super::{FORMAT, TOLERANCE};

/// What the results follow from.
pub(super) struct Reference<'a> {
    pub sizes: Sizes,
    pub inputs: &'a Inputs,
    pub matrices: [(usize, usize, usize); 6],
    pub weights: &'a Weights,
}

/// Results of one sequence.
struct Row {
    q: Vec<f64>,
    attended: Vec<f64>,
    residual: Vec<f64>,
    combined: Vec<f64>,
    y: Vec<f64>,
}

fn f64s(d: &Data) -> Vec<f64> {
    (0..d.words.len())
        .map(|i| Format::F32.decode(&d.words, i))
        .collect()
}

/// As the cache keeps keys and values.
fn rounded(v: f64) -> f64 {
    half::bf16::from_f32(v as f32).to_f64()
}

impl Reference<'_> {
    /// What must stand in memory. Stages on the way are compared as well: the last sum would hide a small error of what is added
    /// to it.
    pub fn answers(&self, out: &Outputs) -> Vec<Answer> {
        let x = f64s(&self.inputs.x);
        let mut rows = Row {
            q: vec![],
            attended: vec![],
            residual: vec![],
            combined: vec![],
            y: vec![],
        };
        for b in 0..self.sizes.batch {
            let row = self.row(b, &x[b * self.sizes.hidden..][..self.sizes.hidden]);
            rows.q.extend(row.q);
            rows.attended.extend(row.attended);
            rows.residual.extend(row.residual);
            rows.combined.extend(row.combined);
            rows.y.extend(row.y);
        }
        [
            (out.q_turned, rows.q),
            (out.attended, rows.attended),
            (out.residual, rows.residual),
            (out.combined, rows.combined),
            (out.y, rows.y),
        ]
        .into_iter()
        .map(|(at, values)| Answer {
            at,
            expect: Expect::Floats(Format::F32, values, TOLERANCE),
        })
        .collect()
    }

    fn row(&self, b: usize, x: &[f64]) -> Row {
        let [before, after] = &self.inputs.gains;
        let h = self.normed(x, &f64s(before));
        let q = self.turned(&self.times(Q, 0, &h), b);
        let new_key: Vec<f64> = self
            .turned(&self.times(KV, 0, &h), b)
            .into_iter()
            .map(rounded)
            .collect();
        let new_value: Vec<f64> = self.times(KV, 1, &h).into_iter().map(rounded).collect();
        let attended = self.attended(b, &q, &new_key, &new_value);
        let residual: Vec<f64> = x
            .iter()
            .zip(self.times(O, 0, &attended))
            .map(|(a, b)| a + b)
            .collect();
        let h2 = self.normed(&residual, &f64s(after));
        let combined = self.experts(b, &h2);
        let y = residual.iter().zip(&combined).map(|(a, b)| a + b).collect();
        Row {
            q,
            attended,
            residual,
            combined,
            y,
        }
    }

    fn normed(&self, x: &[f64], gain: &[f64]) -> Vec<f64> {
        let d = self.sizes.hidden;
        let row = |x: &[f64]| {
            let mean = x.iter().map(|v| v * v).sum::<f64>() / d as f64;
            let scale = 1.0 / (mean + 1e-6).sqrt();
            x.iter()
                .zip(gain)
                .map(|(x, g)| x * scale * g)
                .collect::<Vec<_>>()
        };
        x.chunks(d).flat_map(row).collect()
    }

    /// The matrix of expert `e` times x.
    fn times(&self, matrix: usize, e: usize, x: &[f64]) -> Vec<f64> {
        let (_, n, depth) = self.matrices[matrix];
        let words = &self.weights.all[matrix].words;
        let row = |j: usize| {
            let at = (e * n + j) * depth;
            (0..depth)
                .map(|t| FORMAT.decode(words, at + t) * x[t])
                .sum()
        };
        (0..n).map(row).collect()
    }

    /// Every head turned by the sequence's position.
    fn turned(&self, x: &[f64], b: usize) -> Vec<f64> {
        let cs = |c: usize| f64::from(self.inputs.turns[b * HEAD + c]);
        let half = HEAD / 2;
        let one = |h: &[f64], j: usize| match j < half {
            true => h[j] * cs(j) - h[j + half] * cs(half + j),
            false => h[j] * cs(j - half) + h[j - half] * cs(j),
        };
        x.chunks(HEAD)
            .flat_map(|h| (0..HEAD).map(|j| one(h, j)).collect::<Vec<_>>())
            .collect()
    }

    /// Attention over the cache and the new token.
    fn attended(&self, b: usize, q: &[f64], new_key: &[f64], new_value: &[f64]) -> Vec<f64> {
        let s = &self.sizes;
        let (paged, cache) = (&self.inputs.paged, &self.weights.cache);
        let mut attended = vec![];
        for (i, q) in q.chunks(HEAD).enumerate() {
            let g = i / (s.heads / s.kv_heads);
            let old = |base: usize, t: usize| {
                let at = base + (paged.slot(b, t) * s.kv_heads + g) * HEAD;
                attention::vector(&cache.words, at)
            };
            let all = |base: usize, new: &[f64]| -> Vec<Vec<f64>> {
                let mut v: Vec<_> = (0..s.context - 1).map(|t| old(base, t)).collect();
                v.push(new[g * HEAD..][..HEAD].to_vec());
                v
            };
            let (keys, values) = (all(0, new_key), all(2 * paged.values, new_value));
            attended.extend(attention::reference(q, &keys, &values));
        }
        attended
    }

    /// The results of the chosen experts by their shares.
    fn experts(&self, b: usize, h2: &[f64]) -> Vec<f64> {
        let (d, f) = (self.sizes.hidden, self.sizes.expert);
        let mut logits = self.times(ROUTER_WEIGHTS, 0, h2);
        logits.sort_by(|a, b| b.total_cmp(a));
        let best = &logits[..self.sizes.topk];
        let p: Vec<f64> = best.iter().map(|l| libm::exp(*l)).collect();
        let sum: f64 = p.iter().sum();
        let mut combined = vec![0.0; d];
        for (e, p) in self.inputs.chosen[b].iter().zip(&p) {
            let both = self.times(GATE_UP, *e as usize, h2);
            let act: Vec<f64> = (0..f)
                .map(|i| both[i] / (1.0 + libm::exp(-both[i])) * both[f + i])
                .collect();
            for (c, v) in combined.iter_mut().zip(self.times(DOWN, *e as usize, &act)) {
                *c += p / sum * v;
            }
        }
        combined
    }
}

//! Kernel times by shape: measured inside an engine, as fitted pieces and grids.
//!
//! Where a device profile has the times of the very kernels that a model needs, they are better than rates and
//! efficiencies: tiles, waves and kernel switches are in them. Times interpolate as the physics says: along rows in
//! straight pieces that jump where a tile or a wave fills up, along KV tokens and distinct experts linearly, and along a
//! prefill chunk linearly in time per token (attention is quadratic in it). Breakpoints stay where they were found.
use super::ProfileError;
use super::Provenance;
use serde::{Deserialize, Serialize};

/// Times of the kernels that one engine runs, by shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KernelTimes {
    /// The engine and release in which they were measured, e.g. `vLLM 0.19.0`.
    pub engine: String,
    /// Format of the weights, e.g. `bf16`.
    pub format: String,
    /// Kernels whose time depends on the number of rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<RowTimes>,
    /// Attention over the KV cache.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attention: Vec<AttentionTimes>,
    /// The attention kernels, e.g. `flash-attn-3`, where they were timed one by one with sequences of one length, outside a server;
    /// engine profiles know how much longer they take inside one ([`crate::device::EngineProfile::attention_in_server`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_backend: Option<String>,
    /// Grouped experts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub experts: Vec<ExpertTimes>,
    /// How far all of them may be off together, relative standard deviation.
    pub rel_sd: f64,
    /// Where they come from.
    pub provenance: Provenance,
}

/// What a kernel with rows works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RowShape {
    /// `rows × in_features` times `in_features × out_features`.
    Matrix {
        /// Width of a result row.
        out_features: u64,
        /// Width of an input row.
        in_features: u64,
    },
    /// One or more passes over rows.
    Pass {
        /// Bytes read and written per row.
        bytes_per_row: u64,
    },
}

/// Time of one kernel over its rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RowTimes {
    /// Names of the operators that one launch of it covers; the first one's shape is meant.
    pub covers: Vec<String>,
    /// Its shape.
    pub shape: RowShape,
    /// Straight pieces in order of rows. A number of rows belongs to the first piece that reaches it.
    pub pieces: Vec<Piece>,
    /// How far the pieces lie from what was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<Residual>,
}

/// A straight piece.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// The most rows that it holds for.
    pub to: u32,
    /// Seconds at that many rows.
    pub seconds: f64,
    /// Seconds that one row fewer saves.
    pub per_row: f64,
}

/// How far a fit lies from its measurements, relative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Residual {
    /// Measurements.
    pub points: u32,
    /// Median of the absolute relative error.
    pub median: f64,
    /// 90th percentile of it.
    pub p90: f64,
    /// Mean signed relative error.
    pub bias: f64,
}

/// A grid of times; between its lines they are bilinear.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Places along the first axis, increasing.
    pub x: Vec<f64>,
    /// Places along the second axis, increasing.
    pub y: Vec<f64>,
    /// Seconds: one row per place along the first axis.
    pub seconds: Vec<Vec<f64>>,
}

/// Attention of one shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AttentionTimes {
    /// Names of the operators that it covers.
    pub covers: Vec<String>,
    /// Query heads.
    pub q_heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// Bytes of a cached element.
    pub kv_element_bytes: u64,
    /// Decoding sequences alone: over their number and the KV tokens of each.
    pub decode: Grid,
    /// One prefill chunk alone: over its tokens and the KV tokens before it; from 256 tokens on it is the time per token
    /// that is linear between lines along the chunk.
    pub prefill: Grid,
    /// Seconds that every token of prefill chunks takes at least, however short their contexts: queries in, results out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub least_per_token: f64,
    /// What decoding sequences add to a batch with a prefill chunk, by the chunk's tokens: another kernel runs then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mixed: Vec<Mixed>,
    /// How far the grids lie from what was measured: decode, prefill, mixed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residual: Vec<Residual>,
}

/// What decoding sequences add to a prefill chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Mixed {
    /// Tokens of the chunk.
    pub chunk: f64,
    /// Over the number of decoding sequences and the KV tokens of each.
    pub added: Grid,
}

/// Experts of one shape: at a given number of tokens, base + per_expert · distinct experts, but at least `least`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExpertTimes {
    /// Names of the operators that it covers, router included where the engine's layer holds it.
    pub covers: Vec<String>,
    /// Experts of the layer.
    pub num_experts: u32,
    /// Experts per token.
    pub top_k: u32,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Inner width of an expert.
    pub intermediate: u64,
    /// By number of tokens, increasing; linear between.
    pub points: Vec<ExpertPoint>,
    /// How far the lines lie from what was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<Residual>,
}

/// The line at one number of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExpertPoint {
    /// Tokens, each sent to `top_k` experts.
    pub tokens: f64,
    /// Seconds without any expert (the line's, not a measurement).
    pub base: f64,
    /// Seconds for each distinct expert.
    pub per_expert: f64,
    /// Seconds that it takes at least: the arithmetic of all rows.
    pub least: f64,
}

/// A time, and whether it lies outside what was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seconds {
    /// The time.
    pub value: f64,
    /// Whether it was extrapolated.
    pub extrapolated: bool,
}

/// No kernel is faster: keeps an extrapolation from turning negative.
const LEAST: f64 = 1e-7;

/// The cell of `axis` (at least one place) that `at` lies in: left index, share of the right one, outside. The share
/// goes beyond 0 and 1 outside: the last cell is continued.
fn cell(axis: &[f64], at: f64) -> (usize, f64, bool) {
    let n = axis.len();
    if n == 1 {
        return (0, 0.0, at != axis[0]);
    }
    let i = axis.partition_point(|&v| v <= at).clamp(1, n - 1);
    let t = (at - axis[i - 1]) / (axis[i] - axis[i - 1]);
    (i - 1, t, at < axis[0] || at > axis[n - 1])
}

impl Grid {
    fn row(&self, i: usize, j: usize, t: f64) -> f64 {
        let r = &self.seconds[i];
        match r.get(j + 1) {
            Some(next) => r[j] + (next - r[j]) * t,
            None => r[j],
        }
    }

    /// The time at (x, y); beyond the grid its outermost cells are continued.
    pub fn at(&self, x: f64, y: f64) -> Seconds {
        let (i, t, out_x) = cell(&self.x, x);
        let (j, u, out_y) = cell(&self.y, y);
        let a = self.row(i, j, u);
        let value = if i + 1 < self.x.len() {
            a + (self.row(i + 1, j, u) - a) * t
        } else {
            a
        };
        Seconds {
            value,
            // Below the first line lies what is smaller than anything measured; that is no risk.
            extrapolated: (out_x && x > self.x[0]) || (out_y && y > self.y[0]),
        }
    }

    fn check(&self, field: &str) -> Result<(), ProfileError> {
        let bad = |problem: &str| {
            Err(ProfileError::Value {
                field: field.into(),
                problem: problem.into(),
            })
        };
        let axis = |a: &[f64]| {
            !a.is_empty()
                && a.iter().all(|v| (0.0..1e9).contains(v))
                && a.windows(2).all(|w| w[0] < w[1])
        };
        if !axis(&self.x) || !axis(&self.y) {
            return bad(
                "x and y must be increasing numbers from 0 to below 1e9, at least one each",
            );
        }
        if self.seconds.len() != self.x.len()
            || self.seconds.iter().any(|r| r.len() != self.y.len())
        {
            return bad("seconds must have one row per x and one number per y in it");
        }
        if !self.seconds.iter().flatten().all(|&v| time(v)) {
            return bad("seconds must lie between 0 and 1000");
        }
        Ok(())
    }
}

fn is_zero(v: &f64) -> bool {
    *v == 0.0
}

fn time(v: f64) -> bool {
    (0.0..1e3).contains(&v)
}

impl RowTimes {
    /// The time for so many rows.
    pub fn at(&self, rows: u32) -> Seconds {
        let last = self.pieces[self.pieces.len() - 1];
        if rows > last.to {
            // As many times the largest measured batch: the rate stays what it was.
            return Seconds {
                value: last.seconds * f64::from(rows) / f64::from(last.to),
                extrapolated: true,
            };
        }
        let p = self.pieces[self.pieces.partition_point(|p| p.to < rows)];
        Seconds {
            value: (p.seconds - p.per_row * f64::from(p.to - rows)).max(LEAST),
            extrapolated: false,
        }
    }
}

impl AttentionTimes {
    /// The time of one layer for `n` decoding sequences of `kv` tokens each (their mean), and prefill chunks of `chunk`
    /// tokens together, `before` KV tokens before each on average: fewer than none if several chunks make up the same
    /// number of (query, key) pairs as one whose context were so much shorter.
    pub fn at(&self, n: f64, kv: f64, chunk: f64, before: f64) -> Seconds {
        if chunk <= 0.0 {
            if n <= 0.0 {
                return Seconds {
                    value: 0.0,
                    extrapolated: false,
                };
            }
            let s = self.decode.at(n, kv);
            return Seconds {
                value: s.value.max(LEAST),
                ..s
            };
        }
        let mut s = self.chunk(chunk, before);
        if n > 0.0 {
            if self.mixed.is_empty() {
                let d = self.decode.at(n, kv);
                s.value += d.value;
                s.extrapolated |= d.extrapolated;
            } else {
                let chunks: Vec<f64> = self.mixed.iter().map(|m| m.chunk).collect();
                let (i, t, _) = cell(&chunks, chunk.clamp(chunks[0], chunks[chunks.len() - 1]));
                let a = self.mixed[i].added.at(n, kv);
                let b = self.mixed[(i + 1).min(chunks.len() - 1)].added.at(n, kv);
                s.value += (a.value + (b.value - a.value) * t).max(0.0);
                s.extrapolated |= a.extrapolated | b.extrapolated;
            }
        }
        s
    }

    /// Chunks of so many tokens and more fill the device: from there on time per token is linear in the tokens; shorter
    /// ones take the time of a few waves, and time itself is.
    pub const PER_TOKEN_FROM: f64 = 256.0;

    fn chunk(&self, chunk: f64, before: f64) -> Seconds {
        let g = &self.prefill;
        let (i, t, outside) = cell(&g.x, chunk);
        let (j, u, far) = cell(&g.y, before);
        let per_token = |i: usize| g.row(i, j, u) / g.x[i];
        let value = match g.x.get(i + 1) {
            None => per_token(i) * chunk,
            Some(_) if g.x[i] >= Self::PER_TOKEN_FROM => {
                let a = per_token(i);
                (a + (per_token(i + 1) - a) * t) * chunk
            }
            Some(_) => {
                let a = g.row(i, j, u);
                a + (g.row(i + 1, j, u) - a) * t
            }
        };
        // Never faster than the shortest chunk.
        let floor = (g.seconds[0][0] * 0.5).max(self.least_per_token * chunk);
        Seconds {
            value: value.max(floor).max(LEAST),
            extrapolated: (outside && chunk > g.x[0]) || (far && before > 0.0),
        }
    }
}

impl ExpertTimes {
    /// The time of one layer for `tokens`, `distinct` experts among their choices.
    pub fn at(&self, tokens: f64, distinct: f64) -> Seconds {
        let places: Vec<f64> = self.points.iter().map(|p| p.tokens).collect();
        let last = self.points[self.points.len() - 1];
        if tokens > last.tokens {
            let s = tokens / last.tokens;
            return Seconds {
                value: (last.base + last.per_expert * distinct).max(last.least) * s,
                extrapolated: true,
            };
        }
        let line = |p: &ExpertPoint| (p.base + p.per_expert * distinct).max(p.least);
        let (i, t, _) = cell(&places, tokens.max(places[0]));
        let a = line(&self.points[i]);
        let b = line(&self.points[(i + 1).min(self.points.len() - 1)]);
        Seconds {
            value: (a + (b - a) * t).max(LEAST),
            extrapolated: false,
        }
    }
}

impl KernelTimes {
    /// The kernel of an operator of that shape: any matrix product of the same sizes runs it; a pass has its name too.
    pub fn row(&self, name: &str, shape: RowShape) -> Option<&RowTimes> {
        self.rows.iter().find(|r| {
            r.shape == shape && (matches!(shape, RowShape::Matrix { .. }) || r.covers[0] == name)
        })
    }

    /// Scales every time by `factor`.
    pub fn scale(&mut self, factor: f64) {
        let grid = |g: &mut Grid| g.seconds.iter_mut().flatten().for_each(|v| *v *= factor);
        for p in self.rows.iter_mut().flat_map(|r| &mut r.pieces) {
            p.seconds *= factor;
            p.per_row *= factor;
        }
        for a in &mut self.attention {
            grid(&mut a.decode);
            grid(&mut a.prefill);
            a.mixed.iter_mut().for_each(|m| grid(&mut m.added));
        }
        for p in self.experts.iter_mut().flat_map(|e| &mut e.points) {
            p.base *= factor;
            p.per_expert *= factor;
            p.least *= factor;
        }
    }

    pub(super) fn check(&self, field: &str) -> Result<(), ProfileError> {
        let bad = |at: String, problem: &str| {
            Err(ProfileError::Value {
                field: format!("{field}.{at}"),
                problem: problem.into(),
            })
        };
        if !(0.0..=3.0).contains(&self.rel_sd) {
            return bad("rel_sd".into(), "must lie between 0 and 3");
        }
        for (i, r) in self.rows.iter().enumerate() {
            if r.covers.is_empty() {
                return bad(format!("rows[{i}].covers"), "needs at least one operator");
            }
            let at = format!("rows[{i}].pieces");
            if r.pieces.is_empty() || r.pieces[0].to == 0 {
                return bad(at, "needs at least one piece that reaches one row");
            }
            if r.pieces.windows(2).any(|w| w[0].to >= w[1].to) {
                return bad(at, "`to` must increase");
            }
            if !r
                .pieces
                .iter()
                .all(|p| time(p.seconds) && p.seconds > 0.0 && (-1.0..=1.0).contains(&p.per_row))
            {
                return bad(
                    at,
                    "seconds must be positive and below 1000, per_row within ±1",
                );
            }
        }
        for (i, a) in self.attention.iter().enumerate() {
            a.decode.check(&format!("{field}.attention[{i}].decode"))?;
            a.prefill
                .check(&format!("{field}.attention[{i}].prefill"))?;
            if a.prefill.x[0] <= 0.0 {
                return bad(
                    format!("attention[{i}].prefill.x"),
                    "a chunk has at least one token",
                );
            }
            if !time(a.least_per_token) {
                return bad(
                    format!("attention[{i}].least_per_token"),
                    "must lie between 0 and 1000",
                );
            }
            for (j, m) in a.mixed.iter().enumerate() {
                m.added
                    .check(&format!("{field}.attention[{i}].mixed[{j}].added"))?;
            }
            let chunks_increase = a.mixed.windows(2).all(|w| w[0].chunk < w[1].chunk);
            if !chunks_increase || !a.mixed.iter().all(|m| (0.0..1e9).contains(&m.chunk)) {
                return bad(format!("attention[{i}].mixed"), "`chunk` must increase");
            }
        }
        for (i, e) in self.experts.iter().enumerate() {
            let at = format!("experts[{i}].points");
            if e.points.is_empty()
                || e.points[0].tokens <= 0.0
                || e.points.windows(2).any(|w| w[0].tokens >= w[1].tokens)
                || !e.points.iter().all(|p| p.tokens < 1e9)
            {
                return bad(at, "needs points with increasing positive tokens");
            }
            if !e
                .points
                .iter()
                .all(|p| (-1e3..1e3).contains(&p.base) && time(p.per_expert) && time(p.least))
            {
                return bad(at, "base, per_expert and least must be times below 1000 s");
            }
        }
        Ok(())
    }
}

//! Which operators of a model have kernel times of their own in the device profile.
use super::near::{HeadShape, Heads, Rows, Start};
use crate::cost::StepShape;
use crate::device::{DeviceProfile, EngineProfile, ExpertTimes, KernelTimes, RowShape, Seconds};
use crate::model::{Model, Op, OpKind, WeightFormat};

/// Kernel times of one model on one device.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    rows: Vec<(Op, Rows)>,
    /// Layers, whether they see a window only, times.
    attention: Vec<(f64, bool, Heads)>,
    experts: Option<(f64, ExpertTimes)>,
    /// Decode attention in a server relative to the tables' time.
    in_server: f64,
    /// Operators priced as part of another one's kernel.
    within: Vec<&'static str>,
    covered: Vec<&'static str>,
    uncovered: Vec<&'static str>,
}

/// How many times as long decode attention takes in a server as in the device's tables: the engine's factor for the kernels that they
/// are of; 1 where they were taken inside a server.
fn in_server(device: &DeviceProfile, engine: &EngineProfile) -> f64 {
    let backend = device
        .kernels
        .iter()
        .find_map(|k| k.attention_backend.as_ref());
    let factor = backend.and_then(|b| engine.attention_in_server.get(b));
    factor.map_or(1.0, |q| q.value)
}

/// bfloat16 and half precision run at the same rate on every device here.
fn same(format: &str, stored: WeightFormat) -> bool {
    let sixteen = |f: WeightFormat| matches!(f, WeightFormat::Bf16 | WeightFormat::Fp16);
    format
        .parse::<WeightFormat>()
        .is_ok_and(|f| f == stored || (sixteen(f) && sixteen(stored)))
}

/// The shape of an operator with rows; of a matrix its format and bytes.
fn shape(op: &Op) -> Option<(RowShape, Option<(WeightFormat, f64)>)> {
    match &op.kind {
        OpKind::Gemm(g) | OpKind::Router(g) => Some((
            RowShape::Matrix {
                out_features: g.out_features,
                in_features: g.in_features,
            },
            Some((g.format, g.weight_bytes())),
        )),
        OpKind::Elementwise(p) => Some((
            RowShape::Pass {
                bytes_per_row: p.bytes_per_token as u64,
            },
            None,
        )),
        _ => None,
    }
}

/// The line of matrix products with few rows, from the first of a device's tables (see [`Start`]).
pub fn start_of(device: &DeviceProfile) -> Option<Start> {
    let matrices = device.kernels.iter().take(1).flat_map(|k| {
        let bits = k
            .format
            .parse()
            .map_or((16, 1), WeightFormat::bits_per_weight);
        let bytes = bits.0 as f64 / bits.1 as f64 / 8.0;
        k.rows.iter().filter_map(move |r| match r.shape {
            RowShape::Matrix {
                out_features,
                in_features,
            } => Some((out_features as f64 * in_features as f64 * bytes, r)),
            RowShape::Pass { .. } => None,
        })
    });
    Start::of(matrices)
}

impl Tables {
    pub fn new(model: &Model, device: &DeviceProfile, engine: &EngineProfile) -> Self {
        let mut t = Self {
            in_server: in_server(device, engine),
            ..Self::default()
        };
        t.find_attention(model, device);
        t.find_experts(model, device);
        let start = start_of(device).map_or(0.0, |s| s.seconds);
        for op in model.ops() {
            let name = op.name;
            if t.within.contains(&name) {
                continue;
            }
            match shape(op).and_then(|s| rows_of(device, name, s, start)) {
                Some((covers, times)) => {
                    t.within.extend(covered_by(model, &covers[1..]));
                    t.covered.push(name);
                    t.rows.push((*op, times));
                }
                None if matches!(op.kind, OpKind::Collective(_)) => {}
                None => t.uncovered.push(name),
            }
        }
        t.uncovered.retain(|n| !t.within.contains(n));
        t.covered.extend(t.within.iter().copied());
        t
    }

    /// Times for every layer with attention, or for none.
    fn find_attention(&mut self, model: &Model, device: &DeviceProfile) {
        let mut found = vec![];
        for op in model.ops() {
            let OpKind::Attention(a) = op.kind else {
                continue;
            };
            // Times of keys and values per head group say nothing of latent ones.
            if !a.is_plain() {
                return;
            }
            let shape = HeadShape {
                q_heads: a.q_heads,
                kv_heads: a.kv_heads,
                head_dim: a.head_dim,
                element_bytes: a.kv_block_bytes as f64 / 32.0,
            };
            let Some(heads) = Heads::nearest(&device.kernels, shape) else {
                return;
            };
            found.push((f64::from(op.layers), a.window.is_some(), heads));
        }
        for (_, _, heads) in &found {
            self.take(model, heads.covers());
        }
        self.attention = found;
    }

    /// Times for the experts, where all layers have the same and these were measured.
    fn find_experts(&mut self, model: &Model, device: &DeviceProfile) {
        let mut all = model.ops().iter().filter_map(|o| match o.kind {
            OpKind::Experts(e) => Some((f64::from(o.layers), e)),
            _ => None,
        });
        let (Some((layers, e)), None) = (all.next(), all.next()) else {
            return;
        };
        let times = device
            .kernels
            .iter()
            .filter(|k| same(&k.format, e.gate_up_format))
            .flat_map(|k| &k.experts)
            .find(|x| {
                (x.num_experts, x.top_k, x.hidden, x.intermediate)
                    == (e.of, e.top_k, e.hidden, e.intermediate)
            });
        if let Some(times) = times {
            self.take(model, &times.covers);
            self.experts = Some((layers, times.clone()));
        }
    }

    fn take(&mut self, model: &Model, covers: &[String]) {
        self.within.extend(covered_by(model, covers));
    }

    /// Seconds of one layer's `op` for so many rows; `None`: ask the curves.
    pub fn row(&self, op: &Op, rows: u32) -> Option<f64> {
        if self.within.contains(&op.name) {
            return Some(0.0);
        }
        let (_, times) = self.rows.iter().find(|(o, _)| o == op)?;
        Some(times.at(rows))
    }

    /// Seconds of all layers' experts.
    pub fn experts(&self, tokens: f64, distinct: f64) -> Option<Seconds> {
        let (layers, times) = self.experts.as_ref()?;
        let s = times.at(tokens, distinct);
        Some(Seconds {
            value: layers * s.value,
            ..s
        })
    }

    /// Seconds of all layers' attention: decoding sequences, prefill chunks; and whether they lie outside what was measured.
    pub fn attention(&self, shape: &StepShape) -> Option<(f64, f64, bool)> {
        if self.attention.is_empty() {
            return None;
        }
        let n = f64::from(shape.decode_seqs);
        let chunk = f64::from(shape.prefill_tokens);
        let (mut decode, mut prefill, mut outside) = (0.0, 0.0, false);
        for (layers, windowed, heads) in &self.attention {
            let (context, pairs) = if *windowed {
                (shape.decode_context_windowed, shape.prefill_pairs_windowed)
            } else {
                (shape.decode_context, shape.prefill_pairs)
            };
            let kv = context as f64 / n.max(1.0);
            // One chunk of as many tokens and as many (query, key) pairs: Σ q·b + q(q+1)/2.
            let before = match shape.prefill_tokens {
                0 => 0.0,
                _ => pairs as f64 / chunk - (chunk + 1.0) / 2.0,
            };
            let (d, p, far) = heads.at(n, kv, chunk, before);
            decode += layers * d * self.in_server;
            prefill += layers * p;
            outside |= far;
        }
        Some((decode, prefill, outside))
    }

    /// Whether a step lies outside what was measured.
    pub fn outside(&self, shape: &StepShape, rows: u32) -> bool {
        self.attention(shape).is_some_and(|(_, _, far)| far)
            || self
                .rows
                .iter()
                .filter(|(op, _)| op.rows == crate::model::Rows::Tokens)
                .any(|(_, t)| t.outside(rows))
    }

    /// Adds the names of another part of the model.
    pub fn also(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.covered, &other.covered),
            (&mut self.uncovered, &other.uncovered),
        ] {
            for name in theirs {
                if !mine.contains(name) {
                    mine.push(name);
                }
            }
        }
    }

    /// Operators with times of their own, and without.
    pub fn names(&self) -> (&[&'static str], &[&'static str]) {
        (&self.covered, &self.uncovered)
    }
}

/// The operators that the kernel of `shape` covers, and its times: measured, or those of the nearest matrices.
fn rows_of(
    device: &DeviceProfile,
    name: &str,
    (shape, weights): (RowShape, Option<(WeightFormat, f64)>),
    start: f64,
) -> Option<(Vec<String>, Rows)> {
    let least = weights.map_or(0.0, |(_, bytes)| bytes / device.dram_read());
    let fits = |k: &&KernelTimes| weights.is_none_or(|(f, _)| same(&k.format, f));
    let mut tables = device.kernels.iter().filter(fits);
    if let Some(times) = tables.clone().find_map(|k| k.row(name, shape)) {
        return Some((times.covers.clone(), Rows::measured(times.clone(), least)));
    }
    match shape {
        RowShape::Matrix {
            out_features,
            in_features,
        } => {
            let near =
                tables.find_map(|k| Rows::nearest(k, (out_features, in_features), start, least))?;
            Some((vec![name.to_string()], near))
        }
        RowShape::Pass { .. } => None,
    }
}

/// The model's operators among `names`.
fn covered_by<'a>(
    model: &'a Model,
    names: &'a [String],
) -> impl Iterator<Item = &'static str> + 'a {
    model
        .ops()
        .iter()
        .map(|o| o.name)
        .filter(|n| names.iter().any(|c| c == n))
}

//! Which operators of a model have kernel times of their own in the device profile.
use crate::cost::StepShape;
use crate::device::{AttentionTimes, DeviceProfile, ExpertTimes, RowShape, RowTimes, Seconds};
use crate::model::{Model, Op, OpKind, WeightFormat};

/// Kernel times of one model on one device.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    rows: Vec<(Op, RowTimes)>,
    attention: Option<(f64, AttentionTimes)>,
    experts: Option<(f64, ExpertTimes)>,
    /// Operators priced as part of another one's kernel.
    within: Vec<&'static str>,
    covered: Vec<&'static str>,
    uncovered: Vec<&'static str>,
}

/// bfloat16 and half precision run at the same rate on every device here.
fn same(format: &str, stored: WeightFormat) -> bool {
    let sixteen = |f: WeightFormat| matches!(f, WeightFormat::Bf16 | WeightFormat::Fp16);
    format
        .parse::<WeightFormat>()
        .is_ok_and(|f| f == stored || (sixteen(f) && sixteen(stored)))
}

fn shape(op: &Op) -> Option<(RowShape, Option<WeightFormat>)> {
    match &op.kind {
        OpKind::Gemm(g) | OpKind::Router(g) => Some((
            RowShape::Matrix {
                out_features: g.out_features,
                in_features: g.in_features,
            },
            Some(g.format),
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

impl Tables {
    pub fn new(model: &Model, device: &DeviceProfile) -> Self {
        let mut t = Self::default();
        // Several kinds of attention or experts in one model are not what tables are made of.
        let one = |class: fn(&OpKind) -> bool| {
            let mut all = model.ops().iter().filter(|o| class(&o.kind));
            match (all.next(), all.next()) {
                (Some(op), None) => Some(op),
                _ => None,
            }
        };
        if let Some(op) = one(|k| matches!(k, OpKind::Attention(_)))
            && let OpKind::Attention(a) = op.kind
            && a.window.is_none()
            && let Some(times) = device.kernels.iter().flat_map(|k| &k.attention).find(|x| {
                (x.q_heads, x.kv_heads, x.head_dim, 32 * x.kv_element_bytes)
                    == (a.q_heads, a.kv_heads, a.head_dim, a.kv_block_bytes)
            })
        {
            t.take(model, &times.covers);
            t.attention = Some((f64::from(op.layers), times.clone()));
        }
        if let Some(op) = one(|k| matches!(k, OpKind::Experts(_)))
            && let OpKind::Experts(e) = op.kind
            && let Some(times) = device
                .kernels
                .iter()
                .filter(|k| same(&k.format, e.gate_up_format))
                .flat_map(|k| &k.experts)
                .find(|x| {
                    (x.num_experts, x.top_k, x.hidden, x.intermediate)
                        == (e.of, e.top_k, e.hidden, e.intermediate)
                })
        {
            t.take(model, &times.covers);
            t.experts = Some((f64::from(op.layers), times.clone()));
        }
        for op in model.ops() {
            let name = op.name;
            let found = shape(op).and_then(|(shape, format)| {
                device
                    .kernels
                    .iter()
                    .filter(|k| format.is_none_or(|f| same(&k.format, f)))
                    .find_map(|k| k.row(name, shape))
            });
            if t.within.contains(&name) {
                continue;
            }
            match found {
                Some(times) => {
                    t.within.extend(covered_by(model, &times.covers[1..]));
                    t.covered.push(name);
                    t.rows.push((*op, times.clone()));
                }
                None if matches!(op.kind, OpKind::Collective(_)) => {}
                None => t.uncovered.push(name),
            }
        }
        t.uncovered.retain(|n| !t.within.contains(n));
        t.covered.extend(t.within.iter().copied());
        t
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
        Some(times.at(rows).value)
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

    /// Seconds of all layers' attention: decoding sequences, prefill chunks.
    pub fn attention(&self, shape: &StepShape) -> Option<(Seconds, Seconds)> {
        let (layers, times) = self.attention.as_ref()?;
        let n = f64::from(shape.decode_seqs);
        let kv = shape.decode_context as f64 / n.max(1.0);
        let chunk = f64::from(shape.prefill_tokens);
        let scaled = |s: Seconds| Seconds {
            value: layers * s.value,
            ..s
        };
        if chunk == 0.0 {
            let zero = Seconds {
                value: 0.0,
                extrapolated: false,
            };
            return Some((scaled(times.at(n, kv, 0.0, 0.0)), zero));
        }
        // One chunk of as many tokens and as many (query, key) pairs: Σ q·b + q(q+1)/2.
        let before = shape.prefill_pairs as f64 / chunk - (chunk + 1.0) / 2.0;
        let prefill = times.at(0.0, 0.0, chunk, before);
        let both = times.at(n, kv, chunk, before);
        let decode = Seconds {
            value: both.value - prefill.value,
            extrapolated: both.extrapolated,
        };
        Some((scaled(decode), scaled(prefill)))
    }

    /// Whether a step lies outside what was measured.
    pub fn outside(&self, shape: &StepShape, rows: u32) -> bool {
        let attention = self
            .attention(shape)
            .is_some_and(|(d, p)| d.extrapolated || p.extrapolated);
        attention
            || self
                .rows
                .iter()
                .filter(|(op, _)| op.rows == crate::model::Rows::Tokens)
                .any(|(_, t)| t.at(rows).extrapolated)
    }

    /// Operators with times of their own, and without.
    pub fn names(&self) -> (&[&'static str], &[&'static str]) {
        (&self.covered, &self.uncovered)
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

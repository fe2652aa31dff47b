//! Weights in the host's memory: what the processor computes, and what crosses the bus.
//!
//! llama.cpp: an operator runs where its weights are, unless its batch has [`OP_OFFLOAD`] rows or more (`ggml-cuda.cu:
//! ggml_backend_cuda_device_offload_op`, environment variable `GGML_OP_OFFLOAD_MIN_BATCH`; the same in the Vulkan and SYCL backends): then
//! its weights are copied to the device first, of experts only those that are used (`ggml-backend.cpp:
//! ggml_backend_sched_compute_splits`), and attention follows with its keys and values. The copies do not overlap with kernels. On the
//! processor an operator takes the larger of streaming its bytes and of its arithmetic.
//!
//! vLLM: kernels read the weights over the bus (`uva.py`, zero copy): the larger of the kernels' time and of the bus's, once for
//! dense weights and once for experts. That a kernel reads a weight more than once is left out.
use super::{CostError, CostOptions, StepPrice};
use crate::cost::{Part, StepShape};
use crate::device::{CROSSING, DeviceProfile, EngineProfile};
use crate::model::{Model, Op, OpKind, Placed, Placement, Rows};

/// Rows from which on llama.cpp computes on the device what lies in the host's memory.
const OP_OFFLOAD: u32 = 32;

/// What lies in the host's memory.
#[derive(Clone, Debug)]
pub struct Offload {
    /// The same operators as the device's kernels would run them.
    there: Box<StepPrice>,
    ops: Vec<Op>,
    /// Bytes of its matrices but for experts: of all rows, of sampled rows.
    dense: (f64, f64),
    /// Bytes of experts: layers times bytes of one.
    per_expert: f64,
    /// Kernels that read weights.
    copies: f64,
    /// Bytes per second.
    memory: f64,
    bus: f64,
    /// Operations per second.
    arithmetic: f64,
    how: How,
}

#[derive(Clone, Copy, Debug)]
enum How {
    /// The processor computes; from so many rows on the device, after a copy.
    Computed {
        copied_from: Option<u32>,
        crossings: f64,
        /// Bytes of a row that goes from one to the other.
        row: f64,
    },
    /// Kernels read over the bus.
    Streamed,
}

/// Seconds that come on top of the device's own part.
pub type Parts = [(Part, f64); Part::ALL.len()];

impl Offload {
    /// `None`: everything is on the device.
    ///
    /// # Errors
    /// As [`StepPrice::new`].
    pub fn new(
        placed: &Placed,
        device: &DeviceProfile,
        engine: &EngineProfile,
        options: &CostOptions,
    ) -> Result<Option<Self>, CostError> {
        let Some(model) = &placed.host else {
            return Ok(None);
        };
        let there = CostOptions {
            draft: None,
            max_num_seqs: options.max_outputs(),
            placement: Placement::Device,
            // A vision tower is the device's.
            images: None,
            ..options.clone()
        };
        let rates = device.host_rates();
        let mut o = Self {
            there: Box::new(StepPrice::new(model, device, engine, there)?),
            ops: model.ops().to_vec(),
            dense: (0.0, 0.0),
            per_expert: 0.0,
            copies: 0.0,
            memory: rates.memory.value,
            bus: rates.bus.value,
            arithmetic: rates.arithmetic.value,
            how: match options.placement {
                Placement::Streamed(_) => How::Streamed,
                _ => How::Computed {
                    copied_from: options.op_offload.then_some(OP_OFFLOAD),
                    crossings: f64::from(placed.crossings),
                    // Activations are 32-bit numbers in llama.cpp.
                    row: 4.0 * f64::from(model.hidden_size()),
                },
            },
        };
        o.count(model);
        Ok(Some(o))
    }

    fn count(&mut self, model: &Model) {
        for op in model.ops() {
            let layers = f64::from(op.layers);
            let bytes = layers * op.weight_bytes().as_f64();
            match (op.kind, op.rows) {
                (OpKind::Experts(e), _) => self.per_expert += layers * e.bytes_per_expert(),
                (OpKind::Gemm(_) | OpKind::Router(_), Rows::Tokens) => self.dense.0 += bytes,
                (OpKind::Gemm(_) | OpKind::Router(_), Rows::Sampled) => self.dense.1 += bytes,
                _ => continue,
            }
            self.copies += layers;
        }
    }

    /// Bytes of the experts that a batch touches.
    fn experts(&self, distinct: u32) -> f64 {
        let touched = self.there.distinct_experts(distinct);
        self.per_expert * touched.unwrap_or(0.0)
    }

    /// Whether experts are among it.
    pub fn has_experts(&self) -> bool {
        self.per_expert > 0.0
    }

    /// Distinct experts of a layer that so many distinct tokens touch.
    pub fn distinct_experts(&self, distinct: u32) -> Option<f64> {
        self.there.distinct_experts(distinct)
    }

    /// The tokens that layers with a window see.
    pub fn attention_window(&self) -> Option<u32> {
        self.there.attention.window
    }

    /// Seconds by part. `all` are the tokens, and different ones, that meet at the experts; `gathered` the rows exchanged.
    pub fn parts(&self, shape: &StepShape, all: (u32, u32), gathered: u32) -> Parts {
        let mut parts = Part::ALL.map(|p| (p, 0.0));
        match self.how {
            How::Streamed => self.streamed(shape, all, gathered, &mut parts),
            How::Computed {
                copied_from,
                crossings,
                row,
            } => {
                let (copied, here) = divided(shape, self.there.micro_batch, copied_from);
                if let Some((step, passes)) = copied {
                    self.copied(&step, passes, &mut parts);
                }
                if let Some(step) = here {
                    let seconds = self.computed(&step, copied.is_none());
                    add(&mut parts, Part::Processor, seconds);
                    let rows = f64::from(step.tokens());
                    let cross = crossings * (CROSSING + rows * row / self.bus);
                    add(&mut parts, Part::Bus, cross);
                }
            }
        }
        parts
    }

    fn streamed(&self, shape: &StepShape, all: (u32, u32), gathered: u32, parts: &mut Parts) {
        let kernels = self.there.device_parts(shape, all, gathered);
        let (mut dense, mut experts) = (0.0, 0.0);
        for (part, seconds) in kernels {
            match part {
                Part::Dense | Part::Router => dense += seconds,
                Part::Experts => experts += seconds,
                _ => {}
            }
            add(parts, part, seconds);
        }
        let more = (self.dense.0 / self.bus - dense).max(0.0)
            + (self.experts(all.1) / self.bus - experts).max(0.0);
        add(parts, Part::Bus, more);
    }

    /// On the device, after a copy in each of so many passes.
    fn copied(&self, step: &StepShape, passes: f64, parts: &mut Parts) {
        let all = (step.tokens(), step.distinct_tokens);
        for (part, seconds) in self.there.device_parts(step, all, step.tokens()) {
            add(parts, part, seconds);
        }
        let each = (f64::from(step.distinct_tokens) / passes).max(1.0) as u32;
        let head = if step.sampled >= OP_OFFLOAD {
            self.dense.1
        } else {
            0.0
        };
        let weights = passes * (self.dense.0 + self.experts(each)) + head;
        let seconds = (weights + self.cached(step)) / self.bus + passes * self.copies * CROSSING;
        add(parts, Part::Bus, seconds);
    }

    /// Bytes of keys and values that a step reads.
    fn cached(&self, step: &StepShape) -> f64 {
        let bytes = |op: &Op| match op.kind {
            OpKind::Attention(a) => {
                let tokens = match a.window {
                    Some(_) => step.decode_context_windowed,
                    None => step.decode_context,
                } + step.prefill_context;
                f64::from(op.layers) * a.read_bytes_per_token() * tokens as f64
            }
            _ => 0.0,
        };
        self.ops.iter().map(bytes).sum()
    }

    /// Seconds of the processor; the head and attention only where the whole step is its own.
    fn computed(&self, step: &StepShape, whole: bool) -> f64 {
        let rows = f64::from(step.tokens());
        let sampled = f64::from(step.sampled);
        let touched = self.there.distinct_experts(step.distinct_tokens);
        let time = |bytes: f64, ops: f64| (bytes / self.memory).max(ops / self.arithmetic);
        let one = |op: &Op| {
            let n = match op.rows {
                Rows::Tokens => rows,
                Rows::Sampled if whole => sampled,
                Rows::Sampled => return 0.0,
            };
            if n == 0.0 {
                return 0.0;
            }
            let seconds = match op.kind {
                OpKind::Gemm(g) | OpKind::Router(g) => time(
                    g.weight_bytes() + n * g.activation_bytes_per_row(),
                    n * g.ops_per_row(),
                ),
                OpKind::Experts(e) => time(
                    e.weight_bytes_touched(touched.unwrap_or(0.0))
                        + n * e.activation_bytes_per_token(),
                    n * f64::from(e.top_k) * e.ops_per_row(),
                ),
                OpKind::Elementwise(p) => time(n * p.bytes_per_token, 0.0),
                OpKind::Recurrence(r) => time(
                    2.0 * r.state.as_f64() * f64::from(step.seqs())
                        + n * r.activations_per_row.as_f64(),
                    n * r.ops_per_token as f64,
                ),
                OpKind::Attention(_) if !whole => 0.0,
                OpKind::Attention(a) => {
                    let (decode, pairs) = match a.window {
                        Some(_) => (step.decode_context_windowed, step.prefill_pairs_windowed),
                        None => (step.decode_context, step.prefill_pairs),
                    };
                    time(
                        a.read_bytes_per_token() * (decode + step.prefill_context) as f64,
                        a.ops_per_pair() * (decode + pairs) as f64,
                    )
                }
                OpKind::Collective(_) => 0.0,
            };
            f64::from(op.layers) * seconds
        };
        self.ops.iter().map(one).sum()
    }
}

fn add(parts: &mut Parts, part: Part, seconds: f64) {
    parts[part as usize].1 += seconds;
}

/// A step whose weights are copied, and in how many passes; and one of the processor's own. The last pass of a prompt may have too few
/// rows for a copy.
fn divided(
    shape: &StepShape,
    micro_batch: Option<u32>,
    copied_from: Option<u32>,
) -> (Option<(StepShape, f64)>, Option<StepShape>) {
    let tokens = shape.tokens();
    let most = micro_batch.unwrap_or(u32::MAX).max(1);
    let least = copied_from.unwrap_or(u32::MAX);
    let (full, rest) = (tokens / most, tokens % most);
    if tokens == 0 || most.min(tokens) < least {
        return (None, (tokens > 0).then_some(*shape));
    }
    let small = rest > 0 && rest < least && shape.prefill_tokens >= rest;
    if !small {
        let passes = f64::from(full + u32::from(rest > 0));
        return (Some((*shape, passes)), None);
    }
    let part = |n: u32| {
        let share = u64::from(shape.distinct_tokens) * u64::from(n);
        (share / u64::from(tokens)).max(1) as u32
    };
    let copied = StepShape {
        prefill_tokens: shape.prefill_tokens - rest,
        distinct_tokens: part(tokens - rest),
        ..*shape
    };
    let own = StepShape {
        prefill_tokens: rest,
        prefill_seqs: 1,
        distinct_tokens: part(rest),
        ..StepShape::default()
    };
    (Some((copied, f64::from(full))), Some(own))
}

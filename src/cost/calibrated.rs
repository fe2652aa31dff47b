//! The step-time model: model architecture × device profile × engine profile → seconds per step.
//!
//! Every operator is priced on the device's measured curves, not on a bare roofline, times the engine's efficiencies
//! (docs/methodology.md):
//!
//! - a matrix product over `n` rows takes the larger of its streaming time, (weights + activations) /
//!   (B · η), and its arithmetic time, 2 n N K / (F(n) · η);
//! - the grouped expert products stream the weights of the *distinct* experts that the batch touches, at the rate
//!   of the kernel configuration that this batch size selects (cliffs included), or compute on tiles padded
//!   to their height, whichever takes longer;
//! - decode attention streams the KV cache; prefill attention computes on (query, key) pairs;
//! - every kernel adds the device's launch time.
//!
//! Host time adds to device time, or overlaps with it under async scheduling; launching without graphs runs
//! ahead of the device, so that the slower of the two counts.
use super::{Breakdown, Part, Routing, StepCost, StepShape};
use crate::device::{DeviceProfile, EngineProfile, MoePath, MoeRegime};
use crate::model::{Model, OpKind, Rows, experts};
use crate::units::Span;

/// How the engine runs, as far as prices go.
#[derive(Clone, Debug, PartialEq)]
pub struct CostOptions {
    /// No graphs (`--enforce-eager`).
    pub enforce_eager: bool,
    /// Host and device overlap (`--async-scheduling`).
    pub async_scheduling: bool,
    /// Largest number of sequences, which bounds the captured graph sizes.
    pub max_num_seqs: u32,
    /// Largest number of new tokens in a step.
    pub max_num_batched_tokens: u32,
    /// Which mixture-of-experts path runs; `None`: the profile's default.
    pub moe_path: Option<String>,
    /// Expert popularity.
    pub routing: Routing,
    /// Tokens computed at a time: a larger step is several passes over the weights (llama.cpp's `--ubatch-size`);
    /// `None`: the whole step at once.
    pub micro_batch: Option<u32>,
}

/// Why a model cannot be priced.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum CostError {
    /// No such mixture-of-experts path.
    #[error("the engine profile `{profile}` has no MoE path `{path}`; it has: {known}")]
    UnknownMoePath {
        /// The engine profile.
        profile: String,
        /// What was asked for.
        path: String,
        /// What there is.
        known: String,
    },
    /// The popularity does not fit the model.
    #[error("routing: {0}")]
    Routing(String),
}

/// Costs that depend on the number of rows of the dense matrices only, tabulated.
#[derive(Clone, Copy, Debug, Default)]
struct RowCost {
    dense: f64,
    router: f64,
    elementwise: f64,
    /// Experts if all tokens are distinct.
    experts: f64,
}

/// The priced combination of a model, a device and an engine.
#[derive(Clone, Debug)]
pub struct CalibratedCost {
    /// By number of new tokens, 0 ..= max_num_batched_tokens.
    rows: Vec<RowCost>,
    /// lm_head and sampling, by number of sampled rows.
    sampled: Vec<f64>,
    /// Seconds per KV token read by decode attention: layers that see everything, layers with a window.
    kv_full: f64,
    kv_windowed: f64,
    /// Seconds per sequence to read and write the states of linear attention.
    state: f64,
    /// Operations of linear attention per token, all layers.
    recurrence_ops: f64,
    /// Seconds per (query, key) pair at full arithmetic rate, both kinds of layer together; × 1/F(q).
    pair_ops_full: f64,
    pair_ops_windowed: f64,
    attention_curve: crate::device::Curve,
    attention_eff: f64,
    experts: Option<Experts>,
    window: Option<u32>,
    launch_device: f64,
    host_step: f64,
    host_per_seq: f64,
    launch_eager: f64,
    launch_graph: f64,
    kernels: f64,
    options: CostOptions,
    captured: Vec<u32>,
    extrapolated_rows: Option<(f64, f64)>,
}

/// Time of an operator that streams and computes (see [`EngineProfile::roofline_power`]).
fn roofline(power: Option<f64>, stream: f64, compute: f64) -> f64 {
    match power {
        None => stream.max(compute),
        Some(1.0) => stream + compute,
        Some(p) => {
            let (low, high) = (stream.min(compute), stream.max(compute));
            high * libm::pow(1.0 + libm::pow(low / high, p), 1.0 / p)
        }
    }
}

/// The grouped expert products.
#[derive(Clone, Debug)]
struct Experts {
    roofline_power: Option<f64>,
    /// Distinct experts by number of distinct tokens.
    distinct: Vec<f64>,
    path: MoePath,
    groups: Vec<ExpertGroup>,
    stream: f64,
    gemm: crate::device::Curve,
    num: f64,
}

#[derive(Clone, Copy, Debug)]
struct ExpertGroup {
    layers: f64,
    bytes_per_expert: f64,
    activation_bytes_per_token: f64,
    ops_per_row: f64,
    top_k: f64,
    /// Columns of gate and up together, and of down.
    columns: (f64, f64),
}

impl Experts {
    fn regime(&self, tokens: u32) -> &MoeRegime {
        self.path
            .regimes
            .iter()
            .find(|r| r.max_tokens.is_none_or(|m| tokens <= m))
            .expect("the last regime has no limit")
    }

    /// Seconds for a batch of `tokens` new tokens, `distinct` of them different computations.
    fn seconds(&self, tokens: u32, distinct: u32) -> f64 {
        if tokens == 0 {
            return 0.0;
        }
        let regime = self.regime(tokens);
        let touched = self.distinct[(distinct as usize).min(self.distinct.len() - 1)];
        let mut total = 0.0;
        for g in &self.groups {
            let slots = f64::from(tokens) * g.top_k;
            // Each expert's rows are padded to whole tiles. Few rows per expert make one tile each; with many,
            // (τ − 1)/2 rows are wasted on average (rows modulo τ taken as uniform).
            let tile = f64::from(regime.tile_rows);
            let tiles = touched.max((slots + touched * (tile - 1.0) / 2.0) / tile);
            // Gate and up are two thirds of an expert's bytes, down one; each a kernel that may not fill the device.
            let slower = regime.fill.as_ref().map_or(1.0, |f| {
                let groups = |columns: f64| touched * libm::ceil(columns / f64::from(f.tile_cols));
                let less = |columns| (f.workgroups.value / groups(columns)).max(1.0);
                (2.0 * less(g.columns.0) + less(g.columns.1)) / 3.0
            });
            let stream = (touched * g.bytes_per_expert * slower
                + f64::from(tokens) * g.activation_bytes_per_token)
                / (self.stream * regime.stream.value);
            // The grouped kernel works on all experts' tiles at once, so that its parallelism, and with it
            // the rate, is that of all padded rows together.
            let rows = tiles * tile;
            let at_once = if self.path.one_by_one {
                rows / touched
            } else {
                rows
            };
            let compute = rows * g.ops_per_row / (self.gemm.at(at_once).y * regime.compute.value);
            total += g.layers * roofline(self.roofline_power, stream, compute);
        }
        total
    }
}

impl CalibratedCost {
    /// Prices `model` on `device` as `engine` runs it.
    ///
    /// # Errors
    /// An unknown MoE path, or a popularity that does not fit the model.
    pub fn new(
        model: &Model,
        device: &DeviceProfile,
        engine: &EngineProfile,
        options: CostOptions,
    ) -> Result<Self, CostError> {
        let stream = device.dram_read();
        let path_name = options.moe_path.as_deref().unwrap_or(&engine.moe_default);
        let path = engine
            .moe_paths
            .get(path_name)
            .ok_or_else(|| CostError::UnknownMoePath {
                profile: engine.id.clone(),
                path: path_name.into(),
                known: engine
                    .moe_paths
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", "),
            })?;
        // No pass computes more rows than a micro-batch.
        let max_rows = options
            .max_num_batched_tokens
            .min(options.micro_batch.unwrap_or(u32::MAX))
            .max(1);
        let mut experts_part = None;
        let mut kernels = 0.0;
        let (mut kv_full, mut kv_windowed) = (0.0, 0.0);
        let (mut pair_full, mut pair_windowed) = (0.0, 0.0);
        let (mut state, mut recurrence_ops) = (0.0, 0.0);
        let mut window = None;
        for op in model.ops() {
            kernels += f64::from(op.layers) * f64::from(op.kernels);
            let layers = f64::from(op.layers);
            match &op.kind {
                OpKind::Attention(a) => {
                    let per_token =
                        layers * a.kv_bytes_per_token() / (stream * engine.attention_stream.value);
                    let pairs = layers * 4.0 * f64::from(a.q_heads) * f64::from(a.head_dim);
                    if let Some(w) = a.window {
                        window = Some(w);
                        kv_windowed += per_token;
                        pair_windowed += pairs;
                    } else {
                        kv_full += per_token;
                        pair_full += pairs;
                    }
                }
                OpKind::Recurrence(r) => {
                    state +=
                        layers * 2.0 * r.state.as_f64() / (stream * engine.attention_stream.value);
                    recurrence_ops += layers * r.ops_per_token as f64;
                }
                OpKind::Experts(e) => {
                    let group = ExpertGroup {
                        layers,
                        bytes_per_expert: e.bytes_per_expert(),
                        activation_bytes_per_token: e.activation_bytes_per_token(),
                        ops_per_row: e.ops_per_row(),
                        top_k: f64::from(e.top_k),
                        columns: (2.0 * e.intermediate as f64, e.hidden as f64),
                    };
                    let part = experts_part
                        .get_or_insert_with(|| (e.num_experts, e.top_k, Vec::<ExpertGroup>::new()));
                    part.2.push(group);
                }
                _ => {}
            }
        }
        let experts = match experts_part {
            None => None,
            Some((num, top_k, groups)) => {
                let p = popularity(&options.routing, num, top_k)?;
                Some(Experts {
                    roofline_power: engine.roofline_power,
                    distinct: experts::expected_distinct(&p, max_rows),
                    path: path.clone(),
                    groups,
                    stream,
                    gemm: device.gemm_f16.clone(),
                    num: f64::from(num),
                })
            }
        };
        let mut cost = Self {
            rows: Vec::new(),
            sampled: Vec::new(),
            kv_full,
            kv_windowed,
            state,
            recurrence_ops,
            pair_ops_full: pair_full,
            pair_ops_windowed: pair_windowed,
            attention_curve: device.attention_prefill.clone(),
            attention_eff: engine.attention_compute.value,
            experts,
            window,
            launch_device: device.launch.value,
            host_step: engine.host.step.value,
            host_per_seq: engine.host.per_seq.value,
            launch_eager: engine.host.launch_eager.value,
            launch_graph: engine.host.launch_graph.value,
            kernels,
            captured: captured_sizes(options.max_num_seqs, options.max_num_batched_tokens),
            extrapolated_rows: None,
            options,
        };
        cost.tabulate(model, device, engine, max_rows);
        Ok(cost)
    }

    fn tabulate(
        &mut self,
        model: &Model,
        device: &DeviceProfile,
        engine: &EngineProfile,
        max_rows: u32,
    ) {
        let stream = device.dram_read();
        let gemm = |g: &crate::model::Gemm, rows: u32| {
            let n = f64::from(rows);
            let bytes = g.weight_bytes() + n * g.activation_bytes_per_row();
            let stream_time = bytes / (stream * engine.dense_stream.value);
            if rows <= engine.matvec_rows {
                return stream_time;
            }
            let rate = device.gemm_f16.at(n).y * engine.dense_compute.value;
            roofline(
                engine.roofline_power,
                stream_time,
                n * g.ops_per_row() / rate,
            )
        };
        let elementwise = |bytes: f64| {
            bytes / (device.elementwise.at(bytes.max(1.0)).y * engine.elementwise.value)
        };
        for rows in 0..=max_rows {
            let mut cost = RowCost::default();
            if rows > 0 {
                for op in model.ops().iter().filter(|op| op.rows == Rows::Tokens) {
                    let layers = f64::from(op.layers);
                    match &op.kind {
                        OpKind::Gemm(g) => cost.dense += layers * gemm(g, rows),
                        OpKind::Router(g) => cost.router += layers * gemm(g, rows),
                        OpKind::Elementwise(e) => {
                            cost.elementwise +=
                                layers * elementwise(f64::from(rows) * e.bytes_per_token)
                        }
                        OpKind::Recurrence(r) => {
                            cost.elementwise += layers
                                * elementwise(f64::from(rows) * r.activations_per_row.as_f64())
                        }
                        _ => {}
                    }
                }
                if let Some(e) = &self.experts {
                    cost.experts = e.seconds(rows, rows);
                }
            }
            self.rows.push(cost);
        }
        // Sampled rows never exceed sequences, and those not new tokens.
        for rows in 0..=self.options.max_num_seqs.min(max_rows) {
            let mut seconds = 0.0;
            if rows > 0 {
                for op in model.ops().iter().filter(|op| op.rows == Rows::Sampled) {
                    let layers = f64::from(op.layers);
                    seconds += layers
                        * match &op.kind {
                            OpKind::Gemm(g) | OpKind::Router(g) => gemm(g, rows),
                            OpKind::Elementwise(e) => {
                                elementwise(f64::from(rows) * e.bytes_per_token)
                            }
                            _ => 0.0,
                        };
                }
            }
            self.sampled.push(seconds);
        }
        let points = &device.gemm_f16.points;
        self.extrapolated_rows = Some((points[0].x, points[points.len() - 1].x));
    }

    /// Number of tokens that the dense kernels run with: padded to a captured graph size where one is used.
    fn padded(&self, shape: &StepShape) -> u32 {
        let n = shape.tokens();
        if self.options.enforce_eager
            || self.options.micro_batch.is_some()
            || self.captured.last().is_none_or(|&m| n > m)
        {
            return n;
        }
        self.captured[self.captured.partition_point(|&c| c < n)]
    }

    /// Costs that depend on rows only, of a step of `tokens` tokens that computes `padded` rows.
    fn row_cost(&self, tokens: u32, padded: u32, distinct: u32) -> RowCost {
        let mut row = self.rows[(padded as usize).min(self.rows.len() - 1)];
        row.experts = match &self.experts {
            None => 0.0,
            Some(_) if distinct >= tokens => {
                self.rows[(tokens as usize).min(self.rows.len() - 1)].experts
            }
            Some(e) => e.seconds(tokens, distinct),
        };
        row
    }

    /// The same in passes of at most `micro_batch` tokens, and how many passes that are. Distinct tokens are spread
    /// over the passes evenly.
    fn passes(&self, shape: &StepShape) -> (RowCost, f64) {
        let tokens = shape.tokens();
        match self.options.micro_batch {
            Some(m) if tokens > m => {
                let (full, rest) = (tokens / m, tokens % m);
                let share = |n: u32| {
                    let part = u64::from(shape.distinct_tokens) * u64::from(n);
                    part.div_ceil(tokens.into()) as u32
                };
                let mut sum = RowCost::default();
                let mut add = |n: u32, times: f64| {
                    let one = self.row_cost(n, n, share(n));
                    sum.dense += times * one.dense;
                    sum.router += times * one.router;
                    sum.elementwise += times * one.elementwise;
                    sum.experts += times * one.experts;
                };
                add(m, f64::from(full));
                if rest > 0 {
                    add(rest, 1.0);
                }
                (sum, f64::from(full + u32::from(rest > 0)))
            }
            _ => (
                self.row_cost(tokens, self.padded(shape), shape.distinct_tokens),
                1.0,
            ),
        }
    }

    /// Device seconds by part, and whether graphs replay the step.
    fn device_parts(&self, shape: &StepShape) -> [(Part, f64); 8] {
        let (row, passes) = self.passes(shape);
        let decode = self.kv_full * shape.decode_context as f64
            + self.kv_windowed * shape.decode_context_windowed as f64
            + self.state * f64::from(shape.decode_seqs);
        let prefill = if shape.prefill_seqs == 0 {
            0.0
        } else {
            let at_once = self
                .options
                .micro_batch
                .map_or(shape.prefill_tokens, |m| shape.prefill_tokens.min(m));
            let rate = self.attention_curve.at(f64::from(at_once.max(1))).y * self.attention_eff;
            // Each pass reads the keys and values up to its own end: half of them on average, and all before.
            let reads = (1.0 + passes) / 2.0;
            (self.pair_ops_full * shape.prefill_pairs as f64
                + self.pair_ops_windowed * shape.prefill_pairs_windowed as f64
                + self.recurrence_ops * f64::from(shape.prefill_tokens))
                / rate
                + (self.kv_full + self.kv_windowed) * shape.prefill_context as f64 * reads
                + self.state * f64::from(shape.prefill_seqs) * passes
        };
        [
            (Part::Dense, row.dense),
            (Part::Experts, row.experts),
            (Part::Router, row.router),
            (Part::AttentionDecode, decode),
            (Part::AttentionPrefill, prefill),
            (Part::Elementwise, row.elementwise),
            (
                Part::LmHead,
                self.sampled[(shape.sampled as usize).min(self.sampled.len() - 1)],
            ),
            (Part::Launch, self.kernels * self.launch_device * passes),
        ]
    }

    /// Seconds from the device's part of a step to the whole of it.
    fn whole(&self, shape: &StepShape, device: f64) -> f64 {
        let host = self.host_step + self.host_per_seq * f64::from(shape.seqs());
        let graphed = !self.options.enforce_eager
            && self.captured.last().is_some_and(|&m| shape.tokens() <= m);
        let launch = if graphed {
            self.launch_graph
        } else {
            self.kernels * self.launch_eager
        };
        if self.options.async_scheduling {
            device.max(host + launch)
        } else {
            host + device.max(launch)
        }
    }

    /// What the step's time is made of; sums to [`StepCost::step`] (to the rounding of a nanosecond).
    pub fn breakdown(&self, shape: &StepShape) -> Breakdown {
        let mut b = Breakdown::default();
        for (part, seconds) in self.device_parts(shape) {
            b.add(part, seconds);
        }
        let device = b.total();
        b.add(Part::Host, self.whole(shape, device) - device);
        b
    }

    /// Distinct experts per layer that `distinct_tokens` independent tokens touch; `None` for a dense model.
    pub fn distinct_experts(&self, distinct_tokens: u32) -> Option<f64> {
        let e = self.experts.as_ref()?;
        Some(e.distinct[(distinct_tokens as usize).min(e.distinct.len() - 1)].min(e.num))
    }

    /// Range of rows over which the device's matrix rate was measured; beyond it the price is extrapolated.
    pub fn measured_rows(&self) -> Option<(f64, f64)> {
        self.extrapolated_rows
    }
}

impl StepCost for CalibratedCost {
    fn step(&self, shape: &StepShape) -> Span {
        let device: f64 = self.device_parts(shape).iter().map(|(_, s)| s).sum();
        Span::from_secs(self.whole(shape, device))
    }
    fn attention_window(&self) -> Option<u32> {
        self.window
    }
    fn wants_distinct_tokens(&self) -> bool {
        self.experts.is_some()
    }
}

/// Graph sizes that vLLM 0.12 captures (`config/vllm.py: _set_cudagraph_sizes`): 1, 2, 4, then every 8 below
/// 256, then every 16, up to min(2 · max_num_seqs, 512, max_num_batched_tokens).
fn captured_sizes(max_num_seqs: u32, max_num_batched_tokens: u32) -> Vec<u32> {
    let limit = max_num_seqs
        .saturating_mul(2)
        .min(512)
        .min(max_num_batched_tokens);
    [1, 2, 4]
        .into_iter()
        .chain((8..256).step_by(8))
        .chain((256..=512).step_by(16))
        .filter(|&s| s <= limit)
        .collect()
}

fn popularity(routing: &Routing, num: u32, top_k: u32) -> Result<experts::Popularity, CostError> {
    match routing {
        Routing::Uniform => Ok(experts::Popularity::uniform(num, top_k)),
        Routing::Zipf(s) => experts::Popularity::zipf(num, top_k, *s),
        Routing::Histogram(counts) => experts::Popularity::from_counts(counts, num, top_k),
    }
    .map_err(|e: experts::ExpertsError| CostError::Routing(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captured_sizes_are_vllms() {
        assert_eq!(captured_sizes(5, 2048), [1, 2, 4, 8]);
        let all = captured_sizes(1024, 8192);
        assert_eq!(all.first(), Some(&1));
        assert_eq!(all.last(), Some(&512));
        assert!(all.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(captured_sizes(256, 16).last(), Some(&16));
    }
}

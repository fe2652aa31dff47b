//! The step-time model: model architecture × device profile × engine profile → seconds per step.
//!
//! Every operator is priced on the device's measured curves, not on a bare roofline, times the engine's efficiencies
//! (docs/methodology.md):
//!
//! - a matrix product over `n` rows takes the larger of its streaming time, (weights + activations) /
//!   (B · η), and its arithmetic time, 2 n N K / (F(n) · η); where the engine brings matrix kernels of its own
//!   ([`EngineProfile::dense_tiles`]), n is padded to whole tiles and F is the curve's largest rate;
//! - the grouped expert products stream the weights of the *distinct* experts that the batch touches, at the rate
//!   of the kernel configuration that this batch size selects (cliffs included), or compute on tiles padded
//!   to their height, whichever takes longer;
//! - decode attention streams the KV cache; prefill attention computes on (query, key) pairs;
//! - every kernel adds the device's launch time.
//!
//! Where the device profile holds the times of the engine's own kernels at the model's shapes
//! ([`crate::device::KernelTimes`]), those count instead, without efficiencies. Devices that share the model exchange data
//! over the device's link.
//!
//! Host time adds to device time, or overlaps with it under async scheduling; launching without graphs runs
//! ahead of the device, so that the slower of the two counts.
use super::exchange::Exchanges;
use super::grouped::Experts;
use super::load::Load;
use super::memo::Memo;
use super::op_sums::OpSums;
use super::rows::{RowCost, RowPrices};
use super::tables::Tables;
use super::{Breakdown, Part, Routing, StepCost, StepShape};
use crate::device::{DeviceProfile, EngineProfile, MoePath};
use crate::model::{Model, experts};
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
    /// Nothing is known about the price of a weight format, and no engine profile was named.
    #[error(
        "weights in {formats}: no engine profile of {engine} for `{device}` was made from them or from anything near; it is known for \
         {known}. To get the prices of another format with a wide interval, name a profile, such as --engine {nearest}"
    )]
    UnknownWeights {
        /// The formats.
        formats: Box<str>,
        /// The engine.
        engine: &'static str,
        /// The device profile's id.
        device: Box<str>,
        /// Formats that the engine's profiles for the device were made from.
        known: Box<str>,
        /// The profile with the nearest format.
        nearest: Box<str>,
    },
    /// The popularity does not fit the model.
    #[error("routing: {0}")]
    Routing(String),
}

/// The priced combination of a model, a device and an engine.
#[derive(Clone, Debug)]
pub struct CalibratedCost {
    rows: RowPrices,
    /// Experts by number of tokens, all of them different.
    experts_alone: Memo<f64>,
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
    attention_tile: Option<u32>,
    recurrence_eff: f64,
    experts: Option<Experts>,
    window: Option<u32>,
    launch_device: f64,
    host_step: f64,
    host_per_seq: f64,
    /// Seconds to launch all kernels of a step without graphs.
    launch_eager: f64,
    launch_graph: f64,
    kernels: f64,
    options: CostOptions,
    captured: Vec<u32>,
    tables: Tables,
    exchanges: Exchanges,
    /// Data-parallel engines that share experts.
    engines: u32,
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
        let path = moe_path(engine, options.moe_path.as_deref())?;
        // No pass computes more rows than a micro-batch.
        let max_rows = options
            .max_num_batched_tokens
            .min(options.micro_batch.unwrap_or(u32::MAX))
            .max(1);
        let tables = Tables::new(model, device);
        let sums = OpSums::of(model, stream * engine.attention_stream.value);
        let experts = match sums.experts {
            None => None,
            Some((e, groups)) => {
                let p = popularity(&options.routing, e.of, e.top_k)?;
                let rows = max_rows.saturating_mul(e.engines);
                Some(Experts {
                    roofline_power: engine.roofline_power,
                    own_tiles: !engine.dense_tiles.is_empty(),
                    distinct: Memo::upto(rows),
                    popularity: p,
                    load: Load::new(e.of, model.parallel().expert_ranks()),
                    top_k: f64::from(e.top_k),
                    path: path.clone(),
                    groups,
                    stream,
                    gemm: device.gemm_f16.clone(),
                    num: f64::from(e.of),
                })
            }
        };
        Ok(Self {
            rows: RowPrices::new(model, device, engine, max_rows, options.max_num_seqs),
            experts_alone: Memo::upto(max_rows),
            kv_full: sums.kv_full,
            kv_windowed: sums.kv_windowed,
            state: sums.state,
            recurrence_ops: sums.recurrence_ops,
            pair_ops_full: sums.pair_full,
            pair_ops_windowed: sums.pair_windowed,
            attention_curve: device.attention_prefill.clone(),
            attention_eff: engine.attention_compute.value,
            attention_tile: engine.attention_tile,
            recurrence_eff: engine
                .recurrence_compute
                .as_ref()
                .unwrap_or(&engine.attention_compute)
                .value,
            experts,
            window: sums.window,
            launch_device: device.launch.value,
            host_step: engine.host.step.value,
            host_per_seq: engine.host.per_seq.value,
            launch_eager: sums.kernels * engine.host.launch_eager.value
                + sums.expert_layers
                    * (engine.host.launch_experts.as_ref()).map_or(0.0, |q| q.value),
            launch_graph: engine.host.launch_graph.value,
            kernels: sums.kernels,
            captured: captured_sizes(options.max_num_seqs, options.max_num_batched_tokens),
            tables,
            exchanges: Exchanges::new(model, device),
            engines: if model.experts().is_some() {
                model.parallel().data
            } else {
                1
            },
            options,
        })
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

    /// Seconds of the experts for a batch of `tokens`, `distinct` of them different computations.
    fn experts_seconds(&self, tokens: u32, distinct: u32) -> f64 {
        match &self.experts {
            None => 0.0,
            Some(_) if tokens == 0 => 0.0,
            Some(e) => {
                let (touched, busiest) = e.busiest(tokens, distinct);
                self.tables
                    .experts(busiest, touched)
                    .map_or_else(|| e.seconds(tokens, distinct), |s| s.value)
            }
        }
    }

    /// What meets at the experts if all data-parallel engines have a batch like this one: tokens and different ones among
    /// them; and the rows that are exchanged.
    fn alike(&self, shape: &StepShape) -> ((u32, u32), u32) {
        let n = self.engines;
        (
            (shape.tokens() * n, shape.distinct_tokens * n),
            self.padded(shape) * n,
        )
    }

    /// Experts that see `tokens` tokens, `distinct` of them different computations.
    fn experts_of(&self, tokens: u32, distinct: u32) -> f64 {
        // Mostly all are different: one price per number of tokens.
        if distinct >= tokens && tokens <= self.experts_alone.last() {
            let price = || self.experts_seconds(tokens, tokens);
            self.experts_alone.get(tokens, price)
        } else {
            self.experts_seconds(tokens, distinct)
        }
    }

    /// Rows and experts of a step whose `all` tokens, and different ones, meet at the experts, in passes of at most
    /// `micro_batch` tokens, and how many passes that are. Distinct tokens are spread over the passes evenly.
    fn passes(&self, shape: &StepShape, all: (u32, u32)) -> (RowCost, f64, f64) {
        let tokens = shape.tokens();
        match self.options.micro_batch {
            Some(m) if tokens > m => {
                let (full, rest) = (tokens / m, tokens % m);
                let share = |n: u32| {
                    let part = u64::from(shape.distinct_tokens) * u64::from(n);
                    part.div_ceil(tokens.into()) as u32
                };
                let (mut sum, mut experts) = (RowCost::default(), 0.0);
                let mut add = |n: u32, times: f64| {
                    let one = self.rows.tokens(n, &self.tables);
                    sum.dense += times * one.dense;
                    sum.router += times * one.router;
                    sum.elementwise += times * one.elementwise;
                    experts += times * self.experts_of(n, share(n));
                };
                add(m, f64::from(full));
                if rest > 0 {
                    add(rest, 1.0);
                }
                (sum, experts, f64::from(full + u32::from(rest > 0)))
            }
            _ => (
                self.rows.tokens(self.padded(shape), &self.tables),
                self.experts_of(all.0, all.1),
                1.0,
            ),
        }
    }

    /// Decode and prefill attention of a step in `passes` passes.
    fn attention(&self, shape: &StepShape, passes: f64) -> (f64, f64) {
        if let Some((decode, prefill)) = self.tables.attention(shape) {
            return (decode.value, prefill.value);
        }
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
            let queries = at_once.max(1);
            let rate = match self.attention_tile {
                // Whole tiles: a chunk shorter than one costs as much.
                Some(t) => {
                    let whole = queries.div_ceil(t) * t;
                    self.attention_curve.peak() * f64::from(queries) / f64::from(whole)
                }
                None => self.attention_curve.at(f64::from(queries)).y,
            };
            // Each pass reads the keys and values up to its own end: half of them on average, and all before.
            let reads = (1.0 + passes) / 2.0;
            (self.pair_ops_full * shape.prefill_pairs as f64
                + self.pair_ops_windowed * shape.prefill_pairs_windowed as f64)
                / (rate * self.attention_eff)
                + self.recurrence_ops * f64::from(shape.prefill_tokens)
                    / (rate * self.recurrence_eff)
                + (self.kv_full + self.kv_windowed) * shape.prefill_context as f64 * reads
                + self.state * f64::from(shape.prefill_seqs) * passes
        };
        (decode, prefill)
    }

    /// Device seconds by part. `all` is the number of tokens, and of different ones, that meet at the experts: those of all
    /// data-parallel engines; `gathered` the rows that they exchange, padding included.
    fn device_parts(&self, shape: &StepShape, all: (u32, u32), gathered: u32) -> [(Part, f64); 9] {
        let padded = self.padded(shape);
        let (row, experts, passes) = self.passes(shape, all);
        let (decode, prefill) = self.attention(shape, passes);
        let comm = self.exchanges.seconds(padded, gathered, shape.sampled);
        [
            (Part::Comm, comm),
            (Part::Dense, row.dense),
            (Part::Experts, experts),
            (Part::Router, row.router),
            (Part::AttentionDecode, decode),
            (Part::AttentionPrefill, prefill),
            (Part::Elementwise, row.elementwise),
            (Part::LmHead, self.rows.sampled(shape.sampled, &self.tables)),
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
            self.launch_eager
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
        let (all, gathered) = self.alike(shape);
        for (part, seconds) in self.device_parts(shape, all, gathered) {
            b.add(part, seconds);
        }
        let device = b.total();
        b.add(Part::Host, self.whole(shape, device) - device);
        b
    }

    /// Distinct experts per layer that `distinct_tokens` independent tokens touch; `None` for a dense model.
    pub fn distinct_experts(&self, distinct_tokens: u32) -> Option<f64> {
        let e = self.experts.as_ref()?;
        Some(e.touched(distinct_tokens).min(e.num))
    }

    /// Whether a step's price rests on kernel times outside the measured range.
    pub fn outside(&self, shape: &StepShape) -> bool {
        let rows = self.padded(shape);
        let experts = self.experts.as_ref().is_some_and(|e| {
            let ((tokens, distinct), _) = self.alike(shape);
            let (touched, busiest) = e.busiest(tokens, distinct);
            self.tables
                .experts(busiest, touched)
                .is_some_and(|s| s.extrapolated)
        });
        experts || self.tables.outside(shape, rows)
    }

    /// Which operators are priced by kernel times of their own, and which by curves.
    pub fn covered(&self) -> (&[&'static str], &[&'static str]) {
        self.tables.names()
    }
}

impl StepCost for CalibratedCost {
    fn step(&self, shape: &StepShape) -> Span {
        let (all, gathered) = self.alike(shape);
        let parts = self.device_parts(shape, all, gathered);
        let device: f64 = parts.iter().map(|(_, s)| s).sum();
        Span::from_secs(self.whole(shape, device))
    }
    /// Engines that share experts wait for each other in every layer: each is priced with everybody's tokens at the
    /// experts, and the slowest counts. With graphs all are padded to the widest (`coordinate_batch_across_dp`).
    fn lockstep(&self, shapes: &[StepShape]) -> Span {
        let widest = shapes.iter().map(|s| self.padded(s)).max().unwrap_or(0);
        let all = shapes
            .iter()
            .fold((0, 0), |(t, d), s| (t + s.tokens(), d + s.distinct_tokens));
        shapes
            .iter()
            .map(|s| {
                let parts = self.device_parts(s, all, widest * self.engines);
                let device: f64 = parts.iter().map(|(_, s)| s).sum();
                Span::from_secs(self.whole(s, device))
            })
            .max()
            .unwrap_or(Span::ZERO)
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

/// The way in which the experts run: that of the name, or the profile's default.
fn moe_path<'a>(engine: &'a EngineProfile, name: Option<&str>) -> Result<&'a MoePath, CostError> {
    let name = name.unwrap_or(&engine.moe_default);
    engine
        .moe_paths
        .get(name)
        .ok_or_else(|| CostError::UnknownMoePath {
            profile: engine.id.clone(),
            path: name.into(),
            known: engine
                .moe_paths
                .keys()
                .cloned()
                .collect::<Vec<_>>()
                .join(", "),
        })
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

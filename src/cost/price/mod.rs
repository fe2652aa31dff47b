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
//! - every kernel adds the device's launch time, that of a replayed graph where the engine replays one.
//!
//! Where the device profile has curves of kernels of the same kind ([`crate::device::KernelCurves`]), weights stream at their rates,
//! and small kernels and decode attention take their times.
//!
//! Where the device profile holds the times of the engine's own kernels at the model's shapes
//! ([`crate::device::KernelTimes`]), those count instead, without efficiencies. Devices that share the model exchange data
//! over the device's link.
//!
//! What lies in the host's memory is the processor's work, or crosses the bus ([`offload`]).
//!
//! Host time adds to device time, or overlaps with it under async scheduling; launching without graphs runs
//! ahead of the device, so that the slower of the two counts.
mod attention;
mod comm;
mod decode;
mod dense;
mod draft;
mod elementwise;
mod encoder;
mod experts;
mod host;
mod load;
mod memo;
mod near;
mod offload;
mod pipeline;
mod recurrence;
mod rows;
mod stream;
mod tables;

use super::{Breakdown, ImagesAtEnd, Part, Routing, StepCost, StepShape};
use crate::device::{DeviceProfile, EngineProfile};
use crate::model::{Model, Placement};
use crate::units::Span;
use crate::workload::Images;
use attention::AttentionPrice;
use comm::Exchanges;
use decode::DecodeTimes;
pub use draft::DraftOptions;
use draft::DraftPrice;
use encoder::EncoderPrice;
use experts::ExpertsPrice;
use host::HostRule;
use offload::Offload;
use pipeline::Hop;
use recurrence::RecurrencePrice;
use rows::{RowCost, RowPrices};
use tables::Tables;

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
    /// Images of each request.
    pub images: Option<Images>,
    /// Where weights lie.
    pub placement: Placement,
    /// Whether large batches take weights from the host's memory to the device (llama.cpp's `--op-offload`).
    pub op_offload: bool,
    /// What drafts, in speculative decoding.
    pub draft: Option<DraftOptions>,
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

/// The price of a model's steps on a device as an engine runs them: a price for each kind of operator, and the host's rule.
#[derive(Clone, Debug)]
pub struct StepPrice {
    rows: RowPrices,
    experts: Option<ExpertsPrice>,
    attention: AttentionPrice,
    /// Decode attention by its own kernel's times, where the device has them.
    decode: Option<DecodeTimes>,
    recurrence: RecurrencePrice,
    encoder: Option<EncoderPrice>,
    images: Option<ImagesAtEnd>,
    comm: Exchanges,
    host: HostRule,
    /// What lies in the host's memory.
    offload: Option<Offload>,
    /// Kernel times of the model's own shapes, which count before all curves.
    tables: Tables,
    /// See [`CostOptions::micro_batch`].
    micro_batch: Option<u32>,
    /// Data-parallel engines that share experts.
    engines: u32,
    /// The stages of a pipeline behind this one; none without a pipeline.
    later: Vec<StepPrice>,
    /// From one stage to the next.
    hop: Option<Hop>,
    /// What drafts.
    draft: Option<Box<DraftPrice>>,
    /// Whether it drafts itself: then no output is needed of the rows whose tokens are known.
    drafter: bool,
}

impl CostOptions {
    /// Rows of the output head in a step at most.
    fn max_outputs(&self) -> u32 {
        let rows = self.draft.as_ref().map_or(1, |d| 1 + d.computed);
        self.max_num_seqs.saturating_mul(rows)
    }
}

impl StepPrice {
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
        // No pass computes more rows than a micro-batch.
        let max_rows = options
            .max_num_batched_tokens
            .min(options.micro_batch.unwrap_or(u32::MAX))
            .max(1);
        let placed;
        let (model, offload) = match options.placement {
            Placement::Device => (model, None),
            _ => {
                placed = model.placed(&options.placement);
                let offload = Offload::new(&placed, device, engine, &options)?;
                (&placed.device, offload)
            }
        };
        Ok(Self {
            draft: DraftPrice::new(device, engine, &options)?.map(Box::new),
            drafter: false,
            offload,
            experts: ExpertsPrice::new(model, device, engine, &options, max_rows)?,
            rows: RowPrices::new(model, device, engine, max_rows, options.max_outputs()),
            attention: AttentionPrice::new(model, device, engine),
            decode: DecodeTimes::new(model, device, engine),
            recurrence: RecurrencePrice::new(model, device, engine),
            encoder: EncoderPrice::new(model, device, engine, options.images.as_ref()),
            images: options
                .images
                .as_ref()
                .map(|i| encoder::at_end(i, model, options.max_num_batched_tokens)),
            comm: Exchanges::new(model, device),
            host: HostRule::new(model, device, engine, &options),
            tables: Tables::new(model, device, engine),
            micro_batch: options.micro_batch,
            engines: match model.experts() {
                Some(_) => model.parallel().data,
                None => 1,
            },
            later: vec![],
            hop: None,
        })
    }

    /// Number of tokens that the dense kernels run with: padded to a captured graph size where one is used.
    fn padded(&self, shape: &StepShape) -> u32 {
        let n = shape.tokens();
        match self.micro_batch {
            Some(_) => n,
            None => self.host.graph(n).unwrap_or(n),
        }
    }

    /// Seconds of the experts for a batch of `tokens`, `distinct` of them different computations.
    fn experts_of(&self, tokens: u32, distinct: u32) -> f64 {
        let price = self.experts.as_ref();
        price.map_or(0.0, |e| e.seconds(tokens, distinct, &self.tables))
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

    /// Rows and experts of a step whose `all` tokens, and different ones, meet at the experts, in passes of at most
    /// `micro_batch` tokens, and how many passes that are. Distinct tokens are spread over the passes evenly.
    fn passes(&self, shape: &StepShape, all: (u32, u32)) -> (RowCost, f64, f64) {
        let tokens = shape.tokens();
        match self.micro_batch {
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
        let table = self.tables.attention(shape);
        let decode = match (table, &self.decode) {
            (Some((decode, _, _)), _) => decode,
            (None, Some(times)) => times.seconds(shape),
            (None, None) => self.attention.decode(shape),
        };
        // Kernels' times are those of one query of each sequence.
        let decode = match shape.verified {
            0 => decode,
            _ => decode.max(self.attention.arithmetic(shape)),
        } + self.recurrence.decode(shape);
        if shape.prefill_seqs == 0 {
            return (decode, 0.0);
        }
        let at_once = self
            .micro_batch
            .map_or(shape.prefill_tokens, |m| shape.prefill_tokens.min(m));
        let rate = self.attention.rate(at_once.max(1));
        let attention = table.map_or_else(
            || {
                self.attention.prefill_compute(shape, rate)
                    + self.attention.prefill_stream(shape, passes)
            },
            |(_, p, _)| p,
        );
        let recurrence = self.recurrence.prefill_compute(shape, rate)
            + self.recurrence.prefill_states(shape, passes);
        (decode, attention + recurrence)
    }

    /// Rows of the output head: of each sequence that samples, and of each draft that is verified.
    fn outputs(&self, shape: &StepShape) -> u32 {
        match self.drafter {
            true => shape.sampled,
            false => shape.sampled + shape.verified,
        }
    }

    /// Seconds from the device's part of a step to the whole of it, the host's part of drafting included.
    fn whole(&self, shape: &StepShape, device: f64) -> f64 {
        let (host, launch) = self.draft.as_ref().map_or((0.0, 0.0), |d| d.host(shape));
        self.host.whole(shape, device, host, launch)
    }

    /// Device seconds by part. `all` is the number of tokens, and of different ones, that meet at the experts: those of all
    /// data-parallel engines; `gathered` the rows that they exchange, padding included.
    fn device_parts(&self, shape: &StepShape, all: (u32, u32), gathered: u32) -> [(Part, f64); 11] {
        let padded = self.padded(shape);
        let (row, experts, passes) = self.passes(shape, all);
        let (decode, prefill) = self.attention(shape, passes);
        let outputs = self.outputs(shape);
        let comm = self.comm.seconds(padded, gathered, outputs);
        [
            (Part::Comm, comm),
            (Part::Dense, row.dense),
            (Part::Experts, experts),
            (Part::Router, row.router),
            (Part::AttentionDecode, decode),
            (Part::AttentionPrefill, prefill),
            (Part::Elementwise, row.elementwise),
            (Part::LmHead, self.rows.sampled(outputs, &self.tables)),
            (Part::Launch, self.host.starts(shape, passes)),
            (
                Part::Encoder,
                self.encoder
                    .as_ref()
                    .map_or(0.0, |e| e.seconds(shape.images)),
            ),
            (
                Part::Draft,
                self.draft.as_ref().map_or(0.0, |d| d.seconds(shape)),
            ),
        ]
    }

    /// Seconds of a step on the device and of what lies in the host's memory.
    fn seconds(&self, shape: &StepShape, all: (u32, u32), gathered: u32) -> f64 {
        let parts = self.device_parts(shape, all, gathered);
        let device: f64 = parts.iter().map(|(_, s)| s).sum();
        match &self.offload {
            Some(o) => {
                device
                    + o.parts(shape, all, gathered)
                        .iter()
                        .map(|p| p.1)
                        .sum::<f64>()
            }
            None => device,
        }
    }

    /// What the step's time is made of; sums to [`StepCost::step`] (to the rounding of a nanosecond).
    pub fn breakdown(&self, shape: &StepShape) -> Breakdown {
        let mut b = self.breakdown_here(shape);
        for (stage, to) in self.later.iter().zip(1..) {
            b.merge(&stage.breakdown_here(shape));
            let hop = self.hop(to, std::slice::from_ref(shape));
            b.add(Part::Comm, hop.secs());
        }
        b
    }

    fn breakdown_here(&self, shape: &StepShape) -> Breakdown {
        let mut b = Breakdown::default();
        let (all, gathered) = self.alike(shape);
        for (part, seconds) in self.device_parts(shape, all, gathered) {
            b.add(part, seconds);
        }
        if let Some(o) = &self.offload {
            for (part, seconds) in o.parts(shape, all, gathered) {
                b.add(part, seconds);
            }
        }
        let device = b.total();
        b.add(Part::Host, self.whole(shape, device) - device);
        b
    }

    /// Distinct experts per layer that `distinct_tokens` independent tokens touch; `None` for a dense model.
    pub fn distinct_experts(&self, distinct_tokens: u32) -> Option<f64> {
        let here = match (&self.experts, &self.offload) {
            (Some(e), _) => Some(e.distinct(distinct_tokens)),
            (None, Some(o)) => o.distinct_experts(distinct_tokens),
            (None, None) => None,
        };
        let mut later = self.later.iter();
        here.or_else(|| later.find_map(|s| s.distinct_experts(distinct_tokens)))
    }

    /// Whether a step's price rests on kernel times outside the measured range.
    pub fn outside(&self, shape: &StepShape) -> bool {
        let rows = self.padded(shape);
        let experts = self.experts.as_ref().is_some_and(|e| {
            let ((tokens, distinct), _) = self.alike(shape);
            e.outside(tokens, distinct, &self.tables)
        });
        experts || self.tables.outside(shape, rows) || self.later.iter().any(|s| s.outside(shape))
    }

    /// Which operators are priced by kernel times of their own, and which by curves.
    pub fn covered(&self) -> (&[&'static str], &[&'static str]) {
        self.tables.names()
    }
}

impl StepPrice {
    fn step_here(&self, shape: &StepShape) -> Span {
        let (all, gathered) = self.alike(shape);
        let device = self.seconds(shape, all, gathered);
        Span::from_secs(self.whole(shape, device))
    }

    /// Engines that share experts wait for each other in every layer: each is priced with the tokens of all engines at the
    /// experts, and the slowest counts. With graphs all are padded to the widest (`coordinate_batch_across_dp`).
    fn lockstep_here(&self, shapes: &[StepShape]) -> Span {
        let widest = shapes.iter().map(|s| self.padded(s)).max().unwrap_or(0);
        let all = shapes
            .iter()
            .fold((0, 0), |(t, d), s| (t + s.tokens(), d + s.distinct_tokens));
        shapes
            .iter()
            .map(|s| {
                let device = self.seconds(s, all, widest * self.engines);
                Span::from_secs(self.whole(s, device))
            })
            .max()
            .unwrap_or(Span::ZERO)
    }
}

impl StepCost for StepPrice {
    /// Of a pipeline: through all stages, one after the other.
    fn step(&self, shape: &StepShape) -> Span {
        let one = std::slice::from_ref(shape);
        let stage = |(s, to): (&Self, usize)| s.step_here(shape) + self.hop(to, one);
        let later = self.later.iter().zip(1..).map(stage);
        later.fold(self.step_here(shape), |sum, s| sum + s)
    }
    fn lockstep(&self, shapes: &[StepShape]) -> Span {
        let stage = |(s, to): (&Self, usize)| s.lockstep_here(shapes) + self.hop(to, shapes);
        let later = self.later.iter().zip(1..).map(stage);
        later.fold(self.lockstep_here(shapes), |sum, s| sum + s)
    }
    fn stage(&self, stage: usize, shapes: &[StepShape], lockstep: bool) -> Span {
        let at = match stage.checked_sub(1) {
            Some(i) => &self.later[i],
            None => self,
        };
        match shapes {
            [one] if !lockstep => at.step_here(one),
            all => at.lockstep_here(all),
        }
    }
    fn hop(&self, to: usize, shapes: &[StepShape]) -> Span {
        let hop = self.hop.as_ref();
        // Ranks send at the same time; the widest batch takes longest.
        let rows = shapes.iter().map(|s| self.padded(s)).max();
        hop.map_or(Span::ZERO, |h| {
            Span::from_secs(h.seconds(to, rows.unwrap_or(0)))
        })
    }
    fn attention_window(&self) -> Option<u32> {
        let there = self.offload.as_ref().and_then(Offload::attention_window);
        let later = self.later.iter().filter_map(|s| s.attention_window());
        let here = self.attention.window.into_iter().chain(there);
        here.chain(later).min()
    }
    fn wants_distinct_tokens(&self) -> bool {
        let there = self.offload.as_ref();
        self.experts.is_some()
            || there.is_some_and(Offload::has_experts)
            || self.later.iter().any(|s| s.wants_distinct_tokens())
    }
    fn images(&self) -> Option<ImagesAtEnd> {
        self.images
    }
}

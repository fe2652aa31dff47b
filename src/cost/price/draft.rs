//! The drafter of speculative decoding: passes that follow every step of the model.
//!
//! In vLLM a drafter's first pass computes every row of the step, drafts that were wrong included, and each further pass a row of each
//! sequence, prompts' included (`v1/spec_decode/eagle.py: propose`, 0.32.0, with the padded batch that is the default); SGLang's extends
//! and drafts in as many passes (`speculative/eagle_worker.py`). A drafter that fills a block computes all its rows in one pass. llama.cpp
//! drafts likewise, with one token of each slot in a pass.
use super::{CostError, CostOptions, StepPrice};
use crate::cost::StepShape;
use crate::device::{DeviceProfile, EngineProfile};
use crate::model::Model;
use crate::units::Span;

/// Seconds that the host looks through a token of context for an n-gram: assumed, a comparison and a step of the Knuth-Morris-Pratt table
/// at a few nanoseconds (`v1/spec_decode/ngram_proposer.py`, 0.32.0, compiled by Numba).
const NGRAM_PER_TOKEN: Span = Span(2);

/// What drafts, as far as prices go.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftOptions {
    /// One device's part of the drafter; `None`: the host looks for n-grams.
    pub model: Option<Model>,
    /// Passes that follow a step.
    pub passes: u32,
    /// Drafts that a step of the model verifies.
    pub computed: u32,
    /// Sequences that go on in each pass but the first, of each request.
    pub branches: u32,
    /// Whether one pass computes a row for each draft.
    pub block: bool,
}

/// A drafter's passes.
#[derive(Clone, Debug)]
pub struct DraftPrice {
    pass: Option<StepPrice>,
    options: DraftOptions,
}

impl DraftPrice {
    /// The drafter of `options`, if there is one.
    pub fn new(
        device: &DeviceProfile,
        engine: &EngineProfile,
        options: &CostOptions,
    ) -> Result<Option<Self>, CostError> {
        let Some(draft) = &options.draft else {
            return Ok(None);
        };
        let own = CostOptions {
            draft: None,
            images: None,
            placement: crate::model::Placement::Device,
            ..options.clone()
        };
        let of = |model: &Model| {
            let mut price = StepPrice::new(model, device, engine, own)?;
            price.drafter = true;
            Ok(price)
        };
        Ok(Some(Self {
            pass: draft.model.as_ref().map(of).transpose()?,
            options: draft.clone(),
        }))
    }

    /// The first pass after a step, and each further one with their number.
    fn passes(&self, shape: &StepShape) -> (StepShape, StepShape, f64) {
        let (seqs, d) = (shape.seqs(), &self.options);
        let mut first = *shape;
        first.sampled = seqs;
        first.images = 0;
        if d.block {
            // A row for each draft beside those of the step.
            let rows = seqs * d.computed;
            first.verified += rows;
            first.sampled = rows;
            first.distinct_tokens += rows;
        }
        let rows = seqs * d.branches.max(1);
        let next = StepShape {
            decode_seqs: rows,
            decode_context: (shape.decode_context + shape.prefill_context)
                * u64::from(d.branches.max(1)),
            decode_context_windowed: (shape.decode_context_windowed + shape.prefill_context)
                * u64::from(d.branches.max(1)),
            sampled: rows,
            distinct_tokens: rows.min(shape.distinct_tokens.saturating_mul(d.branches.max(1))),
            ..StepShape::default()
        };
        (first, next, f64::from(d.passes.saturating_sub(1)))
    }

    /// Seconds on the device after a step.
    pub fn seconds(&self, shape: &StepShape) -> f64 {
        let Some(pass) = self.pass.as_ref().filter(|_| self.options.passes > 0) else {
            return 0.0;
        };
        let (first, next, more) = self.passes(shape);
        let of = |s: &StepShape| {
            let (all, gathered) = pass.alike(s);
            pass.seconds(s, all, gathered)
        };
        of(&first) + if more > 0.0 { more * of(&next) } else { 0.0 }
    }

    /// Seconds that drafting adds to the host's own work, and to launches.
    pub fn host(&self, shape: &StepShape) -> (f64, f64) {
        match &self.pass {
            Some(pass) if self.options.passes > 0 => {
                let (first, next, more) = self.passes(shape);
                let of = |s: &StepShape| pass.host.launch(s.tokens());
                (
                    0.0,
                    of(&first) + if more > 0.0 { more * of(&next) } else { 0.0 },
                )
            }
            Some(_) => (0.0, 0.0),
            None => {
                let context = shape.decode_context + shape.prefill_context;
                (NGRAM_PER_TOKEN.secs() * context as f64, 0.0)
            }
        }
    }
}

//! What the engine tells whoever watches. Watching changes nothing.
use super::Moves;
use crate::cost::StepShape;
use crate::units::{SimTime, Span};
use crate::workload::RequestId;

/// Why a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The answer's end-of-sequence token.
    Stop,
    /// `max_tokens` or `max_model_len`.
    Length,
    /// The client gave up.
    Abort,
}

/// Everything known of a request once it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// Its number.
    pub id: RequestId,
    /// When it reached the engine.
    pub arrival: SimTime,
    /// When it was first scheduled (start of that step).
    pub scheduled: SimTime,
    /// When its first output token was there.
    pub first_token: SimTime,
    /// When its last output token was there.
    pub finish: SimTime,
    /// Prompt length in tokens.
    pub prompt_tokens: u32,
    /// Output tokens delivered.
    pub output_tokens: u32,
    /// Prompt tokens found in the prefix cache at first admission.
    pub cached_tokens: u32,
    /// How often it was preempted.
    pub preemptions: u32,
    /// Why it ended.
    pub reason: FinishReason,
}

/// One engine step, after the fact.
#[derive(Clone, Copy, Debug)]
pub struct StepRecord {
    /// When it began.
    pub start: SimTime,
    /// How long it took.
    pub duration: Span,
    /// What it computed.
    pub shape: StepShape,
    /// Requests in the running list during the step.
    pub running: u32,
    /// Requests waiting during the step.
    pub waiting: u32,
    /// Requests preempted by this step's scheduling.
    pub preempted: u32,
    /// KV blocks not in use during the step, reusable cached ones included.
    pub free_blocks: u64,
}

/// Watches a simulation. All methods default to doing nothing.
pub trait Observer {
    /// Whether nobody wants the rest of the simulation: it ends with [`SimError::Stopped`](super::SimError::Stopped). Asked
    /// before every step.
    fn stop(&self) -> bool {
        false
    }
    /// A request entered the waiting queue. Reported when the engine next looks: by the next
    /// [`on_schedule`](Self::on_schedule) at or after `at`, perhaps after a step that ended later.
    fn on_arrival(&mut self, _id: RequestId, _at: SimTime) {}
    /// A request was refused at `at`: prompt and output exceed `max_model_len` or the KV cache. It has no
    /// [`on_arrival`](Self::on_arrival) and no [`on_request`](Self::on_request).
    fn on_refused(&mut self, _id: RequestId, _at: SimTime) {}
    /// The scheduler decided at `at` who is admitted, resumed and preempted; perhaps nobody, and perhaps no batch
    /// came of it. All arrivals up to `at` were reported.
    fn on_schedule(&mut self, _at: SimTime, _moves: &Moves) {}
    /// Whether [`on_batch`](Self::on_batch) is wanted: it costs a walk over the running list in every step.
    fn wants_batches(&self) -> bool {
        false
    }
    /// Who gets a token with the output of the batch just formed, unless it ends before. Batches are reported in
    /// the order in which [`on_step`](Self::on_step) reports their ends; one may be formed before the last ended.
    fn on_batch(&mut self, _receivers: &[RequestId]) {}
    /// A step ended.
    fn on_step(&mut self, _step: &StepRecord) {}
    /// `count` sequences received a token `gap` after their previous one (inter-token latencies, pooled).
    fn on_tokens(&mut self, _gap: Span, _count: u32) {}
    /// A request ended.
    fn on_request(&mut self, _request: &RequestRecord) {}
}

/// Nobody watches.
impl Observer for () {}

/// Perhaps somebody watches.
impl<O: Observer> Observer for Option<O> {
    fn stop(&self) -> bool {
        self.as_ref().is_some_and(O::stop)
    }
    fn on_arrival(&mut self, id: RequestId, at: SimTime) {
        if let Some(o) = self {
            o.on_arrival(id, at)
        }
    }
    fn on_refused(&mut self, id: RequestId, at: SimTime) {
        if let Some(o) = self {
            o.on_refused(id, at)
        }
    }
    fn on_schedule(&mut self, at: SimTime, moves: &Moves) {
        if let Some(o) = self {
            o.on_schedule(at, moves)
        }
    }
    fn wants_batches(&self) -> bool {
        self.as_ref().is_some_and(O::wants_batches)
    }
    fn on_batch(&mut self, receivers: &[RequestId]) {
        if let Some(o) = self {
            o.on_batch(receivers)
        }
    }
    fn on_step(&mut self, step: &StepRecord) {
        if let Some(o) = self {
            o.on_step(step)
        }
    }
    fn on_tokens(&mut self, gap: Span, count: u32) {
        if let Some(o) = self {
            o.on_tokens(gap, count)
        }
    }
    fn on_request(&mut self, request: &RequestRecord) {
        if let Some(o) = self {
            o.on_request(request)
        }
    }
}

//! What a simulation tells its observers. Watching changes nothing.
use super::Step;
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
    /// The client ended it early.
    Abort,
}

/// Everything known of a request once it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// Its number.
    pub id: RequestId,
    /// When it was sent; without a front end when it reached the engine.
    pub arrival: SimTime,
    /// When it reached the engine.
    pub received: SimTime,
    /// When it was first scheduled (start of that step).
    pub scheduled: SimTime,
    /// When the engine had its first output token.
    pub first_made: SimTime,
    /// When its first output token was there, at the client where there is a front end.
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
    /// When it began; of a pipeline: on its last stage.
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
    /// Whether the rest of the simulation is not wanted: it ends with [`SimError::Stopped`](super::SimError::Stopped). Asked
    /// before every step.
    fn stop(&self) -> bool {
        false
    }
    /// What follows is of this replica. Told only where there are several engines behind one router that does not belong to them.
    fn on_replica(&mut self, _at: super::fleet::At) {}
    /// A request entered the waiting queue. Reported when the engine next looks: by the next
    /// [`on_schedule`](Self::on_schedule) at or after `at`, perhaps after a step that ended later.
    fn on_arrival(&mut self, _id: RequestId, _at: SimTime) {}
    /// A request was refused at `at`: prompt and output exceed `max_model_len` or the KV cache. It has no
    /// [`on_arrival`](Self::on_arrival) and no [`on_request`](Self::on_request).
    fn on_refused(&mut self, _id: RequestId, _at: SimTime) {}
    /// A scheduler decided at `at` which requests are admitted, resumed and preempted; there may be none, and no batch
    /// either. All arrivals up to `at` were reported.
    fn on_schedule(&mut self, _at: SimTime, _step: &Step<'_>) {}
    /// A step ended.
    fn on_step(&mut self, _step: &StepRecord) {}
    /// Whether [`on_output`](Self::on_output) is wanted: it costs a walk over the running list in every step. Asked once, at the
    /// start.
    fn wants_output(&self) -> bool {
        false
    }
    /// These requests got a token at `at`, the end of the step that [`on_step`](Self::on_step) reported last. With several
    /// engines there is a call for each that took part.
    fn on_output(&mut self, _at: SimTime, _tokens: &[RequestId]) {}
    /// `count` sequences received a token `gap` after their previous one (inter-token latencies, pooled).
    fn on_tokens(&mut self, _gap: Span, _count: u32) {}
    /// A request ended.
    fn on_request(&mut self, _request: &RequestRecord) {}
}

/// No observer.
impl Observer for () {}

/// An optional observer.
impl<O: Observer> Observer for Option<O> {
    fn stop(&self) -> bool {
        self.as_ref().is_some_and(O::stop)
    }
    fn on_replica(&mut self, at: super::fleet::At) {
        if let Some(o) = self {
            o.on_replica(at)
        }
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
    fn on_schedule(&mut self, at: SimTime, step: &Step<'_>) {
        if let Some(o) = self {
            o.on_schedule(at, step)
        }
    }
    fn on_step(&mut self, step: &StepRecord) {
        if let Some(o) = self {
            o.on_step(step)
        }
    }
    fn wants_output(&self) -> bool {
        self.as_ref().is_some_and(O::wants_output)
    }
    fn on_output(&mut self, at: SimTime, tokens: &[RequestId]) {
        if let Some(o) = self {
            o.on_output(at, tokens)
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

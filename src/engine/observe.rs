//! What the engine tells whoever watches. Watching changes nothing.
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
    /// A step ended.
    fn on_step(&mut self, _step: &StepRecord) {}
    /// `count` sequences received a token `gap` after their previous one (inter-token latencies, pooled).
    fn on_tokens(&mut self, _gap: Span, _count: u32) {}
    /// A request ended.
    fn on_request(&mut self, _request: &RequestRecord) {}
}

/// Nobody watches.
impl Observer for () {}

//! A request inside the scheduler.
use super::kv::BlockTable;
use crate::engine::content::BlockHashes;
use crate::units::SimTime;
use crate::workload::Request;

/// Index of a request's slot.
pub type Slot = u32;

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// In the waiting queue, never admitted.
    Waiting,
    /// In the waiting queue, preempted before.
    Preempted,
    /// In the running list.
    Running,
}

/// What a decoding request looked like when the engine stopped updating it step by step (see `lanes.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Batch in which it was scheduled last before it joined: its computed tokens were `State::num_computed_tokens` after it.
    pub joined: u64,
    /// First batch whose output gives it a token not yet counted in `State::num_tokens`.
    pub first_out: u64,
    /// Batch whose output ends it.
    pub end: u64,
    /// Whether that is also where a length limit ends it, which the scheduler can foresee; a stop token it cannot.
    pub foreseen: bool,
    /// Position less batch number, for lockstep groups and context sums.
    pub offset: i64,
    /// Its lockstep group.
    pub key: u64,
}

/// A request and its state. Between two steps of a decode, `num_computed_tokens` and `num_tokens` are those of the time at
/// which it joined its lane; [`super::Scheduler`] adds the steps since.
#[derive(Clone, Debug)]
pub struct State {
    pub request: Request,
    /// Told apart from earlier users of the slot.
    pub generation: u32,
    pub status: Status,
    /// Number of the admission; the running list is in this order.
    pub seq: u64,
    /// Tokens whose KV is computed or scheduled.
    pub num_computed_tokens: u32,
    /// Prompt and outputs received.
    pub num_tokens: u32,
    /// Outputs scheduled, not received (async only).
    pub num_output_placeholders: u32,
    /// Outputs of a preempted request still in flight (0.27 on).
    pub num_stale_output_tokens: u32,
    /// The first step in which a pipeline that schedules asynchronously may take it again.
    pub next_eligible_step: u64,
    /// Drafts that wait to be verified (vLLM's `spec_token_ids`).
    pub drafts: u32,
    /// Verifications so far.
    pub verifications: u32,
    /// Tokens whose KV came from another engine, and blocks withheld for them; until it is admitted.
    pub transferred: u32,
    pub withheld: u32,
    pub lane: Option<Lane>,
    pub blocks: BlockTable,
    /// Blocks held, also where their identities are not tracked.
    pub num_blocks: u32,
    /// How many of them are registered.
    pub registered: u32,
    /// Of full blocks, as far as they were needed.
    pub hashes: BlockHashes,
    /// Identity of prompt and answer.
    pub content: u64,
    // For the record.
    pub scheduled: Option<SimTime>,
    pub first_token: Option<SimTime>,
    pub last_token: SimTime,
    pub cached_tokens: u32,
    pub preemptions: u32,
}

impl State {
    /// A request that waits. `generation` tells it apart from earlier users of its slot; `content` identifies its text.
    #[inline]
    pub fn new(request: Request, generation: u32, content: u64) -> Self {
        Self {
            generation,
            status: Status::Waiting,
            seq: 0,
            num_computed_tokens: 0,
            num_tokens: request.prompt.len(),
            num_output_placeholders: 0,
            num_stale_output_tokens: 0,
            next_eligible_step: 0,
            drafts: 0,
            verifications: 0,
            transferred: 0,
            withheld: 0,
            lane: None,
            blocks: vec![],
            num_blocks: 0,
            registered: 0,
            hashes: BlockHashes::default(),
            content,
            scheduled: None,
            first_token: None,
            last_token: SimTime::ZERO,
            cached_tokens: 0,
            preemptions: 0,
            request,
        }
    }

    /// The total length at which a length limit ends the request: all that the scheduler can foresee.
    pub fn length_limit(&self, max_model_len: u32) -> u32 {
        let p = self.request.prompt.len();
        p.saturating_add(self.request.max_tokens)
            .min(max_model_len)
            .max(p + 1)
    }

    /// The total length at which the request ends, and whether a length limit is the reason: what really
    /// happens, which the scheduler must not look at.
    pub fn true_end(&self, max_model_len: u32) -> (u32, bool) {
        let p = self.request.prompt.len();
        let limit = self.length_limit(max_model_len);
        match self.request.answer.stop_at {
            // At the limit itself vLLM looks at the stop token first, then at the length.
            Some(k) if p.saturating_add(k).saturating_add(1) <= limit => (p + k + 1, false),
            _ => (limit, true),
        }
    }
}

//! What engines share that walk their whole batch in every step: requests, shapes, records. No lanes, no block identities:
//! written for clarity, and fast enough for batches of some hundred.
use super::content::request_hash;
use super::observe::{FinishReason, RequestRecord};
use super::{EngineConfig, Moves, PrefixCounters, SubmitError};
use crate::cost::StepShape;
use crate::units::{SimTime, Span};
use crate::workload::{Request, RequestId};
use std::collections::BTreeSet;

/// A configuration with one batch in flight at a time: these engines decide from what the last one brought. SGLang's
/// overlap of host and device is the price's business.
pub fn one_in_flight(config: EngineConfig) -> EngineConfig {
    EngineConfig {
        async_scheduling: false,
        ..config
    }
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Walked {
    pub request: Request,
    /// Identity of its content, for requests in lockstep.
    hash: u64,
    /// Tokens whose KV is there.
    pub computed: u32,
    /// Output tokens delivered.
    pub outputs: u32,
    /// Output tokens after which it ends, and whether by length.
    last: (u32, bool),
    scheduled: Option<SimTime>,
    first_token: Option<SimTime>,
    last_token: SimTime,
    pub cached: u32,
    /// Tokens that it shares with the cache now.
    pub shared: u32,
    pub preemptions: u32,
}

impl Walked {
    pub fn new(request: Request, max_model_len: u32) -> Self {
        let room = max_model_len.saturating_sub(request.prompt.len());
        let limit = request.max_tokens.min(room).max(1);
        let last = match request.answer.stop_at {
            Some(k) if k < limit => (k + 1, false),
            _ => (limit, true),
        };
        Self {
            hash: request_hash(&request.prompt, &request.answer),
            request,
            computed: 0,
            outputs: 0,
            last,
            scheduled: None,
            first_token: None,
            last_token: SimTime::ZERO,
            cached: 0,
            shared: 0,
            preemptions: 0,
        }
    }
    /// Tokens that are known: prompt and outputs.
    pub fn known(&self) -> u32 {
        self.request.prompt.len() + self.outputs
    }
    /// Whether its next token follows from the last one alone.
    pub fn decodes(&self) -> bool {
        self.outputs > 0 && self.computed + 1 == self.known()
    }
    /// Known tokens still to compute.
    pub fn left(&self) -> u32 {
        self.known() - self.computed
    }
}

/// One request's part of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Where the engine keeps it.
    pub at: usize,
    pub tokens: u32,
    pub sampled: bool,
}

/// The state that all such engines keep beside their queues.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub config: EngineConfig,
    pub window: Option<u32>,
    pub distinct: bool,
    pub shape: StepShape,
    pub batch: Option<Vec<Part>>,
    pub receivers: Vec<RequestId>,
    /// Who got a token with the last output.
    pub tokens: Vec<RequestId>,
    pub counters: PrefixCounters,
    pub moves: Moves,
    pub records: Vec<RequestRecord>,
    pub gaps: Vec<(Span, u32)>,
    seen: BTreeSet<(u64, u32, u32)>,
}

impl Ledger {
    /// A request that may wait: one with a prompt that the context holds, and something to answer.
    pub fn accept(&self, request: Request) -> Result<Walked, SubmitError> {
        if request.prompt.len() == 0 || request.max_tokens == 0 {
            return Err(SubmitError::Empty);
        }
        let max_model_len = self.config.max_model_len;
        if request.prompt.len() >= max_model_len {
            return Err(SubmitError::PromptTooLong {
                prompt: request.prompt.len(),
                max_model_len,
            });
        }
        Ok(Walked::new(request, max_model_len))
    }

    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            window: None,
            distinct: false,
            shape: StepShape::default(),
            batch: None,
            receivers: vec![],
            tokens: vec![],
            counters: PrefixCounters::default(),
            moves: Moves::default(),
            records: vec![],
            gaps: vec![],
            seen: BTreeSet::new(),
        }
    }

    /// A new batch begins.
    pub fn begin(&mut self) -> Vec<Part> {
        self.shape = StepShape::default();
        self.receivers.clear();
        self.seen.clear();
        vec![]
    }

    /// `tokens` more tokens of a request join the batch.
    pub fn join(
        &mut self,
        parts: &mut Vec<Part>,
        at: usize,
        r: &mut Walked,
        tokens: u32,
        now: SimTime,
    ) {
        let (before, after) = (u64::from(r.computed), u64::from(r.computed + tokens));
        let window = self.window.map_or(u64::MAX, u64::from);
        let s = &mut self.shape;
        if r.decodes() {
            s.decode_seqs += 1;
            s.decode_context += after;
            s.decode_context_windowed += after.min(window);
        } else {
            let q = u64::from(tokens);
            s.prefill_seqs += 1;
            s.prefill_tokens += tokens;
            s.prefill_context += after;
            s.prefill_pairs += q * before + q * (q + 1) / 2;
            s.prefill_pairs_windowed += if after <= window {
                q * before + q * (q + 1) / 2
            } else {
                (before + 1..=after).map(|c| c.min(window)).sum()
            };
        }
        let sampled = r.computed + tokens == r.known();
        if sampled {
            s.sampled += 1;
            self.receivers.push(r.request.id);
        }
        if !self.distinct || self.seen.insert((r.hash, r.computed, tokens)) {
            s.distinct_tokens += tokens;
        }
        r.scheduled.get_or_insert(now);
        parts.push(Part {
            at,
            tokens,
            sampled,
        });
    }

    /// Counts a look-up in the cache at admission.
    pub fn looked_up(&mut self, r: &mut Walked, hits: u32) {
        if r.preemptions == 0 {
            self.counters.requests += 1;
            self.counters.queries += u64::from(r.request.prompt.len());
            self.counters.hits += u64::from(hits);
            r.cached = hits;
        } else {
            self.counters.preempted_requests += 1;
            self.counters.preempted_queries += u64::from(r.known());
            self.counters.preempted_hits += u64::from(hits);
        }
    }

    /// The batch in flight, whose output is there now.
    pub fn landed(&mut self) -> Option<Vec<Part>> {
        self.gaps.clear();
        self.tokens.clear();
        self.batch.take()
    }

    /// A request's part is computed; whether it ended.
    pub fn deliver(&mut self, r: &mut Walked, part: Part, now: SimTime) -> bool {
        r.computed += part.tokens;
        if !part.sampled {
            return false;
        }
        r.outputs += 1;
        self.tokens.push(r.request.id);
        match r.first_token {
            None => r.first_token = Some(now),
            Some(_) => self.gaps.push((now.since(r.last_token), 1)),
        }
        r.last_token = now;
        if r.outputs < r.last.0 {
            return false;
        }
        let reason = if r.last.1 {
            FinishReason::Length
        } else {
            FinishReason::Stop
        };
        self.record(r, reason, now);
        true
    }

    fn record(&mut self, r: &Walked, reason: FinishReason, now: SimTime) {
        self.records.push(RequestRecord {
            id: r.request.id,
            arrival: r.request.arrival,
            scheduled: r.scheduled.unwrap_or(now),
            first_token: r.first_token.unwrap_or(now),
            finish: now,
            prompt_tokens: r.request.prompt.len(),
            output_tokens: r.outputs,
            cached_tokens: r.cached,
            preemptions: r.preemptions,
            reason,
        });
    }

    /// A request was given up: the batch in flight has no output for it any more.
    pub fn aborted(&mut self, r: &Walked) {
        let last = r.last_token.max(r.request.arrival);
        self.record(r, FinishReason::Abort, last);
        self.receivers.retain(|id| *id != r.request.id);
    }
}

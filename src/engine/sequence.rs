//! What the engines share that walk their whole batch in every step: requests, shapes, records. No lanes, no block identities:
//! written for clarity, and fast enough for batches of some hundred.
use super::accept::{SubmitError, servable};
use super::content::request_hash;
use super::observe::{FinishReason, RequestRecord};
use super::speculation::{Acceptance, SpeculationCounters};
use super::{Computed, ConfigError, EngineConfig, Output, PrefixCounters, Step, Tracking};
use crate::cost::StepShape;
use crate::units::{SimTime, Span};
use crate::workload::{Request, RequestId};
use std::collections::BTreeSet;

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Sequence {
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
    /// When the last message left.
    last_token: SimTime,
    pub cached: u32,
    /// Tokens that it shares with the cache now.
    pub shared: u32,
    pub preemptions: u32,
    /// Steps that brought output.
    steps: u32,
    /// Verifications of drafts so far.
    verifications: u32,
}

impl Sequence {
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
            steps: 0,
            verifications: 0,
        }
    }
    /// The same request with leading tokens that another engine computed: their KV, and perhaps the first output token.
    pub fn with_computed(mut self, computed: Computed, now: SimTime) -> Self {
        if computed.first {
            self.outputs = 1;
            self.first_token = Some(now);
            self.last_token = now;
        }
        self.computed = computed.tokens.min(self.known() - 1);
        self
    }
    /// It is scheduled for the first time, unless it was before.
    pub fn admitted(&mut self, now: SimTime) {
        self.scheduled.get_or_insert(now);
    }
    /// Output tokens that it may still get: all that is known of its end.
    pub fn room(&self, max_model_len: u32) -> u32 {
        let most = max_model_len.saturating_sub(self.request.prompt.len());
        self.request
            .max_tokens
            .min(most)
            .saturating_sub(self.outputs)
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

    fn record(&self, reason: FinishReason, now: SimTime) -> RequestRecord {
        RequestRecord {
            id: self.request.id,
            arrival: self.request.arrival,
            received: self.request.arrival,
            scheduled: self.scheduled.unwrap_or(now),
            first_made: self.first_token.unwrap_or(now),
            first_token: self.first_token.unwrap_or(now),
            finish: now,
            prompt_tokens: self.request.prompt.len(),
            output_tokens: self.outputs,
            cached_tokens: self.cached,
            preemptions: self.preemptions,
            reason,
        }
    }

    /// The record of a request that ends early.
    pub fn aborted(&self) -> RequestRecord {
        let last = self.last_token.max(self.request.arrival);
        self.record(FinishReason::Abort, last)
    }
}

/// One request's part of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Where the engine keeps it.
    pub at: usize,
    pub tokens: u32,
    pub sampled: bool,
    /// Drafts that are verified beside its tokens.
    pub drafts: u32,
}

/// What all such engines keep beside their queues: the settings, the batch in flight, and what a step or an output lends.
#[derive(Clone, Debug)]
pub struct StepState {
    pub config: EngineConfig,
    tracking: Tracking,
    shape: StepShape,
    /// The batch in flight.
    pub batch: Option<Vec<Part>>,
    pub counters: PrefixCounters,
    pub speculated: SpeculationCounters,
    pub admitted: Vec<RequestId>,
    pub resumed: Vec<RequestId>,
    pub preempted: Vec<RequestId>,
    tokens: Vec<RequestId>,
    gaps: Vec<(Span, u32)>,
    finished: Vec<RequestRecord>,
    seen: BTreeSet<(u64, u32, u32)>,
}

impl StepState {
    /// Nothing in flight. One batch at a time: these engines decide from what the last one brought. SGLang's overlap of host and
    /// device is part of a step's price.
    pub fn new(config: EngineConfig, tracking: Tracking) -> Result<Self, ConfigError> {
        let config = EngineConfig {
            async_scheduling: false,
            ..config
        };
        config.validate()?;
        Ok(Self {
            config,
            tracking,
            shape: StepShape::default(),
            batch: None,
            counters: PrefixCounters::default(),
            speculated: SpeculationCounters::default(),
            admitted: vec![],
            resumed: vec![],
            preempted: vec![],
            tokens: vec![],
            gaps: vec![],
            finished: vec![],
            seen: BTreeSet::new(),
        })
    }

    /// A request that may wait: one with a prompt that the context holds, and something to answer.
    pub fn accept(&self, request: Request) -> Result<Sequence, SubmitError> {
        servable(&self.config, &request)?;
        Ok(Sequence::new(request, self.config.max_model_len))
    }

    /// A call of `schedule` begins.
    pub fn clear_moves(&mut self) {
        self.admitted.clear();
        self.resumed.clear();
        self.preempted.clear();
    }

    /// What the call of `schedule` decided.
    pub fn step(&self) -> Step<'_> {
        Step {
            shape: self.batch.is_some().then_some(&self.shape),
            admitted: &self.admitted,
            resumed: &self.resumed,
            preempted: &self.preempted,
        }
    }

    /// What the call of `complete` delivered.
    pub fn output(&self) -> Output<'_> {
        Output {
            tokens: &self.tokens,
            inter_token_gaps: &self.gaps,
            finished: &self.finished,
        }
    }

    /// A new batch begins.
    pub fn begin(&mut self) -> Vec<Part> {
        self.shape = StepShape::default();
        self.seen.clear();
        vec![]
    }

    /// `tokens` more tokens of a request join the batch.
    pub fn join(
        &mut self,
        parts: &mut Vec<Part>,
        at: usize,
        r: &mut Sequence,
        tokens: u32,
        now: SimTime,
    ) {
        self.join_with(parts, at, r, (tokens, 0), now);
    }

    /// Drafts that a decoding request has in this step.
    pub fn drafts(&self, r: &Sequence) -> u32 {
        let Some(spec) = self.config.speculation.as_ref().filter(|_| r.decodes()) else {
            return 0;
        };
        let some = Acceptance::drafted(spec.key, r.request.id, r.outputs, spec.drafted);
        if some { spec.computed } else { 0 }
    }

    /// As [`join`](Self::join), with drafts to verify beside its tokens.
    pub fn join_with(
        &mut self,
        parts: &mut Vec<Part>,
        at: usize,
        r: &mut Sequence,
        (tokens, drafts): (u32, u32),
        now: SimTime,
    ) {
        let new = tokens + drafts;
        let (before, after) = (u64::from(r.computed), u64::from(r.computed + new));
        let window = self.tracking.window.map_or(u64::MAX, u64::from);
        let s = &mut self.shape;
        if r.decodes() {
            s.decode_seqs += 1;
            s.verified += drafts;
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
        if let Some(images) = &self.tracking.images {
            let prompt = r.request.prompt.len();
            s.images += images.beginning(prompt, r.computed, r.computed + tokens).0;
        }
        let sampled = r.computed + tokens == r.known();
        if sampled {
            s.sampled += 1;
        }
        if !self.tracking.distinct_tokens || self.seen.insert((r.hash, r.computed, new)) {
            s.distinct_tokens += new;
        }
        r.scheduled.get_or_insert(now);
        parts.push(Part {
            at,
            tokens,
            sampled,
            drafts,
        });
    }

    /// Counts a look-up in the cache at admission.
    pub fn looked_up(&mut self, r: &mut Sequence, hits: u32) {
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
        self.finished.clear();
        self.batch.take()
    }

    /// How many of a request's drafts are right.
    fn accepted(&mut self, r: &mut Sequence, drafts: u32) -> u32 {
        let Some(spec) = self.config.speculation.as_ref().filter(|_| drafts > 0) else {
            return 0;
        };
        let (id, most) = (r.request.id, drafts.min(spec.tokens));
        let right = &spec.acceptance;
        let accepted = right.accepted(spec.key, id, r.outputs, r.verifications, most);
        r.verifications += 1;
        self.speculated.observe(drafts, accepted);
        accepted
    }

    /// A request's part is computed; whether it ended.
    pub fn deliver(&mut self, r: &mut Sequence, part: Part, now: SimTime) -> bool {
        let accepted = self.accepted(r, part.drafts);
        r.computed += part.tokens + accepted;
        if !part.sampled {
            return false;
        }
        // Those behind the end are dropped.
        let tokens = (1 + accepted).min(r.last.0 - r.outputs);
        r.steps += 1;
        let (before, after) = match self.config.stream_by_step {
            true => (r.steps - 1, r.steps),
            false => (r.outputs, r.outputs + tokens),
        };
        r.outputs += tokens;
        let ends = r.outputs >= r.last.0;
        if self.tracking.tokens {
            let id = r.request.id;
            self.tokens.extend((0..tokens).map(|_| id));
        }
        let each = self.config.stream_interval;
        match r.first_token {
            None => {
                r.first_token = Some(now);
                r.last_token = now;
            }
            // A message leaves with every so many tokens, and with the last one (`stream_output`, SGLang 0.5.9; TensorRT-LLM counts
            // decoding iterations, `py_executor.py: _handle_responses`, 1.1).
            Some(_) if ends || before / each != after / each => {
                self.gaps.push((now.since(r.last_token), 1));
                r.last_token = now;
            }
            Some(_) => {}
        }
        if !ends {
            return false;
        }
        let reason = if r.last.1 {
            FinishReason::Length
        } else {
            FinishReason::Stop
        };
        self.finished.push(r.record(reason, now));
        true
    }
}

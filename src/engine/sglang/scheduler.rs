//! SGLang's scheduler (`python/sglang/srt/managers/scheduler.py`, `schedule_policy.py: PrefillAdder`, `schedule_batch.py`, v0.5).
//!
//! Where it differs from vLLM:
//!
//! - a step is *either* a prefill batch *or* a decode batch, and prefill goes first;
//! - a prefill batch holds at most `max_num_batched_tokens` tokens; the request that is cut comes first in the next one;
//! - a request is admitted if the tokens that running requests may still need fit: for each, what is left of
//!   `max_new_tokens` (at most 4096) times a ratio that starts at 0.7 and falls to 0.098 within 600 decode steps;
//! - the cache is a radix tree of tokens, least recently used leaves evicted first; a finished request stays in it;
//! - if decoding runs out of tokens, requests with the fewest outputs go back into the queue, and the ratio rises.
//!
//! Not simulated: `lpm` and other policies (first come, first served, as by default), mixed chunks, priorities.
use crate::engine::accept::SubmitError;
use crate::engine::content::common_prefix;
use crate::engine::observe::RequestRecord;
use crate::engine::sequence::{Sequence, StepState};
use crate::engine::speculation::SpeculationCounters;
use crate::engine::{
    Computed, ConfigError, EngineConfig, EngineState, Handover, Output, PrefixCounters,
    PromptHashes, Step, Tracking,
};
use crate::units::SimTime;
use crate::workload::{Request, RequestId};
use std::collections::VecDeque;

/// `CLIP_MAX_NEW_TOKENS_ESTIMATION`.
const CLIP: u32 = 4096;
/// `SGLANG_INIT_NEW_TOKEN_RATIO`, `SGLANG_MIN_NEW_TOKEN_RATIO_FACTOR`, `SGLANG_NEW_TOKEN_RATIO_DECAY_STEPS`.
const RATIO: f64 = 0.7;
const RATIO_MIN: f64 = 0.7 * 0.14;
const RATIO_STEPS: f64 = 600.0;
/// Tokens that a step needs beyond its own before it retracts: `retract_decode` leaves room for 20 steps.
const RETRACT_STEPS: u64 = 20;

/// A sequence in the tree. Its own tokens are those behind what it shares with others.
#[derive(Clone, Debug)]
struct Leaf {
    request: Request,
    tokens: u32,
    /// Tokens that only this leaf holds.
    own: u32,
    used: u64,
}

/// SGLang's scheduler with its radix cache.
#[derive(Clone, Debug)]
pub struct Scheduler {
    step: StepState,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    /// Prefilled in part; first in the next prefill batch.
    cut: Option<Sequence>,
    /// Requests of the prefill batch in flight.
    prefilling: Vec<Sequence>,
    leaves: Vec<Leaf>,
    ratio: f64,
    uses: u64,
    /// Requests whose KV came from another engine, with the tokens that are withheld for each.
    pub(super) arrived: VecDeque<(Sequence, u64)>,
    /// Tokens withheld from requests.
    pub(super) withheld: u64,
}

impl Scheduler {
    /// A scheduler with nothing to do; `num_gpu_blocks` − 1 tokens of KV cache with blocks of 1.
    ///
    /// # Errors
    /// As [`EngineConfig::validate`].
    pub fn new(config: EngineConfig, tracking: Tracking) -> Result<Self, ConfigError> {
        Ok(Self {
            step: StepState::new(config, tracking)?,
            waiting: VecDeque::new(),
            running: vec![],
            cut: None,
            prefilling: vec![],
            leaves: vec![],
            ratio: RATIO,
            uses: 0,
            arrived: VecDeque::new(),
            withheld: 0,
        })
    }

    /// Requests that are admitted.
    fn seats(&self) -> usize {
        self.running.len() + self.prefilling.len() + usize::from(self.cut.is_some())
    }

    fn capacity(&self) -> u64 {
        let c = &self.step.config;
        let all = u64::from(c.num_gpu_blocks - 1) * u64::from(c.block_size);
        all.saturating_sub(self.withheld)
    }

    /// Requests whose KV is there join those that decode (`get_new_prebuilt_batch`).
    fn take_arrived(&mut self, now: SimTime) {
        while self.seats() < self.step.config.max_num_seqs as usize {
            let Some((mut r, withheld)) = self.arrived.pop_front() else {
                break;
            };
            self.withheld -= withheld;
            self.step.admitted.push(r.request.id);
            r.admitted(now);
            self.running.push(r);
        }
    }

    /// Tokens held by requests beyond what the tree already has.
    fn held(&self) -> u64 {
        self.running
            .iter()
            .chain(&self.cut)
            .chain(&self.prefilling)
            .map(|r| u64::from(r.computed.saturating_sub(r.shared)))
            .sum()
    }

    fn kept(&self) -> u64 {
        self.leaves.iter().map(|l| u64::from(l.own)).sum()
    }

    /// The longest beginning of a request that the tree holds.
    fn matched(&mut self, r: &Sequence) -> u32 {
        if !self.step.config.enable_prefix_caching {
            return 0;
        }
        let limit = u64::from(r.known().saturating_sub(1));
        let best = self
            .leaves
            .iter()
            .enumerate()
            .map(|(i, l)| {
                let n = common_prefix(
                    (&l.request.prompt, &l.request.answer),
                    (&r.request.prompt, &r.request.answer),
                );
                (n.min(l.tokens.into()).min(limit), i)
            })
            .max_by_key(|&(n, i)| (n, std::cmp::Reverse(i)));
        match best {
            Some((n, i)) if n > 0 => {
                self.uses += 1;
                self.leaves[i].used = self.uses;
                n as u32
            }
            _ => 0,
        }
    }

    /// Puts a finished or retracted sequence into the tree.
    fn keep(&mut self, r: Sequence) {
        if !self.step.config.enable_prefix_caching {
            return;
        }
        let shared = self
            .leaves
            .iter()
            .map(|l| {
                let n = common_prefix(
                    (&l.request.prompt, &l.request.answer),
                    (&r.request.prompt, &r.request.answer),
                );
                n.min(l.tokens.into()).min(r.computed.into()) as u32
            })
            .max()
            .unwrap_or(0);
        self.uses += 1;
        self.leaves.push(Leaf {
            tokens: r.computed,
            own: r.computed - shared,
            used: self.uses,
            request: r.request,
        });
    }

    /// Makes room for `tokens` by evicting leaves, least recently used first; whether there is room now.
    fn make_room(&mut self, tokens: u64) -> bool {
        loop {
            if self.held() + self.kept() + tokens <= self.capacity() {
                return true;
            }
            let oldest = self
                .leaves
                .iter()
                .enumerate()
                .min_by_key(|(_, l)| l.used)
                .map(|(i, _)| i);
            let Some(i) = oldest else { return false };
            self.leaves.remove(i);
        }
    }

    /// Tokens that running requests may still need.
    fn promised(&self) -> f64 {
        self.running
            .iter()
            .chain(&self.prefilling)
            .map(|r| {
                let left = r.request.max_tokens.saturating_sub(r.outputs).min(CLIP);
                f64::from(left) * self.ratio
            })
            .sum()
    }

    /// The next prefill batch, if anything may be prefilled.
    fn prefill(&mut self, now: SimTime) -> bool {
        let mut parts = self.step.begin();
        let mut budget = self.step.config.max_num_batched_tokens;
        if let Some(mut r) = self.cut.take() {
            let tokens = r.left().min(budget);
            if !self.make_room(tokens.into()) {
                self.cut = Some(r);
                return false;
            }
            budget -= tokens;
            self.step.join(&mut parts, 0, &mut r, tokens, now);
            self.prefilling.push(r);
        }
        while budget > 0 && !self.waiting.is_empty() {
            let seats = self.running.len() + self.prefilling.len();
            if seats >= self.step.config.max_num_seqs as usize {
                break;
            }
            let mut r = self.waiting.pop_front().expect("just seen");
            let hits = self.matched(&r);
            let tokens = (r.known() - hits).min(budget);
            let wanted = u64::from(r.known() - hits)
                + u64::from(r.request.max_tokens.saturating_sub(r.outputs).min(CLIP));
            let taken: u64 = parts.iter().map(|p| u64::from(p.tokens)).sum();
            let free = self.capacity() as f64 - self.held() as f64 - taken as f64 - self.promised();
            // Alone, a request is admitted whatever it may still need.
            let alone = self.running.is_empty() && self.prefilling.is_empty();
            let fits = alone || (wanted as f64) < free;
            if !fits || !self.make_room(taken + u64::from(tokens)) {
                self.waiting.push_front(r);
                break;
            }
            self.step.looked_up(&mut r, hits);
            r.shared = hits;
            r.computed = hits;
            budget -= tokens;
            if r.preemptions == 0 {
                self.step.admitted.push(r.request.id);
            } else {
                self.step.resumed.push(r.request.id);
            }
            let at = self.prefilling.len();
            self.step.join(&mut parts, at, &mut r, tokens, now);
            self.prefilling.push(r);
        }
        if parts.is_empty() {
            return false;
        }
        self.step.batch = Some(parts);
        true
    }

    /// KV slots of the next decode batch: a token of each request, with its drafts and the drafter's own (`prepare_for_decode`).
    fn next_slots(&self) -> u64 {
        let spec = self.step.config.speculation.as_ref();
        let each = 1 + u64::from(spec.map_or(0, |s| s.most_slots()));
        self.running.len() as u64 * each
    }

    /// The next decode batch: every running request, after those that must go back have gone.
    fn decode(&mut self, now: SimTime) {
        let mut retracted = false;
        while !self.running.is_empty() && !self.make_room(self.next_slots()) {
            if self.running.len() == 1 {
                return;
            }
            retracted = true;
            // Fewest outputs first, then the longest prompt (`retract_decode`).
            let i = (0..self.running.len())
                .min_by_key(|&i| {
                    let r = &self.running[i];
                    (r.outputs, std::cmp::Reverse(r.request.prompt.len()))
                })
                .expect("there is one");
            let mut r = self.running.remove(i);
            r.computed = 0;
            r.shared = 0;
            r.preemptions += 1;
            self.step.preempted.push(r.request.id);
            self.waiting.push_front(r);
        }
        if retracted {
            let (mut outputs, mut most) = (0u64, 1u64);
            for r in &self.running {
                outputs += u64::from(r.outputs) + RETRACT_STEPS;
                most += u64::from(r.request.max_tokens);
            }
            self.ratio = (outputs as f64 / most as f64).min(1.0);
        } else {
            self.ratio = (self.ratio - (RATIO - RATIO_MIN) / RATIO_STEPS).max(RATIO_MIN);
        }
        let mut parts = self.step.begin();
        for (i, r) in self.running.iter_mut().enumerate() {
            let (tokens, drafts) = (r.left(), self.step.drafts(r));
            self.step.join_with(&mut parts, i, r, (tokens, drafts), now);
        }
        self.step.batch = (!parts.is_empty()).then_some(parts);
    }
}

impl crate::engine::Scheduler for Scheduler {
    fn config(&self) -> &EngineConfig {
        &self.step.config
    }
    fn submit(&mut self, request: Request) -> Result<(), SubmitError> {
        let request = self.step.accept(request)?;
        self.waiting.push_back(request);
        Ok(())
    }

    /// A request that ends early leaves what it computed in the tree, as others do (`cache_finished_req`).
    fn abort(&mut self, id: RequestId) -> Option<RequestRecord> {
        let is = |r: &Sequence| r.request.id == id;
        let prefills = !self.prefilling.is_empty();
        let gone = if let Some(i) = self.arrived.iter().position(|(r, _)| is(r)) {
            self.arrived.remove(i).map(|(r, withheld)| {
                self.withheld -= withheld;
                r
            })
        } else if let Some(i) = self.waiting.iter().position(is) {
            self.waiting.remove(i)
        } else if let Some(i) = self.prefilling.iter().position(is) {
            if let Some(parts) = &mut self.step.batch {
                parts.remove(i);
            }
            Some(self.prefilling.remove(i))
        } else if let Some(i) = self.running.iter().position(is) {
            if let Some(parts) = self.step.batch.as_mut().filter(|_| !prefills) {
                parts.retain(|p| p.at != i);
                parts
                    .iter_mut()
                    .filter(|p| p.at > i)
                    .for_each(|p| p.at -= 1);
            }
            Some(self.running.remove(i))
        } else {
            self.cut.take_if(|r| is(r))
        };
        let r = gone?;
        let record = r.aborted();
        if r.computed > 0 {
            self.keep(r);
        }
        Some(record)
    }
    fn reset_prefix_cache(&mut self) -> bool {
        let idle = !self.has_work() && self.withheld == 0;
        if idle {
            self.leaves.clear();
        }
        idle
    }
    fn cache_granularity(&self) -> u32 {
        self.step.config.block_size
    }

    fn schedule(&mut self, now: SimTime) -> Step<'_> {
        self.step.clear_moves();
        self.take_arrived(now);
        if !self.prefill(now) {
            self.decode(now);
        }
        self.step.step()
    }

    fn complete(&mut self, now: SimTime) -> Option<Output<'_>> {
        let parts = self.step.landed()?;
        if self.prefilling.is_empty() {
            let mut ended = vec![];
            for part in parts {
                let r = &mut self.running[part.at];
                if self.step.deliver(r, part, now) {
                    ended.push(part.at);
                }
            }
            for i in ended.into_iter().rev() {
                let r = self.running.remove(i);
                self.keep(r);
            }
            return Some(self.step.output());
        }
        for (mut r, part) in std::mem::take(&mut self.prefilling).into_iter().zip(parts) {
            if self.step.deliver(&mut r, part, now) {
                self.keep(r);
            } else if part.sampled {
                self.running.push(r);
            } else {
                self.cut = Some(r);
            }
        }
        Some(self.step.output())
    }

    fn has_work(&self) -> bool {
        !self.waiting.is_empty() || !self.arrived.is_empty() || self.seats() > 0
    }
    fn state(&self) -> EngineState {
        let free = self.capacity().saturating_sub(self.held());
        let free = free / u64::from(self.step.config.block_size);
        EngineState {
            running: self.seats() as u32,
            waiting: (self.waiting.len() + self.arrived.len()) as u32,
            free_blocks: u32::try_from(free).unwrap_or(u32::MAX),
        }
    }

    fn prefix_counters(&self) -> PrefixCounters {
        self.step.counters
    }

    fn speculation_counters(&self) -> SpeculationCounters {
        self.step.speculated
    }

    fn handover(&mut self) -> Option<&mut dyn Handover> {
        Some(self)
    }
}

/// The engine that decodes allocates a prompt's slots before they are sent and goes on with the first token that comes with them
/// (`disaggregation/decode.py: DecodePreallocQueue`, v0.5). A request that is retracted computes its prompt again here; SGLang moves its
/// KV to the host's memory.
impl Handover for Scheduler {
    fn withhold(&mut self, blocks: u32) {
        self.withheld += u64::from(blocks) * u64::from(self.step.config.block_size);
    }

    fn restore(&mut self, blocks: u32) {
        self.withheld -= u64::from(blocks) * u64::from(self.step.config.block_size);
    }

    fn submit_computed(
        &mut self,
        request: Request,
        computed: Computed,
        now: SimTime,
    ) -> Result<(), SubmitError> {
        let r = self.step.accept(request)?.with_computed(computed, now);
        let withheld = u64::from(computed.blocks) * u64::from(self.step.config.block_size);
        self.arrived.push_back((r, withheld));
        Ok(())
    }

    fn others_wait(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn cached(&mut self, request: &Request, _: &mut PromptHashes) -> u32 {
        if !self.step.config.enable_prefix_caching {
            return 0;
        }
        let limit = u64::from(request.prompt.len().max(1) - 1);
        let shared = |l: &Leaf| {
            let theirs = (&l.request.prompt, &l.request.answer);
            let n = common_prefix(theirs, (&request.prompt, &request.answer));
            n.min(l.tokens.into()).min(limit)
        };
        self.leaves.iter().map(shared).max().unwrap_or(0) as u32
    }
}

//! A slow, obvious twin of the engine: every request is touched in every step, tokens are kept one by one, blocks are
//! known by all tokens up to their end. Written from the rules, without looking at how the engine does it.
use capsim::cost::StepShape;
use capsim::engine::observe::{FinishReason, RequestRecord};
use capsim::engine::speculation::Acceptance;
use capsim::engine::{EngineConfig, PrefixCounters, SchedulingPolicy};
use capsim::units::{SimTime, Span};
use capsim::workload::Request;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

type Token = (u64, u32);

#[derive(Clone, Debug)]
pub struct Req {
    pub request: Request,
    /// Prompt and outputs received.
    tokens: Vec<Token>,
    computed: usize,
    placeholders: usize,
    stale: usize,
    /// The first step in which an asynchronous pipeline may take it again.
    eligible: u64,
    /// Drafts that wait to be verified.
    drafts: usize,
    verifications: u32,
    preempted_before: bool,
    running: bool,
    pub blocks: Vec<u32>,
    registered: usize,
    pub scheduled: Option<SimTime>,
    pub first_token: Option<SimTime>,
    last_token: Option<SimTime>,
    pub cached: u32,
    pub preemptions: u32,
}

impl Req {
    fn prompt(&self) -> usize {
        self.request.prompt.len() as usize
    }
    pub fn outputs(&self) -> u32 {
        (self.tokens.len() - self.prompt()) as u32
    }
    /// Token number `k` of prompt and answer, received or not.
    fn token(&self, k: usize) -> Token {
        match self.tokens.get(k) {
            Some(t) => *t,
            None => (self.request.answer.stream.0, (k - self.prompt()) as u32),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub id: u64,
    pub tokens: u32,
    pub computed: u32,
    sampled: bool,
    drafts: usize,
}

pub struct Naive {
    cfg: EngineConfig,
    minor: u32,
    pub reqs: BTreeMap<u64, Req>,
    waiting: VecDeque<u64>,
    pub running: Vec<u64>,
    pub free: VecDeque<u32>,
    refs: BTreeMap<u32, u32>,
    cached: BTreeMap<Vec<Token>, Vec<u32>>,
    content: BTreeMap<u32, Vec<Token>>,
    pub counters: PrefixCounters,
    /// Verifications, drafts and accepted drafts.
    pub verified: (u64, u64, u64),
    /// Rows that drafters may still take in the step being composed.
    input: usize,
    pub in_flight: VecDeque<Vec<Entry>>,
    pub new: Vec<u64>,
    pub resumed: Vec<u64>,
    pub preempted: Vec<u64>,
    pub ended: Vec<RequestRecord>,
    /// Blocks attached by the last call of `schedule`: the whole table at admission, else those added.
    pub attached: BTreeMap<u64, Vec<u32>>,
    last_output: SimTime,
    pub gaps: Vec<Span>,
    pub window: u64,
    step: u64,
}

impl Naive {
    pub fn new(cfg: EngineConfig) -> Self {
        let text = cfg.version.to_string();
        Self {
            minor: text.split('.').nth(1).unwrap().parse().unwrap(),
            free: (1..cfg.num_gpu_blocks).collect(),
            cfg,
            reqs: BTreeMap::new(),
            waiting: VecDeque::new(),
            running: vec![],
            refs: BTreeMap::new(),
            cached: BTreeMap::new(),
            content: BTreeMap::new(),
            counters: PrefixCounters::default(),
            verified: (0, 0, 0),
            input: 0,
            in_flight: VecDeque::new(),
            new: vec![],
            resumed: vec![],
            preempted: vec![],
            ended: vec![],
            attached: BTreeMap::new(),
            last_output: SimTime::ZERO,
            gaps: vec![],
            window: u64::MAX,
            step: 0,
        }
    }

    pub fn distinct_cached(&self) -> usize {
        self.cached.len()
    }
    pub fn num_waiting(&self) -> usize {
        self.waiting.len()
    }
    pub fn has_work(&self) -> bool {
        !self.reqs.is_empty() || !self.in_flight.is_empty()
    }

    pub fn submit(&mut self, request: Request) {
        let tokens = request
            .prompt
            .segments()
            .iter()
            .flat_map(|s| (s.start..s.start + s.len).map(|p| (s.stream.0, p)))
            .collect();
        self.waiting.push_back(request.id.0);
        self.reqs.insert(
            request.id.0,
            Req {
                request,
                tokens,
                computed: 0,
                placeholders: 0,
                stale: 0,
                eligible: 0,
                drafts: 0,
                verifications: 0,
                preempted_before: false,
                running: false,
                blocks: vec![],
                registered: 0,
                scheduled: None,
                first_token: None,
                last_token: None,
                cached: 0,
                preemptions: 0,
            },
        );
    }

    /// The client gives up; nothing happens if the request ended before.
    pub fn abort(&mut self, id: u64) {
        if self.reqs.contains_key(&id) {
            self.end(id, FinishReason::Abort, self.last_output);
        }
    }

    fn end(&mut self, id: u64, reason: FinishReason, now: SimTime) {
        self.waiting.retain(|w| *w != id);
        self.running.retain(|r| *r != id);
        self.release(id);
        let r = self.reqs.remove(&id).unwrap();
        self.ended.push(RequestRecord {
            id: r.request.id,
            arrival: r.request.arrival,
            received: r.request.arrival,
            scheduled: r.scheduled.unwrap_or(now),
            first_made: r.first_token.unwrap_or(now),
            first_token: r.first_token.unwrap_or(now),
            finish: now,
            prompt_tokens: r.request.prompt.len(),
            output_tokens: r.outputs(),
            cached_tokens: r.cached,
            preemptions: r.preemptions,
            reason,
        });
    }

    /// Index in the waiting queue of the next request.
    fn head(&self, skip: &BTreeSet<u64>) -> Option<usize> {
        let open = (0..self.waiting.len()).filter(|i| !skip.contains(&self.waiting[*i]));
        match self.cfg.policy {
            SchedulingPolicy::Fcfs => open.min(),
            SchedulingPolicy::Priority => open.min_by_key(|i| {
                let r = &self.reqs[&self.waiting[*i]].request;
                (r.priority, r.arrival, r.id)
            }),
        }
    }

    fn release(&mut self, id: u64) {
        let blocks = std::mem::take(&mut self.reqs.get_mut(&id).unwrap().blocks);
        self.reqs.get_mut(&id).unwrap().registered = 0;
        let (mut plain, mut kept) = (vec![], vec![]);
        // 0.27 alone keeps them in order when nothing is ever registered.
        let front = self.minor >= 24 && (self.minor != 27 || self.cfg.enable_prefix_caching);
        for b in blocks.into_iter().rev() {
            let r = self.refs.get_mut(&b).unwrap();
            *r -= 1;
            if *r == 0 {
                if front && !self.content.contains_key(&b) {
                    plain.push(b)
                } else {
                    kept.push(b)
                }
            }
        }
        for b in plain.into_iter().rev() {
            self.free.push_front(b);
        }
        self.free.extend(kept);
    }

    fn pop_block(&mut self) -> u32 {
        let b = self.free.pop_front().unwrap();
        if let Some(content) = self.content.remove(&b) {
            let list = self.cached.get_mut(&content).unwrap();
            list.retain(|x| *x != b);
            if list.is_empty() {
                self.cached.remove(&content);
            }
        }
        self.refs.insert(b, 1);
        b
    }

    fn register(&mut self, id: u64, tokens: usize) {
        if !self.cfg.enable_prefix_caching {
            return;
        }
        let bs = self.cfg.block_size as usize;
        let r = self.reqs.get_mut(&id).unwrap();
        while (r.registered + 1) * bs <= tokens {
            let b = r.blocks[r.registered];
            r.registered += 1;
            let key: Vec<Token> = (0..r.registered * bs).map(|k| r.token(k)).collect();
            self.cached.entry(key.clone()).or_default().push(b);
            self.content.insert(b, key);
        }
    }

    fn blocks_for(&self, tokens: usize) -> usize {
        tokens
            .min(self.cfg.max_model_len as usize)
            .div_ceil(self.cfg.block_size as usize)
            + self.cfg.state_blocks as usize
    }

    /// Gives `n` tokens to a request, in a batch.
    fn give(&mut self, id: u64, n: usize, batch: &mut Vec<Entry>) {
        let (computed, have, len, placeholders) = {
            let r = &self.reqs[&id];
            (r.computed, r.blocks.len(), r.tokens.len(), r.placeholders)
        };
        for _ in have..self.blocks_for(computed + n + self.lookahead()) {
            let b = self.pop_block();
            self.reqs.get_mut(&id).unwrap().blocks.push(b);
            self.attached.entry(id).or_default().push(b);
        }
        self.register(id, (computed + n).min(len));
        self.reqs.get_mut(&id).unwrap().drafts = 0;
        batch.push(Entry {
            id,
            tokens: n as u32,
            computed: computed as u32,
            sampled: computed + n >= len + placeholders,
            drafts: (computed + n).saturating_sub(len + placeholders),
        });
    }

    /// Composes a batch: how many requests were preempted for it; `None` if there is none.
    pub fn preempted_by(&mut self, now: SimTime) -> Option<u32> {
        self.schedule(now).then_some(self.preempted.len() as u32)
    }

    fn lookahead(&self) -> usize {
        let spec = self.cfg.speculation.as_ref();
        spec.map_or(0, |s| s.lookahead as usize)
    }

    fn draft_slots(&self) -> usize {
        let spec = self.cfg.speculation.as_ref();
        spec.map_or(0, |s| s.draft_slots as usize)
    }

    /// Composes a batch; whether there is one.
    pub fn schedule(&mut self, now: SimTime) -> bool {
        let c = self.cfg.clone();
        self.step += 1;
        self.new.clear();
        self.resumed.clear();
        self.preempted.clear();
        self.attached.clear();
        let mut budget = c.max_num_batched_tokens as usize;
        let slots = self.draft_slots();
        self.input = budget;
        let lone = self.running.len() + self.waiting.len() == 1;
        let threshold = if self.minor >= 31 && lone {
            0
        } else {
            c.long_prefill_token_threshold as usize
        };
        let mut batch: Vec<Entry> = vec![];
        let mut i = 0;
        while i < self.running.len() && budget > 0 && self.input > slots {
            let id = self.running[i];
            let r = &self.reqs[&id];
            let limit = r.prompt() + r.request.max_tokens as usize;
            if self.step < r.eligible {
                i += 1;
                continue;
            }
            if c.async_scheduling && r.placeholders > 0 && r.computed + 2 - r.placeholders >= limit
            {
                i += 1;
                continue;
            }
            let mut n = r.tokens.len() + r.drafts + r.placeholders - r.computed;
            if threshold > 0 {
                n = n.min(threshold);
            }
            n = n
                .min(budget)
                .min(self.input - slots)
                .min((c.max_model_len as usize - 1).saturating_sub(r.computed));
            if n == 0 {
                i += 1;
                continue;
            }
            let mut got = true;
            loop {
                let r = &self.reqs[&id];
                if self
                    .blocks_for(r.computed + n + self.lookahead())
                    .saturating_sub(r.blocks.len())
                    <= self.free.len()
                {
                    break;
                }
                let at = match c.policy {
                    SchedulingPolicy::Fcfs => self.running.len() - 1,
                    SchedulingPolicy::Priority => {
                        let rank = |k: &usize| {
                            let r = &self.reqs[&self.running[*k]].request;
                            (r.priority, r.arrival)
                        };
                        let worst = (0..self.running.len()).map(|k| rank(&k)).max().unwrap();
                        (0..self.running.len()).find(|k| rank(k) == worst).unwrap()
                    }
                };
                let victim = self.running.remove(at);
                let in_batch = batch.iter().position(|e| e.id == victim);
                if c.policy == SchedulingPolicy::Priority {
                    if let Some(k) = in_batch {
                        let back = batch.remove(k).tokens as usize;
                        budget += back;
                        self.input += back + slots;
                        self.attached.remove(&victim);
                    }
                    if (self.minor >= 28 && at < i) || (self.minor < 28 && in_batch.is_some()) {
                        i -= 1;
                    }
                }
                self.release(victim);
                let entries = self.in_flight.iter().flatten();
                let coming = entries.filter(|e| e.id == victim && e.sampled).count();
                let r = self.reqs.get_mut(&victim).unwrap();
                r.computed = 0;
                r.drafts = 0;
                r.preempted_before = true;
                r.running = false;
                r.preemptions += 1;
                if self.minor >= 27 || c.speculation.is_some() {
                    // Two batches at most: those of before are in flight no more.
                    r.stale = if c.pipeline_stages > 1 {
                        coming
                    } else {
                        r.stale + r.placeholders
                    };
                    r.placeholders = 0;
                }
                self.waiting.push_front(victim);
                self.preempted.push(victim);
                if victim == id {
                    got = false;
                    break;
                }
            }
            if got {
                self.give(id, n, &mut batch);
                budget -= n;
                self.input = self.input.saturating_sub(n + slots);
                i += 1;
            } else if !(self.minor >= 33 && c.policy == SchedulingPolicy::Priority) {
                break;
            }
        }
        if self.preempted.is_empty() {
            self.admit(now, threshold, &mut budget, &mut batch);
        }
        if batch.is_empty() {
            return false;
        }
        for e in &batch {
            let r = self.reqs.get_mut(&e.id).unwrap();
            r.computed += e.tokens as usize;
            if c.async_scheduling && e.sampled {
                r.placeholders += 1 + e.drafts;
                r.drafts = c.speculation.as_ref().map_or(0, |s| s.computed as usize);
                if c.pipeline_stages > 1 {
                    r.eligible = self.step + u64::from(c.pipeline_stages);
                }
            }
        }
        self.in_flight.push_back(batch);
        true
    }

    fn admit(
        &mut self,
        now: SimTime,
        threshold: usize,
        budget: &mut usize,
        batch: &mut Vec<Entry>,
    ) {
        let c = self.cfg.clone();
        let bs = c.block_size as usize;
        let mut held_back = BTreeSet::new();
        let slots = self.draft_slots();
        while *budget > 0 && self.running.len() < c.max_num_seqs as usize && self.input > slots {
            let Some(at) = self.head(&held_back) else {
                break;
            };
            let id = self.waiting[at];
            let r = &self.reqs[&id];
            if self.minor >= 27 && r.stale > 0 {
                held_back.insert(id);
                continue;
            }
            let len = r.tokens.len();
            let mut hits: Vec<u32> = vec![];
            if c.enable_prefix_caching {
                for k in 1..=(len - 1) / bs {
                    match self.cached.get(&r.tokens[..k * bs]) {
                        Some(list) => hits.push(list[0]),
                        None => break,
                    }
                }
            }
            if c.speculation.as_ref().is_some_and(|s| s.drops_last_block) {
                hits.pop();
            }
            let hit = hits.len() * bs;
            let preempted = r.preempted_before;
            let count = |counters: &mut PrefixCounters| {
                if c.enable_prefix_caching {
                    if preempted {
                        counters.preempted_requests += 1;
                        counters.preempted_queries += len as u64;
                        counters.preempted_hits += hit as u64;
                    } else {
                        counters.requests += 1;
                        counters.queries += len as u64;
                        counters.hits += hit as u64;
                    }
                }
            };
            if self.minor < 27 {
                count(&mut self.counters);
            }
            let mut n = len - hit;
            if threshold > 0 {
                n = n.min(threshold);
            }
            let most = (*budget).min(self.input - slots);
            if !c.enable_chunked_prefill && n > most {
                break;
            }
            n = n.min(most);
            let asleep = hits.iter().filter(|b| self.free.contains(b)).count();
            let reserve = c.scheduler_reserve_full_isl.unwrap_or(self.minor >= 19);
            if reserve && self.blocks_for(len) - hits.len() + asleep > self.free.len() {
                break;
            }
            let wanted = self.blocks_for(hit + n + self.lookahead());
            if wanted - hits.len() + asleep > self.free.len() {
                break;
            }
            if self.minor >= 27 {
                count(&mut self.counters);
            }
            self.waiting.remove(at);
            for b in &hits {
                self.free.retain(|f| f != b);
                *self.refs.get_mut(b).unwrap() += 1;
            }
            self.running.push(id);
            let r = self.reqs.get_mut(&id).unwrap();
            r.running = true;
            r.computed = hit;
            r.registered = hits.len();
            r.blocks = hits.clone();
            self.attached.insert(id, hits);
            let r = self.reqs.get_mut(&id).unwrap();
            if preempted {
                self.resumed.push(id);
            } else {
                self.new.push(id);
                r.scheduled = Some(now);
                r.cached = hit as u32;
            }
            self.give(id, n, batch);
            *budget -= n;
            self.input = self.input.saturating_sub(n + slots);
        }
    }

    /// Shape of the batch scheduled last: every request of it looked at, every token compared by its whole history.
    pub fn shape(&self) -> StepShape {
        let batch = self.in_flight.back().expect("just scheduled");
        let mut s = StepShape::default();
        let mut seen: BTreeSet<Vec<Token>> = BTreeSet::new();
        for e in batch {
            let r = &self.reqs[&e.id];
            let (q, before) = (u64::from(e.tokens), u64::from(e.computed));
            let context = before + q;
            if e.tokens as usize == 1 + e.drafts {
                s.decode_seqs += 1;
                s.verified += e.drafts as u32;
                s.decode_context += context;
                s.decode_context_windowed += context.min(self.window);
            } else {
                s.prefill_seqs += 1;
                s.prefill_tokens += e.tokens;
                s.prefill_context += context;
                s.prefill_pairs += (before..context).map(|p| p + 1).sum::<u64>();
                s.prefill_pairs_windowed += (before..context)
                    .map(|p| (p + 1).min(self.window))
                    .sum::<u64>();
            }
            s.sampled += u32::from(e.sampled);
            for p in before..context {
                seen.insert((0..=p as usize).map(|k| r.token(k)).collect());
            }
        }
        s.distinct_tokens = seen.len() as u32;
        s
    }

    /// Delivers the oldest batch's tokens.
    pub fn process_output(&mut self, now: SimTime) -> bool {
        self.ended.clear();
        self.gaps.clear();
        let Some(batch) = self.in_flight.pop_front() else {
            return false;
        };
        self.last_output = now;
        for e in batch.iter().filter(|e| e.sampled) {
            if self.cfg.speculation.is_some() {
                self.verify(e, now);
                continue;
            }
            let Some(r) = self.reqs.get_mut(&e.id) else {
                continue;
            };
            let k = r.outputs();
            r.tokens.push((r.request.answer.stream.0, k));
            match r.last_token {
                Some(t) => self.gaps.push(now.since(t)),
                None => r.first_token = Some(now),
            }
            r.last_token = Some(now);
            if r.stale > 0 {
                r.stale -= 1;
            } else if self.cfg.async_scheduling {
                r.placeholders -= 1;
                if r.running {
                    let known = r.computed - r.placeholders;
                    self.register(e.id, known);
                }
            }
            let r = &self.reqs[&e.id];
            let stop = r.request.answer.stop_at == Some(k);
            if stop
                || r.tokens.len() >= self.cfg.max_model_len as usize
                || r.outputs() >= r.request.max_tokens
            {
                let reason = if stop {
                    FinishReason::Stop
                } else {
                    FinishReason::Length
                };
                self.end(e.id, reason, now);
            }
        }
        true
    }

    /// Delivers the tokens of a request whose drafts were verified: one after another, until one ends it.
    fn verify(&mut self, e: &Entry, now: SimTime) {
        let spec = self.cfg.speculation.clone().unwrap();
        let Some(r) = self.reqs.get_mut(&e.id) else {
            return;
        };
        let mut right = 0;
        if e.drafts > 0 {
            let most = (e.drafts as u32).min(spec.tokens);
            let (id, nth) = (r.request.id, r.verifications);
            right = spec
                .acceptance
                .accepted(spec.key, id, r.outputs(), nth, most) as usize;
            r.verifications += 1;
            self.verified.0 += 1;
            self.verified.1 += e.drafts as u64;
            self.verified.2 += right as u64;
        }
        let stale = r.stale > 0;
        if stale {
            r.stale = r.stale.saturating_sub(1 + e.drafts);
        } else {
            r.computed -= e.drafts - right;
            r.placeholders = r.placeholders.saturating_sub(e.drafts - right);
        }
        match r.last_token {
            Some(t) => self.gaps.push(now.since(t)),
            None => r.first_token = Some(now),
        }
        r.last_token = Some(now);
        let mut reason = None;
        for _ in 0..=right {
            let k = r.outputs();
            r.tokens.push((r.request.answer.stream.0, k));
            if !stale {
                r.placeholders = r.placeholders.saturating_sub(1);
            }
            let full = r.tokens.len() >= self.cfg.max_model_len as usize;
            if r.request.answer.stop_at == Some(k) {
                reason = Some(FinishReason::Stop);
            } else if full || r.outputs() >= r.request.max_tokens {
                reason = Some(FinishReason::Length);
            }
            if reason.is_some() {
                break;
            }
        }
        let (running, known) = (r.running, r.computed.saturating_sub(r.placeholders));
        if self.cfg.async_scheduling && !stale && running {
            self.register(e.id, known);
        }
        if let Some(reason) = reason {
            self.end(e.id, reason, now);
        } else if !self.cfg.async_scheduling && running {
            let r = self.reqs.get_mut(&e.id).unwrap();
            let (id, outputs) = (r.request.id, r.outputs());
            if Acceptance::drafted(spec.key, id, outputs, spec.drafted) {
                r.drafts = spec.computed as usize;
            }
        }
    }
}

//! Replays a recorded scenario through a scheduler, the engine or its twin, and finds the first difference.
use super::scenario::{Drafts, OutcomeLine, PrefixLine, RequestLine, Scenario, StepLine};
use capsim::engine::observe::{FinishReason, RequestRecord};
use capsim::engine::speculation::{Acceptance, Method, Speculation};
use capsim::engine::{
    EngineConfig, PrefixCounters, Scheduler as _, SchedulingPolicy, Tracking, vllm,
};
use capsim::units::SimTime;
use capsim::workload::{Answer, Prompt, Request, RequestId, Segment, StreamId};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;

/// Where replay and record part.
#[derive(Debug, PartialEq)]
pub struct Difference {
    /// Iteration, or `result`.
    pub step: String,
    pub field: String,
    pub expected: String,
    pub got: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "step {}, field `{}`: expected {}, got {}",
            self.step, self.field, self.expected, self.got
        )
    }
}

fn same<T: PartialEq + Debug>(
    step: &str,
    field: &str,
    expected: &T,
    got: &T,
) -> Result<(), Difference> {
    if expected == got {
        return Ok(());
    }
    let short = |v: &T| {
        let text = format!("{v:?}");
        match text.char_indices().nth(300) {
            Some((i, _)) => format!("{}…", &text[..i]),
            None => text,
        }
    };
    Err(Difference {
        step: step.into(),
        field: field.into(),
        expected: short(expected),
        got: short(got),
    })
}

/// The engine's settings for a scenario.
pub fn config(s: &Scenario) -> Result<EngineConfig, String> {
    let e = &s.engine;
    Ok(EngineConfig {
        version: s
            .vllm_version
            .parse()
            .map_err(|e| format!("field `vllm_version`: {e}"))?,
        block_size: e.block_size,
        num_gpu_blocks: e.num_gpu_blocks,
        max_num_seqs: e.max_num_seqs,
        max_num_batched_tokens: e.max_num_batched_tokens,
        max_model_len: e.max_model_len,
        enable_chunked_prefill: e.enable_chunked_prefill,
        enable_prefix_caching: e.enable_prefix_caching,
        long_prefill_token_threshold: e.long_prefill_token_threshold,
        policy: match e.policy.as_str() {
            "fcfs" => SchedulingPolicy::Fcfs,
            "priority" => SchedulingPolicy::Priority,
            p => {
                return Err(format!(
                    "field `engine.policy`: `{p}` is neither fcfs nor priority"
                ));
            }
        },
        async_scheduling: e.async_scheduling,
        speculation: e.speculation.as_ref().map(drafts),
        ..EngineConfig::default()
    })
}

/// Drafts as the recorder made and accepted them.
fn drafts(d: &Drafts) -> Speculation {
    Speculation {
        method: match (d.hidden_states, d.draft_model) {
            (true, _) => Method::Eagle3,
            (_, true) => Method::DraftModel,
            _ => Method::Ngram,
        },
        tokens: d.tokens,
        computed: d.tokens,
        lookahead: d.lookahead,
        drops_last_block: d.hidden_states,
        draft_slots: d.draft_slots,
        acceptance: Acceptance::Recorded(d.accepted.clone().into()),
        drafted: Acceptance::share(1.0),
        key: 0,
    }
}

/// Streams by name; outputs of request i are the stream `out:<i>`.
#[derive(Default)]
pub struct Streams(BTreeMap<String, u64>);

impl Streams {
    fn id(&mut self, name: &str) -> StreamId {
        let next = self.0.len() as u64 + 1;
        StreamId(*self.0.entry(name.into()).or_insert(next))
    }
}

pub fn request(r: &RequestLine, streams: &mut Streams) -> Request {
    Request {
        id: RequestId(r.id),
        // Only its order matters here: a rank, to a ten-thousandth.
        arrival: SimTime((r.arrival_time * 1e4).round() as u64),
        prompt: Prompt::new(r.prompt.iter().map(|s| Segment {
            stream: streams.id(&s.stream),
            start: s.start,
            len: s.len,
        })),
        max_tokens: r.max_tokens,
        answer: Answer {
            stream: streams.id(&format!("out:{}", r.id)),
            stop_at: r.stop_at,
        },
        priority: r.priority,
    }
}

/// What a replay asks of a scheduler.
pub trait Scheduler {
    fn submit(&mut self, request: Request) -> Result<(), String>;
    fn abort(&mut self, id: RequestId);
    fn has_work(&self) -> bool;
    fn num_running(&self) -> u64;
    fn num_waiting(&self) -> u64;
    fn batches_in_flight(&self) -> usize;
    fn free_queue(&self) -> Vec<u32>;
    fn distinct_cached(&self) -> u64;
    fn counters(&self) -> PrefixCounters;
    fn schedule(&mut self, now: SimTime) -> bool;
    /// (id, tokens, computed before) of the batch scheduled last.
    fn batch(&self) -> Vec<(u64, u32, u32)>;
    /// New, resumed and preempted by the last call of `schedule`.
    fn moved(&self) -> [Vec<u64>; 3];
    /// Blocks attached by it.
    fn attached(&self) -> BTreeMap<u64, Vec<u32>>;
    fn process_output(&mut self, now: SimTime) -> bool;
    /// Records of what ended since the last call.
    fn take_records(&mut self) -> Vec<RequestRecord>;
}

/// The engine, with what its calls lent kept for questions.
pub struct Fast {
    pub engine: vllm::Scheduler,
    moved: [Vec<u64>; 3],
    ended: Vec<RequestRecord>,
}

impl Fast {
    pub fn new(config: EngineConfig) -> Result<Self, String> {
        let mut engine =
            vllm::Scheduler::new(config, Tracking::default()).map_err(|e| e.to_string())?;
        engine.record_blocks();
        Ok(Self {
            engine,
            moved: [vec![], vec![], vec![]],
            ended: vec![],
        })
    }
}

/// Blocks attached by the last call of `schedule`.
pub fn attached(engine: &vllm::Scheduler) -> BTreeMap<u64, Vec<u32>> {
    let blocks = engine.attached_blocks().iter();
    blocks.map(|(id, b)| (id.0, b.clone())).collect()
}

impl Scheduler for Fast {
    fn submit(&mut self, request: Request) -> Result<(), String> {
        self.engine.submit(request).map_err(|e| e.to_string())
    }
    fn abort(&mut self, id: RequestId) {
        self.ended.extend(self.engine.abort(id));
    }
    fn has_work(&self) -> bool {
        self.engine.has_work()
    }
    fn num_running(&self) -> u64 {
        self.engine.state().running.into()
    }
    fn num_waiting(&self) -> u64 {
        self.engine.state().waiting.into()
    }
    fn batches_in_flight(&self) -> usize {
        self.engine.batches_in_flight()
    }
    fn free_queue(&self) -> Vec<u32> {
        let queue = self.engine.free_queue();
        assert_eq!(queue.len() as u32, self.engine.state().free_blocks);
        queue
    }
    fn distinct_cached(&self) -> u64 {
        self.engine.distinct_cached_blocks() as u64
    }
    fn counters(&self) -> PrefixCounters {
        self.engine.prefix_counters()
    }
    fn schedule(&mut self, now: SimTime) -> bool {
        let step = self.engine.schedule(now);
        self.moved =
            [step.admitted, step.resumed, step.preempted].map(|v| v.iter().map(|r| r.0).collect());
        step.shape.is_some()
    }
    fn batch(&self) -> Vec<(u64, u32, u32)> {
        let all = self.engine.batch();
        all.iter().map(|s| (s.id.0, s.tokens, s.computed)).collect()
    }
    fn moved(&self) -> [Vec<u64>; 3] {
        self.moved.clone()
    }
    fn attached(&self) -> BTreeMap<u64, Vec<u32>> {
        attached(&self.engine)
    }
    fn process_output(&mut self, now: SimTime) -> bool {
        let output = self.engine.complete(now);
        self.ended
            .extend(output.iter().flat_map(|o| o.finished.iter().copied()));
        output.is_some()
    }
    fn take_records(&mut self) -> Vec<RequestRecord> {
        std::mem::take(&mut self.ended)
    }
}

fn reason(of: FinishReason) -> String {
    match of {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Abort => "abort",
    }
    .into()
}

struct Replay<'a, S> {
    scenario: &'a Scenario,
    engine: S,
    streams: Streams,
    expected: VecDeque<&'a StepLine>,
    outcomes: Vec<OutcomeLine>,
    /// `t` of the batches in flight.
    batches: VecDeque<u64>,
    /// Requests that ended since the last call of `schedule`: vLLM makes one more call to tell its workers.
    ended: bool,
    last: Option<u64>,
}

/// Replays `scenario` through the engine.
///
/// # Errors
/// The first difference.
pub fn replay(scenario: &Scenario) -> Result<(), Difference> {
    replay_with(scenario, Fast::new)
}

/// Replays `scenario` through the scheduler that `new` makes.
///
/// # Errors
/// The first difference.
pub fn replay_with<S: Scheduler>(
    scenario: &Scenario,
    new: impl FnOnce(EngineConfig) -> Result<S, String>,
) -> Result<(), Difference> {
    let broken = |what: String| Difference {
        step: "none".into(),
        field: "engine".into(),
        expected: "a valid configuration".into(),
        got: what,
    };
    let engine = config(scenario).and_then(new).map_err(broken)?;
    let mut r = Replay {
        engine,
        streams: Streams(BTreeMap::new()),
        expected: scenario.steps.iter().collect(),
        outcomes: vec![OutcomeLine::default(); scenario.requests.len()],
        batches: VecDeque::new(),
        ended: false,
        last: None,
        scenario,
    };
    for o in &mut r.outcomes {
        o.preemptions = Some(0);
        o.outputs = Some(0);
    }
    r.run()?;
    r.result()
}

impl<S: Scheduler> Replay<'_, S> {
    fn run(&mut self) -> Result<(), Difference> {
        let clock = self.scenario.engine.clock;
        let requests = &self.scenario.requests;
        let mut arrivals: VecDeque<&RequestLine> = requests.iter().collect();
        let mut aborts: Vec<(u64, u64)> = requests
            .iter()
            .filter_map(|r| Some((r.abort_step?, r.id)))
            .collect();
        aborts.sort_unstable();
        let mut aborts: VecDeque<(u64, u64)> = aborts.into();
        let (mut t, mut now_us) = (0u64, 0u64);
        // A replay that never ends would be a difference, too.
        let limit = self.scenario.steps.last().map_or(0, |s| s.t) + 10_000;
        loop {
            let due = |r: &RequestLine| match clock {
                Some(_) => r.arrival_us.unwrap_or(0) <= now_us,
                None => r.arrival_step.unwrap_or(0) <= t,
            };
            while arrivals.front().is_some_and(|r| due(r)) {
                let r = arrivals.pop_front().expect("just seen");
                let request = request(r, &mut self.streams);
                if let Err(e) = self.engine.submit(request) {
                    return same("submit", "request", &String::new(), &e);
                }
            }
            while aborts.front().is_some_and(|(at, _)| *at <= t) {
                let (_, id) = aborts.pop_front().expect("just seen");
                self.engine.abort(RequestId(id));
                self.take_records(t);
            }
            if !self.engine.has_work() {
                match (clock, arrivals.front()) {
                    (_, None) => break,
                    (Some(_), Some(next)) => {
                        now_us = next.arrival_us.unwrap_or(0);
                        continue;
                    }
                    (None, Some(_)) => {
                        t += 1;
                        continue;
                    }
                }
            }
            let mut line = StepLine {
                t,
                ..StepLine::default()
            };
            let happened = self.step(&mut line, t);
            if let Some(c) = clock {
                let tokens: u64 = line.s.iter().map(|s| u64::from(s.1)).sum();
                line.ts = Some(now_us);
                now_us += c.base_us + c.per_token_us * tokens + c.per_seq_us * line.s.len() as u64;
                line.te = Some(now_us);
            }
            if happened {
                self.compare(&line)?;
                self.last = Some(t);
            }
            t += u64::from(happened || clock.is_none());
            if t > limit {
                return same(
                    "end",
                    "last_step",
                    &"an end".to_string(),
                    &format!("still going at {t}"),
                );
            }
        }
        match self.expected.front() {
            None => Ok(()),
            Some(e) => same(
                &e.t.to_string(),
                "t",
                &"a step".to_string(),
                &"the end".to_string(),
            ),
        }
    }

    /// One engine step; whether anything happened.
    fn step(&mut self, line: &mut StepLine, t: u64) -> bool {
        let is_async = self.scenario.engine.async_scheduling;
        let before = self.engine.batches_in_flight();
        let mut formed = false;
        if self.engine.num_running() + self.engine.num_waiting() > 0 || self.ended {
            formed = self.engine.schedule(SimTime(t));
            self.ended = false;
            if formed {
                line.s = self.engine.batch();
                self.batches.push_back(t);
            }
            [line.new, line.res, line.pre] = self.engine.moved();
            for id in &line.new {
                self.outcomes[*id as usize].first_sched = Some(t);
            }
            line.blocks = self.engine.attached();
            line.blocks.retain(|_, b| !b.is_empty());
            line.a = Some((
                self.engine.num_running(),
                self.engine.num_waiting(),
                self.engine.free_queue().len() as u64,
                self.engine.distinct_cached(),
            ));
        }
        let mut processed = false;
        if is_async {
            line.upd = Some(None);
        }
        if !(is_async && formed && before == 0) && self.engine.process_output(SimTime(t)) {
            processed = true;
            let of = self.batches.pop_front();
            if is_async {
                line.upd = Some(of);
            }
            line.fin = self.take_records(t);
        }
        line.b = Some((
            self.engine.num_running(),
            self.engine.num_waiting(),
            self.engine.free_queue().len() as u64,
        ));
        formed || !line.pre.is_empty() || (is_async && processed)
    }

    /// Notes what ended; (id, reason) in order.
    fn take_records(&mut self, t: u64) -> Vec<(u64, String)> {
        let mut ended = vec![];
        for r in self.engine.take_records() {
            self.ended = true;
            let o = &mut self.outcomes[r.id.0 as usize];
            o.finish = Some(t);
            o.reason = Some(reason(r.reason));
            o.outputs = Some(r.output_tokens);
            o.preemptions = Some(r.preemptions);
            o.first_token = (r.output_tokens > 0).then_some(r.first_token.0);
            o.cached = o.first_sched.map(|_| r.cached_tokens);
            ended.push((r.id.0, reason(r.reason)));
        }
        ended
    }

    fn compare(&mut self, got: &StepLine) -> Result<(), Difference> {
        let at = got.t.to_string();
        let Some(want) = self.expected.pop_front() else {
            return same(&at, "t", &"the end".to_string(), &format!("{got:?}"));
        };
        same(&at, "t", &want.t, &got.t)?;
        same(&at, "pre", &want.pre, &got.pre)?;
        same(&at, "new", &want.new, &got.new)?;
        same(&at, "res", &want.res, &got.res)?;
        same(&at, "s", &want.s, &got.s)?;
        same(&at, "blocks", &want.blocks, &got.blocks)?;
        same(&at, "a", &want.a, &got.a)?;
        same(&at, "upd", &want.upd, &got.upd)?;
        same(&at, "fin", &want.fin, &got.fin)?;
        same(&at, "b", &want.b, &got.b)?;
        same(&at, "ts", &want.ts, &got.ts)?;
        same(&at, "te", &want.te, &got.te)
    }

    fn result(&self) -> Result<(), Difference> {
        let want = &self.scenario.result;
        let at = "result";
        same(at, "last_step", &want.last_step, &self.last)?;
        for (i, (w, g)) in want.requests.iter().zip(&self.outcomes).enumerate() {
            same(at, &format!("requests[{i}]"), w, g)?;
        }
        if let Some(w) = &want.prefix_cache {
            let c = self.engine.counters();
            let got = PrefixLine {
                requests: c.requests,
                queries: c.queries,
                hits: c.hits,
                preempted_requests: c.preempted_requests,
                preempted_queries: c.preempted_queries,
                preempted_hits: c.preempted_hits,
            };
            same(at, "prefix_cache", w, &got)?;
        }
        let queue = self.engine.free_queue();
        if let Some(w) = &want.free_queue {
            same(at, "free_queue", w, &queue)?;
        }
        if let Some(w) = &want.free_queue_sha256 {
            let text = queue
                .iter()
                .map(u32::to_string)
                .collect::<Vec<_>>()
                .join(",");
            let digest: String = Sha256::digest(text.as_bytes())
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            same(at, "free_queue_sha256", w, &digest)?;
        }
        Ok(())
    }
}

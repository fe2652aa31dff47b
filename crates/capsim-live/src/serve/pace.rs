//! The engine's thread: it forms batches, waits until the device would be done, and hands out the tokens.
//!
//! The clock of the engine is that of its schedule, not of its awakenings: a step that follows another begins where that one
//! was due to end, however late the thread woke up, so that lateness never adds up.
use super::fault::Fault;
use super::identity::{Follower, Identities};
use super::lock;
use super::metrics::Metrics;
use super::text::Tokenizer;
use capsim::cost::{StepCost, StepShape};
use capsim::engine::Runtime;
use capsim::engine::observe::{FinishReason, Observer, RequestRecord};
use capsim::units::{SimTime, Span};
use capsim::workload::{Request, RequestId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Wall time since the server's start, as the engine's time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Zero is now.
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
    /// Now.
    pub fn now(&self) -> SimTime {
        SimTime(self.origin.elapsed().as_nanos() as u64)
    }
    fn until(&self, t: SimTime) -> Option<Duration> {
        let now = self.now();
        (t > now).then(|| Duration::from_nanos(t.since(now).0))
    }
}

/// What a connection hears of its request: one token of a choice, or several at once where drafts were accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Number of the choice.
    pub choice: u32,
    /// How many.
    pub count: u32,
    /// When the engine had it.
    pub due: SimTime,
    /// Why it is the last one, and how many prompt tokens were found in the prefix cache.
    pub end: Option<(FinishReason, u32)>,
}

/// Steps that take `1 / speedup` of what they cost.
#[derive(Debug)]
pub struct Faster<C> {
    /// The price.
    pub cost: C,
    /// How many times as fast time runs.
    pub speedup: f64,
}

impl<C> Faster<C> {
    fn faster(&self, step: Span) -> Span {
        if self.speedup == 1.0 {
            step
        } else {
            Span::from_secs(step.secs() / self.speedup)
        }
    }
}

impl<C: StepCost> StepCost for Faster<C> {
    fn step(&self, shape: &StepShape) -> Span {
        self.faster(self.cost.step(shape))
    }
    fn lockstep(&self, shapes: &[StepShape]) -> Span {
        self.faster(self.cost.lockstep(shapes))
    }
    fn stage(&self, stage: usize, shapes: &[StepShape], lockstep: bool) -> Span {
        self.faster(self.cost.stage(stage, shapes, lockstep))
    }
    fn hop(&self, to: usize, shapes: &[StepShape]) -> Span {
        self.faster(self.cost.hop(to, shapes))
    }
    fn attention_window(&self) -> Option<u32> {
        self.cost.attention_window()
    }
    fn wants_distinct_tokens(&self) -> bool {
        self.cost.wants_distinct_tokens()
    }
    fn images(&self) -> Option<capsim::cost::ImagesAtEnd> {
        self.cost.images()
    }
}

/// A request on its way into the engine.
#[derive(Debug)]
pub struct Job {
    /// As the engine sees it; `arrival` is when its body was complete.
    pub request: Request,
    /// Number of the choice among those of the HTTP request.
    pub choice: u32,
    /// Choices of the same prompt, this one included, and a number that they share.
    pub group: (u32, u64),
    /// Follows the answer's blocks.
    pub follower: Option<Follower>,
    /// Where its tokens go.
    pub sink: mpsc::Sender<Token>,
}

/// What the engine's thread is asked to do.
#[derive(Debug)]
pub enum Command {
    /// A request.
    Submit(Box<Job>),
    /// Clients that are gone.
    Abort(Vec<RequestId>),
    /// `/reset_prefix_cache`; answers whether it could be done.
    ResetPrefixCache(oneshot::Sender<bool>),
    /// End of the thread.
    Stop,
}

/// What the thread shares with the connections.
pub struct Shared {
    /// For texts of answers.
    pub text: Arc<Tokenizer>,
    /// For blocks of answers.
    pub identities: Arc<Mutex<Identities>>,
    /// What it counts.
    pub metrics: Arc<Mutex<Metrics>>,
}

struct Live {
    sink: mpsc::Sender<Token>,
    choice: u32,
    emitted: u32,
    prompt: u32,
    max_tokens: u32,
    arrival: SimTime,
    stream: u64,
    group: (u32, u64),
    follower: Option<Follower>,
}

/// What the runtime told of the steps that just ended.
#[derive(Default)]
struct Heard {
    tokens: Vec<RequestId>,
    gaps: Vec<(Span, u32)>,
    ended: BTreeMap<RequestId, RequestRecord>,
}

impl Observer for Heard {
    fn wants_output(&self) -> bool {
        true
    }
    fn on_output(&mut self, _: SimTime, tokens: &[RequestId]) {
        self.tokens.extend_from_slice(tokens);
    }
    fn on_tokens(&mut self, gap: Span, count: u32) {
        self.gaps.push((gap, count));
    }
    fn on_request(&mut self, r: &RequestRecord) {
        self.ended.insert(r.id, *r);
    }
}

struct Pace<C> {
    runtime: Runtime<Faster<C>>,
    shared: Shared,
    live: BTreeMap<RequestId, Live>,
    /// Choices still going, the longest so far.
    groups: BTreeMap<u64, (u32, u32)>,
    pending: VecDeque<Box<Job>>,
    aborts: Vec<RequestId>,
    resets: Vec<oneshot::Sender<bool>>,
    sharing: u32,
    usable: f64,
    stopped: bool,
}

/// Runs until told to stop, or until all that could tell are gone.
pub fn run<C: StepCost>(
    runtime: Runtime<Faster<C>>,
    commands: &Receiver<Command>,
    clock: Clock,
    faults: &[Fault],
    shared: Shared,
) {
    let sharing = runtime.cache_granularity();
    let usable = f64::from(runtime.config().num_gpu_blocks - 1) * runtime.num_ranks() as f64;
    let mut p = Pace {
        runtime,
        shared,
        live: BTreeMap::new(),
        groups: BTreeMap::new(),
        pending: VecDeque::new(),
        aborts: vec![],
        resets: vec![],
        sharing,
        usable,
        stopped: false,
    };
    let mut stalls: Vec<(SimTime, Duration)> = faults
        .iter()
        .filter_map(|f| match f {
            Fault::Stall { at, lasting } => Some((SimTime(at.as_nanos() as u64), *lasting)),
            _ => None,
        })
        .collect();
    let mut now = SimTime::ZERO;
    loop {
        loop {
            match commands.try_recv() {
                Ok(c) => p.take(c),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        // Before anything sleeps: the word to stop comes only once.
        if p.stopped {
            return;
        }
        p.settle(now);
        let Some(due) = p.runtime.advance(now, &mut ()) else {
            match p.pending.front() {
                Some(job) => now = now.max(job.request.arrival),
                None => match commands.recv() {
                    Ok(c) => p.take(c),
                    Err(_) => return,
                },
            }
            continue;
        };
        match p.wait(due, commands, clock) {
            Woken::Stopped => return,
            Woken::Arrival(at) => now = now.max(at),
            Woken::Due => {
                now = p.stall(due, &mut stalls);
                p.output(now);
            }
        }
    }
}

/// Why a wait ended.
enum Woken {
    /// The step is over.
    Due,
    /// A request arrived at that time for engines that may be idle.
    Arrival(SimTime),
    /// The server ends.
    Stopped,
}

impl<C: StepCost> Pace<C> {
    /// Collects commands until a step is over. An engine alone looks at arrivals when its step ends; of several, one may be idle.
    fn wait(&mut self, due: SimTime, commands: &Receiver<Command>, clock: Clock) -> Woken {
        loop {
            if self.stopped {
                return Woken::Stopped;
            }
            if self.runtime.num_ranks() > 1
                && let Some(job) = self.pending.front()
                && job.request.arrival < due
            {
                return Woken::Arrival(job.request.arrival);
            }
            let Some(left) = clock.until(due) else {
                return Woken::Due;
            };
            match commands.recv_timeout(left) {
                Ok(c) => self.take(c),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Woken::Stopped,
            }
        }
    }

    /// Sleeps through the stalls that strike by `due`; when the step ends then.
    fn stall(&mut self, mut due: SimTime, stalls: &mut Vec<(SimTime, Duration)>) -> SimTime {
        stalls.retain(|&(at, lasting)| {
            if due < at {
                return true;
            }
            std::thread::sleep(lasting);
            let by = Span(lasting.as_nanos() as u64);
            self.runtime.delay(by);
            due += by;
            false
        });
        due
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Submit(job) => self.pending.push_back(job),
            Command::Abort(ids) => self.aborts.extend(ids),
            Command::ResetPrefixCache(answer) => self.resets.push(answer),
            Command::Stop => self.stopped = true,
        }
    }

    /// Between two steps: clients that left, requests that arrived up to `now`.
    fn settle(&mut self, now: SimTime) {
        let changed = !self.aborts.is_empty();
        for id in std::mem::take(&mut self.aborts) {
            self.pending.retain(|j| j.request.id != id);
            self.forget(id);
        }
        for answer in std::mem::take(&mut self.resets) {
            let _ = answer.send(self.runtime.reset_prefix_cache());
        }
        while self
            .pending
            .front()
            .is_some_and(|j| j.request.arrival <= now)
        {
            if let Some(job) = self.pending.pop_front() {
                self.submit(*job);
            }
        }
        if changed {
            self.gauges();
        }
    }

    fn forget(&mut self, id: RequestId) {
        self.runtime.abort(id);
        if let Some(live) = self.live.remove(&id) {
            self.leave_group(live.group, live.emitted);
        }
    }

    fn submit(&mut self, job: Job) {
        let id = job.request.id;
        let live = Live {
            choice: job.choice,
            emitted: 0,
            prompt: job.request.prompt.len(),
            max_tokens: job.request.max_tokens,
            arrival: job.request.arrival,
            stream: job.request.answer.stream.0,
            group: job.group,
            follower: job.follower,
            sink: job.sink,
        };
        // The connection asked the same question before: nothing is refused here.
        if self.runtime.submit(job.request).is_ok() {
            self.groups.entry(live.group.1).or_insert((live.group.0, 0));
            self.live.insert(id, live);
        }
    }

    fn leave_group(&mut self, (n, group): (u32, u64), emitted: u32) {
        if let Some((left, longest)) = self.groups.get_mut(&group) {
            *left = left.saturating_sub(1);
            *longest = (*longest).max(emitted);
            if *left == 0 {
                let longest = *longest;
                self.groups.remove(&group);
                if emitted > 0 {
                    lock(&self.shared.metrics).group(n, longest);
                }
            }
        }
    }

    /// Hands out the tokens of the steps that end now.
    fn output(&mut self, now: SimTime) {
        let mut heard = Heard::default();
        while self.runtime.complete(now, &mut heard).is_some() {}
        let Heard {
            tokens,
            gaps,
            ended,
        } = heard;
        let mut full = vec![];
        let mut first: Vec<SimTime> = vec![];
        let (mut generated, mut prompts) = (0, 0);
        let mut events: Vec<(RequestId, Token)> = Vec::with_capacity(tokens.len());
        for id in tokens {
            let Some(live) = self.live.get_mut(&id) else {
                continue;
            };
            let k = live.emitted;
            live.emitted += 1;
            generated += 1;
            if k == 0 {
                prompts += u64::from(live.prompt);
                first.push(live.arrival);
            }
            if let Some(f) = &mut live.follower {
                let token = self.shared.text.answer_id(live.stream, k);
                full.extend(f.push(token, self.sharing));
            }
            let end = ended.get(&id).map(|r| (r.reason, r.cached_tokens));
            match events.last_mut() {
                // In one message, as vLLM sends them.
                Some((last, token)) if *last == id => token.count += 1,
                _ => {
                    let token = Token {
                        choice: live.choice,
                        count: 1,
                        due: now,
                        end,
                    };
                    events.push((id, token));
                }
            }
        }
        // Before the client can quote them.
        if !full.is_empty() {
            let mut identities = lock(&self.shared.identities);
            for (chain, pieces) in full {
                identities.remember(chain, pieces);
            }
        }
        {
            let mut m = lock(&self.shared.metrics);
            m.step(generated, prompts);
            for (gap, count) in gaps {
                m.gap(gap, count);
            }
            for arrival in first {
                m.first_token(arrival, now);
            }
            for (id, r) in &ended {
                m.finished(r, self.live.get(id).map_or(0, |l| l.max_tokens));
            }
        }
        let mut done = vec![];
        for id in ended.keys() {
            if let Some(live) = self.live.remove(id) {
                self.leave_group(live.group, live.emitted);
                done.push((*id, live));
            }
        }
        self.gauges();
        // Last of all: a client that has a token may ask at once what was counted.
        let mut gone = vec![];
        for (id, event) in events {
            let live = match done.binary_search_by_key(&id, |(i, _)| *i) {
                Ok(at) => &done[at].1,
                Err(_) => match self.live.get(&id) {
                    Some(live) => live,
                    None => continue,
                },
            };
            // Full: the client reads too slowly. Closed: it is gone. Either way it gets nothing more.
            if live.sink.try_send(event).is_err() {
                gone.push(id);
            }
        }
        if !gone.is_empty() {
            for id in gone {
                self.forget(id);
            }
            self.gauges();
        }
    }

    /// Of all engines together.
    fn gauges(&self) {
        let (mut running, mut waiting, mut free) = (0, 0, 0.0);
        for s in self.runtime.states() {
            running += u64::from(s.running);
            waiting += u64::from(s.waiting);
            free += f64::from(s.free_blocks);
        }
        let totals = self.runtime.summary();
        let mut m = lock(&self.shared.metrics);
        (m.running, m.waiting) = (running, waiting);
        m.kv_usage = 1.0 - free / self.usable;
        m.prefix = totals.prefix;
        m.speculation = totals.speculation;
        m.preemptions = totals.preemptions;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capsim::cost::LinearCost;

    #[test]
    fn a_speedup_shortens_every_step() {
        let cost = LinearCost {
            base: Span::from_millis(10),
            ..LinearCost::default()
        };
        let faster = Faster { cost, speedup: 4.0 };
        let shape = StepShape::default();
        assert_eq!(faster.step(&shape), Span::from_micros(2500));
        assert_eq!(faster.lockstep(&[shape, shape]), Span::from_micros(2500));
        assert_eq!(Faster { cost, speedup: 1.0 }.step(&shape), cost.base);
    }
}

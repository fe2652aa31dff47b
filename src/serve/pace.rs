//! The engine's thread: it forms batches, waits until the device would be done, and hands out the tokens.
//!
//! The clock of the engine is that of its schedule, not of its awakenings: a step that follows another begins where that one
//! was due to end, however late the thread woke up, so that lateness never adds up.
use super::core::Core;
use super::fault::Fault;
use super::identity::{Follower, Identities};
use super::lock;
use super::metrics::Metrics;
use super::text::Tokenizer;
use crate::cost::StepCost;
use crate::engine::observe::{FinishReason, RequestRecord};
use crate::units::{SimTime, Span};
use crate::workload::{Request, RequestId};
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

/// What a connection hears of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Token number `k` of a choice.
    Token {
        /// Which choice.
        choice: u32,
        /// Which token.
        k: u32,
        /// When the engine had it.
        due: SimTime,
        /// Why it is the last one, and how many prompt tokens were found in the prefix cache.
        end: Option<(FinishReason, u32)>,
    },
    /// The engine can never serve it.
    Refused(String),
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
    pub sink: mpsc::Sender<Event>,
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
    sink: mpsc::Sender<Event>,
    choice: u32,
    emitted: u32,
    prompt: u32,
    max_tokens: u32,
    arrival: SimTime,
    stream: u64,
    group: (u32, u64),
    follower: Option<Follower>,
}

struct Pace<C> {
    core: Core<C>,
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

/// Runs until told to stop, or until nobody can tell.
pub fn run<C: StepCost>(
    core: Core<C>,
    commands: &Receiver<Command>,
    clock: Clock,
    faults: &[Fault],
    shared: Shared,
) {
    let config = core.engine().config().clone();
    let sharing = core.engine().sharing();
    let mut p = Pace {
        core,
        shared,
        live: BTreeMap::new(),
        groups: BTreeMap::new(),
        pending: VecDeque::new(),
        aborts: vec![],
        resets: vec![],
        sharing,
        usable: f64::from(config.num_gpu_blocks - 1),
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
        match p.core.advance(now) {
            Some(mut due) => {
                while let Some(left) = clock.until(due) {
                    match commands.recv_timeout(left) {
                        Ok(c) => p.take(c),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                    if p.stopped {
                        return;
                    }
                }
                stalls.retain(|&(at, lasting)| {
                    if due < at {
                        return true;
                    }
                    std::thread::sleep(lasting);
                    let by = Span(lasting.as_nanos() as u64);
                    p.core.delay(by);
                    due += by;
                    false
                });
                now = due;
                p.output();
            }
            None => match p.pending.front() {
                Some(job) => now = now.max(job.request.arrival),
                None => match commands.recv() {
                    Ok(c) => p.take(c),
                    Err(_) => return,
                },
            },
        }
    }
}

impl<C: StepCost> Pace<C> {
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
        self.core.clear();
        for answer in std::mem::take(&mut self.resets) {
            let _ = answer.send(self.core.reset_prefix_cache());
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
        self.core.abort(id);
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
        match self.core.submit(job.request) {
            Ok(()) => {
                self.groups.entry(live.group.1).or_insert((live.group.0, 0));
                self.live.insert(id, live);
            }
            Err(e) => {
                let _ = live.sink.try_send(Event::Refused(e.to_string()));
            }
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

    /// The oldest batch is done.
    fn output(&mut self) {
        let Some(flight) = self.core.complete() else {
            return;
        };
        let now = flight.end;
        let ended: BTreeMap<RequestId, RequestRecord> = self
            .core
            .engine()
            .records()
            .iter()
            .map(|r| (r.id, *r))
            .collect();
        let tokens = self.core.engine().tokens().to_vec();
        let mut full = vec![];
        let mut first: Vec<SimTime> = vec![];
        let (mut generated, mut prompts) = (0, 0);
        let mut events: Vec<(RequestId, Event)> = Vec::with_capacity(tokens.len());
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
            let event = Event::Token {
                choice: live.choice,
                k,
                due: now,
                end,
            };
            events.push((id, event));
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
            for &(gap, count) in self.core.engine().gaps() {
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
        // Last of all: whoever has a token may ask at once what was counted.
        let mut gone = vec![];
        for (id, event) in events {
            let live = match done.binary_search_by_key(&id, |(i, _)| *i) {
                Ok(at) => &done[at].1,
                Err(_) => match self.live.get(&id) {
                    Some(live) => live,
                    None => continue,
                },
            };
            // Full: the client reads too slowly. Closed: it is gone. Either way nobody waits for it.
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
        self.core.clear();
    }

    fn gauges(&self) {
        let e = self.core.engine();
        let mut m = lock(&self.shared.metrics);
        m.running = e.num_running() as u64;
        m.waiting = e.num_waiting() as u64;
        m.kv_usage = 1.0 - f64::from(e.free_blocks()) / self.usable;
        m.prefix = e.prefix_counters();
        m.preemptions = self.core.preemptions();
    }
}

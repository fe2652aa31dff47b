//! The front end: the processes between the clients and the engine. Each is one core with a queue: it takes a request in (HTTP,
//! tokenisation, hand-over) before the engine sees it, and hands every step's tokens out (detokenisation, streaming) after the engine
//! made them. What arrives meanwhile waits.
//!
//! Tokens that wait for the same round of streaming go out together: a client that is behind gets several at once, so that a front end
//! that is too slow delays tokens but does not fall behind without end (`AsyncLLM.output_handler` and `RequestOutputCollector` of vLLM
//! merge what a stream has not taken yet, `v1/engine/output_processor.py`@0.12.0).
use super::Step;
use super::observe::{Observer, RequestRecord, StepRecord};
use crate::units::{SimTime, Span};
use crate::workload::{Request, RequestId, Source};
use std::collections::{BTreeMap, VecDeque};

/// Time of a front end's core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontEndCost {
    /// Taking in a request, however long.
    pub per_request: Span,
    /// Each token of its prompt: tokenisation, in a thread of its own that holds up no tokens that go out (one per process:
    /// `AsyncMicrobatchTokenizer`, `utils/async_utils.py`@0.12.0).
    pub per_prompt_token: Span,
    /// Handing out the tokens of a step, however many.
    pub per_step: Span,
    /// Each of them.
    pub per_token: Span,
    /// Processes that share the requests (`--api-server-count`).
    pub servers: u32,
}

/// One process.
#[derive(Debug, Default)]
struct Process {
    /// When its tokeniser has done all that was sent.
    tokenised: SimTime,
    /// When it has done what it is at.
    busy: SimTime,
    /// The round of streaming that waits behind that: when its tokens go out, and when it will have ended.
    waiting: Option<(SimTime, SimTime)>,
    /// Ends of steps, and when their tokens had gone out; the oldest first.
    rounds: VecDeque<(SimTime, SimTime)>,
    /// Whether the last step's tokens joined those of the step before.
    merged: bool,
}

impl Process {
    fn catch_up(&mut self, now: SimTime) {
        if self.busy < now
            && let Some((_, end)) = self.waiting.take()
        {
            self.busy = end;
        }
    }

    /// When a request that came at `now` is with the engine.
    fn take_in(&mut self, now: SimTime, work: Span) -> SimTime {
        self.catch_up(now);
        // One after the other: what waits to go out was there before.
        if let Some((_, end)) = self.waiting.take() {
            self.busy = end;
        }
        self.busy = now.max(self.busy) + work;
        self.busy
    }

    /// When the tokens of a step that ended at `now` are with their clients.
    fn hand_out(&mut self, now: SimTime, step: Span, tokens: Span) -> SimTime {
        self.catch_up(now);
        self.merged = self.waiting.is_some();
        let out = match &mut self.waiting {
            // They join what waits; the processing of one more step delays what comes after.
            Some((out, end)) => {
                *end += step;
                *out
            }
            None if self.busy > now => {
                let end = self.busy + step + tokens;
                self.waiting = Some((end, end));
                end
            }
            None => {
                self.busy = now + step + tokens;
                self.busy
            }
        };
        self.rounds.push_back((now, out));
        out
    }

    /// When tokens made at `made` went out.
    fn out(&self, made: SimTime) -> SimTime {
        let at = self.rounds.partition_point(|(t, _)| *t < made);
        match self.rounds.get(at) {
            Some((t, out)) if *t == made => *out,
            _ => made,
        }
    }
}

/// A request between its client and its end.
#[derive(Clone, Copy, Debug)]
struct Open {
    sent: SimTime,
    process: usize,
}

/// Front ends with what is in them.
#[derive(Debug)]
pub(super) struct FrontEnd {
    cost: FrontEndCost,
    processes: Vec<Process>,
    /// The process that takes the next request.
    turn: usize,
    /// Requests whose text will have become tokens, by when.
    tokenised: BTreeMap<(SimTime, u64), Request>,
    /// Requests by when they will be with the engine, and their number.
    inside: BTreeMap<(SimTime, u64), Request>,
    open: BTreeMap<u64, Open>,
    /// Rounds that are kept before old ones are forgotten.
    keep: usize,
}

impl FrontEnd {
    /// Processes with nothing to do; `None`: clients reach the engine at no cost.
    pub fn new(cost: FrontEndCost) -> Option<Self> {
        let nothing = FrontEndCost {
            servers: cost.servers,
            ..FrontEndCost::default()
        };
        if cost == nothing {
            return None;
        }
        Some(Self {
            processes: (0..cost.servers.max(1))
                .map(|_| Process::default())
                .collect(),
            cost,
            turn: 0,
            tokenised: BTreeMap::new(),
            inside: BTreeMap::new(),
            open: BTreeMap::new(),
            keep: 1 << 12,
        })
    }

    /// Takes in what clients send until `until`.
    pub fn take_in(&mut self, source: &mut impl Source, until: SimTime) {
        while source.peek().is_some_and(|t| t <= until) {
            let Some(request) = source.pop() else {
                break;
            };
            self.tokenise(request);
        }
        self.hand_over_until(until);
    }

    /// Takes in a request that comes at its arrival.
    pub fn tokenise(&mut self, request: Request) {
        let process = self.turn;
        self.turn = (self.turn + 1) % self.processes.len();
        let (sent, id) = (request.arrival, request.id.0);
        self.open.insert(id, Open { sent, process });
        let work = self.cost.per_prompt_token * u64::from(request.prompt.len());
        let tokenised = &mut self.processes[process].tokenised;
        *tokenised = sent.max(*tokenised) + work;
        self.tokenised.insert((*tokenised, id), request);
    }

    fn next_tokenised(&self) -> Option<SimTime> {
        self.tokenised.keys().next().map(|k| k.0)
    }

    /// The request whose tokens are there first goes through its process to the engine.
    fn hand_over(&mut self) {
        let Some(((at, id), mut request)) = self.tokenised.pop_first() else {
            return;
        };
        let process = self.open.get(&id).map_or(0, |o| o.process);
        request.arrival = self.processes[process].take_in(at, self.cost.per_request);
        self.inside.insert((request.arrival, id), request);
    }

    /// Takes what has become tokens by `now` through the processes.
    pub fn hand_over_until(&mut self, now: SimTime) {
        while self.next_tokenised().is_some_and(|t| t <= now) {
            self.hand_over();
        }
    }

    /// When something next happens in it.
    pub fn next(&self) -> Option<SimTime> {
        let inside = self.inside.keys().next().map(|k| k.0);
        [inside, self.next_tokenised()].into_iter().flatten().min()
    }

    /// When the next request will be with the engine, if nothing happens there before `until`.
    pub fn peek(&mut self, source: &mut impl Source, until: Option<SimTime>) -> Option<SimTime> {
        loop {
            let head = self.inside.keys().next().map(|k| k.0);
            let limit = match (head, until) {
                (Some(h), Some(u)) => Some(h.min(u)),
                (h, u) => h.or(u),
            };
            let soon = |t: &SimTime| limit.is_none_or(|l| *t <= l);
            let (sent, tokenised) = (source.peek(), self.next_tokenised());
            if let Some(t) = sent.filter(soon)
                && tokenised.is_none_or(|at| t <= at)
            {
                let request = source.pop()?;
                self.tokenise(request);
            } else if tokenised.is_some_and(|t| soon(&t)) {
                self.hand_over();
            } else {
                return head;
            }
        }
    }

    /// The next request that is with the engine by `now`.
    pub fn pop(&mut self, now: SimTime) -> Option<Request> {
        let entry = self.inside.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// A step ended at `now` with so many tokens: each process hands out its share.
    pub fn hand_out(&mut self, now: SimTime, tokens: u32) {
        let share = tokens.div_ceil(self.processes.len() as u32);
        let work = self.cost.per_token * u64::from(share);
        for p in &mut self.processes {
            p.hand_out(now, self.cost.per_step, work);
        }
        if self.processes[0].rounds.len() > self.keep {
            self.forget();
        }
    }

    /// Forgets rounds in which no open request can have had its first token.
    fn forget(&mut self) {
        let oldest = self.open.values().map(|o| o.sent).min();
        for p in &mut self.processes {
            let old = p
                .rounds
                .partition_point(|(t, _)| oldest.is_none_or(|o| *t < o));
            // The last one is asked for by gaps between tokens.
            p.rounds.drain(..old.min(p.rounds.len().saturating_sub(64)));
        }
        self.keep = (1 << 12).max(2 * self.processes[0].rounds.len());
    }

    /// When the client of a request has what was made at `made`.
    pub fn out(&self, id: RequestId, made: SimTime) -> SimTime {
        let process = self.open.get(&id.0).map_or(0, |o| o.process);
        self.processes[process].out(made)
    }

    /// Forgets a request that is not with the engine yet, or no longer.
    pub fn forget_request(&mut self, id: RequestId) {
        self.tokenised.retain(|k, _| k.1 != id.0);
        self.inside.retain(|k, _| k.1 != id.0);
        self.open.remove(&id.0);
    }

    /// A refusal, at once.
    pub fn refuse(&mut self, id: RequestId) -> Option<SimTime> {
        self.open.remove(&id.0).map(|o| o.sent)
    }
}

/// An observer who stands where the clients do.
pub(super) struct AtTheClients<'a, O> {
    pub front: &'a mut FrontEnd,
    pub observer: &'a mut O,
    /// When the step ended whose tokens are handed out.
    pub now: SimTime,
    /// Clients' answers that ended: id and when.
    pub ended: &'a mut Vec<(RequestId, SimTime)>,
}

impl<O: Observer> Observer for AtTheClients<'_, O> {
    fn stop(&self) -> bool {
        self.observer.stop()
    }
    fn on_schedule(&mut self, at: SimTime, step: &Step<'_>) {
        self.observer.on_schedule(at, step);
    }
    fn on_step(&mut self, step: &StepRecord) {
        self.observer.on_step(step);
    }
    fn wants_output(&self) -> bool {
        self.observer.wants_output()
    }
    fn on_output(&mut self, at: SimTime, tokens: &[RequestId]) {
        self.observer.on_output(at, tokens);
    }
    fn on_tokens(&mut self, gap: Span, count: u32) {
        // Of several processes the first speaks for all. A client sees one piece of a stream per round, whatever tokens are in it
        // (`vllm bench serve` takes the time between pieces for ITL).
        let before = SimTime(self.now.0.saturating_sub(gap.0));
        let process = &self.front.processes[0];
        if process.merged {
            return;
        }
        let gap = process
            .out(self.now)
            .0
            .saturating_sub(process.out(before).0);
        self.observer.on_tokens(Span(gap), count);
    }
    fn on_request(&mut self, request: &RequestRecord) {
        let out = |made| self.front.out(request.id, made);
        let (first_token, finish) = (out(request.first_token), out(request.finish));
        let sent = self.front.refuse(request.id).unwrap_or(request.arrival);
        self.ended.push((request.id, finish));
        self.observer.on_request(&RequestRecord {
            arrival: sent,
            first_token,
            finish,
            ..*request
        });
    }
}

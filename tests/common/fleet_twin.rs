//! A fleet as slowly and as plainly as it can be written: raw schedulers, a list of everything, and at each event a look at all of it.
//! Without front ends and outages.
use capsim::cost::LinearCost;
use capsim::cost::StepCost;
use capsim::device::EngineId;
use capsim::engine::fleet::{Plan, Policy, Role, Way};
use capsim::engine::observe::RequestRecord;
use capsim::engine::{Computed, Scheduler, Tracking, acceptable, kind};
use capsim::units::{SimTime, Span};
use capsim::workload::Request;
use std::collections::VecDeque;

struct Engine {
    role: Role,
    id: EngineId,
    scheduler: Box<dyn Scheduler>,
    /// Ends of the batches in flight.
    flights: VecDeque<SimTime>,
    /// Whether it schedules now, and whether anything happened in it: an engine that is idle looks only then.
    due: bool,
    poked: bool,
    expected: VecDeque<u64>,
    /// Requests that it has, as the router counts.
    open: u32,
    on_the_way: u64,
    rate: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Stage {
    Whole,
    Booked,
    Prefill,
    Between,
    Sending,
    Landing,
    Decode,
}

#[derive(Clone)]
struct Way1 {
    request: Request,
    stage: Stage,
    p: usize,
    d: usize,
    chosen: bool,
    kept: u32,
    booked: u32,
    hit: u32,
    first: Option<RequestRecord>,
    /// Units left to send, at which rate, and when it will land.
    left: u128,
    speed: u128,
    lands: SimTime,
}

pub struct Twin<'a> {
    plan: &'a Plan<LinearCost>,
    engines: Vec<Engine>,
    live: Vec<Way1>,
    now: SimTime,
    turns: [usize; 2],
    done: Vec<RequestRecord>,
}

const UNITS: u128 = 1_000_000_000;

impl<'a> Twin<'a> {
    pub fn new(plan: &'a Plan<LinearCost>) -> Self {
        let mut engines = vec![];
        for p in &plan.pools {
            for _ in 0..p.replicas {
                engines.push(Engine {
                    role: p.role,
                    id: p.engine,
                    scheduler: kind(p.engine)
                        .scheduler(p.config.clone(), Tracking::default())
                        .unwrap(),
                    flights: VecDeque::new(),
                    due: false,
                    poked: false,
                    expected: VecDeque::new(),
                    open: 0,
                    on_the_way: 0,
                    rate: p.rate,
                });
            }
        }
        Self {
            plan,
            engines,
            live: vec![],
            now: SimTime::ZERO,
            turns: [0; 2],
            done: vec![],
        }
    }

    /// Records of all requests that are answered, by number.
    pub fn run(mut self, list: &[Request]) -> Vec<RequestRecord> {
        let mut left: VecDeque<Request> = list.iter().cloned().collect();
        loop {
            let mut next: Vec<SimTime> = left.front().map(|r| r.arrival).into_iter().collect();
            next.extend(
                self.engines
                    .iter()
                    .filter_map(|e| e.flights.front().copied()),
            );
            for l in &self.live {
                match l.stage {
                    Stage::Sending => {
                        let ns = if l.speed == 0 {
                            0
                        } else {
                            l.left.div_ceil(l.speed)
                        };
                        next.push(SimTime(self.now.0 + ns as u64));
                    }
                    Stage::Landing => next.push(l.lands),
                    _ => {}
                }
            }
            let Some(at) = next.into_iter().min() else {
                break;
            };
            self.travel(at);
            for i in 0..self.engines.len() {
                while self.engines[i]
                    .flights
                    .front()
                    .is_some_and(|t| *t <= self.now)
                    && !self.engines[i].due
                {
                    self.output(i);
                }
            }
            while self.moves(&mut left) {}
            for i in 0..self.engines.len() {
                self.schedule(i);
            }
        }
        assert!(self.live.is_empty(), "stuck");
        self.done.sort_by_key(|r| r.id);
        self.done
    }

    fn travel(&mut self, at: SimTime) {
        let ns = u128::from(at.since(self.now).0);
        for l in self.live.iter_mut().filter(|l| l.stage == Stage::Sending) {
            l.left = l.left.saturating_sub(ns * l.speed);
        }
        self.now = at;
    }

    /// All transfers at once get their shares.
    fn share(&mut self) {
        let sending = |l: &&Way1| l.stage == Stage::Sending;
        for i in 0..self.live.len() {
            let (p, d) = (self.live[i].p, self.live[i].d);
            let from = self
                .live
                .iter()
                .filter(sending)
                .filter(|l| l.p == p)
                .count() as u64;
            let to = self
                .live
                .iter()
                .filter(sending)
                .filter(|l| l.d == d)
                .count() as u64;
            let rates = [
                self.engines[p].rate.map(|r| (r / from.max(1)).max(1)),
                self.engines[d].rate.map(|r| (r / to.max(1)).max(1)),
            ];
            let least = rates.into_iter().flatten().min();
            self.live[i].speed = least.map_or(0, u128::from);
            if least.is_none() {
                self.live[i].left = 0;
            }
        }
    }

    fn output(&mut self, i: usize) {
        let end = self.engines[i].flights.pop_front().unwrap();
        self.engines[i].due = true;
        self.engines[i].poked = true;
        let ended: Vec<RequestRecord> = self.engines[i]
            .scheduler
            .complete(end)
            .unwrap()
            .finished
            .to_vec();
        for r in ended {
            self.ended(i, r);
        }
    }

    fn ended(&mut self, i: usize, r: RequestRecord) {
        let at = self.live.iter().position(|l| l.request.id == r.id).unwrap();
        self.engines[i].open -= 1;
        if self.live[at].stage == Stage::Prefill {
            let config = self.engines[i].scheduler.config();
            let kept = config.blocks_for(r.prompt_tokens) - r.cached_tokens / config.block_size;
            self.engines[i].scheduler.handover().unwrap().withhold(kept);
            self.live[at].kept = kept;
            self.live[at].first = Some(r);
            if self.plan.transfer.way == Way::Push {
                self.transmit(at);
                return;
            }
            if !self.live[at].chosen {
                let request = self.live[at].request.clone();
                self.live[at].d = self.pick(&request, Role::Decode);
            }
            let d = self.live[at].d;
            self.engines[d].open += 1;
            self.engines[d].expected.push_back(r.id.0);
            self.live[at].stage = Stage::Between;
            return;
        }
        let l = self.live.remove(at);
        let mut record = RequestRecord {
            arrival: l.request.arrival,
            ..r
        };
        if let Some(f) = l.first {
            record.received = f.received;
            record.scheduled = f.scheduled;
            if self.plan.transfer.first_token {
                record.first_made = f.first_made;
            }
            record.cached_tokens = f.cached_tokens;
            record.preemptions += f.preemptions;
        }
        self.done.push(record);
    }

    fn transmit(&mut self, at: usize) {
        let l = &mut self.live[at];
        let bytes = u64::from(l.request.prompt.len() - l.hit) * self.plan.transfer.bytes_per_token;
        l.left = u128::from(bytes) * UNITS;
        l.stage = Stage::Sending;
        self.share();
    }

    fn cached(&mut self, i: usize, request: &Request) -> u32 {
        self.engines[i]
            .scheduler
            .handover()
            .unwrap()
            .cached(request, &mut Default::default())
    }

    fn pick(&mut self, request: &Request, role: Role) -> usize {
        let n = self.engines.len();
        let turn = usize::from(role == Role::Prefill);
        let mut best: Option<(f64, usize)> = None;
        let candidates: Vec<usize> = (0..n).filter(|i| self.engines[*i].role == role).collect();
        let waiting = |e: &Engine| f64::from(e.scheduler.state().waiting);
        let queues: Vec<f64> = candidates
            .iter()
            .map(|i| waiting(&self.engines[*i]))
            .collect();
        let low = queues.iter().copied().fold(f64::INFINITY, f64::min);
        let high = queues.iter().copied().fold(0.0, f64::max);
        for k in 0..n {
            let i = (self.turns[turn] + k) % n;
            if self.engines[i].role != role {
                continue;
            }
            let cached = match role {
                Role::Decode => 0.0,
                _ => f64::from(self.cached(i, request)),
            };
            let e = &self.engines[i];
            let (state, config) = (e.scheduler.state(), e.scheduler.config());
            let usable = f64::from(config.num_gpu_blocks - 1);
            let free = f64::from(state.free_blocks) / usable;
            let prompt = f64::from(request.prompt.len());
            let cost = match self.plan.policy {
                Policy::RoundRobin => 0.0,
                Policy::LeastRequests => f64::from(e.open),
                Policy::Gateway => {
                    let queue = match high > low {
                        true => (high - f64::from(state.waiting)) / (high - low),
                        false => 1.0,
                    };
                    -(2.0 * queue + 2.0 * free + 3.0 * (cached / prompt))
                }
                Policy::KvAware => {
                    (prompt - cached) / f64::from(config.block_size) + usable * (1.0 - free)
                }
            };
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, i));
            }
        }
        let chosen = best.unwrap().1;
        self.turns[turn] = chosen + 1;
        chosen
    }

    fn arrives(&mut self, request: Request) {
        let t = self.plan.transfer;
        let apart = self.engines.iter().any(|e| e.role == Role::Prefill);
        let mut l = Way1 {
            stage: Stage::Whole,
            p: 0,
            d: 0,
            chosen: false,
            kept: 0,
            booked: 0,
            hit: 0,
            first: None,
            left: 0,
            speed: 0,
            lands: SimTime::ZERO,
            request: request.clone(),
        };
        let mut remote = apart;
        if apart && (t.from > 0 || t.way == Way::Push) {
            l.d = self.pick(&request, Role::Decode);
            l.chosen = true;
            remote = request.prompt.len() - self.cached(l.d, &request) >= t.from;
        }
        if !remote {
            let role = if apart { Role::Decode } else { Role::Serve };
            let i = if l.chosen {
                l.d
            } else {
                self.pick(&request, role)
            };
            let e = &mut self.engines[i];
            if acceptable(e.scheduler.config(), &request).is_ok() {
                e.scheduler.submit(request).unwrap();
                e.open += 1;
                e.poked = true;
                self.live.push(l);
            }
            return;
        }
        l.p = self.pick(&request, Role::Prefill);
        if acceptable(self.engines[0].scheduler.config(), &request).is_err() {
            return;
        }
        if t.way == Way::Push {
            l.stage = Stage::Booked;
            self.engines[l.d].expected.push_back(request.id.0);
            self.engines[l.d].open += 1;
            self.live.push(l);
            return;
        }
        self.prefill(&mut l);
        self.live.push(l);
    }

    fn prefill(&mut self, l: &mut Way1) {
        let mut short = l.request.clone();
        short.max_tokens = 1;
        short.arrival = short.arrival.max(self.now);
        l.stage = Stage::Prefill;
        let e = &mut self.engines[l.p];
        e.open += 1;
        e.poked = true;
        e.scheduler.submit(short).unwrap();
    }

    /// What happens between outputs and steps; whether anything did.
    fn moves(&mut self, left: &mut VecDeque<Request>) -> bool {
        let mut any = false;
        let mut sent: Vec<usize> = (0..self.live.len())
            .filter(|i| self.live[*i].stage == Stage::Sending && self.live[*i].left == 0)
            .collect();
        sent.sort_by_key(|i| self.live[*i].request.id);
        for i in sent {
            self.live[i].stage = Stage::Landing;
            self.live[i].lands = self.now + self.plan.transfer.latency;
            any = true;
        }
        self.share();
        loop {
            let due = |l: &&Way1| l.stage == Stage::Landing && l.lands <= self.now;
            let next = self
                .live
                .iter()
                .filter(due)
                .min_by_key(|l| (l.lands, l.request.id));
            let Some(id) = next.map(|l| l.request.id) else {
                break;
            };
            self.land(id.0);
            any = true;
        }
        while left.front().is_some_and(|r| r.arrival <= self.now) {
            let r = left.pop_front().unwrap();
            self.arrives(r);
            any = true;
        }
        for i in 0..self.engines.len() {
            while self.room(i) {
                any = true;
            }
        }
        any
    }

    fn land(&mut self, id: u64) {
        let first = self.plan.transfer.first_token;
        let at = self.live.iter().position(|l| l.request.id.0 == id).unwrap();
        let now = self.now;
        let l = &mut self.live[at];
        l.stage = Stage::Decode;
        let mut request = l.request.clone();
        request.arrival = now;
        let (p, d, kept, booked, record) = (l.p, l.d, l.kept, l.booked, l.first.unwrap());
        self.engines[p].scheduler.handover().unwrap().restore(kept);
        self.engines[p].poked = true;
        self.engines[d].poked = true;
        self.engines[d].on_the_way -= 1;
        let h = self.engines[d].scheduler.handover().unwrap();
        let outputs = request
            .answer
            .stop_at
            .map_or(u32::MAX, |k| k + 1)
            .min(request.max_tokens);
        if first && outputs == 1 {
            h.restore(booked);
            self.ended(
                d,
                RequestRecord {
                    first_token: now,
                    finish: now,
                    ..record
                },
            );
            return;
        }
        let tokens = request.prompt.len();
        let computed = Computed {
            tokens,
            first,
            blocks: booked,
        };
        h.submit_computed(request, computed, now).unwrap();
    }

    /// Takes the first that is expected, if there is room.
    fn room(&mut self, i: usize) -> bool {
        let first = self.plan.transfer.first_token;
        let Some(id) = self.engines[i].expected.front().copied() else {
            return false;
        };
        if !self.engines[i].due && !self.engines[i].flights.is_empty() {
            return false;
        }
        let at = self.live.iter().position(|l| l.request.id.0 == id).unwrap();
        let request = self.live[at].request.clone();
        if self.engines[i].scheduler.handover().unwrap().others_wait() {
            return false;
        }
        let hit = self.cached(i, &request);
        let e = &mut self.engines[i];
        let (state, c) = (e.scheduler.state(), e.scheduler.config().clone());
        let blocks = c.blocks_for(request.prompt.len() + u32::from(first));
        let mut need = u64::from(blocks);
        if e.id == EngineId::Sglang {
            let each = u64::from(state.running) + u64::from(state.waiting) + e.on_the_way;
            need += (512 * each).div_ceil(c.block_size.into());
        }
        if state.running >= c.max_num_seqs || u64::from(state.free_blocks) < need {
            return false;
        }
        e.expected.pop_front();
        e.poked = true;
        e.on_the_way += 1;
        e.scheduler.handover().unwrap().withhold(blocks);
        self.live[at].booked = blocks;
        self.live[at].hit = hit;
        if self.live[at].stage == Stage::Booked {
            let mut l = self.live[at].clone();
            self.prefill(&mut l);
            self.live[at] = l;
        } else {
            self.transmit(at);
        }
        true
    }

    fn schedule(&mut self, i: usize) {
        let e = &mut self.engines[i];
        let poked = std::mem::take(&mut e.poked);
        if !std::mem::take(&mut e.due) && !e.flights.is_empty() || !poked {
            return;
        }
        let most = e.scheduler.config().batches_in_flight();
        let mut idle = 0;
        while e.flights.len() < most {
            if !e.scheduler.has_work() {
                break;
            }
            let step = e.scheduler.schedule(self.now);
            let preempted = step.preempted.len();
            if let Some(shape) = step.shape {
                let price: Span = self.plan.pools[0].cost.step(shape);
                let start = e.flights.back().copied().unwrap_or(self.now).max(self.now);
                e.flights.push_back(start + price);
                continue;
            }
            idle += 1;
            if preempted == 0 || !e.flights.is_empty() || idle > 1_000 {
                break;
            }
        }
    }
}

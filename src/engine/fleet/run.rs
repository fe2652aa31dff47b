//! The loop of events of a fleet.
use super::flow::{Landing, Live};
use super::replica::{Inside, Replica, add, places};
use super::{At, FleetSummary, Links, Plan, Role};
use crate::cost::StepCost;
use crate::engine::observe::Observer;
use crate::engine::{ConfigError, SimError, SimSummary};
use crate::units::SimTime;
use crate::workload::Source;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// A fleet and all that is in it.
#[derive(Debug)]
pub struct Fleet<C> {
    pub(super) plan: Plan<C>,
    pub(super) replicas: Vec<Replica<C>>,
    pub(super) links: Links,
    /// Requests on their way, by number.
    pub(super) live: BTreeMap<u64, Live>,
    /// KV that is all there and will be known of at its time.
    pub(super) landing: BinaryHeap<Reverse<Landing>>,
    /// Prompts whose computation the router will know of at its time.
    pub(super) handoffs: BinaryHeap<Reverse<Landing>>,
    /// Replicas by when something happens in them; entries that no longer hold are passed over.
    wakes: BinaryHeap<Reverse<(SimTime, usize)>>,
    /// Replicas in which something happened now.
    touched: Vec<usize>,
    is_touched: Vec<bool>,
    /// The replica that is next in turn: of those that serve or decode, of those that prefill.
    pub(super) turns: [usize; 2],
    /// When the router last looked.
    pub(super) looked: Option<SimTime>,
    /// Outages still to come, the next one last.
    pub(super) outages: Vec<super::Outage>,
    pub(super) totals: FleetSummary,
    pub(super) wants_output: bool,
}

impl<C: StepCost + Clone> Fleet<C> {
    /// A fleet with nothing to do. `tokens`: whether observers are told who got a token in each step.
    ///
    /// # Errors
    /// Settings that no engine starts with; pools that cannot work together; an engine that cannot hand over KV.
    pub fn new(plan: Plan<C>, tokens: bool) -> Result<Self, ConfigError> {
        check(&plan)?;
        let places = places(&plan);
        let mut replicas = places
            .iter()
            .map(|at| Replica::new(&plan.pools[at.pool], *at, tokens))
            .collect::<Result<Vec<_>, _>>()?;
        for r in &mut replicas {
            if plan.pools[r.at.pool].role != Role::Serve && r.runtime.handover(0).is_none() {
                return Err(bad("pools", "an engine that cannot hand over KV"));
            }
        }
        let rates = places.iter().map(|at| plan.pools[at.pool].rate);
        let mut outages = plan.outages.clone();
        outages.sort_by_key(|o| (o.at, o.pool, o.replica));
        outages.reverse();
        Ok(Self {
            links: Links::new(rates.collect()),
            is_touched: vec![false; replicas.len()],
            replicas,
            live: BTreeMap::new(),
            landing: BinaryHeap::new(),
            handoffs: BinaryHeap::new(),
            wakes: BinaryHeap::new(),
            touched: vec![],
            turns: [0; 2],
            looked: None,
            outages,
            totals: FleetSummary::default(),
            wants_output: tokens,
            plan,
        })
    }

    /// Goes from event to event until the source has nothing more and everything is answered.
    ///
    /// # Errors
    /// Engines that can never go on, or an observer that wants no more.
    pub fn run<S: Source, O: Observer>(
        mut self,
        source: &mut S,
        observer: &mut O,
    ) -> Result<FleetSummary, SimError> {
        let mut now = SimTime::ZERO;
        loop {
            if observer.stop() {
                return Err(SimError::Stopped);
            }
            let Some(next) = self.next(source.peek()) else {
                break;
            };
            now = now.max(next);
            self.wake(now);
            self.outputs(now, source, observer)?;
            self.strike(now, source, observer)?;
            while self.moves(now, source, observer) {}
            self.begin(now, observer);
        }
        if !self.live.is_empty() {
            return Err(self.stuck(now));
        }
        Ok(self.summary())
    }

    /// When something next happens; `None`: never.
    fn next(&mut self, arrival: Option<SimTime>) -> Option<SimTime> {
        while let Some(Reverse((at, i))) = self.wakes.peek() {
            if self.replicas[*i].wake == Some(*at) {
                break;
            }
            self.wakes.pop();
        }
        let wake = self.wakes.peek().map(|Reverse((at, _))| *at);
        let landing = self.landing.peek().map(|Reverse(l)| l.at);
        let handoff = self.handoffs.peek().map(|Reverse(l)| l.at);
        let next = [wake, landing, handoff, self.links.next_end(), arrival];
        let next = next.into_iter().flatten().min();
        // What befalls replicas matters only while there are requests.
        let outage = self.outages.last().map(|o| o.at);
        match (next, outage) {
            (Some(n), Some(o)) => Some(n.min(o)),
            (None, Some(o)) if !self.live.is_empty() => Some(o),
            (n, _) => n,
        }
    }

    /// Something happened in a replica.
    pub(super) fn touch(&mut self, replica: usize) {
        if !std::mem::replace(&mut self.is_touched[replica], true) {
            self.touched.push(replica);
        }
    }

    /// Touches the replicas in which something happens by `now`.
    fn wake(&mut self, now: SimTime) {
        while let Some(Reverse((at, i))) = self.wakes.peek().copied() {
            if at > now {
                break;
            }
            self.wakes.pop();
            if self.replicas[i].wake == Some(at) {
                self.replicas[i].wake = None;
                self.touch(i);
            }
        }
        self.touched.sort_unstable();
    }

    /// Delivers the steps that ended by `now`.
    fn outputs<S: Source, O: Observer>(
        &mut self,
        now: SimTime,
        source: &mut S,
        observer: &mut O,
    ) -> Result<(), SimError> {
        let mut ended = vec![];
        for k in 0..self.touched.len() {
            let i = self.touched[k];
            let r = &mut self.replicas[i];
            if r.due.is_none_or(|t| t > now) {
                continue;
            }
            observer.on_replica(r.at);
            let mut inside = Inside {
                seen: self.plan.pools[r.at.pool].role != Role::Prefill,
                observer: &mut *observer,
                ended: vec![],
                admitted: None,
            };
            let in_circles = r.deliver(now, &mut inside, &mut ended);
            for record in ended.drain(..) {
                self.ended(i, record, now, source, observer);
            }
            if in_circles {
                return Err(self.stuck(now));
            }
        }
        Ok(())
    }

    /// Everything that happens at `now` between outputs and steps; whether anything did.
    fn moves<S: Source, O: Observer>(
        &mut self,
        now: SimTime,
        source: &mut S,
        observer: &mut O,
    ) -> bool {
        let mut any = false;
        while let Some(id) = self.links.pop(now) {
            self.sent(id, now);
            any = true;
        }
        while self.landing.peek().is_some_and(|Reverse(l)| l.at <= now) {
            if let Some(Reverse(l)) = self.landing.pop() {
                self.landed(l, now, source, observer);
            }
            any = true;
        }
        while self.handoffs.peek().is_some_and(|Reverse(l)| l.at <= now) {
            if let Some(Reverse(l)) = self.handoffs.pop() {
                self.handed_off(l, now, source, observer);
            }
            any = true;
        }
        while source.peek().is_some_and(|t| t <= now) {
            let Some(request) = source.pop() else {
                break;
            };
            self.arrives(request, now, source, observer);
            any = true;
        }
        let mut k = 0;
        while k < self.touched.len() {
            let i = self.touched[k];
            while let Some(request) = self.replicas[i].pop(now) {
                self.enters(i, request, now, source, observer);
                any = true;
            }
            any |= self.make_room(i, now, source, observer);
            k += 1;
        }
        any
    }

    /// Begins the steps that begin at `now`.
    fn begin<O: Observer>(&mut self, now: SimTime, observer: &mut O) {
        self.touched.sort_unstable();
        let touched = std::mem::take(&mut self.touched);
        for &i in &touched {
            self.is_touched[i] = false;
            let r = &mut self.replicas[i];
            let role = self.plan.pools[r.at.pool].role;
            observer.on_replica(r.at);
            let by_layer = role == Role::Prefill && self.plan.transfer.layers > 1;
            let mut inside = Inside {
                seen: role != Role::Prefill,
                observer: &mut *observer,
                ended: vec![],
                admitted: by_layer.then(Vec::new),
            };
            r.due = r.runtime.advance(now, &mut inside);
            let admitted = inside.admitted.take();
            for id in admitted.into_iter().flatten() {
                self.send_layers(id.0, now);
            }
            let r = &mut self.replicas[i];
            let next = r.next();
            if next != r.wake {
                r.wake = next;
                self.wakes.extend(next.map(|t| Reverse((t, i))));
            }
        }
        self.touched = touched;
        self.touched.clear();
    }

    pub(super) fn stuck(&self, at: SimTime) -> SimError {
        let (mut running, mut waiting, mut blocks) = (0, 0, u32::MAX);
        for r in &self.replicas {
            for s in r.runtime.states() {
                running += s.running as usize;
                waiting += s.waiting as usize;
            }
            waiting += r.expected.len();
            blocks = blocks.min(r.runtime.config().num_gpu_blocks);
        }
        SimError::Stuck {
            at: at.secs() as u64,
            running,
            waiting,
            blocks,
        }
    }

    fn summary(mut self) -> FleetSummary {
        let mut pools = vec![SimSummary::default(); self.plan.pools.len()];
        for r in &self.replicas {
            add(&mut pools[r.at.pool], &r.totals());
            self.totals.routed.push(r.routed);
        }
        let clients = self.totals.total;
        for p in &pools {
            add(&mut self.totals.total, p);
        }
        self.totals.total.completed = clients.completed;
        self.totals.total.output_tokens = clients.output_tokens;
        self.totals.total.rejected = clients.rejected;
        self.totals.pools = pools;
        self.totals
    }

    /// The place of a replica in the list of all.
    pub(super) fn index(&self, at: At) -> Option<usize> {
        self.replicas.iter().position(|r| r.at == at)
    }
}

pub(super) fn bad(field: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError {
        field,
        problem: problem.into(),
    }
}

/// Whether pools can work together.
fn check<C>(plan: &Plan<C>) -> Result<(), ConfigError> {
    let replicas = |role: Role| {
        let of_role = plan.pools.iter().filter(|p| p.role == role);
        of_role.map(|p| u64::from(p.replicas)).sum::<u64>()
    };
    let (serve, prefill, decode) = (
        replicas(Role::Serve),
        replicas(Role::Prefill),
        replicas(Role::Decode),
    );
    match (serve, prefill, decode) {
        (0, 0, 0) => Err(bad("pools", "there is no replica")),
        (s, p, d) if s > 0 && p + d > 0 => Err(bad(
            "pools",
            "a pool that serves whole requests beside pools that prefill or decode: give all of them one kind of role",
        )),
        (0, 0, _) => Err(bad("pools", "a decode pool needs a prefill pool")),
        (0, _, 0) => Err(bad("pools", "a prefill pool needs a decode pool")),
        (s, p, d) if s + p + d > 1 << 16 => Err(bad("pools", "at most 65536 replicas")),
        _ => Ok(()),
    }
}

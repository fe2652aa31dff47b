//! The way of a request through a fleet.
use super::replica::Replica;
use super::router::{Candidate, choose};
use super::run::Fleet;
use super::{Role, Way};
use crate::cost::StepCost;
use crate::engine::observe::{Observer, RequestRecord};
use crate::engine::{PromptHashes, acceptable};
use crate::units::SimTime;
use crate::workload::{Request, RequestId, Source};

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// At one replica that serves all of it.
    Whole,
    /// It waits for room at the decoder before it is prefilled (push).
    Booked,
    /// At the prefiller.
    Prefill,
    /// On its way to the decoder, or waiting for room there.
    Between,
    /// At the decoder.
    Decode,
}

/// A request that was sent and is not answered.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub request: Request,
    /// Where it is. A request that was sent again has a higher attempt.
    pub stage: Stage,
    pub attempt: u32,
    /// Replicas, and their ranks once they are known.
    pub prefiller: Option<(usize, usize)>,
    pub decoder: Option<(usize, usize)>,
    /// Blocks withheld at the prefiller and at the decoder.
    pub kept: u32,
    pub booked: u32,
    /// Tokens that the decoder's own cache had when it allocated.
    pub hit: u32,
    /// What the prefiller recorded.
    pub first: Option<RequestRecord>,
    /// Bytes still to be sent once the prompt is computed, where layers travel on their own; and whether the others have.
    pub last_layer: Option<u64>,
    pub layers_sent: bool,
    pub prefilled: Option<SimTime>,
    /// Whether observers were told of it.
    pub told: bool,
    pub retries: u32,
}

/// KV that the decoder will know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Landing {
    pub at: SimTime,
    pub id: u64,
    pub attempt: u32,
}

impl<C: StepCost + Clone> Fleet<C> {
    /// A request comes from a client.
    pub(super) fn arrives<S: Source, O: Observer>(
        &mut self,
        request: Request,
        now: SimTime,
        source: &mut S,
        observer: &mut O,
    ) {
        let live = Live {
            stage: Stage::Whole,
            attempt: 0,
            prefiller: None,
            decoder: None,
            kept: 0,
            booked: 0,
            hit: 0,
            first: None,
            last_layer: None,
            layers_sent: false,
            prefilled: None,
            told: false,
            retries: 0,
            request,
        };
        self.dispatch(live, now, source, observer);
    }

    /// Sends a request to the replica that the router chooses, or refuses it.
    pub(super) fn dispatch<S: Source, O: Observer>(
        &mut self,
        mut live: Live,
        now: SimTime,
        source: &mut S,
        observer: &mut O,
    ) {
        let apart = self.plan.pools.iter().any(|p| p.role == Role::Prefill);
        let id = live.request.id;
        if !apart {
            let to = self.pick(&live.request, Role::Serve, now);
            self.live.insert(id.0, live);
            self.send(to, id, Stage::Whole, now, source, observer);
            return;
        }
        let t = self.plan.transfer;
        let mut remote = true;
        if t.from > 0 || t.way == Way::Push {
            let to = self.pick(&live.request, Role::Decode, now);
            live.decoder = to.map(|i| (i, 0));
            if let Some(i) = to {
                let cached = self.replicas[i]
                    .runtime
                    .cached(&live.request, &mut PromptHashes::default());
                remote = live.request.prompt.len() - cached >= t.from;
            }
        }
        // Without a prefiller the decoder does it all, as Dynamo's router falls back.
        let prefiller = remote.then(|| self.pick(&live.request, Role::Prefill, now));
        let prefiller = prefiller.flatten();
        let decoder = live.decoder.map(|d| d.0);
        let Some(from) = prefiller else {
            let to = decoder.or_else(|| self.pick(&live.request, Role::Decode, now));
            live.decoder = None;
            self.totals.local += u64::from(live.retries == 0);
            self.live.insert(id.0, live);
            self.send(to, id, Stage::Whole, now, source, observer);
            return;
        };
        if self.decodes_nowhere(&live.request, decoder) {
            self.live.insert(id.0, live);
            self.refuse(id, now, source, observer);
            return;
        }
        live.prefiller = Some((from, 0));
        match decoder.filter(|_| t.way == Way::Push) {
            None => {
                self.live.insert(id.0, live);
                self.send(Some(from), id, Stage::Prefill, now, source, observer);
            }
            Some(to) => {
                live.stage = Stage::Booked;
                self.live.insert(id.0, live);
                self.replicas[to].expected.push_back(id.0);
                self.replicas[to].open += 1;
                self.replicas[to].routed += 1;
                self.touch(to);
            }
        }
    }

    /// Whether no decoder, or not the one that was chosen, would take a request.
    fn decodes_nowhere(&self, request: &Request, decoder: Option<usize>) -> bool {
        let takes = |r: &Replica<C>| acceptable(r.runtime.config(), request).is_ok();
        match decoder {
            Some(i) => !takes(&self.replicas[i]),
            None => {
                let role = |r: &&Replica<C>| self.plan.pools[r.at.pool].role == Role::Decode;
                !self.replicas.iter().filter(role).any(takes)
            }
        }
    }

    /// The replica of a role that the router chooses; `None` if none serves.
    fn pick(&mut self, request: &Request, role: Role, now: SimTime) -> Option<usize> {
        let policy = self.plan.policy;
        let age = self.plan.signal_age;
        let old = |t: SimTime| now.since(t).0 >= age.0.max(1);
        if policy.asks_for_prefixes() && (self.looked.is_none_or(old) || age.0 == 0) {
            for r in &mut self.replicas {
                r.seen = r.signal();
            }
            self.looked = Some(now);
        }
        // Dynamo's decoders do not chase prefixes that prefillers have; neither do the gateway's.
        let prefixes = policy.asks_for_prefixes() && role != Role::Decode;
        let mut all: Vec<Candidate> = vec![];
        let mut hashes = PromptHashes::default();
        for (i, r) in self.replicas.iter_mut().enumerate() {
            if !r.serves || self.plan.pools[r.at.pool].role != role {
                continue;
            }
            all.push(Candidate {
                replica: i,
                open: r.open,
                signal: r.seen,
                prompt: request.prompt.len(),
                cached: if prefixes {
                    r.runtime.cached(request, &mut hashes)
                } else {
                    0
                },
            });
        }
        let turn = &mut self.turns[usize::from(role == Role::Prefill)];
        let chosen = choose(policy, &all, *turn)?;
        *turn = chosen + 1;
        Some(chosen)
    }

    /// A request reaches a replica at `now`: its front end, or at once its engine.
    pub(super) fn send<S: Source, O: Observer>(
        &mut self,
        to: Option<usize>,
        id: RequestId,
        stage: Stage,
        now: SimTime,
        source: &mut S,
        observer: &mut O,
    ) {
        let Some(live) = self.live.get_mut(&id.0) else {
            return;
        };
        let Some(to) = to else {
            self.refuse(id, now, source, observer);
            return;
        };
        live.stage = stage;
        let mut request = live.request.clone();
        if live.retries > 0 || stage == Stage::Between {
            request.arrival = now;
        }
        if stage == Stage::Prefill {
            request.max_tokens = 1;
            request.arrival = request.arrival.max(now);
        }
        match stage {
            Stage::Prefill => live.prefiller = Some((to, 0)),
            _ => live.decoder = Some((to, 0)),
        }
        self.touch(to);
        let r = &mut self.replicas[to];
        if stage != Stage::Between || self.plan.transfer.way == Way::Pull {
            r.open += 1;
            r.routed += 1;
        }
        match &mut r.front {
            Some(front) => front.tokenise(request),
            None => self.enters(to, request, now, source, observer),
        }
    }

    /// A request reaches an engine.
    pub(super) fn enters<S: Source, O: Observer>(
        &mut self,
        i: usize,
        request: Request,
        now: SimTime,
        source: &mut S,
        observer: &mut O,
    ) {
        let (id, at) = (request.id, request.arrival);
        let Some(live) = self.live.get_mut(&id.0) else {
            return;
        };
        let here = |place: Option<(usize, usize)>| place.is_some_and(|p| p.0 == i);
        match live.stage {
            Stage::Between if here(live.decoder) => {
                self.replicas[i].expected.push_back(id.0);
                self.touch(i);
            }
            Stage::Whole | Stage::Prefill => {
                let place = match live.stage {
                    Stage::Prefill => &mut live.prefiller,
                    _ => &mut live.decoder,
                };
                // Sent elsewhere meanwhile.
                if !here(*place) {
                    return;
                }
                match self.replicas[i].runtime.submit_routed(request) {
                    Ok(rank) => {
                        *place = Some((i, rank));
                        if !std::mem::replace(&mut live.told, true) {
                            observer.on_arrival(id, at);
                        }
                        self.touch(i);
                    }
                    Err(_) => {
                        if let Some(front) = &mut self.replicas[i].front {
                            front.refuse(id);
                        }
                        self.refuse(id, now, source, observer);
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn refuse<S: Source, O: Observer>(
        &mut self,
        id: RequestId,
        now: SimTime,
        source: &mut S,
        observer: &mut O,
    ) {
        let Some(live) = self.live.remove(&id.0) else {
            return;
        };
        for (i, _) in [live.prefiller, live.decoder].into_iter().flatten() {
            let r = &mut self.replicas[i];
            r.open = r.open.saturating_sub(1);
        }
        self.totals.total.rejected += 1;
        observer.on_refused(id, live.request.arrival);
        source.finished(id, now);
    }

    /// A request ended at a replica: its prompt is computed, or it is answered.
    pub(super) fn ended<S: Source, O: Observer>(
        &mut self,
        i: usize,
        record: RequestRecord,
        now: SimTime,
        source: &mut S,
        observer: &mut O,
    ) {
        let id = record.id;
        let Some(live) = self.live.get_mut(&id.0) else {
            return;
        };
        let r = &mut self.replicas[i];
        r.open = r.open.saturating_sub(1);
        if live.stage == Stage::Prefill {
            self.prefilled(i, record, now);
            return;
        }
        let Some(live) = self.live.remove(&id.0) else {
            return;
        };
        let sent = live.request.arrival;
        let answer = match live.first {
            None => RequestRecord {
                arrival: sent,
                ..record
            },
            // What the clients see begins at the prefiller and ends at the decoder.
            Some(first) => RequestRecord {
                arrival: sent,
                received: first.received,
                scheduled: first.scheduled,
                first_made: match self.plan.transfer.first_token {
                    true => first.first_made,
                    false => record.first_made,
                },
                cached_tokens: first.cached_tokens,
                preemptions: first.preemptions + record.preemptions,
                ..record
            },
        };
        self.totals.total.completed += 1;
        self.totals.total.output_tokens += u64::from(answer.output_tokens);
        observer.on_request(&answer);
        source.finished(id, answer.finish);
    }

    /// A prompt is computed.
    fn prefilled(&mut self, i: usize, record: RequestRecord, now: SimTime) {
        let id = record.id;
        let Some(live) = self.live.get_mut(&id.0) else {
            return;
        };
        live.first = Some(record);
        live.prefilled = Some(now);
        live.stage = Stage::Between;
        let t = self.plan.transfer;
        let rank = live.prefiller.map_or(0, |p| p.1);
        let runtime = &mut self.replicas[i].runtime;
        let c = runtime.config();
        let kept = c.blocks_for(record.prompt_tokens) - record.cached_tokens / c.block_size;
        live.kept = kept;
        if let Some(h) = runtime.handover(rank) {
            h.withhold(kept);
        }
        match t.way {
            Way::Push => match (live.last_layer, live.layers_sent) {
                (None, _) => self.transmit(id.0, now),
                (Some(last), true) => self.send_last_layer(id.0, last, now),
                (Some(_), false) => {}
            },
            // The router hears of it when the prefiller's front end has answered.
            Way::Pull => self.handoffs.push(std::cmp::Reverse(Landing {
                at: record.finish.max(now),
                id: id.0,
                attempt: live.attempt,
            })),
        }
    }

    /// The router knows that a prompt is computed, and sends the request to a decoder.
    pub(super) fn handed_off<S: Source, O: Observer>(
        &mut self,
        handoff: Landing,
        now: SimTime,
        source: &mut S,
        observer: &mut O,
    ) {
        let Some(live) = self.live.get(&handoff.id) else {
            return;
        };
        if live.attempt != handoff.attempt {
            return;
        }
        let request = live.request.clone();
        let to = live.decoder.map(|d| d.0);
        let to = to.or_else(|| self.pick(&request, Role::Decode, now));
        self.send(to, request.id, Stage::Between, now, source, observer);
    }
}

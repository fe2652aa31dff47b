//! KV on its way: room at the decoder, the transfer, its end.
use super::flow::{Landing, Live, Stage};
use super::replica::Replica;
use super::run::Fleet;
use crate::cost::StepCost;
use crate::engine::observe::{Observer, RequestRecord};
use crate::engine::{Computed, PromptHashes, kind};
use crate::units::SimTime;
use crate::workload::{Request, RequestId, Source};
use std::cmp::Reverse;

impl<C: StepCost + Clone> Fleet<C> {
    /// Allocates blocks for what is expected at a replica, as far as it has room and schedules now; whether any was.
    pub(super) fn make_room<S: Source, O: Observer>(
        &mut self,
        i: usize,
        now: SimTime,
        source: &mut S,
        observer: &mut O,
    ) -> bool {
        let mut any = false;
        while let Some(&id) = self.replicas[i].expected.front() {
            if !self.replicas[i].runtime.schedules() {
                break;
            }
            let Some(live) = self.live.get_mut(&id) else {
                self.replicas[i].expected.pop_front();
                continue;
            };
            let r = &mut self.replicas[i];
            let Some((rank, blocks, hit)) = room(r, &live.request, self.plan.transfer.first_token)
            else {
                break;
            };
            if let Some(h) = r.runtime.handover(rank) {
                h.withhold(blocks);
            }
            r.expected.pop_front();
            r.on_the_way += 1;
            live.decoder = Some((i, rank));
            (live.booked, live.hit) = (blocks, hit);
            any = true;
            let stage = live.stage;
            match stage {
                Stage::Booked => {
                    let to = live.prefiller.map(|p| p.0);
                    self.send(to, RequestId(id), Stage::Prefill, now, source, observer);
                }
                _ => self.transmit(id, now),
            }
        }
        any
    }

    /// Bytes of KV of a request that the decoder does not have.
    fn bytes(&self, live: &Live) -> u64 {
        let t = &self.plan.transfer;
        let tokens = u64::from(live.request.prompt.len() - live.hit.min(live.request.prompt.len()));
        tokens * t.bytes_per_token + t.bytes_per_request
    }

    /// The KV of a prompt that was computed begins to travel.
    pub(super) fn transmit(&mut self, id: u64, now: SimTime) {
        let Some(live) = self.live.get(&id) else {
            return;
        };
        let (Some((from, _)), Some((to, _))) = (live.prefiller, live.decoder) else {
            return;
        };
        let bytes = self.bytes(live);
        if let Some(done) = live.prefilled {
            self.totals.transfer.waiting += now.since(done);
        }
        self.totals.transfer.bytes += bytes;
        self.links.start(id, from, to, bytes, now);
    }

    /// A prompt's first step begins: where layers travel on their own, the first can follow it.
    pub(super) fn send_layers(&mut self, id: u64, now: SimTime) {
        let layers = u64::from(self.plan.transfer.layers);
        let Some(live) = self.live.get(&id) else {
            return;
        };
        if live.stage != Stage::Prefill || live.last_layer.is_some() {
            return;
        }
        let (Some((from, _)), Some((to, _))) = (live.prefiller, live.decoder) else {
            return;
        };
        let bytes = self.bytes(live);
        let last = bytes.div_ceil(layers);
        self.totals.transfer.bytes += bytes;
        self.links.start(id, from, to, bytes - last, now);
        if let Some(live) = self.live.get_mut(&id) {
            live.last_layer = Some(last);
        }
    }

    /// A transfer ended.
    pub(super) fn sent(&mut self, id: u64, now: SimTime) {
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        if let Some(last) = live.last_layer
            && !live.layers_sent
        {
            live.layers_sent = true;
            if live.prefilled.is_some() {
                self.send_last_layer(id, last, now);
            }
            return;
        }
        let at = now + self.plan.transfer.latency;
        let attempt = live.attempt;
        self.landing.push(Reverse(Landing { at, id, attempt }));
    }

    pub(super) fn send_last_layer(&mut self, id: u64, last: u64, now: SimTime) {
        let places = self.live.get(&id).map(|l| (l.prefiller, l.decoder));
        if let Some((Some((from, _)), Some((to, _)))) = places {
            self.links.start(id, from, to, last, now);
        }
    }

    /// The decoder knows that a request's KV is there.
    pub(super) fn landed<S: Source, O: Observer>(
        &mut self,
        landing: Landing,
        now: SimTime,
        source: &mut S,
        observer: &mut O,
    ) {
        let id = landing.id;
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        let (Some((from, from_rank)), Some((to, rank))) = (live.prefiller, live.decoder) else {
            return;
        };
        if live.attempt != landing.attempt {
            return;
        }
        if let Some(done) = live.prefilled {
            self.totals.transfer.time += now.since(done);
        }
        self.totals.transfer.count += 1;
        let kept = std::mem::take(&mut live.kept);
        let first = self.plan.transfer.first_token;
        let computed = Computed {
            tokens: live.request.prompt.len(),
            first,
            blocks: std::mem::take(&mut live.booked),
        };
        live.stage = Stage::Decode;
        let mut request = live.request.clone();
        request.arrival = now;
        if let Some(h) = self.replicas[from].runtime.handover(from_rank) {
            h.restore(kept);
        }
        self.replicas[to].on_the_way -= 1;
        self.touch(from);
        self.touch(to);
        if first && outputs(&request) == 1 {
            // The prefiller's token was all of it.
            if let Some(h) = self.replicas[to].runtime.handover(rank) {
                h.restore(computed.blocks);
            }
            if let Some(front) = &mut self.replicas[to].front {
                front.refuse(request.id);
            }
            let last = self.live.get(&id).and_then(|l| l.first);
            if let Some(record) = last {
                let record = RequestRecord {
                    first_token: now,
                    finish: now,
                    ..record
                };
                self.ended(to, record, now, source, observer);
            }
            return;
        }
        if let Some(h) = self.replicas[to].runtime.handover(rank)
            && h.submit_computed(request, computed, now).is_err()
        {
            h.restore(computed.blocks);
            self.refuse(RequestId(id), now, source, observer);
        }
    }
}

/// Output tokens of a request.
fn outputs(request: &Request) -> u32 {
    match request.answer.stop_at {
        Some(k) => k.saturating_add(1).min(request.max_tokens),
        None => request.max_tokens,
    }
}

/// Where a replica has room for a request's KV: the rank, blocks to withhold, tokens that its own cache has.
fn room<C: StepCost>(
    r: &mut Replica<C>,
    request: &Request,
    first_token: bool,
) -> Option<(usize, u32, u32)> {
    let rank = r.runtime.choose();
    let state = r.runtime.state(rank);
    let h = r.runtime.handover(rank)?;
    if h.others_wait() {
        return None;
    }
    let hit = h.cached(request, &mut PromptHashes::default());
    let c = r.runtime.config();
    let (block_size, seqs) = (c.block_size, c.max_num_seqs);
    // All of it: cached blocks that nothing holds may be gone when the request is admitted.
    let drafts = c.speculation.as_ref().map_or(0, |s| s.most_slots());
    let tokens = request.prompt.len() + u32::from(first_token) + drafts;
    let blocks = c.blocks_for(tokens.min(c.max_model_len));
    let mut need = u64::from(blocks);
    let reserved = kind(r.runtime.engine()).reserved_decode_tokens();
    let decoding = u64::from(state.running + state.waiting + r.on_the_way);
    need += (decoding * u64::from(reserved)).div_ceil(block_size.into());
    let enough = state.running < seqs && u64::from(state.free_blocks) >= need;
    enough.then_some((rank, blocks, hit))
}

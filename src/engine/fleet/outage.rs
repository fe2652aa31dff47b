//! Replicas that fail, restart or are drained.
use super::flow::{Live, Stage};
use super::run::Fleet;
use super::{At, Way};
use crate::cost::StepCost;
use crate::engine::SimError;
use crate::engine::observe::Observer;
use crate::units::SimTime;
use crate::workload::Source;

/// Something that happens to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When.
    pub at: SimTime,
    /// The pool.
    pub pool: usize,
    /// The replica's number in it.
    pub replica: u32,
    /// What.
    pub kind: OutageKind,
}

/// What happens to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutageKind {
    /// It dies with all that it holds. Its requests are sent anew.
    Fails,
    /// It gets no more requests, and ends those that it has.
    Drains,
    /// It serves again: empty if it had failed, else as it is.
    Starts,
}

impl<C: StepCost + Clone> Fleet<C> {
    /// What befalls replicas at `now`.
    pub(super) fn strike<S: Source, O: Observer>(
        &mut self,
        now: SimTime,
        source: &mut S,
        observer: &mut O,
    ) -> Result<(), SimError> {
        while self.outages.last().is_some_and(|o| o.at <= now) {
            let Some(o) = self.outages.pop() else {
                break;
            };
            let at = At {
                pool: o.pool,
                replica: o.replica,
            };
            let Some(i) = self.index(at) else {
                continue;
            };
            match o.kind {
                OutageKind::Drains => self.replicas[i].serves = false,
                OutageKind::Starts => self.replicas[i].serves = true,
                OutageKind::Fails => self.fail(i, now, source, observer)?,
            }
        }
        Ok(())
    }

    /// A replica dies. Every request that has anything to do with it gives up what it holds elsewhere and is sent again.
    fn fail<S: Source, O: Observer>(
        &mut self,
        i: usize,
        now: SimTime,
        source: &mut S,
        observer: &mut O,
    ) -> Result<(), SimError> {
        let is_here = |place: Option<(usize, usize)>| place.is_some_and(|p| p.0 == i);
        let hit: Vec<u64> = self
            .live
            .iter()
            .filter(|(_, l)| is_here(l.prefiller) || is_here(l.decoder))
            .filter(|(_, l)| l.stage != Stage::Decode || is_here(l.decoder))
            .map(|(id, _)| *id)
            .collect();
        let pool = &self.plan.pools[self.replicas[i].at.pool];
        self.replicas[i].fail(pool, self.wants_output)?;
        self.replicas[i].serves = false;
        self.touch(i);
        for id in hit {
            let Some(mut live) = self.live.remove(&id) else {
                continue;
            };
            self.unwind(&mut live, i, now);
            live.attempt += 1;
            live.retries += 1;
            self.totals.retried += 1;
            self.dispatch(live, now, source, observer);
        }
        Ok(())
    }

    /// Gives up what a request holds at replicas other than the one that died.
    fn unwind(&mut self, live: &mut Live, dead: usize, now: SimTime) {
        let id = live.request.id;
        self.links.cancel(id.0, now);
        let prefills = matches!(live.stage, Stage::Prefill);
        if let Some((p, rank)) = live.prefiller.take().filter(|p| p.0 != dead) {
            let r = &mut self.replicas[p];
            if let Some(h) = r.runtime.handover(rank) {
                h.restore(live.kept);
            }
            if prefills {
                r.runtime.abort(id);
                r.open = r.open.saturating_sub(1);
                if let Some(front) = &mut r.front {
                    front.forget_request(id);
                }
            }
            self.touch(p);
        }
        let decodes_elsewhere = live.decoder.take().filter(|d| d.0 != dead);
        if let Some((d, rank)) = decodes_elsewhere {
            let r = &mut self.replicas[d];
            let waits = r.expected.iter().position(|e| *e == id.0);
            if let Some(at) = waits {
                r.expected.remove(at);
            }
            if live.booked > 0 {
                if let Some(h) = r.runtime.handover(rank) {
                    h.restore(live.booked);
                }
                r.on_the_way -= 1;
            }
            let given = self.plan.transfer.way == Way::Push || live.stage == Stage::Between;
            r.open = r.open.saturating_sub(u32::from(given));
            if let Some(front) = &mut r.front {
                front.forget_request(id);
            }
            self.touch(d);
        }
        (live.kept, live.booked, live.hit) = (0, 0, 0);
        (live.first, live.prefilled, live.last_layer) = (None, None, None);
        live.layers_sent = false;
    }
}

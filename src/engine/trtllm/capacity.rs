//! Which active requests may hold KV blocks in the next step (`scheduler.py: GuaranteedNoEvictPolicy`, `MaxUtilizationPolicy` @002f3cc).
use super::request::{Active, Prefix};
use crate::engine::config::CapacityPolicy;
use crate::engine::sequence::StepState;
use crate::engine::vllm::kv::BlockPool;
use std::collections::BTreeSet;

/// A request that fits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fitting {
    /// Its place in the active list.
    pub at: usize,
    /// Blocks of its prompt that are computed already, where it begins.
    pub hits: u32,
}

/// What the stage decided.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub fitting: Vec<Fitting>,
    /// In the order in which they were paused.
    pub paused: Vec<usize>,
}

/// Contents that prompts now being computed will offer.
struct Coming(BTreeSet<u64>);

impl Coming {
    /// Those of prompts computed in part.
    fn of(active: &mut [Active], pool: &BlockPool, step: &StepState) -> Self {
        let mut all = BTreeSet::new();
        for r in active
            .iter_mut()
            .filter(|r| r.started() && !r.sequence.decodes())
        {
            all.extend(r.prefix(pool, &step.config).first_new);
        }
        Self(all)
    }

    /// Whether a request that would begin had better wait (`_beneficial_to_skip`): one whose next block is coming.
    fn worth_waiting(&mut self, prefix: &Prefix) -> bool {
        prefix.first_new.is_some_and(|hash| !self.0.insert(hash))
    }
}

/// The requests that fit, and those that are paused for them.
pub(super) fn plan(active: &mut [Active], pool: &BlockPool, step: &StepState) -> Plan {
    match step.config.capacity_policy {
        CapacityPolicy::GuaranteedNoEvict => no_evict(active, pool, step),
        CapacityPolicy::MaxUtilization => max_utilization(active, pool, step),
    }
}

/// Blocks for all that a request may ever need are there before it begins: those that decode first, then the others in order, up to
/// the first that does not fit.
fn no_evict(active: &mut [Active], pool: &BlockPool, step: &StepState) -> Plan {
    let config = &step.config;
    let mut coming = Coming::of(active, pool, step);
    let mut plan = Plan::default();
    let mut left = pool.free();
    for (at, r) in active.iter().enumerate() {
        if r.sequence.decodes() {
            left = left.saturating_sub(r.to_completion(0, config));
            plan.fitting.push(Fitting { at, hits: 0 });
        }
    }
    for (at, r) in active.iter_mut().enumerate() {
        if r.sequence.decodes() {
            continue;
        }
        let prefix = match r.started() {
            true => Prefix::default(),
            false => r.prefix(pool, config),
        };
        if !r.started() && coming.worth_waiting(&prefix) {
            continue;
        }
        let need = r.to_completion(prefix.in_use, config);
        if need > left {
            break;
        }
        left -= need;
        let hits = prefix.hits;
        plan.fitting.push(Fitting { at, hits });
    }
    plan
}

/// Requests in order, each with blocks for one step; where they do not suffice, the last one that began is paused.
fn max_utilization(active: &mut [Active], pool: &BlockPool, step: &StepState) -> Plan {
    let config = &step.config;
    let mut coming = Coming::of(active, pool, step);
    let mut plan = Plan::default();
    let (mut free, mut taken) = (pool.free(), 0);
    let (mut at, mut end) = (0, active.len());
    while at < end {
        let started = active[at].started();
        let prefix = match started {
            true => Prefix::default(),
            false => active[at].prefix(pool, config),
        };
        if !started && coming.worth_waiting(&prefix) {
            at += 1;
            continue;
        }
        let r = &active[at];
        let tokens = match r.sequence.decodes() {
            true => 1 + step.drafts(&r.sequence),
            // The blocks of the whole prompt came with its first chunk.
            false => 0,
        };
        let need = r.for_one_step(prefix.in_use, tokens, config.block_size);
        if taken + need <= free {
            taken += need;
            let hits = prefix.hits;
            plan.fitting.push(Fitting { at, hits });
            at += 1;
            continue;
        }
        let Some(last) = (at..end).rev().find(|&i| active[i].started()) else {
            break;
        };
        // Blocks that others use, too, stay.
        free += active[last].alone(pool);
        plan.paused.push(last);
        end = last;
    }
    plan
}

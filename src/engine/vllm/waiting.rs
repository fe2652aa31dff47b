//! The waiting queue: a deque, or a heap ordered by (priority, arrival, id).
use super::request::Slot;
use crate::engine::SchedulingPolicy;
use crate::units::SimTime;
use crate::workload::{Request, RequestId};
use std::collections::{BTreeMap, VecDeque};

type Rank = (i32, SimTime, RequestId);

/// Requests that wait, in the policy's order.
#[derive(Clone, Debug)]
pub enum Waiting {
    /// First come, first served; preempted ones return to the front.
    Fcfs(VecDeque<Slot>),
    /// The most urgent first.
    Priority(BTreeMap<Rank, Slot>),
}

fn rank(r: &Request) -> Rank {
    (r.priority, r.arrival, r.id)
}

impl Waiting {
    pub fn new(policy: SchedulingPolicy) -> Self {
        match policy {
            SchedulingPolicy::Fcfs => Waiting::Fcfs(VecDeque::new()),
            SchedulingPolicy::Priority => Waiting::Priority(BTreeMap::new()),
        }
    }
    pub fn len(&self) -> usize {
        match self {
            Waiting::Fcfs(q) => q.len(),
            Waiting::Priority(q) => q.len(),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// A new request.
    pub fn push(&mut self, slot: Slot, r: &Request) {
        match self {
            Waiting::Fcfs(q) => q.push_back(slot),
            Waiting::Priority(q) => {
                q.insert(rank(r), slot);
            }
        }
    }
    /// A preempted or stepped-over request comes back.
    pub fn push_front(&mut self, slot: Slot, r: &Request) {
        match self {
            Waiting::Fcfs(q) => q.push_front(slot),
            Waiting::Priority(q) => {
                q.insert(rank(r), slot);
            }
        }
    }
    /// The next one.
    pub fn peek(&self) -> Option<Slot> {
        match self {
            Waiting::Fcfs(q) => q.front().copied(),
            Waiting::Priority(q) => q.first_key_value().map(|(_, s)| *s),
        }
    }
    /// Takes the next one.
    pub fn pop(&mut self) -> Option<Slot> {
        match self {
            Waiting::Fcfs(q) => q.pop_front(),
            Waiting::Priority(q) => q.pop_first().map(|(_, s)| s),
        }
    }
    /// Takes a particular one out.
    pub fn remove(&mut self, slot: Slot, r: &Request) {
        match self {
            Waiting::Fcfs(q) => q.retain(|s| *s != slot),
            Waiting::Priority(q) => {
                q.remove(&rank(r));
            }
        }
    }
}

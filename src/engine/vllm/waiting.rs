//! The waiting queue: a deque, or a heap ordered by (priority, arrival, id), and ahead of it requests whose KV came from elsewhere.
use super::request::Slot;
use crate::engine::SchedulingPolicy;
use crate::units::SimTime;
use crate::workload::{Request, RequestId};
use std::collections::{BTreeMap, VecDeque};

type Rank = (i32, SimTime, RequestId);

/// Requests that wait, in the policy's order.
#[derive(Clone, Debug)]
pub struct Waiting {
    order: Order,
    /// Requests with KV of another engine: every call of `schedule` puts those that it passed over before all others
    /// (`self.waiting.prepend_requests(skipped_waiting_requests)`, vLLM 0.12.0, `v1/core/sched/scheduler.py`).
    arrived: VecDeque<Slot>,
}

#[derive(Clone, Debug)]
enum Order {
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
        Self {
            order: match policy {
                SchedulingPolicy::Fcfs => Order::Fcfs(VecDeque::new()),
                SchedulingPolicy::Priority => Order::Priority(BTreeMap::new()),
            },
            arrived: VecDeque::new(),
        }
    }
    pub fn len(&self) -> usize {
        self.arrived.len() + self.others()
    }
    /// Those without KV of another engine.
    pub fn others(&self) -> usize {
        match &self.order {
            Order::Fcfs(q) => q.len(),
            Order::Priority(q) => q.len(),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// A new request.
    pub fn push(&mut self, slot: Slot, r: &Request) {
        match &mut self.order {
            Order::Fcfs(q) => q.push_back(slot),
            Order::Priority(q) => {
                q.insert(rank(r), slot);
            }
        }
    }
    /// A request whose KV came from another engine.
    pub fn push_arrived(&mut self, slot: Slot) {
        self.arrived.push_back(slot);
    }
    /// A preempted or stepped-over request comes back.
    pub fn push_front(&mut self, slot: Slot, r: &Request) {
        match &mut self.order {
            Order::Fcfs(q) => q.push_front(slot),
            Order::Priority(q) => {
                q.insert(rank(r), slot);
            }
        }
    }
    /// The next one.
    pub fn peek(&self) -> Option<Slot> {
        let first = self.arrived.front().copied();
        first.or_else(|| match &self.order {
            Order::Fcfs(q) => q.front().copied(),
            Order::Priority(q) => q.first_key_value().map(|(_, s)| *s),
        })
    }
    /// Takes the next one.
    pub fn pop(&mut self) -> Option<Slot> {
        let first = self.arrived.pop_front();
        first.or_else(|| match &mut self.order {
            Order::Fcfs(q) => q.pop_front(),
            Order::Priority(q) => q.pop_first().map(|(_, s)| s),
        })
    }
    /// Takes a particular one out.
    pub fn remove(&mut self, slot: Slot, r: &Request) {
        self.arrived.retain(|s| *s != slot);
        match &mut self.order {
            Order::Fcfs(q) => q.retain(|s| *s != slot),
            Order::Priority(q) => {
                q.remove(&rank(r));
            }
        }
    }
}

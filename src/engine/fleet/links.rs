//! Transfers under way. Each replica sends at a rate of its own and receives at the same one; the transfers that leave it, or reach it,
//! share that equally, and a transfer goes at the lower of its two shares.
//!
//! Work is counted in whole units of 10⁻⁹ bytes (bytes per second times nanoseconds), so that it makes no difference how often a
//! transfer is looked at.
use crate::units::SimTime;
use std::collections::{BTreeMap, BTreeSet};

/// Units of work in a byte.
const UNITS: u128 = 1_000_000_000;

#[derive(Clone, Debug)]
struct Flow {
    from: usize,
    to: usize,
    /// Units left at `at`.
    left: u128,
    at: SimTime,
    /// Bytes per second; `None`: without end.
    rate: Option<u64>,
    end: SimTime,
}

/// All transfers, by the request's number.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// Bytes per second of each replica.
    rates: Vec<Option<u64>>,
    /// Transfers that leave and reach each replica.
    out: Vec<BTreeSet<u64>>,
    into: Vec<BTreeSet<u64>>,
    flows: BTreeMap<u64, Flow>,
    ends: BTreeSet<(SimTime, u64)>,
}

impl Links {
    /// No transfers; `rates`: of each replica, in bytes per second.
    pub fn new(rates: Vec<Option<u64>>) -> Self {
        Self {
            out: vec![BTreeSet::new(); rates.len()],
            into: vec![BTreeSet::new(); rates.len()],
            rates,
            ..Self::default()
        }
    }

    /// When the next transfer ends, if nothing changes.
    pub fn next_end(&self) -> Option<SimTime> {
        self.ends.first().map(|e| e.0)
    }

    /// Begins a transfer of `bytes` from one replica to another.
    ///
    /// # Panics
    /// If one of that number is under way.
    pub fn start(&mut self, id: u64, from: usize, to: usize, bytes: u64, now: SimTime) {
        let flow = Flow {
            from,
            to,
            left: u128::from(bytes) * UNITS,
            at: now,
            rate: None,
            end: now,
        };
        assert!(self.flows.insert(id, flow).is_none(), "one at a time");
        self.ends.insert((now, id));
        self.out[from].insert(id);
        self.into[to].insert(id);
        self.share(from, to, now);
    }

    /// The next transfer that ended by `now`.
    pub fn pop(&mut self, now: SimTime) -> Option<u64> {
        let (end, id) = *self.ends.first()?;
        (end <= now).then(|| {
            self.remove(id, end);
            id
        })
    }

    /// Gives a transfer up, if it is under way.
    pub fn cancel(&mut self, id: u64, now: SimTime) {
        if self.flows.contains_key(&id) {
            self.remove(id, now);
        }
    }

    fn remove(&mut self, id: u64, now: SimTime) {
        let Some(flow) = self.flows.remove(&id) else {
            return;
        };
        self.ends.remove(&(flow.end, id));
        self.out[flow.from].remove(&id);
        self.into[flow.to].remove(&id);
        self.share(flow.from, flow.to, now);
    }

    /// Shares anew what leaves one replica and reaches another.
    fn share(&mut self, from: usize, to: usize, now: SimTime) {
        let touched: BTreeSet<u64> = self.out[from].union(&self.into[to]).copied().collect();
        for id in touched {
            let Some(flow) = self.flows.get_mut(&id) else {
                continue;
            };
            let part = |rate: Option<u64>, n: usize| rate.map(|r| (r / n.max(1) as u64).max(1));
            let leaves = part(self.rates[flow.from], self.out[flow.from].len());
            let reaches = part(self.rates[flow.to], self.into[flow.to].len());
            let rate = match (leaves, reaches) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let done = u128::from(flow.rate.unwrap_or(0)) * u128::from(now.since(flow.at).0);
            flow.left = flow.left.saturating_sub(done);
            flow.at = now;
            flow.rate = rate;
            let rest = rate.map_or(0, |r| flow.left.div_ceil(r.into()));
            let rest = u64::try_from(rest).unwrap_or(u64::MAX / 4);
            let end = SimTime(now.0.saturating_add(rest));
            if end != flow.end {
                self.ends.remove(&(flow.end, id));
                self.ends.insert((end, id));
                flow.end = end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends by number, when all that was given is started at its time.
    fn ends(rates: &[u64], flows: &[(u64, usize, usize, u64)]) -> Vec<(u64, u64)> {
        let mut links = Links::new(rates.iter().map(|r| Some(*r)).collect());
        let mut left: Vec<_> = flows.iter().enumerate().collect();
        let mut all = vec![];
        while !left.is_empty() || links.next_end().is_some() {
            let start = left.first().map(|(_, f)| SimTime(f.0));
            let now = match (start, links.next_end()) {
                (Some(s), Some(e)) => s.min(e),
                (s, e) => s.or(e).unwrap(),
            };
            while let Some(id) = links.pop(now) {
                all.push((id, now.0));
            }
            if start == Some(now) {
                let (id, &(at, from, to, bytes)) = left.remove(0);
                links.start(id as u64, from, to, bytes, SimTime(at));
            }
        }
        all
    }

    #[test]
    fn transfers_share_what_they_have_in_common() {
        let gb = 1_000_000_000;
        // Alone: 1000 bytes at 1 byte/ns.
        assert_eq!(ends(&[gb, gb], &[(5, 0, 1, 1000)]), [(0, 1005)]);
        // Two at once take twice as long; two that share nothing do not.
        let two = ends(&[gb; 3], &[(0, 0, 1, 1000), (0, 0, 2, 1000)]);
        assert_eq!(two, [(0, 2000), (1, 2000)]);
        let apart = ends(&[gb; 4], &[(0, 0, 1, 1000), (0, 2, 3, 1000)]);
        assert_eq!(apart, [(0, 1000), (1, 1000)]);
        // The second comes when the first is half done: 500 + 2 · 500, then alone.
        let later = ends(&[gb; 2], &[(0, 0, 1, 1000), (500, 0, 1, 1000)]);
        assert_eq!(later, [(0, 1500), (1, 2000)]);
        // The slower end counts.
        assert_eq!(ends(&[gb, gb / 4], &[(0, 0, 1, 1000)]), [(0, 4000)]);
    }

    #[test]
    fn without_end_a_transfer_takes_no_time_and_cancelled_ones_leave_their_share() {
        let mut links = Links::new(vec![None, None]);
        links.start(7, 0, 1, u64::MAX, SimTime(3));
        assert_eq!(links.pop(SimTime(3)), Some(7));
        let mut links = Links::new(vec![Some(1_000_000_000); 2]);
        links.start(1, 0, 1, 1000, SimTime(0));
        links.start(2, 0, 1, 1000, SimTime(0));
        links.cancel(1, SimTime(1000));
        links.cancel(9, SimTime(1000));
        assert_eq!(links.next_end(), Some(SimTime(1500)));
    }
}

//! Decoding requests that advance by one token in every step, without being touched.
//!
//! A request *joins* with the batch that completes its prefill. From then on, after batch number S was scheduled,
//! its computed tokens are those at joining plus the batches since, and its received tokens likewise
//! with the batches processed. Sums over all lanes follow from sums over what was stored at joining:
//! Σ computed = Σ offset + count · S, with offset = computed − joined.
//!
//! KV blocks: a lane needs a block in the batch before which its computed tokens are a multiple of the block size, which
//! for all lanes of equal `phase` = −offset mod block size is the same batch. So each batch looks at
//! one phase only.
use super::request::{Lane, Slot};
use crate::engine::Tracking;
use crate::engine::content::Lockstep;
use std::collections::BTreeMap;

/// All lanes.
#[derive(Clone, Debug)]
pub struct Lanes {
    block_size: u64,
    count: u32,
    /// Σ offset.
    offsets: i64,
    /// By phase: (admission number, slot) in order of admission, or only how many.
    phases: Vec<Vec<(u64, Slot)>>,
    phase_counts: Vec<u32>,
    count_only: bool,
    /// Batch whose output ends them → slots.
    ends: BTreeMap<u64, Vec<Slot>>,
    /// The first of these batches.
    next_end: u64,
    spare: Vec<Vec<Slot>>,
    lockstep: Option<Lockstep>,
    window: Option<u64>,
    /// Lanes still inside the window after the batch last asked about: how many, Σ offset; and by the batch
    /// with which they reach it.
    inside: (u32, i64),
    crossings: BTreeMap<u64, (u32, i64)>,
    crossed_until: u64,
}

impl Lanes {
    pub fn new(block_size: u32, count_only: bool, tracking: Tracking) -> Self {
        Self {
            block_size: block_size.into(),
            count: 0,
            offsets: 0,
            phases: vec![vec![]; if count_only { 0 } else { block_size as usize }],
            phase_counts: vec![0; block_size as usize],
            count_only,
            ends: BTreeMap::new(),
            next_end: u64::MAX,
            spare: vec![],
            lockstep: tracking.distinct_tokens.then(Lockstep::default),
            window: tracking.window.map(u64::from),
            inside: (0, 0),
            crossings: BTreeMap::new(),
            crossed_until: 0,
        }
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    fn phase(&self, offset: i64) -> usize {
        (-offset).rem_euclid(self.block_size as i64) as usize
    }

    /// The phase whose lanes have `computed` ≡ 0 (mod block size) before batch `number`.
    pub fn phase_at(&self, number: u64) -> usize {
        // computed before = offset + number − 1.
        ((number - 1) % self.block_size) as usize
    }

    pub fn phase_count(&self, phase: usize) -> u32 {
        self.phase_counts[phase % self.block_size as usize]
    }

    /// Lanes of a phase, in order of admission; to be given back before any request joins or leaves.
    pub fn take_phase(&mut self, phase: usize) -> Vec<(u64, Slot)> {
        std::mem::take(&mut self.phases[phase % self.block_size as usize])
    }

    /// Gives them back.
    pub fn give_phase(&mut self, phase: usize, lanes: Vec<(u64, Slot)>) {
        self.phases[phase % self.block_size as usize] = lanes;
    }

    /// The batch with which a lane's context reaches the window: offset + S ≥ window.
    fn crossing(&self, offset: i64, window: u64) -> u64 {
        (window as i64 - offset).max(0) as u64
    }

    pub fn join(&mut self, seq: u64, slot: Slot, lane: &Lane) {
        self.count += 1;
        self.offsets += lane.offset;
        let phase = self.phase(lane.offset);
        self.phase_counts[phase] += 1;
        if !self.count_only {
            let list = &mut self.phases[phase];
            let at = list.partition_point(|(s, _)| *s < seq);
            list.insert(at, (seq, slot));
        }
        self.next_end = self.next_end.min(lane.end);
        let spare = &mut self.spare;
        self.ends
            .entry(lane.end)
            .or_insert_with(|| spare.pop().unwrap_or_default())
            .push(slot);
        if let Some(l) = &mut self.lockstep {
            l.join(lane.key);
        }
        if let Some(w) = self.window {
            let at = self.crossing(lane.offset, w);
            if at > self.crossed_until {
                let e = self.crossings.entry(at).or_default();
                e.0 += 1;
                e.1 += lane.offset;
                self.inside.0 += 1;
                self.inside.1 += lane.offset;
            }
        }
    }

    pub fn leave(&mut self, seq: u64, slot: Slot, lane: &Lane) {
        self.count -= 1;
        self.offsets -= lane.offset;
        let phase = self.phase(lane.offset);
        self.phase_counts[phase] -= 1;
        if !self.count_only {
            let list = &mut self.phases[phase];
            let at = list
                .binary_search_by_key(&seq, |(s, _)| *s)
                .expect("joined before");
            list.remove(at);
        }
        if let Some(list) = self.ends.get_mut(&lane.end)
            && let Some(i) = list.iter().position(|s| *s == slot)
        {
            list.swap_remove(i);
            if list.is_empty() {
                let list = self.ends.remove(&lane.end).expect("just there");
                self.spare.push(list);
                if lane.end == self.next_end {
                    self.next_end = self
                        .ends
                        .first_key_value()
                        .map_or(u64::MAX, |(end, _)| *end);
                }
            }
        }
        if let Some(l) = &mut self.lockstep {
            l.leave(lane.key);
        }
        if let Some(w) = self.window {
            let at = self.crossing(lane.offset, w);
            if at > self.crossed_until {
                let e = self.crossings.get_mut(&at).expect("joined before");
                e.0 -= 1;
                e.1 -= lane.offset;
                if e.0 == 0 {
                    self.crossings.remove(&at);
                }
                self.inside.0 -= 1;
                self.inside.1 -= lane.offset;
            }
        }
    }

    /// Slots that end with the output of batch `number`.
    pub fn ending(&self, number: u64) -> &[Slot] {
        if number < self.next_end {
            return &[];
        }
        self.ends.get(&number).map_or(&[], |v| v)
    }

    /// Σ context after batch `number`.
    pub fn context(&self, number: u64) -> u64 {
        (self.offsets + i64::from(self.count) * number as i64) as u64
    }

    /// Σ min(context, window) after batch `number`; batches are asked about in order.
    pub fn context_windowed(&mut self, number: u64) -> u64 {
        let Some(w) = self.window else {
            return self.context(number);
        };
        while let Some(e) = self.crossings.first_entry()
            && *e.key() <= number
        {
            let (count, offsets) = e.remove();
            self.inside.0 -= count;
            self.inside.1 -= offsets;
        }
        self.crossed_until = self.crossed_until.max(number);
        let inside = self.inside.1 + i64::from(self.inside.0) * number as i64;
        inside as u64 + u64::from(self.count - self.inside.0) * w
    }

    /// Distinct computations among the lanes.
    pub fn distinct(&self) -> u32 {
        self.lockstep
            .as_ref()
            .map_or(self.count, Lockstep::distinct)
    }

    /// Whether some lane has that key.
    pub fn has_key(&self, key: u64) -> bool {
        self.lockstep.as_ref().is_some_and(|l| l.contains(key))
    }
}

//! The queue of free KV blocks, next victim first.
//!
//! A ring of block ids rather than a linked list: consecutive victims stand next to each other in memory, so that
//! taking 32 blocks for a prompt does not wait for 32 loads one after another. A block that is taken out of the
//! middle (a prefix-cache hit) leaves a gap behind, which is skipped when its turn comes.
//!
//! Blocks that were never handed out are not in the ring: they are consecutive ids, of which only the first is kept. So memory
//! grows with the blocks in use, not with those that there are.
use super::BlockId;

/// A gap in the ring.
const GAP: BlockId = u32::MAX;

/// Positions that the ring has at first.
const ROOM: usize = 64;

/// Block ids in order of eviction.
#[derive(Clone, Debug)]
pub struct FreeQueue {
    /// Power of two long; positions are taken modulo its length.
    ring: Vec<BlockId>,
    /// First position in use, and the first after the last; both count on through 2³².
    head: u32,
    tail: u32,
    /// The blocks that were never handed out: `fresh .. blocks`. They stand before position `split`.
    fresh: BlockId,
    blocks: BlockId,
    split: u32,
    /// Blocks in the queue: the fresh ones, and positions in use less gaps.
    len: u32,
    /// Position of every block that is in the ring, by id, as far as blocks were handed out.
    place: Vec<u32>,
}

impl FreeQueue {
    /// The blocks `first .. blocks`, in order of id.
    pub fn new(first: BlockId, blocks: u32) -> Self {
        Self {
            ring: vec![GAP; ROOM],
            head: 0,
            tail: 0,
            fresh: first,
            blocks,
            split: 0,
            len: blocks - first,
            place: vec![0; first as usize],
        }
    }

    /// Blocks in the queue.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// All of them, next victim first.
    pub fn ids(&self) -> Vec<BlockId> {
        let part = |from: u32, to: u32| {
            (0..to.wrapping_sub(from))
                .map(move |i| self.ring[self.index(from.wrapping_add(i))])
                .filter(|id| *id != GAP)
        };
        if self.fresh == self.blocks {
            return part(self.head, self.tail).collect();
        }
        part(self.head, self.split)
            .chain(self.fresh..self.blocks)
            .chain(part(self.split, self.tail))
            .collect()
    }

    fn index(&self, position: u32) -> usize {
        position as usize & (self.ring.len() - 1)
    }

    fn put(&mut self, position: u32, id: BlockId) {
        let at = self.index(position);
        self.ring[at] = id;
        self.place[id as usize] = position;
        self.len += 1;
    }

    /// The block becomes the last victim.
    pub fn push_back(&mut self, id: BlockId) {
        self.make_room();
        self.put(self.tail, id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// The block becomes the next victim.
    pub fn push_front(&mut self, id: BlockId) {
        self.make_room();
        self.head = self.head.wrapping_sub(1);
        self.put(self.head, id);
    }

    /// Takes the next victim.
    pub fn pop(&mut self) -> Option<BlockId> {
        loop {
            if self.fresh < self.blocks && self.head == self.split {
                let id = self.fresh;
                self.fresh += 1;
                self.place.push(0);
                self.len -= 1;
                return Some(id);
            }
            if self.head == self.tail {
                return None;
            }
            let id = self.ring[self.index(self.head)];
            self.head = self.head.wrapping_add(1);
            if id != GAP {
                self.len -= 1;
                return Some(id);
            }
        }
    }

    /// Takes out a block that is in the queue.
    pub fn remove(&mut self, id: BlockId) {
        let at = self.index(self.place[id as usize]);
        debug_assert_eq!(self.ring[at], id);
        self.ring[at] = GAP;
        self.len -= 1;
    }

    /// Sees to it that a position is left: squeezes the gaps out, and doubles a ring that is then still full to four fifths, so that
    /// this happens at most once in as many calls as a fifth of the ring has positions.
    fn make_room(&mut self) {
        if (self.tail.wrapping_sub(self.head) as usize) < self.ring.len() {
            return;
        }
        let held = |from: u32, to: u32| -> Vec<BlockId> {
            (0..to.wrapping_sub(from))
                .map(|i| self.ring[self.index(from.wrapping_add(i))])
                .filter(|id| *id != GAP)
                .collect()
        };
        let (front, back) = if self.fresh < self.blocks {
            (held(self.head, self.split), held(self.split, self.tail))
        } else {
            (vec![], held(self.head, self.tail))
        };
        let count = front.len() + back.len();
        if 5 * count > 4 * self.ring.len() {
            self.ring = vec![GAP; 2 * self.ring.len()];
        }
        self.len -= count as u32;
        self.tail = self.head;
        for id in front {
            self.put(self.tail, id);
            self.tail = self.tail.wrapping_add(1);
        }
        self.split = self.tail;
        for id in back {
            self.put(self.tail, id);
            self.tail = self.tail.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn the_ring_is_a_deque_from_which_anything_may_be_taken() {
        let n = 213u32;
        let mut fast = FreeQueue::new(1, n);
        let mut slow: VecDeque<u32> = (1..n).collect();
        // Positions have to pass through the end of u32 as well.
        (fast.head, fast.tail, fast.split) = (u32::MAX - 50, u32::MAX - 50, u32::MAX - 50);
        let mut z = 7u64;
        for _ in 0..20_000 {
            z = z.wrapping_mul(6364136223846793005).wrapping_add(1);
            let id = 1 + (z >> 40) as u32 % (n - 1);
            match (slow.contains(&id), (z >> 33) % 4) {
                (true, 0) => assert_eq!(fast.pop(), slow.pop_front()),
                // Only what was handed out before can be taken out.
                (true, _) if id < fast.fresh => {
                    fast.remove(id);
                    slow.retain(|x| *x != id);
                }
                (true, _) => {}
                (false, 0) => {
                    fast.push_front(id);
                    slow.push_front(id);
                }
                (false, _) => {
                    fast.push_back(id);
                    slow.push_back(id);
                }
            }
            assert_eq!(fast.len() as usize, slow.len());
            assert_eq!(fast.ids(), Vec::from(slow.clone()));
        }
        assert!(fast.fresh > n / 2, "most were handed out");
        while let Some(id) = slow.pop_front() {
            assert_eq!(fast.pop(), Some(id));
        }
        assert_eq!(fast.pop(), None);
    }
}

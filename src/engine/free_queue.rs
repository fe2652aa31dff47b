//! The queue of free KV blocks, next victim first.
//!
//! A ring of block ids rather than a linked list: consecutive victims stand next to each other in memory, so that
//! taking 32 blocks for a prompt does not wait for 32 loads one after another. A block that is taken out of the
//! middle (a prefix-cache hit) leaves a gap behind, which is skipped when its turn comes.
use super::kv::BlockId;

/// A gap in the ring.
const GAP: BlockId = u32::MAX;

/// Block ids in order of eviction.
#[derive(Clone, Debug)]
pub struct FreeQueue {
    /// Power of two long; positions are taken modulo its length.
    ring: Vec<BlockId>,
    /// First position in use, and the first after the last; both count on through 2³².
    head: u32,
    tail: u32,
    /// Blocks in the queue, which is positions in use less gaps.
    len: u32,
    /// Position of every block that is in the queue.
    place: Vec<u32>,
}

impl FreeQueue {
    /// A queue with room for blocks `0 .. num_gpu_blocks`.
    pub fn new(num_gpu_blocks: u32) -> Self {
        // A quarter more than blocks, so that gaps have to be squeezed out only now and then.
        let room = (u64::from(num_gpu_blocks) * 5 / 4).next_power_of_two();
        Self {
            ring: vec![GAP; room as usize],
            head: 0,
            tail: 0,
            len: 0,
            place: vec![0; num_gpu_blocks as usize],
        }
    }

    /// Blocks in the queue.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// All of them, next victim first.
    pub fn ids(&self) -> Vec<BlockId> {
        (0..self.tail.wrapping_sub(self.head))
            .map(|i| self.ring[self.index(self.head.wrapping_add(i))])
            .filter(|id| *id != GAP)
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
        while self.head != self.tail {
            let id = self.ring[self.index(self.head)];
            self.head = self.head.wrapping_add(1);
            if id != GAP {
                self.len -= 1;
                return Some(id);
            }
        }
        None
    }

    /// Takes out a block that is in the queue.
    pub fn remove(&mut self, id: BlockId) {
        let at = self.index(self.place[id as usize]);
        debug_assert_eq!(self.ring[at], id);
        self.ring[at] = GAP;
        self.len -= 1;
    }

    /// Squeezes the gaps out if no position is left. As the ring is at least a quarter longer than there are blocks,
    /// that happens at most once in so many removals.
    fn make_room(&mut self) {
        if (self.tail.wrapping_sub(self.head) as usize) < self.ring.len() {
            return;
        }
        let mut to = self.head;
        for i in 0..self.ring.len() as u32 {
            let id = self.ring[self.index(self.head.wrapping_add(i))];
            if id != GAP {
                let at = self.index(to);
                self.ring[at] = id;
                self.place[id as usize] = to;
                to = to.wrapping_add(1);
            }
        }
        self.tail = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn the_ring_is_a_deque_from_which_anything_may_be_taken() {
        let n = 13u32;
        let (mut fast, mut slow) = (FreeQueue::new(n), VecDeque::new());
        // Positions have to pass through the end of u32 as well.
        (fast.head, fast.tail) = (u32::MAX - 50, u32::MAX - 50);
        let mut z = 7u64;
        for _ in 0..20_000 {
            z = z.wrapping_mul(6364136223846793005).wrapping_add(1);
            let id = (z >> 40) as u32 % n;
            match (slow.contains(&id), (z >> 33) % 4) {
                (true, 0) => assert_eq!(fast.pop(), slow.pop_front()),
                (true, _) => {
                    fast.remove(id);
                    slow.retain(|x| *x != id);
                }
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
        while let Some(id) = slow.pop_front() {
            assert_eq!(fast.pop(), Some(id));
        }
        assert_eq!(fast.pop(), None);
    }
}

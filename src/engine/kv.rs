//! KV blocks: reference counts, the free queue, and the blocks registered for prefix caching.
//!
//! As vLLM's `v1/core/block_pool.py` (0.12.0): block 0 is the null block and never handed out; the free queue is a
//! list, at first in order of id; a free block may still hold registered content, which is lost when
//! the block is handed out again. Hence eviction is least recently released first.
use hashbrown::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Index of a block.
pub type BlockId = u32;

/// End of a list.
const NONE: u32 = u32::MAX;

/// Content hashes are mixed already: the map takes them as they are. The map is never iterated.
#[derive(Default)]
pub struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64")
    }
    fn write_u64(&mut self, v: u64) {
        self.0 = v
    }
}

/// A map from a mixed 64-bit key; deterministic, never iterated.
pub type KeyMap<V> = HashMap<u64, V, BuildHasherDefault<Identity>>;

#[derive(Clone, Copy, Debug)]
struct Block {
    refs: u32,
    /// Neighbours in the free queue, if free.
    prev: u32,
    next: u32,
    /// Content hash, 0 if not registered.
    hash: u64,
    /// Neighbours among registered blocks of equal content, in order of registration.
    older: u32,
    newer: u32,
}

/// All KV blocks of a device.
#[derive(Clone, Debug)]
pub struct BlockPool {
    blocks: Vec<Block>,
    head: u32,
    tail: u32,
    free: u32,
    /// Content hash → oldest and newest registered block of that content.
    cached: KeyMap<(BlockId, BlockId)>,
    unregistered_first: bool,
}

impl BlockPool {
    /// `num_gpu_blocks` blocks, all free but the null block.
    pub fn new(num_gpu_blocks: u32, unregistered_first: bool) -> Self {
        let blocks = (0..num_gpu_blocks)
            .map(|i| Block {
                refs: 0,
                prev: if i > 1 { i - 1 } else { NONE },
                next: if i + 1 < num_gpu_blocks { i + 1 } else { NONE },
                hash: 0,
                older: NONE,
                newer: NONE,
            })
            .collect();
        Self {
            blocks,
            head: if num_gpu_blocks > 1 { 1 } else { NONE },
            tail: if num_gpu_blocks > 1 {
                num_gpu_blocks - 1
            } else {
                NONE
            },
            free: num_gpu_blocks - 1,
            cached: KeyMap::default(),
            unregistered_first,
        }
    }

    /// Blocks in the free queue.
    pub fn free(&self) -> u32 {
        self.free
    }

    /// Distinct contents registered.
    pub fn distinct_cached(&self) -> usize {
        self.cached.len()
    }

    /// The free queue, next victim first.
    pub fn free_queue(&self) -> Vec<BlockId> {
        let mut all = Vec::with_capacity(self.free as usize);
        let mut at = self.head;
        while at != NONE {
            all.push(at);
            at = self.blocks[at as usize].next;
        }
        all
    }

    fn unlink(&mut self, id: BlockId) {
        let Block { prev, next, .. } = self.blocks[id as usize];
        match prev {
            NONE => self.head = next,
            p => self.blocks[p as usize].next = next,
        }
        match next {
            NONE => self.tail = prev,
            n => self.blocks[n as usize].prev = prev,
        }
        self.free -= 1;
    }

    fn push_back(&mut self, id: BlockId) {
        let tail = self.tail;
        let b = &mut self.blocks[id as usize];
        b.prev = tail;
        b.next = NONE;
        match tail {
            NONE => self.head = id,
            t => self.blocks[t as usize].next = id,
        }
        self.tail = id;
        self.free += 1;
    }

    fn push_front(&mut self, id: BlockId) {
        let head = self.head;
        let b = &mut self.blocks[id as usize];
        b.next = head;
        b.prev = NONE;
        match head {
            NONE => self.tail = id,
            h => self.blocks[h as usize].prev = id,
        }
        self.head = id;
        self.free += 1;
    }

    /// Takes the block at the front of the free queue; its registered content, if any, is lost.
    ///
    /// # Panics
    /// If none is free: callers check first.
    pub fn pop(&mut self) -> BlockId {
        let id = self.head;
        assert!(id != NONE, "no free block");
        self.unlink(id);
        self.unregister(id);
        self.blocks[id as usize].refs = 1;
        id
    }

    /// The oldest registered block of that content.
    pub fn lookup(&self, hash: u64) -> Option<BlockId> {
        self.cached.get(&hash).map(|(oldest, _)| *oldest)
    }

    /// Whether a block is in the free queue.
    pub fn is_free(&self, id: BlockId) -> bool {
        self.blocks[id as usize].refs == 0
    }

    /// One more request uses a registered block.
    pub fn touch(&mut self, id: BlockId) {
        if self.blocks[id as usize].refs == 0 {
            self.unlink(id);
        }
        self.blocks[id as usize].refs += 1;
    }

    /// Registers the content of a full block. Equal contents are all kept, in order of registration.
    pub fn register(&mut self, id: BlockId, hash: u64) {
        debug_assert!(self.blocks[id as usize].hash == 0 && hash != 0);
        self.blocks[id as usize].hash = hash;
        self.blocks[id as usize].newer = NONE;
        match self.cached.entry(hash) {
            hashbrown::hash_map::Entry::Vacant(v) => {
                self.blocks[id as usize].older = NONE;
                v.insert((id, id));
            }
            hashbrown::hash_map::Entry::Occupied(mut o) => {
                let newest = o.get().1;
                o.get_mut().1 = id;
                self.blocks[newest as usize].newer = id;
                self.blocks[id as usize].older = newest;
            }
        }
    }

    fn unregister(&mut self, id: BlockId) {
        let Block {
            hash, older, newer, ..
        } = self.blocks[id as usize];
        if hash == 0 {
            return;
        }
        self.blocks[id as usize].hash = 0;
        match (older, newer) {
            (NONE, NONE) => {
                self.cached.remove(&hash);
            }
            (NONE, n) => {
                self.blocks[n as usize].older = NONE;
                self.cached.get_mut(&hash).expect("registered").0 = n;
            }
            (o, NONE) => {
                self.blocks[o as usize].newer = NONE;
                self.cached.get_mut(&hash).expect("registered").1 = o;
            }
            (o, n) => {
                self.blocks[o as usize].newer = n;
                self.blocks[n as usize].older = o;
            }
        }
    }

    /// Releases a request's blocks, from the last to the first; those that nobody uses any more become free.
    pub fn release(&mut self, blocks: &[BlockId]) {
        if self.unregistered_first {
            // The unregistered ones go, in this order, before the head of the queue: the last pushed comes out
            // first, so push them in reverse.
            for &id in blocks.iter().rev() {
                let b = &mut self.blocks[id as usize];
                b.refs -= 1;
                if b.refs == 0 && b.hash != 0 {
                    self.push_back(id);
                }
            }
            for &id in blocks {
                let b = &self.blocks[id as usize];
                if b.refs == 0 && b.hash == 0 {
                    self.push_front(id);
                }
            }
        } else {
            for &id in blocks.iter().rev() {
                self.blocks[id as usize].refs -= 1;
                if self.blocks[id as usize].refs == 0 {
                    self.push_back(id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_out_in_order_of_release_and_tails_first() {
        let mut p = BlockPool::new(6, false);
        let a: Vec<_> = (0..3).map(|_| p.pop()).collect();
        assert_eq!(a, [1, 2, 3]);
        p.release(&a);
        assert_eq!(p.free_queue(), [4, 5, 3, 2, 1]);
    }

    #[test]
    fn unregistered_blocks_go_first_from_0_24_on() {
        let mut p = BlockPool::new(6, true);
        let a: Vec<_> = (0..3).map(|_| p.pop()).collect();
        p.register(1, 77);
        p.release(&a);
        assert_eq!(p.free_queue(), [3, 2, 4, 5, 1]);
    }

    #[test]
    fn equal_contents_are_all_kept_and_the_oldest_is_found() {
        let mut p = BlockPool::new(5, false);
        let (a, b, c) = (p.pop(), p.pop(), p.pop());
        for id in [a, b, c] {
            p.register(id, 9);
        }
        assert_eq!(p.lookup(9), Some(a));
        assert_eq!(p.distinct_cached(), 1);
        p.release(&[b]);
        p.release(&[a]);
        assert_eq!(p.free_queue(), [4, b, a]);
        p.pop();
        assert_eq!(p.pop(), b);
        assert_eq!(p.lookup(9), Some(a), "free content stays until handed out");
        p.touch(a);
        assert_eq!(p.free(), 0);
        p.release(&[a]);
        assert_eq!(p.pop(), a);
        assert_eq!(p.lookup(9), Some(c));
    }
}

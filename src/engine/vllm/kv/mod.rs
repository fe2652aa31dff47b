//! KV blocks: reference counts, the free queue, and the blocks registered for prefix caching.
//!
//! As vLLM's `v1/core/block_pool.py` (0.12.0): block 0 is the null block and never handed out; the free queue is a
//! list, at first in order of id; a free block may still hold registered content, which is lost when
//! the block is handed out again. Hence eviction is least recently released first.
mod cached;
mod free_queue;

use cached::Cached;
use free_queue::FreeQueue;

/// Index of a block.
pub type BlockId = u32;

/// Blocks of one request, in order.
pub type BlockTable = Vec<BlockId>;

/// All KV blocks of a device. Nothing is allocated for a block before it is handed out for the first time.
#[derive(Clone, Debug)]
pub struct BlockPool {
    blocks: u32,
    /// Requests that use each block, as far as blocks were handed out.
    refs: Vec<u32>,
    free: FreeQueue,
    cached: Cached,
    unregistered_first: bool,
}

impl BlockPool {
    /// `num_gpu_blocks` blocks, all free but the null block.
    pub fn new(num_gpu_blocks: u32, unregistered_first: bool) -> Self {
        Self {
            blocks: num_gpu_blocks,
            refs: vec![0],
            free: FreeQueue::new(1, num_gpu_blocks),
            cached: Cached::new(num_gpu_blocks),
            unregistered_first,
        }
    }

    /// Blocks in the free queue.
    pub fn free(&self) -> u32 {
        self.free.len()
    }

    /// Distinct contents registered.
    pub fn distinct_cached(&self) -> usize {
        self.cached.contents()
    }

    /// The free queue, next victim first.
    pub fn free_queue(&self) -> Vec<BlockId> {
        self.free.ids()
    }

    /// Takes the block at the front of the free queue; its registered content, if any, is lost.
    ///
    /// # Panics
    /// If none is free: callers check first.
    pub fn pop(&mut self) -> BlockId {
        let id = self.free.pop().expect("no free block");
        if id as usize == self.refs.len() {
            self.refs.push(1);
            self.cached.grow();
        } else {
            self.cached.unregister(id);
            self.refs[id as usize] = 1;
        }
        id
    }

    /// The oldest registered block of that content.
    pub fn lookup(&self, hash: u64) -> Option<BlockId> {
        self.cached.lookup(hash)
    }

    /// Whether a block is in the free queue.
    pub fn is_free(&self, id: BlockId) -> bool {
        self.refs[id as usize] == 0
    }

    /// Requests that use a block.
    pub fn users(&self, id: BlockId) -> u32 {
        self.refs[id as usize]
    }

    /// One more request uses a registered block.
    pub fn touch(&mut self, id: BlockId) {
        if self.is_free(id) {
            self.free.remove(id);
        }
        self.refs[id as usize] += 1;
    }

    /// Registers the content of a full block. Equal contents are all kept, in order of registration.
    pub fn register(&mut self, id: BlockId, hash: u64) {
        self.cached.register(id, hash);
    }

    /// Forgets all registered content if no block is in use; whether that was so.
    pub fn forget(&mut self) -> bool {
        if self.free() + 1 != self.blocks {
            return false;
        }
        self.cached.forget();
        true
    }

    /// Releases a request's blocks, from the last to the first; those that no other request uses become free.
    pub fn release(&mut self, blocks: &[BlockId]) {
        for &id in blocks.iter().rev() {
            self.refs[id as usize] -= 1;
            let last = !self.unregistered_first || self.cached.is_registered(id);
            if self.is_free(id) && last {
                self.free.push_back(id);
            }
        }
        if self.unregistered_first {
            // These go, in the same order, before the head of the queue: the last pushed comes out first, so
            // push them in reverse.
            for &id in blocks {
                if self.is_free(id) && !self.cached.is_registered(id) {
                    self.free.push_front(id);
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

    #[test]
    fn two_billion_blocks_cost_nothing_until_they_are_used() {
        let mut p = BlockPool::new(1 << 31, true);
        assert_eq!(p.free(), (1 << 31) - 1);
        let a: Vec<_> = (0..1000).map(|_| p.pop()).collect();
        a.iter()
            .for_each(|id| p.register(*id, 1 << 40 | u64::from(*id)));
        p.release(&a);
        assert_eq!(
            p.pop(),
            1001,
            "released blocks that are registered come last"
        );
        assert!(p.refs.len() < 1100);
        assert_eq!(p.lookup(1 << 40 | 1000), Some(1000));
        p.touch(1000);
        assert_eq!(p.free(), (1 << 31) - 3);
    }
}

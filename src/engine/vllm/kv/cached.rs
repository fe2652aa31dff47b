//! Which blocks hold which content: from content hash to the registered blocks, oldest first.
//!
//! A hash table chained through the blocks themselves: a block's entry holds its hash and its neighbours in the chain,
//! so that forgetting it, which happens whenever a block is handed out again, loads that one entry and
//! otherwise only stores. The time of such tables is that of loads which wait for each other. Never iterated.
use super::BlockId;

/// No block: the null block is never registered.
const NONE: BlockId = 0;
/// In `previous`: not in a chain, for an older block of equal content is.
const YOUNGER: BlockId = u32::MAX;
/// In `next`: several blocks hold this content. Ids are smaller.
const SEVERAL: u32 = 1 << 31;

/// Blocks for which the table of chains is large enough at first.
const BLOCKS_AT_FIRST: u32 = 1 << 18;

/// What is known of one block.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Content hash, 0 if not registered.
    hash: u64,
    /// Neighbours in the chain.
    previous: BlockId,
    next: BlockId,
}

/// Neighbours among the blocks of one content, in a circle in order of registration.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    older: BlockId,
    newer: BlockId,
}

/// Registered blocks by content hash.
#[derive(Clone, Debug)]
pub struct Cached {
    /// First block of each chain; a power of two of them.
    heads: Vec<BlockId>,
    entries: Vec<Entry>,
    /// Valid only for contents that several blocks hold.
    links: Vec<Link>,
    contents: usize,
}

impl Cached {
    /// For the null block alone; others [come](Self::grow) as they are handed out, at most `num_gpu_blocks` in all.
    pub fn new(num_gpu_blocks: u32) -> Self {
        let heads = 2 * num_gpu_blocks.min(BLOCKS_AT_FIRST) as usize;
        Self {
            heads: vec![NONE; heads.next_power_of_two()],
            entries: vec![Entry::default()],
            links: vec![Link::default()],
            contents: 0,
        }
    }

    /// One more block, not registered.
    pub fn grow(&mut self) {
        self.entries.push(Entry::default());
        self.links.push(Link::default());
        if 2 * self.entries.len() > self.heads.len() {
            self.spread();
        }
    }

    /// Forgets all contents.
    pub fn forget(&mut self) {
        self.heads.fill(NONE);
        self.entries.fill(Entry::default());
        self.contents = 0;
    }

    /// Twice as many chains, so that they stay short.
    fn spread(&mut self) {
        self.heads = vec![NONE; 2 * self.heads.len()];
        for id in 1..self.entries.len() as BlockId {
            let e = self.entries[id as usize];
            // Only the oldest block of each content is in a chain.
            if e.hash == 0 || e.previous == YOUNGER {
                continue;
            }
            let head = self.head(e.hash);
            let next = std::mem::replace(&mut self.heads[head], id);
            let e = &mut self.entries[id as usize];
            (e.previous, e.next) = (NONE, next | (e.next & SEVERAL));
            if next != NONE {
                self.entries[next as usize].previous = id;
            }
        }
    }

    /// Distinct contents registered.
    pub fn contents(&self) -> usize {
        self.contents
    }

    /// Whether a block is registered.
    pub fn is_registered(&self, id: BlockId) -> bool {
        self.entries[id as usize].hash != 0
    }

    fn head(&self, hash: u64) -> usize {
        hash as usize & (self.heads.len() - 1)
    }

    /// The oldest registered block of that content.
    pub fn lookup(&self, hash: u64) -> Option<BlockId> {
        let mut at = self.heads[self.head(hash)];
        while at != NONE {
            let e = &self.entries[at as usize];
            if e.hash == hash {
                return Some(at);
            }
            at = e.next & !SEVERAL;
        }
        None
    }

    /// Registers the content of a full block. Equal contents are all kept, in order of registration.
    pub fn register(&mut self, id: BlockId, hash: u64) {
        debug_assert!(hash != 0 && id != NONE && !self.is_registered(id));
        if let Some(oldest) = self.lookup(hash) {
            return self.register_again(id, hash, oldest);
        }
        let head = self.head(hash);
        let next = self.heads[head];
        if next != NONE {
            self.entries[next as usize].previous = id;
        }
        self.entries[id as usize] = Entry {
            hash,
            previous: NONE,
            next,
        };
        self.heads[head] = id;
        self.contents += 1;
    }

    fn register_again(&mut self, id: BlockId, hash: u64, oldest: BlockId) {
        let e = &mut self.entries[oldest as usize];
        let newest = if e.next & SEVERAL == 0 {
            oldest
        } else {
            self.links[oldest as usize].older
        };
        e.next |= SEVERAL;
        self.links[id as usize] = Link {
            older: newest,
            newer: oldest,
        };
        self.links[newest as usize].newer = id;
        self.links[oldest as usize].older = id;
        self.entries[id as usize] = Entry {
            hash,
            previous: YOUNGER,
            next: NONE,
        };
    }

    /// Forgets the content of a block, if it is registered.
    pub fn unregister(&mut self, id: BlockId) {
        let e = self.entries[id as usize];
        if e.hash == 0 {
            return;
        }
        self.entries[id as usize].hash = 0;
        if e.previous == YOUNGER || e.next & SEVERAL != 0 {
            return self.unregister_one_of(id, e);
        }
        self.contents -= 1;
        self.follow(&e, e.next);
        if e.next != NONE {
            self.entries[e.next as usize].previous = e.previous;
        }
    }

    /// Makes `next` follow what stands before `e` in its chain.
    fn follow(&mut self, e: &Entry, next: BlockId) {
        if e.previous == NONE {
            let head = self.head(e.hash);
            self.heads[head] = next;
        } else {
            let before = &mut self.entries[e.previous as usize].next;
            *before = (*before & SEVERAL) | next;
        }
    }

    /// The same where other blocks hold the content, too: the next older one takes the place in the chain.
    fn unregister_one_of(&mut self, id: BlockId, e: Entry) {
        let Link { older, newer } = self.links[id as usize];
        self.links[older as usize].newer = newer;
        self.links[newer as usize].older = older;
        let alone = older == newer;
        if e.previous != YOUNGER {
            let next = e.next & !SEVERAL;
            self.follow(&e, newer);
            if next != NONE {
                self.entries[next as usize].previous = newer;
            }
            let heir = &mut self.entries[newer as usize];
            heir.previous = e.previous;
            heir.next = if alone { next } else { next | SEVERAL };
        } else if alone {
            // The other one is the oldest, which is in the chain.
            self.entries[older as usize].next &= !SEVERAL;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_table_is_a_map_to_the_oldest_block_whatever_the_hashes_are() {
        let n = 300u32;
        let (mut fast, mut slow) = (Cached::new(2), BTreeMap::<u64, Vec<u32>>::new());
        let mut there = 1u32;
        let mut of = vec![0u64; n as usize];
        let mut z = 3u64;
        for round in 0..60_000u32 {
            z = z
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let id = 1 + (z >> 40) as u32 % (n - 1);
            // Blocks come one after the other, while others are registered already.
            while there <= id.min(1 + round / 50) {
                fast.grow();
                there += 1;
            }
            if id >= there {
                continue;
            }
            // Few contents, many of which share a chain.
            let k = (z >> 50) % 200;
            let hash = match k % 4 {
                0 => 1 + (k << 32),
                1 => 1 + (k << 40),
                2 => u64::MAX - k,
                _ => crate::engine::content::mix(k),
            };
            // Now mostly full, now mostly empty.
            let fill = (round / 5_000).is_multiple_of(2);
            if of[id as usize] == 0 && (fill || z >> 62 == 0) {
                fast.register(id, hash);
                slow.entry(hash).or_default().push(id);
                of[id as usize] = hash;
            } else if of[id as usize] != 0 && (!fill || z >> 62 == 0) {
                fast.unregister(id);
                let list = slow.get_mut(&of[id as usize]).unwrap();
                list.retain(|x| *x != id);
                if list.is_empty() {
                    slow.remove(&of[id as usize]);
                }
                of[id as usize] = 0;
            }
            assert_eq!(fast.contents(), slow.len());
            assert_eq!(fast.lookup(hash), slow.get(&hash).map(|l| l[0]));
            assert_eq!(fast.is_registered(id), of[id as usize] != 0);
            if round % 100 == 0 {
                for (hash, list) in &slow {
                    assert_eq!(fast.lookup(*hash), Some(list[0]));
                }
            }
        }
    }
}

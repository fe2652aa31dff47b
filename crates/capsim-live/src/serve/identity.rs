//! Which tokens are the same: from token ids to the streams of the simulator, so that its prefix cache finds what
//! vLLM's would.
//!
//! vLLM hashes token ids block by block, each block with all before it. Here a full block of a prompt is a piece of
//! a stream named after exactly that hash, so equal beginnings are equal pieces. The one exception are blocks that a
//! request filled with its answer: the engine knows the answer as a stream of its own, and when a later prompt quotes
//! it, the same pieces must come out. A bounded map remembers them from the moment the block is full.
use capsim::workload::{Segment, StreamId};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::hash::BuildHasherDefault;

/// Mixes 64 bits (the finaliser of SplitMix64: G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014).
pub fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Hash of a token sequence, token by token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain(u64);

impl Chain {
    /// Of no token.
    pub const START: Self = Self(0x6361_7073_696d_0001);
    /// With one more token.
    pub fn then(self, token: u32) -> Self {
        Self(mix(
            self.0 ^ (u64::from(token) + 1).wrapping_mul(0xd1b5_4a32_d192_ed03)
        ))
    }
    /// As a number.
    pub fn value(self) -> u64 {
        self.0
    }
}

type Pieces = SmallVec<[Segment; 2]>;

/// Keys are hashes already.
type Map = HashMap<u64, Pieces, BuildHasherDefault<crate::serve::identity::Plain>>;

/// Takes 64-bit keys as they are.
#[derive(Default)]
pub struct Plain(u64);

impl std::hash::Hasher for Plain {
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

/// What full blocks of answers are made of, by hash of all tokens up to their end.
#[derive(Debug)]
pub struct Identities {
    block_size: u32,
    capacity: usize,
    answers: Map,
    order: VecDeque<u64>,
}

/// A prompt as the simulator sees it, and what is needed to go on with its answer.
#[derive(Clone, Debug)]
pub struct Identified {
    /// Pieces of streams.
    pub segments: Vec<Segment>,
    /// Hash of the whole prompt.
    pub chain: Chain,
    /// The pieces after the last full block.
    pub tail: Pieces,
}

impl Identities {
    /// Remembers up to `capacity` blocks of answers.
    pub fn new(block_size: u32, capacity: usize) -> Self {
        Self {
            block_size,
            capacity,
            answers: Map::default(),
            order: VecDeque::new(),
        }
    }

    /// Blocks remembered.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// The pieces of a prompt.
    pub fn identify(&self, tokens: &[u32]) -> Identified {
        let mut chain = Chain::START;
        let mut segments = vec![];
        let blocks = tokens.chunks_exact(self.block_size as usize);
        let rest = blocks.remainder();
        for block in blocks {
            chain = block.iter().fold(chain, |c, &t| c.then(t));
            match self.answers.get(&chain.value()) {
                Some(pieces) => segments.extend_from_slice(pieces),
                None => segments.push(whole(chain, self.block_size)),
            }
        }
        let mut tail = Pieces::new();
        if !rest.is_empty() {
            chain = rest.iter().fold(chain, |c, &t| c.then(t));
            tail.push(whole(chain, rest.len() as u32));
            segments.push(tail[0]);
        }
        Identified {
            segments,
            chain,
            tail,
        }
    }

    /// A block of an answer is full: its tokens end with hash `chain` and are these pieces.
    pub fn remember(&mut self, chain: Chain, pieces: Pieces) {
        if self.answers.try_insert_new(chain.value(), pieces) {
            self.order.push_back(chain.value());
            if self.order.len() > self.capacity
                && let Some(oldest) = self.order.pop_front()
            {
                self.answers.remove(&oldest);
            }
        }
    }
}

/// Tells whether the key was new; an old one keeps its value.
trait InsertNew {
    fn try_insert_new(&mut self, key: u64, value: Pieces) -> bool;
}

impl InsertNew for Map {
    fn try_insert_new(&mut self, key: u64, value: Pieces) -> bool {
        match self.entry(key) {
            hashbrown::hash_map::Entry::Occupied(_) => false,
            hashbrown::hash_map::Entry::Vacant(e) => {
                e.insert(value);
                true
            }
        }
    }
}

/// Tokens that nothing but their hash names. The length is part of the name: a short tail is not the beginning of
/// a longer one.
fn whole(chain: Chain, len: u32) -> Segment {
    Segment {
        stream: StreamId(mix(chain.value() ^ u64::from(len))),
        start: 0,
        len,
    }
}

/// Follows a request's answer and says when it fills a block.
#[derive(Clone, Debug)]
pub struct Follower {
    chain: Chain,
    /// Tokens since the last block's end.
    filled: u32,
    pieces: Pieces,
    stream: StreamId,
    emitted: u32,
}

impl Follower {
    /// Behind a prompt of that many tokens.
    pub fn new(prompt: &Identified, len: u32, block_size: u32, stream: StreamId) -> Self {
        Self {
            chain: prompt.chain,
            filled: len % block_size,
            pieces: prompt.tail.clone(),
            stream,
            emitted: 0,
        }
    }

    /// One more token of the answer; the block's hash and pieces if that fills one.
    pub fn push(&mut self, token: u32, block_size: u32) -> Option<(Chain, Pieces)> {
        self.chain = self.chain.then(token);
        match self.pieces.last_mut() {
            Some(last) if last.stream == self.stream => last.len += 1,
            _ => self.pieces.push(Segment {
                stream: self.stream,
                start: self.emitted,
                len: 1,
            }),
        }
        self.emitted += 1;
        self.filled += 1;
        if self.filled < block_size {
            return None;
        }
        self.filled = 0;
        Some((self.chain, std::mem::take(&mut self.pieces)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capsim::workload::Prompt;

    /// Blocks that two prompts share from the beginning, as pieces.
    fn shared(a: &Prompt, b: &Prompt, block: u32) -> u32 {
        let flat = |p: &Prompt| -> Vec<(u64, u32)> {
            p.segments()
                .iter()
                .flat_map(|s| (s.start..s.start + s.len).map(|k| (s.stream.0, k)))
                .collect()
        };
        let (a, b) = (flat(a), flat(b));
        let same = a.iter().zip(&b).take_while(|(x, y)| x == y).count() as u32;
        same / block
    }

    #[test]
    fn prompts_share_exactly_their_equal_full_blocks() {
        let ids = Identities::new(4, 100);
        let prompt = |t: &[u32]| Prompt::new(ids.identify(t).segments);
        let base: Vec<u32> = (0..11).collect();
        for differ in 0..11 {
            let mut other = base.clone();
            other[differ] = 99;
            assert_eq!(
                shared(&prompt(&base), &prompt(&other), 4),
                differ as u32 / 4
            );
        }
        assert_eq!(prompt(&base), prompt(&base));
        assert_eq!(shared(&prompt(&base), &prompt(&base[..8]), 4), 2);
        // The same block after another beginning is another block.
        assert_eq!(
            shared(
                &prompt(&[1, 2, 3, 4, 5, 6, 7, 8]),
                &prompt(&[5, 6, 7, 8]),
                4
            ),
            0
        );
    }

    #[test]
    fn a_quoted_answer_is_the_answer_up_to_its_last_full_block() {
        let mut ids = Identities::new(4, 100);
        let prompt: Vec<u32> = (0..6).collect();
        let answer: Vec<u32> = (100..109).collect();
        let stream = StreamId(7);
        let first = ids.identify(&prompt);
        let mut follower = Follower::new(&first, 6, 4, stream);
        for &t in &answer {
            if let Some((chain, pieces)) = follower.push(t, 4) {
                ids.remember(chain, pieces);
            }
        }
        // 15 tokens are three full blocks; the first is the prompt's own.
        assert_eq!(ids.len(), 2);
        let mut whole = first.segments.clone();
        whole.push(Segment {
            stream,
            start: 0,
            len: 9,
        });
        let engine_view = Prompt::new(whole);
        let mut quote = prompt.clone();
        quote.extend(&answer);
        quote.extend([1, 2, 3]);
        let quoted = Prompt::new(ids.identify(&quote).segments);
        assert_eq!(shared(&engine_view, &quoted, 4), 3);
        assert_eq!(quoted.len(), 18);
        // With another word in the prompt nothing is shared after it.
        quote[1] = 55;
        let other = Prompt::new(ids.identify(&quote).segments);
        assert_eq!(shared(&engine_view, &other, 4), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut ids = Identities::new(4, 10);
        let mut chain = Chain::START;
        for t in 0..1000 {
            chain = chain.then(t);
            ids.remember(chain, Pieces::new());
        }
        assert_eq!(ids.len(), 10);
    }
}

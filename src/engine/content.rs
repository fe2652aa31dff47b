//! What tokens say, as 64-bit hashes: of every full block with all that stands before it, and of whole requests.
use crate::workload::{Answer, Prompt};
use hashbrown::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

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

/// Mixes 64 bits (the finaliser of SplitMix64: G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014).
pub fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Any odd number with bits all over: consecutive lengths of a run get inputs far apart.
const STEP: u64 = 0xd1b5_4a32_d192_ed03;

/// Where a run of tokens of one stream begins, after content of hash `before`.
fn begin_run(before: u64, stream: u64, start: u32) -> u64 {
    mix(before ^ mix(stream ^ mix(start.into())))
}

/// Content that ends after `len` tokens of a run.
fn after_run(base: u64, len: u32) -> u64 {
    mix(base.wrapping_add(u64::from(len).wrapping_mul(STEP)))
}

fn add_run(h: u64, stream: u64, start: u32, len: u32) -> u64 {
    after_run(begin_run(h, stream, start), len)
}

/// Hashes of a request's full blocks, each of all tokens up to the block's end, as far as they were asked for.
///
/// A token sequence is a list of maximal runs of streams; its hash folds the complete runs and then the length of the last one.
/// So equal sequences, and up to chance of 2⁻⁶⁴ only those, get equal hashes, and no block waits for the hash of the one before.
#[derive(Clone, Debug, Default)]
pub struct BlockHashes {
    list: Vec<u64>,
    /// The run in which the last hash was taken: its number among the prompt's segments (then the answer), the position where
    /// it begins, where it ends, its hash. All zero at first.
    run: u32,
    begin: u32,
    end: u32,
    base: u64,
}

impl BlockHashes {
    /// None yet; keeps the memory.
    pub fn clear(&mut self) {
        self.list.clear();
        (self.run, self.begin, self.end, self.base) = (0, 0, 0, 0);
    }

    /// Those computed so far, by block.
    pub fn list(&self) -> &[u64] {
        &self.list
    }

    /// Computes the hashes of all full blocks below number `upto` of prompt + answer.
    pub fn extend(&mut self, upto: u32, block_size: u32, prompt: &Prompt, answer: &Answer) {
        while (self.list.len() as u32) < upto {
            let position = (self.list.len() as u32 + 1) * block_size;
            while self.end < position {
                self.next_run(prompt, answer);
            }
            // Zero marks blocks that are not registered.
            let hash = after_run(self.base, position - self.begin).max(1);
            self.list.push(hash);
        }
    }

    fn next_run(&mut self, prompt: &Prompt, answer: &Answer) {
        let before = if self.end == 0 {
            0x6361_7073_696d
        } else {
            self.run += 1;
            after_run(self.base, self.end - self.begin)
        };
        self.begin = self.end;
        let (stream, start, end) = match prompt.segments().get(self.run as usize) {
            Some(s) => (s.stream.0, s.start, self.begin + s.len),
            None => (answer.stream.0, 0, u32::MAX),
        };
        self.end = end;
        self.base = begin_run(before, stream, start);
    }
}

/// Identity of a whole request: equal for equal prompts with the same answer.
pub fn request_hash(prompt: &Prompt, answer: &Answer) -> u64 {
    let h = prompt
        .segments()
        .iter()
        .fold(1, |h, s| add_run(h, s.stream.0, s.start, s.len));
    add_run(h, answer.stream.0, u32::MAX, prompt.len())
}

/// Number of leading tokens that two token sequences (prompt, then answer) share.
pub fn common_prefix(a: (&Prompt, &Answer), b: (&Prompt, &Answer)) -> u64 {
    fn runs<'a>(p: &'a Prompt, s: &'a Answer) -> impl Iterator<Item = (u64, u64, u64)> + 'a {
        p.segments()
            .iter()
            .map(|s| (s.stream.0, u64::from(s.start), u64::from(s.len)))
            .chain([(s.stream.0, 0, u64::MAX / 4)])
    }
    let (mut a, mut b) = (runs(a.0, a.1), runs(b.0, b.1));
    let (mut ra, mut rb) = (a.next(), b.next());
    let mut shared = 0;
    while let (Some(x), Some(y)) = (&mut ra, &mut rb) {
        if (x.0, x.1) != (y.0, y.1) {
            break;
        }
        let n = x.2.min(y.2);
        shared += n;
        for r in [&mut *x, &mut *y] {
            r.1 += n;
            r.2 -= n;
        }
        let (x_ends, y_ends) = (x.2 == 0, y.2 == 0);
        if x_ends {
            ra = a.next();
        }
        if y_ends {
            rb = b.next();
        }
    }
    shared
}

/// Counts requests in lockstep: groups of decoding requests that are the same computation.
#[derive(Clone, Debug, Default)]
pub struct Lockstep {
    groups: KeyMap<u32>,
}

impl Lockstep {
    /// The key of a request's group: content, and the position less the step count, which stays the same while
    /// both decode.
    pub fn key(content: u64, offset: i64) -> u64 {
        mix(content ^ mix(offset as u64))
    }
    /// A request starts to decode.
    pub fn join(&mut self, key: u64) {
        *self.groups.entry(key).or_insert(0) += 1;
    }
    /// A request no longer decodes.
    pub fn leave(&mut self, key: u64) {
        let n = self.groups.get_mut(&key).expect("joined before");
        *n -= 1;
        if *n == 0 {
            self.groups.remove(&key);
        }
    }
    /// Whether some request of that group decodes.
    pub fn contains(&self, key: u64) -> bool {
        self.groups.contains_key(&key)
    }
    /// Distinct computations among the decoding requests.
    pub fn distinct(&self) -> u32 {
        self.groups.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Segment, StreamId};

    fn prompt(parts: &[(u64, u32, u32)]) -> Prompt {
        Prompt::new(parts.iter().map(|&(s, start, len)| Segment {
            stream: StreamId(s),
            start,
            len,
        }))
    }
    fn answer(s: u64) -> Answer {
        Answer {
            stream: StreamId(s),
            stop_at: None,
        }
    }
    fn hashes(p: &Prompt, a: &Answer, n: u32) -> Vec<u64> {
        let mut h = BlockHashes::default();
        h.extend(n, 4, p, a);
        h.list().to_vec()
    }

    #[test]
    fn hashes_do_not_depend_on_when_they_are_computed_or_how_tokens_were_written_down() {
        let (p, a) = (prompt(&[(1, 0, 6), (2, 3, 7)]), answer(9));
        let whole = hashes(&p, &a, 6);
        let mut bit_by_bit = BlockHashes::default();
        for k in 1..=6 {
            bit_by_bit.extend(k, 4, &p, &a);
        }
        assert_eq!(whole, bit_by_bit.list());
        assert!((1..6).all(|k| !whole[..k].contains(&whole[k])));
        // A follow-up prompt repeats the answer: same tokens, same hashes.
        let follow = prompt(&[(1, 0, 6), (2, 3, 7), (9, 0, 11), (5, 0, 9)]);
        assert_eq!(hashes(&follow, &answer(10), 6), whole);
        assert_ne!(hashes(&prompt(&[(1, 0, 6), (2, 4, 7)]), &a, 2)[1], whole[1]);
    }

    #[test]
    fn the_common_prefix_ends_at_the_first_difference() {
        let (p, a) = (prompt(&[(1, 0, 6), (2, 0, 4)]), answer(9));
        let q = prompt(&[(1, 0, 8)]);
        assert_eq!(common_prefix((&p, &a), (&q, &answer(3))), 6);
        assert_eq!(
            common_prefix(
                (&p, &a),
                (
                    &prompt(&[(1, 0, 6), (2, 0, 4), (9, 0, 3), (4, 0, 1)]),
                    &answer(8)
                )
            ),
            13
        );
        assert!(common_prefix((&p, &a), (&p, &a)) > 1 << 40);
    }
}

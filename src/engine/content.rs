//! What tokens say, as 64-bit hashes: of every full block with all that stands before it, and of whole requests.
use super::kv::{BlockId, KeyMap};
use crate::workload::{Answer, Prompt};

/// Mixes 64 bits (the finaliser of SplitMix64: G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014).
pub fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn add_run(h: u64, stream: u64, start: u32, len: u32) -> u64 {
    // One mix in the chain from block to block, which has to be waited for; the run's own does not depend on it.
    mix(h ^ mix(stream ^ mix(u64::from(start) << 32 | u64::from(len))))
}

/// Appends to `hashes` the chained hashes of full blocks number `hashes.len() .. upto` of prompt + answer. Two
/// blocks get equal hashes if and only if (up to chance of 2⁻⁶⁴) all tokens up to their ends are equal:
/// blocks are split into maximal runs, which equal token sequences share.
pub fn extend_hashes(
    hashes: &mut Vec<u64>,
    upto: u32,
    block_size: u32,
    prompt: &Prompt,
    answer: &Answer,
) {
    let first = hashes.len() as u32;
    if first >= upto {
        return;
    }
    let prompt_len = prompt.len();
    let mut h = hashes.last().copied().unwrap_or(0x6361_7073_696d);
    // Position in the segments where the first missing block begins.
    let mut pos = first * block_size;
    let segments = prompt.segments();
    let mut at = 0;
    let mut begin = 0;
    while at < segments.len() && begin + segments[at].len <= pos {
        begin += segments[at].len;
        at += 1;
    }
    for _ in first..upto {
        let end = pos + block_size;
        while pos < end {
            if pos < prompt_len {
                let s = segments[at];
                let n = (begin + s.len).min(end) - pos;
                h = add_run(h, s.stream.0, s.start + (pos - begin), n);
                pos += n;
                if pos == begin + s.len {
                    begin += s.len;
                    at += 1;
                }
            } else {
                h = add_run(h, answer.stream.0, pos - prompt_len, end - pos);
                pos = end;
            }
        }
        // Zero marks blocks that are not registered.
        hashes.push(h.max(1));
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
    let runs = |p: &Prompt, s: &Answer| {
        let mut all: Vec<(u64, u64, u64)> = p
            .segments()
            .iter()
            .map(|s| (s.stream.0, u64::from(s.start), u64::from(s.len)))
            .collect();
        all.push((s.stream.0, 0, u64::MAX / 4));
        all
    };
    let (a, b) = (runs(a.0, a.1), runs(b.0, b.1));
    let (mut i, mut j, mut shared) = (0, 0, 0);
    let (mut ra, mut rb) = (a[0], b[0]);
    loop {
        if ra.0 != rb.0 || ra.1 != rb.1 {
            return shared;
        }
        let n = ra.2.min(rb.2);
        shared += n;
        for (r, all, k) in [(&mut ra, &a, &mut i), (&mut rb, &b, &mut j)] {
            r.1 += n;
            r.2 -= n;
            if r.2 == 0 {
                *k += 1;
                match all.get(*k) {
                    Some(next) => *r = *next,
                    None => return shared,
                }
            }
        }
    }
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

/// Blocks of one request, in order.
pub type BlockTable = Vec<BlockId>;

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
        let mut h = vec![];
        extend_hashes(&mut h, n, 4, p, a);
        h
    }

    #[test]
    fn hashes_do_not_depend_on_when_they_are_computed_or_how_tokens_were_written_down() {
        let (p, a) = (prompt(&[(1, 0, 6), (2, 3, 7)]), answer(9));
        let whole = hashes(&p, &a, 6);
        let mut bit_by_bit = vec![];
        for k in 1..=6 {
            extend_hashes(&mut bit_by_bit, k, 4, &p, &a);
        }
        assert_eq!(whole, bit_by_bit);
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

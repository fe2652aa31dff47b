//! Recorded requests: when, how long, and (where the format says it) which tokens they share.
//!
//! Text of any known format → a compact [`Trace`]: 16 bytes per request and 4 per hash id. Times count from the first row.
//! A line that makes no sense is an error with its number; nothing is sorted, skipped or repaired silently.
mod bailian;
mod error;
mod llmservingsim;
mod log;
mod mooncake;
mod names;
mod pieces;
mod servegen;
mod spec;
mod stats;
mod table;
mod timestamp;
mod write;

pub use error::TraceError;
pub use pieces::Pieces;
pub use servegen::{Client, Pool};
pub use spec::{Format, Options, TraceSpec};
pub use stats::TraceStats;
pub use write::{MOONCAKE_BLOCK, ReblockError};

use super::length::LONGEST;
use super::{Prompt, Segment, StreamId};
use crate::units::Span;
use hashbrown::HashMap;
use std::hash::BuildHasherDefault;

/// Most requests of a trace.
pub const MOST_ROWS: usize = 1 << 28;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Since the first row.
    pub at: Span,
    /// Prompt tokens.
    pub input: u32,
    /// Output tokens.
    pub output: u32,
}

/// A trace in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    rows: Vec<Row>,
    /// Tokens per hash id; 0: the trace says nothing about content.
    block: u32,
    /// End of each row's ids in `ids`; empty if `block` is 0.
    ends: Vec<usize>,
    /// Hash ids, numbered by first appearance.
    ids: Vec<u32>,
}

/// Streams of hash ids begin here: far from those of requests, which count up from 16.
const HASH_STREAMS: u64 = 1 << 62;

impl Trace {
    /// All requests, in order of time.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Tokens per hash id, if the trace has any.
    pub fn block_size(&self) -> Option<u32> {
        (self.block > 0).then_some(self.block)
    }

    /// Hash ids of row `k`: one per block of [`block_size`](Self::block_size) tokens, the last one perhaps of fewer.
    pub fn hash_ids(&self, k: usize) -> &[u32] {
        let Some(&end) = self.ends.get(k) else {
            return &[];
        };
        let begin = if k == 0 { 0 } else { self.ends[k - 1] };
        &self.ids[begin..end]
    }

    /// Prompt of row `k`: equal hash ids are equal tokens. Tokens without an id are the request's own, from stream `own`.
    pub fn prompt(&self, k: usize, own: StreamId) -> Prompt {
        let mut left = self.rows[k].input;
        let ids = self.hash_ids(k);
        let mut segments: smallvec::SmallVec<[Segment; 2]> =
            smallvec::SmallVec::with_capacity(ids.len() + 1);
        for id in ids {
            let len = left.min(self.block);
            left -= len;
            segments.push(Segment {
                stream: StreamId(HASH_STREAMS + u64::from(*id)),
                start: 0,
                len,
            });
        }
        segments.push(Segment {
            stream: own,
            start: 0,
            len: left,
        });
        Prompt::new(segments)
    }

    /// From the first request to the last.
    pub fn duration(&self) -> Span {
        self.rows.last().map_or(Span::ZERO, |r| r.at)
    }

    /// Rows `from .. to`, with times from the first of them.
    pub fn part(&self, from: usize, to: usize) -> Trace {
        let to = to.min(self.rows.len());
        let from = from.min(to);
        let zero = self.rows.get(from).map_or(Span::ZERO, |r| r.at);
        let mut b = Builder::new(self.block);
        for k in from..to {
            let r = self.rows[k];
            b.push(
                Row {
                    at: r.at - zero,
                    ..r
                },
                self.hash_ids(k).iter().map(|i| u64::from(*i)),
            );
        }
        b.finish()
    }

    /// Spreads requests that carry one and the same time evenly up to the next time that occurs (the last group over as long
    /// as the one before): recorders that write only every few seconds would otherwise make bursts that never were.
    pub fn spread(&mut self) {
        let mut begin = 0;
        let mut gap = 0;
        while begin < self.rows.len() {
            let at = self.rows[begin].at.0;
            let n = self.rows[begin..]
                .iter()
                .take_while(|r| r.at.0 == at)
                .count();
            if let Some(next) = self.rows.get(begin + n) {
                gap = next.at.0 - at;
            }
            for (i, r) in self.rows[begin..begin + n].iter_mut().enumerate() {
                // In 128 bits: a gap of years times many requests.
                let ahead = u128::from(gap) * i as u128 / n as u128;
                r.at = Span(at + ahead as u64);
            }
            begin += n;
        }
    }

    /// Reads a trace. `name` is for messages. The format is recognised by the first line unless `options` says it.
    ///
    /// # Errors
    /// Names file, line and what is wrong.
    pub fn parse(text: &str, name: &str, options: &Options) -> Result<Trace, TraceError> {
        let mut pieces = Pieces::new(name, options);
        pieces.piece(text)?;
        pieces.finish()
    }
}

/// How the error of hash ids that do not fit their prompt begins.
const NOT_COVERED: &str = "hash_ids: ";

/// Line number (0: the whole file) and what is wrong.
type Problem = (u64, String);

/// What every format's reader feeds: it checks what is common to all.
struct Reader {
    rows: Builder,
    /// Lines of the pieces before this one.
    lines_before: u64,
    first: Option<i128>,
    last: i128,
    skip_empty: bool,
    /// Whether hash ids must cover their prompt.
    whole: bool,
    /// Rows that wait to be put in order, where the user wants that.
    unsorted: Option<Vec<Unsorted>>,
}

/// A row in the order of the file.
struct Unsorted {
    at: i128,
    line: u64,
    input: u64,
    output: u64,
    hash_ids: Vec<u64>,
}

/// A row as it stands in a file.
struct Raw<'a> {
    /// Nanoseconds on the file's own clock.
    at: i128,
    input: u64,
    output: u64,
    hash_ids: &'a [u64],
    /// The format's names of time, input and output, for messages.
    names: [&'a str; 3],
}

impl Reader {
    /// Pushes the rows that waited, by time, those of one time as they stand in the file.
    fn in_order(&mut self) -> Result<(), Problem> {
        let Some(mut rows) = self.unsorted.take() else {
            return Ok(());
        };
        rows.sort_by_key(|r| (r.at, r.line));
        rows.into_iter().try_for_each(|r| {
            let raw = Raw {
                at: r.at,
                input: r.input,
                output: r.output,
                hash_ids: &r.hash_ids,
                names: ["the time", "prompt tokens", "output tokens"],
            };
            self.push(r.line, raw)
        })
    }

    fn push(&mut self, line: u64, raw: Raw) -> Result<(), Problem> {
        if let Some(rows) = &mut self.unsorted {
            rows.push(Unsorted {
                at: raw.at,
                line,
                input: raw.input,
                output: raw.output,
                hash_ids: raw.hash_ids.to_vec(),
            });
            return Ok(());
        }
        let [time, input, output] = raw.names;
        let bad = |problem: String| Err((line, problem));
        if raw.at < 0 {
            return bad(format!("{time} is negative"));
        }
        if self.first.is_some() && raw.at < self.last {
            return bad(format!(
                "{time} goes backwards: this row is {:.6} s before the one above; --trace-sort puts rows in order",
                (self.last - raw.at) as f64 / 1e9
            ));
        }
        if self.skip_empty && (raw.input == 0 || raw.output == 0) {
            return Ok(());
        }
        for (name, len) in [(input, raw.input), (output, raw.output)] {
            if len == 0 {
                return bad(format!(
                    "{name} is 0: a request has at least one token each way (--trace-skip-empty leaves such rows out)"
                ));
            }
            if len > LONGEST.into() {
                return bad(format!("{name} is {len}: more than {LONGEST} tokens"));
            }
        }
        let block = u64::from(self.rows.trace.block);
        if !raw.hash_ids.is_empty() {
            let least = if self.whole { raw.input / block } else { 0 };
            let most = raw.input.div_ceil(block);
            let n = raw.hash_ids.len() as u64;
            if !(least..=most).contains(&n) {
                return bad(format!(
                    "{NOT_COVERED}{n} of them do not cover {input} {} in blocks of {block} tokens (expected {most}); \
                     --trace-block-size sets another size",
                    raw.input
                ));
            }
        }
        let first = *self.first.get_or_insert(raw.at);
        self.last = raw.at;
        let at = match u64::try_from(raw.at - first) {
            Ok(ns) if ns < 4_000_000_000_000_000_000 => Span(ns),
            _ => return bad(format!("{time} is more than a century after the first row")),
        };
        if self.rows.trace.rows.len() >= MOST_ROWS {
            return bad(format!("more than {MOST_ROWS} requests"));
        }
        self.rows.push(
            Row {
                at,
                input: raw.input as u32,
                output: raw.output as u32,
            },
            raw.hash_ids.iter().copied(),
        );
        Ok(())
    }
}

/// A map that is never iterated.
type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<Fnv>>;

/// FNV-1a over what is hashed: short and fixed.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl std::hash::Hasher for Fnv {
    fn finish(&self) -> u64 {
        // FNV leaves its entropy low; the table looks at the top bits.
        (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// Builds a trace row by row, numbering hash ids by first appearance.
struct Builder {
    trace: Trace,
    numbers: IdMap<u64, u32>,
}

impl Builder {
    fn new(block: u32) -> Self {
        Self {
            trace: Trace {
                block,
                ..Trace::default()
            },
            numbers: IdMap::default(),
        }
    }

    fn push(&mut self, row: Row, ids: impl Iterator<Item = u64>) {
        let before = self.trace.rows.len();
        self.trace.rows.push(row);
        for id in ids {
            let next = self.numbers.len() as u32;
            self.trace.ids.push(*self.numbers.entry(id).or_insert(next));
        }
        // Most traces have no ids: their ends take no memory.
        if !self.trace.ids.is_empty() {
            if self.trace.ends.is_empty() {
                self.trace.ends = vec![0; before];
            }
            self.trace.ends.push(self.trace.ids.len());
        }
    }

    fn is_empty(&self) -> bool {
        self.trace.rows.is_empty()
    }

    /// Tokens per hash id.
    fn block(&self) -> u32 {
        self.trace.block
    }

    fn finish(mut self) -> Trace {
        if self.trace.ids.is_empty() {
            self.trace.block = 0;
            self.trace.ends = Vec::new();
        }
        self.trace
    }
}

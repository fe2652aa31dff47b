//! A trace as Mooncake JSONL, which `vllm bench serve` (0.33: `timed_trace`), GuideLLM and AIPerf replay.
use super::{Builder, IdMap, Trace};
use std::fmt::Write as _;

/// Tokens per hash id in Mooncake's format.
pub const MOONCAKE_BLOCK: u32 = 512;

/// Blocks that do not fit into the wanted ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "hash ids of {from} tokens cannot be joined to blocks of {to}: {to} must be a multiple of {from}"
)]
pub struct ReblockError {
    /// Tokens per hash id there.
    pub from: u32,
    /// Wanted.
    pub to: u32,
}

impl Trace {
    /// The same trace with hash ids of `block` tokens. Joined ids are equal where all that stands before and in the block is
    /// equal. Requests without ids get ids of their own, so that they share nothing when they are replayed either.
    ///
    /// # Errors
    /// If `block` is not a multiple of the present size.
    pub fn reblocked(&self, block: u32) -> Result<Trace, ReblockError> {
        let from = if self.block == 0 { block } else { self.block };
        if block == 0 || from == 0 || !block.is_multiple_of(from) {
            return Err(ReblockError {
                from: self.block,
                to: block,
            });
        }
        let group = (block / from) as usize;
        // Chain of (block before, ids of this one) → id; own ids count down from the top.
        let mut chain: IdMap<(u64, Vec<u32>), u64> = IdMap::default();
        let mut own = u64::MAX;
        let mut b = Builder::new(block);
        for (k, row) in self.rows.iter().enumerate() {
            let ids = self.hash_ids(k);
            let wanted = row.input.div_ceil(block) as usize;
            let mut out = Vec::with_capacity(wanted);
            let mut before = u64::MAX;
            for part in ids.chunks(group) {
                // A block whose last tokens carry no id is the request's own.
                let covered = (out.len() * group + part.len()) as u64 * u64::from(from);
                let end = u64::from(row.input).min((out.len() as u64 + 1) * u64::from(block));
                if covered < end {
                    break;
                }
                before = if group == 1 {
                    u64::from(part[0])
                } else {
                    let next = chain.len() as u64;
                    *chain.entry((before, part.to_vec())).or_insert(next)
                };
                out.push(before);
            }
            while out.len() < wanted {
                out.push(own);
                own -= 1;
            }
            b.push(*row, out.into_iter());
        }
        Ok(b.finish())
    }

    /// Mooncake JSONL with blocks of [`MOONCAKE_BLOCK`] tokens; timestamps in milliseconds, exact to the nanosecond.
    ///
    /// # Errors
    /// As [`reblocked`](Self::reblocked).
    pub fn mooncake(&self) -> Result<String, ReblockError> {
        let t = self.reblocked(MOONCAKE_BLOCK)?;
        let mut o = String::with_capacity(t.rows.len() * 80 + t.ids.len() * 6);
        for (k, r) in t.rows.iter().enumerate() {
            let (ms, ns) = (r.at.0 / 1_000_000, r.at.0 % 1_000_000);
            let _ = write!(o, "{{\"timestamp\": {ms}");
            if ns > 0 {
                let digits = format!("{ns:06}");
                let _ = write!(o, ".{}", digits.trim_end_matches('0'));
            }
            let _ = write!(
                o,
                ", \"input_length\": {}, \"output_length\": {}, \"hash_ids\": [",
                r.input, r.output
            );
            for (i, id) in t.hash_ids(k).iter().enumerate() {
                let _ = write!(o, "{}{id}", if i > 0 { ", " } else { "" });
            }
            o.push_str("]}\n");
        }
        Ok(o)
    }
}

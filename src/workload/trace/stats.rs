//! What a trace asks for, in a few numbers.
use super::{IdMap, Trace};
use crate::stats;
use serde::{Deserialize, Serialize};

/// A trace in a few numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TraceStats {
    /// Requests.
    pub requests: usize,
    /// From the first request to the last, seconds.
    pub duration_s: f64,
    /// (requests − 1) / duration; absent if all come at once.
    pub request_rate: Option<f64>,
    /// Standard deviation over mean of the gaps: 1 for Poisson, 0 for constant.
    pub gap_cv: Option<f64>,
    /// Different times of arrival.
    pub distinct_times: usize,
    /// Prompt tokens: mean, p50, p90, p99, max.
    pub input: [f64; 5],
    /// Output tokens: mean, p50, p90, p99, max.
    pub output: [f64; 5],
    /// Tokens per hash id.
    pub block_size: Option<u32>,
    /// Part of the hash ids that stood in an earlier request behind the same ones: hits of a cache that forgets nothing.
    pub ideal_block_hit_rate: Option<f64>,
    /// Part of the prompt tokens that an engine with 16-token KV blocks and endless memory would find cached.
    pub ideal_token_hit_rate: Option<f64>,
}

fn five(values: impl Iterator<Item = u32>) -> [f64; 5] {
    let mut v: Vec<f64> = values.map(f64::from).collect();
    v.sort_by(f64::total_cmp);
    [
        stats::mean(&v),
        stats::percentile(&v, 50.0),
        stats::percentile(&v, 90.0),
        stats::percentile(&v, 99.0),
        v.last().copied().unwrap_or(f64::NAN),
    ]
}

impl Trace {
    /// Its figures.
    pub fn stats(&self) -> TraceStats {
        let n = self.rows.len();
        let duration = self.duration().secs();
        let gaps: Vec<f64> = self
            .rows
            .windows(2)
            .map(|w| (w[1].at - w[0].at).secs())
            .collect();
        let moving = duration > 0.0;
        let input: u64 = self.rows.iter().map(|r| u64::from(r.input)).sum();
        let known = self.block > 0;
        TraceStats {
            requests: n,
            duration_s: duration,
            request_rate: moving.then(|| (n - 1) as f64 / duration),
            gap_cv: moving.then(|| stats::std_dev(&gaps) / stats::mean(&gaps)),
            distinct_times: 1 + gaps.iter().filter(|g| **g > 0.0).count(),
            input: five(self.rows.iter().map(|r| r.input)),
            output: five(self.rows.iter().map(|r| r.output)),
            block_size: self.block_size(),
            ideal_block_hit_rate: known
                .then(|| self.block_hits() as f64 / self.ids.len().max(1) as f64),
            ideal_token_hit_rate: known
                .then(|| self.ideal_hits(16).iter().sum::<u64>() as f64 / input.max(1) as f64),
        }
    }

    /// Hash ids that a request shares with the beginning of an earlier one.
    fn block_hits(&self) -> usize {
        let mut tree: IdMap<(u32, u32), u32> = IdMap::default();
        let mut hits = 0;
        for k in 0..self.rows.len() {
            let (mut node, mut known) = (0, true);
            for id in self.hash_ids(k) {
                let next = tree.len() as u32 + 1;
                let found = *tree.entry((node, *id)).or_insert(next);
                known &= found != next;
                hits += usize::from(known);
                node = found;
            }
        }
        hits
    }

    /// Per request, the prompt tokens that vLLM's prefix cache would find if it never forgot anything and every earlier prompt
    /// were in it: whole KV blocks of `kv_block` tokens, and never the last token of the prompt, whose output is needed.
    pub fn ideal_hits(&self, kv_block: u32) -> Vec<u64> {
        // (node, id) → (node, most tokens of it seen).
        let mut tree: IdMap<(u32, u32), (u32, u32)> = IdMap::default();
        let mut all = Vec::with_capacity(self.rows.len());
        for (k, row) in self.rows.iter().enumerate() {
            let (mut node, mut left, mut shared, mut known) = (0, row.input, 0, true);
            for id in self.hash_ids(k) {
                let len = left.min(self.block);
                left -= len;
                let next = tree.len() as u32 + 1;
                let (found, seen) = tree.entry((node, *id)).or_insert((next, 0));
                if known {
                    shared += len.min(*seen);
                    known = *seen >= len;
                }
                *seen = len.max(*seen);
                node = *found;
            }
            let most = row.input.saturating_sub(1).min(shared);
            all.push(u64::from(most / kv_block * kv_block));
        }
        all
    }
}

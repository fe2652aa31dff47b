//! How devices of one node exchange data.
use super::Quantity;
use serde::{Deserialize, Serialize};

/// The way between two devices, as a collective operation sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Seconds that a collective of no size takes: launch, hand-shake, the slowest rank.
    pub latency: Quantity,
    /// Bytes per second that one device sends while it receives as many.
    pub rate: Quantity,
}

impl Link {
    /// All-reduce of `bytes` on `ranks` devices: each sends 2 · (n − 1)/n of them (ring or two-shot; for two devices the same
    /// as one-shot). NCCL's bus bandwidth is defined by it (NVIDIA/nccl-tests, doc/PERFORMANCE.md).
    pub fn all_reduce(&self, ranks: u32, bytes: f64) -> f64 {
        self.collective(2.0 * share(ranks), bytes)
    }

    /// All-gather or reduce-scatter of `bytes` in total on `ranks` devices: each sends (n − 1)/n of them.
    pub fn all_gather(&self, ranks: u32, bytes: f64) -> f64 {
        self.collective(share(ranks), bytes)
    }

    fn collective(&self, share: f64, bytes: f64) -> f64 {
        if share <= 0.0 {
            return 0.0;
        }
        self.latency.value + share * bytes / self.rate.value
    }
}

fn share(ranks: u32) -> f64 {
    let n = f64::from(ranks.max(1));
    (n - 1.0) / n
}

//! How devices of one node exchange data.
use super::Quantity;
use serde::{Deserialize, Serialize};

/// Seconds that a collective takes longer where it crosses a network. Assumed: half of what one of two devices takes through host memory
/// ([`CROSSING`](super::host::CROSSING)).
const NETWORK_LATENCY: f64 = 15e-6;

/// The way between devices, as a collective operation sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Seconds that a collective of no size takes: launch, hand-shake, the slowest rank.
    pub latency: Quantity,
    /// Bytes per second that one device sends while it receives as many.
    pub rate: Quantity,
    /// Larger groups of devices relative to that, where they were measured: PCIe trees get slower with every level.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<LinkGroup>,
}

/// A group of devices.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinkGroup {
    /// Devices; it holds for that many and fewer, down to the next smaller group.
    pub ranks: u32,
    /// Latency relative to the link's.
    pub latency: f64,
    /// Rate relative to the link's.
    pub rate: f64,
}

impl Link {
    /// All-reduce of `bytes` on `ranks` devices: each sends 2 · (n − 1)/n of them (ring or two-shot; for two devices the same
    /// as one-shot). NCCL's bus bandwidth is defined by it (NVIDIA/nccl-tests, doc/PERFORMANCE.md).
    pub fn all_reduce(&self, ranks: u32, bytes: f64) -> f64 {
        self.collective(ranks, 2.0 * share(ranks), bytes)
    }

    /// `bytes` from one device to another.
    pub fn send(&self, bytes: f64) -> f64 {
        self.latency.value + bytes / self.rate.value
    }

    /// All-gather or reduce-scatter of `bytes` in total on `ranks` devices: each sends (n − 1)/n of them.
    pub fn all_gather(&self, ranks: u32, bytes: f64) -> f64 {
        self.collective(ranks, share(ranks), bytes)
    }

    fn collective(&self, ranks: u32, share: f64, bytes: f64) -> f64 {
        if share <= 0.0 {
            return 0.0;
        }
        let (latency, rate) = self.group(ranks);
        self.latency.value * latency + share * bytes / (self.rate.value * rate)
    }

    /// Latency and rate of so many devices relative to the link's.
    fn group(&self, ranks: u32) -> (f64, f64) {
        // Two devices are the link itself.
        let groups: &[LinkGroup] = if ranks > 2 { &self.groups } else { &[] };
        let found = groups.iter().find(|g| g.ranks >= ranks);
        found
            .or(groups.last())
            .map_or((1.0, 1.0), |g| (g.latency, g.rate))
    }

    /// The way between devices of several nodes, `each` of them on every one. All of a node's devices send to other nodes at once, each through
    /// the network at `network` bytes per second, and no faster than they exchange within the node.
    pub fn across(&self, each: u32, network: f64) -> Self {
        let within = self.group(each);
        let mut link = self.clone();
        link.groups = vec![];
        link.latency.value = self.latency.value * within.0 + NETWORK_LATENCY;
        link.rate.value = (self.rate.value * within.1).min(f64::from(each.max(1)) * network);
        link
    }

    pub(super) fn check(&self) -> Result<(), super::ProfileError> {
        self.latency.check("link.latency", 1.0)?;
        self.rate.check("link.rate", 1e15)?;
        let factor = |v: f64| v > 0.0 && v < 1e6;
        let good = self
            .groups
            .iter()
            .all(|g| g.ranks > 2 && factor(g.latency) && factor(g.rate));
        if !good || self.groups.windows(2).any(|w| w[0].ranks >= w[1].ranks) {
            return Err(super::ProfileError::Value {
                field: "link.groups".into(),
                problem: "ranks must increase from above 2, latency and rate be positive factors"
                    .into(),
            });
        }
        Ok(())
    }
}

fn share(ranks: u32) -> f64 {
    let n = f64::from(ranks.max(1));
    (n - 1.0) / n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Origin, Provenance};

    #[test]
    fn a_collective_grows_with_bytes_and_a_slower_group_is_slower() {
        let q = |value| Quantity {
            value,
            rel_sd: 0.1,
            provenance: Provenance {
                origin: Origin::Assumed,
                source: "test".into(),
                note: String::new(),
            },
        };
        let link = Link {
            latency: q(1e-5),
            rate: q(1e10),
            groups: vec![LinkGroup {
                ranks: 4,
                latency: 2.0,
                rate: 0.5,
            }],
        };
        link.check().unwrap();
        assert_eq!(link.all_reduce(1, 1e6), 0.0);
        assert!((link.all_reduce(2, 1e6) - 1.1e-4).abs() < 1e-12);
        assert!((link.all_gather(2, 1e6) - 6e-5).abs() < 1e-12);
        // 2e-5 + 1.5 · 1e6 / 5e9
        assert!((link.all_reduce(4, 1e6) - 3.2e-4).abs() < 1e-12);
        assert_eq!(link.all_reduce(3, 0.0), link.all_reduce(8, 0.0));
        // Four devices on each node: their own network ports together are slower than the link, or it is slower than they are.
        let far = link.across(4, 1e9);
        assert_eq!(
            (far.rate.value, far.latency.value),
            (4e9, 2e-5 + NETWORK_LATENCY)
        );
        assert_eq!(link.across(4, 1e12).rate.value, 5e9);
        assert!(far.all_reduce(8, 1e6) > link.all_reduce(8, 1e6));
    }
}

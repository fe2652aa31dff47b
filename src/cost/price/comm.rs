//! What devices that share a model spend on exchanging data.
use crate::device::{DeviceProfile, Link, Origin, Provenance, Quantity};
use crate::model::{Collective, Exchange, Model, Op, OpKind, Parallel, Rows};

/// All exchanges of a step.
#[derive(Clone, Debug)]
pub struct Exchanges {
    /// (how often, what, rows, the way).
    all: Vec<(f64, Collective, Rows, Link)>,
}

/// PCIe 4.0 ×16 as NCCL reaches it, and a hand-shake through host memory: what a node has unless its profile says better.
fn assumed() -> Link {
    let quantity = |value, rel_sd, note: &str| Quantity {
        value,
        rel_sd,
        provenance: Provenance {
            origin: Origin::Assumed,
            source: "PCIe 4.0 x16".into(),
            note: note.into(),
        },
    };
    Link {
        latency: quantity(20e-6, 0.5, "no link in the device profile"),
        rate: quantity(20e9, 0.5, "no link in the device profile"),
        groups: vec![],
    }
}

/// The device's link, else the one that is assumed.
pub(super) fn link_of(device: &DeviceProfile) -> Link {
    device.link.clone().unwrap_or_else(assumed)
}

/// The link among so many devices that share a layer: the device's own, or one through the network where they stand on several nodes.
fn link_among(ranks: u32, parallel: Parallel, device: &DeviceProfile) -> Link {
    let link = link_of(device);
    match parallel.nodes_of(ranks) {
        0 | 1 => link,
        nodes => link.across(ranks / nodes, device.host_rates().network.value),
    }
}

impl Exchanges {
    pub fn new(model: &Model, device: &DeviceProfile) -> Self {
        let of = |op: &Op| match op.kind {
            OpKind::Collective(c) => {
                let link = link_among(c.ranks, model.parallel(), device);
                Some((f64::from(op.layers), c, op.rows, link))
            }
            _ => None,
        };
        Self {
            all: model.ops().iter().filter_map(of).collect(),
        }
    }

    /// Seconds for `rows` of this engine, `gathered` of all of them, `sampled` of this one.
    pub fn seconds(&self, rows: u32, gathered: u32, sampled: u32) -> f64 {
        let mut total = 0.0;
        for (times, c, kind, link) in &self.all {
            let n = match kind {
                _ if c.gathered => gathered,
                Rows::Tokens => rows,
                Rows::Sampled => sampled,
            };
            if n == 0 {
                continue;
            }
            let bytes = f64::from(n) * c.bytes_per_row.as_f64();
            total += times
                * match c.exchange {
                    Exchange::AllReduce => link.all_reduce(c.ranks, bytes),
                    Exchange::AllGather | Exchange::ReduceScatter => {
                        link.all_gather(c.ranks, bytes)
                    }
                };
        }
        total
    }
}

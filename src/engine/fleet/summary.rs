//! Totals of a run of a fleet.
use crate::engine::SimSummary;
use crate::units::Span;

/// Totals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetSummary {
    /// Of all replicas; requests and output tokens as the clients count them.
    pub total: SimSummary,
    /// Of each pool, as its engines count.
    pub pools: Vec<SimSummary>,
    /// KV that travelled.
    pub transfer: TransferSummary,
    /// Requests that were served without a prefill pool.
    pub local: u64,
    /// Requests that were sent again because a replica failed.
    pub retried: u64,
    /// Requests that each replica was given, in the order of pools.
    pub routed: Vec<u64>,
}

/// KV that travelled between pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferSummary {
    /// Transfers.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
    /// From the end of prefill until the KV was there, summed: waiting for room, and travelling.
    pub time: Span,
    /// Of it: until the decoder had room.
    pub waiting: Span,
}

//! Several engines behind one door: replicas of one or several kinds, and pools that compute prompts for others that decode.
//!
//! A pool is a number of replicas with the same settings on the same devices; each replica is a [`Runtime`](super::Runtime) with clocks,
//! memory and a front end of its own, moved by one loop of events ([`Fleet::run`]). At equal times outputs come first (in order of
//! replicas), then what becomes of them (KV that arrived, new requests), then the next steps.
//!
//! # Prefill and decode apart
//!
//! A request goes to a replica of a prefill pool, which computes its prompt and one token, and then with its KV to a replica of a decode
//! pool. KV travels in one of two [ways](Way):
//!
//! - *pull*, as vLLM's `NixlConnector` with the proxy in front of it (`distributed/kv_transfer/kv_connector/v1/nixl_connector.py`@0.12.0):
//!   the decoder allocates blocks for the prompt once the prefiller is done, and reads; until then the prefiller keeps them; the
//!   decoder computes the last prompt token again and samples the first output token itself;
//! - *push*, as SGLang's (`disaggregation/{prefill,decode}.py`, v0.5): the decoder allocates first, then the prompt is computed and sent,
//!   with the first token.
//!
//! Each replica's devices send and receive at a rate that the transfers under way share equally ([`Links`]).
mod flow;
mod links;
mod outage;
mod replica;
mod router;
mod run;
mod summary;
mod transfer;

pub use links::Links;
pub use outage::{Outage, OutageKind};
pub use router::Policy;
pub use run::Fleet;
pub use summary::{FleetSummary, TransferSummary};

use super::{EngineConfig, FrontEndCost, Group};
use crate::device::EngineId;
use crate::units::Span;

/// What the replicas of a pool do with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// All of it.
    #[default]
    Serve,
    /// They compute prompts.
    Prefill,
    /// They decode what a prefill pool computed, and serve whole requests that are not worth sending.
    Decode,
}

/// Replicas with the same settings.
#[derive(Clone, Debug)]
pub struct Pool<C> {
    /// What they do.
    pub role: Role,
    /// Whose rules compose batches.
    pub engine: EngineId,
    /// Settings of each engine.
    pub config: EngineConfig,
    /// Data-parallel ranks of each replica.
    pub group: Group,
    /// Number of replicas.
    pub replicas: u32,
    /// The front end of each replica.
    pub front: FrontEndCost,
    /// Prices of steps.
    pub cost: C,
    /// Bytes per second that a replica sends, and receives, KV with: of all its devices together. `None`: without end.
    pub rate: Option<u64>,
}

/// Who allocates first, and who has the first token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// The decoder reads when the prefiller is done (vLLM).
    #[default]
    Pull,
    /// The decoder allocates first; then the prompt is computed and sent (SGLang).
    Push,
}

/// How KV travels from prefill pools to decode pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Who allocates first.
    pub way: Way,
    /// Whether the prefiller's first output token goes with the KV. Otherwise the decoder computes the last prompt token again.
    pub first_token: bool,
    /// Layers that are sent one by one while later ones are computed (push only); 0 or 1: all at the end.
    pub layers: u32,
    /// Bytes of KV per token.
    pub bytes_per_token: u64,
    /// Bytes of each request, however long: the states of recurrent layers.
    pub bytes_per_request: u64,
    /// From the last byte until the decoder knows, and before the first.
    pub latency: Span,
    /// Tokens beyond what the decoder's prefix cache has from which a prompt is sent to a prefill pool.
    pub from: u32,
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Plan<C> {
    /// The pools: either all of them serve, or there are some that prefill and some that decode.
    pub pools: Vec<Pool<C>>,
    /// Chooses replicas.
    pub policy: Policy,
    /// Age that the router's view of queues and memory may reach.
    pub signal_age: Span,
    /// How KV travels.
    pub transfer: Transfer,
    /// Replicas that fail, come back, or take no more requests.
    pub outages: Vec<Outage>,
}

/// The replica that the calls of an observer that follow are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The pool.
    pub pool: usize,
    /// The replica's number in it.
    pub replica: u32,
}

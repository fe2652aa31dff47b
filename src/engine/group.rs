//! Several engines behind one router: data parallelism.
//!
//! Each engine (rank) has requests, KV blocks and a schedule of its own. Ranks that share the experts of a mixture run in
//! *lock-step*: every step begins and ends for all of them at once, and a rank without work takes part with an empty batch
//! (vLLM: dummy batches, `v1/engine/core.py: DPEngineCoreProc`). Others are replicas that run on clocks of their own: vLLM's of
//! dense models, and SGLang's, each of which has a whole model (`data_parallel_controller.py`, v0.5).

/// Chooses the rank that gets the next request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Router {
    /// The rank with the least of 4 · waiting + running requests, the first of equals: vLLM's own balancer
    /// (`v1/engine/core_client.py: DPLBAsyncMPClient.get_core_engine_for_request`). Counts are taken as current; vLLM's
    /// may be a tenth of a second old.
    #[default]
    LeastLoaded,
    /// The rank with the fewest requests; waiting ones count for more where more than half of the KV cache is used, six times the usage beyond
    /// that each. Of equals the next one in turn. vLLM's own balancer from 0.32 on (same place; counts are taken as current, and all API
    /// servers as one).
    Emptiest,
    /// One after the other: SGLang's own (`data_parallel_controller.py: round_robin_scheduler`), and what a router in front of
    /// the engines is taken to do.
    RoundRobin,
}

/// Several engines of equal settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Number of ranks.
    pub engines: u32,
    /// Whether every step is one of all of them.
    pub lockstep: bool,
    /// Chooses the rank for a request.
    pub router: Router,
}

impl Group {
    /// One engine alone.
    pub const ONE: Self = Self {
        engines: 1,
        lockstep: false,
        router: Router::LeastLoaded,
    };
}

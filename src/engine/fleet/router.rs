//! Which replica gets a request.
use crate::engine::EngineState;

/// How a replica is chosen. Of equals the next one in turn is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The fewest requests that it was given and has not ended: the router's own count.
    LeastRequests,
    /// The highest sum of the scores of the gateway API's endpoint picker: 2 × queue, 2 × free KV cache, 3 × prefix
    /// (kubernetes-sigs/gateway-api-inference-extension, `pkg/epp/scheduling/framework/plugins/scorer/queue.go`@02308be3, weights: `config/charts/inferencepool/templates/epp-config.yaml`@0ae94dfb).
    Gateway,
    /// The lowest cost of prefill and decode in blocks, as Dynamo's KV router: blocks of the prompt that are not cached, and blocks in use
    /// (ai-dynamo/dynamo, `lib/llm/src/kv_router/scheduler.rs`@db19bd2a: overlap weight 1, temperature 0).
    KvAware,
}

impl Policy {
    /// Every policy with its name in documents.
    pub const ALL: [(&'static str, Self); 4] = [
        ("round-robin", Self::RoundRobin),
        ("least-requests", Self::LeastRequests),
        ("gateway", Self::Gateway),
        ("kv-aware", Self::KvAware),
    ];

    /// Its name in documents.
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, p)| *p == self);
        found.expect("all are listed").0
    }

    /// Whether it asks what prefix caches hold.
    pub fn asks_for_prefixes(self) -> bool {
        matches!(self, Self::Gateway | Self::KvAware)
    }
}

/// What a router knows of a replica.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signal {
    /// Queues and memory, of all its ranks; perhaps old.
    pub state: EngineState,
    /// KV blocks that it can give out.
    pub usable: u32,
    /// Tokens of a block.
    pub block_size: u32,
}

/// A replica that may be chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub replica: usize,
    /// Requests that it was given and has not ended.
    pub open: u32,
    pub signal: Signal,
    /// Tokens of the request's prompt, and those of it that are cached there.
    pub prompt: u32,
    pub cached: u32,
}

/// Chooses among candidates in the order of replicas; `turn`: the first replica that is considered among equals.
pub(super) fn choose(policy: Policy, all: &[Candidate], turn: usize) -> Option<usize> {
    // In turn: those from `turn` on, then the others.
    let from = all.partition_point(|c| c.replica < turn);
    let in_turn = || all[from..].iter().chain(&all[..from]);
    let lowest = |cost: &dyn Fn(&Candidate) -> f64| {
        let least = in_turn().min_by(|a, b| cost(a).total_cmp(&cost(b)));
        least.map(|c| c.replica)
    };
    match policy {
        Policy::RoundRobin => in_turn().next().map(|c| c.replica),
        Policy::LeastRequests => lowest(&|c| f64::from(c.open)),
        Policy::Gateway => {
            let waiting = || all.iter().map(|c| c.signal.state.waiting);
            let (low, high) = (waiting().min()?, waiting().max()?);
            lowest(&|c| {
                let queue = match high - low {
                    0 => 1.0,
                    span => f64::from(high - c.signal.state.waiting) / f64::from(span),
                };
                let prefix = f64::from(c.cached) / f64::from(c.prompt.max(1));
                -(2.0 * queue + 2.0 * free(&c.signal) + 3.0 * prefix)
            })
        }
        Policy::KvAware => lowest(&|c| {
            let block = f64::from(c.signal.block_size.max(1));
            let new = f64::from(c.prompt - c.cached.min(c.prompt)) / block;
            let used = f64::from(c.signal.usable) * (1.0 - free(&c.signal));
            new + used
        }),
    }
}

/// Share of the KV cache that is free.
fn free(s: &Signal) -> f64 {
    f64::from(s.state.free_blocks) / f64::from(s.usable.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(replica: usize, waiting: u32, free: u32, cached: u32) -> Candidate {
        Candidate {
            replica,
            open: waiting,
            signal: Signal {
                state: EngineState {
                    waiting,
                    running: 0,
                    free_blocks: free,
                },
                usable: 100,
                block_size: 16,
            },
            prompt: 160,
            cached,
        }
    }

    #[test]
    fn each_policy_weighs_what_it_says() {
        let all = [
            candidate(0, 4, 100, 160),
            candidate(1, 0, 90, 0),
            candidate(2, 0, 10, 0),
        ];
        let pick = |policy, turn| choose(policy, &all, turn).unwrap();
        assert_eq!(
            (0..4)
                .map(|t| pick(Policy::RoundRobin, t))
                .collect::<Vec<_>>(),
            [0, 1, 2, 0]
        );
        assert_eq!(
            pick(Policy::LeastRequests, 2),
            2,
            "of equals the next in turn"
        );
        assert_eq!(pick(Policy::LeastRequests, 0), 1);
        // 0 + 2 + 3 against 2 + 1.8 + 0.
        assert_eq!(pick(Policy::Gateway, 0), 0);
        assert_eq!(pick(Policy::KvAware, 0), 0);
        assert_eq!(choose(Policy::KvAware, &all[1..], 0), Some(1));
        assert_eq!(choose(Policy::Gateway, &[], 0), None);
        for (name, policy) in Policy::ALL {
            assert_eq!(policy.name(), name);
        }
    }
}

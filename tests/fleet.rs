//! Laws of fleets: what must hold whatever the load, and a slow twin that must agree bit for bit.
use super::fleet_twin::Twin;
use capsim::cost::LinearCost;
use capsim::device::EngineId;
use capsim::engine::fleet::{Fleet, FleetSummary, Outage, OutageKind, Plan, Policy, Pool, Role};
use capsim::engine::fleet::{Transfer, Way};
use capsim::engine::observe::{Observer, RequestRecord};
use capsim::engine::{EngineConfig, FrontEndCost, Group, Runtime, SimSummary};
use capsim::units::{SimTime, Span};
use capsim::workload::WorkloadSpec;
use capsim::workload::{ListSource, PromptKind, Request, RequestId, Source};
use proptest::prelude::*;

/// What clients see, in an order that does not depend on who looks first.
#[derive(Default, Debug, PartialEq)]
struct Seen {
    requests: Vec<RequestRecord>,
    gaps: Vec<(Span, u32)>,
    refused: Vec<RequestId>,
    arrived: Vec<RequestId>,
}

impl Observer for Seen {
    fn on_arrival(&mut self, id: RequestId, _: SimTime) {
        self.arrived.push(id);
    }
    fn on_refused(&mut self, id: RequestId, _: SimTime) {
        self.refused.push(id);
    }
    fn on_tokens(&mut self, gap: Span, count: u32) {
        self.gaps
            .extend(std::iter::repeat_n((gap, 1), count as usize));
    }
    fn on_request(&mut self, r: &RequestRecord) {
        self.requests.push(*r);
    }
}

impl Seen {
    fn sorted(mut self) -> Self {
        self.requests.sort_by_key(|r| r.id);
        self.gaps.sort_unstable();
        self.refused.sort_unstable();
        self.arrived.sort_unstable();
        self
    }
}

pub const COST: LinearCost = LinearCost {
    base: Span::from_micros(4_001),
    per_token: Span::from_micros(37),
    per_seq: Span::from_micros(101),
};

pub fn config(seqs: u32, blocks: u32, caching: bool, is_async: bool) -> EngineConfig {
    EngineConfig {
        max_num_seqs: seqs,
        max_num_batched_tokens: 256.max(seqs),
        max_model_len: 400,
        num_gpu_blocks: blocks,
        enable_prefix_caching: caching,
        async_scheduling: is_async,
        ..EngineConfig::default()
    }
}

pub fn pool(role: Role, config: &EngineConfig, replicas: u32) -> Pool<LinearCost> {
    Pool {
        role,
        engine: EngineId::Vllm,
        config: config.clone(),
        group: Group::ONE,
        replicas,
        front: FrontEndCost::default(),
        cost: COST,
        rate: None,
    }
}

pub fn plan(pools: Vec<Pool<LinearCost>>) -> Plan<LinearCost> {
    Plan {
        pools,
        policy: Policy::LeastRequests,
        signal_age: Span::ZERO,
        transfer: Transfer {
            bytes_per_token: 1000,
            ..Transfer::default()
        },
        outages: vec![],
    }
}

fn load(n: u32, rate: f64, seed: u64, prompts: PromptKind) -> WorkloadSpec {
    WorkloadSpec {
        range_ratio: 0.8,
        prompts,
        shared_prefix_len: 40,
        seed,
        ..WorkloadSpec::open_loop(n, rate, 90, 20)
    }
}

fn requests(spec: &WorkloadSpec) -> Vec<Request> {
    let mut source = spec.source().unwrap();
    std::iter::from_fn(|| source.pop()).collect()
}

fn run(plan: Plan<LinearCost>, list: &[Request]) -> (FleetSummary, Seen) {
    let mut seen = Seen::default();
    let fleet = Fleet::new(plan, false).unwrap();
    let summary = fleet
        .run(&mut ListSource::new(list.to_vec()), &mut seen)
        .unwrap();
    (summary, seen.sorted())
}

fn alone(pool: &Pool<LinearCost>, list: &[Request]) -> (SimSummary, Seen) {
    let mut seen = Seen::default();
    let runtime = Runtime::new(pool.engine, &pool.config, pool.group, COST, false).unwrap();
    let mut source = ListSource::new(list.to_vec());
    let summary = runtime
        .run_behind(pool.front, &mut source, &mut seen)
        .unwrap();
    (summary, seen.sorted())
}

fn front(servers: u32) -> FrontEndCost {
    FrontEndCost {
        per_request: Span::from_micros(3_007),
        per_prompt_token: Span::from_micros(3),
        per_step: Span::from_micros(211),
        per_token: Span::from_micros(53),
        servers,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_fleet_of_one_is_one_engine(
        seqs in 1u32..24, blocks in 40u32..400, caching: bool, is_async: bool, sglang: bool,
        servers in 0u32..2, n in 1u32..60, rate in 0.5f64..60.0, seed in 0u64..1000, shared: bool,
    ) {
        let prompts = if shared { PromptKind::SharedPrefix } else { PromptKind::Distinct };
        let list = requests(&load(n, rate, seed, prompts));
        let mut pool = pool(Role::Serve, &config(seqs, blocks, caching, is_async), 1);
        if sglang {
            pool.engine = EngineId::Sglang;
        }
        if servers > 0 {
            pool.front = front(servers);
        }
        let (one, clients) = alone(&pool, &list);
        let (fleet, same) = run(plan(vec![pool]), &list);
        prop_assert_eq!(&clients.requests, &same.requests);
        prop_assert_eq!(clients, same);
        prop_assert_eq!(one, fleet.total);
        prop_assert_eq!(fleet.pools, vec![one]);
    }

    #[test]
    fn the_slow_twin_agrees(
        roles in prop_oneof![
            (1u32..4).prop_map(|n| vec![(Role::Serve, n)]),
            (1u32..4, 1u32..4).prop_map(|(p, d)| vec![(Role::Prefill, p), (Role::Decode, d)]),
            (1u32..3, 1u32..3).prop_map(|(p, d)| vec![(Role::Decode, d), (Role::Prefill, p), (Role::Decode, 1)]),
        ],
        seqs in 1u32..12, blocks in 40u32..120, caching: bool, is_async: bool, sglang: bool,
        push: bool, first: bool, from in prop_oneof![Just(0u32), Just(60)],
        rate in prop_oneof![Just(None), (50_000u64..5_000_000).prop_map(Some)],
        policy in 0usize..4, n in 1u32..60, arrivals in 0.5f64..80.0, seed in 0u64..1000, shared: bool,
    ) {
        let prompts = if shared { PromptKind::SharedPrefix } else { PromptKind::Distinct };
        let list = requests(&load(n, arrivals, seed, prompts));
        let c = config(seqs, blocks, caching, is_async);
        let pools = roles.iter().map(|&(role, replicas)| {
            let mut p = pool(role, &c, replicas);
            p.rate = rate;
            if sglang {
                p.engine = EngineId::Sglang;
            }
            p
        });
        let mut plan = plan(pools.collect());
        plan.policy = Policy::ALL[policy].1;
        plan.transfer.way = if push { Way::Push } else { Way::Pull };
        plan.transfer.first_token = first;
        plan.transfer.from = from;
        plan.transfer.latency = Span::from_micros(77);
        let twin = Twin::new(&plan).run(&list);
        let (_, seen) = run(plan, &list);
        let first = seen.requests.iter().zip(&twin).find(|(a, b)| a != b);
        prop_assert!(first.is_none(), "{:#?}", first);
        prop_assert_eq!(seen.requests.len(), twin.len());
        prop_assert_eq!(seen.requests.len() + seen.refused.len(), list.len());
    }

    #[test]
    fn a_killed_replica_loses_no_request(
        apart: bool, push: bool, layers in prop_oneof![Just(1u32), Just(8)],
        kills in proptest::collection::vec((1u64..3_000, 0usize..2, 0u32..3, any::<bool>()), 1..6),
        seed in 0u64..1000, servers in 0u32..2, policy in 0usize..4,
    ) {
        let list = requests(&load(60, 30.0, seed, PromptKind::SharedPrefix));
        let c = config(8, 100, true, false);
        let mut pools = match apart {
            true => vec![pool(Role::Prefill, &c, 4), pool(Role::Decode, &c, 4)],
            false => vec![pool(Role::Serve, &c, 4), pool(Role::Serve, &c, 4)],
        };
        for p in &mut pools {
            p.rate = Some(500_000);
            if servers > 0 {
                p.front = front(servers);
            }
        }
        let mut plan = plan(pools);
        plan.policy = Policy::ALL[policy].1;
        plan.transfer.layers = layers;
        plan.transfer.way = if push { Way::Push } else { Way::Pull };
        for (ms, pool, replica, back) in kills {
            let at = SimTime::ZERO + Span::from_millis(ms);
            plan.outages.push(Outage { at, pool, replica, kind: OutageKind::Fails });
            if back {
                let at = at + Span::from_millis(200);
                plan.outages.push(Outage { at, pool, replica, kind: OutageKind::Starts });
            }
        }
        let (summary, seen) = run(plan, &list);
        let ids: Vec<u64> = seen.requests.iter().map(|r| r.id.0).collect();
        prop_assert_eq!(ids, (0..list.len() as u64).collect::<Vec<_>>());
        for (r, q) in seen.requests.iter().zip(&list) {
            prop_assert_eq!(r.output_tokens, q.max_tokens);
            prop_assert!(q.arrival <= r.scheduled && r.scheduled <= r.first_token && r.first_token <= r.finish);
        }
        prop_assert_eq!(summary.total.completed, list.len() as u64);
    }
}

fn apart(prefill: u32, decode: u32, way: Way) -> Plan<LinearCost> {
    let c = config(16, 2000, false, false);
    let mut p = plan(vec![
        pool(Role::Prefill, &c, prefill),
        pool(Role::Decode, &c, decode),
    ]);
    p.transfer.way = way;
    p.transfer.first_token = way == Way::Push;
    p
}

/// Decoders in plenty: what a client waits for until the first token is the prefill pool alone, and the way to the decoder.
#[test]
fn many_decoders_leave_the_limit_of_the_prefill_pool() {
    let list = requests(&load(80, 60.0, 5, PromptKind::Distinct));
    let (_, seen) = run(apart(1, 80, Way::Push), &list);
    let short = list.iter().cloned().map(|r| Request { max_tokens: 1, ..r });
    let c = config(16, 2000, false, false);
    let (_, only) = alone(&pool(Role::Serve, &c, 1), &short.collect::<Vec<_>>());
    for (a, b) in seen.requests.iter().zip(&only.requests) {
        assert_eq!((a.id, a.first_made), (b.id, b.first_made));
        // Nothing to wait for: the KV takes no time, and a decoder is free.
        assert_eq!(a.first_token, b.first_token);
    }
}

/// Prefillers in plenty and answers that begin with the prefiller's token: a decoder is an engine whose requests come with their
/// prompts computed.
#[test]
fn a_request_alone_takes_a_prefill_a_transfer_and_its_decodes() {
    let one = requests(&load(1, 1.0, 3, PromptKind::Distinct));
    let (prompt, outputs) = (u64::from(one[0].prompt.len()), u64::from(one[0].max_tokens));
    let bytes = prompt * 1000;
    for (way, layers) in [(Way::Pull, 1), (Way::Push, 1), (Way::Push, 10)] {
        let mut p = apart(1, 1, way);
        p.transfer.layers = layers as u32;
        p.transfer.latency = Span::from_micros(50);
        for pool in &mut p.pools {
            pool.rate = Some(20_000_000);
        }
        let (summary, seen) = run(p, &one);
        let prefill = COST.base + COST.per_token * prompt + COST.per_seq;
        let step = COST.base + COST.per_token + COST.per_seq;
        let travel = |bytes: u64| Span(bytes * 1_000_000_000 / 20_000_000);
        // With layers only what is left after the prompt is computed counts: here the link is faster than the prefiller.
        let sent = match layers {
            1 => travel(bytes),
            n => travel(bytes.div_ceil(n)).max(travel(bytes).saturating(prefill)),
        };
        let r = seen.requests[0];
        let there = one[0].arrival + prefill + sent + Span::from_micros(50);
        let (first, steps) = match way {
            Way::Pull => (there + step, outputs),
            Way::Push => (there, outputs - 1),
        };
        assert_eq!(r.first_token, first, "{way:?} {layers}");
        assert_eq!(r.finish, there + step * steps, "{way:?} {layers}");
        assert_eq!(summary.transfer.bytes, bytes);
    }
}

trait Less {
    fn saturating(self, other: Self) -> Self;
}

impl Less for Span {
    fn saturating(self, other: Self) -> Self {
        Span(self.0.saturating_sub(other.0))
    }
}

/// A threshold that no prompt reaches: the decode pool alone. And what is sent takes longer the slower the link.
#[test]
fn what_is_not_worth_sending_is_served_by_the_decode_pool() {
    let list = requests(&load(60, 40.0, 9, PromptKind::Distinct));
    let mut local = apart(2, 2, Way::Pull);
    local.transfer.from = 10_000;
    let (summary, seen) = run(local, &list);
    let c = config(16, 2000, false, false);
    let (_, only) = run(plan(vec![pool(Role::Serve, &c, 2)]), &list);
    assert_eq!(seen, only);
    assert_eq!(summary.local, 60);
    assert_eq!(summary.transfer.count, 0);
    let mean = |rate: Option<u64>| {
        let mut p = apart(2, 2, Way::Pull);
        for pool in &mut p.pools {
            pool.rate = rate;
        }
        let (_, seen) = run(p, &list);
        seen.requests
            .iter()
            .map(|r| r.first_token.since(r.arrival).0)
            .sum::<u64>()
    };
    let sums = [None, Some(100_000_000), Some(10_000_000), Some(1_000_000)].map(mean);
    assert!(sums.windows(2).all(|w| w[0] < w[1]), "{sums:?}");
    // A link without end: as if nothing had to be sent.
    let mut nothing = apart(2, 2, Way::Pull);
    nothing.transfer.bytes_per_token = 0;
    nothing.pools.iter_mut().for_each(|p| p.rate = Some(1));
    assert_eq!(run(nothing, &list).1, run(apart(2, 2, Way::Pull), &list).1);
}

#[test]
fn pools_that_cannot_work_together_are_refused() {
    let c = config(4, 100, false, false);
    let p = |role| pool(role, &c, 1);
    for pools in [
        vec![],
        vec![p(Role::Prefill)],
        vec![p(Role::Decode)],
        vec![p(Role::Serve), p(Role::Decode), p(Role::Prefill)],
        vec![
            Pool {
                engine: EngineId::LlamaServer,
                ..p(Role::Prefill)
            },
            p(Role::Decode),
        ],
    ] {
        assert_eq!(Fleet::new(plan(pools), false).unwrap_err().field, "pools");
    }
}

/// Drained replicas end what they have and get nothing more.
#[test]
fn a_drained_replica_gets_nothing_more() {
    let list = requests(&load(100, 40.0, 2, PromptKind::Distinct));
    let c = config(8, 200, false, false);
    let mut p = plan(vec![pool(Role::Serve, &c, 3)]);
    let at = list[50].arrival;
    p.outages.push(Outage {
        at,
        pool: 0,
        replica: 1,
        kind: OutageKind::Drains,
    });
    let (summary, seen) = run(p, &list);
    assert_eq!(seen.requests.len(), 100);
    assert_eq!(summary.retried, 0);
    let (kept, all) = (summary.routed[1], summary.routed.iter().sum::<u64>());
    assert_eq!(all, 100);
    assert!(kept < 25 && kept > 5, "{:?}", summary.routed);
}

//! A deployment ready to be simulated, and what its pools did.
use super::deployment::{Deployment, Pool, fleet_pool};
use super::{Binding, PredictError, Scenario, Settings};
use crate::cost::{Breakdown, StepCost, StepPrice};
use crate::device::{DeviceProfile, Quantity};
use crate::engine::fleet::{FleetSummary, Plan, Role, TransferSummary};
use crate::engine::{FrontEndCost, SimSummary};
use crate::metrics::{Collector, Occupancy};
use crate::units::Span;

/// What the pools of a deployment did.
#[derive(Clone, Debug)]
pub struct FleetRun {
    /// The pools, in their order.
    pub pools: Vec<PoolRun>,
    /// The pool that stands for all where one has to.
    pub main: usize,
    /// KV that travelled.
    pub transfer: TransferSummary,
    /// Requests that a decode pool served alone.
    pub local: u64,
    /// Requests that were sent again because a replica failed.
    pub retried: u64,
    /// The most and the fewest requests that a replica of a pool was given, by pool.
    pub routed: Vec<(u64, u64)>,
}

/// What the replicas of a pool did.
#[derive(Clone, Debug)]
pub struct PoolRun {
    /// What they do.
    pub role: Role,
    /// How many.
    pub replicas: u32,
    /// Devices of all of them.
    pub devices: u32,
    /// The device.
    pub device: DeviceProfile,
    /// Settings of each.
    pub settings: Settings,
    /// State over time, of one replica on average.
    pub occupancy: Occupancy,
    /// Seconds per part over all measured steps.
    pub breakdown: Breakdown,
    /// The engines' own account.
    pub engine: SimSummary,
}

impl FleetRun {
    pub(super) fn new(
        scenario: &Scenario,
        ready: &[ReadyPool],
        watched: &[PoolWatch],
        summary: FleetSummary,
    ) -> Self {
        let Some(d) = &scenario.deployment else {
            unreachable!("only deployments run as fleets")
        };
        let mut routed = summary.routed.iter().copied();
        let spread = |pool: &Pool| {
            let mut of_pool = (0..pool.replicas).filter_map(|_| routed.next());
            let first = of_pool.next().unwrap_or(0);
            of_pool.fold((first, first), |(low, high), n| (low.min(n), high.max(n)))
        };
        let routed = d.pools.iter().map(spread).collect();
        let pools = d
            .pools
            .iter()
            .zip(ready)
            .zip(watched)
            .zip(&summary.pools)
            .map(|(((pool, ready), watched), engine)| {
                let mut occupancy = watched.collector.occupancy();
                let lockstep = ready.settings.group.lockstep;
                let clocks = match lockstep {
                    true => 1,
                    false => ready.settings.group.engines.max(1),
                };
                occupancy.busy /= f64::from(pool.replicas * clocks);
                occupancy.steps /= u64::from(pool.replicas * clocks);
                PoolRun {
                    role: pool.role,
                    replicas: pool.replicas,
                    devices: pool.replicas * ready.settings.devices(),
                    device: pool.scenario(scenario).device,
                    settings: ready.settings.clone(),
                    occupancy,
                    breakdown: watched.breakdown,
                    engine: *engine,
                }
            })
            .collect();
        Self {
            pools,
            main: d.main(),
            transfer: summary.transfer,
            local: summary.local,
            retried: summary.retried,
            routed,
        }
    }

    /// Devices of all pools.
    pub fn devices(&self) -> u32 {
        self.pools.iter().map(|p| p.devices).sum()
    }

    /// What limits the pool that is busiest.
    pub(super) fn binding(&self, duration: f64) -> Binding {
        let busiest = self
            .pools
            .iter()
            .max_by(|a, b| a.occupancy.busy.total_cmp(&b.occupancy.busy));
        let Some(p) = busiest else {
            return Binding::Load;
        };
        let full = |p: &&PoolRun| p.engine.preemptions > 0 || p.occupancy.kv_max > 0.98;
        let stages = p.settings.stages.len().max(1) as f64;
        if self.pools.iter().any(|p| full(&p)) {
            Binding::KvCache
        } else if p.occupancy.busy * stages < 0.7 * duration {
            Binding::Load
        } else {
            Binding::Step(p.breakdown.largest())
        }
    }
}

/// A pool with its settings resolved and its steps priced.
pub(super) struct ReadyPool {
    pub settings: Settings,
    pub cost: StepPrice,
    pub front: FrontEndCost,
    pub rate: Option<u64>,
}

impl ReadyPool {
    /// Those of a scenario's deployment; none without one.
    pub fn all(scenario: &Scenario) -> Result<Vec<Self>, PredictError> {
        let Some(d) = &scenario.deployment else {
            return Ok(vec![]);
        };
        let scenarios = d.scenarios(scenario);
        d.check(&scenarios)?;
        let one = |s: &Scenario| {
            let settings = s.settings()?;
            Ok(Self {
                cost: s.cost(&settings)?,
                front: front_end(s, &settings),
                rate: d.rate(&s.device, &settings),
                settings,
            })
        };
        scenarios.iter().map(one).collect()
    }
}

impl Deployment {
    /// What is simulated.
    pub(super) fn plan<'a, C: StepCost>(
        &self,
        base: &Scenario,
        ready: &[ReadyPool],
        costs: &'a [C],
    ) -> Plan<&'a C> {
        let pools = self.pools.iter().zip(ready).zip(costs);
        Plan {
            pools: pools
                .map(|((pool, r), cost)| fleet_pool(pool, &r.settings, r.rate, r.front, cost))
                .collect(),
            policy: self.policy,
            signal_age: self.signal_age,
            transfer: self.transfer(&self.pools[self.main()].scenario(base)),
            outages: self.outages.clone(),
        }
    }
}

/// What a pool does.
pub(super) struct PoolWatch {
    pub collector: Collector,
    pub breakdown: Breakdown,
}

impl PoolWatch {
    pub fn new(pool: &ReadyPool) -> Self {
        let usable = u64::from(pool.settings.config.num_gpu_blocks - 1);
        Self {
            collector: Collector::new(0, usable),
            breakdown: Breakdown::default(),
        }
    }
}

/// The front end of each engine.
pub(super) fn front_end(scenario: &Scenario, settings: &Settings) -> FrontEndCost {
    let Some(f) = &scenario.engine.host.front_end else {
        return FrontEndCost::default();
    };
    let span = |q: &Quantity| Span::from_secs(q.value * f.core.value);
    FrontEndCost {
        per_request: span(&f.per_request),
        per_prompt_token: f.per_prompt_token.as_ref().map_or(Span::ZERO, span),
        per_step: span(&f.per_step),
        per_token: span(&f.per_token),
        servers: settings.api_servers,
    }
}

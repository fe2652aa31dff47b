//! Several engines that serve together: what a scenario says of them, and how it becomes a fleet.
use super::{Scenario, Settings};
use crate::device::{DeviceProfile, Origin};
use crate::engine::fleet::{self, Outage, Policy, Role, Transfer, Way};
use crate::engine::settings::{KV_CACHE_DTYPE, SettingValues};
use crate::engine::speculation::SpeculationInputs;
use crate::engine::{SettingsError, kind};
use crate::units::Span;

/// Pools of replicas, and what connects them.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The pools.
    pub pools: Vec<Pool>,
    /// Chooses replicas.
    pub policy: Policy,
    /// Age that the router's view of queues and memory may reach.
    pub signal_age: Span,
    /// How KV travels.
    pub travel: Travel,
    /// Replicas that fail, come back, or take no more requests.
    pub outages: Vec<Outage>,
}

/// Replicas with the same settings: the scenario's, where the pool says nothing else.
#[derive(Clone, Debug)]
pub struct Pool {
    /// What they do.
    pub role: Role,
    /// How many.
    pub replicas: u32,
    /// Engine settings over the scenario's.
    pub serve: SettingValues,
    /// Device, engine and release, where they are not the scenario's.
    pub own: Option<Box<Scenario>>,
    /// What speculative decoding needs beside settings.
    pub speculation: SpeculationInputs,
}

/// How KV travels from prefill pools to decode pools.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Travel {
    /// Who allocates first.
    pub way: Way,
    /// Whether layers travel while later ones are computed.
    pub layers: bool,
    /// Whether the prefiller's token goes with it.
    pub first_token: bool,
    /// GB/s of each device; `None`: its network's.
    pub gbs: Option<f64>,
    /// Of each transfer beside its bytes.
    pub latency: Span,
    /// Whether nothing was said of that.
    pub latency_assumed: bool,
    /// Prompt tokens from which prompts are sent away.
    pub from: u32,
}

impl Pool {
    /// The scenario of one of its replicas, alone.
    pub fn scenario(&self, base: &Scenario) -> Scenario {
        let mut s = Scenario {
            deployment: None,
            speculation: SpeculationInputs {
                factor: base.speculation.factor,
                ..self.speculation.clone()
            },
            ..base.clone()
        };
        s.serve.overlay(&self.serve);
        if let Some(own) = &self.own {
            s.device = own.device.clone();
            s.engine = own.engine.clone();
            s.release = own.release;
            s.moe_path.clone_from(&own.moe_path);
        }
        s
    }
}

/// What a role is called.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Serve => "serve",
        Role::Prefill => "prefill",
        Role::Decode => "decode",
    }
}

impl Deployment {
    /// Whether prompts are computed apart from decoding.
    pub fn is_apart(&self) -> bool {
        self.pools.iter().any(|p| p.role == Role::Prefill)
    }

    /// The pool that stands for the deployment where one has to: the first that decodes or serves.
    pub fn main(&self) -> usize {
        let main = self.pools.iter().position(|p| p.role != Role::Prefill);
        main.unwrap_or(0)
    }

    /// The scenarios of the pools, each of one replica alone.
    pub fn scenarios(&self, base: &Scenario) -> Vec<Scenario> {
        self.pools.iter().map(|p| p.scenario(base)).collect()
    }

    /// Bytes per second that a replica sends and receives with; `None`: without end.
    pub(super) fn rate(&self, device: &DeviceProfile, settings: &Settings) -> Option<u64> {
        let each = match self.travel.gbs {
            Some(gbs) => gbs * 1e9,
            None => device.host_rates().network.value,
        };
        each.is_finite()
            .then(|| (each * f64::from(settings.devices())) as u64)
    }

    /// How KV travels, with the bytes of the model that is decoded.
    pub(super) fn transfer(&self, decoder: &Scenario) -> Transfer {
        let model = &decoder.model;
        Transfer {
            way: self.travel.way,
            first_token: self.travel.first_token,
            layers: match self.travel.layers {
                true => model.config().num_hidden_layers,
                false => 1,
            },
            bytes_per_token: model.kv_bytes_per_token().0,
            bytes_per_request: model.state_bytes_per_sequence().0,
            latency: self.travel.latency,
            from: self.travel.from,
        }
    }

    /// What is assumed of the way of KV, in words.
    pub(super) fn assumed(&self, base: &Scenario) -> Vec<String> {
        let mut all = vec![];
        if !self.is_apart() {
            return all;
        }
        if self.travel.gbs.is_none() {
            let mut seen: Vec<String> = vec![];
            for s in self.scenarios(base) {
                let q = s.device.host_rates().network;
                let text = format!(
                    "KV travels at {:.0} GB/s from and to each device, {} (--kv-transfer-gbs)",
                    q.value / 1e9,
                    q.provenance.source
                );
                if q.provenance.origin == Origin::Assumed && !seen.contains(&text) {
                    seen.push(text);
                }
            }
            all.extend(seen);
        }
        if self.travel.latency_assumed {
            all.push(format!(
                "each KV transfer takes {} ms beside its bytes (--kv-transfer-latency-ms)",
                self.travel.latency.secs() * 1e3
            ));
        }
        all
    }

    /// Whether pools can work together.
    ///
    /// # Errors
    /// Names the field.
    pub(super) fn check(&self, pools: &[Scenario]) -> Result<(), SettingsError> {
        let bad = |field, problem: String| Err(SettingsError::Value { field, problem });
        if !self.is_apart() {
            return Ok(());
        }
        for s in pools {
            if !kind(s.engine.scheduler).hands_over() {
                return bad(
                    "pool",
                    format!(
                        "{} does not hand KV over to another server: prefill and decode apart are simulated for vLLM and SGLang",
                        kind(s.engine.scheduler).name()
                    ),
                );
            }
            if s.engine.scheduler != pools[0].engine.scheduler {
                return bad(
                    "pool",
                    "prefill and decode under different engines do not understand each other's KV"
                        .into(),
                );
            }
            if s.serve.get(KV_CACHE_DTYPE) != pools[0].serve.get(KV_CACHE_DTYPE) {
                return bad(
                    "kv_cache_dtype",
                    "prefill and decode pools need the same".into(),
                );
            }
        }
        Ok(())
    }
}

/// A pool for the loop of events.
pub(super) fn fleet_pool<C>(
    pool: &Pool,
    settings: &Settings,
    rate: Option<u64>,
    front: crate::engine::FrontEndCost,
    cost: C,
) -> fleet::Pool<C> {
    fleet::Pool {
        role: pool.role,
        engine: settings.engine,
        config: settings.config.clone(),
        group: settings.group,
        replicas: pool.replicas,
        front,
        cost,
        rate,
    }
}

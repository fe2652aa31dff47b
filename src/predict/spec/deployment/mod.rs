//! What is said of a deployment → pools, router, the way of KV. The only place of its defaults.
mod table;

pub use table::*;

use super::{Catalog, ScenarioSpec, SpecError};
use crate::device::EngineId;
use crate::engine::fleet::{Outage, OutageKind, Policy, Role, Way};
use crate::fields::{Field, Kind, Section, Value, Values};
use crate::line;
use crate::predict::Scenario;
use crate::predict::deployment::{Deployment, Pool, Travel};
use crate::units::{SimTime, Span};

/// The section of a scenario that says how many engines serve, and how they are connected.
#[derive(Clone, Copy, Debug)]
pub struct DeploymentSection;

impl Section for DeploymentSection {
    const WHAT: &'static str = "field of a deployment";
    const LEN: usize = DEPLOYMENT.len();
    fn field(at: usize) -> &'static Field {
        &DEPLOYMENT[at]
    }
}

/// What was said of a deployment. Nothing: one engine.
pub type DeploymentValues = Values<DeploymentSection>;

/// Milliseconds of a transfer beside its bytes. Assumed: an HTTP round trip between proxy and server on a cluster's network, and a
/// notification that the receiver polls for.
const LATENCY_MS: f64 = 1.0;

/// A pool as it is said.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    role: Role,
    replicas: u32,
    /// Which field says it, and its flags.
    field: &'static str,
    flags: String,
}

/// A pool's role, its replicas, and what its flags say.
pub(super) type SaidPool = (Role, u32, ScenarioSpec);

fn wrong(field: &str, problem: impl ToString) -> SpecError {
    SpecError::field(field, problem)
}

impl ScenarioSpec {
    /// The same document with what the pool that decodes, or serves first, says of the device and the engine, where the document says
    /// nothing; and the pools.
    ///
    /// # Errors
    /// Pools that cannot be read, or contradict each other.
    pub(super) fn with_pools(&self) -> Result<(Self, Vec<SaidPool>), SpecError> {
        let said = said(&self.deployment)?;
        let mut pools = vec![];
        for s in &said {
            let own = flags(s.field, &s.flags)?;
            pools.push((s.role, s.replicas, own));
        }
        let mut base = Self {
            deployment: DeploymentValues::default(),
            ..self.clone()
        };
        let main = pools.iter().find(|(role, ..)| *role != Role::Prefill);
        if let Some((_, _, own)) = main {
            fn take<T: Clone>(mine: &mut Option<T>, theirs: &Option<T>) {
                if mine.is_none() {
                    mine.clone_from(theirs);
                }
            }
            take(&mut base.model, &own.model);
            take(&mut base.device, &own.device);
            take(&mut base.engine, &own.engine);
            take(&mut base.server, &own.server);
            take(&mut base.engine_version, &own.engine_version);
        }
        Ok((base, pools))
    }

    /// The pools of a resolved scenario; `None`: one engine.
    pub(super) fn deployed(
        &self,
        base: &Scenario,
        pools: Vec<SaidPool>,
        base_spec: &Self,
        catalog: &dyn Catalog,
    ) -> Result<Option<Box<Deployment>>, SpecError> {
        if pools.is_empty() {
            return Ok(None);
        }
        let d = &self.deployment;
        let mut all = vec![];
        for (role, replicas, own) in pools {
            if own.model.is_some() && own.model != base_spec.model {
                return Err(wrong("pool", "every pool serves the same model"));
            }
            let differs = own.device.is_some()
                || own.engine.is_some()
                || own.server.is_some()
                || own.engine_version.is_some()
                || own.moe_tiles.is_some()
                || own.network_gbs.is_some();
            let mut spec = base_spec.clone();
            spec.load = Default::default();
            spec.overlay(&own);
            if own.device.is_some() && own.engine.is_none() && base.engines.is_some() {
                spec.engine = None;
            }
            let resolved = spec.alone(catalog)?;
            all.push(Pool {
                role,
                replicas,
                serve: own.settings.clone(),
                own: differs.then(|| Box::new(resolved.clone())),
                speculation: resolved.speculation,
            });
        }
        let apart = all.iter().any(|p| p.role == Role::Prefill);
        for (given, field) in [
            (d.get(KV_TRANSFER).is_some(), "kv_transfer"),
            (d.get(KV_TRANSFER_GBS).is_some(), "kv_transfer_gbs"),
            (
                d.get(KV_TRANSFER_LATENCY_MS).is_some(),
                "kv_transfer_latency_ms",
            ),
            (d.get(REMOTE_PREFILL_FROM).is_some(), "remote_prefill_from"),
        ] {
            if given && !apart {
                return Err(wrong(
                    field,
                    "there is no prefill pool: give --prefill-replicas",
                ));
            }
        }
        let outages = outages(d, &all)?;
        Ok(Some(Box::new(Deployment {
            policy: policy(d)?,
            signal_age: seconds("router_signal_age", d.get(ROUTER_SIGNAL_AGE).unwrap_or(0.0))?,
            travel: travel(d, &all, base)?,
            pools: all,
            outages,
        })))
    }
}

fn policy(d: &DeploymentValues) -> Result<Policy, SpecError> {
    let Some(name) = d.get(ROUTER) else {
        return Ok(Policy::default());
    };
    let found = Policy::ALL.iter().find(|(n, _)| *n == name);
    found
        .map(|(_, p)| *p)
        .ok_or_else(|| wrong("router", format!("`{name}` is no router")))
}

fn seconds(field: &str, value: f64) -> Result<Span, SpecError> {
    match (0.0..1e9).contains(&value) {
        true => Ok(Span::from_secs(value)),
        false => Err(wrong(field, format!("{value} must lie between 0 and 1e9"))),
    }
}

fn travel(d: &DeploymentValues, pools: &[Pool], base: &Scenario) -> Result<Travel, SpecError> {
    let decoder = pools.iter().find(|p| p.role == Role::Decode);
    let engine = decoder.map_or(base.engine.scheduler, |p| p.scenario(base).engine.scheduler);
    // vLLM's decoders compute the first token again; the others' go on with the prefiller's.
    let (usual, first_token) = match engine {
        EngineId::Vllm => (Way::Pull, false),
        _ => (Way::Push, true),
    };
    let (way, layers) = match d.get(KV_TRANSFER).as_deref() {
        None => (usual, false),
        Some("pull") => (Way::Pull, false),
        Some("push") => (Way::Push, false),
        _ => (Way::Push, true),
    };
    let gbs = d.get(KV_TRANSFER_GBS);
    if let Some(rate) = gbs
        && !(rate > 0.0 && (rate <= 1e6 || rate.is_infinite()))
    {
        return Err(wrong(
            "kv_transfer_gbs",
            format!("{rate} must lie above 0 and at most 1000000, or be inf"),
        ));
    }
    let ms = d.get(KV_TRANSFER_LATENCY_MS).unwrap_or(LATENCY_MS);
    if !(0.0..1e9).contains(&ms) {
        return Err(wrong(
            "kv_transfer_latency_ms",
            format!("{ms} must lie between 0 and 1e9"),
        ));
    }
    Ok(Travel {
        way,
        layers,
        first_token,
        gbs,
        latency: Span::from_secs(ms / 1e3),
        latency_assumed: d.get(KV_TRANSFER_LATENCY_MS).is_none(),
        from: d.get(REMOTE_PREFILL_FROM).unwrap_or(0),
    })
}

/// The pools that are said; none: one engine.
fn said(d: &DeploymentValues) -> Result<Vec<Said>, SpecError> {
    let counts = [
        ("replicas", d.get(REPLICAS)),
        ("prefill_replicas", d.get(PREFILL_REPLICAS)),
        ("decode_replicas", d.get(DECODE_REPLICAS)),
    ];
    for (field, n) in counts {
        if n == Some(0) {
            return Err(wrong(field, "must be at least 1"));
        }
    }
    let apart = counts[1].1.is_some()
        || counts[2].1.is_some()
        || d.get(PREFILL).is_some()
        || d.get(DECODE).is_some();
    if let Some(list) = d.get(POOL) {
        if apart || counts[0].1.is_some() {
            return Err(wrong(
                "pool",
                "says what --replicas, --prefill-replicas, --decode-replicas, --prefill and --decode say: give one or the other",
            ));
        }
        return list
            .split(SEPARATOR)
            .map(str::trim)
            .filter(|p| !p.is_empty())
            .map(pool)
            .collect();
    }
    if apart {
        if counts[0].1.is_some() {
            return Err(wrong(
                "replicas",
                "are of engines that serve whole requests: leave it out beside --prefill-replicas and --decode-replicas",
            ));
        }
        let one = |role, replicas: Option<u32>, field, flags: Option<String>| Said {
            role,
            replicas: replicas.unwrap_or(1),
            field,
            flags: flags.unwrap_or_default(),
        };
        return Ok(vec![
            one(Role::Prefill, counts[1].1, "prefill", d.get(PREFILL)),
            one(Role::Decode, counts[2].1, "decode", d.get(DECODE)),
        ]);
    }
    if d.is_empty() {
        return Ok(vec![]);
    }
    Ok(vec![Said {
        role: Role::Serve,
        replicas: counts[0].1.unwrap_or(1),
        field: "pool",
        flags: String::new(),
    }])
}

/// `ROLE*REPLICAS [FLAGS]`.
fn pool(text: &str) -> Result<Said, SpecError> {
    let (head, flags) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (role, replicas) = head.split_once('*').unwrap_or((head, "1"));
    let role = match role {
        "serve" => Role::Serve,
        "prefill" => Role::Prefill,
        "decode" => Role::Decode,
        other => {
            return Err(wrong(
                "pool",
                format!(
                    "`{other}` is no role: serve, prefill or decode, as in \"decode*3 --tensor-parallel-size 8\""
                ),
            ));
        }
    };
    let n = replicas
        .parse::<u32>()
        .ok()
        .filter(|n| (1..=1 << 16).contains(n));
    Ok(Said {
        role,
        replicas: n.ok_or_else(|| {
            wrong(
                "pool",
                format!("`{replicas}` is no number of replicas from 1 to 65536"),
            )
        })?,
        field: "pool",
        flags: flags.trim().into(),
    })
}

/// What a pool's flags, or the line that starts one of its replicas, say.
fn flags(field: &'static str, text: &str) -> Result<ScenarioSpec, SpecError> {
    let mut spec = ScenarioSpec::default();
    if text.is_empty() {
        return Ok(spec);
    }
    if !text.starts_with('-') {
        let text = without_roles(text);
        let read = line::read(line::Source::Text(&text), &|name: &str| {
            Err(format!("{name}: files cannot be read here"))
        });
        let read = read.map_err(|e| wrong(field, e))?;
        return ScenarioSpec::of_line(&read).map_err(|e| wrong(field, e));
    }
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let name = word
            .strip_prefix("--")
            .ok_or_else(|| wrong(field, format!("`{word}` is no flag")))?;
        let (name, given) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, None),
        };
        let off = name
            .strip_prefix("no-")
            .filter(|n| ScenarioSpec::field(n).is_ok_and(|f| f.kind == Kind::Switch));
        if let Some(name) = off {
            spec.set(name, Value::Switch(false))
                .map_err(|e| wrong(field, e))?;
            continue;
        }
        let known = ScenarioSpec::field(name).map_err(|e| wrong(field, e))?;
        if DeploymentSection::place(known.name).is_ok()
            || crate::workload::load::LoadSection::place(known.name).is_ok()
        {
            return Err(wrong(
                field,
                format!(
                    "--{name} is no flag of a pool: only what is served, the device and engine settings"
                ),
            ));
        }
        let value = match (known.kind, given) {
            (Kind::Switch, None) => Ok(Value::Switch(true)),
            (_, Some(value)) => known.parse(value),
            (_, None) => match words.next() {
                Some(value) => known.parse(value),
                None => return Err(wrong(field, format!("--{name} needs a value"))),
            },
        };
        let value = value.map_err(|e| wrong(field, e))?;
        spec.set(known.name, value).map_err(|e| wrong(field, e))?;
    }
    Ok(spec)
}

/// A line without the flags that say which part of the work the server does: the pool says that.
fn without_roles(line: &str) -> String {
    let mut kept = vec![];
    let mut words = line.split_whitespace();
    const ROLES: [&str; 3] = [
        "--kv-transfer-config",
        "--disaggregation-mode",
        "--disaggregation-transfer-backend",
    ];
    while let Some(word) = words.next() {
        if ROLES.contains(&word) {
            // The value may be JSON with spaces in quotes.
            let mut value = words.next().unwrap_or_default().to_owned();
            let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'));
            while let Some(q) = quote
                && (value.len() < 2 || !value.ends_with(q))
            {
                let Some(more) = words.next() else { break };
                value.push_str(more);
            }
            continue;
        }
        if ROLES
            .iter()
            .any(|r| word.strip_prefix(r).is_some_and(|v| v.starts_with('=')))
        {
            continue;
        }
        kept.push(word);
    }
    kept.join(" ")
}

/// `fail:POOL/REPLICA@SECONDS`.
fn outages(d: &DeploymentValues, pools: &[Pool]) -> Result<Vec<Outage>, SpecError> {
    let warm_up = seconds("warm_up", d.get(WARM_UP).unwrap_or(0.0))?;
    let Some(list) = d.get(OUTAGE) else {
        return Ok(vec![]);
    };
    let one = |text: &str| {
        let (kind, rest) = text.split_once(':')?;
        let (place, at) = rest.split_once('@')?;
        let (pool, replica) = place.split_once('/')?;
        let kind = match kind {
            "fail" => OutageKind::Fails,
            "drain" => OutageKind::Drains,
            "start" => OutageKind::Starts,
            _ => return None,
        };
        let at: f64 = at.parse().ok().filter(|t| (0.0..1e9).contains(t))?;
        let pool: usize = pool.parse().ok()?;
        let replica: u32 = replica.parse().ok()?;
        let there = pools.get(pool).is_some_and(|p| replica < p.replicas);
        let at = SimTime::ZERO + Span::from_secs(at);
        there.then_some(Outage {
            at: match kind {
                OutageKind::Starts => at + warm_up,
                _ => at,
            },
            pool,
            replica,
            kind,
        })
    };
    list.split(SEPARATOR)
        .map(str::trim)
        .filter(|t| !t.is_empty())
        .map(|t| {
            one(t).ok_or_else(|| {
                wrong(
                    "outage",
                    format!("`{t}`: must be fail, drain or start, and a replica that exists, as fail:0/2@30"),
                )
            })
        })
        .collect()
}

//! The coefficients that a prediction is uncertain about: which they are, how far each may be off, and together with which
//! others.
use super::prediction::Scenario;
use crate::device::{Curve, DeviceProfile, Origin};
use crate::engine::settings::*;
use crate::engine::speculation::{STATED_SD, requested};
use std::fmt;

/// 95th percentile of the standard normal distribution.
pub(crate) const Z95: f64 = 1.644_853_626_951_472_7;

/// Something that prices rest on: a coefficient of the engine profile, or a whole curve of the device's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coefficient {
    /// One of the engine profile's, by its dotted name there.
    Engine(String),
    /// The memory's rate at every size.
    Stream,
    /// The matrix rate at every number of rows.
    Gemm,
    /// The rate of prefill attention at every number of queries.
    Attention,
    /// The launch of a kernel in a replayed graph.
    LaunchGraph,
    /// What a library reaches of the device's matrix rates.
    MatrixLibrary,
    /// The times of the engine's own kernels, all together.
    Kernels,
    /// Latency of the link between devices.
    LinkLatency,
    /// Rate of the link between devices.
    LinkRate,
    /// Rate of the host's memory.
    HostMemory,
    /// Matrix rate of the host's processor.
    HostArithmetic,
    /// Rate of the bus to the host's memory.
    Bus,
    /// Rate of the network between nodes.
    Network,
    /// Chance of a draft to be right, in speculative decoding.
    Acceptance,
    /// All times together: what the model does not resolve, and how runs differ.
    Everything,
}

impl fmt::Display for Coefficient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Coefficient::Engine(name) => name,
            Coefficient::Stream => "device.stream_read",
            Coefficient::Gemm => "device.gemm_f16",
            Coefficient::Attention => "device.attention_prefill",
            Coefficient::LaunchGraph => "device.curves.launch_graph",
            Coefficient::MatrixLibrary => "device.curves.matrix_library",
            Coefficient::Kernels => "device.kernels",
            Coefficient::LinkLatency => "device.link.latency",
            Coefficient::LinkRate => "device.link.rate",
            Coefficient::HostMemory => "device.host.memory",
            Coefficient::HostArithmetic => "device.host.arithmetic",
            Coefficient::Bus => "device.host.bus",
            Coefficient::Network => "device.host.network",
            Coefficient::Acceptance => "speculative acceptance",
            Coefficient::Everything => "model and repeats",
        })
    }
}

impl Coefficient {
    /// Multiplies it, in a scenario, by `factor`; [`Coefficient::Everything`] makes all times longer by it.
    pub fn scale(&self, s: &mut Scenario, factor: f64) {
        // Pools with devices or engines of their own: a coefficient of the same name is taken to be off by the same factor.
        if let Some(mut d) = s.deployment.take() {
            for own in d.pools.iter_mut().filter_map(|p| p.own.as_deref_mut()) {
                self.scale_one(own, factor);
            }
            self.scale_one(s, factor);
            s.deployment = Some(d);
            return;
        }
        self.scale_one(s, factor);
    }

    fn scale_one(&self, s: &mut Scenario, factor: f64) {
        let curve = |c: &mut Curve, f: f64| c.points.iter_mut().for_each(|p| p.y *= f);
        match self {
            Coefficient::Engine(name) => {
                // Another pool's profile may not have it.
                if let Some(q) = s.engine.coefficient_mut(name) {
                    q.value *= factor
                }
            }
            Coefficient::Stream => {
                curve(&mut s.device.stream_read, factor);
                let c = &mut s.device.curves;
                for c in [&mut c.matrix_stream, &mut c.experts_stream] {
                    c.iter_mut().for_each(|c| curve(c, factor));
                }
            }
            Coefficient::Gemm => {
                curve(&mut s.device.gemm_f16, factor);
                let grouped = s.device.curves.experts_rate.iter_mut();
                grouped.for_each(|c| curve(c, factor));
            }
            Coefficient::Attention => curve(&mut s.device.attention_prefill, factor),
            Coefficient::LaunchGraph => {
                if let Some(q) = &mut s.device.curves.launch_graph {
                    q.value *= factor
                }
            }
            Coefficient::MatrixLibrary => {
                if let Some(q) = &mut s.device.curves.matrix_library {
                    q.value *= factor
                }
            }
            Coefficient::Kernels => s.device.kernels.iter_mut().for_each(|k| k.scale(factor)),
            Coefficient::LinkLatency => {
                if let Some(link) = &mut s.device.link {
                    link.latency.value *= factor
                }
            }
            Coefficient::LinkRate => {
                if let Some(link) = &mut s.device.link {
                    link.rate.value *= factor
                }
            }
            Coefficient::HostMemory
            | Coefficient::HostArithmetic
            | Coefficient::Bus
            | Coefficient::Network => self.scale_host(&mut s.device, factor),
            Coefficient::Acceptance => s.speculation.factor *= factor,
            Coefficient::Everything => {
                for rate in [
                    Self::HostMemory,
                    Self::HostArithmetic,
                    Self::Bus,
                    Self::Network,
                ] {
                    rate.scale_host(&mut s.device, 1.0 / factor);
                }
                let d = &mut s.device;
                for c in [
                    &mut d.stream_read,
                    &mut d.gemm_f16,
                    &mut d.attention_prefill,
                    &mut d.elementwise,
                ] {
                    curve(c, 1.0 / factor);
                }
                d.launch.value *= factor;
                d.curves.scale(factor);
                d.kernels.iter_mut().for_each(|k| k.scale(factor));
                if let Some(link) = &mut d.link {
                    link.latency.value *= factor;
                    link.rate.value /= factor;
                }
                let h = &mut s.engine.host;
                for q in [
                    &mut h.step,
                    &mut h.per_seq,
                    &mut h.launch_eager,
                    &mut h.launch_graph,
                ] {
                    q.value *= factor;
                }
                let some = [&mut h.launch_experts, &mut h.launch_uncompiled];
                for q in some.into_iter().flatten() {
                    q.value *= factor;
                }
            }
        }
    }

    /// Multiplies one of the host's rates, and leaves the others as they are.
    fn scale_host(&self, device: &mut DeviceProfile, factor: f64) {
        let mut q = match self {
            Self::HostMemory => device.host_rates().memory,
            Self::HostArithmetic => device.host_rates().arithmetic,
            Self::Network => device.host_rates().network,
            _ => device.host_rates().bus,
        };
        q.value *= factor;
        let host = device.host.get_or_insert_default();
        *match self {
            Self::HostMemory => &mut host.memory,
            Self::HostArithmetic => &mut host.arithmetic,
            Self::Network => &mut host.network,
            _ => &mut host.bus,
        } = Some(q);
    }

    /// Whether it changes when requests come or answers go, and not only what steps cost: the front end; the client's turnaround, of a
    /// load that waits for answers; how many drafts are right.
    pub(super) fn moves_arrivals(&self, s: &Scenario, recorded: bool) -> bool {
        let w = &s.workload;
        // Of recorded requests nothing is known here: they may wait, too.
        let waits = w.max_concurrency.is_some()
            || w.users.is_some()
            || w.trace.is_some()
            || w.warmup > 0
            || recorded;
        match self {
            Coefficient::Engine(n) if n == "host.front_end" => true,
            Coefficient::Acceptance => true,
            Coefficient::Network => s.deployment.is_some(),
            Coefficient::Engine(n) if n == "host.turnaround" => w.turnaround.is_none() && waits,
            _ => false,
        }
    }
}

/// A coefficient with its uncertainty.
#[derive(Clone, Debug)]
pub struct Uncertain {
    /// What.
    pub coefficient: Coefficient,
    /// One standard deviation, relative to its value.
    pub rel_sd: f64,
    /// Where the value comes from.
    pub origin: Origin,
}

/// Every coefficient of a scenario that is uncertain and may enter its prices, those of its pools included.
pub fn uncertain(scenario: &Scenario) -> Vec<Uncertain> {
    let Some(d) = &scenario.deployment else {
        return of_one(scenario);
    };
    let mut all: Vec<Uncertain> = vec![];
    let mut add = |u: Uncertain| {
        if all.iter().all(|a| a.coefficient != u.coefficient) {
            all.push(u);
        }
    };
    let main = d.pools[d.main()].scenario(scenario);
    of_one(&main).into_iter().for_each(&mut add);
    for pool in d.scenarios(scenario) {
        of_one(&pool).into_iter().for_each(&mut add);
    }
    if d.is_apart() && d.travel.gbs.is_none() {
        let q = main.device.host_rates().network;
        add(Uncertain {
            coefficient: Coefficient::Network,
            rel_sd: q.rel_sd,
            origin: q.provenance.origin,
        });
    }
    all
}

fn of_one(scenario: &Scenario) -> Vec<Uncertain> {
    let path = scenario
        .moe_path
        .as_ref()
        .unwrap_or(&scenario.engine.moe_default);
    let is_moe = scenario.model.experts().is_some();
    let mut all = vec![];
    let mut push = |coefficient, rel_sd, origin| {
        all.push(Uncertain {
            coefficient,
            rel_sd,
            origin,
        });
    };
    for (name, q) in scenario.engine.coefficients() {
        let other_path = name.starts_with("moe_paths.")
            && (!is_moe || !name.starts_with(&format!("moe_paths.{path}.")));
        // Of the attention kernels only those matter that the device's tables hold.
        let other_backend = name.strip_prefix("attention_in_server.").is_some_and(|b| {
            !scenario
                .device
                .kernels
                .iter()
                .any(|k| k.attention_backend.as_deref() == Some(b))
        });
        if !other_path && !other_backend && q.rel_sd > 0.0 {
            push(Coefficient::Engine(name), q.rel_sd, q.provenance.origin);
        }
    }
    let d = &scenario.device;
    // Efficiencies published for this very device are absolute rates in disguise: their spread already
    // contains the device curve's. On another device the curve's own spread comes on top.
    if !scenario.engine.devices.contains(&d.id) {
        for (coefficient, curve) in [
            (Coefficient::Stream, &d.stream_read),
            (Coefficient::Gemm, &d.gemm_f16),
            (Coefficient::Attention, &d.attention_prefill),
        ] {
            let last = curve.points[curve.points.len() - 1];
            push(coefficient, last.rel_sd.max(0.01), curve.provenance.origin);
        }
    }
    for (coefficient, q) in [
        (Coefficient::LaunchGraph, &d.curves.launch_graph),
        (Coefficient::MatrixLibrary, &d.curves.matrix_library),
    ] {
        if let Some(q) = q {
            push(coefficient, q.rel_sd, q.provenance.origin);
        }
    }
    if let Some(k) = d.kernels.first() {
        push(Coefficient::Kernels, k.rel_sd, k.provenance.origin);
    }
    let many = |n: Option<u32>| n.is_some_and(|n| n > 1);
    if (many(scenario.serve.get(TENSOR_PARALLEL_SIZE))
        || many(scenario.serve.get(DATA_PARALLEL_SIZE))
        || many(scenario.serve.get(PIPELINE_PARALLEL_SIZE)))
        && let Some(link) = &d.link
    {
        for (coefficient, q) in [
            (Coefficient::LinkLatency, &link.latency),
            (Coefficient::LinkRate, &link.rate),
        ] {
            push(coefficient, q.rel_sd, q.provenance.origin);
        }
    }
    if many(scenario.serve.get(NNODES)) {
        let q = d.host_rates().network;
        push(Coefficient::Network, q.rel_sd, q.provenance.origin);
    }
    let class = scenario.model.config().architecture;
    if let Ok(Some(r)) = requested(&scenario.serve, scenario.engine.scheduler, class) {
        match &r.assumed {
            Some(a) => push(Coefficient::Acceptance, a.rel_sd, Origin::Assumed),
            None => push(Coefficient::Acceptance, STATED_SD, Origin::Published),
        }
    }
    if offloads(scenario) {
        let rates = d.host_rates();
        for (coefficient, q) in [
            (Coefficient::HostMemory, rates.memory),
            (Coefficient::HostArithmetic, rates.arithmetic),
            (Coefficient::Bus, rates.bus),
        ] {
            push(coefficient, q.rel_sd, q.provenance.origin);
        }
    }
    all
}

/// Whether settings may leave weights in the host's memory.
pub(super) fn offloads(scenario: &Scenario) -> bool {
    let s = &scenario.serve;
    s.get(CPU_OFFLOAD_GB).is_some()
        || s.get(N_GPU_LAYERS).is_some()
        || s.get(N_CPU_MOE).is_some()
        || s.get(CPU_MOE).is_some()
        || s.get(OVERRIDE_TENSOR).is_some()
}

/// Covariance of the coefficients' logarithms: the fit's own where there is one, else each for itself with the log-normal's
/// variance ln(1 + sd²) of a relative deviation sd.
pub fn covariance(scenario: &Scenario, all: &[Uncertain]) -> Vec<Vec<f64>> {
    let n = all.len();
    let mut cov = vec![vec![0.0; n]; n];
    for (i, u) in all.iter().enumerate() {
        cov[i][i] = libm::log1p(u.rel_sd * u.rel_sd);
    }
    if let Some(fit) = &scenario.engine.fit {
        let index: Vec<Option<usize>> = fit
            .coefficients
            .iter()
            .map(|name| all.iter().position(|u| u.coefficient.to_string() == *name))
            .collect();
        for (a, i) in index.iter().enumerate() {
            for (b, j) in index.iter().enumerate() {
                if let (Some(i), Some(j)) = (i, j) {
                    cov[*i][*j] = fit.covariance[a][b];
                }
            }
        }
    }
    cov
}

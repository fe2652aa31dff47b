//! What another weight format, other kernels of the experts or another engine would bring to the same load: each simulated.
use super::what_if::{lighter_weights, other_tiles};
use crate::device::EngineId;
use crate::engine::{ENGINES, kind};
use crate::predict::{EngineWanted, Run, Scenario, simulate_once};

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The weight format.
    Weights,
    /// The kernels of the experts.
    Tiles,
    /// The engine.
    Engine,
}

/// A change, and what it brings.
#[derive(Clone, Debug, PartialEq)]
pub struct Gain {
    /// What is changed.
    pub kind: Kind,
    /// The change in words.
    pub what: String,
    /// How many times as fast an answer comes, end to end: mean E2EL of today over that with the change.
    pub faster: f64,
    /// Output tokens per second of one request, 1 / mean TPOT, with the change; absent: answers of one token.
    pub each: Option<f64>,
}

/// Requests that suffice for a comparison of means. A longer load is compared by its beginning, with and without the change.
const ENOUGH: u32 = 2000;

/// The scenario with no more requests than a comparison needs: [`ENOUGH`], or four for each client.
fn shortened(s: &Scenario) -> Scenario {
    let mut s = s.clone();
    let w = &mut s.workload;
    let users = w.users.as_ref().map(|u| u.count);
    let clients = users.or(w.max_concurrency).unwrap_or(0);
    w.num_prompts = w.num_prompts.min(ENOUGH.max(clients.saturating_mul(4)));
    s
}

/// The scenario under each other engine that has a profile made on this device for these weights.
fn other_engines(base: &Scenario) -> Vec<(String, Scenario)> {
    let Some(engines) = &base.engines else {
        return vec![];
    };
    let others = ENGINES.iter().map(|e| e.id());
    let of = |id: EngineId| {
        let profile = engines.choose(&EngineWanted {
            model: &base.model,
            device: &base.device,
            engine: Some(id),
            release: None,
        });
        let formats = base.model.weight_formats();
        let own = profile.prices_of.is_none() && profile.devices.contains(&base.device.id);
        let knows = !profile.weights.is_empty() && formats.iter().all(|f| profile.knows(&f.kind()));
        (own && knows).then(|| {
            let mut s = base.clone();
            (s.engine, s.release) = (profile, None);
            (format!("{} with these settings", kind(id).name()), s)
        })
    };
    others
        .filter(|id| *id != base.engine.scheduler)
        .filter_map(of)
        .collect()
}

/// Gains over the scenario's own load, the largest first. `kinds` says which changes are tried; those with which the engine does
/// not start, or that nothing is known to price, are left out.
pub fn gains(base: &Scenario, kinds: &[Kind]) -> Vec<Gain> {
    let base = shortened(base);
    let mut tried: Vec<(Kind, String, Scenario)> = vec![];
    for kind in kinds {
        let all = match kind {
            Kind::Weights => lighter_weights(&base),
            Kind::Tiles => other_tiles(&base),
            Kind::Engine => other_engines(&base),
        };
        tried.extend(all.into_iter().map(|(what, s)| (*kind, what, s)));
    }
    tried.retain(|(_, _, s)| s.is_priced() && s.settings().is_ok());
    if tried.is_empty() {
        return vec![];
    }
    let Ok(today) = simulate_once(&base) else {
        return vec![];
    };
    let whole = |r: &Run| r.summary.refused == today.summary.refused;
    let gain = |(kind, what, s): (Kind, String, Scenario)| {
        let with = simulate_once(&s).ok().filter(whole)?;
        let tpot = with.summary.tpot.mean();
        Some(Gain {
            kind,
            what,
            faster: today.summary.e2el.mean() / with.summary.e2el.mean(),
            each: (tpot > 0.0).then(|| 1.0 / tpot),
        })
    };
    let mut all: Vec<Gain> = tried.into_iter().filter_map(gain).collect();
    all.sort_by(|a, b| b.faster.total_cmp(&a.faster));
    all
}

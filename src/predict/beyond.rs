//! What of a scenario its engine profile was not made from, and how much wider the intervals are for it.
//!
//! | beyond the profile | standard deviation of all times, relative |
//! | --- | --- |
//! | a weight format that it does not know | [`OtherWeights`](crate::device::OtherWeights), else [`EngineProfile::OTHER_WEIGHTS`] |
//! | a release n minor releases away | √n · `per_release`, else [`EngineProfile::PER_RELEASE`] |
//! | a release older than the oldest rules | [`OLD_RULES`] besides |
//! | another engine's prices | [`OTHER_ENGINE`] |
//! | layers that no profile was made from | [`OTHER_LAYERS`] |
//! | layers or formats of a class that is not known | [`RESEMBLES`] |
//! | images | [`IMAGES`] |
//! | a pipeline | [`PIPELINE`] |
//! | several nodes | [`NODES`] |
//! | speculative decoding | [`SPECULATION`] |
//! | a sequence's cache on several devices | [`CONTEXT`] |
//! | flags that are not simulated | [`unmodelled::rel_sd`] |
use super::{Caveat, Scenario, unmodelled};
use crate::cost::CostError;
use crate::device::EngineProfile;
use crate::engine::settings::{DECODE_CONTEXT_PARALLEL_SIZE, NNODES, PIPELINE_PARALLEL_SIZE};
use crate::engine::speculation::requested;
use crate::engine::{EngineVersion, kind};
use crate::model::Mixer;

/// Deviation of servers older than the oldest rules that are known, beyond that of the distance. Total tokens per second predicted
/// with `vllm-0.19-cuda` and rules were 46 % above those measured with 0.6.3 (H100, sgl-project/sglang#1639) and 48 %, 49 % and
/// 100 % above those with 0.8.5 (A100, vllm-project/vllm#17885): root mean square of the logarithms 0.48, of which √11 · 0.05
/// belong to the distance.
pub(super) const OLD_RULES: f64 = 0.45;

/// Deviation of one engine's prices under another's rules: twice what the decode efficiencies of vLLM, SGLang and llama.cpp with
/// float weights differ by on gfx1151 (dense products 1.06, 0.96, 1.02, experts 0.79, 0.68, 0.68), as other devices were not looked at.
pub(super) const OTHER_ENGINE: f64 = 0.3;

/// Deviation of all times of a model with kinds of layers that no compared run had: assumed, as much as another engine's prices.
pub(super) const OTHER_LAYERS: f64 = 0.3;

/// Deviation of all times of a model whose layers or formats are those of another class: assumed, as much as another engine's prices and
/// other layers together.
pub(super) const RESEMBLES: f64 = 0.42;

/// Deviation of all times of a load with images: assumed, as much as other layers, as no run with images was compared.
pub(super) const IMAGES: f64 = 0.3;

/// Deviation of all times of a pipeline: assumed, two thirds of another engine's prices, as no run with one was compared.
pub(super) const PIPELINE: f64 = 0.2;

/// Deviation of all times of several nodes: assumed, as much as a pipeline, as no run with several was compared.
pub(super) const NODES: f64 = 0.2;

/// Deviation of all times where devices divide the cache of a sequence: assumed, as much as a pipeline, as no run with it was compared.
pub(super) const CONTEXT: f64 = 0.2;

fn has_context(s: &Scenario) -> bool {
    let size = s.serve.get(DECODE_CONTEXT_PARALLEL_SIZE);
    size.is_some_and(|n| n > 1)
}

fn has_nodes(s: &Scenario) -> bool {
    s.serve.get(NNODES).is_some_and(|n| n > 1)
}

fn has_pipeline(s: &Scenario) -> bool {
    s.serve.get(PIPELINE_PARALLEL_SIZE).is_some_and(|n| n > 1)
}

/// Deviation of all times with speculative decoding: TPOT of DeepSeek-R1 with MTP under SGLang (`validation/inferencex`) was within 4 % of
/// five rows on MI355X, and on H200, if as large a share of drafts was right there, 16 to 55 % above what is predicted of six: root mean
/// square of the logarithms of all eleven 0.22.
pub(super) const SPECULATION: f64 = 0.22;

/// Whether something drafts.
fn drafts(s: &Scenario) -> bool {
    let class = s.model.config().architecture;
    let asked = requested(&s.serve, s.engine.scheduler, class);
    asked.is_ok_and(|r| r.is_some())
}

/// Kinds of layers of a model that no profile was made from. Attention with keys and values per head group and gated DeltaNet are in the
/// runs that profiles were fitted to (docs/accuracy.md).
fn unknown_layers(s: &Scenario) -> Vec<&'static str> {
    let mut kinds = vec![];
    for layer in &s.model.config().layers {
        let kind = layer.mixer.as_ref().and_then(Mixer::uncompared);
        let beside = layer.beside.map(|_| "Mamba layers");
        for kind in kind.into_iter().chain(beside) {
            let known = s.engine.layers.iter().any(|k| k == kind);
            if !known && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    kinds
}

/// Deviation from which on a price says nothing, as its 90 % interval spans more than a factor of five to either side.
const SAYS_NOTHING: f64 = 1.0;

/// Weight formats of a model that a profile does not know, and how far their prices may be off.
pub(super) fn unknown_weights(s: &Scenario) -> Option<(Vec<String>, f64)> {
    let mut formats: Vec<String> = vec![];
    let mut most: f64 = 0.0;
    for f in s.model.weight_formats() {
        let (kind, sd) = (f.kind(), s.engine.weights_rel_sd(&f.kind()));
        if sd > 0.0 && !formats.contains(&kind) {
            formats.push(kind);
            most = most.max(sd);
        }
    }
    (!formats.is_empty()).then_some((formats, most))
}

/// The profile's release and the one that was named, where they differ: patch releases do not.
fn releases(s: &Scenario) -> Option<(EngineVersion, EngineVersion)> {
    let made: EngineVersion = s.engine.version.parse().ok()?;
    let named = s
        .release
        .filter(|_| kind(s.engine.scheduler).has_releases())?;
    (made.releases_to(named) > 0).then_some((made, named))
}

fn release_rel_sd(engine: &EngineProfile, made: EngineVersion, named: EngineVersion) -> f64 {
    let each = engine
        .per_release
        .as_ref()
        .map_or(EngineProfile::PER_RELEASE, |q| q.value);
    let old = if named.is_older_than_rules() {
        OLD_RULES
    } else {
        0.0
    };
    libm::sqrt(each * each * f64::from(made.releases_to(named)) + old * old)
}

/// Variance of the logarithm of all times that comes on top of the profile's own; 0 where the profile was made from all of it.
pub(crate) fn variance(s: &Scenario) -> f64 {
    let mut sum = 0.0;
    if let Some((_, sd)) = unknown_weights(s) {
        sum += sd * sd;
    }
    if let Some((made, named)) = releases(s) {
        let sd = release_rel_sd(&s.engine, made, named);
        sum += sd * sd;
    }
    if s.engine.prices_of.is_some() {
        sum += OTHER_ENGINE * OTHER_ENGINE;
    }
    if !unknown_layers(s).is_empty() {
        sum += OTHER_LAYERS * OTHER_LAYERS;
    }
    if s.model.config().resembles {
        sum += RESEMBLES * RESEMBLES;
    }
    if s.workload.images.is_some() {
        sum += IMAGES * IMAGES;
    }
    if has_pipeline(s) {
        sum += PIPELINE * PIPELINE;
    }
    if has_context(s) {
        sum += CONTEXT * CONTEXT;
    }
    if has_nodes(s) {
        sum += NODES * NODES;
    }
    if drafts(s) {
        sum += SPECULATION * SPECULATION;
    }
    let left_out = unmodelled::rel_sd(&s.notes.not_simulated);
    sum + left_out * left_out
}

impl Scenario {
    /// What a reader must know of what is not simulated, of how a pasted line was read, and of what the engine profile was not made
    /// from: another engine, weight format, release.
    pub fn beyond_profile(&self) -> Vec<Caveat> {
        let mut all: Vec<Caveat> = self.notes.left_out().into_iter().collect();
        all.extend(self.notes.line.iter().cloned().map(Caveat::Line));
        let said = self.model.config().caveats.iter();
        all.extend(said.cloned().map(Caveat::Model));
        if self.model.config().resembles {
            all.push(Caveat::Resembles { rel_sd: RESEMBLES });
        }
        if self.workload.images.is_some() {
            all.push(Caveat::Images { rel_sd: IMAGES });
        }
        if has_pipeline(self) {
            all.push(Caveat::Pipeline { rel_sd: PIPELINE });
        }
        if has_context(self) {
            all.push(Caveat::Context { rel_sd: CONTEXT });
        }
        if has_nodes(self) {
            all.push(Caveat::Nodes { rel_sd: NODES });
        }
        if drafts(self) {
            all.push(Caveat::Speculation {
                rel_sd: SPECULATION,
            });
        }
        let kinds = unknown_layers(self);
        if !kinds.is_empty() {
            all.push(Caveat::OtherLayers {
                kinds,
                rel_sd: OTHER_LAYERS,
            });
        }
        let engine = self.engine.id.clone();
        if let Some(of) = self.engine.prices_of {
            all.push(Caveat::OtherEngine {
                engine: engine.clone(),
                of: kind(of).name(),
                started: kind(self.engine.scheduler).name(),
                rel_sd: OTHER_ENGINE,
            });
        }
        if let Some((formats, rel_sd)) = unknown_weights(self) {
            all.push(Caveat::OtherWeights {
                engine: engine.clone(),
                knows: self.engine.weights.clone(),
                formats,
                rel_sd,
            });
        }
        match self.release {
            Some(named) if !kind(self.engine.scheduler).has_releases() => {
                all.push(Caveat::OneRelease {
                    engine: kind(self.engine.scheduler).name(),
                    named,
                })
            }
            _ => {
                if let Some((made, named)) = releases(self) {
                    all.push(Caveat::ProfileRelease {
                        engine,
                        made: self.engine.version.clone(),
                        named,
                        rel_sd: release_rel_sd(&self.engine, made, named),
                    });
                }
            }
        }
        all
    }

    /// The same, as far as it concerns where the memory goes.
    pub fn beyond_memory(&self) -> Vec<String> {
        let config = self.model.config();
        let mut all = [&config.assumed[..], &config.caveats].concat();
        if let Some(of) = self.engine.prices_of {
            all.push(format!(
                "activations and runtime are those of the {} profile `{}`: no profile of {} was made for this device",
                kind(of).name(),
                self.engine.id,
                kind(self.engine.scheduler).name()
            ));
        }
        match self.release {
            Some(named) if !kind(self.engine.scheduler).has_releases() => {
                let engine = kind(self.engine.scheduler).name();
                all.push(Caveat::OneRelease { engine, named }.to_string());
            }
            Some(named) if named.is_older_than_rules() => all.push(format!(
                "release {named} is older than those whose defaults and memory terms are known: those of 0.12 are taken"
            )),
            _ => {}
        }
        all
    }
}

/// Why the weight format has no price: nothing near it is known, and no profile was named.
pub(super) fn unpriced(s: &Scenario) -> Option<CostError> {
    let engines = s.engines.as_ref()?;
    let (formats, rel_sd) = unknown_weights(s)?;
    (rel_sd >= SAYS_NOTHING).then(|| CostError::UnknownWeights {
        formats: formats.join(", ").into(),
        engine: kind(s.engine.scheduler).name(),
        device: s.device.id.clone().into(),
        known: engines
            .known_weights(&s.device, s.engine.scheduler)
            .join(", ")
            .into(),
        nearest: s.engine.id.clone().into(),
    })
}

//! Which engine profile prices a scenario that names none.
use super::Scenario;
use crate::device::{DeviceProfile, EngineId, EngineProfile, builtin};
use crate::engine::EngineVersion;
use crate::model::{Model, WeightFormat};

/// What an engine profile is chosen for.
#[derive(Clone, Copy, Debug)]
pub struct EngineWanted<'a> {
    /// The model in its weight format.
    pub model: &'a Model,
    /// The device.
    pub device: &'a DeviceProfile,
    /// The engine that is started; `None`: vLLM.
    pub engine: Option<EngineId>,
    /// The release that was named.
    pub release: Option<EngineVersion>,
}

impl<'a> EngineWanted<'a> {
    /// vLLM, of whatever release.
    pub fn vllm(model: &'a Model, device: &'a DeviceProfile) -> Self {
        Self {
            model,
            device,
            engine: None,
            release: None,
        }
    }
}

/// Engine profiles among which one is chosen.
#[derive(Clone, Debug)]
pub struct Engines {
    profiles: Vec<EngineProfile>,
}

impl Engines {
    /// Those that ship with capsim.
    pub fn builtin() -> Self {
        Self {
            profiles: builtin::engines(),
        }
    }

    /// The profile that fits best, in this order:
    ///
    /// 1. made for processors where the device is one, and for those that were measured with the same kernels before others;
    /// 2. made for the device and of the engine that is started; else made for the device and of vLLM, whose prices then count under
    ///    the started engine's rules ([`EngineProfile::prices_of`]); else the same of devices of the same maker; else any;
    /// 3. made from the weight format, else from the format with the nearest number of bits;
    /// 4. made from the release that was named, else from the nearest one;
    /// 5. the first of the list.
    pub fn choose(&self, wanted: &EngineWanted<'_>) -> EngineProfile {
        let rules = wanted.engine.unwrap_or_default();
        let among = |fits: &dyn Fn(&EngineProfile) -> bool| {
            [rules, EngineId::Vllm].into_iter().find_map(|engine| {
                let of = |e: &&EngineProfile| e.scheduler == engine && fits(e);
                nearest(self.profiles.iter().filter(of), wanted)
            })
        };
        let kernels = wanted.device.processor;
        let on_processor =
            || among(&|e| e.processor == kernels).or_else(|| among(&|e| e.processor.is_some()));
        let found = among(&|e| e.devices.contains(&wanted.device.id))
            .or_else(|| kernels.and_then(|_| on_processor()))
            .or_else(|| {
                let near = same_maker(wanted.device);
                among(&|e| e.devices.iter().any(|d| near.contains(d)))
            });
        let any = found.or_else(|| self.profiles.iter().find(|e| e.scheduler == rules));
        let profile = any
            .or(self.profiles.first())
            .expect("some ship with capsim");
        self.under(profile.clone(), rules, wanted.device)
    }

    /// The profile with the rules of `engine`: its own, or its prices under another engine's.
    pub fn under(
        &self,
        mut profile: EngineProfile,
        engine: EngineId,
        device: &DeviceProfile,
    ) -> EngineProfile {
        if profile.scheduler == engine {
            return profile;
        }
        // The release is that of the engine whose rules they are, not of the one that gave the prices.
        let mut own = self.profiles.iter().filter(|e| e.scheduler == engine);
        let here = own.clone().find(|e| e.devices.contains(&device.id));
        if let Some(e) = here.or(own.next()) {
            profile.version.clone_from(&e.version);
        }
        profile.prices_of = Some(profile.scheduler);
        profile.scheduler = engine;
        profile
    }

    /// Weight formats that the profiles of an engine were made from on a device, each once.
    pub(super) fn known_weights(&self, device: &DeviceProfile, engine: EngineId) -> Vec<&str> {
        let of = |e: &&EngineProfile| e.scheduler == engine && e.devices.contains(&device.id);
        let profiles = self.profiles.iter().filter(of);
        let mut all: Vec<&str> = profiles
            .flat_map(|e| e.weights.iter().map(String::as_str))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Built-in devices of the maker that the device's name begins with.
fn same_maker(device: &DeviceProfile) -> Vec<String> {
    let maker = |d: &DeviceProfile| {
        let first = d.name.split_whitespace().next();
        first.unwrap_or("").to_lowercase()
    };
    let own = maker(device);
    let all = builtin::devices().into_iter();
    all.filter(|d| maker(d) == own).map(|d| d.id).collect()
}

/// The profile with the smallest distance in weight format and release, the first of equals.
fn nearest<'a>(
    profiles: impl Iterator<Item = &'a EngineProfile>,
    wanted: &EngineWanted<'_>,
) -> Option<&'a EngineProfile> {
    let formats = wanted.model.weight_formats();
    let distance = |e: &EngineProfile| {
        let weights: f64 = formats.iter().map(|f| format_distance(e, *f)).sum();
        let made = e.version.parse::<EngineVersion>().ok();
        let release = match (made, wanted.release) {
            (Some(made), Some(named)) => made.releases_to(named),
            _ => 0,
        };
        (weights, release)
    };
    profiles
        .map(|e| (distance(e), e))
        .reduce(|a, b| {
            let (x, y) = (a.0, b.0);
            let order = y.0.total_cmp(&x.0).then(y.1.cmp(&x.1));
            if order.is_lt() { b } else { a }
        })
        .map(|(_, e)| e)
}

/// 0 for a format that the profile knows; else by how much the bits per weight of its nearest format differ, in logarithms, and
/// something besides, so that no other format counts as the same.
fn format_distance(e: &EngineProfile, format: WeightFormat) -> f64 {
    if e.knows(&format.kind()) {
        return 0.0;
    }
    let bits = |f: WeightFormat| {
        let (bits, weights) = f.bits_per_weight();
        libm::log(bits as f64 / weights as f64)
    };
    let known = e.weights.iter().filter_map(|w| kind_format(w));
    known
        .map(|k| 0.01 + (bits(k) - bits(format)).abs())
        .fold(10.0, f64::min)
}

/// A format of that kind ([`WeightFormat::kind`]).
fn kind_format(kind: &str) -> Option<WeightFormat> {
    match kind {
        "int8-group" => "int8-g128".parse().ok(),
        other => other.parse().ok(),
    }
}

/// The first kind of weight format of a profile that is none.
pub fn unknown_kind(profile: &EngineProfile) -> Option<&str> {
    let others = profile.other_weights.iter().flat_map(|o| &o.formats);
    let mut all = profile.weights.iter().chain(others);
    all.find(|w| kind_format(w).is_none_or(|f| f.kind() != **w))
        .map(String::as_str)
}

impl Scenario {
    /// Chooses the engine profile anew for the present device and weight format, unless it was named.
    pub fn follow(&mut self) {
        if let Some(engines) = &self.engines {
            self.engine = engines.choose(&EngineWanted {
                model: &self.model,
                device: &self.device,
                engine: Some(self.engine.scheduler),
                release: self.release,
            });
        }
    }
}

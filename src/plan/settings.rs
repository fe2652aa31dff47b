//! Knobs of a scenario, and the values they are turned to.
use crate::device::DeviceProfile;
use crate::engine::fleet::Role;
use crate::engine::settings::{
    DATA_PARALLEL_SIZE, EngineSection, KV_CACHE_DTYPE, PIPELINE_PARALLEL_SIZE, QUANTIZATION,
    TENSOR_PARALLEL_SIZE,
};
use crate::fields::{Key, Section, Typed, Value};
use crate::model::{KvDtype, Model, Precision};
use crate::predict::{Scenario, Settings};
use std::fmt;

/// One value of one knob.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// A value of the engine setting at this place of the table.
    Engine(usize, Value),
    /// A way to run the expert kernels, by its name in the engine profile.
    MoeTiles(String),
    /// A weight format, by its name.
    Weights(String, Precision),
    /// A data type of the KV cache.
    KvCacheDtype(KvDtype),
    /// Another device.
    Device(Box<DeviceProfile>),
    /// Replicas of a deployment's first pool of this role.
    Replicas(Role, u32),
}

/// A setting with the values to try, today's first.
#[derive(Clone, Debug, PartialEq)]
pub struct Knob {
    /// The flag's name, without dashes in front.
    pub name: String,
    /// Values.
    pub values: Vec<Setting>,
}

/// Whether a number of parts is the one that a line says, or means by saying nothing.
fn same_parts(s: &Scenario, key: Key<EngineSection, u32>, value: &Value) -> bool {
    *value == Value::Count(s.serve.get(key).unwrap_or(1).into())
}

impl Setting {
    /// A value of an engine setting.
    pub fn engine<T: Typed>(key: Key<EngineSection, T>, value: T) -> Self {
        Setting::Engine(key.place(), value.value())
    }

    /// Puts the value into a scenario.
    pub fn apply(&self, s: &mut Scenario) {
        match self {
            Setting::Engine(at, v) => {
                let parts = [
                    TENSOR_PARALLEL_SIZE,
                    PIPELINE_PARALLEL_SIZE,
                    DATA_PARALLEL_SIZE,
                ];
                let said = parts
                    .iter()
                    .any(|k| k.name() == EngineSection::field(*at).name && same_parts(s, *k, v));
                if !said {
                    s.serve.put(*at, v.clone());
                }
            }
            Setting::MoeTiles(v) => s.moe_path = Some(v.clone()),
            Setting::Weights(name, p) => {
                let kv = s.model.precision().kv;
                if p.with_kv(kv) != *s.model.precision() {
                    s.model = Model::new(s.model.config(), p.with_kv(kv));
                    s.serve.set(QUANTIZATION, name.clone());
                    s.follow();
                }
            }
            Setting::KvCacheDtype(v) => {
                let p = s.model.precision().with_kv(*v);
                if p != *s.model.precision() {
                    s.model = Model::new(s.model.config(), p);
                    s.serve.set(KV_CACHE_DTYPE, self.to_string());
                }
            }
            Setting::Device(d) => {
                if s.device != **d {
                    s.device = (**d).clone();
                    s.follow();
                }
            }
            Setting::Replicas(role, n) => {
                let pools = s.deployment.iter_mut().flat_map(|d| &mut d.pools);
                if let Some(pool) = pools.into_iter().find(|p| p.role == *role) {
                    pool.replicas = *n;
                }
            }
        }
    }

    /// The value of the same setting that an engine started from `s`, with the settings `now`, has.
    pub fn in_force(&self, s: &Scenario, now: &Settings) -> Setting {
        match self {
            Setting::Engine(at, _) => match now.in_force.at(*at) {
                Some(v) => Setting::Engine(*at, v.clone()),
                None => self.clone(),
            },
            Setting::MoeTiles(_) => Setting::MoeTiles(
                s.moe_path
                    .clone()
                    .unwrap_or_else(|| s.engine.moe_default.clone()),
            ),
            Setting::Weights(..) => Setting::Weights("as now".into(), *s.model.precision()),
            Setting::KvCacheDtype(_) => Setting::KvCacheDtype(s.model.precision().kv),
            Setting::Device(_) => Setting::Device(Box::new(s.device.clone())),
            Setting::Replicas(role, n) => {
                let mut pools = s.deployment.iter().flat_map(|d| &d.pools);
                let now = pools.find(|p| p.role == *role);
                Setting::Replicas(*role, now.map_or(*n, |p| p.replicas))
            }
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Engine(_, Value::Switch(on)) => f.write_str(if *on { "on" } else { "off" }),
            Setting::Engine(_, v) => write!(f, "{v}"),
            Setting::MoeTiles(v) | Setting::Weights(v, _) => f.write_str(v),
            Setting::KvCacheDtype(v) => write!(f, "{v}"),
            Setting::Replicas(_, n) => write!(f, "{n}"),
            Setting::Device(d) => f.write_str(&d.id),
        }
    }
}

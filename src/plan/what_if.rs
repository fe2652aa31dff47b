//! Changes worth trying, one at a time.
use crate::device::EngineId;
use crate::engine::flag;
use crate::engine::settings::{KV_CACHE_DTYPE, Offers, Setting, TABLE};
use crate::fields::Value;
use crate::model::{KvDtype, Model, Precision};
use crate::predict::Scenario;

/// Largest number that is offered: no engine gains from more tokens in a step.
const MOST_TOKENS: u64 = 32_768;

/// A change to a scenario.
#[derive(Clone, Debug)]
pub struct Change {
    /// As flags of the engine, or in words.
    pub what: String,
    /// Whether answers stay the same: other weights or KV formats change them.
    pub same_answers: bool,
    /// The scenario with it.
    pub scenario: Scenario,
}

/// Values that the table offers instead of today's.
fn offered(row: &Setting, today: &Value) -> Vec<Value> {
    match (row.offers, today) {
        (Offers::Times(factors), Value::Count(n)) => factors
            .iter()
            .map(|f| (*n as f64 * f) as u64)
            .filter(|v| (1..=MOST_TOKENS).contains(v))
            .map(Value::Count)
            .collect(),
        (Offers::On, Value::Switch(false)) => vec![Value::Switch(true)],
        (Offers::Off, Value::Switch(true)) => vec![Value::Switch(false)],
        (Offers::Raise(v), Value::Number(now)) if *now < v - 0.005 => vec![Value::Number(v)],
        _ => vec![],
    }
}

/// The scenario with each of the profile's other kernels of the experts.
pub(super) fn other_tiles(base: &Scenario) -> Vec<(String, Scenario)> {
    if base.model.experts().is_none() {
        return vec![];
    }
    let path = base.moe_path.as_ref().unwrap_or(&base.engine.moe_default);
    let others = base.engine.moe_paths.keys().filter(|p| *p != path);
    let with = |other: &String| {
        let mut s = base.clone();
        s.moe_path = Some(other.clone());
        (format!("{other} expert kernels (--moe-tiles {other})"), s)
    };
    others.map(with).collect()
}

/// The scenario with 8-bit and 4-bit weights in the format that is usual for its engine, where those are lighter by a fifth.
pub fn lighter_weights(base: &Scenario) -> Vec<(String, Scenario)> {
    let formats = match base.engine.scheduler {
        EngineId::LlamaServer => [(8, "q8_0"), (4, "q4_k_m")],
        EngineId::Vllm | EngineId::Sglang | EngineId::Trtllm => [(8, "fp8"), (4, "awq")],
    };
    let config = base.model.config();
    let today = base.model.total_weight_bytes().as_f64();
    let mut all = vec![];
    for (bits, name) in formats {
        let Ok(format) = Precision::by_name(name, config) else {
            continue;
        };
        let model = Model::new(config, format.with_kv(base.model.precision().kv));
        if model.total_weight_bytes().as_f64() < 0.8 * today {
            let mut s = base.clone();
            s.model = model;
            s.follow();
            all.push((format!("{bits}-bit weights ({name})"), s));
        }
    }
    all
}

/// The present scenario with one setting changed, for every setting that may matter and has another value to offer. Changes
/// that the engine would not start with are left out.
pub fn changes(base: &Scenario) -> Vec<Change> {
    let Ok(now) = base.settings() else {
        return vec![];
    };
    let mut all: Vec<Change> = vec![];
    let mut offer = |what: String, same_answers: bool, change: &dyn Fn(&mut Scenario)| {
        let mut scenario = base.clone();
        change(&mut scenario);
        if scenario.settings().is_ok() && scenario.is_priced() {
            let what = match scenario.engine.id == base.engine.id {
                true => what,
                false => format!("{what}, priced with {}", scenario.engine.id),
            };
            all.push(Change {
                what,
                same_answers,
                scenario,
            });
        }
    };
    for (what, with) in other_tiles(base) {
        offer(what, true, &|s| *s = with.clone());
    }
    for (at, row) in TABLE.iter().enumerate() {
        let Some(today) = now
            .in_force
            .at(at)
            .filter(|_| row.of(base.engine.scheduler))
        else {
            continue;
        };
        for value in offered(row, today) {
            let Some(what) = flag(row, base.engine.scheduler, &value) else {
                continue;
            };
            offer(what, true, &|s| s.serve.put(at, value.clone()));
        }
    }
    let precision = base.model.precision();
    if precision.kv.block_bytes(precision.dtype) > KvDtype::Fp8.block_bytes(precision.dtype) {
        offer("--kv-cache-dtype fp8".into(), false, &|s| {
            let p = s.model.precision().with_kv(KvDtype::Fp8);
            s.model = Model::new(s.model.config(), p);
            s.serve.set(KV_CACHE_DTYPE, "fp8".to_string());
        });
    }
    for (what, with) in lighter_weights(base) {
        offer(what, false, &|s| *s = with.clone());
    }
    all
}

//! Which settings are tried.
use super::Question;
use crate::engine::settings::{DATA_PARALLEL_SIZE, PIPELINE_PARALLEL_SIZE, TENSOR_PARALLEL_SIZE};
use crate::plan::Setting;
use crate::predict::Scenario;
use crate::rng::Seed;
use rand::RngExt as _;
use std::collections::BTreeSet;

/// A setting: which value of every knob.
pub type Choice = Vec<usize>;

/// A knob, a value of it, and the setting with it.
pub type Turned = (usize, usize, Choice);

/// Knobs that are not as today.
pub fn changed(choice: &[usize]) -> usize {
    choice.iter().filter(|i| **i > 0).count()
}

/// Whether a setting takes no more devices than there are.
pub fn fits(base: &Scenario, q: &Question, choice: &[usize]) -> bool {
    let Some(most) = q.devices else {
        return true;
    };
    let mut serve = base.serve.clone();
    for (knob, &i) in q.knobs.iter().zip(choice) {
        if let Setting::Engine(at, value) = &knob.values[i] {
            serve.put(*at, value.clone());
        }
    }
    let parts = |key| serve.get(key).unwrap_or(1);
    let all = [
        TENSOR_PARALLEL_SIZE,
        PIPELINE_PARALLEL_SIZE,
        DATA_PARALLEL_SIZE,
    ];
    all.into_iter().map(parts).fold(1u32, u32::saturating_mul) <= most
}

/// Draws in vain after which no more settings are looked for, per setting wanted.
const PATIENCE: usize = 50;

/// All combinations, or today's, every knob turned alone, and some drawn at random; of these, what the devices allow.
pub fn draw(base: &Scenario, q: &Question) -> Vec<Choice> {
    let sizes: Vec<usize> = q.knobs.iter().map(|k| k.values.len()).collect();
    let product: f64 = sizes.iter().map(|n| *n as f64).product();
    let today = vec![0; sizes.len()];
    if product <= q.settings as f64 {
        let mut all = vec![vec![]];
        for n in sizes {
            all = all
                .into_iter()
                .flat_map(|c: Choice| (0..n).map(move |i| c.iter().copied().chain([i]).collect()))
                .collect();
        }
        all.retain(|c| fits(base, q, c));
        return all;
    }
    let mut all = vec![today.clone()];
    all.extend(turned(q, &today).into_iter().map(|c| c.2));
    all.retain(|c| fits(base, q, c));
    all.truncate(q.settings.max(1));
    let mut seen: BTreeSet<Choice> = all.iter().cloned().collect();
    let mut rng = Seed(base.workload.seed).stream("settings tried");
    let mut left = q.settings.saturating_mul(PATIENCE);
    while all.len() < q.settings && left > 0 {
        left -= 1;
        let c: Choice = sizes.iter().map(|&n| rng.random_range(0..n)).collect();
        if fits(base, q, &c) && seen.insert(c.clone()) {
            all.push(c);
        }
    }
    all
}

/// Every knob turned alone: (knob, value, choice).
pub fn turned(q: &Question, choice: &[usize]) -> Vec<Turned> {
    let mut all = vec![];
    for (k, knob) in q.knobs.iter().enumerate() {
        for i in (0..knob.values.len()).filter(|i| *i != choice[k]) {
            let mut c = choice.to_vec();
            c[k] = i;
            all.push((k, i, c));
        }
    }
    all
}

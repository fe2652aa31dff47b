//! What the device allows at best.
use crate::predict::Scenario;

/// The same device under an engine that wastes nothing: every kernel at the device's own measured rate, no host time, no
/// launches. No setting and no release of any engine that computes the same does better.
pub fn ideal(scenario: &Scenario) -> Scenario {
    let mut s = scenario.clone();
    let names: Vec<String> = s
        .engine
        .coefficients()
        .into_iter()
        .map(|(n, _)| n)
        .collect();
    for name in names {
        let q = s.engine.coefficient_mut(&name).expect("listed");
        q.value = if name.starts_with("host.") {
            0.0
        } else {
            q.value.max(1.0)
        };
    }
    s.device.launch.value = 0.0;
    s.engine.dense_tiles.clear();
    s.engine.attention_tile = None;
    for path in s.engine.moe_paths.values_mut() {
        for regime in &mut path.regimes {
            regime.tile_rows = 1;
        }
    }
    s
}

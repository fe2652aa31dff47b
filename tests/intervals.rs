//! Intervals against a slow twin that simulates every coefficient that is uncertain, whether it matters or not.
use capsim::cost::Routing;
use capsim::device::builtin;
use capsim::engine::settings::*;
use capsim::metrics::Percentiles;
use capsim::model::{Model, Precision, builtin as models};
use capsim::predict::{
    EngineWanted, Engines, METRICS, Run, Scenario, covariance, predict, simulate_once, uncertain,
};
use capsim::workload::WorkloadSpec;

fn scenario(model: &str, device: &str, rate: f64) -> Scenario {
    let config = models::find(model).unwrap().config();
    let device = builtin::device(device).unwrap();
    let weights = Model::new(&config, Precision::of(&config));
    Scenario {
        model_name: model.into(),
        engine: Engines::builtin().choose(&EngineWanted::vllm(&weights, &device)),
        engines: None,
        model: weights,
        device,
        release: None,
        notes: Default::default(),
        serve: SettingValues::default()
            .with(MAX_MODEL_LEN, 4096)
            .with(MAX_NUM_SEQS, 64),
        moe_path: None,
        routing: Routing::Uniform,
        workload: WorkloadSpec {
            request_rate: Some(rate),
            max_concurrency: None,
            range_ratio: 0.5,
            ..WorkloadSpec::closed_loop(150, 1, 256, 64)
        },
    }
}

/// ln(high / low) of every metric.
fn twin(s: &Scenario) -> Vec<f64> {
    const STEP: f64 = 0.03;
    let logs = |run: &Run| -> Vec<f64> {
        let value = |m: &&str| run.summary.metric(m, Percentiles::Linear).unwrap();
        METRICS
            .iter()
            .map(|m| libm::log(value(m).max(1e-12)))
            .collect()
    };
    let base = logs(&simulate_once(s).unwrap());
    let all = uncertain(s);
    let gradients: Vec<Vec<f64>> = all
        .iter()
        .map(|u| {
            let mut varied = s.clone();
            u.coefficient.scale(&mut varied, libm::exp(STEP));
            let logs = logs(&simulate_once(&varied).unwrap());
            logs.iter()
                .zip(&base)
                .map(|(v, b)| (v - b) / STEP)
                .collect()
        })
        .collect();
    let cov = covariance(s, &all);
    let engine = &s.engine;
    let model = engine.model_rel_sd.value;
    let prefill = engine
        .model_rel_sd_prefill
        .as_ref()
        .map_or(model, |q| q.value);
    METRICS
        .iter()
        .enumerate()
        .map(|(m, name)| {
            let structure = if name.contains("ttft") {
                prefill
            } else {
                model
            };
            let mut variance =
                engine.repeat_rel_sd.value * engine.repeat_rel_sd.value + structure * structure;
            for i in 0..all.len() {
                for j in 0..all.len() {
                    variance += gradients[i][m] * cov[i][j] * gradients[j][m];
                }
            }
            2.0 * 1.644_853_626_951_472_7 * variance.sqrt()
        })
        .collect()
}

#[test]
fn coefficients_that_are_not_simulated_do_not_matter() {
    let mut left_out = 0;
    for (model, device, rate) in [
        ("qwen3-30b-a3b", "gfx1151", 0.02),
        ("qwen3-8b", "gfx1151", 0.2),
        ("qwen3-8b", "rtx-4090", 1.0),
        ("qwen3-30b-a3b", "h100-sxm", 5.0),
    ] {
        let s = scenario(model, device, rate);
        let p = predict(&s).unwrap();
        left_out += p.sensitivities.iter().filter(|s| s.slope == 0.0).count();
        for (m, full) in METRICS.iter().zip(twin(&s)) {
            let i = p.intervals[m];
            let ratio = libm::log(i.high / i.low) / full;
            // Leaving out makes narrower, by what is left out; single requests' latencies hold more chance than means do.
            let least = if m.contains("mean") || !m.contains("_ms") {
                0.97
            } else {
                0.9
            };
            assert!(
                (least..=1.0 + 1e-9).contains(&ratio),
                "{model} on {device}, {m}: {ratio}"
            );
        }
    }
    assert!(left_out > 10, "{left_out}");
}

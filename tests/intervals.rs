//! Intervals against a slow twin that simulates every coefficient that is uncertain, whether it matters or not.
use capsim::cost::Routing;
use capsim::device::{BatchClass, Phase, builtin};
use capsim::engine::settings::*;
use capsim::metrics::{Latency, Metric, Percentiles, Statistic};
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
        speculation: Default::default(),
        deployment: None,
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

/// Half of ln(high / low) of every metric, if straight lines in logarithms held however far they reach; and the part of it that
/// coefficients explain.
fn straight(s: &Scenario, run: &Run) -> Vec<(f64, f64)> {
    const STEP: f64 = 0.03;
    let logs = |run: &Run| -> Vec<f64> {
        let value = |m: &Metric| run.summary.metric(*m, Percentiles::Linear);
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
    let batch = BatchClass::of(run.occupancy.batch);
    let experts = s.model.experts().is_some();
    METRICS
        .iter()
        .enumerate()
        .map(|(m, metric)| {
            let phase = match metric.latency() {
                Some(Latency::Ttft) => Phase::Prefill,
                _ => Phase::Decode,
            };
            let structure = engine.model_sd(phase, metric.is_tail(), batch, experts);
            let open =
                engine.repeat_rel_sd.value * engine.repeat_rel_sd.value + structure * structure;
            let mut known = 0.0;
            for i in 0..all.len() {
                for j in 0..all.len() {
                    known += gradients[i][m] * cov[i][j] * gradients[j][m];
                }
            }
            if engine.devices.contains(&s.device.id) {
                let explained = engine.explained(phase, metric.is_tail(), batch, experts);
                known *= explained * explained;
            }
            let half = |variance: f64| 1.644_853_626_951_472_7 * variance.sqrt();
            (half(known + open), half(known))
        })
        .collect()
}

/// The ends of every metric: straight lines, bounded by the load that is sent and by the order of percentiles.
fn twin(s: &Scenario, run: &Run) -> Vec<(f64, f64)> {
    let at = |metric| METRICS.iter().position(|m| *m == metric).unwrap();
    let value = |m: usize| run.summary.metric(METRICS[m], Percentiles::Linear);
    let mut ends: Vec<(f64, f64)> = straight(s, run)
        .iter()
        .enumerate()
        .map(|(m, (half, _))| (value(m) * libm::exp(-half), value(m) * libm::exp(*half)))
        .collect();
    let sends = s.workload.planned_span().unwrap().secs();
    let shortest = sends + ends[at(Metric::Latency(Latency::E2el, Statistic::Min))].0 / 1e3;
    for (m, metric) in METRICS.iter().enumerate() {
        if *metric == Metric::Duration {
            ends[m].0 = ends[m].0.max(shortest);
        } else if metric.is_throughput() {
            ends[m].1 = ends[m].1.min(value(m) * run.summary.duration / shortest);
        }
    }
    for latency in Latency::REPORTED {
        let places = METRICS
            .iter()
            .enumerate()
            .filter(|(_, m)| m.latency() == Some(latency) && !m.is_mean());
        let mut places: Vec<usize> = places.map(|(m, _)| m).collect();
        places.sort_by(|a, b| value(*a).total_cmp(&value(*b)));
        for i in 1..places.len() {
            ends[places[i]].0 = ends[places[i]].0.max(ends[places[i - 1]].0);
        }
        for i in (1..places.len()).rev() {
            ends[places[i - 1]].1 = ends[places[i - 1]].1.min(ends[places[i]].1);
        }
    }
    ends
}

#[test]
fn coefficients_that_are_not_simulated_do_not_matter() {
    let (mut left_out, mut checked) = (0, 0);
    for (model, device, rate) in [
        ("qwen3-30b-a3b", "gfx1151", 0.02),
        ("qwen3-8b", "gfx1151", 0.2),
        ("qwen3-8b", "rtx-4090", 1.0),
        ("qwen3-30b-a3b", "h100-sxm", 5.0),
    ] {
        let s = scenario(model, device, rate);
        let p = predict(&s).unwrap();
        left_out += p.sensitivities.iter().filter(|s| s.slope == 0.0).count();
        // Where an end would lie farther than a factor of 2, runs bound it, and so those of the latency's other figures.
        let far: Vec<Latency> = METRICS
            .iter()
            .zip(straight(&s, &p.run))
            .filter(|(_, (_, known))| *known > 0.68)
            .filter_map(|(m, _)| m.latency())
            .collect();
        for (m, (low, high)) in METRICS.iter().zip(twin(&s, &p.run)) {
            let i = p.intervals[m];
            let ratio = libm::log(i.high / i.low) / libm::log(high / low);
            // Leaving out makes narrower, by what is left out; single requests' latencies hold more chance than means do.
            let least = if m.is_mean() || m.latency().is_none() {
                0.97
            } else {
                0.9
            };
            let far = m.latency().is_some_and(|latency| far.contains(&latency));
            checked += usize::from(!far);
            assert!(
                ratio <= 1.0 + 1e-9 && (far || ratio >= least),
                "{model} on {device}, {m}: {ratio}"
            );
        }
    }
    assert!(left_out > 10, "{left_out}");
    assert!(checked > 2 * METRICS.len(), "{checked}");
}

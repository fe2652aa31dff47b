//! A device that does not exist: what would half again the memory bandwidth bring?
//!
//! `cargo run -p capsim --example what_if_bandwidth`
use capsim::metrics::{Metric, Percentiles};
use capsim::predict::{Scenario, simulate_once};

#[path = "first_prediction.rs"]
mod first_prediction;

/// The scenario on a device whose memory, not its caches, is so many times as fast. The cache plateaus of the curve stay: what
/// fits a cache does not gain.
pub fn with_bandwidth(base: &Scenario, factor: f64) -> Scenario {
    let mut scenario = base.clone();
    let points = &mut scenario.device.stream_read.points;
    if let Some(dram) = points.last_mut() {
        dram.y *= factor;
    }
    scenario
}

/// Output tokens per second at each factor.
pub fn run(factors: &[f64]) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let base = first_prediction::scenario()?;
    let mut all = vec![];
    for f in factors {
        // One simulation, without an interval: `predict` adds that, for a few more.
        let run = simulate_once(&with_bandwidth(&base, *f))?;
        let rate = Metric::OutputThroughput;
        all.push(run.summary.metric(rate, Percentiles::Linear));
    }
    Ok(all)
}

#[allow(dead_code, reason = "tests/examples.rs calls run")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let factors = [0.5, 1.0, 1.5, 2.0, 4.0];
    println!("bandwidth  output tok/s");
    for (f, rate) in factors.iter().zip(run(&factors)?) {
        println!("{f:>8} ×  {rate:>12.1}");
    }
    Ok(())
}

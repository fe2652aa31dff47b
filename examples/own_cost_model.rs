//! vLLM's scheduler under a price of steps of your own: implement [`StepCost`], keep everything else.
//!
//! `cargo run -p capsim --example own_cost_model`
use capsim::cost::{StepCost, StepShape};
use capsim::engine::observe::{Observer, RequestRecord};
use capsim::engine::{EngineConfig, simulate};
use capsim::units::Span;
use capsim::workload::WorkloadSpec;

/// An accelerator that streams its weights in 4 ms, computes 20 000 tokens per second beside that, and has a host that
/// needs 0.1 ms for each sequence in the batch.
pub struct Accelerator;

impl StepCost for Accelerator {
    fn step(&self, shape: &StepShape) -> Span {
        let weights = Span::from_millis(4);
        let compute = Span::from_micros(50) * u64::from(shape.tokens());
        let host = Span::from_micros(100) * u64::from(shape.seqs());
        weights.max(compute) + host
    }
}

/// Keeps every request's record.
#[derive(Default)]
pub struct Records(pub Vec<RequestRecord>);

impl Observer for Records {
    fn on_request(&mut self, r: &RequestRecord) {
        self.0.push(*r);
    }
}

/// 200 requests, Poisson arrivals at `rate` per second, 300 tokens in and 30 out.
pub fn run(rate: f64) -> Result<Vec<RequestRecord>, Box<dyn std::error::Error>> {
    let config = EngineConfig {
        max_num_seqs: 32,
        ..EngineConfig::default()
    };
    let mut source = WorkloadSpec::open_loop(200, rate, 300, 30).source()?;
    let mut records = Records::default();
    simulate(&config, &Accelerator, &mut source, &mut records)?;
    Ok(records.0)
}

/// Mean time to the first token, in milliseconds.
pub fn mean_ttft_ms(records: &[RequestRecord]) -> f64 {
    let sum: f64 = records
        .iter()
        .map(|r| r.first_token.since(r.arrival).millis())
        .sum();
    sum / records.len() as f64
}

#[allow(dead_code, reason = "tests/examples.rs calls run")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("requests/s  mean TTFT (ms)");
    for rate in [5.0, 20.0, 40.0, 60.0, 80.0] {
        println!("{rate:>10}  {:>14.1}", mean_ttft_ms(&run(rate)?));
    }
    Ok(())
}

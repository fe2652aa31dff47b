//! A recorded trace, replayed as it was and faster.
//!
//! `cargo run -p capsim --example replay_trace [FILE]` (any format of docs/workloads.md)
use capsim::engine::settings::MAX_MODEL_LEN;
use capsim::metrics::{Latency, Metric, Percentiles};
use capsim::predict::simulate_once;
use capsim::workload::TraceSpec;
use capsim::workload::trace::{Options, Trace};

#[path = "first_prediction.rs"]
mod first_prediction;

/// Answered requests, and mean TTFT in milliseconds.
pub type Answer = (u64, f64);

/// Replays the text of a trace `speedup` times as fast.
pub fn run(text: &str, name: &str, speedup: f64) -> Result<Answer, Box<dyn std::error::Error>> {
    let trace = Trace::parse(text, name, &Options::default())?;
    let mut scenario = first_prediction::scenario()?;
    scenario.serve.set(MAX_MODEL_LEN, None);
    let w = &mut scenario.workload;
    w.num_prompts = trace.rows().len() as u32;
    // The trace sets the times: no limit and no closed loop.
    w.max_concurrency = None;
    let mut spec = TraceSpec::of(name, trace);
    spec.speedup = speedup;
    w.trace = Some(spec);
    let run = simulate_once(&scenario)?;
    let mean = Metric::mean(Latency::Ttft);
    let ttft = run.summary.metric(mean, Percentiles::Linear);
    Ok((run.summary.completed, ttft))
}

#[allow(dead_code, reason = "tests/examples.rs calls run")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1);
    let file = file
        .as_deref()
        .unwrap_or("tests/data/traces/mooncake.jsonl");
    let text = std::fs::read_to_string(file)?;
    println!("speedup  answered  mean TTFT (ms)");
    for speedup in [1.0, 10.0, 100.0] {
        let (answered, ttft) = run(&text, file, speedup)?;
        println!("{speedup:>7}  {answered:>8}  {ttft:>14.1}");
    }
    Ok(())
}

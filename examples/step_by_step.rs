//! The engine in your own event loop: submit, schedule, price, deliver. This is what `simulate` does, and what a scheduler
//! study or a co-simulation does differently.
//!
//! `cargo run -p capsim --example step_by_step`
use capsim::cost::{LinearCost, StepCost};
use capsim::engine::{EngineConfig, Scheduler, Tracking, vllm};
use capsim::units::{SimTime, Span};
use capsim::workload::{Answer, Prompt, Request, RequestId, StreamId};

/// What one step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it began.
    pub start: SimTime,
    /// When its output was there.
    pub end: SimTime,
    /// Request and its new tokens.
    pub batch: Vec<(u64, u32)>,
    /// Requests that ended.
    pub finished: Vec<u64>,
}

/// A request of `prompt` tokens at time 0 that gets `output` tokens. Streams say which tokens are equal: here none are.
pub fn request(id: u64, prompt: u32, output: u32) -> Request {
    Request {
        id: RequestId(id),
        arrival: SimTime::ZERO,
        prompt: Prompt::of_stream(StreamId(2 * id), prompt),
        max_tokens: output,
        answer: Answer {
            stream: StreamId(2 * id + 1),
            stop_at: None,
        },
        priority: 0,
    }
}

/// Serves the requests, all there at the start, until nothing is left.
pub fn run(requests: &[Request]) -> Result<Vec<Step>, Box<dyn std::error::Error>> {
    let cost = LinearCost {
        base: Span::from_millis(5),
        per_token: Span::from_micros(50),
        per_seq: Span::from_micros(100),
    };
    let config = EngineConfig {
        max_num_seqs: 2,
        max_num_batched_tokens: 128,
        ..EngineConfig::default()
    };
    let mut engine = vllm::Scheduler::new(config, Tracking::default())?;
    for r in requests {
        engine.submit(r.clone())?;
    }
    let mut now = SimTime::ZERO;
    let mut steps = vec![];
    while engine.has_work() {
        let start = now;
        let Some(&shape) = engine.schedule(start).shape else {
            return Err("the engine has work and cannot go on".into());
        };
        let batch = engine.batch().iter().map(|s| (s.id.0, s.tokens)).collect();
        now = start + cost.step(&shape);
        let output = engine.complete(now).ok_or("a batch is in flight")?;
        steps.push(Step {
            start,
            end: now,
            batch,
            finished: output.finished.iter().map(|f| f.id.0).collect(),
        });
    }
    Ok(steps)
}

#[allow(dead_code, reason = "tests/examples.rs calls run")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The third waits for a seat; the second's prompt is computed in pieces of the token budget.
    for s in run(&[request(0, 100, 3), request(1, 200, 2), request(2, 50, 2)])? {
        println!(
            "{:>7.2} … {:>6.2} ms  tokens {:?}  finished {:?}",
            1e3 * s.start.secs(),
            1e3 * s.end.secs(),
            s.batch,
            s.finished
        );
    }
    Ok(())
}

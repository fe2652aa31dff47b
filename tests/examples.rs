//! The examples, run, and held to laws.
#![allow(
    clippy::duplicate_mod,
    reason = "two examples build on the first; each is a program of its own"
)]
#[path = "../examples/first_prediction.rs"]
mod first_prediction;
#[path = "../examples/own_cost_model.rs"]
mod own_cost_model;
#[path = "../examples/replay_trace.rs"]
mod replay_trace;
#[path = "../examples/step_by_step.rs"]
mod step_by_step;
#[path = "../examples/what_if_bandwidth.rs"]
mod what_if_bandwidth;

#[test]
fn a_first_prediction_answers_every_request() {
    let p = first_prediction::run().unwrap();
    assert_eq!(p.run.summary.completed, 64);
    assert_eq!(p.run.summary.output_tokens, 64 * 64);
    let i = p
        .interval_of(capsim::metrics::Metric::OutputThroughput)
        .unwrap();
    assert!(0.0 < i.low && i.low < i.high);
}

#[test]
fn an_own_cost_model_queues_as_load_grows() {
    let low = own_cost_model::run(5.0).unwrap();
    let high = own_cost_model::run(80.0).unwrap();
    assert_eq!((low.len(), high.len()), (200, 200));
    // 300 prompt tokens cost at least 300 × 50 µs; beyond what the device can do, requests wait.
    for r in low.iter().chain(&high) {
        assert!(r.first_token.since(r.arrival).millis() >= 15.0);
    }
    assert!(own_cost_model::mean_ttft_ms(&high) > 3.0 * own_cost_model::mean_ttft_ms(&low));
}

#[test]
fn bandwidth_brings_something_but_never_more_than_itself() {
    let rates = what_if_bandwidth::run(&[0.5, 1.0, 2.0]).unwrap();
    for pair in rates.windows(2) {
        assert!(pair[0] < pair[1] && pair[1] <= 2.0 * pair[0], "{rates:?}");
    }
}

#[test]
fn a_trace_replayed_faster_waits_longer() {
    let name = "tests/data/traces/mooncake.jsonl";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let (n, slow) = replay_trace::run(&text, name, 1.0).unwrap();
    let (m, fast) = replay_trace::run(&text, name, 1000.0).unwrap();
    assert_eq!(n, m);
    assert!(n > 0 && fast >= slow, "{slow} {fast}");
}

#[test]
fn steps_carry_every_token_once_and_within_the_limits() {
    use step_by_step::{request, run};
    let asked = [(100, 3), (200, 2), (50, 2)];
    let requests: Vec<_> = (0u64..)
        .zip(asked)
        .map(|(i, (p, o))| request(i, p, o))
        .collect();
    let steps = run(&requests).unwrap();
    for (i, (prompt, output)) in (0u64..).zip(asked) {
        // The last output token is never computed again.
        let computed: u32 = steps
            .iter()
            .flat_map(|s| &s.batch)
            .filter(|b| b.0 == i)
            .map(|b| b.1)
            .sum();
        assert_eq!(computed, prompt + output - 1);
        assert_eq!(
            steps
                .iter()
                .flat_map(|s| &s.finished)
                .filter(|f| **f == i)
                .count(),
            1
        );
    }
    for s in &steps {
        assert!(s.batch.len() <= 2 && s.batch.iter().map(|b| b.1).sum::<u32>() <= 128);
    }
    assert!(
        steps
            .windows(2)
            .all(|p| p[0].end == p[1].start && p[0].start < p[0].end)
    );
}

//! A simulation for other tools: requests as JSON lines, steps and requests as a Chrome trace (which the Perfetto UI opens).
use crate::engine::observe::{RequestRecord, StepRecord};
use serde_json::{Value, json};

/// One JSON object per line and request; times in seconds since the simulation began.
pub fn requests_jsonl(records: &[RequestRecord]) -> String {
    let mut sorted: Vec<&RequestRecord> = records.iter().collect();
    sorted.sort_by_key(|r| r.id);
    sorted
        .iter()
        .map(|r| {
            let line = json!({
                "id": r.id.0,
                "arrival": r.arrival.secs(),
                "scheduled": r.scheduled.secs(),
                "first_token": r.first_token.secs(),
                "finish": r.finish.secs(),
                "input_tokens": r.prompt_tokens,
                "output_tokens": r.output_tokens,
                "cached_tokens": r.cached_tokens,
                "preemptions": r.preemptions,
                "reason": r.reason,
            });
            format!("{line}\n")
        })
        .collect()
}

/// Microseconds, the unit of the trace format.
fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// Chrome trace events: the engine's steps as one track, queue, prefill and decode of every request as tracks of their own,
/// and counters of running and waiting requests and of KV usage. `usable_blocks` is what the KV cache can give out.
pub fn chrome(records: &[RequestRecord], steps: &[StepRecord], usable_blocks: u64) -> String {
    let mut events: Vec<Value> = vec![
        json!({"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "engine"}}),
        json!({"ph": "M", "name": "process_name", "pid": 2, "args": {"name": "requests"}}),
    ];
    for s in steps {
        events.push(json!({
            "ph": "X", "name": if s.shape.prefill_seqs > 0 { "prefill step" } else { "decode step" },
            "pid": 1, "tid": 1, "ts": us(s.start.0), "dur": us(s.duration.0),
            "args": {"tokens": s.shape.tokens(), "sequences": s.shape.seqs(), "preempted": s.preempted},
        }));
        let used = 1.0 - s.free_blocks as f64 / usable_blocks.max(1) as f64;
        for (name, value) in [
            ("running", f64::from(s.running)),
            ("waiting", f64::from(s.waiting)),
            ("KV usage %", 100.0 * used),
        ] {
            events.push(json!({"ph": "C", "name": name, "pid": 1, "ts": us(s.start.0), "args": {"value": value}}));
        }
    }
    for r in records {
        for (name, from, to) in [
            ("queue", r.arrival, r.scheduled),
            ("prefill", r.scheduled, r.first_token),
            ("decode", r.first_token, r.finish),
        ] {
            if to > from {
                events.push(json!({
                    "ph": "X", "name": name, "pid": 2, "tid": r.id.0, "ts": us(from.0), "dur": us(to.since(from).0),
                    "args": {"input_tokens": r.prompt_tokens, "output_tokens": r.output_tokens},
                }));
            }
        }
    }
    json!({"displayTimeUnit": "ms", "traceEvents": events}).to_string()
}

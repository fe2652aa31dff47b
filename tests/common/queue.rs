//! The queue of batches of a pipeline, written out over the slow twin as `EngineCore.step_with_batch_queue` has it (vLLM 0.32.0): every
//! call schedules once, a schedule without a batch takes a place too, and the oldest batch is waited for when no place is left.
use super::{Case, Log, Naive, patience};
use capsim::cost::{StepCost, StepShape};
use capsim::units::SimTime;
use capsim::workload::Request;
use std::collections::VecDeque;

struct Entry {
    end: SimTime,
    /// When it began on the last stage, what it computes, and who was preempted for it; `None`: nothing was scheduled.
    batch: Option<(SimTime, StepShape, u32)>,
}

/// `None` if the rules themselves lead round in circles.
pub fn run(case: &Case, cost: &impl StepCost) -> Option<Log> {
    let c = &case.config;
    let stages = c.pipeline_stages as usize;
    let places = stages + usize::from(c.async_scheduling);
    let mut log = Log::default();
    let mut slow = Naive::new(c.clone());
    slow.window = case.window.map_or(u64::MAX, u64::from);
    let mut arrivals: VecDeque<Request> = case.requests.clone().into();
    arrivals.make_contiguous().sort_by_key(|r| r.arrival);
    let mut now = SimTime::ZERO;
    let mut free = vec![SimTime::ZERO; stages];
    // Every batch ever scheduled: the number of its step, and when it ended.
    let mut all: Vec<(usize, SimTime)> = vec![];
    let mut queue: VecDeque<Entry> = VecDeque::new();
    let (mut step, mut fruitless) = (0, 0);
    loop {
        while arrivals.front().is_some_and(|r| r.arrival <= now) {
            let r = arrivals.pop_front().unwrap();
            if r.prompt.len() + r.max_tokens <= c.max_model_len {
                slow.submit(r);
            }
        }
        if !slow.has_work() && queue.is_empty() {
            match arrivals.front() {
                None => return Some(log),
                Some(r) => now = r.arrival,
            }
            continue;
        }
        if slow.has_work() {
            step += 1;
            let preempted = slow.preempted_by(now);
            let batch = preempted.map(|preempted| {
                let shape = slow.shape();
                let mut at = now;
                if c.async_scheduling {
                    // Its tokens come from the step that was scheduled as many steps before as there are stages.
                    for (n, end) in &all {
                        if n + stages <= step {
                            at = at.max(*end);
                        }
                    }
                }
                let mut start = at;
                for (stage, free) in free.iter_mut().enumerate() {
                    if stage > 0 {
                        at += cost.hop(stage, &[shape]);
                    }
                    start = at.max(*free);
                    at = start + cost.stage(stage, &[shape], false);
                    *free = at;
                }
                all.push((step, at));
                (start, shape, preempted)
            });
            match (&batch, queue.back()) {
                // Nothing runs: at the next call requests that were preempted may come back.
                (None, None) => {
                    assert!(!slow.preempted.is_empty(), "the twin is stuck");
                    continue;
                }
                (None, Some(last)) => {
                    let end = last.end;
                    queue.push_back(Entry { end, batch });
                }
                (Some(_), _) => {
                    let end = all.last().unwrap().1;
                    queue.push_back(Entry { end, batch });
                }
            }
            if queue.len() < places {
                continue;
            }
        }
        let oldest = queue.pop_front().unwrap();
        now = now.max(oldest.end);
        if let Some((start, shape, preempted)) = oldest.batch {
            slow.process_output(now);
            log.steps
                .push((start, oldest.end.since(start), shape, preempted));
            log.gaps.extend(&slow.gaps);
            log.ended.append(&mut slow.ended);
            fruitless = if shape.sampled > 0 { 0 } else { fruitless + 1 };
            if fruitless > patience(c) {
                return None;
            }
        }
    }
}

//! Laws of the front end: a lone request's floor, conservation and causality at the clients, queueing theory, what more processes do, and
//! that one that is too slow delays tokens but does not fall behind without end.
use capsim::cost::LinearCost;
use capsim::device::EngineId;
use capsim::engine::observe::{Observer, RequestRecord};
use capsim::engine::{EngineConfig, FrontEndCost, Group, Runtime};
use capsim::units::Span;
use capsim::workload::WorkloadSpec;

#[derive(Default)]
struct Log {
    requests: Vec<RequestRecord>,
    gaps: Vec<(Span, u32)>,
}

impl Observer for Log {
    fn on_request(&mut self, r: &RequestRecord) {
        self.requests.push(*r);
    }
    fn on_tokens(&mut self, gap: Span, count: u32) {
        self.gaps.push((gap, count));
    }
}

const STEP: LinearCost = LinearCost {
    base: Span::from_millis(10),
    per_token: Span::ZERO,
    per_seq: Span::ZERO,
};

const FRONT: FrontEndCost = FrontEndCost {
    per_request: Span::from_millis(4),
    per_prompt_token: Span::ZERO,
    per_step: Span::from_micros(700),
    per_token: Span::from_micros(100),
    servers: 1,
};

fn run(front: FrontEndCost, cost: &LinearCost, engines: u32, load: &WorkloadSpec) -> Log {
    let config = EngineConfig {
        max_num_seqs: 512,
        max_num_batched_tokens: 8192,
        max_model_len: 8192,
        num_gpu_blocks: 100_000,
        ..EngineConfig::default()
    };
    let group = Group {
        engines,
        ..Group::ONE
    };
    let mut log = Log::default();
    Runtime::new(EngineId::Vllm, &config, group, cost, false)
        .unwrap()
        .run_behind(front, &mut load.source().unwrap(), &mut log)
        .unwrap();
    log
}

fn ttft(r: &RequestRecord) -> f64 {
    r.first_token.since(r.arrival).millis()
}

fn mean_ttft(log: &Log) -> f64 {
    log.requests.iter().map(ttft).sum::<f64>() / log.requests.len() as f64
}

#[test]
fn a_lone_request_waits_for_the_front_end_twice() {
    let load = WorkloadSpec::closed_loop(3, 1, 100, 5);
    let log = run(FRONT, &STEP, 1, &load);
    for r in &log.requests {
        // In 4 ms, a step of 10 ms, out 0.7 + 0.1 ms.
        assert!((ttft(r) - 14.8).abs() < 1e-9, "{}", ttft(r));
        // Four more steps; each token goes out as late as the first.
        assert!((r.finish.since(r.first_token).millis() - 40.0).abs() < 1e-9);
    }
    assert!(log.gaps.iter().all(|(gap, _)| gap.millis() == 10.0));
    // The client asks again when it has its answer.
    let [a, b] = [&log.requests[0], &log.requests[1]];
    assert_eq!(a.finish, b.arrival);
}

#[test]
fn a_long_prompt_is_tokenised_for_longer_and_those_behind_it_wait() {
    let front = FrontEndCost {
        per_prompt_token: Span::from_micros(4),
        ..FRONT
    };
    let short = run(front, &STEP, 1, &WorkloadSpec::closed_loop(1, 1, 100, 5));
    let long = run(front, &STEP, 1, &WorkloadSpec::closed_loop(1, 1, 1100, 5));
    let more = ttft(&long.requests[0]) - ttft(&short.requests[0]);
    assert!((more - 4.0).abs() < 1e-9, "{more}");
    // Two at once: the second one's text waits for the first one's, and is handed over in 4 ms behind it.
    let two = run(front, &STEP, 1, &WorkloadSpec::closed_loop(2, 2, 1100, 5));
    let scheduled = |i: usize| {
        let r = &two.requests[i];
        r.scheduled.since(r.arrival).millis()
    };
    assert!((scheduled(0) - 8.4).abs() < 1e-9, "{}", scheduled(0));
    assert!(scheduled(1) >= 2.0 * 4.4 + 4.0, "{}", scheduled(1));
}

#[test]
fn tokenisation_holds_up_no_tokens_that_go_out() {
    // While the first answer goes out, a text of 400 ms is tokenised.
    let front = FrontEndCost {
        per_prompt_token: Span::from_micros(400),
        ..FRONT
    };
    let log = run(front, &STEP, 1, &WorkloadSpec::closed_loop(2, 2, 1000, 20));
    assert!(
        log.gaps.iter().all(|(gap, _)| gap.millis() <= 14.0 + 1e-9),
        "{:?}",
        log.gaps
    );
}

#[test]
fn tokens_that_go_out_together_are_one_piece_of_the_stream() {
    // 32 tokens take 0.7 + 3.2 ms to go out, a step 2 ms: every other step finds the front end busy.
    let step = LinearCost {
        base: Span::from_millis(2),
        ..STEP
    };
    let log = run(FRONT, &step, 1, &WorkloadSpec::closed_loop(32, 32, 50, 400));
    let pieces: u64 = log.gaps.iter().map(|(_, n)| u64::from(*n)).sum();
    let tokens: u64 = 32 * 399;
    assert!(pieces < tokens * 3 / 4, "{pieces} of {tokens}");
    // The gaps of one client add up to the time of its answer.
    let whole: f64 = log
        .gaps
        .iter()
        .map(|(g, n)| g.millis() * f64::from(*n))
        .sum();
    let answers: f64 = log
        .requests
        .iter()
        .map(|r| r.finish.since(r.first_token).millis())
        .sum();
    assert!((whole / answers - 1.0).abs() < 0.02, "{whole} {answers}");
}

#[test]
fn without_cost_it_is_not_there() {
    let load = WorkloadSpec::open_loop(200, 30.0, 300, 20);
    let none = FrontEndCost {
        servers: 3,
        ..FrontEndCost::default()
    };
    let mut plain = Log::default();
    let config = EngineConfig::default();
    Runtime::new(EngineId::Vllm, &config, Group::ONE, &STEP, false)
        .unwrap()
        .run_behind(none, &mut load.source().unwrap(), &mut plain)
        .unwrap();
    let mut alone = Log::default();
    Runtime::new(EngineId::Vllm, &config, Group::ONE, &STEP, false)
        .unwrap()
        .run(&mut load.source().unwrap(), &mut alone)
        .unwrap();
    assert_eq!(plain.requests, alone.requests);
    assert_eq!(plain.gaps, alone.gaps);
}

#[test]
fn nothing_is_lost_and_nothing_comes_before_its_cause() {
    for (engines, rate, servers) in [
        (1, 20.0, 1),
        (1, 200.0, 1),
        (3, 200.0, 2),
        (2, f64::INFINITY, 4),
    ] {
        let load = if rate.is_finite() {
            WorkloadSpec::open_loop(300, rate, 200, 10)
        } else {
            WorkloadSpec::closed_loop(300, 300, 200, 10)
        };
        let front = FrontEndCost { servers, ..FRONT };
        let log = run(front, &STEP, engines, &load);
        assert_eq!(log.requests.len(), 300);
        for r in &log.requests {
            assert!(r.scheduled.since(r.arrival) >= FRONT.per_request, "{r:?}");
            assert!(
                r.first_token.since(r.scheduled) >= STEP.base + FRONT.per_step,
                "{r:?}"
            );
            assert!(r.finish >= r.first_token, "{r:?}");
        }
        // Gaps between tokens sum up to what lies between first and last, whatever the way.
        if engines == 1 && servers == 1 {
            let gaps: u64 = log.gaps.iter().map(|(g, n)| g.0 * u64::from(*n)).sum();
            let spans: u64 = log
                .requests
                .iter()
                .map(|r| r.finish.since(r.first_token).0)
                .sum();
            assert_eq!(gaps, spans);
        }
    }
}

/// Poisson arrivals at a server of constant service: the mean wait is ρ s / (2 (1 − ρ)) (Pollaczek and Khinchine).
#[test]
fn the_queue_before_the_engine_is_that_of_theory() {
    let quick = LinearCost {
        base: Span::from_micros(1),
        ..LinearCost::default()
    };
    let front = FrontEndCost {
        per_step: Span::ZERO,
        per_token: Span::ZERO,
        ..FRONT
    };
    for load in [0.3, 0.6, 0.8] {
        let rate = load / 0.004;
        let log = run(
            front,
            &quick,
            1,
            &WorkloadSpec::open_loop(60_000, rate, 8, 1),
        );
        let waits = log
            .requests
            .iter()
            .map(|r| r.scheduled.since(r.arrival).millis());
        let wait = waits.sum::<f64>() / log.requests.len() as f64 - 4.0;
        let theory = load * 4.0 / (2.0 * (1.0 - load));
        assert!(
            (wait / theory - 1.0).abs() < 0.08,
            "{load}: {wait} ms, {theory} in theory"
        );
    }
}

#[test]
fn more_processes_are_never_slower_in_a_burst() {
    let burst = WorkloadSpec::closed_loop(64, 64, 100, 2);
    let means = [1, 2, 4, 8]
        .map(|servers| mean_ttft(&run(FrontEndCost { servers, ..FRONT }, &STEP, 1, &burst)));
    assert!(means.windows(2).all(|w| w[1] <= w[0]), "{means:?}");
    // The last of 64 is with the engine after 64 times 4 ms, and the first is not before its own.
    let alone = run(FRONT, &STEP, 1, &burst);
    let last = alone.requests.iter().map(ttft).fold(0.0, f64::max);
    assert!(last >= 64.0 * 4.0 + 10.0, "{last}");
}

#[test]
fn one_that_is_too_slow_delays_tokens_but_does_not_fall_behind_without_end() {
    let slow = FrontEndCost {
        per_request: Span::ZERO,
        per_prompt_token: Span::ZERO,
        per_step: Span::from_millis(1),
        per_token: Span::from_millis(1),
        servers: 1,
    };
    // 64 tokens take 65 ms to go out, and a new step brings as many every 10 ms.
    let log = run(slow, &STEP, 1, &WorkloadSpec::closed_loop(64, 64, 50, 200));
    let end = log.requests.iter().map(|r| r.finish).max().unwrap();
    assert!(end.secs() > 2.0 && end.secs() < 2.0 + 0.5, "{}", end.secs());
}

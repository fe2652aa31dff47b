//! Laws of the planner: capacity, memory, tuning. Pure: no command line, no threads of its own.
use capsim::cost::Routing;
use capsim::device::builtin;
use capsim::model::{Model, Precision};
use capsim::plan::capacity::{Capacity, Question, capacity};
use capsim::plan::{Axis, Pool, Sequential, Slo, trial};
use capsim::predict::{Scenario, ServeArgs};
use capsim::workload::{Think, Users, WorkloadSpec};

fn scenario() -> Scenario {
    let name = "Qwen/Qwen3-30B-A3B-Instruct-2507";
    let config = capsim::model::builtin::find(name).unwrap().config();
    Scenario {
        model_name: name.into(),
        model: Model::new(&config, Precision::of(&config)),
        device: builtin::device("gfx1151").unwrap(),
        engine: builtin::engine("vllm-0.12-rocm").unwrap(),
        serve: ServeArgs {
            max_model_len: Some(4096),
            max_num_seqs: Some(16),
            max_num_batched_tokens: Some(1024),
            ..ServeArgs::default()
        },
        moe_path: None,
        routing: Routing::Uniform,
        workload: WorkloadSpec {
            range_ratio: 0.5,
            ..WorkloadSpec::closed_loop(48, 1, 128, 32)
        },
    }
}

fn question(slo: &str, axis: Axis) -> Question {
    Question {
        slo: Slo::parse(slo).unwrap(),
        axis,
        seeds: 2,
        needed: None,
        confidence: 0.9,
        prompts: Some(48),
        present: None,
        wanted: None,
        what_if: false,
    }
}

fn ask(scenario: &Scenario, q: &Question) -> Capacity {
    capacity(scenario, q, &Sequential).unwrap()
}

fn load(c: &Capacity) -> f64 {
    c.highest.as_ref().map_or(0.0, |p| p.load)
}

#[test]
fn a_looser_slo_never_bears_less() {
    for axis in [Axis::Concurrency, Axis::Rate] {
        let mut last = -1.0;
        for ms in [20, 80, 120, 160, 220, 400] {
            let mut s = scenario();
            if axis == Axis::Rate {
                s.workload = WorkloadSpec {
                    range_ratio: 0.5,
                    ..WorkloadSpec::open_loop(48, 1.0, 128, 32)
                };
            }
            let c = ask(&s, &question(&format!("tpot.p95<{ms}ms,ttft.p95<5s"), axis));
            assert!(
                load(&c) >= last,
                "{axis:?} {ms} ms: {} after {last}",
                load(&c)
            );
            assert!(
                c.low <= load(&c),
                "{axis:?} {ms}: low {} of {}",
                c.low,
                load(&c)
            );
            assert!(c.high.is_none_or(|h| h >= load(&c)));
            last = load(&c);
        }
        assert!(last > 0.0);
    }
}

#[test]
fn the_search_finds_what_a_scan_over_all_loads_finds() {
    let (base, q) = (
        scenario(),
        question("tpot.p90<170ms,e2el.mean<20s", Axis::Concurrency),
    );
    let meets = |users: u32| {
        (0..2).all(|seed| {
            let mut s = base.clone();
            s.workload.max_concurrency = Some(users);
            s.workload.seed = seed;
            q.slo.met(&trial(&s, &q.slo).unwrap())
        })
    };
    let scan: Vec<u32> = (1..=24).filter(|&n| meets(n)).collect();
    let first_gap = (1..=24).find(|n| !scan.contains(n)).unwrap();
    // The scenario is one in which the set of good loads has no holes: else the search may end at any of them.
    assert_eq!(scan.len() as u32, first_gap - 1, "{scan:?}");
    let c = ask(&base, &q);
    assert_eq!(load(&c), f64::from(first_gap - 1));
    assert_eq!(c.broken.unwrap().load, f64::from(first_gap));
    // Wherever the search begins.
    for present in [1.0, 7.0, 64.0] {
        let c = ask(
            &base,
            &Question {
                present: Some(present),
                ..q.clone()
            },
        );
        assert_eq!(load(&c), f64::from(first_gap - 1), "from {present}");
    }
}

/// A pool that evaluates in another order.
struct Backwards;

impl Pool for Backwards {
    fn map<J: Sync, R: Send>(&self, jobs: &[J], f: impl Fn(&J) -> R + Sync) -> Vec<R> {
        let mut all: Vec<R> = jobs.iter().rev().map(f).collect();
        all.reverse();
        all
    }
}

#[test]
fn the_order_of_evaluation_changes_nothing() {
    let q = Question {
        what_if: true,
        ..question("tpot.p95<150ms", Axis::Concurrency)
    };
    let a = serde_json::to_string(&ask(&scenario(), &q)).unwrap();
    let b = serde_json::to_string(&capacity(&scenario(), &q, &Backwards).unwrap()).unwrap();
    assert_eq!(a, b);
}

#[test]
fn what_no_load_can_meet_is_said_with_the_floor() {
    let c = ask(&scenario(), &question("tpot.p95<10ms", Axis::Concurrency));
    assert!(c.highest.is_none());
    let floor = &c.floor[0];
    // 6.08 GB of weights per token at 212 GB/s: 28.7 ms, whatever the engine does.
    assert!(
        floor.ideal > 0.028 && floor.ideal < 0.031,
        "{}",
        floor.ideal
    );
    assert!(floor.alone > floor.ideal);
}

#[test]
fn an_slo_that_limits_nothing_is_recognised() {
    let c = ask(&scenario(), &question("tpot.p95<5s", Axis::Concurrency));
    assert!(c.broken.is_none() && c.high.is_none());
    assert!(c.highest.unwrap().batch > 14.0);
    // A rate has an end even so: requests must not come faster than they are served.
    let mut s = scenario();
    s.workload = WorkloadSpec {
        range_ratio: 0.5,
        ..WorkloadSpec::open_loop(48, 1.0, 128, 32)
    };
    let q = Question {
        prompts: Some(200),
        ..question("tpot.p95<5s", Axis::Rate)
    };
    let c = ask(&s, &q);
    let best = c.highest.unwrap();
    // Not because of a latency: both runs meet the SLO.
    let broken = c.broken.unwrap();
    assert!(broken.runs_met < broken.runs && !best.overloaded && broken.tpot < 5.0);
    let broken = c.broken.unwrap();
    assert!(broken.runs_met < broken.runs && !best.overloaded);
    assert!(
        best.request_throughput > 0.75 * best.load,
        "{} of {}",
        best.request_throughput,
        best.load
    );
}

#[test]
fn users_who_think_longer_are_more() {
    let with = |secs| {
        let mut s = scenario();
        s.workload.max_concurrency = None;
        s.workload.users = Some(Users {
            count: 1,
            think: Think::Exponential { mean: secs },
            turns: 1,
            max_context: None,
        });
        load(&ask(&s, &question("tpot.p95<200ms", Axis::Users)))
    };
    let (short, long) = (with(1.0), with(30.0));
    assert!(short >= 1.0 && long > 1.5 * short, "{short} {long}");
}

#[test]
fn replicas_are_counted_from_the_capacity_of_one() {
    let q = Question {
        wanted: Some(100.0),
        ..question("tpot.p95<150ms", Axis::Concurrency)
    };
    let c = ask(&scenario(), &q);
    assert_eq!(f64::from(c.replicas.unwrap()), (100.0 / load(&c)).ceil());
    assert!(c.replicas_unlucky.is_none_or(|n| n >= c.replicas.unwrap()));
}

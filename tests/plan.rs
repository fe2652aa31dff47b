//! Laws of the planner: capacity, memory, tuning. Pure: no command line, no threads of its own.
use capsim::cost::Routing;
use capsim::device::builtin;
use capsim::engine::settings::*;
use capsim::model::{Model, Precision};
use capsim::plan::capacity::{Capacity, Question, capacity};
use capsim::plan::{Axis, Pool, Sequential, Slo, trial};
use capsim::predict::Scenario;
use capsim::workload::{Think, Users, WorkloadSpec};

fn scenario() -> Scenario {
    let name = "Qwen/Qwen3-30B-A3B-Instruct-2507";
    let config = capsim::model::builtin::find(name).unwrap().config();
    Scenario {
        speculation: Default::default(),
        deployment: None,
        model_name: name.into(),
        model: Model::new(&config, Precision::of(&config)),
        device: builtin::device("gfx1151").unwrap(),
        engine: builtin::engine("vllm-0.12-rocm").unwrap(),
        engines: None,
        release: None,
        notes: Default::default(),
        serve: SettingValues::default()
            .with(MAX_MODEL_LEN, 4096)
            .with(MAX_NUM_SEQS, 16)
            .with(MAX_NUM_BATCHED_TOKENS, 1024),
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
    assert!(
        best.request_throughput > 0.75 * best.load,
        "{} of {}",
        best.request_throughput,
        best.load
    );
}

/// Counts simulated requests.
struct Counted(std::sync::atomic::AtomicU32);

impl Pool for Counted {
    fn map<J: Sync, R: Send>(&self, jobs: &[J], f: impl Fn(&J) -> R + Sync) -> Vec<R> {
        let n = jobs.len() as u32;
        self.0.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
        Sequential.map(jobs, f)
    }
}

#[test]
fn throughput_alone_is_answered_with_the_least_load_that_a_scan_finds() {
    let (base, q) = (scenario(), question("throughput>30", Axis::Concurrency));
    let output = |users: u32| {
        let all = (0..2).map(|seed| {
            let mut s = base.clone();
            s.workload.max_concurrency = Some(users);
            s.workload.num_prompts = 48;
            s.workload.seed = seed;
            trial(&s, &q.slo).unwrap().run.summary.output_throughput()
        });
        all.fold(f64::INFINITY, f64::min)
    };
    let scanned = (1..=32).find(|&users| output(users) >= 30.0).unwrap();
    let c = ask(&base, &q);
    let r = c.rising.as_ref().unwrap();
    assert_eq!(r.least, Some(f64::from(scanned)));
    assert!(r.lucky <= r.least && r.unlucky.is_none_or(|u| Some(u) >= r.least));
    assert!(r.nearest.is_none() && c.broken.is_none() && c.high.is_none());
    assert!(load(&c) >= r.least.unwrap());
    // Beside a limit that load breaks, it is the highest load that is asked for.
    let both = question("throughput>30,tpot.p95<10s", Axis::Concurrency);
    assert!(ask(&base, &both).rising.is_none());
}

#[test]
fn throughput_that_no_load_reaches_ends_the_search_where_places_end() {
    for blocks in [None, Some(60)] {
        let mut s = scenario();
        // So few blocks that the KV cache is full long before all places are taken.
        if blocks.is_some() {
            s.serve.set(NUM_GPU_BLOCKS_OVERRIDE, blocks);
            s.serve.set(MAX_MODEL_LEN, 256);
            s.serve.set(MAX_NUM_SEQS, 512);
        }
        let q = Question {
            prompts: None,
            ..question("throughput>100000", Axis::Concurrency)
        };
        let pool = Counted(0.into());
        let c = capacity(&s, &q, &pool).unwrap();
        assert!(c.highest.is_none() && pool.0.into_inner() < 300);
        let near = c.rising.unwrap().nearest.unwrap();
        let most = c.curve.iter().map(|p| p.output_throughput);
        let most = most.fold(0.0, f64::max);
        assert!(near.point.output_throughput >= 0.98 * most);
        assert!(near.unlucky[0] < near.point.values[0] && near.lucky[0] > near.point.values[0]);
        let highest = c.curve.iter().map(|p| p.load).fold(0.0, f64::max);
        assert!(highest <= 64.0, "{blocks:?}: {highest}");
        assert!(c.floor[0].ideal > near.point.values[0]);
    }
}

#[test]
fn a_limit_that_waiting_does_not_break_ends_the_search_where_the_kv_cache_is_full() {
    let mut s = scenario();
    s.serve.set(NUM_GPU_BLOCKS_OVERRIDE, 60);
    s.serve.set(MAX_MODEL_LEN, 256);
    s.serve.set(MAX_NUM_SEQS, 512);
    let c = ask(&s, &question("tpot.p95<60s", Axis::Concurrency));
    assert!(c.broken.is_none() && c.high.is_none());
    assert!(load(&c) <= 64.0, "{}", load(&c));
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

mod memory {
    use super::scenario;
    use capsim::engine::settings::*;
    use capsim::plan::memory::{Demand, HostMemory, Memory, memory};
    use capsim::predict::Scenario;

    const GIB: f64 = 1_073_741_824.0;

    fn ask(s: &Scenario, concurrency: u32, context: u32) -> Memory {
        memory(
            s,
            &Demand {
                concurrency,
                context,
            },
            None,
            &[1000, 4096],
        )
        .unwrap()
    }

    #[test]
    fn figures_equal_those_computed_by_hand() {
        let s = scenario();
        let m = ask(&s, 1, 0);
        // Keys and values of 48 layers, 4 heads of 128, 2 bytes each.
        let per_token = 2.0 * 48.0 * 4.0 * 128.0 * 2.0;
        assert_eq!(m.kv_per_token, per_token);
        assert_eq!(m.kv_per_block, 16.0 * per_token);
        assert_eq!(m.requested, (m.total * 0.9).floor());
        // vLLM: available // page size // layers, a page being one layer's block.
        let left = m.total * 0.9 - m.weights - m.position_table - m.activations - m.non_torch;
        let blocks = ((left / (16.0 * per_token / 48.0)).floor() / 48.0).floor();
        assert!(
            (f64::from(m.num_gpu_blocks) - blocks).abs() <= 1.0,
            "{} {blocks}",
            m.num_gpu_blocks
        );
        assert_eq!(m.kv_tokens, u64::from(m.num_gpu_blocks) * 16);
        // get_max_concurrency_for_kv_cache_config: 4096 tokens are 256 blocks.
        assert_eq!(m.max_concurrency, f64::from(m.num_gpu_blocks) / 256.0);
        // 1000 tokens are 62.5 blocks, so 63; no request gets the null block.
        assert_eq!(m.table[0].blocks, 63);
        assert_eq!(m.table[0].held, (m.num_gpu_blocks - 1) / 63);
        assert_eq!(m.table[1].running, 16.min((m.num_gpu_blocks - 1) / 256));
        let parts = m.weights + m.position_table + m.activations + m.non_torch + m.kv_cache;
        assert!(parts <= m.requested && m.requested - parts < m.kv_per_block + 4.0);
    }

    #[test]
    fn the_least_device_is_the_least() {
        let mut s = scenario();
        s.device.memory.total_bytes.value = 48.0 * GIB;
        let m = ask(&s, 1, 0);
        assert!(!m.starts && !m.fits);
        assert!(
            m.problem.as_ref().unwrap().contains("does not fit"),
            "{:?}",
            m.problem
        );
        let needed = m.device_needed.unwrap();
        for (bytes, fits) in [(needed, true), (needed - 1_048_576.0, false)] {
            s.device.memory.total_bytes.value = bytes;
            assert_eq!(ask(&s, 1, 0).fits, fits, "{bytes}");
        }
        assert!(
            m.ways
                .iter()
                .any(|w| w.change.contains("awq") && !w.same_answers)
        );
        // But for weights in the host's memory nothing keeps the answers.
        let slow = |w: &capsim::plan::memory::Way| w.change.starts_with("--cpu-offload-gb");
        assert_eq!(m.ways.iter().filter(|w| slow(w)).count(), 1);
        let others = m.ways.iter().filter(|w| !slow(w));
        assert!(others.clone().all(|w| !w.same_answers), "{:?}", m.ways);
        // Where devices are linked, two of them hold it.
        s.device.link = capsim::device::builtin::device("h100-sxm").unwrap().link;
        s.device.memory.total_bytes.value = 48.0 * GIB;
        let tensor = |w: &capsim::plan::memory::Way| w.change.contains("--tensor-parallel-size 2");
        assert!(
            ask(&s, 1, 0)
                .ways
                .iter()
                .any(|w| tensor(w) && w.same_answers)
        );
    }

    #[test]
    fn every_way_works_and_none_is_larger_than_it_must_be() {
        let mut s = scenario();
        s.device.memory.total_bytes.value = 70.0 * GIB;
        s.serve.set(MAX_MODEL_LEN, 100_000);
        s.serve.set(MAX_NUM_BATCHED_TOKENS, 8192);
        let m = ask(&s, 1, 0);
        assert!(!m.starts);
        let flag = |name: &str| {
            let w = m.ways.iter().find(|w| w.change.starts_with(name));
            w.map(|w| w.change.rsplit(' ').next().unwrap().to_string())
        };
        let utilization: f64 = flag("--gpu-memory-utilization").unwrap().parse().unwrap();
        for (u, fits) in [(utilization, true), (utilization - 0.01, false)] {
            let mut t = s.clone();
            t.serve.set(GPU_MEMORY_UTILIZATION, u);
            assert_eq!(ask(&t, 1, 0).fits, fits, "{u}");
        }
        let length: u32 = flag("--max-model-len").unwrap().parse().unwrap();
        for (n, fits) in [(length, true), (length + 1, false)] {
            let mut t = s.clone();
            t.serve.set(MAX_MODEL_LEN, n);
            assert_eq!(ask(&t, 1, 0).fits, fits, "{n}");
        }
    }

    #[test]
    fn a_demand_for_context_and_concurrency_is_held_or_not() {
        let s = scenario();
        let held = ask(&s, 1, 0).table[1].held;
        let mut roomy = s.clone();
        roomy.serve.set(MAX_NUM_SEQS, 1024);
        roomy.serve.set(MAX_NUM_BATCHED_TOKENS, 1024);
        let held = held.min(ask(&roomy, 1, 0).table[1].held);
        assert!(ask(&roomy, held - 1, 4096).fits);
        let m = ask(&roomy, held + 64, 4096);
        assert!(m.starts && !m.fits && m.problem.unwrap().contains("KV blocks"));
        // Too many for max_num_seqs only.
        let m = ask(&s, 17, 512);
        assert!(!m.fits && m.problem.as_ref().unwrap().contains("max_num_seqs 16"));
        assert!(
            m.ways.iter().any(|w| w.change == "--max-num-seqs 17"),
            "{:?}",
            m.ways
        );
    }

    #[test]
    fn a_shared_memory_leaves_the_host_what_is_left() {
        let mut s = scenario();
        s.device.memory.total_bytes.value = 120.0 * GIB;
        let host = |carved_out| HostMemory {
            ram: 128.0 * GIB,
            reserve: 24.0 * GIB,
            carved_out,
        };
        let of = |s: &Scenario, h| {
            memory(s, &Demand::default(), Some(h), &[])
                .unwrap()
                .host
                .unwrap()
        };
        let gtt = of(&s, host(false));
        assert!((gtt.left - (128.0 - 0.9 * 120.0) * GIB).abs() < 2.0);
        // (128 − 24) / 120 = 0.8666…
        assert_eq!(gtt.utilization, Some(0.86));
        s.serve.set(GPU_MEMORY_UTILIZATION, gtt.utilization);
        assert!(of(&s, host(false)).left >= 24.0 * GIB);
        let carved = of(&s, host(true));
        assert_eq!((carved.left, carved.utilization), (8.0 * GIB, None));
    }
}

mod tuning {
    use super::scenario;
    use capsim::device::builtin;
    use capsim::engine::settings::*;
    use capsim::model::{KvDtype, Model, Precision};
    use capsim::plan::tune::{Objective, Question, tune};
    use capsim::plan::{Knob, Sequential, Setting, Slo, trial};

    fn knob(name: &str, values: Vec<Setting>) -> Knob {
        Knob {
            name: name.into(),
            values,
        }
    }

    fn question(slo: &str) -> Question {
        Question {
            slo: Some(Slo::parse(slo).unwrap()),
            objective: Objective::Throughput,
            knobs: vec![
                knob(
                    "max-num-seqs",
                    [16, 2, 4, 8]
                        .map(|v| Setting::engine(MAX_NUM_SEQS, v))
                        .to_vec(),
                ),
                knob(
                    "max-num-batched-tokens",
                    [1024, 64, 256]
                        .map(|v| Setting::engine(MAX_NUM_BATCHED_TOKENS, v))
                        .to_vec(),
                ),
                knob(
                    "moe-tiles",
                    ["default", "tuned"]
                        .map(|t| Setting::MoeTiles(t.into()))
                        .to_vec(),
                ),
                knob(
                    "async-scheduling",
                    [false, true]
                        .map(|v| Setting::engine(ASYNC_SCHEDULING, v))
                        .to_vec(),
                ),
            ],
            settings: 1000,
            concurrency: vec![12],
            seeds: 1,
            keep: 4,
            prompts: Some(96),
            devices: None,
            simpler: 0.0,
        }
    }

    #[test]
    fn halving_finds_what_trying_everything_finds() {
        for slo in [
            "ttft.p95<60s",
            "tpot.p95<150ms",
            "tpot.p95<250ms,ttft.p90<15s",
        ] {
            let (base, q) = (scenario(), question(slo));
            let mut best: Option<f64> = None;
            for a in &q.knobs[0].values {
                for b in &q.knobs[1].values {
                    for c in &q.knobs[2].values {
                        for d in &q.knobs[3].values {
                            let mut s = base.clone();
                            [a, b, c, d].iter().for_each(|v| v.apply(&mut s));
                            s.workload.max_concurrency = Some(12);
                            s.workload.num_prompts = 96;
                            let t = trial(&s, q.slo.as_ref().unwrap()).unwrap();
                            if q.slo.as_ref().unwrap().met(&t) {
                                let tput = t.run.summary.output_throughput();
                                best = Some(best.map_or(tput, |x: f64| x.max(tput)));
                            }
                        }
                    }
                }
            }
            let t = tune(&base, &q, &Sequential).unwrap();
            assert_eq!((t.tried, t.combinations), (48, 48.0));
            assert!(
                t.rungs[0].0 > t.rungs.last().unwrap().0,
                "nothing was pruned: {:?}",
                t.rungs
            );
            assert_eq!(t.best.as_ref().map(|b| b.output_throughput), best, "{slo}");
        }
    }

    /// Two devices, of one kind or another: share the layers, or serve side by side?
    #[test]
    fn devices_and_how_they_share_are_knobs_like_others() {
        let mut base = scenario();
        let config = capsim::model::builtin::find("qwen3-4b").unwrap().config();
        let dense = Model::new(&config, Precision::of(&config));
        (base.model_name, base.model) = ("qwen3-4b".into(), dense);
        let other = builtin::device("rtx-4090").unwrap();
        for (objective, slo, most) in [
            (Objective::Throughput, "ttft.p95<60s", Some(4)),
            (Objective::Throughput, "ttft.p95<60s", None),
            (Objective::PerDevice, "tpot.p95<60ms", Some(4)),
        ] {
            let mut q = question(slo);
            q.knobs = vec![
                knob(
                    "tensor-parallel-size",
                    [1, 2, 4]
                        .map(|v| Setting::engine(TENSOR_PARALLEL_SIZE, v))
                        .to_vec(),
                ),
                knob(
                    "data-parallel-size",
                    [1, 2, 4]
                        .map(|v| Setting::engine(DATA_PARALLEL_SIZE, v))
                        .to_vec(),
                ),
                knob(
                    "device",
                    [&base.device, &other]
                        .map(|d| Setting::Device(Box::new(d.clone())))
                        .to_vec(),
                ),
                knob(
                    "max-num-seqs",
                    [16, 4].map(|v| Setting::engine(MAX_NUM_SEQS, v)).to_vec(),
                ),
            ];
            (q.objective, q.devices) = (objective, most);
            let mut best: Option<f64> = None;
            let mut fitting = 0;
            for tp in [1, 2, 4] {
                for dp in [1, 2, 4] {
                    if most.is_some_and(|m| tp * dp > m) {
                        continue;
                    }
                    for device in [&base.device, &other] {
                        for seqs in [16, 4] {
                            fitting += 1;
                            let mut s = base.clone();
                            s.serve.set(TENSOR_PARALLEL_SIZE, tp);
                            s.serve.set(DATA_PARALLEL_SIZE, dp);
                            s.serve.set(MAX_NUM_SEQS, seqs);
                            s.device = device.clone();
                            s.workload.max_concurrency = Some(12);
                            s.workload.num_prompts = 96;
                            let t = trial(&s, q.slo.as_ref().unwrap()).unwrap();
                            let share = match objective {
                                Objective::PerDevice => f64::from(tp * dp),
                                _ => 1.0,
                            };
                            if q.slo.as_ref().unwrap().met(&t) {
                                let worth = t.run.summary.output_throughput() / share;
                                best = Some(best.map_or(worth, |x: f64| x.max(worth)));
                            }
                        }
                    }
                }
            }
            let t = tune(&base, &q, &Sequential).unwrap();
            assert_eq!((t.tried, t.refused), (fitting, 0));
            let found = t.best.unwrap();
            assert_eq!(Some(found.score), best, "{objective:?} {slo} {most:?}");
            assert!(most.is_none_or(|m| found.devices <= m));
            if found.devices > 1 {
                assert!(found.serve.contains("-parallel-size"), "{}", found.serve);
            }
        }
    }

    #[test]
    fn the_same_question_has_the_same_answer_in_any_order() {
        let q = Question {
            settings: 20,
            ..question("tpot.p95<250ms")
        };
        let ask = |pool: &dyn Fn() -> String| pool();
        let a =
            ask(&|| serde_json::to_string(&tune(&scenario(), &q, &Sequential).unwrap()).unwrap());
        let b = ask(&|| {
            serde_json::to_string(&tune(&scenario(), &q, &super::Backwards).unwrap()).unwrap()
        });
        assert_eq!(a, b);
        let t = tune(&scenario(), &q, &Sequential).unwrap();
        assert_eq!((t.tried, t.combinations), (20, 48.0));
    }

    #[test]
    fn what_nothing_meets_is_said_with_the_nearest() {
        let t = tune(&scenario(), &question("tpot.p95<1ms"), &Sequential).unwrap();
        assert!(t.best.is_none() && t.front.is_empty());
        let nearest = t.nearest.unwrap();
        assert!(!nearest.met && nearest.margin.unwrap() > 1.0);
        // No knob turned alone comes nearer.
        assert!(
            t.effects
                .iter()
                .all(|e| e.others.iter().all(|(_, _, met)| !met))
        );
    }

    #[test]
    fn settings_that_do_not_start_are_counted_and_today_may_be_one() {
        let mut q = question("ttft.p95<60s");
        // max_num_batched_tokens below max_num_seqs is refused.
        q.knobs[1] = knob(
            "max-num-batched-tokens",
            [8, 1024]
                .map(|v| Setting::engine(MAX_NUM_BATCHED_TOKENS, v))
                .to_vec(),
        );
        q.knobs.push(knob(
            "kv-cache-dtype",
            [KvDtype::Auto, KvDtype::Fp8]
                .map(Setting::KvCacheDtype)
                .to_vec(),
        ));
        let t = tune(&scenario(), &q, &Sequential).unwrap();
        assert!(t.refused > 0 && t.present.is_none());
        assert!(t.best.unwrap().serve.contains("--max-num-batched-tokens"));
    }
}

/// What vLLM 0.19.0 logged for Qwen3.5-27B (vLLM issue #40691): "GPU KV cache size: 290,864 tokens", "Maximum concurrency for 32,768
/// tokens per request: 33.04x". Blocks of 784 tokens, four groups of layers; 290 864 / 784 · 4 = 1484 blocks and at most three more,
/// of which a request takes 42 + 3: 33.04 if it is 1487.
#[test]
fn the_size_of_a_hybrid_models_kv_cache_is_what_vllm_logs() {
    use capsim::plan::memory::{Demand, memory};
    let config = capsim::model::builtin::find("qwen3.6-27b")
        .unwrap()
        .config();
    let mut s = Scenario {
        model_name: "qwen3.6-27b".into(),
        model: Model::new(&config, Precision::of(&config)),
        device: builtin::device("h200-sxm").unwrap(),
        ..scenario()
    };
    s.serve = SettingValues::default()
        .with(MAX_MODEL_LEN, 32_768)
        .with(MAX_NUM_SEQS, 16)
        .with(MAX_NUM_BATCHED_TOKENS, 16_384)
        .with(NUM_GPU_BLOCKS_OVERRIDE, 1487);
    let demand = Demand {
        concurrency: 1,
        context: 0,
    };
    let m = memory(&s, &demand, None, &[]).unwrap();
    assert_eq!((m.block_size, m.kv_tokens), (784, 290_864));
    assert_eq!(format!("{:.2}", m.max_concurrency), "33.04");
    // One group: every block counts in full.
    s.model = scenario().model;
    let m = memory(&s, &demand, None, &[]).unwrap();
    assert_eq!(m.kv_tokens, 1487 * 16);
}

/// `vllm serve MODEL --load-format dummy --max-num-seqs 128 --max-model-len 10240` of vLLM 0.20.2 on one H200, 2026-11-27: the
/// number of KV blocks in `vllm:cache_config_info` (validation/h200-sxm/vllm-0.20.2/README.md). Nothing was fitted to them.
#[test]
fn kv_blocks_on_an_h200_are_those_of_a_real_server() {
    use capsim::plan::memory::{Demand, memory};
    for (name, blocks) in [
        ("qwen3-30b-a3b", 47_996u64),
        ("qwen3-8b", 50_785),
        ("qwen3-0.6b", 74_125),
    ] {
        let config = capsim::model::builtin::find(name).unwrap().config();
        let s = Scenario {
            model_name: name.into(),
            model: Model::new(&config, Precision::of(&config)),
            device: builtin::device("h200-sxm").unwrap(),
            engine: builtin::engine("vllm-0.20-cuda").unwrap(),
            serve: SettingValues::default()
                .with(MAX_MODEL_LEN, 10_240)
                .with(MAX_NUM_SEQS, 128)
                .with(MAX_NUM_BATCHED_TOKENS, 8192)
                .with(GPU_MEMORY_UTILIZATION, 0.92),
            ..scenario()
        };
        let demand = Demand {
            concurrency: 1,
            context: 0,
        };
        let m = memory(&s, &demand, None, &[]).unwrap();
        let got = m.kv_tokens / u64::from(m.block_size);
        // A hundredth of the device's memory is what context, graphs and activations are uncertain by.
        let error = got as f64 / blocks as f64 - 1.0;
        assert!(error.abs() < 0.01, "{name}: {got} against {blocks}");
    }
}

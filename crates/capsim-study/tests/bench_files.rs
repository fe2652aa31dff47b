//! Stored benchmark results: every format is read to the digit, damage is refused by name, and a replay of simulated requests
//! gives the simulation back.
use capsim::device::builtin;
use capsim::engine::observe::{Observer, RequestRecord};
use capsim::engine::settings::*;
use capsim::metrics::{Metric, Percentiles};
use capsim::model;
use capsim::predict::{predict_replay, simulate_replay};
use capsim::units::{SimTime, Span};
use capsim::workload::{Pace, PromptKind, vllm_bench};
use capsim_live::bench::read::{Recorded, Recording, Tool, parse};
use capsim_study::validate::hypothesis::Basis;
use capsim_study::validate::paired::{
    Suppose, compare, fitted, measured, recorded_run, replay, scenario,
};
use capsim_study::validate::recordings::recordings;
use proptest::prelude::*;
use std::path::Path;

const SAMPLES: [&str; 19] = [
    "vllm-0.32.json",
    "vllm-0.12.json",
    "guidellm-0.8.json",
    "aiperf-0.13.jsonl",
    "aiperf-0.13-totals.json",
    "aiperf-0.13-totals.csv",
    "aiperf-0.8.jsonl",
    "guidellm-0.3-sampled.json",
    "inference-perf-2025.json",
    "inferencex-2026.json",
    "llama-benchy-0.2.json",
    "llmd-report-0.1.yaml",
    "llmperf.json",
    "ollama-0.23.csv",
    "sglang-2025.jsonl",
    "vllm-0.25-sweep-summary.json",
    "vllm-0.6-throughput.json",
    "vllm-0.6.3-empty.json",
    "vllm-2026-console.txt",
];

fn text(name: &str) -> String {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/data/bench");
    std::fs::read_to_string(path.join(name)).unwrap()
}

fn all(name: &str) -> Vec<Recording> {
    parse(&text(name), name).unwrap_or_else(|e| panic!("{e}"))
}

/// The one recording of a file.
fn open(name: &str) -> Recording {
    let mut found = all(name);
    assert_eq!(found.len(), 1, "{name}");
    found.remove(0)
}

/// Equal to the four decimals of a millisecond that the sample keeps.
fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 2e-3 + 1e-4 * b.abs()
}

/// The metric of a name.
fn named(name: &str) -> Metric {
    name.parse().unwrap()
}

#[test]
fn vllms_own_figures_follow_from_its_lists() {
    for (name, clients) in [("vllm-0.32.json", 4), ("vllm-0.12.json", 1)] {
        let r = open(name);
        let raw: serde_json::Value = serde_json::from_str(&text(name)).unwrap();
        assert_eq!((r.tool, r.max_concurrency), (Tool::Vllm, Some(clients)));
        assert_eq!(
            r.answered().count() as u64,
            raw["completed"].as_u64().unwrap()
        );
        let s = r.summary().unwrap();
        // The very numbers that vLLM wrote, computed here from its per-request lists.
        for metric in [
            "mean_ttft_ms",
            "median_ttft_ms",
            "p99_ttft_ms",
            "mean_tpot_ms",
            "p90_tpot_ms",
            "mean_itl_ms",
            "p99_itl_ms",
            "mean_e2el_ms",
            "p99_e2el_ms",
        ] {
            let ours = s.metric(named(metric), Percentiles::Linear);
            let theirs = raw[metric].as_f64().unwrap();
            assert!(
                near(ours, theirs),
                "{name} {metric}: {ours} against {theirs}"
            );
            assert_eq!(r.reported[&named(metric).into()], theirs);
        }
        let throughput = s.metric(Metric::OutputThroughput, Percentiles::Linear);
        assert!(near(throughput, raw["output_throughput"].as_f64().unwrap()));
    }
    assert!(open("vllm-0.32.json").has_arrivals());
    let old = open("vllm-0.12.json");
    assert!(!old.has_arrivals());
    assert!(old.notes[0].contains("send times"), "{:?}", old.notes);
}

#[test]
fn guidellms_and_aiperfs_own_figures_follow_from_their_requests() {
    let ms = |v: &serde_json::Value| v.as_f64().unwrap() / 1e3;
    let same = |a: f64, b: f64, what: &str| assert!((a - b).abs() < 2e-6, "{what}: {a} {b}");
    let tpot = |q: &Recorded| (q.latency.unwrap() - q.ttft.unwrap()) / f64::from(q.output - 1);

    let g = open("guidellm-0.8.json");
    assert_eq!(
        (g.answered().count(), g.failed(), g.max_concurrency),
        (4, 1, Some(2))
    );
    assert_eq!(g.model.as_deref(), Some("tiny"));
    let raw: serde_json::Value = serde_json::from_str(&text("guidellm-0.8.json")).unwrap();
    let mut rows = raw["benchmarks"][0]["requests"]["successful"]
        .as_array()
        .unwrap()
        .clone();
    rows.sort_by(|a, b| {
        let at = |r: &serde_json::Value| r["request_start_time"].as_f64().unwrap();
        at(a).total_cmp(&at(b))
    });
    for (q, row) in g.answered().zip(&rows) {
        assert_eq!((q.input, q.output), (84, 16), "64 tokens and the template");
        same(q.ttft.unwrap(), ms(&row["time_to_first_token_ms"]), "ttft");
        // Its "inter token latency" is the mean over a request.
        same(tpot(q), ms(&row["inter_token_latency_ms"]), "itl");
        assert!((0.0..0.05).contains(&q.held), "{}", q.held);
    }

    let a = open("aiperf-0.13.jsonl");
    assert_eq!((a.answered().count(), a.failed(), a.warmup()), (7, 1, 2));
    let lines = text("aiperf-0.13.jsonl");
    let mut seen = 0;
    for line in lines.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let metric = |name: &str| ms(&row["metrics"][name]["value"]);
        if row["metrics"]["request_latency"].is_null() {
            continue;
        }
        let near = |q: &&Recorded| (q.latency.unwrap() - metric("request_latency")).abs() < 1e-9;
        let q = a.requests.iter().filter(|q| q.ok).find(near).unwrap();
        assert_eq!((q.input, q.output, q.itls.len()), (64, 16, 15));
        same(q.ttft.unwrap(), metric("time_to_first_token"), "ttft");
        same(tpot(q), metric("inter_token_latency"), "itl");
        same(
            q.ttft.unwrap() + q.itls.iter().sum::<f64>(),
            q.latency.unwrap(),
            "gaps",
        );
        seen += 1;
    }
    assert_eq!(seen, 9);

    // The totals of the same run.
    let t = open("aiperf-0.13-totals.json");
    assert_eq!(t.summary(), None, "totals hold no requests");
    assert_eq!(
        (t.max_concurrency, t.model.as_deref()),
        (Some(2), Some("tiny"))
    );
    assert!(t.notes[0].contains("1 requests failed"), "{:?}", t.notes);
    let s = a.summary().unwrap();
    for metric in ["mean_ttft_ms", "mean_tpot_ms", "mean_e2el_ms"] {
        let ours = s.metric(named(metric), Percentiles::Linear);
        assert!(
            (ours - t.reported[&named(metric).into()]).abs() < 1e-3,
            "{metric}: {ours}"
        );
    }
}

#[test]
fn what_is_no_result_is_refused_by_name() {
    let change = |pointer: &str, with: serde_json::Value| {
        let mut v: serde_json::Value = serde_json::from_str(&text("vllm-0.32.json")).unwrap();
        *v.pointer_mut(pointer).unwrap() = with;
        parse(&v.to_string(), "f.json").unwrap_err().to_string()
    };
    for (pointer, with, says) in [
        ("/ttfts/2", serde_json::json!("x"), "ttfts[2]"),
        ("/latencies/1", serde_json::json!(-1.0), "requests[1]"),
        ("/input_lens/0", serde_json::json!(1e12), "input_lens[0]"),
        ("/itls", serde_json::json!([[0.1]]), "itls"),
        ("/output_lens", serde_json::json!(7), "output_lens"),
        ("/max_concurrency", serde_json::json!(0), "max_concurrency"),
        ("/request_rate", serde_json::json!(-3), "request_rate"),
    ] {
        let e = change(pointer, with);
        assert!(e.contains(says) && e.contains("f.json"), "{pointer}: {e}");
    }
    for (text, says) in [
        ("", "is empty"),
        ("{}", "no result of"),
        ("[1, 2]", "no result of"),
        ("hello", "begins with `hello`. Read are: GuideLLM"),
        (r#"{"timestamp": 0, "input_length": 3}"#, "--trace-file"),
        (r#"{"benchmarks": []}"#, "there is none"),
        ("{\"metadata\": {}, \"metrics\": {}}\n{", "line 2"),
        ("{\"metadata\": {}, \"metrics\": {}}", "request_start_ns"),
        (
            r#"{"total_input_tokens": 5, "total_output_tokens": 5, "completed": 0}"#,
            "completed",
        ),
    ] {
        let e = parse(text, "f.json").unwrap_err().to_string();
        assert!(e.contains(says), "{text}: {e}");
    }
}

#[test]
fn numbers_that_only_python_writes_are_taken_for_missing() {
    let odd = text("vllm-0.32.json").replacen(
        "\"std_ttft_ms\": ",
        "\"p1_ttft_ms\": NaN, \"x\": [Infinity, -Infinity, \"a \\\" NaN\"], \"std_ttft_ms\": ",
        1,
    );
    assert!(odd.contains("NaN"));
    let mut r = parse(&odd, "vllm-0.32.json").unwrap().remove(0);
    r.reported.remove(&named("p1_ttft_ms").into());
    assert_eq!(r, open("vllm-0.32.json"));
}

fn basis() -> Basis {
    let config = model::config::parse(&text("tiny-moe-mid.config.json"), "config.json").unwrap();
    let precision = model::Precision::of(&config);
    Basis {
        model_name: "tiny".into(),
        model: model::Model::new(&config, precision),
        device: builtin::device("gfx1151").unwrap(),
        engine: builtin::engine("vllm-0.12-rocm").unwrap(),
        release: None,
        moe_path: None,
    }
}

fn serve() -> SettingValues {
    SettingValues::default()
        .with(MAX_NUM_SEQS, 4)
        .with(MAX_MODEL_LEN, 2048)
        .with(BLOCK_SIZE, 128)
        .with(NUM_GPU_BLOCKS_OVERRIDE, 2048)
        .with(ENFORCE_EAGER, true)
}

/// Keeps the records of measured requests, whose ids begin with the given one.
struct Seen(u64, Vec<RequestRecord>);

impl Observer for Seen {
    fn on_request(&mut self, request: &RequestRecord) {
        if request.id.0 >= self.0 {
            self.1.push(*request);
        }
    }
}

/// What the simulation would have recorded, had it been a server: the same requests with simulated times.
fn simulated(r: &Recording, basis: &Basis, w: &Suppose) -> Recording {
    let replay = replay(r, w).unwrap();
    let mut seen = Seen(replay.warmup().into(), vec![]);
    let run = simulate_replay(&scenario(basis, &serve(), r), &replay, &mut seen).unwrap();
    let mut records = seen.1;
    records.sort_by_key(|x| x.id);
    let mut out = r.clone();
    out.reported.clear();
    out.duration = Some(run.summary.duration);
    for (q, s) in out.requests.iter_mut().filter(|q| q.measured).zip(&records) {
        q.sent = Some(s.arrival.secs());
        q.ttft = Some(s.first_token.since(s.arrival).secs());
        q.latency = Some(s.finish.since(s.arrival).secs());
        q.itls = vec![];
    }
    out
}

#[test]
fn a_simulated_recording_is_predicted_without_error() {
    let (basis, w) = (basis(), Suppose::default());
    let mut poisson = open("vllm-0.32.json");
    poisson.max_concurrency = None;
    poisson.request_rate = Some(20.0);
    for (i, q) in poisson.requests.iter_mut().enumerate() {
        q.sent = Some(0.03 * i as f64);
    }
    for r in [open("vllm-0.32.json"), poisson] {
        let truth = simulated(&r, &basis, &w);
        let again = replay(&truth, &w).unwrap();
        let p = compare(&basis, &serve(), &truth, &again, Some(0.01), false).unwrap();
        assert_eq!(p.pairs.len(), truth.requests.len());
        for q in &p.pairs {
            assert!((q.e2el - q.e2el_predicted).abs() < 2e-9, "{q:?}");
        }
        for m in &p.metrics {
            assert!(m.error.abs() < 1e-6, "{}: {}", m.metric, m.error);
            assert_ne!(m.inside(), Some(false));
        }
        assert!(p.blame.starts_with("no part differs"), "{}", p.blame);
    }
}

#[test]
fn a_slower_host_is_seen_in_decode_and_a_fit_finds_it() {
    let (basis, w) = (basis(), Suppose::default());
    let mut slow = basis.clone();
    slow.engine.host.step.value *= 3.0;
    let r = open("vllm-0.32.json");
    let truth = simulated(&r, &slow, &w);
    let again = replay(&truth, &w).unwrap();
    let p = compare(&basis, &serve(), &truth, &again, None, false).unwrap();
    assert!(
        p.blame.starts_with("decode: ") && p.blame.contains("longer"),
        "{}",
        p.blame
    );
    let error = |p: &capsim_study::validate::paired::Paired| {
        let m = p
            .metrics
            .iter()
            .find(|m| m.metric.as_str() == "mean_e2el_ms")
            .unwrap();
        m.error.abs()
    };
    let before = error(&p);
    assert!(before > 0.2, "{before}");
    let fit = fitted(&basis, &serve(), &[(&truth, &again)], &w).unwrap();
    let better = Basis {
        engine: fit.profile.clone(),
        ..basis.clone()
    };
    let p = compare(&better, &serve(), &truth, &again, None, true).unwrap();
    assert!(
        error(&p) < 0.03,
        "{} after the fit, {before} before",
        error(&p)
    );
    let named = &fit.profile.fit.as_ref().unwrap().runs;
    assert_eq!(*named, vec![truth.name.clone()]);
}

#[test]
fn pace_and_prompts_come_from_the_file_or_from_the_flags() {
    let r = open("vllm-0.32.json");
    let closed = replay(&r, &Suppose::default()).unwrap();
    let Pace::Clients { count: 4, skew } = closed.pace() else {
        panic!("{:?}", closed.pace());
    };
    assert!(*skew < Span::from_millis(200), "{skew:?}");
    let identical = Suppose {
        prompts: PromptKind::Identical,
        max_concurrency: Some(2),
        ..Suppose::default()
    };
    let two = replay(&r, &identical).unwrap();
    assert!(matches!(two.pace(), Pace::Clients { count: 2, .. }));
    assert_eq!(two.requests()[0].prompt, two.requests()[1].prompt);
    assert_ne!(closed.requests()[0].prompt, closed.requests()[1].prompt);
    // 0.12 stores no send times: they are those that its seed gives.
    let mut old = open("vllm-0.12.json");
    old.max_concurrency = None;
    old.request_rate = Some(2.0);
    let w = Suppose {
        seed: 9,
        ..Suppose::default()
    };
    let open_loop = replay(&old, &w).unwrap();
    assert_eq!(open_loop.pace(), &Pace::Recorded);
    let times = vllm_bench::arrivals(4, Some(2.0), 1.0, 9);
    for (q, t) in open_loop.requests().iter().zip(times) {
        assert_eq!(q.arrival, SimTime::ZERO + Span::from_secs(t));
    }
}

#[test]
fn recordings_become_entries_of_a_runs_file() {
    let r = open("vllm-0.32.json");
    let run = recorded_run(&r, &serve(), &Suppose::default());
    assert_eq!(
        (run.workload.max_concurrency, run.workload.input_len),
        (Some(4), 128)
    );
    let file = serde_json::json!({
        "schema": "capsim.runs/1", "name": "n", "source": "s", "model": "m", "device": "d", "engine": "e",
        "runs": [run],
    });
    let parsed = capsim_study::validate::runs::RunsFile::parse(&file.to_string(), "f").unwrap();
    assert!(parsed.runs[0].measured[&named("mean_tpot_ms").into()] > 1.0);
}

/// Replaces the value at a random place of a JSON document.
fn mutate(value: &mut serde_json::Value, path: &[usize], with: &serde_json::Value) {
    let Some((&first, rest)) = path.split_first() else {
        *value = with.clone();
        return;
    };
    match value {
        serde_json::Value::Array(a) if !a.is_empty() => {
            let n = a.len();
            mutate(&mut a[first % n], rest, with)
        }
        serde_json::Value::Object(o) if !o.is_empty() => {
            let n = o.len();
            let key = o.keys().nth(first % n).unwrap().clone();
            mutate(o.get_mut(&key).unwrap(), rest, with)
        }
        other => *other = with.clone(),
    }
}

/// Whatever is read can be replayed or is refused with a reason; nothing panics.
fn survives(text: &str) {
    match recordings(text, "f.json") {
        Err(e) => assert!(e.to_string().len() > 12),
        Ok(all) => {
            for r in all.into_iter().take(3) {
                r.summary();
                measured(&r);
                let few: Vec<Recorded> = r.requests.iter().take(20).cloned().collect();
                let r = Recording { requests: few, ..r };
                if let Ok(x) = replay(&r, &Suppose::default())
                    && x.requests()
                        .iter()
                        .all(|q| q.prompt.len() < 2000 && q.max_tokens < 2000)
                {
                    // Settings may refuse it, with a reason.
                    let _ = predict_replay(&scenario(&basis(), &serve(), &r), &x, &mut ());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::WithSource("proptest-regressions"))), ..ProptestConfig::default() })]

    #[test]
    fn no_changed_value_makes_a_reader_panic(
        name in prop::sample::select(SAMPLES.to_vec()),
        path in prop::collection::vec(0usize..64, 1..8),
        with in prop_oneof![
            Just(serde_json::json!(null)),
            Just(serde_json::json!(-1)),
            Just(serde_json::json!(1e308)),
            Just(serde_json::json!(u64::MAX)),
            Just(serde_json::json!([])),
            Just(serde_json::json!({})),
            any::<f64>().prop_map(|v| serde_json::json!(v)),
            ".{0,9}".prop_map(|v| serde_json::json!(v)),
        ],
    ) {
        let text = text(name);
        let lines: Result<Vec<serde_json::Value>, _> = text.lines().map(serde_json::from_str).collect();
        let changed = match (serde_json::from_str::<serde_json::Value>(&text), lines) {
            (Ok(mut v), _) => {
                mutate(&mut v, &path, &with);
                v.to_string()
            }
            (Err(_), Ok(mut lines)) => {
                let n = lines.len();
                mutate(&mut lines[path[0] % n], &path[1..], &with);
                lines.iter().map(|l| format!("{l}\n")).collect()
            }
            // Tables and YAML: a line is another value.
            _ => {
                let mut lines: Vec<String> = text.lines().map(String::from).collect();
                let n = lines.len();
                lines[path[0] % n] = with.to_string();
                lines.join("\n")
            }
        };
        survives(&changed);
    }

    #[test]
    fn no_damaged_text_makes_a_reader_panic(
        name in prop::sample::select(SAMPLES.to_vec()),
        cut in 0usize..12_000,
        at in 0usize..12_000,
        junk in ".{0,6}",
    ) {
        let mut text: Vec<char> = text(name).chars().collect();
        text.truncate(cut.max(1));
        let at = at % text.len();
        text.splice(at..at, junk.chars());
        survives(&text.into_iter().collect::<String>());
    }
}

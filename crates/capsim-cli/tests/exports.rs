//! What a prediction writes of its simulation: the files agree with the summary, with each other, and with the rules of their formats.
use assert_cmd::Command;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Many requests for few KV blocks: queueing, preemption and recomputation.
const CROWDED: &[&str] = &[
    "predict",
    "--num-prompts",
    "60",
    "--request-rate",
    "3",
    "--random-input-len",
    "100",
    "--random-output-len",
    "60",
    "--random-range-ratio",
    "0.5",
    "--max-num-seqs",
    "24",
    "--max-num-batched-tokens",
    "256",
    "--num-gpu-blocks-override",
    "100",
    "--no-enable-prefix-caching",
    "--max-model-len",
    "512",
    "--json",
];

/// The same, in three ways that differ in how steps overlap and who comes first.
fn variants() -> Vec<Vec<&'static str>> {
    [
        &["--num-warmups", "0"][..],
        &["--num-warmups", "2", "--async-scheduling"],
        &["--long-prefill-token-threshold", "40"],
    ]
    .iter()
    .map(|more| [CROWDED, more].concat())
    .collect()
}

fn capsim(args: &[&str]) -> std::process::Output {
    Command::cargo_bin("capsim")
        .unwrap()
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(args)
        .timeout(std::time::Duration::from_secs(300))
        .output()
        .unwrap()
}

/// Runs with the given exports; the prediction (or what was printed instead) and the files' contents.
fn export(args: &[&str], flags: &[(&str, &str)]) -> (Value, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<String> = flags
        .iter()
        .map(|(_, name)| dir.path().join(name).to_str().unwrap().to_string())
        .collect();
    let mut all = args.to_vec();
    for ((flag, _), path) in flags.iter().zip(&paths) {
        all.extend([*flag, path]);
    }
    let out = capsim(&all);
    assert!(
        out.status.success(),
        "{all:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    let files = paths
        .iter()
        .map(|p| std::fs::read_to_string(p).unwrap())
        .collect();
    (serde_json::from_slice(&out.stdout).unwrap(), files)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}")))
        .collect()
}

/// Numbers by column; empty cells are left out.
fn csv(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut rows = text.lines().map(|l| l.split(','));
    let header: Vec<&str> = rows.next().unwrap().collect();
    rows.map(|row| {
        let cells: Vec<&str> = row.collect();
        assert_eq!(cells.len(), header.len());
        header
            .iter()
            .zip(cells)
            .map(|(h, c)| (h.to_string(), c.to_string()))
            .collect()
    })
    .collect()
}

fn num(v: &Value, key: &str) -> f64 {
    v[key].as_f64().unwrap_or_else(|| panic!("{key} in {v}"))
}

fn column(rows: &[Value], key: &str) -> Vec<f64> {
    rows.iter().filter_map(|r| r[key].as_f64()).collect()
}

fn mean(v: &[f64]) -> f64 {
    v.iter().sum::<f64>() / v.len() as f64
}

fn metric(prediction: &Value, name: &str) -> f64 {
    num(&prediction["points"][0]["metrics"][name], "value")
}

fn near(a: f64, b: f64, what: &str) {
    assert!((a - b).abs() <= 1e-9 * b.abs().max(1e-3), "{what}: {a} {b}");
}

#[test]
fn requests_agree_with_the_summary_and_the_two_forms_with_each_other() {
    for args in variants() {
        let (p, files) = export(&args, &[("--save-requests", "r.jsonl")]);
        let rows = lines(&files[0]);
        assert_eq!(rows.len(), 60);
        assert!(
            column(&rows, "preemptions").iter().sum::<f64>() > 0.0,
            "too roomy"
        );
        for m in ["ttft", "tpot", "e2el"] {
            let values = column(&rows, &format!("{m}_ms"));
            near(mean(&values), metric(&p, &format!("mean_{m}_ms")), m);
        }
        for r in &rows {
            let (arrival, finish) = (num(r, "arrival"), num(r, "finish"));
            assert!(
                (finish - arrival - num(r, "e2el_ms") / 1e3).abs() < 1e-8,
                "{r}"
            );
            assert!(arrival <= num(r, "scheduled") && num(r, "first_token") <= finish);
        }
        assert!(
            column(&rows, "finish").is_sorted(),
            "not in order of completion"
        );
        let (_, again) = export(&args, &[("--save-requests", "r.CSV")]);
        let table = csv(&again[0]);
        for (a, b) in rows.iter().zip(&table) {
            for (key, cell) in b {
                match &a[key] {
                    Value::Null => assert_eq!(cell, ""),
                    Value::String(s) => assert_eq!(cell, s),
                    v => assert_eq!(v.as_f64(), cell.parse().ok(), "{key}"),
                }
            }
            assert_eq!(b.len(), a.as_object().unwrap().len());
        }
        assert_eq!(rows.len(), table.len());
    }
}

#[test]
fn the_timeline_conserves_tokens_time_and_preemptions() {
    for (k, args) in variants().into_iter().enumerate() {
        let (p, files) = export(
            &args,
            &[
                ("--save-requests", "r.jsonl"),
                ("--save-timeline", "t.jsonl"),
            ],
        );
        let (requests, steps) = (lines(&files[0]), lines(&files[1]));
        let tokens = |rows: &[Value]| {
            column(rows, "prefill_tokens").iter().sum::<f64>()
                + column(rows, "decode_tokens").iter().sum::<f64>()
        };
        if k == 0 {
            // Without warm-up both files tell of the same requests. A preempted request is computed again.
            let once: f64 = requests
                .iter()
                .map(|r| num(r, "input_tokens") + num(r, "output_tokens") - 1.0)
                .sum();
            assert!(tokens(&steps) > once, "preempted, and nothing recomputed");
            let last = steps.last().unwrap();
            let preemptions: f64 = column(&requests, "preemptions").iter().sum();
            assert_eq!(num(last, "preemptions"), preemptions);
            let occupancy = &p["points"][0]["occupancy"];
            assert_eq!(num(occupancy, "steps"), steps.len() as f64);
            let busy: f64 = column(&steps, "busy").iter().sum();
            near(busy, num(occupancy, "busy_s"), "busy");
            let kv = column(&steps, "kv_usage").into_iter().fold(0.0, f64::max);
            near(kv, num(occupancy, "kv_usage_max"), "KV usage");
            let weighted: f64 = steps.iter().map(|s| num(s, "busy") * num(s, "batch")).sum();
            near(weighted / busy, num(occupancy, "batch"), "batch");
            // With room for all, no request is preempted.
            let at = 1 + args
                .iter()
                .position(|a| *a == "--num-gpu-blocks-override")
                .unwrap();
            let mut roomy = args.clone();
            roomy[at] = "4000";
            let (_, files) = export(
                &roomy,
                &[
                    ("--save-requests", "r.jsonl"),
                    ("--save-timeline", "t.jsonl"),
                ],
            );
            let (requests, steps) = (lines(&files[0]), lines(&files[1]));
            let once: f64 = requests
                .iter()
                .map(|r| num(r, "input_tokens") + num(r, "output_tokens") - 1.0)
                .sum();
            assert_eq!(tokens(&steps), once);
        }
        let ends: Vec<f64> = steps
            .iter()
            .map(|s| num(s, "time") + num(s, "busy"))
            .collect();
        for (end, next) in ends.iter().zip(&steps[1..]) {
            assert!(num(next, "time") >= end - 1e-9, "steps overlap");
        }
        // Resampled, the same in larger pieces, as CSV.
        let resampled = [&args[..], &["--timeline-interval", "0.7"]].concat();
        let (_, files) = export(&resampled, &[("--save-timeline", "t.csv")]);
        let bins = csv(&files[0]);
        let sum = |key: &str| {
            bins.iter()
                .map(|b| b[key].parse::<f64>().unwrap())
                .sum::<f64>()
        };
        assert_eq!(sum("prefill_tokens") + sum("decode_tokens"), tokens(&steps));
        assert_eq!(sum("steps"), steps.len() as f64);
        near(sum("busy"), column(&steps, "busy").iter().sum(), "busy");
        for (i, b) in bins.iter().enumerate() {
            let from: f64 = b["time"].parse().unwrap();
            near(from, 0.7 * i as f64, "time");
            let until = match bins.get(i + 1) {
                Some(_) => from + 0.7,
                None => *ends.last().unwrap(),
            };
            // The slow way: every step's share of the interval.
            for key in ["running", "waiting", "kv_usage"] {
                let slow: f64 = steps
                    .iter()
                    .zip(&ends)
                    .map(|(s, end)| {
                        let share = (end.min(until) - num(s, "time").max(from)).max(0.0);
                        share * num(s, key)
                    })
                    .sum();
                let fast: f64 = b[key].parse().unwrap();
                assert!(
                    (slow / (until - from) - fast).abs() < 1e-6,
                    "{key} {slow} {fast}"
                );
            }
        }
    }
}

/// The rules that ui.perfetto.dev and chrome://tracing hold a trace to (Trace Event Format): named processes and threads, whole
/// times that do not decrease on a track, no two slices of a track overlapping, numeric counters.
fn check_trace(events: &[Value]) -> BTreeMap<(u64, u64), u64> {
    let whole = |e: &Value, key: &str| {
        e[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} is no whole number in {e}"))
    };
    let mut processes = vec![];
    let mut threads = vec![];
    let mut busy: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut counters: BTreeMap<String, u64> = BTreeMap::new();
    let mut slices = BTreeMap::new();
    for e in events {
        let pid = whole(e, "pid");
        let name = e["name"].as_str().unwrap();
        match e["ph"].as_str().unwrap() {
            "M" => match name {
                "process_name" => processes.push(pid),
                "thread_name" => {
                    assert!(e["args"]["name"].is_string());
                    threads.push((pid, whole(e, "tid")));
                }
                _ => {}
            },
            "X" => {
                let track = (pid, whole(e, "tid"));
                assert!(processes.contains(&pid) && threads.contains(&track), "{e}");
                let free = busy.entry(track).or_default();
                assert!(whole(e, "ts") >= *free, "overlaps its neighbour: {e}");
                *free = whole(e, "ts") + whole(e, "dur");
                *slices.entry(track).or_default() += 1;
            }
            "C" => {
                let last = counters.entry(name.into()).or_default();
                assert!(whole(e, "ts") >= *last, "goes back in time: {e}");
                *last = whole(e, "ts");
                assert!(
                    e["args"]
                        .as_object()
                        .unwrap()
                        .values()
                        .all(Value::is_number)
                );
            }
            other => panic!("unknown phase {other}"),
        }
    }
    slices
}

#[test]
fn the_trace_keeps_the_rules_of_its_format_and_tells_of_every_request() {
    for args in variants() {
        let (_, files) = export(
            &args,
            &[("--save-requests", "r.jsonl"), ("--trace", "t.json")],
        );
        let requests = lines(&files[0]);
        let trace: Value = serde_json::from_str(&files[1]).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let slices = check_trace(events);
        // As many tracks as requests were open at once, warm-up apart.
        let open = |t: f64| {
            requests
                .iter()
                .filter(|r| num(r, "arrival") <= t && t < num(r, "finish"))
                .count()
        };
        let most = requests
            .iter()
            .map(|r| open(num(r, "arrival")))
            .max()
            .unwrap();
        assert_eq!(slices.keys().filter(|(pid, _)| *pid == 2).count(), most);
        for r in &requests {
            let mine = |name: &str| -> f64 {
                events
                    .iter()
                    .filter(|e| e["cat"] == "request" && e["args"]["request"] == r["id"])
                    .filter(|e| e["name"] == name)
                    .map(|e| num(e, "dur") / 1e6)
                    .sum()
            };
            let times = |a: &str, b: &str| num(r, b) - num(r, a);
            let (paused, close) = (mine("preempted"), |a: f64, b: f64| {
                assert!((a - b).abs() < 3e-6, "{r}: {a} {b}")
            });
            assert_eq!(paused > 0.0, num(r, "preemptions") > 0.0, "{r}");
            close(mine("queued"), times("arrival", "scheduled"));
            close(
                mine("prefill") + mine("decode") + paused,
                times("scheduled", "finish"),
            );
        }
    }
}

#[test]
fn the_checks_of_the_trace_see_planted_faults() {
    let good = r#"[{"ph":"M","name":"process_name","pid":1,"args":{"name":"p"}},
        {"ph":"M","name":"thread_name","pid":1,"tid":1,"args":{"name":"t"}},
        {"ph":"X","name":"a","pid":1,"tid":1,"ts":5,"dur":5},{"ph":"X","name":"b","pid":1,"tid":1,"ts":10,"dur":5},
        {"ph":"C","name":"c","pid":1,"ts":5,"args":{"v":1}},{"ph":"C","name":"c","pid":1,"ts":6,"args":{"v":1}}]"#;
    let parse = |text: &str| serde_json::from_str::<Vec<Value>>(text).unwrap();
    check_trace(&parse(good));
    for (old, new) in [
        ("\"ts\":10", "\"ts\":9"),
        ("\"ts\":10", "\"ts\":10.5"),
        ("\"ts\":6", "\"ts\":4"),
        ("{\"v\":1}", "{\"v\":\"1\"}"),
        ("thread_name", "thread_sort_index"),
        ("process_name", "process_label"),
    ] {
        let bad = parse(&good.replacen(old, new, 1));
        assert!(
            std::panic::catch_unwind(|| check_trace(&bad)).is_err(),
            "{new}"
        );
    }
}

#[test]
fn the_result_file_is_vllms_and_its_lists_agree_with_its_figures() {
    for args in variants() {
        let detailed = [&args[..], &["--save-detailed"]].concat();
        let (p, files) = export(
            &detailed,
            &[("--save-result", "r.json"), ("--save-requests", "r.jsonl")],
        );
        let result: Value = serde_json::from_str(&files[0]).unwrap();
        let mut requests = lines(&files[1]);
        requests.sort_by_key(|r| r["id"].as_u64());
        // Keys of vllm 0.12.0.
        let keys: Vec<&str> = result
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        for key in [
            "date",
            "endpoint_type",
            "backend",
            "label",
            "model_id",
            "tokenizer_id",
            "num_prompts",
            "request_rate",
            "burstiness",
            "max_concurrency",
            "duration",
            "completed",
            "failed",
            "total_input_tokens",
            "total_output_tokens",
            "request_throughput",
            "request_goodput",
            "output_throughput",
            "total_token_throughput",
            "max_output_tokens_per_s",
            "max_concurrent_requests",
            "input_lens",
            "output_lens",
            "ttfts",
            "itls",
            "generated_texts",
            "errors",
            "mean_ttft_ms",
            "median_tpot_ms",
            "std_itl_ms",
            "p99_e2el_ms",
        ] {
            assert!(keys.contains(&key), "{key}");
        }
        assert_eq!(num(&result, "duration"), metric(&p, "duration_s"));
        assert_eq!(result["capsim"]["metrics"], p["points"][0]["metrics"]);
        let floats = |v: &Value| -> Vec<f64> {
            v.as_array()
                .unwrap()
                .iter()
                .map(|x| x.as_f64().unwrap())
                .collect()
        };
        let itls: Vec<Vec<f64>> = result["itls"]
            .as_array()
            .unwrap()
            .iter()
            .map(floats)
            .collect();
        let ttfts = floats(&result["ttfts"]);
        assert_eq!(ttfts.len(), 60);
        near(1e3 * mean(&ttfts), num(&result, "mean_ttft_ms"), "TTFT");
        for (k, r) in requests.iter().enumerate() {
            assert_eq!(result["input_lens"][k], r["input_tokens"]);
            assert_eq!(result["output_lens"][k], r["output_tokens"]);
            assert_eq!(itls[k].len() as f64, num(r, "output_tokens") - 1.0, "{r}");
            let decode = num(r, "finish") - num(r, "first_token");
            assert!((itls[k].iter().sum::<f64>() - decode).abs() < 1e-6, "{r}");
        }
        let pooled: Vec<f64> = itls.concat();
        let m = mean(&pooled);
        near(1e3 * m, num(&result, "mean_itl_ms"), "ITL");
        let spread = mean(&pooled.iter().map(|x| (x - m) * (x - m)).collect::<Vec<_>>()).sqrt();
        assert!((1e3 * spread - num(&result, "std_itl_ms")).abs() < 1e-6);
        // The busiest seconds, as vLLM counts them.
        let begin = column(&requests, "arrival")
            .into_iter()
            .fold(f64::MAX, f64::min);
        // A nanosecond is lost between two floats now and then: only what is clearly inside a second is held against it.
        let second = |t: f64| ((t - begin + 1e-8) as usize).min(999);
        let (mut tokens, mut open) = (vec![0.0; 1000], vec![0.0; 1000]);
        for (r, gaps) in requests.iter().zip(&itls) {
            let mut at = num(r, "first_token");
            tokens[second(at)] += 1.0;
            for g in gaps {
                at += g;
                tokens[second(at)] += 1.0;
            }
            for s in &mut open[second(num(r, "arrival"))..=second(num(r, "finish"))] {
                *s += 1.0;
            }
        }
        let most = |v: &[f64]| v.iter().copied().fold(0.0, f64::max);
        assert_eq!(num(&result, "max_output_tokens_per_s"), most(&tokens));
        assert_eq!(num(&result, "max_concurrent_requests"), most(&open));
    }
}

#[test]
fn the_same_scenario_gives_the_same_bytes_in_every_file() {
    let flags = [
        ("--save-requests", "r.jsonl"),
        ("--save-timeline", "t.csv"),
        ("--trace", "t.json"),
        ("--save-result", "v.json"),
    ];
    let args = &variants()[1];
    assert_eq!(export(args, &flags), export(args, &flags));
}

#[test]
fn a_failed_run_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let refused = |args: &[&str], says: &str| {
        let out = capsim(args);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{args:?}: {err}");
        assert!(err.contains(says), "{args:?}: `{says}` is not in: {err}");
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "{args:?}"
        );
    };
    let (r, t, j) = (at("r.jsonl"), at("t.csv"), at("t.json"));
    // Nothing can be served: found out while everything is already being written.
    let nothing = [
        "predict",
        "--random-input-len",
        "500000",
        "--save-requests",
        &r,
        "--save-timeline",
        &t,
        "--trace",
        &j,
    ];
    refused(&nothing, "max_model_len");
    let nowhere = Path::new(&r).parent().unwrap().join("missing/x.json");
    refused(
        &[
            "predict",
            "--num-prompts",
            "2",
            "--trace",
            &j,
            "--save-result",
            nowhere.to_str().unwrap(),
        ],
        "x.json",
    );
    for flag in [
        "--save-requests",
        "--save-timeline",
        "--trace",
        "--save-result",
    ] {
        refused(&["predict", "--max-num-seqs", "1,2", flag, &r], flag);
    }
    refused(
        &[
            "predict",
            "--num-prompts",
            "2",
            "--trace",
            &r,
            "--save-requests",
            &r,
        ],
        "both name",
    );
    refused(&["predict", "--timeline-interval", "1"], "--save-timeline");
    refused(
        &[
            "predict",
            "--num-prompts",
            "2",
            "--save-timeline",
            &t,
            "--timeline-interval",
            "0",
        ],
        "--timeline-interval",
    );
    refused(
        &[
            "predict",
            "--num-prompts",
            "2",
            "--save-timeline",
            &t,
            "--timeline-interval",
            "nan",
        ],
        "--timeline-interval",
    );
    refused(&["predict", "--save-detailed"], "--save-result");
}

#[test]
fn a_long_run_says_that_its_intervals_come_from_a_shorter_one() {
    let args = [
        "predict",
        "--num-prompts",
        "20000",
        "--request-rate",
        "50",
        "--random-input-len",
        "8",
        "--random-output-len",
        "2",
        "--max-num-seqs",
        "256",
        "--json",
    ];
    let (p, _) = export(&args, &[]);
    let caveats = p["points"][0]["caveats"].to_string();
    assert!(caveats.contains("16384 instead of 20000"), "{caveats}");
    let short = [&args[..2], &["16384"], &args[3..]].concat();
    let (p, _) = export(&short, &[]);
    assert!(!p["points"][0]["caveats"].to_string().contains("instead of"));
}

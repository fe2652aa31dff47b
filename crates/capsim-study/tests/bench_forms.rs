//! Every form of a stored benchmark gives the figures that its tool wrote.
use capsim::device::EngineId;
use capsim::engine::settings::{MAX_NUM_SEQS, TENSOR_PARALLEL_SIZE};
use capsim::workload::Pace;
use capsim_live::bench::read::{Recording, Tool};
use capsim_study::validate::paired::{Suppose, measured, replay};
use capsim_study::validate::recordings::recordings;
use std::path::Path;

fn text(name: &str) -> String {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/data/bench");
    std::fs::read_to_string(path.join(name)).unwrap()
}

fn read(name: &str) -> Vec<Recording> {
    recordings(&text(name), name).unwrap_or_else(|e| panic!("{e}"))
}

/// What a comparison shows as measured.
fn shown(r: &Recording, metric: &str) -> f64 {
    let all = measured(r);
    let found = all.iter().find(|(name, _)| name.as_str() == metric);
    found
        .unwrap_or_else(|| panic!("{}: no {metric} in {all:?}", r.name))
        .1
}

fn shows(r: &Recording, figures: &[(&str, f64)]) {
    for (metric, v) in figures {
        let got = shown(r, metric);
        assert!(
            (got / v - 1.0).abs() < 1e-3,
            "{} {metric}: {got} for {v}",
            r.name
        );
    }
}

/// Prompt and output tokens of all requests.
fn tokens(r: &Recording) -> (u64, u64) {
    let sum = |f: fn(&capsim_live::bench::read::Recorded) -> u32| {
        r.answered().map(|q| u64::from(f(q))).sum()
    };
    (sum(|q| q.input), sum(|q| q.output))
}

#[test]
fn answers_that_ended_at_once_are_answered() {
    let r = &read("vllm-0.6.3-empty.json")[0];
    assert_eq!((r.answered().count(), r.failed()), (8, 0));
    shows(
        r,
        &[
            ("request_throughput", 0.8),
            ("total_token_throughput", 264.2),
            ("mean_ttft_ms", 403.435),
        ],
    );
    // All prompts are simulated, those with empty answers too.
    let w = Suppose::default();
    assert_eq!(replay(r, &w).unwrap().requests().len(), 8);
    assert!(
        r.notes
            .iter()
            .any(|n| n.starts_with("3 answers ended with their first token")),
        "{:?}",
        r.notes
    );
}

#[test]
fn sglang_writes_a_line_per_run_and_is_priced_by_its_own_rules() {
    let all = read("sglang-2025.jsonl");
    assert_eq!(all.len(), 2);
    assert_eq!(all[1].name, "sglang-2025#2");
    for (r, rate, n, e2el, input) in [
        (&all[0], 1.0, 300, 7840.6, 152_612),
        (&all[1], 2.0, 600, 8540.6, 308_748),
    ] {
        assert_eq!(
            (r.tool, r.engine, r.request_rate),
            (Tool::Sglang, Some(EngineId::Sglang), Some(rate))
        );
        assert_eq!((r.answered().count(), tokens(r).0), (n, input));
        shows(r, &[("mean_e2el_ms", e2el)]);
    }
    let with_server = text("sglang-2025.jsonl").lines().next().unwrap().replacen(
        "{",
        r#"{"server_info": {"tp_size": 4, "max_running_requests": 64, "model_path": "meta-llama/Llama-3.3-70B-Instruct", "chunked_prefill_size": 8192},"#,
        1,
    );
    let r = &recordings(&with_server, "s.jsonl").unwrap()[0];
    assert_eq!(
        (
            r.served.get(TENSOR_PARALLEL_SIZE),
            r.served.get(MAX_NUM_SEQS)
        ),
        (Some(4), Some(64))
    );
    assert_eq!(
        r.model.as_deref(),
        Some("meta-llama/Llama-3.3-70B-Instruct")
    );
}

#[test]
fn a_sample_of_requests_is_not_the_measurement() {
    let r = &read("guidellm-0.3-sampled.json")[0];
    assert_eq!((r.answered().count(), r.max_concurrency), (46, Some(1)));
    shows(
        r,
        &[
            ("mean_ttft_ms", 16.7925),
            ("request_throughput", 1.54818),
            ("mean_e2el_ms", 644.474),
            ("output_token_throughput", 198.133),
        ],
    );
    assert!(
        r.notes
            .iter()
            .any(|n| n.contains("1 of 46 answered requests were stored")),
        "{:?}",
        r.notes
    );
}

#[test]
fn a_sweeps_summary_tells_the_servers_settings() {
    let all = read("vllm-0.25-sweep-summary.json");
    assert_eq!(all.len(), 2);
    shows(&all[0], &[("mean_tpot_ms", 8.204_553)]);
    shows(
        &all[1],
        &[("mean_tpot_ms", 8.012_4), ("p99_e2el_ms", 169.6366)],
    );
    for r in &all {
        assert_eq!(
            (r.max_concurrency, r.served.get(MAX_NUM_SEQS)),
            (Some(2), Some(4))
        );
    }
    // The table that stands beside it says the same.
    let csv = "model_id,request_rate,max_concurrency,max_num_seqs,duration,completed,total_input_tokens,total_output_tokens,mean_tpot_ms\n\
               facebook/opt-125m,inf,2,4,1.36,8,256,128,8.2045\n";
    let r = &recordings(csv, "summary.csv").unwrap()[0];
    assert_eq!(
        (r.max_concurrency, r.served.get(MAX_NUM_SEQS), tokens(r)),
        (Some(2), Some(4), (256, 128))
    );
}

#[test]
fn offline_benchmarks_say_what_they_do_not_know() {
    let r = &read("vllm-0.6-throughput.json")[0];
    assert_eq!((r.answered().count(), tokens(r)), (256, (278_528, 278_528)));
    assert!(r.unsplit);
    shows(
        r,
        &[
            ("duration_s", 399.648),
            ("total_token_throughput", 1393.87),
            ("request_throughput", 0.640_563),
        ],
    );
    let latency = r#"{"avg_latency": 1.5, "latencies": [1.4, 1.6], "percentiles": {"10": 1.42, "50": 1.5, "99": 1.598}}"#;
    let r = &recordings(latency, "l.json").unwrap()[0];
    shows(
        r,
        &[
            ("mean_e2el_ms", 1500.0),
            ("median_e2el_ms", 1500.0),
            ("p99_e2el_ms", 1598.0),
        ],
    );
    assert_eq!((r.max_concurrency, r.answered().count()), (Some(8), 16));
}

#[test]
fn a_pasted_table_is_read_whatever_surrounds_it() {
    let table = text("vllm-2026-console.txt");
    let r = &recordings(&table, "a.log").unwrap()[0];
    assert_eq!(
        (r.request_rate, r.answered().count(), tokens(r)),
        (Some(0.3), 250, (57_229, 52_890))
    );
    shows(
        r,
        &[
            ("output_token_throughput", 62.94),
            ("mean_ttft_ms", 401.23),
            ("p95_tpot_ms", 130.59),
            ("median_itl_ms", 82.24),
        ],
    );
    // Twice in a log, with times in front, quoted, or with Windows's line ends.
    let quoted: String = table.lines().map(|l| format!("> {l}\r\n")).collect();
    let logged: String = table
        .lines()
        .map(|l| format!("2026-08-01 10:00:00 INFO {l}\n"))
        .collect();
    let both = format!("Maximum request concurrency: 32\n{logged}\nand again\n{quoted}");
    let all = recordings(&both, "b.log").unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(
        (all[0].max_concurrency, all[1].max_concurrency),
        (Some(32), None)
    );
    for a in &all {
        assert_eq!(measured(a), measured(r));
    }
    let cut: String = table.lines().take(6).map(|l| format!("{l}\n")).collect();
    let e = recordings(&cut, "c.log").unwrap_err().to_string();
    assert!(e.contains("is missing"), "{e}");
}

#[test]
fn every_unit_counts() {
    // Seconds.
    let r = &read("inference-perf-2025.json")[0];
    assert_eq!((r.answered().count(), r.request_rate), (5531, Some(92.19)));
    shows(
        r,
        &[
            ("mean_e2el_ms", 1021.272),
            ("median_ttft_ms", 44.518),
            ("p99.9_ttft_ms", 226.77),
            ("request_throughput", 91.3573),
            ("mean_tpot_ms", 7.516_02),
        ],
    );
    let r = &read("llmperf.json")[0];
    assert_eq!((r.max_concurrency, tokens(r)), (Some(4), (55_000, 10_000)));
    shows(
        r,
        &[
            ("mean_ttft_ms", 253.822),
            ("p95_e2el_ms", 1553.91),
            ("std_e2el_ms", 224.942),
            ("request_throughput", 3.372),
        ],
    );
    // Seconds, per GPU.
    let r = &read("inferencex-2026.json")[0];
    assert_eq!(
        (
            r.engine,
            r.max_concurrency,
            r.served.get(TENSOR_PARALLEL_SIZE)
        ),
        (Some(EngineId::Sglang), Some(4), Some(8))
    );
    shows(
        r,
        &[
            ("median_ttft_ms", 115.09),
            ("p99_tpot_ms", 12.925),
            ("total_token_throughput", 8.0 * 92.526),
        ],
    );
    // As said, in YAML.
    let r = &read("llmd-report-0.1.yaml")[0];
    assert_eq!(
        (r.engine, r.request_rate, r.model.as_deref()),
        (
            Some(EngineId::Vllm),
            Some(1.34),
            Some("deepseek-ai/DeepSeek-R1-0528")
        )
    );
    shows(
        r,
        &[
            ("mean_ttft_ms", 0.800_975),
            ("median_e2el_ms", 2.115_075),
            ("output_token_throughput", 32.5449),
        ],
    );
    let seconds = text("llmd-report-0.1.yaml").replace("units: ms", "units: s");
    shows(
        &recordings(&seconds, "s.yaml").unwrap()[0],
        &[("mean_ttft_ms", 800.975)],
    );
    let odd = text("llmd-report-0.1.yaml").replace("units: ms", "units: fortnights");
    assert!(
        recordings(&odd, "s.yaml")
            .unwrap_err()
            .to_string()
            .contains("fortnights")
    );
    // Nanoseconds, and microseconds.
    let micro = text("aiperf-0.13-totals.json").replacen(
        r#""time_to_first_token": {"unit": "ms""#,
        r#""time_to_first_token": {"unit": "us""#,
        1,
    );
    shows(
        &recordings(&micro, "t.json").unwrap()[0],
        &[("mean_ttft_ms", 0.018_678)],
    );
}

#[test]
fn aiperfs_table_says_what_its_json_says() {
    let (a, b) = (
        &read("aiperf-0.13-totals.json")[0],
        &read("aiperf-0.13-totals.csv")[0],
    );
    for metric in [
        "mean_ttft_ms",
        "p99_ttft_ms",
        "std_ttft_ms",
        "median_e2el_ms",
        "output_token_throughput",
    ] {
        let (x, y) = (shown(a, metric), shown(b, metric));
        assert!((x / y - 1.0).abs() < 2e-3, "{metric}: {x} {y}");
    }
    assert_eq!(
        (tokens(b), b.max_concurrency),
        ((448, 112), Some(2)),
        "by Little's law"
    );
    assert!(b.notes.iter().any(|n| n.contains("--clients")));
    // Older files have the concurrency elsewhere, GenAI-Perf its rate too.
    let old = r#"{"request_latency": {"unit": "ms", "avg": 100}, "request_throughput": {"avg": 10}, "request_count": {"avg": 50},
        "input_sequence_length": {"avg": 64}, "output_sequence_length": {"avg": 16}, "input_config": CONFIG}"#;
    for (config, clients, rate) in [
        (
            r#"{"loadgen": {"concurrency": 7}, "endpoint": {"model_names": ["m"]}}"#,
            Some(7),
            None,
        ),
        (r#"{"concurrency": 8, "model": ["m"]}"#, Some(8), None),
        (
            r#"{"loadgen": {"request_rate": 3.5}, "model_names": ["m"]}"#,
            None,
            Some(3.5),
        ),
        (
            r#"{"perf_analyzer": {"stimulus": {"concurrency": 9}}, "model_names": ["m"]}"#,
            Some(9),
            None,
        ),
    ] {
        let r = &recordings(&old.replace("CONFIG", config), "o.json").unwrap()[0];
        assert_eq!(
            (r.max_concurrency, r.request_rate, r.model.as_deref()),
            (clients, rate, Some("m")),
            "{config}"
        );
    }
    let eight = &read("aiperf-0.8.jsonl")[0];
    assert_eq!((eight.answered().count(), eight.failed()), (3, 1));
    assert!(eight.notes.iter().all(|n| !n.contains("--max-concurrency")));
}

#[test]
fn llama_cpp_owners_tools_are_read() {
    let all = read("llama-benchy-0.2.json");
    assert_eq!(
        all.iter().map(|r| r.max_concurrency).collect::<Vec<_>>(),
        [Some(1), Some(2)]
    );
    shows(
        &all[0],
        &[
            ("mean_ttft_ms", 2076.04),
            ("std_ttft_ms", 2.2604),
            ("mean_tpot_ms", 1000.0 / 49.977_85),
        ],
    );
    assert_eq!(tokens(&all[1]), (4 * 2048, 4 * 32));

    let r = &read("ollama-0.23.csv")[0];
    assert_eq!(
        (r.engine, r.answered().count(), r.warmup()),
        (Some(EngineId::LlamaServer), 2, 1)
    );
    shows(r, &[("mean_ttft_ms", 120.31), ("mean_e2el_ms", 2653.56)]);
    assert!(matches!(
        replay(r, &Suppose::default()).unwrap().pace(),
        Pace::Clients { count: 1, .. }
    ));

    let bench = "| model | size | params | backend | ngl | test | t/s |\n| --- | ---: | ---: | --- | --: | --: | --: |\n\
                 | llama 7B Q4_K - Medium | 3.80 GiB | 6.74 B | CUDA | 99 | pp512 | 4000.00 ± 12.5 |\n\
                 | llama 7B Q4_K - Medium | 3.80 GiB | 6.74 B | CUDA | 99 | tg128 | 100.00 ± 0.5 |\n";
    let all = recordings(bench, "b.md").unwrap();
    assert_eq!(
        (all.len(), all[0].name.as_str(), all[0].engine),
        (2, "b.md#1", Some(EngineId::LlamaServer))
    );
    shows(&all[0], &[("mean_ttft_ms", 128.0)]);
    shows(&all[1], &[("mean_tpot_ms", 10.0)]);
}

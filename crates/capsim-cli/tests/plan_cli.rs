//! The planner's commands as a user types them.
use assert_cmd::Command;
use capsim_study::report::json::schemas;

fn capsim(args: &[&str]) -> std::process::Output {
    Command::cargo_bin("capsim")
        .unwrap()
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(args)
        .timeout(std::time::Duration::from_secs(600))
        .output()
        .unwrap()
}

/// What it prints, with the exit code that is expected.
fn stdout(code: i32, args: &[&str]) -> String {
    let out = capsim(args);
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{args:?}: {err}");
    assert!(!err.contains("panicked"), "{args:?}: {err}");
    let text = String::from_utf8(out.stdout).unwrap();
    for line in text
        .lines()
        .filter(|_| !args.contains(&"--json") && args[0] != "schema")
    {
        assert!(
            line.chars().count() <= 80,
            "{args:?}: wider than 80: {line}"
        );
    }
    text
}

/// Without line breaks, so that words are found wherever lines were broken.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn refused(args: &[&str], says: &str) {
    let out = capsim(args);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{args:?}: {err}");
    assert!(
        out.stdout.is_empty() && !err.contains("panicked"),
        "{args:?}: {err}"
    );
    assert!(err.contains(says), "{args:?}: `{says}` is not in: {err}");
}

/// Whether JSON satisfies the schema that `capsim schema` prints for it, and is the same once read into its type and written again.
fn valid(schema: &str, text: &str) -> serde_json::Value {
    let again = schemas::find(schema).unwrap().again;
    let again = again(serde_json::from_str(text).unwrap()).unwrap();
    assert_eq!(again, text.trim_end());
    let schema: serde_json::Value = serde_json::from_str(&stdout(0, &["schema", schema])).unwrap();
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    let errors: Vec<String> = jsonschema::validator_for(&schema)
        .unwrap()
        .iter_errors(&value)
        .map(|e| e.to_string())
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    value
}

const SMALL: &[&str] = &[
    "--output-len",
    "16",
    "--input-len",
    "64",
    "--num-prompts",
    "24",
    "--seeds",
    "2",
    "--max-num-batched-tokens",
    "512",
    "--max-num-seqs",
    "8",
    "--random-range-ratio",
    "0.5",
];

#[test]
fn capacity_is_the_same_on_any_number_of_threads() {
    let ask = |threads| {
        let args = [
            &[
                "capacity",
                "--slo",
                "tpot.p95<150ms,ttft.p95<2s",
                "--json",
                "--for-users",
                "40",
                "--threads",
                threads,
            ],
            SMALL,
        ]
        .concat();
        stdout(0, &args)
    };
    let one = ask("1");
    assert_eq!(one, ask("3"));
    let v = valid("capacity", &one);
    assert!(v["highest"]["load"].as_f64().unwrap() >= 1.0);
    assert!(v["replicas"].as_u64().unwrap() >= 1);
}

#[test]
fn capacity_explains_itself_in_eighty_columns() {
    let args = [
        &[
            "capacity",
            "--slo",
            "tpot.p95<150ms,ttft.p95<2s",
            "--no-what-if",
        ],
        SMALL,
    ]
    .concat();
    let text = flat(&stdout(0, &args));
    for word in [
        "Capacity",
        "Past it",
        "Binds",
        "Headroom",
        "Knee",
        "Floor",
        "vllm bench serve",
        "90 %",
    ] {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
}

#[test]
fn an_impossible_slo_is_answered_and_has_its_exit_code() {
    let args = [
        &["capacity", "--slo", "tpot.p95<10ms", "--no-what-if"],
        SMALL,
    ]
    .concat();
    let text = flat(&stdout(1, &args));
    assert!(
        text.contains("no engine can") && text.contains("Nearest possible: tpot.p95<"),
        "{text}"
    );
    let args = [
        &[
            "capacity",
            "--slo",
            "tpot.p95<200ms,throughput>9000",
            "--no-what-if",
        ],
        SMALL,
    ]
    .concat();
    let text = flat(&stdout(1, &args));
    assert!(text.contains("output_throughput is not reached"), "{text}");
    let three = "tpot.p95<200ms,ttft.p95<2s,e2el.p95<90s";
    stdout(
        0,
        &[&["capacity", "--slo", three, "--no-what-if"], SMALL].concat(),
    );
}

#[test]
fn contradictions_and_slips_are_refused_by_name() {
    for (args, says) in [
        (&["capacity", "--slo", "ttft.p95<2"][..], "no unit"),
        (&["capacity"], "--slo"),
        (
            &[
                "capacity",
                "--slo",
                "ttft.p95<2s",
                "--by",
                "rate",
                "--users",
                "4",
            ],
            "contradicts",
        ),
        (
            &[
                "capacity",
                "--slo",
                "ttft.p95<2s",
                "--by",
                "users",
                "--request-rate",
                "4",
            ],
            "contradicts",
        ),
        (
            &["capacity", "--slo", "ttft.p95<2s", "--by", "speedup"],
            "--trace-file",
        ),
        (
            &[
                "capacity",
                "--slo",
                "ttft.p95<2s",
                "--seeds",
                "3",
                "--met-in",
                "4",
            ],
            "--met-in",
        ),
        (
            &["capacity", "--slo", "ttft.p95<2s", "--max-num-seqs", "4,8"],
            "max-num-seqs",
        ),
        (
            &["capacity", "--slo", "tpot.p95<2s", "--output-len", "1"],
            "one token",
        ),
        (
            &["capacity", "--slo", "ttft.p95<2s", "--for-rate", "4"],
            "--for-users",
        ),
        (
            &["capacity", "--slo", "ttft.p95<2s", "--threads", "0"],
            "--threads",
        ),
        (
            &["capacity", "--slo", "ttft.p95<2s", "--input-len", "900000"],
            "max_model_len",
        ),
        (&["predict", "--think-time", "4"], "--users"),
    ] {
        refused(args, says);
    }
}

#[test]
fn memory_answers_whether_it_fits_and_what_would_help() {
    let text = flat(&stdout(
        0,
        &["memory", "--max-model-len", "32768", "--max-num-seqs", "64"],
    ));
    for word in [
        "Fits yes",
        "GPU KV cache size:",
        "Maximum concurrency for 32,768 tokens per request:",
        "Preempts",
    ] {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
    let text = flat(&stdout(
        1,
        &[
            "memory",
            "--device-memory-gib",
            "32",
            "--max-model-len",
            "8192",
        ],
    ));
    for word in ["Fits no", "Smallest changes", "awq", "a device with "] {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
    let text = flat(&stdout(
        0,
        &[
            "memory",
            "--gtt-gib",
            "120",
            "--host-ram-gib",
            "128",
            "--reserve-host-gib",
            "24",
            "--max-model-len",
            "8192",
        ],
    ));
    assert!(
        text.contains("--gpu-memory-utilization 0.86") && text.contains("ttm.pages_limit=31457280"),
        "{text}"
    );
    let v = valid(
        "memory",
        &stdout(
            0,
            &[
                "memory",
                "--context",
                "8192",
                "--concurrency",
                "4",
                "--json",
            ],
        ),
    );
    assert_eq!(v["fits"], true);
    let pasted = stdout(
        0,
        &[
            "memory",
            "--json",
            "--",
            "vllm",
            "serve",
            "Qwen/Qwen3-30B-A3B",
            "--max-model-len",
            "8192",
        ],
    );
    assert_eq!(valid("memory", &pasted)["max_model_len"], 8192);
}

#[test]
fn tune_recommends_a_line_and_is_the_same_on_any_number_of_threads() {
    let args = |threads: &'static str, form: &'static str| {
        [
            "tune",
            "--slo",
            "tpot.p95<300ms",
            "--threads",
            threads,
            form,
            "--max-concurrency",
            "8",
            "--num-prompts",
            "32",
            "--seeds",
            "1",
            "--input-len",
            "64",
            "--output-len",
            "16",
            "--max-num-batched-tokens",
            "512",
            "--only",
            "--knob",
            "max-num-seqs=2,4,8",
            "--knob",
            "moe-tiles=tuned",
            "--knob",
            "async-scheduling=on",
        ]
    };
    let one = stdout(0, &args("1", "--json"));
    assert_eq!(one, stdout(0, &args("3", "--json")));
    let v = valid("tune", &one);
    assert!(
        v["best"]["serve"]
            .as_str()
            .unwrap()
            .starts_with("vllm serve Qwen/")
    );
    let mut plain = args("2", "--json").to_vec();
    plain.retain(|a| *a != "--json");
    let text = flat(&stdout(0, &plain));
    for word in [
        "Tried",
        "Today",
        "Best",
        "Gain",
        "vllm serve",
        "moe-tiles tuned is no flag",
        "turned alone",
    ] {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
    plain[2] = "tpot.p95<1ms";
    assert!(flat(&stdout(1, &plain)).contains("no setting tried meets the SLO"));
}

#[test]
fn knobs_and_sizes_that_make_no_sense_are_refused() {
    for (args, says) in [
        (&["tune", "--knob", "max-num-seqs="][..], "empty value"),
        (&["tune", "--knob", "speed=9"], "no knob"),
        (&["tune", "--knob", "max-num-seqs"], "NAME=VALUE"),
        (&["tune", "--knob", "moe-tiles=fast"], "no path"),
        (&["tune", "--knob", "block-size=16,x"], "whole number"),
        (
            &["tune", "--knob", "prefix-caching=maybe"],
            "neither on nor off",
        ),
        (
            &["tune", "--knob", "block-size=16", "--knob", "block-size=32"],
            "twice",
        ),
        (&["tune", "--settings", "0"], "--settings"),
        (&["tune", "--max-num-seqs", "4,8"], "max-num-seqs"),
        (
            &["tune", "--levels", "4", "--max-concurrency", "4"],
            "--levels contradicts --max-concurrency",
        ),
        (&["memory", "--concurrency", "4"], "--context"),
        (&["memory", "--context", "0"], "at least 1"),
        (
            &["memory", "--context", "999999999"],
            "max_position_embeddings",
        ),
        (
            &["memory", "--gtt-gib", "200", "--host-ram-gib", "128"],
            "--host-ram-gib",
        ),
        (
            &["memory", "--gtt-gib", "64", "--carve-out-gib", "64"],
            "cannot be used with",
        ),
        (&["memory", "--max-num-seqs", "0"], "max_num_seqs"),
    ] {
        refused(args, says);
    }
}

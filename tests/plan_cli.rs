//! The planner's commands as a user types them.
use assert_cmd::Command;

fn capsim(args: &[&str]) -> std::process::Output {
    Command::cargo_bin("capsim")
        .unwrap()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
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
        .filter(|l| !args.contains(&"--json") && !l.contains("vllm serve"))
    {
        assert!(
            line.chars().count() <= 80,
            "{args:?}: wider than 80: {line}"
        );
    }
    text
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

/// Whether JSON satisfies the schema that `capsim schema` prints for it.
fn valid(schema: &str, text: &str) -> serde_json::Value {
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
    let text = stdout(0, &args);
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
    let text = stdout(1, &args);
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
    let text = stdout(1, &args);
    assert!(text.contains("output_throughput is not reached"), "{text}");
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
            &["capacity", "--slo", "ttft.p95<2s", "--input-len", "9000"],
            "max_model_len",
        ),
        (&["predict", "--think-time", "4"], "--users"),
    ] {
        refused(args, says);
    }
}

//! `capacity --verify` and `tune --verify` against `capsim serve`.
use crate::serving::Serving;
use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const MODEL: &str = "tests/data/bench/tiny-moe-mid.config.json";
const SERVED: [&str; 4] = ["--model", MODEL, "--max-model-len", "4096"];
const LOAD: [&str; 6] = [
    "--input-len",
    "64",
    "--output-len",
    "16",
    "--verify-prompts",
    "24",
];

fn capsim(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_capsim"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn answer(code: i32, out: &Output) -> Value {
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{err}");
    let value: Value = serde_json::from_slice(&out.stdout).unwrap();
    let schema = capsim_study::report::json::schemas::find("verification").unwrap();
    let again = (schema.again)(value.clone()).unwrap();
    assert_eq!(again, String::from_utf8_lossy(&out.stdout).trim_end());
    let validator = jsonschema::validator_for((schema.schema)().as_value()).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&value)
        .map(|e| e.to_string())
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    value
}

/// An SLO that four seats meet for six requests at once, and no longer for eight (host time decides).
fn capacity(server: &Serving) -> Vec<&str> {
    [
        &[
            "capacity",
            "--slo",
            "ttft.p50<80ms",
            "--no-what-if",
            "--max-num-seqs",
            "4",
        ][..],
        &SERVED,
        &LOAD,
        &["--verify", server.url()],
    ]
    .concat()
}

#[test]
fn three_loads_around_the_capacity_are_measured_beside_their_predictions() {
    let server = Serving::start(&[&SERVED[..], &["--max-num-seqs", "4"]].concat());
    let asked = [&capacity(&server)[..], &["--json"]].concat();
    let v = answer(0, &capsim(&asked, ""));
    let runs = v["runs"].as_array().unwrap();
    let met: Vec<bool> = runs.iter().map(|r| r["met"].as_bool().unwrap()).collect();
    assert_eq!(met, [true, true, false]);
    assert_eq!(v["agrees"], true);
    let load = v["capacity"]["highest"]["load"].as_f64().unwrap();
    assert_eq!(runs[1]["what"], format!("{load} requests at once"));
    for r in runs {
        assert_eq!(r["num_prompts"], 24);
        let slo = &r["slo"][0];
        assert_eq!(slo["term"], "ttft.p50<80ms");
        let (m, p) = (
            slo["measured"].as_f64().unwrap(),
            slo["predicted"].as_f64().unwrap(),
        );
        assert!(m > 0.0 && p > 0.0, "{r}");
        // The stand-in is the simulator: its throughput is the prediction's.
        let all = r["recording"]["metrics"].as_array().unwrap();
        let tokens = all
            .iter()
            .find(|m| m["metric"] == "output_token_throughput")
            .unwrap();
        assert!(tokens["error"].as_f64().unwrap().abs() < 0.25, "{tokens}");
    }
}

#[test]
fn a_server_that_is_slower_than_predicted_is_told_and_is_exit_code_1() {
    let slow = ["--max-num-seqs", "4", "--speedup", "0.1"];
    let server = Serving::start(&[&SERVED[..], &slow].concat());
    let out = capsim(&capacity(&server), "");
    let text = String::from_utf8_lossy(&out.stdout);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(flat.contains("NOT AS PREDICTED"), "{text}");
    assert!(
        flat.contains("the prediction meets the SLO, the server does not"),
        "{text}"
    );
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
}

#[test]
fn a_server_with_other_settings_is_told_and_the_prediction_has_them() {
    let other = [
        "--model",
        MODEL,
        "--max-model-len",
        "2048",
        "--max-num-seqs",
        "4",
    ];
    let server = Serving::start(&other);
    let asked = [&capacity(&server)[..], &["--json"]].concat();
    let v = answer(0, &capsim(&asked, ""));
    let notes = v["runs"][0]["recording"]["notes"].to_string();
    assert!(
        notes.contains("THE SERVER SAYS max-model-len 2048; the answer was made with 4096"),
        "{notes}"
    );
}

fn tune(server: &Serving) -> Vec<&str> {
    [
        &[
            "tune",
            "--only",
            "--knob",
            "max-num-seqs=8",
            "--max-num-seqs",
            "2",
        ][..],
        &["--max-concurrency", "8", "--num-prompts", "48", "--json"],
        &SERVED,
        &LOAD,
        &["--verify", server.url()],
    ]
    .concat()
}

#[test]
fn settings_are_measured_as_the_server_is_restarted_and_the_same_process_is_not_measured_twice() {
    let server = Serving::start(&[&SERVED[..], &["--max-num-seqs", "2"]].concat());
    // Today's is measured; then the server is still the same process, which is told; then the input ends.
    let out = capsim(&tune(&server), "\n\n");
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    let v = answer(0, &out);
    assert_eq!(v["runs"].as_array().unwrap().len(), 1);
    assert_eq!(v["runs"][0]["what"], "today's setting");
    assert!(err.contains("Setting 1 of 2: today's setting"), "{err}");
    assert!(err.contains("max-num-seqs 8"), "{err}");
    if cfg!(target_os = "linux") {
        assert!(
            err.contains("still the process that was measured before"),
            "{err}"
        );
    }
}

#[test]
fn a_setting_can_be_skipped_and_the_next_one_is_predicted_with_its_own_value() {
    let server = Serving::start(&[&SERVED[..], &["--max-num-seqs", "8"]].concat());
    let v = answer(0, &capsim(&tune(&server), "s\n\n"));
    let run = &v["runs"][0];
    assert_eq!(run["what"], "max-num-seqs 8");
    let queue = run["recording"]["components"].as_array().unwrap();
    let queue = queue.iter().find(|c| c["name"] == "queue").unwrap();
    // Eight seats for eight clients: nothing waits for a seat, in neither.
    assert!(queue["predicted"].as_f64().unwrap() < 0.02, "{queue}");
}

#[test]
fn what_cannot_be_verified_is_refused_before_anything_is_searched() {
    let refused = |args: &[&str], says: &str| {
        let out = capsim(
            &[&["capacity", "--slo", "ttft.p50<80ms"], args].concat(),
            "",
        );
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{err}");
        assert!(err.contains(says) && out.stdout.is_empty(), "{err}");
    };
    refused(
        &[
            "--verify",
            "http://127.0.0.1:9",
            "--verify-client",
            "--no-such-flag",
        ],
        "--verify-client",
    );
    refused(
        &["--verify", "http://127.0.0.1:9", "--verify-prompts", "0"],
        "--verify-prompts 0",
    );
    refused(&["--verify-prompts", "3"], "--verify");
}

#[test]
fn every_answer_ends_in_the_line_that_checks_it() {
    let own = [
        "--model",
        MODEL,
        "--max-model-len",
        "4096",
        "--input-len",
        "64",
        "--output-len",
        "16",
    ];
    let asked = [
        &[
            "capacity",
            "--slo",
            "ttft.p50<80ms",
            "--no-what-if",
            "--max-num-seqs",
            "4",
        ][..],
        &own,
    ]
    .concat();
    let out = capsim(&asked, "");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let (_, line) = text.rsplit_once("  capsim capacity ").unwrap();
    let words = shlex::split(&line.replace("\\\n", " ")).unwrap();
    // The line asks the same question again: its answer is the same but for the server, which is not there.
    let at = words.iter().position(|w| w == "--verify").unwrap();
    assert_eq!(words[at + 1], "http://127.0.0.1:8000");
    let again: Vec<&str> = std::iter::once("capacity")
        .chain(words[..at].iter().map(String::as_str))
        .collect();
    assert_eq!(String::from_utf8_lossy(&capsim(&again, "").stdout), text);
}

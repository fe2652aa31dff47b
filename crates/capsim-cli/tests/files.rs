//! Files as people bring them: packed, several results in one, logs, an output that is full.
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn run(args: &[&str], input: Option<&[u8]>) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_capsim"))
        .args(args)
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input closes it.
    let _ = stdin.write_all(input.unwrap_or_default());
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn bench(file: &str, more: &[&str], input: Option<&[u8]>) -> Output {
    let args = [
        "validate",
        "--bench",
        file,
        "--model",
        "qwen3-0.6b",
        "--device",
        "h200-sxm",
    ];
    run(&[&args[..], more].concat(), input)
}

fn names(o: &Output) -> Vec<String> {
    let v: Value = serde_json::from_slice(&o.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&o.stderr)));
    v["recordings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap().to_string())
        .collect()
}

fn error(o: &Output) -> String {
    let said = String::from_utf8_lossy(&o.stderr).into_owned();
    assert_eq!(o.status.code(), Some(2), "{said}");
    said
}

#[test]
fn several_results_are_all_compared_or_one_is_picked() {
    let file = "tests/data/bench/vllm-0.25-sweep-summary.json";
    let all = bench(file, &["--json"], None);
    assert_eq!(
        names(&all),
        ["vllm-0.25-sweep-summary#1", "vllm-0.25-sweep-summary#2"]
    );
    let text = String::from_utf8(bench(file, &[], None).stdout).unwrap();
    assert!(
        text.contains("measured (error)") && text.contains("THE FILE NAMES ANOTHER MODEL"),
        "{text}"
    );
    let second = format!("{file}#2");
    assert_eq!(
        names(&bench(&second, &["--json"], None)),
        ["vllm-0.25-sweep-summary#2"]
    );
    assert!(error(&bench(&format!("{file}#3"), &[], None)).contains("holds 2 results"));
    assert!(error(&bench(&format!("{file}#x"), &[], None)).contains("from 1 on"));
    // Twice the same, from one folder.
    let twice = bench(&format!("{second},{second}"), &["--json"], None);
    assert_eq!(names(&twice).len(), 2);
}

#[test]
fn a_file_is_read_packed_and_from_standard_input() {
    let text = std::fs::read(root().join("tests/data/bench/vllm-2026-console.txt")).unwrap();
    let mut wide = vec![0xff, 0xfe];
    wide.extend(
        String::from_utf8(text.clone())
            .unwrap()
            .encode_utf16()
            .flat_map(u16::to_le_bytes),
    );
    for bytes in [text, wide] {
        assert_eq!(names(&bench("-", &["--json"], Some(&bytes))).len(), 1);
    }
    assert!(error(&bench("-", &[], Some(&[0, 159, 146]))).contains("is no text"));
}

#[test]
fn flags_that_a_file_overrides_are_refused_by_name() {
    let file = "tests/data/bench/vllm-0.32.json";
    for flags in [
        &["--max-concurrency", "1"][..],
        &["--request-rate", "3"],
        &["--random-input-len", "3"],
        &["--own-draws"],
    ] {
        assert!(
            error(&bench(file, flags, None)).contains(flags[0]),
            "{flags:?}"
        );
    }
    assert!(
        error(&bench(file, &["--recorded-input-len", "9"], None))
            .contains("says its lengths itself")
    );
    let split = bench(
        "tests/data/bench/vllm-0.6-throughput.json",
        &["--recorded-input-len", "128", "--json"],
        None,
    );
    assert_eq!(names(&split).len(), 1);
}

#[test]
fn an_unknown_file_is_told_what_it_looks_like_and_what_is_read() {
    let e = error(&bench("-", &[], Some(b"{\"foo\": 1, \"bar\": 2}")));
    assert!(
        e.contains("`bar`") && e.contains("GuideLLM") && e.contains("llama-bench"),
        "{e}"
    );
    let e = error(&bench("-", &[], Some(b"hello world\n")));
    assert!(e.contains("begins with `hello world`"), "{e}");
}

#[test]
fn a_log_tells_what_ran_and_what_binds() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("s.json").display().to_string();
    let log = "tests/data/logs/vllm-0.27.log";
    let o = run(
        &[
            "explain",
            log,
            "--device",
            "rtx-4090",
            "--json",
            "--save-scenario",
            &saved,
        ],
        None,
    );
    let v: Value = serde_json::from_slice(&o.stdout).unwrap();
    assert_eq!(
        (
            v["engine"].as_str(),
            v["version"].as_str(),
            v["model"].as_str()
        ),
        (Some("vllm"), Some("0.27.1"), Some("Qwen/Qwen3-8B"))
    );
    let weights = &v["memory"][0];
    assert!(
        (weights["logged"].as_f64().unwrap() - weights["predicted"].as_f64().unwrap()).abs() < 0.3,
        "{weights}"
    );
    assert!(
        v["findings"][0]["claim"]
            .as_str()
            .unwrap()
            .starts_with("The KV cache binds")
    );
    let again = run(&["predict", &saved, "--num-prompts", "4", "--json"], None);
    assert_eq!(
        again.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    assert!(error(&run(&["explain", "README.md"], None)).contains("nor a log"));
    assert!(error(&run(&["explain", log, "--fit", "x"], None)).contains("--fit"));
}

/// A full disk is one line and exit code 2, never a panic.
#[cfg(target_os = "linux")]
#[test]
fn a_full_output_is_one_line() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let o = Command::new(env!("CARGO_BIN_EXE_capsim"))
        .arg("models")
        .current_dir(root())
        .stdout(full)
        .output()
        .unwrap();
    let said = error(&o);
    assert!(
        said.lines().count() == 1 && said.starts_with("error: standard output:"),
        "{said}"
    );
}

//! The commands as a user types them: what they print, write and return.
use assert_cmd::Command;
use std::path::Path;

const RUNS: &str = "validation/gfx1151/qwen3-30b-a3b-vllm-0.12/runs.json";

fn capsim(args: &[&str]) -> std::process::Output {
    Command::cargo_bin("capsim")
        .unwrap()
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(args)
        .timeout(std::time::Duration::from_secs(300))
        .output()
        .unwrap()
}

fn stdout(args: &[&str]) -> String {
    let out = capsim(args);
    assert!(
        out.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

/// Bad input: exit 2, an error that names what is wrong, nothing on standard output, no panic.
fn refused(args: &[&str], says: &[&str]) {
    let out = capsim(args);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{args:?}: {err}");
    assert!(!err.contains("panicked"), "{args:?}: {err}");
    assert!(out.stdout.is_empty(), "{args:?} printed something");
    for word in says {
        assert!(err.contains(word), "{args:?}: `{word}` is not in: {err}");
    }
}

fn json(args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

fn number(v: &serde_json::Value, path: &str) -> f64 {
    v.pointer(path)
        .and_then(|n| n.as_f64())
        .unwrap_or_else(|| panic!("{path} in {v}"))
}

#[test]
fn a_pasted_vllm_line_means_the_same_as_the_flags() {
    let common = [
        "--num-prompts",
        "4",
        "--max-concurrency",
        "2",
        "--output-len",
        "16",
        "--json",
    ];
    let mut flags = vec![
        "predict",
        "--max-num-seqs",
        "2",
        "--enforce-eager",
        "--max-model-len",
        "1024",
    ];
    flags.extend(common);
    let mut pasted = vec!["predict"];
    pasted.extend(common);
    pasted.extend(["--", "vllm", "serve", "Qwen/Qwen3-30B-A3B-Instruct-2507"]);
    pasted.extend([
        "--max-num-seqs",
        "2",
        "--enforce-eager",
        "--max-model-len=1024",
        "--port",
        "8000",
    ]);
    let (a, b) = (json(&flags), json(&pasted));
    assert_eq!(a["points"][0]["metrics"], b["points"][0]["metrics"]);
    assert_eq!(a["points"][0]["settings"], b["points"][0]["settings"]);
}

#[test]
fn the_same_command_prints_the_same_bytes() {
    let args = [
        "predict",
        "--num-prompts",
        "8",
        "--request-rate",
        "0.2",
        "--random-range-ratio",
        "0.5",
        "--json",
    ];
    assert_eq!(stdout(&args), stdout(&args));
    let other = [&args[..], &["--seed", "1"]].concat();
    assert_ne!(stdout(&args), stdout(&other));
}

/// A table varies what was given several values, and nothing else.
#[test]
fn a_what_if_table_varies_the_flags_given() {
    let few = ["--max-concurrency", "4", "--num-prompts", "8"];
    let args = [&["predict", "--max-num-seqs", "1,4"], &few[..]].concat();
    let args = [&args[..], &["--output-len", "32"]].concat();
    let varied = |more: &[&str]| {
        let v = json(&[&args[..], more, &["--json"]].concat());
        let points = v["points"].as_array().unwrap().clone();
        let fields = points[0]["varied"].as_object().unwrap().clone();
        (
            points,
            fields.into_iter().map(|(f, _)| f).collect::<Vec<_>>(),
        )
    };
    let (points, fields) = varied(&[]);
    assert_eq!(
        (points.len(), fields),
        (2, vec!["max_num_seqs".to_string()])
    );
    let all = [
        "--prompts",
        "distinct,identical",
        "--moe-tiles",
        "default,tuned",
    ];
    let (points, fields) = varied(&all);
    assert_eq!((points.len(), fields.len()), (8, 3));
    let text = stdout(&[&args[..], &all].concat());
    assert!(
        text.contains("moe-tiles tuned, prompts identical"),
        "{text}"
    );
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    let throughput = |prompts: &str, tiles: &str, seqs: u32| {
        let p = points
            .iter()
            .find(|p| {
                p["varied"]["prompts"] == prompts
                    && p["varied"]["moe_tiles"] == tiles
                    && p["varied"]["max_num_seqs"] == seqs
            })
            .unwrap();
        number(p, "/metrics/output_throughput/value")
    };
    // Laws, not figures: lockstep requests share experts, tuned tiles are faster, batching helps.
    assert!(throughput("identical", "default", 4) > 1.5 * throughput("distinct", "default", 4));
    assert!(throughput("distinct", "tuned", 4) > throughput("distinct", "default", 4));
    assert!(throughput("distinct", "default", 4) > throughput("distinct", "default", 1));
}

#[test]
fn reports_are_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (md, csv) = (dir.path().join("r.md"), dir.path().join("r.csv"));
    let args = [
        "predict",
        "--num-prompts",
        "2",
        "--output-len",
        "8",
        "--markdown",
    ];
    stdout(
        &[
            &args[..],
            &[md.to_str().unwrap(), "--csv", csv.to_str().unwrap()],
        ]
        .concat(),
    );
    assert!(std::fs::read_to_string(&md).unwrap().contains("## Caveats"));
    assert_eq!(std::fs::read_to_string(&csv).unwrap().lines().count(), 2);
    let nowhere = dir.path().join("missing/r.md");
    refused(
        &[&args[..], &[nowhere.to_str().unwrap()]].concat(),
        &["r.md"],
    );
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        2,
        "no leftovers"
    );
}

#[test]
fn requests_and_trace_tell_the_same_story_as_the_summary() {
    let dir = tempfile::tempdir().unwrap();
    let (jsonl, trace) = (dir.path().join("r.jsonl"), dir.path().join("t.json"));
    let v = json(&[
        "predict",
        "--num-prompts",
        "6",
        "--max-concurrency",
        "2",
        "--output-len",
        "8",
        "--json",
        "--save-requests",
        jsonl.to_str().unwrap(),
        "--trace",
        trace.to_str().unwrap(),
    ]);
    let lines: Vec<serde_json::Value> = std::fs::read_to_string(&jsonl)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 6);
    let e2el: f64 = lines
        .iter()
        .map(|r| number(r, "/finish") - number(r, "/arrival"))
        .sum();
    let mean = number(&v, "/points/0/metrics/mean_e2el_ms/value");
    assert!((e2el / 6.0 * 1e3 - mean).abs() < 1e-3, "{e2el} {mean}");
    let t: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&trace).unwrap()).unwrap();
    let events = t["traceEvents"].as_array().unwrap();
    let decode: f64 = events
        .iter()
        .filter(|e| e["name"] == "decode" && e["cat"] == "request")
        .map(|e| number(e, "/dur"))
        .sum();
    let expected: f64 = lines
        .iter()
        .map(|r| number(r, "/finish") - number(r, "/first_token"))
        .sum();
    // The trace rounds to whole microseconds at both ends.
    assert!((decode / 1e6 - expected).abs() < 6.0 * 1e-6);
    refused(
        &[
            "predict",
            "--max-num-seqs",
            "1,2",
            "--trace",
            trace.to_str().unwrap(),
        ],
        &["--trace"],
    );
}

#[test]
fn bad_flags_are_refused_by_name() {
    refused(
        &["predict", "--model", "Qwen/Qwen3-31B"],
        &["Qwen3-31B", "--model"],
    );
    refused(&["predict", "--device", "gfx1150"], &["gfx1150", "gfx1151"]);
    refused(
        &["predict", "--engine", "vllm-9"],
        &["vllm-9", "vllm-0.12-rocm"],
    );
    refused(&["predict", "--max-num-seqs", "0"], &["max_num_seqs"]);
    refused(
        &["predict", "--max-num-seqs", "many"],
        &["--max-num-seqs", "many"],
    );
    refused(
        &["predict", "--gpu-memory-utilization", "0.1"],
        &["does not fit", "gpu_memory_utilization"],
    );
    refused(
        &["predict", "--gpu-memory-utilization", "2"],
        &["gpu_memory_utilization"],
    );
    refused(
        &["predict", "--moe-tiles", "best"],
        &["best", "default, tuned"],
    );
    refused(
        &["predict", "--random-input-len", "500000"],
        &["max_model_len", "262144"],
    );
    refused(
        &["predict", "--random-range-ratio", "1.5"],
        &["--random-range-ratio"],
    );
    refused(&["predict", "--request-rate", "-1"], &["--request-rate"]);
    refused(
        &["predict", "--prompts", "similar"],
        &["similar", "identical"],
    );
    refused(&["predict", "--weights", "int3"], &["int3"]);
    refused(
        &["predict", "--", "vllm", "serve", "m", "--max-num-seqs"],
        &["--max-num-seqs"],
    );
    refused(
        &[
            "predict",
            "--max-num-batched-tokens",
            "8",
            "--max-num-seqs",
            "16",
        ],
        &["max_num_batched_tokens"],
    );
}

#[test]
fn fitted_runs_are_apart_and_the_others_agree() {
    let v = json(&["validate", RUNS, "--fit", "latency-10", "--json"]);
    let runs = v["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 6);
    for r in runs {
        let fitted = r["id"] == "latency-10";
        assert_eq!(r["fitted"], fitted);
        // A fitted run gets no verdict.
        assert_eq!(r["agrees"].is_null(), fitted);
        if !fitted {
            assert_eq!(r["agrees"], true, "{}", r["id"]);
        }
    }
}

#[test]
fn a_verdict_outside_the_tolerance_is_exit_1() {
    let out = capsim(&[
        "validate",
        RUNS,
        "--fit",
        "latency-10",
        "--tolerance",
        "0.001",
    ]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stdout).contains("OFF"));
}

#[test]
fn a_fitted_profile_is_written_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine.json");
    let file = path.to_str().unwrap();
    stdout(&[
        "validate",
        RUNS,
        "--fit",
        "latency-10",
        "--write-profile",
        file,
    ]);
    let v = json(&["validate", RUNS, "--engine", file, "--json"]);
    assert!(
        v["runs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|r| r["agrees"] == true)
    );
    let p = json(&[
        "predict",
        "--engine",
        file,
        "--num-prompts",
        "2",
        "--output-len",
        "8",
        "--json",
    ]);
    assert_eq!(p["points"][0]["engine"], "vllm-0.12-rocm-fitted");
}

#[test]
fn explain_finds_what_the_report_did_not_say() {
    let text = stdout(&["explain", RUNS, "--fit", "latency-10"]);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains("requests ran strictly one after another: the effective max-num-seqs was 1")
    );
    assert!(flat.contains("routing correlation lost"));
}

#[test]
fn a_run_that_cannot_be_predicted_does_not_hide_the_others() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let text = std::fs::read_to_string(root.join(RUNS)).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let runs = file["runs"].as_array_mut().unwrap();
    let whole = runs.len();
    let bad = runs[0]["id"].as_str().unwrap().to_string();
    // No prompt of that length fits.
    runs[0]["engine_args"]["max_model_len"] = 8.into();
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("one-bad.json");
    std::fs::write(&at, file.to_string()).unwrap();
    let out = capsim(&["validate", at.to_str().unwrap(), "--json"]);
    assert_eq!(out.status.code(), Some(2));
    let v: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(v["runs"].as_array().unwrap().len(), whole - 1);
    assert_eq!(v["not_predicted"][0]["id"], bad.as_str());
    let out = capsim(&["validate", at.to_str().unwrap(), "--summary"]);
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(said.contains(&format!("not predicted: {bad}: ")), "{said}");
}

#[test]
fn broken_files_are_refused_by_file_and_field() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let p = dir.path().join(name);
        std::fs::write(&p, text).unwrap();
        p.to_str().unwrap().to_string()
    };
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let text = std::fs::read_to_string(root.join(RUNS)).unwrap();
    let unknown = write(
        "runs.json",
        &text.replace("\"max_num_seqs\": 2", "\"max_num_sequences\": 2"),
    );
    refused(
        &["validate", &unknown],
        &["runs.json", "engine_args", "max_num_sequences"],
    );
    let negative = write(
        "neg.json",
        &text.replace("\"mean_e2el_ms\": 7736", "\"mean_e2el_ms\": -7736"),
    );
    refused(&["explain", &negative], &["neg.json", "mean_e2el_ms"]);
    let metric = write(
        "met.json",
        &text.replace("\"mean_e2el_ms\"", "\"mean_e3el_ms\""),
    );
    refused(&["validate", &metric], &["met.json", "mean_e3el_ms"]);
    refused(&["validate", &write("no.json", "{")], &["no.json"]);
    refused(&["validate", "nowhere.json"], &["nowhere.json"]);
    refused(
        &["validate", RUNS, "--fit", "latency-11"],
        &["latency-11", "latency-10"],
    );
    let config = write(
        "config.json",
        "{\"architectures\": [\"Qwen3MoForCausalLM\"]}",
    );
    refused(
        &["predict", "--model", &config],
        &["config.json", "Qwen3MoeForCausalLM"],
    );
    let device = write("device.json", "{\"schema\": \"capsim.device/2\"}");
    refused(
        &["predict", "--device", &device],
        &["device.json", "schema", "capsim.device/1"],
    );
}

const TRACES: &str = "tests/data/traces";

#[test]
fn load_shapes_contradict_each_other_by_flag() {
    let azure = format!("{TRACES}/azure.csv");
    for (args, says) in [
        (
            vec!["--trace-file", &azure, "--request-rate", "3"],
            vec!["--trace-file", "--request-rate"],
        ),
        (
            vec!["--users", "3", "--max-concurrency", "4"],
            vec!["--users", "--max-concurrency"],
        ),
        (vec!["--think-time", "3"], vec!["--users"]),
        (vec!["--trace-spread"], vec!["--trace-file"]),
        (
            vec!["--arrival", "weibull:2"],
            vec!["--request-rate", "weibull"],
        ),
        (
            vec!["--arrival", "mmpp:1,2,3"],
            vec!["--arrival", "RATE,RATE,SECONDS,SECONDS"],
        ),
        (
            vec![
                "--arrival",
                "poisson",
                "--burstiness",
                "2",
                "--request-rate",
                "1",
            ],
            vec!["--burstiness", "--arrival"],
        ),
        (
            vec!["--input-dist", "normal:5"],
            vec!["--input-dist", "normal:MEAN,SD"],
        ),
        (
            vec!["--input-dist", "fixed:5", "--random-input-len", "4"],
            vec!["--input-dist", "--random-input-len"],
        ),
        (vec!["--trace-file", "nowhere.csv"], vec!["nowhere.csv"]),
        (
            vec!["--trace-file", &azure, "--trace-format", "mooncake"],
            vec!["azure.csv", "line 1"],
        ),
        (
            vec!["--trace-file", &azure, "--trace-speedup", "0"],
            vec!["trace.speedup"],
        ),
    ] {
        refused(&[&["predict"], &args[..]].concat(), &says);
    }
}

#[test]
fn a_converted_trace_predicts_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("t.jsonl");
    let out = out.to_str().unwrap();
    let azure = format!("{TRACES}/azure.csv");
    stdout(&["trace", "convert", &azure, "-o", out]);
    let predict = |file: &str| json(&["predict", "--trace-file", file, "--json"]);
    let (a, b) = (predict(&azure), predict(out));
    assert_eq!(a["points"][0]["metrics"], b["points"][0]["metrics"]);
    assert_eq!(a["points"][0]["completed"], 4);
    let s = json(&["trace", "stats", out, "--json"]);
    assert_eq!(s["requests"], 4);
    refused(
        &["trace", "stats", &azure, "--trace-rate", "2"],
        &["--trace-rate", "ServeGen"],
    );
    // ServeGen folders are drawn from, by seed.
    let folder = format!("{TRACES}/servegen");
    let draw = |seed: &str| stdout(&["trace", "stats", &folder, "--seed", seed, "--json"]);
    assert_eq!(draw("1"), draw("1"));
    assert_ne!(draw("1"), draw("2"));
}

#[test]
fn a_reader_that_closes_early_is_no_error() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("capsim"))
        .args(["schema", "samples"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before anything can be written in full: the pipe's reader is gone.
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(err.is_empty(), "{err}");
    assert!(out.status.success(), "{:?}", out.status);
}

/// ModelOpt says the format in a file of its own: a checkpoint in NVFP4 is not silently one in bfloat16.
#[test]
fn a_format_that_stands_beside_the_config_is_not_overlooked() {
    let dir = tempfile::tempdir().unwrap();
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    std::fs::copy(
        root.join("models/qwen3-0.6b/config.json"),
        dir.path().join("config.json"),
    )
    .unwrap();
    let memory = || {
        Command::cargo_bin("capsim")
            .unwrap()
            .args(["memory", "--json", "--model", dir.path().to_str().unwrap()])
            .output()
            .unwrap()
    };
    let weights = |o: &std::process::Output| -> f64 {
        let v: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
        v["weights"].as_f64().unwrap()
    };
    let plain = weights(&memory());
    let say = |algorithm: &str| {
        let text = format!(r#"{{"quantization": {{"quant_algo": "{algorithm}"}}}}"#);
        std::fs::write(dir.path().join("hf_quant_config.json"), text).unwrap();
    };
    say("FP8");
    let fp8 = weights(&memory());
    assert!(fp8 < 0.8 * plain);
    say("NVFP4");
    assert!(weights(&memory()) < 0.8 * fp8);
    say("FP3");
    let o = memory();
    assert_eq!(o.status.code(), Some(2));
    let said = String::from_utf8_lossy(&o.stderr).into_owned();
    assert!(
        said.contains("quant_algo") && said.contains("FP3") && said.contains("--weights"),
        "{said}"
    );
}

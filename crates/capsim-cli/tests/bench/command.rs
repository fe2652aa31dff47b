//! `capsim bench`, the command.
use super::server::{Act, Server};
use std::sync::atomic::Ordering;
use std::time::Duration;

fn capsim(args: &[&str]) -> std::process::Output {
    assert_cmd::Command::cargo_bin("capsim")
        .unwrap()
        .args(args)
        .timeout(Duration::from_secs(120))
        .output()
        .unwrap()
}

#[test]
fn the_command_writes_vllms_keys_and_a_report() {
    let server = Server::start(
        &[Act::Stream(4, 2), Act::Stream(4, 2), Act::Status(500)],
        false,
    );
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (result, lines, report) = (at("r.json"), at("r.jsonl"), at("r.md"));
    let out = capsim(&[
        "bench",
        "throughput",
        "--base-url",
        &server.url,
        "--num-prompts",
        "6",
        "--max-concurrency",
        "2",
        "--input-len",
        "16",
        "--output-len",
        "8",
        "--num-warmups",
        "0",
        "--save-detailed",
        "--result-filename",
        &result,
        "--save-requests",
        &lines,
        "--markdown",
        &report,
        "--goodput",
        "ttft:60000",
        "--metadata",
        "box=mine",
    ]);
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(
        out.status.code(),
        Some(1),
        "two failed: {text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    for words in [
        "============ Serving Benchmark Result ============",
        "Failed requests:                         2",
        "---------------Time to First Token----------------",
        "P99 TTFT (ms):",
        "Request goodput (req/s):",
        "version 0.12.0+stub, model stub, max-model-len 2048, 2048 KV blocks of 128 tokens, prefix caching on",
        "2 failed: HTTP status 500",
    ] {
        let flat = |t: &str| t.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            flat(&text).contains(&flat(words)),
            "`{words}` is not in\n{text}"
        );
    }
    let v: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&result).unwrap()).unwrap();
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
        "mean_ttft_ms",
        "median_tpot_ms",
        "std_itl_ms",
        "p99_e2el_ms",
        "input_lens",
        "output_lens",
        "ttfts",
        "itls",
        "generated_texts",
        "errors",
        "start_times",
        "latencies",
        "queue_times",
        "box",
    ] {
        assert!(v.get(key).is_some(), "{key}");
    }
    assert_eq!(
        (&v["completed"], &v["failed"], &v["request_rate"]),
        (&4.into(), &2.into(), &"inf".into())
    );
    assert_eq!(v["itls"][0].as_array().unwrap().len(), 7);
    assert_eq!(v["capsim"]["server"]["num_gpu_blocks"], 2048);
    let rows: Vec<serde_json::Value> = std::fs::read_to_string(&lines)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(rows.len(), 6);
    assert_eq!(rows[2]["failure"]["kind"]["status"], 500);
    let report = std::fs::read_to_string(&report).unwrap();
    assert!(
        report.contains("| Successful requests | 4 (67%) |"),
        "{report}"
    );
}

#[test]
fn bad_flags_and_no_server_exit_2_with_a_reason() {
    for (args, says) in [
        (
            vec!["bench", "latency", "--base-url", "nonsense"],
            "--base-url",
        ),
        (vec!["bench", "latency", "--base-url", "ftp://x"], "http://"),
        (
            vec!["bench", "serve", "--request-rate", "-1"],
            "--request-rate",
        ),
        (vec!["bench", "serve", "--goodput", "ttft=3"], "--goodput"),
        (vec!["bench", "serve", "--token-ids", "9:3"], "--token-ids"),
        (vec!["bench", "serve", "--header", "x"], "--header"),
        (
            vec!["bench", "serve", "--tokenizer", "/nowhere"],
            "/nowhere",
        ),
        (vec!["bench", "serve", "--metrics-as", "mine"], "mine"),
        (
            vec!["bench", "serve", "--result-dir", "/nowhere"],
            "--result-dir",
        ),
        (
            vec![
                "bench",
                "latency",
                "--port",
                "9",
                "--ready-check-timeout-sec",
                "0",
            ],
            "no server answered",
        ),
    ] {
        let out = capsim(&args);
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {err}");
        assert!(err.contains(says), "{args:?}: {err}");
        assert!(out.stdout.is_empty() && !err.contains("panicked"));
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_writes_what_was_measured_and_exits_130() {
    let server = Server::start(&[Act::Stream(5, 5)], false);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.json");
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_capsim"))
        .args([
            "bench",
            "serve",
            "--num-prompts",
            "100000",
            "--max-concurrency",
            "2",
            "--input-len",
            "4",
            "--output-len",
            "4",
        ])
        .args([
            "--base-url",
            &server.url,
            "--result-filename",
            path.to_str().unwrap(),
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Until it is certainly under way.
    while server.stub.tokens.load(Ordering::Relaxed) < 40 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&out.stdout).contains("PARTIAL"));
    let v: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(v["capsim"]["partial"], true);
    let count = |p: &str| v.pointer(p).unwrap().as_u64().unwrap();
    assert!(count("/completed") >= 5);
    assert_eq!(
        count("/completed") + count("/failed") + count("/capsim/never_sent"),
        100_000
    );
}

#[test]
fn a_refusal_that_holds_for_all_requests_ends_the_run_at_once() {
    for (status, says) in [(401, "--api-key"), (404, "--endpoint"), (308, "--base-url")] {
        let server = Server::start(&[Act::Status(status)], false);
        let out = capsim(&[
            "bench",
            "serve",
            "--base-url",
            &server.url,
            "--num-prompts",
            "1000",
            "--max-concurrency",
            "2",
            "--random-input-len",
            "8",
            "--random-output-len",
            "4",
        ]);
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{err}");
        assert!(
            err.contains(&status.to_string()) && err.contains(says),
            "{err}"
        );
        let sent = server.stub.seen.lock().unwrap().len();
        assert!(sent < 20, "{sent} requests were sent");
    }
    // A server that answers some and refuses others for good is measured to the end.
    let server = Server::start(&[Act::Stream(1, 1), Act::Status(404)], false);
    let out = capsim(&[
        "bench",
        "latency",
        "--base-url",
        &server.url,
        "--num-prompts",
        "6",
        "--num-warmups",
        "0",
    ]);
    assert_eq!(out.status.code(), Some(1));
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(
        text.contains("Failed requests:                         3"),
        "{text}"
    );
    assert!(text.starts_with("Avg latency: "), "{text}");
    assert!(text.contains("\n10% percentile latency: "), "{text}");
    assert!(text.contains("Total token throughput (tok/s):"), "{text}");
}

#[test]
fn a_result_that_cannot_be_written_is_printed_all_the_same() {
    let server = Server::start(&[Act::Stream(1, 1)], false);
    let out = capsim(&[
        "bench",
        "latency",
        "--base-url",
        &server.url,
        "--num-prompts",
        "2",
        "--result-filename",
        "/dev/full/result.json",
    ]);
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(2));
    assert!(
        text.contains("Successful requests:                     2"),
        "{text}"
    );
    assert!(String::from_utf8_lossy(&out.stderr).contains("result.json"));
}

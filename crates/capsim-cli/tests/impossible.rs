//! Demands that nothing can meet and flags that make no sense: answered within seconds, by the name of what is wrong and what to do
//! instead, never with a panic or a hang.
use assert_cmd::Command;
use std::time::Duration;

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let out = Command::cargo_bin("capsim")
        .unwrap()
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(args)
        // Seconds; more only where a debug build shares its processor with other tests.
        .timeout(Duration::from_secs(60))
        .output()
        .unwrap();
    let text = |b: &[u8]| {
        let words: Vec<String> = String::from_utf8_lossy(b)
            .split_whitespace()
            .map(String::from)
            .collect();
        words.join(" ")
    };
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

/// Splits a line as a shell does.
fn words(line: &str) -> Vec<String> {
    shlex::split(line).unwrap()
}

/// Refused with exit code 2, nothing on the standard output, and all of the words in the error.
fn refused(line: &str, says: &[&str]) {
    let words = words(line);
    let args: Vec<&str> = words.iter().map(String::as_str).collect();
    let (code, out, err) = run(&args);
    assert_eq!(code, Some(2), "{line}: {out}{err}");
    assert!(
        out.is_empty() && !err.contains("panicked"),
        "{line}: {out}{err}"
    );
    for s in says {
        assert!(err.contains(s), "{line}: `{s}` is not in: {err}");
    }
}

/// Answered with an exit code, and all of the words in the answer.
fn answered(line: &str, expected: i32, says: &[&str]) -> String {
    let words = words(line);
    let args: Vec<&str> = words.iter().map(String::as_str).collect();
    let (code, out, err) = run(&args);
    assert_eq!(code, Some(expected), "{line}: {out}{err}");
    assert!(!err.contains("panicked"), "{line}: {err}");
    for s in says {
        assert!(out.contains(s), "{line}: `{s}` is not in: {out}");
    }
    out
}

#[test]
fn numbers_that_make_no_sense_are_refused_by_their_flag() {
    for (line, says) in [
        ("capacity --slo 'ttft.p95<0ms'", "above 0"),
        (
            "capacity --slo 'ttft.p95<-2s'",
            "does not begin with a number",
        ),
        (
            "capacity --slo 'ttft.p95<NaNs'",
            "does not begin with a number",
        ),
        ("capacity --slo 'foo.p95<1s'", "none of ttft, tpot"),
        ("capacity --slo ''", "empty condition"),
        (
            "capacity --slo 'ttft.p95<2s' --max-concurrency 0",
            "--max-concurrency 0",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --max-concurrency 4000000000",
            "at most 131072",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --users 4000000000 --think-time 3",
            "--users 4000000000",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --num-prompts 4000000000",
            "--num-prompts 4000000000",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --num-prompts 0",
            "--num-prompts 0",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --request-rate 0",
            "--request-rate 0",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --request-rate -1",
            "--request-rate -1",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --request-rate nan",
            "--request-rate: `nan`",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --request-rate 1e308",
            "--request-rate 1",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --think-time -1",
            "think time must lie between",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --think-time nan",
            "--think-time: `nan`",
        ),
        ("capacity --slo 'ttft.p95<2s' --seeds 0", "--seeds 0"),
        (
            "capacity --slo 'ttft.p95<2s' --confidence nan",
            "--confidence NaN",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --random-range-ratio 1.5",
            "--random-range-ratio",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --for-users 0",
            "--for-users, a number above 0",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --by rate --for-rate inf",
            "--for-rate, a number above 0",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --input-len 0",
            "--random-input-len",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --gpu-memory-utilization 2",
            "gpu_memory_utilization",
        ),
        ("predict --max-concurrency 0", "--max-concurrency"),
        ("predict --max-concurrency 4000000000", "--max-concurrency"),
        ("predict --num-prompts 0", "--num-prompts"),
        ("predict --num-prompts 4000000000", "--num-prompts"),
        ("predict --max-num-seqs -1", "--max-num-seqs"),
        ("predict --max-num-seqs ''", "--max-num-seqs"),
        ("predict --request-rate nan", "--request-rate"),
        ("predict --output-len 4000000000", "--random-output-len"),
        (
            "predict --max-num-batched-tokens 4 --max-num-seqs 8",
            "raise it or lower max_num_seqs",
        ),
        ("tune --devices 0", "--devices 0"),
        ("tune --devices ''", "--devices"),
        ("tune --levels 0", "--levels"),
        ("tune --knob max-num-seqs=8..2", "8..2"),
        ("tune --knob max-num-seqs=-4", "-4"),
        ("tune --knob gpu-memory-utilization=nan", "nan"),
        ("tune --knob max-num-seqs=", "empty value"),
        ("memory --device-memory-gib -4", "--device-memory-gib -4"),
        ("memory --device-memory-gib nan", "--device-memory-gib NaN"),
        (
            "memory --max-model-len 4000000000",
            "max_position_embeddings",
        ),
        ("memory --context 4096 --concurrency 0", "--concurrency"),
        ("memory --contexts ''", "--contexts"),
    ] {
        refused(line, &[says]);
    }
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    for (line, says) in [
        (
            "capacity --slo 'throughput>5' --for-users 4",
            "add a limit on ttft, tpot or e2el",
        ),
        (
            "capacity --slo 'throughput>5' --by rate",
            "--by concurrency",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --request-rate 4 --users 3 --think-time 3",
            "--by users contradicts --request-rate",
        ),
        (
            "capacity --slo 'ttft.p95<2s' --input-len 5000 --max-model-len 4096",
            "raise --max-model-len",
        ),
        ("predict -- ls -la", "`ls -la` starts no server"),
        ("predict -- vllm bench serve", "names no model"),
        ("tune --only", "--knob"),
    ] {
        refused(line, &[says]);
    }
}

#[test]
fn a_model_that_does_not_fit_leads_to_the_command_that_says_what_would() {
    let model = "--model llama-3.1-70b-instruct";
    for command in ["predict", "capacity --slo 'ttft.p95<2s'", "tune"] {
        let asks = format!("capsim memory {model} --max-num-seqs 4");
        refused(
            &format!("{command} {model} --max-num-seqs 4 --random-input-len 64"),
            &["the model does not fit", &asks],
        );
    }
    let line = "-- vllm serve llama-3.1-8b-instruct --max-model-len 131072";
    let asks = "capsim memory --model llama-3.1-8b-instruct --device rtx-4090 --server vllm --max-model-len 131072";
    refused(
        &format!("predict --device rtx-4090 {line}"),
        &["lower max_model_len to", asks],
    );
    // What it leads to answers, and what that offers fits.
    let text = answered(
        &asks["capsim ".len()..],
        1,
        &["Smallest changes that make it fit"],
    );
    let len = text.split("--max-model-len ").nth(1).unwrap();
    let len = len
        .split_whitespace()
        .next()
        .unwrap()
        .trim_end_matches(['.', ',']);
    answered(
        &format!("memory --device rtx-4090 --model llama-3.1-8b-instruct --max-model-len {len}"),
        0,
        &["Fits yes"],
    );
}

/// Throughput ends where every place is taken or the KV cache is full: then it is known what is the most, and no more load is tried.
#[test]
fn throughput_that_no_load_reaches_is_answered_with_the_most_that_one_does() {
    const SMALL: &str =
        "--max-num-seqs 8 --input-len 64 --output-len 16 --max-num-batched-tokens 512";
    let impossible = format!("capacity --slo 'throughput>100000' {SMALL}");
    let text = answered(
        &impossible,
        1,
        &[
            "none: no load meets the SLO",
            "no engine can",
            "Nearest possible: output_throughput>",
        ],
    );
    let nearest = text.split("Nearest possible: ").nth(1).unwrap();
    let nearest = nearest.split(' ').next().unwrap();
    // The nearest possible is possible.
    answered(
        &format!("capacity --slo '{nearest}' {SMALL}"),
        0,
        &["on [", "nothing in the SLO bounds it from above"],
    );
    answered(
        &format!("{impossible} --random-range-ratio 0.5"),
        1,
        &["Nearest possible: output_throughput>"],
    );
    let slo = format!("capacity --slo 'tpot.p95<400ms,throughput>100000' --no-what-if {SMALL}");
    answered(
        &slo,
        1,
        &["is not reached", "Nearest possible: output_throughput>"],
    );
    answered(
        &format!(
            "tune --slo 'throughput>100000' --only --knob max-num-seqs=2 {SMALL} --max-concurrency 4"
        ),
        1,
        &["no setting tried meets the SLO"],
    );
}

#[test]
fn plans_and_results_that_say_nothing_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let many: Vec<String> = (1..1500).map(|n: u32| n.to_string()).collect();
    let many = many.join(",");
    for (text, says) in [
        ("", "the plan is empty"),
        ("[[points]]\n", "the plan is empty"),
        ("[grid]\nmax-num-seqs = []\n", "the list is empty"),
        ("[grid]\nmax-num-seq = [4]\n", "did you mean `max_num_seqs`"),
        ("[base]\nmax-concurrency = -4\n", "-4"),
        ("[base]\nnum-prompts = nan\n", "--num-prompts"),
        ("serve = 'ls -la'\n", "starts no server"),
        (
            &format!("[grid]\nmax-num-seqs = [{many}]\nrandom-input-len = [{many}]\n"),
            "more than 1000000 combinations",
        ),
    ] {
        refused(&format!("sweep {}", file("plan.toml", text)), &[says]);
    }
    let plan = file("plan.toml", "[base]\nnum-prompts = 4\n");
    refused(&format!("sweep {plan} --threads 0"), &["--threads 0"]);
    let big = file("big.toml", "[base]\nmodel = 'llama-3.1-70b-instruct'\n");
    answered(
        &format!("sweep {big}"),
        0,
        &["cannot be served: the model does not fit"],
    );
    for (text, says) in [
        ("", "EOF"),
        ("[1,2]", "no result of capsim"),
        ("{\"schema\":\"nothing/9\"}", "nothing/9"),
        ("{\"schema\":\"capsim.capacity/1\"}", "missing field `axis`"),
        (&"[".repeat(100_000), "recursion limit"),
    ] {
        let page = dir.path().join("page.html");
        let line = format!("report {} -o {}", file("result.json", text), page.display());
        refused(&line, &[says]);
        assert!(!page.exists());
    }
    refused("report /nowhere.json", &["/nowhere.json"]);
    refused("sweep /nowhere.toml", &["/nowhere.toml"]);
}

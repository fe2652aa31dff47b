//! Deployments of several engines through the command line: refusals by name, and what must hold of the answers.
use serde_json::Value;

fn capsim(code: i32, args: &[&str]) -> (String, String) {
    let out = assert_cmd::Command::cargo_bin("capsim")
        .unwrap()
        .args(args)
        .timeout(std::time::Duration::from_secs(300))
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{args:?}: {err}");
    (String::from_utf8(out.stdout).unwrap(), err)
}

const LOAD: [&str; 10] = [
    "--model",
    "qwen3-0.6b",
    "--device",
    "l4",
    "--max-model-len",
    "2048",
    "--num-prompts",
    "40",
    "--request-rate",
    "8",
];

fn predicted(more: &[&str]) -> Value {
    let args = [&["predict", "--json"][..], &LOAD, more].concat();
    let v: Value = serde_json::from_str(&capsim(0, &args).0).unwrap();
    v["points"][0].clone()
}

#[test]
fn one_replica_answers_as_one_engine() {
    let (one, fleet) = (predicted(&[]), predicted(&["--replicas", "1"]));
    for key in [
        "metrics",
        "ttft_parts",
        "completed",
        "breakdown_s",
        "settings",
    ] {
        assert_eq!(one[key], fleet[key], "{key}");
    }
    assert!(one.get("deployment").is_none());
    assert_eq!(fleet["deployment"]["devices"], 1);
}

#[test]
fn a_document_describes_the_deployment_and_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.json");
    let path = path.to_str().unwrap();
    let flags = [
        "--prefill-replicas",
        "2",
        "--decode-replicas",
        "1",
        "--decode",
        "--max-num-seqs 16",
        "--router",
        "gateway",
    ];
    let args = [&["predict", "--json"][..], &LOAD, &flags].concat();
    let said = capsim(0, &[&args[..], &["--save-scenario", path]].concat()).0;
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(document["deployment"]["prefill_replicas"], 2);
    assert_eq!(said, capsim(0, &["predict", "--json", path]).0);
    let v: Value = serde_json::from_str(&said).unwrap();
    let d = &v["points"][0]["deployment"];
    assert_eq!(d["devices"], 3);
    assert_eq!(d["pools"][0]["role"], "prefill");
    assert_eq!(d["pools"][1]["settings"]["max_num_seqs"], 16);
    // A warm-up request may travel, too.
    assert!(d["transfers"]["count"].as_u64().unwrap() >= 40, "{d}");
}

#[test]
fn a_pool_takes_the_line_that_starts_its_servers() {
    let line = "vllm serve Qwen/Qwen3-0.6B --max-model-len 2048 --max-num-seqs 8 --kv-transfer-config \
                '{\"kv_connector\":\"NixlConnector\", \"kv_role\":\"kv_consumer\"}'";
    let args = ["--device", "l4", "--num-prompts", "20", "--decode", line];
    let v: Value =
        serde_json::from_str(&capsim(0, &[&["predict", "--json"], &args[..]].concat()).0).unwrap();
    let pools = &v["points"][0]["deployment"]["pools"];
    assert_eq!(pools[1]["settings"]["max_num_seqs"], 8);
    assert_eq!(v["points"][0]["model"], "Qwen/Qwen3-0.6B");
}

#[test]
fn what_makes_no_deployment_is_refused_by_name() {
    for (flags, named) in [
        (&["--replicas", "0"][..], "--replicas"),
        (
            &["--replicas", "2", "--prefill-replicas", "1"],
            "--replicas",
        ),
        (&["--pool", "both*2"], "--pool"),
        (&["--pool", "serve*none"], "--pool"),
        (&["--pool", "serve*2", "--replicas", "2"], "--pool"),
        (&["--pool", "prefill*2"], "pool"),
        (&["--pool", "serve --request-rate 3"], "--pool"),
        (&["--decode", "--max-num-seqs"], "--decode"),
        (&["--decode", "--max-num-sex 3"], "--decode"),
        (
            &["--replicas", "2", "--kv-transfer", "pull"],
            "--kv-transfer",
        ),
        (
            &["--decode-replicas", "2", "--kv-transfer-gbs", "0"],
            "--kv-transfer-gbs",
        ),
        (
            &["--decode-replicas", "2", "--kv-transfer-latency-ms", "-1"],
            "--kv-transfer-latency-ms",
        ),
        (&["--replicas", "2", "--outage", "fail:0/2@3"], "--outage"),
        (&["--replicas", "2", "--outage", "rot:0/1@3"], "--outage"),
        (
            &["--decode-replicas", "2", "--server", "llama-server"],
            "llama-server",
        ),
        (&["--prefill", "--server sglang"], "pool"),
    ] {
        let args = [&["predict"][..], &LOAD, flags].concat();
        let (_, err) = capsim(2, &args);
        assert!(err.contains(named), "{flags:?}: {err}");
    }
}

#[test]
fn commands_of_one_engine_refuse_several() {
    for verb in [
        &["memory"][..],
        &["compare", "--for-users", "10", "--slo", "tpot.p95<1s"],
    ] {
        let args = [verb, &["--model", "qwen3-0.6b", "--replicas", "2"]].concat();
        let (_, err) = capsim(2, &args);
        assert!(err.contains("--replicas"), "{verb:?}: {err}");
    }
}

#[test]
fn tune_and_capacity_are_of_the_deployment() {
    let tune = [
        "tune",
        "--json",
        "--only",
        "--knob",
        "decode-replicas=1,2,3",
        "--devices",
        "3",
        "--objective",
        "throughput",
        "--prefill-replicas",
        "1",
        "--slo",
        "tpot.p95<60ms",
    ];
    let load = [
        "--model",
        "qwen3-0.6b",
        "--device",
        "l4",
        "--max-model-len",
        "2048",
        "--num-prompts",
        "60",
    ];
    let busy = [
        "--max-concurrency",
        "32",
        "--random-input-len",
        "64",
        "--random-output-len",
        "200",
    ];
    let v = capsim(0, &[&tune[..], &load, &busy].concat()).0;
    // Three decoders beside a prefiller would be four devices.
    assert!(
        v.contains("decode-replicas") && !v.contains("\"devices\": 4"),
        "{v}"
    );
    let users = |n: &str| {
        let args = [
            "capacity",
            "--json",
            "--slo",
            "tpot.p95<12ms",
            "--replicas",
            n,
        ];
        let v: Value = serde_json::from_str(&capsim(0, &[&args[..], &load].concat()).0).unwrap();
        v.pointer("/highest/load")
            .and_then(Value::as_f64)
            .unwrap_or_else(|| panic!("{v}"))
    };
    let (one, two) = (users("1"), users("2"));
    assert!(two > 1.5 * one && two < 2.5 * one, "{one} {two}");
}

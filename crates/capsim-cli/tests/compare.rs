//! Which machine: against the runs that it says suffice, and those that it says do not.
use serde_json::Value;
use std::path::Path;

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

const SMALL: [&str; 9] = [
    "--model",
    "qwen3-0.6b",
    "--num-prompts",
    "60",
    "--max-model-len",
    "1024",
    "--output-len",
    "64",
    "--weights",
];

fn compared(users: u32, slo: &str, more: &[&str]) -> Value {
    let users = users.to_string();
    let ask = ["compare", "--for-users", &users, "--slo", slo, "--json"];
    let args = [&ask[..], &SMALL[..], &["bf16"], more].concat();
    serde_json::from_str(&capsim(0, &args).0).unwrap()
}

fn number(v: &Value, at: &str) -> f64 {
    v.pointer(at)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("{at} in {v}"))
}

/// The SLO's figure of a prediction with so many users on one engine, in seconds.
fn p95_tpot(users: u32) -> f64 {
    let users = users.to_string();
    let args = [
        &["predict", "--json", "--device", "l4", "--users", &users][..],
        &SMALL[..],
        &["bf16"],
    ]
    .concat();
    let requests = ["--tensor-parallel-size", "1"];
    let v: Value = serde_json::from_str(&capsim(0, &[&args[..], &requests].concat()).0).unwrap();
    number(&v, "/points/0/metrics/p95_tpot_ms/value") / 1e3
}

/// The twin: one run with as many users as an engine is given meets the SLO, one with those of one engine less does not.
#[test]
fn the_number_of_engines_is_the_least() {
    let limit = 0.5 * (p95_tpot(8) + p95_tpot(20));
    let slo = format!("tpot.p95<{}ms", 1e3 * limit);
    let v = compared(60, &slo, &["--device", "l4", "--tensor-parallel-size", "1"]);
    let n = number(&v, "/offers/0/engines") as u32;
    assert!(n > 1, "{v}");
    assert_eq!(
        number(&v, "/offers/0/users_per_engine") as u32,
        60_u32.div_ceil(n)
    );
    assert!(p95_tpot(60_u32.div_ceil(n)) <= limit);
    assert!(p95_tpot(60_u32.div_ceil(n - 1)) > limit);
    // The interval holds the estimate.
    let devices = |end: &str| number(&v, &format!("/offers/0/devices/{end}"));
    assert!(devices("low") <= devices("value") && devices("value") <= devices("high"));
}

#[test]
fn cost_follows_price_devices_and_power() {
    let slo = "ttft.p95<5s";
    let cost = |price: &str, more: &[&str]| {
        let flags = [&["--device", "l4", "--price", price][..], more].concat();
        let v = compared(8, slo, &flags);
        let o = &v["offers"][0];
        let n = number(o, "/devices/value");
        (number(o, "/cost_per_hour/value") / n, o.clone(), v)
    };
    assert_eq!(cost("l4=2.10/h", &[]).0, 2.1);
    // 730.5 hours to a month.
    let (bought, o, v) = cost("l4=7305,10mo", &[]);
    assert!((bought - 1.0).abs() < 1e-12, "{o}");
    assert!(
        v["notes"][0]
            .as_str()
            .unwrap()
            .contains("without electricity"),
        "{v}"
    );
    let (powered, o, _) = cost("l4=7305,10mo", &["--electricity", "0.50/kWh"]);
    let watts = o
        .pointer("/watts/value")
        .and_then(Value::as_f64)
        .unwrap_or_else(|| number(&o, "/watts/high"));
    let n = number(&o, "/devices/value");
    assert!((powered - 1.0 - watts / n / 1e3 * 0.5).abs() < 1e-9, "{o}");
    // Per million tokens: the hour's cost over the hour's tokens.
    let million =
        number(&o, "/cost_per_hour/value") / (3600.0 * number(&o, "/output_throughput")) * 1e6;
    assert!((number(&o, "/cost_per_million_tokens/value") / million - 1.0).abs() < 1e-12);
    // Without a price it is asked for.
    let args = [
        &[
            "compare",
            "--for-users",
            "8",
            "--slo",
            slo,
            "--device",
            "l4",
        ][..],
        &SMALL,
        &["bf16"],
    ]
    .concat();
    let (text, _) = capsim(0, &args);
    assert!(text.contains("No price was given: --price l4="), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
}

#[test]
fn offers_are_ordered_and_those_on_the_front_beaten_by_none() {
    let v = compared(
        40,
        "tpot.p95<50ms",
        &[
            "--device",
            "l4,l40s,h100-sxm",
            "--price",
            "l4=1/h",
            "--price",
            "h100-sxm=4/h",
        ],
    );
    let offers = v["offers"].as_array().unwrap();
    let cost = |o: &Value| o.pointer("/cost_per_hour/value").and_then(Value::as_f64);
    let costs: Vec<f64> = offers
        .iter()
        .map(|o| cost(o).unwrap_or(f64::INFINITY))
        .collect();
    assert!(costs.is_sorted(), "{costs:?}");
    assert!(
        costs.last().unwrap().is_infinite(),
        "one device has no price"
    );
    for o in offers.iter().filter(|o| o["on_front"] == true) {
        let beaten = offers.iter().any(|p| {
            cost(p).is_some_and(|c| c <= cost(o).unwrap())
                && number(p, "/interactivity") >= number(o, "/interactivity")
                && p != o
        });
        assert!(!beaten, "{o}");
    }
    assert!(offers.iter().any(|o| o["on_front"] == true));
}

#[test]
fn what_cannot_serve_says_why() {
    let ask = [
        "compare",
        "--for-users",
        "4",
        "--slo",
        "ttft.p95<2s",
        "--json",
    ];
    let (text, _) = capsim(
        1,
        &[&ask[..], &["--model", "deepseek-v3", "--device", "l4"]].concat(),
    );
    let v: Value = serde_json::from_str(&text).unwrap();
    assert!(
        v["missed"][0]["why"]
            .as_str()
            .unwrap()
            .contains("does not fit"),
        "{v}"
    );
    let ask = [
        "compare",
        "--for-users",
        "4",
        "--slo",
        "ttft.p95<1ms",
        "--json",
    ];
    let (text, _) = capsim(1, &[&ask[..], &SMALL, &["bf16", "--device", "l4"]].concat());
    let v: Value = serde_json::from_str(&text).unwrap();
    assert!(
        v["missed"][0]["why"]
            .as_str()
            .unwrap()
            .contains("with one user alone"),
        "{v}"
    );
    let ok = [
        "compare",
        "--for-users",
        "4",
        "--slo",
        "ttft.p95<2s",
        "--device",
        "l4",
    ];
    for (more, says) in [
        (&["--price", "l4"][..], "DEVICE=2.10/h"),
        (&["--price", "l4=2.10"], "2.10/h"),
        (&["--price", "l9=2/h"], "l9"),
        (&["--price", "l4=2/h", "--price", "l4=3/h"], "twice"),
        (&["--electricity", "-1/kWh"], "--electricity"),
        (&["--users", "3"], "--users contradicts"),
        (&["--request-rate", "3"], "--request-rate contradicts"),
        (&["--max-num-seqs", "3,4"], "--max-num-seqs"),
    ] {
        let (_, err) = capsim(2, &[&ok[..], more].concat());
        assert!(err.contains(says), "{more:?}: {err}");
    }
    for (slo, users) in [("throughput>10", "4"), ("ttft.p95<2s", "0")] {
        capsim(
            2,
            &[
                "compare",
                "--for-users",
                users,
                "--slo",
                slo,
                "--device",
                "l4",
            ],
        );
    }
}

/// A line's words without the program, the verb and the model.
fn flags(line: &str) -> Vec<String> {
    line.split_whitespace().skip(4).map(String::from).collect()
}

/// The list of arguments in a chart's values.
fn listed(values: &str, key: &str) -> Vec<String> {
    let line = values.lines().find_map(|l| l.trim().strip_prefix(key));
    serde_json::from_str(line.unwrap_or_else(|| panic!("{key} in {values}"))).unwrap()
}

/// What a Helm chart writes itself and what it is given are, together, the flags of the line: none twice, none missing. Both charts write
/// `--tensor-parallel-size`. The production stack also writes `--enable-prefix-caching`, which the line leaves to vLLM's default, or the
/// opposite where it is not told.
#[test]
fn a_chart_starts_the_same_line() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("out").display().to_string();
    let ask = [
        "compare",
        "--for-users",
        "30",
        "--slo",
        "tpot.p95<1s",
        "--deploy",
        &folder,
        "--model",
        "qwen3-0.6b",
        "--weights",
        "bf16",
        "--device",
        "l4",
        "--tensor-parallel-size",
        "2",
        "--max-model-len",
        "2048",
    ];
    capsim(0, &ask);
    let read = |name: &str| std::fs::read_to_string(Path::new(&folder).join(name)).unwrap();
    let script = read("server.sh");
    let line = script.lines().last().unwrap();
    assert!(line.starts_with("exec vllm serve "), "{script}");
    let mut all = flags(line);
    all.sort();
    let stack = read("production-stack-values.yaml");
    assert!(stack.contains("requestGPU: 2\n") && stack.contains("tensorParallelSize: 2\n"));
    assert!(stack.contains("enablePrefixCaching: true\n"), "{stack}");
    let mut of_stack = listed(&stack, "extraArgs: ");
    of_stack.extend(["--tensor-parallel-size", "2"].map(String::from));
    of_stack.sort();
    assert_eq!(of_stack, all);
    let llm_d = read("llm-d-values.yaml");
    let model = line.split_whitespace().nth(3).unwrap();
    assert!(llm_d.contains(&format!("uri: \"hf://{model}\"")), "{llm_d}");
    assert!(llm_d.contains("    tensor: 2\n"), "{llm_d}");
    let mut of_llm_d = listed(&llm_d, "args: ");
    of_llm_d.extend(["--tensor-parallel-size", "2"].map(String::from));
    of_llm_d.sort();
    assert_eq!(of_llm_d, all);
}

/// What is written starts, read back, the engine that was simulated.
#[test]
fn what_is_deployed_is_what_was_simulated() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (folder, settings) = (
        at("out"),
        ["--max-num-seqs", "17", "--max-model-len", "2048"],
    );
    let ask = [
        "compare",
        "--for-users",
        "30",
        "--slo",
        "tpot.p95<1s",
        "--deploy",
        &folder,
    ];
    let what = [
        "--model",
        "qwen3-0.6b",
        "--weights",
        "bf16",
        "--device",
        "l4",
        "--tensor-parallel-size",
        "2",
    ];
    capsim(0, &[&ask[..], &what, &settings].concat());
    let own = ["predict", "--json", "--num-prompts", "2"];
    let settings_of = |args: &[&str]| -> Value {
        let v: Value = serde_json::from_str(&capsim(0, &[&own[..], args].concat()).0).unwrap();
        v["points"][0]["settings"].clone()
    };
    let simulated = settings_of(&[&what[..], &settings].concat());
    for file in ["server.sh", "compose.yaml", "kubernetes.yaml"] {
        let path = format!("{folder}/{file}");
        assert_eq!(
            settings_of(&["--device", "l4", "--", &path]),
            simulated,
            "{file}"
        );
    }
    let manifest = std::fs::read_to_string(Path::new(&folder).join("kubernetes.yaml")).unwrap();
    assert!(manifest.contains("nvidia.com/gpu: \"2\""), "{manifest}");
    assert_eq!(manifest.matches("app: llm-server").count(), 4);
    // Weights of which no checkpoint is known are left to be named; the model's own would start in others.
    let (again, weights) = (at("four"), ["--weights", "awq"]);
    let ask = [
        "compare",
        "--for-users",
        "3",
        "--slo",
        "tpot.p95<1s",
        "--deploy",
        &again,
    ];
    capsim(
        0,
        &[
            &ask[..],
            &["--model", "qwen3-0.6b", "--device", "l4"],
            &weights,
        ]
        .concat(),
    );
    let script = std::fs::read_to_string(Path::new(&again).join("server.sh")).unwrap();
    assert!(
        script.contains("serve REPLACE-WITH-A-CHECKPOINT"),
        "{script}"
    );
}

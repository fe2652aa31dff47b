//! The answer in words: each clause follows from the scenario, so that another scenario changes it.
use serde_json::Value;

fn capsim(args: &[&str]) -> (i32, String) {
    let out = assert_cmd::Command::cargo_bin("capsim")
        .unwrap()
        .args(args)
        .timeout(std::time::Duration::from_secs(300))
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    let code = out.status.code().unwrap();
    assert!(code < 2, "{args:?}: {err}");
    (code, String::from_utf8(out.stdout).unwrap())
}

fn document(args: &[&str]) -> Value {
    let (_, text) = capsim(&[args, &["--json"]].concat());
    serde_json::from_str(&text).unwrap()
}

/// The answer of a command, which is the same in JSON and as the first lines of its text.
fn answer(args: &[&str]) -> String {
    let answer = document(args)["answer"].as_str().unwrap().to_owned();
    let (_, text) = capsim(args);
    let head = text.split("\n\n").next().unwrap();
    let words = |t: &str| t.split_whitespace().map(String::from).collect::<Vec<_>>();
    assert_eq!(words(head), words(&answer), "{args:?}");
    answer
}

const BOX: [&str; 9] = [
    "predict",
    "--model",
    "qwen3-8b",
    "--device",
    "l40s",
    "--num-prompts",
    "40",
    "--max-model-len",
    "4096",
];

/// A number of `text` in front of some words.
fn before(text: &str, words: &str) -> f64 {
    let head = text.split(words).next().unwrap();
    assert_ne!(head, text, "`{words}` is not in {text}");
    head.split_whitespace().last().unwrap().parse().unwrap()
}

#[test]
fn each_clause_follows_the_scenario() {
    let of = |more: &[&str]| answer(&[&BOX[..], more].concat());
    let (five, one) = (
        of(&["--max-concurrency", "5"]),
        of(&["--max-concurrency", "1"]),
    );
    assert!(
        five.starts_with("5 people at once each read about "),
        "{five}"
    );
    assert!(
        one.starts_with("One person at a time reads about "),
        "{one}"
    );
    // Who reads, how fast, when it begins, what binds.
    assert!(five.contains("goes to dense weights"), "{five}");
    let idle = of(&["--request-rate", "0.05"]);
    assert!(idle.contains("the device idles"), "{idle}");
    let queued = of(&["--max-concurrency", "10", "--max-num-seqs", "2"]);
    assert!(queued.contains("of it in the queue"), "{queued}");
    assert!(queued.contains("one of 2 places"), "{queued}");
    assert!(!five.contains("queue"), "{five}");
    // The speed is that of the figures below it.
    let v = document(&[&BOX[..], &["--max-concurrency", "5"]].concat());
    let tpot = v.pointer("/points/0/metrics/mean_tpot_ms/value").unwrap();
    let speed = 1e3 / tpot.as_f64().unwrap();
    assert!(
        (before(&five, " tokens/s (90 %") / speed - 1.0).abs() < 0.01,
        "{five}"
    );
}

/// What 4-bit weights would bring is what they bring.
#[test]
fn a_gain_is_that_of_the_run_with_it() {
    let load = ["--max-concurrency", "4"];
    let today = document(&[&BOX[..], &load].concat());
    let text = today["answer"].as_str().unwrap();
    let e2el = |v: &Value| {
        v.pointer("/points/0/metrics/mean_e2el_ms/value")
            .unwrap()
            .as_f64()
            .unwrap()
    };
    let with = document(&[&BOX[..], &load, &["--weights", "awq"]].concat());
    let gain = text.split("4-bit weights (awq) would be ").nth(1).unwrap();
    assert!(
        (before(gain, " times as fast") * e2el(&with) / e2el(&today) - 1.0).abs() < 0.01,
        "{text}"
    );
    // Weights that are that small already have no such gain.
    let small = with["answer"].as_str().unwrap();
    assert!(!small.contains("4-bit"), "{small}");
}

#[test]
fn a_table_names_the_better_format_and_kernels() {
    let of = |more: &[&str]| answer(&[&BOX[..], more].concat());
    let text = of(&["--max-concurrency", "4", "--weights", "bf16,awq"]);
    assert!(text.starts_with("Best of 2: weights awq."), "{text}");
    assert!(text.contains("awq answers"), "{text}");
    let swapped = of(&["--max-concurrency", "4", "--weights", "awq,bf16"]);
    assert_eq!(text, swapped);
    let loads = of(&["--max-concurrency", "1,16"]);
    assert!(loads.starts_with("One person at a time reads "), "{loads}");
    assert!(
        loads.contains("with 16 at once each reads about"),
        "{loads}"
    );
}

#[test]
fn a_device_that_was_not_named_is_said() {
    let few = ["predict", "--model", "qwen3-0.6b", "--num-prompts", "2"];
    assert!(answer(&few).contains("No --device was given"));
    let named = [&few[..], &["--device", "l40s"]].concat();
    assert!(!answer(&named).contains("--device"));
}

/// What the figures rest on is shown where it is asked for; what changes their reading always.
#[test]
fn provenance_is_a_detail() {
    let (_, short) = capsim(&BOX);
    let (_, long) = capsim(&[&BOX[..], &["--details"]].concat());
    for label in ["Profile ", "Rests on ", "Nearest "] {
        assert!(
            !short.contains(label) && long.contains(label),
            "{label}: {long}"
        );
    }
    let caveats = |t: &str| t.lines().filter(|l| l.starts_with("Caveat")).count();
    assert_eq!(caveats(&short), caveats(&long));
    assert!(caveats(&short) > 0);
}

#[test]
fn plans_answer_in_words() {
    let model = ["--model", "qwen3-8b", "--device", "l40s"];
    let short = [&model[..], &["--max-model-len", "4096"]].concat();
    let fits = answer(&[&["memory"], &model[..]].concat());
    assert!(fits.starts_with("It fits: weights take 15.3 of"), "{fits}");
    let large = ["memory", "--model", "qwen3-235b-a22b", "--device", "l40s"];
    assert!(answer(&large).starts_with("It does not fit: "));
    let seeds = ["--seeds", "1", "--no-what-if"];
    let capacity =
        |slo: &str| answer(&[&["capacity", "--slo", slo], &short[..], &seeds[..]].concat());
    let text = capacity("tpot.p95<40ms");
    assert!(
        text.contains("requests at once [90 %:") && text.contains("tpot.p95 breaks first"),
        "{text}"
    );
    let none = capacity("ttft.p95<1ms");
    assert!(
        none.starts_with("No load meets ttft.p95<1ms: ttft.p95 is "),
        "{none}"
    );
    let knob = [
        "--only",
        "--knob",
        "max-num-seqs=1,8",
        "--max-num-seqs",
        "1",
    ];
    let load = ["--max-concurrency", "8"];
    let tune = answer(&[&["tune"], &short[..], &knob[..], &load[..]].concat());
    assert!(
        tune.starts_with("Best of 2 settings: max-num-seqs 8: "),
        "{tune}"
    );
}

//! One scenario gives one answer, whichever way it is asked for.
use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;

fn capsim(words: &[&str]) -> (Option<i32>, String, String) {
    let out = Command::cargo_bin("capsim")
        .unwrap()
        .args(words)
        .output()
        .unwrap();
    let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

fn answer(words: &[&str]) -> String {
    let (code, out, err) = capsim(words);
    assert_eq!(code, Some(0), "{words:?}: {err}");
    out
}

const LINE: [&str; 7] = [
    "--",
    "vllm",
    "serve",
    "qwen3-0.6b",
    "--max-num-seqs",
    "3",
    "--enforce-eager",
];

#[test]
fn a_document_a_line_flags_and_a_sweep_give_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    let load = [
        "--num-prompts",
        "6",
        "--max-concurrency",
        "2",
        "--input-len",
        "40",
        "--output-len",
        "5",
    ];
    let document = file("s.json");
    let save = ["predict", "--json", "--save-scenario", &document];
    let by_line = answer(&[&save[..], &load, &LINE].concat());
    assert_eq!(answer(&["predict", "--json", &document]), by_line);
    let flags = [
        "--model",
        "qwen3-0.6b",
        "--max-num-seqs",
        "3",
        "--enforce-eager",
        "--server",
        "vllm",
    ];
    assert_eq!(
        answer(&[&["predict", "--json"][..], &flags, &load].concat()),
        by_line
    );
    // A flag beside a document changes what it says.
    let changed = answer(&["predict", "--json", &document, "--max-num-seqs", "1"]);
    assert!(changed.contains("\"max_num_seqs\": 1"), "{changed}");
    // A sweep's point holds the same prediction.
    let plan = file("p.toml");
    std::fs::write(
        &plan,
        "serve = 'vllm serve qwen3-0.6b --max-num-seqs 3 --enforce-eager'\n[base]\nnum-prompts = 6\nmax-concurrency = 2\ninput-len = \
         40\noutput-len = 5\n",
    )
    .unwrap();
    answer(&["sweep", &plan]);
    let rows = std::fs::read_to_string(dir.path().join("p.results/results.jsonl")).unwrap();
    let row: Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    let one: Value = serde_json::from_str(&by_line).unwrap();
    assert_eq!(row["prediction"], one["points"][0]);
}

#[test]
fn a_saved_scenario_of_every_command_replays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.json").display().to_string();
    let small = [
        "--model",
        "qwen3-0.6b",
        "--max-num-seqs",
        "4",
        "--max-model-len",
        "2048",
    ];
    let load = [
        "--num-prompts",
        "12",
        "--input-len",
        "32",
        "--output-len",
        "4",
    ];
    for asked in [
        &["predict", "--json"][..],
        &["memory", "--json"],
        &[
            "capacity",
            "--json",
            "--slo",
            "ttft.p95<2s",
            "--seeds",
            "1",
            "--no-what-if",
        ],
        &[
            "tune",
            "--json",
            "--only",
            "--knob",
            "max-num-seqs=2",
            "--seeds",
            "1",
        ],
    ] {
        let given = [asked, &["--save-scenario", &path], &small, &load].concat();
        let first = capsim(&given);
        assert_ne!(first.0, Some(2), "{asked:?}: {}", first.2);
        let again = capsim(&[asked, &[&path[..]]].concat());
        assert_eq!((first.0, first.1), (again.0, again.1), "{asked:?}");
    }
}

#[test]
fn an_unsaid_length_is_the_models_own() {
    for (model, length) in [("qwen3-8b", 40_960), ("llama-3.1-8b-instruct", 131_072)] {
        let words = [
            "predict",
            "--json",
            "--device",
            "h200-sxm",
            "--num-prompts",
            "1",
            "--output-len",
            "2",
        ];
        let line = ["--", "vllm", "serve", model];
        let v: Value = serde_json::from_str(&answer(&[&words[..], &line].concat())).unwrap();
        assert_eq!(
            v["points"][0]["settings"]["max_model_len"], length,
            "{model}"
        );
    }
    // A prompt that the model takes is not refused for a default of capsim's own.
    let words = [
        "predict",
        "--device",
        "h100-sxm",
        "--num-prompts",
        "1",
        "--output-len",
        "2",
    ];
    answer(
        &[
            &words[..],
            &[
                "--random-input-len",
                "6000",
                "--",
                "vllm",
                "serve",
                "qwen3-14b",
            ],
        ]
        .concat(),
    );
}

#[test]
fn a_length_that_the_memory_does_not_hold_is_shortened_and_said() {
    let words = [
        "predict",
        "--json",
        "--device",
        "rtx-4090",
        "--model",
        "llama-3.1-8b-instruct",
        "--num-prompts",
        "1",
    ];
    let v: Value = serde_json::from_str(&answer(&words)).unwrap();
    let length = v["points"][0]["settings"]["max_model_len"]
        .as_u64()
        .unwrap();
    assert!(length < 131_072, "{length}");
    let told = v["points"][0]["assumed"].to_string();
    assert!(
        told.contains(&format!("--max-model-len {length}")) && told.contains("131072"),
        "{told}"
    );
    // Named, it is what was asked for, and vLLM would not start.
    let (code, _, err) = capsim(&[&words[..], &["--max-model-len", "131072"]].concat());
    assert_eq!(code, Some(2), "{err}");
}

#[test]
fn what_was_assumed_stands_before_the_figures() {
    let text = answer(&["predict", "--model", "qwen3-0.6b", "--output-len", "2"]);
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
    assert!(
        at("a closed loop of 32 clients") < at("Successful requests"),
        "{text}"
    );
    assert!(
        at("max-num-seqs 1024") < at("Successful requests"),
        "{text}"
    );
    // As vllm bench serve: all at once, and said.
    let text = answer(&[
        "predict",
        "--model",
        "qwen3-0.6b",
        "--vllm-bench",
        "--num-prompts",
        "40",
    ]);
    assert!(text.contains("all requests at once"), "{text}");
    assert!(text.contains("1024 + 128 tokens, all at once"), "{text}");
}

#[test]
fn rows_of_a_table_are_typed_under_the_settings_names() {
    let words = [
        "predict",
        "--json",
        "--model",
        "qwen3-0.6b",
        "--num-prompts",
        "2",
        "--output-len",
        "2",
    ];
    let grid = [
        "--max-num-seqs",
        "1,2",
        "--request-rate",
        "2,inf",
        "--weights",
        "bf16,fp8",
        "--device",
        "h100-sxm",
    ];
    let v: Value = serde_json::from_str(&answer(&[&words[..], &grid].concat())).unwrap();
    let points = v["points"].as_array().unwrap();
    assert_eq!(points.len(), 8);
    assert_eq!(points[1]["varied"]["max_num_seqs"], 1);
    assert_eq!(points[0]["varied"]["request_rate"], 2.0);
    assert_eq!(points[1]["varied"]["request_rate"], "inf");
    assert_eq!(points[7]["varied"]["weights"], "fp8");
}

#[test]
fn a_setting_is_known_to_its_table_its_configuration_and_two_files_of_each_engine() {
    fn files(dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap().to_lowercase();
                let spelled = [
                    "chunked_prefill",
                    "chunked-prefill",
                    "chunkedprefill",
                    "chunked prefill",
                ];
                // SGLang's flag for another setting, the token budget, is not this one.
                let text = text
                    .replace("--chunked-prefill-size", "")
                    .replace("chunked_prefill_size", "");
                if spelled.iter().any(|s| text.contains(s)) {
                    found.push(path.display().to_string());
                }
            }
        }
    }
    let mut found = vec![];
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    files(&root.join("src"), &mut found);
    for part in ["calibrate", "live", "study", "cli"] {
        files(&root.join(format!("crates/capsim-{part}/src")), &mut found);
    }
    // The table, the configuration, and the words that refuse a prompt for it.
    let engines = ["/engine/vllm/", "/engine/trtllm/"];
    let own = |f: &&String| engines.iter().any(|e| f.contains(e)) || f.contains("/line/");
    assert!(found.iter().filter(|f| !own(f)).count() <= 3, "{found:#?}");
    // An engine's default and what its scheduler does with it; the line that it is typed in.
    for engine in engines {
        let its = found.iter().filter(|f| f.contains(engine)).count();
        assert!(its <= 2, "{engine}: {found:#?}");
    }
    assert!(found.len() <= 8, "{found:#?}");
}

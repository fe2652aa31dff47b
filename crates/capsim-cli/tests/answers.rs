//! What every command answers machines with obeys the schema that `capsim schema` prints for it, and what it answers people with
//! fits 80 columns.
use capsim_study::report::json::schemas;
use clap::CommandFactory as _;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

use crate::serving::Serving;

const RUNS: &str = "validation/gfx1151/qwen3-30b-a3b-vllm-0.12/runs.json";
const TINY: &str = "tests/data/bench/tiny-moe-mid.config.json";

fn capsim(args: &[&str], codes: &[i32]) -> String {
    let out = assert_cmd::Command::cargo_bin("capsim")
        .unwrap()
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(args)
        .timeout(std::time::Duration::from_secs(300))
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(
        codes.contains(&out.status.code().unwrap_or(-1)),
        "{args:?}: {err}"
    );
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(
        !text.contains('\u{1b}') && !err.contains('\u{1b}'),
        "{args:?}: escape sequences where there is no terminal"
    );
    text
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// An answer, read into its type and written again.
fn again(format: &str, answer: &Value) -> String {
    let again = schemas::find(format).unwrap().again;
    again(answer.clone()).unwrap_or_else(|e| panic!("{format}: {e}"))
}

/// Holds an answer against the schema of its format, and against its type: read and written again, it is the same.
fn obeys(format: &str, answer: &Value) {
    assert_eq!(&parsed(&again(format, answer)), answer, "{format}");
    let schema = (schemas::find(format).unwrap().schema)();
    let validator = jsonschema::validator_for(&serde_json::to_value(schema).unwrap()).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(answer)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert_eq!(errors, Vec::<String>::new(), "{format}");
    // The schema is no rubber stamp: fields may not go. (Results of `bench` have many keys that depend on flags.)
    let fields = answer.as_object().unwrap();
    let needed = fields.keys().filter(|key| {
        let mut less = fields.clone();
        less.remove(*key);
        !validator.is_valid(&Value::Object(less))
    });
    assert!(4 * needed.count() >= fields.len(), "{format}: {fields:?}");
}

#[test]
fn a_saved_scenario_obeys_its_schema() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.json");
    let file = path.display().to_string();
    let flags = [
        "predict",
        "--num-prompts=2",
        "--output-len=2",
        "--max-num-seqs=2",
    ];
    let line = [
        "--",
        "vllm",
        "serve",
        "qwen3-0.6b",
        "--speculative-config",
        "{}",
    ];
    let save = format!("--save-scenario={file}");
    capsim(&[&flags[..], &[&save], &line].concat(), &[0]);
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let schema = (schemas::find("scenario").unwrap().schema)();
    let validator = jsonschema::validator_for(&serde_json::to_value(schema).unwrap()).unwrap();
    assert!(validator.is_valid(&written), "{written}");
    for (place, wrong) in [
        ("/settings/max_num_seqs", "many"),
        ("/load/num_prompts", "few"),
    ] {
        let mut other = written.clone();
        *other.pointer_mut(place).unwrap() = wrong.into();
        assert!(!validator.is_valid(&other), "{place}");
    }
}

/// Runs a command for people and for machines.
fn both(format: &str, args: &[&str], codes: &[i32]) -> Value {
    let text = capsim(args, codes);
    for line in text.lines() {
        // Names of files are as long as they are.
        let named = line.contains(std::env::temp_dir().to_str().unwrap());
        assert!(
            named || line.chars().count() <= 80,
            "{args:?}: wider than 80: {line}"
        );
    }
    machine(format, args, codes)
}

fn machine(format: &str, args: &[&str], codes: &[i32]) -> Value {
    let end = args.iter().position(|a| *a == "--").unwrap_or(args.len());
    let args = [&args[..end], &["--json"], &args[end..]].concat();
    let text = capsim(&args, codes);
    let answer = parsed(&text);
    obeys(format, &answer);
    // Keys are in the order of the type's fields, or of the alphabet.
    let again = again(format, &answer);
    let sorted = serde_json::to_string_pretty(&parsed(&again)).unwrap();
    assert!([sorted, again].contains(&text.trim_end().into()), "{text}");
    answer
}

#[test]
fn predictions() {
    let small = ["--num-prompts", "4", "--output-len", "8"];
    let one = [&["predict"], &small[..]].concat();
    let v = both("prediction", &one, &[0]);
    assert_eq!(v["points"].as_array().unwrap().len(), 1);
    // Loads of every kind; answers of one token have no TPOT.
    for more in [
        &[
            "--model",
            "qwen3-8b",
            "--max-num-seqs",
            "1,2",
            "--weights",
            "bf16,awq",
        ][..],
        &["--request-rate", "2", "--arrival", "weibull:0.5"],
        &["--users", "2", "--think-time", "1", "--turns", "2"],
        &["--input-dist", "lognormal:100,0.5"],
    ] {
        both("prediction", &[&one[..], more].concat(), &[0]);
    }
    let trace = [
        "predict",
        "--trace-file",
        "tests/data/traces/mooncake.jsonl",
    ];
    both("prediction", &trace, &[0]);
    both(
        "prediction",
        &["predict", "--num-prompts", "2", "--output-len", "1"],
        &[0],
    );
    let v = both(
        "memory",
        &["memory", "--concurrency", "2", "--context", "1024"],
        &[0, 1],
    );
    assert_eq!(v["schema"], "capsim.memory/1");
    let small = [
        "--model",
        "qwen3-0.6b",
        "--num-prompts",
        "8",
        "--device",
        "l4",
    ];
    let ask = ["compare", "--for-users", "4", "--slo", "tpot.p95<1s"];
    let v = both(
        "compare",
        &[&ask[..], &small[..], &["--output-len", "4"]].concat(),
        &[0],
    );
    assert_eq!(v["schema"], "capsim.compare/1");
}

#[test]
fn sweeps_and_reports() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, out, page) = (
        dir.path().join("plan.toml"),
        dir.path().join("r"),
        dir.path().join("r.html"),
    );
    let (plan, out, page) = (
        plan.to_str().unwrap(),
        out.to_str().unwrap(),
        page.to_str().unwrap(),
    );
    std::fs::write(
        plan,
        "[base]\nnum-prompts = 2\noutput-len = 4\n[grid]\nmax-num-seqs = [1, 2]\ngpu-memory-utilization = [0.1, 0.9]\n",
    )
    .unwrap();
    let half = ["sweep", plan, "-o", out, "--shard", "1/2"];
    let v = both("sweep-summary", &half, &[0]);
    assert_eq!(v["complete"], false);
    let v = both("sweep-summary", &["sweep", plan, "-o", out], &[0]);
    assert_eq!((&v["complete"], &v["refused"]), (&true.into(), &2.into()));
    assert_eq!(v, machine("sweep-summary", &["sweep", "merge", out], &[0]));
    let lines = std::fs::read_to_string(Path::new(out).join("results.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 4);
    for line in lines.lines() {
        obeys("sweep-point", &serde_json::from_str(line).unwrap());
    }
    let v = both("page", &["report", out, "-o", page], &[0]);
    assert_eq!(v["sections"], 1);
}

#[test]
fn recorded_runs() {
    let v = both(
        "validation",
        &["validate", RUNS, "--fit", "latency-10"],
        &[0],
    );
    assert_eq!(v["fitted_on"].as_array().unwrap().len(), 1);
    both("explanation", &["explain", RUNS], &[0]);
    both(
        "log",
        &[
            "explain",
            "tests/data/logs/vllm-0.27.log",
            "--device",
            "rtx-4090",
        ],
        &[0],
    );
}

#[test]
fn what_ships_and_what_is_there() {
    let v = both("models", &["models"], &[0]);
    assert!(v["models"].as_array().unwrap().len() >= 15);
    both("devices", &["devices", "--backend", "cpu"], &[0]);
}

#[test]
fn traces_and_imports() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    for name in [
        "azure.csv",
        "bailian.jsonl",
        "burstgpt.csv",
        "mooncake.jsonl",
        "servegen",
    ] {
        let trace = format!("tests/data/traces/{name}");
        both("trace", &["trace", "stats", &trace], &[0]);
    }
    let out = file("t.jsonl");
    let v = machine(
        "converted-trace",
        &[
            "trace",
            "convert",
            "tests/data/traces/azure.csv",
            "-o",
            &out,
        ],
        &[0],
    );
    assert_eq!(v["requests"], 4);
    let profile = file("device.json");
    let import = [
        "import",
        "vidur",
        "--mlp",
        "tests/data/import/vidur/mlp.csv",
        "--model",
        "llama-2-7b",
        "--gpu",
        "a100-sxm",
        "--source",
        "made by hand",
        "-o",
        &profile,
    ];
    let v = both("import", &import, &[0]);
    assert_eq!(v["files"]["device profile"], profile);
    assert!(!v["fits"].as_array().unwrap().is_empty());
}

#[test]
fn calibrations() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("c");
    let out = out.to_str().unwrap();
    let measure = ["calibrate", "--backend", "synthetic", "--quick", "-o", out];
    machine("calibration", &measure, &[0]);
    let samples = Path::new(out).join("samples.json");
    let samples = samples.to_str().unwrap();
    both("calibration", &["calibrate", "--refit", samples], &[0]);
    let compare = ["calibrate", "--compare", samples, samples];
    machine("calibration-comparison", &compare, &[0]);
}

#[test]
fn benchmarks() {
    let server = Serving::start(&[
        "--model",
        TINY,
        "--max-num-seqs",
        "4",
        "--max-model-len",
        "4096",
    ]);
    let at = ["--base-url", server.url(), "--num-prompts", "3"];
    let small = ["--random-input-len", "16", "--random-output-len", "4"];
    let load = [&at[..], &small[..]].concat();
    both("bench", &[&["bench", "serve"], &load[..]].concat(), &[0]);
    let detailed = [
        "--save-detailed",
        "--request-rate",
        "50",
        "--metric-percentiles",
        "99.9",
    ];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("one.json");
    let named = ["--result-filename", file.to_str().unwrap()];
    machine(
        "bench",
        &[&["bench", "serve"], &load[..], &detailed[..], &named[..]].concat(),
        &[0],
    );
    let stored = std::fs::read_to_string(&file).unwrap();
    obeys("bench", &serde_json::from_str(&stored).unwrap());
    let live = [
        "validate",
        "--model",
        TINY,
        "--max-num-seqs",
        "4",
        "--max-concurrency",
        "2",
    ];
    both("paired", &[&live[..], &load[..]].concat(), &[0, 1]);
    let sweep = [
        "bench",
        "sweep",
        "--base-url",
        server.url(),
        "--num-prompts",
        "2",
    ];
    let grid = [
        "--input-len",
        "16",
        "--output-len",
        "2,3",
        "--max-concurrency",
        "1",
    ];
    let v = machine("bench-sweep", &[&sweep[..], &grid[..]].concat(), &[0]);
    assert_eq!(v["points"].as_array().unwrap().len(), 2);
}

/// Formats that the tests above hold answers against, and where the others are tested.
#[test]
fn no_format_goes_untested_and_no_command_goes_without_json() {
    let here =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/answers.rs")).unwrap();
    let (tests, _) = here.split_once("/// Formats that").unwrap();
    let files = BTreeSet::from([
        "scenario", "device", "engine", "engines", "runs", "index", "samples", "bundle",
    ]); // above, crates/capsim-study/tests/formats.rs, crates/capsim-cli/tests/calibrate/bundles.rs
    let elsewhere = BTreeSet::from(["capacity", "tune", "accuracy", "verification"]); // crates/capsim-cli/tests/plan_cli.rs, accuracy.rs, verify.rs
    for f in schemas::ALL {
        let tested = tests.contains(&format!("\"{}\",", f.name));
        assert!(
            tested || files.contains(f.name) || elsewhere.contains(f.name),
            "{}: no answer is held against it",
            f.name
        );
        let schema = serde_json::to_value((f.schema)()).unwrap();
        jsonschema::meta::validate(&schema).unwrap();
    }
    // A server, and what prints the format that its name says.
    let without = ["serve", "explore", "schema", "completions", "man", "help"];
    let all = commands();
    for (name, command) in &all {
        let json = |c: &clap::Command| c.get_arguments().any(|a| a.get_long() == Some("json"));
        let leaf = !command.has_subcommands();
        let excused = name.split(' ').any(|w| without.contains(&w));
        assert!(!leaf || excused || json(command), "{name} has no --json");
    }
}

/// Every command that is shown, with its name in full.
fn commands() -> Vec<(String, clap::Command)> {
    let mut root = capsim_cli::Cli::command();
    root.build();
    let mut all = vec![("capsim".to_string(), root)];
    let mut at = 0;
    while at < all.len() {
        let (name, command) = all[at].clone();
        for s in command.get_subcommands() {
            if !s.is_hide_set() && s.get_name() != "help" {
                all.push((format!("{name} {}", s.get_name()), s.clone()));
            }
        }
        at += 1;
    }
    all
}

#[test]
fn help_fits_the_terminal_and_tells_the_exit_codes() {
    for (name, mut command) in commands() {
        for help in [command.render_help(), command.render_long_help()] {
            for line in help.to_string().lines() {
                // clap breaks everything but usage.
                let usage = line.trim_start().starts_with("Usage: ");
                assert!(usage || line.chars().count() <= 80, "{name}: {line}");
            }
        }
    }
    let help = capsim(&["--help"], &[0]);
    for words in ["Exit codes:", "\n  2    input", "130"] {
        assert!(help.contains(words), "{help}");
    }
}

#[test]
fn man_pages_and_completions_come_from_the_command_tree() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    capsim(&["man", "--output", at], &[0]);
    let all = commands();
    for (name, _) in &all {
        let page = dir.path().join(format!("{}.1", name.replace(' ', "-")));
        let page = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(page.contains(".TH") && page.contains(".SH NAME"), "{name}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), all.len());
    let first = capsim(&["man"], &[0]);
    assert!(first.contains("Exit codes"), "{first}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = capsim(&["completions", shell], &[0]);
        for word in ["predict", "max-num-seqs", "slo"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        if shell == "bash" {
            let path = dir.path().join("capsim.bash");
            std::fs::write(&path, script).unwrap();
            if let Ok(status) = std::process::Command::new("bash")
                .arg("-n")
                .arg(&path)
                .status()
            {
                assert!(status.success(), "bash cannot read it");
            }
        }
    }
}

#[test]
fn the_version_says_what_was_built() {
    let short = capsim(&["-V"], &[0]);
    assert_eq!(
        short.trim(),
        format!("capsim {}", env!("CARGO_PKG_VERSION"))
    );
    let long = capsim(&["--version"], &[0]);
    assert!(long.starts_with(short.trim()), "{long}");
    for word in ["commit:", "features: opencl", "live"] {
        assert!(long.contains(word), "{long}");
    }
}

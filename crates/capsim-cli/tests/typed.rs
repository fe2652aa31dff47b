//! What people type, and what the help shows.
use capsim::predict::spec::ScenarioSpec;
use serde_json::Value;

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let out = assert_cmd::Command::cargo_bin("capsim")
        .unwrap()
        .args(args)
        .timeout(std::time::Duration::from_secs(300))
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

fn points(args: &[&str]) -> Value {
    let few = ["predict", "--json", "--num-prompts", "2"];
    let (code, text, err) = run(&[&few[..], args].concat());
    assert_eq!(code, Some(0), "{args:?}: {err}");
    serde_json::from_str::<Value>(&text).unwrap()["points"].clone()
}

/// Ten tasks, each with the words of another tool and with capsim's own.
#[test]
fn the_words_of_other_tools_mean_the_same() {
    for (typed, own) in [
        (
            &["-tp", "2", "--gpu", "h100-sxm"][..],
            &["--tensor-parallel-size", "2", "--device", "h100-sxm"][..],
        ),
        (
            &["--tp=2", "--gpu=h100-sxm"],
            &["--tensor-parallel-size=2", "--device=h100-sxm"],
        ),
        (
            &["--isl", "100", "--osl", "7"],
            &["--random-input-len", "100", "--random-output-len", "7"],
        ),
        (&["--concurrency", "2"], &["--max-concurrency", "2"]),
        (&["--batch-size", "2"], &["--max-concurrency", "2"]),
        (
            &["--quant", "fp8", "--gpu", "h100"],
            &["--weights", "fp8", "--device", "h100-sxm"],
        ),
        (&["--qps", "0.5"], &["--request-rate", "0.5"]),
        (&["--context-length", "2048"], &["--max-model-len", "2048"]),
        (&["--num-users", "2"], &["--users", "2"]),
        (&["--kv-dtype", "fp8"], &["--kv-cache-dtype", "fp8"]),
    ] {
        let model = ["--model", "qwen3-0.6b"];
        let of = |words: &[&str]| points(&[&model[..], words].concat());
        assert_eq!(of(typed), of(own), "{typed:?}");
    }
    // A command's own flag of that name stays what it is, and so does a pasted line.
    let memory = [
        "memory",
        "--model",
        "qwen3-0.6b",
        "--concurrency",
        "2",
        "--context",
        "1024",
    ];
    assert_eq!(run(&memory).0, Some(0));
    let line = [
        "--",
        "llama-server",
        "-m",
        "qwen3-0.6b",
        "--batch-size",
        "512",
    ];
    assert_eq!(
        points(&line),
        points(&["--", "llama-server", "-m", "qwen3-0.6b", "-b", "512"])
    );
}

/// `-h` has what most people need, with examples that are read; `--help` has everything.
#[test]
fn the_short_help_is_short() {
    let flags = |help: &str| {
        let lines = help.lines().map(str::trim_start);
        lines.filter(|l| l.starts_with("--")).count()
    };
    let ((_, short, _), (_, long, _)) = (run(&["predict", "-h"]), run(&["predict", "--help"]));
    assert!(
        flags(&short) < 50 && flags(&long) > 90,
        "{} and {}",
        flags(&short),
        flags(&long)
    );
    for (name, example) in capsim_cli::api::COMMON_FLAGS {
        let flag = name.replace('_', "-");
        assert!(short.contains(&format!("--{flag}")), "{flag}: {short}");
        let field = ScenarioSpec::field(name).unwrap();
        for value in example.split(',').filter(|v| !v.is_empty()) {
            assert!(field.parse(value).is_ok(), "{flag} {value}");
        }
        assert!(field.many || !example.contains(','), "{flag}");
    }
    assert!(short.contains("see more with '--help'"), "{short}");
}

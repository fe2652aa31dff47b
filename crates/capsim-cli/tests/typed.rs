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
        (&["--quant", "awq"], &["--weights", "awq"]),
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

/// A flag or a command that does not exist is answered with what it may have meant, never with a wall of names.
#[test]
fn what_was_meant_is_suggested() {
    let slo = ["capacity", "--ttft", "2s"];
    for (args, says) in [
        (&slo[..], "--slo"),
        (&["predict", "--kv-cache", "fp8"], "--kv-cache-dtype"),
        (&["predict", "--prompt-length", "9"], "--random-input-len"),
        (&["compare", "--budget", "9"], "--price"),
        (&["memory", "--vram", "24"], "--gpu-memory-utilization"),
        (&["predict", "--modle", "x"], "--model"),
        (&["cost"], "capsim compare"),
        (&["vram"], "capsim memory"),
        (&["mock"], "capsim serve"),
        (&["predcit"], "predict"),
    ] {
        let (code, _, err) = run(args);
        assert_eq!(code, Some(2), "{args:?}");
        assert!(err.contains(&format!("perhaps {says}")), "{args:?}: {err}");
        assert!(
            err.lines().count() <= 5 && !err.contains("as a value"),
            "{err}"
        );
    }
    let (code, _, err) = run(&["predict", "--qwertz", "1"]);
    assert_eq!(code, Some(2));
    assert!(
        err.contains("--qwertz") && err.contains("predict --help"),
        "{err}"
    );
    // Names of devices, formats and counts.
    let (_, _, err) = run(&["predict", "--device", "h1oo-sxm", "--model", "qwen3-8b"]);
    assert!(err.contains("most like it: h100"), "{err}");
    let (_, _, err) = run(&["memory", "--weights", "4bit"]);
    assert!(err.contains("did you mean \"awq\""), "{err}");
    let of = |len: &str| points(&["--model", "qwen3-0.6b", "--max-model-len", len]);
    assert_eq!(of("2K"), of("2048"));
}

/// No plan takes a device without saying which.
#[test]
fn the_device_that_was_taken_is_said() {
    let slo = ["--slo", "ttft.p95<9s", "--no-what-if", "--seeds", "1"];
    let load = ["--num-prompts", "8", "--model", "qwen3-0.6b"];
    for args in [
        [&["memory"][..], &load[2..]].concat(),
        [&["predict"], &load[..]].concat(),
        [&["capacity"], &slo[..], &load].concat(),
    ] {
        let (_, text, err) = run(&args);
        let text = text.replace('\n', " ");
        assert!(
            text.contains("No --device was given: this is gfx1151"),
            "{args:?}: {text}{err}"
        );
        let named = [&args[..], &["--device", "l4"]].concat();
        assert!(!run(&named).1.contains("No --device"), "{named:?}");
    }
}

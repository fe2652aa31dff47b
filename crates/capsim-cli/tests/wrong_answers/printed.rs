//! Lines that are printed run as they are: the engine's own flags, names that exist on Hugging Face, a word on the checkpoint.
use serde_json::Value;
use std::process::Command;

fn capsim(words: &[&str]) -> (Option<i32>, String) {
    let o = Command::new(env!("CARGO_BIN_EXE_capsim"))
        .args(words)
        .output()
        .unwrap();
    let text = String::from_utf8(o.stdout).unwrap();
    let problems = String::from_utf8_lossy(&o.stderr);
    assert!(problems.is_empty() || o.status.success(), "{problems}");
    (o.status.code(), text)
}

fn json(words: &[&str]) -> Value {
    let (_, text) = capsim(words);
    serde_json::from_str(&text).unwrap()
}

const LOAD: [&str; 6] = [
    "--random-input-len",
    "200",
    "--random-output-len",
    "20",
    "--num-prompts",
    "8",
];

#[test]
fn the_line_of_tune_is_the_engines_and_says_the_same_when_it_is_pasted() {
    for (asked, begins, comment) in [
        (&[][..], "vllm serve Qwen/Qwen3-8B ", None),
        (
            &["--server", "sglang"],
            "python -m sglang.launch_server --model-path Qwen/Qwen3-8B ",
            None,
        ),
        (
            &["--weights", "awq"],
            "vllm serve Qwen/Qwen3-8B ",
            Some("in the place of Qwen/Qwen3-8B: its checkpoint in awq or gptq"),
        ),
        (
            &["--quantization", "fp8", "--device", "h100-sxm"],
            "vllm serve Qwen/Qwen3-8B ",
            None,
        ),
        (
            &["--server", "llama-server", "--weights", "q4_k_m"],
            "llama-server -m Qwen3-8B-Q4_K_M.gguf ",
            Some("a GGUF file of Qwen/Qwen3-8B in q4_k_m"),
        ),
    ] {
        let base = ["tune", "--model", "qwen3-8b", "--json"];
        let knob = ["--knob", "max-num-seqs=4,8"];
        let tuned = json(&[&base[..], &knob, &LOAD, asked].concat());
        let printed = tuned["best"]["serve"].as_str().unwrap();
        let (line, said) = match printed.split_once("   # ") {
            Some((line, said)) => (line, Some(said)),
            None => (printed, None),
        };
        assert!(line.starts_with(begins), "{line}");
        assert_eq!(said, comment, "{line}");

        // Pasted with its comment, it starts the server that was priced.
        let again = json(&[&["predict", "--json"], &LOAD[..], asked, &["--", printed]].concat());
        let named = [&base[1..3], asked].concat();
        let changes: Vec<String> = tuned["best"]["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| match (c[0].as_str().unwrap(), c[1].as_str().unwrap()) {
                (name, "on") => format!("--{name}"),
                (name, "off") => format!("--no-{name}"),
                (name, value) => format!("--{name}={value}"),
            })
            .collect();
        let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
        let direct = json(&[&["predict", "--json"], &LOAD[..], &named, &changes].concat());
        let point = |answer: &Value| answer["points"][0].clone();
        assert_eq!(
            point(&again)["metrics"],
            point(&direct)["metrics"],
            "{line}"
        );
    }
}

#[test]
fn the_benchmark_of_capacity_names_the_model_and_the_port() {
    for (server, port) in [
        ("vllm", None),
        ("sglang", Some("--port 30000")),
        ("llama-server", Some("--port 8080")),
    ] {
        let words = ["capacity", "--model", "qwen3-8b", "--server", server];
        let slo = ["--slo", "e2el.p90<600s", "--max-concurrency", "4"];
        let (_, text) = capsim(&[&words[..], &slo, &LOAD].concat());
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let flat = flat.replace(" \\", "");
        assert!(flat.contains("--model Qwen/Qwen3-8B "), "{text}");
        match port {
            Some(port) => assert!(flat.contains(port), "{text}"),
            None => assert!(!flat.contains("--port"), "{text}"),
        }
    }
}

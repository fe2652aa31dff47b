//! Pages and tables show what was answered.
use super::loads::{capsim, flat};
use serde_json::{Value, json};
use std::path::Path;

fn json_of(args: &[&str]) -> (String, Value) {
    let (code, text, err) = capsim(args);
    assert!(code < 2, "{args:?}: {err}");
    let value = serde_json::from_str(&text).unwrap();
    (text, value)
}

/// Writes an answer into a file and makes the page of it: exit code, the page's sections, what was said.
fn page(dir: &Path, name: &str, text: &str) -> (i32, String, String) {
    let (from, to) = (dir.join(name), dir.join(format!("{name}.html")));
    std::fs::write(&from, text).unwrap();
    let (code, _, err) = capsim(&["report", from.to_str().unwrap(), "-o", to.to_str().unwrap()]);
    let html = std::fs::read_to_string(&to).unwrap_or_default();
    let body = html
        .find("<section")
        .map_or(String::new(), |at| html[at..].into());
    (code, body, err)
}

/// The heading of a what-if table, its device and its rests-on lines were those of its first point.
#[test]
fn a_table_over_devices_is_about_all_of_them() {
    let lines = |devices: &str| -> Vec<String> {
        let words = [
            "predict",
            "--model",
            "qwen3-8b",
            "--max-model-len",
            "4096",
            "--max-concurrency",
            "4",
        ];
        let (code, text, err) = capsim(
            &[
                &words[..],
                &["--num-prompts", "8", "--details", "--device", devices],
            ]
            .concat(),
        );
        assert_eq!(code, 0, "{err}");
        let heading = flat(text.split("\n\n").nth(1).unwrap());
        for device in ["H100", "RTX 4090"] {
            assert!(heading.contains(device), "{heading}");
        }
        // Lines with a label, unbroken.
        let text = text.replace("\n          ", " ");
        let labels = ["Device", "Profile", "Rests on"];
        let all = text
            .lines()
            .filter(|l| labels.iter().any(|label| l.starts_with(label)));
        all.map(flat).collect()
    };
    let (mut one, mut other) = (lines("h100-sxm,rtx-4090"), lines("rtx-4090,h100-sxm"));
    for (label, least) in [
        ("Device", 2),
        ("Rests on h100-sxm", 1),
        ("Rests on rtx-4090", 1),
    ] {
        let n = one.iter().filter(|l| l.starts_with(label)).count();
        assert!(n >= least, "{label}: {one:#?}");
    }
    one.sort();
    other.sort();
    assert_eq!(one, other);
}

/// The lines under a table of settings are of all its rows: a slope that differs between them is a range.
#[test]
fn what_a_table_rests_on_is_of_all_its_rows() {
    let words = [
        "predict",
        "--model",
        "qwen3-8b",
        "--device",
        "l40s",
        "--max-model-len",
        "4096",
        "--num-prompts",
        "32",
    ];
    let (code, text, err) =
        capsim(&[&words[..], &["--details", "--max-concurrency", "1,32"]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(
        text.contains("32 requests of") && text.contains("several loads"),
        "{text}"
    );
    let rests = flat(&text[text.find("Rests on").unwrap()..]);
    assert!(rests.contains(" … "), "{rests}");
}

/// The command line's error allowed for the digits of the record, the page's did not: +1.6 against +9.9 %.
#[test]
fn an_error_is_the_same_in_text_json_and_page() {
    let dir = tempfile::tempdir().unwrap();
    let runs = "validation/gfx1151/qwen3-30b-a3b-vllm-0.12/runs.json";
    let (_, text, _) = capsim(&["validate", runs]);
    let (answer, value) = json_of(&["validate", runs, "--json"]);
    let (code, body, err) = page(dir.path(), "v.json", &answer);
    assert_eq!(code, 0, "{err}");
    let (mut seen, mut rounded) = (0, 0);
    for run in value["runs"].as_array().unwrap() {
        let best = &run["candidates"][0];
        for m in best["metrics"].as_array().unwrap() {
            let number = |key: &str| m[key].as_f64().unwrap();
            let shown = format!("{:+.1} %", 100.0 * number("error"));
            let name = format!(
                "{}, {}",
                run["id"].as_str().unwrap(),
                m["metric"].as_str().unwrap()
            );
            let row = &body[body
                .find(&format!("<th scope=\"row\">{name}</th>"))
                .expect(&name)..];
            let row = &row[..row.find("</tr>").unwrap()];
            assert!(
                row.contains(&format!("<td>{shown}</td>")),
                "{name}: {shown} is not in {row}"
            );
            assert!(text.contains(&shown), "{name}: {shown}");
            let plain = number("predicted") / number("measured") - 1.0;
            rounded += usize::from((plain - number("error")).abs() > 0.02);
            seen += 1;
        }
    }
    // Throughputs of two digits are among them.
    assert!(seen > 20 && rounded > 0, "{seen} {rounded}");
}

/// A result of `vllm bench serve --save-result` is one line of JSON: it made an empty page, exit 0.
#[test]
fn a_stored_benchmark_is_shown_and_other_json_refused() {
    let dir = tempfile::tempdir().unwrap();
    let stored = json!({
        "date": "20261101-120000", "backend": "vllm", "model_id": "Qwen/Qwen3-8B", "num_prompts": 3, "request_rate": "inf",
        "burstiness": 1.0, "max_concurrency": 2, "duration": 4.0, "completed": 3, "total_input_tokens": 300,
        "total_output_tokens": 96, "request_throughput": 0.75, "output_throughput": 24.0, "total_token_throughput": 99.0,
        "mean_ttft_ms": 41.5, "median_ttft_ms": 41.0, "p99_ttft_ms": 44.0, "mean_tpot_ms": 12.25, "mean_itl_ms": 12.25,
        "mean_e2el_ms": 421.0, "p99_e2el_ms": 433.0
    });
    let (code, body, err) = page(dir.path(), "bench.json", &stored.to_string());
    assert_eq!(code, 0, "{err}");
    for word in [
        "Measured by vllm bench serve",
        "Qwen/Qwen3-8B",
        "mean_ttft_ms",
        "41.5",
        "at most 2 requests open",
    ] {
        assert!(body.contains(word), "{word}: {body}");
    }
    for (name, text) in [
        (
            "other.json",
            r#"{"mean_ttft_ms": 1.0, "mean_e2el_ms": 2.0}"#,
        ),
        ("list.json", "[1, 2]"),
        ("empty.csv", "id,ttft_ms,tpot_ms,e2el_ms\n"),
    ] {
        let (code, body, err) = page(dir.path(), name, text);
        assert_eq!(code, 2, "{name}: {err}");
        assert!(body.is_empty() && err.contains(name), "{name}: {err}");
    }
    // capsim's own answers in one line are what they are in several.
    let words = [
        "predict",
        "--model",
        "qwen3-0.6b",
        "--max-concurrency",
        "2",
        "--num-prompts",
        "4",
        "--json",
    ];
    let (_, value) = json_of(&words);
    let (code, body, err) = page(dir.path(), "one-line.json", &value.to_string());
    assert_eq!(code, 0, "{err}");
    assert!(body.contains("Where step time goes"), "{body}");
}

/// `capsim report` refused the answers of `tune` and `memory`.
#[test]
fn answers_of_tune_and_memory_have_a_section() {
    let dir = tempfile::tempdir().unwrap();
    let here = [
        "--model",
        "qwen3-8b",
        "--device",
        "h100-sxm",
        "--max-model-len",
        "4096",
    ];
    let tune = [
        "--num-prompts",
        "16",
        "--max-concurrency",
        "4",
        "--only",
        "--knob",
        "max-num-seqs=2,8",
        "--slo",
        "ttft.p95<2s",
        "--json",
    ];
    let (text, t) = json_of(&[&["tune"], &here[..], &tune].concat());
    let (code, body, err) = page(dir.path(), "tune.json", &text);
    assert_eq!(code, 0, "{err}");
    let line = t["best"]["serve"].as_str().unwrap();
    for word in [
        line,
        "SLO ttft.p95&lt;2s",
        "Throughput against interactivity",
        "Each knob turned alone",
        "max-num-seqs",
    ] {
        assert!(body.contains(word), "{word}: {body}");
    }
    for (more, words) in [
        (
            vec![],
            vec![
                "It fits:",
                "Where the memory goes",
                "Requests that the KV cache holds",
            ],
        ),
        (
            vec!["--num-gpu-blocks-override", "100000"],
            vec![
                "It does not fit: the KV cache does not fit",
                "without --num-gpu-blocks-override",
            ],
        ),
    ] {
        let (text, _) = json_of(&[&["memory"], &here[..], &more, &["--json"]].concat());
        let (code, body, err) = page(dir.path(), "memory.json", &text);
        assert_eq!(code, 0, "{err}");
        for word in words {
            assert!(body.contains(word), "{word}: {body}");
        }
    }
}

/// `--enforce-eager` costs nothing on CUDA in today's model, and `tune` recommended it.
#[test]
fn tune_does_not_turn_graphs_off_by_itself() {
    let here = [
        "tune",
        "--model",
        "qwen3-8b",
        "--device",
        "h100-sxm",
        "--max-model-len",
        "4096",
        "--max-concurrency",
        "4",
        "--num-prompts",
        "16",
        "--json",
    ];
    let (text, t) = json_of(&[&here[..], &["--settings", "16"]].concat());
    assert!(!text.contains(" --enforce-eager"), "{text}");
    let turned = t["effects"].as_array().unwrap();
    assert!(
        turned.len() > 3 && turned.iter().all(|e| e["knob"] != "enforce-eager"),
        "{t}"
    );
    assert_eq!(t["notes"], json!([]));
    let asked = [&here[..], &["--only", "--knob", "enforce-eager=true"]].concat();
    let (_, t) = json_of(&asked);
    assert!(
        t["notes"][0]
            .as_str()
            .unwrap()
            .starts_with("enforce-eager has no measured price"),
        "{t}"
    );
    let (_, text, err) = capsim(
        &asked[..asked.len()]
            .iter()
            .filter(|w| **w != "--json")
            .copied()
            .collect::<Vec<_>>(),
    );
    assert!(
        flat(&text).contains("Caveat enforce-eager has no measured price"),
        "{text}{err}"
    );
    // Nor does what else could be set, in the answer to how much load is borne.
    let (_, c) = json_of(&[
        "capacity",
        "--model",
        "qwen3-8b",
        "--device",
        "h100-sxm",
        "--max-model-len",
        "4096",
        "--slo",
        "e2el.p95<4s",
        "--input-len",
        "64",
        "--output-len",
        "16",
        "--num-prompts",
        "24",
        "--seeds",
        "1",
        "--json",
    ]);
    let outlooks = c["outlooks"].as_array().unwrap();
    assert!(
        !outlooks.is_empty()
            && outlooks
                .iter()
                .all(|o| !o["what"].as_str().unwrap().contains("eager")),
        "{c}"
    );
}

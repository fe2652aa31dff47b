//! `capsim report`: one file, nothing from elsewhere, all figures on it, whatever the names hold.
#![cfg(feature = "cli")]
use assert_cmd::Command;
use std::path::Path;

fn capsim(dir: &Path, args: &[&str]) -> Command {
    let mut c = Command::new(assert_cmd::cargo::cargo_bin!("capsim"));
    c.current_dir(dir).args(args);
    c
}

fn keep(dir: &Path, name: &str, args: &[&str]) {
    let out = capsim(dir, args).assert().success();
    std::fs::write(dir.join(name), &out.get_output().stdout).unwrap();
}

/// Every element that is opened is closed, in order, and nothing is fetched or run.
fn check(html: &str) {
    const VOID: &[&str] = &["meta", "link", "!doctype", "br"];
    assert!(!html.contains("<script") && !html.contains("NaN"));
    for part in html
        .split("src=\"")
        .skip(1)
        .chain(html.split("href=\"").skip(1))
    {
        assert!(
            part.starts_with('#') || part.starts_with("data:"),
            "{}",
            &part[..40]
        );
    }
    let mut open: Vec<&str> = vec![];
    for part in html.split('<').skip(1) {
        let tag = part.split('>').next().unwrap();
        let name = tag
            .trim_start_matches('/')
            .split(|c: char| c.is_whitespace() || c == '/')
            .next()
            .unwrap();
        if VOID.contains(&name) || tag.ends_with('/') {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "before </{name}>");
        } else {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn every_kind_of_result_becomes_a_section() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let root = env!("CARGO_MANIFEST_DIR");
    keep(
        dir,
        "table.json",
        &[
            "predict",
            "--json",
            "--num-prompts",
            "16",
            "--max-num-seqs",
            "1,4",
            "--max-concurrency",
            "4",
        ],
    );
    keep(
        dir,
        "one.json",
        &[
            "predict",
            "--json",
            "--model",
            "qwen3-0.6b",
            "--num-prompts",
            "16",
            "--max-concurrency",
            "4",
            "--save-timeline",
            "time.csv",
            "--save-requests",
            "requests.jsonl",
        ],
    );
    let runs = format!("{root}/validation/gfx1151/qwen3-30b-a3b-vllm-0.12/runs.json");
    keep(
        dir,
        "validation.json",
        &["validate", &runs, "--fit", "latency-10", "--json"],
    );
    std::fs::write(
        dir.join("plan.toml"),
        "name = 'a <b> & \"c\"'\n[base]\nmodel = 'qwen3-0.6b'\nnum-prompts = 8\n[grid]\nmax-num-seqs = [1, 2, 4]\nrequest-rate = [1, 2]\n\
         [[points]]\nnum-gpu-blocks-override = 2\nmax-concurrency = 1\n",
    )
    .unwrap();
    capsim(dir, &["sweep", "plan.toml"]).assert().success();
    let device = format!("{root}/calibration/gfx1151/published-2026-11-24");
    capsim(
        dir,
        &[
            "report",
            "table.json",
            "one.json",
            "validation.json",
            "plan.results",
            &device,
            "time.csv",
            "requests.jsonl",
            "--title",
            "<script>x</script>",
        ],
    )
    .assert()
    .success();
    let html = std::fs::read_to_string(dir.join("report.html")).unwrap();
    check(&html);
    assert_eq!(html.matches("<section").count(), 7);
    assert!(html.contains("a &lt;b&gt; &amp; &quot;c&quot;"));
    for title in [
        "Throughput against interactivity",
        "Mean TTFT over request-rate",
        "Predicted over measured",
        "Streaming reads",
        "KV cache",
        "TTFT: share of requests at most so long",
        "What cannot be served",
    ] {
        assert!(html.contains(title), "{title}");
    }
    // Every drawing has a name, and the same input gives the same page.
    assert_eq!(
        html.matches("<svg").count(),
        html.matches("role=\"group\" aria-label=\"").count()
    );
    capsim(dir, &["report", "table.json", "-o", "a.html"])
        .assert()
        .success();
    capsim(dir, &["report", "table.json", "-o", "b.html"])
        .assert()
        .success();
    assert_eq!(
        std::fs::read(dir.join("a.html")).unwrap(),
        std::fs::read(dir.join("b.html")).unwrap()
    );
}

#[test]
fn what_is_no_result_is_refused_by_name_and_nothing_is_written() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    for (text, part) in [
        ("{\"schema\": \"capsim.samples/1\"}", "capsim.samples/1"),
        ("{}", "schema `none`"),
        ("{\"schema\": \"capsim.prediction/1\"}", "points"),
        (
            "{\"schema\": \"capsim.prediction/1\", \"points\": []}",
            "points",
        ),
        (
            "{\"schema\": \"capsim.validation/1\", \"runs\": [{}]}",
            "id",
        ),
        (
            "{\"schema\": \"capsim.device/1\", \"id\": 3}",
            "stream_read.points",
        ),
        ("{\"schema\": ", "x:1"),
        ("time,running\n1,2\n", "x"),
        ("", "x"),
    ] {
        std::fs::write(dir.join("x"), text).unwrap();
        let out = capsim(dir, &["report", "x"]).assert().code(2);
        let said = String::from_utf8_lossy(&out.get_output().stderr).into_owned();
        assert!(said.contains(part), "{text}: {said}");
        assert!(!dir.join("report.html").exists());
    }
    capsim(dir, &["report", "."]).assert().code(2);
    capsim(dir, &["report", "nowhere"]).assert().code(2);
}

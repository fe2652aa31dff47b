//! The two pages in a real browser: `capsim explore` is turned and answers, `capsim report` is read; nothing complains.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a browser lives in real time"
)]

use crate::exploring::Exploring;
use crate::webdriver::Browser;
use std::path::Path;
use std::process::Command;

const RIGHT: &str = "\u{E014}";
const TAB: &str = "\u{E004}";
/// What the page has drawn is what it was last asked for, intervals and curves included.
const SETTLED: &str = "return document.body.dataset.settled === location.search.slice(1)";
const THROUGHPUT: &str =
    "return document.querySelector('[data-metric=output_throughput]').textContent";

/// No scrolling sideways, at the width of a phone and of a desk.
async fn fits(b: &Browser, name: &str) {
    for (width, height) in [(390, 844), (1280, 900)] {
        b.screen(width, height).await;
        let seen = b
            .run("return [document.documentElement.scrollWidth, innerWidth]")
            .await;
        assert!(
            seen[0].as_f64().unwrap() <= seen[1].as_f64().unwrap(),
            "{name} at {width}: {seen}"
        );
        for scheme in ["light", "dark"] {
            b.scheme(scheme).await;
            b.keep(&format!("{name}-{width}-{scheme}.png")).await;
        }
    }
}

/// Every control is reached by the tabulator key alone.
async fn keyboard(b: &Browser) {
    b.run("document.activeElement.blur(); scrollTo(0, 0)").await;
    let all = b
        .run(
            "return [...document.querySelectorAll('input,select,button,a[href],summary')].filter(e => e.offsetParent).map((e, i) => \
             { e.dataset.reach = i; return i })",
        )
        .await;
    let wanted: Vec<String> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.to_string())
        .collect();
    assert!(wanted.len() > 20, "{wanted:?}");
    let mut reached = std::collections::BTreeSet::new();
    for _ in 0..12 * wanted.len() {
        b.press(TAB).await;
        reached.insert(
            b.text("return document.activeElement.dataset.reach || ''")
                .await,
        );
        if wanted.iter().all(|w| reached.contains(w)) {
            return;
        }
    }
    let missed: Vec<_> = wanted.iter().filter(|w| !reached.contains(*w)).collect();
    panic!("not reached: {missed:?}");
}

#[tokio::test]
async fn a_slider_moves_and_the_figures_follow() {
    let Some(b) = Browser::start().await else {
        return;
    };
    let page = Exploring::start(&[
        "--model",
        "qwen3-0.6b",
        "--max-num-seqs",
        "4",
        "--max-concurrency",
        "32",
        "--num-prompts",
        "64",
    ]);
    b.open(page.url()).await;
    b.until(SETTLED).await;
    let before: f64 = b.text(THROUGHPUT).await.parse().unwrap();
    assert!(
        b.text("return location.search")
            .await
            .contains("max-num-seqs=4")
    );
    // Three stops to the right: 6, 8, 12.
    b.run("document.getElementById('r-max-num-seqs').focus()")
        .await;
    b.press(&RIGHT.repeat(3)).await;
    b.until("return location.search.includes('max-num-seqs=12')")
        .await;
    b.until(SETTLED).await;
    let after: f64 = b.text(THROUGHPUT).await.parse().unwrap();
    assert!(after > 1.5 * before, "{before} → {after}");
    let line = b
        .text("return document.getElementById('command').textContent")
        .await;
    assert!(
        line.starts_with("capsim predict --model qwen3-0.6b --max-num-seqs 12"),
        "{line}"
    );
    // The command that the page shows says the same number.
    let words = line.split(' ').skip(1);
    let out = Command::new(assert_cmd::cargo::cargo_bin!("capsim"))
        .args(words)
        .arg("--json")
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let exact = said["points"][0]["metrics"]["output_throughput"]["value"]
        .as_f64()
        .unwrap();
    assert!((exact / after - 1.0).abs() < 0.01, "{exact} {after}");
    // Reloaded, the page shows the same.
    b.reload().await;
    b.until(SETTLED).await;
    assert_eq!(b.text(THROUGHPUT).await.parse::<f64>().unwrap(), after);
    assert_eq!(
        b.text("return document.getElementById('k-max-num-seqs').value")
            .await,
        "12"
    );
    // An interval, curves, a timeline, distributions: all are drawn.
    for id in ["curve", "timeline", "distributions", "breakdown", "memory"] {
        let n = b
            .run(&format!(
                "return document.querySelectorAll('#{id} svg').length"
            ))
            .await;
        assert!(n.as_u64().unwrap() >= 1, "{id}");
    }
    b.until("return /\\d – \\d/.test(document.querySelector('.range').textContent)")
        .await;
    keyboard(&b).await;
    fits(&b, "explore").await;
    assert_eq!(b.complaints().await, Vec::<String>::new());
    let port = page.url().split('/').nth(2).unwrap().to_string();
    for url in b.requests().await {
        let own = url.starts_with(&format!("http://{port}/")) || url.starts_with("data:");
        assert!(own, "asked for {url}");
    }
    // What cannot be is said beside its knob, and the way back works.
    b.run("const f = document.getElementById('k-max-num-batched-tokens'); f.focus(); f.value = 3; f.dispatchEvent(new Event('input'))")
        .await;
    b.until("return document.getElementById('e-max-num-batched-tokens').textContent.includes('between')")
        .await;
    // The figures of the last state that could be served are not those of this one, and look so: on the cards, too.
    const FADED: &str =
        "return getComputedStyle(document.querySelector('#headline dl')).opacity < 0.6";
    b.until(FADED).await;
    b.run("document.querySelector('[data-flag=max-num-batched-tokens] .reset').click()")
        .await;
    b.until("return document.getElementById('e-max-num-batched-tokens').textContent === ''")
        .await;
    b.until("return getComputedStyle(document.querySelector('#headline dl')).opacity === '1'")
        .await;
    assert_eq!(b.text(THROUGHPUT).await.parse::<f64>().unwrap(), after);
}

#[tokio::test]
async fn the_report_is_read_without_complaint() {
    let Some(b) = Browser::start().await else {
        return;
    };
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let capsim = |args: &[&str], out: &str| {
        let done = Command::new(assert_cmd::cargo::cargo_bin!("capsim"))
            .current_dir(dir)
            .args(args)
            .output()
            .unwrap();
        assert!(
            done.status.code().is_some_and(|c| c < 2),
            "{args:?}: {done:?}"
        );
        std::fs::write(dir.join(out), done.stdout).unwrap();
    };
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let at = |p: &str| root.join(p).display().to_string();
    capsim(
        &[
            "predict",
            "--json",
            "--model",
            "qwen3-8b",
            "--max-concurrency",
            "1,2,4,8,16,32",
            "--num-prompts",
            "64",
            "--max-num-seqs",
            "8,32",
        ],
        "load.json",
    );
    capsim(
        &[
            "predict",
            "--model",
            "qwen3-0.6b",
            "--request-rate",
            "20",
            "--num-prompts",
            "200",
            "--save-timeline",
            "time.csv",
            "--save-requests",
            "requests.csv",
        ],
        "one.txt",
    );
    capsim(
        &[
            "capacity",
            "--json",
            "--model",
            "qwen3-0.6b",
            "--slo",
            "ttft.p95<1s,tpot.p95<30ms",
            "--seeds",
            "1",
            "--no-what-if",
            "--num-prompts",
            "100",
        ],
        "capacity.json",
    );
    capsim(
        &[
            "validate",
            &at("validation/gfx1151/qwen3-30b-a3b-vllm-0.12/runs.json"),
            "--fit",
            "latency-10",
            "--json",
        ],
        "validation.json",
    );
    let device = at("calibration/gfx1151/published-2026-11-24");
    capsim(
        &[
            "report",
            "load.json",
            "capacity.json",
            "validation.json",
            &device,
            "time.csv",
            "requests.csv",
            "--slo",
            "ttft.p99<20s,tpot.mean<150ms",
        ],
        "done.txt",
    );
    b.open(&format!("file://{}", dir.join("report.html").display()))
        .await;
    assert_eq!(b.text("return document.title").await, "capsim report");
    assert!(
        b.run("return document.querySelectorAll('svg').length")
            .await
            .as_u64()
            .unwrap()
            > 15
    );
    fits(&b, "report").await;
    assert_eq!(b.complaints().await, Vec::<String>::new());
    for url in b.requests().await {
        assert!(
            url.starts_with("file://") || url.starts_with("data:"),
            "asked for {url}"
        );
    }
}

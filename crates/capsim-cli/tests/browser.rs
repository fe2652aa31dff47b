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

/// No scrolling sideways, and nothing that axe-core finds, at the widths of a phone, a laptop and a desk, light and dark.
async fn fits(b: &Browser, name: &str) {
    for (width, height) in [(390, 844), (1200, 800), (1440, 900)] {
        b.screen(width, height).await;
        b.run("scrollTo(0, 0)").await;
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
            // What it looks for depends on the colours, and on whether the form stands beside or above.
            let found = match (width, scheme) {
                (390, "light") | (1440, "dark") => b.axe().await,
                _ => vec![],
            };
            assert_eq!(found, Vec::<String>::new(), "{name} at {width}, {scheme}");
        }
    }
}

/// Every control is reached by the tabulator key alone.
async fn keyboard(b: &Browser) {
    b.run("document.activeElement.blur(); scrollTo(0, 0)").await;
    let all = b
        .run(
            "return [...document.querySelectorAll('input,select,button,a[href],summary')].filter(e => e.checkVisibility({contentVisibilityAuto: true}) && (e.type !== 'radio' || e.checked)).map((e, i) => \
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
    // What cannot be is said beside its knob and in the figures' place: none of another state's is to be seen.
    b.run(&turned("max-num-batched-tokens", "3")).await;
    b.until("return document.getElementById('e-max-num-batched-tokens').textContent.includes('between')")
        .await;
    let said = b
        .text("return document.getElementById('headline').innerText")
        .await;
    assert!(said.starts_with("This state cannot be served."), "{said}");
    let seen = b
        .run("return [...document.querySelectorAll('#headline output')].length + document.getElementById('results').checkVisibility({visibilityProperty: true})")
        .await;
    assert_eq!(seen, 0);
    fits(&b, "explore-refused").await;
    // Back is undo, and forward is redo.
    b.run("history.back()").await;
    b.until(SETTLED).await;
    assert_eq!(b.text(THROUGHPUT).await.parse::<f64>().unwrap(), after);
    b.run("history.back()").await;
    b.until("return new URLSearchParams(location.search).get('max-num-seqs') === '4'")
        .await;
    b.until(SETTLED).await;
    assert_eq!(b.text(THROUGHPUT).await.parse::<f64>().unwrap(), before);
    b.run("history.forward()").await;
    b.until("return new URLSearchParams(location.search).get('max-num-seqs') === '12'")
        .await;
    b.until(SETTLED).await;
    assert_eq!(b.text(THROUGHPUT).await.parse::<f64>().unwrap(), after);
    assert_eq!(b.complaints().await, Vec::<String>::new());
}

/// Sets a knob, as if it had been typed or chosen.
fn turned(flag: &str, value: &str) -> String {
    format!(
        "const f = document.getElementById('k-{flag}'); f.focus({{ preventScroll: true }}); f.value = {value:?}; f.dispatchEvent(new Event('input')); \
         f.dispatchEvent(new Event('change'))"
    )
}

/// Waits until the page shows the answer, or the refusal, of the state in its address.
const SHOWN: &str = "return document.body.dataset.shown === location.search.slice(1)";

#[tokio::test]
async fn every_knob_is_turned_once() {
    let Some(b) = Browser::start().await else {
        return;
    };
    let tmp = tempfile::tempdir().unwrap();
    let trace = tmp.path().join("trace.csv");
    let rows: String = (0..40).map(|i| format!("{}.0,64,16\n", i)).collect();
    std::fs::write(
        &trace,
        format!("TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}"),
    )
    .unwrap();
    let page = Exploring::start(&[
        "--model",
        "qwen3-0.6b",
        "--trace-file",
        trace.to_str().unwrap(),
    ]);
    b.open(page.url()).await;
    b.until(SHOWN).await;
    // Each under a pace under which it means something, from the page's defaults.
    let all = b
        .run(
            "return knobs.map(k => [k.flag, k.kind, k.paces[0] || 'open', \
             k.kind === 'number' ? String(k.stops[Math.min(3, k.stops.length - 1)]) : \
             k.kind === 'choice' ? [...k.field.options].map(o => o.value).find(v => v && v !== k.own) || '' : k.field.dataset.example])",
        )
        .await;
    let all = all.as_array().unwrap().clone();
    assert!(all.len() > 35, "{}", all.len());
    for knob in &all {
        let [flag, kind, pace, value] = [0, 1, 2, 3].map(|i| knob[i].as_str().unwrap());
        b.run("load('?model=qwen3-0.6b&num-prompts=16'); changed('test')")
            .await;
        b.run(&format!(
            "const r = document.querySelector('[name=pace][value={pace}]'); if (!r.checked) r.click()"
        ))
        .await;
        let hidden = b
            .run(&format!(
                "return document.querySelector('[data-flag={flag}]').hidden"
            ))
            .await;
        assert_eq!(hidden, false, "{flag} under {pace}");
        if kind == "number" {
            b.run(&format!(
                "const r = document.getElementById('r-{flag}'); r.value = Math.min(3, r.max); r.dispatchEvent(new Event('input'))"
            ))
            .await;
        } else {
            b.run(&turned(flag, value)).await;
        }
        b.until(&format!(
            "return new URLSearchParams(location.search).get('{flag}') === '{value}' && (() => {{ {SHOWN} }})()"
        ))
        .await;
        // An answer that says so, or a refusal that says why.
        let said = b
            .text("return document.querySelector('.refusal')?.innerText || ''")
            .await;
        let line = b
            .text("return document.getElementById('command').textContent")
            .await;
        let goal = ["slo", "price", "electricity"].contains(&flag);
        let named = line.contains(&format!("--{flag} {value}"))
            || value == "true" && line.contains(&format!("--{flag}"))
            || value == "false" && line.contains(&format!("--no-{flag}"));
        assert!(goal || named || said.len() > 40, "{flag}: {line}; {said}");
        assert!(!said.contains("contradicts"), "{flag}: {said}");
    }
    assert_eq!(b.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn two_states_stand_beside_each_other_and_all_of_it_can_be_kept() {
    let Some(b) = Browser::start().await else {
        return;
    };
    let page = Exploring::start(&[
        "--model",
        "qwen3-0.6b",
        "--device",
        "h100-sxm",
        "--price",
        "h100-sxm=2.10/h",
        "--slo",
        "ttft.p95<2s",
        "--num-prompts",
        "64",
    ]);
    b.open(page.url()).await;
    b.until(SETTLED).await;
    let cost = "return document.querySelector('[data-metric=cost_per_million_tokens]').textContent";
    let was: f64 = b.text(cost).await.parse().unwrap();
    let rate: f64 = b.text("return String(rate * 256)").await.parse().unwrap();
    // Dollars an hour over millions of tokens an hour.
    assert!(
        (was / (2.10 / (rate * 3600.0 / 1e6)) - 1.0).abs() < 0.02,
        "{was} {rate}"
    );
    b.run("document.getElementById('pin').click()").await;
    b.run(&turned("max-concurrency", "4")).await;
    b.until(SETTLED).await;
    let pins = b
        .text("return document.getElementById('pins').textContent")
        .await;
    assert!(pins.contains("max-concurrency default → 4"), "{pins}");
    let beside = "return document.querySelector('[data-metric=cost_per_million_tokens]').closest('div').querySelector('.pin').textContent";
    let said = b.text(beside).await;
    assert!(said.starts_with(&format!("A: {was}")), "{said}");
    // Two lines in every curve, two bars, two columns.
    for (id, what, n) in [
        ("curve", "figure:first-child .legend li", 2),
        ("breakdown", "svg g[role=img]", 2),
        ("engine", "thead th", 3),
    ] {
        let found = b
            .run(&format!(
                "return document.querySelectorAll('#{id} {what}').length"
            ))
            .await;
        assert_eq!(found, n, "{id}");
    }
    fits(&b, "explore-pinned").await;
    // A reload shows the same; swapped, A is B.
    b.reload().await;
    b.until(SETTLED).await;
    assert_eq!(b.text(beside).await, said);
    b.run("document.getElementById('swap').click()").await;
    b.until(SETTLED).await;
    assert_eq!(b.text(cost).await.parse::<f64>().unwrap(), was);
    b.run("document.getElementById('unpin').click()").await;
    b.until(SETTLED).await;
    // Pictures: an SVG that stands alone, and a PNG.
    let svg = b
        .text("return standalone(document.querySelector('#curve figure')).text")
        .await;
    assert!(svg.contains("<svg") && svg.contains("P95 TTFT") && !svg.contains("var("));
    let png = b
        .run("return raster(standalone(document.querySelector('#curve figure'))).then(p => [p.type, p.size])")
        .await;
    assert!(
        png[0] == "image/png" && png[1].as_u64().unwrap() > 5000,
        "{png}"
    );
    // Files: those of the page's state.
    for (file, start) in [
        ("prediction.json", "{\n  \"answer\": \"32 people at once"),
        ("scenario.json", "{\n  \"schema\": \"capsim.scenario/1\""),
        ("curve.csv", "max_concurrency,"),
        ("requests.csv", "id,"),
    ] {
        let text = b
            .text(&format!(
                "return fetch(document.querySelector('[data-file=\"{file}\"]').href).then(r => r.text())"
            ))
            .await;
        assert!(text.starts_with(start), "{file}: {:.80}", text);
    }
    assert_eq!(b.complaints().await, Vec::<String>::new());
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
    let title = b.text("return document.title").await;
    assert!(
        title.starts_with("capsim: ") && title.contains("Qwen3-8B"),
        "{title}"
    );
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

//! `capsim report`: one file, nothing from elsewhere, all figures on it, whatever the names hold.
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
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
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
        ("{}", "has no `schema`"),
        ("{\"schema\": \"capsim.prediction/1\"}", "points"),
        (
            "{\"schema\": \"capsim.prediction/1\", \"points\": []}",
            "points",
        ),
        (
            "{\"schema\": \"capsim.validation/1\", \"runs\": [{}]}",
            "id",
        ),
        ("{\"schema\": \"capsim.device/1\", \"id\": 3}", "field `id`"),
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

/// The body of the table under a caption: rows of cells.
fn cells(html: &str, caption: &str) -> Vec<Vec<String>> {
    let start = format!("<caption>{caption}</caption>");
    let table = html.split(&start).nth(1).expect("the table is there");
    let body = table.split("<tbody>").nth(1).unwrap();
    let body = body.split("</tbody>").next().unwrap();
    let text = |cell: &str| cell.split('<').next().unwrap().to_string();
    body.split("<tr>")
        .skip(1)
        .map(|row| {
            let row = row.replace("<th scope=\"row\">", "<td>");
            row.split("<td>").skip(1).map(text).collect()
        })
        .collect()
}

#[test]
fn a_capacitys_page_shows_its_numbers_and_its_pictures_are_files_too() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let args = [
        "capacity",
        "--slo",
        "tpot.p95<150ms",
        "--max-num-seqs",
        "8",
        "--input-len",
        "64",
        "--output-len",
        "16",
        "--no-what-if",
        "--json",
    ];
    keep(dir, "c.json", &args);
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let c: serde_json::Value = serde_json::from_str(&read("c.json")).unwrap();
    let page = ["report", "c.json", "--svg", "pictures"];
    capsim(dir, &page).assert().success();
    let html = read("report.html");
    check(&html);
    let short = |v: &serde_json::Value| capsim_study::report::chart::short(v.as_f64().unwrap());
    let rows = cells(&html, "Latency against load");
    let curve = c["curve"].as_array().unwrap();
    assert_eq!(rows.len(), curve.len());
    for (row, p) in rows.iter().zip(curve) {
        let ms = 1e3 * p["values"][0].as_f64().unwrap();
        let tpot = format!("{} ms", capsim_study::report::chart::short(ms));
        let expected = [
            short(&p["load"]),
            tpot,
            short(&p["e2el"]),
            short(&p["batch"]),
            short(&p["output_throughput"]),
        ];
        assert_eq!(row[..5], expected);
        let met = if p["met"] == true { "met" } else { "broken" };
        assert_eq!(row.last().unwrap(), met);
    }
    let highest = &c["highest"]["load"];
    assert!(curve.iter().any(|p| &p["load"] == highest));
    let says = format!(
        "meets it: {} [{} … {}]",
        short(highest),
        short(&c["low"]),
        short(&c["high"])
    );
    assert!(html.contains(&says), "{says}");
    // Every picture of the page, and nothing else, as a drawing that stands alone.
    let mut files: Vec<_> = std::fs::read_dir(dir.join("pictures"))
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), html.matches("<svg").count());
    assert!(files.len() >= 5);
    for (i, path) in files.iter().enumerate() {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(&format!("{:02}-", i + 1)), "{name}");
        let svg = std::fs::read_to_string(path).unwrap();
        check(&svg);
        assert_eq!(svg.matches("<svg").count(), 1, "{name}");
        assert!(
            svg.contains("xmlns=\"http://www.w3.org/2000/svg\""),
            "{name}"
        );
    }
    let first = files[0].file_name().unwrap().to_str().unwrap();
    assert_eq!(first, "01-tpot-p95-over-concurrency.svg");
    // Of throughput alone, load breaks nothing.
    let mut args = args.to_vec();
    args[2] = "throughput>17";
    keep(dir, "c.json", &args);
    capsim(dir, &page).assert().success();
    let c: serde_json::Value = serde_json::from_str(&read("c.json")).unwrap();
    let html = read("report.html");
    check(&html);
    let least = short(&c["rising"]["least"]);
    for says in [
        format!("it is met from {least} ["),
        format!("SLO met from {least}"),
    ] {
        assert!(html.contains(&says), "{says}");
    }
}

/// Measured beside predicted: the table under the two curves holds the quantiles of both sides' requests.
#[test]
fn a_recordings_page_shows_both_distributions() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let data = format!(
        "{}/tests/data/bench",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../..")
    );
    let (bench, model) = (
        format!("{data}/vllm-0.12.json"),
        format!("{data}/tiny-moe-mid.config.json"),
    );
    let args = ["validate", "--json", "--bench", &bench, "--model", &model];
    keep(dir, "paired.json", &args);
    capsim(dir, &["report", "paired.json"]).assert().success();
    let html = std::fs::read_to_string(dir.join("report.html")).unwrap();
    check(&html);
    let text = std::fs::read_to_string(dir.join("paired.json")).unwrap();
    let v: serde_json::Value = serde_json::from_str(&text).unwrap();
    let r = &v["recordings"][0];
    let requests = r["requests"].as_array().unwrap();
    let rows = cells(
        &html,
        &format!("Latencies of {}", r["name"].as_str().unwrap()),
    );
    let mut seen = 0;
    for (title, key) in [("TTFT", "ttft"), ("E2E latency", "e2el")] {
        for (side, key) in [
            ("measured", key.to_string()),
            ("predicted", format!("{key}_predicted")),
        ] {
            let mut ms: Vec<f64> = requests
                .iter()
                .map(|q| 1e3 * q[&key].as_f64().unwrap())
                .collect();
            ms.sort_by(f64::total_cmp);
            let short = capsim_study::report::chart::short;
            let name = format!("{title}, {side}");
            let row = rows.iter().find(|row| row[0] == name).unwrap();
            let mean = ms.iter().sum::<f64>() / ms.len() as f64;
            assert_eq!(row[1], ms.len().to_string());
            assert_eq!(row[2], short(mean));
            assert_eq!(row[6], short(ms[ms.len() - 1]));
            seen += 1;
        }
        let picture = format!("{title}: share of requests at most so long");
        assert!(html.contains(&picture), "{picture}");
    }
    assert_eq!(seen, rows.len());
}

#[test]
fn every_percentile_of_an_slo_can_be_drawn() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let plan =
        "[base]\nnum-prompts = 16\nrandom-output-len = 16\n[grid]\nmax-concurrency = [1, 2, 4]\n";
    std::fs::write(dir.join("plan.toml"), plan).unwrap();
    capsim(dir, &["sweep", "plan.toml"]).assert().success();
    for p in capsim::metrics::PERCENTILES {
        let slo = format!("ttft.p{p}<2s,itl.p{p}<1s");
        let args = ["report", "plan.results", "--slo", &slo];
        capsim(dir, &args).assert().success();
        let html = std::fs::read_to_string(dir.join("report.html")).unwrap();
        check(&html);
        let name = if p == 50.0 {
            "Median".into()
        } else {
            format!("P{p}")
        };
        for what in [
            format!("{name} TTFT over"),
            format!("{name} ITL over"),
            "SLO met up to 4".into(),
        ] {
            assert!(html.contains(&what), "{slo}: {what}");
        }
    }
}

/// Fields that came later may be missing from a result that an older capsim wrote; one that was always there is named.
#[test]
fn an_older_result_becomes_a_page_or_its_field_is_named() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    keep(
        dir,
        "new.json",
        &["predict", "--json", "--num-prompts", "4"],
    );
    let text = std::fs::read_to_string(dir.join("new.json")).unwrap();
    let new: serde_json::Value = serde_json::from_str(&text).unwrap();
    let without = |fields: &[&str]| {
        let mut old = new.clone();
        let point = old["points"][0].as_object_mut().unwrap();
        for f in fields {
            assert!(point.remove(*f).is_some(), "{f}");
        }
        std::fs::write(dir.join("old.json"), old.to_string()).unwrap();
        capsim(dir, &["report", "old.json", "-o", "old.html"]).assert()
    };
    capsim(dir, &["report", "new.json", "-o", "new.html"])
        .assert()
        .success();
    without(&["assumed", "harmless", "num_requests", "refused"]).success();
    assert_eq!(
        std::fs::read(dir.join("old.html")).unwrap(),
        std::fs::read(dir.join("new.html")).unwrap()
    );
    let out = without(&["breakdown_s"]).code(2);
    let said = String::from_utf8_lossy(&out.get_output().stderr).into_owned();
    assert!(
        said.contains("field `points[0]`: missing field `breakdown_s`"),
        "{said}"
    );
}

/// A page says what it is about: its title and head name the model, the device and the command, which gives the same answer again.
#[test]
fn a_page_says_what_it_is_about() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let what = ["--model", "qwen3-0.6b", "--device", "l4"];
    let slo = ["--slo", "tpot.p95<50ms", "--num-prompts", "16"];
    let quick = ["--no-what-if", "--seeds", "1"];
    let knob = ["--only", "--knob", "max-num-seqs=2,4"];
    let runs = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../validation/gfx1151/qwen3-30b-a3b-vllm-0.12/runs.json"
    );
    let users = ["--for-users", "4", "--weights", "bf16"];
    for (args, title) in [
        (
            [&["predict", "--max-concurrency", "1,2"], &what[..]].concat(),
            "Prediction of qwen/qwen3-0.6b on l4",
        ),
        (
            [&["capacity"], &slo[..], &quick, &what].concat(),
            "Capacity of ",
        ),
        ([&["memory"], &what[..]].concat(), "Memory of "),
        ([&["tune"], &slo[..], &knob, &what].concat(), "Settings of "),
        (
            [&["compare"], &users[..], &slo, &what].concat(),
            "Which machine: 4 users of ",
        ),
        (vec!["explain", runs], "Explanation of 6 recorded runs"),
    ] {
        let json = [&args[..], &["--json"]].concat();
        keep(dir, "a.json", &json);
        capsim(dir, &["report", "a.json"]).assert().success();
        let html = std::fs::read_to_string(dir.join("report.html")).unwrap();
        check(&html);
        let named = html
            .split("<title>")
            .nth(1)
            .unwrap()
            .split('<')
            .next()
            .unwrap();
        assert!(
            named.to_lowercase().contains(&title.to_lowercase()),
            "{named}"
        );
        assert!(html.contains(&format!("<h1>{named}")), "{named}");
        let head = html.split("<dl class=\"about\">").nth(1).unwrap();
        let head = head.split("</dl>").next().unwrap();
        assert!(head.contains("<dt>Date</dt><dd>20"), "{head}");
        let answer = std::fs::read_to_string(dir.join("a.json")).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let command = answer["command"]
            .as_str()
            .or(answer["about"]["command"].as_str());
        let Some(command) = command else {
            assert_eq!(args[0], "explain");
            continue;
        };
        // What it asks again is what was asked.
        let words = shlex::split(command).unwrap();
        let words: Vec<&str> = words[1..]
            .iter()
            .map(String::as_str)
            .chain(["--json"])
            .collect();
        keep(dir, "b.json", &words);
        let again = std::fs::read_to_string(dir.join("b.json")).unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&again).unwrap(),
            answer,
            "{command}"
        );
    }
}

/// Curves in the terminal are those of the page, in 80 columns.
#[test]
fn curves_are_drawn_in_the_terminal() {
    let tmp = tempfile::tempdir().unwrap();
    let several = [
        "predict",
        "--model",
        "qwen3-0.6b",
        "--plot",
        "--max-concurrency",
    ];
    let out = capsim(tmp.path(), &[&several[..], &["1,4,16"]].concat())
        .assert()
        .success();
    let text = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    assert!(
        text.contains("\nThroughput against interactivity\n"),
        "{text}"
    );
    assert!(
        text.contains("\nMean TPOT over max-concurrency\n"),
        "{text}"
    );
    assert!(text.matches('●').count() >= 9, "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    let out = capsim(tmp.path(), &[&several[..], &["1"]].concat())
        .assert()
        .code(2);
    let err = String::from_utf8_lossy(&out.get_output().stderr).into_owned();
    assert!(err.contains("--plot") && err.contains("1,4,16"), "{err}");
}

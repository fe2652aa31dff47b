//! `capsim validate --all`: the rules of the index, and the committed report.
use capsim_study::validate::manifest::Manifest;
use capsim_study::validate::recorded::Figures;
use capsim_study::validate::runs::RunsFile;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).to_path_buf()
}

fn index() -> Value {
    serde_json::from_str(&std::fs::read_to_string(root().join("validation/index.json")).unwrap())
        .unwrap()
}

fn files() -> Vec<RunsFile> {
    let mut paths: Vec<PathBuf> = [
        "gfx1151/public",
        "h200-sxm/vllm-0.20.2",
        "inferencex",
        "nvidia",
    ]
    .iter()
    .flat_map(|f| std::fs::read_dir(root().join("validation").join(f)).unwrap())
    .map(|e| e.unwrap().path())
    .filter(|p| p.extension().is_some_and(|e| e == "json") && !p.ends_with("unusable.json"))
    .collect();
    paths.push(root().join("validation/gfx1151/qwen3-30b-a3b-vllm-0.12/runs.json"));
    paths
        .iter()
        .map(|p| {
            let text = std::fs::read_to_string(p).unwrap();
            RunsFile::parse(&text, &p.display().to_string()).unwrap()
        })
        .collect()
}

/// What is said of an index that was changed.
fn complaint(change: impl Fn(&mut Value)) -> String {
    let mut v = index();
    change(&mut v);
    match Manifest::parse(&v.to_string(), "index") {
        Err(e) => e.to_string(),
        Ok(m) => m
            .check("index", &files())
            .expect_err("a broken rule")
            .to_string(),
    }
}

#[test]
fn the_index_keeps_its_own_rules_and_breaches_are_named() {
    let m = Manifest::parse(&index().to_string(), "index").unwrap();
    m.check("index", &files()).unwrap();
    let profile = |v: &Value, id: &str| {
        let all = v["profiles"].as_array().unwrap();
        all.iter().position(|p| p["id"] == id).unwrap()
    };
    // Two experiments for one kernel path.
    let e = complaint(|v| {
        let i = profile(v, "llamacpp-vulkan");
        let mut twice = v["profiles"][i]["paths"][0].clone();
        twice["experiment"] = json!("visor-85w-llama-2-7b");
        twice["moves"] = json!(["elementwise"]);
        v["profiles"][i]["paths"]
            .as_array_mut()
            .unwrap()
            .push(twice);
    });
    assert!(e.contains("one experiment per kernel path"), "{e}");
    // One coefficient for two experiments.
    let e = complaint(|v| {
        let i = profile(v, "llamacpp-vulkan");
        v["profiles"][i]["paths"][1]["moves"] = json!(["dense"]);
    });
    assert!(e.contains("moved by another path"), "{e}");
    // A path that only its own experiment takes.
    let e = complaint(|v| {
        let i = profile(v, "llamacpp-vulkan");
        v["profiles"][i]["paths"][1]["moves"] = json!(["moe_paths.nobodys"]);
    });
    assert!(e.contains("exist for one run only"), "{e}");
    // Another engine's experiment.
    let e = complaint(|v| {
        let i = profile(v, "llamacpp-vulkan");
        v["profiles"][i]["paths"][0]["experiment"] =
            json!("kyuz0-tp1-meta-llama-3.1-8b-instruct-rocm_attn");
    });
    assert!(
        e.contains("is predicted with profile `vllm-0.19-rocm`"),
        "{e}"
    );
    let e = complaint(|v| {
        let i = profile(v, "llamacpp-vulkan");
        v["profiles"].as_array_mut().unwrap().remove(i);
    });
    assert!(e.contains("not listed"), "{e}");
}

/// Every published experiment is either a run or has a reason not to be; none is both.
#[test]
fn no_experiment_is_dropped_silently() {
    let text =
        std::fs::read_to_string(root().join("validation/gfx1151/public/unusable.json")).unwrap();
    let unusable: Value = serde_json::from_str(&text).unwrap();
    let mut ids: Vec<String> = unusable["experiments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["experiment"].as_str().unwrap().to_string())
        .collect();
    assert!(
        unusable["experiments"]
            .as_array()
            .unwrap()
            .iter()
            .all(|e| e["reason"].as_str().unwrap().len() > 10)
    );
    let mut runs: Vec<String> = files()
        .iter()
        .filter(|f| f.source == "see each run" && f.device == "gfx1151")
        .flat_map(|f| f.runs.iter().map(|r| r.experiment().to_string()))
        .collect();
    runs.sort();
    runs.dedup();
    ids.extend(runs);
    ids.sort();
    let all = ids.len();
    ids.dedup();
    assert_eq!((all, ids.len()), (242, 242));
}

/// The committed report and picture are what the command writes, byte for byte.
#[test]
fn the_committed_report_is_what_the_command_writes() {
    let dir = tempfile::tempdir().unwrap();
    let (md, svg) = (dir.path().join("accuracy.md"), dir.path().join("a.svg"));
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_capsim"))
        .current_dir(root())
        // The committed report is that of a fresh clone, without the data that may not lie here.
        .env("CAPSIM_SHARED", root().join("no-such-folder"))
        .args(["validate", "--all", "--json", "--markdown"])
        .arg(&md)
        .arg("--svg")
        .arg(&svg)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let answer: Value = serde_json::from_slice(&out.stdout).unwrap();
    let format = capsim_study::report::json::schemas::find("accuracy").unwrap();
    let schema = serde_json::to_value((format.schema)()).unwrap();
    jsonschema::validate(&schema, &answer).unwrap();
    let again = (format.again)(answer.clone()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), answer);
    let mut recorded: usize = files().iter().map(|f| f.runs.len()).sum();
    for set in &Manifest::parse(&index().to_string(), "index")
        .unwrap()
        .recorded
    {
        let text = std::fs::read_to_string(root().join("validation").join(&set.figures)).unwrap();
        recorded += Figures::parse(&text, &set.figures).unwrap().runs.len();
    }
    let told = |key: &str| answer[key].as_array().unwrap().len();
    assert_eq!(told("runs") + told("failed"), recorded);
    let mut files = vec![
        (md, root().join("docs/accuracy.md")),
        (svg, root().join("docs/accuracy.svg")),
    ];
    for page in std::fs::read_dir(dir.path().join("accuracy")).unwrap() {
        let page = page.unwrap();
        let committed = root().join("docs/accuracy").join(page.file_name());
        files.push((page.path(), committed));
    }
    let pages = std::fs::read_dir(root().join("docs/accuracy")).unwrap();
    assert_eq!(pages.count(), files.len() - 2, "a page of no device");
    for (written, committed) in files {
        let written = std::fs::read_to_string(written).unwrap();
        let committed = std::fs::read_to_string(committed).unwrap();
        let differs = written
            .lines()
            .zip(committed.lines())
            .find(|(a, b)| a != b)
            .or((written != committed).then_some(("", "another length")));
        assert!(
            differs.is_none(),
            "run `CAPSIM_SHARED=none capsim validate --all --write-profiles` again: {differs:?}"
        );
    }
}

/// The committed report: the front page and all others.
fn report() -> String {
    let mut all = std::fs::read_to_string(root().join("docs/accuracy.md")).unwrap();
    for page in std::fs::read_dir(root().join("docs/accuracy")).unwrap() {
        all += "\n";
        all += &std::fs::read_to_string(page.unwrap().path()).unwrap();
    }
    all
}

/// The text of a section, without its heading.
fn section<'a>(report: &'a str, heading: &str) -> &'a str {
    let at = report
        .find(heading)
        .unwrap_or_else(|| panic!("no `{heading}`"));
    let rest = &report[at + heading.len()..];
    rest.split("\n## ").next().unwrap()
}

/// Recorded comparisons are counted, say what was fitted and what was not blind, and that their data are absent.
#[test]
fn recorded_comparisons_are_part_of_the_report() {
    let report = report();
    let m = Manifest::parse(&index().to_string(), "index").unwrap();
    assert_eq!(m.recorded.len(), 6);
    for set in &m.recorded {
        let text = section(&report, &format!("\n## {}\n", set.name));
        let path = root().join("validation").join(&set.figures);
        let figures =
            Figures::parse(&std::fs::read_to_string(path).unwrap(), &set.figures).unwrap();
        assert!(text.contains(&figures.date), "{}", set.name);
        assert_eq!(
            text.contains("absent here"),
            set.runs.is_some(),
            "{}",
            set.name
        );
        assert_eq!(text.contains('†'), set.doubt.is_some(), "{}", set.name);
        for run in &figures.fitted_on {
            assert!(
                text.contains(&format!("`{run}`")),
                "{run} is named as fitted"
            );
        }
        let table = section(&report, &format!("\n### {}\n", set.name));
        for r in &figures.runs {
            let row = table
                .lines()
                .find(|l| l.starts_with(&format!("{}|", r.name)))
                .unwrap_or_else(|| panic!("{}: no row of {}", set.name, r.name));
            let fitted = figures.fitted_on.contains(&r.name);
            let role = row.split('|').nth(1).unwrap();
            let wanted = match (fitted, set.doubt.is_some()) {
                (true, _) => "fitted",
                (false, true) => "predicted †",
                (false, false) => "predicted",
            };
            assert_eq!(role, wanted, "{row}");
        }
    }
}

/// Ten rows per device at most, and no experiment twice.
#[test]
fn the_worst_are_listed_per_device_and_each_experiment_once() {
    let report = report();
    let m = Manifest::parse(&index().to_string(), "index").unwrap();
    let mut devices: Vec<&str> = m.recorded.iter().map(|r| r.device.as_str()).collect();
    devices.push("gfx1151");
    for device in devices {
        let heading = format!("\n## The ten worst experiments on {device}\n");
        let rows: Vec<&str> = section(&report, &heading)
            .lines()
            .filter(|l| l.contains('|') && !l.starts_with("run|") && !l.starts_with("---"))
            .collect();
        assert!((1..=10).contains(&rows.len()), "{device}: {}", rows.len());
        // Repetitions of a load (…-0, …-1) are one experiment.
        let mut loads: Vec<&str> = rows
            .iter()
            .map(|r| {
                let id = r.split('|').next().unwrap().trim_end_matches(" †");
                match id.rsplit_once('-') {
                    Some((load, "0" | "1")) if device.starts_with("cpu") => load,
                    _ => id,
                }
            })
            .collect();
        let profiles: Vec<&str> = rows.iter().map(|r| r.split('|').nth(1).unwrap()).collect();
        let mut seen: Vec<(&str, &str)> = loads.drain(..).zip(profiles).collect();
        seen.sort_unstable();
        let n = seen.len();
        seen.dedup();
        assert_eq!(n, seen.len(), "{device}: {seen:?}");
    }
}

/// With the data at hand (`CAPSIM_SHARED`), what is recorded is what the model says.
#[allow(
    clippy::disallowed_methods,
    reason = "where the data lies is told by the environment"
)]
#[test]
fn recorded_figures_are_what_the_model_says() {
    let m = Manifest::parse(&index().to_string(), "index").unwrap();
    for set in &m.recorded {
        let Some(runs) = &set.runs else { continue };
        let named = std::env::var_os("CAPSIM_SHARED");
        let Some(shared) = named.filter(|f| std::path::Path::new(f).is_dir()) else {
            eprintln!("SKIP: CAPSIM_SHARED names no folder");
            return;
        };
        let home = root().join("validation");
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_capsim"))
            .current_dir(root())
            .env("CAPSIM_SHARED", shared)
            .arg("validate")
            .arg(home.join(runs))
            .arg("--json")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        let now: Value = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
        let kept = std::fs::read_to_string(home.join(&set.figures)).unwrap();
        let kept = Figures::parse(&kept, &set.figures).unwrap();
        for r in &kept.runs {
            let run = now["runs"]
                .as_array()
                .unwrap()
                .iter()
                .find(|x| x["id"] == r.name.as_str())
                .unwrap_or_else(|| panic!("{}", r.name));
            let metrics = run["candidates"][0]["metrics"].as_array().unwrap();
            for f in &r.metrics {
                let m = metrics
                    .iter()
                    .find(|m| m["metric"] == f.metric.as_str())
                    .unwrap_or_else(|| panic!("{}", f.metric));
                let v = m["predicted"].as_f64().unwrap();
                assert!(
                    (v / f.predicted - 1.0).abs() < 1e-6,
                    "{} {}: {v} now, {} recorded",
                    r.name,
                    f.metric,
                    f.predicted
                );
            }
        }
    }
}

/// An unstated setting that matters widens the interval, one that changes nothing does not, and neither moves the prediction.
#[test]
fn what_a_record_leaves_open_widens_its_interval() {
    let (file, basis) = long_prompt();
    let run = |unknown: Value| {
        let mut v = serde_json::to_value(&file.runs[0]).unwrap();
        v["unknown"] = unknown;
        let run = serde_json::from_value(v).unwrap();
        let m = Manifest::parse(&index().to_string(), "index").unwrap();
        let scored = capsim_study::validate::accuracy::score(&m, 0, &file, &basis, &run).unwrap();
        (scored.metrics[0].predicted, scored.metrics[0].propagated)
    };
    let stated = run(json!([]));
    let same = run(json!([{"setting": "ubatch-size", "engine_args": [{"micro_batch": 512}]}]));
    let other = run(json!([{"setting": "ubatch-size", "engine_args": [{"micro_batch": 64}]}]));
    assert_eq!(stated, same);
    assert_eq!(stated.0, other.0);
    assert!(other.1 > 1.2 * stated.1, "{other:?} against {stated:?}");
    // The very amount: half of the squared shift, two values being equally likely.
    let shifted = {
        let mut v = serde_json::to_value(&file.runs[0]).unwrap();
        v["engine_args"]["micro_batch"] = json!(64);
        let run = serde_json::from_value(v).unwrap();
        let m = Manifest::parse(&index().to_string(), "index").unwrap();
        capsim_study::validate::accuracy::score(&m, 0, &file, &basis, &run)
            .unwrap()
            .metrics[0]
            .predicted
    };
    let shift = libm::log(shifted / stated.0);
    let added = other.1 * other.1 - stated.1 * stated.1;
    assert!(
        (added - shift * shift / 2.0).abs() < 1e-9,
        "{added} {shift}"
    );
}

/// A prompt of 2048 tokens on llama.cpp, micro-batch 512.
fn long_prompt() -> (RunsFile, capsim_study::validate::hypothesis::Basis) {
    use capsim::model::{self, Model, Precision};
    let file = json!({
        "schema": "capsim.runs/1", "name": "test", "source": "test", "model": "qwen3-30b-a3b", "device": "gfx1151",
        "engine": "llamacpp-hip",
        "runs": [{
            "id": "a", "engine_args": {"max_num_seqs": 1, "max_model_len": 4096, "micro_batch": 512},
            "workload": {"num_prompts": 1, "max_concurrency": 1, "input_len": 2048, "output_len": 1, "warmup": 0},
            "measured": {"mean_ttft_ms": 1000.0}
        }]
    });
    let file = RunsFile::parse(&file.to_string(), "test").unwrap();
    let config = model::builtin::find("qwen3-30b-a3b").unwrap().config();
    let basis = capsim_study::validate::hypothesis::Basis {
        model_name: "qwen3-30b-a3b".into(),
        model: Model::new(&config, Precision::of(&config)),
        device: capsim::device::builtin::device("gfx1151").unwrap(),
        engine: capsim::device::builtin::engine("llamacpp-hip").unwrap(),
        release: None,
        moe_path: None,
    };
    (file, basis)
}

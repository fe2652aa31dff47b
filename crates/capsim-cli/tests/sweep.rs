//! `capsim sweep`: the same bytes whatever does the work, and nothing lost on the way.
use assert_cmd::Command;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const PLAN: &str = r#"
name = "test"
serve = "vllm serve qwen3-0.6b --max-model-len 2048"
[base]
num-prompts = 12
num-gpu-blocks-override = 512
[grid]
max-num-seqs = [1, 4]
request-rate = [2.5, inf]
[[together]]
random-input-len = [16, 64]
random-output-len = [8, 4]
[[points]]
max-concurrency = 3
prompts = "identical"
[[points]]
num-gpu-blocks-override = 16
max-concurrency = 2
"#;

fn capsim(args: &[&str]) -> Command {
    let mut c = Command::new(assert_cmd::cargo::cargo_bin!("capsim"));
    c.args(args);
    c
}

fn plan(dir: &Path) -> String {
    let path = dir.join("plan.toml");
    std::fs::write(&path, PLAN).unwrap();
    path.display().to_string()
}

/// All files of a folder, by name.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(tree(&path).into_iter().map(|(k, v)| {
                let name = PathBuf::from(path.file_name().unwrap()).join(k);
                (name, v)
            }));
        } else {
            all.insert(
                path.file_name().unwrap().into(),
                std::fs::read(&path).unwrap(),
            );
        }
    }
    all
}

fn rows(dir: &Path) -> Vec<Value> {
    std::fs::read_to_string(dir.join("results.jsonl"))
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

#[test]
fn any_number_of_threads_and_any_shards_write_the_same_bytes() {
    let tmp = tempfile::tempdir().unwrap();
    let plan = plan(tmp.path());
    let dir = |n: &str| tmp.path().join(n);
    let text = |n: &str| dir(n).display().to_string();
    for (threads, to) in [("1", "one"), ("4", "four")] {
        capsim(&["sweep", &plan, "--threads", threads, "-o", &text(to)])
            .assert()
            .success();
    }
    let whole = tree(&dir("one"));
    assert_eq!(whole, tree(&dir("four")));
    // A plan, three tables, ten points.
    assert_eq!(whole.len(), 14);
    // Shards in folders of their own, in any order, one of them twice.
    for i in [3, 1, 2, 3] {
        let shard = format!("{i}/3");
        let to = text(&format!("shard{i}"));
        capsim(&["sweep", &plan, "--shard", &shard, "-o", &to])
            .assert()
            .success();
    }
    let early = capsim(&[
        "sweep",
        "merge",
        &text("shard1"),
        &text("shard3"),
        "-o",
        &text("all"),
    ])
    .assert()
    .code(2);
    let said = String::from_utf8_lossy(&early.get_output().stderr).into_owned();
    assert!(said.contains("3 of 10 points are missing"), "{said}");
    assert!(
        !dir("all").exists(),
        "nothing is written before all is there"
    );
    capsim(&[
        "sweep",
        "merge",
        &text("shard1"),
        &text("shard2"),
        &text("shard3"),
        "-o",
        &text("all"),
    ])
    .assert()
    .success();
    for (name, bytes) in tree(&dir("all")) {
        assert!(whole[&name] == bytes, "{name:?} differs");
    }
    // And all shards in one folder, which is complete with the last one.
    for i in 1..=3 {
        capsim(&[
            "sweep",
            &plan,
            "--shard",
            &format!("{i}/3"),
            "-o",
            &text("shared"),
        ])
        .assert()
        .success();
    }
    assert_eq!(whole, tree(&dir("shared")));
}

#[test]
fn what_is_there_is_not_simulated_again_and_what_is_damaged_is() {
    let tmp = tempfile::tempdir().unwrap();
    let plan = plan(tmp.path());
    let to = tmp.path().join("out");
    let text = to.display().to_string();
    let go = || {
        let out = capsim(&["sweep", &plan, "-o", &text]).assert().success();
        String::from_utf8_lossy(&out.get_output().stderr).into_owned()
    };
    go();
    let whole = tree(&to);
    let points: Vec<PathBuf> = std::fs::read_dir(to.join("points"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    std::fs::remove_file(&points[0]).unwrap();
    std::fs::write(&points[1], "{\"schema\": \"capsim.sweep-poi").unwrap();
    std::fs::remove_file(to.join("results.csv")).unwrap();
    let said = go();
    assert!(said.contains("2 simulated, 8 were there"), "{said}");
    assert_eq!(whole, tree(&to));
    // Another plan does not mix with it.
    let other = capsim(&["sweep", &plan, "-o", &text, "--set", "seed=3"])
        .assert()
        .code(2);
    let said = String::from_utf8_lossy(&other.get_output().stderr).into_owned();
    assert!(said.contains("another plan"), "{said}");
    assert_eq!(whole, tree(&to));
}

#[test]
fn a_point_is_what_predict_says_and_a_refusal_is_an_answer() {
    let tmp = tempfile::tempdir().unwrap();
    let plan = plan(tmp.path());
    let to = tmp.path().join("out");
    capsim(&["sweep", &plan, "-o", &to.display().to_string()])
        .assert()
        .success();
    let rows = rows(&to);
    let words = "predict --json --num-prompts 12 --num-gpu-blocks-override 512 --max-num-seqs 4 --request-rate 2.5 \
                 --random-input-len 64 --random-output-len 4 -- vllm serve qwen3-0.6b --max-model-len 2048";
    let args: Vec<&str> = words.split_whitespace().collect();
    let out = capsim(&args).assert().success();
    let said: Value = serde_json::from_slice(&out.get_output().stdout).unwrap();
    let same = rows
        .iter()
        .find(|r| {
            let f = &r["flags"];
            f["max_num_seqs"] == 4 && f["request_rate"] == 2.5 && f["random_input_len"] == 64
        })
        .unwrap();
    assert_eq!(same["prediction"], said["points"][0]);
    // 16 blocks of 16 tokens cannot hold a sequence of 2048.
    let last = rows.last().unwrap();
    assert!(last["refused"].as_str().unwrap().contains("2048"), "{last}");
    assert!(last["prediction"].is_null());
    assert_eq!(rows.iter().filter(|r| !r["refused"].is_null()).count(), 1);
}

#[test]
fn the_tables_hold_the_same_figures() {
    let tmp = tempfile::tempdir().unwrap();
    let plan = plan(tmp.path());
    let to = tmp.path().join("out");
    capsim(&["sweep", &plan, "-o", &to.display().to_string()])
        .assert()
        .success();
    let mut csv = csv::Reader::from_path(to.join("results.csv")).unwrap();
    let head: Vec<String> = csv.headers().unwrap().iter().map(String::from).collect();
    let file = std::fs::File::open(to.join("results.parquet")).unwrap();
    let parquet = SerializedFileReader::new(file).unwrap();
    let lines = rows(&to);
    let mut n = 0;
    for ((c, p), j) in csv
        .records()
        .zip(parquet.get_row_iter(None).unwrap())
        .zip(&lines)
    {
        let (c, p) = (c.unwrap(), p.unwrap());
        for (i, (name, field)) in p.get_column_iter().enumerate() {
            assert_eq!(*name, head[i]);
            let said = match field {
                Field::Null => String::new(),
                Field::Long(x) => x.to_string(),
                Field::Double(x) => x.to_string(),
                Field::Str(s) => s.clone(),
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!(said, c[i], "{name}");
            if let Some(v) = j.pointer(&format!("/prediction/metrics/{name}/value")) {
                assert_eq!(v.as_f64(), said.parse().ok(), "{name}");
                n += 1;
            }
        }
    }
    assert!(n > 9 * 20, "only {n} figures were compared");
    assert_eq!(lines.len(), 10);
}

#[test]
fn the_parameter_files_of_vllm_are_taken_as_they_are() {
    let tmp = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = tmp.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    // As vllm/benchmarks/sweep reads them: a list of records, or named ones; underscores or dashes.
    let serve = file(
        "serve.json",
        r#"[{"max_num_seqs": 2, "enable-prefix-caching": false, "uvicorn_log_level": "error"}, {"max_num_seqs": 4}]"#,
    );
    let bench = file(
        "bench.json",
        r#"{"short": {"random_input_len": 16, "random_output_len": 4, "max_concurrency": 2, "num_prompts": 8, "dataset_name": "random"},
            "wide": {"random_input_len": 16, "random_output_len": 4, "max_concurrency": 4, "num_prompts": 8}}"#,
    );
    let go = |to: &str, more: &[&str]| {
        let to = tmp.path().join(to);
        let dir = to.display().to_string();
        let mut args = vec![
            "sweep",
            "--serve-params",
            &serve,
            "--bench-params",
            &bench,
            "-o",
            &dir,
        ];
        args.extend(more);
        args.extend("-- vllm serve qwen3-0.6b --num-gpu-blocks-override 4096".split(' '));
        capsim(&args).assert().success();
        rows(&to)
    };
    let all = go("all", &[]);
    assert_eq!(all.len(), 4);
    let settings = |r: &Value, s: &str| r["prediction"]["settings"][s].clone();
    assert_eq!(settings(&all[0], "enable_prefix_caching"), false);
    assert_eq!(settings(&all[2], "enable_prefix_caching"), true);
    assert_eq!(settings(&all[3], "max_num_seqs"), 4);
    let linked = go("linked", &["--link-vars", "max_num_seqs=max_concurrency"]);
    assert_eq!(linked.len(), 2);
    let wrong = file("wrong.json", r#"[{"speculative_magic": 3}]"#);
    let out = capsim(&["sweep", "--bench-params", &wrong, "-o", "x"])
        .current_dir(tmp.path())
        .assert()
        .code(2);
    assert!(String::from_utf8_lossy(&out.get_output().stderr).contains("speculative_magic"));
    assert!(!tmp.path().join("x").exists());
}

#[test]
fn a_mistake_anywhere_stops_it_before_anything_is_simulated() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("plan.toml");
    for (plan, part) in [
        ("[base]\nmax-num-seq = 4\n", "did you mean `max_num_seqs`?"),
        (
            "[grid]\nmax-num-seqs = [1, 'x']\n",
            "point 2 (--max-num-seqs x)",
        ),
        ("[base]\nmax-num-seqs = '1,2'\n", "max-num-seqs"),
        ("[base]\nmodel = 'no-such-model'\n", "no-such-model"),
        ("[base]\nprompts = 'odd'\n", "odd"),
    ] {
        std::fs::write(&path, plan).unwrap();
        let out = capsim(&["sweep", &path.display().to_string()])
            .assert()
            .code(2);
        let said = String::from_utf8_lossy(&out.get_output().stderr).into_owned();
        assert!(said.contains(part), "{plan}: {said}");
        assert!(!path.with_extension("results").exists(), "{plan}");
    }
    for shard in ["0/3", "4/3", "x", "1/0", "-1/2"] {
        capsim(&[
            "sweep",
            &path.display().to_string(),
            &format!("--shard={shard}"),
        ])
        .assert()
        .code(2);
    }
}

/// As Ray's workers do it: a process that has none of the files makes the same bytes from a point's task and the texts of the sweep.
#[test]
fn a_point_can_be_simulated_where_none_of_its_files_is() {
    use capsim_cli::api::{self, Files, Job};
    let tmp = tempfile::tempdir().unwrap();
    let there = tmp.path().join("there");
    std::fs::create_dir(&there).unwrap();
    let at = |name: &str| there.join(name).display().to_string();
    let device = capsim::device::builtin::device("gfx1151").unwrap();
    let mut device = serde_json::to_value(&device).unwrap();
    device["name"] = "a device of my own".into();
    std::fs::write(at("device.json"), device.to_string()).unwrap();
    let config = concat!(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../.."),
        "/models/qwen3-0.6b/config.json"
    );
    std::fs::copy(config, at("config.json")).unwrap();
    std::fs::write(
        at("trace.jsonl"),
        "{\"timestamp\": 0, \"input_length\": 40, \"output_length\": 3, \"hash_ids\": [1]}\n\
         {\"timestamp\": 90, \"input_length\": 50, \"output_length\": 4, \"hash_ids\": [2]}\n",
    )
    .unwrap();
    let text = format!(
        // A folder stands for the profile in it.
        "[base]\nnum-gpu-blocks-override = 64\ndevice = '{there}'\nmodel = '{}'\ntrace-file = '{}'\n[grid]\nmax-num-seqs = [1, 2]\n",
        at("config.json"),
        at("trace.jsonl"),
        there = there.display(),
    );
    let plan = api::plan_of_toml(&text, "plan").unwrap();
    let open = |to: &str| {
        let files = Files::default();
        let points = api::understand(&plan, &files).unwrap();
        Job::open(&plan, points, files, &tmp.path().join(to), (0, 1)).unwrap()
    };
    let here = open("here");
    for &p in here.todo() {
        here.run(p).unwrap();
    }
    assert!(here.finish().unwrap().missing.is_empty());
    let job = open("elsewhere");
    let texts = job.texts().unwrap();
    assert_eq!(texts.len(), 3);
    std::fs::remove_dir_all(&there).unwrap();
    let files = Files::of(texts.clone());
    let results: Vec<String> = job
        .todo()
        .iter()
        .map(|&p| api::evaluate(&job.task(p), &files).unwrap())
        .collect();
    // The result of one point is not that of another, and half a result is none.
    assert!(job.keep(0, &results[1]).is_err());
    assert!(job.keep(0, &results[0][..results[0].len() / 2]).is_err());
    for (p, r) in results.iter().enumerate() {
        job.keep(p, r).unwrap();
    }
    assert!(job.finish().unwrap().missing.is_empty());
    assert_eq!(
        tree(&tmp.path().join("here")),
        tree(&tmp.path().join("elsewhere"))
    );
    // Another profile under the same name is another point, and no file may be missing.
    let mut changed = texts;
    for text in changed.values_mut() {
        *text = text.replace("a device of my own", "another device");
    }
    let e = api::evaluate(&job.task(0), &Files::of(changed)).unwrap_err();
    assert!(format!("{e}").contains("another version or build"), "{e}");
    assert!(api::evaluate(&job.task(0), &Files::default()).is_err());
}

#[test]
fn the_program_that_has_no_ray_says_where_there_is_one() {
    let tmp = tempfile::tempdir().unwrap();
    let plan = plan(tmp.path());
    for (args, says) in [
        (&["--engine", "ray"][..], "pip install 'capsim[ray]'"),
        (&["--address", "auto"], "give --engine ray"),
    ] {
        let out = capsim(&[&["sweep", &plan][..], args].concat())
            .assert()
            .code(2);
        let said = String::from_utf8_lossy(&out.get_output().stderr).into_owned();
        assert!(said.contains(says), "{said}");
    }
    assert!(!tmp.path().join("plan.results").exists());
}

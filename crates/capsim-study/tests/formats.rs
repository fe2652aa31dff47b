//! File formats: shipped files obey the schemas, and no input makes a parser panic.
use capsim::device::{DeviceProfile, EngineFile, EngineProfile};
use capsim::line::{self, Source};
use capsim::model;
use capsim_study::validate::manifest::{Manifest, UnusableFile};
use capsim_study::validate::recorded::Figures;
use capsim_study::validate::runs::RunsFile;
use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).to_path_buf()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

const DEVICE: &str = "calibration/gfx1151/published-2026-11-24/device.json";
const ENGINE: &str = "tests/data/engines/vllm-0.12-rocm.json";
const ENGINES: &str = "calibration/engines/vllm-cpu.json";
const RUNS: &str = "validation/gfx1151/qwen3-30b-a3b-vllm-0.12/runs.json";
const INDEX: &str = "validation/index.json";
const UNUSABLE: &str = "validation/gfx1151/public/unusable.json";
const HYBRID: &str = "models/qwen3.6-35b-a3b/config.json";
const GEMMA: &str = "models/gemma-4-26b-a4b-it/config.json";
const MODEL: &str = "models/qwen3-30b-a3b-instruct-2507/config.json";

fn obeys(schema: schemars::Schema, path: &str) {
    let schema = serde_json::to_value(schema).unwrap();
    let instance: serde_json::Value = serde_json::from_str(&read(path)).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&instance)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{path}: {errors:?}");
    // The schema is no rubber stamp.
    let mut broken = instance.clone();
    broken["schema"] = serde_json::json!(7);
    assert!(!validator.is_valid(&broken), "{path}");
}

#[test]
fn shipped_files_obey_their_schemas() {
    obeys(schemars::schema_for!(DeviceProfile), DEVICE);
    obeys(schemars::schema_for!(EngineProfile), ENGINE);
    obeys(schemars::schema_for!(RunsFile), RUNS);
    obeys(schemars::schema_for!(Manifest), INDEX);
    obeys(schemars::schema_for!(UnusableFile), UNUSABLE);
    for device in [
        "calibration/rtx-4090/llmservingsim-5daddb21/device.json",
        "calibration/rtx-pro-6000/llmservingsim-5daddb21/device.json",
        "calibration/h100-sxm/aiconfigurator-0.12.0/device.json",
        "calibration/l40s/aiconfigurator-0.12.0/device.json",
    ] {
        obeys(schemars::schema_for!(DeviceProfile), device);
    }
    for engines in std::fs::read_dir(root().join("calibration/engines")).unwrap() {
        let name = engines.unwrap().file_name().into_string().unwrap();
        obeys(
            schemars::schema_for!(EngineFile),
            &format!("calibration/engines/{name}"),
        );
    }
    // As capsim 0.1.0 wrote them, one profile a file.
    obeys(
        schemars::schema_for!(EngineProfile),
        "tests/data/engines/vllm-0.19-cuda.json",
    );
    obeys(
        schemars::schema_for!(RunsFile),
        "validation/llmservingsim/rtx-4090-llama-3.1-8b/runs.json",
    );
}

#[test]
fn profiles_survive_a_round_trip() {
    let d = DeviceProfile::parse(&read(DEVICE), "d").unwrap();
    assert_eq!(
        DeviceProfile::parse(&serde_json::to_string(&d).unwrap(), "d").unwrap(),
        d
    );
    let e = EngineProfile::parse(&read(ENGINE), "e").unwrap();
    assert_eq!(
        EngineProfile::parse(&serde_json::to_string(&e).unwrap(), "e").unwrap(),
        e
    );
    let r = RunsFile::parse(&read(RUNS), "r").unwrap();
    assert_eq!(
        RunsFile::parse(&serde_json::to_string(&r).unwrap(), "r").unwrap(),
        r
    );
}

/// Feeds a text to every parser; only a panic is a failure, but an error must say something.
fn all_parsers(text: &str) {
    let says = |e: String| assert!(e.len() > 8, "{e:?} says nothing");
    if let Err(e) = DeviceProfile::parse(text, "file.json") {
        says(e.to_string())
    }
    if let Err(e) = EngineFile::parse(text, "file.json") {
        says(e.to_string())
    }
    if let Err(e) = EngineProfile::parse(text, "file.json") {
        says(e.to_string())
    }
    if let Err(e) = RunsFile::parse(text, "file.json") {
        says(e.to_string())
    }
    if let Err(e) = Manifest::parse(text, "file.json") {
        says(e.to_string())
    }
    if let Err(e) = UnusableFile::parse(text, "file.json") {
        says(e.to_string())
    }
    if let Err(e) = Figures::parse(text, "file.json") {
        says(e.to_string())
    }
    if let Err(e) = model::config::parse(text, "file.json") {
        says(e.to_string())
    }
    let no_files = |_: &str| Err("no files here".to_string());
    let words: Vec<String> = text.split_whitespace().map(String::from).collect();
    for source in [Source::Words(&words), Source::Text(text)] {
        match line::read(source, &no_files) {
            Err(e) => says(e.to_string()),
            Ok(line) => says(line.no_model().to_string()),
        }
    }
}

/// Replaces the value at a random place of a JSON document.
fn mutate(value: &mut serde_json::Value, path: &[usize], with: &serde_json::Value) {
    let Some((&first, rest)) = path.split_first() else {
        *value = with.clone();
        return;
    };
    match value {
        serde_json::Value::Array(a) if !a.is_empty() => {
            let n = a.len();
            mutate(&mut a[first % n], rest, with)
        }
        serde_json::Value::Object(o) if !o.is_empty() => {
            let n = o.len();
            let key = o.keys().nth(first % n).unwrap().clone();
            mutate(o.get_mut(&key).unwrap(), rest, with)
        }
        other => *other = with.clone(),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test may be told to run longer"
)]
fn cases() -> u32 {
    // Longer runs: CAPSIM_FUZZ_CASES=200000 cargo test --release -p capsim-study formats
    std::env::var("CAPSIM_FUZZ_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(400)
}

fn odd_value() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        Just(serde_json::json!(null)),
        Just(serde_json::json!(0)),
        Just(serde_json::json!(-1)),
        Just(serde_json::json!(1e308)),
        Just(serde_json::json!(u64::MAX)),
        Just(serde_json::json!("")),
        Just(serde_json::json!([])),
        Just(serde_json::json!({})),
        any::<i64>().prop_map(|v| serde_json::json!(v)),
        any::<f64>().prop_map(|v| serde_json::json!(v)),
        ".{0,12}".prop_map(|v| serde_json::json!(v)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::WithSource("proptest-regressions"))), ..ProptestConfig::default() })]

    #[test]
    fn no_changed_value_makes_a_parser_panic(
        file in prop_oneof![
            Just(DEVICE), Just(ENGINE), Just(ENGINES), Just(RUNS), Just(MODEL), Just(INDEX), Just(UNUSABLE), Just(HYBRID), Just(GEMMA)
        ],
        path in prop::collection::vec(0usize..64, 1..7),
        with in odd_value(),
    ) {
        let mut v: serde_json::Value = serde_json::from_str(&read(file)).unwrap();
        mutate(&mut v, &path, &with);
        all_parsers(&v.to_string());
    }

    #[test]
    fn no_damaged_text_makes_a_parser_panic(
        file in prop_oneof![
            Just(DEVICE), Just(ENGINE), Just(ENGINES), Just(RUNS), Just(MODEL), Just(INDEX), Just(UNUSABLE), Just(HYBRID), Just(GEMMA)
        ],
        cut in 0usize..20_000,
        at in 0usize..20_000,
        junk in ".{0,6}",
    ) {
        let mut text: Vec<char> = read(file).chars().collect();
        text.truncate(cut.max(1));
        let at = at % text.len();
        text.splice(at..at, junk.chars());
        all_parsers(&text.into_iter().collect::<String>());
    }

    #[test]
    fn no_command_line_makes_the_pasted_line_parser_panic(line in "(--?[a-z-]{0,24}(=| )?[0-9.kKmM-]{0,8} ?){0,6}") {
        all_parsers(&line);
    }

    #[test]
    fn no_text_makes_the_line_reader_panic(
        start in 0..LINES.len(),
        pieces in prop::collection::vec((0..PIECES.len(), ".{0,3}"), 0..12),
        at in 0usize..400,
    ) {
        let mut text: Vec<char> = LINES[start].chars().collect();
        for (piece, junk) in pieces {
            let at = at % (text.len() + 1);
            text.splice(at..at, PIECES[piece].chars().chain(junk.chars()));
        }
        let text: String = text.into_iter().collect();
        let files = |path: &str| Ok(format!("a: {path}\nmodel: m\nX=1"));
        let words: Vec<String> = text.split(' ').map(String::from).collect();
        for source in [Source::Text(&text), Source::Words(&words)] {
            if let Err(e) = line::read(source, &files) {
                prop_assert!(e.to_string().len() > 8, "{e:?} says nothing");
            }
        }
    }

    #[test]
    fn repeated_openings_end_soon(piece in 0..PIECES.len(), second in 0..PIECES.len(), times in 1usize..3000) {
        let text = format!("vllm serve m {}", format!("{}{}", PIECES[piece], PIECES[second]).repeat(times));
        let _ = line::read(Source::Text(&text), &|_| Ok(String::new()));
    }
}

/// Beginnings of texts that the line reader knows.
const LINES: &[&str] = &[
    "",
    "A=1 sudo env -i B=2 vllm serve m --max-model-len 32k -O3 --compilation-config.level 3 --config c.yaml",
    "docker run --gpus '\"device=0,1\"' -it -e A=$B --env-file .env vllm/vllm-openai:v0.10.2 --model m -tp 2",
    "bash -lc \"cd /x && exec llama-server -m a-Q4_K_M.gguf -c 0 -np -1 2>&1 | tee log\"",
    "services:\n  a: &a\n    image: vllm/vllm-openai:${T:-v0.9}\n    command: --model m\n    deploy: {resources: {reservations: {devices: [{count: 2}]}}}\n  b: *a\n",
    "kind: Pod\nspec:\n  containers:\n  - name: a\n    command: [sh, -c]\n    args: [\"vllm serve $(M)\"]\n    env: [{name: M, value: x}]\n",
    "[Service]\nEnvironment=\"A=1\" B=2\nExecStart=-/x/vllm serve ${A} \\\n --port 1\n",
    "MODEL=m\nVLLM_ARGS=\"--port 1\"\nLLAMA_ARG_MODEL=x\n",
    "python -m sglang.launch_server --model-path m --page-size 1 & vllm bench serve --request-rate inf\n",
];

/// What is put into them.
const PIECES: &[&str] = &[
    "'",
    "\"",
    "`",
    "$",
    "${",
    "}",
    "$(",
    ")",
    "(",
    "\\",
    "\n",
    "&",
    "|",
    ";",
    ">",
    "<<",
    "#",
    "=",
    "-",
    "--",
    "--no-",
    "{",
    "[",
    "]",
    ": ",
    "- ",
    "&a ",
    "*a",
    "<<: ",
    "${a:-",
    " -m ",
    " bash -c ",
    "docker run ",
    "\t",
    "é",
    "\u{feff}",
    "---\n",
    "%",
    "!",
    "@",
];

//! Server lines run as people type them.
use capsim::engine::settings::{MAX_MODEL_LEN, MAX_NUM_SEQS};
use capsim::line::{self, Line, Source};
use capsim::model::{Model, checkpoint};
use capsim::predict::spec::weighted;
use serde_json::{Value, json};

fn lines() -> Vec<Value> {
    let path = concat!(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../.."),
        "/tests/data/lines/lines.json"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    all["lines"].as_array().unwrap().clone()
}

fn read(case: &Value) -> Line {
    let files = |path: &str| {
        let text = case["files"][path].as_str();
        text.map(String::from)
            .ok_or_else(|| "no such file".to_string())
    };
    let text = case["text"].as_str().unwrap();
    line::read(Source::Text(text), &files).unwrap_or_else(|e| panic!("{}: {e}", case["id"]))
}

/// What a line is expected to say beside its model: release, engine, devices, settings, load, and what is not simulated.
fn check_words(case: &Value, line: &Line) {
    let id = &case["id"];
    let engine = line.engine.map(|e| serde_json::to_value(e).unwrap());
    // Flags alone say no engine.
    if line.engine.is_some() || case["engine"].is_null() {
        assert_eq!(json!(engine), case["engine"], "{id}: engine");
    }
    assert_eq!(json!(line.release), case["release"], "{id}: release");
    if !case["devices"].is_null() {
        assert_eq!(json!(line.devices), case["devices"], "{id}: devices");
    }
    let (settings, load) = (json!(line.settings), json!(line.load));
    for (wanted, got) in [(&case["settings"], &settings), (&case["load"], &load)] {
        for (name, value) in wanted.as_object().into_iter().flatten() {
            assert_eq!(&got[name], value, "{id}: {name}");
        }
    }
    if let Some(wanted) = case["changes"].as_array() {
        for word in wanted.iter().map(|w| w.as_str().unwrap()) {
            assert!(
                line.changes.iter().any(|c| c.starts_with(word)),
                "{id}: {word} in {:?}",
                line.changes
            );
        }
        assert!(
            !wanted.is_empty() || line.changes.is_empty(),
            "{id}: {:?}",
            line.changes
        );
    }
}

/// The model, its format and its length.
fn check_model(case: &Value, line: &Line) {
    let id = &case["id"];
    let name = line
        .model
        .as_deref()
        .unwrap_or_else(|| panic!("{id}: no model"));
    let wanted = case["model"].as_str().unwrap();
    let found = match checkpoint::find(name) {
        Ok(found) => found,
        Err(e) => {
            assert!(!case["known"].as_bool().unwrap(), "{id}: {e}");
            assert_eq!(name, wanted, "{id}");
            assert!(
                e.to_string()
                    .contains(&format!("no built-in model \"{name}\"")),
                "{id}: {e}"
            );
            return;
        }
    };
    assert!(
        case["known"].as_bool().unwrap(),
        "{id}: {name} is {}, listed as unknown",
        found.model.id
    );
    assert_eq!(found.model.id, wanted, "{id}");
    let config = found.config().unwrap_or_else(|e| panic!("{id}: {e}"));
    let model: Model =
        weighted(&config, None, &line.settings).unwrap_or_else(|e| panic!("{id}: {e}"));
    if let Some(format) = case["weights"].as_str() {
        assert_eq!(
            model.precision().attention.to_string(),
            format,
            "{id}: weights"
        );
    }
    if let Some(range) = case["weights_gb"].as_array() {
        let gb = model.total_weight_bytes().gb();
        let range: Vec<f64> = range.iter().map(|v| v.as_f64().unwrap()).collect();
        assert!(
            range[0] <= gb && gb <= range[1],
            "{id}: {gb} GB, not {range:?}"
        );
    }
    if !case["kv_bytes_per_token"].is_null() {
        assert_eq!(
            json!(model.kv_bytes_per_token().0),
            case["kv_bytes_per_token"],
            "{id}: KV"
        );
    }
    let length = line
        .settings
        .get(MAX_MODEL_LEN)
        .unwrap_or(model.max_position_embeddings());
    assert_eq!(json!(length), case["length"], "{id}: length");
    if !case["seqs"].is_null() {
        assert_eq!(
            json!(line.settings.get(MAX_NUM_SEQS)),
            case["seqs"],
            "{id}: seqs"
        );
    }
}

#[test]
fn published_lines_are_taken_with_the_right_model_length_and_release() {
    let all = lines();
    let documented = all
        .iter()
        .filter(|c| c["id"].as_str().unwrap().starts_with('D'));
    assert!(documented.count() >= 40);
    for case in &all {
        let line = read(case);
        check_words(case, &line);
        if case["model"].is_null() {
            assert_eq!(line.model, None, "{}", case["id"]);
        } else {
            check_model(case, &line);
        }
    }
}

/// The same lines as one word and, where a shell would split them so, as several.
#[test]
fn a_line_means_the_same_as_a_text_as_one_word_and_as_words() {
    for case in lines() {
        let text = case["text"].as_str().unwrap().to_string();
        let files = |path: &str| {
            case["files"][path]
                .as_str()
                .map(String::from)
                .ok_or_else(String::new)
        };
        let one = line::read(Source::Words(std::slice::from_ref(&text)), &files).unwrap();
        assert_eq!(one, read(&case), "{}", case["id"]);
        if let Some(words) =
            shlex::split(&text).filter(|_| !text.contains(['\n', '$', '&', '<', '#']))
        {
            let several = line::read(Source::Words(&words), &files).unwrap();
            assert_eq!(several, one, "{}", case["id"]);
        }
    }
}

#[test]
fn a_line_without_a_model_is_never_the_default_model() {
    for words in [
        &["vllm", "serve", "--port", "8000"][..],
        &["--max-num-seqs", "4"],
        &["llama-server", "-c", "4096"],
        &["docker", "run", "vllm/vllm-openai:latest"],
    ] {
        let out = assert_cmd::Command::cargo_bin("capsim")
            .unwrap()
            .args(["memory", "--device", "h100-sxm", "--"])
            .args(words)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{words:?}: {said}");
        assert!(
            said.contains("the line names no model"),
            "{words:?}: {said}"
        );
    }
}

/// Through the command: a file, standard input, and what is named in the answer.
#[test]
fn a_file_and_standard_input_hold_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("compose.yaml");
    std::fs::write(dir.path().join(".env"), "MODEL=Qwen/Qwen3-8B-AWQ\n").unwrap();
    let text = "services:\n  llm:\n    image: vllm/vllm-openai:v0.12.0\n    command: --model ${MODEL} --max-model-len 4096 --enable-lora --port 80\n";
    std::fs::write(&file, text).unwrap();
    let memory = |words: &[&str], input: &str| {
        let out = assert_cmd::Command::cargo_bin("capsim")
            .unwrap()
            .args(["memory", "--device", "h100-sxm", "--json", "--"])
            .args(words)
            .write_stdin(input)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        serde_json::from_slice::<Value>(&out.stdout).unwrap()
    };
    let from_file = memory(&[file.to_str().unwrap()], "");
    assert_eq!(from_file["max_model_len"], 4096);
    let typed = memory(
        &["-"],
        "vllm serve Qwen/Qwen3-8B-AWQ --max-model-len 4096 --enable-lora --port 80 \\\n  # a comment\n",
    );
    assert_eq!(from_file["weights"], typed["weights"]);
    let plain = memory(&["vllm serve Qwen/Qwen3-8B --max-model-len 4096"], "");
    assert!(plain["weights"].as_f64().unwrap() > 2.0 * typed["weights"].as_f64().unwrap());
}

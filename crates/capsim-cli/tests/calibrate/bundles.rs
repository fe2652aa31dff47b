//! One calibration in one file: written, sent, and taken in again.
use super::common::{capsim, stdout};
use capsim_study::report::json::schemas;
use serde_json::Value;
use std::path::Path;

const BENCH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../validation/cpu-vllm/2026-11-25-0.32.0/recordings/m16-c8-128x128-0.json"
);

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Exit code and standard error.
fn told(args: &[&str]) -> (i32, String) {
    let out = capsim(args);
    let err = String::from_utf8(out.stderr).unwrap();
    (out.status.code().expect("no signal"), err)
}

/// A calibration of the synthetic device with its bundle.
fn bundled(dir: &Path) -> String {
    let at = |name: &str| dir.join(name).display().to_string();
    let (out, file) = (at("a"), at("b.json"));
    stdout(&[
        "calibrate",
        "--backend",
        "synthetic",
        "--quick",
        "-o",
        &out,
        "--bundle",
        &file,
        "--bench",
        BENCH,
    ]);
    file
}

#[test]
fn a_bundle_gives_the_calibration_back_that_it_was_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let file = bundled(dir.path());
    let bundle = read(Path::new(&file));
    let schema = serde_json::to_value((schemas::find("bundle").unwrap().schema)()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&bundle));
    let text = std::fs::read_to_string(&file).unwrap();
    let sent = read(Path::new(BENCH));
    assert!(sent["capsim"]["url"].is_string() && !text.contains("http://"));
    let back = dir.path().join("back");
    let said = stdout(&["import", "calibration", &file, "-o", back.to_str().unwrap()]);
    assert!(said.contains("device.json"), "{said}");
    for name in ["device.json", "samples.json"] {
        let (there, here) = (dir.path().join("a").join(name), back.join(name));
        assert_eq!(read(&there), read(&here), "{name}");
    }
    assert_eq!(read(&back.join("bench.json"))["max_concurrency"], 8);
    // The stored benchmark can still be compared.
    let words = [
        "predict",
        "--device",
        back.to_str().unwrap(),
        "--model",
        "qwen3-0.6b",
        "--num-prompts",
        "2",
        "--json",
    ];
    stdout(&[&words[..], &["--num-gpu-blocks-override", "2000"]].concat());
}

#[test]
fn an_old_calibration_is_bundled_by_a_refit() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    stdout(&[
        "calibrate",
        "--backend",
        "synthetic",
        "--quick",
        "-o",
        &at("a"),
    ]);
    stdout(&["calibrate", "--refit", &at("a"), "--bundle", &at("b.json")]);
    let device = read(&dir.path().join("a/device.json"));
    assert_eq!(read(&dir.path().join("b.json"))["device"], device);
}

#[test]
fn what_is_no_bundle_is_refused_by_its_field() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = read(Path::new(&bundled(dir.path())));
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut value = bundle.clone();
        change(&mut value);
        value.to_string()
    };
    let cases = [
        ("not JSON".to_string(), "no JSON"),
        (
            changed(&|v| v["schema"] = "capsim.samples/1".into()),
            "`schema`",
        ),
        (
            changed(&|v| v["samples"]["points"] = 3.into()),
            "samples.points",
        ),
        (
            changed(&|v| v["samples"]["points"] = Value::Array(vec![])),
            "profile",
        ),
        (
            changed(&|v| v["device"]["launch"]["value"] = (-1).into()),
            "launch",
        ),
        (changed(&|v| v["bench"] = 7.into()), "`bench`"),
        (changed(&|v| v["more"] = 7.into()), "more"),
    ];
    for (i, (text, says)) in cases.iter().enumerate() {
        let file = dir.path().join(format!("{i}.json"));
        std::fs::write(&file, text).unwrap();
        let out = dir.path().join("out");
        let (code, err) = told(&[
            "import",
            "calibration",
            file.to_str().unwrap(),
            "-o",
            out.to_str().unwrap(),
        ]);
        assert!(code == 2 && err.contains(says), "{says}: {code} {err}");
    }
    let file = dir.path().join("foreign.json");
    std::fs::write(&file, "{}").unwrap();
    let bench = ["--bundle", "x.json", "--bench", file.to_str().unwrap()];
    let a = dir.path().join("a");
    let (code, err) = told(&[&["calibrate", "--refit", a.to_str().unwrap()], &bench[..]].concat());
    assert!(code == 2 && err.contains("capsim.schema"), "{err}");
}

#[test]
fn a_profile_that_does_not_come_from_its_samples_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut bundle = read(Path::new(&bundled(dir.path())));
    let truth = bundle["device"]["launch"]["value"].clone();
    bundle["device"]["launch"]["value"] = 1e-9.into();
    let file = dir.path().join("embellished.json");
    std::fs::write(&file, bundle.to_string()).unwrap();
    let out = dir.path().join("out");
    let (code, err) = told(&[
        "import",
        "calibration",
        file.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
    ]);
    assert!(code == 0 && err.contains("not what this capsim"), "{err}");
    assert_eq!(read(&out.join("device.json"))["launch"]["value"], truth);
}

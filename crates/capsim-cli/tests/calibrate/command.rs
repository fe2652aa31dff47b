//! The command as a user runs it.
use super::common::{capsim, samples, stdout};
use capsim_calibrate::fit;
use capsim_calibrate::samples::SamplesFile;
use std::time::Duration;

#[test]
fn calibrate_refit_compare_and_predict_as_a_user_does() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let a = stdout(&[
        "calibrate",
        "--backend",
        "synthetic",
        "--quick",
        "-o",
        &at("a"),
    ]);
    assert!(a.contains("made up") && a.contains("tokens/s"), "{a}");
    let profile = std::fs::read_to_string(dir.path().join("a/device.json")).unwrap();
    stdout(&[
        "calibrate",
        "--refit",
        &at("a/samples.json"),
        "-o",
        &at("b"),
    ]);
    let again = std::fs::read_to_string(dir.path().join("b/device.json")).unwrap();
    assert_eq!(
        profile, again,
        "a refit of the same samples gives the same profile"
    );
    stdout(&[
        "predict",
        "--device",
        &at("a"),
        "--model",
        "qwen3-0.6b",
        "--num-prompts",
        "2",
        "--num-gpu-blocks-override",
        "2000",
        "--json",
    ]);
    stdout(&[
        "calibrate",
        "--backend",
        "synthetic",
        "--quick",
        "--seed",
        "9",
        "-o",
        &at("c"),
    ]);
    let c = stdout(&["calibrate", "--compare", &at("a"), &at("c")]);
    assert!(c.contains("No difference seen"), "{c}");
    let refused = |args: &[&str], says: &str| {
        let out = capsim(args);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{err}");
        assert!(err.contains(says) && out.stdout.is_empty(), "{err}");
    };
    refused(
        &["calibrate", "--backend", "synthetic", "--family", "steam"],
        "stream_read",
    );
    refused(
        &["calibrate", "--refit", &at("a/device.json")],
        "field `schema`",
    );
    refused(
        &[
            "calibrate",
            "--backend",
            "synthetic",
            "--resume",
            "-o",
            &at("nowhere"),
        ],
        "--resume",
    );
    refused(
        &[
            "calibrate",
            "--backend",
            "synthetic",
            "--resume",
            "--seed",
            "4",
            "-o",
            &at("a"),
        ],
        "the effort was",
    );
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn a_killed_run_is_resumed_to_a_complete_file() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("cpu");
    let args = [
        "calibrate",
        "--backend",
        "cpu",
        "--quick",
        "--force",
        "--family",
        "stream_read,launch,gemm_skinny",
        "-o",
        out.to_str().unwrap(),
    ];
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("capsim"))
        .args(args)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let file = out.join("samples.json");
    let read = || {
        let text = std::fs::read_to_string(&file).ok()?;
        // Whenever it is there, it is whole.
        Some(SamplesFile::parse(&text, "samples.json").unwrap())
    };
    for _ in 0..1200 {
        std::thread::sleep(Duration::from_millis(50));
        if read().is_some_and(|f| f.points.len() >= 2) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = read().expect("something was measured within a minute");
    let mut again = args.to_vec();
    again.push("--resume");
    stdout(&again);
    let after = read().unwrap();
    assert!(after.complete);
    for p in before.points.iter().filter(|p| p.seconds().is_some()) {
        assert_eq!(after.find(&p.family, &p.id).unwrap().samples_s, p.samples_s);
    }
    assert!(after.points.len() >= before.points.len());
}

#[test]
fn one_core_is_a_device_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display().to_string();
    let families = "launch,gemm_skinny";
    // Too little for a profile: this is about what the samples say.
    let out = capsim(&[
        "calibrate",
        "--backend",
        "cpu",
        "--threads",
        "1",
        "--quick",
        "--family",
        families,
        "-o",
        &at,
    ]);
    let file = samples(dir.path());
    assert!(file.complete, "{}", String::from_utf8_lossy(&out.stderr));
    assert!(file.device.name.starts_with("1 thread of "));
    assert_eq!(file.device.compute_units, 1);
    assert_eq!(file.environment["threads"], "1");
    assert!(fit::slug(&file.device.name).starts_with("1-thread-of-"));
    let refused = capsim(&["calibrate", "--backend", "cpu", "--threads", "0", "-o", &at]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--threads"));
}

#[test]
fn what_only_more_than_a_quick_run_measures_is_kept_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display().to_string();
    // A pass of `copy` has no launches, one of `contention` has threads beside it.
    let out = capsim(&[
        "calibrate",
        "--backend",
        "cpu",
        "--family",
        "copy,contention,stream_read,gemm_prefill",
        "-o",
        &at,
    ]);
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{errors}");
    let file = samples(dir.path());
    assert!(file.complete, "{errors}");
    for family in ["copy", "contention"] {
        let measured = file
            .points
            .iter()
            .filter(|p| p.family == family && p.stats.is_some());
        assert!(measured.count() > 1, "{family}");
    }
    assert!(
        file.points
            .iter()
            .any(|p| p.family == "copy" && p.launches == 0)
    );
}

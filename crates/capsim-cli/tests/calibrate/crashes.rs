//! Drivers that crash or hang.
use super::common::samples;
use assert_cmd::Command;
use capsim_calibrate::samples::Outcome;
use std::time::Duration;

/// `capsim calibrate` of the synthetic device, whose worker is to fail as `fault` says.
fn faulty(dir: &std::path::Path, fault: &str, timeout: &str, more: &[&str]) -> (i32, String) {
    let out = Command::cargo_bin("capsim")
        .unwrap()
        .env("CAPSIM_MEASURE_FAULT", fault)
        .args(["calibrate", "--backend", "synthetic", "--quick"])
        .args(["--timeout", timeout, "-o", dir.to_str().unwrap()])
        .args(more)
        .timeout(Duration::from_secs(300))
        .output()
        .unwrap();
    let err = String::from_utf8(out.stderr).unwrap();
    (out.status.code().expect("no signal"), err)
}

#[test]
fn a_point_that_brings_the_driver_down_is_recorded_and_the_rest_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let calm = dir.path().join("calm");
    assert_eq!(faulty(&calm, "nothing/here=crash", "60", &[]).0, 0);
    let calm = samples(&calm);
    for (i, (fault, timeout, says)) in [
        ("gemm_skinny/m64-qkv-f16=crash", "60", "crashed"),
        ("launch/chain-10=hang", "2", "no sign of life for 2 s"),
        ("stream_read/1024KiB=exit", "60", "the driver gave up"),
    ]
    .into_iter()
    .enumerate()
    {
        let at = dir.path().join(format!("{i}"));
        let (code, err) = faulty(&at, fault, timeout, &[]);
        assert_eq!(code, 0, "{fault}: {err}");
        let key = fault.split('=').next().unwrap();
        assert!(err.contains(key) && err.contains(says), "{fault}: {err}");
        let file = samples(&at);
        assert!(file.complete, "{fault}");
        assert_eq!(
            file.points.len(),
            calm.points.len(),
            "{fault}: every point is dealt with"
        );
        for p in &file.points {
            match &p.outcome {
                Outcome::Crashed(why) => {
                    assert!(p.key() == key && why.contains(says), "{}: {why}", p.key());
                }
                Outcome::Measured => assert_ne!(p.key(), key),
                other => panic!("{fault}: {}: {other:?}", p.key()),
            }
        }
        assert!(file.points.iter().any(|p| p.key() == key), "{fault}");
        assert!(at.join("device.json").exists());
    }
}

#[test]
fn a_variant_that_brings_the_driver_down_is_tried_once() {
    let dir = tempfile::tempdir().unwrap();
    let (code, err) = faulty(dir.path(), "stream_read@items=crash", "60", &[]);
    assert_eq!(code, 0, "{err}");
    let file = samples(dir.path());
    let crashed: Vec<_> = file
        .points
        .iter()
        .filter(|p| matches!(p.outcome, Outcome::Crashed(_)))
        .collect();
    assert_eq!(crashed.len(), 1, "{err}");
    assert_eq!(crashed[0].trials[0].variant, "items");
    assert!(file.complete);
    for p in file.measured("stream_read") {
        assert_eq!(p.variant.as_deref(), Some("lanes"), "{}", p.key());
    }
    assert!(file.measured("stream_read").count() > 5);
}

#[test]
fn a_driver_that_fails_again_and_again_ends_the_run_with_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let all = "stream_read=crash,launch=crash,gemm_skinny=crash,elementwise=crash";
    let (code, err) = faulty(dir.path(), all, "60", &[]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("3 failures in a row"), "{err}");
    let file = samples(dir.path());
    assert!(!file.complete && file.points.len() == protocol_crashes());
    // A better driver goes on after them.
    let (code, err) = faulty(dir.path(), "nothing/here=crash", "60", &["--resume"]);
    assert_eq!(code, 0, "{err}");
    let file = samples(dir.path());
    assert!(file.complete && file.points.iter().any(|p| p.seconds().is_some()));
}

fn protocol_crashes() -> usize {
    capsim_calibrate::supervise::MOST_CRASHES as usize
}

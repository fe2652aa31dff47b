//! The engine makes the decisions that the real scheduler was recorded making, step by step.
#[path = "common/replay.rs"]
mod replay;
#[path = "common/scenario.rs"]
mod scenario;

use std::path::Path;

fn all_match(folder: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(folder);
    let mut files: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 58, "scenarios in {folder}");
    for path in files {
        let s = scenario::read(&path).unwrap();
        if let Err(d) = replay::replay(&s) {
            panic!("{}: {d}", s.name);
        }
    }
}

#[test]
fn every_decision_of_vllm_0_12_is_reproduced() {
    all_match("vllm-scheduler-0.12.0");
}

#[test]
fn every_decision_of_vllm_0_33_is_reproduced() {
    all_match("vllm-scheduler-0.33.0");
}

#[test]
fn the_comparison_itself_sees_a_changed_record() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vllm-scheduler-0.12.0");
    let read = || scenario::read(&dir.join("preempt_cache_0.json")).unwrap();
    let mut s = read();
    s.steps[5].b = s.steps[5].b.map(|(r, w, f)| (r, w, f + 1));
    assert_eq!(replay::replay(&s).unwrap_err().field, "b");
    let mut s = read();
    s.result.free_queue_sha256 = Some("0".into());
    assert_eq!(replay::replay(&s).unwrap_err().field, "free_queue_sha256");
}

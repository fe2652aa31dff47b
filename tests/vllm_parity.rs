//! The engine makes the decisions that the real scheduler was recorded making, step by step.
use crate::replay;
use crate::scenario;

use std::path::{Path, PathBuf};

/// Scenarios in `vllm-scheduler-between`, all releases together.
const SCENARIOS_BETWEEN: usize = 115;

fn data(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(folder)
}

fn scenarios(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    files
}

fn all_match(dir: &Path) -> usize {
    let files = scenarios(dir);
    for path in &files {
        let s = scenario::read(path).unwrap();
        if let Err(d) = replay::replay(&s) {
            panic!("{} of {}: {d}", s.name, s.vllm_version);
        }
    }
    files.len()
}

#[test]
fn every_decision_of_vllm_0_12_is_reproduced() {
    assert_eq!(all_match(&data("vllm-scheduler-0.12.0")), 58);
}

#[test]
fn every_decision_of_vllm_0_33_is_reproduced() {
    assert_eq!(all_match(&data("vllm-scheduler-0.33.0")), 58);
}

#[test]
fn every_decision_of_the_releases_between_is_reproduced() {
    let mut seen = 0;
    for release in std::fs::read_dir(data("vllm-scheduler-between")).unwrap() {
        let dir = release.unwrap().path();
        if dir.is_dir() {
            for path in scenarios(&dir) {
                let version = scenario::read(&path).unwrap().vllm_version;
                assert!(dir.ends_with(&version), "{} says {version}", path.display());
            }
            seen += all_match(&dir);
        }
    }
    assert_eq!(seen, SCENARIOS_BETWEEN);
}

/// vLLM 0.32.0 with drafters of every kind, whose drafts were right as often as the scenario says.
#[test]
fn every_decision_with_drafts_is_reproduced() {
    assert_eq!(all_match(&data("vllm-scheduler-drafts")), 19);
}

#[test]
fn every_rule_begins_with_the_release_that_it_is_said_to_begin_with() {
    // The last release before and the first one with it, and a load on which they decide differently.
    for (before, since, load) in [
        ("0.18.1", "0.19.0", "rules_4"), // the whole prompt must fit
        ("0.23.0", "0.24.0", "rules_6"), // unregistered blocks first
        ("0.26.0", "0.27.0", "rules_5"), // lookups counted at admission
        ("0.26.0", "0.27.0", "rules_1"), // blocks in order without caching, in this release only
        ("0.27.0", "0.28.0", "rules_1"),
        ("0.27.0", "0.28.0", "rules_0"), // any victim that stands before moves the loop index
        ("0.30.0", "0.31.0", "rules_3"), // a lone request ignores the threshold
        ("0.32.0", "0.33.0", "rules_2"), // who preempts itself does not end the loop
    ] {
        for (recorded, other) in [(before, since), (since, before)] {
            let path = data("vllm-scheduler-between").join(format!("{recorded}/{load}.json"));
            let mut s = scenario::read(&path).unwrap();
            assert_eq!(replay::replay(&s), Ok(()), "{load} of {recorded}");
            s.vllm_version = other.into();
            assert!(
                replay::replay(&s).is_err(),
                "{load} does not tell {recorded} from {other}"
            );
        }
    }
}

#[test]
fn the_comparison_itself_sees_a_changed_record() {
    let dir = data("vllm-scheduler-0.12.0");
    let read = || scenario::read(&dir.join("preempt_cache_0.json")).unwrap();
    let mut s = read();
    s.steps[5].b = s.steps[5].b.map(|(r, w, f)| (r, w, f + 1));
    assert_eq!(replay::replay(&s).unwrap_err().field, "b");
    let mut s = read();
    s.result.free_queue_sha256 = Some("0".into());
    assert_eq!(replay::replay(&s).unwrap_err().field, "free_queue_sha256");
}

//! The Python package has tests of its own, which need a Python with packages: a script makes both. `cargo test` names it among the
//! ignored tests, with the reason, and the gate runs it.
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = "scripts/python_tests.py";

#[test]
#[ignore = "installs packages (Ray, pandas, …) from an index: run python3 scripts/python_tests.py, as CI does"]
fn the_tests_of_the_python_package() {
    let status = Command::new("python3")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .arg(SCRIPT)
        .env("CAPSIM_REQUIRE_PYTHON", "1")
        .status();
    assert!(status.expect("python3").success());
}

#[test]
fn the_gate_runs_the_tests_of_the_python_package() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let gate = std::fs::read_to_string(root.join(".ci/run")).unwrap();
    assert!(
        gate.contains(&format!("CAPSIM_REQUIRE_PYTHON=1 python3 {SCRIPT}")),
        ".ci/run does not run {SCRIPT}"
    );
    assert!(root.join(SCRIPT).is_file());
    // The package and the crate are one version: the package takes its own from the crate beside it.
    let manifest = std::fs::read_to_string(root.join("bindings/python/Cargo.toml")).unwrap();
    assert!(
        manifest.contains("version.workspace = true"),
        "bindings/python has another version"
    );
}

//! The Python package has tests of its own, which need a Python with packages: a script makes both. Here it is only seen to that they
//! are not forgotten.
use std::path::Path;

#[test]
fn the_gate_runs_the_tests_of_the_python_package() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let command = "scripts/python_tests.py";
    println!("SKIP: the tests of bindings/python need a Python with packages: python3 {command}");
    let gate = std::fs::read_to_string(root.join(".ci/run")).unwrap();
    assert!(
        gate.contains(&format!("CAPSIM_REQUIRE_PYTHON=1 python3 {command}")),
        ".ci/run does not run {command}"
    );
    assert!(root.join(command).is_file());
    // The package and the crate are one version: the package takes its own from the crate beside it.
    let manifest = std::fs::read_to_string(root.join("bindings/python/Cargo.toml")).unwrap();
    let own = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(
        manifest.contains(&own),
        "bindings/python has another version"
    );
}

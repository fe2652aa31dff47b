//! The house, as a test: which crate may stand on which, and, within the core, which module on which. Code may use its own module and
//! lower floors, never a higher or a sibling one. `docs/architecture.md` draws the same picture for people.
use std::collections::BTreeMap;
use std::{fs, path::Path};

/// Lowest floor first. A module may use only modules of earlier lines.
const FLOORS: &[&[&str]] = &[
    &["units", "kernels"],
    &["fields", "rng", "stats", "text"],
    &["model", "device", "workload"],
    &["cost"],
    &["engine"],
    &["line"],
    &["metrics"],
    &["predict"],
    &["plan"],
];

/// What the core, which is pure, must not name: files, clocks, threads, environment; `std::process` and the rest of `std` that talks to the world.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::time",
    "std::thread",
    "std::process",
    "std::net",
    "std::io",
    "println!",
    "eprintln!",
    "print!",
    "eprint!",
    "static mut",
    "thread_local!",
    "OnceLock",
    "LazyLock",
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|f| f.contains(&module))
}

/// The code of a file without comments, and without its unit tests where code must be pure.
fn code_of(source: &str) -> String {
    source
        .lines()
        .filter(|l| !l.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// First path segments inside a `use` group such as `{units::Bytes, cost::{A, B}}`, given without its brace.
fn group_heads(group: &str) -> Vec<String> {
    let (mut heads, mut word, mut depth, mut head) = (vec![], String::new(), 0, true);
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(std::mem::take(&mut word));
                head = true;
            }
            ':' if depth == 0 => head = false,
            c if depth == 0 && head && (c.is_alphanumeric() || c == '_') => word.push(c),
            _ => {}
        }
    }
    heads.push(word);
    heads
}

/// Every top-level module that `code` names, in a file whose module sits `depth` levels below the crate root.
fn mentions(code: &str, depth: usize) -> Vec<String> {
    let mut found = vec![];
    let roots = [
        "crate::".to_string(),
        "capsim::".into(),
        "super::".repeat(depth),
    ];
    for (kind, root) in roots.iter().enumerate() {
        for (at, _) in code.match_indices(root.as_str()) {
            let rest = &code[at + root.len()..];
            let names = match rest.strip_prefix('{') {
                Some(group) => group_heads(group),
                None => vec![
                    rest.chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect(),
                ],
            };
            // Below the root, `super::` may also lead to a neighbour inside the module: only names of floors count.
            found.extend(
                names
                    .into_iter()
                    .filter(|n| kind == 0 || floor(n).is_some()),
            );
        }
    }
    found.retain(|w| !w.is_empty() && w != "self" && w != "super");
    found
}

fn violations(files: &BTreeMap<String, String>) -> Vec<String> {
    let mut bad = vec![];
    for (path, source) in files {
        let own = path.split(['/', '.']).next().unwrap();
        if own == "lib" {
            continue;
        }
        let Some(own_floor) = floor(own) else {
            bad.push(format!("src/{path}: `{own}` has no floor"));
            continue;
        };
        let code = code_of(source);
        let depth = path.trim_end_matches("/mod.rs").matches('/').count() + 1;
        for used in mentions(&code, depth) {
            if used == own {
                continue;
            }
            match floor(&used) {
                Some(f) if f < own_floor => {}
                Some(_) => bad.push(format!("src/{path}: `{own}` must not use `{used}`")),
                None => {}
            }
        }
        let outside_tests = code.split("#[cfg(test)]").next().unwrap();
        for word in IMPURE {
            if outside_tests.contains(word) {
                bad.push(format!("src/{path}: pure code must not use `{word}`"));
            }
        }
    }
    bad
}

fn read(dir: &Path, root: &Path, out: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, root, out)
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root).unwrap().to_string_lossy();
            out.insert(name.replace('\\', "/"), fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_module_uses_only_lower_floors_and_the_core_is_pure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    read(&root, &root, &mut files);
    assert!(files.len() > 10, "found only {} files", files.len());
    assert_eq!(violations(&files), Vec::<String>::new());
}

#[test]
fn the_check_itself_sees_planted_violations() {
    for (path, source) in [
        ("units.rs", "use crate::engine::Engine;"),
        ("units.rs", "use crate::{rng::Seed};"),
        ("model/ops.rs", "use crate::{units::Bytes, cost::Cost};"),
        ("model/ops.rs", "fn f() { crate::device::x() }"),
        ("model/layer.rs", "use super::super::engine::Engine;"),
        ("model/mod.rs", "use super::cost::Cost;"),
        ("cost/mod.rs", "use crate::engine::Engine;"),
        ("engine/mod.rs", "use crate::predict::Scenario;"),
        ("new.rs", ""),
        (
            "engine/sim.rs",
            "fn f() { let t = std::time::Instant::now(); }",
        ),
        ("predict/mod.rs", "use std::fs;"),
        ("metrics/mod.rs", "fn f() { println!(\"x\") }"),
    ] {
        let files = BTreeMap::from([(path.to_string(), source.to_string())]);
        assert_eq!(violations(&files).len(), 1, "{path}: {source}");
    }
}

#[test]
fn the_check_itself_lets_the_innocent_pass() {
    for (path, source) in [
        (
            "cost/gemm.rs",
            "use crate::{device::{self, Curve}, model::Op, units::*};",
        ),
        ("units.rs", "mod tests { use super::Bytes; }"),
        ("engine/sim.rs", "// std::time is banned here"),
        ("engine/kv.rs", "use super::config::EngineConfig;"),
    ] {
        let files = BTreeMap::from([(path.to_string(), source.to_string())]);
        assert_eq!(violations(&files), Vec::<String>::new(), "{path}: {source}");
    }
}

/// Crates of the workspace, and what they may stand on: nothing else of the workspace; the core on nothing that talks to the world.
const CRATES: &[(&str, &[&str])] = &[
    (".", &[]),
    ("crates/clload", &[]),
    ("crates/capsim-calibrate", &["capsim", "capsim-clload"]),
    ("crates/capsim-live", &["capsim"]),
    (
        "crates/capsim-study",
        &["capsim", "capsim-calibrate", "capsim-live"],
    ),
    (
        "crates/capsim-cli",
        &["capsim", "capsim-calibrate", "capsim-live", "capsim-study"],
    ),
    (
        "bindings/python",
        &["capsim", "capsim-calibrate", "capsim-cli", "capsim-study"],
    ),
];

/// What the core may be built with.
const CORE: &[&str] = &[
    "csv",
    "granit-parser",
    "hashbrown",
    "libm",
    "rand",
    "rand_chacha",
    "rand_distr",
    "schemars",
    "serde",
    "serde_json",
    "serde_path_to_error",
    "smallvec",
    "strsim",
    "thiserror",
];

/// The dependencies of a manifest, those of its tests left out.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = vec![];
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]")
                && !line.contains("dev-dependencies")
                && !line.contains("workspace");
        } else if inside && let Some(end) = line.find(['.', ' ', '=']) {
            names.push(line[..end].to_string());
        }
    }
    names.retain(|n| !n.is_empty() && !n.starts_with('#'));
    names
}

/// Where a crate stands on another than it may.
fn beyond_borders(folder: &str, manifest: &str) -> Vec<String> {
    let Some((_, allowed)) = CRATES.iter().find(|(f, _)| *f == folder) else {
        return vec![format!("{folder}: an unknown crate")];
    };
    let wrong = |name: &String| {
        let ours = name.starts_with("capsim");
        (ours && !allowed.contains(&name.as_str()))
            || (folder == "." && !ours && !CORE.contains(&name.as_str()))
    };
    dependencies(manifest).into_iter().filter(wrong).collect()
}

#[test]
fn every_crate_stands_only_on_those_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![".".to_string(), "bindings/python".into()];
    for entry in fs::read_dir(root.join("crates")).unwrap() {
        folders.push(format!(
            "crates/{}",
            entry.unwrap().file_name().to_string_lossy()
        ));
    }
    for folder in folders {
        let manifest = fs::read_to_string(root.join(&folder).join("Cargo.toml")).unwrap();
        assert_eq!(
            beyond_borders(&folder, &manifest),
            Vec::<String>::new(),
            "{folder}"
        );
    }
}

#[test]
fn the_borders_see_planted_violations() {
    for (folder, line) in [
        (".", "tokio.workspace = true"),
        (".", "capsim-study.workspace = true"),
        ("crates/capsim-calibrate", "capsim-live = { path = \"x\" }"),
        ("crates/capsim-live", "capsim-study = { workspace = true }"),
        ("crates/capsim-study", "capsim-cli.workspace = true"),
        ("crates/new", ""),
    ] {
        let manifest = format!("[package]\n[dependencies]\nserde.workspace = true\n{line}\n");
        assert_eq!(
            beyond_borders(folder, &manifest).len(),
            1,
            "{folder}: {line}"
        );
    }
    let tests = "[dev-dependencies]\ntokio = \"1\"\n[workspace.dependencies]\nwgpu = \"30\"\n";
    assert_eq!(beyond_borders(".", tests), Vec::<String>::new());
}

/// What stands at the top, and the crates that do the work, are those that the user asked for.
#[test]
fn the_top_level_names_and_the_seven_crates_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in [
        "Cargo.toml",
        "src",
        "kernels",
        "models",
        "calibration",
        "README.md",
    ] {
        assert!(root.join(name).exists(), "{name}");
    }
    for (name, folder, used) in [
        ("wgpu", "crates/capsim-calibrate", "wgpu::"),
        ("ocl", "crates/capsim-calibrate", "ocl::"),
        ("nalgebra", "crates/capsim-study", "nalgebra::"),
        ("rand", ".", "rand::"),
        ("rand_distr", ".", "rand_distr::"),
        ("serde", ".", "serde::"),
        ("clap", "crates/capsim-cli", "clap::"),
    ] {
        let folder = root.join(folder);
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert!(
            dependencies(&manifest).iter().any(|d| d == name),
            "{name} in {folder:?}"
        );
        let mut files = BTreeMap::new();
        read(&folder.join("src"), &folder, &mut files);
        assert!(
            files.values().any(|text| text.contains(used)),
            "{used} in {folder:?}"
        );
    }
}

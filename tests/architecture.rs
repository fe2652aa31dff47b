//! The floors, as a test: code may use its own module and lower floors, never a higher or a sibling one.
//! `docs/architecture.md` draws the same picture for people.
use std::collections::BTreeMap;
use std::{fs, path::Path};

/// Lowest floor first. A module may use only modules of earlier lines.
const FLOORS: &[&[&str]] = &[
    &["units"],
    &["fields", "rng", "stats"],
    &["model", "device", "workload"],
    &["cost"],
    &["engine"],
    &["line"],
    &["metrics"],
    &["predict"],
    &["plan"],
    &["openai"],
    &["calibrate", "bench", "import", "serve"],
    &["validate"],
    &["report"],
    &["explore"],
    &["cli"],
];

/// Up to and including this module's floor, code is pure: no files, clocks, threads, environment.
const LAST_PURE: &str = "plan";

/// What pure code must not name. `std::process` and the rest of `std` that talks to the world.
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
    let pure_until = floor(LAST_PURE).unwrap();
    let mut bad = vec![];
    for (path, source) in files {
        let own = path.split(['/', '.']).next().unwrap();
        if own == "lib" || own == "main" {
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
        if own_floor <= pure_until {
            let outside_tests = code.split("#[cfg(test)]").next().unwrap();
            for word in IMPURE {
                if outside_tests.contains(word) {
                    bad.push(format!("src/{path}: pure code must not use `{word}`"));
                }
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
        ("calibrate/cpu.rs", "use std::time::Instant;"),
    ] {
        let files = BTreeMap::from([(path.to_string(), source.to_string())]);
        assert_eq!(violations(&files), Vec::<String>::new(), "{path}: {source}");
    }
}

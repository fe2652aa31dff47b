//! `--backend torch`: a Python that is odd gives a clear error; with one that has PyTorch (CAPSIM_TORCH_PYTHON names it) every
//! operator's answer is held against float64.
use capsim_calibrate::backend::{Access, Backend, BackendError, Kernel, Launch, Slice, Work};
use capsim_calibrate::families;
use capsim_calibrate::family::{Effort, Scope};
use capsim_calibrate::torch::{self, Torch, python};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn listed(python: &Path) -> String {
    torch::list(Some(python), PATIENCE).unwrap_err()
}

fn opened(python: &Path) -> String {
    match Torch::open(Some(python), 0, None) {
        Err(BackendError::Unavailable(why)) => why,
        Err(e) => panic!("another error: {e}"),
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn a_python_that_is_missing_is_named_with_a_way_on() {
    let path = Path::new("no/such/python");
    for why in [listed(path), opened(path)] {
        assert!(
            why.contains("no/such/python") && why.contains("--python"),
            "{why}"
        );
    }
}

/// A program in place of Python.
#[cfg(unix)]
fn program(folder: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[cfg(unix)]
#[test]
fn what_is_no_python_with_torch_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| program(folder.path(), name, text);
    let words = at("words", "echo hello");
    let fails = at("fails", "echo 'no module named so' >&2; exit 3");
    let silent = at("silent", "exit 0");
    let torchless = at(
        "torchless",
        r#"echo '{"error": "`import torch` fails: ModuleNotFoundError", "kind": "unavailable", "bytes": 0}'"#,
    );
    for (path, says) in [
        (&words, "Python 3.10"),
        (&fails, "no module named so"),
        (&silent, "Python 3.10"),
        (&torchless, "import torch"),
    ] {
        let why = listed(path);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(why.contains(says) && why.contains(name), "{name}: {why}");
        let why = opened(path);
        assert!(why.contains(name), "{name}: {why}");
    }
    let slow = at("slow", "sleep 30");
    let why = torch::list(Some(&slow), Duration::from_millis(300)).unwrap_err();
    assert!(why.contains("0.3 s"), "{why}");
}

#[test]
fn a_folder_stands_for_the_interpreter_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let inside = python::interpreter(Some(folder.path()));
    assert!(inside.starts_with(folder.path()) && inside != folder.path());
    let file = folder.path().join("python3");
    assert_eq!(python::interpreter(Some(&file)), file);
}

/// The Python to try with, or a line that says that nothing was tried.
fn device() -> Option<Torch> {
    let Some(path) = std::env::var_os("CAPSIM_TORCH_PYTHON") else {
        eprintln!("SKIP: CAPSIM_TORCH_PYTHON names no Python with PyTorch");
        return None;
    };
    Some(Torch::open(Some(Path::new(&path)), 0, Some(1)).unwrap())
}

#[test]
fn every_operator_gives_the_right_answer() {
    let Some(mut device) = device() else { return };
    let info = device.info().clone();
    let scope = Scope {
        device: &info,
        effort: Effort::Full,
        ring_bytes: 1 << 20,
        budget_bytes: 1 << 30,
        seed: 7,
    };
    let (mut right, mut wrong) = (vec![], vec![]);
    for family in families::torch() {
        let mut seen = std::collections::BTreeSet::new();
        for point in family.points(&scope) {
            for variant in family.variants(&scope, &point) {
                if !seen.insert(variant.id.clone()) {
                    continue;
                }
                let key = format!("{}/{}", family.name(), variant.id);
                match family.check(&mut device, &scope, &variant) {
                    Ok(()) => right.push(key),
                    Err(e) => wrong.push(format!("{key}: {e}")),
                }
            }
        }
    }
    eprintln!("right: {right:#?}\nnot: {wrong:#?}");
    let bad: Vec<_> = wrong
        .iter()
        .filter(|w| w.contains("wrong answer"))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    for name in ["linear", "loop", "sdpa", "torch", "tick", "read"] {
        assert!(right.iter().any(|r| r.contains(name)), "{name}: {wrong:#?}");
    }
}

#[test]
fn wrong_use_is_an_error_and_the_session_goes_on() {
    let Some(mut device) = device() else { return };
    let kernel = |name| Kernel {
        name,
        defines: vec![],
        group: [1, 1],
        buffers: vec![Access::ReadWrite],
        numbers: 1,
        needs: vec![],
    };
    let unknown = device.compile(&kernel("no_such")).unwrap_err();
    assert!(
        matches!(unknown, BackendError::Unsupported { .. }),
        "{unknown}"
    );
    let tick = device.compile(&kernel("tick")).unwrap();
    let buffer = device.alloc(512).unwrap();
    let launch = |len| Launch {
        kernel: tick,
        buffers: vec![Slice {
            buffer,
            offset: 0,
            len,
        }],
        numbers: vec![0],
        groups: [1, 1, 1],
        work: Work::default(),
    };
    let beyond = device.run(&[launch(1024)]).unwrap_err().to_string();
    assert!(beyond.contains("1024"), "{beyond}");
    device.run(&[launch(512)]).unwrap();
    let mut words = [0u8; 8];
    let first = Slice {
        buffer,
        offset: 0,
        len: 8,
    };
    device.read(first, &mut words).unwrap();
    assert_eq!(words, [7, 0, 0, 0, 7, 0, 0, 0]);
}

//! Files of the Python package that come from Rust: its answers from their JSON Schemas, its stub from the native functions.
//! `CAPSIM_WRITE_GENERATED=1 cargo test -p capsim-study generated` writes them anew.
mod answers;
mod stub;

use std::path::{Path, PathBuf};

/// A place in the repository.
fn at(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

/// Holds a file against its text, or writes it.
fn holds(path: &str, text: &str) {
    let path = at(path);
    if std::env::var_os("CAPSIM_WRITE_GENERATED").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(
        found == text,
        "{}: differs from what it is generated from; cargo xtask generate",
        path.display()
    );
}

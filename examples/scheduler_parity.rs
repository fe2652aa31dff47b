//! Replays recorded decisions of vLLM's scheduler: `scheduler_parity DIR…`.
//!
//! Takes every `.json` file in the folders and in folders below them. Prints one line per scenario that differs and last `matched N of M`. Exit 0 only if all match, 1 if some differ,
//! 2 if a file cannot be read.
#[path = "../tests/common/replay.rs"]
mod replay;
#[path = "../tests/common/scenario.rs"]
mod scenario;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn collect(dir: &Path, all: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            collect(&path, all)?;
        } else if path.extension().is_some_and(|e| e == "json") {
            all.push(path);
        }
    }
    Ok(())
}

fn files(dir: &str) -> Result<Vec<PathBuf>, String> {
    let mut all = vec![];
    collect(Path::new(dir), &mut all)?;
    all.sort();
    if all.is_empty() {
        return Err(format!("{dir}: holds no .json file"));
    }
    Ok(all)
}

fn main() -> ExitCode {
    let dirs: Vec<String> = std::env::args().skip(1).collect();
    if dirs.is_empty() {
        eprintln!("usage: scheduler_parity DIR…   (folders of recorded scenarios)");
        return ExitCode::from(2);
    }
    let (mut matched, mut all) = (0, 0);
    for dir in &dirs {
        let files = match files(dir) {
            Ok(f) => f,
            Err(e) => {
                eprintln!("{e}");
                return ExitCode::from(2);
            }
        };
        for path in files {
            let s = match scenario::read(&path) {
                Ok(s) => s,
                Err(e) => {
                    eprintln!("{e}");
                    return ExitCode::from(2);
                }
            };
            all += 1;
            match replay::replay(&s) {
                Ok(()) => matched += 1,
                Err(d) => println!("{} ({}): {d}", s.name, s.vllm_version),
            }
        }
    }
    println!("matched {matched} of {all}");
    if matched == all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

//! The command line inside an interpreter: the console script of the wheel.
use crate::sweep::Sweep;
use capsim_calibrate::discover;
use capsim_cli::api::{Elsewhere, Job};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Hands a sweep to `capsim._ray`.
struct Ray;

impl Elsewhere for Ray {
    fn simulate(&self, job: Arc<Job>, address: Option<&str>) -> anyhow::Result<()> {
        Python::with_gil(|py| {
            let ray = py.import("capsim._ray")?;
            ray.call_method1("from_command_line", (Sweep { job }, address))?;
            Ok(())
        })
        .map_err(|e: PyErr| {
            Python::with_gil(|py| {
                if e.is_instance_of::<PyKeyboardInterrupt>(py) {
                    eprintln!(
                        "interrupted; what is done stays: the same command goes on from there"
                    );
                    std::process::exit(130);
                }
                anyhow::anyhow!("{}", e.value(py))
            })
        })
    }
}

/// Runs the command line; `program` is what to start when it needs another process of itself. The exit code.
#[pyfunction]
pub fn main(py: Python<'_>, args: Vec<OsString>, program: Option<PathBuf>) -> u8 {
    if let Some(program) = program {
        discover::set_program(program);
    }
    let code = py.allow_threads(|| capsim_cli::main(args, Some(&Ray)));
    // A process that Rust began would do this at its end.
    let _ = std::io::stdout().flush();
    // `ExitCode` does not show its number otherwise.
    (0..=u8::MAX)
        .find(|&n| ExitCode::from(n) == code)
        .unwrap_or(1)
}

//! The command line: parse, dispatch, one error print.
//!
//! Exit codes: 0 done; 1 a verdict failed (a run outside its tolerance, an SLO that no load or setting meets, settings that do
//! not fit the memory); 2 input that cannot be used.
use std::process::ExitCode;

fn main() -> ExitCode {
    capsim_cli::main(std::env::args_os(), None)
}

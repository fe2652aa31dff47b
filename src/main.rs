//! The command line: parse, dispatch, one error print.
//!
//! Exit codes: 0 done; 1 a verdict failed (a run outside its tolerance); 2 input that cannot be used.
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = capsim::cli::Cli::parse();
    match capsim::cli::run(cli) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::from(2)
        }
    }
}

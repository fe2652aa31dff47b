//! The command line: parse, dispatch, one error print.
//!
//! Exit codes: 0 done; 1 a verdict failed (a run outside its tolerance, an SLO that no load or setting meets, settings that do
//! not fit the memory); 2 input that cannot be used.
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    leave_quietly_when_nobody_reads();
    let cli = capsim::cli::Cli::parse();
    match capsim::cli::run(cli) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::from(2)
        }
    }
}

/// `capsim … | head` closes our output early, which is its good right. `print!` panics then, and only then with these words. The
/// signal SIGPIPE stays ignored, as Rust has it: a worker or a client that hangs up must not kill us.
fn leave_quietly_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let words = panic.payload_as_str().unwrap_or_default();
        // EPIPE; on Windows ERROR_BROKEN_PIPE and ERROR_NO_DATA.
        let closed = ["os error 32)", "os error 109)", "os error 232)"];
        if words.starts_with("failed printing to std") && closed.iter().any(|c| words.ends_with(c))
        {
            std::process::exit(0);
        }
        usual(panic);
    }));
}

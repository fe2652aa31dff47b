//! What a build without the feature `live` (HTTP) says in the place of the verbs and flags that need it.
use anyhow::bail;
use clap::Args;
use std::ffi::OsString;

/// Whatever follows the verb.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub struct LeftOut {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    words: Vec<OsString>,
}

impl LeftOut {
    /// Refuses.
    pub fn run(&self, verb: &str) -> anyhow::Result<std::process::ExitCode> {
        refuse(&format!("capsim {verb}"))
    }
}

/// Flags of `validate` that need HTTP, or its records.
#[derive(Args, Debug)]
pub struct PairedArgs {
    #[arg(long = "url", alias = "base-url", hide = true, num_args = 0..)]
    base_url: Option<Vec<String>>,
    #[arg(long, hide = true, num_args = 0..)]
    bench: Option<Vec<String>>,
}

impl PairedArgs {
    /// Refuses if one of them was given.
    pub fn check(&self) -> anyhow::Result<()> {
        for (flag, given) in [("--url", &self.base_url), ("--bench", &self.bench)] {
            if given.is_some() {
                refuse::<()>(&format!("validate {flag}"))?;
            }
        }
        Ok(())
    }
}

/// The error that names the feature.
pub fn refuse<T>(what: &str) -> anyhow::Result<T> {
    bail!(
        "{what} is left out of this build; build it with the feature: cargo run --release --features live -- …, or cargo install with --all-features"
    )
}

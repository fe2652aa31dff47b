//! `capsim completions` and `capsim man`: what a packager installs, from the same command tree that parses.
use super::{Cli, files};
use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Debug)]
#[command(after_help = "\
bash:  source <(capsim completions bash)
zsh:   capsim completions zsh > \"${fpath[1]}/_capsim\"
fish:  capsim completions fish > ~/.config/fish/completions/capsim.fish")]
pub struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub struct ManArgs {
    /// Folder for capsim.1 and a page per command (default: capsim.1 alone, on standard output: capsim man | man -l -)
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// `capsim completions`.
pub fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut out = vec![];
    clap_complete::generate(args.shell, &mut Cli::command(), "capsim", &mut out);
    print!("{}", String::from_utf8_lossy(&out));
    Ok(ExitCode::SUCCESS)
}

fn page(command: &Command) -> anyhow::Result<String> {
    let mut out = vec![];
    clap_mangen::Man::new(command.clone()).render(&mut out)?;
    String::from_utf8(out).context("a man page is text")
}

/// The page of a command and of all beneath it: `capsim-bench-serve.1`.
fn pages(command: &Command, name: &str, all: &mut Vec<(String, String)>) -> anyhow::Result<()> {
    let this = command
        .clone()
        .name(String::leak(name.to_string()) as &'static str)
        .display_name(name);
    all.push((format!("{name}.1"), page(&this)?));
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        if sub.get_name() != "help" {
            pages(sub, &format!("{name}-{}", sub.get_name()), all)?;
        }
    }
    Ok(())
}

/// `capsim man`.
pub fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let mut command = Cli::command();
    command.build();
    let Some(dir) = &args.output else {
        print!("{}", page(&command)?);
        return Ok(ExitCode::SUCCESS);
    };
    let mut all = vec![];
    pages(&command, "capsim", &mut all)?;
    std::fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
    for (name, text) in &all {
        files::write(&dir.join(name), text)?;
    }
    println!("{} pages in {}", all.len(), dir.display());
    Ok(ExitCode::SUCCESS)
}

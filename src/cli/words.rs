//! Flags as data → the arguments of a command, with the errors that its command line gives.
use anyhow::bail;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, Parser};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::marker::PhantomData;

/// A flag's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Word {
    /// A switch that is on or off.
    Switch(bool),
    /// Anything else, as it would be typed.
    Text(String),
}

impl Word {
    /// As it stands in results.
    pub fn text(&self) -> String {
        match self {
            Self::Switch(on) => on.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// Flags with their values, without dashes in front; later ones win.
pub type Flags = Vec<(String, Word)>;

#[derive(Parser, Debug)]
#[command(no_binary_name = true, name = "capsim")]
struct Words<T: Args> {
    #[command(flatten)]
    args: T,
}

/// The flags of a command whose arguments are `T`.
pub struct Known<T> {
    command: &'static str,
    flags: BTreeSet<String>,
    arguments: PhantomData<T>,
}

impl<T: Args> Known<T> {
    /// All of them; `command` is the command's name, for errors.
    pub fn new(command: &'static str) -> Self {
        let flags = Words::<T>::command()
            .get_arguments()
            .flat_map(|a| {
                let mut names = a.get_long_and_visible_aliases().unwrap_or_default();
                names.extend(a.get_long());
                names
            })
            .map(String::from)
            .collect();
        Self {
            command,
            flags,
            arguments: PhantomData,
        }
    }

    /// Whether there is such a flag.
    pub fn has(&self, name: &str) -> bool {
        self.flags.contains(name)
    }

    /// Their names, without dashes in front.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.flags.iter().map(String::as_str)
    }

    /// An error that names the flag and the nearest one.
    fn check(&self, name: &str) -> anyhow::Result<()> {
        if self.has(name) {
            return Ok(());
        }
        let command = self.command;
        let near = self
            .flags
            .iter()
            .map(|k| (strsim::jaro_winkler(k, name), k))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(s, _)| *s > 0.8);
        match near {
            Some((_, k)) => {
                bail!("`{name}` is no flag of `capsim {command}`; did you mean `{k}`?")
            }
            None => {
                bail!("`{name}` is no flag of `capsim {command}` (see `capsim {command} --help`)")
            }
        }
    }

    /// Flags and a `vllm serve` line, as the parser takes them whatever the values are.
    pub fn words(&self, flags: &Flags, line: &[String]) -> anyhow::Result<Vec<String>> {
        self.spelt(flags, line, |name, text| vec![format!("--{name}={text}")])
    }

    /// The same as people would type it.
    pub fn typed(&self, flags: &Flags, line: &[String]) -> anyhow::Result<Vec<String>> {
        self.spelt(flags, line, |name, text| {
            vec![format!("--{name}"), text.to_string()]
        })
    }

    fn spelt(
        &self,
        flags: &Flags,
        line: &[String],
        pair: impl Fn(&str, &str) -> Vec<String>,
    ) -> anyhow::Result<Vec<String>> {
        let mut words = vec![];
        for (name, word) in flags {
            self.check(name)?;
            match word {
                Word::Text(text) => words.extend(pair(name, text)),
                Word::Switch(true) => words.push(format!("--{name}")),
                Word::Switch(false) if self.has(&format!("no-{name}")) => {
                    words.push(format!("--no-{name}"));
                }
                Word::Switch(false) => {}
            }
        }
        if !line.is_empty() {
            words.push("--".into());
            words.extend(line.iter().cloned());
        }
        Ok(words)
    }

    /// The arguments.
    pub fn parse(&self, words: &[String]) -> anyhow::Result<T> {
        let parsed = Words::<T>::try_parse_from(words).map_err(|e| {
            let text = e.to_string();
            // The rest is about the command line: how it is used, where help is.
            let first = text.split("\n\n").next().unwrap_or("");
            anyhow::anyhow!("{}", first.trim_start_matches("error: ").trim_end())
        })?;
        Ok(parsed.args)
    }
}

/// A flag that was given on the command line.
pub struct Given {
    /// Its names, without dashes in front; its own comes last, after its aliases.
    pub names: Vec<String>,
    /// Under which heading the help has it.
    pub heading: Option<String>,
    /// Whether it takes no value.
    pub switch: bool,
    /// What was given.
    pub values: Vec<String>,
}

impl Given {
    /// Its own name.
    pub fn long(&self) -> &str {
        self.names.last().map_or("", String::as_str)
    }
}

/// Those flags of `T` that were given, and the words of a pasted line.
pub fn said<T: Args>(matches: &ArgMatches) -> (Vec<Given>, Vec<String>) {
    let all = T::augment_args(clap::Command::new("flags"));
    let (mut given, mut line) = (vec![], vec![]);
    for arg in all.get_arguments() {
        let id = arg.get_id().as_str();
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let values: Vec<String> = matches
            .get_raw(id)
            .into_iter()
            .flatten()
            .map(|v| v.to_string_lossy().into_owned())
            .collect();
        let Some(long) = arg.get_long() else {
            line = values;
            continue;
        };
        let mut names = arg.get_visible_aliases().unwrap_or_default();
        names.push(long);
        given.push(Given {
            names: names.into_iter().map(String::from).collect(),
            heading: arg.get_help_heading().map(String::from),
            switch: matches!(arg.get_action(), ArgAction::SetTrue),
            values,
        });
    }
    (given, line)
}

/// Words as a shell takes them.
pub fn quoted(words: &[String]) -> String {
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
}

//! The arguments of a question as data → the arguments of its command, with the errors that its command line gives.
use anyhow::bail;
use clap::{Args, Parser};
use serde_json::Value;

/// Flags with their values, without dashes in front.
pub type Flags = Vec<(String, Value)>;

#[derive(Parser, Debug)]
#[command(no_binary_name = true, name = "capsim")]
struct Words<T: Args> {
    #[command(flatten)]
    args: T,
}

/// The arguments of a question whose flags these are, after a first word if it has one.
///
/// # Errors
/// A flag that the question has not, or a value that it cannot have.
pub fn question<T: Args>(first: Option<&str>, flags: &Flags) -> anyhow::Result<T> {
    let mut words: Vec<String> = first.map(String::from).into_iter().collect();
    for (name, value) in flags {
        let name = name.replace('_', "-");
        match value {
            Value::Null | Value::Bool(false) => {}
            Value::Bool(true) => words.push(format!("--{name}")),
            Value::String(text) => words.push(format!("--{name}={text}")),
            Value::Number(n) => words.push(format!("--{name}={n}")),
            other => bail!("{name}: {other} is neither a number, a text, true nor false"),
        }
    }
    let parsed = Words::<T>::try_parse_from(&words).map_err(|e| {
        let text = e.to_string();
        // The rest is about the command line: how it is used, where help is.
        let first = text.split("\n\n").next().unwrap_or("");
        anyhow::anyhow!("{}", first.trim_start_matches("error: ").trim_end())
    })?;
    Ok(parsed.args)
}

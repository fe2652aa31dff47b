//! The command line that starts a server, pasted as it is: `vllm serve …`, `llama-server …`,
//! `python -m sglang.launch_server …`.
//!
//! Flags that the simulation knows become [`SettingValues`]; flags that change nothing it knows of (ports, keys, logging) are ignored;
//! all others are told to the user as not modelled. A known flag with a value that it cannot take is an error.
mod gguf;
mod llama_server;
mod sglang;
mod vllm;

use crate::device::Scheduler;
use crate::engine::settings::SettingValues;
use std::collections::VecDeque;

/// What is wrong with a pasted line or a flag's value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A flag without its value.
    #[error("`{flag}` needs a value")]
    MissingValue {
        /// The flag.
        flag: String,
    },
    /// Words that start no server.
    #[error(
        "`{words}` starts no server: paste `vllm serve MODEL …`, `llama-server …`, `python -m sglang.launch_server …`, or flags \
         of vllm serve alone"
    )]
    NoServer {
        /// The first words.
        words: String,
    },
    /// A value that is no such thing.
    #[error("`{flag}`: `{value}` is not {expected}")]
    BadValue {
        /// The flag.
        flag: String,
        /// What was given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
}

/// A pasted line, understood as far as possible.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PastedLine {
    /// Whose server it starts; `None`: it does not say (flags alone are read as vLLM's).
    pub starts: Option<Scheduler>,
    /// The settings that matter here.
    pub args: SettingValues,
    /// The model that it names.
    pub model: Option<String>,
    /// Flags that do not change what is simulated (ports, keys, logging).
    pub ignored: Vec<String>,
    /// Flags that may change performance and are not modelled.
    pub unmodelled: Vec<String>,
}

/// Reads the words of a line that starts a server, or of flags alone, which are vLLM's. Both `--flag value` and
/// `--flag=value` are understood.
///
/// # Errors
/// A known flag with a value that it cannot take, or without one.
pub fn read_line<S: AsRef<str>>(words: &[S]) -> Result<PastedLine, LineError> {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let program = words.first().map_or("", |w| file_name(w));
    let python = program.starts_with("python");
    match (program.trim_end_matches(".exe"), &words[..]) {
        ("llama-server", [_, rest @ ..]) => llama_server::read(rest),
        ("sglang", [_, "serve", rest @ ..]) => sglang::read(rest),
        (_, [_, "-m", "sglang.launch_server", rest @ ..]) if python => sglang::read(rest),
        (_, [_, "-m", "vllm.entrypoints.openai.api_server", rest @ ..]) if python => {
            vllm::read(Some(Scheduler::Vllm), rest)
        }
        ("vllm", [_, "serve", rest @ ..]) => vllm::read(Some(Scheduler::Vllm), rest),
        ("vllm", [_, rest @ ..]) if flags_or_model(rest) => vllm::read(Some(Scheduler::Vllm), rest),
        (_, ["serve", rest @ ..]) => vllm::read(None, rest),
        (_, rest) if flags_or_model(rest) => vllm::read(None, rest),
        _ => Err(LineError::NoServer {
            words: words[..words.len().min(2)].join(" "),
        }),
    }
}

/// Whether words can be flags, or a model and flags, and are no other program or command.
fn flags_or_model(words: &[&str]) -> bool {
    words.first().is_none_or(|w| {
        w.starts_with('-')
            || matches!(*w, "" | "\\")
            || w.contains(['/', '.'])
            || crate::model::builtin::find(w).is_ok()
    })
}

/// The last part of a path, of either system.
fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The words of a line that were not read yet, and the flag that is being read.
struct Words {
    rest: VecDeque<String>,
    inline: Option<String>,
    /// Whether values may begin with a dash (llama.cpp's flags have one dash, too).
    dashes: bool,
}

impl Words {
    fn new(words: &[&str], dashes: bool) -> Self {
        Self {
            rest: words.iter().map(|w| w.to_string()).collect(),
            inline: None,
            dashes,
        }
    }

    /// The next word; of `--flag=value` the flag, with dashes for underscores.
    fn next(&mut self) -> Option<String> {
        let word = self.rest.pop_front()?;
        self.inline = None;
        if !self.is_flag(&word) {
            return Some(word);
        }
        Some(match word.split_once('=') {
            Some((flag, value)) => {
                self.inline = Some(value.into());
                flag.replace('_', "-")
            }
            None => word.replace('_', "-"),
        })
    }

    /// Whether a word is a flag rather than a value: a number may be negative.
    fn is_flag(&self, word: &str) -> bool {
        if !self.dashes {
            return word.starts_with("--");
        }
        word.strip_prefix('-')
            .is_some_and(|w| w.starts_with(|c: char| c.is_ascii_alphabetic() || c == '-'))
    }

    /// The flag's value, if one follows.
    fn optional(&mut self) -> Option<String> {
        if self.inline.is_some() {
            return self.inline.take();
        }
        match self.rest.front() {
            Some(v) if !self.is_flag(v) && v != "\\" => self.rest.pop_front(),
            _ => None,
        }
    }

    /// The flag's value.
    fn value(&mut self, flag: &str, expected: &str) -> Result<String, LineError> {
        self.optional().ok_or_else(|| LineError::MissingValue {
            flag: format!("{flag} ({expected})"),
        })
    }

    /// A count.
    fn int(&mut self, flag: &str, expected: &str) -> Result<u32, LineError> {
        let v = self.value(flag, expected)?;
        human_int(&v)
            .and_then(|n| u32::try_from(n).ok())
            .ok_or(LineError::BadValue {
                flag: flag.into(),
                value: v,
                expected: "a whole number below 4294967296",
            })
    }

    /// A part of something, above 0 and at most 1.
    fn fraction(&mut self, flag: &str) -> Result<f64, LineError> {
        let v = self.value(flag, "a fraction")?;
        match v.parse::<f64>() {
            Ok(f) if f > 0.0 && f <= 1.0 => Ok(f),
            _ => Err(LineError::BadValue {
                flag: flag.into(),
                value: v,
                expected: "a fraction above 0 and at most 1",
            }),
        }
    }
}

impl PastedLine {
    /// A flag that changes nothing, of a table of such flags and whether they take a value; else one that nobody here knows.
    fn other(
        &mut self,
        flag: &str,
        words: &mut Words,
        harmless: &[(&str, bool)],
    ) -> Result<(), LineError> {
        match harmless.iter().find(|(f, _)| *f == flag) {
            Some((_, takes_value)) => {
                if *takes_value {
                    words.value(flag, "a value")?;
                }
                self.ignored.push(flag.into());
            }
            None => self.not_modelled(flag, words),
        }
        Ok(())
    }

    /// An unknown flag may or may not take a value: a following word that is no flag is its.
    fn not_modelled(&mut self, flag: &str, words: &mut Words) {
        self.unmodelled.push(match words.optional() {
            Some(v) => format!("{flag} {v}"),
            None => flag.into(),
        });
    }

    /// A word that belongs to no flag.
    fn stray(&mut self, word: String) {
        // A shell's line continuation.
        if word != "\\" {
            self.unmodelled.push(word);
        }
    }
}

/// An integer as vLLM's own parser takes it: `4096`, `32k` (32 000), `32K` (32 768), also `m`/`M`, `g`/`G`.
fn human_int(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1_000f64),
        b'K' => (&text[..text.len() - 1], 1024.0),
        b'm' => (&text[..text.len() - 1], 1e6),
        b'M' => (&text[..text.len() - 1], 1_048_576.0),
        b'g' => (&text[..text.len() - 1], 1e9),
        b'G' => (&text[..text.len() - 1], 1_073_741_824.0),
        _ => return text.parse().ok(),
    };
    let value = digits.parse::<f64>().ok()? * factor;
    ((0.0..1e18).contains(&value) && libm::floor(value) == value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(line: &str) -> (Option<Scheduler>, Option<String>) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let line = read_line(&words).unwrap();
        (line.starts, line.model)
    }

    #[test]
    fn the_program_says_whose_flags_they_are() {
        let vllm = (Some(Scheduler::Vllm), Some("m".to_string()));
        assert_eq!(starts("vllm serve m"), vllm);
        assert_eq!(starts("venv/bin/vllm serve m --port 1"), vllm);
        let line = "python3 -m vllm.entrypoints.openai.api_server --model m";
        assert_eq!(starts(line), vllm);
        assert_eq!(starts("--model m"), (None, vllm.1.clone()));
        let sglang = (Some(Scheduler::Sglang), vllm.1.clone());
        assert_eq!(
            starts("python -m sglang.launch_server --model-path m"),
            sglang
        );
        assert_eq!(starts("sglang serve --model-path m"), sglang);
        let llama = (Some(Scheduler::LlamaServer), vllm.1.clone());
        assert_eq!(starts("./build/bin/llama-server -m m.gguf"), llama);
        assert_eq!(starts("C:\\x\\llama-server.exe -m m.gguf"), llama);
        assert_eq!(starts(""), (None, None));
    }

    #[test]
    fn what_starts_no_server_is_refused() {
        for line in ["ls -la", "vllm bench serve --model m", "something else"] {
            let words: Vec<&str> = line.split_whitespace().collect();
            let e = read_line(&words).unwrap_err();
            let first = words[..2].join(" ");
            assert_eq!(e, LineError::NoServer { words: first });
        }
        let model = Some("qwen3-8b".to_string());
        assert_eq!(starts("qwen3-8b --port 1"), (None, model));
    }

    #[test]
    fn human_readable_integers_are_vllms() {
        assert_eq!(human_int("32k"), Some(32_000));
        assert_eq!(human_int("32K"), Some(32_768));
        assert_eq!(human_int("1.5k"), Some(1500));
        assert_eq!(human_int("-1"), None);
        assert_eq!(human_int("k"), None);
    }
}

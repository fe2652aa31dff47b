//! Words → flags with their values, as each engine's own parser takes them apart.
use super::LineError;
use super::flags::{Flag, FlagList, Found, Values};

/// A flag that a line gives.
#[derive(Clone, Debug)]
pub(super) struct Given<'a> {
    /// The flag; `None`: no release that was read has it.
    pub flag: Option<&'a Flag>,
    /// As it was typed, without its values; of `--flag.key value` with the key.
    pub typed: String,
    /// Its values.
    pub values: Vec<String>,
    /// Whether a switch is turned off.
    pub off: bool,
}

impl Given<'_> {
    /// The flag's first name, or what was typed.
    pub fn name(&self) -> &str {
        self.flag.map_or(&self.typed, |f| f.names[0])
    }

    /// As it was typed, with its values.
    pub fn words(&self) -> String {
        std::iter::once(&self.typed)
            .chain(&self.values)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Its only value.
    pub fn value(&self) -> Result<&str, LineError> {
        match self.values.as_slice() {
            [value] => Ok(value),
            _ => Err(LineError::MissingValue {
                flag: self.typed.clone(),
            }),
        }
    }

    /// An error about its value.
    pub fn bad(&self, expected: impl Into<String>) -> LineError {
        LineError::BadValue {
            flag: self.typed.clone(),
            value: self.values.join(" "),
            expected: expected.into(),
        }
    }
}

/// What words give.
#[derive(Debug, Default)]
pub(super) struct Arguments<'a> {
    /// Flags, in their order.
    pub given: Vec<Given<'a>>,
    /// Words that belong to no flag.
    pub loose: Vec<String>,
}

/// How an engine's parser reads flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parser {
    /// Python's argparse: prefixes, `--flag=value`, dashes and underscores alike; vLLM's `-O3` and `--flag.key value`.
    Argparse,
    /// Python's click: names as they are, `-` for `_` in long ones, and keys of sections in one name, `--section.key`.
    Click,
    /// llama.cpp's: names as they are, `_` for `-` in long ones.
    Llama,
}

/// Takes words apart.
///
/// # Errors
/// A flag without its value, or the beginning of several.
pub(super) fn read<'a>(
    words: &[String],
    list: &'a FlagList,
    parser: Parser,
) -> Result<Arguments<'a>, LineError> {
    let mut out = Arguments::default();
    let mut rest = Words {
        words,
        at: 0,
        list,
        parser,
    };
    while let Some(word) = rest.next() {
        if word == "--" {
            continue;
        }
        if !rest.is_flag(word) {
            if !matches!(word.trim(), "\\" | "") {
                out.loose.push(word.clone());
            }
            continue;
        }
        let given = rest.given(word)?;
        out.given.push(given);
    }
    Ok(out)
}

struct Words<'a, 'w> {
    words: &'w [String],
    at: usize,
    list: &'a FlagList,
    parser: Parser,
}

impl<'a, 'w> Words<'a, 'w> {
    fn next(&mut self) -> Option<&'w String> {
        let word = self.words.get(self.at)?;
        self.at += 1;
        Some(word)
    }

    /// Whether a word is a flag: a negative number is a value, and so is a text with spaces.
    fn is_flag(&self, word: &str) -> bool {
        let name = word.split('=').next().unwrap_or(word);
        let spaces = |text: &str| text.contains(char::is_whitespace);
        match word.strip_prefix('-') {
            None | Some("") => false,
            Some(long) if long.starts_with('-') => !spaces(name),
            Some(_) => !spaces(word) && word.parse::<f64>().is_err(),
        }
    }

    /// A word that may be a value: for llama.cpp everything but one of its flags.
    fn is_value(&self, word: &str) -> bool {
        match self.parser {
            Parser::Argparse | Parser::Click => !self.is_flag(word),
            Parser::Llama => {
                !self.is_flag(word)
                    || self.list.named(&spelled(word)).is_none() && !word.starts_with("--")
            }
        }
    }

    fn given(&mut self, word: &str) -> Result<Given<'a>, LineError> {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (word, None),
        };
        if self.parser == Parser::Argparse
            && let Some(given) = self.optimization(word)
        {
            return Ok(given);
        }
        let (bare, key) = match name.split_once('.') {
            Some((bare, key)) if self.parser == Parser::Argparse => (bare, Some(key)),
            _ => (name, None),
        };
        let bare = match self.parser {
            Parser::Click => bare
                .replacen("--", "\0", 1)
                .replace('-', "_")
                .replacen('\0', "--", 1),
            _ => spelled(bare),
        };
        let (flag, mut off) = match self.list.find(&bare, self.parser == Parser::Argparse) {
            Found::Flag(flag, off) => (Some(flag), off),
            Found::Unknown => (None, false),
            Found::Ambiguous(names) => {
                return Err(LineError::Ambiguous {
                    flag: bare,
                    names: names.into_iter().map(String::from).collect(),
                });
            }
        };
        let typed = match key {
            Some(key) => format!("{bare}.{key}"),
            None => bare,
        };
        let values = match (flag, key) {
            (Some(flag), None) => self.values(flag, &typed, inline, &mut off)?,
            // --compilation-config.level 3
            (Some(_), Some(_)) => match inline.or_else(|| self.next().cloned()) {
                Some(value) => vec![value],
                None => {
                    return Err(LineError::MissingValue { flag: typed });
                }
            },
            (None, _) => inline.or_else(|| self.take()).into_iter().collect(),
        };
        Ok(Given {
            flag,
            typed,
            values,
            off,
        })
    }

    /// The next word, if it can be a value.
    fn take(&mut self) -> Option<String> {
        let word = self
            .words
            .get(self.at)
            .filter(|w| self.is_value(w) && *w != "\\")?;
        self.at += 1;
        Some(word.clone())
    }

    fn values(
        &mut self,
        flag: &Flag,
        typed: &str,
        inline: Option<String>,
        off: &mut bool,
    ) -> Result<Vec<String>, LineError> {
        let missing = || LineError::MissingValue {
            flag: typed.to_string(),
        };
        match (flag.values, inline) {
            (Values::Switch | Values::Exactly(0), inline) => {
                // Older releases take True or False after a switch.
                let next = self.words.get(self.at).filter(|w| truth(w).is_some());
                let said = match inline {
                    Some(value) => Some(truth(&value).ok_or(LineError::BadValue {
                        flag: typed.into(),
                        value,
                        expected: "true or false".into(),
                    })?),
                    None => next.and_then(|w| truth(w)).inspect(|_| self.at += 1),
                };
                *off ^= said == Some(false);
                Ok(vec![])
            }
            (_, Some(value)) => Ok(vec![value]),
            (Values::Exactly(n), None) => (0..n).map(|_| self.take().ok_or_else(missing)).collect(),
            (Values::Optional, None) => {
                let word = self.words.get(self.at).filter(|w| !self.is_flag(w));
                self.at += usize::from(word.is_some());
                Ok(word.cloned().into_iter().collect())
            }
            (Values::Some | Values::Any, None) => {
                let all: Vec<String> = std::iter::from_fn(|| self.take()).collect();
                if all.is_empty() && flag.values == Values::Some {
                    return Err(missing());
                }
                Ok(all)
            }
        }
    }

    /// vLLM's `-O3`, `-O=3`, `-O 3`, `-O.level=3`, `-O '{…}'`.
    fn optimization(&mut self, word: &str) -> Option<Given<'a>> {
        let rest = word.strip_prefix("-O")?;
        let (name, value) = match rest.strip_prefix('=').unwrap_or(rest) {
            "" => ("--compilation-config", self.next()?.clone()),
            dotted if dotted.starts_with('.') => match dotted.split_once('=') {
                Some((key, value)) => ("--compilation-config", format!("{key}={value}")),
                None => ("--compilation-config", format!("{dotted} {}", self.next()?)),
            },
            level => ("--optimization-level", level.to_string()),
        };
        let level = value.len() == 1 && value.bytes().all(|b| b.is_ascii_digit());
        let name = if level { "--optimization-level" } else { name };
        Some(Given {
            flag: Some(self.list.named(name)?),
            typed: "-O".into(),
            values: vec![value],
            off: false,
        })
    }
}

/// A flag's name with dashes; the value of a negative number or of a single-dash name is left alone.
fn spelled(word: &str) -> String {
    match word.strip_prefix("--") {
        Some(name) => format!("--{}", name.replace('_', "-")),
        None => word.into(),
    }
}

fn truth(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Scheduler;

    fn vllm(line: &str) -> Result<(Vec<String>, Vec<String>), LineError> {
        let list = FlagList::of(Scheduler::Vllm);
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        let a = read(&words, &list, Parser::Argparse)?;
        let given = a.given.iter().map(|g| {
            format!(
                "{}{} {}",
                if g.off { "not " } else { "" },
                g.name(),
                g.values.join(" ")
            )
            .trim()
            .into()
        });
        Ok((given.collect(), a.loose))
    }

    #[test]
    fn values_are_those_that_the_flag_takes() {
        let (given, loose) = vllm("--enable-lora m --lora-modules a=b c=d --max_model_len=32k -tp 2 --no-enable-prefix-caching").unwrap();
        assert_eq!(loose, ["m"]);
        assert_eq!(
            given,
            [
                "--enable-lora",
                "--lora-modules a=b c=d",
                "--max-model-len 32k",
                "--tensor-parallel-size 2",
                "not --enable-prefix-caching"
            ]
        );
        let (given, loose) = vllm(
            "m --cudagraph-capture-sizes 1 2 4 --max-model-len -1 --hf-token --trust-remote-code",
        )
        .unwrap();
        assert_eq!(loose, ["m"]);
        assert_eq!(
            given[..2],
            ["--cudagraph-capture-sizes 1 2 4", "--max-model-len -1"]
        );
        let (given, loose) = vllm("--enable-prefix-caching False --enforce-eager=true m").unwrap();
        assert_eq!(
            (given, loose),
            (
                vec![
                    "not --enable-prefix-caching".into(),
                    "--enforce-eager".into()
                ],
                vec!["m".into()]
            )
        );
    }

    #[test]
    fn optimization_and_dotted_keys_are_vllms() {
        for (line, wanted) in [
            ("-O3 m", "--optimization-level 3"),
            ("-O=2 m", "--optimization-level 2"),
            ("-O 1 m", "--optimization-level 1"),
            ("-O.level=3 m", "--compilation-config .level=3"),
            ("-O {\"level\":3} m", "--compilation-config {\"level\":3}"),
            ("--compilation-config.level 3 m", "--compilation-config 3"),
            (
                "--compilation_config.cudagraph_mode=FULL m",
                "--compilation-config FULL",
            ),
            ("--speculative-conf {} m", "--speculative-config {}"),
        ] {
            let (given, loose) = vllm(line).unwrap();
            assert_eq!(given, [wanted], "{line}");
            assert_eq!(loose, ["m"], "{line}");
        }
    }

    #[test]
    fn what_is_missing_or_ambiguous_is_named() {
        assert_eq!(
            vllm("--max-model-len --port 1").unwrap_err().to_string(),
            "`--max-model-len` needs a value"
        );
        assert_eq!(
            vllm("--lora-modules").unwrap_err().to_string(),
            "`--lora-modules` needs a value"
        );
        let e = vllm("--max-num-s 4").unwrap_err().to_string();
        assert_eq!(
            e,
            "`--max-num-s` is ambiguous: it could be --max-num-scheduled-tokens or --max-num-seqs"
        );
        assert!(vllm("--enforce-eager=maybe").is_err());
    }

    #[test]
    fn llama_takes_every_word_but_its_flags_as_a_value() {
        let list = FlagList::of(Scheduler::LlamaServer);
        let words: Vec<String> =
            "-m x.gguf --temp -1 -fa -ngl 99 --reverse-prompt -end- -fa on --ctx_size 4"
                .split(' ')
                .map(String::from)
                .collect();
        let a = read(&words, &list, Parser::Llama).unwrap();
        let all: Vec<String> = a.given.iter().map(Given::words).collect();
        assert_eq!(
            all,
            [
                "-m x.gguf",
                "--temp -1",
                "-fa",
                "-ngl 99",
                "--reverse-prompt -end-",
                "-fa on",
                "--ctx-size 4"
            ]
        );
    }
}
